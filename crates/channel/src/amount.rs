//! Millisatoshi, the unit in which delivery is accounted.
//!
//! Signatures are in whole satoshi ([`bitcoin::Amount`]); what is owed is counted a thousand times finer, so that small
//! prices add up without loss. Going from one to the other rounds **up** in one-way channels: a signature covers what is owed.
//! Outputs of `revocable` channels are rounded down, as BOLT 3 has it; miners get the rest.

use std::fmt;

use bitcoin::Amount;

/// An amount in millisatoshi (1/1000 satoshi), at most 21 million bitcoin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Msat(u64);

impl Msat {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All the bitcoin there can be: 21 million times 10^8 satoshi.
    pub const MAX_MONEY: Self = Self(21_000_000 * 100_000_000 * 1000);

    /// An amount of so many millisatoshi, or `None` above [`Msat::MAX_MONEY`].
    pub const fn new(msat: u64) -> Option<Self> {
        if msat > Self::MAX_MONEY.0 { None } else { Some(Self(msat)) }
    }

    /// A whole number of satoshi, or `None` above [`Amount::MAX_MONEY`].
    pub fn from_amount(amount: Amount) -> Option<Self> {
        amount.to_sat().checked_mul(1000).and_then(Self::new)
    }

    /// The number of millisatoshi.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The least whole number of satoshi that covers this amount.
    pub const fn to_amount_ceil(self) -> Amount {
        Amount::from_sat(self.0.div_ceil(1000))
    }

    /// The whole satoshi in this amount: what an output of a commitment holds (BOLT 3).
    pub const fn to_amount_floor(self) -> Amount {
        Amount::from_sat(self.0 / 1000)
    }

    /// The sum, or `None` above [`Msat::MAX_MONEY`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// The difference, or `None` where `other` is larger.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or zero where `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Debug for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} msat", self.0)
    }
}

impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_whole_satoshi() {
        for (msat, up, down) in [(0, 0, 0), (1, 1, 0), (999, 1, 0), (1000, 1, 1), (1001, 2, 1)] {
            assert_eq!(Msat::new(msat).unwrap().to_amount_ceil(), Amount::from_sat(up));
            assert_eq!(Msat::new(msat).unwrap().to_amount_floor(), Amount::from_sat(down));
        }
    }

    #[test]
    fn never_exceeds_the_money_supply() {
        assert_eq!(Msat::new(u64::MAX), None);
        assert_eq!(Msat::from_amount(Amount::MAX), None);
        assert_eq!(Msat::from_amount(Amount::MAX_MONEY), Some(Msat::MAX_MONEY));
        assert_eq!(Msat::MAX_MONEY.checked_add(Msat(1)), None);
        assert_eq!(Msat::ZERO.checked_sub(Msat(1)), None);
        assert_eq!(Msat::ZERO.saturating_sub(Msat(1)), Msat::ZERO);
        assert_eq!(Msat(3).saturating_sub(Msat(1)), Msat(2));
    }

    #[test]
    fn shows_its_unit() {
        assert_eq!(format!("{} {:?}", Msat(7), Msat(7)), "7 msat 7 msat");
    }
}
