//! A wallet that pays deposits at the press of a button, for the demo and on regtest only.
//!
//! `GET /demo/status` says what it has, `POST /demo/pay` pays an address, and `POST /demo/mine` lets time pass, for those who
//! would see a deposit's term end. It is mounted by the demo command and by nothing else. Other sites' pages cannot use it: a browser asks before it sends JSON elsewhere, and gets no leave.

pub mod node;

use std::borrow::Cow;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ChainError};
use rillpay_channel::bitcoin::address::NetworkUnchecked;
use rillpay_channel::bitcoin::{Address, Amount, Txid};
use serde::{Deserialize, Serialize};

/// The most that is paid at once: one bitcoin.
const MAX_PAYMENT: Amount = Amount::ONE_BTC;
/// The most blocks that are made at once: a month of them.
const MAX_BLOCKS: u32 = 4_400;
/// The longest request, in bytes.
const MAX_REQUEST: usize = 1024;

/// The routes under `/demo`, for the wallet of an embedded chain.
pub fn router(chain: KernelChain) -> Router {
    Router::new()
        .route("/demo/status", get(status))
        .route("/demo/pay", post(pay))
        .route("/demo/mine", post(mine))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(chain)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wallet {
    network: String,
    /// Decimal, as no amount of money is a floating point number anywhere.
    balance_sat: String,
    /// Height of the best block.
    tip: u32,
}

async fn status(State(chain): State<KernelChain>) -> Result<Json<Wallet>, Refusal> {
    Ok(Json(Wallet {
        network: chain.network().to_string(),
        balance_sat: chain.wallet_balance()?.to_sat().to_string(),
        tip: chain.tip().await?.height,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payment {
    address: Address<NetworkUnchecked>,
    amount_sat: Satoshi,
}

/// A whole number, or the same in a string, which JavaScript needs for large ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum Satoshi {
    Number(u64),
    Text(String),
}

#[derive(Serialize)]
struct Paid {
    txid: Txid,
}

async fn pay(
    State(chain): State<KernelChain>,
    payment: Result<Json<Payment>, JsonRejection>,
) -> Result<Json<Paid>, Refusal> {
    let Json(Payment { address, amount_sat }) = payment?;
    let sat = match amount_sat {
        Satoshi::Number(sat) => Some(sat),
        Satoshi::Text(text) => text.parse().ok(),
    };
    let amount = sat.map(Amount::from_sat).filter(|amount| (Amount::ONE_SAT..=MAX_PAYMENT).contains(amount));
    let amount = amount.ok_or_else(|| Refusal::invalid(format!("the amount has to be from 1 sat to {MAX_PAYMENT}")))?;
    let address = address
        .require_network(chain.network())
        .map_err(|_| Refusal::invalid(format!("the address is not one of {}", chain.network())))?;
    let txid = chain.send(&address.script_pubkey(), amount).await?;
    tracing::info!(%txid, %address, %amount, "the demo wallet has paid");
    Ok(Json(Paid { txid }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    blocks: u32,
}

#[derive(Serialize)]
struct Passed {
    /// Height of the best block.
    tip: u32,
}

async fn mine(
    State(chain): State<KernelChain>,
    time: Result<Json<Time>, JsonRejection>,
) -> Result<Json<Passed>, Refusal> {
    let Json(Time { blocks }) = time?;
    if !(1..=MAX_BLOCKS).contains(&blocks) {
        return Err(Refusal::invalid(format!("the number of blocks has to be from 1 to {MAX_BLOCKS}")));
    }
    chain.mine(blocks).await?;
    Ok(Json(Passed { tip: chain.tip().await?.height }))
}

/// A problem document (RFC 9457).
struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
}

impl Refusal {
    fn invalid(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "invalid_argument".into(), detail }
    }

    fn unavailable(code: &str, detail: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: code.to_owned().into(), detail }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(error: JsonRejection) -> Self {
        Self { status: error.status(), code: "invalid_argument".into(), detail: error.body_text() }
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        let status = match error {
            ChainError::Refused(_) => StatusCode::BAD_REQUEST,
            ChainError::InsufficientFunds { .. } => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, code: error.code().into(), detail: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, [kind], document.to_string()).into_response()
    }
}
