//! BOLT 3: keys, secrets, funding, commitments and their second stage.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::DisplayHex;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{Message, PublicKey, SecretKey};
use bitcoin::sighash::SighashCache;
use bitcoin::{Amount, FeeRate, OutPoint, Sequence, Transaction, ecdsa};
use rillpay_channel::commitment::Funding;
use rillpay_channel::keys::Key;
use rillpay_channel::revocable::commitment::{Commitment, Purpose};
use rillpay_channel::revocable::fees::Stage;
use rillpay_channel::revocable::htlc::Preimage;
use rillpay_channel::revocable::keys::{derive_public, derive_revocation, derive_revocation_secret, derive_secret};
use rillpay_channel::revocable::number::Obscuring;
use rillpay_channel::revocable::{
    BaseKeys, Channel, ChannelType, CommitmentNumber, CommitmentSecret, CommitmentSeed, Htlc, Party, Role, SecretStore,
    State, script,
};
use rillpay_channel::{Msat, secp};
use serde_json::Value;

use crate::{bytes, number, secret, text, transaction};

fn array(case: &Value, key: &str) -> [u8; 32] {
    bytes(case, key).try_into().unwrap()
}

fn point(case: &Value, key: &str) -> PublicKey {
    PublicKey::from_slice(&bytes(case, key)).unwrap()
}

fn key(case: &Value, key: &str) -> Key {
    Key::new(secret(case, key))
}

fn sat(case: &Value, key: &str) -> Amount {
    Amount::from_sat(number(case, key))
}

fn msat(case: &Value, key: &str) -> Msat {
    Msat::new(number(case, key)).unwrap()
}

fn der(case: &Value, key: &str) -> Signature {
    Signature::from_der(&bytes(case, key)).unwrap()
}

/// Numbers above 2^53 come as text.
fn commitment_number(case: &Value, key: &str) -> CommitmentNumber {
    let number = case[key].as_u64().unwrap_or_else(|| text(case, key).parse().unwrap());
    CommitmentNumber::new(number).unwrap()
}

fn from_index(case: &Value) -> CommitmentNumber {
    CommitmentNumber::new((1 << 48) - 1 - text(case, "index").parse::<u64>().unwrap()).unwrap()
}

fn channel_type(case: &Value) -> ChannelType {
    match text(case, "channel_type") {
        "legacy_tweaked_remotekey" => ChannelType::Legacy,
        "static_remotekey" => ChannelType::StaticRemoteKey,
        "anchors_nonzero_fee_htlc_tx" => ChannelType::AnchorsNonzeroFee,
        "anchors_zero_fee_htlc_tx" => ChannelType::Anchors,
        other => panic!("unknown channel type {other}"),
    }
}

/// Appendix E.
pub(crate) fn key_derivation(_: &Value, case: &Value) {
    let inputs = &case["inputs"];
    // A case that has both halves of a key has to be right about them.
    for (half, whole) in [("base_secret", "base_point"), ("per_commitment_secret", "per_commitment_point")] {
        if inputs.get(half).is_some() && inputs.get(whole).is_some() {
            assert_eq!(secret(inputs, half).public_key(secp()), point(inputs, whole));
        }
    }
    let commitment = || point(inputs, "per_commitment_point");
    let expected_public = || point(case, "expected");
    // Keys do not give their secrets away: the public one tells as much.
    let expected_secret = || secret(case, "expected").public_key(secp());
    match text(case, "kind") {
        "localpubkey" => {
            assert_eq!(derive_public(&point(inputs, "base_point"), &commitment()).unwrap(), expected_public());
        }
        "localprivkey" => {
            let derived = derive_secret(&key(inputs, "base_secret"), &commitment()).unwrap();
            assert_eq!(derived.public(), expected_secret());
        }
        "revocationpubkey" => {
            assert_eq!(derive_revocation(&point(inputs, "base_point"), &commitment()).unwrap(), expected_public());
        }
        "revocationprivkey" => {
            let revealed = CommitmentSecret::new(array(inputs, "per_commitment_secret"));
            let derived = derive_revocation_secret(&key(inputs, "base_secret"), revealed).unwrap();
            assert_eq!(derived.public(), expected_secret());
        }
        other => panic!("unknown kind {other}"),
    }
}

