//! Each settlement pays to an address that no other one pays to.

use rillpay_channel::bitcoin::ScriptBuf;
use rillpay_channel::bitcoin::bip32::Xpub;
use rillpay_channel::secp;

use super::*;

/// The account of an operator's cold wallet, and its receive address of this number.
fn account() -> String {
    format!("\"{}\"", Xpub::from_priv(secp(), &seed(200).account().unwrap()))
}

fn address(number: u32) -> ScriptBuf {
    seed(200).return_script(number).unwrap()
}

fn payee(settlement: &TxInfo) -> ScriptBuf {
    settlement.vout.last().unwrap().scriptpubkey.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_go_up_over_a_restart_and_a_replacement_keeps_its_own() {
    let account = account();
    let mut place = Place::new(&[("payout", &account)]).await;
    // Both deposits first: their blocks would confirm a settlement.
    let (mut emma, mut bob) = (place.watched(1, 3).await, place.watched(2, 3).await);
    emma.stop().await;
    let first = place.settlement(&emma, None).await;
    assert_eq!(payee(&first), address(1));
    bob.stop().await;
    let second = place.settlement(&bob, None).await;
    assert_eq!(payee(&second), address(2));
    place.stop().await;
    place.fees.set(5);
    place.start().await;
    for (viewer, before, number) in [(&emma, &first, 1), (&bob, &second, 2)] {
        let dearer = place.settlement(viewer, Some(before.txid)).await;
        assert_eq!(payee(&dearer), address(number));
    }
    place.chain.mine(6).await.unwrap();
    place.stop().await;
    place.start().await;
    let carol = place.closed(3, 3).await;
    assert_eq!(payee(&place.settlement(&carol, None).await), address(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarrel_uses_up_one_number_only() {
    let account = account();
    let mut place = Place::new(&[("payout", &account)]).await;
    let emma = place.watched(1, 3).await;
    place.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    place.start().await;
    let mut last = place.settlement(&emma, None).await;
    let kit = emma.kit();
    // Each of hers takes the place of ours, and each of ours that of hers.
    for entry in kit.iter().filter(|entry| matches!(entry.fee_rate, 5 | 10)) {
        let theirs = place.chain.broadcast(&entry.transaction).await.unwrap();
        last = place.settlement(&emma, Some(theirs)).await;
        assert_eq!(payee(&last), address(1));
    }
    place.chain.mine(1).await.unwrap();
    assert_eq!(place.settlement(&emma, None).await.txid, last.txid);
    let bob = place.closed(2, 3).await;
    assert_eq!(payee(&place.settlement(&bob, None).await), address(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_wallet_is_refused() {
    let mut place = Place::new(&[]).await;
    place.stop().await;
    let words = std::fs::read_to_string(place.dir.path().join("data/seed.words")).unwrap();
    let own = rillpay_channel::keys::Seed::from_words(&words, rillpay_channel::bitcoin::Network::Regtest).unwrap();
    let account = Xpub::from_priv(secp(), &own.account().unwrap());
    place.config.payout =
        rillpay_server::config::Payout::parse(&account.to_string(), rillpay_channel::bitcoin::Network::Regtest)
            .unwrap();
    let refused = rillpay_server::Server::open(place.config.clone(), place.fees.clone()).await;
    assert!(matches!(refused, Err(rillpay_server::StartError::HotPayout)));
}
