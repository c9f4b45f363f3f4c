//! Bitcoin Core's own validation code inside this process, on regtest.
//!
//! Nothing to install and nothing to connect to, and yet the real rules: blocks and scripts are judged by the same
//! C++ that judges them on the network. Around it stand the parts that the kernel library leaves out:
//!
//! ```text
//!   KernelChain ── lock ── node ─┬─ engine    the kernel and its block files
//!   (async, shared)              ├─ index     who paid whom, by script and by outpoint
//!                                ├─ mempool ── rules     what the next block may hold
//!                                ├─ miner     makes the next block, or another branch
//!                                ├─ wallet    receives the rewards, pays deposits
//!                                └─ store     folder lock, waiting transactions
//! ```
//!
//! Queries take the lock for microseconds and run in place. What validates (broadcast, blocks, payments) runs on
//! Tokio's blocking threads, one block per turn of the lock, so that queries are answered in between.
//!
//! The chain survives a restart and a killed process: see [`KernelConfig::data_dir`].

#[cfg(test)]
mod agreement;
mod engine;
mod index;
mod mempool;
mod miner;
mod node;
mod rules;
mod store;
mod wallet;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{
    Address, Amount, Block, BlockHash, FeeRate, Network, OutPoint, Script, ScriptBuf, Transaction, TxOut, Txid,
};
use tokio::sync::watch;

use self::node::Node;
use self::store::Store;
use crate::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Status, Tip, TxInfo, Utxo};

/// The targets for which Esplora gives estimates that somebody asks for. All are answered by the relay floor: the
/// next block takes everything.
const FEE_TARGETS: [u16; 6] = [1, 2, 3, 6, 144, 1008];

/// How to run an embedded chain.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Where block files and waiting transactions are kept. One process at a time. `None` keeps everything in memory
    /// and a temporary folder that is removed when the chain is dropped.
    ///
    /// Killing the process loses nothing. A power failure may lose the newest blocks, as nothing is forced to disk.
    pub data_dir: Option<PathBuf>,
    /// The lowest fee rate that the mempool takes, and the least by which a replacement must pay more for its size.
    pub min_relay: FeeRate,
    /// What the demo wallet offers.
    pub wallet_fee_rate: FeeRate,
    /// The height up to which blocks are made at start. A reward can be spent 100 blocks later, so 120 gives the
    /// wallet about 20 coins of 50 BTC. 0 makes none.
    pub initial_blocks: u32,
}

impl Default for KernelConfig {
    fn default() -> Self {
        KernelConfig {
            data_dir: None,
            min_relay: FeeRate::BROADCAST_MIN,
            wallet_fee_rate: FeeRate::from_sat_per_vb_u32(2),
            initial_blocks: 120,
        }
    }
}

/// A regtest chain in this process: a [`Chain`], a block maker and a wallet. Clones share it.
#[derive(Clone)]
pub struct KernelChain {
    node: Arc<Mutex<Node>>,
    changes: Arc<watch::Sender<Change>>,
}

impl KernelChain {
    /// Opens or creates the chain, validates every block in it and makes the initial ones. Takes one or two
    /// milliseconds a block.
    ///
    /// # Errors
    ///
    /// [`ChainError::Storage`] or [`ChainError::Unavailable`], for instance when another process uses the folder.
    pub async fn open(config: KernelConfig) -> Result<Self, ChainError> {
        blocking(move || {
            let store = match &config.data_dir {
                Some(dir) => Store::at(dir)?,
                None => Store::temporary()?,
            };
            let mut node = Node::open(&config, store)?;
            while node.tip()?.height < config.initial_blocks {
                let payout = node.wallet().script().to_owned();
                node.mine(&payout)?;
            }
            let (changes, _) = watch::channel(node.change()?);
            Ok(KernelChain { node: Arc::new(Mutex::new(node)), changes: Arc::new(changes) })
        })
        .await
    }

    /// Makes `count` blocks whose rewards go to the demo wallet; the first holds what waits in the mempool, as far as
    /// there is room. Returns their hashes, oldest first.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] when the kernel takes no blocks; those made before stay.
    pub async fn mine(&self, count: u32) -> Result<Vec<BlockHash>, ChainError> {
        let script = self.wallet_address()?.script_pubkey();
        self.mine_to(count, &script).await
    }

    /// As [`mine`](Self::mine), with the rewards paid to a script.
    ///
    /// # Errors
    ///
    /// As [`mine`](Self::mine).
    pub async fn mine_to(&self, count: u32, payout: &Script) -> Result<Vec<BlockHash>, ChainError> {
        let mut made = Vec::new();
        for _ in 0..count {
            let payout = payout.to_owned();
            made.push(self.change(move |node| node.mine(&payout)).await?);
        }
        Ok(made)
    }

