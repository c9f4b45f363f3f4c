//! A cheat on a real Bitcoin Core node, whose backend knows nothing but the scripts that it is told to follow.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rillpay_chain::Chain;
use rillpay_chain::bitcoind::BitcoindChain;
use rillpay_chain::testing::Node as Bitcoin;
use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::{Address, Amount, Denomination, Network};
use rillpay_node::{Node, Options, PeerAddress};
use serde_json::json;
use tempfile::TempDir;

use crate::on_chain::{copied_commitment, is_less_fees};
use crate::pair::{BTC, HITESH, IRENE, address_of, btc, until};
use crate::tower::Watchtower;
use crate::weather::Weather;

async fn start(bitcoin: &Bitcoin, folder: &TempDir, listens: bool) -> Node {
    start_with(bitcoin, folder, listens, None).await
}

async fn start_with(bitcoin: &Bitcoin, folder: &TempDir, listens: bool, tower: Option<PeerAddress>) -> Node {
    // Nothing of an earlier life: what became of the funding is read from the blocks again.
    let chain = BitcoindChain::connect(bitcoin.options()).await.unwrap();
    let listen = listens.then(|| "127.0.0.1:0".parse().unwrap());
    Node::start(Options { listen, tower, ..Options::new(folder.path()) }, Arc::new(chain)).await.unwrap()
}

async fn waits(bitcoin: &Bitcoin, transactions: usize) {
    until("something waits for a block", || async {
        bitcoin.call::<Vec<String>>("getrawmempool", json!([])).await.len() >= transactions
    })
    .await;
}

/// What all that waits for a block pays for it.
async fn fee(bitcoin: &Bitcoin) -> Amount {
    let info: serde_json::Value = bitcoin.call("getmempoolinfo", json!([])).await;
    // Small numbers come with an exponent, which amounts do not have.
    let fee = info["total_fee"].as_f64().unwrap();
    Amount::from_str_in(&format!("{fee:.8}"), Denomination::Bitcoin).unwrap()
}

/// Core's own rules for replacements and children, and its reckoning of what a child pays for its parent.
#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_is_lifted_by_children_that_replace_each_other() {
    let bitcoin = Bitcoin::start().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let weather = Weather::over(BitcoindChain::connect(bitcoin.options()).await.unwrap(), 1);
    let options = Options::new(folders[HITESH].path());
    let hitesh = Node::start(options, Arc::clone(&weather) as Arc<dyn Chain>).await.unwrap();
    let irene = start(&bitcoin, &folders[IRENE], true).await;
    let address: Address<_> = hitesh.deposit_address().await.unwrap().parse().unwrap();
    let script = address.require_network(Network::Regtest).unwrap().script_pubkey();
    // Many small coins: a dearer child needs another one.
    for _ in 0..4 {
        bitcoin.send(&script, Amount::from_sat(20_000)).await;
    }
    bitcoin.send(&script, btc(10) + Amount::from_sat(20_000)).await;
    bitcoin.mine(1).await;
    until("his coins", || async { hitesh.balance().await.unwrap().confirmed_sat > 10 * BTC }).await;
    hitesh.connect(&address_of(&irene)).await.unwrap();
    let channel = hitesh.open(irene.id(), btc(10), btc(5)).await.unwrap().channel;
    waits(&bitcoin, 1).await;
    bitcoin.mine(3).await;
    until("the channel is open", || async { hitesh.list().await.unwrap()[0].state == "open" }).await;
    irene.stop().await;

    weather.sat_per_vb.store(30, Ordering::Relaxed);
    let txid = hitesh.close(&channel, true).await.unwrap().txid.unwrap();
    // What the commitment and those that spend from it pay, in satoshi per virtual byte.
    let rate = || async {
        let entry: serde_json::Value = bitcoin.call("getmempoolentry", json!([txid])).await;
        let fees = Amount::from_btc(entry["fees"]["descendant"].as_f64().unwrap()).unwrap().to_sat();
        fees / entry["descendantsize"].as_u64().unwrap()
    };
    waits(&bitcoin, 2).await;
    for sat_per_vb in [30, 60, 100] {
        weather.sat_per_vb.store(sat_per_vb, Ordering::Relaxed);
        // Something to look for.
        bitcoin.send(&script, Amount::from_sat(1_000)).await;
        until("both pay so much", || async { rate().await == u64::from(sat_per_vb) }).await;
        let entry: serde_json::Value = bitcoin.call("getmempoolentry", json!([txid])).await;
        assert_eq!(entry["descendantcount"], 2, "one child");
    }
    bitcoin.mine(1).await;
    let txid = txid.parse().unwrap();
    until("it is in a block", || async { weather.status(&txid).await.unwrap().is_some_and(|s| s.is_confirmed()) })
        .await;
    hitesh.stop().await;
}

