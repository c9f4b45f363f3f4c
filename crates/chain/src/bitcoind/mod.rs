//! A Bitcoin Core node, over JSON-RPC. Version 25 or later; it needs no wallet and no index, and may be pruned.
//!
//! ```text
//!   BitcoindChain ── published view <── follower ── node ── rpc ──> bitcoind
//!   (async, shared)                        │
//!                                          └─ store     what was found, over a restart
//! ```
//!
//! Bitcoin Core cannot be asked who paid a script. So a task of its own looks at the node every now and then, reads each
//! new block and what is new in the mempool, and keeps what touches the [followed](Chain::follow) scripts. Questions are
//! answered from the last complete look; what is not about followed scripts is asked of the node.
//!
//! # What a user must know
//!
//! * **Trouble answers every question.** While the node cannot be asked, is on another network, contradicts itself, is behind
//!   or lacks a block that is needed, questions about the chain fail with that, and [`Chain::synced_at`] stands still. It ends
//!   by itself when the trouble does. [`BitcoindChain::trouble`] tells it without a question.
//! * **A script has to be followed** before its history is asked for; otherwise the answer is [`ChainError::Misuse`].
//!   Following from an old block on takes the time to read the blocks since; until then questions wait for a while, and then
//!   fail with `chain-behind`.
//! * **Of other transactions** the node knows those that wait, and confirmed ones only with `txindex=1`.
//! * [`Change::mempool`](crate::Change::mempool) counts transactions that touch followed scripts, no others.

mod broadcast;
mod fees;
mod follower;
mod marks;
mod node;
mod options;
mod poller;
pub(crate) mod rpc;
mod store;
mod trouble;
mod view;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, Network, OutPoint, Script, Transaction, TxOut, Txid};
use tokio::sync::watch;

use self::follower::{Follower, prevouts};
use self::node::Node;
pub use self::options::{Auth, BitcoindOptions};
use self::poller::{Poller, Shared};
use self::rpc::Rpc;
use self::store::Store;
use self::trouble::Trouble;
use self::view::View;
use crate::{
    Chain, ChainError, Change, FeeEstimates, Outspend, Reason, ScriptHash, Spending, Status, Tip, TxInfo, Utxo,
};

/// A Bitcoin Core node as a [`Chain`]. Clones share the connection, which ends with the last of them.
#[derive(Clone)]
pub struct BitcoindChain {
    shared: Arc<Shared>,
    _poller: Arc<Poller>,
}

impl BitcoindChain {
    /// Starts to follow a node. One that cannot be asked or is not in step yet is waited for, in the background.
    ///
    /// # Errors
    ///
    /// What waiting does not mend: [`ChainError::Unavailable`] for a URL that cannot be used, [`ChainError::Storage`] for a
    /// folder, and [`Unfit::OtherNetwork`](crate::Unfit::OtherNetwork) when the node answers from another network.
    pub async fn connect(options: BitcoindOptions) -> Result<Self, ChainError> {
        let BitcoindOptions { url, auth, network, poll, data_dir } = options;
        let node = Arc::new(Node { rpc: Rpc::new(&url, auth, network)?, network });
        let (store, view) = match &data_dir {
            Some(dir) => Store::open(dir, network).map(|(store, view)| (Some(store), view))?,
            None => (None, View::default()),
        };
        if let Err(trouble @ Trouble::Foreign(_)) = node.state().await {
            return Err(trouble.into());
        }
        let follower = Follower::new(Arc::clone(&node), store, view);
        let shared = Arc::new(Shared::new(node));
        let poller = Poller::start(Arc::clone(&shared), follower, poll.max(BitcoindOptions::SHORTEST_POLL));
        // The first look is usually there at once. Whether it is or not, questions say.
        let _ = shared.next_look().await;
        Ok(BitcoindChain { shared, _poller: Arc::new(poller) })
    }

    /// What keeps the view from being the network's at the moment, if anything does. Its
    /// [`code`](ChainError::code) is stable.
    pub fn trouble(&self) -> Option<ChainError> {
        self.shared.trouble().map(ChainError::from)
    }

    fn node(&self) -> &Node {
        &self.shared.node
    }

    /// Where a transaction is that may be no followed one.
    async fn locate(&self, txid: &Txid) -> Result<Option<(Transaction, Status)>, ChainError> {
        let view = self.shared.whole_view().await?;
        if let Some(entry) = view.entry(txid) {
            return Ok(Some((Transaction::clone(&entry.tx), entry.status())));
        }
        Ok(self.node().locate(txid).await?)
    }

    /// The outputs that an unfollowed transaction spends.
    async fn prevouts(&self, tx: &Transaction, status: Status) -> Result<Vec<bitcoin::TxOut>, ChainError> {
        if tx.is_coinbase() {
            return Ok(vec![]);
        }
        Ok(match status {
            Status::Confirmed(block) => self.node().spent_in(&block.hash, &tx.compute_txid(), tx.input.len()).await?,
            Status::Unconfirmed => prevouts(self.node(), tx, |_| None).await?,
        })
    }
}

