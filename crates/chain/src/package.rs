//! A parent and a child that pays for both, handed over together (Bitcoin Core's `submitpackage`, Esplora's `POST /txs/package`).

use std::collections::BTreeMap;

use bitcoin::Transaction;
use serde::{Deserialize, Serialize};

use crate::{Refusal, verdict};

/// The word for "taken".
const SUCCESS: &str = "success";
/// What a node says of a transaction that it has not looked at because of the other one.
const NOT_LOOKED_AT: &str = "package-not-validated";

/// A node's answer, as far as anybody here asks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PackageVerdict {
    package_msg: String,
    /// By the hash with witness.
    #[serde(rename = "tx-results", default)]
    results: BTreeMap<String, TxVerdict>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TxVerdict {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl PackageVerdict {
    /// The answer of a backend that took both, or of one that refused.
    pub fn of(verdict: &Result<(), Refusal>) -> Self {
        let words = verdict.as_ref().map_or_else(Refusal::to_string, |()| SUCCESS.to_owned());
        Self { package_msg: words, results: BTreeMap::new() }
    }

    /// Whether both are in the node's mempool, and otherwise why not.
    pub(crate) fn judge(&self, package: [&Transaction; 2]) -> Result<(), Refusal> {
        if self.package_msg == SUCCESS {
            return Ok(());
        }
        let error = |tx: &Transaction| self.results.get(&tx.compute_wtxid().to_string())?.error.as_deref();
        let found = package.into_iter().filter_map(error).find(|words| *words != NOT_LOOKED_AT);
        Err(verdict::refusal(&verdict::brief(found.unwrap_or(&self.package_msg))))
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use serde_json::json;

    use super::*;
    use crate::Reason;

    fn transaction(lock: u32) -> Transaction {
        Transaction { version: Version::TWO, lock_time: LockTime::from_consensus(lock), input: vec![], output: vec![] }
    }

    #[test]
    fn the_reason_is_the_one_of_whoever_is_at_fault() {
        let [parent, child] = [transaction(1), transaction(2)];
        let judged = |message: &str, errors: [Option<&str>; 2]| {
            let entry = |(tx, error): (&Transaction, Option<&str>)| {
                let error = error.map_or(json!({"txid": tx.compute_txid()}), |error| json!({"error": error}));
                (tx.compute_wtxid().to_string(), error)
            };
            let results: serde_json::Map<_, _> = [&parent, &child].into_iter().zip(errors).map(entry).collect();
            let answer = json!({"package_msg": message, "tx-results": results, "replaced-transactions": []});
            let verdict: PackageVerdict = serde_json::from_value(answer).unwrap();
            verdict.judge([&parent, &child]).map_err(|refusal| refusal.reason)
        };
        assert_eq!(judged("success", [None, None]), Ok(()));
        let failed = "transaction failed";
        assert_eq!(
            judged(failed, [Some("mempool min fee not met, 1 < 2"), Some(NOT_LOOKED_AT)]),
            Err(Reason::FeeTooLow)
        );
        assert_eq!(judged(failed, [Some(NOT_LOOKED_AT), Some("insufficient fee")]), Err(Reason::InsufficientFee));
        assert_eq!(judged(failed, [None, Some("bad-txns-inputs-missingorspent")]), Err(Reason::MissingInputs));
        assert_eq!(judged("package-mempool-limits", [None, None]), Err(Reason::Other));
        let long = PackageVerdict { package_msg: "\n".repeat(9_000), ..PackageVerdict::default() };
        assert_eq!(long.judge([&parent, &child]).unwrap_err().detail, " ".repeat(300));
        for verdict in [Ok(()), Err(Refusal::plain(Reason::FeeTooLow))] {
            assert_eq!(PackageVerdict::of(&verdict).judge([&parent, &child]), verdict);
        }
    }
}
