//! The real chain, of which some things cannot be asked, at fees that the test sets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Status, Tip, TxInfo, Utxo};
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, Script, Transaction, Txid};

use super::soon;

/// What is odd about it, and what it was asked.
#[derive(Default)]
pub(crate) struct Oddity {
    /// Scripts and transactions, with their outputs, that cannot be asked about.
    pub(crate) scripts: HashSet<ScriptHash>,
    pub(crate) transactions: HashSet<Txid>,
    /// Transactions that it has never heard of, nor of their outputs.
    pub(crate) hidden: HashSet<Txid>,
    /// Whether it says nothing of its tip, so that no pass is made.
    pub(crate) no_tip: bool,
    /// Whether that begins with the next transaction that is broadcast.
    pub(crate) no_tip_after_broadcast: bool,
    /// Whether it has no estimate of fees.
    pub(crate) no_fees: bool,
    /// What a place in the next block costs; 0 is 1.
    pub(crate) sat_per_vb: u32,
    /// The same within six blocks; 0 is as much.
    pub(crate) soon_sat_per_vb: u32,
    /// Whether it cannot say what a transaction pays: as a node that no longer has what the transaction spends.
    pub(crate) blind: bool,
    /// Whether it heard of its network for the last time two hours ago.
    pub(crate) stale: bool,
    /// The scripts that it follows, and from where on.
    pub(crate) followed: HashMap<ScriptHash, u32>,
    pub(crate) unfollowed: HashSet<ScriptHash>,
    /// Questions about scripts that wait for their answers, and the most there were at once.
    waiting: u32,
    pub(crate) most_waiting: u32,
    /// How often it was asked about a script.
    pub(crate) asked: HashMap<ScriptHash, u32>,
    passes: u64,
}

impl Oddity {
    fn broadcast(&mut self) {
        self.no_tip |= self.no_tip_after_broadcast;
    }
}

pub(crate) struct Odd {
    chain: KernelChain,
    oddity: Mutex<Oddity>,
    /// Held while scripts are not answered about.
    hold: Arc<tokio::sync::Mutex<()>>,
}

impl Odd {
    pub(crate) fn new(chain: KernelChain) -> Arc<Self> {
        Arc::new(Self { chain, oddity: Mutex::default(), hold: Arc::default() })
    }

    pub(crate) fn oddity(&self) -> MutexGuard<'_, Oddity> {
        self.oddity.lock().unwrap()
    }

    /// What a place in one of the next blocks costs.
    pub(crate) fn set(&self, sat_per_vb: u32) {
        let mut oddity = self.oddity();
        (oddity.sat_per_vb, oddity.soon_sat_per_vb) = (sat_per_vb, 0);
    }

    /// Only in the next block; within six it costs what it did.
    pub(crate) fn set_next(&self, sat_per_vb: u32) {
        let mut oddity = self.oddity();
        if oddity.soon_sat_per_vb == 0 {
            oddity.soon_sat_per_vb = oddity.sat_per_vb.max(1);
        }
        oddity.sat_per_vb = sat_per_vb;
    }

    /// Questions about scripts wait for this to be dropped.
    pub(crate) async fn hold_unspent(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.hold).lock_owned().await
    }

    /// Returns when two passes have begun since: the first of them is complete.
    pub(crate) async fn looked(&self) {
        let before = self.oddity().passes;
        soon("two passes", async {
            while self.oddity().passes < before + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    fn knows(&self, txid: &Txid) -> Result<bool, ChainError> {
        if self.oddity().transactions.contains(txid) {
            return Err(ChainError::Unavailable("not this one".into()));
        }
        Ok(!self.oddity().hidden.contains(txid))
    }

    fn look_up(&self, script: &ScriptHash) -> Result<Waiting<'_>, ChainError> {
        let mut oddity = self.oddity();
        *oddity.asked.entry(*script).or_default() += 1;
        if oddity.scripts.contains(script) {
            return Err(ChainError::Unavailable("too long a history".into()));
        }
        oddity.waiting += 1;
        oddity.most_waiting = oddity.most_waiting.max(oddity.waiting);
        Ok(Waiting(self))
    }
}

/// A question that is not answered yet.
struct Waiting<'a>(&'a Odd);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.oddity().waiting -= 1;
    }
}

#[async_trait::async_trait]
impl Chain for Odd {
    fn network(&self) -> Network {
        self.chain.network()
    }
    async fn tip(&self) -> Result<Tip, ChainError> {
        self.oddity().passes += 1;
        if self.oddity().no_tip {
            return Err(ChainError::Unavailable("no tip".into()));
        }
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
        if self.oddity().blind {
            return Err(ChainError::Unavailable("what it spends is not to be had".into()));
        }
        if self.knows(txid)? { self.chain.transaction(txid).await } else { Ok(None) }
    }
    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        if self.knows(txid)? { self.chain.raw_transaction(txid).await } else { Ok(None) }
    }
    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        if self.knows(txid)? { self.chain.status(txid).await } else { Ok(None) }
    }
    async fn follow(&self, script: &Script, since: u32) -> Result<(), ChainError> {
        self.oddity().followed.insert(ScriptHash::of(script), since);
        Ok(())
    }
    async fn unfollow(&self, script: &ScriptHash) -> Result<(), ChainError> {
        self.oddity().unfollowed.insert(*script);
        Ok(())
    }
    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        self.chain.script_history(script).await
    }
    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        let _waiting = self.look_up(script)?;
        drop(self.hold.lock().await);
        let mut unspent = self.chain.script_unspent(script).await?;
        unspent.retain(|output| !self.oddity().hidden.contains(&output.txid));
        Ok(unspent)
    }
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        if self.knows(&outpoint.txid)? { self.chain.outspend(outpoint).await } else { Ok(Outspend::Unspent) }
    }
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let oddity = self.oddity();
        if oddity.no_fees {
            return Err(ChainError::Unavailable("no estimate".into()));
        }
        let next = oddity.sat_per_vb.max(1);
        let soon = if oddity.soon_sat_per_vb == 0 { next } else { oddity.soon_sat_per_vb };
        let estimates = [(1, next), (6, soon)].map(|(blocks, rate)| (blocks, FeeRate::from_sat_per_vb_u32(rate)));
        Ok(FeeEstimates::new(FeeRate::BROADCAST_MIN, estimates))
    }
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        self.oddity().broadcast();
        self.chain.broadcast(tx).await
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<Change> {
        self.chain.changes()
    }
    fn synced_at(&self) -> Option<Instant> {
        if self.oddity().stale {
            return Instant::now().checked_sub(Duration::from_secs(7_200));
        }
        self.chain.synced_at()
    }
}
