//! How a payer asks for a channel, new or lost, and how it checks the answer.

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, ScriptBuf};

use super::{Event, Step};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::kind::{KindName, Ladder};
use crate::params::{ChannelParams, FundingKind, sign_recover};
use crate::persist::Decision;
use crate::tariff::Tariff;
use crate::wire::{Message, Open};

/// What a payer agrees to when it opens a channel; everything is checked before an address is shown.
pub struct Request {
    /// The ladder of a `timelock` channel, as the terms name it; `None` asks for a `cltv` channel.
    pub ladder: Option<Ladder>,
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
            kind: if self.ladder.is_some() { KindName::Timelock } else { KindName::Cltv },
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
        let as_asked = params.kind.ladder() == self.ladder.as_ref()
            && params.funding_kind == self.funding_kind
            && params.return_script == self.return_script
            && params.tariff == self.tariff
            && params.min_deposit == self.min_deposit
            && params.max_deposit == self.max_deposit
            && params.confirmations == self.confirmations
            && params.purpose == self.purpose;
        if !as_asked {
            return refuse(Code::UnacceptableTerms, "the server's answer differs from what was asked for");
        }
        // At least half of the channel's life is for watching, and all of its payments can be made in it.
        let life = params.expiry.saturating_sub(tip);
        let payments = self.ladder.map_or(Some(0), |ladder| ladder.height());
        let watching = payments.and_then(|height| life.checked_sub(height));
        let margin = u32::from(params.stop_margin);
        if life > self.max_lifetime || margin > life / 2 || watching.is_none_or(|watching| watching <= margin) {
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

/// What a payer knows of a channel of its own when it has nothing but its words.
pub struct Recovery {
    /// The payer's network.
    pub network: bitcoin::Network,
    /// The payer's channel key number [`Recovery::key_index`].
    pub key: Key,
    /// See [`crate::keys::Seed::channel_key`].
    pub key_index: u32,
    /// Where change and refunds of the channel with this number go.
    pub return_script: ScriptBuf,
    /// The node key that the terms name.
    pub node: PublicKey,
    /// The purpose (origin) that the channel must name.
    pub purpose: String,
}

impl Recovery {
    /// The message that asks the socket with this challenge for the channel.
    pub fn message(&self, challenge: &[u8; 32]) -> Message {
        Message::Recover { payer: self.key.public(), signature: sign_recover(&self.key, challenge) }
    }

    /// Checks the payee's answer. Give the saved decision to [`super::Payer::create`], then look at the chain, and attach:
    /// [`super::Payer::attached`] adopts the payments that bear the payer's own signature.
    ///
    /// The payee could answer with another price or window than was agreed: nothing that a payer keeps in its words tells.
    /// It can gain nothing by it as long as no more is paid. Go on paying only where the tariff is one that the viewer
    /// sees and accepts now; stopping is always safe.
    ///
    /// # Errors
    /// [`Code::WrongNetwork`], [`Code::WrongKey`], [`Code::UnacceptableTerms`], [`Code::InvalidSignature`],
    /// [`Code::HighS`], and those of [`ChannelParams::validate`].
    pub fn recovered(&self, params: Box<ChannelParams>, signature: Signature) -> Result<Step, Error> {
        if params.network != self.network {
            return refuse(Code::WrongNetwork, "the server answered for another Bitcoin network");
        }
        if params.payer != self.key.public() {
            return refuse(Code::WrongKey, "the server answered for another key");
        }
        params.validate()?;
        if params.return_script != self.return_script || params.purpose != self.purpose {
            return refuse(Code::UnacceptableTerms, "this is not a channel that was opened with these words");
        }
        params.verify(&self.node, &signature)?;
        let (id, deposit) = (params.id(), params.min_deposit);
        let event = Event::Opened { params, node: self.node, signature, key_index: self.key_index, deposit };
        Ok(Decision::new(id, 0, vec![event], vec![]))
    }
}
