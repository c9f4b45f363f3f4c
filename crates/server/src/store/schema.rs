//! Tables, and what SQLite has to promise.
//!
//! ```text
//! channel   one row per channel; its number is the number of the payee's key       written when a channel opens or ends
//! balance   what a payment changes, small: thousands of rows share a page          written by every payment
//! event     the newest event of each other slot (see `rillpay_channel::persist`)   written a few times in a channel's life
//! settlement  transactions on their way into the chain
//! payout    for each series of addresses that settlements pay to, the number of the next one
//! seen      what the server last saw of the chain, for whoever looks at the store beside it
//! ```

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// The version of the tables below, in SQLite's `user_version`.
const VERSION: i32 = 4;

/// What leads from each version to the next.
const STEPS: [(i32, &str); 2] = [(2, TO_3), (3, TO_4)];

/// From version 3 to 4. When older channels were opened is not known.
const TO_4: &str = "ALTER TABLE channel ADD COLUMN opened INTEGER;";

/// From version 2 to 3.
const TO_3: &str = "
    ALTER TABLE settlement ADD COLUMN height INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE payout (
        series BLOB PRIMARY KEY,
        next   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE seen (
        id      INTEGER PRIMARY KEY CHECK (id = 0),
        height  INTEGER NOT NULL,
        patient INTEGER NOT NULL,
        hasty   INTEGER NOT NULL
    ) STRICT;
";

/// Version 2.
const TABLES: &str = "
    CREATE TABLE channel (
        row  INTEGER PRIMARY KEY,
        id   BLOB NOT NULL UNIQUE,
        payer BLOB NOT NULL UNIQUE,
        open INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX channel_open ON channel (row) WHERE open = 1;
    CREATE TABLE balance (
        row       INTEGER PRIMARY KEY,
        version   INTEGER NOT NULL,
        epoch     INTEGER NOT NULL,
        accepted  INTEGER NOT NULL,
        signature BLOB,
        lock      INTEGER NOT NULL DEFAULT 0,
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

/// Opens the store that a server has made, perhaps one that runs, to read it.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
        VERSION => Ok(db),
        other => Err(StoreError::Version(other)),
    }
}

/// Opens a database that only its owner can read and that keeps what it has committed; makes an empty one where there is none.
/// `max_pages` bounds its size.
pub(crate) fn connect(path: &Path, max_pages: Option<u32>) -> Result<Connection, StoreError> {
    // SQLite gives its other files (journal, shared memory) the mode of this one.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
        .map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?;
    let db = Connection::open(path)?;
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
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Opens the store, and makes it at the first start. `max_pages` bounds its size (tests fill a disk with it).
pub(super) fn open(path: &Path, max_pages: Option<u32>) -> Result<Connection, StoreError> {
    let mut db = connect(path, max_pages)?;
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let from = match version {
        0 => {
            transaction.execute_batch(TABLES)?;
            2
        }
        2..=VERSION => version,
        other => return Err(StoreError::Version(other)),
    };
    for (_, step) in STEPS.iter().filter(|(before, _)| *before >= from) {
        transaction.execute_batch(step)?;
    }
    if version != VERSION {
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(db)
}
