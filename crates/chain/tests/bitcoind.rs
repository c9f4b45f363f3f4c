//! The Bitcoin Core backend keeps the contract on a real node, and what only it promises.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, missing_docs)]

mod contract;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::{Amount, OutPoint, ScriptBuf, Txid};
use contract::{DEPOSIT, Rig, Vault, deposit, elsewhere};
use rillpay_chain::bitcoind::{Auth, BitcoindChain, BitcoindOptions};
use rillpay_chain::testing::Node;
use rillpay_chain::{Chain, Fault, Outspend, PaidOutput};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A node and its follower, with the folder where that keeps what it found if it has one.
struct Bitcoind {
    chain: BitcoindChain,
    node: Node,
    _dir: Option<TempDir>,
}

impl Bitcoind {
    async fn start(args: &[&str]) -> Self {
        let node = Node::start_with(args).await;
        let chain = BitcoindChain::connect(node.options()).await.unwrap();
        Bitcoind { node, chain, _dir: None }
    }

    async fn on_disk(args: &[&str]) -> Self {
        let node = Node::start_with(args).await;
        let dir = TempDir::new().unwrap();
        let chain = BitcoindChain::connect(kept_in(&node, dir.path())).await.unwrap();
        Bitcoind { node, chain, _dir: Some(dir) }
    }

    /// Waits until the backend has seen what the node has.
    async fn catch_up(&self) {
        self.node.seen_by(&self.chain).await;
    }
}

#[async_trait::async_trait]
impl Rig for Bitcoind {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.chain.clone())
    }

    async fn mine(&self, count: u32) {
        self.node.mine(count).await;
        self.catch_up().await;
    }

    async fn reorganise(&self, depth: u32) {
        self.node.reorganise(depth).await;
        self.catch_up().await;
    }

    async fn send(&self, to: &ScriptBuf, amount: Amount) -> Txid {
        let txid = self.node.send(to, amount).await;
        while self.chain.status(&txid).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.catch_up().await;
        txid
    }
}

fn kept_in(node: &Node, dir: &Path) -> BitcoindOptions {
    BitcoindOptions { data_dir: Some(dir.to_owned()), ..node.options() }
}

mod plain {
    crate::contract!(super::Bitcoind::start(&[]));
}

mod pruned_and_kept {
    crate::contract!(super::Bitcoind::on_disk(&["-prune=1"]));
}

const FEE: Amount = Amount::from_sat(1_000);

/// Everything that is known of a script.
async fn picture(chain: &BitcoindChain, vault: &Vault) -> String {
    let history = chain.script_history(&vault.hash()).await.unwrap();
    let unspent = chain.script_unspent(&vault.hash()).await.unwrap();
    format!("{history:#?} {unspent:?} {:?}", chain.tip().await.unwrap())
}

/// A deposit, another one that is spent, a third that waits, and a spend that waits.
async fn eventful(rig: &Bitcoind, vault: &Vault) -> Vec<PaidOutput> {
    let first = deposit(rig, vault).await;
    let second = deposit(rig, vault).await;
    rig.mine(2).await;
    rig.chain.broadcast(&vault.spend(&[first], elsewhere(), DEPOSIT - FEE)).await.unwrap();
    rig.mine(1).await;
    let third = deposit(rig, vault).await;
    rig.chain.broadcast(&vault.spend(&[second, third], vault.script(), DEPOSIT)).await.unwrap();
    vec![first, second, third]
}

#[tokio::test]
async fn a_script_followed_late_has_all_of_its_history() {
    let rig = Bitcoind::start(&[]).await;
    let vault = Vault::new("late", 0);
    let outputs = eventful(&rig, &vault).await;
    let expected = picture(&rig.chain, &vault).await;

    // Another backend has looked at blocks and mempool before it hears of the script.
    let late = BitcoindChain::connect(rig.node.options()).await.unwrap();
    rig.node.seen_by(&late).await;
    let error = late.script_history(&vault.hash()).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("chain-misuse", Fault::Misuse), "not followed");
    late.follow(&vault.script(), 1).await.unwrap();
    assert_eq!(picture(&late, &vault).await, expected);
    for output in &outputs {
        let spent = late.outspend(&output.outpoint).await.unwrap();
        assert_eq!(spent, rig.chain.outspend(&output.outpoint).await.unwrap());
        assert!(matches!(spent, Outspend::Spent(_)));
    }

    // Followed from a later block on, the older deposits are not in it; followed again from an earlier one, they are.
    let later = BitcoindChain::connect(rig.node.options()).await.unwrap();
    let height = rig.chain.tip().await.unwrap().height;
    later.follow(&vault.script(), height + 1).await.unwrap();
    assert_eq!(later.script_outputs(&vault.hash()).await.unwrap().len(), 2, "what waits");
    later.follow(&vault.script(), 1).await.unwrap();
    assert_eq!(picture(&later, &vault).await, expected);
}