/// Appendix D.
pub(crate) fn shachain(_: &Value, case: &Value) {
    match text(case, "kind") {
        "generate" => {
            let secret = CommitmentSeed::new(array(case, "seed")).secret(from_index(case)).unwrap();
            assert_eq!(secret.to_bytes(), array(case, "expected"));
            if case.get("expected_point").is_some() {
                assert_eq!(secret.point().unwrap(), point(case, "expected_point"));
            }
        }
        "insert" => {
            let mut store = SecretStore::new();
            let mut accepted = vec![];
            for step in case["steps"].as_array().unwrap() {
                let (number, secret) = (from_index(step), CommitmentSecret::new(array(step, "secret")));
                let ok = store.insert(number, secret).is_ok();
                match text(step, "expected") {
                    "OK" => assert!(ok),
                    "ERROR" => assert!(!ok),
                    other => panic!("unknown result {other}"),
                }
                accepted.extend(ok.then_some((number, secret)));
                assert!(accepted.iter().all(|(number, secret)| store.get(*number) == Some(*secret)));
                assert_eq!(SecretStore::decode(&store.encode()).unwrap(), store);
            }
        }
        other => panic!("unknown kind {other}"),
    }
}

/// Appendices A and B, and the disguise of commitment numbers.
pub(crate) fn funding(_: &Value, case: &Value) {
    match text(case, "kind") {
        "funding_tx" => funding_tx(case),
        "obscured_commitment_number" => {
            let (opener, accepter) =
                (point(case, "opener_payment_basepoint"), point(case, "accepter_payment_basepoint"));
            let obscuring = Obscuring::new(&opener, &accepter);
            assert_eq!(obscuring.factor(), u64::from_str_radix(text(case, "obscuring_factor"), 16).unwrap());
            let (lock_time, sequence) = obscuring.disguise(commitment_number(case, "commitment_number"));
            assert_eq!(lock_time, LockTime::from_consensus(text(case, "expected_locktime").parse().unwrap()));
            assert_eq!(sequence, Sequence(text(case, "expected_sequence").parse().unwrap()));
        }
        "weights" => {
            let expected = &case["expected"];
            for (channel_type, suffix) in [(ChannelType::StaticRemoteKey, ""), (ChannelType::Anchors, "_anchors")] {
                let commitment = if suffix.is_empty() { "commitment_no_anchors" } else { "commitment_anchors" };
                let base = channel_type.commitment_weight(0);
                let each = channel_type.commitment_weight(1) - base;
                assert_eq!(channel_type.commitment_weight(483), base + 483 * each);
                assert_eq!(text(expected, commitment), format!("{base} + {each}*num_htlcs"));
                for (stage, name) in [(Stage::Timeout, "htlc_timeout"), (Stage::Success, "htlc_success")] {
                    assert_eq!(channel_type.htlc_weight(stage), number(expected, &format!("{name}{suffix}")));
                }
            }
        }
        other => panic!("unknown kind {other}"),
    }
}

fn funding_tx(case: &Value) {
    let script = script::funding(&point(case, "local_funding_pubkey"), &point(case, "remote_funding_pubkey"));
    assert_eq!(script.as_bytes(), bytes(case, "expected_witness_script"));
    let funding = transaction(case, "expected_funding_tx");
    assert_eq!(funding.compute_txid().to_string(), text(case, "expected_txid"));
    let vout = usize::try_from(number(case, "funding_output_index")).unwrap();
    assert_eq!(funding.output[vout].script_pubkey, script.to_p2wsh());
    assert_eq!(funding.output[vout].value, sat(case, "funding_satoshis"));
    assert_eq!(funding.output[1 - vout].value, sat(case, "change_satoshis"));
    // The wallet's part: a P2PKH input.
    let input = &funding.input[0];
    assert_eq!(input.previous_output.txid.to_string(), text(case, "input_txid"));
    assert_eq!(u64::from(input.previous_output.vout), number(case, "input_index"));
    let coinbase = transaction(case, "coinbase_tx");
    assert_eq!(coinbase.output[0].value, sat(case, "input_satoshis"));
    let mut pushes =
        input.script_sig.instructions().map(|push| push.unwrap().push_bytes().unwrap().as_bytes().to_vec());
    let (signature, public) = (pushes.next().unwrap(), pushes.next().unwrap());
    let wallet = secret(case, "coinbase_privkey").public_key(secp());
    assert_eq!(public, wallet.serialize());
    let signature = ecdsa::Signature::from_slice(&signature).unwrap();
    let hash = SighashCache::new(&funding)
        .legacy_signature_hash(0, &coinbase.output[0].script_pubkey, signature.sighash_type.to_u32())
        .unwrap();
    secp().verify_ecdsa(&Message::from_digest(hash.to_byte_array()), &signature.signature, &wallet).unwrap();
}

