//! What a page asks of the wallet, and what it gets to see.

use rillpay_channel::Code;
use rillpay_channel::bitcoin::{Amount, FeeRate, Network, Txid};
use rillpay_wallet::account::parse_address;
use rillpay_wallet::fees::{Speed, rate};
use rillpay_wallet::{Balance, Built, Entry, Order, Wallet as Machine, What};
use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::error::{Error, Result};
use crate::esplora::Esplora;
use crate::js::{Fields, argument, wrong};

/// What a payment takes.
pub(super) struct PaymentOptions {
    to: String,
    amount_sat: Option<u64>,
    speed: Option<String>,
    sat_per_vbyte: Option<u32>,
}

impl PaymentOptions {
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub(super) fn read(options: JsValue) -> Result<Self> {
        let options: Fields = argument(options)?;
        Ok(Self {
            to: options.get("to").map_err(wrong)?,
            amount_sat: options.get("amountSat").map_err(wrong)?,
            speed: options.get("speed").map_err(wrong)?,
            sat_per_vbyte: options.get("satPerVbyte").map_err(wrong)?,
        })
    }

    /// A payment of a certain amount: to forget it must not empty the wallet.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub(super) fn with_amount(self) -> Result<Self> {
        if self.amount_sat.is_none() { Err(wrong("amountSat")) } else { Ok(self) }
    }

    /// # Errors
    /// [`Code::InvalidArgument`].
    pub(super) fn without_amount(self) -> Result<Self> {
        if self.amount_sat.is_some() { Err(wrong("amountSat")) } else { Ok(self) }
    }

    /// The fee rate, asked for where it is a speed.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`rillpay_wallet::Code::InvalidFeeRate`], [`crate::error::Problem::ChainUnreachable`].
    pub(super) async fn rate(&self, esplora: &Esplora) -> Result<FeeRate> {
        let speed = match (self.sat_per_vbyte, &self.speed) {
            (Some(sat_per_vb), None) => return Ok(rate(sat_per_vb)?),
            (None, None) => Some(Speed::Normal),
            (None, Some(name)) => Speed::parse(name),
            (Some(_), Some(_)) => None,
        };
        esplora.fee_rate(speed.ok_or_else(|| wrong("speed"))?).await
    }

    /// # Errors
    /// [`rillpay_wallet::Code::InvalidAddress`].
    pub(super) fn order(&self, network: Network, rate: FeeRate, later: bool) -> Result<Order> {
        let what = self.amount_sat.map_or(What::Everything, |sat| What::Amount(Amount::from_sat(sat)));
        Ok(Order { to: parse_address(&self.to, network)?, what, rate, later })
    }
}

/// # Errors
/// [`Code::InvalidArgument`].
pub(super) fn txid(text: &str) -> Result<Txid> {
    text.parse().map_err(|_| Error::new(Code::InvalidArgument, "this is no transaction's id"))
}

/// See `Quote` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quote {
    amount_sat: u64,
    fee_sat: u64,
    change_sat: u64,
    sat_per_vbyte: u32,
}

impl Quote {
    pub(super) fn of(built: &Built, rate: FeeRate) -> Self {
        Self {
            amount_sat: built.amount.to_sat(),
            fee_sat: built.fee.to_sat(),
            change_sat: built.change.unwrap_or_default().to_sat(),
            // No rate is above a thousand.
            sat_per_vbyte: u32::try_from(rate.to_sat_per_vb_ceil()).unwrap_or(u32::MAX),
        }
    }
}

/// See `Sent` and `Built` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    amount_sat: u64,
    fee_sat: u64,
    change_sat: u64,
    sat_per_vbyte: u32,
    txid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<bool>,
}

impl Sent {
    pub(super) fn of(built: &Built, rate: FeeRate, broadcast: Option<bool>) -> Self {
        let Quote { amount_sat, fee_sat, change_sat, sat_per_vbyte } = Quote::of(built, rate);
        Self { amount_sat, fee_sat, change_sat, sat_per_vbyte, txid: built.txid.to_string(), broadcast }
    }
}

/// See `ReceiveAddress` in the package's types.
#[derive(Serialize)]
pub(super) struct AddressView {
    address: String,
    index: u32,
}

impl AddressView {
    /// # Errors
    /// None in practice.
    pub(super) fn of(machine: &mut Machine) -> Result<Self> {
        Ok(Self { index: machine.receive_index(), address: machine.address()?.to_string() })
    }
}

/// See `Balance` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BalanceView {
    confirmed_sat: u64,
    pending_sat: u64,
    held_sat: u64,
    immature_sat: u64,
}

impl From<Balance> for BalanceView {
    fn from(balance: Balance) -> Self {
        Self {
            confirmed_sat: balance.confirmed.to_sat(),
            pending_sat: balance.unconfirmed.to_sat(),
            held_sat: balance.locked.to_sat(),
            immature_sat: balance.immature.to_sat(),
        }
    }
}

/// See `Entry` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryView {
    txid: String,
    received_sat: u64,
    sent_sat: u64,
    fee_sat: Option<u64>,
    confirmations: u32,
    height: Option<u32>,
    /// A number in JavaScript, as all times: whole milliseconds stay exact in it.
    time: Option<f64>,
}

impl EntryView {
    pub(super) fn of(entry: &Entry, confirmations: u32) -> Self {
        Self {
            txid: entry.txid.to_string(),
            received_sat: entry.received.to_sat(),
            sent_sat: entry.sent.to_sat(),
            fee_sat: entry.fee.map(Amount::to_sat),
            confirmations,
            height: entry.status.height,
            time: entry.status.time.map(|seconds| u64::from(seconds).saturating_mul(1_000) as f64),
        }
    }
}
