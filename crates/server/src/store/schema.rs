//! Tables, and what SQLite has to promise.
//!
//! ```text
//! channel   one row per channel; its number is the number of the payee's key       written when a channel opens or ends
//! balance   what a payment changes, small: thousands of rows share a page          written by every payment
//! event     the newest event of each other slot (see `rillpay_channel::persist`)   written a few times in a channel's life
//! settlement  transactions on their way into the chain
//! ```

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// The version of the tables below, in SQLite's `user_version`.
const VERSION: i32 = 1;

const TABLES: &str = "
    CREATE TABLE channel (
        row  INTEGER PRIMARY KEY,
        id   BLOB NOT NULL UNIQUE,
        open INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX channel_open ON channel (row) WHERE open = 1;
    CREATE TABLE balance (
        row       INTEGER PRIMARY KEY,
        version   INTEGER NOT NULL,
        epoch     INTEGER NOT NULL,
        accepted  INTEGER NOT NULL,
        signature BLOB,
        delivered INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE event (
        row   INTEGER NOT NULL,
        slot  INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (row, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE settlement (
        txid BLOB PRIMARY KEY,
        raw  BLOB NOT NULL,
        rate INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Opens the store, and makes it at the first start. `max_pages` bounds its size (tests fill a disk with it).
pub(super) fn open(path: &Path, max_pages: Option<u32>) -> Result<Connection, StoreError> {
    // SQLite gives its other files (journal, shared memory) the mode of this one.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
        .map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
    let mut db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    // WAL with FULL: one sync per transaction, before it counts as committed.
    db.pragma_update(None, "journal_mode", "WAL")?;
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!("this disk offers journal mode {mode} only; it has to be wal")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    if let Some(pages) = max_pages {
        db.pragma_update(None, "max_page_count", pages)?;
    }
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        VERSION => transaction.rollback()?,
        other => return Err(StoreError::Version(other)),
    }
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}
