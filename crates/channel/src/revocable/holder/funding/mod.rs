//! Opening a channel that both fund (BOLT 2, "Channel Establishment v2"): terms, a transaction built by turns, signatures for the
//! first commitments, and then the witnesses of the funding.
//!
//! ```text
//!  Proposal ── accept_channel2 ──┐
//!                                v
//!  accept() ───────────────> Negotiation ── tx_complete, both ──> Unsigned ── our witnesses ──> Holder
//!     ^
//!     └─ open_channel2
//!
//!           commitment_signed              tx_signatures                            channel_ready, both
//!  Holder:  ────────────────> secured ── ours ─> bound ── theirs ─> whole: broadcast ────────────────> open
//!     │                         │
//!     └──── a breach, tx_abort ─┴─> aborted: nothing was paid
//! ```
//!
//! **What is durable.** Until both have said `tx_complete` nothing is stored, and a connection that breaks ends the attempt. The
//! machine is stored, our witnesses with it, before our `commitment_signed` leaves; from then on a broken connection is taken up
//! again (`next_funding` in `channel_reestablish`). Our witnesses leave after the counterparty's signature for our commitment is
//! stored: it brings back whatever they give. Before they left the funding can be given up at any time; afterwards the counterparty
//! can broadcast it at any time, and the channel is not forgotten until one of its inputs is spent otherwise.
//!
//! **Who signs first**: the side that brought less, in coins; of two that brought the same, the one with the lesser node key.
//!
//! A funding is not replaced by a dearer one: `tx_init_rbf` is answered with `tx_abort`, as BOLT 2 allows.

mod construction;
mod open;
mod signing;
mod witness;

pub use construction::{Coin, Stake};
pub use open::{Negotiation, Progress, Proposal, Rates, Setting, Unsigned, accept};
pub use signing::Signing;
