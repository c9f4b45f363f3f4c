//! The server in front of a real Bitcoin Core node: its mempool policy, its restarts, and those who try to cheat.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;
#[allow(dead_code, reason = "the backend's own tests know more manners")]
#[path = "../../chain/tests/liar/mod.rs"]
mod liar;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use liar::{Liar, Manner};
use rillpay_chain::bitcoind::BitcoindChain;
use rillpay_chain::testing::Node;
use rillpay_chain::{Chain, ChainError, Reason, ScriptHash};
use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::{Address, Amount, Network, ScriptBuf, Transaction, Txid};
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;
use serde_json::{Value, json};

const BY_REQUEST: [(&str, &str); 2] = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1_000_000")];
const DEPOSIT: Amount = Amount::from_sat(36 * MBTC);

struct Place {
    dir: tempfile::TempDir,
    node: Node,
    chain: BitcoindChain,
    server: Running,
}

fn payout() -> ScriptBuf {
    seed(200).return_script(0).unwrap()
}

async fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start().await;
    let chain = BitcoindChain::connect(node.options()).await.unwrap();
    let server = serve(&dir, &chain).await;
    for name in ["a", "b", "c"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    Place { dir, node, chain, server }
}

async fn serve(dir: &tempfile::TempDir, chain: &BitcoindChain) -> Running {
    serve_with(dir, chain, &[]).await
}

async fn serve_with(dir: &tempfile::TempDir, chain: &BitcoindChain, more: &[(&str, &str)]) -> Running {
    let payout = Address::from_script(&payout(), Network::Regtest).unwrap();
    let keys: Vec<_> = BY_REQUEST.iter().chain(more).copied().collect();
    Running::start(config(dir.path(), &payout, &keys), Arc::new(chain.clone())).await
}

async fn viewer(place: &Place) -> Viewer {
    Viewer::open_for(place.server.address, 1, Unit::Request, 1_000_000).await
}

async fn funded(place: &Place) -> Viewer {
    let mut emma = viewer(place).await;
    place.node.send(&emma.payer.params().funding_script(), DEPOSIT).await;
    place.node.mine(1).await;
    emma.funded(&place.chain).await;
    emma
}

