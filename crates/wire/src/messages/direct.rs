//! Direct payments: an extension of Rillpay's own, odd so that others may ignore it. Specified in docs/lightning.md.

use super::Extension;
use crate::types::{ChannelId, Msat};

/// The optional feature bit of peers that know direct payments. The even one below it is never set: nobody insists.
pub const DIRECT_PAYMENTS: usize = 1_171;

message! {
    /// Gives the receiver so much, without an HTLC. It is an update like those of BOLT 2: it counts once it is signed for, and
    /// holds for good once both have revoked.
    DirectPayment = 33_001 {
        /// The channel.
        channel_id: ChannelId,
        /// What the sender gives, more than nothing.
        amount_msat: Msat,
        /// Nothing is defined.
        tlvs: Extension,
    }
}
