//! What is known of the chain and of the followed scripts, at one moment.
//!
//! The follower changes a view of its own and publishes copies, so that every question is answered from one moment:
//! never a new block with an old mempool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bitcoin::{Network, OutPoint, Transaction, TxOut, Txid};

use crate::links::Links;
use crate::status::median;
use crate::{BlockRef, ScriptHash, Spending, Status, Tip, TxInfo, Utxo};

/// How many of the newest blocks are remembered. A reorganisation that goes deeper makes everything be read again.
pub(crate) const KEPT: u32 = 1_000;
/// How many headers the median time past looks at.
const MEDIAN_SPAN: usize = 11;

/// How far a script has been looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follow {
    /// The block from which on its history counts.
    pub(crate) since: u32,
    /// The next block to look through; `None` when that is the one above the tip.
    pub(crate) next: Option<u32>,
    /// A block that is needed and that the node no longer has.
    pub(crate) pruned: Option<u32>,
}

/// Where a transaction stands, and in which order it got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a block, at this position.
    Block(BlockRef, u32),
    /// In the mempool, found as the nth.
    Waiting(u64),
}

/// A transaction that touches a followed script.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) tx: Arc<Transaction>,
    /// The outputs it spends, in input order; empty for a block reward.
    pub(crate) prevouts: Arc<[TxOut]>,
    pub(crate) place: Place,
}

/// A view.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The newest blocks of the best chain.
    blocks: BTreeMap<u32, BlockRef>,
    scripts: HashMap<ScriptHash, Follow>,
    txs: HashMap<Txid, Entry>,
    chain: Links,
    pool: Links,
    arrivals: u64,
    /// Rises with every change, so that an unchanged view is neither copied nor searched again.
    revision: u64,
}

impl View {
    pub(crate) fn tip(&self) -> Option<Tip> {
        let (height, block) = self.blocks.last_key_value()?;
        let times: Vec<u32> = self.blocks.values().rev().take(MEDIAN_SPAN).map(|block| block.time).collect();
        Some(Tip { height: *height, hash: block.hash, time: block.time, median_time: median(&times)? })
    }

    /// A block of the best chain, if it is among the newest.
    pub(crate) fn block(&self, height: u32) -> Option<&BlockRef> {
        self.blocks.get(&height)
    }

    /// The newest blocks up to `height`, newest first.
    pub(crate) fn blocks_down_from(&self, height: u32) -> impl Iterator<Item = &BlockRef> {
        self.blocks.range(..=height).rev().map(|(_, block)| block)
    }

    /// Another number for every other content.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    // Changes.

    fn touch(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    /// Follows a script, or notes how far it has been looked for.
    pub(crate) fn follow(&mut self, script: ScriptHash, follow: Follow) {
        self.touch();
        self.scripts.insert(script, follow);
    }

    /// Forgets a script, and the transactions that touch no other followed one: these are given.
    pub(crate) fn unfollow(&mut self, script: &ScriptHash) -> Vec<Txid> {
        self.touch();
        self.scripts.remove(script);
        let followed = |output: &TxOut| self.scripts.contains_key(&ScriptHash::of(&output.script_pubkey));
        let concerns = |entry: &Entry| entry.tx.output.iter().chain(entry.prevouts.iter()).any(followed);
        let touching = self.chain.touching(script).chain(self.pool.touching(script));
        let gone: Vec<Txid> = touching.filter(|txid| !self.entry(txid).is_some_and(concerns)).copied().collect();
        for txid in &gone {
            self.remove(txid);
        }
        gone
    }

    /// Changes those of the followed scripts for which `change` is anything but `None`, and gives them.
    pub(crate) fn amend(&mut self, change: impl Fn(&Follow) -> Option<Follow>) -> Vec<(ScriptHash, Follow)> {
        let changes = self.scripts.iter().filter_map(|(script, follow)| Some((*script, change(follow)?)));
        let changes: Vec<_> = changes.collect();
        for (script, follow) in &changes {
            self.follow(*script, *follow);
        }
        changes
    }

    /// Puts a block on the tip.
    pub(crate) fn connect(&mut self, block: BlockRef) {
        self.touch();
        self.blocks.insert(block.height, block);
    }

    /// Remembers a block below those remembered.
    pub(crate) fn extend_down(&mut self, block: BlockRef) {
        self.blocks.insert(block.height, block);
    }

    /// Forgets all but the newest blocks.
    pub(crate) fn trim(&mut self) {
        while self.blocks.len() > usize::try_from(KEPT).unwrap_or(usize::MAX) {
            self.blocks.pop_first();
        }
    }

    /// The lowest block that is remembered.
    pub(crate) fn lowest(&self) -> Option<&BlockRef> {
        self.blocks.values().next()
    }

    /// Takes all blocks above `height` off, with what they confirmed.
    pub(crate) fn roll_back(&mut self, height: u32) {
        self.touch();
        let above = height.saturating_add(1);
        self.blocks.split_off(&above);
        let abandoned = |entry: &Entry| matches!(entry.place, Place::Block(block, _) if block.height > height);
        let gone: Vec<Txid> = self.txs.iter().filter(|(_, entry)| abandoned(entry)).map(|(txid, _)| *txid).collect();
        for txid in gone {
            self.remove(&txid);
        }
        for follow in self.scripts.values_mut() {
            follow.next = follow.next.map(|next| next.min(above));
        }
    }

    /// Forgets all blocks and transactions: the chain is another one.
    pub(crate) fn start_over(&mut self) {
        self.touch();
        let anew = |follow: &Follow| Follow { next: Some(follow.since), pruned: None, ..*follow };
        let scripts = self.scripts.iter().map(|(script, follow)| (*script, anew(follow))).collect();
        *self = View { scripts, arrivals: self.arrivals, revision: self.revision, ..View::default() };
    }

    /// Adds a transaction, or moves it to where it is now.
    pub(crate) fn add(&mut self, txid: Txid, entry: Entry) {
        self.remove(&txid);
        self.touch();
        self.links(entry.place).add(txid, &entry.tx, &entry.prevouts);
        self.txs.insert(txid, entry);
    }

    /// Adds a transaction that waits.
    pub(crate) fn add_waiting(&mut self, txid: Txid, tx: Transaction, prevouts: Vec<TxOut>) {
        self.arrivals = self.arrivals.saturating_add(1);
        let place = Place::Waiting(self.arrivals);
        self.add(txid, Entry { tx: Arc::new(tx), prevouts: prevouts.into(), place });
    }

    pub(crate) fn remove(&mut self, txid: &Txid) {
        if let Some(entry) = self.txs.remove(txid) {
            self.touch();
            self.links(entry.place).remove(*txid, &entry.tx, &entry.prevouts);
        }
    }

    fn links(&mut self, place: Place) -> &mut Links {
        match place {
            Place::Block(..) => &mut self.chain,
            Place::Waiting(_) => &mut self.pool,
        }
    }

    // Questions.

    pub(crate) fn scripts(&self) -> &HashMap<ScriptHash, Follow> {
        &self.scripts
    }

    pub(crate) fn entry(&self, txid: &Txid) -> Option<&Entry> {
        self.txs.get(txid)
    }

    /// The ids of known transactions that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Txid> {
        self.txs.iter().filter(|(_, entry)| matches!(entry.place, Place::Waiting(_))).map(|(txid, _)| txid)
    }

