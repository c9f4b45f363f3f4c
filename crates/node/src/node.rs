//! The node: what its parts share, its start and stop, and what commands can ask for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rillpay_chain::{Chain, ScriptHash};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, FeeRate, ScriptBuf};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::fees::LEAST_RATE;
use rillpay_channel::revocable::holder::{End, Holder};
use rillpay_channel::{Code as ChannelCode, Error as ChannelError, Msat};
use rillpay_runtime::MaybeSend;
use rillpay_runtime::time::{Duration, timeout};
use rillpay_transport::NodeKey;
use rillpay_wallet::Balance;
use rillpay_wire::ChannelId;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answers::{BalanceInfo, ChannelInfo, CloseInfo, NodeInfo, OpenInfo, PaidInfo, RestoreInfo};
use crate::backup::{Backups, Retrieved};
use crate::channel::{Channel, name_of};
use crate::dial::Dial;
use crate::error::{Code, Error};
use crate::keep::{Keep, Owner};
use crate::links::Links;
use crate::opening::{self, Opened};
use crate::peer::{self, PeerAddress};
use crate::purse::{Purse, total};
use crate::request::PaymentRequest;
use crate::shelf::Shelf;
use crate::{backup, watcher};

/// How long a peer may take to answer what a command asked of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A new store numbers its channels from so many for each block of the chain on. No store opens as many as that per block, so
/// that one before it, which was lost, has used none of these.
const ROWS_PER_BLOCK: u32 = 256;
/// How long a peer may take to give back what it keeps, which is the first thing that it says.
const RETRIEVAL: Duration = Duration::from_secs(5);
/// Within how many blocks a transaction is to confirm that is in no hurry.
pub(crate) const TARGET: u16 = 6;
/// How many notices may wait for whoever listens. Who is slower misses the oldest ones, and is told so.
const NOTICES: usize = 256;

/// What a node agrees to.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// From which height on the wallet's coins are looked for, in a new store; the tip if not said.
    pub since: Option<u32>,
    /// Blocks that a counterparty waits for its own money after it closes alone: our time to punish.
    pub delay: u16,
    /// The most blocks that we put up with ourselves.
    pub max_delay: u16,
    /// Confirmations before a channel is used.
    pub depth: u32,
    /// Whether a peer that keeps backups gets the newest before every revocation, instead of once a minute.
    pub strict_backups: bool,
    /// The most that we put into a channel that a peer opens: as much as the peer does, up to this.
    pub match_funding: Amount,
}

impl Default for Policy {
    /// The book's delay of 1000 blocks, and three confirmations; nothing is put into channels that others open.
    fn default() -> Self {
        Self {
            since: None,
            delay: 1_000,
            max_delay: 2_016,
            depth: 3,
            strict_backups: false,
            match_funding: Amount::ZERO,
        }
    }
}

/// What a node is made of. It holds keys, so it never prints.
pub struct Parts {
    /// The recovery words.
    pub seed: Seed,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// What survives.
    pub store: Arc<dyn Keep>,
    /// How peers are reached.
    pub dial: Arc<dyn Dial>,
    /// What it agrees to.
    pub policy: Policy,
    /// The first of the wallet's addresses that nobody else gives out: see [`rillpay_wallet::Wallet::new`].
    pub reserved: u32,
    /// Called once the node has stopped: somebody else may use the store.
    pub release: Release,
}

/// See [`Parts::release`].
#[cfg(not(target_arch = "wasm32"))]
pub type Release = Box<dyn FnOnce() + Send>;
/// See [`Parts::release`].
#[cfg(target_arch = "wasm32")]
pub type Release = Box<dyn FnOnce()>;

/// What a node tells whoever listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something is different: a channel, a connection, the chain.
    Changed,
    /// The counterparty paid so much, for good.
    Paid(ChannelId, Msat),
}

