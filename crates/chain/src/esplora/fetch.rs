//! One HTTP request, however it is made: hyper makes it in a process, the browser in a page.

#[cfg(not(target_arch = "wasm32"))]
mod client;

use async_trait::async_trait;
use bytes::Bytes;
use rillpay_runtime::time::Duration;

#[cfg(not(target_arch = "wasm32"))]
pub(super) use client::client;

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub url: &'a str,
    /// A text to be posted; without one it is a GET.
    pub post: Option<String>,
    /// The most bytes of an answer. A longer one counts as none.
    pub limit: usize,
    /// How long the whole answer may take.
    pub patience: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its HTTP status.
    pub status: u16,
    /// For how long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// What came.
    pub body: Bytes,
}

/// Whoever makes requests: without cookies, never from a cache, once.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait Fetch: Send + Sync {
    /// Makes a request.
    ///
    /// # Errors
    ///
    /// Why there is no whole answer, in a few words.
    async fn fetch(&self, request: Request<'_>) -> Result<Fetched, String>;
}
