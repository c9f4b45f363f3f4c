//! Building a transaction by turns (BOLT 2).

use bitcoin::absolute::LockTime;
use bitcoin::consensus::deserialize;
use bitcoin::{Amount, ScriptBuf, Sequence, SignedAmount, Transaction, Txid, Witness};

use super::Extension;
use crate::error::{Code, Error};
use crate::types::{ChannelId, FeeratePerKw, SerialId, Signature, printable};

message! {
    /// Adds an input.
    TxAddInput = 66 {
        /// The channel.
        channel_id: ChannelId,
        /// The input's number.
        serial_id: SerialId,
        /// The transaction that it spends, or nothing for the channel's own funding; see
        /// [`TxAddInput::previous_transaction`].
        prevtx: Vec<u8>,
        /// The output of that.
        prevtx_vout: u32,
        /// The input's sequence number.
        sequence: Sequence,
        /// The channel's own funding.
        tlvs: TxAddInputTlvs,
    }
}

extension! {
    /// What may follow [`TxAddInput`].
    TxAddInputTlvs {
        /// The funding that is spent, where both sides know it.
        0 => shared_input_txid: Txid,
    }
}

impl TxAddInput {
    /// The transaction that the input spends, `None` if the message has none. A broken one fails the negotiation, not the
    /// connection, so that it is not part of the message's own form.
    ///
    /// # Errors
    /// [`Code::InvalidField`].
    pub fn previous_transaction(&self) -> Result<Option<Transaction>, Error> {
        if self.prevtx.is_empty() {
            return Ok(None);
        }
        deserialize(&self.prevtx).map(Some).map_err(|_| Error::new(Code::InvalidField, "not a transaction"))
    }
}

message! {
    /// Adds an output.
    TxAddOutput = 67 {
        /// The channel.
        channel_id: ChannelId,
        /// The output's number.
        serial_id: SerialId,
        /// Its amount.
        sats: Amount,
        /// Its script.
        script: ScriptBuf,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Takes an input out again.
    TxRemoveInput = 68 {
        /// The channel.
        channel_id: ChannelId,
        /// The input's number.
        serial_id: SerialId,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Takes an output out again.
    TxRemoveOutput = 69 {
        /// The channel.
        channel_id: ChannelId,
        /// The output's number.
        serial_id: SerialId,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The sender has nothing to add; two of these in a row end the building.
    TxComplete = 70 {
        /// The channel.
        channel_id: ChannelId,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The sender's witnesses.
    TxSignatures = 71 {
        /// The channel.
        channel_id: ChannelId,
        /// The transaction.
        txid: Txid,
        /// One for each input of the sender's, by rising serial id.
        witnesses: Vec<Witness>,
        /// The signature for the funding that is spent.
        tlvs: TxSignaturesTlvs,
    }
}

extension! {
    /// What may follow [`TxSignatures`].
    TxSignaturesTlvs {
        /// For the channel's own funding, which both sign.
        0 => shared_input_signature: Signature,
    }
}

message! {
    /// Proposes to build it again, at a higher fee rate.
    TxInitRbf = 72 {
        /// The channel.
        channel_id: ChannelId,
        /// The lock time.
        locktime: LockTime,
        /// The fee rate.
        feerate: FeeratePerKw,
        /// What the sender puts in, and a condition.
        tlvs: TxRbfTlvs,
    }
}

message! {
    /// Agrees to build it again.
    TxAckRbf = 73 {
        /// The channel.
        channel_id: ChannelId,
        /// What the sender puts in, and a condition.
        tlvs: TxRbfTlvs,
    }
}

extension! {
    /// What may follow [`TxInitRbf`] and [`TxAckRbf`].
    TxRbfTlvs {
        /// What the sender puts into the funding output; negative where it takes out.
        0 => funding_output_contribution: SignedAmount,
        /// The receiver may add confirmed inputs only.
        2 => require_confirmed_inputs: (),
    }
}

message! {
    /// Ends the building without a transaction; the channel, if there is one already, lives on.
    TxAbort = 74 {
        /// The channel.
        channel_id: ChannelId,
        /// A text for whoever looks; see [`TxAbort::text`].
        data: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

impl TxAbort {
    /// The text, if it is safe to show.
    pub fn text(&self) -> Option<&str> {
        printable(&self.data)
    }
}
