//! Values across the border.
//!
//! Outwards, serde: `u64` as `bigint`, `None` as `null`, names in camel case. Inwards, a reader of our own: what comes
//! from a page, a server or a store is checked field by field, and serde's way of saying what is wrong with a value
//! costs 20 KB of download.

use js_sys::{Array, JSON, Number, Reflect};
use rillpay_channel::Code;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{Error, Result};

/// A Rust value as a plain JavaScript object.
pub(crate) fn to_value(value: &impl Serialize) -> Result<JsValue> {
    let serializer = Serializer::new().serialize_large_number_types_as_bigints(true).serialize_missing_as_null(true);
    value.serialize(&serializer).map_err(|_| Error::new(Code::InvalidArgument, "this cannot be shown"))
}

/// A value that can be read out of a JavaScript one; `None` where it is of another type or out of range.
pub(crate) trait FromJs: Sized {
    fn from_js(value: JsValue) -> Option<Self>;
}

impl FromJs for String {
    fn from_js(value: JsValue) -> Option<Self> {
        value.as_string()
    }
}

impl FromJs for bool {
    fn from_js(value: JsValue) -> Option<Self> {
        value.as_bool()
    }
}

impl FromJs for u64 {
    /// A `bigint`, or a number that is whole and exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a safe integer that is not negative")]
    fn from_js(value: JsValue) -> Option<Self> {
        if let Some(number) = value.as_f64() {
            return (Number::is_safe_integer(&value) && number >= 0.0).then_some(number as Self);
        }
        Self::try_from(value).ok()
    }
}

impl FromJs for u32 {
    fn from_js(value: JsValue) -> Option<Self> {
        u64::from_js(value).and_then(|number| number.try_into().ok())
    }
}

impl<T: FromJs> FromJs for Vec<T> {
    fn from_js(value: JsValue) -> Option<Self> {
        value.dyn_ref::<Array>()?.iter().map(T::from_js).collect()
    }
}

/// Absent is `undefined` or `null`.
impl<T: FromJs> FromJs for Option<T> {
    fn from_js(value: JsValue) -> Option<Self> {
        if value.is_undefined() || value.is_null() {
            return Some(None);
        }
        T::from_js(value).map(Some)
    }
}

/// An object whose fields are read by name.
pub(crate) struct Fields(JsValue);

impl FromJs for Fields {
    fn from_js(value: JsValue) -> Option<Self> {
        value.is_object().then_some(Self(value))
    }
}

impl Fields {
    /// A field.
    ///
    /// # Errors
    /// The field's name, where it is missing, of another type or out of range.
    pub(crate) fn get<T: FromJs>(&self, name: &'static str) -> Result<T, &'static str> {
        let value = Reflect::get(&self.0, &name.into()).map_err(|_| name)?;
        T::from_js(value).ok_or(name)
    }

    /// A field of which only one thing matters: that it can be used.
    pub(crate) fn find<T: FromJs>(&self, name: &'static str) -> Option<T> {
        self.get(name).ok()
    }
}

/// Parses JSON text.
pub(crate) fn parse<T: FromJs>(text: &str) -> Option<T> {
    T::from_js(JSON::parse(text).ok()?)
}

/// The error for an option with this name.
pub(crate) fn wrong(_: &'static str) -> Error {
    Error::new(Code::InvalidArgument, "an option is missing, of the wrong type or out of range")
}

/// The limits of a budget.
#[derive(Clone, Copy, Default)]
pub(crate) struct BudgetOptions {
    pub(crate) per_session_msat: Option<u64>,
    pub(crate) per_day_msat: Option<u64>,
    pub(crate) per_site_msat: Option<u64>,
}

/// What `Client.connect` takes.
pub(crate) struct ClientOptions {
    pub(crate) server: String,
    pub(crate) esplora: Option<String>,
    pub(crate) words: Option<String>,
    pub(crate) budget: BudgetOptions,
    pub(crate) max_window_units: Option<u32>,
    pub(crate) network: Option<String>,
}

impl ClientOptions {
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub(crate) fn read(options: JsValue) -> Result<Self> {
        let options = object(options)?;
        let budget = match options.get::<Option<Fields>>("budget").map_err(wrong)? {
            Some(budget) => BudgetOptions {
                per_session_msat: budget.get("perSessionMsat").map_err(wrong)?,
                per_day_msat: budget.get("perDayMsat").map_err(wrong)?,
                per_site_msat: budget.get("perSiteMsat").map_err(wrong)?,
            },
            None => BudgetOptions::default(),
        };
        Ok(Self {
            server: options.get("server").map_err(wrong)?,
            esplora: options.get("esplora").map_err(wrong)?,
            words: options.get("words").map_err(wrong)?,
            budget,
            max_window_units: options.get("maxWindowUnits").map_err(wrong)?,
            network: options.get("network").map_err(wrong)?,
        })
    }
}

/// One number out of an options object, such as `depositSat`.
///
/// # Errors
/// [`Code::InvalidArgument`].
pub(crate) fn option<T: FromJs>(options: JsValue, name: &'static str) -> Result<T> {
    object(options)?.get(name).map_err(wrong)
}

/// A plain argument.
///
/// # Errors
/// [`Code::InvalidArgument`].
pub(crate) fn argument<T: FromJs>(value: JsValue) -> Result<T> {
    T::from_js(value).ok_or_else(|| wrong(""))
}

fn object(options: JsValue) -> Result<Fields> {
    argument(options)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
