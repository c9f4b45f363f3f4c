//! Events to rows and back.

use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::commitment::Paid;
use rillpay_channel::payee::{Event, Payee};
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::{ChannelId, bitcoin::hex::DisplayHex};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Loaded, Row, StoreError, Stored, Version};

/// What one decision changes: fields of the hot row, and cold records.
#[derive(Debug, Default)]
pub(super) struct Change {
    epoch: Option<i64>,
    accepted: Option<(u32, i64, [u8; 64])>,
    delivered: Option<i64>,
    cold: Vec<ColdRecord>,
}

fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Failed("a number beyond 2^63".into()))
}

impl Change {
    pub(super) fn of(events: &[Event]) -> Result<Self, StoreError> {
        let mut change = Self::default();
        for event in events {
            match event {
                Event::Attached { epoch } => change.epoch = Some(integer(*epoch)?),
                Event::Accepted(paid) => {
                    let cumulative = integer(paid.cumulative.to_sat())?;
                    change.accepted = Some((paid.lock, cumulative, paid.signature.serialize_compact()));
                }
                Event::Delivered(quantity) => change.delivered = Some(integer(*quantity)?),
                other => change.cold.push((other.slot(), other.encode())),
            }
        }
        Ok(change)
    }

    /// Writes it, if the row still has this version. For a payment this is one update of one small row.
    pub(super) fn write(&self, db: &Connection, row: Row, version: Version) -> Result<(), StoreError> {
        let mut update = db.prepare_cached(
            "UPDATE balance SET version = version + 1, epoch = ifnull(?3, epoch), accepted = ifnull(?4, accepted),
             signature = ifnull(?5, signature), delivered = ifnull(?6, delivered), lock = ifnull(?7, lock)
             WHERE row = ?1 AND version = ?2",
        )?;
        let accepted = self.accepted.as_ref();
        let changed = update.execute(params![
            row,
            version.0,
            self.epoch,
            accepted.map(|(_, cumulative, _)| cumulative),
            accepted.map(|(.., signature)| signature.as_slice()),
            self.delivered,
            accepted.map(|(lock, ..)| lock),
        ])?;
        if changed != 1 {
            return Err(StoreError::Conflict);
        }
        write_cold(db, row, &self.cold)
    }
}

/// A slot and the event in it.
pub(super) type ColdRecord = (u8, Vec<u8>);

pub(super) fn encode(events: &[Event]) -> Vec<ColdRecord> {
    events.iter().map(|event| (event.slot(), event.encode())).collect()
}

fn write_cold(db: &Connection, row: Row, cold: &[ColdRecord]) -> Result<(), StoreError> {
    for (slot, bytes) in cold {
        db.prepare_cached("INSERT OR REPLACE INTO event (row, slot, bytes) VALUES (?1, ?2, ?3)")?
            .execute(params![row, slot, bytes])?;
    }
    Ok(())
}

/// Whether a tenth of the pages that the store may have is still free.
fn has_room(db: &Connection) -> Result<bool, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT p.page_count - f.freelist_count, m.max_page_count
         FROM pragma_page_count() p, pragma_freelist_count() f, pragma_max_page_count() m",
    )?;
    let (used, most): (u64, u64) = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(used < most.saturating_sub(most.div_ceil(10)))
}

pub(super) fn create(
    db: &Connection,
    id: ChannelId,
    row: Row,
    payer: &PublicKey,
    opened: u32,
    cold: &[ColdRecord],
) -> Result<(), StoreError> {
    if !has_room(db)? {
        return Err(StoreError::Full);
    }
    db.prepare_cached("INSERT INTO channel (row, id, payer, opened, open) VALUES (?1, ?2, ?3, ?4, 1)")?
        .execute(params![row, id.0.as_slice(), payer.serialize().as_slice(), opened])?;
    db.prepare_cached("INSERT INTO balance (row, version, epoch, accepted, delivered) VALUES (?1, ?2, 0, 0, 0)")?
        .execute(params![row, Version::FIRST.0])?;
    write_cold(db, row, cold)
}

pub(super) fn load(db: &Connection, id: ChannelId) -> Result<Option<Loaded>, StoreError> {
    let row = db
        .prepare_cached("SELECT row FROM channel WHERE id = ?1")?
        .query_row(params![id.0.as_slice()], |row| row.get(0))
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let loaded = load_row(db, row)?;
    if loaded.payee.id() != id {
        return Err(corrupted("its parameters are those of another channel"));
    }
    Ok(Some(loaded))
}

