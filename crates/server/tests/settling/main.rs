//! How the server gets its money into the chain: when, at what fee, to which address, and against whom.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod core;
mod ladder;
mod rivals;
mod status;
mod timing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, TxInfo};
use rillpay_channel::bitcoin::{Amount, Txid};
use rillpay_channel::tariff::Unit;
use rillpay_server::Config;

use self::common::odd::Odd;
use self::common::*;

const BY_REQUEST: [(&str, &str); 2] = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1_000_000")];
/// The chain is looked at every two seconds even where it does not change.
const OFTEN: (&str, &str) = ("chain.max_age_seconds", "6");
const DEPOSIT: Amount = Amount::from_sat(36 * MBTC);

/// A server on the embedded chain, with fees as the test says.
struct Place {
    dir: tempfile::TempDir,
    chain: KernelChain,
    fees: Arc<Odd>,
    config: Config,
    server: Option<Running>,
}

impl Place {
    async fn new(more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = kernel().await;
        let keys: Vec<_> = BY_REQUEST.iter().chain(&[OFTEN]).chain(more).copied().collect();
        let config = config(dir.path(), &chain.wallet_address().unwrap(), &keys);
        for name in ["a", "b", "c"] {
            media(dir.path(), &format!("{name}.bin"), b"content");
        }
        let fees = Odd::new(chain.clone());
        let mut place = Self { dir, chain, fees, config, server: None };
        place.start().await;
        place
    }

    async fn start(&mut self) {
        self.server = Some(Running::start(self.config.clone(), self.fees.clone()).await);
    }

    async fn stop(&mut self) {
        self.server.take().unwrap().stop().await;
    }

    fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().address
    }

    /// A viewer who has paid for a number of pieces, at 1,000 satoshi each, and got them.
    async fn watched(&self, number: u8, pieces: usize) -> Viewer {
        let mut viewer = Viewer::open_for(self.address(), number, Unit::Request, 1_000_000).await;
        viewer.fund(&self.chain, DEPOSIT).await;
        for (total, path) in (1..).zip(["/media/a.bin", "/media/b.bin", "/media/c.bin"]).take(pieces) {
            viewer.pay_for(total).await;
            assert_eq!(get(self.address(), path, Some(viewer.token)).await.0, 200);
        }
        viewer
    }

    async fn closed(&self, number: u8, pieces: usize) -> Viewer {
        let mut viewer = self.watched(number, pieces).await;
        assert_eq!(viewer.stop().await, Amount::from_sat(1_000 * pieces as u64));
        viewer
    }

    /// The chain grows by this many blocks, in none of which there is room for what waits.
    async fn full_blocks(&self, count: u32) {
        self.full_blocks_to(self.chain.tip().await.unwrap().height + count).await;
    }

    async fn full_blocks_to(&self, height: u32) {
        full_blocks_to(&self.chain, height).await;
    }

    /// What waits to spend this viewer's deposit, as soon as it is another transaction than `before`.
    async fn settlement(&self, viewer: &Viewer, before: Option<Txid>) -> TxInfo {
        let deposit = viewer.payer.funding().unwrap().outpoint;
        soon("a settlement", async {
            loop {
                let spending = self.chain.outspend(&deposit).await.unwrap().spending();
                if let Some(spending) = spending.filter(|spending| Some(spending.txid) != before) {
                    return self.chain.transaction(&spending.txid).await.unwrap().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// Waits until the server has made a pass that began after this call, however long that takes.
    async fn looked(&self) {
        self.fees.looked().await;
    }
}

/// What a settlement gives back to viewers, in satoshi.
fn changes(settlement: &TxInfo) -> BTreeSet<u64> {
    let (_, changes) = settlement.vout.split_last().unwrap();
    changes.iter().map(|output| output.value.to_sat()).collect()
}
