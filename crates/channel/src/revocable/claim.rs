//! What either side may take from a confirmed commitment or its second stage (BOLT 5), and the sweep that takes it.
//!
//! Outputs are recognised by their scripts, not by their places: a second stage may come merged with others, and of a
//! commitment of long ago no more is kept than its number and its HTLCs.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Message, PublicKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use crate::error::{Code, Error, refuse};
use crate::fee::Fee;
use crate::keys::Key;
use crate::revocable::channel::{Channel, Role};
use crate::revocable::commitment::Htlc;
use crate::revocable::fees::{ChannelType, Stage};
use crate::revocable::htlc::Preimage;
use crate::revocable::keys::CommitmentKeys;
use crate::revocable::script;
use crate::secp::secp;
use crate::spend::{Input, MAX_SIGNATURE, SEQUENCE, Spent, spend, sum};

/// The heaviest transaction that nodes relay (Bitcoin Core's `MAX_STANDARD_TX_WEIGHT`), in weight units.
const MAX_WEIGHT: u64 = 400_000;

/// A confirmed transaction of one commitment's tree: the commitment itself, or a second stage of it.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed<'a> {
    channel: &'a Channel,
    owner: Role,
    keys: CommitmentKeys,
    transaction: &'a Transaction,
}

impl<'a> Confirmed<'a> {
    /// The transaction belongs to the commitment of `owner` with this per-commitment point.
    ///
    /// # Errors
    /// As [`Channel::keys`].
    pub fn new(
        channel: &'a Channel,
        owner: Role,
        point: &PublicKey,
        transaction: &'a Transaction,
    ) -> Result<Self, Error> {
        Ok(Self { channel, owner, keys: channel.keys(owner, point)?, transaction })
    }

    /// What its owner gets after the delay: `to_local`, or the outputs of the second stage. `key` is
    /// [`crate::revocable::BaseKeys::delayed_at`].
    ///
    /// # Errors
    /// [`Code::WrongKey`] for another key.
    pub fn delayed<'k>(&self, key: &'k Key) -> Result<Vec<Claim<'k>>, Error> {
        check(key, &self.keys.delayed)?;
        let script = self.channel.to_local(self.owner, &self.keys);
        let path = Path::Delayed(self.channel.party(self.owner).delay);
        Ok(paid_to(self.transaction, &script.to_p2wsh(), &script, key, path))
    }

    /// What this party's anchor holds, to raise the commitment's fee with. `key` is its funding key.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key of neither party.
    pub fn anchor<'k>(&self, key: &'k Key) -> Result<Vec<Claim<'k>>, Error> {
        let own = key.public();
        if own != self.channel.opener.points.funding && own != self.channel.accepter.points.funding {
            return refuse(Code::WrongKey, "this key is not one of this channel");
        }
        Ok(anchor(self.transaction, key))
    }

    /// What the other gets of these HTLCs: with the preimages it knows those that it received, after their expiry those
    /// that it offered. `key` is [`crate::revocable::BaseKeys::htlc_at`].
    ///
    /// # Errors
    /// [`Code::WrongKey`] for another key.
    pub fn htlcs<'k>(
        &self,
        htlcs: &[Htlc],
        preimage: impl Fn(&sha256::Hash) -> Option<Preimage>,
        key: &'k Key,
    ) -> Result<Vec<Claim<'k>>, Error> {
        check(key, &self.keys.other_htlc)?;
        let has_anchors = self.channel.channel_type.has_anchors();
        Ok(htlc_outputs(self.channel, self.owner, &self.keys, self.transaction, htlcs)
            .filter_map(|(outpoint, output, script, htlc)| {
                let path = match htlc.stage(self.owner) {
                    Stage::Success => Path::TimedOut { has_anchors, expiry: htlc.expiry },
                    Stage::Timeout => Path::Preimage { has_anchors, preimage: preimage(&htlc.payment_hash)? },
                };
                Some(Claim { outpoint, output: output.clone(), script, key, path })
            })
            .collect())
    }
}

/// The anchor of the party with this funding key, in a commitment of either.
pub(crate) fn anchor<'k>(transaction: &Transaction, key: &'k Key) -> Vec<Claim<'k>> {
    let script = script::anchor(&key.public());
    paid_to(transaction, &script.to_p2wsh(), &script, key, Path::Anchor)
}