/// The one transaction in the node's mempool.
async fn waiting(node: &Node) -> Transaction {
    soon("a transaction in the mempool", async {
        loop {
            let txids: Vec<Txid> = node.call("getrawmempool", json!([])).await;
            if let [txid] = txids[..] {
                let hex: String = node.call("getrawtransaction", json!([txid])).await;
                return rillpay_channel::bitcoin::consensus::encode::deserialize_hex(&hex).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

fn refused(result: Result<Txid, ChainError>) -> Reason {
    match result {
        Err(ChainError::Refused(refusal)) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn value_to(transaction: &Transaction, script: &ScriptBuf) -> Amount {
    transaction.output.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_deposit_to_the_settlement() {
    let place = place().await;
    let mut emma = funded(&place).await;
    for second in 1..=2 {
        emma.pay_for(second).await;
        let name = if second == 1 { "/media/a.bin" } else { "/media/b.bin" };
        assert_eq!(get(place.server.address, name, Some(emma.token)).await.0, 200);
        emma.receive(1);
    }
    assert_eq!(emma.stop().await, Amount::from_sat(2_000));
    let settlement = waiting(&place.node).await;
    assert_eq!(value_to(&settlement, &emma.payer.params().return_script), DEPOSIT - Amount::from_sat(2_000));
    place.node.mine(1).await;
    let settled = |message: &Message| matches!(message, Message::Settled { confirmations: 1.., .. });
    emma.until("the settlement's block", settled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_is_spent_twice_was_never_served() {
    let place = place().await;
    let mut emma = viewer(&place).await;
    let script = emma.payer.params().funding_script();
    let honest = place.node.pay(&script, DEPOSIT).await;
    place.chain.broadcast(&honest).await.unwrap();
    emma.until("the deposit", |message| {
        matches!(message, Message::FundingSeen { funding: Some(_), confirmations: 0, .. })
    })
    .await;
    // Unconfirmed it counts for nothing.
    let (status, problem) = get(place.server.address, "/media/a.bin", Some(emma.token)).await;
    assert_eq!(status, 402, "{problem}");
    // The same coin pays somebody else, at a better fee.
    let mut rival = honest.clone();
    rival.output.retain(|output| output.script_pubkey != script);
    place.node.call::<Value>("sendrawtransaction", json!([serialize_hex(&rival), 0])).await;
    emma.until("its loss", |message| matches!(message, Message::FundingSeen { funding: None, .. })).await;
    place.node.mine(3).await;
    let (status, _) = get(place.server.address, "/media/a.bin", Some(emma.token)).await;
    assert_eq!(status, 402);
    assert_eq!(refused(place.chain.broadcast(&honest).await), Reason::MissingInputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_a_reorganisation_gives_to_another_is_served_no_more() {
    let place = place().await;
    let mut emma = viewer(&place).await;
    let script = emma.payer.params().funding_script();
    let honest = place.node.pay(&script, DEPOSIT).await;
    place.chain.broadcast(&honest).await.unwrap();
    place.node.mine(1).await;
    emma.funded(&place.chain).await;
    emma.pay_for(3).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);

    // The block that held it is replaced by one in which its coin pays somebody else.
    let mut rival = honest.clone();
    rival.output.retain(|output| output.script_pubkey != script);
    place.node.reorganise_with(1, &[rival]).await;
    emma.until("its loss", |message| matches!(message, Message::FundingSeen { funding: None, .. })).await;
    let (status, problem) = get(place.server.address, "/media/b.bin", Some(emma.token)).await;
    assert_eq!(status, 402);
    assert!(problem.contains("not_funded"), "{problem}");
    assert_eq!(refused(place.chain.broadcast(&honest).await), Reason::MissingInputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_node_lies_hangs_or_is_behind_nothing_is_served_and_nothing_opened() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start().await;
    let liar = Liar::before(&node).await;
    let chain = BitcoindChain::connect(liar.options(&node)).await.unwrap();
    let server = serve_with(&dir, &chain, &[("chain.max_age_seconds", "3")]).await;
    media(dir.path(), "a.bin", b"content");
    let place = Place { dir, node, chain, server };
    let address = place.server.address;
    let mut emma = funded(&place).await;
    emma.pay_for(1).await;

    let change = |field: &'static str, value: Value| {
        Manner::instead("getblockchaininfo", move |truth| {
            let mut answer: Value = serde_json::from_str(truth).unwrap();
            answer[field] = value.clone();
            answer.to_string()
        })
    };
    for (what, manner) in [
        ("another network", change("chain", json!("main"))),
        ("behind", change("initialblockdownload", json!(true))),
        ("garbage", Manner::saying("<html>")),
        ("silence", Manner::Hanging),
    ] {
        liar.becomes(manner);
        soon(what, health(address, 503)).await;
        let (status, problem) = get(address, "/media/a.bin", Some(emma.token)).await;
        assert_eq!(status, 503, "{what}");
        assert!(problem.contains("unavailable"), "{problem}");
        let mut other = Socket::connect(address).await;
        let (_, key) = other.welcome().await;
        other.send(&request(key, 2, Unit::Request, 1_000_000).message()).await;
        assert_eq!(other.refusal().await, "unavailable", "{what}");

        liar.becomes(Manner::Honest);
        place.node.seen_by(&place.chain).await;
        soon("the node is believed again", health(address, 200)).await;
    }
    // What she has paid for is hers.
    assert_eq!(get(address, "/media/a.bin", Some(emma.token)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_has_nothing_to_broadcast_before_the_expiry_and_nothing_after_the_settlement() {
    let place = place().await;
    let mut emma = funded(&place).await;
    emma.pay_for(1).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    let kit = emma.kit();
    let dearest = &kit.last().unwrap().transaction;
    assert_eq!(refused(place.chain.broadcast(dearest).await), Reason::NonFinal);
    // An older payment is the payer's signature alone; without the payee's the script refuses it.
    let stolen = {
        let mut forged = dearest.clone();
        forged.lock_time = rillpay_channel::bitcoin::absolute::LockTime::ZERO;
        forged
    };
    assert_eq!(refused(place.chain.broadcast(&stolen).await), Reason::ScriptFailed);

    // She never comes back; the server settles in time, at what was paid.
    let due = emma.payer.params().close_height();
    place.node.mine(due - place.node.tip().await.0).await;
    let settlement = waiting(&place.node).await;
    assert_eq!(value_to(&settlement, &emma.payer.params().return_script), DEPOSIT - Amount::from_sat(1_000));
    place.node.mine(emma.payer.params().expiry + 1 - due).await;
    for entry in &kit {
        assert_eq!(refused(place.chain.broadcast(&entry.transaction).await), Reason::MissingInputs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_taken_when_the_server_is_gone() {
    let place = place().await;
    let emma = funded(&place).await;
    place.server.stop().await;
    let expiry = emma.payer.params().expiry;
    let kit = emma.kit();
    place.node.mine(expiry - place.node.tip().await.0 - 1).await;
    let refund = &kit[1].transaction;
    assert_eq!(refused(place.chain.broadcast(refund).await), Reason::NonFinal);
    place.node.mine(1).await;
    place.chain.broadcast(refund).await.unwrap();
    place.node.mine(1).await;
    let script = ScriptHash::of(&emma.payer.params().funding_script());
    assert!(place.chain.script_unspent(&script).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_server_and_both_restart_in_the_middle_of_the_stream() {
    let Place { dir, node, chain, server } = place().await;
    let place = Place { dir, node, chain, server };
    let mut emma = funded(&place).await;
    emma.pay_for(1).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    emma.receive(1);

    // The node: as by a power failure. Counting its coins makes it write them down; it has no peers to get blocks from.
    place.node.call::<Value>("gettxoutsetinfo", json!([])).await;
    place.node.kill();
    place.node.start_again().await;
    emma.pay_for(2).await;
    soon("the chain is back", async {
        while get(place.server.address, "/media/b.bin", Some(emma.token)).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    emma.receive(1);

    // Both, the server first to come back.
    let Place { dir, node, chain, server } = place;
    server.stop().await;
    drop(chain);
    node.stop().await;
    let options = node.options();
    let connecting = tokio::spawn(BitcoindChain::connect(options));
    node.start_again().await;
    let chain = connecting.await.unwrap().unwrap();
    let server = serve(&dir, &chain).await;
    let state = emma.reattach(server.address).await;
    assert_eq!((state.paid.unwrap().cumulative, state.delivered), (Amount::from_sat(2_000), 2));
    emma.pay_for(3).await;
    soon("the chain is back", async {
        while get(server.address, "/media/c.bin", Some(emma.token)).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    emma.receive(1);
    assert_eq!(emma.stop().await, Amount::from_sat(3_000));
    waiting(&node).await;
}
