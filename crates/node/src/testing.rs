//! The store of a node without the node, for measurements: what it does for one channel, on the thread that asks.

use std::path::Path;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::holder::Event;
use rillpay_wire::ChannelId;

use crate::error::Error;
use crate::keep::{Change, StoreError};
use crate::store::{Store, create, write};

/// The row of the only channel.
const ROW: u32 = 0;

/// A store with one channel in it.
pub struct ChannelStore {
    store: Store,
    peer: PublicKey,
    /// That of the row; 0 before there is one.
    version: i64,
}

impl ChannelStore {
    /// A new store in `path`, for a channel with `peer`.
    ///
    /// # Errors
    /// [`crate::Code::StoreFailed`].
    pub fn new(path: &Path, peer: PublicKey) -> Result<Self, Error> {
        Ok(Self { store: Store::open(path)?, peer, version: 0 })
    }

    /// Makes these events durable, as the node does it: one transaction, synced to the disk.
    ///
    /// # Errors
    /// [`crate::Code::StoreFailed`]: nothing is stored.
    pub fn save(&mut self, events: &[Event]) -> Result<(), Error> {
        let (change, version) = (Change::of(events), self.version);
        self.store.now(|db| match version {
            0 => create(db, ROW, ChannelId([0; 32]), self.peer, 0, change),
            version => write(db, ROW, version, change, None, false),
        })?;
        self.version = self.version.checked_add(1).ok_or(StoreError::Conflict)?;
        Ok(())
    }
}
