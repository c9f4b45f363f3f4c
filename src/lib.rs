//! The browser module of Rillpay: translates between JavaScript and [`rillpay_channel`], and holds what only a browser
//! has: its socket, its store, its clock, its lock. No rule about money lives here.
//!
//! | module | holds |
//! | --- | --- |
//! | [`client`], [`channel`] | the two JavaScript classes (their types are in `pkg/index.d.ts`) |
//! | `session` | the task that carries out what a channel decides: store first, act second |
//! | [`store`] | IndexedDB |
//! | [`lock`] | one writer among the tabs |
//! | `socket`, `http`, `esplora` | the three ways out |
//! | [`terms`] | what a server publishes |
//! | `snapshot`, `kit`, `js` | what JavaScript sees |
//! | [`error`] | the one error shape |

#[cfg(feature = "bench")]
pub mod bench;
pub mod channel;
pub mod client;
pub mod env;
pub mod error;
mod esplora;
mod http;
mod js;
pub mod kit;
pub mod lock;
mod session;
mod snapshot;
mod socket;
pub mod store;
pub mod terms;

use rillpay_channel::keys::canonical_words;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Result;

/// The version of this module.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Checks BIP 39 recovery words and gives them back in canonical spelling.
///
/// # Errors
/// [`rillpay_channel::Code::InvalidWords`].
#[wasm_bindgen(js_name = validateWords)]
pub fn validate_words(words: &str) -> Result<String> {
    Ok(canonical_words(words)?)
}
