//! What has to survive, and the one who keeps it: SQLite in a process, IndexedDB in a page.

use async_trait::async_trait;
use rillpay_channel::Msat;
use rillpay_channel::bitcoin::Txid;
use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::backup::Backup;
use rillpay_channel::revocable::holder::Event;
use rillpay_channel::revocable::{CommitmentNumber, Htlc, Role, State};
use rillpay_runtime::{MaybeSend, MaybeSync};
use rillpay_wire::ChannelId;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the channel since it was loaded.
    #[error("another writer changed this channel")]
    Conflict,
    /// This request was paid before.
    #[error("this request was paid before")]
    Paid,
    /// What is stored does not fit together.
    #[error("what is stored is corrupted: {0}")]
    Corrupted(&'static str),
    /// Nothing was stored, or it is not known whether: a full disk, a failing one.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The node has stopped.
    #[error("the store is closed")]
    Closed,
    /// The tables are those of another program.
    #[error("the store has version {0}, which this program does not know")]
    Version(i32),
}

/// A channel as the store holds it.
#[derive(Clone)]
pub struct Loaded {
    /// The number of its keys.
    pub row: u32,
    /// The counterparty's key.
    pub peer: PublicKey,
    /// A height before its funding.
    pub since: u32,
    /// What the next change names.
    pub version: i64,
    /// What its holder has to know.
    pub held: Vec<u8>,
}

/// What one decision stores.
#[derive(Default)]
pub struct Change {
    /// What its holder has to know from now on; `None` where that stays.
    pub held: Option<Vec<u8>>,
    /// The states that are revoked by it.
    pub revoked: Vec<State>,
}

impl Change {
    /// What these events change.
    pub fn of(events: &[Event]) -> Self {
        let mut change = Self::default();
        for event in events {
            match event {
                Event::Held(held) => change.held = Some(held.clone()),
                Event::Revoked(state) => change.revoked.push(state.clone()),
            }
        }
        change
    }
}

/// Who the node of a store is.
pub struct Owner {
    /// The node's key.
    pub key: Vec<u8>,
    /// The network's name.
    pub network: String,
    /// The height from which on the wallet's scripts are looked for.
    pub since: u32,
    /// The least number of a channel's keys.
    pub rows: u32,
}

/// A store with one user. What a method has written is on the disk when it returns; what fails has changed nothing.
///
/// # Errors
/// As [`StoreError`] says.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait Keep: MaybeSend + MaybeSync {
    /// Ends all use, also by work that waits yet.
    fn close(&self);

    /// Whose store it is; `None` while it is new.
    fn owner(&self) -> Result<Option<Owner>, StoreError>;

    /// Gives a new store its owner.
    async fn own(&self, owner: Owner) -> Result<(), StoreError>;

    /// The wallet's record.
    fn wallet(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the wallet's record.
    async fn set_wallet(&self, record: Vec<u8>) -> Result<(), StoreError>;

    /// Replaces the wallet's record by one that holds a transaction for channel `row`, its funding above all, and gives that number
    /// to no other channel: our signature for it may leave.
    async fn hold(&self, record: Vec<u8>, row: u32, txid: Txid) -> Result<(), StoreError>;

    /// Whether a transaction that the wallet holds was made for a channel of this store: others may use the same wallet.
    fn is_ours(&self, txid: &Txid) -> Result<bool, StoreError>;

    /// The peers that are to be called.
    fn peers(&self) -> Result<Vec<(PublicKey, String)>, StoreError>;

    /// Remembers where a peer is.
    async fn set_peer(&self, peer: PublicKey, address: String) -> Result<(), StoreError>;

    /// The number that no channel has had yet.
    fn next_row(&self) -> Result<u32, StoreError>;

    /// Every channel that the chain can still change.
    fn channels(&self) -> Result<Vec<Loaded>, StoreError>;

    /// A channel as it is now.
    async fn channel(&self, row: u32) -> Result<Loaded, StoreError>;

    /// Stores a channel just opened, at version 1.
    async fn create(
        &self,
        row: u32,
        id: ChannelId,
        peer: PublicKey,
        since: u32,
        change: Change,
    ) -> Result<(), StoreError>;

    /// Makes what one decision stores durable, all of it or nothing, and the request that it pays.
    async fn write(&self, row: u32, version: i64, change: Change, pays: Option<[u8; 16]>) -> Result<(), StoreError>;

    /// Whether this request was paid.
    async fn is_paid(&self, request: [u8; 16]) -> Result<bool, StoreError>;

    /// The payments in a revoked commitment.
    fn revoked(&self, row: u32, number: CommitmentNumber) -> Result<Vec<Htlc>, StoreError>;

    /// The chain can change nothing about this channel any more.
    async fn set_over(&self, row: u32) -> Result<(), StoreError>;

    /// What a backup holds.
    async fn backup(&self) -> Result<Backup, StoreError>;

    /// Stores a copy of a channel that is missing here, or older and not over; whether it was.
    async fn take_over(&self, id: ChannelId, copy: Loaded) -> Result<bool, StoreError>;

    /// Numbers below `rows` were given to channels, and coins were there from height `since` on.
    async fn reach_back(&self, rows: u32, since: u32) -> Result<(), StoreError>;

    /// Keeps this for a peer, in place of what it gave before.
    async fn keep(&self, peer: PublicKey, blob: Vec<u8>) -> Result<(), StoreError>;

    /// What is kept for a peer.
    async fn kept(&self, peer: PublicKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// The chain has this height: forgets what was kept for those who have had no channel for `KEPT` blocks.
    async fn clear_shelf(&self, height: u32) -> Result<(), StoreError>;
}

/// For how many blocks what a peer gave us to keep is kept after the last channel with it is over.
pub const KEPT: u32 = 2_016;

/// Bytes of one payment.
const HTLC: usize = 45;

/// Payments as bytes.
pub fn encode(htlcs: &[Htlc]) -> Vec<u8> {
    let mut bytes = vec![];
    for htlc in htlcs {
        bytes.push(u8::from(htlc.offered_by == Role::Opener));
        bytes.extend(htlc.amount.get().to_be_bytes());
        bytes.extend(htlc.payment_hash.to_byte_array());
        bytes.extend(htlc.expiry.to_be_bytes());
    }
    bytes
}

/// What [`encode`] made; `None` for anything else.
pub fn decode(bytes: &[u8]) -> Option<Vec<Htlc>> {
    let (chunks, rest) = bytes.as_chunks::<HTLC>();
    let one = |chunk: &[u8; HTLC]| {
        let (by, rest) = chunk.split_first()?;
        let (amount, rest) = rest.split_first_chunk::<8>()?;
        let (hash, expiry) = rest.split_first_chunk::<32>()?;
        Some(Htlc {
            offered_by: if *by == 1 { Role::Opener } else { Role::Accepter },
            amount: Msat::new(u64::from_be_bytes(*amount))?,
            payment_hash: sha256::Hash::from_byte_array(*hash),
            expiry: u32::from_be_bytes(expiry.try_into().ok()?),
        })
    };
    chunks.iter().map(one).collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
}
