//! The published terms: `GET /.well-known/rillpay`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rillpay_channel::Ladder;
use rillpay_channel::bitcoin::Network;
use rillpay_channel::wire;
use serde::Serialize;

use crate::app::App;

/// Where the channel socket is.
pub(crate) const SOCKET_PATH: &str = "/rillpay/v1/socket";

/// What a page needs to know before it asks anybody for money. Money crosses as decimal strings: JSON numbers are
/// floating point in a browser.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    versions: [u8; 1],
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ladder: Option<LadderTerms>,
    network: &'static str,
    node_key: String,
    unit: &'static str,
    price_msat: String,
    window_units: u32,
    min_deposit_sat: String,
    max_deposit_sat: String,
    confirmations: u16,
    expiry_blocks: u32,
    stop_margin_blocks: u16,
    esplora: Option<String>,
    socket: &'static str,
    purpose: String,
    chain_tip: u32,
}

/// See [`Ladder`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LadderTerms {
    step_blocks: u16,
    updates: u32,
}

impl From<&Ladder> for LadderTerms {
    fn from(ladder: &Ladder) -> Self {
        Self { step_blocks: ladder.step, updates: ladder.updates }
    }
}

/// The word for a network in terms and types.
pub(crate) const fn network_name(network: Network) -> &'static str {
    match network {
        Network::Bitcoin => "bitcoin",
        Network::Testnet => "testnet",
        Network::Testnet4 => "testnet4",
        Network::Signet => "signet",
        _ => "regtest",
    }
}

pub(crate) async fn terms(State(app): State<Arc<App>>) -> Json<Terms> {
    let offer = &app.config.offer;
    Json(Terms {
        versions: [wire::VERSION],
        kind: offer.kind.name().as_str(),
        ladder: offer.kind.ladder().map(LadderTerms::from),
        network: network_name(offer.network),
        node_key: app.node.public().to_string(),
        unit: offer.tariff.unit.as_str(),
        price_msat: offer.tariff.price.get().to_string(),
        window_units: offer.tariff.window,
        min_deposit_sat: offer.min_deposit.to_sat().to_string(),
        max_deposit_sat: offer.max_deposit.to_sat().to_string(),
        confirmations: offer.confirmations,
        expiry_blocks: offer.lifetime,
        stop_margin_blocks: offer.stop_margin,
        esplora: app.config.esplora.clone(),
        socket: SOCKET_PATH,
        purpose: offer.purpose.clone(),
        chain_tip: app.view.tip(),
    })
}
