//! Requests by hyper.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request as HttpRequest, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Connections, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use super::{Fetch, Fetched, Request};
use crate::ChainError;

struct Client(Connections<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A client for this URL.
pub(in crate::esplora) fn client(url: &str) -> Result<Arc<dyn Fetch>, ChainError> {
    let builder = HttpsConnectorBuilder::new();
    let provider = rustls::crypto::ring::default_provider();
    // On plain http a system without certificates will do.
    let https = if url.starts_with("https:") {
        builder.with_provider_and_native_roots(provider).map(|builder| builder.https_or_http().enable_http1().build())
    } else {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_safe_default_protocol_versions().map_err(std::io::Error::other);
        config.map(|config| {
            let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
            builder.with_tls_config(config).https_or_http().enable_http1().build()
        })
    };
    let https = https.map_err(|e| ChainError::Unavailable(format!("no root certificates can be read: {e}")))?;
    Ok(Arc::new(Client(Connections::builder(TokioExecutor::new()).build(https))))
}

#[async_trait]
impl Fetch for Client {
    async fn fetch(&self, request: Request<'_>) -> Result<Fetched, String> {
        let Request { url, post, limit, patience } = request;
        let request = HttpRequest::builder()
            .method(if post.is_some() { Method::POST } else { Method::GET })
            .uri(url)
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONTENT_TYPE, "text/plain")
            .header(header::USER_AGENT, concat!("rillpay/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(post.unwrap_or_default())))
            .map_err(|_| "a request that cannot be made".to_owned())?;
        let work = async {
            let response = self.0.request(request).await.map_err(|e| causes(&e))?;
            let (parts, body) = response.into_parts();
            let (status, retry_after) = (parts.status.as_u16(), retry_after(&parts.headers));
            // What a busy server has to say besides is of no interest.
            if parts.status == StatusCode::TOO_MANY_REQUESTS || parts.status.is_server_error() {
                return Ok(Fetched { status, retry_after, body: Bytes::new() });
            }
            if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
                return Err("a compressed answer although none was asked for".to_owned());
            }
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|e| format!("the answer broke off or is longer than {limit} bytes: {e}"))?;
            Ok(Fetched { status, retry_after, body: body.to_bytes() })
        };
        let answer = tokio::time::timeout(patience, work).await;
        answer.unwrap_or_else(|_| Err(format!("no whole answer within {patience:?}")))
    }
}

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
