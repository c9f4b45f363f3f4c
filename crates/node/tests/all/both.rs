//! Channels that both fund.

use std::sync::Arc;
use std::time::Duration;

use rillpay_chain::Chain;
use rillpay_chain::bitcoind::BitcoindChain;
use rillpay_chain::testing::Node as Bitcoin;
use rillpay_channel::bitcoin::{Address, Amount, Network, Txid};
use rillpay_node::{Node, Options, Policy};
use tempfile::TempDir;

use crate::pair::{BTC, FEES, HITESH, IRENE, Pair, address_of, btc, until};

/// Irene puts in as much as Hitesh, up to so much.
async fn generous(most: Amount) -> Pair {
    let mut pair = Pair::connected().await;
    pair.match_funding = most;
    pair.restart(IRENE).await;
    let hitesh = &pair.nodes[HITESH];
    until("they find each other", || async { !hitesh.info().await.unwrap().peers.is_empty() }).await;
    pair
}

/// The book: each puts in 5, Irene pays 2, and both part with 7 and 3.
#[tokio::test(flavor = "multi_thread")]
async fn both_put_in_five() {
    let mut pair = generous(btc(5)).await;
    let irene = pair.nodes[IRENE].id();
    let opened = pair.nodes[HITESH].open_both(irene, btc(5)).await.unwrap();
    pair.channel = opened.channel;
    until("the funding waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    let txid: Txid = opened.funding.split(':').next().unwrap().parse().unwrap();
    let funding = pair.chain.raw_transaction(&txid).await.unwrap().unwrap();
    assert_eq!((funding.input.len(), funding.output.len()), (2, 3));
    // Killed before it is in a block: both have it, and both know it.
    for who in [HITESH, IRENE] {
        pair.restart(who).await;
    }
    pair.chain.mine(3).await.unwrap();
    pair.is_open().await;
    assert_eq!(pair.balances().await, [5 * BTC, 5 * BTC]);
    assert_eq!(pair.nodes[IRENE].list().await.unwrap()[0].capacity_sat, 10 * BTC);
    for who in [HITESH, IRENE] {
        let left = pair.on_chain(who).await;
        assert!(left < 15 * BTC && left > 15 * BTC - FEES, "{left}");
    }
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    let closed = pair.nodes[IRENE].close(&pair.channel, false).await.unwrap();
    assert_eq!(closed.state, "closed");
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.mine_until(10, "both forget it", || async {
        pair.state(HITESH).await.is_none() && pair.state(IRENE).await.is_none()
    })
    .await;
    let ends = [pair.on_chain(HITESH).await, pair.on_chain(IRENE).await];
    assert!(ends[0] > 22 * BTC - 2 * FEES && ends[0] < 22 * BTC && ends[1] > 18 * BTC - FEES && ends[1] < 18 * BTC);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_put_in_anything() {
    let mut pair = Pair::connected().await;
    let irene = pair.nodes[IRENE].id();
    let failed = pair.nodes[HITESH].open_both(irene, btc(5)).await.unwrap_err();
    assert_eq!(failed.code(), "opening_failed");
    assert!(pair.nodes[HITESH].list().await.unwrap().is_empty() && pair.nodes[IRENE].list().await.unwrap().is_empty());
    assert_eq!(pair.on_chain(HITESH).await, 20 * BTC, "nothing is held");
    // Of larger channels she wants none, and whoever has not got the money asks nobody.
    assert_eq!(pair.nodes[HITESH].open(irene, btc(15), btc(0)).await.unwrap_err().code(), "opening_failed");
    assert_eq!(pair.nodes[HITESH].open_both(irene, btc(20)).await.unwrap_err().code(), "insufficient_funds");
    pair.channel = pair.nodes[HITESH].open(irene, btc(5), btc(0)).await.unwrap().channel;
    until("the funding waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(3).await.unwrap();
    pair.is_open().await;
    assert_eq!(pair.balances().await, [5 * BTC, 0]);
    // What has to be given from the start needs version 1.
    pair.channel = pair.nodes[HITESH].open(irene, btc(4), btc(1)).await.unwrap().channel;
    until("the funding waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(3).await.unwrap();
    pair.is_open().await;
    assert_eq!(pair.balances().await, [3 * BTC, BTC]);
}

/// Either is killed after any time while a channel is opened. What comes of it, both agree on, and no coin is lost.
#[tokio::test(flavor = "multi_thread")]
async fn either_is_killed_at_any_moment_of_an_opening() {
    let mut pair = generous(btc(1)).await;
    let irene = pair.nodes[IRENE].id();
    let mut opened = 0;
    for round in 0..10_u64 {
        let node = pair.nodes[HITESH].clone();
        let opening = tokio::spawn(async move { node.open_both(irene, btc(1)).await });
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        pair.restart(usize::from(round % 2 == 0)).await;
        let _ = opening.await.unwrap();
        until("they find each other", || async { !pair.nodes[HITESH].info().await.unwrap().peers.is_empty() }).await;
        // What only one of them has stored is given up in time, what both have is funded.
        let lists = async || [pair.nodes[HITESH].list().await.unwrap(), pair.nodes[IRENE].list().await.unwrap()];
        pair.mine_until(40, "both agree", || async {
            let [ours, theirs] = lists().await;
            ours.len() == theirs.len() && ours.iter().chain(&theirs).all(|channel| channel.state == "open")
        })
        .await;
        let [ours, _] = lists().await;
        assert!(ours.len() >= opened);
        opened = ours.len();
    }
    for who in [HITESH, IRENE] {
        let balance = pair.nodes[who].balance().await.unwrap();
        let all = balance.total_sat + balance.channels_sat;
        // The opener's channels owe the fee of their commitments, which `balance` does not count.
        assert!(all > 20 * BTC - 20 * FEES && all <= 20 * BTC, "{all} after {opened}");
        assert_eq!(balance.total_sat, balance.confirmed_sat, "nothing is held any more");
    }
}

/// On Bitcoin Core, whose backend knows no coins but those that it follows.
#[tokio::test(flavor = "multi_thread")]
async fn both_put_in_five_on_bitcoin_core() {
    let bitcoin = Bitcoin::start().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut nodes = vec![];
    for (folder, listens) in folders.iter().zip([false, true]) {
        let chain = BitcoindChain::connect(bitcoin.options()).await.unwrap();
        let listen = listens.then(|| "127.0.0.1:0".parse().unwrap());
        let options = Options {
            listen,
            policy: Policy { match_funding: btc(5), ..Policy::default() },
            ..Options::new(folder.path())
        };
        nodes.push(Node::start(options, Arc::new(chain)).await.unwrap());
    }
    for node in &nodes {
        let address: Address<_> = node.deposit_address().await.unwrap().parse().unwrap();
        bitcoin.send(&address.require_network(Network::Regtest).unwrap().script_pubkey(), btc(6)).await;
    }
    bitcoin.mine(1).await;
    for node in &nodes {
        until("the coins", || async { node.balance().await.unwrap().confirmed_sat == 6 * BTC }).await;
    }
    nodes[HITESH].connect(&address_of(&nodes[IRENE])).await.unwrap();
    nodes[HITESH].open_both(nodes[IRENE].id(), btc(5)).await.unwrap();
    until("the funding waits", || async {
        bitcoin.call::<Vec<String>>("getrawmempool", serde_json::json!([])).await.len() == 1
    })
    .await;
    bitcoin.mine(3).await;
    for node in &nodes {
        until("the channel is open", || async { node.list().await.unwrap()[0].state == "open" }).await;
        assert_eq!(node.list().await.unwrap()[0].balance_sat, 5 * BTC);
    }
}
