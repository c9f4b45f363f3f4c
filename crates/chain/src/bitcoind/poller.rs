//! The task that looks at the node, and what it has seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::Txid;
use bitcoin::constants::genesis_block;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::follower::Follower;
use super::node::Node;
use super::trouble::Trouble;
use super::view::View;
use crate::{ChainError, Change, ScriptHash, Tip};

/// How long a question waits for a look.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between two looks, after many that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Pauses are at least this many times as long as the look before: a node with much in its mempool is asked less often.
const REST: u32 = 4;

/// How long a node may be between two blocks: as long the last view is as good as if no look had been due.
const GRACE: Duration = Duration::from_secs(5);

/// What the last looks have seen.
#[derive(Clone)]
struct Seen {
    view: Arc<View>,
    trouble: Option<Trouble>,
    /// Start of the last look without trouble.
    synced_at: Option<Instant>,
    /// The number of the last look that ended.
    ended: u64,
}

/// What the chain's handles and its task share.
pub(super) struct Shared {
    pub(super) node: Arc<Node>,
    seen: watch::Sender<Seen>,
    changes: watch::Sender<Change>,
    /// The number of the last look that began.
    begun: AtomicU64,
    wake: Notify,
    /// Every followed script, and from where on.
    followed: Mutex<HashMap<ScriptHash, u32>>,
    /// What the task has not heard of: scripts, and where to follow them from; `None` for no longer at all.
    asked: Mutex<Vec<(ScriptHash, Option<u32>)>>,
}

impl Shared {
    pub(super) fn new(node: Arc<Node>) -> Self {
        let trouble = Some(Trouble::Unreachable("it has not been asked yet".to_owned()));
        let seen = Seen { view: Arc::default(), trouble, synced_at: None, ended: 0 };
        let genesis = genesis_block(node.network).header;
        let tip = Tip { height: 0, hash: genesis.block_hash(), time: genesis.time, median_time: genesis.time };
        Shared {
            node,
            seen: watch::channel(seen).0,
            changes: watch::channel(Change { tip, blocks: 0, mempool: 0 }).0,
            begun: AtomicU64::new(0),
            wake: Notify::new(),
            followed: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn synced_at(&self) -> Option<Instant> {
        self.seen.borrow().synced_at
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.seen.borrow().trouble.clone()
    }

    /// The last complete look, unless there is trouble.
    pub(super) fn view(&self) -> Result<Arc<View>, ChainError> {
        self.seen.borrow().view()
    }

    pub(super) fn follow(&self, script: ScriptHash, since: u32) {
        let earlier = lock(&self.followed).insert(script, since);
        if earlier.is_some_and(|earlier| earlier <= since) {
            lock(&self.followed).insert(script, earlier.unwrap_or(since));
            return;
        }
        lock(&self.asked).push((script, Some(since)));
        self.wake.notify_one();
    }

    pub(super) fn unfollow(&self, script: ScriptHash) {
        if lock(&self.followed).remove(&script).is_some() {
            lock(&self.asked).push((script, None));
        }
    }

    /// A view that has all of a script's history.
    pub(super) async fn view_of(&self, script: &ScriptHash) -> Result<Arc<View>, ChainError> {
        let since = lock(&self.followed).get(script).copied();
        let since = since.ok_or(ChainError::Misuse("a Bitcoin Core node is asked of followed scripts only"))?;
        self.view_when(|view| {
            let follow = view.scripts().get(script).filter(|follow| follow.since <= since)?;
            match (follow.pruned, follow.next) {
                (Some(height), _) => Some(Err(Trouble::Pruned(height))),
                (None, None) => Some(Ok(())),
                (None, Some(_)) => None,
            }
        })
        .await
    }

    /// A view that has the history of all followed scripts.
    pub(super) async fn whole_view(&self) -> Result<Arc<View>, ChainError> {
        let count = lock(&self.followed).len();
        self.view_when(|view| {
            if let Some(height) = view.scripts().values().find_map(|follow| follow.pruned) {
                return Some(Err(Trouble::Pruned(height)));
            }
            let complete = view.scripts().len() >= count && view.scripts().values().all(|follow| follow.next.is_none());
            complete.then_some(Ok(()))
        })
        .await
    }

    /// Waits for a view that is ready, but not for long.
    async fn view_when(&self, ready: impl Fn(&View) -> Option<Result<(), Trouble>>) -> Result<Arc<View>, ChainError> {
        let mut seen = self.seen.subscribe();
        let settled = seen.wait_for(|seen| seen.trouble.is_some() || ready(&seen.view).is_some());
        let Ok(settled) = tokio::time::timeout(PATIENCE, settled).await else {
            return Err(Trouble::behind("older blocks are still being read for scripts followed lately").into());
        };
        let view = settled.map_err(|_| ended())?.view()?;
        match ready(&view) {
            Some(Err(trouble)) => Err(trouble.into()),
            _ => Ok(view),
        }
    }

    /// Has the task look now, and waits until a look that began after this call has ended, but not for long.
    pub(super) async fn next_look(&self) -> Result<(), ChainError> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut seen = self.seen.subscribe();
        self.wake.notify_one();
        let looked = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.ended > begun)).await;
        looked.map_err(|_| ended())?.map_err(|_| ended())?;
        Ok(())
    }

    /// One look, published.
    async fn look(&self, follower: &mut Follower) -> Result<(), Trouble> {
        let start = Instant::now();
        let number = self.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        for (script, since) in std::mem::take(&mut *lock(&self.asked)) {
            match since {
                Some(since) => follower.follow(script, since),
                None => follower.unfollow(script),
            }
        }
        let result = follower.look().await;
        let before = self.seen.borrow().clone();
        if matches!(result, Err(Trouble::Passing(_)))
            && before.trouble.is_none()
            && before.synced_at.is_some_and(|synced| synced.elapsed() < GRACE)
        {
            self.seen.send_modify(|seen| seen.ended = number);
            return Ok(());
        }
        let (view, synced_at) = match &result {
            Ok(()) if follower.view.revision() == before.view.revision() => (before.view.clone(), Some(start)),
            Ok(()) => (Arc::new(follower.view.clone()), Some(start)),
            Err(_) => (before.view.clone(), before.synced_at),
        };
        report(before.trouble.as_ref(), result.as_ref().err());
        let change = changed(&before.view, &view);
        // The view comes before the news of it, or a watcher would look at the old one and be content; whoever waits for
        // this look comes after both.
        let trouble = result.clone().err();
        self.seen.send_replace(Seen { view: Arc::clone(&view), trouble, synced_at, ended: before.ended });
        if let (Ok(()), Some(tip)) = (&result, view.tip()) {
            self.changes.send_if_modified(|last| {
                let next = Change {
                    tip,
                    blocks: last.blocks.saturating_add(u64::from(last.tip != tip)),
                    mempool: last.mempool.saturating_add(u64::from(change)),
                };
                std::mem::replace(last, next) != next
            });
        }
        self.seen.send_modify(|seen| seen.ended = number);
        result
    }
}