#[tokio::test]
async fn a_deposit_that_is_double_spent_in_a_reorganisation_is_gone() {
    let rig = Bitcoind::start(&[]).await;
    let vault = Vault::new("double", 0);
    rig.chain.follow(&vault.script(), 0).await.unwrap();
    let (theirs, rival) = {
        let pays = rig.node.pay(&vault.script(), DEPOSIT).await;
        let mut rival = pays.clone();
        rival.output[0].script_pubkey = elsewhere();
        (pays, rival)
    };
    let txid = rig.chain.broadcast(&theirs).await.unwrap();
    let spend = {
        let paid = rig.chain.script_outputs(&vault.hash()).await.unwrap();
        vault.spend(&paid, elsewhere(), DEPOSIT - FEE)
    };
    rig.mine(2).await;
    assert!(rig.chain.status(&txid).await.unwrap().unwrap().is_confirmed());
    rig.chain.broadcast(&spend).await.unwrap();
    rig.node.reorganise_with(2, &[rival]).await;
    rig.catch_up().await;
    assert_eq!(rig.chain.status(&txid).await.unwrap(), None);
    assert_eq!(rig.chain.script_outputs(&vault.hash()).await.unwrap(), []);
    assert_eq!(rig.chain.status(&spend.compute_txid()).await.unwrap(), None, "nor what spent it");
}

#[tokio::test]
async fn a_restart_finds_what_happened_meanwhile() {
    let rig = Bitcoind::start(&[]).await;
    let dir = TempDir::new().unwrap();
    let vault = Vault::new("restart", 0);
    let kept = BitcoindChain::connect(kept_in(&rig.node, dir.path())).await.unwrap();
    kept.follow(&vault.script(), 0).await.unwrap();
    eventful(&rig, &vault).await;
    rig.node.seen_by(&kept).await;
    assert_eq!(picture(&kept, &vault).await, picture(&rig.chain, &vault).await);

    let second = BitcoindChain::connect(kept_in(&rig.node, dir.path())).await.err().unwrap();
    assert_eq!(second.code(), "chain-storage", "one server at a time");
    let mut kept = kept;
    for meanwhile in 0..3 {
        drop(kept);
        match meanwhile {
            0 => rig.mine(3).await,
            1 => rig.reorganise(5).await,
            _ => drop(deposit(&rig, &vault).await),
        }
        kept = reopen(&rig.node, dir.path()).await;
        kept.follow(&vault.script(), 0).await.unwrap();
        let mut pictures = vec![];
        for chain in [&kept, &rig.chain] {
            // Nobody has seen in which order they came to wait.
            let mut history = chain.script_history(&vault.hash()).await.unwrap();
            history.sort_by_key(|tx| tx.txid);
            pictures.push((history, chain.tip().await.unwrap()));
        }
        assert_eq!(pictures[0], pictures[1], "{meanwhile}");
    }
}

/// A node has pruned what a fresh start would need; what was kept is enough.
#[tokio::test]
async fn a_pruned_node_needs_what_was_kept() {
    let rig = Bitcoind::start(&["-prune=1", "-fastprune"]).await;
    let dir = TempDir::new().unwrap();
    let vault = Vault::new("pruned", 0);
    let kept = BitcoindChain::connect(kept_in(&rig.node, dir.path())).await.unwrap();
    kept.follow(&vault.script(), 1).await.unwrap();
    let paid = {
        rig.chain.follow(&vault.script(), 1).await.unwrap();
        deposit(&rig, &vault).await
    };
    rig.mine(500).await;
    rig.node.seen_by(&kept).await;
    drop(kept);
    rig.node.call::<Value>("pruneblockchain", json!([300])).await;
    rig.mine(1).await;

    let kept = reopen(&rig.node, dir.path()).await;
    kept.follow(&vault.script(), 1).await.unwrap();
    assert_eq!(picture(&kept, &vault).await, picture(&rig.chain, &vault).await);
    let oldest = kept.block_hash(1).await.unwrap().unwrap();
    assert_eq!(kept.block(&oldest).await.unwrap_err().code(), "chain-pruned");
    assert_eq!(kept.block_header(&oldest).await.unwrap().unwrap().block_hash(), oldest);

    let fresh = BitcoindChain::connect(rig.node.options()).await.unwrap();
    fresh.follow(&vault.script(), 1).await.unwrap();
    for error in [
        fresh.script_history(&vault.hash()).await.unwrap_err(),
        fresh.script_unspent(&vault.hash()).await.unwrap_err(),
        fresh.status(&paid.outpoint.txid).await.unwrap_err(),
        fresh.outspend(&paid.outpoint).await.unwrap_err(),
    ] {
        assert_eq!((error.code(), error.fault()), ("chain-pruned", Fault::Environment), "{error}");
    }
    // What needs no old blocks goes on.
    let young = Vault::new("young", 0);
    let height = fresh.tip().await.unwrap().height;
    fresh.follow(&young.script(), height).await.unwrap();
    rig.node.send(&young.script(), DEPOSIT).await;
    rig.node.seen_by(&fresh).await;
    assert_eq!(fresh.script_unspent(&young.hash()).await.unwrap().len(), 1);
}

