//! Keeps a view in step with the node, one look at a time.
//!
//! ```text
//!   state      on our network, in step with it, its work not less than before?
//!   advance    back to where the chains part, then block by block; followed scripts are looked for in each
//!   catch up   scripts followed since: the blocks from where they want them, some at a time
//!   mempool    what came is fetched once, what is gone is forgotten
//!   again, unless the node's best block is still the one that the view ends with
//! ```
//!
//! A look that fails leaves the view that was published as it is, and the next one goes on where this one stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::{Block, Network, OutPoint, Transaction, TxOut, Txid};

use super::marks::{Interest, Marks};
use super::node::{Node, State, moving};
use super::store::{Row, Store};
use super::trouble::Trouble;
use super::view::{Entry, Follow, KEPT, Place, View};
use crate::work::check_target;
use crate::{BlockRef, ScriptHash};

/// How often a look starts again because the chain moved under it.
const TRIES: u32 = 5;
/// Headers asked for at once.
const STRIDE: usize = 100;
/// How much of one look may go into blocks for newly followed scripts.
const CATCH_UP: Duration = Duration::from_secs(2);
/// An older tip means that the node has lost its network: six blocks an hour come on average, and three hours without
/// any once in a thousand years.
const OLDEST_TIP: u64 = 3 * 60 * 60;

/// A view and all that it takes to keep it in step.
pub(crate) struct Follower {
    node: Arc<Node>,
    pub(crate) view: View,
    marks: Marks,
    interest: Interest,
    /// The view of which that is the interest.
    interested_in: Option<u64>,
    /// The most work that the best chain was seen to have.
    work: [u8; 32],
    store: Option<Store>,
    /// What the store does not have yet.
    rows: Vec<Row>,
}

impl Follower {
    pub(crate) fn new(node: Arc<Node>, store: Option<Store>, view: View) -> Self {
        let (marks, interest) = (Marks::default(), Interest::new());
        Follower { node, view, marks, interest, interested_in: None, work: [0; 32], store, rows: vec![] }
    }

    /// Follows a script from a block on; from an earlier one, if it was followed from a later one before.
    pub(crate) fn follow(&mut self, script: ScriptHash, since: u32) {
        let known = self.view.scripts().get(&script);
        if known.is_some_and(|known| known.since <= since && known.pruned.is_none()) {
            return;
        }
        let since = known.map_or(since, |known| known.since.min(since));
        self.set(script, Follow { since, next: Some(since), pruned: None });
    }

    /// Forgets a script, and what touches no other.
    pub(crate) fn unfollow(&mut self, script: ScriptHash) {
        let gone = self.view.unfollow(&script);
        self.rows.push(Row::Forget(script, gone));
    }

    fn set(&mut self, script: ScriptHash, follow: Follow) {
        self.view.follow(script, follow);
        self.rows.push(Row::Script(script, follow));
    }

    /// Whether scripts wait for blocks to be read.
    pub(crate) fn has_more(&self) -> bool {
        self.view.scripts().values().any(|follow| follow.next.is_some() && follow.pruned.is_none())
    }

    /// Tries again what pruned blocks kept from being done: the node may have been set up anew.
    pub(crate) fn forgive(&mut self) {
        self.view.amend(|follow| follow.pruned.map(|_| Follow { pruned: None, ..*follow }));
    }

    /// Brings the view in step with the node.
    pub(crate) async fn look(&mut self) -> Result<(), Trouble> {
        let result = self.look_and_store().await;
        if matches!(result, Err(Trouble::Unreachable(_) | Trouble::Foreign(_) | Trouble::Lie(_))) {
            self.forgive();
        }
        result
    }

    async fn look_and_store(&mut self) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            match self.walk().await {
                Ok(true) => return self.check_age(),
                Ok(false) => {}
                Err(trouble) if trouble == moving() => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(moving())
    }

    /// One walk over to where the node is; `false` when it is somewhere else by then.
    async fn walk(&mut self) -> Result<bool, Trouble> {
        let state = self.node.state().await?;
        if state.work < self.work {
            return Err(Trouble::Behind(format!("it went back to a chain with less work, at {}", state.height)));
        }
        self.advance(&state).await?;
        self.catch_up(state.first_kept).await?;
        let there = self.pool().await?;
        self.save()?;
        if there {
            self.work = state.work;
        }
        Ok(there)
    }

