//! What was found about followed scripts, in one SQLite file.
//!
//! It spares a restart the reading of blocks, which a pruned node may have no more. Nothing in it is needed to be safe:
//! whatever is missing is read from the node again. Each write is one transaction, so the file is always of one moment;
//! what it says is checked when it is read, as far as it can be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, Transaction, TxOut, Txid};
use rusqlite::types::Type;
use rusqlite::{Connection, params};

use super::trouble::Trouble;
use super::view::{Entry, Follow, Place, View};
use crate::{BlockRef, ChainError, ScriptHash};

/// The file's name within the folder.
const FILE: &str = "bitcoind.sqlite";
const VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE about (network TEXT NOT NULL) STRICT;
    CREATE TABLE scripts (hash BLOB PRIMARY KEY, since INTEGER NOT NULL, next INTEGER) STRICT, WITHOUT ROWID;
    CREATE TABLE blocks (height INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER NOT NULL) STRICT;
    CREATE TABLE txs (
        txid BLOB PRIMARY KEY, raw BLOB NOT NULL, prevouts BLOB NOT NULL,
        height INTEGER NOT NULL, hash BLOB NOT NULL, time INTEGER NOT NULL, position INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX txs_by_height ON txs (height);
";

/// One change to what is stored.
pub(crate) enum Row {
    Script(ScriptHash, Follow),
    /// A script that is followed no longer, and the transactions that mattered for it alone.
    Forget(ScriptHash, Vec<Txid>),
    Block(BlockRef),
    Tx(Entry),
    RollBack(u32),
    StartOver,
}

pub(crate) struct Store {
    path: PathBuf,
    /// The lock is never taken: it makes the connection shareable.
    db: Mutex<Connection>,
}

impl Store {
    /// Opens or makes the file in a folder, and reads it.
    pub(crate) fn open(dir: &Path, network: Network) -> Result<(Self, View), ChainError> {
        let path = dir.join(FILE);
        let fail = |source: io::Error| ChainError::Storage { path: path.display().to_string(), source };
        fs::create_dir_all(dir).map_err(fail)?;
        let db = connect(&path, network).map_err(|e| fail(io::Error::other(e)))?;
        let view = read(&db).map_err(|e| fail(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        Ok((Store { path, db: Mutex::new(db) }, view))
    }

    /// Makes changes, all or none.
    pub(crate) fn write(&mut self, rows: &[Row]) -> Result<(), Trouble> {
        self.try_write(rows).map_err(|e| Trouble::Store { path: self.path.display().to_string(), text: e.to_string() })
    }

    fn try_write(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        let change = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).transaction()?;
        for row in rows {
            match row {
                Row::Script(hash, follow) => change
                    .prepare_cached("INSERT OR REPLACE INTO scripts VALUES (?1, ?2, ?3)")?
                    .execute(params![hash.as_bytes(), follow.since, follow.next])?,
                Row::Forget(script, txids) => {
                    for txid in txids {
                        let txid = txid.to_byte_array();
                        change.prepare_cached("DELETE FROM txs WHERE txid = ?1")?.execute([txid])?;
                    }
                    let script = script.as_bytes();
                    change.prepare_cached("DELETE FROM scripts WHERE hash = ?1")?.execute([script])?
                }
                Row::Block(block) => {
                    let oldest = i64::from(block.height).saturating_sub(i64::from(super::view::KEPT));
                    change.prepare_cached("DELETE FROM blocks WHERE height <= ?1")?.execute([oldest])?;
                    let hash = block.hash.to_byte_array();
                    change.prepare_cached("INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3)")?.execute(params![
                        block.height,
                        hash,
                        block.time
                    ])?
                }
                Row::Tx(entry) => match entry.place {
                    Place::Waiting(_) => 0,
                    Place::Block(block, position) => change
                        .prepare_cached("INSERT OR REPLACE INTO txs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
                        .execute(params![
                            entry.tx.compute_txid().to_byte_array(),
                            serialize(&*entry.tx),
                            serialize(&entry.prevouts.to_vec()),
                            block.height,
                            block.hash.to_byte_array(),
                            block.time,
                            position,
                        ])?,
                },
                Row::RollBack(height) => {
                    change.execute("DELETE FROM blocks WHERE height > ?1", [height])?;
                    change.execute("DELETE FROM txs WHERE height > ?1", [height])?;
                    change.execute("UPDATE scripts SET next = min(next, ?1 + 1) WHERE next IS NOT NULL", [height])?
                }
                Row::StartOver => {
                    change.execute("DELETE FROM blocks", [])?;
                    change.execute("DELETE FROM txs", [])?;
                    change.execute("UPDATE scripts SET next = since", [])?
                }
            };
        }
        change.commit()
    }
}

fn connect(path: &Path, network: Network) -> rusqlite::Result<Connection> {
    let mut db = Connection::open(path)?;
    // One server at a time. Without a sync at each write a power failure costs the newest of it, no more.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let ours = network.to_core_arg();
    if version == 0 {
        let change = db.transaction()?;
        change.execute_batch(SCHEMA)?;
        change.execute("INSERT INTO about VALUES (?1)", [ours])?;
        change.pragma_update(None, "user_version", VERSION)?;
        change.commit()?;
    } else if version != VERSION {
        return Err(damaged(format!("it has version {version}, not {VERSION}")));
    }
    let theirs: String = db.query_row("SELECT network FROM about", [], |row| row.get(0))?;
    if theirs != ours {
        return Err(damaged(format!("it is of the network {theirs}, not {ours}")));
    }
    Ok(db)
}

fn read(db: &Connection) -> rusqlite::Result<View> {
    let mut view = View::default();
    let mut statement = db.prepare("SELECT height, hash, time FROM blocks ORDER BY height")?;
    for block in statement.query_map([], |row| block(row.get(0)?, row.get(1)?, row.get(2)?))? {
        view.connect(block?);
    }
    let mut statement = db.prepare("SELECT hash, since, next FROM scripts")?;
    let follow = |row: &rusqlite::Row<'_>| {
        let hash = ScriptHash::from_bytes(row.get(0)?);
        Ok((hash, Follow { since: row.get(1)?, next: row.get(2)?, pruned: None }))
    };
    for followed in statement.query_map([], follow)? {
        let (script, follow) = followed?;
        view.follow(script, follow);
    }
    let mut statement = db.prepare("SELECT raw, prevouts, height, hash, time, position, txid FROM txs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let tx: Transaction = decode(row.get_ref(0)?.as_blob()?)?;
        let prevouts: Vec<TxOut> = decode(row.get_ref(1)?.as_blob()?)?;
        let txid = tx.compute_txid();
        let inputs = if tx.is_coinbase() { 0 } else { tx.input.len() };
        if txid.to_byte_array() != row.get::<_, [u8; 32]>(6)? || prevouts.len() != inputs {
            return Err(damaged(format!("transaction {txid} is damaged")));
        }
        let place = Place::Block(block(row.get(2)?, row.get(3)?, row.get(4)?)?, row.get(5)?);
        view.add(txid, Entry { tx: Arc::new(tx), prevouts: prevouts.into(), place });
    }
    Ok(view)
}

fn block(height: u32, hash: [u8; 32], time: u32) -> rusqlite::Result<BlockRef> {
    Ok(BlockRef { height, hash: BlockHash::from_byte_array(hash), time })
}

fn decode<T: bitcoin::consensus::Decodable>(bytes: &[u8]) -> rusqlite::Result<T> {
    deserialize(bytes).map_err(|e| damaged(e.to_string()))
}

fn damaged(text: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, text.into())
}
