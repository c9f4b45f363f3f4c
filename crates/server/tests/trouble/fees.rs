//! No estimate of fees, when a settlement is due.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_settled_at_the_last_rate_that_was_heard_of() {
    let place = Place::new(&[]).await;
    place.odd.oddity().sat_per_vb = 7;
    let emma = place.watching(1).await;
    place.odd.looked().await;
    place.odd.oddity().no_fees = true;
    place.mine_to(emma.payer.params().close_height()).await;
    assert_eq!(rate(&place.settlement(&emma).await), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_rate_what_has_time_is_settled_at_the_least_and_what_has_none_at_the_most() {
    let bounds = [("settlement.min_sat_per_vbyte", "3"), ("settlement.max_sat_per_vbyte", "9")];
    let mut place = Place::new(&bounds).await;
    let (mut emma, bob) = (place.watching(1).await, place.watching(2).await);
    place.server.take().unwrap().stop().await;
    place.odd.oddity().no_fees = true;
    place.start(&bounds).await;
    emma.reattach(place.address()).await;
    emma.stop().await;
    let hers = place.settlement(&emma).await;
    assert_eq!(rate(&hers), 3);
    place.chain.mine(1).await.unwrap();
    place.mine_to(bob.payer.params().close_height()).await;
    assert_eq!(rate(&place.settlement(&bob).await), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_settlement_is_under_way_is_not_given_up() {
    let place = Place::new(&[]).await;
    let emma = place.watching(1).await;
    // Three thousand are not worth the next block, and are settled at the least rate.
    place.odd.oddity().sat_per_vb = 20;
    place.odd.oddity().no_tip_after_broadcast = true;
    full_blocks_to(&place.chain, emma.payer.params().close_height()).await;
    let settlement = place.settlement(&emma).await;
    assert_eq!(rate(&settlement), 1);
    // The next pass comes when all time is over, and no block had room.
    full_blocks_to(&place.chain, emma.payer.params().expiry + 6).await;
    place.odd.oddity().no_tip_after_broadcast = false;
    place.odd.oddity().no_tip = false;
    place.odd.looked().await;
    let store = rusqlite::Connection::open(place.dir.path().join("data/channels.sqlite")).unwrap();
    let open = store.query_row("SELECT open FROM channel", [], |row| row.get::<_, bool>(0)).unwrap();
    assert!(open, "its settlement waits");
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_worth_its_fee_is_followed_no_longer() {
    let place = Place::new(&[("settlement.min_sat_per_vbyte", "20")]).await;
    let emma = place.watching(1).await;
    place.mine_to(emma.payer.params().expiry + 6).await;
    soon("the end", async {
        while !place.odd.oddity().unfollowed.contains(&script(&emma)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0);
}
