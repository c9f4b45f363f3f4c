//! What survives a crash: SQLite, one row per channel.
//!
//! ```text
//! node      one row: whose store it is, the wallet's record, and how many numbers of channels are taken
//! peer      who is called again
//! channel   what a holder has to know, with the version that every change names and raises
//! revoked   the payments in revoked commitments, for the channel's whole life
//! paid      requests that were paid
//! kept      what peers gave us to keep
//! outbox    what a watchtower is still to be told (`outbox`)
//! ```
//!
//! **Fencing.** A change that names another version than the row's fails ([`StoreError::Conflict`]): a second writer made
//! one in between, and the loser reads the channel anew.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rillpay_channel::bitcoin::Txid;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::backup::{Backup, ChannelCopy};
use rillpay_channel::revocable::{CommitmentNumber, Htlc};
use rillpay_wire::ChannelId;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Notify;

use crate::keep::{Change, KEPT, Keep, Loaded, Owner, StoreError, decode, encode};
use crate::outbox;

/// The version of the tables, in SQLite's `user_version`.
const VERSION: i32 = 1;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of an earlier store this table is missing. `seen` is the height at which the peer had a channel the last time.
const SHELF: &str = "
    CREATE TABLE IF NOT EXISTS kept (
        peer BLOB PRIMARY KEY,
        blob BLOB NOT NULL,
        seen INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

const TABLES: &str = "
    CREATE TABLE node (
        id      INTEGER PRIMARY KEY CHECK (id = 0),
        key     BLOB NOT NULL,
        network TEXT NOT NULL,
        since   INTEGER NOT NULL,
        rows    INTEGER NOT NULL DEFAULT 0,
        wallet  BLOB
    ) STRICT;
    CREATE TABLE peer (
        key     BLOB PRIMARY KEY,
        address TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE channel (
        row     INTEGER PRIMARY KEY,
        id      BLOB NOT NULL UNIQUE,
        peer    BLOB NOT NULL,
        since   INTEGER NOT NULL,
        over    INTEGER NOT NULL DEFAULT 0,
        version INTEGER NOT NULL,
        held    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE revoked (
        row    INTEGER NOT NULL,
        number INTEGER NOT NULL,
        htlcs  BLOB NOT NULL,
        PRIMARY KEY (row, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE paid (
        request BLOB PRIMARY KEY,
        row     INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    db: Arc<Mutex<Option<Connection>>>,
    /// Whose turn it is, in the order in which they asked: threads alone come to `db` in any order.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Told of new letters, where there is a tower.
    outbox: Option<Arc<Notify>>,
}

impl Store {
    /// Opens or makes the store in `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // Made here, so that nobody else can ever read it.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|error| StoreError::Failed(error.to_string()))?;
        let db = Connection::open(path)?;
        db.busy_timeout(PATIENCE)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        match db.query_row("PRAGMA user_version", [], |row| row.get(0))? {
            0 => db.execute_batch(&format!("BEGIN; {TABLES} COMMIT;"))?,
            VERSION => {}
            other => return Err(StoreError::Version(other)),
        }
        db.execute_batch(SHELF)?;
        db.execute_batch(outbox::TABLE)?;
        Ok(Self { db: Arc::new(Mutex::new(Some(db))), turn: Arc::default(), outbox: None })
    }

    /// Keeps what is revoked for a watchtower from now on, or does not.
    pub(crate) fn with_outbox(self, has_tower: bool) -> Self {
        Self { outbox: has_tower.then(Arc::default), ..self }
    }

    /// Completes when there is something new to tell the tower; it may have been told already.
    pub(crate) async fn new_letters(&self) {
        match &self.outbox {
            Some(outbox) => outbox.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for the disk away from the async threads. Work that has begun is done also where nobody waits for it any more, and before
    /// whatever is asked for later.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            let done = store.now(work);
            drop(turn);
            done
        });
        let joined = working.await;
        joined.unwrap_or_else(|_| Err(StoreError::Failed("the work broke off".to_owned())))
    }

    pub(crate) fn now<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // A panic left no transaction open: dropping one rolls it back.
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        work(db.as_mut().ok_or(StoreError::Closed)?)
    }
}

#[async_trait]
impl Keep for Store {
    fn close(&self) {
        self.db.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn owner(&self) -> Result<Option<Owner>, StoreError> {
        self.now(|db| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Owner { key: row.get(0)?, network: row.get(1)?, since: row.get(2)?, rows: row.get(3)? })
            };
            Ok(db.query_row("SELECT key, network, since, rows FROM node", [], read).optional()?)
        })
    }

    async fn own(&self, owner: Owner) -> Result<(), StoreError> {
        self.run(move |db| {
            let values = params![owner.key, owner.network, owner.since, owner.rows];
            db.execute("INSERT INTO node (id, key, network, since, rows) VALUES (0, ?, ?, ?, ?)", values)?;
            Ok(())
        })
        .await
    }

    fn wallet(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.now(|db| Ok(db.query_row("SELECT wallet FROM node", [], |row| row.get(0)).optional()?.flatten()))
    }

    async fn set_wallet(&self, record: Vec<u8>) -> Result<(), StoreError> {
        self.run(move |db| {
            db.execute("UPDATE node SET wallet = ?", [record])?;
            Ok(())
        })
        .await
    }

    async fn hold(&self, record: Vec<u8>, row: u32, _: Txid) -> Result<(), StoreError> {
        self.run(move |db| {
            db.execute("UPDATE node SET wallet = ?, rows = MAX(rows, ? + 1)", params![record, row])?;
            Ok(())
        })
        .await
    }

    /// The wallet is this node's alone.
    fn is_ours(&self, _: &Txid) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn peers(&self) -> Result<Vec<(PublicKey, String)>, StoreError> {
        self.now(|db| peers(db))
    }

    async fn set_peer(&self, peer: PublicKey, address: String) -> Result<(), StoreError> {
        self.run(move |db| {
            let values = params![peer.serialize(), address];
            db.execute("INSERT OR REPLACE INTO peer (key, address) VALUES (?, ?)", values)?;
            Ok(())
        })
        .await
    }

    fn next_row(&self) -> Result<u32, StoreError> {
        self.now(|db| next_row(db))
    }

    fn channels(&self) -> Result<Vec<Loaded>, StoreError> {
        self.now(|db| channels(db))
    }

    async fn backup(&self) -> Result<Backup, StoreError> {
        self.run(|db| {
            let copy = |Loaded { row, peer, since, version, held }| {
                let version = u64::try_from(version).unwrap_or(0);
                ChannelCopy { index: row, peer, since, version, held }
            };
            Ok(Backup {
                next_index: next_row(db)?,
                since: db.query_row("SELECT since FROM node", [], |row| row.get(0))?,
                peers: peers(db)?,
                channels: channels(db)?.into_iter().map(copy).collect(),
            })
        })
        .await
    }

    async fn take_over(&self, id: ChannelId, copy: Loaded) -> Result<bool, StoreError> {
        self.run(move |db| {
            // Mostly it is no news, and needs no disk that can be written to.
            let sql = "SELECT EXISTS (SELECT 1 FROM channel WHERE id = ? AND (version >= ? OR over = 1))";
            if db.query_row(sql, params![id.0, copy.version], |row| row.get(0))? {
                return Ok(false);
            }
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let Loaded { row, peer, since, version, held } = copy;
            let sql = "SELECT EXISTS (SELECT 1 FROM channel WHERE id = ?)";
            let changed = if transaction.query_row(sql, [id.0], |row| row.get(0))? {
                let sql = "UPDATE channel SET held = ?1, version = ?2 WHERE id = ?3 AND version < ?2 AND over = 0";
                transaction.execute(sql, params![held, version, id.0])?
            } else {
                let sql = "INSERT INTO channel (row, id, peer, since, version, held) VALUES (?, ?, ?, ?, ?, ?)";
                transaction.execute(sql, params![row, id.0, peer.serialize(), since, version, held])?
            };
            transaction.commit()?;
            Ok(changed == 1)
        })
        .await
    }

    async fn reach_back(&self, rows: u32, since: u32) -> Result<(), StoreError> {
        self.run(move |db| {
            let sql = "UPDATE node SET rows = MAX(rows, ?), since = MIN(since, ?)";
            db.execute(sql, [rows, since])?;
            Ok(())
        })
        .await
    }

    async fn channel(&self, row: u32) -> Result<Loaded, StoreError> {
        self.run(move |db| {
            let sql = "SELECT row, peer, since, version, held FROM channel WHERE row = ?";
            finish(db.query_row(sql, [row], loaded)?)
        })
        .await
    }

    async fn create(
        &self,
        row: u32,
        id: ChannelId,
        peer: PublicKey,
        since: u32,
        change: Change,
    ) -> Result<(), StoreError> {
        self.run(move |db| create(db, row, id, peer, since, change)).await
    }

    async fn write(&self, row: u32, version: i64, change: Change, pays: Option<[u8; 16]>) -> Result<(), StoreError> {
        let outbox = self.outbox.clone().filter(|_| !change.revoked.is_empty());
        self.run(move |db| {
            write(db, row, version, change, pays, outbox.is_some())?;
            outbox.iter().for_each(|outbox| outbox.notify_one());
            Ok(())
        })
        .await
    }

    async fn is_paid(&self, request: [u8; 16]) -> Result<bool, StoreError> {
        self.run(move |db| {
            Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM paid WHERE request = ?)", [request], |row| row.get(0))?)
        })
        .await
    }

    fn revoked(&self, row: u32, number: CommitmentNumber) -> Result<Vec<Htlc>, StoreError> {
        self.now(|db| {
            let values = params![row, i64::try_from(number.get()).unwrap_or(i64::MAX)];
            let sql = "SELECT htlcs FROM revoked WHERE row = ? AND number = ?";
            let bytes: Option<Vec<u8>> = db.query_row(sql, values, |row| row.get(0)).optional()?;
            bytes.map_or(Ok(vec![]), |bytes| decode(&bytes).ok_or(StoreError::Corrupted("payments")))
        })
    }

    async fn set_over(&self, row: u32) -> Result<(), StoreError> {
        let outbox = self.outbox.clone();
        self.run(move |db| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute("UPDATE channel SET over = 1 WHERE row = ?", [row])?;
            if outbox.is_some() {
                outbox::over(&transaction, row)?;
            }
            transaction.commit()?;
            outbox.iter().for_each(|outbox| outbox.notify_one());
            Ok(())
        })
        .await
    }

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

    async fn clear_shelf(&self, height: u32) -> Result<(), StoreError> {
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

fn peers(db: &Connection) -> Result<Vec<(PublicKey, String)>, StoreError> {
    let mut statement = db.prepare("SELECT key, address FROM peer")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (key, address) = row?;
        Ok((key_of(&key)?, address))
    })
    .collect()
}

