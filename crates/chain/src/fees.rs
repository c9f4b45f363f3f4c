//! Fee rates without floating point, although Esplora writes them as decimals.

use std::collections::BTreeMap;

use bitcoin::FeeRate;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// Fee rates by confirmation target in blocks.
///
/// As JSON, Esplora's `{"1":2.5,"6":1.004}`: satoshi per virtual byte, written digit by digit from the integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeEstimates {
    by_target: BTreeMap<u16, FeeRate>,
    floor: FeeRate,
}

impl FeeEstimates {
    /// Collects estimates. `floor` is the rate below which the backend does not relay at all.
    pub fn new(floor: FeeRate, by_target: impl IntoIterator<Item = (u16, FeeRate)>) -> Self {
        FeeEstimates { by_target: by_target.into_iter().collect(), floor }
    }

    /// The rate to be confirmed within `target` blocks: the estimate for the largest target that is not above it, or,
    /// when only slower estimates are known, the fastest of those. Never below the relay floor.
    pub fn within(&self, target: u16) -> FeeRate {
        let fast_enough = self.by_target.range(..=target).next_back();
        let estimate = fast_enough.or_else(|| self.by_target.first_key_value());
        estimate.map_or(self.floor, |(_, rate)| (*rate).max(self.floor))
    }

    /// The rate below which the backend does not relay.
    pub fn floor(&self) -> FeeRate {
        self.floor
    }
}

/// Satoshi per virtual byte with three decimals. A `FeeRate` counts satoshi per 1,000 weight units, so one step is
/// 0.004 sat/vB and the result is exact.
fn decimal_sat_per_vb(rate: FeeRate) -> String {
    let milli = u128::from(rate.to_sat_per_kwu()).saturating_mul(4);
    format!("{}.{:03}", milli.div_euclid(1000), milli.rem_euclid(1000))
}

impl Serialize for FeeEstimates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.by_target.len()))?;
        for (target, rate) in &self.by_target {
            let number = RawValue::from_string(decimal_sat_per_vb(*rate)).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(&target.to_string(), &number)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(sat_per_vb: u64) -> FeeRate {
        FeeRate::from_sat_per_vb(sat_per_vb).unwrap()
    }

    #[test]
    fn a_target_gets_the_nearest_faster_estimate() {
        let fees = FeeEstimates::new(rate(1), [(2, rate(20)), (6, rate(5)), (144, FeeRate::from_sat_per_kwu(1))]);
        assert_eq!(fees.within(1), rate(20), "nothing is faster than target 2");
        assert_eq!(fees.within(5), rate(20));
        assert_eq!(fees.within(6), rate(5));
        assert_eq!(fees.within(1000), rate(1), "never below the floor");
        assert_eq!(FeeEstimates::new(rate(3), []).within(1), rate(3));
    }

    #[test]
    fn json_is_exact_sat_per_vb() {
        let fees = FeeEstimates::new(rate(1), [(1, FeeRate::from_sat_per_kwu(251)), (6, rate(12))]);
        assert_eq!(serde_json::to_string(&fees).unwrap(), r#"{"1":1.004,"6":12.000}"#);
    }
}
