//! A real Bitcoin Core node on regtest, in the hand of a test.
//!
//! The program is the one that `RILLPAY_BITCOIND` names, else the `bitcoind` on `PATH`, else the one that
//! `scripts/setup-bitcoind.mjs` has put into the cache. A test that needs it fails without it, and says so.
//!
//! Each [`Node`] has a folder and ports of its own, and ends with the value that holds it. It has no wallet; its coins
//! belong to a script that anybody can spend from, so paying needs no key.
//!
//! What goes wrong here is the end of the test: these functions panic.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::opcodes::{OP_TRUE, all::OP_DROP};
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, BlockHash, Network, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bitcoind::rpc::{Bound, Rpc};
use crate::bitcoind::{Auth, BitcoindOptions};
use crate::{Chain, ChainError};

/// Blocks that a new node has: 20 rewards can be spent.
pub const INITIAL_BLOCKS: u32 = 120;
/// What [`Node::send`] offers the miner.
const FEE: Amount = Amount::from_sat(1_000);
/// How long a node may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a new node is started with other ports when it does not come up.
const TRIES: u32 = 2;

/// A regtest node.
pub struct Node {
    dir: TempDir,
    rpc_port: u16,
    p2p_port: u16,
    args: Vec<String>,
    child: Mutex<Option<Child>>,
    rpc: Rpc,
    /// Makes each branch another one.
    branches: Mutex<u32>,
}

impl Node {
    /// A node with [`INITIAL_BLOCKS`] blocks.
    pub async fn start() -> Self {
        Node::start_with(&[]).await
    }

    /// A node with more arguments, such as `-txindex` or `-prune=1`.
    pub async fn start_with(args: &[&str]) -> Self {
        let mut tries = 0;
        loop {
            let node = Node::new(args);
            match node.launch().await {
                Ok(()) => {
                    node.mine(INITIAL_BLOCKS).await;
                    return node;
                }
                // Another program may have taken a port.
                Err(error) if tries == TRIES => panic!("{error}"),
                Err(_) => tries += 1,
            }
        }
    }

    fn new(args: &[&str]) -> Self {
        let dir = TempDir::with_prefix("rillpay-bitcoind-").expect("a temporary folder can be made");
        let (rpc_port, p2p_port) = two_free_ports();
        let cookie = dir.path().join("regtest/.cookie");
        let url = format!("http://127.0.0.1:{rpc_port}");
        let rpc = Rpc::new(&url, Auth::Cookie(cookie), Network::Regtest).expect("this is a plain URL");
        let args = args.iter().map(ToString::to_string).collect();
        Node { dir, rpc_port, p2p_port, args, child: Mutex::new(None), rpc, branches: Mutex::new(0) }
    }

