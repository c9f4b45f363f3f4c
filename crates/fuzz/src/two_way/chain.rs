//! A small chain: blocks of transactions, what they leave unspent, and whatever was ever broadcast.
//!
//! Bitcoin Core's own interpreter judges every input; lock times, relative locks (BIP 68) and double spends are kept to by whoever
//! makes a block. Nothing that was broadcast is ever forgotten by miners: as soon as a block may hold it, one may. Fees play no
//! part, and a block of two conflicting transactions may hold either.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::relative;
use bitcoin::{Amount, OutPoint, Script, Transaction, TxOut, Txid};

/// A transaction that was broadcast.
struct Entry {
    txid: Txid,
    transaction: Transaction,
    /// Which of the two sides broadcast it.
    by: [bool; 2],
    /// The mempools of nodes have it, and not only a miner.
    is_seen: bool,
}

pub(super) struct Chain {
    /// The height that no reorganisation reaches.
    first: u32,
    tip: u32,
    /// What there was before the channel.
    coins: BTreeMap<OutPoint, TxOut>,
    /// By height, those that hold something.
    blocks: BTreeMap<u32, Vec<usize>>,
    pool: Vec<Entry>,
    known: BTreeMap<Txid, usize>,
    // What follows from the blocks.
    /// The outputs that are there, and the heights of their blocks.
    unspent: BTreeMap<OutPoint, u32>,
    spenders: BTreeMap<OutPoint, usize>,
    heights: BTreeMap<Txid, u32>,
    /// Counts whatever happens here, but for blocks that hold nothing.
    changes: u64,
}

/// A transaction as a node tells of it.
#[derive(Clone)]
pub(super) struct Seen<'c> {
    pub(super) transaction: &'c Transaction,
    /// The height of its block; `None` in the mempool.
    pub(super) height: Option<u32>,
    by: [bool; 2],
}

impl Seen<'_> {
    /// Whether this side has broadcast it.
    pub(super) const fn is_by(&self, who: usize) -> bool {
        self.by[who]
    }
}

/// It spends an output that nobody has ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSuchOutput;

impl Chain {
    pub(super) fn new(tip: u32, coins: impl IntoIterator<Item = (OutPoint, TxOut)>) -> Self {
        let coins: BTreeMap<_, _> = coins.into_iter().collect();
        let mut chain = Self {
            first: tip,
            tip,
            coins,
            blocks: BTreeMap::new(),
            pool: vec![],
            known: BTreeMap::new(),
            unspent: BTreeMap::new(),
            spenders: BTreeMap::new(),
            heights: BTreeMap::new(),
            changes: 0,
        };
        chain.begin();
        chain
    }

    fn begin(&mut self) {
        self.unspent = self.coins.keys().map(|coin| (*coin, self.first)).collect();
        self.spenders.clear();
        self.heights.clear();
    }

    pub(super) const fn tip(&self) -> u32 {
        self.tip
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The height of the block that holds this transaction.
    pub(super) fn height(&self, txid: &Txid) -> Option<u32> {
        self.heights.get(txid).copied()
    }

    /// Any output, there or not.
    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let made = || {
            let entry = &self.pool[*self.known.get(&outpoint.txid)?];
            entry.transaction.output.get(usize::try_from(outpoint.vout).ok()?)
        };
        self.coins.get(outpoint).or_else(made)
    }

    /// What transactions pay to miners.
    pub(super) fn fee(&self, transaction: &Transaction) -> Amount {
        let brought = transaction.input.iter().map(|input| self.output(&input.previous_output).unwrap().value);
        brought.sum::<Amount>() - transaction.output.iter().map(|output| output.value).sum()
    }

