//! Where blocks, transactions and outputs stand, in Esplora's words.

use bitcoin::{BlockHash, Txid};
use serde::{Deserialize, Serialize};

/// The best block of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height; the genesis block is 0.
    pub height: u32,
    /// The block's hash.
    pub hash: BlockHash,
    /// The time in its header, in seconds since 1970.
    pub time: u32,
    /// The median time of this and the ten blocks before it, in seconds since 1970: what time locks in the *next*
    /// block are measured against ([BIP 113](https://github.com/bitcoin/bips/blob/master/bip-0113.mediawiki)).
    pub median_time: u32,
}

/// The block that confirms a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Height; the genesis block is 0.
    pub height: u32,
    /// The block's hash.
    pub hash: BlockHash,
    /// The time in its header, in seconds since 1970.
    pub time: u32,
}

/// Whether a transaction is in the mempool or in a block.
///
/// As JSON, Esplora's `{"confirmed":true,"block_height":…,"block_hash":…,"block_time":…}` or `{"confirmed":false}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StatusJson", try_from = "StatusJson")]
pub enum Status {
    /// In the mempool.
    Unconfirmed,
    /// In a block of the best chain.
    Confirmed(BlockRef),
}

impl Status {
    /// The confirming block, if there is one.
    pub fn block(&self) -> Option<BlockRef> {
        match self {
            Status::Unconfirmed => None,
            Status::Confirmed(block) => Some(*block),
        }
    }

    /// True when a block of the best chain holds the transaction.
    pub fn is_confirmed(&self) -> bool {
        self.block().is_some()
    }

    /// How many blocks, the confirming one included, lie on the transaction when the tip is at `tip_height`:
    /// 0 in the mempool, 1 in the newest block. A tip below the block, as seen across a reorganisation, counts as 0.
    pub fn confirmations(&self, tip_height: u32) -> u32 {
        self.block().and_then(|block| tip_height.checked_sub(block.height)).map_or(0, |above| above.saturating_add(1))
    }
}

/// The flat form of [`Status`] on the wire.
#[derive(Serialize, Deserialize)]
struct StatusJson {
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    block_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    block_hash: Option<BlockHash>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    block_time: Option<u32>,
}

impl From<Status> for StatusJson {
    fn from(status: Status) -> Self {
        let block = status.block();
        StatusJson {
            confirmed: block.is_some(),
            block_height: block.map(|b| b.height),
            block_hash: block.map(|b| b.hash),
            block_time: block.map(|b| b.time),
        }
    }
}

impl TryFrom<StatusJson> for Status {
    type Error = &'static str;

    fn try_from(json: StatusJson) -> Result<Self, Self::Error> {
        match (json.confirmed, json.block_height, json.block_hash, json.block_time) {
            (false, ..) => Ok(Status::Unconfirmed),
            (true, Some(height), Some(hash), Some(time)) => Ok(Status::Confirmed(BlockRef { height, hash, time })),
            (true, ..) => Err("a confirmed status must name its block"),
        }
    }
}

/// The input that spends an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The spending transaction.
    pub txid: Txid,
    /// Which of its inputs.
    pub vin: u32,
    /// Where the spending transaction stands.
    pub status: Status,
}

/// Whether an output is spent. As JSON, Esplora's `{"spent":true,"txid":…,"vin":…,"status":{…}}` or `{"spent":false}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "OutspendJson", try_from = "OutspendJson")]
pub enum Outspend {
    /// Nothing in the chain or the mempool spends it.
    Unspent,
    /// This input spends it.
    Spent(Spending),
}

impl Outspend {
    /// The spending input, if there is one.
    pub fn spending(&self) -> Option<Spending> {
        match self {
            Outspend::Unspent => None,
            Outspend::Spent(spending) => Some(*spending),
        }
    }
}

/// The flat form of [`Outspend`] on the wire.
#[derive(Serialize, Deserialize)]
struct OutspendJson {
    spent: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    txid: Option<Txid>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    vin: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    status: Option<Status>,
}

impl From<Outspend> for OutspendJson {
    fn from(outspend: Outspend) -> Self {
        let spending = outspend.spending();
        OutspendJson {
            spent: spending.is_some(),
            txid: spending.map(|s| s.txid),
            vin: spending.map(|s| s.vin),
            status: spending.map(|s| s.status),
        }
    }
}

impl TryFrom<OutspendJson> for Outspend {
    type Error = &'static str;

    fn try_from(json: OutspendJson) -> Result<Self, Self::Error> {
        match (json.spent, json.txid, json.vin, json.status) {
            (false, ..) => Ok(Outspend::Unspent),
            (true, Some(txid), Some(vin), Some(status)) => Ok(Outspend::Spent(Spending { txid, vin, status })),
            (true, ..) => Err("a spent output must name its spender"),
        }
    }
}

#[cfg(any(feature = "kernel", feature = "bitcoind", feature = "esplora"))]
/// The median as consensus takes it: the upper middle of an even number.
pub(crate) fn median(times: &[u32]) -> Option<u32> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().div_euclid(2)).copied()
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;
    use serde_json::json;

    use super::*;

    fn block() -> BlockRef {
        BlockRef { height: 7, hash: BlockHash::all_zeros(), time: 1_700_000_000 }
    }

    #[test]
    fn status_is_flat_json_and_comes_back() {
        let status = Status::Confirmed(block());
        let text = serde_json::to_value(status).unwrap();
        assert_eq!(
            text,
            json!({"confirmed": true, "block_height": 7, "block_hash": "00".repeat(32), "block_time": 1_700_000_000})
        );
        assert_eq!(serde_json::from_value::<Status>(text).unwrap(), status);
        assert_eq!(serde_json::to_value(Status::Unconfirmed).unwrap(), json!({"confirmed": false}));
        assert!(serde_json::from_value::<Status>(json!({"confirmed": true})).is_err());
    }

    #[test]
    fn outspend_is_flat_json_and_comes_back() {
        let spent = Outspend::Spent(Spending { txid: Txid::all_zeros(), vin: 2, status: Status::Unconfirmed });
        let text = serde_json::to_value(spent).unwrap();
        assert_eq!(text, json!({"spent": true, "txid": "00".repeat(32), "vin": 2, "status": {"confirmed": false}}));
        assert_eq!(serde_json::from_value::<Outspend>(text).unwrap(), spent);
        assert_eq!(serde_json::to_value(Outspend::Unspent).unwrap(), json!({"spent": false}));
        assert!(serde_json::from_value::<Outspend>(json!({"spent": true})).is_err());
    }

    #[test]
    fn confirmations_count_the_confirming_block() {
        let status = Status::Confirmed(block());
        assert_eq!(status.confirmations(7), 1);
        assert_eq!(status.confirmations(9), 3);
        assert_eq!(status.confirmations(6), 0);
        assert_eq!(Status::Unconfirmed.confirmations(9), 0);
    }

    #[cfg(any(feature = "kernel", feature = "bitcoind", feature = "esplora"))]
    #[test]
    fn the_median_is_the_upper_middle() {
        assert_eq!(median(&[5, 1, 3]), Some(3));
        assert_eq!(median(&[4, 1, 3, 2]), Some(3));
        assert_eq!(median(&[]), None);
    }
}
