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

    /// The disk did not take this: it waits on, unless a newer one does; when the disk may be written to again.
    fn put_back(&self, peer: PublicKey, blob: Vec<u8>) -> Option<Instant> {
        let mut places = self.lock();
        let place = places.get_mut(&peer).filter(|place| place.waiting.is_none())?;
        place.waiting = Some(blob);
        Some(place.free)
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
        Due::At(free) => write_at(node, peer, free),
    }
}

fn write_at(node: &Arc<Shared>, peer: PublicKey, free: Instant) {
    let writing = Arc::clone(node);
    node.spawn(async move {
        sleep(free.saturating_duration_since(Instant::now())).await;
        if let Some(blob) = writing.shelf.take(&peer) {
            write(&writing, peer, blob).await;
        }
    });
}

/// It is a favour: a disk that fails ends no connection for it, and is tried again.
async fn write(node: &Arc<Shared>, peer: PublicKey, blob: Vec<u8>) {
    let Err(error) = node.store.keep(peer, blob.clone()).await else { return };
    tracing::error!(%peer, %error, "a peer's backup is not stored yet");
    if let Some(free) = node.shelf.put_back(peer, blob) {
        write_at(node, peer, free);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_did_not_take_waits_unless_there_is_something_newer() {
        let (shelf, peer) = (Shelf::default(), PublicKey::from_slice(&[2; 33]).unwrap());
        let Due::Now(blob) = shelf.put(peer, vec![1]) else { panic!("the first is written at once") };
        assert!(shelf.put_back(peer, blob).is_some_and(|free| free > Instant::now()));
        assert!(matches!(shelf.put(peer, vec![2]), Due::Planned));
        assert_eq!(shelf.take(&peer), Some(vec![2]));
        assert!(matches!(shelf.put(peer, vec![3]), Due::At(_)));
        assert!(shelf.put_back(peer, vec![2]).is_none());
        assert_eq!(shelf.take(&peer), Some(vec![3]));
    }
}
