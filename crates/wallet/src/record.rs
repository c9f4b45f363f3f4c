//! What survives a reload: transactions that were seen or built, and how many addresses were handed out. No secret.
//!
//! ```text
//! record := version u8 · account [u8; 8] · tip u32 · handed [u32; 2] · seen · held
//! seen   := count u32 · (height + 1, or 0 u32 · time, or 0 u32 · transaction)*
//! held   := count u32 · (sent u8 · transaction)*
//! ```
//!
//! Numbers are little-endian, transactions in their consensus encoding. A garbled or hostile record cannot make the wallet
//! pay what it should not: amounts are read out of transactions, which name themselves. Statuses are only a cache, which
//! the next look replaces.

use std::collections::BTreeMap;

use bitcoin::consensus::{Decodable, Encodable};
use bitcoin::{Transaction, Txid};

use crate::book::{Seen, Status};
use crate::error::{Code, Error};
use crate::look::MAX_TRANSACTIONS;

const VERSION: u8 = 1;

/// A transaction that was built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) transaction: Transaction,
    /// It was, or is just being, handed to the network.
    pub(crate) sent: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) account: [u8; 8],
    pub(crate) tip: u32,
    pub(crate) handed: [u32; 2],
    pub(crate) seen: BTreeMap<Txid, Seen>,
    pub(crate) held: BTreeMap<Txid, Held>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.account);
        let [receive, change] = self.handed;
        for number in [self.tip, receive, change, count(self.seen.len())] {
            put(&mut bytes, &number);
        }
        for seen in self.seen.values() {
            put(&mut bytes, &seen.status.height.map_or(0, |height| height.saturating_add(1)));
            put(&mut bytes, &seen.status.time.unwrap_or_default());
            put(&mut bytes, &seen.transaction);
        }
        put(&mut bytes, &count(self.held.len()));
        for held in self.held.values() {
            put(&mut bytes, &held.sent);
            put(&mut bytes, &held.transaction);
        }
        bytes
    }

    /// # Errors
    /// [`Code::CorruptedWallet`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        read(bytes).ok_or(Error::new(Code::CorruptedWallet, "what is stored for the wallet cannot be read"))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn put(bytes: &mut Vec<u8>, value: &impl Encodable) {
    // Writing to memory cannot fail.
    let _ = value.consensus_encode(bytes);
}

fn take<T: Decodable>(bytes: &mut &[u8]) -> Option<T> {
    T::consensus_decode(bytes).ok()
}

fn read(mut bytes: &[u8]) -> Option<Record> {
    let from = &mut bytes;
    if take::<u8>(from)? != VERSION {
        return None;
    }
    let mut record =
        Record { account: take(from)?, tip: take(from)?, handed: [take(from)?, take(from)?], ..Record::default() };
    for _ in 0..bounded(take(from)?)? {
        let height = take::<u32>(from)?.checked_sub(1);
        let time = height.and(Some(take::<u32>(from)?));
        let transaction: Transaction = take(from)?;
        record.seen.insert(transaction.compute_txid(), Seen { transaction, status: Status { height, time } });
    }
    for _ in 0..bounded(take(from)?)? {
        let sent = take(from)?;
        let transaction: Transaction = take(from)?;
        record.held.insert(transaction.compute_txid(), Held { transaction, sent });
    }
    bytes.is_empty().then_some(record)
}

fn bounded(count: u32) -> Option<usize> {
    usize::try_from(count).ok().filter(|count| *count <= MAX_TRANSACTIONS)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod tests {
    use super::*;
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, TxIn, TxOut};
    use proptest::prelude::*;

    fn transaction(sat: u64) -> Transaction {
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default()],
            output: vec![TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::new() }],
        }
    }

    fn record() -> Record {
        let mut record = Record { account: [9; 8], tip: 120, handed: [3, 1], ..Record::default() };
        for (sat, height) in [(1, Some(0)), (2, None), (3, Some(119))] {
            let status = Status { height, time: height.map(|height| height + 1_000) };
            record.seen.insert(transaction(sat).compute_txid(), Seen { transaction: transaction(sat), status });
        }
        for (sat, sent) in [(4, true), (5, false)] {
            record.held.insert(transaction(sat).compute_txid(), Held { transaction: transaction(sat), sent });
        }
        record
    }

    #[test]
    fn comes_back_as_it_was() {
        let bytes = record().encode();
        assert_eq!(Record::decode(&bytes).unwrap(), record());
        for end in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..end]).unwrap_err().code(), Code::CorruptedWallet);
        }
        assert!(Record::decode(&[bytes, vec![0]].concat()).is_err(), "nothing may follow");
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..400, byte: u8) {
            let _ = Record::decode(&bytes);
            let mut bytes = record().encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
            }
        }
    }
}