    /// Hands in a transaction of `by`, to the network or only to a miner.
    ///
    /// # Panics
    /// Where it could be in no block at all: its signatures, its scripts or its amounts are wrong.
    pub(super) fn broadcast(
        &mut self,
        transaction: &Transaction,
        by: usize,
        is_seen: bool,
    ) -> Result<Txid, NoSuchOutput> {
        let txid = transaction.compute_txid();
        if let Some(known) = self.known.get(&txid) {
            let entry = &mut self.pool[*known];
            self.changes += u64::from(!entry.by[by] || (is_seen && !entry.is_seen));
            entry.by[by] = true;
            entry.is_seen |= is_seen;
            return Ok(txid);
        }
        let spent = transaction.input.iter().map(|input| self.output(&input.previous_output));
        let spent: Vec<_> = spent.collect::<Option<_>>().ok_or(NoSuchOutput)?;
        let brought: Amount = spent.iter().map(|output| output.value).sum();
        let paid: Amount = transaction.output.iter().map(|output| output.value).sum();
        assert!(paid <= brought, "a transaction makes money");
        let inputs: BTreeSet<_> = transaction.input.iter().map(|input| input.previous_output).collect();
        assert_eq!(inputs.len(), transaction.input.len(), "a transaction spends an output twice");
        verify(transaction, &spent);
        let mut entry = Entry { txid, transaction: transaction.clone(), by: [false; 2], is_seen };
        entry.by[by] = true;
        self.changes += 1;
        self.known.insert(txid, self.pool.len());
        self.pool.push(entry);
        Ok(txid)
    }

    /// The network hears of a transaction again, if anybody ever made it.
    pub(super) fn show(&mut self, txid: &Txid) {
        if let Some(known) = self.known.get(txid) {
            let is_seen = &mut self.pool[*known].is_seen;
            self.changes += u64::from(!*is_seen);
            *is_seen = true;
        }
    }

    /// Whether anybody has ever tried to spend this.
    pub(super) fn is_contested(&self, outpoint: &OutPoint) -> bool {
        let spends = |entry: &Entry| entry.transaction.input.iter().any(|input| input.previous_output == *outpoint);
        self.pool.iter().any(spends)
    }

    /// What spends an output in a block.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Seen<'_>> {
        self.spenders.get(outpoint).map(|index| self.seen(*index))
    }

    /// What spends an output, in a block or in the mempool of this side's node. That one refuses what conflicts with what its own
    /// side has broadcast, and of others it has the last.
    pub(super) fn spender_seen(&self, outpoint: &OutPoint, who: usize) -> Option<Seen<'_>> {
        if let Some(found) = self.spender(outpoint) {
            return Some(found);
        }
        let spends = |index: &usize| {
            let entry = &self.pool[*index];
            let input = &entry.transaction.input;
            entry.is_seen && input.iter().any(|input| input.previous_output == *outpoint) && self.waits(*index)
        };
        let waiting = (0..self.pool.len()).filter(spends);
        waiting.max_by_key(|index| (self.pool[*index].by[who], *index)).map(|index| self.seen(index))
    }

    fn seen(&self, index: usize) -> Seen<'_> {
        let Entry { txid, transaction, by, .. } = &self.pool[index];
        Seen { transaction, height: self.height(txid), by: *by }
    }

    /// Whether the mempool can have it: it is in no block, and what it spends is there, or made by what waits, too.
    fn waits(&self, index: usize) -> bool {
        let entry = &self.pool[index];
        let parent = |input: &OutPoint| self.known.get(&input.txid).is_some_and(|parent| self.waits(*parent));
        let mut inputs = entry.transaction.input.iter().map(|input| &input.previous_output);
        !self.heights.contains_key(&entry.txid)
            && entry.is_seen
            && inputs.all(|input| self.unspent.contains_key(input) || parent(input))
    }

    /// Whether a transaction that was broadcast may be in the next block, with others that wait for one.
    pub(super) fn is_next(&self, txid: &Txid) -> bool {
        let entry = &self.pool[self.known[txid]];
        let is_final = is_final(&entry.transaction, self.tip + 1);
        let mut inputs = entry.transaction.input.iter();
        is_final
            && inputs.all(|input| {
                let waits = relative_lock(&entry.transaction, input.sequence);
                match self.unspent.get(&input.previous_output) {
                    Some(made) => made + waits <= self.tip + 1,
                    None => waits == 0 && self.waits(self.known[&input.previous_output.txid]),
                }
            })
    }

    fn fits(&self, index: usize) -> bool {
        let Entry { txid, transaction, .. } = &self.pool[index];
        let next = self.tip + 1;
        let is_mature = |input: &bitcoin::TxIn| {
            let made = self.unspent.get(&input.previous_output);
            made.is_some_and(|made| made + relative_lock(transaction, input.sequence) <= next)
        };
        !self.heights.contains_key(txid) && is_final(transaction, next) && transaction.input.iter().all(is_mature)
    }

    /// Whether a block could hold anything.
    pub(super) fn has_more(&self) -> bool {
        (0..self.pool.len()).any(|index| self.fits(index))
    }

    /// A block of everything that fits, but for what is left out: of transactions that conflict, of the one that was broadcast
    /// first, or `newest_first`.
    pub(super) fn mine(&mut self, newest_first: bool, is_left_out: impl Fn(usize) -> bool) {
        let mut block = vec![];
        let takes = |chain: &Self, index: &usize| !is_left_out(*index) && chain.fits(*index);
        loop {
            let mut all = 0..self.pool.len();
            let found = match newest_first {
                true => all.rev().find(|index| takes(self, index)),
                false => all.find(|index| takes(self, index)),
            };
            let Some(index) = found else { break };
            self.take_in(index, self.tip + 1);
            block.push(index);
        }
        self.tip += 1;
        if !block.is_empty() {
            self.changes += 1;
            self.blocks.insert(self.tip, block);
        }
    }

    /// Blocks that hold nothing.
    pub(super) fn pass(&mut self, until: u32) {
        self.tip = self.tip.max(until);
    }

    fn take_in(&mut self, index: usize, height: u32) {
        let Entry { txid, transaction, .. } = &self.pool[index];
        for input in &transaction.input {
            self.unspent.remove(&input.previous_output).expect("no output is spent twice");
            self.spenders.insert(input.previous_output, index);
        }
        for (vout, _) in (0..).zip(&transaction.output) {
            self.unspent.insert(OutPoint { txid: *txid, vout }, height);
        }
        self.heights.insert(*txid, height);
    }

    /// Takes so many blocks back. What was in them waits again, or is where miners alone know of it.
    pub(super) fn take_back(&mut self, blocks: u32, is_forgotten: bool) {
        self.changes += 1;
        self.tip = self.tip.saturating_sub(blocks).max(self.first);
        for index in self.blocks.split_off(&(self.tip + 1)).into_values().flatten() {
            self.pool[index].is_seen &= !is_forgotten;
        }
        self.begin();
        for (height, block) in std::mem::take(&mut self.blocks) {
            for index in &block {
                self.take_in(*index, height);
            }
            self.blocks.insert(height, block);
        }
    }

    /// What is there for whoever owns this script.
    pub(super) fn held(&self, script: &Script) -> Amount {
        let outputs = self.unspent.keys().map(|outpoint| self.output(outpoint).unwrap());
        outputs.filter(|output| *output.script_pubkey == *script).map(|output| output.value).sum()
    }

    /// Everything in blocks.
    pub(super) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.blocks.values().flatten().map(|index| &self.pool[*index].transaction)
    }
}

