//! JSON-RPC over HTTP, as Bitcoin Core speaks it.
//!
//! Everything is asked in batches (a single question is a batch of one), because a batch always comes back as one list,
//! whatever the version of the node does with HTTP's status codes. Nothing in an answer is believed: its size, the time
//! it takes, its form and the numbers of its parts are all checked.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcoin::Network;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Auth;
use super::trouble::Trouble;
use crate::ChainError;
use crate::verdict::brief;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// A node closes connections that were idle for 30 seconds; ours end before.
const IDLE: Duration = Duration::from_secs(20);
/// The longest cookie file that is read, in bytes.
const COOKIE: u64 = 1024;

/// How much of an answer is taken, and how long it may need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Bytes.
    pub(crate) size: usize,
    /// From the question to the last byte of the answer.
    pub(crate) patience: Duration,
}

impl Bound {
    /// For answers of some lines.
    pub(crate) const SMALL: Bound = Bound { size: 1 << 20, patience: Duration::from_secs(10) };
    /// For a block: four million bytes as hex.
    pub(crate) const BLOCK: Bound = Bound { size: 9 << 20, patience: Duration::from_secs(30) };
    /// For the ids of a mempool, a batch of [`BATCH`] transactions, or one with everything that it spends.
    pub(crate) const LARGE: Bound = Bound { size: 64 << 20, patience: Duration::from_secs(30) };
}

/// How many transactions are asked for at once: as hex, those that nodes relay have at most 800,000 bytes.
pub(crate) const BATCH: usize = 64;

/// A question: method and parameters.
pub(crate) type Call = (&'static str, Value);

/// A node's error to one question.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) code: i64,
    pub(crate) message: String,
}

/// What came back for one question: JSON not yet read, or the node's error.
pub(crate) type Answer = Result<Box<RawValue>, Said>;

#[derive(Deserialize)]
struct Reply {
    id: u64,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Said>,
}

/// A client of one node. Connections are kept open and made anew as needed.
pub(crate) struct Rpc {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    auth: Auth,
    /// The header made of the password, or of the cookie when it was last read.
    credentials: Mutex<Option<HeaderValue>>,
    next_id: AtomicU64,
}

