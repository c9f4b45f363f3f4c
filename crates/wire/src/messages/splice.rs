//! Pausing a channel and giving it a new funding (BOLT 2).

use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{SignedAmount, Txid};

use super::Extension;
use crate::types::{ChannelId, FeeratePerKw};

message! {
    /// Something fundamental is under way: no more updates until it is done.
    Stfu = 2 {
        /// The channel.
        channel_id: ChannelId,
        /// Whether the sender began it.
        initiator: bool,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Proposes a new funding.
    SpliceInit = 80 {
        /// The channel.
        channel_id: ChannelId,
        /// What the sender puts in; negative where it takes out.
        funding_contribution_satoshis: SignedAmount,
        /// The transaction's fee rate.
        funding_feerate_perkw: FeeratePerKw,
        /// Its lock time.
        locktime: LockTime,
        /// The sender's key in the new funding output.
        funding_pubkey: PublicKey,
        /// A condition.
        tlvs: SpliceTlvs,
    }
}

message! {
    /// Agrees to a new funding.
    SpliceAck = 81 {
        /// The channel.
        channel_id: ChannelId,
        /// What the sender puts in; negative where it takes out.
        funding_contribution_satoshis: SignedAmount,
        /// The sender's key in the new funding output.
        funding_pubkey: PublicKey,
        /// A condition.
        tlvs: SpliceTlvs,
    }
}

extension! {
    /// What may follow [`SpliceInit`] and [`SpliceAck`].
    SpliceTlvs {
        /// The receiver may add confirmed inputs only.
        2 => require_confirmed_inputs: (),
    }
}

message! {
    /// The new funding is deep enough for the sender.
    SpliceLocked = 77 {
        /// The channel.
        channel_id: ChannelId,
        /// The new funding.
        splice_txid: Txid,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The next messages belong together: one [`CommitmentSigned`](super::CommitmentSigned) for each funding.
    StartBatch = 127 {
        /// The channel.
        channel_id: ChannelId,
        /// How many messages; 2 to 20.
        batch_size: u16,
        /// Of which type.
        tlvs: StartBatchTlvs,
    }
}

extension! {
    /// What may follow [`StartBatch`].
    StartBatchTlvs {
        /// The type of the messages: 132.
        1 => message_type: u16,
    }
}