impl Seen {
    fn view(&self) -> Result<Arc<View>, ChainError> {
        match &self.trouble {
            Some(trouble) => Err(trouble.clone().into()),
            None => Ok(Arc::clone(&self.view)),
        }
    }
}

/// The task. It ends with the value.
pub(super) struct Poller(JoinHandle<()>);

impl Poller {
    pub(super) fn start(shared: Arc<Shared>, mut follower: Follower, poll: Duration) -> Self {
        Poller(tokio::spawn(async move {
            let mut pause = poll;
            loop {
                let start = Instant::now();
                match shared.look(&mut follower).await {
                    // A failing node is not asked more often because somebody wants to know.
                    Err(_) => {
                        tokio::time::sleep(pause).await;
                        pause = pause.saturating_mul(2).min(LONGEST_PAUSE.max(poll));
                    }
                    Ok(()) if follower.has_more() => pause = poll,
                    Ok(()) => {
                        pause = poll;
                        // Whoever wants a look gets it sooner, but the node has half of its time for others.
                        let took = start.elapsed().min(LONGEST_PAUSE);
                        tokio::time::sleep(took).await;
                        let rest = took.saturating_mul(REST).min(LONGEST_PAUSE).max(poll);
                        let _ = tokio::time::timeout(rest, shared.wake.notified()).await;
                    }
                }
            }
        }))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a followed transaction came to wait or went away from it, other than by being confirmed.
fn changed(before: &View, after: &View) -> bool {
    let waits = |view: &View, txid: &Txid| view.status(txid).is_some_and(|status| !status.is_confirmed());
    after.waiting().any(|txid| !waits(before, txid)) || before.waiting().any(|txid| after.entry(txid).is_none())
}

fn report(before: Option<&Trouble>, now: Option<&Trouble>) {
    match (before, now) {
        (Some(_), None) => tracing::info!("the Bitcoin Core node is in step"),
        (before, Some(now)) if before != Some(now) => tracing::warn!("{now}"),
        _ => {}
    }
}

fn ended() -> ChainError {
    ChainError::Unavailable("the node was not looked at in time".to_owned())
}

/// No code that holds one of these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
