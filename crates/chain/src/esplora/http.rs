//! Requests to an Esplora: bounded in time, size and number, repeated where that can help.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;

use super::trouble::{Trouble, clean};
use crate::ChainError;

/// How often a request is made before it counts as failed.
const ATTEMPTS: u32 = 3;
/// The pause after the first failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that the server may ask for and get while a caller waits. Beyond it callers are told at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest silence that the server may ask for.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
/// Requests under way at once: questions, transactions to be passed on, and whatever visitors want.
const AT_ONCE: usize = 8;
const BROADCASTS_AT_ONCE: usize = 2;
const VISITORS_AT_ONCE: usize = 3;

/// An answer that is neither a failure of the server nor a plea to slow down.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// One Esplora. Clones share the connections.
#[derive(Clone)]
pub(super) struct Http {
    base: Arc<str>,
    /// For messages: what comes after the host may hold a key of the operator's.
    host: Arc<str>,
    patience: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    lane: Arc<Lane>,
    broadcasts: Arc<Semaphore>,
    /// In a visitor's hand, the lane of those who come first: when the server wants silence from them, visitors are silent.
    first: Option<Arc<Lane>>,
}

/// Requests that wait for each other.
struct Lane {
    places: Semaphore,
    /// The server asked for silence until then.
    silent_until: Mutex<Option<Instant>>,
}

impl Lane {
    fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Semaphore::new(places), silent_until: Mutex::new(None) })
    }

    fn silence(&self) -> Option<Duration> {
        let until = (*self.silent_until.lock().unwrap_or_else(PoisonError::into_inner))?;
        until.checked_duration_since(Instant::now())
    }
}

/// Why an attempt failed, and how long the server wants to be left alone.
struct Failed {
    text: String,
    pause: Option<Duration>,
}

impl Http {
    pub(super) fn new(url: &str, patience: Duration) -> Result<Self, ChainError> {
        let uri: Uri = url.parse().map_err(|_| ChainError::Misuse(BAD_URL))?;
        let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !url.contains('#');
        let host = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'));
        let host = host.ok_or(ChainError::Misuse(BAD_URL))?.to_string();
        let builder = HttpsConnectorBuilder::new();
        let provider = rustls::crypto::ring::default_provider();
        // On plain http a system without certificates will do.
        let https = if uri.scheme_str() == Some("https") {
            builder
                .with_provider_and_native_roots(provider)
                .map(|builder| builder.https_or_http().enable_http1().build())
        } else {
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
            let config = config.with_safe_default_protocol_versions().map_err(std::io::Error::other);
            config.map(|config| {
                let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
                builder.with_tls_config(config).https_or_http().enable_http1().build()
            })
        };
        let https = https.map_err(|e| ChainError::Unavailable(format!("no root certificates can be read: {e}")))?;
        Ok(Http {
            base: url.trim_end_matches('/').into(),
            host: host.into(),
            patience,
            client: Client::builder(TokioExecutor::new()).build(https),
            lane: Lane::new(AT_ONCE),
            broadcasts: Arc::new(Semaphore::new(BROADCASTS_AT_ONCE)),
            first: None,
        })
    }

    /// The same server, for visitors: a few requests at a time, apart from ours.
    pub(super) fn for_visitors(&self) -> Self {
        Self {
            lane: Lane::new(VISITORS_AT_ONCE),
            broadcasts: Arc::new(Semaphore::new(1)),
            first: Some(Arc::clone(&self.lane)),
            ..self.clone()
        }
    }

    pub(super) const fn is_for_visitors(&self) -> bool {
        self.first.is_some()
    }

    /// Asks for what lies at `path`, at most `limit` bytes; `None` where there is nothing.
    pub(super) async fn get(&self, path: &str, limit: usize) -> Result<Option<Bytes>, Trouble> {
        let answer = self.ask(&Method::GET, path, Bytes::new(), limit).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.unreachable(format!("status {status} for {path}: {}", clean(&answer.body)))),
        }
    }

    /// Hands over a text.
    pub(super) async fn post(&self, path: &str, text: String, limit: usize) -> Result<Answer, Trouble> {
        self.ask(&Method::POST, path, text.into(), limit).await
    }

    /// As [`Trouble::Unreachable`], with the name of the server.
    pub(super) fn unreachable(&self, text: impl std::fmt::Display) -> Trouble {
        Trouble::Unreachable(format!("Esplora at {}: {text}", self.host))
    }

    async fn ask(&self, method: &Method, path: &str, body: Bytes, limit: usize) -> Result<Answer, Trouble> {
        let broadcast = *method == Method::POST;
        let places = if broadcast { &*self.broadcasts } else { &self.lane.places };
        // Closed never: the semaphore lives as long as this.
        let _place = places.acquire().await.map_err(|_| self.unreachable("shut down"))?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            // The server may want fewer questions. A transaction of ours that is due cannot wait for that.
            if let Some(rest) = self.silence().filter(|_| !broadcast || self.is_for_visitors()) {
                return Err(self.unreachable(format!("it wants to be left alone for {} s", rest.as_secs())));
            }
            let failed = match self.try_once(method, path, body.clone(), limit).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let wanted = failed.pause.unwrap_or(pause).max(pause);
            if wanted > LONGEST_PAUSE {
                let until = Instant::now().checked_add(wanted.min(LONGEST_SILENCE));
                *self.lane.silent_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
            }
            if attempt >= ATTEMPTS || wanted > LONGEST_PAUSE {
                return Err(self.unreachable(format!("{} for {path}", failed.text)));
            }
            tracing::debug!(host = %self.host, path, error = failed.text, "asking again");
            tokio::time::sleep(wanted).await;
            pause = pause.saturating_mul(2);
            attempt = attempt.saturating_add(1);
        }
    }

    fn silence(&self) -> Option<Duration> {
        let ours = self.first.as_ref().and_then(|first| first.silence());
        self.lane.silence().max(ours)
    }

    async fn try_once(&self, method: &Method, path: &str, body: Bytes, limit: usize) -> Result<Answer, Failed> {
        let fail = |text: String| Failed { text, pause: None };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONTENT_TYPE, "text/plain")
            .header(header::USER_AGENT, concat!("rillpay/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|_| fail("a request that cannot be made".to_owned()))?;
        let work = async {
            let response = self.client.request(request).await.map_err(|e| fail(causes(&e)))?;
            let (parts, body) = response.into_parts();
            let status = parts.status;
            if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
                return Err(Failed { text: format!("status {status}"), pause: retry_after(&parts.headers) });
            }
            if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
                return Err(fail("a compressed answer although none was asked for".to_owned()));
            }
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|e| fail(format!("the answer broke off or is longer than {limit} bytes: {e}")))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let answer = tokio::time::timeout(self.patience, work).await;
        answer.unwrap_or_else(|_| Err(fail(format!("no whole answer within {:?}", self.patience))))
    }
}

const BAD_URL: &str = "the Esplora's address must be a plain http or https URL";

/// What the server asks for in seconds; a date is not understood and counts as nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error and what caused it, as the outermost text says only that a connection failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_addresses() {
        for good in ["http://127.0.0.1:3000", "https://blockstream.info/api/"] {
            assert!(Http::new(good, Duration::from_secs(1)).is_ok(), "{good}");
        }
        for bad in ["", "blockstream.info", "ftp://x", "http://u:p@x/", "http://x/?a", "http://x/#a", "/x"] {
            assert!(matches!(Http::new(bad, Duration::from_secs(1)), Err(ChainError::Misuse(_))), "{bad}");
        }
    }
}
