//! Every way to spend every output of a `revocable` channel, judged by Bitcoin Core's own script interpreter: accepted
//! with its lock, refused a block before, and refused to everybody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

#[path = "../consensus/mod.rs"]
mod consensus;
mod justice;
mod penalties;
mod spends;
mod world;
