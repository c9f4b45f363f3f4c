//! Lightning's encrypted and authenticated transport (BOLT 8): `Noise_XK` with secp256k1, ChaCha20-Poly1305 and SHA-256.
//!
//! ```text
//!            initiator                          responder
//!  Initiator::start ── act one, 50 bytes ──> Responder::act_one
//!  Initiator::act_two <── act two, 50 bytes ──┘     │
//!        │    └────────── act three, 66 bytes ──> Answered::act_three
//!     Session <═══════ encrypted messages ══════> Session
//! ```
//!
//! The initiator must know the responder's key beforehand; the responder learns the initiator's in act three. Each state
//! consumes itself: a handshake that failed, or one that was used, is gone, and an ephemeral key cannot serve twice.
//!
//! # Rooms
//!
//! | module | holds |
//! | --- | --- |
//! | [`keys`] | the key of a node, the key of one handshake |
//! | [`handshake`] | the three acts |
//! | [`session`] | messages both ways; keys change after each 1000 uses, in each direction by itself |
//! | [`endpoint`] | all of that in one value, for places without tokio |
//! | [`onion`] | the onion of a payment (BOLT 4), which has to be answered with the node's key |
//! | [`error`] | stable codes, and whose fault it is |
//! | `connection` | feature `tokio`: the same over a byte stream, such as TCP |
//! | `websocket` | feature `websocket`: a byte stream over binary frames |
//!
//! All but the last two know no socket, clock or random device: entropy comes in as an argument, bytes go in and out.

mod cipher;
#[cfg(feature = "tokio")]
pub mod connection;
pub mod endpoint;
pub mod error;
pub mod handshake;
pub mod keys;
pub mod onion;
pub mod session;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use endpoint::Endpoint;
pub use error::{Code, Error, Fault};
pub use handshake::{Answered, Initiator, Responder};
pub use keys::{EphemeralKey, NodeKey};
pub use onion::{Peeled, Unreadable};
pub use session::{MAX_MESSAGE, Receiver, Sender, Session};
