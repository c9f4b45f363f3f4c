//! The browser module of Rillpay: translates between JavaScript and [`rillpay_channel`], and holds what only a browser
//! has: its socket, its store, its clock, its lock. No rule about money lives here.
//!
//! It is built twice, by feature: `client` for the first module that a page loads, `wallet` for the second.
//!
//! | module | holds |
//! | --- | --- |
//! | `client`, `channel` | the two JavaScript classes (their types are in `pkg/index.d.ts`) |
//! | `session` | the task that carries out what a channel decides: store first, act second |
//! | `recovery`, `desk` | channels from the words alone; questions before there is a session |
//! | `safety` | how safe from loss is what this browser stores |
//! | `wallet` | the page's own wallet, and refund files (types in `pkg/wallet.d.ts`) |
//! | [`store`] | IndexedDB |
//! | [`lock`] | one writer among the tabs |
//! | `socket`, `http`, `esplora` | the three ways out |
//! | [`terms`] | what a server publishes |
//! | `snapshot`, `kit`, `js` | what JavaScript sees |
//! | [`error`] | the one error shape |

#![cfg_attr(
    not(all(feature = "client", feature = "wallet")),
    allow(dead_code, reason = "each of the two modules needs its part of what they share")
)]

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "client")]
pub mod channel;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod desk;
pub mod env;
pub mod error;
mod esplora;
mod http;
mod js;
#[cfg(feature = "client")]
pub mod kit;
pub mod lock;
#[cfg(feature = "client")]
mod recovery;
#[cfg(feature = "client")]
mod safety;
#[cfg(feature = "client")]
mod session;
#[cfg(feature = "client")]
mod snapshot;
#[cfg(feature = "client")]
mod socket;
pub mod store;
pub mod terms;
#[cfg(feature = "wallet")]
pub mod wallet;

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
