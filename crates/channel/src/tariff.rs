//! The tariff and the meter: what a quantity of content costs.
//!
//! Content is counted in a *base quantity* (milliseconds of media, bytes, requests), cumulatively over the channel's
//! life. The price is computed from the total, once, rounded up: roundings never add up, and never favour the client.

use crate::amount::Msat;
use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error};

const ONE_SAT: Msat = match Msat::new(1000) {
    Some(msat) => msat,
    None => Msat::ZERO,
};

/// What is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A second of media; the base quantity is the millisecond.
    Second,
    /// A byte of any content.
    Byte,
    /// A request answered.
    Request,
}

impl Unit {
    /// How many of the base quantity make one unit.
    pub const fn base(self) -> u64 {
        match self {
            Self::Second => 1000,
            Self::Byte | Self::Request => 1,
        }
    }

    /// The word for this unit in terms and types.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Byte => "byte",
            Self::Request => "request",
        }
    }
}

/// Price per unit, and how far either side may be ahead of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// What is priced.
    pub unit: Unit,
    /// Millisatoshi for one unit; above zero.
    pub price: Msat,
    /// The window in units of price: how far payment and delivery may be apart. No piece may be larger.
    pub window: u32,
}

impl Tariff {
    /// Whether the tariff makes sense at all.
    ///
    /// # Errors
    /// [`Code::UnacceptableTerms`] for a price of zero, or a window worth less than a satoshi (payments are in whole
    /// satoshi, and none may reach beyond the window) or more than all money.
    pub fn validate(&self) -> Result<(), Error> {
        let window = self.cost(self.window_quantity());
        if self.price == Msat::ZERO || window.is_none_or(|window| window < ONE_SAT) {
            return Err(Error::new(Code::UnacceptableTerms, "the tariff needs a price, and a window worth a satoshi"));
        }
        Ok(())
    }

    /// What a cumulative quantity costs, rounded up to a millisatoshi; `None` above [`Msat::MAX_MONEY`].
    pub fn cost(&self, quantity: u64) -> Option<Msat> {
        let product = u128::from(self.price.get()).checked_mul(quantity.into())?;
        u64::try_from(product.div_ceil(self.unit.base().into())).ok().and_then(Msat::new)
    }

    /// The largest cumulative quantity that `paid` covers.
    pub fn covered(&self, paid: Msat) -> u64 {
        let quantity = u128::from(paid.get())
            .saturating_mul(self.unit.base().into())
            .checked_div(self.price.get().into())
            .unwrap_or(0);
        u64::try_from(quantity).unwrap_or(u64::MAX)
    }

    /// The window in the base quantity.
    pub fn window_quantity(&self) -> u64 {
        u64::from(self.window).saturating_mul(self.unit.base())
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        let unit = match self.unit {
            Unit::Second => 0,
            Unit::Byte => 1,
            Unit::Request => 2,
        };
        w.u8(unit).msat(self.price).u32(self.window);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let unit = match r.u8()? {
            0 => Unit::Second,
            1 => Unit::Byte,
            2 => Unit::Request,
            _ => return Err(malformed("an unknown unit of price")),
        };
        Ok(Self { unit, price: r.msat()?, window: r.u32()? })
    }
}

/// Counts what was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    tariff: Tariff,
    delivered: u64,
}

impl Meter {
    /// A meter that has counted `delivered` of the base quantity so far.
    pub const fn new(tariff: Tariff, delivered: u64) -> Self {
        Self { tariff, delivered }
    }

    /// The tariff it counts by.
    pub const fn tariff(&self) -> &Tariff {
        &self.tariff
    }

    /// The cumulative quantity delivered.
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What was delivered costs this much; `None` above all money.
    pub fn owed(&self) -> Option<Msat> {
        self.tariff.cost(self.delivered)
    }

