//! When closed channels are settled, and what that may cost.
//!
//! | what | then |
//! | --- | --- |
//! | a channel's close margin has begun | it is settled at once, for the next block, and ever dearer until it is in one |
//! | the money that waits reaches `value_at_risk` | all are settled at once |
//! | the settlement they were in came to nothing | they are settled again at once |
//! | fees are above `patient` | the others wait until fees have fallen, and are settled then |
//! | the oldest has waited for `merge_delay` | all are settled in as few transactions as possible |

use std::time::Duration;

use rillpay_chain::FeeEstimates;
use rillpay_channel::bitcoin::{Amount, FeeRate};
use rillpay_channel::fee::{escalated, well_above};
use rillpay_channel::settlement::MAX_CHANNELS;

use crate::config::SettlementPolicy;
use crate::watchlist::Watch;

/// Blocks that an ordinary settlement may take; one that is due asks for the next block.
const PATIENT_TARGET: u16 = 6;

/// Whether there is no time left to wait for others, or for lower fees.
pub(super) const fn is_urgent(watch: &Watch, tip: u32) -> bool {
    tip >= watch.close_height
}

/// What a place in a block costs, within the operator's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// For a settlement that may take its time.
    pub(super) patient: FeeRate,
    /// For one that is urgent.
    pub(super) hasty: FeeRate,
    /// Whether who has time should wait.
    pub(super) dear: bool,
    /// The least that the operator and the network's nodes let a settlement pay.
    floor: FeeRate,
    cap: FeeRate,
}

impl Rates {
    /// By the chain's estimate.
    pub(super) fn new(policy: &SettlementPolicy, estimates: &FeeEstimates) -> Self {
        let (patient, hasty) = (estimates.within(PATIENT_TARGET).max(policy.floor), estimates.within(1));
        Self {
            patient: patient.min(policy.cap),
            hasty: hasty.clamp(policy.floor, policy.cap),
            dear: policy.patient.is_some_and(|limit| patient > limit),
            floor: policy.floor.max(estimates.floor()).min(policy.cap),
            cap: policy.cap,
        }
    }

    /// For want of any estimate: the least for what has time, and for what has none the most.
    pub(super) const fn blind(policy: &SettlementPolicy) -> Self {
        let (floor, cap) = (policy.floor, policy.cap);
        Self { patient: floor, hasty: cap, dear: false, floor, cap }
    }

    pub(super) const fn of(&self, urgent: bool) -> FeeRate {
        if urgent { self.hasty } else { self.patient }
    }

    /// The rate at which a channel that is not worth it is left out. What is urgent and not worth the next block takes
    /// its chance in a later one.
    pub(super) const fn least(&self, urgent: bool) -> FeeRate {
        if urgent { self.floor } else { self.patient }
    }

    /// The rates at which to try, one after the other, what is not worth the one before.
    pub(super) fn tries(&self, urgent: bool) -> Vec<FeeRate> {
        let mut tries = if urgent { vec![self.hasty, self.patient, self.floor] } else { vec![self.patient] };
        tries.dedup();
        tries
    }

    /// What a settlement that waits at `rate` should pay now; `None` where it is well as it is. `new_block` is whether a
    /// block has come, and it was not in it.
    pub(super) fn raised(&self, rate: FeeRate, group: &[Watch], tip: u32, new_block: bool) -> Option<FeeRate> {
        let urgent = group.iter().filter(|watch| is_urgent(watch, tip));
        let left = urgent.map(|watch| watch.deadline.saturating_sub(tip)).min();
        if let Some(left) = left
            && new_block
        {
            return Some(escalated(rate, left, self.hasty, self.cap)).filter(|next| *next > rate);
        }
        let risen = self.of(left.is_some());
        (risen >= well_above(rate)).then_some(risen)
    }
}

/// What waits to be settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) amount: Amount,
    pub(super) channels: usize,
    /// Whether one of them is urgent.
    pub(super) urgent: bool,
    /// Whether the settlement of one of them came to nothing.
    pub(super) hurried: bool,
    /// Whether they waited for fees to fall.
    pub(super) held_back: bool,
    /// How long the oldest has waited.
    pub(super) waited: Duration,
}

/// Which of them to settle now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    All,
    /// Only those that are urgent; the others until fees have fallen.
    Urgent,
    /// None; all wait until fees have fallen.
    HoldBack,
    /// None before this time has passed.
    Wait(Duration),
}

impl Pending {
    pub(super) fn decide(&self, policy: &SettlementPolicy, dear: bool) -> Now {
        let rest = policy.merge_delay.saturating_sub(self.waited);
        match () {
            () if self.hurried || self.amount >= policy.value_at_risk => Now::All,
            () if dear && self.urgent => Now::Urgent,
            () if dear => Now::HoldBack,
            () if self.urgent || self.held_back || self.channels >= MAX_CHANNELS || rest.is_zero() => Now::All,
            () => Now::Wait(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(600);

    fn policy() -> SettlementPolicy {
        SettlementPolicy {
            floor: FeeRate::from_sat_per_vb_u32(1),
            cap: FeeRate::from_sat_per_vb_u32(200),
            merge_delay: DELAY,
            value_at_risk: Amount::from_sat(1_000_000),
            patient: None,
        }
    }

    #[test]
    fn each_reason_to_settle_counts_by_itself() {
        let calm = Pending {
            amount: Amount::from_sat(999_999),
            channels: 5,
            urgent: false,
            hurried: false,
            held_back: false,
            waited: Duration::from_secs(100),
        };
        let decide = |pending: Pending, dear| pending.decide(&policy(), dear);
        assert_eq!(decide(calm, false), Now::Wait(Duration::from_secs(500)));
        assert_eq!(decide(calm, true), Now::HoldBack);
        for (pending, when_dear) in [
            (Pending { waited: DELAY, ..calm }, Now::HoldBack),
            (Pending { channels: MAX_CHANNELS, ..calm }, Now::HoldBack),
            (Pending { held_back: true, ..calm }, Now::HoldBack),
            (Pending { urgent: true, ..calm }, Now::Urgent),
            (Pending { hurried: true, ..calm }, Now::All),
            (Pending { amount: Amount::from_sat(1_000_000), ..calm }, Now::All),
        ] {
            assert_eq!((decide(pending, false), decide(pending, true)), (Now::All, when_dear), "{pending:?}");
        }
    }
}