/// The channel of this payer's key.
pub(super) fn by_payer(db: &Connection, payer: &PublicKey) -> Result<Option<ChannelId>, StoreError> {
    let id = db
        .prepare_cached("SELECT id FROM channel WHERE payer = ?1")?
        .query_row(params![payer.serialize().as_slice()], |row| row.get(0).map(ChannelId))
        .optional()?;
    Ok(id)
}

pub(super) fn load_row(db: &Connection, row: Row) -> Result<Loaded, StoreError> {
    let (open, opened) = db
        .prepare_cached("SELECT open, opened FROM channel WHERE row = ?1")?
        .query_row(params![row], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, Option<u32>>(1)?)))
        .map_err(|error| corrupted(&format!("its row cannot be read ({error})")))?;
    let hot = db
        .prepare_cached("SELECT version, epoch, accepted, signature, delivered, lock FROM balance WHERE row = ?1")?
        .query_row(params![row], |row| {
            Ok((
                Version(row.get(0)?),
                row.get::<_, u64>(1)?,
                row.get::<_, u64>(2)?,
                row.get::<_, Option<Vec<u8>>>(3)?,
                row.get::<_, u64>(4)?,
                row.get::<_, u32>(5)?,
            ))
        })
        .map_err(|error| corrupted(&format!("its balance cannot be read ({error})")))?;
    let (version, epoch, accepted, signature, delivered, lock) = hot;

    let mut select = db.prepare_cached("SELECT bytes FROM event WHERE row = ?1 ORDER BY slot")?;
    let records = select.query_map(params![row], |row| row.get::<_, Vec<u8>>(0))?;
    let mut events = Vec::with_capacity(8);
    for bytes in records {
        events.push(Event::decode(&bytes?).map_err(|error| corrupted(error.text()))?);
    }
    if epoch > 0 {
        events.push(Event::Attached { epoch });
    }
    if let Some(bytes) = signature {
        let signature = Signature::from_compact(&bytes)
            .map_err(|_| corrupted(&format!("{} is no signature", bytes.to_lower_hex_string())))?;
        let cumulative = Amount::from_sat(accepted);
        events.push(Event::Accepted(Paid { lock, cumulative, signature }));
    }
    if delivered > 0 {
        events.push(Event::Delivered(delivered));
    }
    events.sort_by_key(Event::slot);
    let payee = Payee::replay(events).map_err(|error| corrupted(error.text()))?;
    if payee.key_index() != row {
        return Err(corrupted("its key has another number"));
    }
    Ok(Loaded { row, open, opened, version, payee })
}

pub(super) fn open_channels(db: &Connection) -> Result<Vec<Stored>, StoreError> {
    let mut select = db.prepare_cached("SELECT row FROM channel WHERE open = 1 ORDER BY row")?;
    let rows = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<Row>, _>>()?;
    let load = |row| load_row(db, row).map_err(|error| (row, error));
    Ok(rows.into_iter().map(load).collect())
}

pub(super) fn finish(db: &Connection, row: Row) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE channel SET open = 0 WHERE row = ?1")?.execute(params![row])?;
    Ok(())
}

/// Deletes a channel. The newest one is only finished: its number must never be given to another channel.
pub(super) fn discard(db: &Connection, row: Row) -> Result<(), StoreError> {
    let newest = next_row(db)?.saturating_sub(1);
    if row == newest {
        return finish(db, row);
    }
    for delete in
        ["DELETE FROM event WHERE row = ?1", "DELETE FROM balance WHERE row = ?1", "DELETE FROM channel WHERE row = ?1"]
    {
        db.prepare_cached(delete)?.execute(params![row])?;
    }
    Ok(())
}

pub(super) fn next_row(db: &Connection) -> Result<Row, StoreError> {
    let last: Option<Row> = db.prepare_cached("SELECT max(row) FROM channel")?.query_row([], |row| row.get(0))?;
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}

/// How many damaged channels are passed over in the search for one that tells the seed.
const NEWEST: u32 = 100;

pub(super) fn newest_key(db: &Connection) -> Result<Option<(Row, PublicKey)>, StoreError> {
    let mut select = db.prepare_cached("SELECT row FROM channel ORDER BY row DESC LIMIT ?1")?;
    let rows = select.query_map(params![NEWEST], |row| row.get(0))?.collect::<Result<Vec<Row>, _>>()?;
    let mut damage = None;
    for row in rows {
        match load_row(db, row) {
            Ok(loaded) => return Ok(Some((row, loaded.payee.params().payee))),
            Err(error) => damage = Some(error),
        }
    }
    damage.map_or(Ok(None), Err)
}

fn corrupted(why: &str) -> StoreError {
    StoreError::Corrupted(why.into())
}
