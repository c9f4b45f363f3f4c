//! The witness scripts of BOLT 3, byte for byte. All of them are paid to as version 0 P2WSH.

use bitcoin::hashes::{Hash, hash160, ripemd160, sha256};
use bitcoin::opcodes::all::{
    OP_CHECKMULTISIG, OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CLTV, OP_CSV, OP_DROP, OP_DUP, OP_ELSE, OP_ENDIF, OP_EQUAL,
    OP_EQUALVERIFY, OP_HASH160, OP_IF, OP_IFDUP, OP_NOTIF, OP_PUSHNUM_2, OP_SIZE, OP_SWAP,
};
use bitcoin::script::Builder;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{CompressedPublicKey, ScriptBuf};

use crate::revocable::fees::ChannelType;
use crate::revocable::keys::CommitmentKeys;

/// After how many blocks anyone may spend an anchor.
pub const ANCHOR_FREE_AFTER: u16 = 16;

/// The funding output's: both sign, the lesser key first.
pub use crate::script::multisig_script as funding;

/// `to_local`, and what the second stage pays to: `IF <revocation> ELSE <delay> CSV DROP <delayed> ENDIF CHECKSIG`.
pub fn to_local(keys: &CommitmentKeys, delay: u16) -> ScriptBuf {
    Builder::new()
        .push_opcode(OP_IF)
        .push_slice(keys.revocation.serialize())
        .push_opcode(OP_ELSE)
        .push_int(delay.into())
        .push_opcode(OP_CSV)
        .push_opcode(OP_DROP)
        .push_slice(keys.delayed.serialize())
        .push_opcode(OP_ENDIF)
        .push_opcode(OP_CHECKSIG)
        .into_script()
}

/// `to_remote` with anchors: `<key> CHECKSIGVERIFY 1 CSV`. Without them it is P2WPKH: [`to_remote_output`].
pub fn to_remote(key: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_slice(key.serialize())
        .push_opcode(OP_CHECKSIGVERIFY)
        .push_int(1)
        .push_opcode(OP_CSV)
        .into_script()
}

/// The output script of `to_remote`.
pub fn to_remote_output(channel_type: ChannelType, key: &PublicKey) -> ScriptBuf {
    if channel_type.has_anchors() {
        to_remote(key).to_p2wsh()
    } else {
        ScriptBuf::new_p2wpkh(&CompressedPublicKey(*key).wpubkey_hash())
    }
}

/// An anchor: its party's funding key at any time, anyone 16 blocks later.
pub fn anchor(funding_key: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_slice(funding_key.serialize())
        .push_opcode(OP_CHECKSIG)
        .push_opcode(OP_IFDUP)
        .push_opcode(OP_NOTIF)
        .push_int(ANCHOR_FREE_AFTER.into())
        .push_opcode(OP_CSV)
        .push_opcode(OP_ENDIF)
        .into_script()
}

/// An HTLC that the commitment's owner offered: HTLC-timeout for the owner, the preimage for the other.
pub fn offered_htlc(channel_type: ChannelType, keys: &CommitmentKeys, payment: &PaymentHash160) -> ScriptBuf {
    let script = begin_htlc(keys)
        .push_opcode(OP_NOTIF)
        .push_opcode(OP_DROP)
        .push_opcode(OP_PUSHNUM_2)
        .push_opcode(OP_SWAP)
        .push_slice(keys.owner_htlc.serialize())
        .push_opcode(OP_PUSHNUM_2)
        .push_opcode(OP_CHECKMULTISIG)
        .push_opcode(OP_ELSE)
        .push_opcode(OP_HASH160)
        .push_slice(payment.0)
        .push_opcode(OP_EQUALVERIFY)
        .push_opcode(OP_CHECKSIG)
        .push_opcode(OP_ENDIF);
    end_htlc(script, channel_type)
}

/// An HTLC that the commitment's owner received: HTLC-success for the owner, the other after `expiry`, a block height.
pub fn received_htlc(
    channel_type: ChannelType,
    keys: &CommitmentKeys,
    payment: &PaymentHash160,
    expiry: u32,
) -> ScriptBuf {
    let script = begin_htlc(keys)
        .push_opcode(OP_IF)
        .push_opcode(OP_HASH160)
        .push_slice(payment.0)
        .push_opcode(OP_EQUALVERIFY)
        .push_opcode(OP_PUSHNUM_2)
        .push_opcode(OP_SWAP)
        .push_slice(keys.owner_htlc.serialize())
        .push_opcode(OP_PUSHNUM_2)
        .push_opcode(OP_CHECKMULTISIG)
        .push_opcode(OP_ELSE)
        .push_opcode(OP_DROP)
        .push_int(expiry.into())
        .push_opcode(OP_CLTV)
        .push_opcode(OP_DROP)
        .push_opcode(OP_CHECKSIG)
        .push_opcode(OP_ENDIF);
    end_htlc(script, channel_type)
}

/// `RIPEMD160(payment_hash)`, which is all that a script shows of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentHash160(pub [u8; 20]);

impl From<sha256::Hash> for PaymentHash160 {
    fn from(payment_hash: sha256::Hash) -> Self {
        Self(ripemd160::Hash::hash(payment_hash.as_byte_array()).to_byte_array())
    }
}

fn begin_htlc(keys: &CommitmentKeys) -> Builder {
    let revocation = hash160::Hash::hash(&keys.revocation.serialize());
    Builder::new()
        .push_opcode(OP_DUP)
        .push_opcode(OP_HASH160)
        .push_slice(revocation.to_byte_array())
        .push_opcode(OP_EQUAL)
        .push_opcode(OP_IF)
        .push_opcode(OP_CHECKSIG)
        .push_opcode(OP_ELSE)
        .push_slice(keys.other_htlc.serialize())
        .push_opcode(OP_SWAP)
        .push_opcode(OP_SIZE)
        .push_int(32)
        .push_opcode(OP_EQUAL)
}

fn end_htlc(script: Builder, channel_type: ChannelType) -> ScriptBuf {
    // With anchors nothing but an anchor may have a child in the block of the commitment, or its fee could be pinned.
    let script =
        if channel_type.has_anchors() { script.push_int(1).push_opcode(OP_CSV).push_opcode(OP_DROP) } else { script };
    script.push_opcode(OP_ENDIF).into_script()
}
