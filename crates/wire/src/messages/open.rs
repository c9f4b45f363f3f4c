//! Opening a channel, version 1 (BOLT 2): one side funds it.

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, ScriptBuf, Txid};

use super::Extension;
use crate::codec::{Reader, Wire, Writer};
use crate::error::Error;
use crate::features::Features;
use crate::types::{ChannelId, FeeratePerKw, Msat, PublicNonce, ShortChannelId, Signature};

/// Flags of a new channel. Bits that nobody has defined are kept and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChannelFlags(pub u8);

impl ChannelFlags {
    /// Whether the opener wants the channel announced.
    pub const fn announce(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Wire for ChannelFlags {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.read().map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        writer.write(&self.0);
    }
}

message! {
    /// Proposes a channel that the sender funds.
    OpenChannel = 32 {
        /// The chain it is to live on.
        chain_hash: ChainHash,
        /// A nonce that names the channel until it is funded.
        temporary_channel_id: ChannelId,
        /// What the sender puts in.
        funding_satoshis: Amount,
        /// What of it is the receiver's from the start.
        push_msat: Msat,
        /// Below this no output of the sender's commitment is made.
        dust_limit_satoshis: Amount,
        /// The most that the receiver's HTLCs may add up to.
        max_htlc_value_in_flight_msat: Msat,
        /// What the receiver must always keep in the channel.
        channel_reserve_satoshis: Amount,
        /// The least HTLC that the sender accepts.
        htlc_minimum_msat: Msat,
        /// The first fee rate of commitments.
        feerate_per_kw: FeeratePerKw,
        /// Blocks that the receiver must wait for its own money after it closes alone.
        to_self_delay: u16,
        /// The most HTLCs that the receiver may have in flight.
        max_accepted_htlcs: u16,
        /// The sender's key in the funding output.
        funding_pubkey: PublicKey,
        /// BOLT 3's `revocation_basepoint`.
        revocation_basepoint: PublicKey,
        /// BOLT 3's `payment_basepoint`.
        payment_basepoint: PublicKey,
        /// BOLT 3's `delayed_payment_basepoint`.
        delayed_payment_basepoint: PublicKey,
        /// BOLT 3's `htlc_basepoint`.
        htlc_basepoint: PublicKey,
        /// The point of the sender's commitment 0.
        first_per_commitment_point: PublicKey,
        /// Whether to announce it.
        channel_flags: ChannelFlags,
        /// Script and type.
        tlvs: OpenTlvs,
    }
}

message! {
    /// Accepts the channel.
    AcceptChannel = 33 {
        /// That of [`OpenChannel`].
        temporary_channel_id: ChannelId,
        /// Below this no output of the sender's commitment is made.
        dust_limit_satoshis: Amount,
        /// The most that the receiver's HTLCs may add up to.
        max_htlc_value_in_flight_msat: Msat,
        /// What the receiver must always keep in the channel.
        channel_reserve_satoshis: Amount,
        /// The least HTLC that the sender accepts.
        htlc_minimum_msat: Msat,
        /// Confirmations of the funding before the channel is ready; 0 trusts the opener.
        minimum_depth: u32,
        /// Blocks that the receiver must wait for its own money after it closes alone.
        to_self_delay: u16,
        /// The most HTLCs that the receiver may have in flight.
        max_accepted_htlcs: u16,
        /// The sender's key in the funding output.
        funding_pubkey: PublicKey,
        /// BOLT 3's `revocation_basepoint`.
        revocation_basepoint: PublicKey,
        /// BOLT 3's `payment_basepoint`.
        payment_basepoint: PublicKey,
        /// BOLT 3's `delayed_payment_basepoint`.
        delayed_payment_basepoint: PublicKey,
        /// BOLT 3's `htlc_basepoint`.
        htlc_basepoint: PublicKey,
        /// The point of the sender's commitment 0.
        first_per_commitment_point: PublicKey,
        /// Script and type.
        tlvs: OpenTlvs,
    }
}

extension! {
    /// What may follow [`OpenChannel`] and [`AcceptChannel`].
    OpenTlvs {
        /// Where the sender's money must go when the channel closes; an empty script binds to none.
        0 => upfront_shutdown_script: ScriptBuf,
        /// The kind of channel, as a set of features.
        1 => channel_type: Features,
        /// For channels with a Taproot funding, which are a draft (lightning/bolts #995) that others already speak. It is
        /// carried here; a channel of another type may not have it.
        4 => next_local_nonce: PublicNonce,
    }
}

message! {
    /// Names the funding and signs the receiver's first commitment.
    FundingCreated = 34 {
        /// That of [`OpenChannel`].
        temporary_channel_id: ChannelId,
        /// The funding transaction.
        funding_txid: Txid,
        /// Its output.
        funding_output_index: u16,
        /// For the receiver's commitment 0.
        signature: Signature,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Signs the opener's first commitment: it may now broadcast the funding.
    FundingSigned = 35 {
        /// The channel's lasting id.
        channel_id: ChannelId,
        /// For the receiver's commitment 0.
        signature: Signature,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The funding is deep enough for the sender.
    ChannelReady = 36 {
        /// The channel.
        channel_id: ChannelId,
        /// The point of the sender's commitment 1.
        second_per_commitment_point: PublicKey,
        /// Alias.
        tlvs: ChannelReadyTlvs,
    }
}

extension! {
    /// What may follow [`ChannelReady`].
    ChannelReadyTlvs {
        /// A name for the channel in routes to the sender.
        1 => short_channel_id: ShortChannelId,
    }
}
