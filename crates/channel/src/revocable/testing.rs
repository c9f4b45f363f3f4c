//! Two parties with fixed keys, for the tests of this kind of channel.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::SecretKey;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxIn, TxOut, Txid};

use crate::amount::Msat;
use crate::commitment::Funding;
use crate::keys::{Key, Seed};
use crate::revocable::{BaseKeys, Channel, ChannelType, CommitmentNumber, Htlc, Party, Role, State};

/// The book's Hitesh and Irene: 5 BTC each, 1000 blocks.
pub(crate) const CAPACITY: Amount = Amount::from_sat(1_000_000_000);

pub(crate) fn key(byte: u8) -> Key {
    Key::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub(crate) fn base_keys(party: u8) -> BaseKeys {
    BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], bitcoin::Network::Regtest), 0).unwrap()
}

/// The base keys of one of the two.
pub(crate) fn keys_of(role: Role) -> BaseKeys {
    base_keys(match role {
        Role::Opener => 1,
        Role::Accepter => 2,
    })
}

pub(crate) fn channel(channel_type: ChannelType) -> Channel {
    let party = |role| Party { points: keys_of(role).points(), delay: 1_000, dust_limit: Amount::from_sat(546) };
    let outpoint = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 1 };
    Channel {
        channel_type,
        funding: Funding { outpoint, capacity: CAPACITY },
        opener: party(Role::Opener),
        accepter: party(Role::Accepter),
    }
}

/// Five and five.
pub(crate) fn state() -> State {
    let half = Msat::from_amount(CAPACITY / 2).unwrap();
    let fee_rate = FeeRate::from_sat_per_kwu(2_500);
    State { number: CommitmentNumber::FIRST, fee_rate, opener: half, accepter: half, htlcs: vec![] }
}

pub(crate) fn htlc(offered_by: Role, msat: u64) -> Htlc {
    Htlc { offered_by, amount: Msat::new(msat).unwrap(), payment_hash: sha256::Hash::hash(&[8; 32]), expiry: 500 }
}

/// The state with these payments under way, taken from those who offer them.
pub(crate) fn with_htlcs(mut state: State, htlcs: Vec<Htlc>) -> State {
    for htlc in &htlcs {
        let balance = match htlc.offered_by {
            Role::Opener => &mut state.opener,
            Role::Accepter => &mut state.accepter,
        };
        *balance = balance.checked_sub(htlc.amount).unwrap();
    }
    State { htlcs, ..state }
}

/// A transaction with one input.
pub(crate) fn transaction(output: Vec<TxOut>) -> Transaction {
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![TxIn::default()], output }
}
