//! What both sides of a channel agree on before money moves, and the id that names it.

#[cfg(test)]
mod tests;

use std::fmt;

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Address, Amount, Network, Script, ScriptBuf};

use crate::amount::Msat;
use crate::codec::{Reader, Writer, malformed};
use crate::commitment::{Funding, dust_limit};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::kind::Kind;
use crate::script;
use crate::secp::Purpose;
use crate::tariff::Tariff;

/// The longest return script: a witness program of 40 bytes.
pub const MAX_RETURN_SCRIPT: u8 = 42;
/// The longest purpose, in bytes.
pub const MAX_PURPOSE: u8 = 120;
/// Heights from here on are times in nLockTime (BIP 65); an expiry is always a height.
pub const MAX_HEIGHT: u32 = 500_000_000 - 1;

/// Names a channel: the tagged hash of its parameters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub [u8; 32]);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({self})")
    }
}

/// How the funding output hides the channel's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FundingKind {
    /// P2SH-P2WSH: every wallet can pay it.
    #[default]
    P2shP2wsh,
    /// Native P2WSH: smaller, and newer wallets can pay it.
    P2wsh,
}

impl FundingKind {
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::P2shP2wsh => 0,
            Self::P2wsh => 1,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Result<Self, Error> {
        match byte {
            0 => Ok(Self::P2shP2wsh),
            1 => Ok(Self::P2wsh),
            _ => Err(malformed("an unknown kind of funding output")),
        }
    }
}

/// The one-byte name of a network in messages.
pub(crate) const fn network_byte(network: Network) -> u8 {
    match network {
        Network::Bitcoin => 0,
        Network::Testnet => 1,
        Network::Testnet4 => 2,
        Network::Signet => 3,
        // The enum may grow: a network unknown here can only be a private one.
        _ => 4,
    }
}

pub(crate) const fn network_from_byte(byte: u8) -> Result<Network, Error> {
    match byte {
        0 => Ok(Network::Bitcoin),
        1 => Ok(Network::Testnet),
        2 => Ok(Network::Testnet4),
        3 => Ok(Network::Signet),
        4 => Ok(Network::Regtest),
        _ => Err(malformed("an unknown network")),
    }
}

/// Everything both sides agree on. Immutable for the life of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelParams {
    /// How old commitments lose.
    pub kind: Kind,
    /// Bitcoin network.
    pub network: Network,
    /// How the funding output hides the script.
    pub funding_kind: FundingKind,
    /// The payer's channel key.
    pub payer: PublicKey,
    /// The payee's channel key.
    pub payee: PublicKey,
    /// In blocks after this height the payer alone can take everything back.
    pub expiry: u32,
    /// Where change and refunds go.
    pub return_script: ScriptBuf,
    /// Price and window.
    pub tariff: Tariff,
    /// A deposit below this is not served.
    pub min_deposit: Amount,
    /// Of a deposit above this, no more than this can be spent.
    pub max_deposit: Amount,
    /// Confirmations that the deposit needs.
    pub confirmations: u16,
    /// The payee serves nothing from `expiry - stop_margin` on at the latest, in blocks.
    pub stop_margin: u16,
    /// The payee settles by `expiry - close_margin` at the latest, in blocks; at most `stop_margin`.
    pub close_margin: u16,
    /// What the channel is for, normally the site's origin. Printable ASCII.
    pub purpose: String,
}

