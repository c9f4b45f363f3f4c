//! What a transaction pays to miners: a rate, and more where it has to replace others or runs out of time.
//!
//! A transaction that spends what a waiting one spends takes its place only where it pays for that (BIP 125). Nodes ask
//! for the fees of everything that would leave, for its own size at the incremental relay rate on top of them, and for a
//! better rate than each transaction that it conflicts with; newer ones, for a better rate than all that leaves together.

use bitcoin::{Amount, FeeRate, Weight};

/// What a replacement adds for its own relay: Bitcoin Core's `-incrementalrelayfee` up to version 29. Newer nodes ask for
/// a tenth of it, and not all nodes are new.
pub const RELAY: FeeRate = FeeRate::BROADCAST_MIN;

/// Waiting transactions that leave the mempool for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    fees: Amount,
    weight: Weight,
    rate: FeeRate,
}

impl Replaced {
    /// Nothing yet.
    pub const NOTHING: Self = Self { fees: Amount::ZERO, weight: Weight::ZERO, rate: FeeRate::ZERO };

    /// Adds a transaction with its fee: one that spends the same output, or one that spends from such a transaction.
    #[must_use]
    pub fn and(self, fee: Amount, weight: Weight, conflicts: bool) -> Self {
        let rate = if conflicts { self.rate.max(rate(fee, weight)) } else { self.rate };
        Self {
            fees: self.fees.checked_add(fee).unwrap_or(Amount::MAX_MONEY),
            weight: self.weight.checked_add(weight).unwrap_or(Weight::MAX),
            rate,
        }
    }

    /// The least fee with which a transaction of this virtual size takes their place; `None` where there is no such amount.
    pub fn least_fee(&self, vsize: u64) -> Option<Amount> {
        let paid = self.fees.checked_add(RELAY.fee_vb(vsize)?)?;
        if self.weight == Weight::ZERO {
            return Some(paid);
        }
        let beaten = self.rate.max(rate(self.fees, self.weight)).to_sat_per_kwu().checked_add(1)?;
        Some(paid.max(FeeRate::from_sat_per_kwu(beaten).fee_vb(vsize)?))
    }
}

/// What this fee is for this weight, rounded up to what a rate can say. Of nothing, the highest there is.
pub fn rate(fee: Amount, weight: Weight) -> FeeRate {
    let wanted = u128::from(fee.to_sat()).saturating_mul(1_000);
    let rate = wanted.saturating_add(u128::from(weight.to_wu()).saturating_sub(1)).checked_div(weight.to_wu().into());
    FeeRate::from_sat_per_kwu(rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(u64::MAX))
}

/// What a transaction is to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    rate: FeeRate,
    replaced: Option<Replaced>,
    /// A parent that waits, and what it pays: the rate is that of both together.
    parent: Option<(Amount, Weight)>,
}

impl Fee {
    /// This rate, and enough to take the place of others.
    pub const fn replacing(rate: FeeRate, replaced: Replaced) -> Self {
        Self { rate, replaced: Some(replaced), parent: None }
    }

    /// The same, for a child of a parent that waits with this fee: the rate is that of both together, though not less than what
    /// relay asks of the child alone.
    #[must_use]
    pub const fn lifting(self, fee: Amount, weight: Weight) -> Self {
        Self { parent: Some((fee, weight)), ..self }
    }

    /// The same, and enough to take the place of others.
    #[must_use]
    pub const fn and_replacing(self, replaced: Replaced) -> Self {
        Self { replaced: Some(replaced), ..self }
    }

    /// For a transaction of this virtual size; `None` where there is no such amount.
    pub fn of(&self, vsize: u64) -> Option<Amount> {
        let own = match self.parent {
            Some((fee, weight)) => {
                let both = self.rate.fee_vb(vsize.checked_add(weight.to_vbytes_ceil())?)?;
                both.checked_sub(fee).unwrap_or(Amount::ZERO).max(RELAY.fee_vb(vsize)?)
            }
            None => self.rate.fee_vb(vsize)?,
        };
        match &self.replaced {
            Some(replaced) => Some(own.max(replaced.least_fee(vsize)?)),
            None => Some(own),
        }
    }
}

