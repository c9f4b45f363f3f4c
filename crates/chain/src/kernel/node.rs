//! One regtest node: engine, index, mempool and wallet, kept in step with each other.
//!
//! The kernel decides which chain is best. After every block the node walks its index over to that chain, back as far
//! as the branches share and then forward, and the mempool follows:
//!
//! * forward only: what was confirmed leaves, and with it whatever conflicts with it;
//! * after a step back: the pool is judged anew, the transactions of the abandoned blocks first, because locks may
//!   have closed again and rewards may have vanished.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{BlockHash, OutPoint, Script, Transaction, TxOut, Txid};

use super::KernelConfig;
use super::engine::Engine;
use super::index::Index;
use super::mempool::Mempool;
use super::miner::{Parent, Selection};
use super::rules::{Accepted, Admission, COINBASE_MATURITY, Policy, Rules};
use super::store::Store;
use super::wallet::{Spendable, Wallet};
use crate::{ChainError, Change, Outspend, Reason, Refusal, ScriptHash, Spending, Status, Tip, TxInfo, Utxo};

/// The node. Not shared: [`super::KernelChain`] holds it behind a lock.
pub(super) struct Node {
    engine: Engine,
    index: Index,
    mempool: Mempool,
    policy: Policy,
    wallet: Wallet,
    /// Makes rewards on the same parent differ.
    salt: u64,
    block_changes: u64,
    mempool_changes: u64,
    /// Dropped last: it may remove the folder that the engine writes to.
    store: Store,
}

impl Node {
    pub(super) fn open(config: &KernelConfig, store: Store) -> Result<Self, ChainError> {
        let engine = Engine::open(store.dir())?;
        let mut node = Node {
            engine,
            index: Index::default(),
            mempool: Mempool::default(),
            policy: Policy { min_relay: config.min_relay },
            wallet: Wallet::new(config.wallet_fee_rate)?,
            salt: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::from(d.subsec_nanos())),
            block_changes: 0,
            mempool_changes: 0,
            store,
        };
        node.follow_engine(&HashSet::new())?;
        for tx in node.store.load_mempool()? {
            node.take_back(Arc::new(tx));
        }
        node.save_mempool()?;
        Ok(node)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.engine.is_sound()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    pub(super) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    pub(super) fn mempool_len(&self) -> usize {
        self.mempool.len()
    }

    pub(super) fn tip(&self) -> Result<Tip, ChainError> {
        self.index.tip().ok_or_else(|| ChainError::Unavailable("the chain has no blocks".to_owned()))
    }

    pub(super) fn change(&self) -> Result<Change, ChainError> {
        Ok(Change { tip: self.tip()?, blocks: self.block_changes, mempool: self.mempool_changes })
    }

    pub(super) fn block_hash(&self, height: u32) -> Option<BlockHash> {
        self.index.block(height).map(|block| block.hash)
    }

    // Questions about transactions.

    pub(super) fn status(&self, txid: &Txid) -> Option<Status> {
        if let Some(confirmed) = self.index.tx(txid) {
            return self.index.block(confirmed.height).map(Status::Confirmed);
        }
        self.mempool.get(txid).map(|_| Status::Unconfirmed)
    }

    /// A transaction and the outputs it spends.
    pub(super) fn tx(&self, txid: &Txid) -> Option<(&Arc<Transaction>, &[TxOut])> {
        let confirmed = self.index.tx(txid).map(|confirmed| (&confirmed.tx, confirmed.prevouts.as_slice()));
        confirmed.or_else(|| self.mempool.get(txid).map(|entry| (&entry.tx, entry.prevouts.as_slice())))
    }

    pub(super) fn tx_info(&self, txid: &Txid) -> Option<TxInfo> {
        let (tx, prevouts) = self.tx(txid)?;
        Some(TxInfo::new(tx, prevouts, self.status(txid)?, bitcoin::Network::Regtest))
    }

    pub(super) fn outspend(&self, outpoint: &OutPoint) -> Outspend {
        let spender = self.index.links().spender(outpoint).or_else(|| self.mempool.links().spender(outpoint));
        spender
            .and_then(|(txid, vin)| Some(Outspend::Spent(Spending { txid, vin, status: self.status(&txid)? })))
            .unwrap_or(Outspend::Unspent)
    }

    /// Waiting transactions, newest first, then confirmed ones, newest first.
    pub(super) fn history(&self, script: &ScriptHash) -> Vec<TxInfo> {
        let waiting: HashSet<&Txid> = self.mempool.links().touching(script).collect();
        let mut waiting: Vec<Txid> =
            self.mempool.iter().map(|(txid, _)| *txid).filter(|txid| waiting.contains(txid)).collect();
        waiting.reverse();
        let mut confirmed: Vec<Txid> = self.index.links().touching(script).copied().collect();
        confirmed.sort_by_key(|txid| std::cmp::Reverse(self.index.tx(txid).map(|tx| (tx.height, tx.position))));
        waiting.iter().chain(&confirmed).filter_map(|txid| self.tx_info(txid)).collect()
    }

