//! Who is connected. A newer connection to the same peer takes the place of the older one, which may be half dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_wire::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::opening::Opening;

/// How many messages may wait for a peer that does not read. One more ends the connection.
const QUEUE: usize = 1_024;
/// How many messages may wait for one that is still read to.
const BACKLOG: usize = 8;

/// Where messages to a peer go.
#[derive(Clone)]
pub(crate) struct Wire {
    /// Which connection it is.
    pub(crate) number: u64,
    queue: mpsc::Sender<Vec<u8>>,
    cut: CancellationToken,
}

impl Wire {
    /// Queues a message. One that cannot be sent ends the connection: what follows it would make no sense.
    pub(crate) fn send(&self, message: &Message) {
        let sent = message.encode().ok().and_then(|bytes| self.queue.try_send(bytes).ok());
        if sent.is_none() {
            self.cut();
        }
    }

    /// Whether the peer takes its messages off.
    pub(crate) fn is_heard(&self) -> bool {
        QUEUE.saturating_sub(self.queue.capacity()) < BACKLOG
    }

    /// Ends the connection.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

/// What both sides of a connection know.
#[derive(Clone, Copy)]
pub(crate) struct Common {
    /// Direct payments.
    pub(crate) direct: bool,
    /// Channels that both fund (`option_dual_fund`).
    pub(crate) dual_fund: bool,
    /// `option_anchors`.
    pub(crate) anchors: bool,
}

/// A connection after `init`.
pub(crate) struct Link {
    pub(crate) peer: PublicKey,
    pub(crate) wire: Wire,
    /// Completes when the connection has to end.
    pub(crate) ended: CancellationToken,
    /// What both of us know.
    pub(crate) knows: Common,
    /// The channel that is being opened over it.
    pub(crate) opening: tokio::sync::Mutex<Opening>,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Links {
    numbers: AtomicU64,
    links: Mutex<HashMap<PublicKey, Arc<Link>>>,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in, with what both know of direct payments and of anchors. The messages for the peer come out of
    /// the receiver.
    pub(crate) fn add(
        &self,
        peer: PublicKey,
        knows: Common,
        parent: &CancellationToken,
    ) -> (Arc<Link>, mpsc::Receiver<Vec<u8>>) {
        let (queue, messages) = mpsc::channel(QUEUE);
        let ended = parent.child_token();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let wire = Wire { number, queue, cut: ended.clone() };
        let opening = tokio::sync::Mutex::new(Opening::None);
        let link = Arc::new(Link { peer, wire, ended, knows, opening });
        if let Some(older) = self.lock().insert(peer, Arc::clone(&link)) {
            older.wire.cut();
        }
        (link, messages)
    }

    /// Forgets a connection that ended.
    pub(crate) fn remove(&self, link: &Link) {
        let mut links = self.lock();
        if links.get(&link.peer).is_some_and(|newest| newest.wire.number == link.wire.number) {
            links.remove(&link.peer);
        }
    }

    /// The connection to a peer.
    pub(crate) fn get(&self, peer: &PublicKey) -> Option<Arc<Link>> {
        self.lock().get(peer).cloned()
    }

    /// Every connected peer.
    pub(crate) fn peers(&self) -> Vec<PublicKey> {
        self.lock().keys().copied().collect()
    }
}