    /// An output of a known transaction.
    pub(crate) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.txs.get(&outpoint.txid)?.tx.output.get(usize::try_from(outpoint.vout).ok()?)
    }

    /// Whether a transaction pays to, or spends a known output of, a script for which `wanted` holds.
    pub(crate) fn touches(&self, tx: &Transaction, wanted: impl Fn(&Follow) -> bool) -> bool {
        let followed = |output: &TxOut| self.scripts.get(&ScriptHash::of(&output.script_pubkey)).is_some_and(&wanted);
        tx.output.iter().any(followed)
            || tx.input.iter().any(|input| self.output(&input.previous_output).is_some_and(followed))
    }

    /// Every output that pays to a followed script.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = OutPoint> {
        self.txs.iter().flat_map(|(txid, entry)| {
            let followed = |output: &TxOut| self.scripts.contains_key(&ScriptHash::of(&output.script_pubkey));
            let numbered = (0_u32..).zip(&entry.tx.output);
            numbered.filter(move |(_, output)| followed(output)).map(|(vout, _)| OutPoint { txid: *txid, vout })
        })
    }

    pub(crate) fn status(&self, txid: &Txid) -> Option<Status> {
        self.entry(txid).map(Entry::status)
    }

    pub(crate) fn info(&self, txid: &Txid, network: Network) -> Option<TxInfo> {
        let entry = self.entry(txid)?;
        Some(TxInfo::new(&entry.tx, &entry.prevouts, entry.status(), network))
    }

    /// What spends an output, among the known transactions.
    pub(crate) fn spending(&self, outpoint: &OutPoint) -> Option<Spending> {
        let (txid, vin) = self.chain.spender(outpoint).or_else(|| self.pool.spender(outpoint))?;
        Some(Spending { txid, vin, status: self.status(&txid)? })
    }

    /// Waiting transactions, newest first, then confirmed ones, newest first.
    pub(crate) fn history(&self, script: &ScriptHash, network: Network) -> Vec<TxInfo> {
        let touching = self.chain.touching(script).chain(self.pool.touching(script));
        let mut entries: Vec<&Entry> = touching.filter_map(|txid| self.entry(txid)).collect();
        entries.sort_by_key(|entry| {
            std::cmp::Reverse(match entry.place {
                Place::Waiting(arrival) => (true, 0, arrival),
                Place::Block(block, position) => (false, block.height, u64::from(position)),
            })
        });
        entries.into_iter().map(|e| TxInfo::new(&e.tx, &e.prevouts, e.status(), network)).collect()
    }

    pub(crate) fn unspent(&self, script: &ScriptHash, network: Network) -> Vec<Utxo> {
        let history = self.history(script, network);
        let outputs = history.iter().flat_map(|tx| tx.outputs_to(script));
        outputs
            .filter(|output| self.spending(&output.outpoint).is_none())
            .map(|o| Utxo { txid: o.outpoint.txid, vout: o.outpoint.vout, status: o.status, value: o.value })
            .collect()
    }
}

impl Entry {
    pub(crate) fn status(&self) -> Status {
        match self.place {
            Place::Block(block, _) => Status::Confirmed(block),
            Place::Waiting(_) => Status::Unconfirmed,
        }
    }
}
