//! A consistent picture of one channel, as JavaScript sees it.

use rillpay_channel::bitcoin::{Address, Amount, Transaction};
use rillpay_channel::commitment::SeenOutput;
use rillpay_channel::params::ChannelParams;
use rillpay_channel::payer::{Payer, Phase};
use rillpay_channel::uri::payment_uri;
use rillpay_channel::{Code, Kind};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::esplora::Look;
use crate::safety::Safety;

/// What the payer machine does not know by itself.
pub(crate) struct Surroundings<'a> {
    /// The browser's latest look at the chain; `None` before the first.
    pub(crate) look: Option<&'a Look>,
    /// The session's token, in hex, while a socket is attached.
    pub(crate) session: Option<&'a str>,
    /// How safe what is stored is.
    pub(crate) safety: &'a Safety,
}

/// See `ChannelSnapshot` in the package's types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    id: String,
    kind: &'static str,
    pub(crate) phase: &'static str,
    address: String,
    funding_address: String,
    uri: String,
    deposit_sat: u64,
    capacity_sat: u64,
    confirmations: u32,
    confirmations_required: u16,
    funding_txid: Option<String>,
    payments_left: Option<u32>,
    paid_sat: u64,
    delivered_msat: u64,
    price_msat: u64,
    unit: &'static str,
    expiry_height: u32,
    refund_height: u32,
    tip_height: u32,
    attached: bool,
    paused: bool,
    session: Option<String>,
    evictable_before_expiry: bool,
    pub(crate) statement: Option<StatementView>,
}

/// See `Statement` in the package's types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatementView {
    paid_sat: u64,
    returned_sat: u64,
    txid: Option<String>,
    confirmed: bool,
    return_address: String,
}

impl Snapshot {
    /// The picture of a channel now.
    ///
    /// # Errors
    /// None in practice: every agreed script has an address.
    pub(crate) fn of(payer: &Payer, around: &Surroundings<'_>) -> Result<Self> {
        let params = payer.params();
        let (address, asked) = (pay_into(params)?, asked(payer));
        let deposit = deposit(payer, around.look);
        let made = payer.funding_transaction().map(Transaction::compute_txid);
        let tip = around.look.map_or(0, |look| look.tip);
        Ok(Self {
            id: payer.id().to_string(),
            kind: params.kind.name().as_str(),
            phase: phase(payer, around.look),
            uri: payment_uri(&address, asked, &params.purpose),
            address: address.to_string(),
            funding_address: params.address()?.to_string(),
            deposit_sat: asked.to_sat(),
            capacity_sat: deposit.map_or(0, |output| output.funding.capacity.to_sat()),
            confirmations: deposit.map_or(0, |output| output.confirmations),
            confirmations_required: params.confirmations,
            funding_txid: deposit.map(|output| output.funding.outpoint.txid).or(made).map(|txid| txid.to_string()),
            payments_left: payer.updates_left(),
            paid_sat: payer.paid().to_sat(),
            delivered_msat: payer.owed().get(),
            price_msat: params.tariff.price.get(),
            unit: params.tariff.unit.as_str(),
            expiry_height: params.expiry,
            refund_height: payer.refund_height(),
            tip_height: tip,
            attached: around.session.is_some(),
            paused: payer.is_paused(),
            session: around.session.map(str::to_owned),
            evictable_before_expiry: around.look.is_some()
                && !payer.spend().is_some_and(|spend| spend.confirmed)
                && around.safety.evicts_within(params.expiry.saturating_sub(tip)),
            statement: statement(payer)?,
        })
    }
}

/// What a viewer pays beside the deposit of a `timelock` channel: the mining fee of the funding, which the page broadcasts.
const FUNDING_FEE: Amount = Amount::from_sat(2_000);

/// Where the viewer's money goes: to the channel, or, where the page funds the channel itself, into its wallet.
fn pay_into(params: &ChannelParams) -> Result<Address> {
    match params.kind {
        Kind::Cltv => Ok(params.address()?),
        Kind::Timelock { .. } => Address::from_script(&params.return_script, params.network)
            .map_err(|_| Error::new(Code::InvalidReturnScript, "this script has no address")),
    }
}

/// What the viewer is asked to pay.
fn asked(payer: &Payer) -> Amount {
    let fee = if payer.params().kind.ladder().is_some() { FUNDING_FEE } else { Amount::ZERO };
    payer.deposit().checked_add(fee).unwrap_or(Amount::MAX_MONEY)
}

/// The deposit that counts: the one agreed, else the most confirmed of those seen.
fn deposit(payer: &Payer, look: Option<&Look>) -> Option<SeenOutput> {
    let seen = look.map_or(&[][..], |look| &look.outputs);
    match payer.funding() {
        Some(funding) => {
            let now = seen.iter().find(|output| output.funding == *funding).copied();
            // Spent, or not looked at yet: it was confirmed as deeply as agreed once.
            Some(now.unwrap_or(SeenOutput { funding: *funding, confirmations: payer.params().confirmations.into() }))
        }
        None => seen.iter().max_by_key(|output| output.confirmations).copied(),
    }
}

fn phase(payer: &Payer, look: Option<&Look>) -> &'static str {
    let expired = look.is_some_and(|look| look.tip >= payer.refund_height());
    let seen = look.is_some_and(|look| !look.outputs.is_empty());
    let confirmed = payer.spend().is_some_and(|spend| spend.confirmed);
    match payer.phase() {
        // A second deposit to the same address waits for its refund.
        Phase::Settled | Phase::Refunded if confirmed && expired && seen => "refundable",
        Phase::Refunded => "refunded",
        Phase::Settled if confirmed => "settled",
        Phase::Settled => "closing",
        _ if expired => "refundable",
        Phase::Stopping | Phase::Closing | Phase::Closed => "closing",
        Phase::Open => "open",
        Phase::Opened if seen || payer.funding_transaction().is_some() => "confirming",
        Phase::Opened => "opened",
    }
}

/// What the end of the channel is worth to both, once the payee has signed it or the chain shows it.
fn statement(payer: &Payer) -> Result<Option<StatementView>> {
    if !matches!(payer.phase(), Phase::Closed | Phase::Settled | Phase::Refunded) {
        return Ok(None);
    }
    let params = payer.params();
    let spend = payer.spend();
    let paid = match (spend, payer.closing()) {
        (Some(spend), _) if spend.refund => Amount::ZERO,
        (_, Some(closing)) => closing.cumulative,
        (_, None) => payer.paid(),
    };
    let return_address = Address::from_script(&params.return_script, params.network)
        .map_or_else(|_| String::new(), |address| address.to_string());
    Ok(Some(StatementView {
        paid_sat: paid.to_sat(),
        returned_sat: spend.map_or_else(|| payer.returned(), |spend| spend.returned).to_sat(),
        txid: spend.map(|spend| spend.txid.to_string()),
        confirmed: spend.is_some_and(|spend| spend.confirmed),
        return_address,
    }))
}
