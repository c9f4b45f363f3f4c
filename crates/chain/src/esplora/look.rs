//! The tasks that look at the server, and what they have seen.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::Network;
use bitcoin::constants::genesis_block;
use rillpay_runtime::time::{Duration, Instant, SystemTime, UNIX_EPOCH, sleep};
use rillpay_runtime::{Task, tied};
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::headers::Headers;
use super::http::Http;
use super::trouble::Trouble;
use crate::{Change, ScriptHash, Tip};

/// The longest pause between two looks, after many that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many of the scripts followed last are looked at in every look. Deposits come soon after their address was shown;
/// what happens later the owner of a script finds when it asks.
const WATCHED: usize = 32;
/// The furthest below the tip that headers are read: more than the year that a channel may live.
const FURTHEST_BACK: u32 = 54_000;
/// How many headers are read before they are kept: whoever breaks a long way off goes on from there.
const STRIDE: u32 = 100;
/// So many of the newest headers are read in any case, bit by bit: visitors are told of no older blocks.
const HELD: u32 = 2_016;
/// Servers behind one name are not all equally quick: a view that was good so lately is not thrown away for one that is
/// slower.
const GRACE: Duration = Duration::from_secs(30);
/// An older tip means that the server has lost its network: six blocks an hour come on average, and three hours without
/// any once in a thousand years.
const OLDEST_TIP: u64 = 3 * 60 * 60;

/// What the last look has seen.
struct Seen {
    headers: Arc<Headers>,
    trouble: Option<Trouble>,
    synced_at: Option<Instant>,
}

/// What the chain's handles and its task share.
pub(super) struct Shared {
    pub(super) http: Http,
    pub(super) network: Network,
    seen: Mutex<Seen>,
    changes: watch::Sender<Change>,
    watched: Mutex<VecDeque<ScriptHash>>,
    /// One look at a time, and what it remembers of the watched scripts.
    looking: AsyncMutex<HashMap<ScriptHash, Vec<u8>>>,
    /// One reads older headers at a time. Looks go on meanwhile.
    deepening: AsyncMutex<()>,
}

impl Shared {
    pub(super) fn new(http: Http, network: Network) -> Self {
        let trouble = Some(Trouble::Unreachable("the Esplora has not been asked yet".to_owned()));
        let genesis = genesis_block(network).header;
        let tip = Tip { height: 0, hash: genesis.block_hash(), time: genesis.time, median_time: genesis.time };
        Shared {
            http,
            network,
            seen: Mutex::new(Seen { headers: Arc::default(), trouble, synced_at: None }),
            changes: watch::channel(Change { tip, blocks: 0, mempool: 0 }).0,
            watched: Mutex::default(),
            looking: AsyncMutex::default(),
            deepening: AsyncMutex::default(),
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn synced_at(&self) -> Option<Instant> {
        lock(&self.seen).synced_at
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.seen).trouble.clone()
    }

    /// The best chain, unless there is trouble.
    pub(super) fn headers(&self) -> Result<Arc<Headers>, Trouble> {
        let seen = lock(&self.seen);
        match &seen.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(Arc::clone(&seen.headers)),
        }
    }

    pub(super) fn follow(&self, script: ScriptHash) {
        let mut watched = lock(&self.watched);
        if watched.contains(&script) {
            return;
        }
        watched.push_back(script);
        if watched.len() > WATCHED {
            watched.pop_front();
        }
    }

    pub(super) fn unfollow(&self, script: &ScriptHash) {
        lock(&self.watched).retain(|other| other != script);
    }

