//! What survives a reload of two-way channels: IndexedDB, database `rillpay-two-way`.
//!
//! | object store | key | value |
//! | --- | --- | --- |
//! | `nodes` | account | the node's key and network, the height that its wallet begins at, the least number of a new channel |
//! | `peers` | `[account, key]` | where a peer is |
//! | `channels` | `[account, row]` | what a holder has to know, and the version that a change names and raises |
//! | `revoked` | `[account, row, number]` | the payments in a revoked commitment, where there are any |
//! | `paid` | `[account, request]` | a request that was paid |
//! | `fundings` | `[account, txid]` | a transaction of the wallet's that was built for a channel |
//! | `kept` | `[account, key]` | what a peer gave us to keep, and the height at which it had a channel the last time |
//!
//! The wallet's record is in the database of `rillpay/wallet`. One page at a time has the account's Web Lock, so that what was
//! read at the start, and what was written since, is all there is: reading asks no disk. What one decision changes is written in
//! one transaction with strict durability, and is believed in only when the browser says `complete`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::lock::Mutex;
use js_sys::{Array, Object, Reflect, Uint8Array};
use rillpay_channel::Code;
use rillpay_channel::bitcoin::Txid;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::backup::{Backup, ChannelCopy};
use rillpay_channel::revocable::{CommitmentNumber, Htlc};
use rillpay_node::keep::{Change, KEPT, Keep, Loaded, Owner, StoreError, decode, encode};
use rillpay_wire::ChannelId;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbKeyRange;

use crate::error::{Error, Result};
use crate::js::{Fields, FromJs, hex};
use crate::store::idb::{self, Database};
use crate::store::wallet::Store as WalletStore;

const NODES: &str = "nodes";
const PEERS: &str = "peers";
const CHANNELS: &str = "channels";
const REVOKED: &str = "revoked";
const PAID: &str = "paid";
const FUNDINGS: &str = "fundings";
const KEPT_FOR: &str = "kept";
const STORES: &[&str] = &[NODES, PEERS, CHANNELS, REVOKED, PAID, FUNDINGS, KEPT_FOR];

/// After so many blocks it is stored again that a peer still has a channel.
const SEEN_AGAIN: u32 = 144;

type Put = (&'static str, JsValue, JsValue);
type Kept<T> = core::result::Result<T, StoreError>;

/// The records of one account.
pub(super) struct Store {
    database: Database,
    wallets: WalletStore,
    account: String,
    known: RefCell<Known>,
    closed: Cell<bool>,
    /// One change after the other: each begins with what the one before has stored.
    turn: Mutex<()>,
}

/// What is on the disk.
#[derive(Default)]
struct Known {
    node: Option<NodeRecord>,
    wallet: Option<Vec<u8>>,
    peers: BTreeMap<PublicKey, String>,
    channels: BTreeMap<u32, ChannelRecord>,
    revoked: BTreeMap<(u32, u64), Vec<u8>>,
    paid: BTreeSet<String>,
    fundings: BTreeSet<String>,
    kept: BTreeMap<PublicKey, Blob>,
}

/// What a peer gave us to keep.
#[derive(Clone)]
struct Blob {
    bytes: Vec<u8>,
    /// The height at which the peer had a channel the last time.
    seen: u32,
}

#[derive(Clone)]
struct NodeRecord {
    key: Vec<u8>,
    network: String,
    since: u32,
    rows: u32,
}

#[derive(Clone)]
struct ChannelRecord {
    peer: PublicKey,
    since: u32,
    over: bool,
    version: u64,
    held: Vec<u8>,
}

/// Bytes in a record.
struct Bytes(Vec<u8>);

impl FromJs for Bytes {
    fn from_js(value: JsValue) -> Option<Self> {
        value.dyn_into::<Uint8Array>().ok().map(|bytes| Self(bytes.to_vec()))
    }
}

fn bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// A plain object takes any property.
fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object.into()
}

