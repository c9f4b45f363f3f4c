//! Towards a channel's end: margins that grow with the fee rate, and what a server does first that was down for long.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::*;
use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Status, Tip, TxInfo, Unfit, Utxo};
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::{Amount, Block, BlockHash, FeeRate, Network, OutPoint, Transaction, Txid};
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;
use rillpay_server::Config;

const BY_REQUEST: [(&str, &str); 2] = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1_000_000")];
/// The margins of the tests' configuration.
const STOP: u32 = 20;
const CLOSE: u32 = 10;

/// The real chain behind a backend that may be behind it, with fees of its own and a slow way to the network.
struct Backend {
    chain: KernelChain,
    behind: AtomicBool,
    sat_per_vb: AtomicU32,
    broadcast_takes: Duration,
}

impl Backend {
    fn new(chain: &KernelChain, broadcast_takes: Duration) -> Arc<Self> {
        let (behind, sat_per_vb) = (AtomicBool::new(false), AtomicU32::new(1));
        Arc::new(Self { chain: chain.clone(), behind, sat_per_vb, broadcast_takes })
    }

    /// Answers, or says as a node does that it has not caught up.
    fn caught_up(&self) -> Result<&KernelChain, ChainError> {
        if self.behind.load(Ordering::Relaxed) {
            return Err(ChainError::Unfit { why: Unfit::Behind, detail: "syncing".into() });
        }
        Ok(&self.chain)
    }
}

#[async_trait::async_trait]
impl Chain for Backend {
    fn network(&self) -> Network {
        self.chain.network()
    }
    async fn tip(&self) -> Result<Tip, ChainError> {
        self.caught_up()?.tip().await
    }
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        self.caught_up()?.block_hash(height).await
    }
    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        self.caught_up()?.block_header(hash).await
    }
    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.caught_up()?.block(hash).await
    }
    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        self.caught_up()?.transaction(txid).await
    }
    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        self.caught_up()?.raw_transaction(txid).await
    }
    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        self.caught_up()?.status(txid).await
    }
    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        self.caught_up()?.script_history(script).await
    }
    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        self.caught_up()?.script_unspent(script).await
    }
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        self.caught_up()?.outspend(outpoint).await
    }
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let rate = FeeRate::from_sat_per_vb_u32(self.sat_per_vb.load(Ordering::Relaxed));
        self.caught_up().map(|_| FeeEstimates::new(FeeRate::BROADCAST_MIN, [(1, rate)]))
    }
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        tokio::time::sleep(self.broadcast_takes).await;
        self.caught_up()?.broadcast(tx).await
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<Change> {
        self.chain.changes()
    }
    fn synced_at(&self) -> Option<Instant> {
        self.caught_up().ok()?.synced_at()
    }
}

struct Place {
    dir: tempfile::TempDir,
    chain: KernelChain,
    config: Config,
}

async fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &BY_REQUEST);
    for name in ["a", "b"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    Place { dir, chain, config }
}

