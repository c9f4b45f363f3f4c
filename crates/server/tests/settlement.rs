//! What the chain does to a channel, and what the server makes of it: deposits, reorganisations, expiry, settlement.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ScriptHash};
use rillpay_channel::bitcoin::{Amount, OutPoint, Txid};
use rillpay_channel::commitment::Funding;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;

const BY_REQUEST: [(&str, &str); 2] = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1_000_000")];

struct Place {
    dir: tempfile::TempDir,
    chain: KernelChain,
    config: rillpay_server::Config,
    server: Running,
}

async fn place(more: &[(&str, &str)]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let keys: Vec<_> = BY_REQUEST.iter().chain(more).copied().collect();
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &keys);
    for name in ["a", "b", "c"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    let server = Running::start(config.clone(), Arc::new(chain.clone())).await;
    Place { dir, chain, config, server }
}

async fn viewer(place: &Place, number: u8) -> Viewer {
    Viewer::open_for(place.server.address, number, Unit::Request, 1_000_000).await
}

/// What a transaction pays to a viewer, and what is left for the operator.
async fn split(chain: &KernelChain, txid: &Txid, number: u8) -> (Amount, Amount, Amount) {
    let info = chain.transaction(txid).await.unwrap().unwrap();
    let own = seed(number).return_script(0).unwrap();
    let back = info.vout.iter().filter(|output| output.scriptpubkey == own).map(|output| output.value).sum();
    let paid = info.vout.iter().filter(|output| output.scriptpubkey != own).map(|output| output.value).sum();
    (back, paid, info.fee)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_of_the_wrong_amount_and_one_more() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    let script = emma.payer.params().funding_script();
    place.chain.send(&script, Amount::from_sat(9_999)).await.unwrap();
    assert_eq!(emma.socket.refusal().await, "deposit_too_small");
    place.chain.mine(1).await.unwrap();
    // More than was asked for: the capacity is what arrived, up to the operator's bound.
    place.chain.send(&script, Amount::from_sat(40 * MBTC)).await.unwrap();
    place.chain.mine(1).await.unwrap();
    emma.funded(&place.chain).await;
    assert_eq!(emma.payer.funding().unwrap().capacity, Amount::from_sat(40 * MBTC));
    emma.pay_for(5).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    assert_eq!(emma.stop().await, Amount::from_sat(1000));
    let txid = emma.settled(0).await;
    let (back, _, _) = split(&place.chain, &txid, 1).await;
    assert_eq!(back, Amount::from_sat(40 * MBTC - 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deposits_one_is_paid_on_and_what_was_not_watched_comes_back_at_once() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    let first = *emma.payer.funding().unwrap();
    let script = emma.payer.params().funding_script();
    let txid = place.chain.send(&script, Amount::from_sat(50 * MBTC)).await.unwrap();
    place.chain.mine(2).await.unwrap();
    emma.pay_for(2).await;
    let state = emma.reattach(place.server.address).await;
    assert_eq!(state.funding, Some(first));
    // The second deposit comes back while the first goes on.
    let outputs = place.chain.script_unspent(&ScriptHash::of(&script)).await.unwrap();
    let second = outputs.iter().find(|output| output.txid == txid).unwrap();
    let second = Funding { outpoint: OutPoint::new(second.txid, second.vout), capacity: second.value };
    emma.take_back(second, &place.chain).await;
    // Nothing was delivered: there is nothing to collect, and the first one comes back, too.
    let refund = emma.stop_unwatched(&place.chain).await;
    place.chain.mine(1).await.unwrap();
    emma.until("the end", |message| matches!(message, Message::Settled { txid, .. } if *txid == refund)).await;
    assert!(place.chain.script_unspent(&ScriptHash::of(&script)).await.unwrap().is_empty());
    assert!(emma.reattach(place.server.address).await.stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_inside_the_stop_margin_and_the_close_margin_settles() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(3).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);

    let stop_height = emma.payer.params().stop_height();
    let tip = place.chain.tip().await.unwrap().height;
    place.chain.mine(stop_height - tip).await.unwrap();
    emma.socket
        .wait_for("the height", |message| {
            matches!(message, Message::FundingSeen { tip, .. } if tip >= stop_height).then_some(())
        })
        .await;
    let (status, problem) = get(place.server.address, "/media/b.bin", Some(emma.token)).await;
    assert_eq!(status, 410);
    assert!(problem.contains("expiring"), "{problem}");
    let answer = emma.pay_for(4).await;
    assert!(matches!(&answer, Message::Refused(refusal) if refusal.code == "expiring"), "{answer:?}");
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "there is still time to close in agreement");

    // The viewer never comes back.
    drop(emma.socket);
    place.chain.mine(10).await.unwrap();
    soon("a settlement without the viewer", async {
        while place.chain.mempool_len().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let funding = emma.payer.funding().unwrap().outpoint;
    let spending = place.chain.outspend(&funding).await.unwrap().spending().unwrap();
    let (back, paid, fee) = split(&place.chain, &spending.txid, 1).await;
    assert_eq!(back, Amount::from_sat(36 * MBTC - 3_000));
    assert_eq!(paid + fee, Amount::from_sat(3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganised_deposit_buys_nothing_until_it_is_back() {
    let place = place(&[("content.wait_milliseconds", "500")]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(3).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);

    place.chain.reorganise(1, &[]).await.unwrap();
    emma.socket
        .wait_for("the loss", |message| matches!(message, Message::FundingSeen { confirmations: 0, .. }).then_some(()))
        .await;
    let (status, problem) = get(place.server.address, "/media/b.bin", Some(emma.token)).await;
    assert_eq!(status, 402);
    assert!(problem.contains("not_funded"), "{problem}");

    place.chain.mine(1).await.unwrap();
    emma.socket
        .wait_for("the deposit", |message| {
            matches!(message, Message::FundingSeen { funding: Some(_), confirmations: 1, .. }).then_some(())
        })
        .await;
    assert_eq!(get(place.server.address, "/media/b.bin", Some(emma.token)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_a_reorganisation_undid_is_repeated() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(3).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    emma.stop().await;
    let txid = emma.settled(0).await;
    place.chain.mine(1).await.unwrap();
    assert_eq!(emma.settled(1).await, txid);
    // Gone, as if it had never been seen.
    place.chain.reorganise(1, &[txid]).await.unwrap();
    soon("the repetition", async {
        while place.chain.status(&txid).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    place.chain.mine(1).await.unwrap();
    assert_eq!(emma.settled(1).await, txid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_channels_settle_in_one_transaction() {
    let place = place(&[("settlement.merge_delay_seconds", "3600")]).await;
    let mut viewers = Vec::new();
    for number in 0..100 {
        viewers.push(viewer(&place, number).await);
    }
    let deposits = viewers.iter().map(|viewer| (viewer.payer.params().funding_script(), Amount::from_sat(36 * MBTC)));
    place.chain.send_many(deposits.collect()).await.unwrap();
    place.chain.mine(1).await.unwrap();
    for (number, viewer) in viewers.iter_mut().enumerate() {
        viewer.funded(&place.chain).await;
        viewer.pay_for(number as u64 + 1).await;
    }
    // Each watches everything it paid for: the requests repeat the same piece, so make pieces of their own.
    for (number, viewer) in viewers.iter_mut().enumerate() {
        for piece in 0..=number.min(2) {
            let path: &str = ["/media/a.bin", "/media/b.bin", "/media/c.bin"][piece];
            assert_eq!(get(place.server.address, path, Some(viewer.token)).await.0, 200);
        }
        assert_eq!(viewer.stop().await, Amount::from_sat(1000 * (number.min(2) as u64 + 1)));
    }
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "they wait for each other");
    place.server.stop().await;

    // After a restart, with no patience: all of them at once.
    let mut config = place.config.clone();
    config.settlement.merge_delay = Duration::ZERO;
    let server = Running::start(config, Arc::new(place.chain.clone())).await;
    soon("the settlement", async {
        while place.chain.mempool_len().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(place.chain.mempool_len().unwrap(), 1);
    place.chain.mine(1).await.unwrap();
    let first = viewers[0].payer.funding().unwrap().outpoint;
    let spending = place.chain.outspend(&first).await.unwrap().spending().unwrap();
    assert!(spending.status.is_confirmed());
    let settlement = place.chain.transaction(&spending.txid).await.unwrap().unwrap();
    assert_eq!((settlement.vin.len(), settlement.vout.len()), (100, 101));
    for (number, viewer) in viewers.iter_mut().enumerate() {
        let own = seed(u8::try_from(number).unwrap()).return_script(0).unwrap();
        let back = settlement.vout.iter().find(|output| output.scriptpubkey == own).unwrap().value;
        assert_eq!(back, Amount::from_sat(36 * MBTC - 1000 * (number.min(2) as u64 + 1)));
        if number % 25 == 0 {
            viewer.reattach(server.address).await;
            assert_eq!(viewer.settled(1).await, spending.txid);
        }
    }
    drop(place.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_its_fee_is_kept() {
    let place = place(&[("settlement.min_sat_per_vbyte", "100")]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(3).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    assert_eq!(emma.stop().await, Amount::from_sat(1000));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "a thousand satoshi are less than the fee");
    place.server.stop().await;
    // Fees fall: it is settled after all.
    let mut config = place.config.clone();
    config.settlement.floor = rillpay_channel::bitcoin::FeeRate::BROADCAST_MIN;
    let server = Running::start(config, Arc::new(place.chain.clone())).await;
    emma.reattach(server.address).await;
    let txid = emma.settled(0).await;
    let (back, paid, fee) = split(&place.chain, &txid, 1).await;
    assert_eq!((back, paid + fee), (Amount::from_sat(36 * MBTC - 1000), Amount::from_sat(1000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_paying_settles_at_what_was_delivered() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    let (address, token) = (place.server.address, emma.token);
    let asked = tokio::spawn(get(address, "/media/a.bin", Some(token)));
    emma.until("an ack", |message| matches!(message, Message::Ack { .. })).await;
    assert_eq!(asked.await.unwrap().0, 200);
    emma.receive(1);
    // A second piece is asked for, and paid, while Stop is pressed: either order is fine, and both sides agree on it.
    let asked = tokio::spawn(get(address, "/media/b.bin", Some(token)));
    emma.until("a need", |message| matches!(message, Message::Need { .. })).await;
    let closed = emma.stop().await;
    let status = asked.await.unwrap().0;
    assert!(matches!((status, closed.to_sat()), (200, 2000) | (410, 1000)), "{status} {closed}");
    let txid = emma.settled(0).await;
    let (back, paid, fee) = split(&place.chain, &txid, 1).await;
    assert_eq!((back, paid + fee), (Amount::from_sat(36 * MBTC) - closed, closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_waits_is_replaced_when_fees_rise() {
    let place = place(&[]).await;
    let mut emma = viewer(&place, 1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    for (path, total) in [("/media/a.bin", 1), ("/media/b.bin", 2), ("/media/c.bin", 3)] {
        emma.pay_for(total).await;
        assert_eq!(get(place.server.address, path, Some(emma.token)).await.0, 200);
    }
    emma.stop().await;
    let cheap = emma.settled(0).await;
    let (_, _, cheap_fee) = split(&place.chain, &cheap, 1).await;
    place.server.stop().await;

    let mut config = place.config.clone();
    config.settlement.floor = rillpay_channel::bitcoin::FeeRate::from_sat_per_vb_u32(5);
    let server = Running::start(config, Arc::new(place.chain.clone())).await;
    emma.reattach(server.address).await;
    let dear = emma
        .socket
        .wait_for("the replacement", |message| match message {
            Message::Settled { txid, .. } if txid != cheap => Some(txid),
            _ => None,
        })
        .await;
    assert_eq!(place.chain.mempool_len().unwrap(), 1, "the cheap one is gone");
    let (back, paid, dear_fee) = split(&place.chain, &dear, 1).await;
    assert!(dear_fee >= cheap_fee * 4, "{cheap_fee} {dear_fee}");
    assert_eq!((back, paid + dear_fee), (Amount::from_sat(36 * MBTC - 3000), Amount::from_sat(3000)));
    place.chain.mine(1).await.unwrap();
    assert_eq!(emma.settled(1).await, dear);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_vanished_does_not_hold_up_the_others() {
    let place = place(&[("settlement.merge_delay_seconds", "3600")]).await;
    let (mut emma, mut bob) = (viewer(&place, 1).await, viewer(&place, 2).await);
    for viewer in [&mut bob, &mut emma] {
        viewer.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
        viewer.pay_for(1).await;
        assert_eq!(get(place.server.address, "/media/a.bin", Some(viewer.token)).await.0, 200);
        assert_eq!(viewer.stop().await, Amount::from_sat(1000));
    }
    place.server.stop().await;
    // Emma's deposit, the later one, is undone for good; Bob's stands.
    let gone = emma.payer.funding().unwrap().outpoint.txid;
    place.chain.reorganise(1, &[gone]).await.unwrap();
    assert!(place.chain.status(&gone).await.unwrap().is_none());

    let mut config = place.config.clone();
    config.settlement.merge_delay = Duration::ZERO;
    let server = Running::start(config, Arc::new(place.chain.clone())).await;
    bob.reattach(server.address).await;
    let txid = bob.settled(0).await;
    let (back, _, _) = split(&place.chain, &txid, 2).await;
    assert_eq!(back, Amount::from_sat(36 * MBTC - 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_its_fee_hurries_nobody() {
    let place = place(&[
        ("tariff.price_msat", "5_000_000"),
        ("settlement.merge_delay_seconds", "3600"),
        ("settlement.min_sat_per_vbyte", "40"),
    ])
    .await;
    let viewer = |number| Viewer::open_for(place.server.address, number, Unit::Request, 5_000_000);
    let mut emma = viewer(1).await;
    emma.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(1).await;
    assert_eq!(get(place.server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    assert_eq!(emma.stop().await, Amount::from_sat(5_000));
    // Emma's channel has no more time, yet is not worth its fee of at least 7,400.
    let due = emma.payer.params().close_height();
    place.chain.mine(due - place.chain.tip().await.unwrap().height).await.unwrap();
    // A channel that is opened by an older block has less time.
    let told = |message| matches!(message, Message::FundingSeen { tip, .. } if tip >= due).then_some(());
    emma.socket.wait_for("the height", told).await;

    let mut bob = viewer(2).await;
    bob.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    for (path, total) in [("/media/a.bin", 1), ("/media/b.bin", 2), ("/media/c.bin", 3)] {
        bob.pay_for(total).await;
        assert_eq!(get(place.server.address, path, Some(bob.token)).await.0, 200);
    }
    assert_eq!(bob.stop().await, Amount::from_sat(15_000));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "Bob's waits for others all the same");
    place.server.stop().await;

    let mut config = place.config.clone();
    config.settlement.merge_delay = Duration::ZERO;
    let server = Running::start(config, Arc::new(place.chain.clone())).await;
    bob.reattach(server.address).await;
    let txid = bob.settled(0).await;
    assert_eq!(place.chain.transaction(&txid).await.unwrap().unwrap().vin.len(), 1, "Emma's is kept");
}