impl NodeRecord {
    fn to_js(&self) -> JsValue {
        object([
            ("key", bytes(&self.key)),
            ("network", self.network.as_str().into()),
            ("since", self.since.into()),
            ("rows", self.rows.into()),
        ])
    }
}

impl FromJs for NodeRecord {
    fn from_js(value: JsValue) -> Option<Self> {
        let fields = Fields::from_js(value)?;
        let Bytes(key) = fields.find("key")?;
        Some(Self { key, network: fields.find("network")?, since: fields.find("since")?, rows: fields.find("rows")? })
    }
}

impl ChannelRecord {
    fn to_js(&self, row: u32) -> JsValue {
        object([
            ("row", row.into()),
            ("peer", bytes(&self.peer.serialize())),
            ("since", self.since.into()),
            ("over", self.over.into()),
            ("version", self.version.into()),
            ("held", bytes(&self.held)),
        ])
    }

    fn read(fields: &Fields) -> Option<(u32, Self)> {
        let (Bytes(peer), Bytes(held)) = (fields.find("peer")?, fields.find("held")?);
        let record = Self {
            peer: PublicKey::from_slice(&peer).ok()?,
            since: fields.find("since")?,
            over: fields.find("over")?,
            version: fields.find("version")?,
            held,
        };
        Some((fields.find("row")?, record))
    }

    fn loaded(&self, row: u32) -> Kept<Loaded> {
        let version = i64::try_from(self.version).map_err(|_| StoreError::Corrupted("a channel's version"))?;
        Ok(Loaded { row, peer: self.peer, since: self.since, version, held: self.held.clone() })
    }
}

fn failed(error: &Error) -> StoreError {
    let why = error.message();
    StoreError::Failed(why.into_owned())
}

const UNREADABLE: Error = Error::new(Code::CorruptedStore, "what is stored for two-way channels cannot be read");

impl Store {
    /// Reads what is stored for an account.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`], and the errors of the browser.
    pub(super) async fn open(account: String) -> Result<Self> {
        let database = Database::open("rillpay-two-way", STORES).await?;
        let wallets = WalletStore::open().await?;
        let mut known = Known { wallet: wallets.load(&account).await?, ..Known::default() };
        let node = database.get(NODES, &account.as_str().into()).await?;
        if !node.is_undefined() {
            known.node = Some(NodeRecord::from_js(node).ok_or(UNREADABLE)?);
        }
        for fields in all(&database, PEERS, &account).await? {
            let Bytes(key) = fields.find("key").ok_or(UNREADABLE)?;
            let key = PublicKey::from_slice(&key).map_err(|_| UNREADABLE)?;
            known.peers.insert(key, fields.find("address").ok_or(UNREADABLE)?);
        }
        for fields in all(&database, CHANNELS, &account).await? {
            let (row, record) = ChannelRecord::read(&fields).ok_or(UNREADABLE)?;
            known.channels.insert(row, record);
        }
        for fields in all(&database, REVOKED, &account).await? {
            let Bytes(htlcs) = fields.find("htlcs").ok_or(UNREADABLE)?;
            let row = fields.find("row").ok_or(UNREADABLE)?;
            known.revoked.insert((row, fields.find("number").ok_or(UNREADABLE)?), htlcs);
        }
        for fields in all(&database, PAID, &account).await? {
            known.paid.insert(fields.find("request").ok_or(UNREADABLE)?);
        }
        for fields in all(&database, FUNDINGS, &account).await? {
            known.fundings.insert(fields.find("txid").ok_or(UNREADABLE)?);
        }
        for fields in all(&database, KEPT_FOR, &account).await? {
            let (Bytes(key), Bytes(bytes)) =
                (fields.find("key").ok_or(UNREADABLE)?, fields.find("blob").ok_or(UNREADABLE)?);
            let key = PublicKey::from_slice(&key).map_err(|_| UNREADABLE)?;
            known.kept.insert(key, Blob { bytes, seen: fields.find("seen").ok_or(UNREADABLE)? });
        }
        Ok(Self {
            database,
            wallets,
            account,
            known: RefCell::new(known),
            closed: Cell::new(false),
            turn: Mutex::new(()),
        })
    }