impl ChannelParams {
    /// Rules that hold for any channel, whoever proposes it.
    ///
    /// # Errors
    /// [`Code::WrongKey`], [`Code::InvalidReturnScript`] or [`Code::UnacceptableTerms`], each with a sentence.
    pub fn validate(&self) -> Result<(), Error> {
        if self.payer == self.payee {
            return refuse(Code::WrongKey, "payer and payee need different keys");
        }
        validate_return_script(&self.return_script)?;
        self.tariff.validate()?;
        if self.expiry == 0 || self.expiry > MAX_HEIGHT {
            return refuse(Code::UnacceptableTerms, "the expiry is not a block height");
        }
        if self.close_margin == 0 || self.close_margin > self.stop_margin || u32::from(self.stop_margin) >= self.expiry
        {
            return refuse(Code::UnacceptableTerms, "the margins before expiry make no sense");
        }
        self.kind.validate(self.expiry, self.stop_margin)?;
        // The least deposit pays for a window, and could be returned.
        let window = self.tariff.cost(self.tariff.window_quantity()).map(Msat::to_amount_ceil);
        let least = window.map(|window| window.max(dust_limit(&self.return_script)));
        if self.min_deposit > self.max_deposit || least.is_none_or(|least| self.min_deposit < least) {
            return refuse(Code::UnacceptableTerms, "the bounds of the deposit make no sense");
        }
        if self.confirmations == 0 {
            return refuse(Code::UnacceptableTerms, "a deposit needs at least one confirmation");
        }
        if self.purpose.len() > MAX_PURPOSE.into() || !self.purpose.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return refuse(Code::UnacceptableTerms, "the purpose is not short printable text");
        }
        Ok(())
    }

    /// Whether a deposit of this size is within the bounds.
    ///
    /// # Errors
    /// [`Code::DepositTooSmall`], [`Code::DepositTooLarge`], each with the bound.
    pub fn check_deposit(&self, deposit: Amount) -> Result<(), Error> {
        if deposit < self.min_deposit {
            return Err(Error::new(Code::DepositTooSmall, "this deposit is too small to be served")
                .with(Detail::Amount(self.min_deposit)));
        }
        if deposit > self.max_deposit {
            return Err(Error::new(Code::DepositTooLarge, "this deposit is more than can be spent here")
                .with(Detail::Amount(self.max_deposit)));
        }
        Ok(())
    }

    /// The channel's name. Binds every parameter.
    pub fn id(&self) -> ChannelId {
        let mut w = Writer::default();
        self.write(&mut w);
        ChannelId(Purpose::ChannelId.hash(&[&w.finish()]))
    }

    /// The script that the funding output commits to.
    pub fn witness_script(&self) -> ScriptBuf {
        match self.kind {
            Kind::Cltv => script::channel_script(&self.payee, &self.payer, self.expiry),
            Kind::Timelock { .. } => script::multisig_script(&self.payer, &self.payee),
        }
    }

    /// The script of the funding output.
    pub fn funding_script(&self) -> ScriptBuf {
        script::funding_script(self.funding_kind, &self.witness_script())
    }

    /// The nLockTime of the commitment after one with the lock `last`; without one, of the first. 0 where commitments
    /// have no lock.
    ///
    /// # Errors
    /// [`Code::UpdatesSpent`] where the ladder has no more.
    pub fn next_lock(&self, last: Option<u32>) -> Result<u32, Error> {
        let Some(ladder) = self.kind.ladder() else { return Ok(0) };
        let number = last.map_or(Some(0), |last| ladder.number(self.expiry, last));
        number
            .and_then(|number| ladder.lock(self.expiry, number.checked_add(1)?))
            .ok_or(Error::new(Code::UpdatesSpent, "this channel has no more payments left"))
    }

    /// How many payments can follow one with the lock `last`; `None` where there is no bound.
    pub fn updates_left(&self, last: Option<u32>) -> Option<u32> {
        let ladder = self.kind.ladder()?;
        let number = last.and_then(|last| ladder.number(self.expiry, last)).unwrap_or(0);
        Some(ladder.updates.saturating_sub(number))
    }

    /// Whether a payment before the end of the channel may have this nLockTime.
    pub(crate) fn is_rung(&self, lock: u32) -> bool {
        self.kind.ladder().map_or(lock == 0, |ladder| ladder.number(self.expiry, lock).is_some())
    }

    /// The address to pay into.
    ///
    /// # Errors
    /// None in practice: both kinds of funding script have an address.
    pub fn address(&self) -> Result<Address, Error> {
        Address::from_script(&self.funding_script(), self.network)
            .map_err(|_| Error::new(Code::InvalidArgument, "this script has no address"))
    }

    /// How much of `capacity` can be spent on this channel.
    pub fn spendable(&self, capacity: Amount) -> Amount {
        capacity.min(self.max_deposit)
    }

    /// The height from which the payee serves nothing, at the latest: see [`crate::margin`].
    pub fn stop_height(&self) -> u32 {
        self.expiry.saturating_sub(self.stop_margin.into())
    }

    /// The height by which the payee settles, at the latest: see [`crate::margin`].
    pub fn close_height(&self) -> u32 {
        self.expiry.saturating_sub(self.close_margin.into())
    }

    /// The node stands by these parameters.
    pub fn sign(&self, node: &Key) -> Signature {
        Purpose::Open.sign(node.secret(), &[&self.id().0])
    }

    /// Checks the node's signature over these parameters.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, node: &PublicKey, signature: &Signature) -> Result<(), Error> {
        Purpose::Open.verify(node, signature, &[&self.id().0])
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.kind.write(w);
        w.u8(network_byte(self.network)).u8(self.funding_kind.to_byte());
        w.key(&self.payer).key(&self.payee).u32(self.expiry).bytes(self.return_script.as_bytes());
        self.tariff.write(w);
        w.amount(self.min_deposit).amount(self.max_deposit);
        w.u16(self.confirmations).u16(self.stop_margin).u16(self.close_margin).text(&self.purpose, MAX_PURPOSE);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            kind: Kind::read(r)?,
            network: network_from_byte(r.u8()?)?,
            funding_kind: FundingKind::from_byte(r.u8()?)?,
            payer: r.key()?,
            payee: r.key()?,
            expiry: r.u32()?,
            return_script: r.script(MAX_RETURN_SCRIPT)?,
            tariff: Tariff::read(r)?,
            min_deposit: r.amount()?,
            max_deposit: r.amount()?,
            confirmations: r.u16()?,
            stop_margin: r.u16()?,
            close_margin: r.u16()?,
            purpose: r.text(MAX_PURPOSE)?,
        })
    }
}