    /// Outside tests a chain that does not grow is not the network's.
    fn check_age(&self) -> Result<(), Trouble> {
        let (Some(tip), Ok(now)) = (self.view.tip(), SystemTime::now().duration_since(UNIX_EPOCH)) else {
            return Err(Trouble::behind("the time is not known"));
        };
        let age = now.as_secs().saturating_sub(u64::from(tip.time));
        if age <= OLDEST_TIP || self.node.network == Network::Regtest {
            return Ok(());
        }
        Err(Trouble::Behind(format!("its newest block, {}, is {} minutes old", tip.height, age.div_euclid(60))))
    }

    /// Walks over to the node's best chain.
    async fn advance(&mut self, state: &State) -> Result<(), Trouble> {
        let tip = self.view.tip();
        if tip.is_some_and(|tip| tip.hash == state.best) {
            return Ok(());
        }
        let fork = match tip {
            None => None,
            Some(tip) => self.fork(tip.height.min(state.height)).await?,
        };
        let needed = self.view.scripts().values().any(|follow| follow.next.is_none());
        let far = |fork: u32| state.height.saturating_sub(fork) > KEPT && !needed;
        if tip.is_some() && fork.is_none() && matches!(self.node.network, Network::Bitcoin | Network::Signet) {
            return Err(Trouble::Lie(format!(
                "its chain shares none of the newest {KEPT} blocks with what it said before"
            )));
        }
        let mut before = None;
        let mut next = match fork.filter(|fork| !far(*fork)) {
            Some(fork) => {
                self.roll_back(fork);
                let fork_hash = self.view.block(fork).map(|block| block.hash);
                before = self.node.headers(fork_hash.as_slice()).await?.pop();
                fork.saturating_add(1)
            }
            None => {
                if tip.is_some() {
                    tracing::warn!(height = state.height, "the chain is read anew");
                }
                self.view.start_over();
                self.rows.push(Row::StartOver);
                state.height.saturating_sub(KEPT.saturating_sub(1))
            }
        };
        while next <= state.height {
            let heights: Vec<u32> = (next..=state.height).take(STRIDE).collect();
            let hashes = self.node.hashes(&heights).await?;
            let headers = self.node.headers(&hashes).await?;
            for ((height, hash), header) in heights.into_iter().zip(hashes).zip(headers) {
                if let Some(before) = &before {
                    if before.block_hash() != header.prev_blockhash {
                        return Err(moving());
                    }
                    check_target(self.node.network, height, before, &header).map_err(Trouble::Lie)?;
                }
                before = Some(header);
                let block = BlockRef { height, hash, time: header.time };
                self.connect(block, state.first_kept).await?;
                next = height.saturating_add(1);
            }
            self.save()?;
        }
        Ok(())
    }

    /// The highest block not above `height` that the node's best chain shares with the view.
    async fn fork(&self, height: u32) -> Result<Option<u32>, Trouble> {
        let known: Vec<BlockRef> = self.view.blocks_down_from(height).copied().collect();
        for chunk in known.chunks(STRIDE) {
            let heights: Vec<u32> = chunk.iter().map(|block| block.height).collect();
            let theirs = self.node.hashes(&heights).await?;
            if let Some((shared, _)) = chunk.iter().zip(theirs).find(|(block, theirs)| block.hash == *theirs) {
                return Ok(Some(shared.height));
            }
        }
        Ok(None)
    }

    fn roll_back(&mut self, height: u32) {
        if self.view.tip().is_some_and(|tip| tip.height > height) {
            tracing::info!(height, "the chain goes another way above this height");
            self.view.roll_back(height);
            self.rows.push(Row::RollBack(height));
        }
    }

    /// Puts a block on the view's tip, after looking through it for scripts that are followed up to there.
    async fn connect(&mut self, block: BlockRef, first_kept: u32) -> Result<(), Trouble> {
        if self.view.scripts().values().any(|follow| follow.next.is_none()) {
            let whole = self.whole(&block, first_kept).await?;
            let found = self.search(&block, whole, |follow| follow.next.is_none()).await;
            if let Err(trouble) = found {
                self.view.roll_back(block.height.saturating_sub(1));
                return Err(trouble);
            }
        }
        self.view.connect(block);
        self.rows.push(Row::Block(block));
        Ok(())
    }

    async fn whole(&self, block: &BlockRef, first_kept: u32) -> Result<Block, Trouble> {
        if block.height < first_kept {
            return Err(Trouble::Pruned(block.height));
        }
        self.node.block(&block.hash, Some(block.height)).await?.ok_or_else(moving)
    }