/// Both sides' keys; where a vector names no key, one that is used for nothing.
struct Sides {
    opener: BaseKeys,
    accepter: BaseKeys,
}

impl Sides {
    fn of(&self, role: Role) -> &BaseKeys {
        match role {
            Role::Opener => &self.opener,
            Role::Accepter => &self.accepter,
        }
    }
}

/// Appendices C and F: the commitment is the opener's own.
pub(crate) fn commitment(file: &Value, case: &Value) {
    let common = &file["common"];
    let unused = || Key::new(SecretKey::from_slice(&[0x55; 32]).unwrap());
    let side = |funding, payment| BaseKeys {
        funding: key(common, funding),
        revocation: unused(),
        payment: key(common, payment),
        delayed: unused(),
        htlc: key(common, payment),
        seed: CommitmentSeed::new([0x55; 32]),
    };
    let opener = BaseKeys {
        delayed: key(common, "local_delayed_payment_basepoint_secret"),
        ..side("local_funding_privkey", "local_payment_basepoint_secret")
    };
    let accepter = BaseKeys {
        revocation: key(common, "remote_revocation_basepoint_secret"),
        ..side("remote_funding_privkey", "remote_payment_basepoint_secret")
    };
    let sides = Sides { opener, accepter };
    let outpoint = OutPoint {
        txid: text(common, "funding_tx_id").parse().unwrap(),
        vout: u32::try_from(number(common, "funding_output_index")).unwrap(),
    };
    let party = |keys: &BaseKeys| Party {
        points: keys.points(),
        delay: u16::try_from(number(common, "local_delay")).unwrap(),
        dust_limit: sat(case, "dust_limit_satoshi"),
    };
    let channel = Channel {
        channel_type: channel_type(case),
        funding: Funding { outpoint, capacity: sat(common, "funding_amount_satoshi") },
        opener: party(&sides.opener),
        accepter: party(&sides.accepter),
    };
    assert_eq!(channel.funding_script().as_bytes(), bytes(common, "funding_wscript"));
    let revealed = CommitmentSecret::new(array(common, "local_per_commitment_secret"));
    let at = revealed.point().unwrap();
    assert_eq!(at, point(common, "local_per_commitment_point"));
    let keys = channel.keys(Role::Opener, &at).unwrap();
    assert_eq!(keys.owner_htlc, point(common, "local_htlcpubkey"));
    assert_eq!(keys.other_htlc, point(common, "remote_htlcpubkey"));
    assert_eq!(keys.delayed, point(common, "local_delayedpubkey"));
    assert_eq!(keys.revocation, point(common, "local_revocation_pubkey"));
    assert_eq!(sides.accepter.revocation_at(revealed).unwrap().public(), keys.revocation);

    let indices = case["htlc_indices"].as_array().unwrap();
    let table = |index: u64| file["htlcs"].as_array().unwrap().iter().find(|one| number(one, "htlc_index") == index);
    let table: Vec<&Value> = indices.iter().map(|index| table(index.as_u64().unwrap()).unwrap()).collect();
    let htlcs = table.iter().map(|htlc| {
        let offered_by = match text(htlc, "direction") {
            "local->remote" => Role::Opener,
            "remote->local" => Role::Accepter,
            other => panic!("unknown direction {other}"),
        };
        htlc_of(htlc, offered_by, "expiry")
    });
    let state = State {
        number: commitment_number(common, "commitment_number"),
        fee_rate: FeeRate::from_sat_per_kwu(number(case, "feerate_per_kw")),
        opener: msat(case, "to_local_msat"),
        accepter: msat(case, "to_remote_msat"),
        htlcs: htlcs.collect(),
    };
    let commitment = Commitment::new(&channel, Role::Opener, &at, &state).unwrap();

    let expected = &case["expected"];
    if expected.get("base_commitment_fee").is_some() {
        assert_eq!(commitment.base_fee, sat(expected, "base_commitment_fee"));
    }
    if expected.get("actual_commitment_fee").is_some() {
        assert_eq!(commitment.fee, sat(expected, "actual_commitment_fee"));
    }
    for comment in expected["output_comments"].as_array().into_iter().flatten() {
        let same = |output: &rillpay_channel::revocable::commitment::Output| {
            let script = comment.get("wscript").is_none_or(|_| output.script.as_bytes() == bytes(comment, "wscript"));
            let is_remote = matches!(output.purpose, Purpose::ToRemote);
            let purpose = match text(comment, "what") {
                "to_local" => output.purpose == Purpose::ToLocal,
                "to_remote" => is_remote,
                _ => true,
            };
            script && purpose && output.output.value == sat(comment, "amount_sat")
        };
        assert!(commitment.outputs.iter().any(same), "{comment}");
    }
    let (ours, theirs) = (der(expected, "local_signature"), der(expected, "remote_signature"));
    assert_eq!(commitment.sign(&sides.opener.funding).unwrap(), ours);
    assert_eq!(commitment.sign(&sides.accepter.funding).unwrap(), theirs);
    let signed = commitment.finish(&sides.opener.funding, &theirs).unwrap();
    assert_eq!(serialize_hex(&signed), text(expected, "commit_tx"));
    assert_eq!(signed.compute_txid().to_string(), text(expected, "commit_txid"));

    let second_stage = expected["htlc_txs"].as_array().unwrap();
    assert_eq!(second_stage.len() as u64, number(expected, "num_htlc_txs"));
    let names = Names { theirs: "remote_htlc_signature", ours: "local_htlc_signature", kind: "sighash_type_remote" };
    check_second_stage(&commitment, &sides, second_stage, &names, |index| {
        array(table.iter().find(|one| number(one, "htlc_index") == index).unwrap(), "payment_preimage")
    });
}

