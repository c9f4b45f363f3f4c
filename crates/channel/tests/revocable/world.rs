//! Hitesh, who opened the channel, and Irene: 5 BTC each, a delay of 1000 blocks.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash};
use rillpay_channel::Msat;
use rillpay_channel::commitment::Funding;
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::claim::{Claim, Confirmed};
use rillpay_channel::revocable::commitment::Commitment;
use rillpay_channel::revocable::fees::Stage;
use rillpay_channel::revocable::htlc::{HtlcTransaction, Preimage};
use rillpay_channel::revocable::penalty::Revoked;
use rillpay_channel::revocable::{BaseKeys, Channel, ChannelType, CommitmentNumber, Htlc, Party, Role, State};

use crate::consensus;

pub(crate) const CAPACITY: Amount = Amount::from_sat(1_000_000_000);
pub(crate) const DELAY: u16 = 1_000;
pub(crate) const ROLES: [Role; 2] = [Role::Opener, Role::Accepter];
/// The types that new channels may have.
pub(crate) const TYPES: [ChannelType; 2] = [ChannelType::StaticRemoteKey, ChannelType::Anchors];

pub(crate) fn rate() -> FeeRate {
    FeeRate::from_sat_per_vb_u32(5)
}

pub(crate) fn pay_to(byte: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([byte; 20]))
}

/// The base keys of one of the two.
pub(crate) fn keys(role: Role) -> BaseKeys {
    let party = 1 + role as u8;
    BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], bitcoin::Network::Regtest), 0).unwrap()
}

pub(crate) fn channel(channel_type: ChannelType) -> Channel {
    let party = |role| Party { points: keys(role).points(), delay: DELAY, dust_limit: Amount::from_sat(354) };
    let outpoint = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 1 };
    Channel {
        channel_type,
        funding: Funding { outpoint, capacity: CAPACITY },
        opener: party(Role::Opener),
        accepter: party(Role::Accepter),
    }
}

pub(crate) fn msat(sat: u64) -> Msat {
    Msat::from_amount(Amount::from_sat(sat)).unwrap()
}

pub(crate) fn number(number: u64) -> CommitmentNumber {
    CommitmentNumber::new(number).unwrap()
}

/// What opener and accepter have, in satoshi.
pub(crate) fn split(at: u64, opener: u64, accepter: u64) -> State {
    let fee_rate = FeeRate::from_sat_per_kwu(2_500);
    State { number: number(at), fee_rate, opener: msat(opener), accepter: msat(accepter), htlcs: vec![] }
}

pub(crate) fn preimage(byte: u8) -> Preimage {
    [byte; 32]
}

pub(crate) fn htlc(offered_by: Role, sat: u64, secret: u8, expiry: u32) -> Htlc {
    Htlc { offered_by, amount: msat(sat), payment_hash: sha256::Hash::hash(&preimage(secret)), expiry }
}

/// All preimages below 100.
pub(crate) fn preimage_of(hash: &sha256::Hash) -> Option<Preimage> {
    (0..100).map(preimage).find(|preimage| sha256::Hash::hash(preimage) == *hash)
}

/// Two payments each way, and one that goes out in two equal parts.
pub(crate) fn busy() -> State {
    let htlcs = vec![
        htlc(Role::Opener, 1_000_000, 1, 700),
        htlc(Role::Opener, 2_000_000, 2, 17),
        htlc(Role::Accepter, 3_000_000, 3, 499_999_999),
        htlc(Role::Accepter, 1_000_000, 4, 16),
        htlc(Role::Accepter, 1_000_000, 5, 800),
        htlc(Role::Accepter, 1_000_000, 5, 800),
    ];
    State { htlcs, ..split(41, 500_000_000 - 3_000_000, 500_000_000 - 6_000_000) }
}

/// A commitment on the chain, signed by both, and everything that can follow from it.
pub(crate) struct Broadcast {
    pub(crate) channel: Channel,
    pub(crate) owner: Role,
    pub(crate) commitment: Commitment,
    pub(crate) transaction: Transaction,
    pub(crate) htlcs: Vec<Htlc>,
}

impl Broadcast {
    pub(crate) fn new(channel_type: ChannelType, owner: Role, state: &State) -> Self {
        let channel = channel(channel_type);
        let point = keys(owner).seed.point(state.number).unwrap();
        let commitment = Commitment::new(&channel, owner, &point, state).unwrap();
        let theirs = commitment.sign(&keys(owner.other()).funding).unwrap();
        let transaction = commitment.finish(&keys(owner).funding, &theirs).unwrap();
        Self { channel, owner, commitment, transaction, htlcs: state.htlcs.clone() }
    }

    pub(crate) fn confirmed<'a>(&'a self, transaction: &'a Transaction) -> Confirmed<'a> {
        Confirmed::new(&self.channel, self.owner, &self.commitment.keys.point, transaction).unwrap()
    }

    /// The owner's second stage, signed by both.
    pub(crate) fn second_stage(&self) -> Vec<(HtlcTransaction, Transaction)> {
        let point = &self.commitment.keys.point;
        let (owner, other) =
            (keys(self.owner).htlc_at(point).unwrap(), keys(self.owner.other()).htlc_at(point).unwrap());
        let made = self.commitment.htlc_transactions().into_iter();
        made.map(|htlc| {
            let theirs = htlc.sign(&other).unwrap();
            let preimage = preimage_of(&htlc.htlc.payment_hash).filter(|_| htlc.stage == Stage::Success);
            let signed = htlc.finish(&owner, &theirs, preimage).unwrap();
            (htlc, signed)
        })
        .collect()
    }

    pub(crate) fn funding_output(&self) -> (OutPoint, TxOut) {
        let script_pubkey = self.channel.funding_script().to_p2wsh();
        (self.channel.funding.outpoint, TxOut { value: CAPACITY, script_pubkey })
    }

    /// As the other sees it after the owner gave the secret away.
    pub(crate) fn revoked(&self) -> Revoked {
        let number = self.channel.obscuring().read(&self.transaction).unwrap();
        let secret = keys(self.owner).seed.secret(number).unwrap();
        Revoked::new(&self.channel, self.owner, number, secret, &keys(self.owner.other())).unwrap()
    }
}

/// Every output of a transaction, for [`consensus::accepted`].
pub(crate) fn outputs(transaction: &Transaction) -> Vec<(OutPoint, TxOut)> {
    let txid = transaction.compute_txid();
    (0..).zip(transaction.output.clone()).map(|(vout, output)| (OutPoint { txid, vout }, output)).collect()
}

/// Whether consensus accepts the claim in a transaction of its own with this sequence and lock time, signed anew.
pub(crate) fn accepts(claim: &Claim<'_>, of: &Transaction, sequence: u32, lock: u32) -> bool {
    let mut transaction = rillpay_channel::revocable::claim::sweep(std::slice::from_ref(claim), &pay_to(1), rate())
        .map(|sweep| sweep.transaction)
        .unwrap_or_else(|_| {
            // An anchor is too small to pay for itself.
            Transaction {
                input: vec![claim.input()],
                output: vec![TxOut { value: Amount::ZERO, script_pubkey: pay_to(1) }],
                ..of.clone()
            }
        });
    transaction.input[0].sequence.0 = sequence;
    transaction.lock_time = bitcoin::absolute::LockTime::from_consensus(lock);
    transaction.input[0].witness = claim.sign(&transaction, 0).unwrap();
    consensus::accepted(&transaction, &outputs(of))
}
