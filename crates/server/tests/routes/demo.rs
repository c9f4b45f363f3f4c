//! The demo wallet.

use std::net::SocketAddr;

use rillpay_chain::Chain;
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_channel::bitcoin::Amount;
use rillpay_server::demo;
use serde_json::{Value, json};

use crate::http::{listen, post, send};

async fn start() -> (KernelChain, SocketAddr) {
    let chain = KernelChain::open(KernelConfig::default()).await.unwrap();
    let address = listen(demo::router(chain.clone())).await;
    (chain, address)
}

async fn pay(to: SocketAddr, body: Value) -> (u16, Value) {
    let answer = post(to, "/demo/pay", "application/json", &body.to_string()).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn it_says_what_it_has_and_pays() {
    let (chain, to) = start().await;
    let status = send(to, "GET", "/demo/status", &[]).await.json();
    let balance = chain.wallet_balance().unwrap();
    assert_eq!(status, json!({"network": "regtest", "balanceSat": balance.to_sat().to_string(), "tip": 120}));

    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    for amount in [json!(3_600_000), json!("3600000")] {
        let (status, paid) = pay(to, json!({"address": address, "amountSat": amount})).await;
        assert_eq!(status, 200, "{paid}");
        let txid = paid["txid"].as_str().unwrap().parse().unwrap();
        let tx = chain.transaction(&txid).await.unwrap().unwrap();
        let paid = tx.vout.iter().any(|output| {
            let to = output.scriptpubkey_address.clone().unwrap().assume_checked().to_string();
            (to.as_str(), output.value) == (address, Amount::from_sat(3_600_000))
        });
        assert!(paid);
    }
}

#[tokio::test]
async fn it_refuses_what_it_should_not_pay() {
    let (chain, to) = start().await;
    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let mainnet = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
    for (body, status, code) in [
        (json!({"address": address, "amountSat": 0}), 400, "invalid_argument"),
        (json!({"address": address, "amountSat": -1}), 422, "invalid_argument"),
        (json!({"address": address, "amountSat": 1.5}), 422, "invalid_argument"),
        (json!({"address": address, "amountSat": "1e3"}), 400, "invalid_argument"),
        (json!({"address": address, "amountSat": 100_000_001}), 400, "invalid_argument"),
        (json!({"address": address, "amountSat": 1}), 400, "dust"),
        (json!({"address": mainnet, "amountSat": 10_000}), 400, "invalid_argument"),
        (json!({"address": "nonsense", "amountSat": 10_000}), 422, "invalid_argument"),
        (json!({"address": address}), 422, "invalid_argument"),
    ] {
        let (got, problem) = pay(to, body.clone()).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{body}: {problem}");
        assert!(problem["detail"].is_string());
    }
    let form = post(to, "/demo/pay", "text/plain", "{}").await;
    assert_eq!(form.status, 415, "what a page elsewhere could send without asking");
    assert_eq!(chain.mempool_len().unwrap(), 0);
}

#[tokio::test]
async fn it_lets_time_pass() {
    let (chain, to) = start().await;
    let mine = async |body: Value| {
        let answer = post(to, "/demo/mine", "application/json", &body.to_string()).await;
        (answer.status, answer.json())
    };
    let before = chain.tip().await.unwrap().height;
    assert_eq!(mine(json!({"blocks": 3})).await, (200, json!({"tip": before + 3})));
    for (body, status) in [
        (json!({"blocks": 0}), 400),
        (json!({"blocks": 4_401}), 400),
        (json!({"blocks": -1}), 422),
        (json!({"blocks": "1"}), 422),
        (json!({}), 422),
    ] {
        let (got, problem) = mine(body.clone()).await;
        assert_eq!((got, &problem["code"]), (status, &json!("invalid_argument")), "{body}: {problem}");
    }
    let form = post(to, "/demo/mine", "text/plain", "{\"blocks\": 1}").await;
    assert_eq!(form.status, 415, "what a page elsewhere could send without asking");
    assert_eq!(chain.tip().await.unwrap().height, before + 3);
}
