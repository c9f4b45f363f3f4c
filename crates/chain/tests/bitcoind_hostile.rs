//! A node that lies, hangs, floods, is on another network, falls behind or has pruned what is needed: each ends in a clear
//! state, in which nothing counts as confirmed, and which ends when the node mends its ways.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, missing_docs)]

mod contract;
mod liar;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, Block, FeeRate, OutPoint, Transaction};
use contract::{DEPOSIT, Vault, elsewhere};
use liar::{Liar, Manner};
use rillpay_chain::bitcoind::{Auth, BitcoindChain};
use rillpay_chain::testing::Node;
use rillpay_chain::{Chain, ChainError, Fault, PaidOutput, Status};
use serde_json::{Value, json};

/// A node, the liar before it, a backend that asks the liar, and a deposit that waits.
struct Setting {
    node: Node,
    liar: Liar,
    chain: BitcoindChain,
    vault: Vault,
    paid: PaidOutput,
}

impl Setting {
    async fn new() -> Self {
        Setting::with(&[]).await
    }

    async fn with(args: &[&str]) -> Self {
        let node = Node::start_with(args).await;
        let liar = Liar::before(&node).await;
        let chain = BitcoindChain::connect(liar.options(&node)).await.unwrap();
        let vault = Vault::new("hostile", 0);
        chain.follow(&vault.script(), 0).await.unwrap();
        let txid = node.send(&vault.script(), DEPOSIT).await;
        node.seen_by(&chain).await;
        let outputs = chain.script_outputs(&vault.hash()).await.unwrap();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].outpoint.txid, txid);
        Setting { node, liar, chain, vault, paid: outputs[0] }
    }

    /// The backend comes to this state, answers nothing in it, and does not call itself in step.
    async fn ends_in(&self, code: &str) {
        let since = Instant::now();
        while self.chain.trouble().is_none_or(|trouble| trouble.code() != code) {
            let now = self.chain.trouble().map(|trouble| (trouble.code(), trouble.to_string()));
            assert!(since.elapsed() < Duration::from_secs(20), "{code} does not come, but {now:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let synced = self.chain.synced_at();
        let (chain, script) = (&self.chain, self.vault.hash());
        let OutPoint { txid, .. } = self.paid.outpoint;
        let fail = |error: ChainError| {
            assert_eq!((error.code(), error.fault()), (code, Fault::Environment), "{error}");
        };
        fail(chain.tip().await.unwrap_err());
        fail(chain.status(&txid).await.unwrap_err());
        fail(chain.transaction(&txid).await.unwrap_err());
        fail(chain.outspend(&self.paid.outpoint).await.unwrap_err());
        fail(chain.script_history(&script).await.unwrap_err());
        fail(chain.script_unspent(&script).await.unwrap_err());
        fail(chain.block_hash(1).await.unwrap_err());
        fail(chain.fee_estimates().await.unwrap_err());
        fail(chain.broadcast(&self.spend()).await.unwrap_err());
        assert_eq!(chain.synced_at(), synced, "it is not in step");
    }

    /// The state ends with its cause.
    async fn mends(&self) {
        self.liar.becomes(Manner::Honest);
        self.node.seen_by(&self.chain).await;
        let status = self.chain.status(&self.paid.outpoint.txid).await.unwrap();
        assert_eq!(status, Some(self.paid.status));
        assert!(self.chain.trouble().is_none());
    }

    fn spend(&self) -> Transaction {
        self.vault.spend(&[self.paid], elsewhere(), DEPOSIT - Amount::from_sat(1_000))
    }

    async fn goes_through(&self, manner: Manner, code: &str) {
        self.liar.becomes(manner);
        self.ends_in(code).await;
        self.mends().await;
    }
}

/// The answer with one field changed.
fn with(field: &'static str, value: Value) -> impl Fn(&str) -> String {
    move |truth| {
        let mut answer: Value = serde_json::from_str(truth).unwrap();
        answer[field] = value.clone();
        answer.to_string()
    }
}

#[tokio::test]
async fn another_network() {
    let s = Setting::new().await;
    let main = with("chain", json!("main"));
    s.goes_through(Manner::instead("getblockchaininfo", main), "chain-other-network").await;
    // It may have the right name and another first block.
    let first = |question: &liar::Question, _: &str| {
        (question.method == "getblockhash" && question.params == json!([0])).then(|| json!("11".repeat(32)).to_string())
    };
    s.goes_through(Manner::lying(first), "chain-other-network").await;

    s.liar.becomes(Manner::instead("getblockchaininfo", with("chain", json!("signet"))));
    let refused = BitcoindChain::connect(s.liar.options(&s.node)).await.err().unwrap();
    assert_eq!(refused.code(), "chain-other-network");
    let signet = rillpay_chain::bitcoind::BitcoindOptions { network: bitcoin::Network::Signet, ..s.node.options() };
    assert_eq!(BitcoindChain::connect(signet).await.err().unwrap().code(), "chain-other-network");
}

#[tokio::test]
async fn answers_that_are_no_answers() {
    let s = Setting::new().await;
    let deep = "[".repeat(100_000);
    for text in ["", "<html>", "null", "{}", "[]", "[1]", r#"[{"id":-1}]"#, r#"[{"id":0,"result":1}]"#, &deep, "\u{0}"]
    {
        s.goes_through(Manner::saying(text), "chain-untrue").await;
    }
}

#[tokio::test]
async fn answers_of_the_wrong_form() {
    let s = Setting::new().await;
    for method in ["getblockchaininfo", "getnetworkinfo", "getmempoolinfo", "getrawmempool", "getbestblockhash"] {
        for wrong in ["null", "-1", "[[]]", r#"{"blocks":-5}"#, r#""zz""#] {
            let lenient = method == "getmempoolinfo" && wrong == r#"{"blocks":-5}"#;
            if !lenient {
                s.goes_through(Manner::instead(method, |_| wrong.to_owned()), "chain-untrue").await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_without_end() {
    let s = Setting::new().await;
    s.goes_through(Manner::Flooding, "chain-untrue").await;
}

#[tokio::test]
async fn broken_connections_and_closed_doors() {
    let s = Setting::new().await;
    s.goes_through(Manner::Breaking, "chain-unavailable").await;
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE] {
        s.goes_through(Manner::Saying(status, "".into()), "chain-unavailable").await;
        let text = s.chain.trouble().map(|trouble| trouble.to_string());
        assert_eq!(text, None);
    }
}

#[tokio::test]
async fn a_version_that_cannot_answer() {
    let s = Setting::new().await;
    s.goes_through(Manner::instead("getnetworkinfo", with("version", json!(249_900))), "chain-unavailable").await;
}

/// Between a block's header and the block a node is a moment behind, many times a day.
#[tokio::test]
async fn a_moment_behind_is_no_trouble_and_no_news() {
    let s = Setting::new().await;
    let height = s.chain.tip().await.unwrap().height;
    s.liar.becomes(Manner::instead("getblockchaininfo", with("headers", json!(height + 1))));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let synced = s.chain.synced_at();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(s.chain.synced_at(), synced, "nobody knows whether the view is the network's");
    assert_eq!(s.chain.script_unspent(&s.vault.hash()).await.unwrap().len(), 1);
    s.ends_in("chain-behind").await;
    s.mends().await;
}

#[tokio::test]
async fn silence() {
    let s = Setting::new().await;
    s.goes_through(Manner::Hanging, "chain-unavailable").await;
}

#[tokio::test]
async fn falling_behind() {
    let s = Setting::new().await;
    let height = s.chain.tip().await.unwrap().height;
    for (field, value) in [("initialblockdownload", json!(true)), ("headers", json!(height + 2))] {
        s.goes_through(Manner::instead("getblockchaininfo", with(field, value)), "chain-behind").await;
    }
    s.goes_through(Manner::instead("getmempoolinfo", with("loaded", json!(false))), "chain-behind").await;
    s.goes_through(Manner::instead("getblockchaininfo", with("headers", json!(1))), "chain-untrue").await;
    // Another best block at every question: what is read is never of one moment.
    let moving = Manner::instead("getbestblockhash", |_| json!("22".repeat(32)).to_string());
    s.goes_through(moving, "chain-behind").await;
}

/// A chain only grows in work. A node that went back may be restored from a copy, or fooled.
#[tokio::test]
async fn going_back() {
    let s = Setting::new().await;
    s.node.mine(3).await;
    s.node.seen_by(&s.chain).await;
    s.node.abandon(2).await;
    s.ends_in("chain-behind").await;
    s.node.branch(1, &[]).await;
    s.ends_in("chain-behind").await;
    s.node.branch(2, &[]).await;
    s.node.seen_by(&s.chain).await;
    assert!(s.chain.trouble().is_none());
}

#[tokio::test]
async fn a_transaction_with_another_id() {
    let s = Setting::new().await;
    // What somebody else was paid, under the name of a payment to us.
    let other = serialize_hex(&s.node.pay(&elsewhere(), DEPOSIT).await);
    s.liar.becomes(Manner::instead("getrawtransaction", move |_| json!(other).to_string()));
    s.node.send(&s.vault.script(), DEPOSIT).await;
    s.ends_in("chain-untrue").await;
    s.mends().await;
    assert_eq!(s.chain.script_outputs(&s.vault.hash()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_mempool_of_made_up_ids() {
    let s = Setting::new().await;
    let invented = |truth: &str| {
        let mut listed: Vec<String> = serde_json::from_str(truth).unwrap();
        listed.extend((0..100).map(|n| format!("{n:064x}")));
        json!(listed).to_string()
    };
    s.liar.becomes(Manner::instead("getrawmempool", invented));
    s.node.seen_by(&s.chain).await;
    assert_eq!(s.chain.script_history(&s.vault.hash()).await.unwrap().len(), 1, "nobody can show the others");
}

#[tokio::test]
async fn a_block_with_another_hash() {
    let s = Setting::new().await;
    let (_, old) = s.node.tip().await;
    let old: String = s.node.call("getblock", json!([old, 0])).await;
    s.liar.becomes(Manner::instead("getblock", move |_| json!(old).to_string()));
    s.node.mine(1).await;
    s.ends_in("chain-untrue").await;
}

/// The header is right, and a payment to us is put among the transactions.
#[tokio::test]
async fn a_block_with_other_transactions() {
    let s = Setting::new().await;
    let forged = s.node.pay(&s.vault.script(), DEPOSIT).await;
    s.liar.becomes(Manner::instead("getblock", move |truth| {
        let hex: String = serde_json::from_str(truth).unwrap();
        let mut block: Block = deserialize_hex(&hex).unwrap();
        block.txdata.push(forged.clone());
        json!(serialize_hex(&block)).to_string()
    }));
    s.node.mine(1).await;
    s.ends_in("chain-untrue").await;
    s.liar.becomes(Manner::Honest);
    s.node.seen_by(&s.chain).await;
    assert_eq!(s.chain.script_outputs(&s.vault.hash()).await.unwrap().len(), 1, "the forged one is not there");
}

#[tokio::test]
async fn headers_that_do_not_fit() {
    let s = Setting::new().await;
    let (_, old) = s.node.tip().await;
    let old: String = s.node.call("getblockheader", json!([old, false])).await;
    s.liar.becomes(Manner::instead("getblockheader", move |_| json!(old).to_string()));
    s.node.mine(1).await;
    s.ends_in("chain-untrue").await;
    // Blocks that are real, and do not follow on each other.
    let first: String = s.node.call("getblockhash", json!([1])).await;
    s.liar.becomes(Manner::lying(move |question, _| {
        let high = question.method == "getblockhash" && question.params[0].as_u64() > Some(100);
        high.then(|| json!(first).to_string())
    }));
    s.ends_in("chain-behind").await;
}

/// A transaction index is asked about transactions that nobody follows. It must prove what it says.
#[tokio::test]
async fn a_confirmation_without_proof() {
    let s = Setting::with(&["-txindex"]).await;
    let tx = s.node.pay(&elsewhere(), DEPOSIT).await;
    let (txid, hex) = (tx.compute_txid(), serialize_hex(&tx));
    let (_, tip) = s.node.tip().await;
    let claim = json!({"hex": hex, "blockhash": tip}).to_string();
    s.liar.becomes(Manner::lying(move |question, _| {
        (question.method == "getrawtransaction" && question.params[0] == json!(txid)).then(|| claim.clone())
    }));
    assert!(s.chain.status(&txid).await.is_err());
    // The proof for another transaction is none for this one.
    let coinbase: Value = s.node.call("getblock", json!([tip])).await;
    let proof: String = s.node.call("gettxoutproof", json!([coinbase["tx"], tip])).await;
    let claim = json!({"hex": hex, "blockhash": tip}).to_string();
    s.liar.becomes(Manner::lying(move |question, _| match question.method.as_str() {
        "getrawtransaction" if question.params[0] == json!(txid) => Some(claim.clone()),
        "gettxoutproof" => Some(json!(proof).to_string()),
        _ => None,
    }));
    assert_eq!(s.chain.status(&txid).await.unwrap_err().code(), "chain-untrue");

    s.liar.becomes(Manner::Honest);
    s.node.mine_exactly(&[tx]).await.unwrap();
    s.node.seen_by(&s.chain).await;
    let found = s.chain.transaction(&txid).await.unwrap().unwrap();
    assert_eq!(found.status.block().unwrap().hash, s.node.tip().await.1);
    assert!(matches!(found.status, Status::Confirmed(_)) && found.fee > Amount::ZERO);
}

#[tokio::test]
async fn what_a_place_in_a_block_costs() {
    let s = Setting::new().await;
    let dear = |_: &str| r#"{"feerate":0.9,"blocks":2}"#.to_owned();
    s.liar.becomes(Manner::instead("estimatesmartfee", dear));
    let fees = s.chain.fee_estimates().await.unwrap();
    assert_eq!(fees.within(1), FeeRate::from_sat_per_vb_u32(2_000), "there is a cap");
    let cheap = |_: &str| r#"{"feerate":0.00000001,"blocks":2}"#.to_owned();
    s.liar.becomes(Manner::instead("estimatesmartfee", cheap));
    let fees = s.chain.fee_estimates().await.unwrap();
    assert!(fees.floor() > FeeRate::ZERO);
    assert_eq!(fees.within(1), fees.floor(), "there is a floor");
    for wrong in [r#"{"mempoolminfee":1,"minrelaytxfee":0}"#, r#"{"mempoolminfee":-1,"minrelaytxfee":0}"#, "{}"] {
        s.liar.becomes(Manner::instead("getmempoolinfo", |_| wrong.to_owned()));
        assert_eq!(s.chain.fee_estimates().await.unwrap_err().code(), "chain-untrue");
    }
}

#[tokio::test]
async fn a_broadcast_of_something_else() {
    let s = Setting::new().await;
    s.liar.becomes(Manner::instead("sendrawtransaction", |_| json!("33".repeat(32)).to_string()));
    assert_eq!(s.chain.broadcast(&s.spend()).await.unwrap_err().code(), "chain-untrue");
}

/// The cookie is another one after each start.
#[tokio::test]
async fn restarts() {
    let s = Setting::new().await;
    for clean in [true, false] {
        if clean {
            s.node.stop().await
        } else {
            s.node.kill()
        }
        s.ends_in("chain-unavailable").await;
        s.node.start_again().await;
        s.node.seen_by(&s.chain).await;
        assert!(s.chain.trouble().is_none());
        if clean {
            s.mends().await;
        }
    }
}

/// A server may start before its node does.
#[tokio::test]
async fn a_node_that_is_not_there_yet_is_waited_for() {
    let node = Node::start().await;
    node.stop().await;
    let chain = BitcoindChain::connect(node.options()).await.unwrap();
    let vault = Vault::new("early", 0);
    chain.follow(&vault.script(), 0).await.unwrap();
    let mut changes = chain.changes();
    assert_eq!((chain.synced_at(), changes.borrow_and_update().tip.height), (None, 0));
    assert_eq!(chain.script_unspent(&vault.hash()).await.unwrap_err().code(), "chain-unavailable");

    node.start_again().await;
    node.seen_by(&chain).await;
    assert!(changes.has_changed().unwrap());
    node.send(&vault.script(), DEPOSIT).await;
    node.seen_by(&chain).await;
    assert_eq!(chain.script_unspent(&vault.hash()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_says_so_and_is_waited_for() {
    let node = Node::start().await;
    let auth = Auth::Password { user: "fabian".to_owned(), password: "wrong".to_owned() };
    let options = rillpay_chain::bitcoind::BitcoindOptions { auth, ..node.options() };
    let chain = BitcoindChain::connect(options).await.unwrap();
    let trouble = chain.trouble().unwrap();
    assert_eq!(trouble.code(), "chain-unavailable");
    assert!(trouble.to_string().contains("credentials") && !trouble.to_string().contains("wrong"), "{trouble}");
    assert_eq!(chain.synced_at(), None);
}
