//! A node with two-way channels beside the demo: whom the page's tab pays, and who pays it back.
//!
//! `GET /demo/node` says who it is and where, `POST /demo/node/open` makes it open a channel with a tab, half of which is the
//! tab's, and `POST /demo/node/pay` makes it pay what a tab asks for. All of it is play money.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use rillpay_node::control::{Command, ask};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Refusal;

/// What the node puts into a channel, in satoshi.
const CAPACITY_SAT: u64 = 200_000;
/// What of it is the tab's from the start, in satoshi.
const PUSH_SAT: u64 = 100_000;
/// The longest request, in bytes.
const MAX_REQUEST: usize = 4_096;

/// The routes under `/demo/node`, for the node that runs in this folder.
pub fn router(folder: PathBuf) -> Router {
    Router::new()
        .route("/demo/node", get(who))
        .route("/demo/node/open", post(open))
        .route("/demo/node/pay", post(pay))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(folder.into())
}

type Folder = State<Arc<Path>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Who {
    node_key: String,
    /// The URL of its WebSocket.
    socket: String,
}

async fn who(State(folder): Folder) -> Result<Json<Who>, Refusal> {
    let info = order(&folder, Command::Info {}).await?;
    let field = |name: &str| info.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(node_key), Some(at)) = (field("id"), field("websocket")) else {
        return Err(Refusal::unavailable("peer_offline", "the node listens on no WebSocket".to_owned()));
    };
    Ok(Json(Who { node_key, socket: format!("ws://{at}") }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Opening {
    node_key: String,
}

async fn open(State(folder): Folder, opening: Result<Json<Opening>, JsonRejection>) -> Result<Json<Value>, Refusal> {
    let Json(Opening { node_key }) = opening?;
    let command = Command::Open { peer: node_key, capacity_sat: CAPACITY_SAT, push_sat: PUSH_SAT, both: false };
    Ok(Json(order(&folder, command).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// As `TwoWay.request` makes it.
    request: String,
}

async fn pay(State(folder): Folder, asked: Result<Json<Asked>, JsonRejection>) -> Result<Json<Value>, Refusal> {
    let Json(Asked { request }) = asked?;
    Ok(Json(order(&folder, Command::PayRequest { request }).await?))
}

/// What the node answers.
async fn order(folder: &Path, command: Command) -> Result<Value, Refusal> {
    let unavailable = |code: &str, text: String| Refusal::unavailable(code, text);
    let answer = ask(folder, &command).await.map_err(|error| unavailable(error.code(), error.to_string()))?;
    if let Some(ok) = answer.get("ok") {
        return Ok(ok.clone());
    }
    let error = answer.get("error");
    let said = |name| error.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or("unknown");
    Err(unavailable(said("code"), said("message").to_owned()))
}
