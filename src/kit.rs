//! The refund kit as a file: signed refunds that any tool can broadcast after expiry, even if this browser is gone.

use js_sys::JSON;
use rillpay_channel::bitcoin::Address;
use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::commitment::SeenOutput;
use rillpay_channel::payer::Payer;
use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::error::Result;
use crate::js;
use crate::terms::network_name;

const HOW_TO: &str = "Keep this file. If the site has not settled when the Bitcoin chain reaches the expiry height, \
    broadcast ONE of the transactions that name the same outpoint (the dearer, the sooner it confirms): paste its hex into \
    any service that broadcasts transactions, or run `bitcoin-cli sendrawtransaction <hex>`. It pays that whole deposit, \
    less the fee, to the return address, which belongs to your recovery words (BIP 84, in any wallet that takes such \
    words). More than one outpoint: you paid more than once. Do the same for each; one that came back before is refused.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kit {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
    how_to: &'static str,
    network: &'static str,
    channel: String,
    address: String,
    witness_script: String,
    expiry_height: u32,
    return_address: String,
    return_key_path: String,
    transactions: Vec<KitTransaction>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KitTransaction {
    /// What it spends: `txid:vout`.
    outpoint: String,
    sat_per_vbyte: u32,
    /// In satoshi, as text: JSON numbers are floating point.
    returned_sat: String,
    txid: String,
    hex: String,
}

/// See `RefundKit` in the package's types.
#[derive(Debug, Serialize)]
pub struct RefundKit {
    /// The file's content: JSON.
    pub text: String,
    /// A name for the file.
    pub filename: String,
}

/// The kit for what the chain shows at the channel's address.
///
/// # Errors
/// [`rillpay_channel::Code::NothingToDo`] where nothing is confirmed, [`rillpay_channel::Code::Uneconomic`].
pub fn refund_kit(payer: &Payer, outputs: &[SeenOutput]) -> Result<RefundKit> {
    let transactions = payer
        .refund_kit(outputs)?
        .into_iter()
        .map(|entry| KitTransaction {
            outpoint: entry
                .transaction
                .input
                .first()
                .map_or_else(String::new, |input| input.previous_output.to_string()),
            sat_per_vbyte: entry.fee_rate,
            returned_sat: entry.transaction.output.first().map_or(0, |output| output.value.to_sat()).to_string(),
            txid: entry.transaction.compute_txid().to_string(),
            hex: serialize_hex(&entry.transaction),
        })
        .collect();
    let params = payer.params();
    let channel = payer.id().to_string();
    let coin = u32::from(params.network != rillpay_channel::bitcoin::Network::Bitcoin);
    let kit = Kit {
        kind: "rillpay-refund-kit",
        version: 1,
        how_to: HOW_TO,
        network: network_name(params.network),
        address: params.address()?.to_string(),
        witness_script: params.witness_script().to_hex_string(),
        expiry_height: params.expiry,
        return_address: Address::from_script(&params.return_script, params.network)
            .map_or_else(|_| String::new(), |address| address.to_string()),
        return_key_path: format!("m/84'/{coin}'/0'/0/{}", payer.key_index()),
        transactions,
        channel,
    };
    // A plain object of texts and small numbers is always JSON.
    let text = JSON::stringify_with_replacer_and_space(&js::to_value(&kit)?, &JsValue::NULL, &2.into());
    Ok(RefundKit {
        text: text.map(String::from).unwrap_or_default(),
        filename: format!("rillpay-refund-{}.json", kit.channel.get(..8).unwrap_or_default()),
    })
}
