//! The real chain, at fees that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Status, Tip, TxInfo, Utxo};
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, Transaction, Txid};

use super::common::soon;

/// The chain, and what a place in one of the next blocks costs, in sat/vB.
pub(crate) struct Priced {
    chain: KernelChain,
    /// In the next block.
    next: AtomicU32,
    /// Within six blocks.
    soon: AtomicU32,
    /// See [`Priced::go_blind`].
    blind: AtomicBool,
    /// How often it was asked for its tip, with which each pass of the server begins.
    passes: AtomicU64,
}

impl Priced {
    pub(crate) fn new(chain: KernelChain) -> Arc<Self> {
        Arc::new(Self {
            chain,
            next: AtomicU32::new(1),
            soon: AtomicU32::new(1),
            blind: AtomicBool::new(false),
            passes: AtomicU64::new(0),
        })
    }

    pub(crate) fn set(&self, sat_per_vb: u32) {
        self.set_next(sat_per_vb);
        self.soon.store(sat_per_vb, Ordering::SeqCst);
    }

    /// Only of the next block.
    pub(crate) fn set_next(&self, sat_per_vb: u32) {
        self.next.store(sat_per_vb, Ordering::SeqCst);
    }

    /// From now on it cannot say what a transaction pays: as a node that no longer has what the transaction spends.
    pub(crate) fn go_blind(&self) {
        self.blind.store(true, Ordering::SeqCst);
    }

    /// Returns when two passes have begun since: the first of them is complete.
    pub(crate) async fn looked(&self) {
        let before = self.passes.load(Ordering::SeqCst);
        soon("two passes", async {
            while self.passes.load(Ordering::SeqCst) < before + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

#[async_trait::async_trait]
impl Chain for Priced {
    fn network(&self) -> Network {
        self.chain.network()
    }
    async fn tip(&self) -> Result<Tip, ChainError> {
        self.passes.fetch_add(1, Ordering::SeqCst);
        self.chain.tip().await
    }
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        self.chain.block_hash(height).await
    }
    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        self.chain.block_header(hash).await
    }
    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.chain.block(hash).await
    }
    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(ChainError::Unavailable("what it spends is not to be had".into()));
        }
        self.chain.transaction(txid).await
    }
    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        self.chain.raw_transaction(txid).await
    }
    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        self.chain.status(txid).await
    }
    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        self.chain.script_history(script).await
    }
    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        self.chain.script_unspent(script).await
    }
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        self.chain.outspend(outpoint).await
    }
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let rate = |of: &AtomicU32| FeeRate::from_sat_per_vb_u32(of.load(Ordering::SeqCst));
        Ok(FeeEstimates::new(FeeRate::BROADCAST_MIN, [(1, rate(&self.next)), (6, rate(&self.soon))]))
    }
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        self.chain.broadcast(tx).await
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<Change> {
        self.chain.changes()
    }
    fn synced_at(&self) -> Option<Instant> {
        self.chain.synced_at()
    }
}
