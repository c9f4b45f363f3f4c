//! The way back from a refund file alone: without the site, its server, and what this browser has stored.
//!
//! A file is believed as far as it proves itself: each transaction is the one that its id names, and spends one output of
//! the file's script, after the expiry, to the return address. Whether its signature is good depends on an amount that only
//! the chain knows; it judges that when the transaction is sent.
//!
//! Those that spend the same output exclude each other; those of different outputs have nothing to do with each other. So a
//! refund is one transaction for each output, and goes as far as the chain takes them.

use js_sys::{Array, Uint8Array};
use rillpay_channel::bitcoin::absolute::LockTime;
use rillpay_channel::bitcoin::consensus::encode::deserialize_hex;
use rillpay_channel::bitcoin::consensus::serialize;
use rillpay_channel::bitcoin::{Address, Network, OutPoint, ScriptBuf, Transaction};
use rillpay_channel::params::MAX_HEIGHT;
use rillpay_channel::refund::{KIT_FEE_RATES, MAX_KIT_OUTPUTS};
use rillpay_channel::{Code, Detail};
use serde::Serialize;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::put;
use crate::error::{Error, Problem, Result};
use crate::esplora::Esplora;
use crate::js::{self, Fields, argument, wrong};
use crate::terms::{self, parse_network};

/// The longest file: far beyond the longest that `Channel.refundKit` makes.
const MAX_TEXT: usize = 4 << 20;
/// The most transactions of a file.
const MAX_REFUNDS: usize = MAX_KIT_OUTPUTS * KIT_FEE_RATES.len();
/// Where the page names none: a refund is in no hurry.
const DEFAULT_RATE: u32 = 5;

/// A refund file that is in order.
struct File {
    network: String,
    address: String,
    expiry_height: u32,
    return_address: String,
    return_key_path: String,
    /// The cheapest first.
    entries: Vec<Entry>,
}

/// A transaction of a refund file.
struct Entry {
    spends: OutPoint,
    sat_per_vbyte: u32,
    transaction: Transaction,
}

impl Entry {
    fn returned_sat(&self) -> u64 {
        self.transaction.output.first().map_or(0, |output| output.value.to_sat())
    }
}

/// See `RefundFile` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileView<'a> {
    network: &'a str,
    address: &'a str,
    expiry_height: u32,
    return_address: &'a str,
    return_key_path: &'a str,
}

/// See `Refund` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefundView {
    sat_per_vbyte: u32,
    returned_sat: u64,
}

/// See `RefundTransaction` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryView {
    outpoint: String,
    returned_sat: u64,
    txid: String,
}

/// Reads and checks a refund file.
///
/// # Errors
/// [`Problem::InvalidRefundFile`] with what is wrong.
#[wasm_bindgen(js_name = readRefundKit)]
pub fn read_refund_kit(text: &str) -> Result<JsValue> {
    let file = File::read(text)?;
    let refunds = Array::new();
    for sat_per_vbyte in file.rates() {
        let transactions = Array::new();
        let mut returned_sat: u64 = 0;
        for entry in file.refund(sat_per_vbyte) {
            let shown = js::to_value(&EntryView {
                outpoint: entry.spends.to_string(),
                returned_sat: entry.returned_sat(),
                txid: entry.transaction.compute_txid().to_string(),
            })?;
            put(&shown, "transaction", &Uint8Array::from(serialize(&entry.transaction).as_slice()));
            transactions.push(&shown);
            returned_sat = returned_sat.checked_add(entry.returned_sat()).ok_or_else(|| invalid("transactions"))?;
        }
        let shown = js::to_value(&RefundView { sat_per_vbyte, returned_sat })?;
        put(&shown, "transactions", &transactions);
        refunds.push(&shown);
    }
    let shown = js::to_value(&FileView {
        network: &file.network,
        address: &file.address,
        expiry_height: file.expiry_height,
        return_address: &file.return_address,
        return_key_path: &file.return_key_path,
    })?;
    put(&shown, "refunds", &refunds);
    Ok(shown)
}

