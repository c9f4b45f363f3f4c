//! Commitments of the `cltv` kind: the payer signs what it wants back, and nothing else.
//!
//! Commitment *n* has version 2, lock time 0 and input sequence 0xfffffffd, and pays the payer's change
//! (`capacity - cumulative`). Signed with `SIGHASH_SINGLE|ANYONECANPAY` it fixes only its own input and that change: the
//! payee adds its own output, chooses the fee at the close, and may merge many channels into one transaction. A change
//! that would be dust cannot be relayed: then the payer signs `NONE|ANYONECANPAY` and the whole capacity is the payee's.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, ecdsa::Signature};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, Transaction, TxIn, TxOut};

use crate::codec::{Reader, Writer};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::secp::{secp, verify};
use crate::spend::SEQUENCE;

/// The output that funds a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funding {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it holds: the capacity is what arrived, not what was asked for.
    pub capacity: Amount,
}

impl Funding {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.outpoint(&self.outpoint).amount(self.capacity);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { outpoint: r.outpoint()?, capacity: r.amount()? })
    }
}

/// An output that the chain shows at the channel's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenOutput {
    /// The output.
    pub funding: Funding,
    /// 0 while unconfirmed.
    pub confirmations: u32,
}

/// A payment: the cumulative amount and the payer's signature over the commitment that pays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Everything paid on this channel so far, this payment included.
    pub cumulative: Amount,
    /// The payer's, over the commitment.
    pub signature: Signature,
}

impl Paid {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.amount(self.cumulative).signature(&self.signature);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { cumulative: r.amount()?, signature: r.signature()? })
    }
}

/// The least amount that an output with this script may hold to be relayed (Bitcoin Core's default dust relay fee).
pub fn dust_limit(script: &Script) -> Amount {
    script.minimal_non_dust()
}

/// The payer's output when `cumulative` of `capacity` is paid; `None` where it would be dust.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn change(params: &ChannelParams, capacity: Amount, cumulative: Amount) -> Result<Option<TxOut>, Error> {
    let value = capacity.checked_sub(cumulative).ok_or_else(|| {
        Error::new(Code::ExceedsCapacity, "more than the channel holds").with(Detail::Amount(capacity))
    })?;
    let script_pubkey = &params.return_script;
    Ok((value >= dust_limit(script_pubkey)).then(|| TxOut { value, script_pubkey: script_pubkey.clone() }))
}

/// What the payer's signature covers when it pays `cumulative`.
pub(crate) const fn sighash_type(change: Option<&TxOut>) -> EcdsaSighashType {
    match change {
        Some(_) => EcdsaSighashType::SinglePlusAnyoneCanPay,
        None => EcdsaSighashType::NonePlusAnyoneCanPay,
    }
}

/// The message (BIP 143) that the payer signs to pay `cumulative`, and its hash type.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn sighash(
    params: &ChannelParams,
    funding: &Funding,
    cumulative: Amount,
) -> Result<(Message, EcdsaSighashType), Error> {
    let change = change(params, funding.capacity, cumulative)?;
    let kind = sighash_type(change.as_ref());
    let commitment = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: funding.outpoint, sequence: SEQUENCE, ..TxIn::default() }],
        output: change.into_iter().collect(),
    };
    let hash = SighashCache::new(&commitment)
        .p2wsh_signature_hash(0, &params.witness_script(), funding.capacity, kind)
        .map_err(|_| Error::new(Code::InvalidArgument, "the commitment cannot be hashed"))?;
    Ok((Message::from_digest(hash.to_byte_array()), kind))
}

/// The payer pays `cumulative`.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn pay(params: &ChannelParams, funding: &Funding, cumulative: Amount, payer: &Key) -> Result<Paid, Error> {
    let (message, _) = sighash(params, funding, cumulative)?;
    Ok(Paid { cumulative, signature: secp().sign_ecdsa(&message, payer.secret()) })
}

impl Paid {
    /// Checks that the payer signed this payment, for this channel and this funding.
    ///
    /// # Errors
    /// [`Code::ExceedsCapacity`], [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, params: &ChannelParams, funding: &Funding) -> Result<(), Error> {
        if self.cumulative > params.spendable(funding.capacity) {
            return refuse(Code::ExceedsCapacity, "more than the channel holds");
        }
        let (message, _) = sighash(params, funding, self.cumulative)?;
        verify(&message, &self.signature, &params.payer)
    }
}
