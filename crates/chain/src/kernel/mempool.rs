//! Transactions that wait for a block.
//!
//! Invariant: in arrival order, every transaction is valid in the next block, after the ones before it. Parents
//! always come before children, so the block maker walks the pool once and never sorts. The rules are in
//! [`super::rules`]; this file only keeps the books.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid, Weight};

use super::index::Coin;
use crate::links::Links;

/// A waiting transaction and what the rules found out about it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) tx: Arc<Transaction>,
    /// The outputs it spends, in input order.
    pub(super) prevouts: Vec<TxOut>,
    pub(super) fee: Amount,
    pub(super) weight: Weight,
    /// Cost of its signature checks; a block may hold 80,000.
    pub(super) sigops: u64,
}

/// The pool.
pub(super) struct Mempool {
    entries: HashMap<Txid, (u64, Entry)>,
    /// Arrival number to transaction.
    order: BTreeMap<u64, Txid>,
    arrivals: u64,
    links: Links,
    weight: Weight,
}

impl Default for Mempool {
    fn default() -> Self {
        Mempool {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            arrivals: 0,
            links: Links::default(),
            weight: Weight::ZERO,
        }
    }
}

impl Mempool {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid).map(|(_, entry)| entry)
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The weight of everything that waits.
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// All entries in arrival order: parents before children.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Txid, &Entry)> {
        self.order.values().filter_map(|txid| Some((txid, self.get(txid)?)))
    }

    /// The output at `outpoint` if a waiting transaction makes it, spent or not.
    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let made = self.get(&outpoint.txid)?;
        let output = made.tx.output.get(usize::try_from(outpoint.vout).ok()?)?.clone();
        Some(Coin { output, height: None, coinbase: false })
    }

    pub(super) fn insert(&mut self, txid: Txid, entry: Entry) {
        self.links.add(txid, &entry.tx, &entry.prevouts);
        self.weight = self.weight.checked_add(entry.weight).unwrap_or(Weight::MAX);
        self.order.insert(self.arrivals, txid);
        self.entries.insert(txid, (self.arrivals, entry));
        self.arrivals = self.arrivals.saturating_add(1);
    }

    /// Takes out one transaction, leaving those that spend its outputs: it was confirmed.
    pub(super) fn remove(&mut self, txid: &Txid) -> bool {
        let Some((arrival, entry)) = self.entries.remove(txid) else {
            return false;
        };
        self.order.remove(&arrival);
        self.links.remove(*txid, &entry.tx, &entry.prevouts);
        self.weight = self.weight.checked_sub(entry.weight).unwrap_or(Weight::ZERO);
        true
    }

    /// The transactions and everything that spends from them, directly or not.
    pub(super) fn with_descendants(&self, roots: impl IntoIterator<Item = Txid>) -> HashSet<Txid> {
        let mut found = HashSet::new();
        let mut open: Vec<Txid> = roots.into_iter().filter(|txid| self.entries.contains_key(txid)).collect();
        while let Some(txid) = open.pop() {
            if !found.insert(txid) {
                continue;
            }
            let outputs = self.get(&txid).map_or(0, |entry| entry.tx.output.len());
            let children = (0_u32..)
                .take(outputs)
                .filter_map(|vout| self.links.spender(&OutPoint { txid, vout }))
                .map(|(child, _)| child);
            open.extend(children);
        }
        found
    }

    /// Takes out the transactions and everything that spends from them; returns how many went.
    pub(super) fn evict(&mut self, roots: impl IntoIterator<Item = Txid>) -> usize {
        let gone = self.with_descendants(roots);
        for txid in &gone {
            self.remove(txid);
        }
        gone.len()
    }

    /// Empties the pool, in arrival order.
    pub(super) fn drain(&mut self) -> Vec<Arc<Transaction>> {
        let waiting = self.iter().map(|(_, entry)| Arc::clone(&entry.tx)).collect();
        *self = Mempool::default();
        waiting
    }
}
