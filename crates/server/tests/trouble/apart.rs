//! One channel's address cannot be looked at: the others are served, and all is settled.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_be_looked_at_is_not_served_and_settled_all_the_same() {
    let place = Place::new(&[]).await;
    let (emma, mut bob) = (place.watching(1).await, place.watching(2).await);
    let deposit = emma.payer.funding().unwrap().outpoint;
    {
        let mut oddity = place.odd.oddity();
        oddity.scripts.insert(script(&emma));
        oddity.transactions.insert(deposit.txid);
    }
    // She asks for more than is paid for, until the last look at her deposit is too long ago.
    assert_eq!(place.get("/media/b.bin", &emma).await, 200);
    assert_eq!(place.get("/media/c.bin", &emma).await, 200);
    soon("her end", async {
        while place.get("/media/a.bin", &emma).await != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(get(place.address(), "/healthz", None).await.0, 200);
    assert_eq!(place.get("/media/b.bin", &bob).await, 200);
    bob.pay_for(4).await;
    assert_eq!(place.get("/media/c.bin", &bob).await, 200);

    // Each at its own height: a block more could confirm it.
    for viewer in [&emma, &bob] {
        place.mine_to(viewer.payer.params().close_height()).await;
        assert!(!place.settlement(viewer).await.status.is_confirmed());
    }

    // Seen again she is served no more: she is closing.
    place.odd.oddity().scripts.clear();
    place.odd.oddity().transactions.clear();
    soon("the truth", async {
        while place.get("/media/a.bin", &emma).await != 410 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_paid_to_an_address_is_not_asked_for_once_a_deposit_is_known() {
    let place = Place::new(&[]).await;
    let emma = place.watching(1).await;
    // As where somebody has paid there a thousand times.
    place.odd.oddity().scripts.insert(script(&emma));
    place.odd.looked().await;
    let before = place.odd.oddity().asked[&script(&emma)];
    place.chain.mine(1).await.unwrap();
    place.odd.looked().await;
    assert_eq!(place.odd.oddity().asked[&script(&emma)], before);
    assert_eq!(place.get("/media/b.bin", &emma).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_another_server_has_discarded_is_watched_no_more() {
    let place = Place::new(&[]).await;
    let mut emma = Viewer::open_for(place.address(), 1, Unit::Request, 1_000_000).await;
    let bob = place.watching(2).await;
    emma.leave().await;
    let store = rusqlite::Connection::open(place.dir.path().join("data/channels.sqlite")).unwrap();
    for table in ["event", "balance", "channel"] {
        assert!(store.execute(&format!("DELETE FROM {table} WHERE row = 0"), []).unwrap() > 0);
    }
    place.mine_to(emma.payer.params().expiry + 6).await;
    // Hers is looked at once more, and missed.
    place.odd.looked().await;
    let asked = place.odd.oddity().asked[&script(&emma)];
    place.chain.mine(1).await.unwrap();
    place.odd.looked().await;
    assert_eq!(place.odd.oddity().asked[&script(&emma)], asked);
    // Passes come to their end: his was settled in one of them.
    assert!(place.settlement(&bob).await.status.is_confirmed());
    place.watching(3).await;
}
