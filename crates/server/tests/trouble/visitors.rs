//! Visitors who ask the server about the chain, more than it bears.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_server::esplora;
use tokio::net::TcpListener;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn visitors_wait_for_each_other_and_those_who_are_too_many_are_turned_away() {
    let odd = Odd::new(kernel().await);
    let hold = odd.hold_unspent().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().nest("/esplora", esplora::router(odd.clone()));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let turned_away = Arc::new(AtomicU32::new(0));
    let asked: Vec<_> = (0..100_u32)
        .map(|number| {
            let path = format!("/esplora/scripthash/{}/utxo", sha256::Hash::hash(&number.to_be_bytes()));
            let turned_away = Arc::clone(&turned_away);
            tokio::spawn(async move {
                let (status, _) = get(address, &path, None).await;
                turned_away.fetch_add(u32::from(status == 503), Ordering::SeqCst);
                status
            })
        })
        .collect();
    soon("too many", async {
        while turned_away.load(Ordering::SeqCst) < 36 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(odd.oddity().asked.len(), 4, "so many are answered at a time");
    drop(hold);
    let mut answered = 0;
    for asked in asked {
        answered += u32::from(asked.await.unwrap() == 200);
    }
    assert_eq!((answered, turned_away.load(Ordering::SeqCst)), (64, 36));
    assert_eq!(get(address, "/esplora/blocks/tip/height", None).await.0, 200, "there is room again");
}