/// What a commitment pays to the other, who needs nothing but its payment key: not even its channel's state.
/// [`ChannelType::Legacy`] pays another key, and so nothing here.
pub fn to_remote<'k>(channel_type: ChannelType, transaction: &Transaction, key: &'k Key) -> Vec<Claim<'k>> {
    let output = script::to_remote_output(channel_type, &key.public());
    if channel_type.has_anchors() {
        paid_to(transaction, &output, &script::to_remote(&key.public()), key, Path::NextBlock)
    } else {
        paid_to(transaction, &output, &output, key, Path::WitnessPubkeyHash)
    }
}

/// An output that can be taken, and by whom.
pub struct Claim<'k> {
    outpoint: OutPoint,
    output: TxOut,
    script: ScriptBuf,
    key: &'k Key,
    path: Path,
}

/// The way through the output's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// `to_local` and the second stage: the owner, so many blocks after its confirmation.
    Delayed(u16),
    /// `to_local` and the second stage: the other, with the revocation key.
    Revoked,
    /// An HTLC: the other, with the revocation key.
    RevokedHtlc,
    /// `to_remote` with anchors: a block after its confirmation.
    NextBlock,
    /// `to_remote` without anchors.
    WitnessPubkeyHash,
    /// An HTLC that the other received.
    Preimage { has_anchors: bool, preimage: Preimage },
    /// An HTLC that the other offered.
    TimedOut { has_anchors: bool, expiry: u32 },
    /// An anchor.
    Anchor,
}

impl Claim<'_> {
    /// Which output it is.
    pub const fn outpoint(&self) -> OutPoint {
        self.outpoint
    }

    /// What it holds.
    pub const fn value(&self) -> Amount {
        self.output.value
    }

    /// Whom the output pays: what a backend of the chain has to follow to see it spent.
    pub fn script_pubkey(&self) -> ScriptBuf {
        self.output.script_pubkey.clone()
    }

    /// How many blocks after the one that holds the output it can be taken; 0 for at once, even in the same block.
    pub const fn delay(&self) -> u16 {
        match self.path {
            Path::Delayed(delay) => delay,
            Path::NextBlock => 1,
            Path::Preimage { has_anchors: true, .. } | Path::TimedOut { has_anchors: true, .. } => 1,
            _ => 0,
        }
    }

    /// The height after which it can be taken; 0 for any.
    pub const fn lock(&self) -> u32 {
        match self.path {
            Path::TimedOut { expiry, .. } => expiry,
            _ => 0,
        }
    }

    /// Whether the block after `tip` may hold a transaction that takes it. `made`: the height of the block that holds the output.
    pub fn is_mature(&self, made: Option<u32>, tip: u32) -> bool {
        let next = tip.saturating_add(1);
        let waited = match (self.delay(), made) {
            (0, _) => true,
            (_, None) => false,
            (delay, Some(made)) => next >= made.saturating_add(delay.into()),
        };
        waited && self.lock() <= tip
    }

    /// The input of a transaction of the caller's that takes it, its witness as long as the signed one may become.
    pub fn input(&self) -> TxIn {
        // A relative lock holds from version 2 on, and opts in to replacement, too.
        let sequence = match (&self.path, self.delay()) {
            (Path::Delayed(_), delay) | (_, delay @ 1..) => Sequence::from_height(delay),
            _ => SEQUENCE,
        };
        let (previous_output, witness) = (self.outpoint, self.witness(&MAX_SIGNATURE));
        TxIn { previous_output, sequence, witness, ..TxIn::default() }
    }

    /// The witness for input `index` of a transaction, all of whose inputs and outputs are in place.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a transaction without that input.
    pub fn sign(&self, transaction: &Transaction, index: usize) -> Result<Witness, Error> {
        if transaction.input.get(index).is_none_or(|input| input.previous_output != self.outpoint) {
            return refuse(Code::InvalidArgument, "the transaction does not spend this output there");
        }
        Input::sign(self, &mut SighashCache::new(transaction), index)
    }

    fn witness(&self, signature: &[u8]) -> Witness {
        let script = self.script.as_bytes();
        let key = self.key.public().serialize();
        match &self.path {
            Path::WitnessPubkeyHash => Witness::from_slice(&[signature, &key]),
            Path::NextBlock | Path::Anchor => Witness::from_slice(&[signature, script]),
            Path::Delayed(_) | Path::TimedOut { .. } => Witness::from_slice(&[signature, &[], script]),
            Path::Revoked => Witness::from_slice(&[signature, &[1], script]),
            Path::RevokedHtlc => Witness::from_slice(&[signature, &key, script]),
            Path::Preimage { preimage, .. } => Witness::from_slice(&[signature, preimage, script]),
        }
    }
}

