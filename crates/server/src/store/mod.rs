//! What survives a crash: SQLite, behind one committer.
//!
//! Whoever changes a channel hands its events to [`Store`] and waits; a dedicated thread (`committer`) takes whatever has
//! gathered since its last transaction, makes all of it durable with **one** sync, and answers everybody. Under load a
//! sync is shared by hundreds of payments; alone, a payment waits for just one.
//!
//! **Fencing.** Each channel's row has a version that every change raises and names. A second writer (another process
//! on the same store) that changed the channel in between makes the change fail with [`StoreError::Conflict`]; the
//! loser loads the channel anew.

mod committer;
mod record;
pub(crate) mod schema;
mod settlements;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
pub(crate) mod tests;

use std::path::Path;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rillpay_channel::payee::{Event, Payee};
use rillpay_channel::{ChannelId, ChannelParams};
use rusqlite::Connection;
use tokio::sync::oneshot;

use committer::{Job, Queue, Write};
use record::Change;

/// The number of a channel's row, and of the payee's key that signs for it.
pub(crate) type Row = u32;

/// A row's version. Every change names the one it was decided on and raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) i64);

impl Version {
    /// Of a channel just stored.
    pub(crate) const FIRST: Self = Self(1);

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the channel since it was loaded.
    #[error("another writer changed this channel")]
    Conflict,
    /// What is stored about one channel does not fit together; others are not concerned.
    #[error("what is stored about this channel is corrupted: {0}")]
    Corrupted(String),
    /// The store is nearly as large as it may become; what is left is for the channels that are open.
    #[error("the store has no room for more channels")]
    Full,
    /// Nothing was stored, or it is not known whether: a full disk, a failing one.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The tables are those of a newer program.
    #[error("the store has version {0}, which this program does not know")]
    Version(i32),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Conflict,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupted(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A channel as the store holds it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) row: Row,
    /// Whether the chain can still change it: it is not finished.
    pub(crate) open: bool,
    /// The best block's height at its opening; `None` where an older program has stored it.
    pub(crate) opened: Option<u32>,
    pub(crate) version: Version,
    pub(crate) payee: Payee,
}

/// A channel as found in the store, or its row and what is wrong with it.
pub(crate) type Stored = Result<Loaded, (Row, StoreError)>;

/// A settlement on its way into the chain.
#[derive(Clone, Debug)]
pub(crate) struct StoredSettlement {
    pub(crate) txid: Txid,
    pub(crate) transaction: Transaction,
    pub(crate) rate: FeeRate,
    /// The best block's when it was made.
    pub(crate) height: u32,
}

/// The number of an address in a series that settlements pay to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PayoutNumber {
    /// The series' name.
    pub(crate) series: Vec<u8>,
    pub(crate) number: u32,
}

/// What was last seen of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) height: u32,
    /// The rate of a settlement that may take its time, and of one that may not.
    pub(crate) patient: FeeRate,
    pub(crate) hasty: FeeRate,
}

/// The store as it is now, to be read beside the server that writes it.
pub(crate) struct Snapshot(Connection);

impl Snapshot {
    /// Opens the store in `path`, which has to exist.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        schema::open_to_read(path).map(Self)
    }

    /// See [`Store::open_channels`].
    pub(crate) fn open_channels(&self) -> Result<Vec<Stored>, StoreError> {
        record::open_channels(&self.0)
    }

    /// See [`Store::settlements`].
    pub(crate) fn settlements(&self) -> Result<Vec<StoredSettlement>, StoreError> {
        settlements::all(&self.0)
    }

    /// See [`Store::next_payout`].
    pub(crate) fn next_payout(&self, series: &[u8]) -> Result<Option<u32>, StoreError> {
        settlements::next_number(&self.0, series)
    }

    /// What the server saw of the chain last; `None` before its first look.
    pub(crate) fn seen(&self) -> Result<Option<Seen>, StoreError> {
        settlements::seen(&self.0)
    }
}

/// The store. Dropping the last handle ends the committer after what it was given is done.
pub(crate) struct Store {
    queue: Queue,
}

impl Store {
    /// Opens the store in `path` and starts its committer. `max_pages` bounds its size.
    pub(crate) fn open(path: &Path, max_pages: Option<u32>) -> Result<Self, StoreError> {
        let db = schema::open(path, max_pages)?;
        Ok(Self { queue: committer::start(db)? })
    }

