//! How fresh the server's view of the chain is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rillpay_chain::Chain;
use rillpay_channel::Error;
use tokio::sync::Notify;

use crate::errors::STALE_CHAIN;

/// The chain, and when all watched channels were last compared with it.
pub(crate) struct ChainView {
    pub(crate) chain: Arc<dyn Chain>,
    max_age: Duration,
    tip: AtomicU32,
    /// Start of the last whole look; `None` before the first.
    looked: Mutex<Option<Instant>>,
    look: Notify,
}

impl ChainView {
    pub(crate) fn new(chain: Arc<dyn Chain>, max_age: Duration) -> Self {
        Self { chain, max_age, tip: AtomicU32::new(0), looked: Mutex::new(None), look: Notify::new() }
    }

    pub(crate) const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The height of the best block, as last seen.
    pub(crate) fn tip(&self) -> u32 {
        self.tip.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tip(&self, height: u32) {
        self.tip.store(height, Ordering::Relaxed);
    }

    /// A look that began at `start` is complete.
    pub(crate) fn looked(&self, start: Instant) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        self.look.notify_one();
    }

    /// Returns once a look is complete: at the start, the first one.
    pub(crate) async fn next_look(&self) {
        self.look.notified().await;
    }

    /// The height of the best block, if both the backend and our own look are recent enough to serve on.
    pub(crate) fn fresh(&self) -> Result<u32, Error> {
        let recent = |moment: Option<Instant>| moment.is_some_and(|moment| moment.elapsed() <= self.max_age);
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if recent(self.chain.synced_at()) && recent(looked) { Ok(self.tip()) } else { Err(STALE_CHAIN) }
    }
}
