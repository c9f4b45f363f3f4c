//! Settlements on their way into the chain: stored before they are broadcast, so that a restart repeats the same one.

use rillpay_channel::bitcoin::consensus::encode;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rusqlite::{Connection, params};

use super::{StoreError, StoredSettlement};

pub(super) fn add(db: &Connection, settlement: &StoredSettlement) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO settlement (txid, raw, rate) VALUES (?1, ?2, ?3)")?.execute(params![
        settlement.txid.as_byte_array().as_slice(),
        encode::serialize(&settlement.transaction),
        settlement.rate.to_sat_per_kwu(),
    ])?;
    Ok(())
}

pub(super) fn remove(db: &Connection, txid: &Txid) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM settlement WHERE txid = ?1")?.execute(params![txid.as_byte_array().as_slice()])?;
    Ok(())
}

/// All that can be read. One that is damaged is logged and passed over: its channels are settled anew.
pub(super) fn all(db: &Connection) -> Result<Vec<StoredSettlement>, StoreError> {
    let mut select = db.prepare_cached("SELECT raw, rate FROM settlement ORDER BY txid")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u64>(1)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let read = row.map_err(StoreError::from).and_then(|(raw, rate)| {
            let transaction: Transaction =
                encode::deserialize(&raw).map_err(|error| StoreError::Corrupted(error.to_string()))?;
            Ok(StoredSettlement {
                txid: transaction.compute_txid(),
                transaction,
                rate: FeeRate::from_sat_per_kwu(rate),
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
