//! What commands are answered with. The fields are stable; money is in whole numbers.

use serde::Serialize;

/// One channel, as `list` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelInfo {
    /// Its id.
    pub id: String,
    /// The counterparty's node key.
    pub peer: String,
    /// `opening`, `offline`, `open`, `closing`, `closed`, `closed_alone`, `fell_behind`, `spent` or `aborted`.
    pub state: &'static str,
    /// Whether we opened it.
    pub opener: bool,
    /// Satoshi.
    pub capacity_sat: u64,
    /// What is ours of it, in satoshi.
    pub balance_sat: u64,
    /// What was paid to us over it, for good, in millisatoshi.
    pub received_msat: u64,
    /// What we paid over it, for good, in millisatoshi.
    pub paid_msat: u64,
    /// The funding output.
    pub funding: String,
    /// What spends it.
    pub spent_by: Option<String>,
}

/// What a payment came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PaidInfo {
    /// Over which channel.
    pub channel: String,
    /// How much, in satoshi.
    pub amount_sat: u64,
    /// Whether both sides have revoked what was before. Otherwise it is signed for, and is sure to follow.
    pub settled: bool,
    /// What is ours of the channel now, in satoshi.
    pub balance_sat: u64,
}

/// How a close stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CloseInfo {
    /// Which channel.
    pub channel: String,
    /// `closed`, `closed_alone`, `aborted` where nothing was paid, or `closing` while payments under way end.
    pub state: &'static str,
    /// The transaction that ends it.
    pub txid: Option<String>,
}

/// What came back from a peer's backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreInfo {
    /// The channels that the store did not have, or knew less of.
    pub channels: Vec<String>,
}

/// A channel just opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenInfo {
    /// Its id.
    pub channel: String,
    /// The funding output.
    pub funding: String,
}

/// Money outside and inside channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceInfo {
    /// On chain, in blocks, in satoshi.
    pub confirmed_sat: u64,
    /// On chain, all of it, in satoshi.
    pub total_sat: u64,
    /// Ours in channels that have not ended, in satoshi.
    pub channels_sat: u64,
}

/// The watchtower of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TowerInfo {
    /// Its key.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// How many revoked states it has no kit for yet.
    pub unsent: u64,
    /// Why, if something went wrong last time.
    pub trouble: Option<String>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Its key.
    pub id: String,
    /// Where it listens.
    pub address: Option<String>,
    /// Where it listens for WebSockets.
    pub websocket: Option<String>,
    /// Connected peers.
    pub peers: Vec<String>,
    /// The height of the best block.
    pub height: u32,
    /// The watchtower, if there is one.
    pub tower: Option<TowerInfo>,
}
