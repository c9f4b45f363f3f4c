//! Witnesses for a funding's inputs, as a counterparty gives them (BOLT 2, "The `tx_signatures` Message").

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, XOnlyPublicKey, ecdsa, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{CompressedPublicKey, EcdsaSighashType, Script, Transaction, TxOut, Witness};

use crate::error::Error;
use crate::revocable::holder::funding::construction::breach;
use crate::secp::secp;

/// What nodes relay of a P2WSH input: the script, the number of other elements, and each of them.
const MOST_SCRIPT: usize = 3_600;
const MOST_ELEMENTS: usize = 100;
const MOST_ELEMENT: usize = 80;
/// A signature in DER with its hash type: from 9 to 73 bytes.
const SIGNATURES: std::ops::RangeInclusive<usize> = 9..=73;
const DER: u8 = 0x30;
const ANNEX: u8 = 0x50;
const SIGHASH_ALL: u8 = 0x01;

/// Refuses a witness that nodes do not relay, that signs for less than everything, or, for P2WPKH and for a Taproot key, that is not
/// good. Whether another script is satisfied only the chain can tell.
pub(super) fn check(transaction: &Transaction, index: usize, spent: &[TxOut], witness: &Witness) -> Result<(), Error> {
    let Some(output) = spent.get(index).filter(|_| !witness.is_empty()) else {
        return breach("an input without a witness");
    };
    let script = &output.script_pubkey;
    let elements: Vec<&[u8]> = witness.iter().collect();
    let is_good = if script.is_p2wpkh() {
        is_p2wpkh(transaction, index, output, &elements)
    } else if script.is_p2wsh() {
        is_p2wsh(script, &elements)
    } else if script.is_p2tr() {
        is_taproot(transaction, index, spent, script, &elements)
    } else {
        false
    };
    if is_good { Ok(()) } else { breach("a witness that is not good, or not standard") }
}

fn is_p2wpkh(transaction: &Transaction, index: usize, output: &TxOut, elements: &[&[u8]]) -> bool {
    let [signature, key] = elements else { return false };
    let (Some((kind, der)), Ok(key)) = (signature.split_last(), CompressedPublicKey::from_slice(key)) else {
        return false;
    };
    let script = &output.script_pubkey;
    let hash = SighashCache::new(transaction).p2wpkh_signature_hash(index, script, output.value, EcdsaSighashType::All);
    let (Ok(hash), Ok(signature)) = (hash, ecdsa::Signature::from_der(der)) else { return false };
    let message = Message::from_digest(hash.to_byte_array());
    *kind == SIGHASH_ALL
        && *script == bitcoin::ScriptBuf::new_p2wpkh(&key.wpubkey_hash())
        // High S values do not verify.
        && secp().verify_ecdsa(&message, &signature, &key.0).is_ok()
}

fn is_p2wsh(script: &Script, elements: &[&[u8]]) -> bool {
    let Some((shown, arguments)) = elements.split_last() else { return false };
    let signs_for_all = |element: &[u8]| {
        let is_signature = element.first() == Some(&DER) && SIGNATURES.contains(&element.len());
        !is_signature || element.last() == Some(&SIGHASH_ALL)
    };
    shown.len() <= MOST_SCRIPT
        && Script::from_bytes(shown).to_p2wsh() == *script
        && arguments.len() <= MOST_ELEMENTS
        && arguments.iter().all(|element| element.len() <= MOST_ELEMENT && signs_for_all(element))
}

fn is_taproot(transaction: &Transaction, index: usize, spent: &[TxOut], script: &Script, elements: &[&[u8]]) -> bool {
    // 64 bytes sign for everything, with the hash type that is not written.
    let kind = |signature: &[u8]| match signature.len() {
        64 => Some(TapSighashType::Default),
        65 => (signature.last() == Some(&SIGHASH_ALL)).then_some(TapSighashType::All),
        _ => None,
    };
    match elements {
        [signature] => {
            let key = script.as_bytes().get(2..).and_then(|key| XOnlyPublicKey::from_slice(key).ok());
            let (Some(key), Some(kind)) = (key, kind(signature)) else { return false };
            let signature = signature.get(..64).and_then(|bytes| schnorr::Signature::from_slice(bytes).ok());
            let hash =
                SighashCache::new(transaction).taproot_key_spend_signature_hash(index, &Prevouts::All(spent), kind);
            let (Some(signature), Ok(hash)) = (signature, hash) else { return false };
            secp().verify_schnorr(&signature, &Message::from_digest(hash.to_byte_array()), &key).is_ok()
        }
        [arguments @ .., _, control] => {
            // An annex is not relayed.
            control.first() != Some(&ANNEX)
                && arguments
                    .iter()
                    .all(|element| element.len() <= MOST_ELEMENT && (element.len() != 65 || kind(element).is_some()))
        }
        [] => false,
    }
}
