//! The server's routes over real HTTP, each with real content behind it.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

mod demo;
mod esplora;
mod gateway;
mod http;
