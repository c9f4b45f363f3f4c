//! Opening a channel, version 2 (BOLT 2): both sides may fund it; the transaction is built by the messages of
//! [`interactive`](super::interactive).

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, ScriptBuf};

use super::ChannelFlags;
use crate::features::Features;
use crate::types::{ChannelId, FeeratePerKw, Msat};

message! {
    /// Proposes a channel that both may fund.
    OpenChannel2 = 64 {
        /// The chain it is to live on.
        chain_hash: ChainHash,
        /// See [`ChannelId::v2_temporary`].
        temporary_channel_id: ChannelId,
        /// The funding's fee rate.
        funding_feerate_perkw: FeeratePerKw,
        /// The first fee rate of commitments.
        commitment_feerate_perkw: FeeratePerKw,
        /// What the sender puts in.
        funding_satoshis: Amount,
        /// Below this no output of the sender's commitment is made.
        dust_limit_satoshis: Amount,
        /// The most that the receiver's HTLCs may add up to.
        max_htlc_value_in_flight_msat: Msat,
        /// The least HTLC that the sender accepts.
        htlc_minimum_msat: Msat,
        /// Blocks that the receiver must wait for its own money after it closes alone.
        to_self_delay: u16,
        /// The most HTLCs that the receiver may have in flight.
        max_accepted_htlcs: u16,
        /// The funding's lock time.
        locktime: LockTime,
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
        /// The point of the sender's commitment 1.
        second_per_commitment_point: PublicKey,
        /// Whether to announce it.
        channel_flags: ChannelFlags,
        /// Script, type and a condition.
        tlvs: Open2Tlvs,
    }
}

message! {
    /// Accepts the channel and says what the sender puts in.
    AcceptChannel2 = 65 {
        /// That of [`OpenChannel2`].
        temporary_channel_id: ChannelId,
        /// What the sender puts in; may be nothing.
        funding_satoshis: Amount,
        /// Below this no output of the sender's commitment is made.
        dust_limit_satoshis: Amount,
        /// The most that the receiver's HTLCs may add up to.
        max_htlc_value_in_flight_msat: Msat,
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
        /// The point of the sender's commitment 1.
        second_per_commitment_point: PublicKey,
        /// Script, type and a condition.
        tlvs: Open2Tlvs,
    }
}

extension! {
    /// What may follow [`OpenChannel2`] and [`AcceptChannel2`].
    Open2Tlvs {
        /// Where the sender's money must go when the channel closes; an empty script binds to none.
        0 => upfront_shutdown_script: ScriptBuf,
        /// The kind of channel, as a set of features.
        1 => channel_type: Features,
        /// The receiver may add confirmed inputs only.
        2 => require_confirmed_inputs: (),
    }
}