/// What the parts of a node share.
pub(crate) struct Shared {
    pub(crate) policy: Policy,
    pub(crate) seed: Seed,
    pub(crate) key: NodeKey,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) store: Arc<dyn Keep>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) purse: Purse,
    pub(crate) links: Links,
    pub(crate) backups: Backups,
    pub(crate) shelf: Shelf,
    /// Something is to be broadcast or looked up.
    pub(crate) wake: Notify,
    pub(crate) shutdown: CancellationToken,
    channels: Mutex<BTreeMap<[u8; 32], Arc<Channel>>>,
    rows: AtomicU32,
    notices: broadcast::Sender<Notice>,
    tasks: TaskTracker,
    release: Mutex<Option<Release>>,
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 32 random bytes.
pub(crate) fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::new(Code::Folder, "the system gives no randomness"))?;
    Ok(bytes)
}

impl Shared {
    /// Runs something until it ends or the node is stopped.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        let shutdown = self.shutdown.clone();
        rillpay_runtime::spawn(self.tasks.track_future(async move {
            let _ = shutdown.run_until_cancelled(work).await;
        }));
    }

    /// Tells whoever listens.
    pub(crate) fn notify(&self, notice: Notice) {
        // Nobody has to listen.
        let _ = self.notices.send(notice);
    }

    /// Runs something that goes on even if whoever waits for it gives up.
    pub(crate) async fn detached<T: MaybeSend + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + MaybeSend + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.spawn(async move {
            let _ = reply.send(work.await);
        });
        answer.await.unwrap_or_else(|_| Err(Error::new(Code::NotRunning, "the node stops")))
    }

    /// A number for a new channel's keys. One is given again after a restart only if nothing was signed with its keys.
    pub(crate) fn new_row(&self) -> u32 {
        self.rows.fetch_add(1, Ordering::Relaxed)
    }

    /// A backup of before tells of numbers that were given, and of when coins came.
    pub(crate) async fn reach_back(&self, rows: u32, since: u32) -> Result<(), Error> {
        self.store.reach_back(rows, since).await?;
        self.rows.fetch_max(rows, Ordering::Relaxed);
        self.purse.reach_back(since);
        Ok(())
    }

    pub(crate) fn channels(&self) -> Vec<Arc<Channel>> {
        guard(&self.channels).values().cloned().collect()
    }

    pub(crate) fn channel(&self, id: &ChannelId) -> Option<Arc<Channel>> {
        guard(&self.channels).get(&id.0).cloned()
    }

    pub(crate) fn channels_with(&self, peer: &PublicKey) -> Vec<Arc<Channel>> {
        self.channels().into_iter().filter(|channel| channel.peer == *peer).collect()
    }

    pub(crate) fn add_channel(&self, channel: Arc<Channel>) {
        guard(&self.channels).insert(channel.id.0, channel);
    }

    /// The chain can change nothing about a channel any more: it is kept, and neither looked at nor followed. `scripts` are those
    /// of what it left in the chain.
    pub(crate) async fn finish(&self, channel: &Channel, scripts: &[ScriptBuf]) -> Result<(), Error> {
        self.store.set_over(channel.row).await?;
        guard(&self.channels).remove(&channel.id.0);
        for script in scripts.iter().chain([&channel.script]) {
            self.chain.unfollow(&ScriptHash::of(script)).await?;
        }
        Ok(())
    }

    /// The fee rate for a confirmation within so many blocks.
    pub(crate) async fn rate(&self, blocks: u16) -> Result<FeeRate, Error> {
        Ok(self.chain.fee_estimates().await?.within(blocks).max(LEAST_RATE))
    }
}

/// A running node. Clones are the same one.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    /// Where it listens, in a process.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) place: Arc<crate::process::Place>,
}

