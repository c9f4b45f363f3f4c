//! A channel's life.

use rillpay_channel::bitcoin::Amount;

use crate::pair::{BTC, FEES, HITESH, IRENE, Pair, btc, until};

/// The book: 5 and 5, Irene pays 2, and both part with 7 and 3.
#[tokio::test(flavor = "multi_thread")]
async fn five_and_five_become_seven_and_three() {
    let mut pair = Pair::open().await;
    let paid = pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    assert!(paid.settled);
    assert_eq!((paid.amount_sat, paid.balance_sat), (2 * BTC, 3 * BTC));
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;

    // Both are killed, one after the other; they find each other again and go on.
    for who in [HITESH, IRENE] {
        pair.restart(who).await;
        pair.is_open().await;
        assert_eq!(pair.balances().await, [7 * BTC, 3 * BTC]);
        pair.nodes[who].pay(&pair.channel, btc(1)).await.unwrap();
        pair.nodes[1 - who].pay(&pair.channel, btc(1)).await.unwrap();
        until("seven and three again", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    }

    let before = [pair.on_chain(HITESH).await, pair.on_chain(IRENE).await];
    let closed = pair.nodes[IRENE].close(&pair.channel, false).await.unwrap();
    assert_eq!(closed.state, "closed");
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    assert_eq!(pair.on_chain(IRENE).await, before[IRENE] + 3 * BTC);
    let hitesh = pair.on_chain(HITESH).await - before[HITESH];
    assert!(hitesh <= 7 * BTC && hitesh > 7 * BTC - FEES, "{hitesh}");

    pair.mine_until(10, "both forget it", || async {
        pair.state(HITESH).await.is_none() && pair.state(IRENE).await.is_none()
    })
    .await;
}

/// Many at once, both ways: each is paid once, and waits for no other.
#[tokio::test(flavor = "multi_thread")]
async fn both_pay_at_the_same_time() {
    let pair = Pair::open().await;
    let mut payments = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (node, channel) = (pair.nodes[n % 2].clone(), pair.channel.clone());
        // Hitesh pays 1,000 each time, Irene 3,000.
        let sat = if n % 2 == HITESH { 1_000 } else { 3_000 };
        payments.spawn(async move { node.pay(&channel, Amount::from_sat(sat)).await });
    }
    while let Some(paid) = payments.join_next().await {
        assert!(paid.unwrap().unwrap().settled);
    }
    let expected = [5 * BTC + 20 * 2_000, 5 * BTC - 20 * 2_000];
    until("all are paid", || async { pair.balances().await == expected }).await;
    // Who is paid hears last that it is for good.
    until("for good", || async {
        let list = pair.nodes[HITESH].list().await.unwrap();
        (list[0].received_msat, list[0].paid_msat) == (20 * 3_000_000, 20 * 1_000_000)
    })
    .await;
}
