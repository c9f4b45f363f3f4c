//! Settlement: the payee turns the last payments of one or many channels into one transaction.
//!
//! Input *i* is a channel's funding and output *i* that payer's change, as `SIGHASH_SINGLE` demands; channels without
//! change (`SIGHASH_NONE`) come last; after all changes stands the payee's one output. The fee comes out of it, so each
//! viewer gets exactly what the screen said.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::{Amount, FeeRate, Script, Transaction, TxOut};

use crate::commitment::{Funding, Paid, change, sighash_type};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
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

impl Claim<'_> {
    /// Whether it brings more than it adds to the fee of a merged settlement.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not the channel's, [`Code::ExceedsCapacity`].
    pub fn is_economic(&self, fee_rate: FeeRate) -> Result<bool, Error> {
        let (_, gain) = self.split()?;
        Ok(fee_rate.fee_vb(CLAIM_VBYTES).is_some_and(|fee| gain > fee))
    }

    /// The payer's output, if there is one, and what the payee gets, before the fee.
    fn split(&self) -> Result<(Option<TxOut>, Amount), Error> {
        if self.key.public() != self.params.payee {
            return refuse(Code::WrongKey, "this key is not the payee's of this channel");
        }
        let capacity = self.funding.capacity;
        let change = change(self.params, capacity, self.paid.cumulative)?;
        let gain = if change.is_some() { self.paid.cumulative } else { capacity };
        Ok((change, gain))
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

/// Settles the claims in one transaction that pays the rest to `payout` at `fee_rate`.
///
/// # Errors
/// [`Code::NothingToDo`] for no claims, [`Code::InvalidArgument`] for more than [`MAX_CHANNELS`] or a channel named
/// twice, [`Code::WrongKey`] for a key that is not the channel's, [`Code::ExceedsCapacity`], and [`Code::Uneconomic`],
/// with the amount that would be needed, where the payee's output would be dust.
pub fn settle(claims: &[Claim<'_>], payout: &Script, fee_rate: FeeRate) -> Result<Settlement, Error> {
    if claims.is_empty() {
        return refuse(Code::NothingToDo, "there is nothing to settle");
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
    let spends: Vec<_> = parts
        .iter()
        .map(|(claim, change, _)| {
            let sighash_type = sighash_type(change.as_ref());
            let payer = Signature { signature: claim.paid.signature, sighash_type };
            Spend::new(claim.params, claim.funding, claim.key, Some(payer))
        })
        .collect();
    let changes = parts.into_iter().filter_map(|(_, change, _)| change).collect();
    let rest = TxOut { value: gross, script_pubkey: payout.to_owned() };
    let Spent { transaction, fee } = spend(&spends, LockTime::ZERO, changes, rest, fee_rate)?;
    let payout = transaction.output.last().map_or(Amount::ZERO, |output| output.value);
    Ok(Settlement { transaction, fee, payout })
}
