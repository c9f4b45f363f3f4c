//! A commitment that pays too little: a child lifts it, and is replaced as fees rise.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rillpay_chain::{Chain, Outspend};
use rillpay_channel::bitcoin::{OutPoint, ScriptBuf, Txid, WPubkeyHash, hashes::Hash};
use rillpay_node::{Node, Options};

use crate::on_chain::copied_commitment;
use crate::pair::{BTC, HITESH, IRENE, Pair, btc, until};
use crate::weather::Weather;

/// The child that spends an anchor of this commitment, and the rate of both together in satoshi per virtual byte.
pub(crate) async fn lifted(chain: &dyn Chain, commitment: &Txid) -> Option<(Txid, u64)> {
    let parent = chain.transaction(commitment).await.unwrap()?;
    for (vout, output) in (0..).zip(&parent.vout) {
        if output.value.to_sat() != 330 {
            continue;
        }
        if let Outspend::Spent(by) = chain.outspend(&OutPoint { txid: *commitment, vout }).await.unwrap() {
            let child = chain.transaction(&by.txid).await.unwrap()?;
            let fee = parent.fee.to_sat() + child.fee.to_sat();
            return Some((by.txid, fee * 4 / (parent.weight + child.weight)));
        }
    }
    None
}

/// Both stop; the weather in which Irene comes back alone.
async fn apart(pair: &Pair, sat_per_vb: u32) -> Arc<Weather> {
    let weather = Weather::over(pair.chain.clone(), sat_per_vb);
    for node in &pair.nodes {
        node.stop().await;
    }
    weather
}

async fn start(pair: &Pair, weather: &Arc<Weather>) -> Node {
    let options = Options::new(pair.folders[IRENE].path());
    Node::start(options, Arc::clone(weather) as Arc<dyn Chain>).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_lifts_a_commitment_as_fees_rise() {
    let pair = Pair::open().await;
    let weather = apart(&pair, 1).await;
    // Something happens in the mempool, which makes her look.
    let stir = || async {
        let elsewhere = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]));
        pair.chain.send(&elsewhere, btc(1) / 100).await.unwrap();
    };
    let mut irene = start(&pair, &weather).await;
    let before = irene.balance().await.unwrap().confirmed_sat;

    // Hitesh, who could have raised the fee of commitments, is away. What she has to broadcast is from calmer days.
    weather.sat_per_vb.store(20, Ordering::Relaxed);
    let commitment: Txid = irene.close(&pair.channel, true).await.unwrap().txid.unwrap().parse().unwrap();
    let rate = || async { lifted(&pair.chain, &commitment).await.map(|(_, rate)| rate) };
    until("a child that brings both to 20", || async { rate().await == Some(20) }).await;
    let (first, _) = lifted(&pair.chain, &commitment).await.unwrap();

    // A little more is not worth a replacement, a lot is.
    weather.sat_per_vb.store(22, Ordering::Relaxed);
    stir().await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(rate().await, Some(20));
    weather.sat_per_vb.store(50, Ordering::Relaxed);
    stir().await;
    until("a dearer one", || async { rate().await == Some(50) }).await;
    assert!(pair.chain.transaction(&first).await.unwrap().is_none(), "the first one has left");

    // After a restart she takes up what waits.
    irene.stop().await;
    irene = start(&pair, &weather).await;
    weather.sat_per_vb.store(90, Ordering::Relaxed);
    stir().await;
    until("a third one", || async { rate().await == Some(90) }).await;
    let (child, _) = lifted(&pair.chain, &commitment).await.unwrap();
    let paid = pair.chain.transaction(&child).await.unwrap().unwrap().fee.to_sat();

    // It is all in a block. What the child brought along and did not need is hers again, and in the end the rest.
    weather.sat_per_vb.store(1, Ordering::Relaxed);
    pair.chain.mine(1).await.unwrap();
    assert!(pair.chain.status(&child).await.unwrap().unwrap().is_confirmed());
    assert_eq!(irene.balance().await.unwrap().confirmed_sat, before + 330 - paid);
    pair.chain.mine(998).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    let balance = || async { irene.balance().await.unwrap() };
    until("her sweep waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(6).await.unwrap();
    until("it is over", || async { irene.list().await.unwrap().is_empty() }).await;
    let has = balance().await;
    assert!(has.confirmed_sat > before + 5 * BTC - paid - 2_000 && has.confirmed_sat < before + 5 * BTC);
    assert_eq!(has.total_sat, has.confirmed_sat);
    irene.stop().await;
    pair.nodes[HITESH].stop().await;
}

/// A backend that takes neither the commitment nor both together is offered the same child again, and a dearer one after some blocks:
/// each one that is made holds coins and an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_nobody_takes_is_not_made_anew_each_time() {
    let pair = Pair::open().await;
    let weather = apart(&pair, 20).await;
    let irene = start(&pair, &weather).await;
    weather.is_full.store(true, Ordering::Relaxed);
    irene.close(&pair.channel, true).await.unwrap();
    let elsewhere = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]));
    let offered = || weather.children.lock().unwrap().clone();
    while offered().len() < 5 {
        pair.chain.send(&elsewhere, btc(1) / 100).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let first = offered()[0];
    assert!(offered().iter().all(|child| *child == first));
    pair.mine_until(12, "a dearer one", || async { offered().last() != Some(&first) }).await;
    let dearer = *offered().last().unwrap();
    assert_eq!(pair.chain.mempool_len().unwrap(), 0);

    weather.is_full.store(false, Ordering::Relaxed);
    pair.mine_until(2, "it is in a block", || async {
        pair.chain.status(&dearer).await.unwrap().is_some_and(|s| s.is_confirmed())
    })
    .await;
    irene.stop().await;
}

/// The counterparty's commitment wins against ours and its child: what the child would have brought along is free again.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_commitment_lost_holds_nothing() {
    let pair = Pair::open().await;
    let theirs = copied_commitment(pair.folders[HITESH].path());
    let weather = apart(&pair, 20).await;
    let irene = start(&pair, &weather).await;
    let before = irene.balance().await.unwrap().total_sat;
    let commitment: Txid = irene.close(&pair.channel, true).await.unwrap().txid.unwrap().parse().unwrap();
    until("a child", || async { lifted(&pair.chain, &commitment).await.is_some() }).await;
    let (child, _) = lifted(&pair.chain, &commitment).await.unwrap();

    // While she sees nothing the chain forgets both, and takes his.
    weather.is_away.store(true, Ordering::Relaxed);
    pair.chain.mine(1).await.unwrap();
    pair.chain.reorganise(1, &[commitment, child]).await.unwrap();
    pair.chain.broadcast(&theirs).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    weather.is_away.store(false, Ordering::Relaxed);
    pair.mine_until(10, "it is over", || async { irene.list().await.unwrap().is_empty() }).await;
    let has = irene.balance().await.unwrap();
    assert!(has.confirmed_sat > before + 5 * BTC - 20_000, "{}", has.confirmed_sat);
    assert_eq!(has.total_sat, has.confirmed_sat);
    irene.stop().await;
}