/// Only scripts that every node relays and that no one else can spend: P2PKH, P2SH, P2WPKH, P2WSH, P2TR.
///
/// # Errors
/// [`Code::InvalidReturnScript`].
pub fn validate_return_script(script: &Script) -> Result<(), Error> {
    if script.is_p2pkh() || script.is_p2sh() || script.is_p2wpkh() || script.is_p2wsh() || script.is_p2tr() {
        return Ok(());
    }
    refuse(Code::InvalidReturnScript, "the return script is of no standard kind")
}

/// The payee's closing statement: this channel ends at this amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which channel.
    pub channel: ChannelId,
    /// What funded it.
    pub funding: Funding,
    /// What the payee gets.
    pub cumulative: Amount,
}

impl Statement {
    fn bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.funding.write(w.raw(&self.channel.0));
        w.amount(self.cumulative);
        w.finish()
    }

    /// The node stands by this statement.
    pub fn sign(&self, node: &Key) -> Signature {
        Purpose::Statement.sign(node.secret(), &[&self.bytes()])
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, node: &PublicKey, signature: &Signature) -> Result<(), Error> {
        Purpose::Statement.verify(node, signature, &[&self.bytes()])
    }
}

/// The payer, who has lost its store, asks the socket with this challenge for the channel of its key.
pub fn sign_recover(payer: &Key, challenge: &[u8; 32]) -> Signature {
    Purpose::Recover.sign(payer.secret(), &[challenge])
}

/// Checks [`sign_recover`].
///
/// # Errors
/// [`Code::InvalidSignature`], [`Code::HighS`].
pub fn verify_recover(payer: &PublicKey, challenge: &[u8; 32], signature: &Signature) -> Result<(), Error> {
    Purpose::Recover.verify(payer, signature, &[challenge])
}

/// The payer proves to the session with this challenge that the channel is its own.
pub fn sign_attach(payer: &Key, channel: &ChannelId, challenge: &[u8; 32]) -> Signature {
    Purpose::Attach.sign(payer.secret(), &[&channel.0, challenge])
}

/// Checks [`sign_attach`].
///
/// # Errors
/// [`Code::InvalidSignature`], [`Code::HighS`].
pub fn verify_attach(
    payer: &PublicKey,
    channel: &ChannelId,
    challenge: &[u8; 32],
    signature: &Signature,
) -> Result<(), Error> {
    Purpose::Attach.verify(payer, signature, &[&channel.0, challenge])
}
