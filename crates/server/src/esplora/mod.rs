//! The chain as browsers and wallets ask for it: the part of Esplora's HTTP API that answers about blocks,
//! transactions, scripts and fees, in front of whichever backend the server has.
//!
//! Paths, field names, texts and statuses are those of
//! [Blockstream's Esplora](https://github.com/Blockstream/esplora/blob/master/API.md), so that any client of it works.
//! The mempool's statistics are not served. A page may, and should, ask another Esplora too: a viewer
//! need not trust the payee about the chain.
//!
//! Anybody may ask, and some questions take many of the backend's answers. So few are answered at a time (`budget`), and
//! backends that can be kept busy keep visitors apart from the payee ([`Chain::for_visitors`]).

mod blocks;
mod budget;
mod scripts;
mod transactions;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rillpay_chain::{Chain, ChainError};
use tower_http::cors::{Any, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use self::budget::Budget;

/// The longest transaction in hex that is read: more than nodes relay.
const MAX_TRANSACTION: usize = 1 << 20;

/// What handlers share.
type Backend = Arc<dyn Chain>;

/// The routes, to be nested where the terms say that Esplora is. Pages of every origin may ask: the chain is public.
pub fn router(chain: Arc<dyn Chain>) -> Router {
    let chain = chain.for_visitors().unwrap_or(chain);
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE]);
    // A reorganisation changes nearly every answer.
    let uncached = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Router::new()
        .route("/blocks", get(blocks::newest))
        .route("/blocks/{start}", get(blocks::from))
        .route("/blocks/tip/height", get(blocks::tip_height))
        .route("/blocks/tip/hash", get(blocks::tip_hash))
        .route("/block-height/{height}", get(blocks::hash_at))
        .route("/block/{hash}", get(blocks::block))
        .route("/block/{hash}/header", get(blocks::header))
        .route("/block/{hash}/raw", get(blocks::raw))
        .route("/block/{hash}/status", get(blocks::status))
        .route("/block/{hash}/txids", get(blocks::txids))
        .route("/block/{hash}/txid/{index}", get(blocks::txid_at))
        .route("/block/{hash}/txs", get(blocks::transactions))
        .route("/block/{hash}/txs/{start}", get(blocks::transactions_from))
        .route("/tx", axum::routing::post(transactions::broadcast))
        .route("/txs/package", axum::routing::post(transactions::broadcast_package))
        .route("/tx/{txid}", get(transactions::transaction))
        .route("/tx/{txid}/hex", get(transactions::hex))
        .route("/tx/{txid}/raw", get(transactions::raw))
        .route("/tx/{txid}/status", get(transactions::status))
        .route("/tx/{txid}/merkle-proof", get(transactions::merkle_proof))
        .route("/tx/{txid}/merkleblock-proof", get(transactions::merkle_block))
        .route("/tx/{txid}/outspend/{vout}", get(transactions::outspend))
        .route("/tx/{txid}/outspends", get(transactions::outspends))
        .route("/{by}/{name}", get(scripts::statistics))
        .route("/{by}/{name}/txs", get(scripts::history))
        .route("/{by}/{name}/txs/mempool", get(scripts::unconfirmed))
        .route("/{by}/{name}/txs/chain", get(scripts::confirmed))
        .route("/{by}/{name}/txs/chain/{last}", get(scripts::confirmed_after))
        .route("/{by}/{name}/utxo", get(scripts::unspent))
        .route("/fee-estimates", get(transactions::fee_estimates))
        .fallback(async || Failure::NotFound("endpoint does not exist"))
        .with_state(chain)
        .layer(from_fn_with_state(Budget::new(), budget::admit))
        .layer(DefaultBodyLimit::max(MAX_TRANSACTION))
        .layer(uncached)
        .layer(cors)
}

/// A refusal, as text, like Esplora's.
#[derive(Debug)]
enum Failure {
    /// The request cannot be understood.
    Invalid(&'static str),
    /// The network refuses the transaction, for this reason.
    Refused(String),
    /// There is no such thing.
    NotFound(&'static str),
    /// The backend does not answer.
    Unavailable,
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Refused(refusal) => Self::Refused(refusal.to_string()),
            error => {
                tracing::warn!(%error, "the chain cannot be asked");
                Self::Unavailable
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, text).into_response(),
            Self::Refused(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text).into_response(),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "the chain cannot be asked now").into_response(),
        }
    }
}

/// A part of the path as what it should be.
fn parse<T: FromStr>(text: &str, failure: &'static str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Invalid(failure))
}
