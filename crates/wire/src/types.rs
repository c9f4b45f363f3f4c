//! Fields of messages that are more than a number: ids, signatures, amounts, scripts.

use std::fmt;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::hex::DisplayHex;
use bitcoin::secp256k1::{PublicKey, ecdsa};
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, SignedAmount, Txid, VarInt, Witness};

use crate::codec::{Reader, Wire, Writer};
use crate::error::{Code, Error, refuse};
use crate::tlv::{Record, plain_records};

/// Names a channel on a connection (BOLT 2): a nonce at first, then made from its funding or its keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub [u8; 32]);

impl ChannelId {
    /// All channels with the peer, in `error` and `warning`.
    pub const ALL: Self = Self([0; 32]);

    /// Version 1: the funding's transaction id, with the output's index laid over its last two bytes. BOLT 2 knows no
    /// funding output above 65535, so `None` for one.
    pub fn v1(funding: OutPoint) -> Option<Self> {
        let [high, low] = u16::try_from(funding.vout).ok()?.to_be_bytes();
        let mut id = funding.txid.to_byte_array();
        let [.., a, b] = &mut id;
        *a ^= high;
        *b ^= low;
        Some(Self(id))
    }

    /// Version 2: the hash of both sides' revocation basepoints, the lesser one first.
    pub fn v2(one: &PublicKey, other: &PublicKey) -> Self {
        let (one, other) = (one.serialize(), other.serialize());
        Self::hash(&one.min(other), &one.max(other))
    }

    /// The temporary id of version 2: the accepter's basepoint is not known yet and stands as zeros.
    pub fn v2_temporary(opener: &PublicKey) -> Self {
        Self::hash(&[0; 33], &opener.serialize())
    }

    fn hash(lesser: &[u8; 33], greater: &[u8; 33]) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(lesser);
        engine.input(greater);
        Self(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hex(), f)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a channel's funding stands in the chain (BOLT 7): block, transaction in it, output of that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortChannelId(pub u64);

impl ShortChannelId {
    /// From its parts; `None` if `block` or `transaction` has more than 24 bits.
    pub fn new(block: u32, transaction: u32, output: u16) -> Option<Self> {
        let fits = block >> 24 == 0 && transaction >> 24 == 0;
        fits.then(|| Self(u64::from(block) << 40 | u64::from(transaction) << 16 | u64::from(output)))
    }

    /// The block's height.
    pub const fn block(self) -> u64 {
        self.0 >> 40
    }

    /// The transaction's index in its block.
    pub const fn transaction(self) -> u64 {
        self.0 >> 16 & 0xff_ffff
    }

    /// The output's index in its transaction.
    pub const fn output(self) -> u64 {
        self.0 & 0xffff
    }
}

impl fmt::Debug for ShortChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.block(), self.transaction(), self.output())
    }
}

impl fmt::Display for ShortChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A 64-byte ECDSA signature as it came. Whether it is one shows when it is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// The signature, to be verified.
    ///
    /// # Errors
    /// [`Code::InvalidField`] if one of its numbers is beyond the curve's order.
    pub fn parse(&self) -> Result<ecdsa::Signature, Error> {
        ecdsa::Signature::from_compact(&self.0).map_err(|_| Error::new(Code::InvalidField, "not a signature"))
    }
}

impl From<ecdsa::Signature> for Signature {
    fn from(signature: ecdsa::Signature) -> Self {
        Self(signature.serialize_compact())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hex(), f)
    }
}

/// An amount in millisatoshi as it came: any 64-bit number. Whether there is so much money is for the channel to judge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Msat(pub u64);

impl fmt::Debug for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} msat", self.0)
    }
}

/// A fee rate in satoshi for 1000 units of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeeratePerKw(pub u32);

impl From<FeeratePerKw> for FeeRate {
    fn from(rate: FeeratePerKw) -> Self {
        Self::from_sat_per_kwu(rate.0.into())
    }
}

/// Numbers an input or output of a transaction that two sides build; even from the initiator, odd from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialId(pub u64);

/// Numbers an HTLC, for each side from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HtlcId(pub u64);

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// It does not print.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Its SHA-256 hash.
            pub fn hash(&self) -> sha256::Hash {
                sha256::Hash::hash(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        newtypes!($name([u8; 32]));
    )*};
}

