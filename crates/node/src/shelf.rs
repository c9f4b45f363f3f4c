//! What we keep for peers: the newest backup of each (BOLT 1, "Peer storage"), given back first thing on every connection.
//!
//! A peer without a channel is kept nothing for. The disk is written to at most once a minute for each: what comes in between
//! waits in memory, and is given back from there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rusqlite::{OptionalExtension, params};
use tokio::time::{Instant, sleep_until};

use crate::error::Error;
use crate::node::Shared;
use crate::store::{Store, StoreError};

/// How often the disk is written to for a peer.
const PAUSE: Duration = Duration::from_secs(60);
/// For how many blocks a backup is kept after the last channel with its peer is over.
const KEPT: u32 = 2_016;

/// Of an earlier store this table is missing. `seen` is the height at which the peer had a channel the last time.
pub(crate) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS kept (
        peer BLOB PRIMARY KEY,
        blob BLOB NOT NULL,
        seen INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

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
pub(crate) async fn put(node: &Arc<Shared>, peer: PublicKey, blob: Vec<u8>) -> Result<(), Error> {
    if node.channels_with(&peer).is_empty() {
        return Ok(());
    }
    match node.shelf.put(peer, blob) {
        Due::Now(blob) => node.store.keep(peer, blob).await?,
        Due::Planned => {}
        Due::At(free) => {
            let writing = Arc::clone(node);
            node.spawn(async move {
                sleep_until(free).await;
                let Some(blob) = writing.shelf.take(&peer) else { return };
                if let Err(error) = writing.store.keep(peer, blob).await {
                    tracing::error!(%peer, %error, "a peer's backup is not stored");
                }
            });
        }
    }
    Ok(())
}

/// What a peer gave us to keep.
pub(crate) async fn get(node: &Shared, peer: PublicKey) -> Result<Option<Vec<u8>>, Error> {
    let waiting = node.shelf.lock().get(&peer).and_then(|place| place.waiting.clone());
    match waiting {
        Some(blob) => Ok(Some(blob)),
        None => Ok(node.store.kept(peer).await?),
    }
}

impl Store {
    async fn keep(&self, peer: PublicKey, blob: Vec<u8>) -> Result<(), StoreError> {
        self.run(move |db| {
            let sql = "INSERT INTO kept (peer, blob, seen)
                VALUES (?1, ?2, COALESCE((SELECT MAX(since) FROM channel WHERE peer = ?1), 0))
                ON CONFLICT (peer) DO UPDATE SET blob = excluded.blob";
            db.execute(sql, params![peer.serialize(), blob])?;
            Ok(())
        })
        .await
    }

    async fn kept(&self, peer: PublicKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT blob FROM kept WHERE peer = ?";
            Ok(db.query_row(sql, [peer.serialize()], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// The chain has this height: forgets what was kept for those who have long had no channel.
    pub(crate) async fn clear_shelf(&self, height: u32) -> Result<(), StoreError> {
        self.run(move |db| {
            let transaction = db.transaction()?;
            let with_channel = "SELECT peer FROM channel WHERE over = 0";
            transaction.execute(&format!("UPDATE kept SET seen = ? WHERE peer IN ({with_channel})"), [height])?;
            transaction.execute("DELETE FROM kept WHERE seen + ? < ?", [KEPT, height])?;
            Ok(transaction.commit()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rillpay_wire::ChannelId;

    use super::*;
    use crate::store::Change;

    #[tokio::test]
    async fn a_backup_outlives_the_last_channel_by_two_weeks() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.sqlite")).unwrap();
        let [with, without] = [2, 3].map(|parity| PublicKey::from_slice(&[&[parity][..], &[2; 32]].concat()).unwrap());
        let change = Change::of(&[rillpay_channel::revocable::holder::Event::Held(vec![1])]);
        store.create(0, ChannelId([1; 32]), with, 0, change).await.unwrap();
        for peer in [with, without] {
            store.keep(peer, vec![0]).await.unwrap();
            store.keep(peer, vec![1; 65_531]).await.unwrap();
        }
        store.clear_shelf(2_016).await.unwrap();
        assert_eq!(store.kept(without).await.unwrap(), Some(vec![1; 65_531]));
        for height in [2_017, 5_000] {
            store.clear_shelf(height).await.unwrap();
            assert_eq!(store.kept(without).await.unwrap(), None);
            assert_eq!(store.kept(with).await.unwrap(), Some(vec![1; 65_531]));
        }
        store.set_over(0).await.unwrap();
        for (height, kept) in [(5_001, true), (7_016, true), (7_017, false)] {
            store.clear_shelf(height).await.unwrap();
            assert_eq!(store.kept(with).await.unwrap().is_some(), kept, "{height}");
        }
    }
}