    /// Whether no node ever used it.
    pub(super) fn is_new(&self) -> bool {
        self.known.borrow().node.is_none()
    }

    fn key(&self, parts: &[JsValue]) -> JsValue {
        let key: Array = core::iter::once(JsValue::from(self.account.as_str())).chain(parts.iter().cloned()).collect();
        key.into()
    }

    /// Writes all of it, or nothing.
    async fn put(&self, puts: &[Put]) -> Kept<()> {
        if self.closed.get() {
            return Err(StoreError::Closed);
        }
        self.database.put_all(puts).await.map_err(|error| failed(&error))
    }

    fn look<T>(&self, look: impl FnOnce(&Known) -> T) -> Kept<T> {
        if self.closed.get() {
            return Err(StoreError::Closed);
        }
        Ok(look(&self.known.borrow()))
    }

    fn record(&self, row: u32) -> Kept<ChannelRecord> {
        let record = self.look(|known| known.channels.get(&row).cloned())?;
        record.ok_or(StoreError::Corrupted("a channel that is not there"))
    }

    async fn put_node(&self, node: NodeRecord) -> Kept<()> {
        self.put(&[(NODES, self.account.as_str().into(), node.to_js())]).await?;
        self.known.borrow_mut().node = Some(node);
        Ok(())
    }

    async fn put_blob(&self, peer: PublicKey, blob: Blob) -> Kept<()> {
        let key = peer.serialize();
        let record = object([("key", bytes(&key)), ("blob", bytes(&blob.bytes)), ("seen", blob.seen.into())]);
        self.put(&[(KEPT_FOR, self.key(&[hex(&key).into()]), record)]).await?;
        self.known.borrow_mut().kept.insert(peer, blob);
        Ok(())
    }

    async fn put_channel(&self, row: u32, record: ChannelRecord, mut puts: Vec<Put>) -> Kept<()> {
        puts.push((CHANNELS, self.key(&[row.into()]), record.to_js(row)));
        self.put(&puts).await?;
        self.known.borrow_mut().channels.insert(row, record);
        Ok(())
    }
}

/// Every record of an account in an object store whose keys begin with it.
async fn all(database: &Database, store: &'static str, account: &str) -> Result<Vec<Fields>> {
    // An array comes after everything else that a key can hold.
    let (first, last) = (Array::of1(&account.into()), Array::of2(&account.into(), &Array::new().into()));
    let range = IdbKeyRange::bound(&first, &last).map_err(|cause| idb::blocked(&cause))?;
    let values: Array = database.get_all(store, &range).await?.unchecked_into();
    values.iter().map(|value| Fields::from_js(value).ok_or(UNREADABLE)).collect()
}

#[async_trait(?Send)]
impl Keep for Store {
    fn close(&self) {
        self.closed.set(true);
    }

    fn owner(&self) -> Kept<Option<Owner>> {
        self.look(|known| {
            known.node.clone().map(|NodeRecord { key, network, since, rows }| Owner { key, network, since, rows })
        })
    }

