//! HTTP by `fetch`: bounded in time and in size, without cookies, never from a cache.

use gloo_net::http::{RequestBuilder, Response};
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader, RequestCache, RequestCredentials, Url};

/// The longest time that one request may take.
const TIMEOUT_MS: u32 = 15_000;
/// The longest answer that is read where no other bound is named.
const MAX_BODY: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The server says that there is no such thing.
    NotFound,
    /// Anything else, in a few words.
    Failed(String),
}

impl HttpError {
    /// In a few words.
    pub(crate) fn cause(self) -> String {
        match self {
            Self::NotFound => "no such thing there".to_owned(),
            Self::Failed(cause) => cause,
        }
    }
}

/// A GET whose answer is text.
pub(crate) async fn get_text(url: &str) -> Result<String, HttpError> {
    get_text_up_to(url, MAX_BODY).await
}

/// A GET whose answer is text of at most so many bytes.
pub(crate) async fn get_text_up_to(url: &str, most: usize) -> Result<String, HttpError> {
    let response = send(RequestBuilder::new(url)).await?;
    text(&response, most).await
}

/// A POST of plain text; the answer is text, true where the server accepted. One that is down has not refused.
pub(crate) async fn post_text(url: &str, body: &str) -> Result<(bool, String), HttpError> {
    let response = post(url, body, TIMEOUT_MS).await?;
    match response.status() {
        status @ 500.. => Err(status_failed(status)),
        _ => Ok((response.ok(), text(&response, MAX_BODY).await?)),
    }
}

/// A request, with a text to be posted or without one; whatever came, and its status.
pub(crate) async fn fetch(
    url: &str,
    body: Option<&str>,
    (most, milliseconds): (usize, u32),
) -> Result<(u16, Vec<u8>), HttpError> {
    let response = match body {
        Some(body) => post(url, body, milliseconds).await?,
        None => builder(RequestBuilder::new(url), milliseconds).send().await.map_err(failed)?,
    };
    Ok((response.status(), bytes(&response, most).await?))
}

async fn post(url: &str, body: &str, milliseconds: u32) -> Result<Response, HttpError> {
    let request = RequestBuilder::new(url).method(gloo_net::http::Method::POST);
    let request = builder(request, milliseconds).body(body).map_err(failed)?;
    request.send().await.map_err(failed)
}

fn builder(request: RequestBuilder, milliseconds: u32) -> RequestBuilder {
    request
        .cache(RequestCache::NoStore)
        .credentials(RequestCredentials::Omit)
        .abort_signal(Some(&AbortSignal::timeout_with_u32(milliseconds)))
}

async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    let response = builder(request, TIMEOUT_MS).send().await.map_err(failed)?;
    match response.status() {
        200..=299 => Ok(response),
        404 => Err(HttpError::NotFound),
        status => Err(status_failed(status)),
    }
}

fn status_failed(status: u16) -> HttpError {
    HttpError::Failed(format!("the server answered with status {status}"))
}

async fn text(response: &Response, most: usize) -> Result<String, HttpError> {
    String::from_utf8(bytes(response, most).await?).map_err(|_| HttpError::Failed("not UTF-8".to_owned()))
}

/// Reads the body piece by piece, so that a server cannot fill the memory.
async fn bytes(response: &Response, most: usize) -> Result<Vec<u8>, HttpError> {
    let Some(body) = response.body() else {
        return Ok(vec![]);
    };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut bytes = Vec::new();
    loop {
        let piece = JsFuture::from(reader.read()).await.map_err(thrown)?;
        if get(&piece, "done").is_truthy() {
            return Ok(bytes);
        }
        let piece: Uint8Array = get(&piece, "value").unchecked_into();
        bytes.extend_from_slice(&piece.to_vec());
        if bytes.len() > most {
            // Nobody waits for the end of what is given up.
            drop(reader.cancel());
            return Err(HttpError::Failed("the answer is too long".to_owned()));
        }
    }
}

fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap_or(JsValue::UNDEFINED)
}

fn failed(error: gloo_net::Error) -> HttpError {
    HttpError::Failed(error.to_string())
}

fn thrown(error: JsValue) -> HttpError {
    let text = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    HttpError::Failed(text.unwrap_or_default())
}

/// Whether secrets and money may go over this URL: `https`, or `http` to this very machine.
pub(crate) fn is_trustworthy(url: &Url) -> bool {
    match url.protocol().as_str() {
        "https:" => true,
        "http:" => {
            let host = url.hostname();
            matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
        }
        _ => false,
    }
}
