//! Runs published test vectors against our scripts, hashes and addresses.
//!
//! The folder is `tests/data`, or the one that `RILLPAY_VECTORS` names. Each file prints how many of its cases ran; one
//! that is not in the folder named is skipped with a line. A case of an unknown kind is a failure, not a silent pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

#[path = "vectors/bolt03.rs"]
mod bolt03;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use bitcoin::absolute::LockTime;
use bitcoin::address::NetworkUnchecked;
use bitcoin::bech32::primitives::decode::CheckedHrpstring;
use bitcoin::consensus::encode::{deserialize_hex, serialize};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::{Message, PublicKey, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Address, Amount, CompressedPublicKey, Network, ScriptBuf, Transaction, ecdsa};
use rillpay_channel::{FundingKind, script, secp};
use serde_json::Value;

fn main() -> ExitCode {
    let elsewhere = std::env::var_os("RILLPAY_VECTORS");
    let folder = elsewhere
        .as_ref()
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")), PathBuf::from);
    type Check = fn(&Value, &Value);
    // How many cases our own folder has: one that gets lost is a failure.
    let files: [(&str, usize, Check); 8] = [
        ("bip143_sighash.json", 8, bip143),
        ("bip350_addresses.json", 27, bip350),
        ("bolt03_commitment_oracle.json", 13, bolt03::oracle),
        ("bolt03_commitment_tx.json", 36, bolt03::commitment),
        ("bolt03_funding.json", 3, bolt03::funding),
        ("bolt03_key_derivation.json", 10, bolt03::key_derivation),
        ("bolt03_shachain.json", 21, bolt03::shachain),
        ("cltv_channel.json", 6, cltv_channel),
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, count, case) in files {
        let path = folder.join(name);
        if elsewhere.is_some() && !path.exists() {
            println!("{name}: not in this folder, skipped");
            continue;
        }
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let cases = file["cases"].as_array().expect("a list of cases");
        assert!(elsewhere.is_some() || cases.len() == count, "{name} has {} cases instead of {count}", cases.len());
        let bad = cases.iter().filter(|one| catch_unwind(AssertUnwindSafe(|| case(&file, one))).is_err());
        let bad = bad.inspect(|one| eprintln!("{name}: FAILED: {} {}", one["name"], one["string"])).count();
        println!("{name}: {} cases ran, {bad} failed", cases.len());
        passed += cases.len() - bad;
        failed += bad;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::from(u8::from(failed != 0))
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} is missing"))
}

fn bytes(case: &Value, key: &str) -> Vec<u8> {
    Vec::from_hex(text(case, key)).unwrap()
}

fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} is missing"))
}

fn transaction(case: &Value, key: &str) -> Transaction {
    deserialize_hex(text(case, key)).unwrap()
}

fn secret(case: &Value, key: &str) -> SecretKey {
    SecretKey::from_slice(&bytes(case, key)).unwrap()
}

/// BIP 143: the message that is hashed, its hash, and a signature over it where the case has the key.
fn bip143(_: &Value, case: &Value) {
    let tx = transaction(case, "unsigned_tx");
    let outpoint = bytes(case, "outpoint");
    let script_code: ScriptBuf = bitcoin::consensus::deserialize(&bytes(case, "script_code")).unwrap();
    let amount = Amount::from_sat(number(case, "amount_sat"));
    let hash_type = u32::try_from(number(case, "hash_type")).unwrap();
    let kind = EcdsaSighashType::from_consensus(hash_type);
    let expected = bytes(case, "preimage");

    let preimage = match tx.input.iter().position(|input| serialize(&input.previous_output) == outpoint) {
        Some(index) => {
            let mut preimage = Vec::new();
            let mut cache = SighashCache::new(&tx);
            cache.segwit_v0_encode_signing_data_to(&mut preimage, index, &script_code, amount, kind).unwrap();
            if kind.to_u32() == hash_type {
                let ours = cache.p2wsh_signature_hash(index, &script_code, amount, kind).unwrap();
                assert_eq!(ours.as_byte_array().as_slice(), bytes(case, "sighash"));
            }
            preimage
        }
        // Some collected cases carry another example's transaction: what they sign is then known from the preimage alone.
        None => {
            println!("bip143_sighash.json: {}: its transaction lacks the input; fields only", text(case, "name"));
            let mut preimage = expected[..68].to_vec();
            preimage.extend(outpoint);
            preimage.extend(bytes(case, "script_code"));
            preimage.extend(amount.to_sat().to_le_bytes());
            // Sequence, hash of the outputs, lock time and type.
            preimage.extend(&expected[expected.len() - 44..]);
            preimage
        }
    };
    // A hash type that no wallet uses is signed as it stands (its base type rules what is hashed).
    let mut preimage = preimage;
    let end = preimage.len() - 4;
    preimage[end..].copy_from_slice(&hash_type.to_le_bytes());
    assert_eq!(preimage, expected);

    let hash = sha256d::Hash::hash(&preimage);
    assert_eq!(hash.as_byte_array().as_slice(), bytes(case, "sighash"));
    if case.get("private_key").is_some() {
        let signature = ecdsa::Signature::from_slice(&bytes(case, "signature")).unwrap();
        let key = secret(case, "private_key").public_key(secp());
        secp().verify_ecdsa(&Message::from_digest(hash.to_byte_array()), &signature.signature, &key).unwrap();
    }
    if case.get("signed_tx").is_some() {
        assert_eq!(transaction(case, "signed_tx").compute_txid(), tx_with_script_sigs(case, &tx).compute_txid());
    }
}