    /// Adds a block's transactions that touch the wanted scripts.
    async fn search(
        &mut self,
        block: &BlockRef,
        whole: Block,
        wanted: impl Fn(&Follow) -> bool,
    ) -> Result<(), Trouble> {
        for (position, tx) in (0_u32..).zip(whole.txdata) {
            if !self.view.touches(&tx, &wanted) {
                continue;
            }
            let txid = tx.compute_txid();
            let prevouts =
                if tx.is_coinbase() { vec![] } else { self.node.spent_in(&block.hash, &txid, tx.input.len()).await? };
            let entry = Entry { tx: Arc::new(tx), prevouts: prevouts.into(), place: Place::Block(*block, position) };
            self.rows.push(Row::Tx(entry.clone()));
            self.view.add(txid, entry);
        }
        Ok(())
    }

    /// Reads blocks for scripts that were followed lately, lowest first, for a bounded time.
    async fn catch_up(&mut self, first_kept: u32) -> Result<(), Trouble> {
        let since = Instant::now();
        let Some(tip) = self.view.tip() else { return Ok(()) };
        let mut read_one = false;
        loop {
            self.finish_above(tip.height);
            let open = self.view.scripts().values().filter(|follow| follow.pruned.is_none());
            let Some(height) = open.filter_map(|follow| follow.next).min() else {
                self.view.trim();
                return Ok(());
            };
            if read_one && since.elapsed() > CATCH_UP {
                let open = self.view.scripts().iter().filter(|(_, follow)| follow.next.is_some());
                self.rows.extend(open.map(|(script, follow)| Row::Script(*script, *follow)));
                return Ok(());
            }
            if height < first_kept {
                self.give_up(height);
                continue;
            }
            self.extend_down_to(height).await?;
            let block = *self.view.block(height).ok_or_else(moving)?;
            let whole = match self.whole(&block, first_kept).await {
                Err(Trouble::Pruned(height)) => {
                    self.give_up(height);
                    continue;
                }
                whole => whole?,
            };
            self.search(&block, whole, |follow| follow.next.is_some_and(|next| next <= height)).await?;
            let next = height.saturating_add(1);
            self.view.amend(|follow| (follow.next == Some(height)).then_some(Follow { next: Some(next), ..*follow }));
            read_one = true;
        }
    }

    /// Remembers the headers down to a height, each proven by the one above it.
    async fn extend_down_to(&mut self, height: u32) -> Result<(), Trouble> {
        let Some(lowest) = self.view.lowest().copied().filter(|lowest| lowest.height > height) else { return Ok(()) };
        let [header] = self.node.headers(&[lowest.hash]).await?[..] else { return Err(moving()) };
        let mut expected = header.prev_blockhash;
        let mut heights: Vec<u32> = (height..lowest.height).collect();
        while !heights.is_empty() {
            let chunk = heights.split_off(heights.len().saturating_sub(STRIDE));
            let hashes = self.node.hashes(&chunk).await?;
            let headers = self.node.headers(&hashes).await?;
            for ((height, hash), header) in chunk.into_iter().zip(hashes).zip(headers).rev() {
                if hash != expected {
                    return Err(moving());
                }
                expected = header.prev_blockhash;
                self.view.extend_down(BlockRef { height, hash, time: header.time });
            }
        }
        Ok(())
    }

    /// The scripts that have been looked for in all blocks need no more catching up.
    fn finish_above(&mut self, tip: u32) {
        let finished = |follow: &Follow| follow.next.is_some_and(|next| next > tip);
        let finished = self.view.amend(|follow| finished(follow).then_some(Follow { next: None, ..*follow }));
        self.rows.extend(finished.into_iter().map(|(script, follow)| Row::Script(script, follow)));
    }

    /// Marks the scripts that need a block which the node has no more.
    fn give_up(&mut self, height: u32) {
        tracing::error!(height, "the node has pruned a block that is needed; see the operator's guide");
        self.view.amend(|follow| (follow.next == Some(height)).then_some(Follow { pruned: Some(height), ..*follow }));
    }

    /// Compares the mempool with the view. `false` when the node's best block is not the view's tip.
    async fn pool(&mut self) -> Result<bool, Trouble> {
        let tip = self.view.tip().map(|tip| tip.hash);
        let Some((best, listed)) = self.node.mempool().await? else { return Ok(false) };
        if Some(best) != tip {
            return Ok(false);
        }
        self.marks.retain(&listed);
        let gone: Vec<Txid> = self.view.waiting().filter(|txid| !listed.contains(*txid)).copied().collect();
        for txid in gone {
            self.view.remove(&txid);
        }
        let fresh: Vec<Txid> = listed.into_iter().filter(|txid| !self.marks.contains(txid)).collect();
        for (txid, tx) in fresh.iter().zip(self.node.transactions(&fresh).await?) {
            // What has left again meanwhile is not missed.
            if let Some(tx) = tx {
                self.marks.add(*txid, &tx);
            }
        }
        self.search_pool(fresh).await?;
        Ok(true)
    }