/// Whether a block of this height may hold it, by its lock time.
fn is_final(transaction: &Transaction, height: u32) -> bool {
    let is_final = transaction.input.iter().all(|input| input.sequence.is_final());
    match transaction.lock_time {
        _ if is_final => true,
        LockTime::Blocks(lock) => lock.to_consensus_u32() < height,
        // The number of a commitment: a time that is over for decades.
        LockTime::Seconds(lock) => lock.to_consensus_u32() < 1_000_000_000,
    }
}

/// How many blocks after an output's own it may be spent so.
fn relative_lock(transaction: &Transaction, sequence: bitcoin::Sequence) -> u32 {
    if transaction.version.0 < 2 {
        return 0;
    }
    match sequence.to_relative_lock_time() {
        None => 0,
        Some(relative::LockTime::Blocks(blocks)) => blocks.value().into(),
        Some(relative::LockTime::Time(_)) => panic!("no relative lock is a time"),
    }
}

fn verify(transaction: &Transaction, spent: &[&TxOut]) {
    let whole = bitcoinkernel::Transaction::new(&serialize(transaction)).unwrap();
    let none = Vec::<bitcoinkernel::TxOut>::new();
    // Taproot's rules need all spent outputs up front, and no input here is Taproot.
    let data = bitcoinkernel::PrecomputedTransactionData::new(&whole, &none).unwrap();
    let flags = Some(bitcoinkernel::VERIFY_ALL_PRE_TAPROOT);
    for (index, output) in spent.iter().enumerate() {
        let script = bitcoinkernel::ScriptPubkey::new(output.script_pubkey.as_bytes()).unwrap();
        let value = Some(i64::try_from(output.value.to_sat()).unwrap());
        let verdict = bitcoinkernel::verify(&script, value, &whole, index, flags, &data);
        assert!(verdict.is_ok(), "input {index} of {transaction:?}: {verdict:?}");
    }
}
