//! A channel in use (BOLT 2): HTLCs come and go, commitments follow, broken connections are taken up again.

use bitcoin::Txid;
use bitcoin::hashes::sha256;
use bitcoin::secp256k1::PublicKey;

use super::Extension;
use crate::types::{ChannelId, CommitmentSecret, FeeratePerKw, HtlcId, Msat, OnionPacket, Preimage, Signature};

message! {
    /// Offers an HTLC.
    UpdateAddHtlc = 128 {
        /// The channel.
        channel_id: ChannelId,
        /// The HTLC's number: the sender's next.
        id: HtlcId,
        /// Its amount.
        amount_msat: Msat,
        /// What its preimage must hash to.
        payment_hash: sha256::Hash,
        /// The block height at which the sender may take it back.
        cltv_expiry: u32,
        /// Where it is to go from here.
        onion_routing_packet: OnionPacket,
        /// Blinding.
        tlvs: UpdateAddHtlcTlvs,
    }
}

extension! {
    /// What may follow [`UpdateAddHtlc`].
    UpdateAddHtlcTlvs {
        /// The key of a blinded path.
        0 => blinded_path: PublicKey,
    }
}

message! {
    /// Takes an HTLC with its preimage.
    UpdateFulfillHtlc = 130 {
        /// The channel.
        channel_id: ChannelId,
        /// The receiver's HTLC.
        id: HtlcId,
        /// What its hash was made of.
        payment_preimage: Preimage,
        /// Who held it how long.
        tlvs: RemoveHtlcTlvs,
    }
}

message! {
    /// Gives an HTLC back.
    UpdateFailHtlc = 131 {
        /// The channel.
        channel_id: ChannelId,
        /// The receiver's HTLC.
        id: HtlcId,
        /// Why, for the payment's origin only (BOLT 4).
        reason: Vec<u8>,
        /// Who held it how long.
        tlvs: RemoveHtlcTlvs,
    }
}

extension! {
    /// What may follow [`UpdateFulfillHtlc`] and [`UpdateFailHtlc`].
    RemoveHtlcTlvs {
        /// For the payment's origin (BOLT 4).
        1 => attribution_data: AttributionData,
    }
}

fields! {
    /// 20 hold times of four bytes and 210 truncated HMACs of four bytes, not looked into here.
    AttributionData {
        /// Units of 100 milliseconds, each a big-endian number of 32 bits; encrypted.
        htlc_hold_times: [u8; 80],
        /// Four bytes each.
        truncated_hmacs: [u8; 840],
    }
}

message! {
    /// Gives an HTLC back whose onion could not be read.
    UpdateFailMalformedHtlc = 135 {
        /// The channel.
        channel_id: ChannelId,
        /// The receiver's HTLC.
        id: HtlcId,
        /// Of which onion.
        sha256_of_onion: sha256::Hash,
        /// BOLT 4's code, with its `BADONION` bit.
        failure_code: u16,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Signs the receiver's next commitment.
    CommitmentSigned = 132 {
        /// The channel.
        channel_id: ChannelId,
        /// For the commitment.
        signature: Signature,
        /// For the HTLC transactions, in the order of the commitment's outputs.
        htlc_signatures: Vec<Signature>,
        /// For which funding.
        tlvs: CommitmentSignedTlvs,
    }
}

extension! {
    /// What may follow [`CommitmentSigned`].
    CommitmentSignedTlvs {
        /// The funding that the commitment spends, where there are several.
        1 => funding_txid: Txid,
    }
}

message! {
    /// Gives up the sender's commitment before the newest one.
    RevokeAndAck = 133 {
        /// The channel.
        channel_id: ChannelId,
        /// What punishes the sender if it broadcasts that commitment.
        per_commitment_secret: CommitmentSecret,
        /// The point of the sender's commitment after the newest one.
        next_per_commitment_point: PublicKey,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// A new fee rate for commitments, from the side that pays it.
    UpdateFee = 134 {
        /// The channel.
        channel_id: ChannelId,
        /// The rate.
        feerate_per_kw: FeeratePerKw,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Where the sender stands, first thing after a reconnection.
    ChannelReestablish = 136 {
        /// The channel.
        channel_id: ChannelId,
        /// The number of the next commitment that the sender expects to be signed; 48 bits.
        next_commitment_number: u64,
        /// The number of the next commitment that the sender expects to be revoked; 48 bits.
        next_revocation_number: u64,
        /// The last secret that the sender got, zeros if none: proof of how far the receiver was.
        your_last_per_commitment_secret: CommitmentSecret,
        /// The point of the sender's newest commitment; since static remote keys any valid point.
        my_current_per_commitment_point: PublicKey,
        /// Fundings under way.
        tlvs: ChannelReestablishTlvs,
    }
}

extension! {
    /// What may follow [`ChannelReestablish`].
    ChannelReestablishTlvs {
        /// A funding that was being signed.
        1 => next_funding: FundingUnderWay,
        /// The newest funding that is deep enough for the sender.
        5 => my_current_funding_locked: FundingUnderWay,
    }
}

fields! {
    /// A funding, and what of it has to be sent again.
    FundingUnderWay {
        /// The transaction.
        txid: Txid,
        /// Bit 0 asks for `commitment_signed`, in `my_current_funding_locked` for `announcement_signatures`. Others are
        /// kept and mean nothing.
        retransmit_flags: u8,
    }
}