/// Starts to run a node: reads the channels, looks at the chain, and only then talks to anybody.
///
/// # Errors
/// [`Code::Folder`] for a store of other words or another network; what store and chain say.
pub(crate) async fn begin(parts: Parts) -> Result<Arc<Shared>, Error> {
    let Parts { seed, chain, store, dial, policy, reserved, release } = parts;
    let network = chain.network();
    let key = NodeKey::new(seed.node_key()?.expose());
    let own = (key.public().serialize().to_vec(), network.to_string());
    let since = match store.owner()? {
        Some(owner) if (&owner.key, &owner.network) == (&own.0, &own.1) => owner.since,
        Some(_) => {
            return Err(Error::new(Code::Folder, "the store belongs to other recovery words or another network"));
        }
        None => {
            let tip = watcher::first_tip(chain.as_ref()).await?;
            let since = policy.since.map_or(tip, |since| since.min(tip));
            // Words that were used before have given out numbers that nobody remembers; none of them again.
            let rows = tip.saturating_mul(ROWS_PER_BLOCK);
            store.own(Owner { key: own.0, network: own.1, since, rows }).await?;
            since
        }
    };
    let purse = Purse::open(&seed, network, store.as_ref(), (reserved, since))?;
    let shared = Arc::new(Shared {
        rows: AtomicU32::new(store.next_row()?),
        backups: Backups::new(&seed)?,
        shelf: Shelf::default(),
        policy,
        seed,
        key,
        chain,
        store,
        dial,
        purse,
        links: Links::default(),
        wake: Notify::new(),
        shutdown: CancellationToken::new(),
        channels: Mutex::new(BTreeMap::new()),
        notices: broadcast::channel(NOTICES).0,
        tasks: TaskTracker::new(),
        release: Mutex::new(Some(release)),
    });
    for loaded in shared.store.channels()? {
        match Holder::load(&loaded.held) {
            Ok(holder) => {
                let keys = BaseKeys::from_seed(&shared.seed, loaded.row)?;
                shared.add_channel(Channel::new(holder, keys, &loaded));
            }
            // The others have to be watched all the same.
            Err(error) => tracing::error!(row = loaded.row, %error, "a damaged channel is left alone"),
        }
    }
    watcher::first_pass(&shared).await?;
    for (id, address) in shared.store.peers()? {
        peer::begin_calling(&shared, PeerAddress { id, address });
    }
    shared.spawn(watcher::run(Arc::clone(&shared)));
    Ok(shared)
}

impl Node {
    /// Runs a node in a page.
    ///
    /// # Errors
    /// [`Code::Folder`] for a store of other words or another network; what store and chain say.
    #[cfg(target_arch = "wasm32")]
    pub async fn begin(parts: Parts) -> Result<Self, Error> {
        Ok(Self { shared: begin(parts).await? })
    }

    /// The node's key, its name.
    pub fn id(&self) -> PublicKey {
        self.shared.key.public()
    }

    /// What happens from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// Stops at once, wherever it is. Nothing has to be said or written: what matters is stored already.
    pub async fn stop(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.store.close();
        let release = guard(&self.shared.release).take();
        if let Some(release) = release {
            release();
        }
    }

    /// Completes when somebody asked the node to stop; [`Node::stop`] does it.
    pub async fn asked_to_stop(&self) {
        self.shared.shutdown.cancelled().await;
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn ask_to_stop(&self) {
        self.shared.shutdown.cancel();
    }

    /// Runs until the node is stopped.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.shared.spawn(work);
    }

    /// What it is and whom it is connected to.
    ///
    /// # Errors
    /// What chain and store said.
    pub async fn info(&self) -> Result<NodeInfo, Error> {
        let height = self.shared.chain.tip().await?.height;
        let peers = self.shared.links.peers().iter().map(ToString::to_string).collect();
        #[cfg(not(target_arch = "wasm32"))]
        let [address, websocket] = [self.address(), self.websocket()].map(|at| at.map(|at| at.to_string()));
        #[cfg(not(target_arch = "wasm32"))]
        let tower = self.tower().await?;
        #[cfg(target_arch = "wasm32")]
        let ([address, websocket], tower) = ([None, None], None);
        Ok(NodeInfo { id: self.id().to_string(), address, websocket, peers, height, tower })
    }

