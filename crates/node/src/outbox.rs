//! What a watchtower is still to be told, in the node's store: which states were revoked, and which channels are over.
//!
//! A revoked state is stored with the revocation itself, so that no crash loses it; it is gone once the tower has said that it
//! keeps the kit. It takes some dozens of bytes while it waits; the kit is made when it is sent.

use rillpay_channel::revocable::State;
use rillpay_wire::ChannelId;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::keep::StoreError;
use crate::store::Store;

/// In every store, whether or not there is a tower.
pub(crate) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS outbox (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        row   INTEGER NOT NULL,
        state BLOB
    ) STRICT;
    CREATE INDEX IF NOT EXISTS outbox_row ON outbox (row);
";

/// One thing to tell.
pub(crate) struct Letter {
    /// Its number, rising.
    pub(crate) place: u64,
    /// The channel's.
    pub(crate) row: u32,
    pub(crate) id: ChannelId,
    /// What was revoked; `None` where the channel is over, and its kits can be forgotten.
    pub(crate) state: Option<State>,
}

/// The counterparty of channel `row` has revoked this.
pub(crate) fn revoked(db: &Transaction<'_>, row: u32, state: &State) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("INSERT INTO outbox (row, state) VALUES (?, ?)")?;
    statement.execute(params![row, state.encode()])?;
    Ok(())
}

/// Channel `row` is over.
pub(crate) fn over(db: &Transaction<'_>, row: u32) -> Result<(), StoreError> {
    db.execute("DELETE FROM outbox WHERE row = ?", [row])?;
    db.execute("INSERT INTO outbox (row, state) VALUES (?, NULL)", [row])?;
    Ok(())
}

impl Store {
    /// The first letters after this place, at most so many.
    pub(crate) async fn letters(&self, after: u64, most: u32) -> Result<Vec<Letter>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT place, outbox.row, id, state FROM outbox JOIN channel ON channel.row = outbox.row
                       WHERE place > ? ORDER BY place LIMIT ?";
            let mut statement = db.prepare_cached(sql)?;
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![after, most], |row| {
                Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<Vec<u8>>>(3)?))
            })?;
            let letters = rows.map(|row| {
                let (place, row, id, state) = row?;
                let state = state.map(|state| State::decode(&state)).transpose();
                let state = state.map_err(|_| StoreError::Corrupted("a revoked state"))?;
                let place = u64::try_from(place).map_err(|_| StoreError::Corrupted("the outbox"))?;
                Ok(Letter { place, row, id: ChannelId(id), state })
            });
            letters.collect()
        })
        .await
    }

    /// The tower keeps what these said, or there was nothing to keep.
    pub(crate) async fn delivered(&self, places: Vec<u64>) -> Result<(), StoreError> {
        self.run(move |db| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for place in places {
                let place = i64::try_from(place).unwrap_or(i64::MAX);
                transaction.prepare_cached("DELETE FROM outbox WHERE place = ?")?.execute([place])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// How many revoked states the tower does not have yet.
    pub(crate) async fn undelivered(&self) -> Result<u64, StoreError> {
        self.run(|db| {
            let sql = "SELECT COUNT(*) FROM outbox WHERE state IS NOT NULL";
            let count: Option<i64> = db.query_row(sql, [], |row| row.get(0)).optional()?;
            Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
        })
        .await
    }
}
