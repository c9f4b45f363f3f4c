//! The one question-and-answer interface to a chain, whoever answers.

use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::{Block, BlockHash, Network, OutPoint, Script, Transaction, TxOut, Txid, block::Header};
use rillpay_runtime::time::Instant;
use tokio::sync::watch;

use crate::{ChainError, FeeEstimates, Outspend, PaidOutput, ScriptHash, Status, Tip, TxInfo, Utxo};

/// Counts what has changed since the backend started, so that a watcher sleeps until there is something to look at.
///
/// A [`watch`] channel keeps only the newest value: a slow watcher misses intermediate values, never the fact that
/// something changed. It therefore asks the chain afresh instead of interpreting the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tip when this value was sent.
    pub tip: Tip,
    /// Rises whenever the tip moves, forwards or to another branch.
    pub blocks: u64,
    /// Rises whenever a transaction enters or leaves the mempool other than by being confirmed.
    pub mempool: u64,
}

/// What a backend can say about its chain, and the one thing it can be asked to do: broadcast.
///
/// Each method names the Esplora endpoint that it corresponds to. "Not there" is an answer (`None`, an empty list),
/// never an error. The trait is object-safe: the server picks a backend from its configuration and holds an
/// `Arc<dyn Chain>`.
///
/// # Errors
///
/// Every query may fail with [`ChainError::Unavailable`] or [`ChainError::Unfit`], which say nothing about the chain. Only
/// [`broadcast`](Self::broadcast) answers [`ChainError::Refused`].
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait Chain: Send + Sync {
    /// The network, for addresses. Fixed for the life of the backend.
    fn network(&self) -> Network;

    /// The best block: `GET /blocks/tip/height` and `/blocks/tip/hash`, taken together so that they agree.
    async fn tip(&self) -> Result<Tip, ChainError>;

    /// The hash of the best chain's block at `height`: `GET /block-height/:height`.
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError>;

    /// A block's header, whether or not it is on the best chain: `GET /block/:hash/header`.
    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError>;

    /// A whole block, whether or not it is on the best chain: `GET /block/:hash/raw`.
    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError>;

    /// A transaction, confirmed or in the mempool, with the outputs it spends: `GET /tx/:txid`.
    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError>;

    /// The transaction itself, as it travels: `GET /tx/:txid/hex` (or `/raw`).
    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError>;

    /// Where a transaction stands: `GET /tx/:txid/status`. `None` when it is neither confirmed nor in the mempool.
    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError>;

    /// Asks a backend without an index of scripts to follow this one from block `since` on, before any query by its
    /// hash. Repeating it is harmless; backends that index every script do nothing.
    async fn follow(&self, script: &Script, since: u32) -> Result<(), ChainError> {
        let _ = (script, since);
        Ok(())
    }

    /// Ends [`follow`](Self::follow): nobody will ask about the script any more. Repeating it is harmless.
    async fn unfollow(&self, script: &ScriptHash) -> Result<(), ChainError> {
        let _ = script;
        Ok(())
    }

    /// Every transaction that pays to or spends from a script, unconfirmed first, then newest first:
    /// `GET /scripthash/:hash/txs` (and `/address/:address/txs`), here without paging.
    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError>;

    /// The outputs of a script that nothing spends, mempool included: `GET /scripthash/:hash/utxo`
    /// (and `/address/:address/utxo`).
    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError>;

    /// Every output ever paid to a script, **spent ones too**, in the order of
    /// [`script_history`](Self::script_history). People pay twice; a refund must find all of it.
    async fn script_outputs(&self, script: &ScriptHash) -> Result<Vec<PaidOutput>, ChainError> {
        let history = self.script_history(script).await?;
        Ok(history.iter().flat_map(|tx| tx.outputs_to(script)).collect())
    }

    /// Whether and by what an output is spent: `GET /tx/:txid/outspend/:vout`. Like Esplora, an output that does not
    /// exist is [`Outspend::Unspent`]: ask for the transaction first where that matters.
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError>;

    /// The output, if a block holds it and none spends it: also one that nobody follows, with a backend without indexes.
    async fn coin(&self, outpoint: &OutPoint) -> Result<Option<TxOut>, ChainError> {
        if !self.status(&outpoint.txid).await?.is_some_and(|status| status.is_confirmed()) {
            return Ok(None);
        }
        let is_spent = match self.outspend(outpoint).await? {
            Outspend::Spent(spending) => spending.status.is_confirmed(),
            Outspend::Unspent => false,
        };
        let transaction = self.raw_transaction(&outpoint.txid).await?.filter(|_| !is_spent);
        let index = usize::try_from(outpoint.vout).ok();
        Ok(transaction.zip(index).and_then(|(transaction, index)| transaction.output.get(index).cloned()))
    }

    /// Fee rates by confirmation target: `GET /fee-estimates`.
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError>;

    /// Hands a transaction to the network: `POST /tx`. Success means that the backend's mempool holds it, whether it
    /// came now or before, so a repeated broadcast is harmless until the transaction is confirmed; after that the
    /// refusal is [`Reason::AlreadyKnown`](crate::Reason::AlreadyKnown).
    ///
    /// # Errors
    ///
    /// [`ChainError::Refused`] with the node's reason, otherwise [`ChainError::Unavailable`] when the verdict is unknown.
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError>;

    /// Hands over a parent and a child that pays for both, together where the backend can ([`Chain::submit_package`]), else one
    /// after the other. Success means that the backend's mempool holds both.
    ///
    /// # Errors
    ///
    /// As [`Chain::broadcast`].
    async fn broadcast_package(&self, parent: &Transaction, child: &Transaction) -> Result<(), ChainError> {
        if self.submit_package([parent, child]).await? {
            return Ok(());
        }
        self.broadcast(parent).await?;
        self.broadcast(child).await.map(drop)
    }

    /// Hands over a parent and its child together: `POST /txs/package`. A node that would refuse the parent by itself, because its
    /// mempool is full of dearer ones, looks at what both pay. `false` where the backend knows of no packages: nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`Chain::broadcast`].
    async fn submit_package(&self, _: [&Transaction; 2]) -> Result<bool, ChainError> {
        Ok(false)
    }

    /// The same chain, for the questions of visitors: they may ask for anything, and what that takes is not taken from whoever
    /// asks here. `None` where their questions are no burden.
    fn for_visitors(&self) -> Option<Arc<dyn Chain>> {
        None
    }

    /// Follows changes of tip and mempool. The receiver has the current value marked as seen.
    fn changes(&self) -> watch::Receiver<Change>;

    /// The last moment at which the backend knew that its view was the network's, or `None` when it never was or
    /// cannot tell any more. The caller compares it with its own clock.
    fn synced_at(&self) -> Option<Instant>;
}
