//! The browser module of Rillpay: translates between JavaScript and [`rillpay_channel`], and holds what only a browser
//! has: its socket, its store, its clock, its lock. No rule about money lives here.
//!
//! It is built three times, by feature: `client` for the module that every page loads, `wallet` and `two-way` for those that a page
//! loads when it needs them.
//!
//! | module | holds |
//! | --- | --- |
//! | `client`, `channel` | the two JavaScript classes (their types are in `pkg/index.d.ts`) |
//! | `session` | the task that carries out what a channel decides: store first, act second |
//! | `recovery`, `desk` | channels from the words alone; questions before there is a session |
//! | `safety` | how safe from loss is what this browser stores |
//! | `wallet` | the page's own wallet, and refund files (types in `pkg/wallet.d.ts`) |
//! | `two_way` | channels in which both sides pay: the node of `crates/node`, in a page (types in `pkg/two-way.d.ts`) |
//! | `surroundings` | where words, network and chain of a site come from |
//! | [`store`] | IndexedDB |
//! | [`lock`] | one writer among the tabs |
//! | `socket`, `http`, `esplora` | the three ways out |
//! | [`terms`] | what a server publishes |
//! | `snapshot`, `kit`, `js`, `listeners` | what JavaScript sees |
//! | [`error`] | the one error shape |

#![cfg_attr(
    not(all(feature = "client", feature = "wallet", feature = "two-way", target_arch = "wasm32")),
    allow(dead_code, reason = "each of the modules needs its part of what they share")
)]
#![cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync, reason = "a page has one thread"))]

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
#[cfg(any(feature = "client", feature = "two-way"))]
mod listeners;
pub mod lock;
#[cfg(feature = "client")]
mod recovery;
#[cfg(feature = "client")]
mod safety;
#[cfg(feature = "client")]
mod session;
#[cfg(feature = "client")]
mod snapshot;
#[cfg(any(feature = "client", feature = "two-way"))]
mod socket;
pub mod store;
#[cfg(any(feature = "wallet", feature = "two-way"))]
mod surroundings;
pub mod terms;
#[cfg(all(feature = "two-way", target_arch = "wasm32"))]
pub mod two_way;
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