    /// A server that lies in one thing is not believed in any other until the next look.
    pub(super) fn caught(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Lie(_) | Trouble::Foreign(_)) {
            tracing::warn!("{trouble}");
            lock(&self.seen).trouble = Some(trouble.clone());
        }
    }

    /// Reads older headers, down to a height.
    pub(super) async fn extend_down(&self, height: u32) -> Result<Arc<Headers>, Trouble> {
        let _deepening = self.deepening.lock().await;
        loop {
            let headers = self.headers()?;
            let base = headers.base();
            if base <= height {
                return Ok(headers);
            }
            if headers.tip().is_none_or(|tip| tip.height.saturating_sub(height) > FURTHEST_BACK) {
                return Err(Trouble::Unreachable(format!("block {height} is older than this can check")));
            }
            let mut deeper = Headers::clone(&headers);
            let read = deeper.extend_down(&self.http, height.max(base.saturating_sub(STRIDE)), self.network).await;
            let mut seen = lock(&self.seen);
            Arc::make_mut(&mut seen.headers).deepen(&deeper);
            let stuck = seen.headers.base() >= base;
            drop(seen);
            read?;
            if stuck {
                return Err(Trouble::behind("its chain changed while older blocks of it were read"));
            }
        }
    }

    /// Reads some of the older headers that are to be held.
    async fn hold(&self) -> Result<(), Trouble> {
        // Trouble is what the look has found, and told of.
        let Ok(headers) = self.headers() else { return Ok(()) };
        let Some(tip) = headers.tip() else { return Ok(()) };
        let lowest = tip.height.saturating_sub(HELD);
        if headers.base() > lowest {
            self.extend_down(lowest.max(headers.base().saturating_sub(STRIDE))).await?;
        }
        Ok(())
    }

    /// One look, published.
    pub(super) async fn look(&self) -> Result<(), Trouble> {
        let mut counts = self.looking.lock().await;
        let start = Instant::now();
        let before = Arc::clone(&lock(&self.seen).headers);
        let result = self.see(&before, &mut counts).await;
        let mut seen = lock(&self.seen);
        let (mut headers, paid) = match result {
            Ok(news) => news,
            Err(trouble) => {
                let lately = seen.trouble.is_none() && seen.synced_at.is_some_and(|synced| synced.elapsed() < GRACE);
                if !(lately && matches!(trouble, Trouble::Behind(_))) {
                    if seen.trouble.as_ref() != Some(&trouble) {
                        tracing::warn!("{trouble}");
                    }
                    seen.trouble = Some(trouble.clone());
                }
                return Err(trouble);
            }
        };
        if seen.trouble.take().is_some() {
            tracing::info!("the Esplora is in step");
        }
        seen.synced_at = Some(start);
        // Older headers may have been read meanwhile.
        if seen.headers.base() < headers.base() {
            Arc::make_mut(&mut headers).deepen(&seen.headers);
        }
        seen.headers = Arc::clone(&headers);
        drop(seen);
        let Some(tip) = headers.tip() else { return Ok(()) };
        self.changes.send_if_modified(|last| {
            let next = Change {
                tip,
                blocks: last.blocks.saturating_add(u64::from(last.tip != tip)),
                mempool: last.mempool.saturating_add(u64::from(paid)),
            };
            std::mem::replace(last, next) != next
        });
        Ok(())
    }

    /// The best chain, and whether anything happened to a watched script.
    async fn see(
        &self,
        before: &Arc<Headers>,
        counts: &mut HashMap<ScriptHash, Vec<u8>>,
    ) -> Result<(Arc<Headers>, bool), Trouble> {
        if self.trouble().is_some() {
            let first = self.http.hash_at(0).await?.ok_or_else(|| Trouble::lie("a chain without a first block"))?;
            if first != genesis_block(self.network).block_hash() {
                return Err(Trouble::Foreign(format!("its first block is {first}; wanted is {}", self.network)));
            }
        }
        let hash = self.http.tip_hash().await?;
        let moved = before.tip().is_none_or(|tip| tip.hash != hash);
        let headers = if moved {
            let mut headers = Headers::clone(before);
            headers.advance(&self.http, self.network).await?;
            Arc::new(headers)
        } else {
            Arc::clone(before)
        };
        self.check_age(&headers)?;
        let watched: Vec<ScriptHash> = lock(&self.watched).iter().copied().collect();
        counts.retain(|script, _| watched.contains(script));
        let mut paid = false;
        for script in watched {
            let now = match self.http.counts(&script).await {
                Ok(now) => now,
                // A server may find an address too busy to count: that must not keep the chain from being seen. Who owns
                // the script asks by itself, less often.
                Err(trouble) => {
                    tracing::warn!(%script, "a script is not looked at any more: {trouble}");
                    self.unfollow(&script);
                    break;
                }
            };
            let known = counts.insert(script, now.clone());
            // A block changes counts too, and is told of as a block; of a script not looked at before nothing is known.
            paid |= !moved && known.is_none_or(|known| known != now);
        }
        Ok((headers, paid))
    }

    /// Outside tests a chain that does not grow is not the network's.
    fn check_age(&self, headers: &Headers) -> Result<(), Trouble> {
        let (Some(tip), Ok(now)) = (headers.tip(), SystemTime::now().duration_since(UNIX_EPOCH)) else {
            return Err(Trouble::behind("the time is not known"));
        };
        let age = now.as_secs().saturating_sub(u64::from(tip.time));
        if age <= OLDEST_TIP || self.network == Network::Regtest {
            return Ok(());
        }
        Err(Trouble::Behind(format!("its newest block, {}, is {} minutes old", tip.height, age.div_euclid(60))))
    }
}

/// The tasks. They end with the value.
pub(super) struct Looker {
    _tasks: [Task; 2],
}

impl Looker {
    pub(super) fn start(shared: Arc<Shared>, poll: Duration) -> Self {
        let held = Arc::clone(&shared);
        let look = tied(async move {
            let mut pause = poll;
            loop {
                sleep(pause).await;
                pause = match shared.look().await {
                    Ok(()) => poll,
                    Err(_) => pause.saturating_mul(2).min(LONGEST_PAUSE.max(poll)),
                };
            }
        });
        // Apart from the looks, which wait for nothing.
        let hold = tied(async move {
            loop {
                sleep(poll).await;
                if let Err(trouble) = held.hold().await {
                    held.caught(&trouble);
                }
            }
        });
        Looker { _tasks: [look, hold] }
    }
}

/// No code that holds one of these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
