//! Runs published vectors of BOLT 1, 2 and 7 against the codec. A case of an unknown kind is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod common;

use std::process::ExitCode;

use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::{self, PublicKey, Secp256k1};
use common::text;
use rillpay_wire::codec::{BigSize, Tu32, Tu64};
use rillpay_wire::messages::signed_digest;
use rillpay_wire::tlv::{Record, TlvStream};
use rillpay_wire::{Error, Message, Reader, ShortChannelId, Signature, Wire, Writer, tlv_stream};
use serde_json::Value;

fn main() -> ExitCode {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    common::run(own, &[("bolt01_encoding.json", 69, encoding), ("bolt_wire_messages.json", 135, message)])
}

fn hex(case: &Value) -> Vec<u8> {
    Vec::from_hex(text(case, "hex")).unwrap()
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.finish().unwrap()
}

fn encoding(case: &Value) {
    let bytes = hex(case);
    match text(case, "kind") {
        "bigsize_decode" => {
            let mut reader = Reader::new(&bytes);
            let value = reader.read::<BigSize>().and_then(|value| reader.finish().map(|()| value.0));
            let code = match case["error"].as_str() {
                None => return assert_eq!(value.unwrap().to_string(), text(case, "value")),
                Some("decoded bigsize is not canonical") => "not_minimal",
                Some("unexpected EOF" | "EOF") => "truncated",
                Some(other) => panic!("unknown error {other}"),
            };
            assert_eq!(value.unwrap_err().code().as_str(), code);
        }
        "bigsize_encode" => {
            let value = text(case, "value").parse().unwrap();
            assert_eq!(written(|w| _ = w.big_size(value)), bytes);
        }
        "signed_int" => {
            let value: i64 = text(case, "value").parse().unwrap();
            match bytes.len() {
                1 => signed::<i8>(&bytes, value),
                2 => signed::<i16>(&bytes, value),
                4 => signed::<i32>(&bytes, value),
                8 => signed::<i64>(&bytes, value),
                other => panic!("a signed integer of {other} bytes"),
            }
        }
        "tlv_stream" => match text(case, "namespace") {
            "n1" => stream::<N1>(case, &bytes),
            "n2" => stream::<N2>(case, &bytes),
            "either" | "any" => {
                stream::<N1>(case, &bytes);
                stream::<N2>(case, &bytes);
            }
            other => panic!("unknown namespace {other}"),
        },
        other => panic!("unknown kind {other}"),
    }
}

fn signed<T: Wire + TryFrom<i64> + Into<i64>>(bytes: &[u8], value: i64) {
    let narrow: T = Reader::new(bytes).read().unwrap();
    assert_eq!(written(|w| _ = w.write(&narrow)), bytes);
    assert_eq!(narrow.into(), value);
}

tlv_stream! {
    /// The first namespace of BOLT 1, appendix B.
    pub struct N1 {
        /// `amount_msat`
        1 => tlv1: Tu64,
        /// `scid`
        2 => tlv2: ShortChannelId,
        /// `node_id`, `amount_msat_1`, `amount_msat_2`
        3 => tlv3: NodeAndAmounts,
        /// `cltv_delta`
        254 => tlv4: u16,
    }
}

