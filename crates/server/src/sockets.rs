//! The open sockets: how many there may be, and how all of them hear that the server goes down.
//!
//! Each socket has an outbox for what it did not ask for. Going down is one more push: a signal that every socket polled
//! for itself would cost each payment a turn at a lock that all of them share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::session::Push;

/// Messages that may wait for a slow socket before it counts as dead. Pushes are rare: one per block or need.
const OUTBOX: usize = 64;

/// The sending end of a socket's outbox.
pub(crate) type Outbox = mpsc::Sender<Push>;

/// All open sockets.
pub(crate) struct Sockets {
    limit: usize,
    /// The tasks that serve them.
    pub(crate) tasks: TaskTracker,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    outboxes: HashMap<u64, Outbox>,
    next: u64,
    going_down: bool,
}

/// A place for one socket, given back when it is dropped.
pub(crate) struct Place {
    sockets: Arc<Sockets>,
    number: u64,
    pub(crate) outbox: Outbox,
}

impl Sockets {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            tasks: TaskTracker::new(),
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more socket and the receiving end of its outbox, if there is room.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<(Place, mpsc::Receiver<Push>)> {
        let mut open = self.lock();
        if open.going_down || open.outboxes.len() >= self.limit {
            return None;
        }
        let (outbox, pushes) = mpsc::channel(OUTBOX);
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        open.outboxes.insert(number, outbox.clone());
        Some((Place { sockets: Arc::clone(self), number, outbox }, pushes))
    }

    /// Tells every socket that the server goes down, and admits no more.
    pub(crate) fn go_down(&self) {
        let mut open = self.lock();
        open.going_down = true;
        for outbox in open.outboxes.values() {
            // A socket whose outbox is full does not read, and is broken off with the process.
            let _ = outbox.try_send(Push::GoingDown);
        }
        self.tasks.close();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sockets.lock().outboxes.remove(&self.number);
    }
}
