//! HTLC-success and HTLC-timeout: the second stage, in which the owner's money begins its delay.
//!
//! The other signs them along with the commitment, for the owner to use. With anchors its signatures fix just one input
//! and one output (`SIGHASH_SINGLE|ANYONECANPAY`): the owner adds what pays the fee, and may merge many.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Message, PublicKey, ecdsa::Signature};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, ecdsa};

use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::revocable::commitment::{Commitment, Htlc, Output};
use crate::revocable::fees::Stage;
use crate::secp::{secp, verify};

/// What takes an HTLC: 32 bytes with the payment's hash.
pub type Preimage = [u8; 32];

/// A second-stage transaction, not signed yet.
#[derive(Clone, Debug)]
pub struct HtlcTransaction {
    /// The HTLC that it resolves.
    pub htlc: Htlc,
    /// Which way.
    pub stage: Stage,
    /// One input, one output, no witness.
    pub transaction: Transaction,
    /// The HTLC's output in the commitment.
    spent: TxOut,
    script: ScriptBuf,
    has_anchors: bool,
    owner: PublicKey,
    other: PublicKey,
}

impl HtlcTransaction {
    pub(crate) fn new(
        commitment: &Commitment,
        txid: Txid,
        vout: u32,
        htlc: &Htlc,
        output: &Output,
        fee_rate: FeeRate,
    ) -> Self {
        let Commitment { channel, owner, keys, .. } = commitment;
        let stage = htlc.stage(*owner);
        let has_anchors = channel.channel_type.has_anchors();
        let lock_time = match stage {
            Stage::Success => LockTime::ZERO,
            Stage::Timeout => LockTime::from_consensus(htlc.expiry),
        };
        let sequence = Sequence(has_anchors.into());
        let input = TxIn { previous_output: OutPoint { txid, vout }, sequence, ..TxIn::default() };
        // What could not bear the fee has been trimmed.
        let fee = channel.channel_type.htlc_fee(fee_rate, stage);
        let value = output.output.value.checked_sub(fee).unwrap_or(Amount::ZERO);
        let script_pubkey = channel.to_local(*owner, keys).to_p2wsh();
        let transaction = Transaction {
            version: Version::TWO,
            lock_time,
            input: vec![input],
            output: vec![TxOut { value, script_pubkey }],
        };
        Self {
            htlc: *htlc,
            stage,
            transaction,
            spent: output.output.clone(),
            script: output.script.clone(),
            has_anchors,
            owner: keys.owner_htlc,
            other: keys.other_htlc,
        }
    }

    /// The hash type of the other's signature.
    pub const fn sighash_type(&self) -> EcdsaSighashType {
        if self.has_anchors { EcdsaSighashType::SinglePlusAnyoneCanPay } else { EcdsaSighashType::All }
    }

    /// The other signs it, with the HTLC key of this commitment.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for another key.
    pub fn sign(&self, other: &Key) -> Result<Signature, Error> {
        if other.public() != self.other {
            return refuse(Code::WrongKey, "this key does not sign the second stage for its owner");
        }
        let message = self.message(&self.transaction, 0, self.sighash_type())?;
        Ok(secp().sign_ecdsa(&message, other.secret()))
    }

    /// Checks the other's signature.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, theirs: &Signature) -> Result<(), Error> {
        verify(&self.message(&self.transaction, 0, self.sighash_type())?, theirs, &self.other)
    }

    /// The transaction as it is, signed by both. `preimage` is needed for HTLC-success and for nothing else. With
    /// `option_anchors` it pays no fee: see [`HtlcTransaction::sign_in`].
    ///
    /// # Errors
    /// As [`HtlcTransaction::sign_in`].
    pub fn finish(&self, owner: &Key, theirs: &Signature, preimage: Option<Preimage>) -> Result<Transaction, Error> {
        let mut transaction = self.transaction.clone();
        self.sign_in(&mut transaction, 0, owner, theirs, preimage)?;
        Ok(transaction)
    }

    /// The owner signs input `index` of a transaction that has this one's input and output there, among others. All
    /// inputs and outputs have to be in place: the owner's signature fixes every one of them.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] where the other's signature does not cover such a transaction, or for a preimage that
    /// is missing, needless or wrong; [`Code::WrongKey`] for another key than the owner's HTLC key of this commitment;
    /// as [`HtlcTransaction::verify`].
    pub fn sign_in(
        &self,
        transaction: &mut Transaction,
        index: usize,
        owner: &Key,
        theirs: &Signature,
        preimage: Option<Preimage>,
    ) -> Result<(), Error> {
        if owner.public() != self.owner {
            return refuse(Code::WrongKey, "this key is not its owner's");
        }
        let hash = preimage.map(|preimage| sha256::Hash::hash(&preimage));
        if hash != (self.stage == Stage::Success).then_some(self.htlc.payment_hash) {
            return refuse(Code::InvalidArgument, "HTLC-success takes the preimage, HTLC-timeout none");
        }
        self.verify(theirs)?;
        let sighash_type = self.sighash_type();
        if self.message(transaction, index, sighash_type)? != self.message(&self.transaction, 0, sighash_type)? {
            return refuse(Code::InvalidArgument, "the other side has not signed for this transaction");
        }
        let message = self.message(transaction, index, EcdsaSighashType::All)?;
        let ours = ecdsa::Signature::sighash_all(secp().sign_ecdsa(&message, owner.secret())).serialize();
        let theirs = ecdsa::Signature { signature: *theirs, sighash_type }.serialize();
        let preimage = preimage.as_ref().map_or(&[][..], |preimage| preimage);
        if let Some(input) = transaction.input.get_mut(index) {
            input.witness = Witness::from_slice(&[&[][..], &theirs, &ours, preimage, self.script.as_bytes()]);
        }
        Ok(())
    }

    fn message(&self, transaction: &Transaction, index: usize, kind: EcdsaSighashType) -> Result<Message, Error> {
        let hash = SighashCache::new(transaction).p2wsh_signature_hash(index, &self.script, self.spent.value, kind);
        hash.map(|hash| Message::from_digest(hash.to_byte_array()))
            .map_err(|_| Error::new(Code::InvalidArgument, "the transaction has no such input"))
    }
}

/// The preimage of `payment_hash`, where this transaction shows it: both HTLC-success and the other's claim do.
pub fn find_preimage(transaction: &Transaction, payment_hash: &sha256::Hash) -> Option<Preimage> {
    let items = transaction.input.iter().flat_map(|input| input.witness.iter());
    let mut preimages = items.filter_map(|item| Preimage::try_from(item).ok());
    preimages.find(|preimage| sha256::Hash::hash(preimage) == *payment_hash)
}
