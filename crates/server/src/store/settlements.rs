//! Settlements on their way into the chain: stored before they are broadcast, so that a restart repeats the same one.
//! With each goes the number of the address that it pays to, so that no later one pays there again.

use rillpay_channel::bitcoin::consensus::encode;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rusqlite::{Connection, OptionalExtension, params};

use super::{PayoutNumber, Seen, StoreError, StoredSettlement};

/// [`StoreError::Conflict`] where a settlement has taken the number meanwhile.
pub(super) fn add(
    db: &Connection,
    settlement: &StoredSettlement,
    number: Option<&PayoutNumber>,
) -> Result<(), StoreError> {
    if let Some(PayoutNumber { series, number }) = number {
        let next = number.saturating_add(1);
        let taken = db
            .prepare_cached(
                "INSERT INTO payout (series, next) VALUES (?1, ?2)
                 ON CONFLICT (series) DO UPDATE SET next = excluded.next WHERE next < excluded.next",
            )?
            .execute(params![series, next])?;
        if taken == 0 {
            return Err(StoreError::Conflict);
        }
    }
    db.prepare_cached("INSERT OR REPLACE INTO settlement (txid, raw, rate, height) VALUES (?1, ?2, ?3, ?4)")?.execute(
        params![
            settlement.txid.as_byte_array().as_slice(),
            encode::serialize(&settlement.transaction),
            settlement.rate.to_sat_per_kwu(),
            settlement.height,
        ],
    )?;
    Ok(())
}

/// The first number of a series that no settlement has taken; `None` while none has taken any.
pub(super) fn next_number(db: &Connection, series: &[u8]) -> Result<Option<u32>, StoreError> {
    let mut select = db.prepare_cached("SELECT next FROM payout WHERE series = ?1")?;
    Ok(select.query_row(params![series], |row| row.get(0)).optional()?)
}

pub(super) fn remove(db: &Connection, txid: &Txid) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM settlement WHERE txid = ?1")?.execute(params![txid.as_byte_array().as_slice()])?;
    Ok(())
}

/// All that can be read. One that is damaged is logged and passed over: its channels are settled anew.
pub(super) fn all(db: &Connection) -> Result<Vec<StoredSettlement>, StoreError> {
    let mut select = db.prepare_cached("SELECT raw, rate, height FROM settlement ORDER BY txid")?;
    let rows =
        select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u64>(1)?, row.get::<_, u32>(2)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let read = row.map_err(StoreError::from).and_then(|(raw, rate, height)| {
            let transaction: Transaction =
                encode::deserialize(&raw).map_err(|error| StoreError::Corrupted(error.to_string()))?;
            Ok(StoredSettlement {
                txid: transaction.compute_txid(),
                transaction,
                rate: FeeRate::from_sat_per_kwu(rate),
                height,
            })
        });
        match read {
            Ok(settlement) => all.push(settlement),
            Err(error @ StoreError::Failed(_)) => return Err(error),
            Err(error) => tracing::error!(%error, "a stored settlement is damaged; its channels are settled anew"),
        }
    }
    Ok(all)
}

/// Takes note of what was seen of the chain.
pub(super) fn see(db: &Connection, seen: &Seen) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO seen (id, height, patient, hasty) VALUES (0, ?1, ?2, ?3)")?
        .execute(params![seen.height, seen.patient.to_sat_per_kwu(), seen.hasty.to_sat_per_kwu()])?;
    Ok(())
}

/// What was last seen of the chain; `None` before the first look.
pub(super) fn seen(db: &Connection) -> Result<Option<Seen>, StoreError> {
    let seen = db.prepare_cached("SELECT height, patient, hasty FROM seen")?.query_row([], |row| {
        let rate = |column| row.get(column).map(FeeRate::from_sat_per_kwu);
        Ok(Seen { height: row.get(0)?, patient: rate(1)?, hasty: rate(2)? })
    });
    Ok(seen.optional()?)
}
