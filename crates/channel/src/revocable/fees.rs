//! What a channel's type decides: expected weights, fees, and which outputs are too small to make.

use bitcoin::{Amount, FeeRate};

use crate::codec::{Reader, Writer, malformed};
use crate::revocable::channel::Role;
use crate::revocable::commitment::{Htlc, State};

/// The lowest rate of any transaction: BOLT 3 rounds up what Bitcoin Core relays with, 1 sat/vB.
pub const LEAST_RATE: FeeRate = FeeRate::from_sat_per_kwu(253);
/// What an anchor holds.
pub const ANCHOR: Amount = Amount::from_sat(330);
const BOTH_ANCHORS: Amount = Amount::from_sat(660);
/// What one HTLC output adds to the weight of a commitment.
const HTLC_OUTPUT_WEIGHT: u64 = 172;

/// The format of a channel's commitments, agreed on for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelType {
    /// Before `option_static_remotekey`: what the other gets depends on the owner's point. For vectors; new channels
    /// are not opened with it.
    Legacy,
    /// `option_static_remotekey`: HTLC transactions carry the fee of the commitment.
    StaticRemoteKey,
    /// Anchors as they were at first, with fees in HTLC transactions. For vectors; nobody opens such channels any more.
    AnchorsNonzeroFee,
    /// `option_anchors`: two anchors, and HTLC transactions without a fee of their own.
    Anchors,
}

/// Which way a second-stage transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// HTLC-success: the owner received the HTLC and knows its preimage.
    Success,
    /// HTLC-timeout: the owner offered the HTLC and nobody took it.
    Timeout,
}

impl ChannelType {
    /// Whether commitments have anchors, and every other output waits for a block.
    pub const fn has_anchors(self) -> bool {
        matches!(self, Self::AnchorsNonzeroFee | Self::Anchors)
    }

    /// Whether `to_remote` pays the payment basepoint as it is.
    pub const fn has_static_remotekey(self) -> bool {
        !matches!(self, Self::Legacy)
    }

    /// The expected weight of a commitment with so many HTLC outputs (Appendix A).
    pub const fn commitment_weight(self, htlc_outputs: u64) -> u64 {
        let base: u64 = if self.has_anchors() { 1124 } else { 724 };
        base.saturating_add(HTLC_OUTPUT_WEIGHT.saturating_mul(htlc_outputs))
    }

    /// The expected weight of a second-stage transaction.
    pub const fn htlc_weight(self, stage: Stage) -> u64 {
        match (self.has_anchors(), stage) {
            (false, Stage::Timeout) => 663,
            (true, Stage::Timeout) => 666,
            (false, Stage::Success) => 703,
            (true, Stage::Success) => 706,
        }
    }

    /// The base fee of a commitment with so many HTLC outputs.
    pub fn commitment_fee(self, fee_rate: FeeRate, htlc_outputs: u64) -> Amount {
        fee(fee_rate, self.commitment_weight(htlc_outputs))
    }

    /// What the opener pays for a commitment with so many HTLC outputs: its base fee and the anchors.
    pub fn commitment_cost(self, fee_rate: FeeRate, htlc_outputs: u64) -> Option<Amount> {
        self.commitment_fee(fee_rate, htlc_outputs).checked_add(self.anchors())
    }

    /// The fee that a second-stage transaction carries.
    pub fn htlc_fee(self, fee_rate: FeeRate, stage: Stage) -> Amount {
        match self {
            Self::Anchors => Amount::ZERO,
            _ => fee(fee_rate, self.htlc_weight(stage)),
        }
    }

    /// What the opener pays for the two anchors, made or not.
    pub const fn anchors(self) -> Amount {
        if self.has_anchors() { BOTH_ANCHORS } else { Amount::ZERO }
    }

    /// Whether this HTLC has no output in the commitment of `owner`: it would not pay for its own second stage.
    pub fn is_trimmed(self, htlc: &Htlc, owner: Role, dust_limit: Amount, fee_rate: FeeRate) -> bool {
        let fee = self.htlc_fee(fee_rate, htlc.stage(owner));
        htlc.value().checked_sub(fee).is_none_or(|rest| rest < dust_limit)
    }

