//! The channels' scripts and the outputs and inputs that carry them.

use bitcoin::absolute::LockTime;
use bitcoin::opcodes::all::{
    OP_CHECKMULTISIG, OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CLTV, OP_DROP, OP_ELSE, OP_ENDIF, OP_IF, OP_PUSHNUM_2,
};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Script, ScriptBuf};

use crate::params::FundingKind;

/// The `cltv` kind's (BIP 65): `IF <payee> CHECKSIGVERIFY ELSE <expiry> CHECKLOCKTIMEVERIFY DROP ENDIF <payer> CHECKSIG`.
///
/// With the payee's signature both spend at any time; without it the payer alone spends from `expiry` on. `expiry` is
/// pushed minimally, as consensus reads it; below 500,000,000 it is a height.
pub fn channel_script(payee: &PublicKey, payer: &PublicKey, expiry: u32) -> ScriptBuf {
    Builder::new()
        .push_opcode(OP_IF)
        .push_slice(payee.serialize())
        .push_opcode(OP_CHECKSIGVERIFY)
        .push_opcode(OP_ELSE)
        .push_lock_time(LockTime::from_consensus(expiry))
        .push_opcode(OP_CLTV)
        .push_opcode(OP_DROP)
        .push_opcode(OP_ENDIF)
        .push_slice(payer.serialize())
        .push_opcode(OP_CHECKSIG)
        .into_script()
}

/// The `timelock` kind's: `2 <key> <key> 2 CHECKMULTISIG`, the lesser key first, as BOLT 3 orders them. Both have to sign.
pub fn multisig_script(one: &PublicKey, other: &PublicKey) -> ScriptBuf {
    let (first, second) = if is_first(one, other) { (one, other) } else { (other, one) };
    Builder::new()
        .push_opcode(OP_PUSHNUM_2)
        .push_slice(first.serialize())
        .push_slice(second.serialize())
        .push_opcode(OP_PUSHNUM_2)
        .push_opcode(OP_CHECKMULTISIG)
        .into_script()
}

/// Whether `one` comes before `other` in [`multisig_script`], and so its signature in a witness.
pub(crate) fn is_first(one: &PublicKey, other: &PublicKey) -> bool {
    one.serialize() < other.serialize()
}

/// The output script that commits to `witness_script`.
pub fn funding_script(kind: FundingKind, witness_script: &Script) -> ScriptBuf {
    match kind {
        FundingKind::P2wsh => witness_script.to_p2wsh(),
        FundingKind::P2shP2wsh => witness_script.to_p2wsh().to_p2sh(),
    }
}

/// What an input that spends such an output carries in its scriptSig (BIP 141).
pub(crate) fn script_sig(kind: FundingKind, witness_script: &Script) -> ScriptBuf {
    match kind {
        FundingKind::P2wsh => ScriptBuf::new(),
        FundingKind::P2shP2wsh => {
            let mut program = PushBytesBuf::new();
            // A witness program of version 0 is 34 bytes, far below the limit of a push.
            let _ = program.extend_from_slice(witness_script.to_p2wsh().as_bytes());
            Builder::new().push_slice(program).into_script()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_lesser_key_comes_first_whoever_names_it() {
        let (one, other) = (testing::payer_key().public(), testing::payee_key().public());
        let script = multisig_script(&one, &other);
        assert_eq!(script, multisig_script(&other, &one));
        let mut keys = [one.serialize(), other.serialize()];
        keys.sort_unstable();
        let [first, second] = keys;
        assert_eq!(script.as_bytes(), [&[0x52, 33][..], &first, &[33], &second, &[0x52, 0xae]].concat());
        assert_ne!(is_first(&one, &other), is_first(&other, &one));
    }
}
