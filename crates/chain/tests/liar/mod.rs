//! A server between the backend and a real node that passes on, distorts or withholds the node's answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rillpay_chain::bitcoind::BitcoindOptions;
use rillpay_chain::testing::Node;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

/// Another answer to a question with these parameters than the node's, as JSON; `None` leaves the node's as it is.
pub(crate) type Lie = dyn Fn(&Question, &str) -> Option<String> + Send + Sync;

/// What becomes of the node's answers.
#[derive(Clone)]
pub(crate) enum Manner {
    Honest,
    /// Some answers are others.
    Lying(Arc<Lie>),
    /// Nothing comes.
    Hanging,
    /// This comes, with this status.
    Saying(StatusCode, Bytes),
    /// Bytes come, and never end.
    Flooding,
    /// Part of the answer comes, and then the connection ends.
    Breaking,
}

impl Manner {
    pub(crate) fn lying(lie: impl Fn(&Question, &str) -> Option<String> + Send + Sync + 'static) -> Self {
        Manner::Lying(Arc::new(lie))
    }

    /// Another answer to one method.
    pub(crate) fn instead(method: &'static str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Manner::lying(move |question, truth| (question.method == method).then(|| answer(truth)))
    }

    pub(crate) fn saying(text: &str) -> Self {
        Manner::Saying(StatusCode::OK, Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// One question of a batch.
#[derive(Deserialize)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) params: Value,
}

#[derive(Deserialize, Serialize)]
struct Answer {
    id: u64,
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

#[derive(Clone)]
struct Between {
    node: String,
    manner: Arc<Mutex<Manner>>,
}

/// The server. It ends with the test's runtime.
pub(crate) struct Liar {
    url: String,
    manner: Arc<Mutex<Manner>>,
}

impl Liar {
    pub(crate) async fn before(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let manner = Arc::new(Mutex::new(Manner::Honest));
        let between = Between { node: format!("{}/", node.url()), manner: Arc::clone(&manner) };
        let app = Router::new().route("/", post(answer)).with_state(between);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Liar { url, manner }
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The node's options, with this in between.
    pub(crate) fn options(&self, node: &Node) -> BitcoindOptions {
        BitcoindOptions { url: self.url.clone(), ..node.options() }
    }
}

async fn answer(State(between): State<Between>, headers: HeaderMap, body: Bytes) -> Response {
    let manner = between.manner.lock().unwrap().clone();
    match manner {
        Manner::Honest => respond(ask(&between.node, &headers, body).await),
        Manner::Lying(lie) => {
            let questions: Vec<Question> = serde_json::from_slice(&body).unwrap();
            let (status, truth) = ask(&between.node, &headers, body).await;
            let mut answers: Vec<Answer> = serde_json::from_slice(&truth).unwrap();
            for (question, answer) in questions.iter().zip(&mut answers) {
                let text = answer.result.as_ref().map_or("null", |result| result.get()).to_owned();
                if let Some(other) = lie(question, &text) {
                    *answer =
                        Answer { id: answer.id, result: Some(RawValue::from_string(other).unwrap()), error: None };
                }
            }
            respond((status, serde_json::to_vec(&answers).unwrap().into()))
        }
        Manner::Hanging => std::future::pending().await,
        Manner::Saying(status, text) => respond((status, text)),
        Manner::Flooding => Body::new(Flood).into_response(),
        Manner::Breaking => {
            let (status, truth) = ask(&between.node, &headers, body).await;
            let half = truth.slice(..truth.len() / 2);
            let length = truth.len();
            let mut response = respond((status, half));
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response
        }
    }
}

/// A body without an end.
struct Flood;

impl hyper::body::Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'['; 4096])))))
    }
}

fn respond((status, body): (StatusCode, Bytes)) -> Response {
    (status, body).into_response()
}

async fn ask(node: &str, headers: &HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::post(node).body(Full::new(body)).unwrap();
    request.headers_mut().extend([(header::AUTHORIZATION, headers[header::AUTHORIZATION].clone())]);
    match client.request(request).await {
        Ok(response) => {
            let status = response.status();
            (status, response.into_body().collect().await.unwrap().to_bytes())
        }
        Err(_) => (StatusCode::BAD_GATEWAY, Bytes::new()),
    }
}
