//! What a watchtower keeps: SQLite, with a sync before anything counts as kept.
//!
//! ```text
//! tower   one row: the network, and the height of the block that is looked through next
//! seen    the newest blocks that were looked through, to notice when the chain leaves them
//! client  whose kits there are, and how much room they take
//! kit     the kits, sealed, by what they wait for
//! cheat   commitments that were broadcast, each with its opened kit, until it is punished
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{BlockHash, FeeRate, Network, Txid};
use rillpay_channel::revocable::justice::{Hint, Kit};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::store::{StoreError, schema};

/// The version of the tables, in SQLite's `user_version`.
const VERSION: i32 = 1;
/// How many blocks are remembered: no reorganisation is deeper.
const REMEMBERED: u32 = 1_000;
/// What a kit takes besides its own bytes, about: its row and its places in two indexes.
const BESIDES: u64 = 128;
/// Pages of 4 KiB that kits may not take: what is seen of the chain has to find room always.
const RESERVED: u32 = 512;

const TABLES: &str = "
    CREATE TABLE tower (
        id      INTEGER PRIMARY KEY CHECK (id = 0),
        network TEXT NOT NULL,
        next    INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE seen (
        height INTEGER PRIMARY KEY,
        hash   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE client (
        id    INTEGER PRIMARY KEY AUTOINCREMENT,
        key   BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE kit (
        id     INTEGER PRIMARY KEY,
        client INTEGER NOT NULL,
        kin    BLOB NOT NULL,
        hint   BLOB NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (hint, client)
    ) STRICT;
    CREATE INDEX kit_kin ON kit (client, kin);
    CREATE TABLE cheat (
        txid   BLOB NOT NULL,
        client INTEGER NOT NULL,
        kin    BLOB NOT NULL,
        kit    BLOB NOT NULL,
        height INTEGER NOT NULL,
        rate   INTEGER NOT NULL,
        tried  INTEGER NOT NULL,
        PRIMARY KEY (txid, client)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// Which kits of a client belong together: those of one channel.
pub(crate) type Group = [u8; 16];

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Keep { group: Group, hint: Hint, kit: Vec<u8> },
    Forget(Group),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// The client, or all clients together, have as much here as may be.
    NoRoom,
}

/// A sealed kit whose transaction may have been broadcast.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) client: i64,
    pub(crate) group: Group,
    pub(crate) sealed: Vec<u8>,
}

/// A commitment that was broadcast although it was revoked.
#[derive(Clone, Debug)]
pub(crate) struct Cheat {
    pub(crate) client: i64,
    pub(crate) group: Group,
    pub(crate) kit: Kit,
    /// The block that it was found in.
    pub(crate) height: u32,
    /// What was offered last, and the height of the best block then. Zero both, before the first time.
    pub(crate) rate: FeeRate,
    pub(crate) tried: u32,
}

impl Cheat {
    /// Its name.
    pub(crate) fn key(&self) -> (Txid, i64) {
        (self.kit.commitment(), self.client)
    }
}

/// How far the chain was looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The height of the next block.
    pub(crate) next: u32,
    /// The blocks before it, oldest first.
    pub(crate) seen: Vec<(u32, BlockHash)>,
}

impl Position {
    /// Takes in a block.
    pub(crate) fn advance(&mut self, hash: BlockHash) {
        let oldest = self.next.saturating_sub(REMEMBERED);
        self.seen.push((self.next, hash));
        self.seen.retain(|(height, _)| *height > oldest);
        self.next = self.next.saturating_add(1);
    }
}

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    db: Arc<Mutex<Connection>>,
    limits: (u64, u32),
}