    /// Where its RPC server listens. It stays the same over restarts.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    /// Its cookie file, written anew at each start.
    pub fn cookie(&self) -> PathBuf {
        self.dir.path().join("regtest/.cookie")
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a backend needs to follow it closely, keeping nothing on disk.
    pub fn options(&self) -> BitcoindOptions {
        BitcoindOptions {
            url: self.url(),
            auth: Auth::Cookie(self.cookie()),
            network: Network::Regtest,
            poll: Duration::from_millis(100),
            data_dir: None,
        }
    }

    /// Starts it after it was stopped or killed, and waits until it answers.
    pub async fn start_again(&self) {
        if let Err(error) = self.launch().await {
            panic!("{error}");
        }
    }

    async fn launch(&self) -> Result<(), String> {
        let mut running = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(running.is_none(), "the node is running");
        let child = Command::new(program())
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .args([format!("-bind=127.0.0.1:{}", self.p2p_port), format!("-port={}", self.p2p_port)])
            .args([
                "-regtest",
                "-server",
                "-dnsseed=0",
                "-fixedseeds=0",
                "-discover=0",
                "-natpmp=0",
                "-printtoconsole=0",
            ])
            .args(["-dbcache=16", "-maxconnections=4", "-rpcthreads=4", "-blockfilterindex=0"])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bitcoind can be started");
        running.replace(child);
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = running;
        let since = Instant::now();
        // It answers before it has read the mempool of its last life.
        loop {
            let error = match self.try_call::<Value>("getmempoolinfo", json!([])).await {
                Ok(info) if info["loaded"] == true => return Ok(()),
                Ok(_) => "its mempool is not loaded".to_owned(),
                Err(error) => error.to_string(),
            };
            if since.elapsed() > PATIENCE {
                return Err(format!("bitcoind does not come up: {error}; it says: {}", self.log()));
            }
            if self.has_ended() {
                return Err(format!("bitcoind ended at once; it says: {}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it as an operator would: it writes down everything, its mempool too.
    pub async fn stop(&self) {
        self.call::<Value>("stop", json!([])).await;
        let since = Instant::now();
        while !self.has_ended() {
            assert!(since.elapsed() < PATIENCE, "bitcoind does not stop");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends it as a power failure would.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may have ended by itself, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the node; panics where it does not answer as expected.
    pub async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> T {
        match self.try_call(method, params).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Asks the node.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] with the node's words or the reason why it could not be asked.
    pub async fn try_call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, ChainError> {
        Ok(self.rpc.call(method, params, Bound::LARGE).await?)
    }

    /// Height and hash of its best block.
    pub async fn tip(&self) -> (u32, BlockHash) {
        let info: Value = self.call("getblockchaininfo", json!([])).await;
        let height = info["blocks"].as_u64().and_then(|height| u32::try_from(height).ok());
        let hash = info["bestblockhash"].as_str().and_then(|hash| hash.parse().ok());
        height.zip(hash).expect("a node has a tip")
    }

    /// Waits until a backend has looked at the node after this call, and is in step with it.
    pub async fn seen_by(&self, chain: &dyn Chain) {
        let since = Instant::now();
        let mut last = String::new();
        while since.elapsed() < PATIENCE {
            let looked = chain.synced_at().is_some_and(|synced| synced >= since);
            match chain.tip().await {
                Ok(tip) if looked && (tip.height, tip.hash) == self.tip().await => return,
                Ok(tip) => last = format!("it is at {}", tip.height),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the backend does not come into step: {last}");
    }

    /// Makes blocks of what waits in the mempool, as far as the node's own rules let it.
    pub async fn mine(&self, count: u32) -> Vec<BlockHash> {
        self.call("generatetoaddress", json!([count, address(&purse())])).await
    }

    /// Makes one block of exactly these transactions, in this order. Consensus alone decides.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] with the node's words when no valid block can hold them.
    pub async fn mine_exactly(&self, transactions: &[Transaction]) -> Result<BlockHash, ChainError> {
        let transactions: Vec<String> = transactions.iter().map(serialize_hex).collect();
        self.put_block(&purse(), &transactions).await
    }

    /// Replaces the newest `depth` blocks by `depth + 1` without transactions. What the old ones confirmed waits again.
    pub async fn reorganise(&self, depth: u32) {
        self.reorganise_with(depth, &[]).await;
    }

    /// As [`reorganise`](Self::reorganise), with transactions in the new branch's first block. Whatever conflicts with
    /// them is gone.
    pub async fn reorganise_with(&self, depth: u32, transactions: &[Transaction]) {
        self.abandon(depth).await;
        self.branch(depth + 1, transactions).await;
    }

    /// Makes blocks that are others than any made before on the same tip. The first holds these transactions, and the
    /// mempool stays as it is.
    pub async fn branch(&self, count: u32, transactions: &[Transaction]) {
        // Another reward than before, or the same second would make the same block, which may be known to be invalid.
        let branch = {
            let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
            *branches += 1;
            i64::from(*branches)
        };
        let program = Builder::new().push_int(branch).push_opcode(OP_DROP).push_opcode(OP_TRUE).into_script();
        let payout = ScriptBuf::new_p2wsh(&program.wscript_hash());
        let first: Vec<String> = transactions.iter().map(serialize_hex).collect();
        for block in 0..count {
            let made = self.put_block(&payout, if block == 0 { &first } else { &[] }).await;
            made.expect("the branch's blocks are valid");
        }
    }

    /// Takes the newest `depth` blocks off the chain and puts nothing in their place: no network does that.
    pub async fn abandon(&self, depth: u32) {
        let (height, _) = self.tip().await;
        let first: BlockHash = self.call("getblockhash", json!([height + 1 - depth])).await;
        self.call::<Value>("invalidateblock", json!([first])).await;
    }

    /// Pays from the node's coins and broadcasts.
    pub async fn send(&self, to: &Script, amount: Amount) -> Txid {
        let tx = self.pay(to, amount).await;
        self.call("sendrawtransaction", json!([serialize_hex(&tx)])).await
    }

    /// A payment from the node's coins that nobody has been told of. It can be replaced.
    pub async fn pay(&self, to: &Script, amount: Amount) -> Transaction {
        let (outpoint, value) = self.coin(amount + FEE).await;
        let output = |value, script: &Script| TxOut { value, script_pubkey: script.to_owned() };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: outpoint,
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[anyone().to_bytes()]),
                ..TxIn::default()
            }],
            output: vec![output(amount, to), output(value - amount - FEE, &purse())],
        }
    }

    /// Fills its mempool with transactions that pay this much, so that it refuses what pays less. For a node with
    /// `-maxmempool=5`, which is the least.
    pub async fn crowd(&self, sat_per_vb: u32) {
        const COINS: usize = 60;
        // As large as nodes relay, of outputs that are no dust.
        const PARTS: usize = 2_200;
        let part = TxOut { value: Amount::from_sat(330), script_pubkey: purse() };
        let coin = TxOut { value: Amount::ONE_BTC / 10, script_pubkey: purse() };
        let with_parts = async |part: TxOut, count: usize, fee: Amount| {
            let mut tx = self.pay(&purse(), part.value * count as u64 + fee).await;
            tx.output.splice(..1, std::iter::repeat_n(part, count));
            serialize_hex(&tx)
        };
        let coins = with_parts(coin, COINS, FEE * 3).await;
        self.call::<Txid>("sendrawtransaction", json!([coins])).await;
        self.mine(1).await;
        let fee = Amount::from_sat(u64::from(sat_per_vb) * 96_000);
        for _ in 0..COINS {
            let filler = with_parts(part.clone(), PARTS, fee).await;
            if self.try_call::<Txid>("sendrawtransaction", json!([filler])).await.is_err() {
                return;
            }
        }
        panic!("the mempool does not fill up: it needs -maxmempool=5");
    }

    /// A confirmed and ripe coin of at least this value that nothing spends.
    async fn coin(&self, least: Amount) -> (OutPoint, Amount) {
        let found: Value =
            self.call("scantxoutset", json!(["start", [format!("raw({})", purse().to_hex_string())]])).await;
        let coins = found["unspents"].as_array().expect("a list");
        let outpoint = |coin: &Value| OutPoint {
            txid: coin["txid"].as_str().and_then(|txid| txid.parse().ok()).unwrap_or(Txid::all_zeros()),
            vout: coin["vout"].as_u64().and_then(|vout| u32::try_from(vout).ok()).unwrap_or(0),
        };
        let ripe = |coin: &&Value| coin["coinbase"] == false || coin["confirmations"].as_u64() > Some(100);
        let value = |coin: &Value| Amount::from_str_in(&coin["amount"].to_string(), bitcoin::Denomination::Bitcoin);
        let ripe = coins.iter().filter(ripe).map(|coin| (outpoint(coin), value(coin).expect("an amount")));
        let enough: Vec<(OutPoint, Amount)> = ripe.filter(|(_, value)| *value >= least).collect();
        let named: Vec<Value> = enough.iter().map(|(coin, _)| json!({"txid": coin.txid, "vout": coin.vout})).collect();
        let spending: Vec<Value> = self.call("gettxspendingprevout", json!([named])).await;
        let free = enough.iter().zip(&spending).find(|(_, spending)| spending.get("spendingtxid").is_none());
        *free.expect("the node has a free coin: mine some blocks").0
    }

    async fn put_block(&self, payout: &Script, transactions: &[String]) -> Result<BlockHash, ChainError> {
        let made: Value = self.try_call("generateblock", json!([address(payout), transactions])).await?;
        Ok(made["hash"].as_str().and_then(|hash| hash.parse().ok()).expect("a block has a hash"))
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("regtest/debug.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The bitcoind that tests use.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("RILLPAY_BITCOIND") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "RILLPAY_BITCOIND names {}, which is not there", named.display());
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("bitcoind")).chain(cached());
    let found = found.find(|file| file.is_file());
    found.expect("there is no bitcoind: run `npm run setup`, or name one in RILLPAY_BITCOIND")
}

/// What the set-up script has built, the newest version first.
fn cached() -> Vec<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let entries = named.or_else(home).and_then(|cache| std::fs::read_dir(cache.join("rillpay")).ok());
    let version = |folder: &Path| -> Option<Vec<u32>> {
        let version = folder.file_name()?.to_str()?.strip_prefix("bitcoind-")?;
        version.split('.').map(|number| number.parse().ok()).collect()
    };
    let folders = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut built: Vec<_> = folders.filter_map(|folder| Some((version(&folder)?, folder.join("bitcoind")))).collect();
    built.sort_by(|a, b| b.cmp(a));
    built.into_iter().map(|(_, program)| program).collect()
}

/// Two ports that are free now. Another program may take one before the node does.
fn two_free_ports() -> (u16, u16) {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let (a, b) = (free(), free());
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    (port(&a), port(&b))
}

/// What anybody can satisfy.
fn anyone() -> ScriptBuf {
    Builder::new().push_opcode(OP_TRUE).into_script()
}

/// Where the node's own coins are.
fn purse() -> ScriptBuf {
    ScriptBuf::new_p2wsh(&anyone().wscript_hash())
}

fn address(script: &Script) -> Address {
    Address::from_script(script, Network::Regtest).expect("a witness program has an address")
}