fn next_row(db: &Connection) -> Result<u32, StoreError> {
    let sql = "SELECT MAX(COALESCE((SELECT MAX(row) + 1 FROM channel), 0), COALESCE((SELECT rows FROM node), 0))";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

fn channels(db: &Connection) -> Result<Vec<Loaded>, StoreError> {
    let mut statement =
        db.prepare("SELECT row, peer, since, version, held FROM channel WHERE over = 0 ORDER BY row")?;
    let rows = statement.query_map([], loaded)?;
    rows.map(|row| finish(row?)).collect()
}

pub(crate) fn create(
    db: &mut Connection,
    row: u32,
    id: ChannelId,
    peer: PublicKey,
    since: u32,
    change: Change,
) -> Result<(), StoreError> {
    let held = change.held.ok_or(StoreError::Corrupted("a channel without a state"))?;
    let values = params![row, id.0, peer.serialize(), since, held];
    db.execute("INSERT INTO channel (row, id, peer, since, version, held) VALUES (?, ?, ?, ?, 1, ?)", values)?;
    Ok(())
}

/// With `has_tower` what a watchtower is to be told, too.
pub(crate) fn write(
    db: &mut Connection,
    row: u32,
    version: i64,
    change: Change,
    pays: Option<[u8; 16]>,
    has_tower: bool,
) -> Result<(), StoreError> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let next = version.saturating_add(1);
    let sql = "UPDATE channel SET held = COALESCE(?, held), version = ? WHERE row = ? AND version = ?";
    if transaction.execute(sql, params![change.held, next, row, version])? != 1 {
        return Err(StoreError::Conflict);
    }
    for state in &change.revoked {
        if !state.htlcs.is_empty() {
            let values = params![row, i64::try_from(state.number.get()).unwrap_or(i64::MAX), encode(&state.htlcs)];
            transaction.execute("INSERT OR REPLACE INTO revoked (row, number, htlcs) VALUES (?, ?, ?)", values)?;
        }
        if has_tower {
            outbox::revoked(&transaction, row, state)?;
        }
    }
    if let Some(request) = pays {
        let sql = "INSERT OR IGNORE INTO paid (request, row) VALUES (?, ?)";
        if transaction.execute(sql, params![request, row])? != 1 {
            return Err(StoreError::Paid);
        }
    }
    Ok(transaction.commit()?)
}

