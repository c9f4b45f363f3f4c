//! Channels that nobody has put a deposit into: they cost nothing to open, and next to nothing to have.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_without_a_deposit_is_looked_at_while_its_viewer_is_there_and_at_its_end() {
    let place = Place::new(&[]).await;
    let mut emma = Viewer::open_for(place.address(), 1, Unit::Request, 1_000_000).await;
    let bob = Viewer::open_for(place.address(), 2, Unit::Request, 1_000_000).await;
    emma.leave().await;
    place.odd.looked().await;
    let asked = |viewer: &Viewer| place.odd.oddity().asked[&script(viewer)];
    let (hers, his) = (asked(&emma), asked(&bob));
    place.chain.mine(1).await.unwrap();
    place.odd.looked().await;
    assert_eq!(asked(&emma), hers, "she is not there");
    assert!(asked(&bob) > his);

    // She comes back, and finds what she has paid meanwhile.
    place.chain.send(&emma.payer.params().funding_script(), DEPOSIT).await.unwrap();
    place.chain.mine(1).await.unwrap();
    emma.reattach(place.address()).await;
    emma.funded(&place.chain).await;
    emma.pay_for(3).await;
    assert_eq!(place.get("/media/a.bin", &emma).await, 200);
    // No further for now: blocks that come while her channel is settled would bury the settlement.
    place.mine_to(emma.payer.params().close_height()).await;
    place.settlement(&emma).await;
    assert!(!place.odd.oddity().unfollowed.contains(&script(&emma)));
    // His is over. Nothing of either is followed in the end.
    place.mine_to(emma.payer.params().expiry + 6).await;
    soon("the end", async {
        while place.odd.oddity().unfollowed.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Whoever comes back is told the end, of which the backend knows nothing any more.
    let deposit = emma.payer.funding().unwrap().outpoint;
    {
        let mut oddity = place.odd.oddity();
        oddity.scripts.insert(script(&emma));
        oddity.transactions.insert(deposit.txid);
    }
    let settlement = place.settlement(&emma).await;
    emma.reattach(place.address()).await;
    assert_eq!(emma.settled(6).await, settlement.txid);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_looked_at_some_at_a_time() {
    let place = Place::new(&[]).await;
    let mut viewers = vec![];
    for number in 1..=6 {
        viewers.push(Viewer::open_for(place.address(), number, Unit::Request, 1_000_000).await);
    }
    place.odd.looked().await;
    let _hold = place.odd.hold_unspent().await;
    place.odd.oddity().most_waiting = 0;
    place.chain.mine(1).await.unwrap();
    soon("looks", async {
        while place.odd.oddity().most_waiting < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
