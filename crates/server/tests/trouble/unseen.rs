//! A backend that has lost what it knew, and begins anew.

use super::*;

const LONG: [(&str, &str); 1] = [("channel.lifetime_blocks", "400")];
/// Shorter than before, by more than a backend looks back in any case.
const SHORT: [(&str, &str); 1] = [("channel.lifetime_blocks", "60")];

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_followed_from_its_opening_whatever_the_lifetime_is_now() {
    let mut place = Place::new(&LONG).await;
    let opened = place.chain.tip().await.unwrap().height;
    let emma = Viewer::open_with(place.address(), 400, |node| request(node, 1, Unit::Request, 1_000_000)).await;
    place.server.take().unwrap().stop().await;
    place.odd.oddity().followed.clear();
    place.start(&SHORT).await;
    assert!(place.odd.oddity().followed[&script(&emma)] <= opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_is_not_seen_is_not_served_and_collected_all_the_same() {
    let mut place = Place::new(&[]).await;
    let mut emma = place.watching(1).await;
    let mut bob = place.watching(2).await;
    bob.stop().await;
    place.settlement(&bob).await;
    place.server.take().unwrap().stop().await;
    let deposit = emma.payer.funding().unwrap().outpoint;
    place.odd.oddity().hidden.insert(deposit.txid);
    place.start(&[]).await;
    emma.reattach(place.address()).await;
    assert_eq!(place.get("/media/b.bin", &emma).await, 402, "its deposit is not there");
    place.mine_to(emma.payer.params().close_height()).await;
    let settlement = place.settlement(&emma).await;
    place.chain.mine(1).await.unwrap();
    assert_eq!(place.settlement(&emma).await.txid, settlement.txid);
}
