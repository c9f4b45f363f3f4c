//! The messages, one struct for each, with the names and the order of fields that the BOLTs give them.
//!
//! | module | types |
//! | --- | --- |
//! | [`control`] | BOLT 1: `warning` 1, `peer_storage` 7, `peer_storage_retrieval` 9, `init` 16, `error` 17, `ping` 18, `pong` 19 |
//! | [`open`] | BOLT 2, version 1: `open_channel` 32, `accept_channel` 33, `funding_created` 34, `funding_signed` 35, `channel_ready` 36 |
//! | [`open2`] | BOLT 2, version 2: `open_channel2` 64, `accept_channel2` 65 |
//! | [`interactive`] | BOLT 2: `tx_add_input` 66 to `tx_abort` 74 |
//! | [`splice`] | BOLT 2: `stfu` 2, `splice_locked` 77, `splice_init` 80, `splice_ack` 81, `start_batch` 127 |
//! | [`close`] | BOLT 2: `shutdown` 38, `closing_signed` 39, `closing_complete` 40, `closing_sig` 41 |
//! | [`update`] | BOLT 2: `update_add_htlc` 128 to `channel_reestablish` 136 |
//! | [`direct`] | ours: `direct_payment` 33001 |
//! | [`tower`] | ours: `tower_store` 33003 to `tower_refused` 33009 |
//! | [`gossip`] | BOLT 7: `channel_announcement` 256 to `announcement_signatures` 259 |
//! | [`query`] | BOLT 7: `query_short_channel_ids` 261 to `gossip_timestamp_filter` 265 |
//!
//! A message ends with its TLV stream, in the field `tlvs`; messages for which no record is defined have an
//! [`Extension`], as BOLT 1 lets any message be extended. Announcements, which are signed and forwarded whole, end with
//! [`Excess`](crate::types::Excess) instead.

pub mod close;
pub mod control;
pub mod direct;
pub mod gossip;
pub mod interactive;
pub mod open;
pub mod open2;
pub mod query;
pub mod splice;
pub mod tower;
pub mod update;

pub use close::*;
pub use control::*;
pub use direct::*;
pub use gossip::*;
pub use interactive::*;
pub use open::*;
pub use open2::*;
pub use query::*;
pub use splice::*;
pub use tower::*;
pub use update::*;

extension! {
    /// What may follow a message for which no record is defined.
    Extension {}
}
