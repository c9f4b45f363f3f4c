//! Looks through every block for commitments that kits wait for.
//!
//! ```text
//!   new block ──> the hint of each transaction ──> a kit that it opens ──> a cheat, stored ──> `punish`
//!   the chain leaves a block ──> back to the last one that both have, and on from there
//! ```
//!
//! What is looked through is stored as it goes, so that a start goes on where the tower stopped. A disk that takes nothing keeps no
//! cheat from being punished: it is found again after the next start.

use std::collections::BTreeMap;
use std::time::Duration;

use rillpay_chain::{Chain, ChainError, Unfit};
use rillpay_channel::bitcoin::{Block, BlockHash, FeeRate, Txid};
use rillpay_channel::revocable::justice::{Hint, Kit};

use super::store::{Cheat, Position, Store};
use super::{Error, Shared, punish};

/// A pass is made at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The pause after a failed pass.
const RETRY: Duration = Duration::from_secs(1);
/// So many blocks are looked through before what was found is taken care of.
const PIECE: u32 = 100;

/// What the watch knows.
pub(super) struct Watch {
    position: Position,
    /// The cheats that are not punished yet.
    cheats: BTreeMap<(Txid, i64), Cheat>,
    /// Whether the store knows all of them. While it does not, it is told of no block beyond.
    is_noted: bool,
}

impl Watch {
    /// Takes up where the tower stopped; a new one begins with the next block.
    pub(super) async fn load(store: &Store, chain: &dyn Chain) -> Result<Self, Error> {
        let first = first_tip(chain).await?.saturating_add(1);
        let position = store.position(chain.network(), first).await?;
        let cheats = store.cheats().await?.into_iter().map(|cheat| (cheat.key(), cheat)).collect();
        Ok(Self { position, cheats, is_noted: true })
    }

    /// Found for the first time, or again in another block after a reorganisation.
    fn take_in(&mut self, cheat: Cheat) {
        let height = cheat.height;
        let known = self.cheats.entry(cheat.key()).or_insert(cheat);
        known.height = known.height.min(height);
        self.is_noted = false;
    }
}

/// The height of the best block, from a chain that may have to be waited for.
async fn first_tip(chain: &dyn Chain) -> Result<u32, Error> {
    loop {
        match chain.tip().await {
            Ok(tip) => return Ok(tip.height),
            Err(error) if error.fault() == rillpay_chain::Fault::Environment => {
                tracing::warn!(code = error.code(), "waiting for the chain: {error}");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Watches until the tower goes down.
pub(super) async fn run(tower: &Shared, mut watch: Watch) {
    let mut changes = tower.chain.changes();
    loop {
        changes.mark_unchanged();
        let mut pause = LONGEST_SLEEP;
        match pass(tower, &mut watch).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("not everything could be looked at: {error}");
                pause = RETRY;
            }
        }
        tokio::select! {
            () = tower.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// One look at everything; whether there are more blocks. What fails about one part keeps no other from being done.
async fn pass(tower: &Shared, watch: &mut Watch) -> Result<bool, Error> {
    if tower.shutdown.is_cancelled() {
        return Ok(false);
    }
    let before = watch.position.clone();
    let followed = follow(tower, watch).await;
    // Nobody who cheats is saved by a full disk.
    let mut failed = save(tower, watch, &before).await.err();
    for (key, cheat) in std::mem::take(&mut watch.cheats) {
        match punish::punish(tower, cheat).await {
            (Some(cheat), result) => {
                watch.cheats.insert(key, cheat);
                failed = failed.or(result.err());
            }
            (None, result) => failed = failed.or(result.err()),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => followed,
    }
}

async fn save(tower: &Shared, watch: &mut Watch, before: &Position) -> Result<(), Error> {
    if !watch.is_noted {
        tower.store.note(watch.cheats.values().cloned().collect()).await?;
        watch.is_noted = true;
    }
    if watch.position != *before {
        tower.store.advance(watch.position.clone()).await?;
    }
    Ok(())
}

/// Looks through the next blocks, until something was found; whether there are more.
async fn follow(tower: &Shared, watch: &mut Watch) -> Result<bool, Error> {
    let chain = tower.chain.as_ref();
    let tip = chain.tip().await?.height;
    step_back(chain, &mut watch.position).await?;
    for _ in 0..PIECE {
        let height = watch.position.next;
        let Some(hash) = chain.block_hash(height).await?.filter(|_| height <= tip) else { return Ok(false) };
        match chain.block(&hash).await {
            Ok(Some(block)) => {
                let follows = |(_, before): &(u32, BlockHash)| *before == block.header.prev_blockhash;
                if !watch.position.seen.last().is_none_or(follows) {
                    // Another branch, since a moment ago.
                    return Ok(true);
                }
                let found = look_through(&tower.store, &block, height).await?;
                watch.position.advance(hash);
                if !found.is_empty() {
                    found.into_iter().for_each(|cheat| watch.take_in(cheat));
                    return Ok(true);
                }
            }
            // A server that lags behind itself: not before a pause.
            Ok(None) => return Err(ChainError::Unavailable(format!("block {height} is not to be had")).into()),
            // Waiting for a block that will not come back would miss those that are there.
            Err(error @ ChainError::Unfit { why: Unfit::Pruned, .. }) => {
                tracing::error!(height, "a block cannot be looked through, and a cheat in it is missed: {error}");
                watch.position.advance(hash);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Forgets the blocks that the chain has left.
async fn step_back(chain: &dyn Chain, position: &mut Position) -> Result<(), Error> {
    while let Some((height, hash)) = position.seen.last().copied() {
        if chain.block_hash(height).await? == Some(hash) {
            return Ok(());
        }
        tracing::info!(height, %hash, "the chain has left a block");
        position.seen.pop();
        position.next = height;
    }
    Ok(())
}

/// The cheats in a block.
async fn look_through(store: &Store, block: &Block, height: u32) -> Result<Vec<Cheat>, Error> {
    let hints = block.txdata.iter().map(|transaction| Hint::of(&transaction.compute_txid())).collect();
    let mut cheats = vec![];
    for (place, found) in store.waiting_for(hints).await? {
        let Some(transaction) = block.txdata.get(place) else { continue };
        let txid = transaction.compute_txid();
        match Kit::open(&found.sealed, transaction) {
            Ok(kit) => {
                tracing::error!(%txid, height, client = found.client, "a revoked commitment is in the chain");
                let (client, group, rate) = (found.client, found.group, FeeRate::ZERO);
                cheats.push(Cheat { client, group, kit, height, rate, tried: 0 });
            }
            Err(error) => tracing::warn!(%txid, client = found.client, "a client's kit is none: {error}"),
        }
    }
    Ok(cheats)
}