tlv_stream! {
    /// The second namespace of BOLT 1, appendix B.
    pub struct N2 {
        /// `amount_msat`
        0 => tlv1: Tu64,
        /// `cltv_expiry`
        11 => tlv2: Tu32,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAndAmounts {
    node_id: PublicKey,
    amount_msat_1: u64,
    amount_msat_2: u64,
}

impl Record for NodeAndAmounts {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(value);
        let value = Self { node_id: reader.read()?, amount_msat_1: reader.read()?, amount_msat_2: reader.read()? };
        reader.finish()?;
        Ok(value)
    }

    fn write_value(&self, writer: &mut Writer) {
        writer.write(&self.node_id).write(&self.amount_msat_1).write(&self.amount_msat_2);
    }
}

/// What a stream holds, in the words of the vectors.
trait Values: TlvStream {
    fn values(&self) -> Vec<(&'static str, &'static str, String)>;
}

impl Values for N1 {
    fn values(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut values = Vec::new();
        values.extend(self.tlv1.map(|amount| ("tlv1", "amount_msat", amount.0.to_string())));
        values.extend(self.tlv2.map(|scid| ("tlv2", "scid", scid.to_string())));
        if let Some(NodeAndAmounts { node_id, amount_msat_1, amount_msat_2 }) = &self.tlv3 {
            values.push(("tlv3", "node_id", node_id.to_string()));
            values.push(("tlv3", "amount_msat_1", amount_msat_1.to_string()));
            values.push(("tlv3", "amount_msat_2", amount_msat_2.to_string()));
        }
        values.extend(self.tlv4.map(|delta| ("tlv4", "cltv_delta", delta.to_string())));
        values
    }
}

impl Values for N2 {
    fn values(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut values = Vec::new();
        values.extend(self.tlv1.map(|amount| ("tlv1", "amount_msat", amount.0.to_string())));
        values.extend(self.tlv2.map(|expiry| ("tlv2", "cltv_expiry", expiry.0.to_string())));
        values
    }
}

fn stream<T: Values>(case: &Value, bytes: &[u8]) {
    let stream = match (T::decode(bytes), case["valid"].as_bool().unwrap()) {
        (Ok(stream), true) => stream,
        (Err(_), false) => return,
        (result, _) => panic!("{}: {:?}", case["note"], result.map(|stream| stream.values())),
    };
    assert_eq!(written(|w| stream.encode(w)), bytes);
    // A case without values is one of unknown records only.
    let expected = case["values"].as_object();
    let values = stream.values();
    assert_eq!(values.len(), expected.map_or(0, serde_json::Map::len));
    for (record, name, value) in values {
        assert_eq!(record, text(case, "record"));
        assert_eq!(value, text(&case["values"], name));
    }
}

fn message(case: &Value) {
    let bytes = hex(case);
    let message = match (Message::decode(&bytes), case["valid"].as_bool().unwrap()) {
        (Ok(message), true) => message,
        (Err(error), false) => {
            assert_eq!(error.message(), bytes.first_chunk().map(|kind| u16::from_be_bytes(*kind)));
            return;
        }
        (result, _) => panic!("{result:?}"),
    };
    assert_eq!(u64::from(message.kind()), case["type"].as_u64().unwrap());
    assert!(!matches!(message, Message::Unknown(_)), "a message without a struct of its own");
    let expected = case["reencoded"].as_str().unwrap_or_else(|| text(case, "hex"));
    assert_eq!(message.encode().unwrap().to_lower_hex_string(), expected);
    assert_eq!(Message::decode(&Vec::from_hex(expected).unwrap()).unwrap(), message);
    signatures(case, &bytes, &message);
    if let (Message::ChannelUpdate(update), Some(json)) = (&message, case["decoded_by_pyln"]["fields"].as_object()) {
        assert_eq!(update.short_channel_id.to_string(), json["short_channel_id"].as_str().unwrap());
        assert_eq!(json["timestamp"], update.timestamp);
        assert_eq!(json["message_flags"], update.message_flags);
        assert_eq!(json["channel_flags"], update.channel_flags);
        assert_eq!(json["cltv_expiry_delta"], update.cltv_expiry_delta);
        assert_eq!(json["htlc_minimum_msat"], update.htlc_minimum_msat.0);
        assert_eq!(json["fee_base_msat"], update.fee_base_msat);
        assert_eq!(json["fee_proportional_millionths"], update.fee_proportional_millionths);
        assert_eq!(json["htlc_maximum_msat"], update.htlc_maximum_msat.0);
    }
}

/// Where the collector checked an announcement's signatures, ours must come to the same.
fn signatures(case: &Value, bytes: &[u8], message: &Message) {
    let Some(expected) = case["signatures_valid"].as_array() else { return };
    let node = || text(case, "node_id").parse().unwrap();
    let signed: Vec<(Signature, PublicKey)> = match message {
        Message::ChannelAnnouncement(m) => vec![
            (m.node_signature_1, m.node_id_1),
            (m.node_signature_2, m.node_id_2),
            (m.bitcoin_signature_1, m.bitcoin_key_1),
            (m.bitcoin_signature_2, m.bitcoin_key_2),
        ],
        Message::NodeAnnouncement(m) => vec![(m.signature, m.node_id)],
        Message::ChannelUpdate(m) => vec![(m.signature, node())],
        other => panic!("signatures in {other:?}"),
    };
    let digest = secp256k1::Message::from_digest(signed_digest(bytes, signed.len().try_into().unwrap()).unwrap());
    let valid = signed.iter().map(|(signature, key)| {
        let secp = Secp256k1::verification_only();
        signature.parse().is_ok_and(|signature| secp.verify_ecdsa(&digest, &signature, key).is_ok())
    });
    assert_eq!(valid.collect::<Vec<_>>(), expected.iter().map(|one| one.as_bool().unwrap()).collect::<Vec<_>>());
}
