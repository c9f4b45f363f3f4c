//! Bad input: each is answered by its code, nothing is lost by it, and whoever goes on with it is shown the door.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::sync::Arc;

use common::*;
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::bitcoin::{Amount, Network, ScriptBuf};
use rillpay_channel::commitment::{self, Paid};
use rillpay_channel::keys::Key;
use rillpay_channel::params::{ChannelId, sign_attach};
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::{MAX_FRAME, Message, Open};
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

struct Place {
    _dir: tempfile::TempDir,
    chain: rillpay_chain::kernel::KernelChain,
    server: Running,
}

async fn place(more: &[(&str, &str)]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), more);
    let server = Running::start(config, Arc::new(chain.clone())).await;
    Place { _dir: dir, chain, server }
}

fn key(number: u8) -> Key {
    seed(number).channel_key(0).unwrap()
}

/// The other signature that is as good to the curve, and not to Bitcoin's rules: `n - s` for `s`.
fn high_s(signature: &Signature) -> Signature {
    let mut bytes = signature.serialize_compact();
    let s = SecretKey::from_slice(&bytes[32..]).unwrap().negate();
    bytes[32..].copy_from_slice(&s.secret_bytes());
    Signature::from_compact(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_cannot_be_read() {
    let place = place(&[]).await;
    let valid = Message::Stop.encode();
    let mut longer = valid.clone();
    longer.push(0);
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![], "malformed_message"),
        (vec![1], "malformed_message"),
        (vec![9, 10], "unsupported_version"),
        (vec![1, 99], "unknown_message"),
        (vec![1, 0], "malformed_message"),
        (longer, "malformed_message"),
        (vec![0xff; MAX_FRAME], "unsupported_version"),
    ];
    let mut socket = Socket::connect(place.server.address).await;
    socket.welcome().await;
    for (frame, code) in cases {
        socket.send_frame(Frame::Binary(frame.clone().into())).await;
        assert_eq!(socket.refusal().await, code, "{frame:?}");
    }
    // The eighth in a row is the last.
    socket.send_frame(Frame::Text("{}".into())).await;
    assert_eq!(socket.refusal().await, "malformed_message");
    assert_eq!(socket.next().await, None);

    let mut socket = Socket::connect(place.server.address).await;
    socket.welcome().await;
    socket.send_frame(Frame::Binary(vec![1; MAX_FRAME + 1].into())).await;
    assert_eq!(socket.refusal().await, "oversized_message");
    assert_eq!(socket.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_at_the_wrong_moment() {
    let place = place(&[]).await;
    let mut socket = Socket::connect(place.server.address).await;
    socket.welcome().await;
    let signature = sign_attach(&key(1), &ChannelId([0; 32]), &[0; 32]);
    let paid = Paid { lock: 0, cumulative: Amount::from_sat(1), signature };
    for message in [Message::Stop, Message::Pay(paid), Message::Close(paid), Message::Stopped { delivered: 0 }] {
        socket.send(&message).await;
        assert_eq!(socket.refusal().await, "unexpected_message", "{message:?}");
    }
    socket.send(&Message::Attach { channel: ChannelId([7; 32]), signature }).await;
    assert_eq!(socket.refusal().await, "unknown_channel");
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_on_bad_terms() {
    let place = place(&[]).await;
    let mut socket = Socket::connect(place.server.address).await;
    let (_, node) = socket.welcome().await;
    let Message::Open(good) = request(node, 1, Unit::Second, 1_000_000).message() else { unreachable!() };
    let cases = [
        (Open { network: Network::Bitcoin, ..good.clone() }, "wrong_network"),
        (Open { return_script: ScriptBuf::new(), ..good.clone() }, "invalid_return_script"),
        (Open { return_script: ScriptBuf::from_bytes(vec![0x6a, 1, 1]), ..good.clone() }, "invalid_return_script"),
        (Open { deposit: Amount::from_sat(9_999), ..good.clone() }, "deposit_too_small"),
    ];
    for (open, code) in cases {
        socket.send(&Message::Open(open)).await;
        assert_eq!(socket.refusal().await, code);
    }
    socket.send(&Message::Open(good)).await;
    assert!(matches!(socket.next().await, Some(Message::Opened { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_claimed_without_the_key() {
    let place = place(&[]).await;
    let emma = Viewer::open(place.server.address, 1).await;
    let channel = emma.payer.id();
    let mut socket = Socket::connect(place.server.address).await;
    let (challenge, _) = socket.welcome().await;
    let own = sign_attach(&key(1), &channel, &challenge);
    let elsewhere = sign_attach(&key(1), &channel, &[0; 32]);
    let other_channel = sign_attach(&key(1), &ChannelId([1; 32]), &challenge);
    for (signature, code) in [
        (sign_attach(&key(2), &channel, &challenge), "invalid_signature"),
        (elsewhere, "invalid_signature"),
        (other_channel, "invalid_signature"),
        (high_s(&own), "high_s"),
    ] {
        socket.send(&Message::Attach { channel, signature }).await;
        assert_eq!(socket.refusal().await, code);
    }
    socket.send(&Message::Attach { channel, signature: own }).await;
    assert!(matches!(socket.next().await, Some(Message::Attached { epoch: 2, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_are_none() {
    let place = place(&[]).await;
    let mut emma = Viewer::open(place.server.address, 1).await;
    // Before the deposit nothing can be paid, and nothing can be ended.
    let early =
        Paid { lock: 0, cumulative: Amount::from_sat(1), signature: sign_attach(&key(1), &emma.payer.id(), &[0; 32]) };
    for message in [Message::Pay(early), Message::Stop, Message::Close(early)] {
        emma.socket.send(&message).await;
        assert_eq!(emma.socket.refusal().await, "not_funded");
    }
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    let mut other = Viewer::open(place.server.address, 2).await;
    other.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;

    let ack = emma.pay_for(5_000).await;
    assert_eq!(ack, Message::Ack { cumulative: Amount::from_sat(5_000), delivered: 0 });
    let params = emma.payer.params().clone();
    let funding = *emma.payer.funding().unwrap();
    let pay = |sat, number| commitment::pay(&params, &funding, 0, Amount::from_sat(sat), &key(number)).unwrap();
    let foreign =
        commitment::pay(other.payer.params(), other.payer.funding().unwrap(), 0, Amount::from_sat(9_000), &key(2))
            .unwrap();
    let own = pay(9_000, 1);
    let cases = [
        (pay(9_000, 2), "invalid_signature"),
        (Paid { signature: high_s(&own.signature), ..own }, "high_s"),
        (foreign, "invalid_signature"),
        (Paid { lock: 0, cumulative: Amount::from_sat(9_001), ..own }, "invalid_signature"),
        (pay(4_999, 1), "cumulative_fell"),
        (Paid { lock: 0, cumulative: Amount::from_sat(36 * MBTC + 1), ..own }, "exceeds_capacity"),
        (Paid { lock: 0, cumulative: Amount::MAX_MONEY, ..own }, "exceeds_capacity"),
    ];
    for (paid, code) in cases {
        emma.socket.send(&Message::Pay(paid)).await;
        assert_eq!(emma.socket.refusal().await, code);
    }
    // A repetition is acknowledged again and charges nothing.
    emma.socket.send(&Message::Pay(pay(5_000, 1))).await;
    assert_eq!(emma.socket.next().await, Some(ack));
    let state = emma.reattach(place.server.address).await;
    assert_eq!(state.paid.unwrap().cumulative, Amount::from_sat(5_000));
    assert_eq!((state.delivered, state.stopped, state.closing), (0, false, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_are_repeated_or_contradict() {
    let place = place(&[("settlement.merge_delay_seconds", "3600")]).await;
    media(place._dir.path(), "a.bin", b"content");
    media(place._dir.path(), "index.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.bin\n#EXT-X-ENDLIST\n");
    let mut emma = Viewer::open(place.server.address, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(5_000).await;
    assert_eq!(get(place.server.address, "/media/index.m3u8", None).await.0, 200);
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);

    let params = emma.payer.params().clone();
    let funding = *emma.payer.funding().unwrap();
    let pay = |sat| commitment::pay(&params, &funding, 0, Amount::from_sat(sat), &key(1)).unwrap();
    for _ in 0..2 {
        emma.socket.send(&Message::Stop).await;
        assert_eq!(emma.socket.next().await, Some(Message::Stopped { delivered: 1_000 }));
    }
    // Nothing is served and nothing is taken any more, and the end cannot be below what was delivered.
    emma.socket.send(&Message::Pay(pay(6_000))).await;
    assert_eq!(emma.socket.refusal().await, "closing");
    assert_eq!(get(place.server.address, "/media/b.bin", Some(emma.token)).await.0, 404);
    emma.socket.send(&Message::Close(pay(999))).await;
    assert_eq!(emma.socket.refusal().await, "close_below_delivered");
    for _ in 0..2 {
        emma.socket.send(&Message::Close(pay(1_000))).await;
        let closed = emma.socket.next().await;
        assert!(
            matches!(closed, Some(Message::Closed { cumulative, .. }) if cumulative.to_sat() == 1_000),
            "{closed:?}"
        );
    }
    emma.socket.send(&Message::Close(pay(1_001))).await;
    assert_eq!(emma.socket.refusal().await, "closing");
    let state = emma.reattach(place.server.address).await;
    assert_eq!(state.closing.unwrap().cumulative, Amount::from_sat(1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_limits_allow() {
    let place =
        place(&[("limits.frames_per_second", "5"), ("limits.opens_per_minute", "2"), ("limits.sockets", "3")]).await;
    let address = place.server.address;
    let mut socket = Socket::connect(address).await;
    let (_, node) = socket.welcome().await;
    for number in 1..=2 {
        socket.send(&request(node, number, Unit::Second, 1_000_000).message()).await;
        assert!(matches!(socket.next().await, Some(Message::Opened { .. })));
    }
    socket.send(&request(node, 3, Unit::Second, 1_000_000).message()).await;
    assert_eq!(socket.refusal().await, "rate_limited");

    let mut codes = Vec::new();
    for _ in 0..40 {
        socket.send(&Message::Stop).await;
        match socket.next().await {
            Some(Message::Refused(refusal)) => codes.push(refusal.code),
            None => break,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(codes.len() < 10, "closed after too many refusals: {codes:?}");
    assert!(codes.contains(&"rate_limited".to_owned()) || codes.len() == 7, "{codes:?}");

    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(Socket::connect(address).await);
    }
    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/rillpay/v1/socket")).await;
    assert!(matches!(refused, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 503));
    sockets.pop();
    // A place is given back as soon as the server has seen the socket go.
    soon("a free place", async {
        while tokio_tungstenite::connect_async(format!("ws://{address}/rillpay/v1/socket")).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