macro_rules! newtypes {
    ($($name:ident($inner:ty)),* $(,)?) => {$(
        impl Wire for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                reader.read::<$inner>().map(Self)
            }

            fn write(&self, writer: &mut Writer) {
                writer.write(&self.0);
            }
        }
    )*};
}

/// A MuSig2 public nonce (BIP-0327): two points, not looked into here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicNonce(pub [u8; 66]);

newtypes!(
    ChannelId([u8; 32]),
    ShortChannelId(u64),
    Signature([u8; 64]),
    Msat(u64),
    FeeratePerKw(u32),
    SerialId(u64),
    HtlcId(u64),
    PublicNonce([u8; 66]),
);

secrets! {
    /// What opens an HTLC: its hash is the payment hash.
    Preimage;
    /// A per-commitment secret (BOLT 3): who has it can punish the commitment.
    CommitmentSecret;
}

plain_records!(ShortChannelId, Signature, PublicKey, PublicNonce, Txid);

/// Types of the `bitcoin` crate: how they are made from an integer or array, and back.
macro_rules! foreign {
    ($($type:ty: $inner:ty, $from:expr, $into:expr;)*) => {$(
        impl Wire for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                reader.read::<$inner>().map($from)
            }

            fn write(&self, writer: &mut Writer) {
                let into: fn(&Self) -> $inner = $into;
                writer.write(&into(self));
            }
        }
    )*};
}

foreign! {
    Amount: u64, Amount::from_sat, |amount| amount.to_sat();
    SignedAmount: i64, SignedAmount::from_sat, |amount| amount.to_sat();
    LockTime: u32, LockTime::from_consensus, |lock| lock.to_consensus_u32();
    Sequence: u32, Sequence, |sequence| sequence.0;
    Txid: [u8; 32], Txid::from_byte_array, |txid| txid.to_byte_array();
    sha256::Hash: [u8; 32], sha256::Hash::from_byte_array, |hash| hash.to_byte_array();
    ChainHash: [u8; 32], ChainHash::from, |hash| hash.to_bytes();
}

plain_records!(SignedAmount);

/// A point in compressed form; it must be on the curve.
impl Wire for PublicKey {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::from_slice(&reader.array::<33>()?).map_err(|_| Error::new(Code::InvalidField, "not a point on the curve"))
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.serialize());
    }
}

/// A script behind a two-byte length.
impl Wire for ScriptBuf {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.prefixed().map(|bytes| Self::from_bytes(bytes.to_vec()))
    }

    fn write(&self, writer: &mut Writer) {
        writer.prefixed(self.as_bytes());
    }
}

/// All bytes of the record are the script.
impl Record for ScriptBuf {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        Ok(Self::from_bytes(value.to_vec()))
    }

    fn write_value(&self, writer: &mut Writer) {
        writer.raw(self.as_bytes());
    }
}

/// A witness in Bitcoin's own encoding, behind a two-byte length.
impl Wire for Witness {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let bytes = reader.prefixed()?;
        // Bitcoin's decoder makes room for as many elements as the count claims; each takes a byte at least.
        let count = bitcoin::consensus::deserialize_partial::<VarInt>(bytes).map_err(|_| INVALID_WITNESS)?.0.0;
        if usize::try_from(count).is_ok_and(|count| count < bytes.len()) {
            deserialize(bytes).map_err(|_| INVALID_WITNESS)
        } else {
            Err(INVALID_WITNESS)
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.prefixed(&serialize(self));
    }
}

const INVALID_WITNESS: Error = Error::new(Code::InvalidField, "not a witness");

/// Elements behind a two-byte count.
macro_rules! lists {
    ($($type:ty: $least:literal;)*) => {$(
        impl Wire for Vec<$type> {
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                let count = usize::from(reader.read::<u16>()?);
                // No element is shorter than this, so the bytes are there before room is made for them.
                if reader.remaining() / $least < count {
                    return refuse(Code::Truncated, "too short");
                }
                (0..count).map(|_| reader.read()).collect()
            }

            fn write(&self, writer: &mut Writer) {
                writer.count(self.len());
                for element in self {
                    writer.write(element);
                }
            }
        }
    )*};
}

lists! {
    Signature: 64;
    Witness: 2;
}

/// All the bytes of an onion packet for one payment (BOLT 4), not looked into here.
#[derive(Clone, PartialEq, Eq)]
pub struct OnionPacket(pub Box<[u8; 1366]>);