    /// Adds what touches a followed script: among the fresh ones, and where more is followed than before, among all.
    async fn search_pool(&mut self, fresh: Vec<Txid>) -> Result<(), Trouble> {
        let mut candidates = fresh;
        let mut dismissed = HashSet::new();
        loop {
            if self.interest_has_grown() {
                candidates = self.marks.all().copied().collect();
            }
            let new = |txid: &Txid| self.view.entry(txid).is_none() && !dismissed.contains(txid);
            candidates.retain(|txid| new(txid) && self.marks.touches(txid, &self.interest));
            if candidates.is_empty() {
                return Ok(());
            }
            let fetched = self.node.transactions(&candidates).await?;
            let fetched = fetched.into_iter().collect::<Option<Vec<_>>>().ok_or_else(moving)?;
            for (txid, tx) in parents_first(candidates.iter().copied().zip(fetched).collect()) {
                if !self.view.touches(&tx, |_| true) {
                    dismissed.insert(txid);
                    continue;
                }
                let prevouts = self.prevouts(&tx).await?;
                self.view.add_waiting(txid, tx, prevouts);
            }
        }
    }

    /// Brings the marks of followed scripts, and of the outputs paid to them, up to the view.
    fn interest_has_grown(&mut self) -> bool {
        if self.interested_in.replace(self.view.revision()) == Some(self.view.revision()) {
            return false;
        }
        let scripts = self.view.scripts().keys().map(|script| self.marks.of_script(script));
        let outputs = self.view.outputs().map(|outpoint| self.marks.of_outpoint(&outpoint));
        let interest: Interest = scripts.chain(outputs).collect();
        let grown = !interest.is_subset(&self.interest);
        self.interest = interest;
        grown
    }

    /// The outputs that a waiting transaction spends.
    async fn prevouts(&self, tx: &Transaction) -> Result<Vec<TxOut>, Trouble> {
        let known = |outpoint: &OutPoint| self.view.output(outpoint).cloned();
        prevouts(&self.node, tx, known).await
    }

    fn save(&mut self) -> Result<(), Trouble> {
        let rows = std::mem::take(&mut self.rows);
        match &mut self.store {
            Some(store) if !rows.is_empty() => store.write(&rows).inspect_err(|_| self.rows = rows),
            _ => Ok(()),
        }
    }
}

/// Orders transactions so that none comes before one that it spends from, as far as that can be.
fn parents_first(mut rest: Vec<(Txid, Transaction)>) -> Vec<(Txid, Transaction)> {
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let ids: HashSet<Txid> = rest.iter().map(|(txid, _)| *txid).collect();
        let is_child = |tx: &Transaction| tx.input.iter().any(|input| ids.contains(&input.previous_output.txid));
        let (children, parents): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, tx)| is_child(tx));
        if parents.is_empty() {
            // Only a node that lies has transactions that spend from each other in a circle.
            ordered.extend(children);
            break;
        }
        ordered.extend(parents);
        rest = children;
    }
    ordered
}

/// The outputs that a waiting transaction spends: known ones, unspent ones of the chain, those of other waiting
/// transactions.
pub(crate) async fn prevouts(
    node: &Node,
    tx: &Transaction,
    known: impl Fn(&OutPoint) -> Option<TxOut>,
) -> Result<Vec<TxOut>, Trouble> {
    let outpoints: Vec<OutPoint> = tx.input.iter().map(|input| input.previous_output).collect();
    let mut outputs: Vec<Option<TxOut>> = outpoints.iter().map(&known).collect();
    let missing = |outputs: &[Option<TxOut>]| -> Vec<OutPoint> {
        outpoints.iter().zip(outputs).filter(|(_, output)| output.is_none()).map(|(outpoint, _)| *outpoint).collect()
    };
    let fill = |outputs: &mut Vec<Option<TxOut>>, found: Vec<Option<TxOut>>| {
        for (place, output) in outputs.iter_mut().filter(|output| output.is_none()).zip(found) {
            *place = output;
        }
    };
    let coins = node.coins(&missing(&outputs)).await?;
    fill(&mut outputs, coins);
    let rest = missing(&outputs);
    let txids: Vec<Txid> = rest.iter().map(|outpoint| outpoint.txid).collect();
    let parents = node.transactions(&txids).await?;
    let output = |(outpoint, parent): (&OutPoint, Option<Transaction>)| {
        parent?.output.get(usize::try_from(outpoint.vout).ok()?).cloned()
    };
    let made = rest.iter().zip(parents).map(output).collect();
    fill(&mut outputs, made);
    outputs.into_iter().collect::<Option<Vec<_>>>().ok_or_else(moving)
}
