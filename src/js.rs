//! Values across the border: `u64` as `bigint`, `None` as `null`, field names in camel case.

use rillpay_channel::Code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

use crate::error::{Error, Result};

/// A Rust value as a plain JavaScript object.
pub(crate) fn to_value(value: &impl Serialize) -> Result<JsValue> {
    let serializer = Serializer::new()
        .serialize_large_number_types_as_bigints(true)
        .serialize_missing_as_null(true);
    value
        .serialize(&serializer)
        .map_err(|_| Error::new(Code::InvalidArgument, "this cannot be shown"))
}

/// An options object.
///
/// # Errors
/// [`Code::InvalidArgument`].
pub(crate) fn options<T: DeserializeOwned>(value: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value)
        .map_err(|_| Error::new(Code::InvalidArgument, "an option is missing or of the wrong type"))
}

/// The limits of a budget.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BudgetOptions {
    pub(crate) per_session_msat: Option<u64>,
    pub(crate) per_day_msat: Option<u64>,
    pub(crate) per_site_msat: Option<u64>,
}

/// What `Client.connect` takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientOptions {
    pub(crate) server: String,
    pub(crate) esplora: Option<String>,
    pub(crate) words: Option<String>,
    pub(crate) budget: Option<BudgetOptions>,
    pub(crate) max_window_units: Option<u32>,
    pub(crate) network: Option<String>,
}

/// What `Client.open` takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenOptions {
    pub(crate) deposit_sat: u64,
}

/// What `Channel.refund` takes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RefundOptions {
    pub(crate) sat_per_vbyte: Option<u32>,
}
