//! Who is connected. A newer connection to the same peer takes the place of the older one, which may be half dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_wire::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::backup::Retrieved;
use crate::opening::Opening;
use crate::peer::PeerAddress;

/// How many messages may wait for a peer that does not read. One more ends the connection.
const QUEUE: usize = 1_024;
/// How many messages may wait for one that is still read to.
const BACKLOG: usize = 8;

/// Where messages to a peer go.
#[derive(Clone)]
pub(crate) struct Wire {
    /// Which connection it is.
    pub(crate) number: u64,
    /// What both of us know.
    pub(crate) knows: Common,
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

    /// Whether it has ended or is about to, for a newer one among other reasons.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
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
    /// Backups are kept (BOLT 1, "Peer storage").
    pub(crate) keeps_backups: bool,
}

/// A connection after `init`.
pub(crate) struct Link {
    pub(crate) peer: PublicKey,
    pub(crate) wire: Wire,
    /// Completes when the connection has to end.
    pub(crate) ended: CancellationToken,
    /// Whether the peer has said anything since its `init`.
    pub(crate) heard: watch::Sender<bool>,
    /// What came of the backup that the peer gave back.
    pub(crate) retrieved: watch::Sender<Option<Retrieved>>,
    /// The channel that is being opened over it.
    pub(crate) opening: tokio::sync::Mutex<Opening>,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Links {
    numbers: AtomicU64,
    links: Mutex<HashMap<PublicKey, Arc<Link>>>,
    /// Where the peers are that are called.
    calls: Mutex<HashMap<PublicKey, String>>,
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, Arc<Link>>> {
        guard(&self.links)
    }

    /// Remembers where a peer is called from now on; whether nobody calls it yet.
    pub(crate) fn is_new_call(&self, to: &PeerAddress) -> bool {
        guard(&self.calls).insert(to.id, to.address.clone()).is_none()
    }

    /// Where a peer is called.
    pub(crate) fn called_at(&self, id: &PublicKey) -> Option<PeerAddress> {
        guard(&self.calls).get(id).map(|address| PeerAddress { id: *id, address: address.clone() })
    }

    /// Takes a connection in, with what both know. The messages for the peer come out of
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
        let wire = Wire { number, knows, queue, cut: ended.clone() };
        let (heard, retrieved) = (watch::Sender::new(false), watch::Sender::new(None));
        let opening = tokio::sync::Mutex::new(Opening::None);
        let link = Arc::new(Link { peer, wire, ended, heard, retrieved, opening });
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
