//! Runs published vectors of BOLT 8 against the handshake and the messages after it, and those of BOLT 4 against what is done here
//! with onions. A case of an unknown kind is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

#[path = "../../wire/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::{PublicKey, SecretKey};
use common::text;
use rillpay_transport::{Code, EphemeralKey, Error, Initiator, NodeKey, Peeled, Responder, Session, Unreadable};
use rillpay_wire::types::OnionPacket;
use serde_json::Value;

fn main() -> ExitCode {
    let files: [common::File; 4] = [
        ("bolt08_transport.json", 14, transport),
        ("bolt08_transport_oracle.json", 4, session),
        ("bolt04_onion.json", 3, onion),
        ("bolt04_errors.json", 1, failure),
    ];
    common::run(OWN, &files)
}

const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

fn bytes(case: &Value, key: &str) -> Vec<u8> {
    Vec::from_hex(text(case, key)).unwrap()
}

fn array(case: &Value, key: &str) -> [u8; 32] {
    bytes(case, key).try_into().unwrap()
}

fn point(case: &Value, key: &str) -> PublicKey {
    text(case, key).parse().unwrap()
}

fn node(case: &Value, role: &str) -> NodeKey {
    let node = NodeKey::new(SecretKey::from_slice(&bytes(case, &format!("{role}static_priv"))).unwrap());
    assert_eq!(node.public(), point(case, &format!("{role}static_pub")));
    node
}

fn ephemeral(case: &Value, role: &str) -> EphemeralKey {
    EphemeralKey::new(&array(case, &format!("{role}ephemeral_priv"))).unwrap()
}

fn transport(case: &Value) {
    match text(case, "kind") {
        "initiator" => initiator(case),
        "responder" => responder(case),
        "message" => messages(case),
        "rotation" => rotation(case),
        other => panic!("unknown kind {other}"),
    }
}

/// The steps of a transcript, taken one by one.
struct Steps<'a>(std::slice::Iter<'a, Value>);

impl<'a> Steps<'a> {
    fn of(case: &'a Value) -> Self {
        Self(case["steps"].as_array().unwrap().iter())
    }

    fn input(&mut self) -> Vec<u8> {
        bytes(self.0.next().expect("a step"), "input")
    }

    fn output(&mut self, act: &[u8]) {
        assert_eq!(act.to_lower_hex_string(), text(self.0.next().expect("a step"), "output"));
    }

    /// The outcome, if it is a success; a failure must be the expected one and ends the transcript.
    fn outcome<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let expected = text(self.0.next().expect("a step"), "error");
        let (act, why) = expected.split_once('_').unwrap();
        assert_eq!(format!("ACT{}", error.act().unwrap()), act);
        let code = match why {
            "READ_FAILED" => Code::HandshakeLength,
            "BAD_VERSION" => Code::HandshakeVersion,
            "BAD_PUBKEY" => Code::HandshakeKey,
            "BAD_TAG" | "BAD_CIPHERTEXT" => Code::HandshakeRefused,
            other => panic!("unknown error {other}"),
        };
        assert_eq!(error.code(), code, "{expected}");
        self.end();
        None
    }

    /// The session's keys: they show in what is sent with them.
    fn keys(&mut self, session: Session) {
        let step = self.0.next().expect("a step");
        let keys = step.get("keys").unwrap_or(step);
        let (sk, rk) = (array(keys, "sk"), array(keys, "rk"));
        let (mut ours, theirs) = session.split();
        assert_eq!(seal(&mut ours, b"hello"), sealed(&sk, 0, b"hello"));
        let mut theirs = theirs;
        theirs.feed(&sealed(&rk, 0, b"hello"));
        assert_eq!(theirs.message().unwrap(), Some(b"hello".to_vec()));
        self.end();
    }

    fn end(&mut self) {
        assert!(self.0.next().is_none(), "a step too many");
    }
}

fn initiator(case: &Value) {
    let (local, remote) = (node(case, ""), point(case, "remote_static_pub"));
    let mut steps = Steps::of(case);
    let (initiator, act_one) = Initiator::start(&local, remote, ephemeral(case, ""));
    steps.output(&act_one);
    let outcome = initiator.act_two(&steps.input());
    if let Some((session, act_three)) = steps.outcome(outcome) {
        steps.output(&act_three);
        assert_eq!(session.remote(), remote);
        steps.keys(session);
    }
}

