//! Starting, running and ending the server.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use rillpay_chain::Chain;
use rillpay_channel::randomize;
use tokio::net::TcpListener;

use crate::app::{self, App};
use crate::channels::{Channels, LoadError};
use crate::config::{Config, Cors, Source};
use crate::esplora;
use crate::gatekeeper::Gatekeeper;
use crate::gateway::{self, Content, Folder, Settings, Upstream, UpstreamError};
use crate::seed::{self, SeedError};
use crate::store::{Store, StoreError};
use crate::view::ChainView;
use crate::watcher;

/// How long requests and sockets may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The chain backend is on another network than the configuration.
    #[error("the chain backend is on {backend}, the configuration on {configured}")]
    WrongNetwork {
        /// The backend's.
        backend: rillpay_channel::bitcoin::Network,
        /// The configuration's.
        configured: rillpay_channel::bitcoin::Network,
    },
    /// A folder or file cannot be made or read.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The upstream cannot be used.
    #[error(transparent)]
    Upstream(UpstreamError),
    /// The system has no entropy.
    #[error("no entropy")]
    Entropy,
    /// No keys.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The keys cannot be derived.
    #[error("the node key cannot be derived: {0}")]
    Key(rillpay_channel::Error),
    /// Earnings would be paid to the wallet of the server's own recovery words.
    #[error(
        "`payout` belongs to the wallet of this server's own recovery words: earnings have to go where the server cannot spend them"
    )]
    HotPayout,
    /// The unfinished channels cannot be gone on with.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A part of the running server ended by itself; a supervisor should start it anew.
    #[error("{0} has ended by itself")]
    Died(&'static str),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A server with its state loaded, not serving yet.
pub struct Server {
    app: Arc<App>,
    content: Content,
}

/// Serves until `shutdown` completes, then ends in order: nothing new is accepted, what is being stored is stored,
/// sockets are closed. Nothing is settled because of it; open channels go on at the next start.
///
/// # Errors
/// [`StartError`]; once it serves, only when the listener fails or the watcher dies.
pub async fn serve(
    config: Config,
    chain: Arc<dyn Chain>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    Server::open(config, chain).await?.run(listener, Router::new(), shutdown).await
}

impl Server {
    /// Loads keys and channels.
    ///
    /// # Errors
    /// [`StartError`], a sentence.
    pub async fn open(config: Config, chain: Arc<dyn Chain>) -> Result<Self, StartError> {
        let (configured, backend) = (config.offer.network, chain.network());
        if configured != backend {
            return Err(StartError::WrongNetwork { backend, configured });
        }
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|_| StartError::Entropy)?;
        randomize(&entropy);
        let io = |what: String| move |source| StartError::Io { what, source };
        let folder = format!("the data folder {}", config.data_dir.display());
        // Nobody else is to read keys and payments.
        DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).map_err(io(folder))?;
        let store = Store::open(&config.data_dir.join("channels.sqlite"), config.limits.store_pages)?;
        let words = std::env::var(seed::VARIABLE).ok();
        let seed = seed::load(words.as_deref(), &config.seed_file, configured, store.newest_key().await?)?;
        if config.payout.is_hot(&seed) {
            return Err(StartError::HotPayout);
        }
        let node = seed.node_key().map_err(StartError::Key)?;
        let channels = Channels::load(store, chain.as_ref(), config.offer.lifetime).await?;
        let content = match &config.content.source {
            Source::Folder(folder) => {
                Content::Folder(Folder::new(folder).map_err(io(format!("the content folder {}", folder.display())))?)
            }
            Source::Upstream(origin, playlists) => {
                let upstream = Upstream::new(origin, playlists.clone());
                Content::Upstream(upstream.map_err(StartError::Upstream)?)
            }
        };
        let view = ChainView::new(chain, config.chain.max_age);
        Ok(Self { app: Arc::new(App::new(config, seed, node, view, channels)), content })
    }

    /// Serves, as [`serve`], with `extra` routes beside its own.
    ///
    /// # Errors
    /// As [`serve`].
    pub async fn run(
        self,
        listener: TcpListener,
        extra: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        let app = self.app;
        let router = routes(&app, self.content).merge(extra);
        // Nothing is collected without the watcher: if it dies, the server ends with an error.
        let watched = Arc::clone(&app);
        let mut watcher = tokio::spawn(async move {
            let _end = watched.shutdown.clone().drop_guard();
            watcher::run(Arc::clone(&watched)).await;
        });
        // Whoever came before the first look at the chain would only be refused. If it takes long, they are told so.
        let _ = tokio::time::timeout(PATIENCE, app.view.next_look()).await;
        let told = Arc::new(AtomicBool::new(false));
        let (going_down, by_signal) = (Arc::clone(&app), Arc::clone(&told));
        let signal = async move {
            tokio::select! {
                () = shutdown => by_signal.store(true, Ordering::Relaxed),
                () = going_down.shutdown.cancelled() => {}
            }
            tracing::info!("going down: no new connections; what is under way is finished");
            going_down.go_down();
        };
        // A payment's round trip must not wait for Nagle's algorithm.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
        });
        let serving = axum::serve(listener, router).with_graceful_shutdown(signal).into_future();
        let served = ended_in_time(&app, serving).await;
        app.go_down();
        if tokio::time::timeout(PATIENCE, app.sockets.tasks.wait()).await.is_err() {
            tracing::warn!("some sockets did not close in time");
        }
        if tokio::time::timeout(PATIENCE, &mut watcher).await.is_err() {
            tracing::warn!("the watcher did not end in time");
            watcher.abort();
        }
        app.channels.store.close().await;
        served.map_err(|source| StartError::Io { what: "the listener failed".into(), source })?;
        if told.load(Ordering::Relaxed) { Ok(()) } else { Err(StartError::Died("the watcher of the chain")) }
    }
}

/// Requests that do not end in time after the shutdown are broken off.
async fn ended_in_time(app: &App, serving: impl Future<Output = std::io::Result<()>>) -> std::io::Result<()> {
    let too_long = async {
        app.shutdown.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_long => {
            tracing::warn!("some requests did not end in time");
            Ok(())
        }
    }
}

fn routes(app: &Arc<App>, content: Content) -> Router {
    let config = &app.config;
    let settings = Settings {
        free: config.free.clone(),
        wait: config.wait,
        origins: match &config.cors {
            Cors::Any => None,
            Cors::Origins(origins) => Some(origins.clone()),
        },
        ..Settings::new(config.offer.tariff.unit)
    };
    let gate = Arc::new(Gatekeeper(Arc::clone(app)));
    let media = gateway::router(gate, content, settings);
    let router = app::routes(app).layer(app::cors(&config.cors)).nest(&config.content.path, media);
    match config.esplora.as_deref().filter(|place| place.starts_with('/')) {
        Some(path) => router.nest(path, esplora::router(Arc::clone(&app.view.chain))),
        None => router,
    }
}