impl Rpc {
    /// A client for `url`; its port is by default the network's. Nothing is sent yet.
    pub(crate) fn new(url: &str, auth: Auth, network: Network) -> Result<Self, ChainError> {
        let bad = |what: &str| ChainError::Unavailable(format!("the node's URL must be http://host:port; {what}"));
        let uri: Uri = url.parse().map_err(|_| bad("this is no URL"))?;
        let authority = uri.authority().ok_or_else(|| bad("this names no host"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("Bitcoin Core speaks plain HTTP only"));
        }
        if authority.as_str().contains('@') {
            return Err(bad("credentials have a place of their own"));
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(bad("there is nothing behind the port"));
        }
        let port = uri.port_u16().unwrap_or_else(|| default_port(network));
        let uri = Uri::builder().scheme("http").authority(format!("{}:{port}", authority.host())).path_and_query("/");
        let uri = uri.build().map_err(|_| bad("this is no URL"))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Rpc { client, uri, auth, credentials: Mutex::new(None), next_id: AtomicU64::new(0) })
    }

    /// Asks one question.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        bound: Bound,
    ) -> Result<T, Trouble> {
        let [answer] = self.ask([(method, params)], bound).await?;
        read(method, &answer.map_err(|said| Trouble::said(method, &said))?)
    }

    /// Asks a fixed number of questions.
    pub(crate) async fn ask<const N: usize>(&self, calls: [Call; N], bound: Bound) -> Result<[Answer; N], Trouble> {
        let answers = self.batch(calls.to_vec(), bound).await?;
        answers.try_into().map_err(|_| Trouble::Lie("the number of its answers is wrong".to_owned()))
    }

    /// Asks several questions at once. The answers come in the order of the questions.
    pub(crate) async fn batch(&self, calls: Vec<Call>, bound: Bound) -> Result<Vec<Answer>, Trouble> {
        if calls.is_empty() {
            return Ok(vec![]);
        }
        let count = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let request = |(id, (method, params)): (u64, Call)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let body = Value::Array((first..).zip(calls).map(request).collect()).to_string();
        let bytes = tokio::time::timeout(bound.patience, self.post(Bytes::from(body), bound.size)).await;
        let bytes = bytes.map_err(|_| {
            Trouble::Unreachable(format!("it did not answer within {} seconds", bound.patience.as_secs()))
        })??;
        let replies: Vec<Reply> =
            serde_json::from_slice(&bytes).map_err(|e| Trouble::Lie(format!("this is no answer to a batch: {e}")))?;
        in_order(first, count, replies)
    }

    /// Sends the body with credentials; with fresh ones if those at hand are not taken.
    async fn post(&self, body: Bytes, limit: usize) -> Result<Bytes, Trouble> {
        let held = self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(credentials) = held
            && let Some(answer) = self.post_as(credentials, body.clone(), limit).await?
        {
            return Ok(answer);
        }
        let credentials = self.read_credentials()?;
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
        let refused = || Trouble::Unreachable("it does not take our credentials".to_owned());
        self.post_as(credentials, body, limit).await?.ok_or_else(refused)
    }

    /// `None` when the credentials are not taken.
    async fn post_as(&self, credentials: HeaderValue, body: Bytes, limit: usize) -> Result<Option<Bytes>, Trouble> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, credentials)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| Trouble::Unreachable(e.to_string()))?;
        let response = self.client.request(request).await.map_err(|e| Trouble::Unreachable(causes(&e)))?;
        match response.status() {
            // Errors of single questions come with these, depending on the version; the body says more.
            StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR => {}
            StatusCode::UNAUTHORIZED => return Ok(None),
            StatusCode::FORBIDDEN => {
                return Err(Trouble::Unreachable("it forbids that (rpcallowip, rpcwhitelist)".to_owned()));
            }
            status => return Err(Trouble::Unreachable(format!("it answers with HTTP status {}", status.as_u16()))),
        }
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(Some(body.to_bytes())),
            Err(e) if e.is::<LengthLimitError>() => {
                Err(Trouble::Lie(format!("an answer is longer than the {limit} bytes that it may have")))
            }
            Err(e) => Err(Trouble::Unreachable(causes(&*e))),
        }
    }

    fn read_credentials(&self) -> Result<HeaderValue, Trouble> {
        let pair = match &self.auth {
            Auth::Password { user, password } => format!("{user}:{password}"),
            Auth::Cookie(path) => {
                let mut text = String::new();
                let read = File::open(path).and_then(|file| file.take(COOKIE).read_to_string(&mut text));
                read.map_err(|e| {
                    Trouble::Unreachable(format!("its cookie file {} cannot be read: {e}", path.display()))
                })?;
                text.trim_end().to_owned()
            }
        };
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
            .map_err(|_| Trouble::Unreachable("the credentials fit into no header".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Reads the JSON of an answer.
pub(crate) fn read<T: DeserializeOwned>(method: &str, answer: &RawValue) -> Result<T, Trouble> {
    serde_json::from_str(answer.get()).map_err(|e| Trouble::Lie(format!("its answer to {method} cannot be read: {e}")))
}

/// Every question answered once, by its number, and nothing else.
fn in_order(first: u64, count: u64, replies: Vec<Reply>) -> Result<Vec<Answer>, Trouble> {
    let lie = || Trouble::Lie("its answers have other numbers than our questions".to_owned());
    let mut answers: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
    for Reply { id, result, error } in replies {
        let place = id.checked_sub(first).and_then(|i| usize::try_from(i).ok()).and_then(|i| answers.get_mut(i));
        let place = place.filter(|place| place.is_none()).ok_or_else(lie)?;
        *place = Some(match error {
            Some(Said { code, message }) => Err(Said { code, message: brief(&message) }),
            // `null` is an answer, too.
            None => Ok(result.unwrap_or_else(|| RawValue::NULL.to_owned())),
        });
    }
    answers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(lie)
}

fn default_port(network: Network) -> u16 {
    match network {
        Network::Bitcoin => 8332,
        Network::Testnet => 18332,
        Network::Testnet4 => 48332,
        Network::Signet => 38332,
        _ => 18443,
    }
}

/// An error with what caused it: hyper's own words alone say nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    brief(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(text: &str) -> Vec<Reply> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn answers_are_put_in_order() {
        let answers =
            in_order(7, 2, replies(r#"[{"id":8,"result":null,"error":null},{"id":7,"result":[1]}]"#)).unwrap();
        let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().get()).collect();
        assert_eq!(texts, ["[1]", "null"]);
    }

    #[test]
    fn missing_doubled_and_foreign_answers_are_lies() {
        for text in [
            r#"[{"id":7,"result":1}]"#,
            r#"[{"id":7,"result":1},{"id":7,"result":1}]"#,
            r#"[{"id":7,"result":1},{"id":9,"result":1}]"#,
            r#"[{"id":6,"result":1},{"id":7,"result":1}]"#,
            r#"[{"id":7,"result":1},{"id":8,"result":1},{"id":9,"result":1}]"#,
        ] {
            assert!(matches!(in_order(7, 2, replies(text)), Err(Trouble::Lie(_))), "{text}");
        }
    }

    #[test]
    fn only_a_plain_url_is_taken() {
        let auth = Auth::Password { user: "a".to_owned(), password: "b".to_owned() };
        let rpc = |url: &str| Rpc::new(url, auth.clone(), Network::Signet);
        assert_eq!(rpc("http://127.0.0.1").unwrap().uri.to_string(), "http://127.0.0.1:38332/");
        assert_eq!(rpc("http://[::1]:5/").unwrap().uri.to_string(), "http://[::1]:5/");
        for url in
            ["https://node:1", "node:8332", "http://a:b@node:1", "http://node:1/wallet/x", "http://node:1/?a=b", ""]
        {
            let error = rpc(url).err().expect(url);
            assert!(!error.to_string().contains("a:b"), "{error}");
        }
    }
}