    /// Connects to a peer, and remembers to call it again after every break and every start.
    ///
    /// # Errors
    /// [`Code::PeerOffline`], [`Code::PeerUnfit`], or what the transport said; then it is not remembered.
    pub async fn connect(&self, to: &PeerAddress) -> Result<(), Error> {
        let (node, to) = (Arc::clone(&self.shared), to.clone());
        self.shared
            .detached(async move {
                let session = peer::call(&node, &to).await?;
                node.store.set_peer(to.id, to.address.clone()).await?;
                let (up, is_up) = oneshot::channel();
                let serving = Arc::clone(&node);
                node.spawn(async move {
                    peer::serve(Arc::clone(&serving), session, Some(up)).await;
                    peer::keep_calling(serving, to).await;
                });
                is_up.await.map_err(|_| Error::new(Code::PeerOffline, "the peer hung up"))
            })
            .await
    }

    /// Connects to a peer as [`Node::connect`] does, and takes back the channels in the backup that it keeps: after a loss of
    /// everything but the recovery words. They are closed by agreement, or by the peer where they are not current. Repeating it,
    /// also with other peers, is harmless.
    ///
    /// # Errors
    /// As [`Node::connect`]; [`Code::NoBackup`].
    pub async fn restore(&self, to: &PeerAddress) -> Result<RestoreInfo, Error> {
        self.connect(to).await?;
        match backup::wait(&self.shared, &to.id, RETRIEVAL).await {
            Some(Retrieved::Read(channels)) => Ok(RestoreInfo { channels }),
            Some(Retrieved::Unreadable) => {
                Err(Error::new(Code::NoBackup, "what the peer gave back is no backup of these words"))
            }
            None => Err(Error::new(Code::NoBackup, "the peer gave no backup back")),
        }
    }

    /// Opens a channel of `capacity` with a connected peer; `push` of it is the peer's from the start. The funding is on its way
    /// when this returns.
    ///
    /// # Errors
    /// [`Code::PeerOffline`], [`Code::Busy`], [`Code::OpeningFailed`], [`Code::PeerSilent`]; what channel, wallet and chain say.
    pub async fn open(&self, peer: PublicKey, capacity: Amount, push: Amount) -> Result<OpenInfo, Error> {
        self.open_with(peer, (capacity, push), false).await
    }

    /// Opens a channel into which the peer puts as much as we do, or none. Where the connection breaks while it is signed for, the
    /// next one goes on with it.
    ///
    /// # Errors
    /// As [`Node::open`]; [`Code::PeerUnfit`] where the peer opens no channels of version 2.
    pub async fn open_both(&self, peer: PublicKey, amount: Amount) -> Result<OpenInfo, Error> {
        self.open_with(peer, (amount, Amount::ZERO), true).await
    }

    async fn open_with(
        &self,
        peer: PublicKey,
        (amount, push): (Amount, Amount),
        both: bool,
    ) -> Result<OpenInfo, Error> {
        let node = Arc::clone(&self.shared);
        self.shared
            .detached(async move {
                let push = Msat::from_amount(push).ok_or(Error::new(Code::InvalidCommand, "more than all money"))?;
                let answer = opening::open(&node, &peer, (amount, push), both).await?;
                let ended = || Error::new(Code::OpeningFailed, "the connection ended");
                match timeout(PATIENCE, answer).await {
                    Ok(answer) => {
                        let opened = answer.unwrap_or_else(|_| Err(ended()))?;
                        check_signed(&node, &opened).await?;
                        Ok(OpenInfo { channel: opened.id.to_string(), funding: opened.funding.to_string() })
                    }
                    Err(_) => {
                        if let Some(link) = node.links.get(&peer) {
                            opening::abort(&node, &link, "no answer").await;
                        }
                        Err(Error::new(Code::PeerSilent, "the peer does not answer"))
                    }
                }
            })
            .await
    }

