//! Closing alone, cheating, and what the chain does meanwhile.

use std::path::Path;

use rillpay_chain::Chain;
use rillpay_channel::bitcoin::{Network, Transaction};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::holder::Holder;

use crate::pair::{BTC, FEES, HITESH, IRENE, Pair, btc, height, until};

/// A copy of a node's store, as a cheat keeps one: the commitment that was the newest then.
pub(crate) fn copied_commitment(folder: &Path) -> Transaction {
    let copy = tempfile::tempdir().unwrap();
    for file in ["node.sqlite", "node.sqlite-wal"] {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    let db = rusqlite::Connection::open(copy.path().join("node.sqlite")).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?));
    let (row, held) = db.query_row("SELECT row, held FROM channel", [], read).unwrap();
    let words = std::fs::read_to_string(folder.join("seed.words")).unwrap();
    let seed = Seed::from_words(&words, Network::Regtest).unwrap();
    Holder::load(&held).unwrap().commitment(&BaseKeys::from_seed(&seed, row).unwrap()).unwrap()
}

/// So much, less the commitment's fee, two anchors and the sweep's fee.
pub(crate) fn is_less_fees(amount: u64, whole: u64) -> bool {
    amount <= whole && amount > whole - FEES
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_alone_waits_a_thousand_blocks() {
    let mut pair = Pair::open().await;
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    let before = [pair.on_chain(HITESH).await, pair.on_chain(IRENE).await];

    pair.nodes[HITESH].stop().await;
    let refused = pair.nodes[IRENE].close(&pair.channel, false).await.unwrap_err();
    assert_eq!(refused.code(), "peer_offline");
    let closed = pair.nodes[IRENE].close(&pair.channel, true).await.unwrap();
    assert_eq!(closed.state, "closed_alone");
    until("the commitment waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    let committed = height(&pair.chain).await;

    // Hitesh comes back after a long stop, and takes his own from her commitment: she gave him no reason to punish.
    pair.restart(HITESH).await;
    until("his sweep waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    let hitesh = pair.on_chain(HITESH).await - before[HITESH];
    assert!(is_less_fees(hitesh, 7 * BTC), "{hitesh}");

    // She cannot take hers a block too early, not even across a restart.
    pair.chain.mine(committed + 998 - height(&pair.chain).await).await.unwrap();
    pair.restart(IRENE).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(pair.chain.mempool_len().unwrap(), 0);
    assert_eq!(pair.on_chain(IRENE).await, before[IRENE]);
    pair.chain.mine(1).await.unwrap();
    until("her sweep waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    let irene = pair.on_chain(IRENE).await - before[IRENE];
    assert!(is_less_fees(irene, 3 * BTC), "{irene}");
    pair.mine_until(10, "both forget it", || async {
        pair.state(HITESH).await.is_none() && pair.state(IRENE).await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn irene_cheats_and_hitesh_takes_all_ten() {
    let mut pair = Pair::open().await;
    let five_and_five = copied_commitment(pair.folders[IRENE].path());
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    pair.paid_two().await;
    let before = pair.on_chain(HITESH).await;

    // He is away for almost as long as she has to wait.
    for node in &pair.nodes {
        node.stop().await;
    }
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(997).await.unwrap();
    pair.restart(HITESH).await;
    assert_eq!(pair.chain.mempool_len().unwrap(), 1, "he looks at the chain before anything else");
    assert_eq!(pair.state(HITESH).await, Some("spent"));
    pair.chain.mine(1).await.unwrap();
    let taken = pair.on_chain(HITESH).await - before;
    assert!(is_less_fees(taken, 10 * BTC), "{taken}");
    pair.mine_until(10, "it is over", || async { pair.state(HITESH).await.is_none() }).await;
}

/// Caught in the act, before any block: the penalty waits beside the cheat.
#[tokio::test(flavor = "multi_thread")]
async fn a_cheat_in_the_mempool_is_punished_at_once() {
    let pair = Pair::open().await;
    let five_and_five = copied_commitment(pair.folders[HITESH].path());
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    let before = pair.on_chain(IRENE).await;
    pair.chain.broadcast(&five_and_five).await.unwrap();
    until("the penalty waits", || async { pair.chain.mempool_len().unwrap() >= 2 }).await;
    pair.mine_until(4, "she has all ten", || async { is_less_fees(pair.on_chain(IRENE).await - before, 10 * BTC) })
        .await;
    // His node, which sees it too, may have told hers of the end before the chain did.
    assert!(matches!(pair.state(IRENE).await, Some("spent" | "closed_alone")));
}

/// A transaction that was confirmed can wait again, or be forgotten by the network: it is broadcast anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_takes_a_close_back_for_a_while() {
    let pair = Pair::open().await;
    let txid = pair.nodes[HITESH].close(&pair.channel, false).await.unwrap().txid.unwrap();
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    pair.chain.reorganise(1, &[txid.parse().unwrap()]).await.unwrap();
    until("it waits again", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    let before = pair.on_chain(IRENE).await;
    pair.chain.mine(1).await.unwrap();
    assert_eq!(pair.on_chain(IRENE).await, before + 5 * BTC);
}
