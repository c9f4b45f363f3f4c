//! A node with two-way channels: the process that Hitesh and Irene each run, and what a page is where it has such channels.
//!
//! ```text
//!   command ──> control ──┐                    ┌── store: decide, save, commit, then act
//!                         ├──> Node ──> channel┤
//!   peer <── BOLT 8 ──> peer ┘                 └── watcher <──> Chain: funding, spends, sweeps
//! ```
//!
//! Every rule about money is [`rillpay_channel::revocable::holder`]'s. This crate gives it a clock, sockets, a disk and a
//! chain, and keeps four promises:
//!
//! * **What leaves was saved.** A decision's effects are carried out after its events are durable. Where a save fails, the
//!   connection ends and the channel is read anew from the store.
//! * **A channel has one writer.** One lock in the process, one lock file for the folder, and a version in each row.
//! * **The chain is looked at first.** Nobody is talked to after a start before one whole pass over it.
//! * **A funding is broadcast when it can come back**, and not before: once the counterparty's signature is saved.
//!
//! | module | holds |
//! | --- | --- |
//! | [`node`](Node) | what its parts share, its start and stop |
//! | `commands` | what commands can ask for |
//! | `answers` | what commands are answered with |
//! | `channel` | one machine behind its lock, and its effects |
//! | `opening`, `together` | a channel before it is saved: funded by one side, or by both |
//! | `queries` | what is answered to questions about the public network |
//! | `peer`, `links` | connections: handshake, `init`, pings, who is connected, calling again |
//! | `watcher`, `claims` | the chain: confirmations, spends, what is taken and how its fee grows |
//! | `signing` | the chain and a funding that both sign for |
//! | `lift` | a commitment that waits, and a child that pays for it |
//! | `purse` | the on-chain wallet |
//! | [`keep`] | what has to survive, and who keeps it |
//! | `dial` | how peers are reached |
//! | `backup`, `shelf` | what peers keep for us, and we for them |
//!
//! In a process there are besides:
//!
//! | module | holds |
//! | --- | --- |
//! | `process` | the folder, and where it listens: TCP and WebSocket |
//! | `store` | what survives, as a file |
//! | `tower`, `outbox` | kits for a watchtower: what it is still to be told, and the telling |
//! | `control` | commands over a socket in the data folder |
//! | `testing` | the store for measurements, behind the feature of this name |
//!
//! A page brings its own store, its own chain and its own way to peers: `two_way` in the browser crate.

#![cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync, reason = "a page has one thread"))]

mod answers;
mod backup;
mod channel;
mod claims;
mod commands;
#[cfg(not(target_arch = "wasm32"))]
pub mod control;
mod dial;
mod error;
pub mod keep;
mod lift;
mod links;
mod node;
mod opening;
#[cfg(not(target_arch = "wasm32"))]
mod outbox;
mod peer;
#[cfg(not(target_arch = "wasm32"))]
mod process;
mod purse;
mod queries;
pub mod request;
mod shelf;
mod signing;
#[cfg(not(target_arch = "wasm32"))]
mod store;
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub mod testing;
mod together;
#[cfg(not(target_arch = "wasm32"))]
mod tower;
mod watcher;

pub use answers::{BalanceInfo, ChannelInfo, CloseInfo, NodeInfo, OpenInfo, PaidInfo, RestoreInfo, TowerInfo};
pub use dial::{Dial, Reads, Stream, Writes};
pub use error::{Code, Error};
pub use node::{Node, Notice, Parts, Policy, Release};
pub use peer::PeerAddress;
#[cfg(not(target_arch = "wasm32"))]
pub use process::Options;
