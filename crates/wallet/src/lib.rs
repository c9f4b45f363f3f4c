//! The wallet of the page and of the node, without I/O: one BIP 84 account over the words that they keep anyway.
//!
//! It is fed what an Esplora server answers and says what to ask next ([`Look`]); it knows balance and history, hands out
//! addresses, and makes signed transactions. It opens no socket and reads no clock, and what it has to remember is one
//! record of bytes ([`Wallet::record`]) without any secret.
//!
//! ```text
//!   Wallet::look ──> Look: asks ──> (the caller asks Esplora) ──> answers ──┐
//!        ▲                   └────────────── until it asks no more <────────┘
//!        └──────────────────────────── Wallet::see
//!
//!   Wallet::build ──> held ── store the record ──> sent ── broadcast ──> seen ──> buried
//!                      └── released                                (6 confirmations)
//!
//!   Wallet::offer ── (with somebody else) ── Wallet::join ──> held ── all have signed ──> complete, as sent
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`account`] | keys, scripts and addresses of BIP 84 |
//! | [`look`] | discovery with the gap limit, as questions and answers |
//! | [`book`] | coins, balance and history, out of transactions |
//! | `select`, `spend` | which coins, what fee, what change; BIP 69 order; signatures |
//! | [`fees`] | Esplora's fee estimates without floating point |
//! | `record` | what survives a reload |
//!
//! # What holds
//!
//! * **A transaction is believed for its bytes, never for what is said of it.** Each one is checked against its id, so
//!   that amounts and scripts are those of the outputs that a signature commits to (BIP 143). A lying server can hide
//!   money or claim confirmations; it cannot make the wallet pay more than was shown.
//! * **Statuses go back too.** Each look replaces all earlier ones: what a reorganisation undid is unconfirmed or gone.
//! * **Coins of a transaction that was built are held** until it is released, or it or what took its place is buried
//!   under six blocks.
//! * **Fees are integers**, at least the asked rate and at most that of one signature byte per input above it, plus, where
//!   no change is made, what the change would have cost.

pub mod account;
pub mod book;
pub mod error;
pub mod fees;
pub mod look;
mod record;
mod select;
mod spend;
mod wallet;

pub use account::{Branch, Place};
pub use book::{Balance, Coin, Entry, Status};
pub use error::{Code, Error};
pub use look::{Ask, GAP_LIMIT, Look};
pub use wallet::{BURIED, Built, Offer, Order, Wallet, What};
