//! How a peer is reached. What runs over the stream is the same everywhere.

use async_trait::async_trait;
use rillpay_runtime::{MaybeSend, MaybeSync};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes from a peer.
pub type Reads = Box<dyn AsyncRead + Unpin + Send>;
/// Bytes to a peer.
pub type Writes = Box<dyn AsyncWrite + Unpin + Send>;

/// A byte stream to a peer, both halves of it.
pub struct Stream {
    /// What comes.
    pub reads: Reads,
    /// What goes.
    pub writes: Writes,
}

impl Stream {
    /// Both halves, whatever they are.
    pub fn new(
        reads: impl AsyncRead + Unpin + Send + 'static,
        writes: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        Self { reads: Box::new(reads), writes: Box::new(writes) }
    }
}

/// Whoever connects to addresses: over TCP in a process, over a WebSocket in a page.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait Dial: MaybeSend + MaybeSync {
    /// Connects.
    ///
    /// # Errors
    /// Why not, in a few words.
    async fn dial(&self, address: &str) -> Result<Stream, String>;
}
