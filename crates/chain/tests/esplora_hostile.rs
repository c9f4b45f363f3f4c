//! An Esplora that answers garbage, lies, hangs or is on another network: each ends in a clear state, and nothing counts as
//! confirmed.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, Uri};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode};
use bitcoin::{TxOut, Txid, WScriptHash, Witness, transaction};
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_chain::{Chain, ChainError, ScriptHash};
use serde_json::{Value, json};

const TOP: u32 = 40;
/// The block that holds the deposit.
const PAID: u32 = 38;

/// What a server does with a request.
#[derive(Clone)]
enum Reply {
    Text(String),
    Bytes(Vec<u8>),
    Status(u16),
    /// Too many requests: no more for so many seconds.
    Later(u32),
    /// No answer at all.
    Hang,
    /// An answer that is far too long.
    Huge,
}

type Lie = Box<dyn Fn(&World, &str) -> Option<Reply> + Send>;

/// A chain with one deposit, told truthfully except where a lie says otherwise.
struct World {
    blocks: Vec<Block>,
    deposit: Transaction,
    script: ScriptBuf,
    lie: Mutex<Option<Lie>>,
}

fn somebody(n: u8) -> ScriptBuf {
    ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([n; 32]))
}

fn pay(from: OutPoint, script_sig: ScriptBuf, to: ScriptBuf) -> Transaction {
    let input = TxIn { previous_output: from, script_sig, sequence: Sequence::MAX, witness: Witness::new() };
    let output = TxOut { value: Amount::from_sat(3_600_000), script_pubkey: to };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

fn mine(before: &Block, height: u32, mut txs: Vec<Transaction>) -> Block {
    let number = Builder::new().push_int(i64::from(height)).push_slice([0; 4]).into_script();
    txs.insert(0, pay(OutPoint::null(), number, somebody(0)));
    let header = Header {
        version: Version::TWO,
        prev_blockhash: before.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: before.header.time + 600,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata: txs };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

impl World {
    fn new() -> Arc<Self> {
        let script = somebody(1);
        let mut blocks = vec![genesis_block(Network::Regtest)];
        let mut deposit = None;
        for height in 1..=TOP {
            let mut txs = vec![];
            if height == PAID {
                let from = OutPoint { txid: blocks[1].txdata[0].compute_txid(), vout: 0 };
                let tx = pay(from, ScriptBuf::new(), script.clone());
                txs.push(tx.clone());
                deposit = Some(tx);
            }
            blocks.push(mine(blocks.last().unwrap(), height, txs));
        }
        Arc::new(Self { blocks, deposit: deposit.unwrap(), script, lie: Mutex::new(None) })
    }

    fn lie(&self, lie: impl Fn(&World, &str) -> Option<Reply> + Send + 'static) {
        *self.lie.lock().unwrap() = Some(Box::new(lie));
    }

    fn describe(&self, height: usize) -> Value {
        let header = self.blocks[height].header;
        json!({
            "id": header.block_hash(), "height": height, "version": header.version.to_consensus(),
            "timestamp": header.time, "merkle_root": header.merkle_root, "nonce": header.nonce,
            "previousblockhash": (height > 0).then_some(header.prev_blockhash), "bits": header.bits.to_consensus(),
        })
    }

    fn page(&self, top: usize) -> Value {
        (top.saturating_sub(9)..=top).rev().map(|height| self.describe(height)).collect()
    }

    fn listed(&self) -> Value {
        let block = &self.blocks[PAID as usize];
        let status = json!({"confirmed": true, "block_height": PAID, "block_hash": block.block_hash(),
            "block_time": block.header.time});
        json!({"txid": self.deposit.compute_txid(), "status": status})
    }

    fn unspent(&self) -> Value {
        let mut unspent = self.listed();
        unspent["vout"] = json!(0);
        unspent["value"] = json!(self.deposit.output[0].value.to_sat());
        unspent
    }

    fn honest(&self, path: &str) -> Reply {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let top = self.blocks.len() - 1;
        let text = |text: String| Reply::Text(text);
        let deposit = self.deposit.compute_txid().to_string();
        match parts.as_slice() {
            ["blocks", "tip", "hash"] => text(self.blocks[top].block_hash().to_string()),
            ["blocks"] => text(self.page(top).to_string()),
            ["blocks", height] => text(self.page(height.parse().unwrap()).to_string()),
            ["block-height", height] => text(self.blocks[height.parse::<usize>().unwrap()].block_hash().to_string()),
            ["block", hash, "raw"] => {
                let block = self.blocks.iter().find(|block| block.block_hash().to_string() == **hash);
                block.map_or(Reply::Status(404), |block| Reply::Bytes(serialize(block)))
            }
            ["tx", txid] if *txid == deposit => text(self.listed().to_string()),
            ["tx", txid, "raw"] => {
                let mut txs = self.blocks.iter().flat_map(|block| &block.txdata);
                let tx = txs.find(|tx| tx.compute_txid().to_string() == **txid);
                tx.map_or(Reply::Status(404), |tx| Reply::Bytes(serialize(tx)))
            }
            ["tx", txid, "merkle-proof"] if *txid == deposit => {
                let beside = self.blocks[PAID as usize].txdata[0].compute_txid();
                text(json!({"block_height": PAID, "merkle": [beside], "pos": 1}).to_string())
            }
            ["tx", _, "outspend", _] => text(json!({"spent": false}).to_string()),
            ["scripthash", _, "utxo"] => text(json!([self.unspent()]).to_string()),
            ["scripthash", _, "txs"] => text(json!([self.listed()]).to_string()),
            ["scripthash", _, "txs", "chain", _] => text("[]".to_owned()),
            ["scripthash", _] => text("{}".to_owned()),
            ["tx"] => text(self.deposit.compute_txid().to_string()),
            ["fee-estimates"] => text(r#"{"1":20.5,"6":3.1}"#.to_owned()),
            _ => Reply::Status(404),
        }
    }
}

async fn serve(world: &Arc<World>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = Arc::clone(world);
    let router = Router::new().fallback(async move |uri: Uri| {
        let lie = world.lie.lock().unwrap().as_ref().and_then(|lie| lie(&world, uri.path()));
        match lie.unwrap_or_else(|| world.honest(uri.path())) {
            Reply::Text(text) => Response::new(Body::from(text)),
            Reply::Bytes(bytes) => Response::new(Body::from(bytes)),
            Reply::Status(status) => Response::builder().status(status).body(Body::empty()).unwrap(),
            Reply::Later(seconds) => {
                let response = Response::builder().status(429).header("retry-after", seconds);
                response.body(Body::empty()).unwrap()
            }
            Reply::Hang => std::future::pending().await,
            Reply::Huge => Response::new(Body::from(vec![b' '; 40 << 20])),
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn connect(world: &Arc<World>) -> Result<EsploraChain, ChainError> {
    let url = serve(world).await;
    let patience = Duration::from_millis(300);
    let poll = Duration::from_millis(10);
    EsploraChain::connect(EsploraOptions { poll, patience, ..EsploraOptions::new(url, Network::Regtest) }).await
}

/// Lies of a server whose chain is fine. The words are those that a question has to end in.
fn lies() -> Vec<(&'static str, &'static str, Lie)> {
    fn at(part: &'static str, reply: impl Fn(&World) -> Reply + Send + 'static) -> Lie {
        Box::new(move |world, path| path.contains(part).then(|| reply(world)))
    }
    let garbage = || Reply::Text("<html>busy</html>".to_owned());
    vec![
        ("garbage in place of a list", "chain-untrue", at("/txs", move |_| garbage())),
        ("garbage in place of bytes", "chain-untrue", at("/raw", move |_| garbage())),
        (
            "another transaction",
            "chain-untrue",
            at("/raw", |world| Reply::Bytes(serialize(&world.blocks[3].txdata[0]))),
        ),
        (
            "a proof that leads nowhere",
            "chain-untrue",
            at("/merkle-proof", |_| {
                let beside = Txid::hash(b"nobody");
                Reply::Text(json!({"block_height": PAID, "merkle": [beside], "pos": 1}).to_string())
            }),
        ),
        ("no proof", "chain-behind", at("/merkle-proof", |_| Reply::Status(404))),
        (
            "a block that is not there",
            "chain-behind",
            at("/txs", |world| {
                let mut listed = world.listed();
                listed["status"]["block_hash"] = json!(Txid::hash(b"nothing"));
                Reply::Text(json!([listed]).to_string())
            }),
        ),
        (
            "somebody else's transaction",
            "chain-untrue",
            at("/txs", |world| {
                let txid = world.blocks[3].txdata[0].compute_txid();
                Reply::Text(json!([{"txid": txid, "status": {"confirmed": false}}]).to_string())
            }),
        ),
        ("pages without end", "chain-behind", at("/txs", |world| Reply::Text(json!([world.listed()]).to_string()))),
        ("silence", "chain-unavailable", at("/txs", |_| Reply::Hang)),
        ("a huge answer", "chain-unavailable", at("/txs", |_| Reply::Huge)),
        ("errors", "chain-unavailable", at("/txs", |_| Reply::Status(500))),
        ("too many requests", "chain-unavailable", at("/txs", |_| Reply::Status(429))),
        ("forbidden", "chain-unavailable", at("/txs", |_| Reply::Status(403))),
    ]
}

#[tokio::test]
async fn the_truth_is_believed() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    assert!(chain.trouble().is_none() && chain.synced_at().is_some());
    assert_eq!(chain.tip().await.unwrap().height, TOP);
    let history = chain.script_history(&ScriptHash::of(&world.script)).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status.block().unwrap().height, PAID);
    assert_eq!(chain.script_unspent(&ScriptHash::of(&world.script)).await.unwrap().len(), 1);
    // Older blocks are linked to those known.
    assert_eq!(chain.block_hash(2).await.unwrap(), Some(world.blocks[2].block_hash()));
}

#[tokio::test]
async fn no_lie_confirms_anything() {
    for (name, code, lie) in lies() {
        let world = World::new();
        let chain = connect(&world).await.unwrap();
        *world.lie.lock().unwrap() = Some(lie);
        let answer = chain.script_history(&ScriptHash::of(&world.script)).await;
        assert_eq!(answer.expect_err(name).code(), code, "{name}");
        *world.lie.lock().unwrap() = None;
        let again = tokio::time::timeout(Duration::from_secs(10), async {
            while chain.script_history(&ScriptHash::of(&world.script)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        again.await.expect("it mends once the server does");
    }
}

#[tokio::test]
async fn a_spender_that_does_not_spend_is_a_lie() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    world.lie(|world, path| {
        let txid = world.blocks[3].txdata[0].compute_txid();
        let spent = json!({"spent": true, "txid": txid, "vin": 0, "status": {"confirmed": false}});
        path.contains("/outspend").then(|| Reply::Text(spent.to_string()))
    });
    let outpoint = OutPoint { txid: world.deposit.compute_txid(), vout: 0 };
    assert_eq!(chain.outspend(&outpoint).await.unwrap_err().code(), "chain-untrue");
}

#[tokio::test]
async fn another_network_is_refused_at_once() {
    let world = World::new();
    world.lie(|_, path| {
        let hash = genesis_block(Network::Signet).block_hash();
        (path == "/block-height/0").then(|| Reply::Text(hash.to_string()))
    });
    assert_eq!(connect(&world).await.err().unwrap().code(), "chain-other-network");
}

/// A chain that is wrong from the first look on: the server is waited for, and answers nothing until it is right.
#[tokio::test]
async fn a_wrong_chain_is_not_taken() {
    let edit = |field: &'static str, value: Value| {
        move |world: &World, path: &str| {
            (path == "/blocks").then(|| {
                let mut page = world.page(TOP as usize);
                page[0][field] = value.clone();
                Reply::Text(page.to_string())
            })
        }
    };
    let world = World::new();
    for (name, code, lie) in [
        ("a header that is not the block's", "chain-untrue", Box::new(edit("nonce", json!(7_777_777))) as Lie),
        ("a height that is not the block's", "chain-untrue", Box::new(edit("height", json!(99)))),
        (
            "no blocks",
            "chain-untrue",
            Box::new(|_: &World, path: &str| (path == "/blocks").then(|| Reply::Text("[]".to_owned()))),
        ),
        ("garbage", "chain-untrue", Box::new(|_: &World, _: &str| Some(Reply::Text("?".to_owned())))),
        (
            "a chain with a hole",
            "chain-untrue",
            Box::new(|world: &World, path: &str| {
                (path == "/blocks/30").then(|| Reply::Text(world.page(29).to_string()))
            }),
        ),
        ("silence", "chain-unavailable", Box::new(|_: &World, _: &str| Some(Reply::Hang))),
    ] {
        *world.lie.lock().unwrap() = Some(lie);
        let chain = connect(&world).await.unwrap();
        assert_eq!(chain.trouble().expect(name).code(), code, "{name}");
        assert_eq!(chain.tip().await.expect_err(name).code(), code, "{name}");
        assert!(chain.synced_at().is_none(), "{name}");
    }
}

/// An address is anybody's to pay to: what that makes long, or large in number, hides no deposit and fails no other question.
#[tokio::test]
async fn a_busy_address_shows_its_deposit() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    let script = ScriptHash::of(&world.script);
    chain.follow(&world.script, 0).await.unwrap();
    let asked = Arc::new(Mutex::new(0_u32));
    let count = Arc::clone(&asked);
    world.lie(move |world, path| {
        if path.contains("/txs") || path == format!("/scripthash/{}", ScriptHash::of(&world.script)) {
            return Some(Reply::Status(400));
        }
        if path.ends_with("/raw") {
            *count.lock().unwrap() += 1;
        }
        path.ends_with("/utxo")
            .then(|| {
                let mut outputs = vec![world.unspent()];
                for number in 0..500_u32 {
                    let dust = pay(
                        OutPoint { txid: Txid::hash(b"dust"), vout: number },
                        ScriptBuf::new(),
                        world.script.clone(),
                    );
                    outputs.insert(
                        0,
                        json!({"txid": dust.compute_txid(), "vout": 0, "value": 600, "status": {"confirmed": false}}),
                    );
                }
                Reply::Text(Value::from(outputs).to_string())
            })
            .or_else(|| {
                let dust = (0..500_u32).map(|number| {
                    let from = OutPoint { txid: Txid::hash(b"dust"), vout: number };
                    pay(from, ScriptBuf::new(), world.script.clone())
                });
                let mut dust = dust.filter(|dust| path == format!("/tx/{}/raw", dust.compute_txid()));
                dust.next().map(|dust| Reply::Bytes(serialize(&dust)))
            })
    });
    let unspent = chain.script_unspent(&script).await.unwrap();
    let deposit = unspent.iter().find(|output| output.txid == world.deposit.compute_txid()).expect("the deposit");
    assert_eq!(deposit.status.block().unwrap().height, PAID);
    assert!(*asked.lock().unwrap() <= 64, "{} transactions were read", asked.lock().unwrap());
    // Looks go on although the followed address cannot be counted.
    let synced = chain.synced_at();
    let looks = async {
        while chain.synced_at() == synced {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looks).await.expect("another look");
    assert!(chain.trouble().is_none());
}

#[tokio::test]
async fn an_output_of_another_script_is_a_lie() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    world.lie(|world, path| {
        let mut output = world.unspent();
        output["txid"] = json!(world.blocks[3].txdata[0].compute_txid());
        output["status"] = json!({"confirmed": false});
        path.ends_with("/utxo").then(|| Reply::Text(json!([output]).to_string()))
    });
    let error = chain.script_unspent(&ScriptHash::of(&world.script)).await.unwrap_err();
    assert_eq!(error.code(), "chain-untrue");
}

/// No proof can show that a transaction of 64 bytes is in a block. Whoever makes one calls nobody a liar by it.
#[tokio::test]
async fn a_transaction_of_64_bytes_waits_for_ever() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    let outpoint = OutPoint { txid: world.deposit.compute_txid(), vout: 0 };
    let small = pay(outpoint, ScriptBuf::new(), ScriptBuf::from_bytes(vec![0x51; 4]));
    assert_eq!(small.base_size(), 64);
    let spender = small.compute_txid();
    world.lie(move |world, path| {
        let block = &world.blocks[PAID as usize + 1];
        let status = json!({"confirmed": true, "block_height": PAID + 1, "block_hash": block.block_hash(),
            "block_time": block.header.time});
        if path.ends_with("/outspend/0") {
            return Some(Reply::Text(json!({"spent": true, "txid": spender, "vin": 0, "status": status}).to_string()));
        }
        if path.ends_with("/txs") {
            let listed = json!({"txid": spender, "status": status});
            return Some(Reply::Text(json!([listed, world.listed()]).to_string()));
        }
        if path == format!("/tx/{spender}/raw") {
            return Some(Reply::Bytes(serialize(&small)));
        }
        let proof = json!({"block_height": PAID + 1, "merkle": [block.txdata[0].compute_txid()], "pos": 1});
        (path == format!("/tx/{spender}/merkle-proof")).then(|| Reply::Text(proof.to_string()))
    });
    let spending = chain.outspend(&outpoint).await.unwrap().spending().expect("it is spent");
    assert_eq!((spending.txid, spending.status.is_confirmed()), (spender, false));
    let history = chain.script_history(&ScriptHash::of(&world.script)).await.unwrap();
    let confirmed: Vec<bool> = history.iter().map(|info| info.status.is_confirmed()).collect();
    assert_eq!(confirmed, [false, true]);
    assert!(chain.trouble().is_none());
}

/// What a visitor asks for costs our own questions nothing: no place, no silence, no long walk, no memory, no good name.
#[tokio::test]
async fn visitors_take_nothing_from_our_own_questions() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    let visitors = chain.for_visitors().expect("they are kept apart");
    let script = ScriptHash::of(&world.script);
    assert_eq!(visitors.script_history(&script).await.unwrap().len(), 1);

    // More of them than there are places, and none is answered.
    world.lie(|_, path| path.contains("/header").then_some(Reply::Hang));
    let patient = EsploraOptions {
        poll: Duration::from_millis(10),
        ..EsploraOptions::new(serve(&world).await, Network::Regtest)
    };
    let chain = EsploraChain::connect(patient).await.unwrap();
    let visitors = chain.for_visitors().unwrap();
    let asked: Vec<_> = (0..20_u8)
        .map(|number| {
            let visitors = Arc::clone(&visitors);
            tokio::spawn(async move { visitors.block_header(&Hash::hash(&[number])).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    let ours = async {
        assert_eq!(chain.script_unspent(&script).await.unwrap().len(), 1);
        assert!(chain.fee_estimates().await.is_ok());
    };
    tokio::time::timeout(Duration::from_secs(10), ours).await.expect("our questions are answered");
    assert!(asked.iter().all(|visitor| !visitor.is_finished()));
    asked.iter().for_each(|visitor| visitor.abort());

    // The server wants silence from a visitor; and what a visitor takes for a lie is no judgement.
    let visitors = chain.for_visitors().unwrap();
    world.lie(|_, path| path.contains("/header").then_some(Reply::Later(200)));
    assert!(visitors.block_header(&Hash::hash(b"x")).await.is_err());
    world.lie(|_, path| path.contains("/header").then(|| Reply::Text("?".to_owned())));
    assert_eq!(visitors.block_header(&Hash::hash(b"x")).await.unwrap_err().code(), "chain-unavailable", "silence");
    assert_eq!(chain.for_visitors().unwrap().block_header(&Hash::hash(b"x")).await.unwrap_err().code(), "chain-untrue");
    assert!(chain.trouble().is_none());
    assert_eq!(chain.script_unspent(&script).await.unwrap().len(), 1);
}

#[tokio::test]
async fn visitors_are_told_of_no_block_that_is_not_held() {
    let world = World::new();
    let url = serve(&world).await;
    // Looked at once, it holds no more than it takes for the median of times.
    let rare = EsploraOptions { poll: Duration::from_secs(3_600), ..EsploraOptions::new(url, Network::Regtest) };
    let chain = EsploraChain::connect(rare).await.unwrap();
    let visitors = chain.for_visitors().unwrap();
    let walked = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&walked);
    world.lie(move |_, path| {
        *seen.lock().unwrap() |= path.starts_with("/blocks/");
        None
    });
    assert_eq!(visitors.block_hash(TOP).await.unwrap(), Some(world.blocks[TOP as usize].block_hash()));
    assert_eq!(visitors.block_hash(2).await.unwrap_err().code(), "chain-unavailable");
    assert!(!*walked.lock().unwrap(), "nobody went there for a visitor");
    // We do, and then it is held.
    assert_eq!(chain.block_hash(2).await.unwrap(), Some(world.blocks[2].block_hash()));
    assert_eq!(visitors.block_hash(2).await.unwrap(), Some(world.blocks[2].block_hash()));
}

#[tokio::test]
async fn the_newest_headers_are_held_bit_by_bit() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    let visitors = chain.for_visitors().unwrap();
    let held = async {
        while visitors.block_hash(0).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), held).await.expect("the first block is among them");
}

/// A server that wants no more questions is still handed what has to be broadcast.
#[tokio::test]
async fn silence_is_for_questions_not_for_broadcasts() {
    let world = World::new();
    let chain = connect(&world).await.unwrap();
    world.lie(|_, path| path.contains("/utxo").then_some(Reply::Later(200)));
    assert!(chain.script_unspent(&ScriptHash::of(&world.script)).await.is_err());
    world.lie(|_, _| None);
    let asked = chain.fee_estimates().await.unwrap_err();
    assert!(asked.to_string().contains("left alone"), "{asked}");
    assert_eq!(chain.broadcast(&world.deposit).await.unwrap(), world.deposit.compute_txid());
}

/// While older headers are read, which can take many requests, looks go on.
#[tokio::test]
async fn a_long_walk_back_does_not_keep_us_from_looking() {
    let world = World::new();
    world.lie(|_, path| path.starts_with("/blocks/2").then_some(Reply::Hang));
    let chain = connect(&world).await.unwrap();
    let walk = tokio::spawn({
        let chain = chain.clone();
        async move { chain.block_hash(1).await.map(drop) }
    });
    let since = std::time::Instant::now();
    let looks = async {
        while chain.synced_at().is_none_or(|synced| synced < since) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        _ = walk => panic!("the walk came to its end before the next look"),
        () = looks => {}
    }
}