/// The mempool is full of transactions that pay 20 sat/vB: it refuses a commitment of calmer days by itself, and takes it
/// with a child that pays for both.
#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_that_a_full_mempool_refuses_gets_in_with_its_child() {
    let bitcoin = Bitcoin::start_with(&["-maxmempool=5"]).await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let nodes = [start(&bitcoin, &folders[HITESH], false).await, start(&bitcoin, &folders[IRENE], true).await];
    let channel = open(&bitcoin, &nodes).await;
    // He has nothing in blocks but what is left of the opening.
    bitcoin.mine(1).await;
    nodes[IRENE].stop().await;
    let commitment = copied_commitment(folders[HITESH].path());
    bitcoin.crowd(20).await;
    let refused = bitcoin.try_call::<String>("sendrawtransaction", json!([serialize_hex(&commitment)])).await;
    assert!(refused.unwrap_err().to_string().contains("mempool min fee not met"));

    nodes[HITESH].close(&channel, true).await.unwrap();
    let txid = commitment.compute_txid();
    let entry = || async { bitcoin.try_call::<serde_json::Value>("getmempoolentry", json!([txid])).await };
    until("it is there, with a child", || async { entry().await.is_ok_and(|entry| entry["descendantcount"] == 2) })
        .await;
    bitcoin.mine(10).await;
    // The largest is the last.
    let output: serde_json::Value = bitcoin.call("gettxout", json!([txid, commitment.output.len() - 1])).await;
    assert!(output["confirmations"].as_u64() >= Some(1), "{output}");
    nodes[HITESH].stop().await;
}

/// A channel that Hitesh opened with 10, of which 5 are Irene's.
async fn open(bitcoin: &Bitcoin, nodes: &[Node; 2]) -> String {
    let address: Address<_> = nodes[HITESH].deposit_address().await.unwrap().parse().unwrap();
    bitcoin.send(&address.require_network(Network::Regtest).unwrap().script_pubkey(), btc(20)).await;
    bitcoin.mine(1).await;
    until("his coins", || async { nodes[HITESH].balance().await.unwrap().confirmed_sat == 20 * BTC }).await;
    nodes[HITESH].connect(&address_of(&nodes[IRENE])).await.unwrap();
    let channel = nodes[HITESH].open(nodes[IRENE].id(), btc(10), btc(5)).await.unwrap().channel;
    waits(bitcoin, 1).await;
    bitcoin.mine(3).await;
    for node in nodes {
        until("the channel is open", || async { node.list().await.unwrap()[0].state == "open" }).await;
    }
    channel
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_is_punished_after_a_long_stop() {
    let bitcoin = Bitcoin::start().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let nodes = [start(&bitcoin, &folders[HITESH], false).await, start(&bitcoin, &folders[IRENE], true).await];
    let channel = open(&bitcoin, &nodes).await;
    let five_and_five = copied_commitment(folders[IRENE].path());
    let paid = nodes[IRENE].pay(&channel, btc(2)).await.unwrap();
    assert_eq!(paid.balance_sat, 3 * BTC);
    until("seven", || async { nodes[HITESH].list().await.unwrap()[0].received_msat == 2 * BTC * 1_000 }).await;
    let before = nodes[HITESH].balance().await.unwrap().confirmed_sat;
    for node in &nodes {
        node.stop().await;
    }

    BitcoindChain::connect(bitcoin.options()).await.unwrap().broadcast(&five_and_five).await.unwrap();
    bitcoin.mine(500).await;
    let hitesh = start(&bitcoin, &folders[HITESH], false).await;
    waits(&bitcoin, 1).await;
    let fee = fee(&bitcoin).await;
    // Away again before it is in a block; and the next blocks leave it out, so that it has to offer more.
    hitesh.stop().await;
    let hitesh = start(&bitcoin, &folders[HITESH], false).await;
    for _ in 0..2 {
        bitcoin.branch(1, &[]).await;
    }
    until("he offers more", || async { self::fee(&bitcoin).await > fee }).await;
    bitcoin.mine(1).await;
    let taken = || async { hitesh.balance().await.unwrap().confirmed_sat.saturating_sub(before) };
    until("all ten", || async { is_less_fees(taken().await, 10 * BTC) }).await;
    bitcoin.mine(6).await;
    until("it is over", || async { hitesh.list().await.unwrap().is_empty() }).await;
}

/// As above, by a tower that sees blocks only, and of them those since it was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_tower_punishes_for_who_is_away() {
    let bitcoin = Bitcoin::start().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut tower = Watchtower::start(BitcoindChain::connect(bitcoin.options()).await.unwrap()).await;
    let nodes = [
        start_with(&bitcoin, &folders[HITESH], false, Some(tower.at.clone())).await,
        start(&bitcoin, &folders[IRENE], true).await,
    ];
    let channel = open(&bitcoin, &nodes).await;
    let five_and_five = copied_commitment(folders[IRENE].path());
    nodes[IRENE].pay(&channel, btc(2)).await.unwrap();
    until("the tower has all kits", || async {
        let seven = nodes[HITESH].list().await.unwrap()[0].received_msat == 2 * BTC * 1_000;
        seven && nodes[HITESH].info().await.unwrap().tower.unwrap().unsent == 0
    })
    .await;
    let before = nodes[HITESH].balance().await.unwrap().confirmed_sat;
    for node in &nodes {
        node.stop().await;
    }
    tower.stop().await;

    BitcoindChain::connect(bitcoin.options()).await.unwrap().broadcast(&five_and_five).await.unwrap();
    bitcoin.mine(300).await;
    tower.start_again().await;
    waits(&bitcoin, 1).await;
    let fee = fee(&bitcoin).await;
    for _ in 0..2 {
        bitcoin.branch(1, &[]).await;
    }
    until("it offers more", || async { self::fee(&bitcoin).await > fee }).await;
    bitcoin.mine(1).await;
    let hitesh = start(&bitcoin, &folders[HITESH], false).await;
    waits(&bitcoin, 1).await;
    bitcoin.mine(1).await;
    let taken = || async { hitesh.balance().await.unwrap().confirmed_sat.saturating_sub(before) };
    until("all ten", || async { is_less_fees(taken().await, 10 * BTC) }).await;
}
