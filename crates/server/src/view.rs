//! How fresh the server's view of the chain is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rillpay_chain::Chain;
use rillpay_channel::Error;
use rillpay_channel::margin::Moment;
use tokio::sync::Notify;

use crate::errors::STALE_CHAIN;

/// The chain, and when the watched channels were last compared with it, as far as that could be done.
pub(crate) struct ChainView {
    pub(crate) chain: Arc<dyn Chain>,
    max_age: Duration,
    /// `None` before the backend has answered for the first time.
    now: Mutex<Option<Moment>>,
    /// Start of the last pass over all channels; `None` before the first.
    looked: Mutex<Option<Instant>>,
    look: Notify,
}

impl ChainView {
    pub(crate) fn new(chain: Arc<dyn Chain>, max_age: Duration) -> Self {
        Self { chain, max_age, now: Mutex::new(None), looked: Mutex::new(None), look: Notify::new() }
    }

    pub(crate) const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// The height of the best block, as last seen; 0 if it never was.
    pub(crate) fn tip(&self) -> u32 {
        self.now().map_or(0, |now| now.tip)
    }

    /// The height of the best block and what fees do to the margins, as last seen.
    pub(crate) fn now(&self) -> Result<Moment, Error> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).ok_or(STALE_CHAIN)
    }

    pub(crate) fn set_now(&self, now: Moment) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether a pass has ever come to its end.
    pub(crate) fn has_looked(&self) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// A pass that began at `start` has come to its end.
    pub(crate) fn looked(&self, start: Instant) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        self.look.notify_one();
    }

    /// Returns once a pass has come to its end: at the start, the first one.
    pub(crate) async fn next_look(&self) {
        self.look.notified().await;
    }

    /// As [`ChainView::now`], if both the backend and our own look are recent enough to serve on.
    pub(crate) fn fresh(&self) -> Result<Moment, Error> {
        let recent = |moment: Option<Instant>| moment.is_some_and(|moment| moment.elapsed() <= self.max_age);
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if recent(self.chain.synced_at()) && recent(looked) { self.now() } else { Err(STALE_CHAIN) }
    }
}
