//! A payer who comes while the server is down, and takes back what was paid.

use rillpay_channel::bitcoin::absolute::LockTime;
use rillpay_channel::bitcoin::bip32::ChildNumber;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::Message;
use rillpay_channel::bitcoin::sighash::SighashCache;
use rillpay_channel::bitcoin::transaction::Version;
use rillpay_channel::bitcoin::{
    EcdsaSighashType, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, ecdsa,
};
use rillpay_channel::secp;

use super::*;

/// The refunds of a viewer's page, by their rate.
pub(super) fn refund(viewer: &Viewer, sat_per_vb: u32) -> Transaction {
    viewer.kit().into_iter().find(|entry| entry.fee_rate == sat_per_vb).unwrap().transaction
}

/// Spends on what a refund gave back, at this fee.
fn spend_on(number: u8, refund: &Transaction, fee: Amount) -> Transaction {
    let own = seed(number).return_script(0).unwrap();
    pay_on(number, refund, own, refund.output[0].value - fee)
}

/// Pays the whole first output of a transaction, which is at a viewer's first address, to a script; the rest is the fee.
pub(super) fn pay_on(number: u8, from: &Transaction, to: ScriptBuf, amount: Amount) -> Transaction {
    let branch = [ChildNumber::from(0), ChildNumber::from(0)];
    let key = seed(number).account().unwrap().derive_priv(secp(), &branch).unwrap().private_key;
    let TxOut { value, script_pubkey } = from.output[0].clone();
    let mut child = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(from.compute_txid(), 0),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        }],
        output: vec![TxOut { value: amount, script_pubkey: to }],
    };
    let all = EcdsaSighashType::All;
    let hash = SighashCache::new(&child).p2wpkh_signature_hash(0, &script_pubkey, value, all).unwrap();
    let signature = secp().sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &key);
    child.input[0].witness = Witness::p2wpkh(&ecdsa::Signature::sighash_all(signature), &key.public_key(secp()));
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_waits_is_outbid_and_outbid_again() {
    let mut place = Place::new(&[]).await;
    let emma = place.watched(1, 3).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    let first = place.chain.broadcast(&refund(&emma, 1)).await.unwrap();

    place.start().await;
    let settlement = place.settlement(&emma, Some(first)).await;
    assert_eq!(changes(&settlement), [3_597_000].into(), "what was paid is ours, to the satoshi");
    // She offers more, and so does the server.
    let second = place.chain.broadcast(&refund(&emma, 10)).await.unwrap();
    assert!(place.chain.status(&settlement.txid).await.unwrap().is_none(), "hers took the place of ours");
    let dearer = place.settlement(&emma, Some(second)).await;
    assert_eq!(changes(&dearer), [3_597_000].into());
    assert!(dearer.fee > settlement.fee);
    assert!(place.chain.status(&second).await.unwrap().is_none());
    assert_eq!(place.chain.mempool_len().unwrap(), 1);
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_with_children_is_outbid_with_all_of_them() {
    let mut place = Place::new(&[]).await;
    let emma = place.watched(1, 3).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    let refund = refund(&emma, 1);
    let first = place.chain.broadcast(&refund).await.unwrap();
    let child = spend_on(1, &refund, Amount::from_sat(1_000));
    place.chain.broadcast(&child).await.unwrap();

    place.start().await;
    let settlement = place.settlement(&emma, Some(first)).await;
    assert!(settlement.fee > Amount::from_sat(1_000));
    assert_eq!(place.chain.mempool_len().unwrap(), 1, "the child has gone with its parent");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_see_what_a_refund_pays_offers_twice_as_much_each_time() {
    let mut place = Place::new(&[]).await;
    let emma = place.watched(1, 3).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    let theirs = place.chain.broadcast(&refund(&emma, 5)).await.unwrap();
    place.fees.oddity().blind = true;

    place.start().await;
    let settlement = place.settlement(&emma, Some(theirs)).await;
    // 1, 2 and 4 were too little. Whoever sees hers pays a little more than 5.
    assert_eq!((rate(&settlement), changes(&settlement)), (8, [3_597_000].into()));
    assert_eq!(place.chain.mempool_len().unwrap(), 1);
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_see_what_a_refund_pays_never_offers_more_than_it_brings() {
    let mut place = Place::new(&[]).await;
    let emma = place.watched(1, 1).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    let theirs = place.chain.broadcast(&refund(&emma, 10)).await.unwrap();
    place.fees.oddity().blind = true;
    place.start().await;
    // 1, 2 and 4 are offered; 8 satoshi a byte would be more than the thousand that she owes.
    for _ in 0..5 {
        place.looked().await;
        assert_eq!(place.settlement(&emma, None).await.txid, theirs);
    }
    assert_eq!(place.chain.mempool_len().unwrap(), 1);
    // She is not followed into a block.
    place.chain.mine(1).await.unwrap();
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cost_more_than_it_brings_is_let_go_and_nobody_else_waits_for_it() {
    let place = Place::new(&[
        ("settlement.merge_delay_seconds", "3600"),
        ("settlement.max_sat_per_vbyte", "1"),
        ("settlement.value_at_risk_sat", "4_000"),
    ])
    .await;
    let emma = place.closed(1, 1).await;
    place.full_blocks(50).await;
    let bob = place.closed(2, 3).await;
    let merged = place.settlement(&emma, None).await;
    assert_eq!(merged.vin.len(), 2);
    place.full_blocks_to(emma.payer.params().expiry).await;
    // More than the thousand that she owes, and than the merged settlement pays.
    let taken = place.chain.broadcast(&refund(&emma, 20)).await.unwrap();
    // Bob's is settled anew at once: it does not wait for others a second time.
    let anew = place.settlement(&bob, Some(merged.txid)).await;
    assert_eq!((anew.vin.len(), changes(&anew)), (1, [3_597_000].into()));
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, taken);
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
    assert!(place.settlement(&bob, None).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_refund_is_not_fought_but_a_reorganisation_gives_a_second_chance() {
    let mut place = Place::new(&[]).await;
    let emma = place.watched(1, 3).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    let refund = place.chain.broadcast(&refund(&emma, 1)).await.unwrap();
    place.chain.mine(1).await.unwrap();
    place.start().await;
    place.looked().await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0);
    place.chain.reorganise(1, &[]).await.unwrap();
    let settlement = place.settlement(&emma, Some(refund)).await;
    assert_eq!(changes(&settlement), [3_597_000].into());
}
