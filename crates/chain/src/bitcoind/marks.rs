//! What waits in the mempool, in a few bytes for each transaction.
//!
//! Bitcoin Core can list its mempool, and has no way to ask it for a script. So every transaction in it is fetched once,
//! and of its outputs and inputs a keyed 64-bit hash is remembered. A script followed later is looked for among these,
//! without fetching a hundred thousand transactions again. A hash that fits by chance costs one look at the transaction.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use bitcoin::{OutPoint, Transaction, Txid};

use crate::ScriptHash;

/// Hashes of scripts and outpoints.
pub(crate) type Interest = HashSet<u64>;

#[derive(Default)]
pub(crate) struct Marks {
    // The key is this process's own: nobody can make transactions whose marks collide.
    key: RandomState,
    by_tx: HashMap<Txid, Box<[u64]>>,
}

impl Marks {
    pub(crate) fn of_script(&self, script: &ScriptHash) -> u64 {
        self.key.hash_one(script)
    }

    pub(crate) fn of_outpoint(&self, outpoint: &OutPoint) -> u64 {
        self.key.hash_one(outpoint)
    }

    pub(crate) fn add(&mut self, txid: Txid, tx: &Transaction) {
        let outputs = tx.output.iter().map(|output| self.of_script(&ScriptHash::of(&output.script_pubkey)));
        let inputs = tx.input.iter().map(|input| self.of_outpoint(&input.previous_output));
        let marks = outputs.chain(inputs).collect();
        self.by_tx.insert(txid, marks);
    }

    /// Forgets all but these.
    pub(crate) fn retain(&mut self, listed: &HashSet<Txid>) {
        self.by_tx.retain(|txid, _| listed.contains(txid));
    }

    pub(crate) fn contains(&self, txid: &Txid) -> bool {
        self.by_tx.contains_key(txid)
    }

    pub(crate) fn touches(&self, txid: &Txid, interest: &Interest) -> bool {
        self.by_tx.get(txid).is_some_and(|marks| marks.iter().any(|mark| interest.contains(mark)))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Txid> {
        self.by_tx.keys()
    }
}
