//! A commitment that waits for a block, and a child that pays for both: it spends our anchor and brings money along (BOLT 3,
//! "`to_local_anchor` and `to_remote_anchor` Output").
//!
//! A miner takes both or neither, and so looks at what they pay together. The child's other inputs and its change are a wallet's;
//! here is what it has to pay, and when it has to be replaced by a dearer one.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Transaction, Weight};

use crate::error::Error;
use crate::fee::{Fee, escalated, raised, rate};
use crate::revocable::claim::Claim;

/// A child with one coin and change, about: what its rate is limited by. In weight units.
const CHILD: Weight = Weight::from_wu(720);
/// From how many blocks before its deadline on a commitment is offered more with each block (BOLT 2: a claim has 18 blocks from
/// the day that the channel fails for it).
const URGENT: u32 = 18;

/// A commitment that waits, and our anchor in it.
pub struct Lift<'k> {
    pub(crate) anchor: Claim<'k>,
    /// What the commitment pays by itself.
    pub(crate) fee: Amount,
    pub(crate) weight: Weight,
    /// What is ours in it.
    pub(crate) stake: Amount,
    /// The height at which a payment in it begins to be lost.
    pub(crate) due: Option<u32>,
}

impl<'k> Lift<'k> {
    /// Our anchor.
    pub const fn anchor(&self) -> &Claim<'k> {
        &self.anchor
    }

    /// What is ours in the commitment: nobody pays more than half of it to have it sooner.
    pub const fn stake(&self) -> Amount {
        self.stake
    }

    /// The height by which it should be in a block, where payments are under way in it.
    pub const fn due(&self) -> Option<u32> {
        self.due
    }

    /// The child as far as it is ours: the anchor's input and no output. Coins and change come after it, and then
    /// [`Lift::sign`].
    pub fn child(&self) -> Transaction {
        let input = vec![self.anchor.input()];
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output: vec![] }
    }

    /// Signs the anchor's input of a child whose inputs and outputs are all in place.
    ///
    /// # Errors
    /// [`crate::Code::InvalidArgument`] where its first input is not the anchor.
    pub fn sign(&self, child: &mut Transaction) -> Result<(), Error> {
        let witness = self.anchor.sign(child, 0)?;
        if let Some(input) = child.input.first_mut() {
            input.witness = witness;
        }
        Ok(())
    }

    /// What a child has to pay so that both together pay `rate`.
    pub fn fee(&self, rate: FeeRate) -> Fee {
        Fee::from(rate).lifting(self.fee, self.weight)
    }

    /// What commitment and child pay together, or the commitment without one.
    pub fn rate(&self, child: Option<(Amount, Weight)>) -> FeeRate {
        let (fee, weight) = child.unwrap_or((Amount::ZERO, Weight::ZERO));
        let fee = self.fee.checked_add(fee).unwrap_or(Amount::MAX_MONEY);
        rate(fee, self.weight.checked_add(weight).unwrap_or(Weight::MAX))
    }

    /// The rate of the next child; `None` where what waits is good enough. `child` is the one that waits, with its fee; for `waited`
    /// blocks nothing has changed, and `patience` of them are reason to offer more. `estimate` confirms in time, says the chain; the
    /// highest rate is `most`.
    pub fn next(
        &self,
        child: Option<(Amount, Weight)>,
        (waited, patience): (u32, u32),
        (estimate, most): (FeeRate, FeeRate),
        tip: u32,
    ) -> Option<FeeRate> {
        let (now, cap) = (self.rate(child), self.cap().min(most));
        let left = self.due.map(|due| due.saturating_sub(tip)).filter(|left| *left <= URGENT);
        let wanted = match left {
            Some(left) if waited > 0 => escalated(now, left, estimate, cap),
            None if waited >= patience => raised(now).max(estimate),
            _ => estimate,
        };
        // A replacement pays for its own relay on top of what it replaces: small steps are not worth that.
        let step = if child.is_some() { now.to_sat_per_kwu() / 4 } else { 0 };
        let least = FeeRate::from_sat_per_kwu(now.to_sat_per_kwu().saturating_add(step));
        let wanted = wanted.min(cap);
        (wanted > now && (wanted >= least || wanted == cap || waited > 0 && left.is_some())).then_some(wanted)
    }

    /// The rate at which half of what is ours would be paid.
    fn cap(&self) -> FeeRate {
        let half = Amount::from_sat(self.stake.to_sat() / 2);
        self.rate(Some((half, CHILD)))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::revocable::claim;
    use crate::revocable::fees::ChannelType;
    use crate::revocable::script;
    use crate::revocable::testing::{key, transaction};
    use bitcoin::TxOut;
    use proptest::prelude::*;

    const MOST: FeeRate = FeeRate::from_sat_per_kwu(250_000);

    fn kwu(rate: u64) -> FeeRate {
        FeeRate::from_sat_per_kwu(rate)
    }

    /// A commitment of the usual size that pays 1 sat/vB, with so much of ours in it.
    fn with<T>(stake: u64, due: Option<u32>, look: impl FnOnce(&Lift<'_>) -> T) -> T {
        let key = key(1);
        let output = TxOut { value: Amount::from_sat(330), script_pubkey: script::anchor(&key.public()).to_p2wsh() };
        let made = transaction(vec![output]);
        let anchor = claim::anchor(&made, &key).pop().unwrap();
        let weight = Weight::from_wu(ChannelType::Anchors.commitment_weight(0));
        look(&Lift { anchor, fee: Amount::from_sat(281), weight, stake: Amount::from_sat(stake), due })
    }

    #[test]
    fn a_commitment_that_pays_enough_needs_no_child() {
        with(1_000_000, None, |lift| {
            assert_eq!(lift.rate(None), kwu(250));
            let next = |waited, estimate| lift.next(None, (waited, 6), (kwu(estimate), MOST), 100);
            assert_eq!([next(0, 250), next(5, 250), next(0, 251)], [None, None, Some(kwu(251))]);
            assert_eq!(next(6, 250), Some(kwu(250 + 62 + 250)), "the estimate was wrong");
        });
    }

    #[test]
    fn a_child_is_replaced_when_fees_rise_or_nothing_happens() {
        with(1_000_000, None, |lift| {
            let child = (lift.fee(kwu(1_000)).of(180).unwrap(), CHILD);
            let now = lift.rate(Some(child));
            assert_eq!(now, kwu(1_000));
            let next = |waited, estimate| lift.next(Some(child), (waited, 6), (kwu(estimate), MOST), 100);
            assert_eq!([next(5, 900), next(5, 1_200), next(0, 1_250)], [None, None, Some(kwu(1_250))]);
            assert_eq!(next(6, 900), Some(kwu(1_500)));
        });
    }

    #[test]
    fn nobody_pays_more_than_half_of_what_it_is_about() {
        with(10_000, None, |lift| {
            let rate = lift.next(None, (0, 6), (kwu(100_000), MOST), 100).unwrap();
            let fee = lift.fee(rate).of(180).unwrap().to_sat();
            assert!((4_990..=5_010).contains(&fee), "{fee}");
            // There it stays.
            assert_eq!(lift.next(Some((Amount::from_sat(5_010), CHILD)), (9, 6), (kwu(100_000), MOST), 100), None);
        });
        with(0, None, |lift| assert_eq!(lift.next(None, (9, 6), (kwu(100_000), MOST), 100), None));
    }

    proptest! {
        /// Block by block more is offered, and the last block before the deadline all that may be.
        #[test]
        fn a_deadline_is_met_with_the_highest_rate(
            blocks in 1u32..=URGENT, stake in 10_000u64..100_000_000, estimate in 253u64..20_000,
        ) {
            with(stake, Some(200), |lift| {
                let cap = lift.cap().min(MOST);
                let mut child: Option<(Amount, Weight)> = None;
                for tip in 200 - blocks..200 {
                    let before = lift.rate(child);
                    if let Some(rate) = lift.next(child, (1, 6), (kwu(estimate), MOST), tip) {
                        prop_assert!(rate > before && rate <= cap);
                        child = Some((lift.fee(rate).of(180).unwrap(), CHILD));
                    }
                    prop_assert!(lift.rate(child) >= kwu(estimate).min(cap) || before >= cap);
                }
                prop_assert!(lift.rate(child) >= cap, "{} of {}", lift.rate(child), cap);
                Ok(())
            })?;
        }
    }
}
