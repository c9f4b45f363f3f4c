//! Our transport, messages and holder against LDK, a Lightning node that we did not write, on a Bitcoin Core node.
//!
//! Both run in this process and on no clock of their own: bytes are carried between them by hand, so that each message can be lost.
//! Whatever either broadcasts goes to a real node, which has to take it. In [`program`] it is our whole node, and both have clocks
//! and sockets.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod chain;
mod closing;
mod fees;
mod forced;
mod handshake;
mod lost;
mod messages;
mod node;
mod opening;
mod payments;
mod program;
mod random;
mod us;
mod world;
