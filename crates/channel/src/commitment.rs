//! Commitments: the payer signs what it wants back, and nothing else.
//!
//! Commitment *n* has version 2 and input sequence 0xfffffffd, and pays the payer's change (`capacity - cumulative`). Its
//! lock time is 0, or its place on the ladder of a `timelock` channel ([`crate::kind`]). Signed with
//! `SIGHASH_SINGLE|ANYONECANPAY` it fixes only its own input, that change and the lock time: the payee adds its own output,
//! chooses the fee at the close, and may merge many channels into one transaction. A change that would be dust cannot be
//! relayed: then the payer signs `NONE|ANYONECANPAY` and the whole capacity is the payee's.
//!
//! What the payee signs for the payer has the same form with the sides exchanged: [`crate::grant`].

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
    /// The commitment's nLockTime: 0, or a rung of the ladder of a `timelock` channel.
    pub lock: u32,
    /// Everything paid on this channel so far, this payment included.
    pub cumulative: Amount,
    /// The payer's, over the commitment.
    pub signature: Signature,
}

impl Paid {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.u32(self.lock).amount(self.cumulative).signature(&self.signature);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { lock: r.u32()?, cumulative: r.amount()?, signature: r.signature()? })
    }
}

/// The least amount that an output with this script may hold to be relayed (Bitcoin Core's default dust relay fee).
pub fn dust_limit(script: &Script) -> Amount {
    script.minimal_non_dust()
}

/// What is left of `capacity` when `cumulative` is paid.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub(crate) fn rest(capacity: Amount, cumulative: Amount) -> Result<Amount, Error> {
    capacity
        .checked_sub(cumulative)
        .ok_or_else(|| Error::new(Code::ExceedsCapacity, "more than the channel holds").with(Detail::Amount(capacity)))
}

/// An output of `value`; `None` where it would be dust.
pub(crate) fn output(value: Amount, script: &Script) -> Option<TxOut> {
    (value >= dust_limit(script)).then(|| TxOut { value, script_pubkey: script.to_owned() })
}

/// The payer's output when `cumulative` of `capacity` is paid; `None` where it would be dust.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn change(params: &ChannelParams, capacity: Amount, cumulative: Amount) -> Result<Option<TxOut>, Error> {
    Ok(output(rest(capacity, cumulative)?, &params.return_script))
}

/// What a signature covers that secures this output for its signer, or nothing.
pub(crate) const fn sighash_type(secured: Option<&TxOut>) -> EcdsaSighashType {
    match secured {
        Some(_) => EcdsaSighashType::SinglePlusAnyoneCanPay,
        None => EcdsaSighashType::NonePlusAnyoneCanPay,
    }
}

/// The message (BIP 143) that one side signs so that the other may spend the funding from `lock` on, in a transaction
/// that holds `secured` at the place of its input; and its hash type.
pub(crate) fn message(
    params: &ChannelParams,
    funding: &Funding,
    lock: u32,
    secured: Option<TxOut>,
) -> Result<(Message, EcdsaSighashType), Error> {
    let kind = sighash_type(secured.as_ref());
    let commitment = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(lock),
        input: vec![TxIn { previous_output: funding.outpoint, sequence: SEQUENCE, ..TxIn::default() }],
        output: secured.into_iter().collect(),
    };
    let hash = SighashCache::new(&commitment)
        .p2wsh_signature_hash(0, &params.witness_script(), funding.capacity, kind)
        .map_err(|_| Error::new(Code::InvalidArgument, "the commitment cannot be hashed"))?;
    Ok((Message::from_digest(hash.to_byte_array()), kind))
}

/// The message (BIP 143) that the payer signs to pay `cumulative` by a commitment with this nLockTime, and its hash type.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn sighash(
    params: &ChannelParams,
    funding: &Funding,
    lock: u32,
    cumulative: Amount,
) -> Result<(Message, EcdsaSighashType), Error> {
    message(params, funding, lock, change(params, funding.capacity, cumulative)?)
}

/// The payer pays `cumulative`, by a commitment with the nLockTime `lock`: 0 at the end of a channel and in a `cltv`
/// channel, else [`ChannelParams::next_lock`].
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn pay(
    params: &ChannelParams,
    funding: &Funding,
    lock: u32,
    cumulative: Amount,
    payer: &Key,
) -> Result<Paid, Error> {
    let (message, _) = sighash(params, funding, lock, cumulative)?;
    Ok(Paid { lock, cumulative, signature: secp().sign_ecdsa(&message, payer.secret()) })
}

impl Paid {
    /// Checks that the payer signed this payment, for this channel and this funding, at a lock time that it may have:
    /// 0, or one of the ladder.
    ///
    /// # Errors
    /// [`Code::ExceedsCapacity`], [`Code::WrongLock`], [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, params: &ChannelParams, funding: &Funding) -> Result<(), Error> {
        if self.cumulative > params.spendable(funding.capacity) {
            return refuse(Code::ExceedsCapacity, "more than the channel holds");
        }
        if self.lock != 0 && !params.is_rung(self.lock) {
            return refuse(Code::WrongLock, "no commitment of this channel has this lock time");
        }
        let (message, _) = sighash(params, funding, self.lock, self.cumulative)?;
        verify(&message, &self.signature, &params.payer)
    }
}
