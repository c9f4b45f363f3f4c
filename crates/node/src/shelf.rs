//! What we keep for peers: the newest backup of each (BOLT 1, "Peer storage"), given back first thing on every connection.
//!
//! A peer without a channel is kept nothing for. The disk is written to at most once a minute for each: what comes in between
//! waits in memory, and is given back from there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_runtime::time::{Duration, Instant, sleep};

use crate::error::Error;
use crate::node::Shared;

/// How often the disk is written to for a peer.
const PAUSE: Duration = Duration::from_secs(60);

/// The backups that are not on the disk yet.
#[derive(Default)]
pub(crate) struct Shelf {
    places: Mutex<HashMap<PublicKey, Place>>,
}

struct Place {
    /// When the disk may be written to again.
    free: Instant,
    waiting: Option<Vec<u8>>,
}

/// When a backup goes to the disk.
enum Due {
    Now(Vec<u8>),
    At(Instant),
    /// With the one before, which waits already.
    Planned,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<PublicKey, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, peer: PublicKey, blob: Vec<u8>) -> Due {
        let now = Instant::now();
        let mut places = self.lock();
        let place = places.entry(peer).or_insert(Place { free: now, waiting: None });
        if place.free <= now {
            // What waits is older.
            (place.waiting, place.free) = (None, after_pause());
            return Due::Now(blob);
        }
        match place.waiting.replace(blob) {
            Some(_) => Due::Planned,
            None => Due::At(place.free),
        }
    }

    fn take(&self, peer: &PublicKey) -> Option<Vec<u8>> {
        let mut places = self.lock();
        let place = places.get_mut(peer)?;
        let blob = place.waiting.take()?;
        place.free = after_pause();
        Some(blob)
    }
}

fn after_pause() -> Instant {
    let now = Instant::now();
    now.checked_add(PAUSE).unwrap_or(now)
}

/// A peer wants this kept in place of what it gave before.
pub(crate) async fn put(node: &Arc<Shared>, peer: PublicKey, blob: Vec<u8>) {
    if node.channels_with(&peer).is_empty() {
        return;
    }
    match node.shelf.put(peer, blob) {
        Due::Now(blob) => write(node, peer, blob).await,
        Due::Planned => {}
        Due::At(free) => {
            let writing = Arc::clone(node);
            node.spawn(async move {
                sleep(free.saturating_duration_since(Instant::now())).await;
                if let Some(blob) = writing.shelf.take(&peer) {
                    write(&writing, peer, blob).await;
                }
            });
        }
    }
}

/// It is a favour: a disk that fails ends no connection for it.
async fn write(node: &Shared, peer: PublicKey, blob: Vec<u8>) {
    if let Err(error) = node.store.keep(peer, blob).await {
        tracing::error!(%peer, %error, "a peer's backup is not stored");
    }
}

/// What a peer gave us to keep.
pub(crate) async fn get(node: &Shared, peer: PublicKey) -> Result<Option<Vec<u8>>, Error> {
    let waiting = node.shelf.lock().get(&peer).and_then(|place| place.waiting.clone());
    match waiting {
        Some(blob) => Ok(Some(blob)),
        None => Ok(node.store.kept(peer).await?),
    }
}
