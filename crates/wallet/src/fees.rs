//! Fee rates: bounds, and Esplora's `/fee-estimates` read without floating point.

use std::collections::BTreeMap;

use bitcoin::FeeRate;

use crate::error::{Code, Error, refuse};

/// The lowest rate to pay: nodes relay nothing cheaper by default.
pub const MIN_FEE_RATE: FeeRate = FeeRate::BROADCAST_MIN;
/// The highest rate to pay, whoever asks for it: above all that was ever needed.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(250_000);

/// How soon a payment should be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// Within a day.
    Slow,
    /// Within an hour.
    Normal,
    /// In the next block or two.
    Fast,
}

impl Speed {
    /// The speed with this name: `slow`, `normal` or `fast`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "slow" => Self::Slow,
            "normal" => Self::Normal,
            "fast" => Self::Fast,
            _ => return None,
        })
    }

    /// In blocks.
    const fn target(self) -> u16 {
        match self {
            Self::Slow => 144,
            Self::Normal => 6,
            Self::Fast => 2,
        }
    }
}

/// A rate in whole satoshi per virtual byte.
///
/// # Errors
/// [`Code::InvalidFeeRate`] outside [`MIN_FEE_RATE`] and [`MAX_FEE_RATE`].
pub fn rate(sat_per_vb: u32) -> Result<FeeRate, Error> {
    check(FeeRate::from_sat_per_vb_u32(sat_per_vb))
}

/// # Errors
/// As [`rate`].
pub(crate) fn check(rate: FeeRate) -> Result<FeeRate, Error> {
    if rate < MIN_FEE_RATE || rate > MAX_FEE_RATE {
        return refuse(Code::InvalidFeeRate, "a fee rate has to be between 1 and 1000 satoshi per virtual byte");
    }
    Ok(rate)
}

/// The rate for a speed, by Esplora's estimates: `{"1":87.882,"6":20.1}`, satoshi per virtual byte by the number of blocks.
///
/// The estimate for the largest target that is soon enough, else the fastest there is; without any, the lowest rate.
/// It never leaves the bounds: a server cannot make a viewer pay more than [`MAX_FEE_RATE`].
///
/// # Errors
/// [`Code::ContradictoryChain`] for what is no such object.
pub fn estimate(json: &str, speed: Speed) -> Result<FeeRate, Error> {
    let rates = parse(json).ok_or(Error::new(Code::ContradictoryChain, "these are no fee estimates"))?;
    let soon_enough = rates.range(..=speed.target()).next_back();
    let found = soon_enough.or_else(|| rates.first_key_value()).map(|(_, rate)| *rate);
    Ok(found.unwrap_or(MIN_FEE_RATE).clamp(MIN_FEE_RATE, MAX_FEE_RATE))
}

/// A flat object of decimals needs no more than this of JSON.
fn parse(json: &str) -> Option<BTreeMap<u16, FeeRate>> {
    let inside = json.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    if inside.is_empty() {
        return Some(BTreeMap::new());
    }
    let pair = |pair: &str| {
        let (target, rate) = pair.split_once(':')?;
        let target = target.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some((whole(target)?.try_into().ok()?, decimal(rate.trim())?))
    };
    inside.split(',').map(pair).collect()
}

/// Satoshi per virtual byte as a decimal; rounded up to the next satoshi per 1,000 weight units.
fn decimal(text: &str) -> Option<FeeRate> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let more = fraction.bytes().skip(3).any(|byte| byte != b'0');
    let milli: String = fraction.chars().chain("000".chars()).take(3).collect();
    let milli = whole(integer)?.checked_mul(1000)?.checked_add(whole(&milli)?)?.checked_add(u64::from(more))?;
    // A virtual byte is four weight units.
    Some(FeeRate::from_sat_per_kwu(milli.div_ceil(4)))
}

fn whole(text: &str) -> Option<u64> {
    // `parse` would take a sign.
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kwu(json: &str, speed: Speed) -> u64 {
        estimate(json, speed).unwrap().to_sat_per_kwu()
    }

    #[test]
    fn takes_what_is_soon_enough() {
        let json = r#"{ "1": 87.882, "2":40, "6":20.1,"144" : 2.5,"1008":1.0 }"#;
        assert_eq!(kwu(json, Speed::Fast), 10_000);
        assert_eq!(kwu(json, Speed::Normal), 5_025);
        assert_eq!(kwu(json, Speed::Slow), 625);
        assert_eq!(kwu(r#"{"1":87.8820000000001,"3":5}"#, Speed::Fast), 21_971, "rounded up");
        assert_eq!(kwu(r#"{"25":7}"#, Speed::Fast), 1_750, "the fastest there is");
    }

    #[test]
    fn stays_within_bounds() {
        assert_eq!(kwu("{}", Speed::Fast), 250);
        assert_eq!(kwu(r#"{"2":0.01}"#, Speed::Fast), 250);
        assert_eq!(kwu(r#"{"2":9999999999}"#, Speed::Fast), 250_000);
        assert_eq!(rate(1).unwrap(), MIN_FEE_RATE);
        assert_eq!(rate(1000).unwrap(), MAX_FEE_RATE);
        for bad in [0, 1001, u32::MAX] {
            assert_eq!(rate(bad).unwrap_err().code(), Code::InvalidFeeRate);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "[]",
            "null",
            "{",
            r#"{"1"}"#,
            r#"{"1":}"#,
            r#"{"1":-1}"#,
            r#"{"1":1e3}"#,
            r#"{"1":"1"}"#,
            r#"{1:1}"#,
            r#"{"x":1}"#,
            r#"{"1":1,}"#,
            r#"{"1":1.-5}"#,
            r#"{"70000":1}"#,
            r#"{"1":99999999999999999999}"#,
        ] {
            assert_eq!(estimate(bad, Speed::Normal).unwrap_err().code(), Code::ContradictoryChain, "{bad}");
        }
    }
}
