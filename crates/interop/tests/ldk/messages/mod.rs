//! Each message built in LDK's type and in ours: both write the same bytes, and each reads the other's.

mod channel;
mod gossip;

use std::fmt::Debug;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Message as Digest, PublicKey, SecretKey, ecdsa};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Sequence, SignedAmount, Transaction, TxIn, TxOut, Txid, Witness};
use lightning::ln::msgs as ldk;
use lightning::ln::types::ChannelId as LdkChannelId;
use lightning::routing::gossip::{NodeAlias, NodeId};
use lightning::types::features::{ChannelFeatures, ChannelTypeFeatures, InitFeatures, NodeFeatures};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning::util::ser::{LengthReadable, Writeable};
use rillpay_wire::address::Address;
use rillpay_wire::messages::*;
use rillpay_wire::types::{
    ChannelId, CommitmentSecret, Excess, FeeratePerKw, HtlcId, Msat, OnionPacket, Preimage, SerialId, ShortChannelId,
    Signature,
};
use rillpay_wire::{Feature, Features, Message, Writer};

/// The same bytes from both, and each reads the other's.
fn same<L: Writeable + LengthReadable + PartialEq + Debug>(theirs: &L, ours: impl Into<Message>) {
    let ours = ours.into();
    let bytes = ours.encode().unwrap();
    let (kind, payload) = bytes.split_at(2);
    assert_eq!(payload, theirs.encode(), "{ours:?}");
    assert_eq!(&L::read_from_fixed_length_buffer(&mut &*payload).unwrap(), theirs);
    assert_eq!(Message::decode(&[kind, &theirs.encode()].concat()).unwrap(), ours);
}

fn point(byte: u8) -> PublicKey {
    SecretKey::from_slice(&[byte; 32]).unwrap().public_key(&rillpay_curve::context())
}

fn signature(byte: u8) -> ecdsa::Signature {
    let key = SecretKey::from_slice(&[byte; 32]).unwrap();
    rillpay_curve::context().sign_ecdsa(&Digest::from_digest([byte; 32]), &key)
}

fn txid(byte: u8) -> Txid {
    Txid::from_byte_array([byte; 32])
}

fn script(byte: u8) -> ScriptBuf {
    ScriptBuf::from_bytes([&[0, 20][..], &[byte; 20]].concat())
}

const ID: ChannelId = ChannelId([7; 32]);
const THEIR_ID: LdkChannelId = LdkChannelId([7; 32]);

fn chain() -> ChainHash {
    ChainHash::using_genesis_block_const(Network::Regtest)
}

#[test]
fn control() {
    // Features up to bit 13 only would be repeated by LDK in the first field: so does our legacy form.
    let mut theirs = InitFeatures::empty();
    theirs.set_upfront_shutdown_script_optional();
    theirs.set_anchors_zero_fee_htlc_tx_optional();
    theirs.set_static_remote_key_required();
    let ours = Features::default()
        .with_optional(Feature::UpfrontShutdownScript)
        .with_optional(Feature::Anchors)
        .with_required(Feature::StaticRemotekey);
    let address = ldk::SocketAddress::TcpIpV4 { addr: [127, 0, 0, 1], port: 9735 };
    let init = ldk::Init { features: theirs, networks: Some(vec![chain()]), remote_network_address: Some(address) };
    let mut writer = Writer::new();
    Address::Ipv4("127.0.0.1:9735".parse().unwrap()).write(&mut writer).unwrap();
    let tlvs = InitTlvs {
        networks: Some(Networks(vec![chain()])),
        remote_addr: Some(writer.finish().unwrap()),
        ..InitTlvs::default()
    };
    let ours = Init { features: ours, legacy_copy: true, tlvs };
    same(&init, ours);

    let (data, tlvs) = ("wrong".to_owned(), Extension::default());
    let ours = ErrorMessage { channel_id: ID, data: data.clone().into(), tlvs: tlvs.clone() };
    same(&ldk::ErrorMessage { channel_id: THEIR_ID, data: data.clone() }, ours);
    let ours = Warning { channel_id: ID, data: data.clone().into(), tlvs: tlvs.clone() };
    same(&ldk::WarningMessage { channel_id: THEIR_ID, data }, ours);
    let ours = Ping { num_pong_bytes: 5, ignored: vec![0; 3], tlvs: tlvs.clone() };
    same(&ldk::Ping { ponglen: 5, byteslen: 3 }, ours.clone());
    same(&ldk::Pong { byteslen: 5 }, ours.pong().unwrap());
    same(&ldk::PeerStorage { data: vec![1, 2] }, PeerStorage { blob: vec![1, 2], tlvs: tlvs.clone() });
    same(&ldk::PeerStorageRetrieval { data: vec![1, 2] }, PeerStorageRetrieval { blob: vec![1, 2], tlvs });
}

#[test]
fn a_signature_is_the_same_64_bytes() {
    assert_eq!(Signature::from(signature(1)).0.to_vec(), signature(1).encode());
}
