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
    pub use std::time::Duration;
    #[cfg(not(target_arch = "wasm32"))]
    pub use std::time::{Instant, SystemTime, UNIX_EPOCH};
    #[cfg(not(target_arch = "wasm32"))]
    pub use tokio::time::{sleep, timeout};
    #[cfg(target_arch = "wasm32")]
    pub use wasmtimer::std::{Instant, SystemTime, UNIX_EPOCH};
    #[cfg(target_arch = "wasm32")]
    pub use wasmtimer::tokio::{sleep, timeout};
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
