//! What an operator offers, and how it answers a request for a channel.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate};

use super::{Effect, Event, Step};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::kind::Kind;
use crate::margin::Surge;
use crate::params::{ChannelParams, validate_return_script};
use crate::persist::Decision;
use crate::tariff::Tariff;
use crate::wire::{Message, Open};

/// What the operator offers to whoever opens a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The kind of channel.
    pub kind: Kind,
    /// The operator's network.
    pub network: bitcoin::Network,
    /// Price and window.
    pub tariff: Tariff,
    /// Least deposit that is served.
    pub min_deposit: Amount,
    /// Most that can be spent on one channel.
    pub max_deposit: Amount,
    /// Confirmations that a deposit needs.
    pub confirmations: u16,
    /// Blocks from opening to expiry.
    pub lifetime: u32,
    /// Blocks before expiry from which nothing is served.
    pub stop_margin: u16,
    /// Blocks before expiry by which the channel is settled.
    pub close_margin: u16,
    /// What the channel is for, normally the site's origin.
    pub purpose: String,
}

impl Offer {
    /// What the rate for quick confirmation, `current`, does to the margins of these channels, which are enough up to the rate
    /// `calm`. At least half of the time in which payments are made is left, so that a channel opened now is served.
    pub fn surge(&self, current: FeeRate, calm: FeeRate) -> Surge {
        Surge::new(current, calm, self.watching().unwrap_or(0) / 2)
    }

    /// Blocks from the opening to the end, or to the lock of the last payment that can be made.
    fn watching(&self) -> Option<u32> {
        let payments = self.kind.ladder().map_or(Some(0), |ladder| ladder.height());
        self.lifetime.checked_sub(payments?)
    }

    /// Answers a request for a channel; `key` is the payee's fresh key number `key_index`, `tip` the height of the best
    /// block. Give the saved decision to [`super::Payee::create`].
    ///
    /// # Errors
    /// [`Code::WrongNetwork`], [`Code::InvalidReturnScript`], [`Code::WrongKey`], [`Code::UnacceptableTerms`],
    /// [`Code::DepositTooSmall`], [`Code::DepositTooLarge`].
    pub fn open(&self, request: &Open, tip: u32, key: PublicKey, key_index: u32, node: &Key) -> Result<Step, Error> {
        if request.network != self.network {
            return refuse(Code::WrongNetwork, "this server is on another Bitcoin network");
        }
        if request.kind != self.kind.name() {
            return refuse(Code::UnacceptableTerms, "this server offers another kind of channel");
        }
        validate_return_script(&request.return_script)?;
        let params = Box::new(ChannelParams {
            kind: self.kind.clone(),
            network: self.network,
            funding_kind: request.funding_kind,
            payer: request.payer,
            payee: key,
            expiry: tip.saturating_add(self.lifetime),
            return_script: request.return_script.clone(),
            tariff: self.tariff,
            min_deposit: self.min_deposit,
            max_deposit: self.max_deposit,
            confirmations: self.confirmations,
            stop_margin: self.stop_margin,
            close_margin: self.close_margin,
            purpose: self.purpose.clone(),
        });
        params.validate()?;
        if self.watching().is_none_or(|watching| watching <= self.stop_margin.into()) {
            return refuse(Code::UnacceptableTerms, "the channel's life is too short for its payments");
        }
        params.check_deposit(request.deposit)?;
        let reply = Message::Opened { params: params.clone(), signature: params.sign(node) };
        Ok(Decision::new(params.id(), 0, vec![Event::Opened { params, key_index }], vec![Effect::Send(reply)]))
    }
}
