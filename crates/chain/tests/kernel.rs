//! The embedded backend keeps the contract, in memory and on disk, and what only it promises.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::{Amount, ScriptBuf, Txid};
use contract::{DEPOSIT, Rig, Vault, deposit, elsewhere};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ChainError, Fault};
use tempfile::TempDir;

/// A kernel chain, with the folder that it lives in if it has one.
struct Kernel {
    chain: KernelChain,
    _dir: Option<TempDir>,
}

#[async_trait::async_trait]
impl Rig for Kernel {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.chain.clone())
    }

    async fn mine(&self, count: u32) {
        self.chain.mine(count).await.unwrap();
    }

    async fn reorganise(&self, depth: u32) {
        self.chain.reorganise(depth, &[]).await.unwrap();
    }

    async fn send(&self, to: &ScriptBuf, amount: Amount) -> Txid {
        self.chain.send(to, amount).await.unwrap()
    }
}

async fn in_memory() -> Kernel {
    Kernel { chain: KernelChain::open(KernelConfig::default()).await.unwrap(), _dir: None }
}

async fn at(dir: &Path) -> KernelChain {
    let config = KernelConfig { data_dir: Some(dir.to_owned()), ..KernelConfig::default() };
    KernelChain::open(config).await.unwrap()
}

async fn on_disk() -> Kernel {
    let dir = TempDir::new().unwrap();
    Kernel { chain: at(dir.path()).await, _dir: Some(dir) }
}

mod memory {
    crate::contract!(super::in_memory());
}

mod disk {
    crate::contract!(super::on_disk());
}

/// Everything that a restart must bring back.
async fn picture(chain: &KernelChain, vault: &Vault) -> String {
    let tip = chain.tip().await.unwrap();
    let history = chain.script_history(&vault.hash()).await.unwrap();
    let history: Vec<_> = history.iter().map(|tx| (tx.txid, tx.fee, tx.status)).collect();
    let unspent = chain.script_unspent(&vault.hash()).await.unwrap();
    let balance = chain.wallet_balance().unwrap();
    let waiting = chain.mempool_len().unwrap();
    format!("{tip:?} {history:?} {unspent:?} {balance} {waiting}")
}

/// A chain with confirmed, abandoned, waiting and replaced transactions.
async fn eventful(chain: &KernelChain, vault: &Vault) {
    let rig = Kernel { chain: chain.clone(), _dir: None };
    let first = deposit(&rig, vault).await;
    chain.mine(2).await.unwrap();
    chain.reorganise(2, &[]).await.unwrap();
    chain.mine(1).await.unwrap();
    deposit(&rig, vault).await;
    for fee in [1_000, 2_000] {
        let spend = vault.spend(&[first], elsewhere(), DEPOSIT - Amount::from_sat(fee));
        chain.broadcast(&spend).await.unwrap();
    }
}

#[tokio::test]
async fn a_restart_finds_the_same_chain() {
    let dir = TempDir::new().unwrap();
    let vault = Vault::new("restart", 0);
    let chain = at(dir.path()).await;
    eventful(&chain, &vault).await;
    let before = picture(&chain, &vault).await;
    drop(chain);

    let chain = at(dir.path()).await;
    assert_eq!(picture(&chain, &vault).await, before);
    chain.mine(1).await.unwrap();
    assert_eq!(chain.mempool_len().unwrap(), 0, "what waited is confirmed");
    let after = picture(&chain, &vault).await;
    drop(chain);
    assert_eq!(picture(&at(dir.path()).await, &vault).await, after);
}

/// A copy of the folder of a running chain is what a killed process leaves behind.
#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let vault = Vault::new("killed", 0);
    let chain = at(dir.path()).await;
    eventful(&chain, &vault).await;
    let remains = TempDir::new().unwrap();
    copy(dir.path(), remains.path());
    let before = picture(&chain, &vault).await;

    assert_eq!(picture(&at(remains.path()).await, &vault).await, before);
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let from: PathBuf = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test]
async fn two_processes_cannot_share_a_folder() {
    let dir = TempDir::new().unwrap();
    let _first = at(dir.path()).await;
    let config = KernelConfig { data_dir: Some(dir.path().to_owned()), ..KernelConfig::default() };
    let error = KernelChain::open(config).await.err().expect("the folder is taken");
    assert_eq!((error.code(), error.fault()), ("chain-unavailable", Fault::Environment));
}

#[tokio::test]
async fn a_forgotten_deposit_is_gone_with_what_spends_it() {
    let rig = in_memory().await;
    let vault = Vault::new("forgotten", 0);
    let paid = deposit(&rig, &vault).await;
    let spend = vault.spend(&[paid], elsewhere(), DEPOSIT - Amount::from_sat(1_000));
    rig.chain.broadcast(&spend).await.unwrap();
    rig.mine(1).await;
    rig.chain.reorganise(1, &[paid.outpoint.txid]).await.unwrap();
    assert_eq!(rig.chain.script_history(&vault.hash()).await.unwrap(), []);
    assert_eq!(rig.chain.status(&spend.compute_txid()).await.unwrap(), None);
}

#[tokio::test]
async fn the_wallet_pays_again_and_again_without_a_block() {
    let config = KernelConfig { initial_blocks: 101, ..KernelConfig::default() };
    let chain = KernelChain::open(config).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 101);
    let vault = Vault::new("again", 0);
    // Two rewards are ripe; the rest is change of change.
    for _ in 0..30 {
        chain.send(&vault.script(), DEPOSIT).await.unwrap();
    }
    let payments = (0..50).map(|i| (Vault::new(&format!("viewer {i}"), 0).script(), DEPOSIT)).collect();
    chain.send_many(payments).await.unwrap();
    assert_eq!(chain.mempool_len().unwrap(), 31);
    chain.mine(1).await.unwrap();
    assert_eq!(chain.mempool_len().unwrap(), 0);
    assert_eq!(chain.script_unspent(&vault.hash()).await.unwrap().len(), 30);
}

#[tokio::test]
async fn the_wallet_says_when_it_has_too_little() {
    let chain = KernelChain::open(KernelConfig { initial_blocks: 3, ..KernelConfig::default() }).await.unwrap();
    let error = chain.send(&elsewhere(), DEPOSIT).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("insufficient-funds", Fault::Misuse));
    assert!(matches!(error, ChainError::InsufficientFunds { available: Amount::ZERO, .. }));
}

#[tokio::test]
async fn a_reorganisation_cannot_go_below_the_genesis_block() {
    let chain = KernelChain::open(KernelConfig { initial_blocks: 3, ..KernelConfig::default() }).await.unwrap();
    assert_eq!(chain.reorganise(4, &[]).await.unwrap_err().code(), "chain-misuse");
    chain.reorganise(3, &[]).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 4);
}
