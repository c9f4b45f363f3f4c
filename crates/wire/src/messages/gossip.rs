//! Announcements of nodes and channels (BOLT 7).
//!
//! They are signed and forwarded whole, so what is not understood stays where it was. Each signature is over the double
//! SHA-256 of what follows the signatures, as [`signed_digest`] computes it.

use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::secp256k1::PublicKey;

use super::Extension;
use crate::address::Address;
use crate::error::Error;
use crate::features::Features;
use crate::types::{ChannelId, Excess, Msat, ShortChannelId, Signature};

message! {
    /// Two owners show that a channel is theirs.
    ChannelAnnouncement = 256 {
        /// By [`ChannelAnnouncement::node_id_1`].
        node_signature_1: Signature,
        /// By [`ChannelAnnouncement::node_id_2`].
        node_signature_2: Signature,
        /// By [`ChannelAnnouncement::bitcoin_key_1`].
        bitcoin_signature_1: Signature,
        /// By [`ChannelAnnouncement::bitcoin_key_2`].
        bitcoin_signature_2: Signature,
        /// The channel's features.
        features: Features,
        /// The chain.
        chain_hash: ChainHash,
        /// Where its funding is.
        short_channel_id: ShortChannelId,
        /// The lesser of the two node keys.
        node_id_1: PublicKey,
        /// The greater one.
        node_id_2: PublicKey,
        /// Node 1's key in the funding output.
        bitcoin_key_1: PublicKey,
        /// Node 2's key in the funding output.
        bitcoin_key_2: PublicKey,
        /// What later versions may add.
        excess: Excess,
    }
}

message! {
    /// A node says who it is and where.
    NodeAnnouncement = 257 {
        /// By [`NodeAnnouncement::node_id`].
        signature: Signature,
        /// The node's features.
        features: Features,
        /// Seconds since 1970; a later announcement replaces an earlier one.
        timestamp: u32,
        /// The node's key.
        node_id: PublicKey,
        /// A colour.
        rgb_color: [u8; 3],
        /// A name that anyone can take, padded with zeros; any bytes, so show it with care.
        alias: [u8; 32],
        /// Address descriptors; see [`NodeAnnouncement::addresses`].
        addresses: Vec<u8>,
        /// What later versions may add.
        excess: Excess,
    }
}

impl NodeAnnouncement {
    /// The addresses, up to the first of an unknown kind.
    ///
    /// # Errors
    /// As [`Address::parse_all`].
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        Address::parse_all(&self.addresses)
    }
}

message! {
    /// What one direction of a channel asks for passing payments on.
    ChannelUpdate = 258 {
        /// By the node whose direction it is.
        signature: Signature,
        /// The chain.
        chain_hash: ChainHash,
        /// The channel.
        short_channel_id: ShortChannelId,
        /// Seconds since 1970; a later update replaces an earlier one.
        timestamp: u32,
        /// Bit 1: not to be forwarded. Bit 0 is always set, others mean nothing.
        message_flags: u8,
        /// Bit 0: from node 2. Bit 1: disabled. Others mean nothing.
        channel_flags: u8,
        /// Blocks that the time-out falls by on the way.
        cltv_expiry_delta: u16,
        /// The least HTLC.
        htlc_minimum_msat: Msat,
        /// Millisatoshi for each HTLC.
        fee_base_msat: u32,
        /// Millionths of the amount.
        fee_proportional_millionths: u32,
        /// The greatest HTLC.
        htlc_maximum_msat: Msat,
        /// What later versions may add.
        excess: Excess,
    }
}

impl ChannelUpdate {
    /// Whether node 2 speaks, the one with the greater key.
    pub const fn is_from_node_2(&self) -> bool {
        self.channel_flags & 1 == 1
    }

    /// Whether the direction is out of use.
    pub const fn is_disabled(&self) -> bool {
        self.channel_flags & 2 == 2
    }
}

message! {
    /// Half of what a [`ChannelAnnouncement`] needs, between the owners.
    AnnouncementSignatures = 259 {
        /// The channel.
        channel_id: ChannelId,
        /// Where its funding is.
        short_channel_id: ShortChannelId,
        /// By the sender's node key.
        node_signature: Signature,
        /// By the sender's funding key.
        bitcoin_signature: Signature,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

/// What the signatures of an encoded announcement cover: the double SHA-256 of what follows its `signatures` signatures
/// (4 in `channel_announcement`, 1 in the others). `None` if there is nothing.
pub fn signed_digest(message: &[u8], signatures: u8) -> Option<[u8; 32]> {
    let start = usize::from(signatures).checked_mul(64)?.checked_add(2)?;
    message.get(start..).map(|signed| sha256d::Hash::hash(signed).to_byte_array())
}
