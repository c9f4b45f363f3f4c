//! Closing a channel together (BOLT 2).

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, ScriptBuf};

use super::Extension;
use crate::types::{ChannelId, Signature};

message! {
    /// The sender wants to close and accepts no new HTLC.
    Shutdown = 38 {
        /// The channel.
        channel_id: ChannelId,
        /// Where its money is to go.
        scriptpubkey: ScriptBuf,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The old way to agree on a fee: offers that meet.
    ClosingSigned = 39 {
        /// The channel.
        channel_id: ChannelId,
        /// The fee that the sender offers.
        fee_satoshis: Amount,
        /// For the closing transaction at that fee.
        signature: Signature,
        /// What the sender would accept.
        tlvs: ClosingSignedTlvs,
    }
}

extension! {
    /// What may follow [`ClosingSigned`].
    ClosingSignedTlvs {
        /// The fees that the sender accepts.
        1 => fee_range: FeeRange,
    }
}

fields! {
    /// From one fee to another, both included.
    FeeRange {
        /// The least.
        min_fee_satoshis: Amount,
        /// The most.
        max_fee_satoshis: Amount,
    }
}

message! {
    /// The simple way (`option_simple_close`): the sender, the *closer*, pays this fee and has signed.
    ClosingComplete = 40 {
        /// The channel.
        channel_id: ChannelId,
        /// Where the closer's money goes.
        closer_scriptpubkey: ScriptBuf,
        /// Where the other's, the *closee's*, money goes.
        closee_scriptpubkey: ScriptBuf,
        /// The fee, from the closer's side.
        fee_satoshis: Amount,
        /// The closing transaction's lock time.
        locktime: LockTime,
        /// Signatures for the forms that it may take.
        tlvs: ClosingTlvs,
    }
}

message! {
    /// The closee's signature for one of the forms that were offered.
    ClosingSig = 41 {
        /// The channel.
        channel_id: ChannelId,
        /// Where the closer's money goes.
        closer_scriptpubkey: ScriptBuf,
        /// Where the closee's money goes.
        closee_scriptpubkey: ScriptBuf,
        /// The fee, from the closer's side.
        fee_satoshis: Amount,
        /// The closing transaction's lock time.
        locktime: LockTime,
        /// One signature.
        tlvs: ClosingTlvs,
    }
}

extension! {
    /// What may follow [`ClosingComplete`] and [`ClosingSig`]: a signature for each form of the transaction.
    ClosingTlvs {
        /// Only the closer has an output.
        1 => closer_output_only: Signature,
        /// Only the closee has an output.
        2 => closee_output_only: Signature,
        /// Both have an output.
        3 => closer_and_closee_outputs: Signature,
    }
}