    async fn own(&self, owner: Owner) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let Owner { key, network, since, rows } = owner;
        self.put_node(NodeRecord { key, network, since, rows }).await
    }

    fn wallet(&self) -> Kept<Option<Vec<u8>>> {
        self.look(|known| known.wallet.clone())
    }

    async fn set_wallet(&self, record: Vec<u8>) -> Kept<()> {
        if self.look(|known| known.wallet.as_ref() == Some(&record))? {
            return Ok(());
        }
        self.wallets.save(&self.account, &record).await.map_err(|error| failed(&error))?;
        self.known.borrow_mut().wallet = Some(record);
        Ok(())
    }

    async fn hold(&self, record: Vec<u8>, row: u32, txid: Txid) -> Kept<()> {
        let _turn = self.turn.lock().await;
        // First whose it will be: a number that leads to no channel, and a transaction that the wallet never held, are harmless.
        let node = self.look(|known| known.node.clone())?;
        let mut node = node.ok_or(StoreError::Corrupted("a store without an owner"))?;
        node.rows = node.rows.max(row.saturating_add(1));
        let txid = txid.to_string();
        let named = object([("txid", txid.as_str().into()), ("row", row.into())]);
        let puts =
            [(NODES, self.account.as_str().into(), node.to_js()), (FUNDINGS, self.key(&[txid.as_str().into()]), named)];
        self.put(&puts).await?;
        {
            let mut known = self.known.borrow_mut();
            known.node = Some(node);
            known.fundings.insert(txid);
        }
        self.set_wallet(record).await
    }

    fn is_ours(&self, txid: &Txid) -> Kept<bool> {
        self.look(|known| known.fundings.contains(&txid.to_string()))
    }

    fn peers(&self) -> Kept<Vec<(PublicKey, String)>> {
        self.look(|known| known.peers.iter().map(|(key, address)| (*key, address.clone())).collect())
    }

    async fn set_peer(&self, peer: PublicKey, address: String) -> Kept<()> {
        let key = peer.serialize();
        let record = object([("key", bytes(&key)), ("address", address.as_str().into())]);
        self.put(&[(PEERS, self.key(&[hex(&key).into()]), record)]).await?;
        self.known.borrow_mut().peers.insert(peer, address);
        Ok(())
    }

    fn next_row(&self) -> Kept<u32> {
        self.look(|known| {
            let after_last = known.channels.keys().next_back().map_or(0, |row| row.saturating_add(1));
            after_last.max(known.node.as_ref().map_or(0, |node| node.rows))
        })
    }

    fn channels(&self) -> Kept<Vec<Loaded>> {
        self.look(|known| {
            let open = known.channels.iter().filter(|(_, record)| !record.over);
            open.map(|(row, record)| record.loaded(*row)).collect()
        })?
    }

    async fn channel(&self, row: u32) -> Kept<Loaded> {
        self.record(row)?.loaded(row)
    }

    async fn create(&self, row: u32, _: ChannelId, peer: PublicKey, since: u32, change: Change) -> Kept<()> {
        let _turn = self.turn.lock().await;
        if self.look(|known| known.channels.contains_key(&row))? {
            return Err(StoreError::Conflict);
        }
        let held = change.held.ok_or(StoreError::Corrupted("a channel without a state"))?;
        let record = ChannelRecord { peer, since, over: false, version: 1, held };
        self.put_channel(row, record, vec![]).await
    }

    async fn write(&self, row: u32, version: i64, change: Change, pays: Option<[u8; 16]>) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let mut record = self.record(row)?;
        if i64::try_from(record.version) != Ok(version) {
            return Err(StoreError::Conflict);
        }
        record.version = record.version.saturating_add(1);
        if let Some(held) = change.held {
            record.held = held;
        }
        let mut puts = vec![];
        let mut revoked = vec![];
        // Most commitments hold no payments, and need no record.
        for state in change.revoked.iter().filter(|state| !state.htlcs.is_empty()) {
            let (number, htlcs) = (state.number.get(), encode(&state.htlcs));
            let fields = [("row", row.into()), ("number", number.into()), ("htlcs", bytes(&htlcs))];
            // Of equal length, as no key of IndexedDB is so large a number.
            puts.push((REVOKED, self.key(&[row.into(), format!("{number:016x}").into()]), object(fields)));
            revoked.push(((row, number), htlcs));
        }
        let request = pays.map(|request| hex(&request));
        if let Some(request) = &request {
            if self.look(|known| known.paid.contains(request))? {
                return Err(StoreError::Paid);
            }
            puts.push((PAID, self.key(&[request.into()]), object([("request", request.into()), ("row", row.into())])));
        }
        self.put_channel(row, record, puts).await?;
        let mut known = self.known.borrow_mut();
        known.revoked.extend(revoked);
        known.paid.extend(request);
        Ok(())
    }

    async fn is_paid(&self, request: [u8; 16]) -> Kept<bool> {
        self.look(|known| known.paid.contains(&hex(&request)))
    }

    fn revoked(&self, row: u32, number: CommitmentNumber) -> Kept<Vec<Htlc>> {
        let htlcs = self.look(|known| known.revoked.get(&(row, number.get())).cloned())?;
        htlcs.map_or(Ok(vec![]), |bytes| decode(&bytes).ok_or(StoreError::Corrupted("payments")))
    }

    async fn set_over(&self, row: u32) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let record = ChannelRecord { over: true, ..self.record(row)? };
        self.put_channel(row, record, vec![]).await
    }

    async fn backup(&self) -> Kept<Backup> {
        let (next_index, peers) = (self.next_row()?, self.peers()?);
        let since = self.owner()?.map_or(0, |owner| owner.since);
        let channels = self.look(|known| {
            let open = known.channels.iter().filter(|(_, record)| !record.over);
            open.map(|(row, record)| {
                let ChannelRecord { peer, since, version, held, .. } = record.clone();
                ChannelCopy { index: *row, peer, since, version, held }
            })
            .collect()
        })?;
        Ok(Backup { next_index, since, peers, channels })
    }

    async fn take_over(&self, _: ChannelId, copy: Loaded) -> Kept<bool> {
        let _turn = self.turn.lock().await;
        let Loaded { row, peer, since, version, held } = copy;
        let version = u64::try_from(version).unwrap_or(0);
        // A channel's keys are no other channel's: the number names it.
        let is_news = |record: &ChannelRecord| record.version < version && !record.over;
        if !self.look(|known| known.channels.get(&row).is_none_or(is_news))? {
            return Ok(false);
        }
        self.put_channel(row, ChannelRecord { peer, since, over: false, version, held }, vec![]).await?;
        Ok(true)
    }

    async fn reach_back(&self, rows: u32, since: u32) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let node = self.look(|known| known.node.clone())?;
        let mut node = node.ok_or(StoreError::Corrupted("a store without an owner"))?;
        (node.rows, node.since) = (node.rows.max(rows), node.since.min(since));
        self.put_node(node).await
    }

    async fn keep(&self, peer: PublicKey, bytes: Vec<u8>) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let seen = self.look(|known| {
            let with_peer = known.channels.values().filter(|record| record.peer == peer);
            let before = known.kept.get(&peer).map(|blob| blob.seen);
            before.or(with_peer.map(|record| record.since).max()).unwrap_or(0)
        })?;
        self.put_blob(peer, Blob { bytes, seen }).await
    }

    async fn kept(&self, peer: PublicKey) -> Kept<Option<Vec<u8>>> {
        let blob = self.look(|known| known.kept.get(&peer).cloned())?;
        Ok(blob.map(|blob| blob.bytes).filter(|bytes| !bytes.is_empty()))
    }

    async fn clear_shelf(&self, height: u32) -> Kept<()> {
        let _turn = self.turn.lock().await;
        let due: Vec<_> = self.look(|known| {
            let open: BTreeSet<_> =
                known.channels.values().filter(|record| !record.over).map(|record| record.peer).collect();
            let changed = |(peer, blob): (&PublicKey, &Blob)| {
                if open.contains(peer) {
                    // Not with every block: two weeks are long.
                    let is_due = height.saturating_sub(blob.seen) >= SEEN_AGAIN;
                    is_due.then(|| (*peer, Blob { seen: height, ..blob.clone() }))
                } else {
                    let is_over = height > blob.seen.saturating_add(KEPT) && !blob.bytes.is_empty();
                    is_over.then(|| (*peer, Blob { bytes: vec![], seen: blob.seen }))
                }
            };
            known.kept.iter().filter_map(changed).collect()
        })?;
        for (peer, blob) in due {
            self.put_blob(peer, blob).await?;
        }
        Ok(())
    }
}
