//! The node: what its parts share, its start and its stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rillpay_chain::{Chain, ScriptHash};
use rillpay_channel::Msat;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, FeeRate, ScriptBuf};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::fees::LEAST_RATE;
use rillpay_channel::revocable::holder::Holder;
use rillpay_runtime::MaybeSend;
use rillpay_runtime::time::{Duration, SystemTime, UNIX_EPOCH};
use rillpay_transport::NodeKey;
use rillpay_wire::ChannelId;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backup::Backups;
use crate::channel::Channel;
use crate::dial::Dial;
use crate::error::{Code, Error};
use crate::keep::{Keep, Owner};
use crate::links::Links;
use crate::peer::{self, PeerAddress};
use crate::purse::Purse;
use crate::shelf::Shelf;
use crate::watcher;

/// The start of 2025, since 1970. A new store numbers its channels from the seconds since then on. No store opens one each second,
/// so that one before it, which was lost, has used none of these numbers.
const BEGINNING: Duration = Duration::from_secs(1_735_689_600);
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
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let rows = u32::try_from(since_1970.saturating_sub(BEGINNING).as_secs()).unwrap_or(u32::MAX);
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
        peer::begin_calling(&shared, &PeerAddress { id, address });
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
}
