//! Another HTTP server as a source of content.
//!
//! This is no open proxy: the operator names one origin, only paths below its base are asked for, and requests are made
//! anew, with four headers of our own and none of the client's (above all not its session token). Redirects are not
//! followed, responses are not decompressed, cookies go nowhere.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

use super::content::{Opened, Source, header};
use super::path::MediaPath;
use super::piece::{Piece, Slice};
use super::problem::Refusal;

/// How long the origin may take to begin its answer, and between two parts of what is read ahead.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another HTTP server as a source of content.
#[derive(Debug)]
pub struct Upstream {
    base: String,
    playlists: Vec<String>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Why an origin cannot be used.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// Not an absolute `http` or `https` URL without a query, a fragment and credentials.
    #[error("the origin must be a plain http or https URL")]
    BadUrl,
    /// The system's certificates cannot be read.
    #[error("the system's root certificates cannot be read: {0}")]
    Certificates(#[from] std::io::Error),
}

impl Upstream {
    /// Serves what lies under the URL `base`. `playlists` are the file names under which an origin's playlists are
    /// looked for when a segment is asked for before its playlist was (after a restart): beside it and one folder up.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub fn new(base: &str, playlists: Vec<String>) -> Result<Self, UpstreamError> {
        let uri: Uri = base.parse().map_err(|_| UpstreamError::BadUrl)?;
        let plain = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && !base.contains('#')
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !plain {
            return Err(UpstreamError::BadUrl);
        }
        let provider = rustls::crypto::ring::default_provider();
        let https = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            playlists,
            client: Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build()),
        })
    }

    /// Opens a file, or a slice of it.
    pub(super) async fn get(&self, path: &MediaPath, slice: Option<Slice>) -> Result<Opened, Refusal> {
        self.ask(Method::GET, path, slice).await
    }

    /// A file's headers.
    pub(super) async fn head(&self, path: &MediaPath) -> Result<Opened, Refusal> {
        self.ask(Method::HEAD, path, None).await
    }

    /// Where playlists may be.
    pub(super) fn playlists_near(&self, path: &MediaPath) -> Vec<MediaPath> {
        let folder = path.parent();
        let near = std::iter::once(path).chain(&folder);
        near.flat_map(|file| self.playlists.iter().filter_map(|name| file.sibling(name))).collect()
    }

    async fn ask(&self, method: Method, path: &MediaPath, slice: Option<Slice>) -> Result<Opened, Refusal> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{}", self.base, path.encoded()))
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("rillpay/", env!("CARGO_PKG_VERSION")));
        if let Some(slice) = slice {
            request = request.header(header::RANGE, format!("bytes={}-{}", slice.start, slice.last()));
        }
        let request = request.body(Empty::new()).map_err(|_| bad_gateway("the origin cannot be asked for this"))?;
        let response = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        match response {
            Ok(Ok(response)) => opened(response, path, slice),
            Ok(Err(error)) => {
                tracing::warn!(%path, error = &error as &dyn std::error::Error, "the origin does not answer");
                Err(bad_gateway("the origin does not answer"))
            }
            Err(_) => Err(Refusal::Http(StatusCode::GATEWAY_TIMEOUT, "the origin does not answer in time")),
        }
    }
}

fn opened(response: Response<Incoming>, path: &MediaPath, slice: Option<Slice>) -> Result<Opened, Refusal> {
    match (response.status(), slice) {
        (StatusCode::OK, None) => {}
        (StatusCode::PARTIAL_CONTENT, Some(slice)) => {
            let stated = response.headers().get(header::CONTENT_RANGE);
            let wanted = format!("bytes {}-{}/", slice.start, slice.last());
            if !stated.is_some_and(|range| range.as_bytes().starts_with(wanted.as_bytes())) {
                return Err(bad_gateway("the origin sends another range than was asked for"));
            }
        }
        (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN, _) => return Err(Refusal::NOT_FOUND),
        _ => return Err(bad_gateway("the origin answers with something else than the content")),
    }
    let (parts, body) = response.into_parts();
    let encoded = parts.headers.get(header::CONTENT_ENCODING);
    if encoded.is_some_and(|encoding| encoding != "identity") {
        return Err(bad_gateway("the origin compresses although it was asked not to"));
    }
    let len = header(&parts.headers, &header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Opened {
        piece: Piece { path: path.clone(), slice },
        len,
        etag: header(&parts.headers, &header::ETAG),
        modified: header(&parts.headers, &header::LAST_MODIFIED),
        media_type: header(&parts.headers, &header::CONTENT_TYPE).filter(|value| value != HeaderValue::from_static("")),
        source: Source::Remote(Box::new(Remote { read: Vec::new(), filled: 0, complete: false, rest: body })),
    })
}

/// A response under way: what has been read ahead, and the rest.
pub(super) struct Remote {
    read: Vec<Bytes>,
    filled: u64,
    complete: bool,
    rest: Incoming,
}

impl Remote {
    /// Reads ahead until there are `count` bytes; says whether that is everything.
    pub(super) async fn fill(&mut self, count: u64) -> Result<bool, Refusal> {
        while !self.complete && self.filled < count {
            let frame = tokio::time::timeout(PATIENCE, self.rest.frame()).await;
            match frame {
                Ok(None) => self.complete = true,
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.filled = self.filled.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                        self.read.push(data);
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return Err(bad_gateway("the origin's answer broke off")),
            }
        }
        Ok(self.complete)
    }

    /// How many bytes have been read ahead.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// The first bytes that have been read ahead, at most `count`.
    pub(super) fn first(&self, count: u64) -> Vec<u8> {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        for chunk in &self.read {
            let taken = chunk.get(..left).unwrap_or(chunk);
            bytes.extend_from_slice(taken);
            left = left.saturating_sub(taken.len());
        }
        bytes
    }

    /// Everything, what was read ahead first.
    pub(super) fn into_body(self) -> Body {
        // What is complete has nothing left to send, so the rest may always follow.
        let read = stream::iter(self.read).map(Ok::<_, hyper::Error>);
        Body::from_stream(read.chain(self.rest.into_data_stream()))
    }
}

fn bad_gateway(detail: &'static str) -> Refusal {
    Refusal::Http(StatusCode::BAD_GATEWAY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_origins() {
        for good in ["http://127.0.0.1:8080", "https://origin.example/videos/"] {
            assert!(Upstream::new(good, Vec::new()).is_ok(), "{good}");
        }
        for bad in ["", "origin.example", "ftp://x", "file:///etc", "http://u:p@x/", "http://x/?a", "http://x/#a", "/x"]
        {
            assert!(Upstream::new(bad, Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn playlists_are_looked_for_beside_and_above() {
        let upstream = Upstream::new("http://x", vec!["index.m3u8".into()]).unwrap();
        let near = |path| {
            let near = upstream.playlists_near(&MediaPath::parse(path).unwrap());
            near.iter().map(|path| path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(near("a/b/c.ts"), ["a/b/index.m3u8", "a/index.m3u8"]);
        assert_eq!(near("c.ts"), ["index.m3u8"]);
    }
}
