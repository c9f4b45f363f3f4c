//! The terms that a server publishes at `/.well-known/rillpay`, checked whole before any of them is used.

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, Network};
use rillpay_channel::params::{MAX_HEIGHT, MAX_PURPOSE};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{Code, KindName, Ladder, Msat, wire};
use serde::Serialize;
use web_sys::Url;

use crate::error::{Error, Problem, Result};
use crate::http::{self, HttpError, is_trustworthy};
use crate::js::{self, Fields};

/// Where every server publishes them.
const PATH: &str = "/.well-known/rillpay";

/// What a server offers.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The server's origin, in the browser's spelling.
    pub origin: String,
    /// The ladder of `timelock` channels; `None` where channels are of the kind `cltv`.
    pub ladder: Option<Ladder>,
    /// Bitcoin network.
    pub network: Network,
    /// The operator's node key.
    pub node: PublicKey,
    /// Price and window.
    pub tariff: Tariff,
    /// Least deposit.
    pub min_deposit: Amount,
    /// Largest deposit that can be spent.
    pub max_deposit: Amount,
    /// Confirmations that a deposit needs.
    pub confirmations: u16,
    /// Blocks from opening to expiry.
    pub expiry_blocks: u32,
    /// Base URL of the operator's Esplora, without a slash at the end.
    pub esplora: Option<String>,
    /// URL of the socket.
    pub socket: String,
    /// What channels with this server are for.
    pub purpose: String,
}

/// The terms as JavaScript sees them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TermsView {
    kind: &'static str,
    max_payments: Option<u32>,
    network: &'static str,
    node_key: String,
    unit: &'static str,
    price_msat: u64,
    window_units: u32,
    min_deposit_sat: u64,
    max_deposit_sat: u64,
    confirmations: u16,
    expiry_blocks: u32,
    esplora: Option<String>,
}

/// The origin of a server's URL, which names its lock and its records.
///
/// # Errors
/// [`Code::InvalidArgument`] for what is no `https` URL (nor `http` to this machine).
pub fn origin(server: &str) -> Result<String> {
    Url::new(server)
        .ok()
        .filter(is_trustworthy)
        .map(|url| url.origin())
        .ok_or(Error::new(Code::InvalidArgument, "the server has to be an https URL, or http on this machine"))
}

impl Terms {
    /// Fetches and checks the terms of a server's origin.
    ///
    /// # Errors
    /// [`Problem::TermsUnreachable`], and as [`Terms::parse`].
    pub async fn fetch(origin: &str) -> Result<Self> {
        let text = http::get_text(&format!("{origin}{PATH}")).await.map_err(|error| {
            let cause = match error {
                HttpError::NotFound => "this server publishes no terms".to_owned(),
                HttpError::Failed(cause) => cause,
            };
            Error::Browser(Problem::TermsUnreachable, Some(cause))
        })?;
        Self::parse(&text, origin)
    }