type Raw = (u32, Vec<u8>, u32, i64, Vec<u8>);

fn loaded(row: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn finish((row, peer, since, version, held): Raw) -> Result<Loaded, StoreError> {
    Ok(Loaded { row, peer: key_of(&peer)?, since, version, held })
}

fn key_of(bytes: &[u8]) -> Result<PublicKey, StoreError> {
    PublicKey::from_slice(bytes).map_err(|_| StoreError::Corrupted("a peer's key"))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;

    use rillpay_channel::Msat;
    use rillpay_channel::bitcoin::FeeRate;
    use rillpay_channel::bitcoin::hashes::{Hash, sha256};
    use rillpay_channel::revocable::{Role, State};

    use super::*;

    fn event(byte: u8) -> Change {
        Change { held: Some(vec![byte]), revoked: vec![] }
    }

    #[tokio::test]
    async fn a_row_has_one_writer_and_a_request_is_paid_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sqlite");
        let [one, other] = [Store::open(&path).unwrap(), Store::open(&path).unwrap()];
        let peer = PublicKey::from_slice(&[2; 33]).unwrap();
        one.create(0, ChannelId([1; 32]), peer, 7, event(1)).await.unwrap();
        assert_eq!(one.next_row().unwrap(), 1);
        one.own(Owner { key: vec![2; 33], network: "regtest".to_owned(), since: 0, rows: 3 }).await.unwrap();
        for row in [4, 2] {
            one.hold(vec![], row, Txid::all_zeros()).await.unwrap();
            assert_eq!(other.next_row().unwrap(), 5, "signed for, though it may lead to no channel");
        }
        one.write(0, 1, event(2), Some([9; 16])).await.unwrap();
        assert!(matches!(other.write(0, 1, event(3), None).await, Err(StoreError::Conflict)));
        assert!(matches!(other.write(0, 2, event(3), Some([9; 16])).await, Err(StoreError::Paid)));
        let stored = other.channel(0).await.unwrap();
        assert_eq!((stored.version, stored.held, stored.since), (2, vec![2], 7), "what was refused changed nothing");
        other.set_over(0).await.unwrap();
        assert!(one.channels().unwrap().is_empty());
    }

    /// A connection that ends takes whoever waits for a write along, and not the write: the next one to ask has to see it.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_begun_is_done_before_what_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.sqlite")).unwrap();
        let last = Arc::new(AtomicU32::new(0));
        for n in 1..1_000 {
            let (writes, reads) = (Arc::clone(&last), Arc::clone(&last));
            let mut write = Box::pin(store.run(move |_| {
                writes.store(n, Ordering::SeqCst);
                Ok(())
            }));
            // Begun, and given up.
            poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_ready())).await;
            drop(write);
            assert_eq!(store.run(move |_| Ok(reads.load(Ordering::SeqCst))).await.unwrap(), n);
        }
    }

    #[tokio::test]
    async fn revoked_payments_come_back_as_they_were() {
        assert!(Store::open(Path::new("/nowhere/node.sqlite")).is_err());
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("node.sqlite")).unwrap();
        let peer = PublicKey::from_slice(&[2; 33]).unwrap();
        store.create(3, ChannelId([1; 32]), peer, 0, event(1)).await.unwrap();
        let htlc = |by, expiry| Htlc {
            offered_by: by,
            amount: Msat::new(5_000).unwrap(),
            payment_hash: sha256::Hash::hash(b"preimage"),
            expiry,
        };
        let (number, htlcs) = (CommitmentNumber::FIRST, vec![htlc(Role::Opener, 1), htlc(Role::Accepter, u32::MAX)]);
        let (fee_rate, rest) = (FeeRate::from_sat_per_kwu(253), Msat::new(7_000).unwrap());
        let state = State { number, fee_rate, opener: rest, accepter: Msat::ZERO, htlcs: htlcs.clone() };
        let change = Change { held: None, revoked: vec![state] };
        store.write(3, 1, change, None).await.unwrap();
        assert_eq!(store.revoked(3, number).unwrap(), htlcs);
        assert_eq!(store.revoked(4, number).unwrap(), []);
        assert_eq!(store.channel(3).await.unwrap().held, [1]);
        assert_eq!(decode(&[0; 46]), None);
        assert_eq!(decode(&[0xff; 45]), None, "more than all money");
    }

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