    /// Unspent outputs of a script with what they hold, confirmed or waiting.
    fn coins_of(&self, script: &ScriptHash) -> Vec<(OutPoint, TxOut)> {
        let touching = self.index.links().touching(script).chain(self.mempool.links().touching(script));
        let outputs = touching.flat_map(|txid| {
            let outputs = self.tx(txid).map(|(tx, _)| tx.output.as_slice()).unwrap_or_default();
            (0_u32..).zip(outputs).map(|(vout, output)| (OutPoint { txid: *txid, vout }, output))
        });
        outputs
            .filter(|(_, output)| ScriptHash::of(&output.script_pubkey) == *script)
            .filter(|(outpoint, _)| self.outspend(outpoint) == Outspend::Unspent)
            .map(|(outpoint, output)| (outpoint, output.clone()))
            .collect()
    }

    pub(super) fn unspent(&self, script: &ScriptHash) -> Vec<Utxo> {
        let coins = self.coins_of(script).into_iter();
        let utxo = |(outpoint, output): (OutPoint, TxOut)| {
            let status = self.status(&outpoint.txid)?;
            Some(Utxo { txid: outpoint.txid, vout: outpoint.vout, status, value: output.value })
        };
        coins.filter_map(utxo).collect()
    }

    // Taking transactions.

