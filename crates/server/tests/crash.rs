//! The real program, killed without warning while payments pour in, and started again.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;

const VIEWERS: u8 = 12;

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    async fn start(config: &Path, address: SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_rillpay-server"))
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self(child);
        soon("the program's start", async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        program
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The program's chain, while the program does not run.
async fn chain(dir: &Path) -> KernelChain {
    let data_dir = Some(dir.join("data/chain"));
    KernelChain::open(KernelConfig { data_dir, ..KernelConfig::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_payment_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("media")).unwrap();
    for name in ["a", "b"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = dir.path().join("rillpay.toml");
    let text = format!(
        "listen = \"{address}\"\nnetwork = \"regtest\"\ndata_dir = \"data\"\norigin = \"{ORIGIN}\"\n\
         payout = \"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"\n\
         [chain]\nbackend = \"kernel\"\n[tariff]\nunit = \"request\"\nprice_msat = 1000\n\
         [deposit]\nmin_sat = 10_000\nmax_sat = 10_000_000\nconfirmations = 1\n\
         [channel]\nlifetime_blocks = 100\nstop_margin_blocks = 20\nclose_margin_blocks = 10\n\
         [settlement]\nmerge_delay_seconds = 0\n[content]\nfolder = \"media\"\n\
         [limits]\nframes_per_second = 100_000\nopens_per_minute = 1000\n"
    );
    std::fs::write(&file, text).unwrap();

    let program = Program::start(&file, address).await;
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        viewers.push(Viewer::open_for(address, number, Unit::Request, 1000).await);
    }
    program.kill();
    let deposits = viewers.iter().map(|viewer| (viewer.payer.params().funding_script(), Amount::from_sat(MBTC)));
    let between = chain(dir.path()).await;
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