#[async_trait]
impl Chain for BitcoindChain {
    fn network(&self) -> Network {
        self.node().network
    }

    async fn tip(&self) -> Result<Tip, ChainError> {
        let tip = self.shared.view()?.tip();
        tip.ok_or_else(|| Trouble::behind("it has no blocks").into())
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        let view = self.shared.view()?;
        if view.tip().is_none_or(|tip| height > tip.height) {
            return Ok(None);
        }
        match view.block(height) {
            Some(block) => Ok(Some(block.hash)),
            None => Ok(self.node().hash_at(height).await?),
        }
    }

    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        self.shared.view()?;
        Ok(self.node().header(hash).await?)
    }

    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.shared.view()?;
        Ok(self.node().block(hash, None).await?)
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        let view = self.shared.whole_view().await?;
        if let Some(info) = view.info(txid, self.network()) {
            return Ok(Some(info));
        }
        let Some((tx, status)) = self.node().locate(txid).await? else { return Ok(None) };
        let prevouts = self.prevouts(&tx, status).await?;
        Ok(Some(TxInfo::new(&tx, &prevouts, status, self.network())))
    }

    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        Ok(self.locate(txid).await?.map(|(tx, _)| tx))
    }

    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        Ok(self.locate(txid).await?.map(|(_, status)| status))
    }

    async fn follow(&self, script: &Script, since: u32) -> Result<(), ChainError> {
        self.shared.follow(ScriptHash::of(script), since);
        Ok(())
    }

    async fn unfollow(&self, script: &ScriptHash) -> Result<(), ChainError> {
        self.shared.unfollow(*script);
        Ok(())
    }

    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        Ok(self.shared.view_of(script).await?.history(script, self.network()))
    }

    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        Ok(self.shared.view_of(script).await?.unspent(script, self.network()))
    }

    /// Of an output that pays no followed script it is known whether a waiting transaction spends it, and whether the chain
    /// still has it. What confirmed transaction spent it is not known: that is an error, not a guess.
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        let view = self.shared.whole_view().await?;
        let followed =
            view.output(outpoint).is_some_and(|o| view.scripts().contains_key(&ScriptHash::of(&o.script_pubkey)));
        if let Some(spending) = view.spending(outpoint) {
            return Ok(Outspend::Spent(spending));
        }
        if followed {
            return Ok(Outspend::Unspent);
        }
        if let Some(txid) = self.node().spender(outpoint).await?
            && let Some((tx, status)) = self.node().locate(&txid).await?
            && let Some((vin, _)) = (0_u32..).zip(&tx.input).find(|(_, input)| input.previous_output == *outpoint)
        {
            return Ok(Outspend::Spent(Spending { txid, vin, status }));
        }
        if self.node().coins(&[*outpoint]).await?.iter().flatten().next().is_some() {
            return Ok(Outspend::Unspent);
        }
        match self.locate(&outpoint.txid).await? {
            Some((tx, Status::Confirmed(_))) if usize::try_from(outpoint.vout).is_ok_and(|n| n < tx.output.len()) => {
                let text = format!("{outpoint} is spent, by a transaction that nobody follows");
                Err(ChainError::Unavailable(text))
            }
            _ => Ok(Outspend::Unspent),
        }
    }

    async fn coin(&self, outpoint: &OutPoint) -> Result<Option<TxOut>, ChainError> {
        self.shared.view()?;
        Ok(self.node().coins(&[*outpoint]).await?.into_iter().flatten().next())
    }

    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        self.shared.view()?;
        Ok(self.node().fee_estimates().await?)
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        self.shared.view()?;
        let sent = self.node().broadcast(tx).await;
        match sent {
            Ok(txid) => {
                // Whoever asks next wants to find it. If the look fails, that is said then: this was sent.
                let _ = self.shared.next_look().await;
                Ok(txid)
            }
            // A node forgets what it confirmed once all outputs are spent, and calls the inputs missing.
            Err(ChainError::Refused(refusal)) if refusal.reason == Reason::MissingInputs => {
                let known = self.status(&tx.compute_txid()).await?.is_some_and(|status| status.is_confirmed());
                let reason = if known { Reason::AlreadyKnown } else { Reason::MissingInputs };
                Err(crate::Refusal { reason, ..refusal }.into())
            }
            other => other,
        }
    }

    async fn submit_package(&self, package: [&Transaction; 2]) -> Result<bool, ChainError> {
        self.shared.view()?;
        let sent = self.node().submit_package(package).await?;
        if sent {
            // As with one.
            let _ = self.shared.next_look().await;
        }
        Ok(sent)
    }

    fn changes(&self) -> watch::Receiver<Change> {
        self.shared.changes()
    }

    fn synced_at(&self) -> Option<Instant> {
        self.shared.synced_at()
    }
}
