//! The real program, killed without warning while payments pour in, and started again.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use common::program::*;
use common::*;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;

const VIEWERS: u8 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_payment_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = program_config(dir.path(), address, 1000, 5_000);
    for name in ["a", "b"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }

    let program = Program::start(&file, address).await;
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        viewers.push(Viewer::open_for(address, number, Unit::Request, 1000).await);
    }
    program.kill();
    let deposits = viewers.iter().map(|viewer| (viewer.payer.params().funding_script(), Amount::from_sat(MBTC)));
    let between = program_chain(dir.path()).await;
    between.send_many(deposits.collect()).await.unwrap();
    between.mine(1).await.unwrap();
    drop(between);

    let mut paid = vec![0; usize::from(VIEWERS)];
    for round in 0..3_u64 {
        let program = Program::start(&file, address).await;
        come_back(&mut viewers, address, round, &paid).await;
        // Everybody pays as fast as the server acknowledges, until it dies.
        let paying = viewers.drain(..).map(|mut viewer| {
            tokio::spawn(async move {
                let mut acknowledged = 0;
                loop {
                    match try_pay(&mut viewer).await {
                        Some(amount) => acknowledged = amount,
                        None => return (viewer, acknowledged),
                    }
                }
            })
        });
        let paying: Vec<_> = paying.collect();
        tokio::time::sleep(Duration::from_millis(300 + 170 * round)).await;
        program.kill();
        for (number, task) in paying.into_iter().enumerate() {
            let (viewer, acknowledged) = soon("a viewer", task).await.unwrap();
            assert!(acknowledged > paid[number], "viewer {number} paid nothing in round {round}");
            paid[number] = acknowledged;
            viewers.push(viewer);
        }
    }

    // Nobody is stuck: streaming goes on, and everybody can end.
    let _program = Program::start(&file, address).await;
    come_back(&mut viewers, address, 3, &paid).await;
    for viewer in &mut viewers {
        viewer
            .socket
            .wait_for("the deposit", |message| matches!(message, Message::FundingSeen { .. }).then_some(()))
            .await;
        assert_eq!(get(address, "/media/a.bin", Some(viewer.token)).await.0, 200);
        assert_eq!(viewer.stop().await, Amount::from_sat(1));
    }
}

/// Everybody comes back and finds what was acknowledged, or what was sent last.
async fn come_back(viewers: &mut [Viewer], address: SocketAddr, round: u64, paid: &[u64]) {
    for (viewer, acknowledged) in viewers.iter_mut().zip(paid) {
        let state = viewer.reattach(address).await;
        let stored = state.paid.map_or(0, |paid| paid.cumulative.to_sat());
        assert!(stored >= *acknowledged, "round {round}: {acknowledged} were acknowledged, {stored} are stored");
        assert!(stored <= viewer.payer.paid().to_sat());
        if viewer.payer.funding().is_none() {
            let told = viewer.socket.wait_for("the deposit", |message| match message {
                Message::FundingSeen { funding: Some(funding), confirmations: 1.., .. } => Some(funding),
                _ => None,
            });
            let told = told.await;
            viewer.trust_funding(told);
        }
    }
}

/// Pays one satoshi more; `None` once the server is gone.
async fn try_pay(viewer: &mut Viewer) -> Option<u64> {
    viewer.receive(1);
    let next = viewer.payer.received();
    viewer.try_pay_for(next).await
}