    /// How many HTLCs have an output in the commitment of `owner`.
    pub fn htlc_outputs(self, state: &State, owner: Role, dust_limit: Amount) -> u64 {
        let made = |htlc: &&Htlc| !self.is_trimmed(htlc, owner, dust_limit, state.fee_rate);
        state.htlcs.iter().filter(made).fold(0, |count, _| count.saturating_add(1))
    }

    pub(crate) fn write(self, w: &mut Writer) {
        w.u8(match self {
            Self::Legacy => 0,
            Self::StaticRemoteKey => 1,
            Self::AnchorsNonzeroFee => 2,
            Self::Anchors => 3,
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, crate::Error> {
        match r.u8()? {
            0 => Ok(Self::Legacy),
            1 => Ok(Self::StaticRemoteKey),
            2 => Ok(Self::AnchorsNonzeroFee),
            3 => Ok(Self::Anchors),
            _ => Err(malformed("an unknown type of channel")),
        }
    }
}

/// `feerate_per_kw * weight / 1000`, rounded down; no more than all the money there is.
fn fee(fee_rate: FeeRate, weight: u64) -> Amount {
    let sat = fee_rate.to_sat_per_kwu().saturating_mul(weight) / 1000;
    Amount::from_sat(sat).min(Amount::MAX_MONEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocable::testing::{htlc, state};

    /// BOLT 3, "Fee Calculation", the example.
    #[test]
    fn the_example_of_bolt_3() {
        let fee_rate = FeeRate::from_sat_per_kwu(5_000);
        let channel_type = ChannelType::StaticRemoteKey;
        let dust_limit = Amount::from_sat(546);
        assert_eq!(channel_type.htlc_fee(fee_rate, Stage::Timeout), Amount::from_sat(3_315));
        assert_eq!(channel_type.htlc_fee(fee_rate, Stage::Success), Amount::from_sat(3_515));
        let (ours, theirs) = (Role::Opener, Role::Accepter);
        let htlcs = vec![htlc(ours, 5_000_000), htlc(ours, 1_000_000), htlc(theirs, 7_000_000), htlc(theirs, 800_000)];
        let state = State { fee_rate, htlcs, ..state() };
        let outputs = channel_type.htlc_outputs(&state, ours, dust_limit);
        assert_eq!((outputs, channel_type.commitment_weight(outputs)), (2, 1068));
        assert_eq!(channel_type.commitment_fee(fee_rate, outputs), Amount::from_sat(5_340));
    }

    #[test]
    fn an_htlc_is_trimmed_below_dust_and_its_second_stages_fee() {
        let fee_rate = FeeRate::from_sat_per_kwu(5_000);
        let trimmed = |channel_type: ChannelType, by, msat| {
            channel_type.is_trimmed(&htlc(by, msat), Role::Opener, Amount::from_sat(546), fee_rate)
        };
        let (ours, theirs) = (Role::Opener, Role::Accepter);
        for (channel_type, by, least) in [
            (ChannelType::Legacy, ours, 546 + 3_315),
            (ChannelType::StaticRemoteKey, ours, 546 + 3_315),
            (ChannelType::StaticRemoteKey, theirs, 546 + 3_515),
            (ChannelType::AnchorsNonzeroFee, ours, 546 + 3_330),
            (ChannelType::AnchorsNonzeroFee, theirs, 546 + 3_530),
            (ChannelType::Anchors, ours, 546),
            (ChannelType::Anchors, theirs, 546),
        ] {
            assert!(!trimmed(channel_type, by, least * 1_000));
            assert!(trimmed(channel_type, by, least * 1_000 - 1), "millisatoshi are rounded down");
        }
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        assert_eq!(ChannelType::Legacy.commitment_fee(FeeRate::MAX, u64::MAX), Amount::MAX_MONEY);
        assert!(ChannelType::Legacy.is_trimmed(&htlc(Role::Opener, 1_000), Role::Opener, Amount::ZERO, FeeRate::MAX));
    }
}
