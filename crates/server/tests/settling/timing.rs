//! When closed channels are settled, and how a settlement that is urgent gets into a block.

use super::*;

/// Nothing but the merging of settlements, which here never comes to its end by itself.
const PATIENT: (&str, &str) = ("settlement.merge_delay_seconds", "3600");

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_settlement_climbs_with_every_block_up_to_the_cap() {
    let place = Place::new(&[("settlement.max_sat_per_vbyte", "10")]).await;
    let emma = place.watched(1, 3).await;
    let (due, expiry) = (emma.payer.params().close_height(), emma.payer.params().expiry);
    place.full_blocks_to(due).await;
    // She never comes back.
    let mut last = place.settlement(&emma, None).await;
    assert_eq!(rate(&last), 1, "the estimate of the next block");
    let address = last.vout.last().unwrap().scriptpubkey.clone();
    for height in due + 1..expiry {
        place.full_blocks_to(height).await;
        let next = place.settlement(&emma, Some(last.txid)).await;
        // BIP 125: what leaves, and its own relay.
        let relay = next.weight.div_ceil(4);
        assert!(next.fee.to_sat() >= last.fee.to_sat() + relay, "{} {} {relay}", next.fee, last.fee);
        assert_eq!(changes(&next), [3_597_000].into(), "the payer's change is never touched");
        assert_eq!(next.vout.last().unwrap().scriptpubkey, address);
        last = next;
    }
    assert_eq!(rate(&last), 10, "the last block before the expiry is offered the cap");
    place.full_blocks(2).await;
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, last.txid, "there is no more to offer");
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_time_is_left_as_it_is_and_a_restart_alone_raises_nothing() {
    let mut place = Place::new(&[]).await;
    let emma = place.closed(1, 3).await;
    let first = place.settlement(&emma, None).await;
    place.full_blocks(3).await;
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, first.txid, "there is time");
    place.full_blocks_to(emma.payer.params().close_height()).await;
    let urgent = place.settlement(&emma, Some(first.txid)).await;
    for _ in 0..2 {
        place.stop().await;
        place.start().await;
        place.looked().await;
        assert_eq!(place.settlement(&emma, None).await.txid, urgent.txid, "no block has gone by");
    }
    place.full_blocks(1).await;
    place.settlement(&emma, Some(urgent.txid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_settlement_keeps_paying_when_its_group_shrinks() {
    let place = Place::new(&[PATIENT, ("settlement.value_at_risk_sat", "4_000")]).await;
    let (emma, bob) = (place.closed(1, 3).await, place.closed(2, 1).await);
    let merged = place.settlement(&emma, None).await;
    assert_eq!(changes(&merged), [3_597_000, 3_599_000].into());
    // At this rate Bob's thousand is not worth its place.
    place.fees.set(8);
    place.full_blocks(1).await;
    let alone = place.settlement(&emma, Some(merged.txid)).await;
    assert_eq!((alone.vin.len(), changes(&alone)), (1, [3_597_000].into()));
    assert!(alone.fee.to_sat() >= merged.fee.to_sat() + alone.weight.div_ceil(4));
    place.looked().await;
    assert!(place.chain.outspend(&bob.payer.funding().unwrap().outpoint).await.unwrap().spending().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_waited_for_others_long_enough_is_settled() {
    let place = Place::new(&[("settlement.merge_delay_seconds", "1")]).await;
    let emma = place.closed(1, 3).await;
    assert_eq!(changes(&place.settlement(&emma, None).await), [3_597_000].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn money_at_risk_is_settled_without_waiting_for_more() {
    let place = Place::new(&[PATIENT, ("settlement.value_at_risk_sat", "5_000")]).await;
    let emma = place.closed(1, 3).await;
    place.looked().await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "3,000 wait for others");
    place.closed(2, 2).await;
    let merged = place.settlement(&emma, None).await;
    assert_eq!(merged.vin.len(), 2, "5,000 are too much to wait with");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_time_waits_for_lower_fees_and_is_settled_the_moment_they_have_fallen() {
    let place = Place::new(&[("settlement.patient_sat_per_vbyte", "5")]).await;
    place.fees.set(6);
    let emma = place.closed(1, 3).await;
    place.full_blocks(2).await;
    place.looked().await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "although nobody is waited for");
    place.fees.set(5);
    place.full_blocks(1).await;
    assert_eq!(rate(&place.settlement(&emma, None).await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_time_is_settled_alone_while_fees_are_high() {
    let place = Place::new(&[("settlement.patient_sat_per_vbyte", "5")]).await;
    place.fees.set(6);
    let emma = place.watched(1, 3).await;
    place.full_blocks(20).await;
    let bob = place.closed(2, 3).await;
    place.full_blocks_to(emma.payer.params().close_height()).await;
    let urgent = place.settlement(&emma, None).await;
    assert_eq!((urgent.vin.len(), rate(&urgent)), (1, 6));
    place.looked().await;
    assert!(place.chain.outspend(&bob.payer.funding().unwrap().outpoint).await.unwrap().spending().is_none());
}