fn responder(case: &Value) {
    let local = node(case, "");
    let mut steps = Steps::of(case);
    let outcome = Responder::new(&local).act_one(&steps.input(), ephemeral(case, ""));
    let Some((answered, act_two)) = steps.outcome(outcome) else { return };
    steps.output(&act_two);
    let outcome = answered.act_three(&steps.input());
    if let Some(session) = steps.outcome(outcome) {
        steps.keys(session);
    }
}

/// A frame sealed by the cipher itself, from a key and a number below 1000.
fn sealed(key: &[u8; 32], number: u64, message: &[u8]) -> Vec<u8> {
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(key.into());
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let mut frame = Vec::new();
    for (text, number) in [(&length[..], number), (message, number + 1)] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        let mut text = text.to_vec();
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into()).unwrap();
        frame.extend(text);
        frame.extend(tag);
    }
    frame
}

fn seal(sender: &mut rillpay_transport::Sender, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    sender.seal(message, &mut frame).unwrap();
    frame
}

/// The session of BOLT 8's appendix, both ends of it: its keys come from this handshake.
fn appendix(case: &Value) -> (Session, Session) {
    let key = |byte| NodeKey::new(SecretKey::from_slice(&[byte; 32]).unwrap());
    let ephemeral = |byte| EphemeralKey::new(&[byte; 32]).unwrap();
    let (local, remote) = (key(0x11), key(0x21));
    let (initiator, act_one) = Initiator::start(&local, remote.public(), ephemeral(0x12));
    let (answered, act_two) = Responder::new(&remote).act_one(&act_one, ephemeral(0x22)).unwrap();
    let (session, act_three) = initiator.act_two(&act_two).unwrap();
    let other = answered.act_three(&act_three).unwrap();
    assert_eq!(text(case, "sk"), "969ab31b4d288cedf6218839b27a3e2140827047f2c0f01bf5c04435d43511a9");
    assert_eq!(text(case, "ck"), "919219dbb2920afa8db80f9a51787a840bcf111ed8d588caf9ab4be716e42b01");
    (session, other)
}

fn messages(case: &Value) {
    let (session, other) = appendix(case);
    let ((mut sender, _), (_, mut receiver)) = (session.split(), other.split());
    let (message, index) = (bytes(case, "plaintext"), case["message_index"].as_u64().unwrap());
    for n in 0..=index {
        let frame = seal(&mut sender, &message);
        if n == 0 {
            assert_eq!(frame, sealed(&array(case, "sk"), 0, &message));
        }
        if n == index {
            assert_eq!(frame.to_lower_hex_string(), text(case, "expected"));
        }
        receiver.feed(&frame);
        assert_eq!(receiver.message().unwrap().as_ref(), Some(&message));
    }
}

/// After each 500 messages the next key is in use.
fn rotation(case: &Value) {
    let (mut sender, _) = appendix(case).0.split();
    let mut salt = text(case, "ck").to_owned();
    let mut key = text(case, "sk").to_owned();
    for step in case["steps"].as_array().unwrap() {
        assert_eq!((text(step, "hkdf_salt"), text(step, "hkdf_ikm")), (salt.as_str(), key.as_str()));
        for n in 0..500 {
            let used: [u8; 32] = Vec::from_hex(&key).unwrap().try_into().unwrap();
            assert_eq!(seal(&mut sender, b"hello"), sealed(&used, 2 * n, b"hello"));
        }
        (salt, key) = (text(step, "new_ck").to_owned(), text(step, "new_key").to_owned());
    }
    let used: [u8; 32] = Vec::from_hex(&key).unwrap().try_into().unwrap();
    assert_eq!(seal(&mut sender, b"hello"), sealed(&used, 0, b"hello"));
}