    /// Judges a transaction and, if it may wait, lets it. It is written down before anybody can see it.
    pub(super) fn broadcast(&mut self, tx: Transaction) -> Result<Txid, ChainError> {
        let txid = tx.compute_txid();
        match self.judge(&tx, Admission::Broadcast) {
            Ok(accepted) => {
                self.write_down(&tx, &accepted)?;
                self.admit(Arc::new(tx), accepted);
                Ok(txid)
            }
            // A repeated broadcast is not an error to a node.
            Err(Refusal { reason: Reason::AlreadyInMempool, .. }) => Ok(txid),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Makes the file say what the mempool will hold. Replaced transactions leave it, or a restart would find them
    /// first and refuse what replaced them.
    fn write_down(&self, tx: &Transaction, accepted: &Accepted) -> Result<(), ChainError> {
        if accepted.replaces.is_empty() {
            return self.store.append_mempool(tx);
        }
        let staying = self.mempool.iter().filter(|(txid, _)| !accepted.replaces.contains(*txid));
        self.store.write_mempool(staying.map(|(_, entry)| &*entry.tx).chain([tx]))
    }

    /// Lets a transaction wait again that was accepted before, unless the chain has moved on without it.
    fn take_back(&mut self, tx: Arc<Transaction>) {
        match self.judge(&tx, Admission::Return) {
            Ok(accepted) => self.admit(tx, accepted),
            Err(refusal) => {
                tracing::debug!(txid = %tx.compute_txid(), %refusal, "a waiting transaction is dropped");
            }
        }
    }

    pub(super) fn judge(&self, tx: &Transaction, admission: Admission) -> Result<Accepted, Refusal> {
        let rules = Rules { engine: &self.engine, index: &self.index, mempool: &self.mempool, policy: self.policy };
        rules.check(tx, admission)
    }

    fn admit(&mut self, tx: Arc<Transaction>, accepted: Accepted) {
        self.mempool.evict(accepted.replaces.iter().copied());
        self.mempool.insert(tx.compute_txid(), accepted.into_entry(tx));
        self.mempool_changes = self.mempool_changes.saturating_add(1);
    }

    fn save_mempool(&self) -> Result<(), ChainError> {
        self.store.write_mempool(self.mempool.iter().map(|(_, entry)| &*entry.tx))
    }

    // Blocks.

    /// Makes one block of what waits and puts it on the tip.
    pub(super) fn mine(&mut self, payout: &Script) -> Result<BlockHash, ChainError> {
        self.put_block(Selection::from(&self.mempool), payout)
    }

    fn put_block(&mut self, selection: Selection, payout: &Script) -> Result<BlockHash, ChainError> {
        let parent = self.parent_at(self.tip()?.height)?;
        let block = parent.next_block(selection, payout.to_owned(), self.next_salt())?;
        self.engine.process(&block)?;
        self.follow_engine(&HashSet::new())?;
        self.save_mempool()?;
        Ok(block.block_hash())
    }

    /// Puts a block on the tip without asking the mempool's rules.
    #[cfg(test)]
    pub(super) fn try_block(&mut self, selection: Selection) -> Result<BlockHash, ChainError> {
        let payout = self.wallet.script().to_owned();
        self.put_block(selection, &payout)
    }

    /// Replaces the newest `depth` blocks by `depth + 1` empty ones. Their transactions wait again, except those named
    /// in `forget` and whatever spends from them.
    pub(super) fn reorganise(&mut self, depth: u32, forget: &HashSet<Txid>) -> Result<(), ChainError> {
        let tip = self.tip()?;
        let fork = tip.height.checked_sub(depth);
        let fork = fork.ok_or(ChainError::Misuse("the chain is not that deep"))?;
        let mut parent = self.parent_at(fork)?;
        let payout = self.wallet.script().to_owned();
        for _ in 0..=depth {
            let block = parent.next_block(Selection::default(), payout.clone(), self.next_salt())?;
            self.engine.process(&block)?;
            parent = parent.followed_by(&block);
        }
        self.follow_engine(forget)?;
        self.save_mempool()
    }

    fn parent_at(&self, height: u32) -> Result<Parent, ChainError> {
        let block = self.index.block(height).ok_or(ChainError::Misuse("there is no block at that height"))?;
        Ok(Parent { hash: block.hash, height, times: self.index.recent_times(height) })
    }

    fn next_salt(&mut self) -> u64 {
        self.salt = self.salt.wrapping_add(1);
        self.salt
    }

    /// Walks the index, and then the mempool, over to the kernel's best chain.
    fn follow_engine(&mut self, forget: &HashSet<Txid>) -> Result<(), ChainError> {
        let mut abandoned = Vec::new();
        while let Some(top) = self.index.tip()
            && self.engine.hash_at(top.height) != Some(top.hash)
        {
            abandoned.push(self.index.disconnect());
        }
        let fork = self.index.next_height();
        while self.index.next_height() <= self.engine.height() {
            let height = self.index.next_height();
            let hash = self.engine.hash_at(height);
            let block = hash.map(|hash| self.engine.block(&hash)).transpose()?.flatten();
            self.index.connect(block.ok_or_else(|| ChainError::Unavailable(format!("block {height} is missing")))?);
            self.block_changes = self.block_changes.saturating_add(1);
        }
        if abandoned.is_empty() {
            self.clear_confirmed(fork);
        } else {
            self.rejudge(abandoned.into_iter().rev().flatten(), forget);
        }
        Ok(())
    }

    /// Takes out what the blocks from `first` on confirmed, and what conflicts with it.
    fn clear_confirmed(&mut self, first: u32) {
        for height in first..self.index.next_height() {
            for txid in self.index.txids_at(height) {
                self.mempool.remove(txid);
                let inputs = self.index.tx(txid).map(|confirmed| confirmed.tx.input.as_slice()).unwrap_or_default();
                let rivals: Vec<Txid> = inputs
                    .iter()
                    .filter_map(|input| self.mempool.links().spender(&input.previous_output))
                    .map(|(rival, _)| rival)
                    .collect();
                if self.mempool.evict(rivals) > 0 {
                    self.mempool_changes = self.mempool_changes.saturating_add(1);
                }
            }
        }
    }

    /// Judges the returned transactions, then the waiting ones, against the chain as it is now.
    fn rejudge(&mut self, returned: impl Iterator<Item = Arc<Transaction>>, forget: &HashSet<Txid>) {
        let waiting = self.mempool.drain();
        for tx in returned.chain(waiting) {
            if !forget.contains(&tx.compute_txid()) {
                self.take_back(tx);
            }
        }
        self.mempool_changes = self.mempool_changes.saturating_add(1);
    }

    // The demo wallet.

    /// The wallet's coins that the next block may spend.
    pub(super) fn spendable(&self) -> Vec<Spendable> {
        let next = self.index.next_height();
        let coins = self.coins_of(&ScriptHash::of(self.wallet.script())).into_iter();
        let ripe = |outpoint: &OutPoint| {
            let made = self.index.tx(&outpoint.txid);
            made.is_none_or(|made| !made.tx.is_coinbase() || next.saturating_sub(made.height) >= COINBASE_MATURITY)
        };
        coins
            .filter(|(outpoint, _)| ripe(outpoint))
            .map(|(outpoint, output)| {
                let confirmed = self.index.tx(&outpoint.txid).is_some();
                Spendable { outpoint, output, confirmed }
            })
            .collect()
    }

    /// Pays from the wallet and broadcasts.
    pub(super) fn pay(&mut self, outputs: Vec<TxOut>) -> Result<Txid, ChainError> {
        let tx = self.wallet.pay(self.spendable(), outputs)?;
        self.broadcast(tx)
    }
}
