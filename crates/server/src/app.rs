//! What all parts of the running server share, and the routes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::routing::get;
use rillpay_channel::keys::{Key, Seed};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::channels::Channels;
use crate::config::{Config, Cors};
use crate::gateway::SESSION_HEADER;
use crate::limits::Bucket;
use crate::socket;
use crate::sockets::Sockets;
use crate::terms::{SOCKET_PATH, terms};
use crate::view::ChainView;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// The running server.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) seed: Seed,
    pub(crate) node: Key,
    pub(crate) view: ChainView,
    pub(crate) channels: Channels,
    /// Cancelled when the server goes down.
    pub(crate) shutdown: CancellationToken,
    pub(crate) sockets: Arc<Sockets>,
    opens: Mutex<Bucket>,
}

impl App {
    pub(crate) fn new(config: Config, seed: Seed, node: Key, view: ChainView, channels: Channels) -> Self {
        let opens = config.limits.opens_per_minute;
        Self {
            opens: Mutex::new(Bucket::new(opens, MINUTE_NANOS, opens, Instant::now())),
            sockets: Sockets::new(config.limits.sockets),
            config,
            seed,
            node,
            view,
            channels,
            shutdown: CancellationToken::new(),
        }
    }

    /// Tells everybody that the server goes down.
    pub(crate) fn go_down(&self) {
        self.shutdown.cancel();
        self.sockets.go_down();
    }

    /// Whether one more channel may be opened now.
    pub(crate) fn admit_open(&self) -> bool {
        self.opens.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// The server's own routes; content, chain and pages are mounted beside them.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/rillpay", get(terms))
        .route(SOCKET_PATH, get(socket::upgrade))
        .route("/healthz", get(health))
        .with_state(Arc::clone(app))
}

/// 200 while payments can be stored and the chain is seen, else 503 and what is missing.
async fn health(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if !app.channels.store.is_well() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store fails\n");
    }
    if app.view.fresh().is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the view of the chain is stale\n");
    }
    (StatusCode::OK, "ok\n")
}

/// Lets pages of the configured origins ask for terms and content with their session.
pub(crate) fn cors(cors: &Cors) -> CorsLayer {
    let origins = match cors {
        Cors::Any => AllowOrigin::any(),
        Cors::Origins(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([SESSION_HEADER, header::RANGE, header::CONTENT_TYPE])
        .expose_headers([header::CONTENT_RANGE, header::ACCEPT_RANGES, header::LINK])
}
