//! The chain's moods: fees that rise, and a backend that is away.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rillpay_chain::{
    Chain, ChainError, Change, FeeEstimates, Outspend, Reason, Refusal, ScriptHash, Status, Tip, TxInfo, Utxo,
};
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::{Block, BlockHash, FeeRate, Network, OutPoint, Script, Transaction, Txid};
use rillpay_node::{Node, Options};
use tokio::sync::watch;

use crate::on_chain::copied_commitment;
use crate::pair::{BTC, FEES, HITESH, IRENE, Pair, btc, until};

/// A chain, with fee rates of the test's choosing. It notes which scripts of channels are followed: the wallet has
/// none of that kind.
pub(crate) struct Weather {
    chain: Arc<dyn Chain>,
    pub(crate) sat_per_vb: AtomicU32,
    pub(crate) is_away: AtomicBool,
    /// Nothing is taken, and packages are unknown.
    pub(crate) is_full: AtomicBool,
    /// The children that were handed over together with their parents.
    pub(crate) children: Mutex<Vec<Txid>>,
    followed: Mutex<HashSet<ScriptHash>>,
}

impl Weather {
    pub(crate) fn over(chain: impl Chain + 'static, sat_per_vb: u32) -> Arc<Self> {
        Arc::new(Self {
            chain: Arc::new(chain),
            sat_per_vb: sat_per_vb.into(),
            is_away: false.into(),
            is_full: false.into(),
            children: Mutex::default(),
            followed: Mutex::default(),
        })
    }

    fn here(&self) -> Result<&dyn Chain, ChainError> {
        let away = self.is_away.load(Ordering::Relaxed);
        if away { Err(ChainError::Unavailable("away".to_owned())) } else { Ok(&*self.chain) }
    }
}

#[async_trait]
impl Chain for Weather {
    fn network(&self) -> Network {
        self.chain.network()
    }
    async fn tip(&self) -> Result<Tip, ChainError> {
        self.here()?.tip().await
    }
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        self.here()?.block_hash(height).await
    }
    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        self.here()?.block_header(hash).await
    }
    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.here()?.block(hash).await
    }
    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        self.here()?.transaction(txid).await
    }
    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        self.here()?.raw_transaction(txid).await
    }
    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        self.here()?.status(txid).await
    }
    async fn follow(&self, script: &Script, since: u32) -> Result<(), ChainError> {
        if script.is_p2wsh() {
            self.followed.lock().unwrap().insert(ScriptHash::of(script));
        }
        self.chain.follow(script, since).await
    }
    async fn unfollow(&self, script: &ScriptHash) -> Result<(), ChainError> {
        self.followed.lock().unwrap().remove(script);
        self.chain.unfollow(script).await
    }
    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        self.here()?.script_history(script).await
    }
    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        self.here()?.script_unspent(script).await
    }
    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        self.here()?.outspend(outpoint).await
    }
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let rate = FeeRate::from_sat_per_vb_u32(self.sat_per_vb.load(Ordering::Relaxed));
        self.here().map(|_| FeeEstimates::new(FeeRate::BROADCAST_MIN, [(1, rate), (144, rate)]))
    }
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Refusal::plain(Reason::FeeTooLow).into());
        }
        self.here()?.broadcast(tx).await
    }
    async fn submit_package(&self, [_, child]: [&Transaction; 2]) -> Result<bool, ChainError> {
        self.children.lock().unwrap().push(child.compute_txid());
        Ok(false)
    }
    fn changes(&self) -> watch::Receiver<Change> {
        self.chain.changes()
    }
    fn synced_at(&self) -> Option<Instant> {
        self.chain.synced_at()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commitments_follow_the_fees_of_the_chain() {
    let mut pair = Pair::open().await;
    let weather = Weather::over(pair.chain.clone(), 1);
    weather.is_away.store(true, Ordering::Relaxed);
    pair.nodes[HITESH].stop().await;

    // Nobody is talked to before the chain was looked at.
    let (chain, folder) = (Arc::clone(&weather), pair.folders[HITESH].path().to_owned());
    let starting = tokio::spawn(Node::start(Options::new(folder), chain));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!starting.is_finished());
    until("he is away", || async { pair.state(IRENE).await == Some("offline") }).await;
    weather.is_away.store(false, Ordering::Relaxed);
    pair.nodes[HITESH] = starting.await.unwrap().unwrap();
    pair.is_open().await;

    // He pays 10 times as much for a commitment: Irene's copy of it pays that when she closes alone.
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    weather.sat_per_vb.store(10, Ordering::Relaxed);
    let follows = || {
        let commitment = copied_commitment(pair.folders[IRENE].path());
        let paid: u64 = commitment.output.iter().map(|output| output.value.to_sat()).sum();
        (9..=11).contains(&((10 * BTC - paid) * 4 / commitment.weight().to_wu()))
    };
    pair.mine_until(10, "hers pays as much", async || follows()).await;
    // Told that it is over, he would broadcast his own.
    weather.is_away.store(true, Ordering::Relaxed);
    let txid: Txid = pair.nodes[IRENE].close(&pair.channel, true).await.unwrap().txid.unwrap().parse().unwrap();
    until("the commitment waits", || async { pair.chain.status(&txid).await.unwrap().is_some() }).await;
    weather.is_away.store(false, Ordering::Relaxed);
    let commitment = pair.chain.transaction(&txid).await.unwrap().unwrap();
    let rate = commitment.fee.to_sat() * 4 / commitment.weight;
    assert!((9..=11).contains(&rate), "{rate} sat/vB");
    let before = pair.on_chain(HITESH).await;
    pair.mine_until(4, "his part", || async { pair.on_chain(HITESH).await > before }).await;
    let his = pair.on_chain(HITESH).await - before;
    assert!(his <= 7 * BTC && his > 7 * BTC - FEES, "{his}");

    assert_eq!(weather.followed.lock().unwrap().len(), 2, "the funding and his part");
    pair.mine_until(10, "he forgets it", || async { pair.state(HITESH).await.is_none() }).await;
    until("nothing of it is followed", || async { weather.followed.lock().unwrap().is_empty() }).await;
}
