//! Grants: what the payee signs for the payer.
//!
//! A grant says: from the block after `lock` on the payer may spend this output, if the transaction leaves the payee
//! `cumulative`. It mirrors the payer's commitments: `SIGHASH_SINGLE|ANYONECANPAY` over the payee's one output, or
//! `NONE|ANYONECANPAY` where that is nothing or dust. The payer chooses the fee, and bears it.
//!
//! | grant | lock | cumulative | given |
//! | --- | --- | --- | --- |
//! | release | 0 | 0 | when nothing was delivered for a deposit: the payer need not wait for the expiry |
//! | refund | expiry | 0 | in a `timelock` channel, before the payer broadcasts its funding |
//! | commitment *n* | as commitment *n* | as commitment *n* | in a `timelock` channel, for each payment |

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{Amount, TxOut, ecdsa};

use crate::codec::{Reader, Writer};
use crate::commitment::{Funding, message, output, rest, sighash_type};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::kind::Kind;
use crate::params::ChannelParams;
use crate::secp::{secp, verify};

/// The payee's signature that lets the payer spend an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What may be spent.
    pub funding: Funding,
    /// In blocks after this height.
    pub lock: u32,
    /// If the payee gets this much.
    pub cumulative: Amount,
    /// The payee's channel key's.
    pub signature: Signature,
}

impl Grant {
    /// The payee lets the payer spend `funding`. Whether it may is decided by [`crate::payee::Payee`] alone.
    ///
    /// # Errors
    /// [`Code::ExceedsCapacity`]; [`Code::InvalidArgument`] for an amount in a channel that has no output for the payee;
    /// [`Code::WrongKey`] for a key that is not the channel's.
    pub(crate) fn sign(
        params: &ChannelParams,
        funding: Funding,
        lock: u32,
        cumulative: Amount,
        payee: &Key,
    ) -> Result<Self, Error> {
        if payee.public() != params.payee {
            return refuse(Code::WrongKey, "this key is not the payee's of this channel");
        }
        let (message, _) = message(params, &funding, lock, secured(params, funding.capacity, cumulative)?)?;
        Ok(Self { funding, lock, cumulative, signature: secp().sign_ecdsa(&message, payee.secret()) })
    }

    /// Checks that the payee signed this grant, for this channel.
    ///
    /// # Errors
    /// [`Code::ExceedsCapacity`], [`Code::InvalidArgument`] as [`Grant`]s of that kind do not exist,
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, params: &ChannelParams) -> Result<(), Error> {
        let secured = secured(params, self.funding.capacity, self.cumulative)?;
        let (message, _) = message(params, &self.funding, self.lock, secured)?;
        verify(&message, &self.signature, &params.payee)
    }

    /// The payee's output that the granted transaction has to hold at the place of its input, and the signature with its
    /// hash type.
    pub(crate) fn terms(&self, params: &ChannelParams) -> Result<(Option<TxOut>, ecdsa::Signature), Error> {
        let secured = secured(params, self.funding.capacity, self.cumulative)?;
        let sighash_type = sighash_type(secured.as_ref());
        Ok((secured, ecdsa::Signature { signature: self.signature, sighash_type }))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.funding.write(w);
        w.u32(self.lock).amount(self.cumulative).signature(&self.signature);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { funding: Funding::read(r)?, lock: r.u32()?, cumulative: r.amount()?, signature: r.signature()? })
    }
}

/// What the payee keeps of `capacity` by a grant of `cumulative`; `None` where it is nothing or dust.
fn secured(params: &ChannelParams, capacity: Amount, cumulative: Amount) -> Result<Option<TxOut>, Error> {
    rest(capacity, cumulative)?;
    match &params.kind {
        Kind::Timelock { payee_script, .. } => Ok(output(cumulative, payee_script)),
        Kind::Cltv if cumulative == Amount::ZERO => Ok(None),
        Kind::Cltv => refuse(Code::InvalidArgument, "in a channel of this kind the payee grants all or nothing"),
    }
}