    /// The cumulative quantity after `more` is delivered too.
    ///
    /// # Errors
    /// [`Code::DepositSpent`] where the sum cannot be priced.
    pub fn after(&self, more: u64) -> Result<u64, Error> {
        self.delivered
            .checked_add(more)
            .filter(|total| self.tariff.cost(*total).is_some())
            .ok_or(Error::new(Code::DepositSpent, "more than can ever be paid for"))
    }

    /// Raises the count; it never falls.
    pub fn advance(&mut self, delivered: u64) {
        self.delivered = self.delivered.max(delivered);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tariff(unit: Unit, price: u64) -> Tariff {
        Tariff { unit, price: Msat::new(price).unwrap(), window: 2 }
    }

    #[test]
    fn the_books_price() {
        // 1,000 sat a second: 600 seconds are 6 mBTC, an hour is 36 mBTC.
        let tariff = tariff(Unit::Second, 1_000_000);
        assert_eq!(tariff.cost(600_000).unwrap().to_amount_ceil().to_sat(), 600_000);
        assert_eq!(tariff.cost(3_600_000).unwrap().to_amount_ceil().to_sat(), 3_600_000);
        assert_eq!(tariff.window_quantity(), 2_000);
    }

    #[test]
    fn refuses_what_cannot_be_priced() {
        assert!(tariff(Unit::Byte, 0).validate().is_err());
        assert!(Tariff { window: 0, ..tariff(Unit::Byte, 1) }.validate().is_err());
        assert!(tariff(Unit::Second, Msat::MAX_MONEY.get()).validate().is_err());
        let meter = Meter::new(tariff(Unit::Request, 1_000), u64::MAX);
        assert_eq!(meter.owed(), None);
        assert_eq!(meter.after(1).unwrap_err().code(), Code::DepositSpent);
    }

    #[test]
    fn a_window_is_worth_a_satoshi_at_least() {
        let window = |price, window| Tariff { window, ..tariff(Unit::Byte, price) }.validate();
        assert!(window(500, 2).is_ok());
        assert!(window(499, 2).is_err());
        assert!(window(501, 2).is_ok());
    }

    #[test]
    fn each_unit_has_its_word_and_its_byte() {
        for (byte, unit, word) in [(0, Unit::Second, "second"), (1, Unit::Byte, "byte"), (2, Unit::Request, "request")]
        {
            assert_eq!(unit.as_str(), word);
            let mut w = Writer::default();
            tariff(unit, 9).write(&mut w);
            let bytes = w.finish();
            assert_eq!(bytes[0], byte);
            assert_eq!(Tariff::read(&mut Reader::new(&bytes)).unwrap(), tariff(unit, 9));
        }
        assert!(Tariff::read(&mut Reader::new(&[3; 13])).is_err());
    }

    proptest! {
        #[test]
        fn rounding_never_favours_the_client(price in 1u64..10_000_000, quantity in 0u64..1u64 << 40) {
            let tariff = tariff(Unit::Second, price);
            let exact = u128::from(price) * u128::from(quantity);
            if let Some(cost) = tariff.cost(quantity) {
                prop_assert!(u128::from(cost.get()) * 1000 >= exact);
                prop_assert!(u128::from(cost.get()) * 1000 < exact + 1000);
                // What a payment covers can be afforded, and one more cannot.
                let covered = tariff.covered(cost);
                prop_assert!(covered >= quantity);
                prop_assert!(tariff.cost(covered).unwrap() <= cost);
                prop_assert!(tariff.cost(covered + 1).is_none_or(|more| more > cost));
            }
        }

        #[test]
        fn parts_cost_what_the_whole_costs(price in 1u64..10_000_000, parts in prop::collection::vec(0u64..10_000, 1..50)) {
            let mut meter = Meter::new(tariff(Unit::Second, price), 0);
            for part in &parts {
                let total = meter.after(*part).unwrap();
                meter.advance(total);
            }
            prop_assert_eq!(meter.owed(), meter.tariff().cost(parts.iter().sum()));
        }
    }
}
