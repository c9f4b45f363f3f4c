//! A node with two-way channels: the process that Hitesh and Irene each run.
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
//! | [`node`](Node) | what commands can ask for |
//! | `answers` | what commands are answered with |
//! | `channel` | one machine behind its lock, and its effects |
//! | `queries` | what is answered to questions about the public network |
//! | `opening` | a channel before it is saved |
//! | `peer`, `links` | connections: handshake, `init`, pings, who is connected, calling again |
//! | `watcher`, `claims` | the chain: confirmations, spends, what is taken and how its fee grows |
//! | `purse` | the on-chain wallet |
//! | `store`, `seed` | what survives |
//! | [`control`] | commands over a socket in the data folder |

mod answers;
mod channel;
mod claims;
pub mod control;
mod error;
mod links;
mod node;
mod opening;
mod peer;
mod purse;
mod queries;
pub mod request;
mod seed;
mod store;
mod watcher;

pub use answers::{BalanceInfo, ChannelInfo, CloseInfo, NodeInfo, OpenInfo, PaidInfo};
pub use error::{Code, Error};
pub use node::{Node, Options};
pub use peer::PeerAddress;
