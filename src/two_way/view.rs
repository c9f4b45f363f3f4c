//! What a page asks for, and what it gets to see.

use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_node::{BalanceInfo, ChannelInfo, CloseInfo, NodeInfo, OpenInfo, PaidInfo};
use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::error::Result;
use crate::js::{Fields, argument, wrong};
use crate::surroundings::Options as SiteOptions;

/// What `openTwoWay` takes.
pub(super) struct Options {
    pub(super) site: SiteOptions,
    pub(super) confirmations: Option<u32>,
    pub(super) poll_milliseconds: Option<u32>,
}

impl Options {
    /// # Errors
    /// [`rillpay_channel::Code::InvalidArgument`].
    pub(super) fn read(options: JsValue) -> Result<Self> {
        let fields: Fields = argument(options.clone())?;
        let confirmations: Option<u32> = fields.get("confirmations").map_err(wrong)?;
        if confirmations == Some(0) {
            return Err(wrong("confirmations"));
        }
        let poll_milliseconds = fields.get("pollMilliseconds").map_err(wrong)?;
        Ok(Self { site: SiteOptions::read(options)?, confirmations, poll_milliseconds })
    }
}

/// What `openChannel` takes.
pub(super) struct Opening {
    pub(super) peer: PublicKey,
    pub(super) capacity: Amount,
    pub(super) push: Amount,
}

impl Opening {
    /// # Errors
    /// [`rillpay_channel::Code::InvalidArgument`].
    pub(super) fn read(channel: JsValue) -> Result<Self> {
        let fields: Fields = argument(channel)?;
        let peer: String = fields.get("nodeKey").map_err(wrong)?;
        let sat = |sat| Some(Amount::from_sat(sat)).filter(|amount| *amount <= Amount::MAX_MONEY);
        let capacity = sat(fields.get("capacitySat").map_err(wrong)?).ok_or_else(|| wrong("capacitySat"))?;
        let push: Option<u64> = fields.get("pushSat").map_err(wrong)?;
        let push = sat(push.unwrap_or(0)).ok_or_else(|| wrong("pushSat"))?;
        Ok(Self { peer: super::key(&peer)?, capacity, push })
    }
}

/// See `TwoWayInfo` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InfoView {
    node_key: String,
    peers: Vec<String>,
    tip_height: u32,
}

impl From<NodeInfo> for InfoView {
    fn from(info: NodeInfo) -> Self {
        Self { node_key: info.id, peers: info.peers, tip_height: info.height }
    }
}

/// See `TwoWayChannel` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChannelView {
    id: String,
    peer: String,
    state: &'static str,
    opener: bool,
    capacity_sat: u64,
    balance_sat: u64,
    received_msat: u64,
    paid_msat: u64,
    funding: String,
    spent_by: Option<String>,
}

impl From<ChannelInfo> for ChannelView {
    fn from(channel: ChannelInfo) -> Self {
        Self {
            id: channel.id,
            peer: channel.peer,
            state: channel.state,
            opener: channel.opener,
            capacity_sat: channel.capacity_sat,
            balance_sat: channel.balance_sat,
            received_msat: channel.received_msat,
            paid_msat: channel.paid_msat,
            funding: channel.funding,
            spent_by: channel.spent_by,
        }
    }
}

/// See `OpenedChannel` in the package's types.
#[derive(Serialize)]
pub(super) struct OpenView {
    channel: String,
    funding: String,
}

impl From<OpenInfo> for OpenView {
    fn from(opened: OpenInfo) -> Self {
        Self { channel: opened.channel, funding: opened.funding }
    }
}

/// See `ChannelPayment` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaidView {
    channel: String,
    amount_sat: u64,
    settled: bool,
    balance_sat: u64,
}

impl From<PaidInfo> for PaidView {
    fn from(paid: PaidInfo) -> Self {
        Self {
            channel: paid.channel,
            amount_sat: paid.amount_sat,
            settled: paid.settled,
            balance_sat: paid.balance_sat,
        }
    }
}

/// See `ChannelClose` in the package's types.
#[derive(Serialize)]
pub(super) struct CloseView {
    channel: String,
    state: &'static str,
    txid: Option<String>,
}

impl From<CloseInfo> for CloseView {
    fn from(close: CloseInfo) -> Self {
        Self { channel: close.channel, state: close.state, txid: close.txid }
    }
}

/// See `TwoWayBalance` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BalanceView {
    confirmed_sat: u64,
    total_sat: u64,
    channels_sat: u64,
}

impl From<BalanceInfo> for BalanceView {
    fn from(balance: BalanceInfo) -> Self {
        Self { confirmed_sat: balance.confirmed_sat, total_sat: balance.total_sat, channels_sat: balance.channels_sat }
    }
}

/// See `TwoWayEvent` in the package's types.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Event {
    Changed {},
    Paid { channel: String, amount_msat: u64 },
}