    /// Pays the counterparty of a channel.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`], [`Code::NotPayable`], [`Code::PeerOffline`], [`Code::PeerSilent`]: nothing was paid; what the channel
    /// says.
    pub async fn pay(&self, channel: &str, amount: Amount) -> Result<PaidInfo, Error> {
        let channel = self.find(channel)?;
        self.pay_over(channel, amount, None).await
    }

    /// Pays a request, once.
    ///
    /// # Errors
    /// As [`Node::pay`]; [`Code::RequestPaid`].
    pub async fn pay_request(&self, request: &PaymentRequest) -> Result<PaidInfo, Error> {
        let channel = self.shared.channel(&request.channel);
        let channel = channel.ok_or(Error::new(Code::NoSuchChannel, "there is no such channel"))?;
        if channel.peer != request.payee {
            return Err(Error::new(Code::NoSuchChannel, "this channel is with somebody else than who asks"));
        }
        if self.shared.store.is_paid(request.id).await? {
            return Err(Error::new(Code::RequestPaid, "this request was paid before"));
        }
        self.pay_over(channel, request.amount, Some(request.id)).await
    }

    async fn pay_over(&self, channel: Arc<Channel>, sum: Amount, id: Option<[u8; 16]>) -> Result<PaidInfo, Error> {
        let node = Arc::clone(&self.shared);
        self.shared
            .detached(async move {
                let amount = Msat::from_amount(sum).ok_or(Error::new(Code::InvalidCommand, "more than all money"))?;
                let mut waiting = channel.waiting(PATIENCE);
                let paid = loop {
                    if let Some(paid) = channel.pay(&node, amount, id).await? {
                        break paid;
                    }
                    // The counterparty owes a revocation. Whatever happens, there is one more tick.
                    if !waiting.goes_on().await {
                        return Err(Error::new(Code::PeerSilent, "the peer does not answer; nothing was paid"));
                    }
                };
                let view = channel.wait(&node, &mut waiting, |view| view.direct.1 >= paid).await?;
                Ok(PaidInfo {
                    channel: channel.id.to_string(),
                    amount_sat: sum.to_sat(),
                    settled: view.direct.1 >= paid,
                    balance_sat: view.balance.to_sat(),
                })
            })
            .await
    }

    /// Asks for a payment over a channel: a text for the counterparty's `pay`. Nothing is stored.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`], [`Code::InvalidCommand`].
    pub fn request(&self, channel: &str, amount: Amount, memo: &str) -> Result<PaymentRequest, Error> {
        let channel = self.find(channel)?;
        let mut id = [0; 16];
        id.iter_mut().zip(random()?).for_each(|(to, from)| *to = from);
        PaymentRequest::new(self.id(), channel.id, amount, memo, id)
    }

    /// Every channel that the chain can still change.
    ///
    /// # Errors
    /// [`Code::StoreFailed`].
    pub async fn list(&self) -> Result<Vec<ChannelInfo>, Error> {
        let mut list = vec![];
        for channel in self.shared.channels() {
            let view = channel.view(&self.shared).await?;
            let state = match &view.end {
                Some(end) => name_of(end),
                None if view.spent_by.is_some() => "spent",
                None if view.is_open => "open",
                None if !view.is_ready => "opening",
                None if view.is_closing => "closing",
                None => "offline",
            };
            list.push(ChannelInfo {
                id: channel.id.to_string(),
                peer: channel.peer.to_string(),
                state,
                opener: view.is_opener,
                capacity_sat: channel.capacity.to_sat(),
                balance_sat: view.balance.to_sat(),
                received_msat: view.direct.0,
                paid_msat: view.direct.1,
                funding: channel.funding.to_string(),
                spent_by: view.spent_by.map(|txid| txid.to_string()),
            });
        }
        Ok(list)
    }

