//! The Rillpay protocol, without I/O: keys, scripts, transactions, state machines, messages and the meter.
//!
//! The only place where a rule about money lives. It knows no clock, socket, disk or random device: times, heights,
//! entropy and fee rates come in as arguments; messages, transactions and events to store come out as data. The same code
//! runs in the browser, in the server, in the tests and under the fuzzers.
//!
//! # Rooms
//!
//! | module | holds |
//! | --- | --- |
//! | [`keys`] | BIP 39 words to BIP 32 keys, one per channel and role |
//! | [`params`] | what both sides agree on, the channel's id, the signed statements |
//! | [`kind`] | what sets the kinds of channel apart |
//! | [`margin`] | how long before its expiry a channel stops and settles |
//! | [`script`], [`commitment`], [`settlement`] | the funding's scripts, the payer's signatures, and what the payee makes of them |
//! | [`fee`] | what transactions pay to miners, and what a replacement pays |
//! | [`grant`], [`refund`] | the payee's signatures, and what the payer makes of them |
//! | [`tariff`], [`amount`], [`budget`] | price, meter, millisatoshi, the payer's own limits |
//! | [`payer`], [`payee`] | the two machines |
//! | [`revocable`] | channels both ways, that punish old states: BOLT 2, 3 and 5 |
//! | [`persist`] | store first, act second, in types |
//! | [`wire`] | messages |
//! | [`error`] | stable codes, and whose fault it is |
//!
//! # Words
//!
//! *payer, payee* · *funding, commitment, settlement, refund* (transactions) · *capacity* (what arrived) · *cumulative*
//! (paid so far) · *delivered* (counted so far) · *expiry* (block height) · *session* (one socket attached to a channel,
//! fenced by an *epoch*) · *need, pay, ack, stop, close* (messages).

pub mod amount;
pub mod budget;
mod codec;
pub mod commitment;
pub mod error;
pub mod fee;
pub mod grant;
pub mod keys;
pub mod kind;
pub mod margin;
pub mod params;
pub mod payee;
pub mod payer;
pub mod persist;
pub mod refund;
pub mod revocable;
pub mod script;
mod secp;
pub mod settlement;
mod spend;
pub mod tariff;
#[cfg(test)]
mod testing;
pub mod uri;
pub mod wire;

pub use bitcoin;

pub use amount::Msat;
pub use error::{Code, Detail, Error, Fault, codes};
pub use kind::{Kind, KindName, Ladder};
pub use params::{ChannelId, ChannelParams, FundingKind};
pub use secp::{randomize, secp};