/// Random keys, both owners and both openers.
pub(crate) fn oracle(_: &Value, case: &Value) {
    let opener = text(case, "opener");
    let role = |side: &str| if side == opener { Role::Opener } else { Role::Accepter };
    let side = |role: Role| if (role == Role::Opener) == (opener == "local") { "local" } else { "remote" };
    let base = |at: Role| {
        let (funding, keys) = (format!("{}_funding_privkey", side(at)), &case[format!("{}_keys", side(at))]);
        BaseKeys {
            funding: key(case, &funding),
            revocation: key(keys, "revocation_base_secret"),
            payment: key(keys, "payment_base_secret"),
            delayed: key(keys, "delayed_payment_base_secret"),
            htlc: key(keys, "htlc_base_secret"),
            seed: CommitmentSeed::new(array(keys, "shachain_seed")),
        }
    };
    let sides = Sides { opener: base(Role::Opener), accepter: base(Role::Accepter) };
    let party = |at: Role| Party {
        points: sides.of(at).points(),
        delay: u16::try_from(number(&case["to_self_delay"], side(at))).unwrap(),
        dust_limit: sat(&case["dust_limit_satoshi"], side(at)),
    };
    let outpoint = OutPoint {
        txid: text(case, "funding_txid").parse().unwrap(),
        vout: u32::try_from(number(case, "funding_output_index")).unwrap(),
    };
    let channel = Channel {
        channel_type: channel_type(case),
        funding: Funding { outpoint, capacity: sat(case, "funding_amount_satoshi") },
        opener: party(Role::Opener),
        accepter: party(Role::Accepter),
    };
    let balance = |at: Role| msat(case, &format!("to_{}_msat", side(at)));
    let table = case["htlcs"].as_array().unwrap();
    let state = State {
        number: commitment_number(case, "commitment_number"),
        fee_rate: FeeRate::from_sat_per_kwu(number(case, "feerate_per_kw")),
        opener: balance(Role::Opener),
        accepter: balance(Role::Accepter),
        htlcs: table.iter().map(|htlc| htlc_of(htlc, role(text(htlc, "offered_by")), "cltv_expiry")).collect(),
    };
    let owner = role(text(case, "commitment_of"));
    let expected = &case["expected"];
    let derived = &expected["derived_keys"];
    let revealed = sides.of(owner).seed.secret(state.number).unwrap();
    assert_eq!(revealed.to_bytes(), array(derived, "per_commitment_secret"));
    let at = revealed.point().unwrap();
    assert_eq!(at, point(derived, "per_commitment_point"));
    let commitment = Commitment::new(&channel, owner, &at, &state).unwrap();
    assert_eq!(commitment.keys.revocation, point(derived, "revocation_pubkey"));
    assert_eq!(commitment.keys.delayed, point(derived, "delayed_pubkey"));
    assert_eq!(commitment.keys.owner_htlc, point(derived, "owner_htlc_pubkey"));
    assert_eq!(commitment.keys.other_htlc, point(derived, "counterparty_htlc_pubkey"));
    assert_eq!(channel.to_remote_key(owner, &commitment.keys).unwrap(), point(derived, "to_remote_pubkey"));
    let punisher = sides.of(owner.other()).revocation_at(revealed).unwrap();
    assert_eq!(punisher.public(), secret(derived, "revocation_privkey").public_key(secp()));

    assert_eq!(serialize_hex(&commitment.transaction), text(expected, "unsigned_commit_tx"));
    assert_eq!(commitment.transaction.compute_txid().to_string(), text(expected, "commit_txid"));
    for signer in [Role::Opener, Role::Accepter] {
        let signature = der(expected, &format!("{}_signature", side(signer)));
        assert_eq!(commitment.sign(&sides.of(signer).funding).unwrap(), signature);
        commitment.verify(signer, &signature).unwrap();
    }
    let theirs = der(expected, &format!("{}_signature", side(owner.other())));
    let signed = commitment.finish(&sides.of(owner).funding, &theirs).unwrap();
    assert_eq!(serialize_hex(&signed), text(expected, "commit_tx"));

    let names = Names {
        theirs: "counterparty_htlc_signature",
        ours: "owner_htlc_signature",
        kind: "sighash_type_counterparty",
    };
    check_second_stage(&commitment, &sides, expected["htlc_txs"].as_array().unwrap(), &names, |index| {
        array(table.iter().find(|one| number(one, "htlc_index") == index).unwrap(), "payment_preimage")
    });
}