    /// Checks terms that came as JSON text.
    ///
    /// # Errors
    /// [`Problem::InvalidTerms`] with the field, [`Code::UnsupportedVersion`].
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let fields: Fields = js::parse(text).ok_or_else(|| invalid("no JSON object"))?;
        let versions: Vec<u32> = fields.get("versions").map_err(invalid)?;
        if !versions.contains(&u32::from(wire::VERSION)) {
            return Err(Error::new(Code::UnsupportedVersion, "this server speaks another version of the protocol"));
        }
        let text = |name| fields.get::<String>(name).map_err(invalid);
        let number = |name| fields.get::<u32>(name).map_err(invalid);
        let sat = |name| sat(&text(name)?).ok_or_else(|| invalid(name));
        let esplora: Option<String> = fields.get("esplora").map_err(invalid)?;
        let terms = Self {
            ladder: ladder(&fields)?,
            network: parse_network(&text("network")?).ok_or_else(|| invalid("network"))?,
            node: text("nodeKey")?.parse().map_err(|_| invalid("nodeKey"))?,
            tariff: Tariff {
                unit: parse_unit(&text("unit")?).ok_or_else(|| invalid("unit"))?,
                price: decimal(&text("priceMsat")?).and_then(Msat::new).ok_or_else(|| invalid("priceMsat"))?,
                window: number("windowUnits")?,
            },
            min_deposit: sat("minDepositSat")?,
            max_deposit: sat("maxDepositSat")?,
            confirmations: number("confirmations")?.try_into().map_err(|_| invalid("confirmations"))?,
            expiry_blocks: number("expiryBlocks")?,
            esplora: match esplora {
                Some(url) => Some(base_url(&url, origin).ok_or_else(|| invalid("esplora"))?),
                None => None,
            },
            socket: socket_url(&text("socket")?, origin).ok_or_else(|| invalid("socket"))?,
            purpose: text("purpose")?,
            origin: origin.to_owned(),
        };
        terms.tariff.validate().map_err(|_| invalid("windowUnits"))?;
        if terms.min_deposit > terms.max_deposit {
            return Err(invalid("minDepositSat"));
        }
        if terms.confirmations == 0 {
            return Err(invalid("confirmations"));
        }
        if terms.expiry_blocks == 0 || terms.expiry_blocks > MAX_HEIGHT {
            return Err(invalid("expiryBlocks"));
        }
        if terms.purpose.len() > MAX_PURPOSE.into() {
            return Err(invalid("purpose"));
        }
        Ok(terms)
    }

    pub(crate) fn view(&self) -> TermsView {
        TermsView {
            kind: if self.ladder.is_some() { KindName::Timelock } else { KindName::Cltv }.as_str(),
            max_payments: self.ladder.map(|ladder| ladder.updates),
            network: network_name(self.network),
            node_key: self.node.to_string(),
            unit: self.tariff.unit.as_str(),
            price_msat: self.tariff.price.get(),
            window_units: self.tariff.window,
            min_deposit_sat: self.min_deposit.to_sat(),
            max_deposit_sat: self.max_deposit.to_sat(),
            confirmations: self.confirmations,
            expiry_blocks: self.expiry_blocks,
            esplora: self.esplora.clone(),
        }
    }
}

fn invalid(field: &str) -> Error {
    Error::Browser(Problem::InvalidTerms, Some(field.to_owned()))
}

fn ladder(fields: &Fields) -> Result<Option<Ladder>> {
    let kind: String = fields.get("kind").map_err(invalid)?;
    match kind.as_str() {
        "cltv" => Ok(None),
        "timelock" => {
            let ladder: Fields = fields.get("ladder").map_err(invalid)?;
            let step: u32 = ladder.get("stepBlocks").map_err(invalid)?;
            let step = step.try_into().map_err(|_| invalid("stepBlocks"))?;
            Ok(Some(Ladder { step, updates: ladder.get("updates").map_err(invalid)? }))
        }
        _ => Err(Error::new(Code::UnacceptableTerms, "this server offers channels of a kind that is not known here")),
    }
}

fn decimal(text: &str) -> Option<u64> {
    // `parse` would take a sign.
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn sat(text: &str) -> Option<Amount> {
    decimal(text).map(Amount::from_sat).filter(|amount| *amount <= Amount::MAX_MONEY)
}

/// The network with this name.
pub(crate) fn parse_network(name: &str) -> Option<Network> {
    Some(match name {
        "bitcoin" => Network::Bitcoin,
        "testnet" => Network::Testnet,
        "testnet4" => Network::Testnet4,
        "signet" => Network::Signet,
        "regtest" => Network::Regtest,
        _ => return None,
    })
}

/// The name of a network in JavaScript and JSON.
pub(crate) const fn network_name(network: Network) -> &'static str {
    match network {
        Network::Bitcoin => "bitcoin",
        Network::Testnet => "testnet",
        Network::Testnet4 => "testnet4",
        Network::Signet => "signet",
        // The enum may grow; a network that it does not know today cannot have been parsed.
        _ => "regtest",
    }
}

fn parse_unit(name: &str) -> Option<Unit> {
    [Unit::Second, Unit::Byte, Unit::Request].into_iter().find(|unit| unit.as_str() == name)
}

/// An absolute URL, or one relative to the server; without a slash at the end.
pub(crate) fn base_url(url: &str, origin: &str) -> Option<String> {
    let url = Url::new_with_base(url, origin).ok().filter(is_trustworthy)?;
    Some(url.href().trim_end_matches('/').to_owned())
}

/// The socket is on the server itself: money goes where the viewer was told.
fn socket_url(path: &str, origin: &str) -> Option<String> {
    let url = Url::new_with_base(path, origin).ok()?;
    if !path.starts_with('/') || url.origin() != origin {
        return None;
    }
    url.set_protocol(if url.protocol() == "https:" { "wss:" } else { "ws:" });
    Some(url.href())
}