    /// Abandons the newest `depth` blocks for a branch that is one block longer and holds no transactions. What they
    /// confirmed goes back to the mempool where it is still valid, except the transactions in `forget` and whatever
    /// spends from them: they are gone, as if they had never been seen.
    ///
    /// # Errors
    ///
    /// [`ChainError::Misuse`] when the chain is not that deep.
    pub async fn reorganise(&self, depth: u32, forget: &[Txid]) -> Result<(), ChainError> {
        let forget: HashSet<Txid> = forget.iter().copied().collect();
        self.change(move |node| node.reorganise(depth, &forget)).await
    }

    /// Pays `amount` to a script from the demo wallet and broadcasts it. Unconfirmed change may be spent again at once.
    ///
    /// # Errors
    ///
    /// [`ChainError::InsufficientFunds`], or a refusal, for instance for dust.
    pub async fn send(&self, to: &Script, amount: Amount) -> Result<Txid, ChainError> {
        self.send_many(vec![(to.to_owned(), amount)]).await
    }

    /// Pays several scripts in one transaction; output *i* is payment *i*, the change comes last.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_many(&self, payments: Vec<(ScriptBuf, Amount)>) -> Result<Txid, ChainError> {
        let output = |(script_pubkey, value)| TxOut { value, script_pubkey };
        let outputs = payments.into_iter().map(output).collect();
        self.change(move |node| node.pay(outputs)).await
    }

    /// What the demo wallet could spend in the next block.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] after the engine stopped.
    pub fn wallet_balance(&self) -> Result<Amount, ChainError> {
        let coins = self.look()?.spendable();
        Ok(total(coins.iter().map(|coin| coin.output.value)).unwrap_or(Amount::MAX_MONEY))
    }

    /// Where the demo wallet is paid.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] after the engine stopped.
    pub fn wallet_address(&self) -> Result<Address, ChainError> {
        Address::from_script(self.look()?.wallet().script(), Network::Regtest)
            .map_err(|_| ChainError::Misuse("the wallet's script has no address"))
    }

    /// How many transactions wait for a block.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] after the engine stopped.
    pub fn mempool_len(&self) -> Result<usize, ChainError> {
        Ok(self.look()?.mempool_len())
    }

    /// The node, for a short look.
    fn look(&self) -> Result<MutexGuard<'_, Node>, ChainError> {
        let stopped = || ChainError::Unavailable("the embedded chain has stopped".to_owned());
        // A poisoned lock means that a change broke off half-way: nothing the node says can be relied on.
        let node = self.node.lock().map_err(|_| stopped())?;
        if node.is_sound() { Ok(node) } else { Err(stopped()) }
    }

    /// Changes the node on a blocking thread and tells the watchers, also when it failed half-way.
    async fn change<T, F>(&self, work: F) -> Result<T, ChainError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Node) -> Result<T, ChainError> + Send + 'static,
    {
        let chain = self.clone();
        blocking(move || {
            let mut node = chain.look()?;
            let result = work(&mut node);
            let change = node.change()?;
            chain.changes.send_if_modified(|last| std::mem::replace(last, change) != change);
            result
        })
        .await
    }
}

/// The sum, unless it leaves the range of amounts.
fn total(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
}

/// Runs what takes milliseconds, or waits for the disk, away from the async threads.
async fn blocking<T, F>(work: F) -> Result<T, ChainError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ChainError> + Send + 'static,
{
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|e| Err(ChainError::Unavailable(format!("the embedded chain broke off: {e}"))))
}

#[async_trait]
impl Chain for KernelChain {
    fn network(&self) -> Network {
        Network::Regtest
    }

    async fn tip(&self) -> Result<Tip, ChainError> {
        self.look()?.tip()
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok(self.look()?.block_hash(height))
    }

    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        Ok(self.block(hash).await?.map(|block| block.header))
    }

    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.look()?.engine().block(hash)
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        Ok(self.look()?.tx_info(txid))
    }

    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        Ok(self.look()?.tx(txid).map(|(tx, _)| Transaction::clone(tx)))
    }

    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        Ok(self.look()?.status(txid))
    }

    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        Ok(self.look()?.history(script))
    }

    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        Ok(self.look()?.unspent(script))
    }

    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        Ok(self.look()?.outspend(outpoint))
    }

    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let floor = self.look()?.policy().min_relay;
        Ok(FeeEstimates::new(floor, FEE_TARGETS.map(|target| (target, floor))))
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        let tx = tx.clone();
        self.change(move |node| node.broadcast(tx)).await
    }

    fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Now, as the node is this process; `None` once the engine reported that it cannot go on.
    fn synced_at(&self) -> Option<Instant> {
        self.look().ok().map(|_| Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    /// A change that breaks off half-way may have left index and mempool out of step: better no answer than a wrong one.
    #[tokio::test]
    async fn a_broken_node_answers_nothing() {
        let chain = KernelChain::open(KernelConfig { initial_blocks: 1, ..KernelConfig::default() }).await.unwrap();
        assert!(chain.synced_at().is_some());
        let broken: Result<(), _> = chain.change(|_| panic!("this test breaks it")).await;
        assert_eq!(broken.unwrap_err().fault(), Fault::Environment);
        assert_eq!(chain.synced_at(), None);
        assert_eq!(chain.tip().await.unwrap_err().code(), "chain-unavailable");
    }
}