/// The unsigned transaction with the scriptSigs of the signed one (P2SH programs are part of the id).
fn tx_with_script_sigs(case: &Value, tx: &Transaction) -> Transaction {
    let signed = transaction(case, "signed_tx");
    let mut tx = tx.clone();
    for (ours, theirs) in tx.input.iter_mut().zip(signed.input) {
        ours.script_sig = theirs.script_sig;
    }
    tx
}

/// BIP 350: bech32m strings and SegWit addresses.
fn bip350(_: &Value, case: &Value) {
    let string = text(case, "string");
    let bech32m = || CheckedHrpstring::new::<bitcoin::bech32::Bech32m>(string).map(drop).map_err(|e| e.to_string());
    let address = || {
        let address = string.parse::<Address<NetworkUnchecked>>().map_err(|e| e.to_string())?;
        // Base58 is no SegWit address.
        let script = address.assume_checked().script_pubkey();
        if script.is_witness_program() { Ok(script) } else { Err("not a witness program".to_owned()) }
    };
    match text(case, "kind") {
        "bech32m_valid" => bech32m().unwrap(),
        "bech32m_invalid" => assert!(bech32m().is_err()),
        "segwit_addr_valid" => assert_eq!(address().unwrap().as_bytes(), bytes(case, "script")),
        "segwit_addr_invalid" => assert!(address().is_err()),
        other => panic!("unknown kind {other}"),
    }
}

fn cltv_channel(_: &Value, case: &Value) {
    match text(case, "kind") {
        "bip65_channel_script" => bip65_channel_script(case),
        "cltv_2of2_spend" => cltv_2of2_spend(case),
        other => panic!("unknown kind {other}"),
    }
}

/// Our channel script and its addresses.
fn bip65_channel_script(case: &Value) {
    let key = |name: &str| -> PublicKey {
        let public = secret(case, &format!("{name}_privkey")).public_key(secp());
        assert_eq!(public.to_string(), text(case, &format!("{name}_pubkey")));
        let address = Address::p2pkh(CompressedPublicKey(public).pubkey_hash(), Network::Testnet);
        assert_eq!(address.to_string(), text(case, &format!("{name}_address_testnet")));
        public
    };
    let (payer, payee) = (key("user"), key("service"));
    let expiry = u32::try_from(number(case, "expiry")).unwrap();
    let redeem = script::channel_script(&payee, &payer, expiry);
    assert_eq!(redeem.as_bytes(), bytes(case, "redeem_script"));
    assert_eq!(redeem.to_p2sh().as_bytes(), bytes(case, "p2sh_script_pubkey"));
    let address = Address::from_script(&redeem.to_p2sh(), Network::Testnet).unwrap();
    assert_eq!(address.to_string(), text(case, "p2sh_address_testnet"));
    let p2wsh = script::funding_script(FundingKind::P2wsh, &redeem);
    assert_eq!(p2wsh.as_bytes(), bytes(case, "p2wsh_script_pubkey"));
    assert_eq!(script::funding_script(FundingKind::P2shP2wsh, &redeem), p2wsh.to_p2sh());
}

/// A spend that Bitcoin Core's interpreter accepts or refuses, with OP_CHECKLOCKTIMEVERIFY in force.
fn cltv_2of2_spend(case: &Value) {
    use bitcoinkernel::prelude::*;

    for name in ["alice", "bob"] {
        let public = secret(case, &format!("{name}_privkey")).public_key(secp());
        assert_eq!(public.to_string(), text(case, &format!("{name}_pubkey")));
    }
    let funding = transaction(case, "funding_tx");
    assert_eq!(funding.compute_txid().to_string(), text(case, "funding_txid"));
    assert_eq!(funding.output[0].script_pubkey.as_bytes(), bytes(case, "script_pubkey"));
    let spending = transaction(case, "spending_tx");
    let lock_time = u32::try_from(number(case, "spending_locktime")).unwrap();
    assert_eq!(spending.lock_time, LockTime::from_consensus(lock_time));

    let funding = bitcoinkernel::Transaction::new(&bytes(case, "funding_tx")).unwrap();
    let spending = bitcoinkernel::Transaction::new(&bytes(case, "spending_tx")).unwrap();
    let data = bitcoinkernel::PrecomputedTransactionData::new(&spending, &Vec::<bitcoinkernel::TxOut>::new()).unwrap();
    let flags = bitcoinkernel::VERIFY_P2SH | bitcoinkernel::VERIFY_CHECKLOCKTIMEVERIFY;
    let output = funding.output(0).unwrap();
    let script = output.script_pubkey();
    let result = bitcoinkernel::verify(&script, None, &spending, 0, Some(flags), &data);
    assert_eq!(result.is_ok(), case["expected_valid"].as_bool().unwrap(), "{result:?}");
}