impl Store {
    /// Opens or makes the store in `path`. One client may have so many bytes in it, and the whole so many pages.
    pub(crate) fn open(path: &Path, client_bytes: u64, pages: u32) -> Result<Self, StoreError> {
        let db = schema::connect(path, Some(pages))?;
        match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => db.execute_batch(&format!("BEGIN; {TABLES} COMMIT;"))?,
            VERSION => {}
            other => return Err(StoreError::Version(other)),
        }
        Ok(Self { db: Arc::new(Mutex::new(db)), limits: (client_bytes, pages.saturating_sub(RESERVED)) })
    }

    /// Waits for the disk away from the async threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, (u64, u32)) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (db, limits) = (Arc::clone(&self.db), self.limits);
        let joined = tokio::task::spawn_blocking(move || {
            // A panic left no transaction open: dropping one rolls it back.
            work(&mut db.lock().unwrap_or_else(PoisonError::into_inner), limits)
        });
        joined.await.unwrap_or_else(|_| Err(StoreError::Failed("the work broke off".to_owned())))
    }

    /// How far the chain was looked through; a new store begins with the block at `first`.
    pub(crate) async fn position(&self, network: Network, first: u32) -> Result<Position, StoreError> {
        self.run(move |db, _| {
            let sql = "INSERT OR IGNORE INTO tower (id, network, next) VALUES (0, ?, ?)";
            db.execute(sql, params![network.to_string(), first])?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
            let (of, next) = db.query_row("SELECT network, next FROM tower", [], read)?;
            if of != network.to_string() {
                return Err(StoreError::Corrupted(format!("the store is one for {of}")));
            }
            let mut statement = db.prepare("SELECT height, hash FROM seen WHERE height < ? ORDER BY height")?;
            let rows = statement.query_map([next], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let seen = rows.map(|row| row.map(|(height, hash)| (height, BlockHash::from_byte_array(hash))));
            Ok(Position { next, seen: seen.collect::<Result<_, _>>()? })
        })
        .await
    }

    /// Makes durable how far the chain was looked through.
    pub(crate) async fn advance(&self, position: Position) -> Result<(), StoreError> {
        self.run(move |db, _| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("UPDATE tower SET next = ?", [position.next])?;
            let oldest = position.seen.first().map_or(position.next, |(height, _)| *height);
            transaction.execute("DELETE FROM seen WHERE height < ? OR height >= ?", [oldest, position.next])?;
            let mut statement = transaction.prepare_cached(
                "INSERT INTO seen (height, hash) VALUES (?, ?)
                 ON CONFLICT (height) DO UPDATE SET hash = excluded.hash WHERE hash <> excluded.hash",
            )?;
            // The newest first: below one that was there all are the same.
            for (height, hash) in position.seen.iter().rev() {
                if statement.execute(params![height, hash.as_byte_array()])? == 0 {
                    break;
                }
            }
            drop(statement);
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Does what a client asks for, all of it durable at once.
    pub(crate) async fn serve(&self, client: PublicKey, requests: Vec<Request>) -> Result<Vec<Verdict>, StoreError> {
        self.run(move |db, (most, pages)| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let key = client.serialize();
            transaction.execute("INSERT OR IGNORE INTO client (key, bytes) VALUES (?, 0)", [&key[..]])?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?));
            let (id, mut bytes) =
                transaction.query_row("SELECT id, bytes FROM client WHERE key = ?", [&key[..]], read)?;
            let is_full = pages_in_use(&transaction)? >= pages;
            let mut verdicts = Vec::with_capacity(requests.len());
            for request in requests {
                verdicts.push(match request {
                    Request::Keep { group, hint, kit } => {
                        let before = size_of_kit(&transaction, id, &hint)?;
                        let after = bytes.saturating_sub(before).saturating_add(size(kit.len()));
                        if is_full || after > most {
                            Verdict::NoRoom
                        } else {
                            let sql = "INSERT OR REPLACE INTO kit (client, kin, hint, sealed) VALUES (?, ?, ?, ?)";
                            transaction.prepare_cached(sql)?.execute(params![id, group, hint.0, kit])?;
                            bytes = after;
                            Verdict::Done
                        }
                    }
                    Request::Forget(group) => {
                        bytes = bytes.saturating_sub(forget(&transaction, id, &group)?);
                        Verdict::Done
                    }
                });
            }
            set_bytes(&transaction, id, bytes)?;
            transaction.commit()?;
            Ok(verdicts)
        })
        .await
    }

    /// The kits that wait for transactions with these hints, each with the place of its hint among them.
    pub(crate) async fn waiting_for(&self, hints: Vec<Hint>) -> Result<Vec<(usize, Found)>, StoreError> {
        self.run(move |db, _| {
            let mut statement = db.prepare_cached("SELECT client, kin, sealed FROM kit WHERE hint = ?")?;
            let mut found = vec![];
            for (place, hint) in hints.iter().enumerate() {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(Found { client: row.get(0)?, group: row.get(1)?, sealed: row.get(2)? })
                };
                for row in statement.query_map([&hint.0[..]], read)? {
                    found.push((place, row?));
                }
            }
            Ok(found)
        })
        .await
    }

    /// The cheats that are not punished yet.
    pub(crate) async fn cheats(&self) -> Result<Vec<Cheat>, StoreError> {
        self.run(|db, _| {
            let mut statement = db.prepare("SELECT client, kin, kit, height, rate, tried FROM cheat")?;
            let read = |row: &rusqlite::Row<'_>| {
                let kit: Vec<u8> = row.get(2)?;
                let rate = FeeRate::from_sat_per_kwu(row.get(4)?);
                Ok((row.get(0)?, row.get(1)?, kit, row.get(3)?, rate, row.get(5)?))
            };
            let rows = statement.query_map([], read)?;
            let cheats = rows.map(|row| {
                let (client, group, kit, height, rate, tried) = row?;
                let kit = Kit::decode(&kit).map_err(|error| StoreError::Corrupted(error.to_string()))?;
                Ok(Cheat { client, group, kit, height, rate, tried })
            });
            cheats.collect()
        })
        .await
    }

    /// Makes durable what is known of these.
    pub(crate) async fn note(&self, cheats: Vec<Cheat>) -> Result<(), StoreError> {
        self.run(move |db, _| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for Cheat { client, group, kit, height, rate, tried } in &cheats {
                let sql = "INSERT OR REPLACE INTO cheat (txid, client, kin, kit, height, rate, tried)
                           VALUES (?, ?, ?, ?, ?, ?, ?)";
                let (txid, rate) = (kit.commitment(), rate.to_sat_per_kwu());
                let values = params![txid.as_byte_array(), client, group, kit.encode(), height, rate, tried];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// A cheat was punished, or has gone. Where it was punished, its channel is over, and so are the channel's other kits.
    pub(crate) async fn close(&self, cheat: &Cheat, is_punished: bool) -> Result<(), StoreError> {
        let ((txid, client), group) = (cheat.key(), cheat.group);
        self.run(move |db, _| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let values = params![txid.as_byte_array(), client];
            transaction.execute("DELETE FROM cheat WHERE txid = ? AND client = ?", values)?;
            if is_punished {
                let freed = forget(&transaction, client, &group)?;
                let sql = "SELECT bytes FROM client WHERE id = ?";
                let bytes: Option<u64> = transaction.query_row(sql, [client], |row| row.get(0)).optional()?;
                set_bytes(&transaction, client, bytes.unwrap_or(0).saturating_sub(freed))?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// How many kits there are, and of how many clients.
    pub(crate) async fn count(&self) -> Result<(u64, u64), StoreError> {
        self.run(|db, _| {
            let sql = "SELECT (SELECT COUNT(*) FROM kit), (SELECT COUNT(*) FROM client)";
            Ok(db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
        .await
    }
}

/// What a kit of so many bytes takes.
fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(BESIDES)
}

fn size_of_kit(db: &Transaction<'_>, client: i64, hint: &Hint) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached("SELECT LENGTH(sealed) FROM kit WHERE hint = ? AND client = ?")?;
    let length: Option<usize> = statement.query_row(params![hint.0, client], |row| row.get(0)).optional()?;
    Ok(length.map_or(0, size))
}

/// Forgets the kits of a group; how much room that makes.
fn forget(db: &Transaction<'_>, client: i64, group: &Group) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*), COALESCE(SUM(LENGTH(sealed)), 0) FROM kit WHERE client = ? AND kin = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?));
    let (kits, bytes) = db.query_row(sql, params![client, group], read)?;
    db.execute("DELETE FROM kit WHERE client = ? AND kin = ?", params![client, group])?;
    Ok(bytes.saturating_add(kits.saturating_mul(BESIDES)))
}

/// Who has nothing here any more is forgotten.
fn set_bytes(db: &Transaction<'_>, client: i64, bytes: u64) -> Result<(), StoreError> {
    if bytes == 0 {
        db.execute("DELETE FROM client WHERE id = ?", [client])?;
    } else {
        db.execute("UPDATE client SET bytes = ? WHERE id = ?", params![bytes, client])?;
    }
    Ok(())
}

fn pages_in_use(db: &Connection) -> Result<u32, StoreError> {
    let count: u32 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let free: u32 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    Ok(count.saturating_sub(free))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod tests {
    use super::*;

    const GROUP: Group = [1; 16];

    fn keep(n: u8, group: Group, bytes: usize) -> Request {
        Request::Keep { group, hint: Hint([n; 16]), kit: vec![n; bytes] }
    }

    /// Three points of the curve.
    fn keys() -> [PublicKey; 3] {
        [
            "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
            "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        ]
        .map(|key| key.parse().unwrap())
    }

    #[tokio::test]
    async fn each_client_has_its_room_and_its_own_kits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tower.sqlite");
        let store = Store::open(&path, 1_000, 10_000).unwrap();
        let [one, other, third] = keys();
        // Of 372 bytes each with what comes besides.
        let requests = vec![keep(1, GROUP, 244), keep(2, [2; 16], 244), keep(3, GROUP, 244), keep(1, GROUP, 200)];
        let verdicts = store.serve(one, requests).await.unwrap();
        assert_eq!(verdicts, [Verdict::Done, Verdict::Done, Verdict::NoRoom, Verdict::Done]);
        assert_eq!(store.serve(other, vec![keep(1, GROUP, 244)]).await.unwrap(), [Verdict::Done]);
        drop(store);

        let store = Store::open(&path, 1_000, 10_000).unwrap();
        assert_eq!(store.count().await.unwrap(), (3, 2));
        let found = store.waiting_for(vec![Hint([9; 16]), Hint([1; 16])]).await.unwrap();
        let found: Vec<_> = found.iter().map(|(place, found)| (*place, found.sealed.len())).collect();
        assert_eq!(found, [(1, 200), (1, 244)], "the newer one in place of the older, and both clients'");

        // Room is made for the next one, in its turn; whoever has nothing left is forgotten.
        let requests = vec![Request::Forget(GROUP), keep(3, GROUP, 400), keep(4, GROUP, 244)];
        let verdicts = store.serve(one, requests).await.unwrap();
        assert_eq!(verdicts, [Verdict::Done, Verdict::Done, Verdict::NoRoom]);
        store.serve(one, vec![Request::Forget([2; 16]), Request::Forget(GROUP)]).await.unwrap();
        assert_eq!(store.count().await.unwrap(), (1, 1), "the other's kit of a group of the same name stays");
        store.serve(third, vec![Request::Forget(GROUP)]).await.unwrap();
        assert_eq!(store.count().await.unwrap(), (1, 1));
    }

    #[tokio::test]
    async fn the_place_in_the_chain_survives_and_is_of_one_network() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("tower.sqlite"), 1_000, 10_000).unwrap();
        let mut position = store.position(Network::Regtest, 500).await.unwrap();
        assert_eq!(position, Position { next: 500, seen: vec![] });
        let hash = |n: u32| BlockHash::hash(&n.to_be_bytes());
        for height in 500..2_000 {
            position.advance(hash(height));
        }
        assert_eq!((position.next, position.seen.len()), (2_000, 1_000));
        store.advance(position.clone()).await.unwrap();
        assert_eq!(store.position(Network::Regtest, 7).await.unwrap(), position);
        // Two blocks back, and one on another branch.
        position.seen.truncate(998);
        position.next = 1_998;
        position.advance(hash(1));
        store.advance(position.clone()).await.unwrap();
        assert_eq!(store.position(Network::Regtest, 7).await.unwrap(), position);
        assert!(store.position(Network::Bitcoin, 7).await.is_err());
    }
}
