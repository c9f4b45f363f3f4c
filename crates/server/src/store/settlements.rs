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

pub(super) fn all(db: &Connection) -> Result<Vec<StoredSettlement>, StoreError> {
    let mut select = db.prepare_cached("SELECT raw, rate FROM settlement ORDER BY txid")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u64>(1)?)))?;
    rows.map(|row| {
        let (raw, rate) = row?;
        let transaction: Transaction = encode::deserialize(&raw)
            .map_err(|error| StoreError::Corrupted(format!("a stored settlement: {error}")))?;
        Ok(StoredSettlement { txid: transaction.compute_txid(), transaction, rate: FeeRate::from_sat_per_kwu(rate) })
    })
    .collect()
}