/// The file is let go a moment after its last user.
async fn reopen(node: &Node, dir: &Path) -> BitcoindChain {
    for _ in 0..500 {
        if let Ok(chain) = BitcoindChain::connect(kept_in(node, dir)).await {
            return chain;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the file is not let go");
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_said_to_be_one() {
    let node = Node::start().await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("bitcoind.sqlite");
    std::fs::write(&file, "not a database, and long enough to be seen as none").unwrap();
    let error = BitcoindChain::connect(kept_in(&node, dir.path())).await.err().unwrap();
    assert_eq!((error.code(), error.fault()), ("chain-storage", Fault::Environment));
    assert!(error.to_string().contains("bitcoind.sqlite"), "{error}");

    std::fs::remove_file(&file).unwrap();
    drop(reopen(&node, dir.path()).await);
    let signet = BitcoindOptions { network: bitcoin::Network::Signet, ..kept_in(&node, dir.path()) };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = BitcoindChain::connect(signet).await.err().unwrap();
    assert!(error.code() == "chain-storage" && error.to_string().contains("regtest"), "{error}");
}

/// What the node can tell of transactions that nobody follows, and what it cannot.
#[tokio::test]
async fn transactions_that_nobody_follows() {
    let rig = Bitcoind::start(&[]).await;
    let tx = rig.node.pay(&elsewhere(), DEPOSIT).await;
    let input = tx.input[0].previous_output;
    assert_eq!(rig.chain.outspend(&input).await.unwrap(), Outspend::Unspent);
    let txid = rig.node.send(&elsewhere(), DEPOSIT).await;
    let info = rig.chain.transaction(&txid).await.unwrap().unwrap();
    assert_eq!(info.fee, FEE);
    assert!(!info.status.is_confirmed());
    let spent = OutPoint { txid: info.vin[0].txid, vout: info.vin[0].vout };
    assert_eq!(rig.chain.outspend(&spent).await.unwrap().spending().unwrap().txid, txid);
    rig.mine(1).await;
    assert_eq!(rig.chain.status(&txid).await.unwrap(), None, "without an index the node does not know");
    assert_eq!(rig.chain.outspend(&OutPoint { txid, vout: 0 }).await.unwrap(), Outspend::Unspent);
}

#[tokio::test]
async fn a_reorganisation_deeper_than_memory_reads_all_again() {
    let rig = Bitcoind::start(&[]).await;
    let vault = Vault::new("deep", 0);
    let paid = deposit(&rig, &vault).await;
    rig.mine(1).await;
    let early = rig.chain.transaction(&paid.outpoint.txid).await.unwrap();
    rig.mine(1_000).await;
    assert_eq!(rig.chain.transaction(&paid.outpoint.txid).await.unwrap(), early);
    rig.node.abandon(1_000 + 2).await;
    rig.node.branch(1, &[]).await;
    rig.node.mine(1_000 + 2).await;
    rig.catch_up().await;
    // A node does not let the transactions of so many blocks wait again.
    assert_eq!(rig.chain.status(&paid.outpoint.txid).await.unwrap(), None);
    let again = deposit(&rig, &vault).await;
    rig.mine(1).await;
    let outputs = rig.chain.script_outputs(&vault.hash()).await.unwrap();
    assert_eq!(outputs.iter().map(|output| output.outpoint).collect::<Vec<_>>(), [again.outpoint]);
}

/// A password works, and the list of calls in the operator's guide is complete.
#[tokio::test]
async fn a_user_with_the_guides_whitelist_is_enough() {
    let guide = include_str!("../../../docs/operator.md");
    let calls = guide.split("rpcwhitelist=rillpay:").nth(1).unwrap().split('`').next().unwrap();
    let mut hmac = HmacEngine::<sha256::Hash>::new(b"salt");
    hmac.input(b"correct horse");
    let auth = format!("-rpcauth=rillpay:salt${}", Hmac::from_engine(hmac));
    let allowed = format!("-rpcwhitelist=rillpay:{calls}");
    let node = Node::start_with(&["-txindex", &auth, &allowed, "-rpcwhitelistdefault=0"]).await;
    let auth = Auth::Password { user: "rillpay".to_owned(), password: "correct horse".to_owned() };
    let chain = BitcoindChain::connect(BitcoindOptions { auth, ..node.options() }).await.unwrap();
    let rig = Bitcoind { node, chain, _dir: None };

    let vault = Vault::new("whitelist", 0);
    let outputs = eventful(&rig, &vault).await;
    picture(&rig.chain, &vault).await;
    let stranger = rig.send(&elsewhere(), DEPOSIT).await;
    assert!(!rig.chain.transaction(&stranger).await.unwrap().unwrap().status.is_confirmed());
    rig.mine(1).await;
    let info = rig.chain.transaction(&stranger).await.unwrap().unwrap();
    assert!(info.status.is_confirmed(), "there is an index");
    let spent = OutPoint { txid: info.vin[0].txid, vout: info.vin[0].vout };
    let error = rig.chain.outspend(&spent).await.unwrap_err();
    assert!(error.to_string().contains("nobody follows"), "{error}");
    assert_eq!(rig.chain.outspend(&OutPoint { txid: stranger, vout: 0 }).await.unwrap(), Outspend::Unspent);
    assert!(rig.chain.outspend(&outputs[0].outpoint).await.unwrap().spending().is_some());
    let tip = rig.chain.tip().await.unwrap();
    let low = rig.chain.block_hash(1).await.unwrap().unwrap();
    assert!(rig.chain.block(&tip.hash).await.unwrap().is_some());
    assert!(rig.chain.block_header(&low).await.unwrap().is_some());
    rig.chain.fee_estimates().await.unwrap();
}

/// A script that nobody asks about any more costs nothing; what is followed beside it stays.
#[tokio::test]
async fn a_script_is_followed_no_longer_than_it_is_of_use() {
    let node = Node::start().await;
    let dir = TempDir::new().unwrap();
    let chain = BitcoindChain::connect(kept_in(&node, dir.path())).await.unwrap();
    let rig = Bitcoind { node, chain, _dir: None };
    let (done, other) = (Vault::new("done", 0), Vault::new("other", 0));
    let paid = deposit(&rig, &done).await;
    rig.mine(1).await;
    eventful(&rig, &other).await;
    // One transaction touches both.
    let both = rig.chain.broadcast(&done.spend(&[paid], other.script(), DEPOSIT - FEE)).await.unwrap();
    rig.mine(1).await;
    let kept = picture(&rig.chain, &other).await;
    assert!(kept.contains(&both.to_string()));

    rig.chain.unfollow(&done.hash()).await.unwrap();
    rig.chain.unfollow(&done.hash()).await.unwrap();
    rig.catch_up().await;
    assert_eq!(rig.chain.script_history(&done.hash()).await.unwrap_err().code(), "chain-misuse");
    assert_eq!(picture(&rig.chain, &other).await, kept);
    let Bitcoind { node, chain, .. } = rig;
    drop(chain);
    // Its folder is left by the task a little later.
    let stored = async {
        loop {
            let db = rusqlite::Connection::open(dir.path().join("bitcoind.sqlite")).unwrap();
            let scripts = db.query_row("SELECT count(*) FROM scripts", [], |row| row.get::<_, u32>(0));
            let deposits =
                db.query_row("SELECT count(*) FROM txs WHERE txid = ?1", [paid.outpoint.txid.to_byte_array()], |row| {
                    row.get::<_, u32>(0)
                });
            if let (Ok(scripts), Ok(deposits)) = (scripts, deposits) {
                return (scripts, deposits);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), stored).await.unwrap(), (1, 0));

    // Followed again, all of it is found again.
    let chain = BitcoindChain::connect(kept_in(&node, dir.path())).await.unwrap();
    chain.follow(&other.script(), 0).await.unwrap();
    assert_eq!(picture(&chain, &other).await, kept);
    chain.follow(&done.script(), 1).await.unwrap();
    assert_eq!(chain.script_history(&done.hash()).await.unwrap().len(), 2);
}
