//! Handing a transaction to the node.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Transaction, Txid};
use serde_json::json;

use super::node::{Node, value};
use super::rpc::{Bound, Said};
use super::trouble::Trouble;
use crate::{ChainError, PackageVerdict, verdict};

/// It is no transaction, or none that a node reads.
const UNREADABLE: i64 = -22;
/// An input is missing.
const MISSING: i64 = -25;
/// The mempool's rules are against it.
const REJECTED: i64 = -26;
/// The chain has it.
const CONFIRMED: i64 = -27;
/// A node older than what it was asked for: it does not know the method, not all of it, or for tests alone.
const UNKNOWN_METHOD: i64 = -32_601;
const MISUSED: i64 = -1;

impl Node {
    /// Success means that the node's mempool has it. Its limit on fee rates, which guards hands and no programs, is off: the
    /// network has none, and what a transaction may cost is for its maker to decide.
    pub(super) async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        let call = ("sendrawtransaction", json!([serialize_hex(tx), 0]));
        let [answer] = self.rpc.ask([call], Bound::SMALL).await?;
        let txid = tx.compute_txid();
        match answer {
            Err(Said { code: UNREADABLE | MISSING | REJECTED | CONFIRMED, message }) => {
                Err(verdict::refusal(&message).into())
            }
            answer => match value::<Txid>("sendrawtransaction", answer)? {
                theirs if theirs == txid => Ok(txid),
                theirs => Err(Trouble::lie(format!("it was given {txid} and took {theirs}")).into()),
            },
        }
    }

    /// As [`Node::broadcast`], both together; `false` where the node is too old for that.
    pub(super) async fn submit_package(&self, package: [&Transaction; 2]) -> Result<bool, ChainError> {
        let call = ("submitpackage", json!([package.map(serialize_hex), 0]));
        let [answer] = self.rpc.ask([call], Bound::SMALL).await?;
        match answer {
            Err(Said { code: UNKNOWN_METHOD | MISUSED, .. }) => Ok(false),
            Err(Said { code: UNREADABLE | MISSING | REJECTED | CONFIRMED, message }) => {
                Err(verdict::refusal(&message).into())
            }
            answer => {
                value::<PackageVerdict>("submitpackage", answer)?.judge(package)?;
                Ok(true)
            }
        }
    }
}