/// Broadcasts, for each output of the file, the cheapest refund with at least the rate that is wanted, else its dearest;
/// resolves to the ids of those that were taken. What came back before is refused, and hinders none of the others.
///
/// # Errors
/// [`Problem::InvalidRefundFile`], [`Code::NotExpired`] with the height, [`Code::InvalidArgument`]; where none was taken,
/// [`Problem::BroadcastRefused`] or [`Problem::ChainUnreachable`].
#[wasm_bindgen(js_name = sendRefund)]
pub async fn send_refund(options: JsValue) -> Result<Vec<String>> {
    let options: Fields = argument(options)?;
    let esplora = esplora(&options)?;
    let rate = options.get::<Option<u32>>("satPerVbyte").map_err(wrong)?.unwrap_or(DEFAULT_RATE);
    let file = File::read(&options.get::<String>("kit").map_err(wrong)?)?;
    if esplora.tip().await? < file.expiry_height {
        let error = rillpay_channel::Error::new(Code::NotExpired, "nothing can be taken back before this height");
        return Err(error.with(Detail::Height(file.expiry_height)).into());
    }
    let (mut taken, mut refused) = (vec![], None);
    for entry in file.refund(rate) {
        match esplora.broadcast(&entry.transaction).await {
            Ok(()) => taken.push(entry.transaction.compute_txid().to_string()),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if taken.is_empty() => Err(error),
        _ => Ok(taken),
    }
}

/// The height of the best block that an Esplora server knows.
///
/// # Errors
/// [`Problem::ChainUnreachable`], [`Code::InvalidArgument`].
#[wasm_bindgen(js_name = chainHeight)]
pub async fn chain_height(options: JsValue) -> Result<u32> {
    esplora(&argument(options)?)?.tip().await
}

fn esplora(options: &Fields) -> Result<Esplora> {
    let url: String = options.get("esplora").map_err(wrong)?;
    // Relative to itself, an absolute URL is what it is; a relative one is none.
    let base = terms::base_url(&url, &url);
    let text = "esplora has to be an https URL, or http on this machine";
    base.map(Esplora::new).ok_or(Error::new(Code::InvalidArgument, text))
}

impl File {
    fn read(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(invalid("length"));
        }
        let fields: Fields = js::parse(text).ok_or_else(|| invalid("no JSON object"))?;
        let text = |name| fields.get::<String>(name).map_err(invalid);
        if text("type")? != "rillpay-refund-kit" || fields.get::<u32>("version") != Ok(1) {
            return Err(invalid("type"));
        }
        let network_name = text("network")?;
        let network = parse_network(&network_name).ok_or_else(|| invalid("network"))?;
        let expiry_height = fields.get("expiryHeight").map_err(invalid)?;
        if expiry_height == 0 || expiry_height > MAX_HEIGHT {
            return Err(invalid("expiryHeight"));
        }
        let witness_script = ScriptBuf::from_hex(&text("witnessScript")?).map_err(|_| invalid("witnessScript"))?;
        let file = Self {
            network: network_name,
            address: text("address")?,
            expiry_height,
            return_address: text("returnAddress")?,
            return_key_path: text("returnKeyPath")?,
            entries: entries(fields.get("transactions").map_err(invalid)?)?,
        };
        let program = witness_script.to_p2wsh();
        let pays = script(&file.address, network).ok_or_else(|| invalid("address"))?;
        let nested = pays == program.to_p2sh();
        if !nested && pays != program {
            return Err(invalid("address"));
        }
        let deposit = Deposit {
            witness_script,
            script_sig: if nested { push(&program) } else { ScriptBuf::new() },
            expiry_height,
            return_script: script(&file.return_address, network).ok_or_else(|| invalid("returnAddress"))?,
        };
        if file.entries.iter().all(|entry| deposit.is_refund(&entry.transaction)) {
            Ok(file)
        } else {
            Err(invalid("transactions"))
        }
    }

    /// The rates that there are, in satoshi per virtual byte; the lowest first.
    fn rates(&self) -> Vec<u32> {
        let mut rates: Vec<u32> = self.entries.iter().map(|entry| entry.sat_per_vbyte).collect();
        rates.dedup();
        rates
    }

    /// For each output the cheapest transaction with at least this rate, else its dearest.
    fn refund(&self, sat_per_vbyte: u32) -> Vec<&Entry> {
        let mut chosen: Vec<&Entry> = vec![];
        for entry in &self.entries {
            match chosen.iter_mut().find(|other| other.spends == entry.spends) {
                Some(cheaper) if cheaper.sat_per_vbyte < sat_per_vbyte => *cheaper = entry,
                Some(_) => {}
                None => chosen.push(entry),
            }
        }
        chosen
    }
}

fn entries(listed: Vec<Fields>) -> Result<Vec<Entry>> {
    if listed.is_empty() || listed.len() > MAX_REFUNDS {
        return Err(invalid("transactions"));
    }
    let read = |entry: &Fields| {
        let transaction: Transaction = deserialize_hex(&entry.find::<String>("hex")?).ok()?;
        let [input] = transaction.input.as_slice() else { return None };
        let spends = input.previous_output;
        let read = Entry { spends, sat_per_vbyte: entry.find("satPerVbyte")?, transaction };
        let named = entry.find::<String>("txid")? == read.transaction.compute_txid().to_string()
            // Older files do not say it.
            && entry.find::<Option<String>>("outpoint")?.is_none_or(|outpoint| outpoint == spends.to_string())
            && entry.find::<String>("returnedSat")? == read.returned_sat().to_string();
        named.then_some(read)
    };
    let mut entries: Vec<_> = listed.iter().map(read).collect::<Option<_>>().ok_or_else(|| invalid("transactions"))?;
    entries.sort_by_key(|entry| entry.sat_per_vbyte);
    Ok(entries)
}

/// What all refunds of a file have in common.
struct Deposit {
    witness_script: ScriptBuf,
    script_sig: ScriptBuf,
    expiry_height: u32,
    return_script: ScriptBuf,
}

impl Deposit {
    /// Whether a transaction is a refund of this deposit.
    fn is_refund(&self, transaction: &Transaction) -> bool {
        let ([input], [output]) = (transaction.input.as_slice(), transaction.output.as_slice()) else { return false };
        input.witness.last() == Some(self.witness_script.as_bytes())
            && input.script_sig == self.script_sig
            && input.sequence.enables_absolute_lock_time()
            && output.script_pubkey == self.return_script
            && transaction.lock_time == LockTime::from_consensus(self.expiry_height)
    }
}

/// The script of an address, as the file spells it.
fn script(address: &str, network: Network) -> Option<ScriptBuf> {
    let address: Address<_> = address.parse().ok()?;
    Some(address.require_network(network).ok()?.script_pubkey())
}

/// What spends a nested program: a push of it.
fn push(program: &ScriptBuf) -> ScriptBuf {
    use rillpay_channel::bitcoin::script::PushBytesBuf;

    PushBytesBuf::try_from(program.to_bytes())
        .map_or_else(|_| ScriptBuf::new(), |bytes| ScriptBuf::builder().push_slice(bytes).into_script())
}

fn invalid(what: &str) -> Error {
    Error::Browser(Problem::InvalidRefundFile, Some(what.to_owned()))
}
