//! Kills, strangers, and disks that fail.

use std::time::Duration;

use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::constants::ChainHash;
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_node::{Node, PeerAddress, control};
use rillpay_transport::connection::{Connection, tcp};
use rillpay_transport::{EphemeralKey, NodeKey};
use rillpay_wire::messages::{
    EncodedList, ErrorMessage, Extension, Init, Networks, Ping, QueryChannelRange, QueryChannelRangeTlvs,
    QueryShortChannelIds, QueryShortChannelIdsTlvs,
};
use rillpay_wire::{ChannelId, Feature, Features, Message, ShortChannelId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::pair::{BTC, HITESH, IRENE, Pair, address_of, btc, start, until};

/// Either is killed after any time, short or long, while either pays. Both always agree in the end, on before or after.
#[tokio::test(flavor = "multi_thread")]
async fn either_is_killed_at_any_moment_of_a_payment() {
    let mut pair = Pair::open().await;
    let mut irene = 5 * BTC;
    for round in 0..24_u64 {
        let [payer, killed] = [usize::from(round % 2 == 0), usize::from(round % 4 < 2)];
        let (node, channel) = (pair.nodes[payer].clone(), pair.channel.clone());
        let paying = tokio::spawn(async move { node.pay(&channel, btc(1)).await });
        tokio::time::sleep(Duration::from_millis(round * 3 / 2)).await;
        pair.restart(killed).await;
        let paid = paying.await.unwrap();
        pair.is_open().await;
        let after = if payer == IRENE { irene - BTC } else { irene + BTC };
        // Both ends of the channel still work. What was said again comes before these two, which cancel out.
        pair.nodes[payer].pay(&pair.channel, btc(1)).await.unwrap();
        pair.nodes[1 - payer].pay(&pair.channel, btc(1)).await.unwrap();
        // What its payer was told is paid, or sure to follow, is paid.
        until("both agree", || async {
            let [one, other] = pair.balances().await;
            one + other == 10 * BTC && (other == after || (other == irene && paid.is_err()))
        })
        .await;
        irene = pair.balances().await[IRENE];
        assert!(paid.is_err() || irene == after, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_changes_nothing() {
    let pair = Pair::open().await;
    let full = rusqlite::Connection::open(pair.folders[HITESH].path().join("node.sqlite")).unwrap();
    full.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = pair.nodes[HITESH].pay(&pair.channel, btc(1)).await.unwrap_err();
    assert_eq!(failed.code(), "store_failed");
    // Irene has signed for hers by then: it is under way until he can store what he answers.
    pair.is_open().await;
    let paid = pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    assert!(!paid.settled);
    assert_eq!(pair.balances().await, [5 * BTC, 5 * BTC]);
    full.execute_batch("ROLLBACK").unwrap();
    until("only hers is paid", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_node_and_a_store_has_its_words() {
    let mut pair = Pair::open().await;
    let options = rillpay_node::Options::new(pair.folders[IRENE].path());
    let again = |options| Node::start(options, std::sync::Arc::new(pair.chain.clone()));
    assert_eq!(again(options.clone()).await.err().unwrap().code(), "folder");
    pair.nodes[IRENE].stop().await;
    let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    let other = rillpay_node::Options { words: Some(words.to_owned()), ..options.clone() };
    assert!(again(other).await.err().unwrap().to_string().contains("other recovery words"));
    let file = pair.folders[IRENE].path().join("seed.words");
    std::fs::rename(&file, file.with_extension("away")).unwrap();
    assert!(again(options).await.err().unwrap().to_string().contains("put them back"));
    std::fs::rename(file.with_extension("away"), &file).unwrap();
    pair.nodes[IRENE] = start(pair.folders[IRENE].path(), &pair.chain, pair.listen[IRENE]).await;
    pair.is_open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_paid_once() {
    let pair = Pair::open().await;
    let request = pair.nodes[HITESH].request(&pair.channel[..6], btc(2), "two, as agreed").unwrap();
    let request = request.to_string().parse().unwrap();
    pair.nodes[IRENE].pay_request(&request).await.unwrap();
    assert_eq!(pair.nodes[IRENE].pay_request(&request).await.unwrap_err().code(), "request_paid");
    // His own request is not for himself.
    assert_eq!(pair.nodes[HITESH].pay_request(&request).await.unwrap_err().code(), "no_such_channel");
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    for (channel, amount, code) in [
        ("", 0, "htlc_out_of_bounds"),
        ("", 7, "unaffordable"),
        ("", 22_000_000, "invalid_command"),
        ("no", 1, "no_such_channel"),
    ] {
        assert_eq!(pair.nodes[HITESH].pay(channel, btc(amount)).await.unwrap_err().code(), code, "{amount}");
    }
    assert_eq!(pair.balances().await, [7 * BTC, 3 * BTC]);
}

// ---- strangers ----

pub(crate) type Stranger = Connection<OwnedReadHalf, OwnedWriteHalf>;

async fn stranger(to: &PeerAddress) -> Stranger {
    let (reads, writes) = tcp(TcpStream::connect(&to.address).await.unwrap()).unwrap();
    let key = NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap());
    let ephemeral = EphemeralKey::new(&[8; 32]).unwrap();
    Connection::call(reads, writes, &key, to.id, ephemeral, Duration::from_secs(10)).await.unwrap()
}

/// Says `init`, and hears it: a peer that knows anchors.
pub(crate) async fn greeted(to: &PeerAddress, network: Network) -> Stranger {
    let features = Features::default().with_required(Feature::StaticRemotekey).with_optional(Feature::Anchors);
    greeted_with(features, to, network).await
}

async fn greeted_with(features: Features, to: &PeerAddress, network: Network) -> Stranger {
    let mut stranger = stranger(to).await;
    let mut init = Init::new(features);
    init.tlvs.networks = Some(Networks(vec![ChainHash::using_genesis_block(network)]));
    stranger.outgoing.send(&Message::from(init).encode().unwrap()).await.unwrap();
    assert!(matches!(heard(&mut stranger).await, Some(Message::Init(_))));
    stranger
}

pub(crate) async fn heard(stranger: &mut Stranger) -> Option<Message> {
    let bytes = tokio::time::timeout(Duration::from_secs(20), stranger.incoming.message()).await.expect("an answer");
    bytes.ok().flatten().map(|bytes| Message::decode(&bytes).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_talk_garbage_disturb_nobody() {
    let pair = Pair::open().await;
    let irene = address_of(&pair.nodes[IRENE]);

    // Not even a handshake.
    let mut raw = TcpStream::connect(&irene.address).await.unwrap();
    raw.write_all(&[0x55; 500]).await.unwrap();
    assert!(matches!(raw.read(&mut [0; 100]).await, Ok(0) | Err(_)), "hung up without a word");

    // No init, init twice, truncated, even and unknown: each ends in a hang-up.
    let init = Message::from(Init::new(Features::default())).encode().unwrap();
    for garbage in [vec![0, 18, 0], vec![0, 38, 1, 2, 3], vec![0xff, 0xfe, 1], vec![], init] {
        let mut stranger = greeted(&irene, Network::Regtest).await;
        stranger.outgoing.send(&garbage).await.unwrap();
        while let Some(message) = heard(&mut stranger).await {
            assert!(matches!(message, Message::Warning(_)), "{message:?}");
        }
    }
    let mut early = stranger(&irene).await;
    early.outgoing.send(&[0, 19, 0, 0]).await.unwrap();
    while heard(&mut early).await.is_some() {}

    // Odd and unknown is ignored; a ping is answered; somebody else's channel is none of a stranger's.
    let mut stranger = greeted(&irene, Network::Regtest).await;
    stranger.outgoing.send(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    let ping = Ping { num_pong_bytes: 7, ignored: vec![], tlvs: Extension::default() };
    stranger.outgoing.send(&Message::from(ping).encode().unwrap()).await.unwrap();
    assert!(matches!(heard(&mut stranger).await, Some(Message::Pong(pong)) if pong.ignored.len() == 7));
    let channel_id = ChannelId(hex(&pair.channel));
    for id in [channel_id, ChannelId::ALL] {
        let error = ErrorMessage::new(id, "fail!");
        stranger.outgoing.send(&Message::from(error).encode().unwrap()).await.unwrap();
    }
    let shutdown = [&[0, 38][..], &channel_id.0, &[0, 0]].concat();
    stranger.outgoing.send(&shutdown).await.unwrap();
    assert!(matches!(heard(&mut stranger).await, Some(Message::ErrorMessage(error)) if error.channel_id == channel_id));

    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
}

/// More silent callers than are waited for at a time, each of which could take half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn silent_callers_keep_nobody_out() {
    let pair = Pair::connected().await;
    let irene = address_of(&pair.nodes[IRENE]);
    let mut silent = vec![];
    for _ in 0..200 {
        silent.push(TcpStream::connect(&irene.address).await.unwrap());
    }
    let soon = Duration::from_secs(8);
    tokio::time::timeout(soon, greeted(&irene, Network::Regtest))
        .await
        .expect("it is answered before any of them is given up");
}

/// A peer such as Electrum: no anchors, and nothing to say to one that answers no queries.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_anchors_has_its_queries_answered_and_is_asked_for_a_channel_without() {
    let pair = Pair::connected().await;
    let features = Features::default().with_required(Feature::StaticRemotekey).with_required(Feature::GossipQueries);
    let irene = pair.nodes[IRENE].clone();
    let mut stranger = greeted_with(features, &address_of(&irene), Network::Regtest).await;

    let chain_hash = ChainHash::using_genesis_block(Network::Regtest);
    let range = QueryChannelRange {
        chain_hash,
        first_blocknum: 7,
        number_of_blocks: 100,
        tlvs: QueryChannelRangeTlvs::default(),
    };
    stranger.outgoing.send(&Message::from(range).encode().unwrap()).await.unwrap();
    let Some(Message::ReplyChannelRange(reply)) = heard(&mut stranger).await else { panic!("reply_channel_range") };
    assert_eq!((reply.chain_hash, reply.first_blocknum, reply.number_of_blocks), (chain_hash, 7, 100));
    assert!(reply.sync_complete);
    assert_eq!((reply.encoded_short_ids.encoding, reply.encoded_short_ids.data), (0, vec![]));
    let query = QueryShortChannelIds {
        chain_hash,
        encoded_short_ids: EncodedList::plain(&[ShortChannelId(142)]),
        tlvs: QueryShortChannelIdsTlvs::default(),
    };
    stranger.outgoing.send(&Message::from(query).encode().unwrap()).await.unwrap();
    let Some(Message::ReplyShortChannelIdsEnd(end)) = heard(&mut stranger).await else {
        panic!("reply_short_channel_ids_end")
    };
    assert_eq!((end.chain_hash, end.full_information), (chain_hash, false));

    let key = NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap()).public();
    let opening = tokio::spawn(async move { irene.open(key, btc(10), btc(5)).await });
    let Some(Message::OpenChannel(open)) = heard(&mut stranger).await else { panic!("open_channel") };
    assert_eq!(open.tlvs.channel_type, Some(Features::default().with_required(Feature::StaticRemotekey)));
    drop(stranger);
    assert_eq!(opening.await.unwrap().unwrap_err().code(), "opening_failed");
}

fn hex(text: &str) -> [u8; 32] {
    let digits = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(digits)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_is_no_acquaintance() {
    let pair = Pair::connected().await;
    let irene = address_of(&pair.nodes[IRENE]);
    let mut foreign = greeted(&irene, Network::Signet).await;
    assert!(
        matches!(heard(&mut foreign).await, Some(Message::Warning(warning)) if warning.text() == Some("the peer is on another network"))
    );
    assert!(heard(&mut foreign).await.is_none());

    // A key that the other end does not have, and a port where nobody listens.
    let stranger = PeerAddress { id: pair.nodes[HITESH].id(), ..irene };
    assert!(pair.nodes[HITESH].connect(&stranger).await.is_err());
    let nobody = PeerAddress { address: "127.0.0.1:1".to_owned(), ..stranger };
    assert_eq!(pair.nodes[HITESH].connect(&nobody).await.unwrap_err().code(), "peer_offline");
    let unknown = pair.nodes[IRENE].open(nobody.id, btc(1), btc(0)).await;
    assert!(unknown.is_ok(), "whoever called can be opened with, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbled_commands_are_answered_with_a_code() {
    let pair = Pair::connected().await;
    let node = &pair.nodes[HITESH];
    control::serve(node).unwrap();
    let long = format!(r#"{{"command":"connect","peer":"{}"}}"#, "a".repeat(10_000));
    for garbled in [
        "",
        "pay",
        "{}",
        r#"{"command":"steal"}"#,
        r#"{"command":"list","more":1}"#,
        r#"{"command":"pay","channel":"","amount_sat":-1}"#,
        r#"{"command":"pay","channel":"","amount_sat":1.5}"#,
        r#"{"command":"open","peer":"02","capacity_sat":1,"push_sat":1}"#,
        r#"{"command":"connect","peer":"nobody"}"#,
        r#"{"command":"pay_request","request":"rillpay:"}"#,
        &long,
    ] {
        let mut socket = UnixStream::connect(node.data_dir().join("control")).await.unwrap();
        socket.write_all(garbled.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        // What was not read of a long line can end the connection before the answer was.
        let read = socket.read_to_string(&mut answer).await;
        let said = answer.contains(r#""code":"invalid_command","fault":"misuse""#);
        assert!(said || (read.is_err() && garbled.len() > 4_096), "{garbled}: {answer}");
    }
    let list = control::ask(node.data_dir(), &control::Command::List {}).await.unwrap();
    assert_eq!(list.to_string(), r#"{"ok":{"channels":[]}}"#);
}
