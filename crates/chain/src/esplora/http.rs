//! Requests to an Esplora: bounded in time, size and number, repeated where that can help.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Uri;
use rillpay_runtime::time::{Duration, Instant, sleep};
use tokio::sync::Semaphore;

use super::fetch::{Fetch, Fetched, Request};
use super::trouble::{Trouble, clean};
use crate::ChainError;

/// The statuses that mean something here.
pub(super) const OK: u16 = 200;
pub(super) const BAD_REQUEST: u16 = 400;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const NOT_ALLOWED: u16 = 405;
const TOO_MANY_REQUESTS: u16 = 429;

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

/// One Esplora. Clones share the connections.
#[derive(Clone)]
pub(super) struct Http {
    base: Arc<str>,
    /// For messages: what comes after the host may hold a key of the operator's.
    host: Arc<str>,
    patience: Duration,
    client: Arc<dyn Fetch>,
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
    pub(super) fn new(url: &str, patience: Duration, client: Arc<dyn Fetch>) -> Result<Self, ChainError> {
        let host = host(url)?;
        Ok(Http {
            base: url.trim_end_matches('/').into(),
            host: host.into(),
            patience,
            client,
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
        let answer = self.ask(path, None, limit).await?;
        match answer.status {
            OK => Ok(Some(answer.body)),
            NOT_FOUND => Ok(None),
            status => Err(self.unreachable(format!("status {status} for {path}: {}", clean(&answer.body)))),
        }
    }

    /// Hands over a text.
    pub(super) async fn post(&self, path: &str, text: String, limit: usize) -> Result<Fetched, Trouble> {
        self.ask(path, Some(text), limit).await
    }

    /// As [`Trouble::Unreachable`], with the name of the server.
    pub(super) fn unreachable(&self, text: impl std::fmt::Display) -> Trouble {
        Trouble::Unreachable(format!("Esplora at {}: {text}", self.host))
    }

    /// An answer that is neither a failure of the server nor a plea to slow down.
    async fn ask(&self, path: &str, post: Option<String>, limit: usize) -> Result<Fetched, Trouble> {
        let broadcast = post.is_some();
        let url = format!("{}{path}", self.base);
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
            let failed =
                match self.try_once(Request { url: &url, post: post.clone(), limit, patience: self.patience }).await {
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
            sleep(wanted).await;
            pause = pause.saturating_mul(2);
            attempt = attempt.saturating_add(1);
        }
    }

    fn silence(&self) -> Option<Duration> {
        let ours = self.first.as_ref().and_then(|first| first.silence());
        self.lane.silence().max(ours)
    }

    async fn try_once(&self, request: Request<'_>) -> Result<Fetched, Failed> {
        let fetched = self.client.fetch(request).await.map_err(|text| Failed { text, pause: None })?;
        if fetched.status == TOO_MANY_REQUESTS || fetched.status >= 500 {
            return Err(Failed { text: format!("status {}", fetched.status), pause: fetched.retry_after });
        }
        Ok(fetched)
    }
}

const BAD_URL: &str = "the Esplora's address must be a plain http or https URL";

/// The host, with its port, of an address that can be used.
fn host(url: &str) -> Result<String, ChainError> {
    let uri: Uri = url.parse().map_err(|_| ChainError::Misuse(BAD_URL))?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !url.contains('#');
    let host = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'));
    Ok(host.ok_or(ChainError::Misuse(BAD_URL))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_addresses() {
        for good in ["http://127.0.0.1:3000", "https://blockstream.info/api/"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in ["", "blockstream.info", "ftp://x", "http://u:p@x/", "http://x/?a", "http://x/#a", "/x"] {
            assert!(matches!(host(bad), Err(ChainError::Misuse(_))), "{bad}");
        }
    }
}
