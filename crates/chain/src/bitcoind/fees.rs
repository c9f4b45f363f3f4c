//! What a place in a block costs, by the node's estimate.

use bitcoin::{Amount, Denomination, FeeRate};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::node::{Node, value};
use super::rpc::{Bound, Call};
use super::trouble::Trouble;
use crate::FeeEstimates;
use crate::verdict::brief;

/// The targets for which Esplora gives estimates that somebody asks for.
const TARGETS: [u16; 6] = [1, 2, 3, 6, 144, 1008];
/// The highest estimate that is passed on, in sat/vB: more was asked for once only, for some hours of April 2024.
const CAP: FeeRate = FeeRate::from_sat_per_vb_u32(2_000);

#[derive(Deserialize)]
struct PoolFees {
    mempoolminfee: Box<RawValue>,
    minrelaytxfee: Box<RawValue>,
}

#[derive(Deserialize)]
struct Estimate {
    /// Absent where the node has not seen enough blocks.
    feerate: Option<Box<RawValue>>,
}

impl Node {
    /// Estimates between the lowest rate that the node takes now and [`CAP`]. A node that has not seen enough blocks to
    /// estimate gives the lowest rate; whoever pays it has to raise it if it is not enough.
    pub(super) async fn fee_estimates(&self) -> Result<FeeEstimates, Trouble> {
        let estimate = |target: &u16| -> Call { ("estimatesmartfee", json!([target])) };
        let calls = [("getmempoolinfo", json!([]))].into_iter().chain(TARGETS.iter().map(estimate)).collect();
        let mut answers = self.rpc.batch(calls, Bound::SMALL).await?.into_iter();
        let pool = answers.next().ok_or_else(|| Trouble::lie("an answer is missing"))?;
        let pool: PoolFees = value("getmempoolinfo", pool)?;
        let floor = rate(&pool.mempoolminfee)?.max(rate(&pool.minrelaytxfee)?);
        if floor > CAP {
            return Err(Trouble::lie(format!("its lowest fee rate is {floor}")));
        }
        let mut estimates = Vec::with_capacity(TARGETS.len());
        for (target, answer) in TARGETS.into_iter().zip(answers) {
            let Estimate { feerate } = value("estimatesmartfee", answer)?;
            let estimate = feerate.as_deref().map(rate).transpose()?;
            estimates.push((target, estimate.unwrap_or(floor).clamp(floor, CAP)));
        }
        Ok(FeeEstimates::new(floor, estimates))
    }
}

/// Bitcoin for 1,000 virtual bytes as Core writes it, rounded up to what a [`FeeRate`] can say.
fn rate(text: &RawValue) -> Result<FeeRate, Trouble> {
    let amount = Amount::from_str_in(text.get(), Denomination::Bitcoin)
        .map_err(|e| Trouble::lie(format!("{} is no fee rate: {e}", brief(text.get()))))?;
    Ok(FeeRate::from_sat_per_kwu(amount.to_sat().div_ceil(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_digit_by_digit() {
        let read = |text: &str| rate(&RawValue::from_string(text.to_owned()).unwrap());
        assert_eq!(read("0.00001000").unwrap(), FeeRate::from_sat_per_kwu(250));
        assert_eq!(read("0.00001001").unwrap(), FeeRate::from_sat_per_kwu(251), "rounded up");
        for wrong in ["-0.1", "1e-5x", "\"1\"", "null", "1e400"]
            .into_iter()
            .filter_map(|t| RawValue::from_string(t.to_owned()).ok())
        {
            assert!(matches!(rate(&wrong), Err(Trouble::Lie(_))), "{wrong}");
        }
    }
}
