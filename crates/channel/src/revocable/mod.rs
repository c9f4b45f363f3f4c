//! The `revocable` kind of channel, both ways: transactions, scripts and keys exactly as BOLT 3 writes them, and the machine
//! that uses them.
//!
//! Each side holds its own *commitment*: a transaction that pays both what they have. Whoever moves on to the next
//! commitment hands over the secret of the one before. If it is broadcast after all, that secret opens every output in
//! it to the other side, at once, while its owner has to wait.
//!
//! ```text
//!  funding (2 of 2) ──> commitment of its owner ──┬── to_local ───── after the delay ──────────────> owner
//!                                                 │       └───────── with the revocation key ──────> the other
//!                                                 ├── to_remote ──── (one block later) ────────────> the other
//!                                                 ├── anchors ────── whoever wants to raise the fee
//!                                                 ├── offered HTLC ─ HTLC-timeout ── as to_local ──> owner
//!                                                 │       ├───────── with the preimage ────────────> the other
//!                                                 │       └───────── with the revocation key ──────> the other
//!                                                 └── received HTLC  HTLC-success ── as to_local ──> owner
//!                                                         ├───────── after the time-out ───────────> the other
//!                                                         └───────── with the revocation key ──────> the other
//! ```
//!
//! # Rooms and what they cover
//!
//! | module | of BOLT 3 |
//! | --- | --- |
//! | [`number`] | 48-bit commitment numbers, obscured in lock time and sequence |
//! | [`secrets`] | per-commitment secrets: generation, compact storage, Appendix D |
//! | [`keys`] | basepoints and what is derived from them, Appendix E |
//! | [`channel`] | what is fixed: parties, delays, dust limits, funding script |
//! | [`script`] | every witness script |
//! | [`fees`] | channel types, expected weights (Appendix A), fees, trimming |
//! | [`commitment`] | commitment transactions: construction, order of outputs, signatures; Appendices B, C and F |
//! | [`htlc`] | HTLC-success and HTLC-timeout transactions |
//! | [`claim`] | what either side may take from a confirmed transaction, and when (BOLT 5) |
//! | [`lift`] | the anchors: a child that pays for a commitment, and when it has to pay more |
//! | [`penalty`] | what the cheated side takes: every output of either stage (BOLT 5) |
//! | [`justice`] | the justice kit: signatures that let a third party punish one old state |
//!
//! Of BOLT 2, [`updates`] has the ledger: which update is in whose commitment, and what holds for good; [`holder`] has the
//! machine that speaks with a counterparty, from the opening of a channel to its end.
//!
//! Appendix G, a funding that both sides build, is in [`holder::funding`]. Not here: legacy channels beyond what the vectors need.
//!
//! # Words
//!
//! *Opener* and *accepter* are the two parties, for the channel's whole life. A commitment has an *owner*, who alone can
//! broadcast it and whom BOLT 3 calls "local"; *the other* is BOLT 3's "remote". Amounts that a party owns are in
//! millisatoshi, as the updates are; outputs are in satoshi, rounded down.

pub mod channel;
pub mod claim;
pub mod commitment;
pub mod fees;
pub mod holder;
pub mod htlc;
pub mod justice;
pub mod keys;
pub mod lift;
pub mod number;
pub mod penalty;
pub mod script;
pub mod secrets;
#[cfg(test)]
mod testing;
pub mod updates;

pub use channel::{Channel, Party, Role};
pub use commitment::{Commitment, Htlc, State};
pub use fees::ChannelType;
pub use keys::{BaseKeys, Basepoints};
pub use number::CommitmentNumber;
pub use secrets::{CommitmentSecret, CommitmentSeed, SecretStore};
