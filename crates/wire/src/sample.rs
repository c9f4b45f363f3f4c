//! Random values of every type that a message can hold, for the tests.

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::{Amount, ScriptBuf, Sequence, SignedAmount, Txid, Witness};

use crate::codec::BigSize;
use crate::features::Features;
use crate::messages::{ChannelFlags, Checksums, EncodedList, Init, Networks};
use crate::tlv::Unknown;
use crate::types::*;

/// A source of bytes: a hash chain from a seed.
pub(crate) struct Dice([u8; 32]);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(sha256::Hash::hash(&seed.to_be_bytes()).to_byte_array())
    }

    fn roll(&mut self) -> [u8; 32] {
        self.0 = sha256::Hash::hash(&self.0).to_byte_array();
        self.0
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.roll()[0] & 1 == 1
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.roll()[0] % bound
    }
}

/// The point of a secret key.
#[expect(clippy::disallowed_methods, reason = "no browser runs these tests: the curve library has its own table")]
pub(crate) fn point(secret: [u8; 32]) -> PublicKey {
    SecretKey::from_slice(&secret).unwrap().public_key(&Secp256k1::signing_only())
}

pub(crate) trait Sample {
    fn sample(dice: &mut Dice) -> Self;
}

impl<const N: usize> Sample for [u8; N] {
    fn sample(dice: &mut Dice) -> Self {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(32) {
            let roll = dice.roll();
            chunk.copy_from_slice(&roll[..chunk.len()]);
        }
        bytes
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Sample for $type {
            fn sample(dice: &mut Dice) -> Self {
                // Small ones as often as large ones.
                Self::from_be_bytes(Sample::sample(dice)) >> dice.below(<$type>::BITS as u8)
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i64);

macro_rules! samples {
    ($($type:ty: $inner:ty, $from:expr;)*) => {$(
        impl Sample for $type {
            fn sample(dice: &mut Dice) -> Self {
                let from: fn($inner) -> Self = $from;
                from(Sample::sample(dice))
            }
        }
    )*};
}

samples! {
    bool: u8, |byte| byte & 1 == 1;
    (): u8, |_| ();
    BigSize: u64, BigSize;
    ChannelId: [u8; 32], ChannelId;
    ShortChannelId: u64, ShortChannelId;
    Signature: [u8; 64], Signature;
    Msat: u64, Msat;
    FeeratePerKw: u32, FeeratePerKw;
    SerialId: u64, SerialId;
    HtlcId: u64, HtlcId;
    PublicNonce: [u8; 66], PublicNonce;
    Preimage: [u8; 32], Preimage;
    CommitmentSecret: [u8; 32], CommitmentSecret;
    ChannelFlags: u8, ChannelFlags;
    Amount: u64, Amount::from_sat;
    SignedAmount: i64, SignedAmount::from_sat;
    LockTime: u32, LockTime::from_consensus;
    Sequence: u32, Sequence;
    Txid: [u8; 32], Txid::from_byte_array;
    sha256::Hash: [u8; 32], sha256::Hash::from_byte_array;
    ChainHash: [u8; 32], ChainHash::from;
    PublicKey: [u8; 32], point;
    OnionPacket: [u8; 1366], |bytes| OnionPacket(Box::new(bytes));
    ScriptBuf: Vec<u8>, ScriptBuf::from_bytes;
    Features: Vec<u8>, |bytes| Features::from_bytes(bytes).minimal();
    Witness: Vec<u8>, |bytes| Witness::from_slice(&[bytes.clone(), bytes]);
    Excess: Vec<u8>, Excess;
    Networks: [u8; 32], |hash| Networks(vec![hash.into(); usize::from(hash[0] % 3)]);
}

impl Sample for Vec<u8> {
    fn sample(dice: &mut Dice) -> Self {
        let length = dice.below(100);
        (0..length).map(|_| dice.below(255)).collect()
    }
}

macro_rules! lists {
    ($($type:ty)*) => {$(
        impl Sample for Vec<$type> {
            fn sample(dice: &mut Dice) -> Self {
                (0..dice.below(4)).map(|_| Sample::sample(dice)).collect()
            }
        }
    )*};
}

lists!(Signature Witness crate::messages::Checksum);

impl Sample for Checksums {
    fn sample(dice: &mut Dice) -> Self {
        Self(Sample::sample(dice))
    }
}

impl Sample for EncodedList {
    fn sample(dice: &mut Dice) -> Self {
        Self { encoding: Sample::sample(dice), data: Sample::sample(dice) }
    }
}

/// Odd types from 101 on, beyond all that BOLTs define, rising as a decoder yields them.
impl Sample for Unknown {
    fn sample(dice: &mut Dice) -> Self {
        let mut unknown = Self::new();
        let mut kind = 99;
        for _ in 0..dice.below(3) {
            kind += 2 * (1 + u64::from(dice.below(255)));
            unknown.add(kind, Sample::sample(dice)).unwrap();
        }
        unknown
    }
}

impl Sample for Init {
    fn sample(dice: &mut Dice) -> Self {
        let features: Features = Sample::sample(dice);
        // An empty copy of an empty set is none.
        let legacy_copy = dice.flip() && !features.as_bytes().is_empty();
        Self { features, legacy_copy, tlvs: Sample::sample(dice) }
    }
}