fn htlc_of(htlc: &Value, offered_by: Role, expiry: &str) -> Htlc {
    let payment_hash = sha256::Hash::from_byte_array(array(htlc, "payment_hash"));
    assert_eq!(sha256::Hash::hash(&array(htlc, "payment_preimage")), payment_hash);
    let expiry = u32::try_from(number(htlc, expiry)).unwrap();
    Htlc { offered_by, amount: msat(htlc, "amount_msat"), payment_hash, expiry }
}

/// What a file calls the two signatures of a second stage.
struct Names {
    theirs: &'static str,
    ours: &'static str,
    kind: &'static str,
}

fn check_second_stage(
    commitment: &Commitment,
    sides: &Sides,
    expected: &[Value],
    names: &Names,
    preimage: impl Fn(u64) -> Preimage,
) {
    let made = commitment.htlc_transactions();
    assert_eq!(made.len(), expected.len());
    let at = &commitment.keys.point;
    let owner = sides.of(commitment.owner).htlc_at(at).unwrap();
    let other = sides.of(commitment.owner.other()).htlc_at(at).unwrap();
    for (htlc, expected) in made.iter().zip(expected) {
        let kind = match htlc.stage {
            Stage::Success => "htlc_success",
            Stage::Timeout => "htlc_timeout",
        };
        assert_eq!(kind, text(expected, "kind"));
        assert_eq!(u64::from(htlc.transaction.input[0].previous_output.vout), number(expected, "output_index"));
        let theirs = der(expected, names.theirs);
        assert_eq!(u64::from(htlc.sighash_type().to_u32()), number(expected, names.kind));
        assert_eq!(htlc.sign(&other).unwrap(), theirs);
        htlc.verify(&theirs).unwrap();
        if expected.get("unsigned_tx").is_some() {
            assert_eq!(serialize_hex(&htlc.transaction), text(expected, "unsigned_tx"));
        }
        assert_eq!(htlc.transaction.compute_txid().to_string(), text(expected, "txid"));
        let preimage = (htlc.stage == Stage::Success).then(|| preimage(number(expected, "htlc_index")));
        let signed = htlc.finish(&owner, &theirs, preimage).unwrap();
        let witness = signed.input[0].witness.to_vec();
        if expected.get("witness_script").is_some() {
            assert_eq!(witness[4].to_lower_hex_string(), text(expected, "witness_script"));
        }
        // Some files leave the owner's signature out, and with it the whole.
        if expected.get(names.ours).is_some() {
            let ours = ecdsa::Signature::from_slice(&witness[2]).unwrap();
            assert_eq!(ours.signature, der(expected, names.ours));
        }
        if expected.get("tx").is_some() {
            let whole: Transaction = deserialize_hex(text(expected, "tx")).unwrap();
            assert_eq!(signed, whole);
        }
    }
}
