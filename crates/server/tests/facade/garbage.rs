//! A server that asks an Esplora whose answers turn to garbage: it serves nothing until they are answers again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use bitcoin::{Amount, Network};
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_channel::tariff::Unit;
use rillpay_server::esplora;
use tokio::net::TcpListener;

use super::common::*;

/// Answers to paths with this in them are garbage; `None` leaves all as they are.
type Garbled = Arc<Mutex<Option<&'static str>>>;

async fn garble(State(garbled): State<Garbled>, request: Request, next: Next) -> Response {
    let part = *garbled.lock().unwrap();
    if part.is_some_and(|part| request.uri().path().contains(part)) {
        return Html("<html>busy</html>").into_response();
    }
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_serves_nothing_and_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel().await;
    let garbled = Garbled::default();
    let honest = Router::new().nest("/esplora", esplora::router(Arc::new(kernel.clone())));
    let router = honest.layer(from_fn_with_state(Arc::clone(&garbled), garble));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/esplora", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let options = EsploraOptions { poll: Duration::from_millis(20), ..EsploraOptions::new(url, Network::Regtest) };
    let chain = EsploraChain::connect(options).await.unwrap();

    let keys = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1_000_000"), ("chain.max_age_seconds", "3")];
    let config = config(dir.path(), &kernel.wallet_address().unwrap(), &keys);
    media(dir.path(), "a.bin", b"content");
    let server = Running::start(config, Arc::new(chain)).await;
    let mut emma = Viewer::open_for(server.address, 1, Unit::Request, 1_000_000).await;
    emma.fund(&kernel, Amount::from_sat(36 * MBTC)).await;
    emma.pay_for(1).await;

    // Its blocks. What garbage about one deposit alone does is in `trouble`: the others are served.
    *garbled.lock().unwrap() = Some("/blocks");
    kernel.mine(1).await.unwrap();
    soon("the end of service", health(server.address, 503)).await;
    let (status, problem) = get(server.address, "/media/a.bin", Some(emma.token)).await;
    assert_eq!(status, 503);
    assert!(problem.contains("unavailable"), "{problem}");
    let mut other = Socket::connect(server.address).await;
    let (_, node) = other.welcome().await;
    other.send(&request(node, 2, Unit::Request, 1_000_000).message()).await;
    assert_eq!(other.refusal().await, "unavailable");
    *garbled.lock().unwrap() = None;
    soon("answers again", health(server.address, 200)).await;
    assert_eq!(get(server.address, "/media/a.bin", Some(emma.token)).await.0, 200, "what she has paid for is hers");
}