impl Wire for OnionPacket {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.array().map(|bytes| Self(Box::new(bytes)))
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&*self.0);
    }
}

impl fmt::Debug for OnionPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionPacket(1366 bytes)")
    }
}

/// Bytes up to the end of a message that are signed and forwarded with it but not understood.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Excess(pub Vec<u8>);

impl Wire for Excess {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self(reader.rest().to_vec()))
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl fmt::Debug for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hex(), f)
    }
}

/// Text from a peer, if it is safe to show: printable ASCII only (BOLT 1).
pub fn printable(data: &[u8]) -> Option<&str> {
    let safe = data.iter().all(|byte| (32..=126).contains(byte));
    safe.then(|| std::str::from_utf8(data).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(byte: u8) -> PublicKey {
        crate::sample::point([byte; 32])
    }

    #[test]
    fn ids_are_made_as_bolt_2_says() {
        let mut txid = [7; 32];
        let funding = OutPoint::new(Txid::from_byte_array(txid), 0x0102);
        txid[30] ^= 1;
        txid[31] ^= 2;
        assert_eq!(ChannelId::v1(funding), Some(ChannelId(txid)));
        assert_eq!(ChannelId::v1(OutPoint::new(funding.txid, 65536)), None);

        let (a, b) = (point(1), point(2));
        assert_eq!(ChannelId::v2(&a, &b), ChannelId::v2(&b, &a));
        let joined = [a.serialize().min(b.serialize()), a.serialize().max(b.serialize())].concat();
        assert_eq!(ChannelId::v2(&a, &b).0, sha256::Hash::hash(&joined).to_byte_array());
        let joined = [&[0; 33][..], &a.serialize()].concat();
        assert_eq!(ChannelId::v2_temporary(&a).0, sha256::Hash::hash(&joined).to_byte_array());
    }

    #[test]
    fn short_ids_have_three_parts() {
        let id = ShortChannelId::new(539_268, 845, 1).unwrap();
        assert_eq!((id.to_string(), id.0), ("539268x845x1".to_owned(), 0x083a_8400_034d_0001));
        assert_eq!(ShortChannelId::new(1 << 24, 0, 0), None);
        assert_eq!(ShortChannelId::new(0, 1 << 24, 0), None);
        assert_eq!(ShortChannelId(u64::MAX).to_string(), "16777215x16777215x65535");
    }

    #[test]
    fn a_witness_that_claims_millions_of_elements_gets_no_room() {
        let claims = [0xfe, 0x00, 0x09, 0x3d, 0x00, 0];
        let mut writer = Writer::new();
        writer.prefixed(&claims);
        let bytes = writer.finish().unwrap();
        assert_eq!(Reader::new(&bytes).read::<Witness>().unwrap_err().code(), Code::InvalidField);
        // No bytes at all are no witness; an empty one is a count of zero.
        assert_eq!(Reader::new(&[0, 0]).read::<Witness>().unwrap_err().code(), Code::InvalidField);
        assert!(Reader::new(&[0, 1, 0]).read::<Witness>().unwrap().is_empty());
        assert_eq!(Reader::new(&[0, 2, 0, 0]).read::<Witness>().unwrap_err().code(), Code::InvalidField);
        // A count of elements for which there are no bytes.
        assert_eq!(Reader::new(&[255, 255, 0, 0]).read::<Vec<Witness>>().unwrap_err().code(), Code::Truncated);
    }

    #[test]
    fn secrets_do_not_print_and_foreign_text_is_shown_with_care() {
        assert_eq!(
            format!("{:?} {:?}", Preimage([7; 32]), CommitmentSecret([7; 32])),
            "Preimage(..) CommitmentSecret(..)"
        );
        assert_eq!(printable(b"rust-lightning"), Some("rust-lightning"));
        for bad in [&b"\x1b[2J"[..], b"\n", "ü".as_bytes(), &[127]] {
            assert_eq!(printable(bad), None);
        }
    }

    #[test]
    fn a_signature_out_of_range_is_kept_but_is_none() {
        let bytes = [0xff; 64];
        let signature = Reader::new(&bytes).read::<Signature>().unwrap();
        assert_eq!(signature.parse().unwrap_err().code(), Code::InvalidField);
        assert_eq!(Signature([1; 64]).parse().map(Signature::from), Ok(Signature([1; 64])));
    }
}
