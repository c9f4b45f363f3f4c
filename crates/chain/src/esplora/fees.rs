//! What a place in a block costs, by the server's estimate.

use std::collections::BTreeMap;

use bitcoin::{Amount, Denomination, FeeRate};
use serde_json::value::RawValue;

use super::trouble::{Trouble, clean};
use crate::FeeEstimates;

/// Below this nodes do not relay as they are set up by default, in sat/vB. Esplora does not tell what its own node wants.
const FLOOR: FeeRate = FeeRate::from_sat_per_vb_u32(1);
/// The highest estimate that is passed on, in sat/vB: more was asked for once only, for some hours of April 2024.
const CAP: FeeRate = FeeRate::from_sat_per_vb_u32(2_000);
/// The longest list that is read.
const TARGETS: usize = 64;
/// Decimals that are read; those after them are less than a FeeRate can say.
const DECIMALS: usize = 8;
/// Esplora counts sat/vB, which is read as if it were bitcoin: 10⁸ for one. A `FeeRate` counts 250 for one.
const STEP: u64 = 400_000;

/// Reads `{"1":87.882,"2":…}`, each rate rounded up and brought between the floor and the cap.
pub(super) fn read(text: &[u8]) -> Result<FeeEstimates, Trouble> {
    let wrong = || Trouble::lie(format!("no fee estimates: {}", clean(text)));
    let map: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(|_| wrong())?;
    if map.len() > TARGETS {
        return Err(wrong());
    }
    let mut estimates = Vec::with_capacity(map.len());
    for (target, number) in &map {
        let target: u16 = target.parse().map_err(|_| wrong())?;
        estimates.push((target, rate(number.get()).ok_or_else(wrong)?.clamp(FLOOR, CAP)));
    }
    Ok(FeeEstimates::new(FLOOR, estimates))
}

/// Digit by digit: money does not pass through floating point.
fn rate(number: &str) -> Option<FeeRate> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.get(..DECIMALS).unwrap_or(fraction);
    let amount = Amount::from_str_in(&format!("{whole}.{fraction}"), Denomination::Bitcoin).ok()?;
    Some(FeeRate::from_sat_per_kwu(amount.to_sat().div_ceil(STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_exactly_and_kept_in_bounds() {
        let text = br#"{"1":87.882,"6":1.0070000000000001,"144":0.1,"2":99999,"1008":3}"#;
        let fees = read(text).unwrap();
        assert_eq!(fees.within(1), FeeRate::from_sat_per_kwu(21_971), "rounded up from 21,970.5");
        assert_eq!(fees.within(2), CAP);
        assert_eq!(fees.within(6), FeeRate::from_sat_per_kwu(252));
        assert_eq!(fees.within(144), FLOOR);
        assert_eq!(fees.within(1008), FeeRate::from_sat_per_kwu(750));
        assert_eq!(read(b"{}").unwrap().within(1), FLOOR);
    }

    proptest::proptest! {
        #[test]
        fn hostile_estimates_stay_in_bounds(
            target in "[0-9a-z-]{0,6}",
            rate in "[-0-9.eE]{0,30}",
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
        ) {
            for text in [format!("{{\"{target}\":{rate},\"6\":2.5}}").into_bytes(), noise] {
                let Ok(fees) = read(&text) else { continue };
                for blocks in [1, 6, 144, u16::MAX] {
                    proptest::prop_assert!((FLOOR..=CAP).contains(&fees.within(blocks)));
                }
            }
        }
    }

    #[test]
    fn what_is_no_rate_is_a_lie() {
        for text in [r#"{"1":-1}"#, r#"{"1":1e9}"#, r#"{"1":"2"}"#, r#"{"1":null}"#, r#"{"x":1}"#, "[]", "<html>", ""] {
            assert!(matches!(read(text.as_bytes()), Err(Trouble::Lie(_))), "{text}");
        }
    }
}