impl From<FeeRate> for Fee {
    fn from(rate: FeeRate) -> Self {
        Self { rate, replaced: None, parent: None }
    }
}

/// What is offered after a try at this rate that nobody took: a quarter more, and what relay asks for.
pub fn raised(rate: FeeRate) -> FeeRate {
    let rate = rate.to_sat_per_kwu();
    FeeRate::from_sat_per_kwu(rate.saturating_add(rate / 4).saturating_add(RELAY.to_sat_per_kwu()))
}

/// A quarter more: less is not worth a replacement, which has to pay for its own relay, too.
pub fn well_above(rate: FeeRate) -> FeeRate {
    let rate = rate.to_sat_per_kwu();
    FeeRate::from_sat_per_kwu(rate.saturating_add(rate.div_ceil(4)))
}

/// Between two rates.
pub fn half_way(from: FeeRate, to: FeeRate) -> FeeRate {
    let sum = from.to_sat_per_kwu().saturating_add(to.to_sat_per_kwu());
    FeeRate::from_sat_per_kwu(sum.div_euclid(2))
}

/// A smaller step than to this is not worth its relay.
pub fn least_step(rate: FeeRate) -> FeeRate {
    FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu().saturating_add(RELAY.to_sat_per_kwu()))
}

/// The rate of the next attempt, where one at `rate` was not in the last block and no more than `blocks_left` blocks are
/// sure to be ours: the way to `cap` is divided among them, so that the last one is offered all of it. Never below
/// `estimate`, the rate of the next block, where the cap allows that; a step is worth its relay, but for the one that
/// reaches the cap.
pub fn escalated(rate: FeeRate, blocks_left: u32, estimate: FeeRate, cap: FeeRate) -> FeeRate {
    let way = cap.to_sat_per_kwu().saturating_sub(rate.to_sat_per_kwu());
    let step = way.div_ceil(u64::from(blocks_left).max(1)).max(RELAY.to_sat_per_kwu());
    let next = FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu().saturating_add(step));
    next.max(estimate).min(cap)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_vb(sat: u32) -> FeeRate {
        FeeRate::from_sat_per_vb_u32(sat)
    }

    fn vbytes(count: u64) -> Weight {
        Weight::from_vb(count).unwrap()
    }

    #[test]
    fn a_plain_rate_is_charged_by_size() {
        assert_eq!(Fee::from(per_vb(10)).of(200), Some(Amount::from_sat(2_000)));
        assert_eq!(Fee::from(FeeRate::MAX).of(u64::MAX), None);
        assert_eq!(Replaced::NOTHING.least_fee(200), Some(Amount::from_sat(200)), "its relay");
    }

    #[test]
    fn a_replacement_pays_for_what_leaves_and_for_itself() {
        let replaced = Replaced::NOTHING.and(Amount::from_sat(1_000), vbytes(200), true);
        let fee = |sat_per_vb, vsize| Fee::replacing(per_vb(sat_per_vb), replaced).of(vsize).unwrap().to_sat();
        assert_eq!(fee(5, 200), 1_200, "the old fee and its own relay");
        assert_eq!(fee(7, 200), 1_400, "the rate asks for more");
        // A smaller one pays no less, although its rate alone would allow that: this is a group that has shrunk.
        assert_eq!(fee(5, 100), 1_100);
        // A larger one has to beat the rate, too.
        assert_eq!(fee(1, 1_000), 5_004);
    }

    #[test]
    fn children_are_paid_for_and_a_dear_child_raises_the_rate_to_beat() {
        let parent = Replaced::NOTHING.and(Amount::from_sat(200), vbytes(200), true);
        let both = parent.and(Amount::from_sat(9_800), vbytes(100), false);
        assert_eq!(both.least_fee(200), Some(Amount::from_sat(10_200)));
        // 10,000 for 1,200 units of weight, rounded up, and a step more.
        assert_eq!(both.least_fee(1_000), Some(Amount::from_sat(33_340)));
    }

    #[test]
    fn a_child_pays_what_its_parent_does_not() {
        let fee = |sat_per_vb| Fee::from(per_vb(sat_per_vb)).lifting(Amount::from_sat(300), vbytes(300));
        assert_eq!(fee(10).of(200), Some(Amount::from_sat(5_000 - 300)));
        assert_eq!(fee(1).of(200), Some(Amount::from_sat(200)));
        // One that pays for itself needs nothing but relay.
        let dear = Fee::from(per_vb(1)).lifting(Amount::from_sat(30_000), vbytes(300));
        assert_eq!(dear.of(200), Some(Amount::from_sat(200)));
        let replaced = Replaced::NOTHING.and(Amount::from_sat(6_000), vbytes(200), true);
        assert_eq!(fee(10).and_replacing(replaced).of(200), Some(Amount::from_sat(6_200)));
        assert_eq!(fee(u32::MAX).of(u64::MAX), None);
    }

    #[test]
    fn nothing_overflows() {
        let all = Replaced::NOTHING.and(Amount::MAX_MONEY, Weight::from_wu(1), true);
        assert_eq!(all.and(Amount::MAX, Weight::MAX, true).least_fee(u64::MAX), None);
        assert!(all.least_fee(1).is_none_or(|fee| fee > Amount::MAX_MONEY));
        assert_eq!(escalated(FeeRate::MAX, 0, FeeRate::MAX, FeeRate::MAX), FeeRate::MAX);
        assert_eq!(Replaced::NOTHING.and(Amount::ZERO, Weight::ZERO, true).least_fee(10), Some(Amount::from_sat(10)));
    }

    proptest! {
        /// What BIP 125 and its successor ask of a replacement holds whatever is replaced, and by whatever size.
        #[test]
        fn every_replacement_is_a_better_one(
            leaving in prop::collection::vec((0u64..10_000_000, 61u64..100_000, any::<bool>()), 1..6),
            sat_per_kwu in 0u64..1_000_000,
            vsize in 61u64..100_000,
        ) {
            let replaced = leaving.iter().fold(Replaced::NOTHING, |replaced, (fee, size, direct)| {
                replaced.and(Amount::from_sat(*fee), vbytes(*size), *direct)
            });
            let rate = FeeRate::from_sat_per_kwu(sat_per_kwu);
            let fee = Fee::replacing(rate, replaced).of(vsize).unwrap().to_sat();
            let fees: u64 = leaving.iter().map(|(fee, ..)| fee).sum();
            let sizes: u64 = leaving.iter().map(|(_, size, _)| size).sum();
            prop_assert!(fee >= fees + vsize, "absolute fee and relay");
            prop_assert!(fee * sizes > fees * vsize, "a better rate than all that leaves together");
            for (other, size, direct) in leaving {
                prop_assert!(!direct || fee * size > other * vsize, "a better rate than each that conflicts");
            }
            prop_assert!(fee >= rate.fee_vb(vsize).unwrap().to_sat());
        }

        /// Block by block the rate rises, by no less than relay asks for, and the last block before the deadline is offered
        /// the cap; never less than the estimate, never more than the cap.
        #[test]
        fn an_escalation_ends_at_the_cap(
            first in 1u32..500, more in 0u32..2_000, blocks in 1u32..300, estimates in prop::collection::vec(1u32..3_000, 300),
        ) {
            let cap = per_vb(first + more);
            let mut rate = per_vb(first);
            for left in (1..=blocks).rev() {
                let estimate = per_vb(estimates[left as usize - 1]);
                let next = escalated(rate, left, estimate, cap);
                prop_assert!(next <= cap && next >= estimate.min(cap));
                prop_assert!(next == cap || next.to_sat_per_kwu() >= rate.to_sat_per_kwu() + RELAY.to_sat_per_kwu());
                // The same attempt with less time left offers no less.
                prop_assert!(escalated(rate, left - 1, estimate, cap) >= next);
                rate = next;
            }
            prop_assert_eq!(rate, cap);
        }
    }
}
