//! Lightning's messages as bytes, to the letter of the BOLTs: no I/O, no state, no rule about money.
//!
//! What is here can be parsed or cannot. Whether a message makes sense at its moment, whether a signature verifies and
//! whether an amount may move is for the machines that use it.
//!
//! # Rooms
//!
//! | module | holds | specified in |
//! | --- | --- | --- |
//! | [`codec`] | a strict, bounded reader and its writer; BigSize, truncated and signed integers | BOLT 1, appendices A and D |
//! | [`tlv`] | TLV streams: strictly increasing, minimal, known or odd | BOLT 1, appendix B |
//! | [`features`] | feature bits, their names and dependencies, what two peers have in common | BOLT 9 |
//! | [`types`] | ids, signatures, amounts and other fields | BOLT 1, 2, 7 |
//! | [`address`] | address descriptors | BOLT 7 |
//! | [`messages`] | one struct for each message | BOLT 1, 2, 7 |
//! | [`message`] | one enum over them, told apart by type | BOLT 1 |
//! | [`error`] | stable codes, and whose fault it is | |
//!
//! # What the decoder promises
//!
//! * A value has one encoding. What decodes encodes to the same bytes again; the only exception is `init`, whose two
//!   feature fields are folded into one as BOLT 1 says.
//! * Records and messages of unknown *odd* types are kept, so that signed and forwarded bytes stay what they were. Those
//!   of unknown *even* types are refused.
//! * Nothing is allocated for a length or a count before the bytes are there. A message has at most [`MAX_MESSAGE`] bytes.
//!
//! Message 513 (`onion_message`) and the insides of onions are BOLT 4's and are not here.

pub mod address;
pub mod codec;
pub mod error;
pub mod features;
#[macro_use]
mod macros;
pub mod message;
pub mod messages;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod sample;
#[cfg(test)]
mod tests;
pub mod tlv;
pub mod types;

pub use codec::{Reader, Wire, Writer};
pub use error::{Code, Error, Fault};
pub use features::{Feature, Features};
pub use message::{MAX_MESSAGE, Message, Payload};
pub use types::{ChannelId, Msat, ShortChannelId, Signature};
