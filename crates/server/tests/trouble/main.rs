//! What goes wrong with one channel, one question or one server harms no other, and keeps no money from being collected.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod empty;
mod fees;
mod unseen;
mod visitors;

use std::sync::Arc;
use std::time::Duration;

use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ScriptHash, TxInfo};
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::tariff::Unit;
use rillpay_server::Config;

use self::common::odd::Odd;
use self::common::*;

const DEPOSIT: Amount = Amount::from_sat(36 * MBTC);
/// A thousand satoshi a piece, a look at least every two seconds, and no long waiting for a payment.
const USUAL: [(&str, &str); 4] = [
    ("tariff.unit", "\"request\""),
    ("tariff.price_msat", "1_000_000"),
    ("chain.max_age_seconds", "6"),
    ("content.wait_milliseconds", "100"),
];

/// A server in front of the embedded chain.
struct Place {
    dir: tempfile::TempDir,
    chain: KernelChain,
    odd: Arc<Odd>,
    server: Option<Running>,
}

impl Place {
    async fn new(more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = kernel().await;
        let odd = Odd::new(chain.clone());
        let mut place = Self { dir, chain, odd, server: None };
        place.start(more).await;
        for name in ["a", "b", "c"] {
            media(place.dir.path(), &format!("{name}.bin"), b"content");
        }
        place
    }

    fn config(&self, more: &[(&str, &str)]) -> Config {
        let keys: Vec<_> = USUAL.iter().chain(more).copied().collect();
        config(self.dir.path(), &self.chain.wallet_address().unwrap(), &keys)
    }

    async fn start(&mut self, more: &[(&str, &str)]) {
        self.server = Some(Running::start(self.config(more), self.odd.clone()).await);
    }

    fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().unwrap().address
    }

    async fn get(&self, path: &str, viewer: &Viewer) -> u16 {
        get(self.address(), path, Some(viewer.token)).await.0
    }

    /// A viewer who has paid for three pieces and got one.
    async fn watching(&self, number: u8) -> Viewer {
        let mut viewer = Viewer::open_for(self.address(), number, Unit::Request, 1_000_000).await;
        viewer.fund(&self.chain, DEPOSIT).await;
        viewer.pay_for(3).await;
        assert_eq!(self.get("/media/a.bin", &viewer).await, 200);
        viewer
    }

    async fn mine_to(&self, height: u32) {
        self.chain.mine(height - self.chain.tip().await.unwrap().height).await.unwrap();
    }

    /// What spends this viewer's deposit, as soon as something does.
    async fn settlement(&self, viewer: &Viewer) -> TxInfo {
        let deposit = viewer.payer.funding().unwrap().outpoint;
        soon("a settlement", async {
            loop {
                if let Some(spending) = self.chain.outspend(&deposit).await.unwrap().spending() {
                    return self.chain.transaction(&spending.txid).await.unwrap().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

/// The hash of the address of a viewer's channel.
fn script(viewer: &Viewer) -> ScriptHash {
    ScriptHash::of(&viewer.payer.params().funding_script())
}
