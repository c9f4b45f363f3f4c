//! The payer's own limits, in millisatoshi, reserved together with the signature that spends them.

use crate::amount::Msat;
use crate::codec::{Reader, Writer};
use crate::error::{Code, Error, refuse};

/// Seconds of a day (UTC, without leap seconds).
const DAY: u64 = 86_400;

/// Limits; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Since the page was loaded.
    pub session: Option<Msat>,
    /// Since midnight, UTC.
    pub day: Option<Msat>,
    /// Ever, to this site.
    pub site: Option<Msat>,
}

/// What was spent, as it is stored beside each payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The day that `in_day` counts, in days since 1970.
    pub day: u64,
    /// On that day.
    pub in_day: Msat,
    /// Ever, to this site.
    pub site: Msat,
}

impl Spent {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.day).msat(self.in_day).msat(self.site);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { day: r.u64()?, in_day: r.msat()?, site: r.msat()? })
    }
}

/// Limits and what was spent against them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    limits: Limits,
    session: Msat,
    spent: Spent,
}

impl Budget {
    /// A budget of a page just loaded, with what was spent before.
    pub const fn new(limits: Limits, spent: Spent) -> Self {
        Self { limits, session: Msat::ZERO, spent }
    }

    /// What was spent before and since.
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// What the books say after `amount` more at `now` (seconds since 1970). Nothing is booked until
    /// [`Budget::book`].
    ///
    /// # Errors
    /// [`Code::OverBudget`].
    pub fn reserve(&self, amount: Msat, now: u64) -> Result<Spent, Error> {
        // A clock set back must not reopen a day's budget.
        let day = (now / DAY).max(self.spent.day);
        let in_day = if day == self.spent.day { self.spent.in_day } else { Msat::ZERO };
        let within = |spent: Msat, limit: Option<Msat>| {
            spent.checked_add(amount).filter(|sum| limit.is_none_or(|limit| *sum <= limit))
        };
        match (
            within(self.session, self.limits.session),
            within(in_day, self.limits.day),
            within(self.spent.site, self.limits.site),
        ) {
            (Some(_), Some(in_day), Some(site)) => Ok(Spent { day, in_day, site }),
            (None, ..) => refuse(Code::OverBudget, "this would pass the limit of this session"),
            (_, None, _) => refuse(Code::OverBudget, "this would pass the limit of this day"),
            (.., None) => refuse(Code::OverBudget, "this would pass the limit for this site"),
        }
    }

    /// Takes over what an earlier page booked: it counts for the day and the site, not for this session.
    pub const fn resume(&mut self, spent: Spent) {
        self.spent = spent;
    }

    /// What the books say after `amount` that was spent already, found again after a loss: no limit can undo it.
    pub fn found(&self, amount: Msat) -> Spent {
        let add = |sum: Msat| sum.checked_add(amount).unwrap_or(Msat::MAX_MONEY);
        Spent { in_day: add(self.spent.in_day), site: add(self.spent.site), ..self.spent }
    }

    /// Books what was reserved, once it is stored. Books older than these (a channel loaded anew, after more was spent on
    /// another one) change nothing: what was spent is never forgotten.
    pub fn book(&mut self, spent: Spent) {
        let Some(more) = spent.site.checked_sub(self.spent.site) else { return };
        self.session = self.session.checked_add(more).unwrap_or(Msat::MAX_MONEY);
        self.spent = spent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msat(n: u64) -> Msat {
        Msat::new(n).unwrap()
    }

    #[test]
    fn each_limit_holds_to_the_last_millisatoshi() {
        for limits in [
            Limits { session: Some(msat(5)), ..Limits::default() },
            Limits { day: Some(msat(5)), ..Limits::default() },
            Limits { site: Some(msat(5)), ..Limits::default() },
        ] {
            let mut budget = Budget::new(limits, Spent::default());
            budget.book(budget.reserve(msat(4), 10).unwrap());
            assert_eq!(budget.reserve(msat(2), 10).unwrap_err().code(), Code::OverBudget);
            budget.book(budget.reserve(msat(1), 10).unwrap());
            assert!(budget.reserve(msat(1), 10).is_err());
        }
    }

    #[test]
    fn a_new_day_opens_the_days_budget_and_a_clock_set_back_does_not() {
        let mut budget = Budget::new(Limits { day: Some(msat(5)), ..Limits::default() }, Spent::default());
        budget.book(budget.reserve(msat(5), DAY).unwrap());
        assert!(budget.reserve(msat(1), 2 * DAY - 1).is_err());
        assert!(budget.reserve(msat(1), 0).is_err());
        budget.book(budget.reserve(msat(5), 2 * DAY).unwrap());
        assert_eq!(budget.spent().site, msat(10));
    }

    #[test]
    fn an_older_book_changes_nothing() {
        let books = |site| Spent { site: msat(site), ..Spent::default() };
        let mut budget = Budget::new(Limits { site: Some(msat(10)), ..Limits::default() }, books(7));
        budget.book(books(4));
        assert_eq!(budget.spent(), books(7));
        assert!(budget.reserve(msat(4), 0).is_err());
    }

    #[test]
    fn what_is_found_again_counts_for_the_day_and_the_site_whatever_the_limits() {
        let spent = Spent { day: 3, in_day: msat(2), site: msat(7) };
        let budget = Budget::new(Limits { day: Some(msat(2)), ..Limits::default() }, spent);
        assert_eq!(budget.found(msat(5)), Spent { day: 3, in_day: msat(7), site: msat(12) });
    }

    #[test]
    fn never_overflows() {
        let budget = Budget::new(Limits::default(), Spent { site: Msat::MAX_MONEY, ..Spent::default() });
        assert!(budget.reserve(msat(1), 0).is_err());
        assert_eq!(budget.found(msat(1)).site, Msat::MAX_MONEY);
    }
}
