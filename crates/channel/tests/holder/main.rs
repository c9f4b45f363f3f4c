//! Two holders with a wire between them: what they agree on, what survives a broken connection and a crash, and what is
//! refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod both;
mod broken;
mod closing;
#[path = "../consensus/mod.rs"]
mod consensus;
mod core;
mod funding;
mod life;
mod onchain;
mod opening;
mod pair;
mod random;
mod refusals;