/// A whole session that another implementation wrote down: handshake, keys, messages both ways across rotations.
fn session(case: &Value) {
    assert_eq!(text(case, "kind"), "session");
    let (local, remote) = (node(case, "initiator_"), node(case, "responder_"));
    let (initiator, act_one) = Initiator::start(&local, remote.public(), ephemeral(case, "initiator_"));
    assert_eq!(act_one.to_lower_hex_string(), text(case, "act_one"));
    let (answered, act_two) = Responder::new(&remote).act_one(&act_one, ephemeral(case, "responder_")).unwrap();
    assert_eq!(act_two.to_lower_hex_string(), text(case, "act_two"));
    let (ours, act_three) = initiator.act_two(&act_two).unwrap();
    assert_eq!(act_three.to_lower_hex_string(), text(case, "act_three"));
    let theirs = answered.act_three(&act_three).unwrap();
    assert_eq!((ours.remote(), theirs.remote()), (remote.public(), local.public()));

    let ((to_them, from_them), (to_us, from_us)) = (ours.split(), theirs.split());
    let keys = [array(case, "initiator_sk"), array(case, "initiator_rk")];
    let directions = [("initiator", to_them, from_us), ("responder", to_us, from_them)];
    let mut listed = 0;
    for ((role, mut sender, mut receiver), key) in directions.into_iter().zip(keys) {
        let messages = case["messages"].as_array().unwrap().iter().filter(|message| message["sender"] == role);
        let messages: BTreeMap<u64, &Value> =
            messages.map(|message| (message["index"].as_u64().unwrap(), message)).collect();
        listed += messages.len();
        for index in 0..=messages.keys().next_back().copied().unwrap_or(0) {
            let listed = messages.get(&index);
            // What is not listed is the index as text (see the cases' note).
            let message =
                listed.map_or_else(|| format!("{index:07}").into_bytes(), |listed| bytes(listed, "plaintext"));
            let frame = seal(&mut sender, &message);
            if let Some(listed) = listed {
                assert_eq!(frame.to_lower_hex_string(), text(listed, "ciphertext"), "{role} {index}");
            }
            if index == 0 {
                assert_eq!(frame, sealed(&key, 0, &message));
            }
            receiver.feed(&frame);
            assert_eq!(receiver.message().unwrap(), Some(message));
        }
    }
    assert_eq!(listed, case["messages"].as_array().unwrap().len());
}

// ---- onions ----

/// What the node of this hop finds in what it is handed.
fn peel(hop: &Value, payment_hash: &[u8]) -> Peeled {
    let packet = OnionPacket(Box::new(bytes(hop, "onion_received").try_into().unwrap()));
    let node = NodeKey::new(SecretKey::from_slice(&bytes(hop, "privkey")).unwrap());
    let hash = sha256::Hash::from_slice(payment_hash).unwrap();
    // Neither a byte nor the payment can be another one.
    for (at, why) in [(0, Unreadable::Version), (1, Unreadable::Key), (34, Unreadable::Hmac), (1365, Unreadable::Hmac)]
    {
        let mut altered = packet.clone();
        altered.0[at] ^= 0x10;
        assert_eq!(Peeled::new(&node, &altered, &hash).err(), Some(why));
    }
    let other = sha256::Hash::hash(payment_hash);
    assert_eq!(Peeled::new(&node, &packet, &other).err(), Some(Unreadable::Hmac));
    Peeled::new(&node, &packet, &hash).expect("an onion for this node")
}

fn onion(case: &Value) {
    match text(case, "kind") {
        "onion" if case["packet_payload_length"] == 1300 => {}
        // Onions in onions, and how onions are made: not here. Packets that are shorter than any in a message.
        "onion" | "filler" | "keys" | "payload_length" | "bad_onion" => return,
        other => panic!("unknown kind {other}"),
    }
    let hops = case["hops"].as_array().unwrap();
    for (n, hop) in hops.iter().enumerate() {
        let peeled = peel(hop, &bytes(case, "associated_data"));
        let (payload, is_last) = peeled.payload().expect("a payload");
        // With its length before it.
        assert!(bytes(hop, "payload").ends_with(payload));
        assert_eq!(bytes(hop, "payload").len() - payload.len(), if payload.len() < 0xfd { 1 } else { 3 });
        assert_eq!(is_last, n + 1 == hops.len());
    }
}

/// What the last node of BOLT 4's route answers to BOLT 4's onion.
fn failure(case: &Value) {
    match text(case, "kind") {
        "error_trace" => {}
        // What origins read, and what we do not say.
        "failure_message" | "failure_message_unknown" | "failure_onion_packet" | "attribution_success" => return,
        other => panic!("unknown kind {other}"),
    }
    let file = std::fs::read(format!("{OWN}/bolt04_onion.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let sent = file["cases"].as_array().unwrap().iter().find(|sent| sent["name"] == "BOLT4 onion-test").unwrap();
    assert_eq!(sent["session_key"], case["session_key"]);
    let node = usize::try_from(case["failing_node_index"].as_u64().unwrap()).unwrap();
    let peeled = peel(&sent["hops"][node], &bytes(sent, "associated_data"));
    let packet = peeled.answer(&bytes(case, "failure_message"));
    assert_eq!(packet.to_lower_hex_string(), text(&case["steps"][0], "packet"));
}
