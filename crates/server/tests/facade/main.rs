//! Esplora's API in front of the embedded chain, asked by our own backend for Esplora, and by a wallet that we did not
//! write. The contract of all backends holds through the first.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../chain/tests/contract/mod.rs"]
mod contract;
mod garbage;
mod wallet;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bitcoin::{Amount, Network, ScriptBuf, Txid};
use rillpay_chain::Chain;
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_server::esplora;
use tokio::net::TcpListener;

/// A kernel chain, and an Esplora in front of it.
pub(crate) struct Facade {
    kernel: KernelChain,
    chain: EsploraChain,
}

impl Facade {
    pub(crate) async fn start() -> Self {
        let kernel = KernelChain::open(KernelConfig::default()).await.unwrap();
        let url = serve(&kernel).await;
        let options = EsploraOptions { poll: Duration::from_millis(20), ..EsploraOptions::new(url, Network::Regtest) };
        let chain = EsploraChain::connect(options).await.unwrap();
        assert!(chain.trouble().is_none());
        Self { kernel, chain }
    }

    /// Waits until the backend sees what the chain behind has.
    async fn settle(&self) {
        let tip = self.kernel.tip().await.unwrap();
        let mut changes = self.chain.changes();
        let seen = changes.wait_for(|change| change.tip == tip);
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it sees the block").unwrap();
    }
}

/// The URL of an Esplora in front of a chain.
pub(crate) async fn serve(kernel: &KernelChain) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().nest("/esplora", esplora::router(Arc::new(kernel.clone())));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/esplora")
}

#[async_trait::async_trait]
impl contract::Rig for Facade {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.chain.clone())
    }

    async fn mine(&self, count: u32) {
        self.kernel.mine(count).await.unwrap();
        self.settle().await;
    }

    async fn reorganise(&self, depth: u32) {
        self.kernel.reorganise(depth, &[]).await.unwrap();
        self.settle().await;
    }

    async fn send(&self, to: &ScriptBuf, amount: Amount) -> Txid {
        self.kernel.send(to, amount).await.unwrap()
    }
}

mod backend {
    crate::contract!(super::Facade::start());
}
