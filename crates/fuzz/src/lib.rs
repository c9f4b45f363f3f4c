//! Fuzz targets for the protocol, as ordinary functions of bytes.
//!
//! | target | what the bytes are | what must hold |
//! | --- | --- | --- |
//! | [`decoder()`] | frames and stored events, as they come and as mutations of valid ones | no panic, one encoding per value |
//! | [`wallet()`] | a wallet's record | no panic, what is read is written the same |
//! | [`texts()`] | words, addresses, fee estimates, codes | the same, and bounds |
//! | [`restore()`] | damage to the stores of both sides, and what happened to them before | no panic, nothing is taken that does not verify |
//! | [`two_way()`] | what happens to two holders of a two-way channel, and to a chain | they agree or the chain decides; nobody who keeps to the rules is short of more than fees |
//! | [`actions`] | what happens to one payer and one payee: [`Action`]s | the invariants of [`World`], after every action and at the end |
//!
//! libFuzzer drives them in the `fuzz` folder of the repository (nightly Rust), [`drive()`] drives them on stable Rust for
//! a bounded time, over the kept inputs in `fuzz/corpus` and over made up ones. What an input of [`actions`] means,
//! [`plan`] shows.
//!
//! A target reports by panicking: assertions here are the product, not a shortcut.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a fuzz target fails by panicking"
)]

mod action;
mod chain;
mod checks;
mod decoder;
mod disk;
#[cfg(not(target_arch = "wasm32"))]
mod drive;
mod ending;
mod exposure;
pub mod faults;
mod forge;
mod host;
mod input;
mod net;
mod page;
mod restore;
mod run;
mod server;
mod setup;
mod texts;
#[cfg(not(target_arch = "wasm32"))]
mod two_way;
mod values;
mod world;

pub use action::{Action, Party, plan};
pub use decoder::decoder;
pub use disk::DiskState;
#[cfg(not(target_arch = "wasm32"))]
pub use drive::drive;
pub use forge::{Claim, ForgedToPayee, ForgedToPayer};
pub use host::Crash;
pub use net::Weather;
pub use restore::restore;
pub use run::{actions, play, play_on_bad_disk};
pub use setup::Setup;
pub use texts::{texts, wallet};
#[cfg(not(target_arch = "wasm32"))]
pub use two_way::two_way;
pub use world::World;