impl Input for Claim<'_> {
    fn outpoint(&self) -> OutPoint {
        self.outpoint
    }

    fn input(&self) -> TxIn {
        Claim::input(self)
    }

    fn sign(&self, cache: &mut SighashCache<&Transaction>, index: usize) -> Result<Witness, Error> {
        let (value, all) = (self.output.value, EcdsaSighashType::All);
        let hash = match self.path {
            Path::WitnessPubkeyHash => cache.p2wpkh_signature_hash(index, &self.script, value, all).ok(),
            _ => cache.p2wsh_signature_hash(index, &self.script, value, all).ok(),
        };
        let hash = hash.ok_or(Error::new(Code::InvalidArgument, "the transaction cannot be hashed"))?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = Signature::sighash_all(secp().sign_ecdsa_low_r(&message, self.key.secret()));
        Ok(self.witness(&signature.serialize()))
    }
}

/// A transaction that takes the claims, and what it pays to miners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// To broadcast, once the delays and locks of its claims are over.
    pub transaction: Transaction,
    /// Its fee.
    pub fee: Amount,
}

/// Takes all the claims and pays them to `payout`, less the fee. It can be replaced by a dearer one.
///
/// # Errors
/// [`Code::NothingToDo`] for no claims, [`Code::InvalidArgument`] for more than one transaction holds or an output named
/// twice, [`Code::Uneconomic`], with the amount that would be needed, where the fee leaves less than the dust limit.
pub fn sweep(claims: &[Claim<'_>], payout: &Script, fee: impl Into<Fee>) -> Result<Sweep, Error> {
    if claims.is_empty() {
        return refuse(Code::NothingToDo, "there is nothing to take");
    }
    let value = sum(claims.iter().map(Claim::value))?;
    let lock_time = LockTime::from_consensus(claims.iter().map(Claim::lock).max().unwrap_or(0));
    let rest = TxOut { value, script_pubkey: payout.to_owned() };
    let Spent { transaction, fee } = spend(claims, lock_time, vec![], rest, fee)?;
    if transaction.weight().to_wu() > MAX_WEIGHT {
        return refuse(Code::InvalidArgument, "too many outputs for one transaction");
    }
    Ok(Sweep { transaction, fee })
}

/// Every output of the transaction with this script.
pub(crate) fn paid_to<'k>(
    transaction: &Transaction,
    script_pubkey: &Script,
    script: &Script,
    key: &'k Key,
    path: Path,
) -> Vec<Claim<'k>> {
    outputs(transaction)
        .filter(|(_, output)| *output.script_pubkey == *script_pubkey)
        .map(|(outpoint, output)| Claim { outpoint, output: output.clone(), script: script.to_owned(), key, path })
        .collect()
}

/// The outputs that hold one of these HTLCs, each once.
pub(crate) fn htlc_outputs<'a>(
    channel: &Channel,
    owner: Role,
    keys: &CommitmentKeys,
    transaction: &'a Transaction,
    htlcs: &[Htlc],
) -> impl Iterator<Item = (OutPoint, &'a TxOut, ScriptBuf, Htlc)> {
    let known = |htlc: &Htlc| {
        let script = channel.htlc_script(owner, keys, htlc);
        (script.to_p2wsh(), (script, *htlc))
    };
    // HTLCs with the same script can be taken the same way: it does not matter whose output is whose.
    let known: std::collections::BTreeMap<ScriptBuf, (ScriptBuf, Htlc)> = htlcs.iter().map(known).collect();
    outputs(transaction).filter_map(move |(outpoint, output)| {
        let (script, htlc) = known.get(&output.script_pubkey)?;
        Some((outpoint, output, script.clone(), *htlc))
    })
}

impl<'k> Claim<'k> {
    pub(crate) const fn revoked_htlc(outpoint: OutPoint, output: TxOut, script: ScriptBuf, key: &'k Key) -> Self {
        Self { outpoint, output, script, key, path: Path::RevokedHtlc }
    }
}

fn outputs(transaction: &Transaction) -> impl Iterator<Item = (OutPoint, &TxOut)> {
    let txid = transaction.compute_txid();
    (0..).zip(&transaction.output).map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

fn check(key: &Key, expected: &PublicKey) -> Result<(), Error> {
    if key.public() == *expected { Ok(()) } else { refuse(Code::WrongKey, "this key does not open that output") }
}
