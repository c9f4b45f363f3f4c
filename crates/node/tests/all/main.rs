//! Two real nodes over TCP or a WebSocket, on one chain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    missing_docs
)]

mod backups;
mod binary;
mod both;
mod core;
mod faults;
mod htlcs;
mod life;
mod lift;
mod on_chain;
mod pair;
mod tower;
mod weather;
mod websocket;
