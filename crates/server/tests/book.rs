//! The book's numbers, end to end through sockets, requests for media and the chain's own rules.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::sync::Arc;

use common::*;
use rillpay_chain::Chain;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::wire::Message;

/// A playlist of one-second segments that cannot be measured: they count as the playlist says.
fn playlist(seconds: u32) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:1\n");
    for second in 0..seconds {
        text.push_str(&format!("#EXTINF:1,\n{second}.bin\n"));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_seconds_of_a_36_mbtc_deposit_split_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let payout = chain.wallet_address().unwrap();
    let server = Running::start(config(dir.path(), &payout, &[]), Arc::new(chain.clone())).await;
    media(dir.path(), "index.m3u8", playlist(600).as_bytes());
    for second in 0..600 {
        media(dir.path(), &format!("{second}.bin"), b"picture");
    }

    let mut emma = Viewer::open(server.address, 1).await;
    emma.fund(&chain, Amount::from_sat(36 * MBTC)).await;
    assert_eq!(get(server.address, "/media/index.m3u8", None).await.0, 200);
    for second in 0..600 {
        let asked = tokio::spawn(get(
            server.address,
            Box::leak(format!("/media/{second}.bin").into_boxed_str()),
            Some(emma.token),
        ));
        let due = (second + 1) * 1000;
        let need = emma.until("a need", |message| matches!(message, Message::Need { .. })).await;
        assert_eq!(need, Message::Need { upto: due, delivered: second * 1000 });
        let ack = emma.until("an ack", |message| matches!(message, Message::Ack { .. })).await;
        assert_eq!(ack, Message::Ack { cumulative: Amount::from_sat(due), delivered: second * 1000 });
        let (status, body) = soon("a segment", asked).await.unwrap();
        assert_eq!((status, body.as_str()), (200, "picture"));
        emma.receive(1000);
    }

    assert_eq!(emma.stop().await, Amount::from_sat(6 * MBTC));
    let txid = emma.settled(0).await;
    chain.mine(1).await.unwrap();
    assert_eq!(emma.settled(1).await, txid);

    let settlement = chain.transaction(&txid).await.unwrap().unwrap();
    assert!(settlement.status.is_confirmed());
    let [change, paid] = settlement.vout.as_slice() else { panic!("two outputs") };
    assert_eq!(change.value, Amount::from_sat(30 * MBTC), "exactly the rest, whatever the fee");
    assert_eq!(change.scriptpubkey, seed(1).return_script(0).unwrap());
    assert_eq!(paid.value, Amount::from_sat(6 * MBTC) - settlement.fee);
    assert_eq!(paid.scriptpubkey, payout.script_pubkey());
    assert!(settlement.fee > Amount::ZERO && settlement.fee < Amount::from_sat(1000));
    server.stop().await;
}