    async fn write_job(&self, write: Write) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job::Write(write, reply));
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn read_job<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job::Read(Box::new(move |db| {
            // Whoever gave up waiting does not mind.
            let _ = reply.send(read(db));
        })));
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Stores a channel just opened; its row is the number of its key, `opened` the best block's height.
    /// [`StoreError::Conflict`] if the row or the payer's key is taken; [`StoreError::Full`] where the room that is left is
    /// kept for closing what is open.
    pub(crate) async fn create(
        &self,
        params: &ChannelParams,
        row: Row,
        opened: u32,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let (id, payer, events) = (params.id(), params.payer, record::encode(events));
        self.write_job(Write::Create { id, row, payer, opened, events }).await
    }

    /// The channel of this payer's key.
    pub(crate) async fn by_payer(&self, payer: PublicKey) -> Result<Option<ChannelId>, StoreError> {
        self.read_job(move |db| record::by_payer(db, &payer)).await
    }

    /// Makes the events of one decision durable, all or none.
    pub(crate) async fn write(&self, row: Row, version: Version, events: &[Event]) -> Result<(), StoreError> {
        let change = Change::of(events)?;
        self.write_job(Write::Change { row, version, change }).await
    }

    /// The channel with this id, as stored.
    pub(crate) async fn load(&self, id: ChannelId) -> Result<Option<Loaded>, StoreError> {
        self.read_job(move |db| record::load(db, id)).await
    }

    /// All channels that are not finished; those that cannot be read, as their error.
    pub(crate) async fn open_channels(&self) -> Result<Vec<Stored>, StoreError> {
        self.read_job(record::open_channels).await
    }

    /// A channel is done with: nothing more can happen to it on the chain.
    pub(crate) async fn finish(&self, row: Row) -> Result<(), StoreError> {
        self.write_job(Write::Finish(row)).await
    }

    /// A channel that was never funded has expired: nothing of it is worth keeping.
    pub(crate) async fn discard(&self, row: Row) -> Result<(), StoreError> {
        self.write_job(Write::Discard(row)).await
    }

    /// The lowest row number that was never used.
    pub(crate) async fn next_row(&self) -> Result<Row, StoreError> {
        self.read_job(record::next_row).await
    }

    /// The number and the payee's key of the newest channel that can be read; `None` if there is no channel at all.
    /// Fails where there are channels and none can be read.
    pub(crate) async fn newest_key(&self) -> Result<Option<(Row, PublicKey)>, StoreError> {
        self.read_job(record::newest_key).await
    }

    /// Stores a settlement before it is broadcast, and that it takes this number of a series of addresses.
    /// [`StoreError::Conflict`] where another one has taken it meanwhile.
    pub(crate) async fn add_settlement(
        &self,
        settlement: StoredSettlement,
        number: Option<PayoutNumber>,
    ) -> Result<(), StoreError> {
        self.write_job(Write::AddSettlement(settlement, number)).await
    }

    /// The first number of a series of addresses that no settlement has taken; `None` while none has taken any.
    pub(crate) async fn next_payout(&self, series: Vec<u8>) -> Result<Option<u32>, StoreError> {
        self.read_job(move |db| settlements::next_number(db, &series)).await
    }

    /// Takes note of what was seen of the chain.
    pub(crate) async fn see(&self, seen: Seen) -> Result<(), StoreError> {
        self.write_job(Write::See(seen)).await
    }

    /// Forgets a settlement: it is buried deeply, or the chain refuses it.
    pub(crate) async fn remove_settlement(&self, txid: Txid) -> Result<(), StoreError> {
        self.write_job(Write::RemoveSettlement(txid)).await
    }

    /// The settlements on their way.
    pub(crate) async fn settlements(&self) -> Result<Vec<StoredSettlement>, StoreError> {
        self.read_job(settlements::all).await
    }

    /// Whether the last transaction went well.
    pub(crate) fn is_well(&self) -> bool {
        self.queue.is_well()
    }

    /// Waits until everything given so far is done, and closes the store.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job::Close(reply));
        // An answer that never comes means that it is closed already.
        let _ = answer.await;
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".into())
}
