//! A Bitcoin Core node, over JSON-RPC.

mod options;

use std::convert::Infallible;
use std::time::Instant;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, Network, OutPoint, Script, Transaction, Txid};
use tokio::sync::watch;

pub use self::options::{Auth, BitcoindOptions};
use crate::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Status, Tip, TxInfo, Utxo};

/// A Bitcoin Core node as a [`Chain`]. Clones share the connection.
#[derive(Clone)]
pub struct BitcoindChain(Infallible);

impl BitcoindChain {
    /// Connects to a node.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] when the URL cannot be used or the node is on another network.
    pub async fn connect(options: BitcoindOptions) -> Result<Self, ChainError> {
        Err(ChainError::Unavailable(format!("no connection to {} yet", options.url)))
    }
}

#[async_trait]
impl Chain for BitcoindChain {
    fn network(&self) -> Network {
        match self.0 {}
    }
    async fn tip(&self) -> Result<Tip, ChainError> {
        match self.0 {}
    }
    async fn block_hash(&self, _: u32) -> Result<Option<BlockHash>, ChainError> {
        match self.0 {}
    }
    async fn block_header(&self, _: &BlockHash) -> Result<Option<Header>, ChainError> {
        match self.0 {}
    }
    async fn block(&self, _: &BlockHash) -> Result<Option<Block>, ChainError> {
        match self.0 {}
    }
    async fn transaction(&self, _: &Txid) -> Result<Option<TxInfo>, ChainError> {
        match self.0 {}
    }
    async fn raw_transaction(&self, _: &Txid) -> Result<Option<Transaction>, ChainError> {
        match self.0 {}
    }
    async fn status(&self, _: &Txid) -> Result<Option<Status>, ChainError> {
        match self.0 {}
    }
    async fn follow(&self, _: &Script, _: u32) -> Result<(), ChainError> {
        match self.0 {}
    }
    async fn script_history(&self, _: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        match self.0 {}
    }
    async fn script_unspent(&self, _: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        match self.0 {}
    }
    async fn outspend(&self, _: &OutPoint) -> Result<Outspend, ChainError> {
        match self.0 {}
    }
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        match self.0 {}
    }
    async fn broadcast(&self, _: &Transaction) -> Result<Txid, ChainError> {
        match self.0 {}
    }
    fn changes(&self) -> watch::Receiver<Change> {
        match self.0 {}
    }
    fn synced_at(&self) -> Option<Instant> {
        match self.0 {}
    }
}
