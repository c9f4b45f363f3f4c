//! How a payer asks for a channel, and how it checks the answer.

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, ScriptBuf};

use super::{Event, Step};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::params::{ChannelParams, FundingKind};
use crate::persist::Decision;
use crate::tariff::Tariff;
use crate::wire::{Message, Open};

/// What a payer agrees to when it opens a channel; everything is checked before an address is shown.
pub struct Request {
    /// The payer's network.
    pub network: bitcoin::Network,
    /// How the funding output hides the script.
    pub funding_kind: FundingKind,
    /// The payer's channel key number [`Request::key_index`].
    pub key: Key,
    /// See [`crate::keys::Seed::channel_key`].
    pub key_index: u32,
    /// Where change and refunds go.
    pub return_script: ScriptBuf,
    /// What the viewer means to deposit.
    pub deposit: Amount,
    /// The price and window that the viewer was shown.
    pub tariff: Tariff,
    /// The node key that the terms name.
    pub node: PublicKey,
    /// The bounds of a deposit that the terms name.
    pub min_deposit: Amount,
    /// See [`Request::min_deposit`].
    pub max_deposit: Amount,
    /// The confirmations that the terms name.
    pub confirmations: u16,
    /// The longest life of a channel, in blocks, that the viewer agrees to wait for a refund.
    pub max_lifetime: u32,
    /// The purpose (origin) that the channel must name.
    pub purpose: String,
}

impl Request {
    /// The message that asks for the channel.
    pub fn message(&self) -> Message {
        Message::Open(Open {
            network: self.network,
            funding_kind: self.funding_kind,
            payer: self.key.public(),
            return_script: self.return_script.clone(),
            deposit: self.deposit,
        })
    }

    /// Checks the payee's answer against everything asked for. `tip` is the height of the best block as the payer sees
    /// it. Give the saved decision to [`super::Payer::create`].
    ///
    /// # Errors
    /// [`Code::WrongNetwork`], [`Code::WrongKey`], [`Code::UnacceptableTerms`], [`Code::DepositTooSmall`],
    /// [`Code::DepositTooLarge`], [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn opened(&self, params: Box<ChannelParams>, signature: Signature, tip: u32) -> Result<Step, Error> {
        if params.network != self.network {
            return refuse(Code::WrongNetwork, "the server answered for another Bitcoin network");
        }
        if params.payer != self.key.public() {
            return refuse(Code::WrongKey, "the server answered for another key");
        }
        params.validate()?;
        let as_asked = params.funding_kind == self.funding_kind
            && params.return_script == self.return_script
            && params.tariff == self.tariff
            && params.min_deposit == self.min_deposit
            && params.max_deposit == self.max_deposit
            && params.confirmations == self.confirmations
            && params.purpose == self.purpose;
        if !as_asked {
            return refuse(Code::UnacceptableTerms, "the server's answer differs from what was asked for");
        }
        // At least half of the channel's life is for watching.
        let life = params.expiry.saturating_sub(tip);
        if life > self.max_lifetime || u32::from(params.stop_margin) > life / 2 {
            return refuse(Code::UnacceptableTerms, "the server's expiry is too near or too far");
        }
        params.check_deposit(self.deposit)?;
        params.verify(&self.node, &signature)?;
        let id = params.id();
        let event =
            Event::Opened { params, node: self.node, signature, key_index: self.key_index, deposit: self.deposit };
        Ok(Decision::new(id, 0, vec![event], vec![]))
    }
}
