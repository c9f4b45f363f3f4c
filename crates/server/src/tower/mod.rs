//! A watchtower: keeps justice kits of nodes that are away, watches the chain for them, and punishes.
//!
//! ```text
//!   node ── BOLT 8 ──> clients ──> store <── watch ──> chain, block by block
//!                                              │
//!                                              └── punish ──> chain: what the kit takes, dearer with every block
//! ```
//!
//! **What it can do** is what a kit lets it: pay the cheat's outputs to the client that left the kit. **What it knows** of a channel
//! before that is how many states it has had ([`rillpay_channel::revocable::justice::Hint`]).
//!
//! It has nothing in common with the payment server but the program, the configuration of the chain and the way it looks at disks.

mod clients;
mod punish;
mod store;
mod watch;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use rillpay_chain::{Chain, ChainError};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::randomize;
use rillpay_transport::NodeKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Clients, TowerConfig};
use crate::seed::{self, SeedError};
use crate::store::StoreError;
use clients::Places;
use store::Store;
use watch::Watch;

/// Why a watchtower cannot start, or what went wrong in a running one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain backend is on another network than the configuration.
    #[error("the chain backend is on another network than the configuration")]
    WrongNetwork,
    /// The data folder cannot be made.
    #[error("the data folder {0}: {1}")]
    Folder(PathBuf, std::io::Error),
    /// The system has no entropy.
    #[error("no entropy")]
    Entropy,
    /// No recovery words.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// What channels say: kits, keys.
    #[error(transparent)]
    Channel(#[from] rillpay_channel::Error),
    /// What the chain says.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What a connection says.
    #[error(transparent)]
    Transport(#[from] rillpay_transport::Error),
    /// What a client does.
    #[error("the client {0}")]
    Client(&'static str),
}

/// What the parts of a tower share.
struct Shared {
    key: NodeKey,
    chain: Arc<dyn Chain>,
    store: Store,
    clients: Clients,
    connections: usize,
    places: Places,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// A watchtower with its state loaded, not watching yet.
pub struct Tower {
    shared: Arc<Shared>,
    watch: Watch,
}

impl Tower {
    /// Loads keys, kits, and how far the chain was looked through. Waits for a chain that cannot be asked yet.
    ///
    /// # Errors
    /// [`Error`], a sentence.
    pub async fn open(config: TowerConfig, chain: Arc<dyn Chain>) -> Result<Self, Error> {
        if chain.network() != config.network {
            return Err(Error::WrongNetwork);
        }
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|_| Error::Entropy)?;
        randomize(&entropy);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir);
        made.map_err(|error| Error::Folder(config.data_dir.clone(), error))?;
        let path = config.data_dir.join("tower.sqlite");
        let store = Store::open(&path, config.limits.client_bytes, config.limits.store_pages)?;
        let words = std::env::var(seed::VARIABLE).ok();
        let seed = seed::load(words.as_deref(), &config.seed_file, config.network, None)?;
        let key = NodeKey::new(seed.node_key()?.expose());
        let watch = Watch::load(&store, chain.as_ref()).await?;
        let (kits, clients) = store.count().await?;
        tracing::info!(kits, clients, "watching");
        let shared = Shared {
            key,
            chain,
            store,
            clients: config.clients,
            connections: config.limits.connections,
            places: Places::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { shared: Arc::new(shared), watch })
    }

    /// Its key, by which nodes call it.
    pub fn id(&self) -> PublicKey {
        self.shared.key.public()
    }

    /// Watches and serves until `shutdown` completes. What clients were told is kept is on the disk whenever it ends.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) {
        let (tower, watch) = (self.shared, self.watch);
        let (watching, serving) = (Arc::clone(&tower), Arc::clone(&tower));
        tower.tasks.spawn(async move { watch::run(&watching, watch).await });
        tokio::select! {
            () = shutdown => {}
            () = clients::listen(serving, listener) => {}
        }
        tower.shutdown.cancel();
        tower.tasks.close();
        tower.tasks.wait().await;
    }
}