    /// Closes a channel: by agreement, or alone, which takes as long as the counterparty set.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`]; [`Code::PeerOffline`] for a close by agreement; what the channel says.
    pub async fn close(&self, channel: &str, alone: bool) -> Result<CloseInfo, Error> {
        let (channel, node) = (self.find(channel)?, Arc::clone(&self.shared));
        self.shared
            .detached(async move {
                let mut waiting = channel.waiting(PATIENCE);
                let view = channel.view(&node).await?;
                // Also where a closing transaction was agreed on, and the network has forgotten it.
                let is_copy = channel.look(&node, |holder, _| Ok(holder.is_copy())).await?;
                let is_lost = matches!(view.end, Some(End::Closed(_))) && view.spent_by.is_none() && !is_copy;
                if alone && (view.end.is_none() || is_lost) {
                    let why = ChannelError::new(ChannelCode::Closing, "closed by its owner");
                    channel.act(&node, |holder, keys| holder.fail(keys, &why)).await?;
                } else if view.end.is_none() {
                    if !view.is_linked {
                        let text = "the peer is not connected: wait for it, or close alone";
                        return Err(Error::new(Code::PeerOffline, text));
                    }
                    let rate = node.rate(TARGET).await?;
                    channel.act(&node, |holder, keys| holder.shutdown(keys, rate)).await?;
                }
                let view = channel.wait(&node, &mut waiting, |view| view.end.is_some()).await?;
                let state = view.end.as_ref().map_or("closing", name_of);
                let txid = match &view.end {
                    Some(End::Closed(transaction)) => Some(transaction.compute_txid().to_string()),
                    _ => channel.to_broadcast(&node).await?.map(|tx| tx.compute_txid().to_string()),
                };
                Ok(CloseInfo { channel: channel.id.to_string(), state, txid })
            })
            .await
    }

    /// Where to pay this node on chain.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn deposit_address(&self) -> Result<String, Error> {
        self.look_at_purse().await?;
        Ok(self.shared.purse.address().await?.to_string())
    }

    /// What it has.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn balance(&self) -> Result<BalanceInfo, Error> {
        self.look_at_purse().await?;
        let balance: Balance = self.shared.purse.balance().await?;
        let mut channels = Amount::ZERO;
        for channel in self.shared.channels() {
            let view = channel.view(&self.shared).await?;
            // While a funding is signed for, its coins are those of the wallet.
            if view.end.is_none() && view.spent_by.is_none() && !view.is_signing {
                channels = channels.checked_add(view.balance).unwrap_or(Amount::MAX_MONEY);
            }
        }
        let confirmed_sat = balance.confirmed.to_sat();
        Ok(BalanceInfo { confirmed_sat, total_sat: total(&balance).to_sat(), channels_sat: channels.to_sat() })
    }

    async fn look_at_purse(&self) -> Result<(), Error> {
        let node = Arc::clone(&self.shared);
        self.shared.detached(async move { node.purse.look(node.chain.as_ref(), node.store.as_ref()).await }).await
    }

    /// The channel whose id begins so.
    fn find(&self, prefix: &str) -> Result<Arc<Channel>, Error> {
        let mut found = self.shared.channels().into_iter().filter(|channel| channel.id.to_string().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                Err(Error::new(Code::NoSuchChannel, "more than one channel begins so: say more of it"))
            }
            _ => Err(Error::new(Code::NoSuchChannel, "there is no such channel")),
        }
    }
}

/// Waits until both have signed for a funding that both build, or the connection ends: then it goes on with the next one.
async fn check_signed(node: &Shared, opened: &Opened) -> Result<(), Error> {
    let view = match node.channel(&opened.id) {
        Some(channel) => {
            let mut waiting = channel.waiting(PATIENCE);
            Some(channel.wait(node, &mut waiting, |view| view.end.is_some() || !view.is_signing).await?)
        }
        None => None,
    };
    match view {
        Some(view) if view.end != Some(End::Aborted) => Ok(()),
        _ => Err(Error::new(Code::OpeningFailed, "the funding was given up")),
    }
}
