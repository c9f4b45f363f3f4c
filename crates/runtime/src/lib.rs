//! What a process and a web page each have of their own: a clock, pauses and tasks. What is built on this runs in both.
//!
//! | | in a process | in a page |
//! | --- | --- | --- |
//! | [`time`] | the system's clocks, tokio's timers | `performance.now()`, `Date`, `setTimeout` |
//! | [`spawn`], [`tied`] | tokio, on any of its threads | the page's one thread |
//! | [`MaybeSend`], [`MaybeSync`] | `Send`, `Sync` | nothing: what the browser hands out stays where it is |
//!
//! A trait with asynchronous methods for both has its futures `Send` in a process alone:
//! `#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]` and `#[cfg_attr(not(target_arch = "wasm32"), async_trait)]`.

/// Clocks and timers under one name. Browsers stretch pauses in hidden tabs.
pub mod time {
    #[cfg(target_arch = "wasm32")]
    pub use super::pauses::{Elapsed, sleep, timeout};
    pub use std::time::Duration;
    #[cfg(not(target_arch = "wasm32"))]
    pub use std::time::{Instant, SystemTime, UNIX_EPOCH};
    #[cfg(not(target_arch = "wasm32"))]
    pub use tokio::time::{sleep, timeout};
    #[cfg(target_arch = "wasm32")]
    pub use wasmtimer::std::{Instant, SystemTime, UNIX_EPOCH};
}

/// Every pause has a `setTimeout` of its own, which is cleared, and its memory free, when nobody waits any more. The timers of
/// `wasmtimer` share one, and stop for good once twenty of its callbacks were put off that the browser has not collected yet.
#[cfg(target_arch = "wasm32")]
mod pauses {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::future::{Either, select};
    use gloo_timers::future::TimeoutFuture;

    /// A [`timeout`] was too short.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Elapsed;

    /// Waits so long, in whole milliseconds, and at most 2³¹ of them.
    pub async fn sleep(pause: Duration) {
        // A longer one would end at once.
        let most = i32::MAX.unsigned_abs();
        TimeoutFuture::new(u32::try_from(pause.as_millis()).unwrap_or(most).min(most)).await;
    }

    /// What the work comes to, if it does within so long.
    ///
    /// # Errors
    /// [`Elapsed`]; the work is dropped then.
    pub async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        match select(pin!(work), pin!(sleep(limit))).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(Elapsed),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod bounds {
    /// `Send`, in a process.
    pub trait MaybeSend: Send {}
    impl<T: Send + ?Sized> MaybeSend for T {}
    /// `Sync`, in a process.
    pub trait MaybeSync: Sync {}
    impl<T: Sync + ?Sized> MaybeSync for T {}
}

#[cfg(target_arch = "wasm32")]
mod bounds {
    /// `Send`, in a process.
    pub trait MaybeSend {}
    impl<T: ?Sized> MaybeSend for T {}
    /// `Sync`, in a process.
    pub trait MaybeSync {}
    impl<T: ?Sized> MaybeSync for T {}
}

pub use bounds::{MaybeSend, MaybeSync};

/// Runs something in the background until it ends.
pub fn spawn(work: impl Future<Output = ()> + MaybeSend + 'static) {
    #[cfg(not(target_arch = "wasm32"))]
    drop(tokio::spawn(work));
    #[cfg(target_arch = "wasm32")]
    wasm_bindgen_futures::spawn_local(work);
}

/// What ends a task.
#[cfg(not(target_arch = "wasm32"))]
type Handle = tokio::task::AbortHandle;
#[cfg(target_arch = "wasm32")]
type Handle = futures_util::future::AbortHandle;

/// A task that ends with this value.
#[derive(Debug)]
pub struct Task(Handle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs something in the background until it ends, or until the value is dropped.
#[must_use = "the task ends with the value"]
pub fn tied(work: impl Future<Output = ()> + MaybeSend + 'static) -> Task {
    #[cfg(not(target_arch = "wasm32"))]
    let handle = tokio::spawn(work).abort_handle();
    #[cfg(target_arch = "wasm32")]
    let handle = {
        let (work, handle) = futures_util::future::abortable(work);
        wasm_bindgen_futures::spawn_local(async move {
            let _ = work.await;
        });
        handle
    };
    Task(handle)
}
