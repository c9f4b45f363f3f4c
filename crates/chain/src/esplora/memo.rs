//! What has been checked once and cannot change: transactions by their ids, and which block holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::{Transaction, Txid};

use crate::BlockRef;

/// Bytes of transactions that are kept. Beyond them all are forgotten and fetched again as they are needed.
const ROOM: usize = 32 << 20;
/// Proven places that are kept.
const PLACES: usize = 50_000;

#[derive(Default)]
struct Kept {
    bytes: usize,
    transactions: HashMap<Txid, Arc<Transaction>>,
    places: HashMap<Txid, BlockRef>,
}

#[derive(Default)]
pub(super) struct Memo(Mutex<Kept>);

impl Memo {
    pub(super) fn transaction(&self, txid: &Txid) -> Option<Arc<Transaction>> {
        self.with(|kept| kept.transactions.get(txid).cloned())
    }

    pub(super) fn keep(&self, txid: Txid, tx: &Arc<Transaction>) {
        self.with(|kept| {
            kept.bytes = kept.bytes.saturating_add(tx.total_size());
            if kept.bytes > ROOM {
                kept.transactions.clear();
                kept.bytes = tx.total_size();
            }
            kept.transactions.insert(txid, Arc::clone(tx));
        });
    }

    /// The block that was shown to hold a transaction. Whether it is still on the best chain the caller looks up.
    pub(super) fn place(&self, txid: &Txid) -> Option<BlockRef> {
        self.with(|kept| kept.places.get(txid).copied())
    }

    pub(super) fn put(&self, txid: Txid, block: BlockRef) {
        self.with(|kept| {
            if kept.places.len() >= PLACES {
                kept.places.clear();
            }
            kept.places.insert(txid, block);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
