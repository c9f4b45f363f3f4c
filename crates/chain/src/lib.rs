//! What the chain says.
//!
//! A payment channel is only as safe as its view of the chain: was the deposit confirmed, was it spent, is the
//! refund height near? This crate asks those questions through one trait, [`Chain`], shaped like Esplora's HTTP API
//! because that is the smallest interface a wallet, a browser and a payee all know, and answers them from
//! interchangeable backends:
//!
//! | backend | what answers | for |
//! | --- | --- | --- |
//! | [`kernel`] | Bitcoin Core's validation code inside this process, on regtest, with a block maker and a wallet | tests, the demo: nothing to install, real rules |
//! | [`bitcoind`] | a Bitcoin Core node, over JSON-RPC, and an index of the followed scripts | real money |
//! | [`esplora`] | an Esplora, over HTTP, whose word is checked as far as it can be | real money without a node of one's own |
//!
//! The data types serialise to Esplora's JSON field for field, so a server can put Esplora's API in front of any
//! backend without translating.
//!
//! # What a user must know
//!
//! * **Statuses go back too.** A reorganisation turns a confirmed transaction into an unconfirmed or a missing one.
//!   Ask again after every [`Change`]; never cache "confirmed".
//! * **Silence is not an answer.** [`Chain::synced_at`] says when the backend last knew that it was in step. A payee
//!   stops serving when that is too long ago, because it could no longer see its deposit being spent.
//! * **A refusal is not a failure.** [`ChainError::Refused`] is the network's verdict on a transaction;
//!   every other error is about reaching the backend ([`ChainError::fault`] tells them apart).

#[cfg(feature = "bitcoind")]
pub mod bitcoind;
mod chain;
mod error;
#[cfg(feature = "esplora")]
pub mod esplora;
mod fees;
#[cfg(feature = "kernel")]
pub mod kernel;
#[cfg(any(feature = "kernel", feature = "bitcoind"))]
mod links;
#[cfg(any(feature = "bitcoind", feature = "esplora"))]
mod package;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod tx;
#[cfg(any(feature = "bitcoind", feature = "esplora"))]
mod verdict;
#[cfg(any(feature = "bitcoind", feature = "esplora"))]
mod work;

pub use chain::{Chain, Change};
pub use error::{ChainError, Fault, Reason, Refusal, Unfit};
pub use fees::FeeEstimates;
#[cfg(any(feature = "bitcoind", feature = "esplora"))]
pub use package::PackageVerdict;
pub use status::{BlockRef, Outspend, Spending, Status, Tip};
pub use tx::{PaidOutput, ScriptHash, TxInfo, TxInput, TxOutput, Utxo};