/// A viewer who has watched one piece, and paid for more than a settlement costs.
async fn emma(server: &Running, chain: &KernelChain) -> Viewer {
    let mut emma = Viewer::open_for(server.address, 1, Unit::Request, 1_000_000).await;
    emma.fund(chain, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(30).await;
    assert_eq!(get(server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    emma
}

/// Blocks up to this height.
async fn mine_to(chain: &KernelChain, height: u32) {
    let tip = chain.tip().await.unwrap().height;
    chain.mine(height - tip).await.unwrap();
}

/// Waits until the session is told of this height.
async fn heard(viewer: &mut Viewer, height: u32) {
    let told = |message| matches!(message, Message::FundingSeen { tip, .. } if tip >= height).then_some(());
    viewer.socket.wait_for("the height", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_fees_are_high_the_server_stops_earlier_and_settles_earlier() {
    let place = place().await;
    let backend = Backend::new(&place.chain, Duration::ZERO);
    let server = Running::start(place.config.clone(), backend.clone()).await;
    let mut emma = emma(&server, &place.chain).await;
    let expiry = emma.payer.params().expiry;

    // Twice the calm rate: twice the margins.
    backend.sat_per_vb.store(20, Ordering::Relaxed);
    mine_to(&place.chain, expiry - 2 * STOP).await;
    heard(&mut emma, expiry - 2 * STOP).await;
    let (status, problem) = get(server.address, "/media/b.bin", Some(emma.token)).await;
    assert_eq!(status, 410);
    assert!(problem.contains("expiring"), "{problem}");
    let answer = emma.pay_for(31).await;
    assert!(matches!(&answer, Message::Refused(refusal) if refusal.code == "expiring"), "{answer:?}");
    // A channel that is opened now is served, and needs no other terms.
    let mut bob = Viewer::open_for(server.address, 2, Unit::Request, 1_000_000).await;
    bob.fund(&place.chain, Amount::from_sat(36 * MBTC)).await;
    assert!(matches!(bob.pay_for(1).await, Message::Ack { .. }));

    // The fees fall, and the service goes on.
    backend.sat_per_vb.store(10, Ordering::Relaxed);
    mine_to(&place.chain, expiry - 2 * STOP + 5).await;
    heard(&mut emma, expiry - 2 * STOP + 5).await;
    assert_eq!(get(server.address, "/media/b.bin", Some(emma.token)).await.0, 200);
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "nothing was settled");

    // They rise again.
    backend.sat_per_vb.store(20, Ordering::Relaxed);
    mine_to(&place.chain, expiry - 2 * CLOSE).await;
    let txid = emma.settled(0).await;
    let fee = place.chain.transaction(&txid).await.unwrap().unwrap().fee;
    assert!(fee >= Amount::from_sat(4_000), "at the rate for the next block: {fee}");
    drop(place.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fell_due_while_the_server_was_down_is_settled_before_the_first_visitor() {
    let place = place().await;
    let backend = Backend::new(&place.chain, Duration::from_secs(1));
    let server = Running::start(place.config.clone(), backend.clone()).await;
    let emma = emma(&server, &place.chain).await;
    let due = emma.payer.params().close_height();
    drop(emma.socket);
    server.stop().await;
    // The last moment: a refund could be in the next block but one.
    mine_to(&place.chain, due + CLOSE - 1).await;

    let server = Running::start(place.config.clone(), backend).await;
    assert_eq!(get(server.address, "/healthz", None).await.0, 200);
    assert_eq!(place.chain.mempool_len().unwrap(), 1, "somebody was served first");
    place.chain.mine(1).await.unwrap();
    let spending = place.chain.outspend(&emma.payer.funding().unwrap().outpoint).await.unwrap().spending().unwrap();
    assert!(spending.status.is_confirmed());
    drop(place.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_backend_catches_up_nothing_is_accepted_and_what_is_due_comes_first() {
    let place = place().await;
    let backend = Backend::new(&place.chain, Duration::from_secs(1));
    let server = Running::start(place.config.clone(), backend.clone()).await;
    let mut emma = emma(&server, &place.chain).await;
    let due = emma.payer.params().close_height();
    server.stop().await;
    mine_to(&place.chain, due).await;

    backend.behind.store(true, Ordering::Relaxed);
    let server = Running::start(place.config.clone(), backend.clone()).await;
    // Visitors are told after a while, not kept waiting.
    assert_eq!(get(server.address, "/healthz", None).await.0, 503);
    emma.reattach(server.address).await;
    let answer = emma.pay_for(31).await;
    assert!(matches!(&answer, Message::Refused(refusal) if refusal.code == "unavailable"), "{answer:?}");
    assert_eq!(get(server.address, "/media/b.bin", Some(emma.token)).await.0, 503);
    assert_eq!(place.chain.mempool_len().unwrap(), 0);

    backend.behind.store(false, Ordering::Relaxed);
    soon("the backend's return", health(server.address, 200)).await;
    assert_eq!(place.chain.mempool_len().unwrap(), 1, "somebody was served first");
    drop(place.dir);
}
