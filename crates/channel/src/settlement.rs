//! Settlement: the payee turns the last payments of one or many channels into one transaction.
//!
//! Input *i* is a channel's funding and output *i* that payer's change, as `SIGHASH_SINGLE` demands; channels without
//! change (`SIGHASH_NONE`) come last; after all changes stands the payee's one output. The fee comes out of it, so each
//! viewer gets exactly what the screen said.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Script, ScriptBuf, Transaction, TxIn, TxOut, Witness};

use crate::commitment::{Funding, Paid, SEQUENCE, change, dust_limit, sighash_type};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::script::script_sig;
use crate::secp::secp;

/// The most channels in one settlement: below the 400,000 weight units that nodes relay (Bitcoin Core's
/// `MAX_STANDARD_TX_WEIGHT`) at about 660 units each.
pub const MAX_CHANNELS: usize = 500;

/// The longest DER signature with low S and its hash type byte.
const MAX_SIGNATURE: usize = 72;

/// One channel to settle.
pub struct Claim<'a> {
    /// Its parameters.
    pub params: &'a ChannelParams,
    /// Its funding.
    pub funding: Funding,
    /// The payment to settle at.
    pub paid: Paid,
    /// The payee's key for this channel.
    pub key: &'a Key,
}

/// A settlement transaction, complete and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The transaction to broadcast.
    pub transaction: Transaction,
    /// What it pays to miners.
    pub fee: Amount,
    /// What it pays to the payee.
    pub payout: Amount,
}

/// Settles the claims in one transaction that pays the rest to `payout` at `fee_rate`.
///
/// # Errors
/// [`Code::NothingToDo`] for no claims, [`Code::InvalidArgument`] for more than [`MAX_CHANNELS`], [`Code::WrongKey`] for
/// a key that is not the channel's, [`Code::ExceedsCapacity`], and [`Code::Uneconomic`], with the amount that would be
/// needed, where the payee's output would be dust.
pub fn settle(claims: &[Claim<'_>], payout: &Script, fee_rate: FeeRate) -> Result<Settlement, Error> {
    if claims.is_empty() {
        return refuse(Code::NothingToDo, "there is nothing to settle");
    }
    if claims.len() > MAX_CHANNELS {
        return refuse(Code::InvalidArgument, "too many channels for one settlement");
    }
    let mut slots = claims.iter().map(Slot::new).collect::<Result<Vec<_>, _>>()?;
    // Stable: the order of the caller is kept within both groups.
    slots.sort_by_key(|slot| slot.change.is_none());

    let mut gross = Amount::ZERO;
    for slot in &slots {
        gross =
            gross.checked_add(slot.gain).ok_or(Error::new(Code::InvalidArgument, "the sum of all claims is absurd"))?;
    }
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: slots.iter().map(Slot::input).collect(),
        output: slots.iter().filter_map(|slot| slot.change.clone()).collect(),
    };
    transaction.output.push(TxOut { value: gross, script_pubkey: payout.to_owned() });

    let fee = fee_rate
        .fee_vb(u64::try_from(transaction.vsize()).unwrap_or(u64::MAX))
        .ok_or(Error::new(Code::InvalidArgument, "the fee rate is absurd"))?;
    let needed =
        fee.checked_add(dust_limit(payout)).ok_or(Error::new(Code::InvalidArgument, "the fee rate is absurd"))?;
    let net = gross.checked_sub(fee).filter(|net| *net >= dust_limit(payout));
    let Some(net) = net else {
        return Err(Error::new(Code::Uneconomic, "the fee would eat up the payment").with(Detail::Amount(needed)));
    };
    if let Some(last) = transaction.output.last_mut() {
        last.value = net;
    }
    sign(&mut transaction, &slots)?;
    Ok(Settlement { transaction, fee, payout: net })
}

/// A claim with what follows from it.
struct Slot<'a> {
    claim: &'a Claim<'a>,
    script: ScriptBuf,
    change: Option<TxOut>,
    /// What the payee gets of this input, before the fee.
    gain: Amount,
}

impl<'a> Slot<'a> {
    fn new(claim: &'a Claim<'a>) -> Result<Self, Error> {
        if claim.key.public() != claim.params.payee {
            return refuse(Code::WrongKey, "this key is not the payee's of this channel");
        }
        let capacity = claim.funding.capacity;
        let change = change(claim.params, capacity, claim.paid.cumulative)?;
        let gain = if change.is_some() { claim.paid.cumulative } else { capacity };
        Ok(Self { claim, script: claim.params.witness_script(), change, gain })
    }

    /// The input with a witness of the greatest size, to weigh the transaction by.
    fn input(&self) -> TxIn {
        TxIn {
            previous_output: self.claim.funding.outpoint,
            script_sig: script_sig(self.claim.params.funding_kind, &self.script),
            sequence: SEQUENCE,
            witness: self.witness(&[0; MAX_SIGNATURE], &[0; MAX_SIGNATURE]),
        }
    }

    /// Payer's signature for the last check of the script, payee's for the first, 1 for the `IF`.
    fn witness(&self, payer: &[u8], payee: &[u8]) -> Witness {
        Witness::from_slice(&[payer, payee, &[1], self.script.as_bytes()])
    }
}

fn sign(transaction: &mut Transaction, slots: &[Slot<'_>]) -> Result<(), Error> {
    let mut witnesses = Vec::with_capacity(slots.len());
    let mut cache = SighashCache::new(&*transaction);
    for (index, slot) in slots.iter().enumerate() {
        let hash = cache
            .p2wsh_signature_hash(index, &slot.script, slot.claim.funding.capacity, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::InvalidArgument, "the settlement cannot be hashed"))?;
        let message = Message::from_digest(hash.to_byte_array());
        let payee = Signature::sighash_all(secp().sign_ecdsa_low_r(&message, slot.claim.key.secret()));
        let payer =
            Signature { signature: slot.claim.paid.signature, sighash_type: sighash_type(slot.change.as_ref()) };
        witnesses.push(slot.witness(&payer.serialize(), &payee.serialize()));
    }
    for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
        input.witness = witness;
    }
    Ok(())
}
