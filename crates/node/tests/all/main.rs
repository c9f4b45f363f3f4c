//! Two real nodes over TCP or a WebSocket, on one chain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    missing_docs
)]

mod binary;
mod core;
mod faults;
mod htlcs;
mod life;
mod on_chain;
mod pair;
mod weather;
mod websocket;
