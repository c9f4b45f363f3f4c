//! Settlement: the payee turns the last payments of one or many channels into one transaction.
//!
//! Input *i* is a channel's funding and output *i* that payer's change, as `SIGHASH_SINGLE` demands; channels without
//! change (`SIGHASH_NONE`) come last; after all changes stands the payee's one output. The fee comes out of it, so each
//! viewer gets exactly what the screen said.
//!
//! Commitments of `timelock` channels whose payer has gone have a lock time; only those with the same one can be merged.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, FeeRate, Script, Transaction, TxOut};

use crate::commitment::{Funding, Paid, change, sighash_type};
use crate::error::{Code, Error, refuse};
use crate::fee::Fee;
use crate::keys::Key;
use crate::kind::Kind;
use crate::params::ChannelParams;
use crate::secp::verify;
use crate::spend::{Spend, Spent, spend, sum};

/// The most channels in one settlement: below the 400,000 weight units that nodes relay (Bitcoin Core's
/// `MAX_STANDARD_TX_WEIGHT`) at about 660 units each.
pub const MAX_CHANNELS: usize = 500;

/// What one more channel adds to a merged settlement, in virtual bytes: input 41 + 35 (P2SH), witness (72 + 72 + 115 + 5)
/// / 4, change at most 43.
const CLAIM_VBYTES: u64 = 185;

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

/// Whose transaction it is that spends a channel's funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spender {
    /// The payee's own: a settlement, perhaps one that has been replaced since.
    Payee,
    /// The payer's, and it pays the payee no less than the claim: the payer's copy of the newest commitment of a
    /// `timelock` channel, in which the payer bears the fee.
    Fair,
    /// The payer's, and it takes back what was paid: an old commitment or a refund. While it waits, the claim can take
    /// its place.
    Rival,
}

/// What a payment brings the payee, before the fee: where the payer's change would be dust, the whole capacity.
///
/// # Errors
/// [`Code::ExceedsCapacity`].
pub fn gain(params: &ChannelParams, capacity: Amount, cumulative: Amount) -> Result<Amount, Error> {
    Ok(if change(params, capacity, cumulative)?.is_some() { cumulative } else { capacity })
}

/// Whether `gain` is more than a channel adds to the fee of a merged settlement.
pub fn is_worth(gain: Amount, fee_rate: FeeRate) -> bool {
    fee_rate.fee_vb(CLAIM_VBYTES).is_some_and(|fee| gain > fee)
}

impl Claim<'_> {
    /// Whether it brings more than it adds to the fee of a merged settlement.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not the channel's, [`Code::ExceedsCapacity`].
    pub fn is_economic(&self, fee_rate: FeeRate) -> Result<bool, Error> {
        let (_, gain) = self.split()?;
        Ok(is_worth(gain, fee_rate))
    }

    /// The payer's output, if there is one, and what the payee gets, before the fee.
    fn split(&self) -> Result<(Option<TxOut>, Amount), Error> {
        if self.key.public() != self.params.payee {
            return refuse(Code::WrongKey, "this key is not the payee's of this channel");
        }
        let capacity = self.funding.capacity;
        let change = change(self.params, capacity, self.paid.cumulative)?;
        Ok((change, gain(self.params, capacity, self.paid.cumulative)?))
    }

    /// Whose `transaction` is; `None` where it does not spend this claim's funding, or the payer has not signed that.
    ///
    /// It is the payee's where it carries the payee's signature over all of it: what the payee signs for the payer
    /// ([`crate::grant`]) leaves room for the payer's own outputs.
    pub fn spender(&self, transaction: &Transaction) -> Option<Spender> {
        let inputs = &transaction.input;
        let index = inputs.iter().position(|input| input.previous_output == self.funding.outpoint)?;
        let script = self.params.witness_script();
        let mut cache = SighashCache::new(transaction);
        let mut signed = false;
        let items = inputs.get(index).map(|input| input.witness.iter()).into_iter().flatten();
        for Signature { signature, sighash_type } in items.filter_map(|item| Signature::from_slice(item).ok()) {
            let hash = cache.p2wsh_signature_hash(index, &script, self.funding.capacity, sighash_type);
            let Ok(message) = hash.map(|hash| Message::from_digest(hash.to_byte_array())) else { continue };
            let by = |key| verify(&message, &signature, key).is_ok();
            if sighash_type == EcdsaSighashType::All && by(&self.params.payee) {
                return Some(Spender::Payee);
            }
            signed |= by(&self.params.payer);
        }
        if !signed {
            return None;
        }
        let Kind::Timelock { payee_script, .. } = &self.params.kind else { return Some(Spender::Rival) };
        // What the payee signed fixes the output at its own input's place; any other may be due on another channel.
        let fair = transaction
            .output
            .get(index)
            .is_some_and(|output| output.script_pubkey == *payee_script && output.value >= self.paid.cumulative);
        Some(if fair { Spender::Fair } else { Spender::Rival })
    }
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

/// Settles the claims in one transaction that pays the rest, less the fee, to `payout`.
///
/// # Errors
/// [`Code::NothingToDo`] for no claims, [`Code::InvalidArgument`] for more than [`MAX_CHANNELS`] or a channel named
/// twice or lock times that differ, [`Code::WrongKey`] for a key that is not the channel's, [`Code::ExceedsCapacity`], and
/// [`Code::Uneconomic`], with the amount that would be needed, where the payee's output would be dust.
pub fn settle(claims: &[Claim<'_>], payout: &Script, fee: impl Into<Fee>) -> Result<Settlement, Error> {
    let Some(lock) = claims.first().map(|claim| claim.paid.lock) else {
        return refuse(Code::NothingToDo, "there is nothing to settle");
    };
    if claims.iter().any(|claim| claim.paid.lock != lock) {
        return refuse(Code::InvalidArgument, "commitments with different lock times cannot be merged");
    }
    if claims.len() > MAX_CHANNELS {
        return refuse(Code::InvalidArgument, "too many channels for one settlement");
    }
    let mut parts = Vec::with_capacity(claims.len());
    for claim in claims {
        let (change, gain) = claim.split()?;
        parts.push((claim, change, gain));
    }
    // Stable: the order of the caller is kept within both groups.
    parts.sort_by_key(|(_, change, _)| change.is_none());

    let gross = sum(parts.iter().map(|(.., gain)| *gain))?;
    let spends = parts
        .iter()
        .map(|(claim, change, _)| {
            let sighash_type = sighash_type(change.as_ref());
            let payer = Signature { signature: claim.paid.signature, sighash_type };
            Spend::new(claim.params, claim.funding, claim.key, Some(payer))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let changes = parts.into_iter().filter_map(|(_, change, _)| change).collect();
    let rest = TxOut { value: gross, script_pubkey: payout.to_owned() };
    let Spent { transaction, fee } = spend(&spends, LockTime::from_consensus(lock), changes, rest, fee)?;
    let payout = transaction.output.last().map_or(Amount::ZERO, |output| output.value);
    Ok(Settlement { transaction, fee, payout })
}
