//! Rates, bounded before any signature is checked.

use std::time::Instant;

/// A bucket of tokens that refills with time; whole nanoseconds, no fractions.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds that one token takes to come back.
    interval: u64,
    /// Nanoseconds that the full bucket holds.
    depth: u64,
    level: u64,
    at: Instant,
}

impl Bucket {
    /// `count` tokens in `period_nanos`, and as many as `burst` at once.
    pub(crate) fn new(count: u32, period_nanos: u64, burst: u32, now: Instant) -> Self {
        let interval = period_nanos.checked_div(count.into()).unwrap_or(period_nanos);
        let depth = interval.saturating_mul(burst.into());
        Self { interval, depth, level: depth, at: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_nanos();
        self.at = now;
        self.level = self.level.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)).min(self.depth);
        match self.level.checked_sub(self.interval) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 1_000_000_000, 20, start);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 20);
        let later = start + Duration::from_millis(250);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 2);
        assert_eq!((0..100).filter(|_| bucket.take(start + Duration::from_secs(60))).count(), 20);
    }

    #[test]
    fn a_clock_that_stands_still_or_jumps_does_no_harm() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, u64::MAX, u32::MAX, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start));
    }
}
