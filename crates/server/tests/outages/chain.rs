//! A chain for months of blocks: consensus for locks, double spends and scripts, a mempool with replacement, and a price
//! for room in a block.
//!
//! The embedded chain makes at most five hundred blocks a second, and takes every transaction into the next one whatever it pays.
//! This one keeps books instead of blocks. It takes a transaction only if its lock has passed (BIP 113), its inputs are
//! unspent, its amounts add up, and Bitcoin Core's own interpreter accepts every input. A block takes what pays at least the
//! price that the weather names for its height, and before all of it what was handed to the miner himself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use rillpay_chain::{
    BlockRef, Chain, ChainError, Change, FeeEstimates, Outspend, Reason, Refusal, ScriptHash, Spending, Status, Tip,
    TxInfo, Utxo,
};
use rillpay_channel::bitcoin::absolute::LockTime;
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::consensus::serialize;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::transaction::Version;
use rillpay_channel::bitcoin::{
    Amount, Block, BlockHash, FeeRate, Network, OutPoint, Script, Transaction, TxIn, TxOut, Txid,
};
use tokio::sync::watch;

use crate::weather::Weather;

/// Blocks at the start.
pub(crate) const FIRST_HEIGHT: u32 = 1_000;
/// Blocks over which a patient estimate looks back.
const PATIENT: u16 = 6;
const RELAY: FeeRate = FeeRate::BROADCAST_MIN;

/// A transaction in a block or in the mempool.
struct Known {
    tx: Transaction,
    prevouts: Vec<TxOut>,
    fee: Amount,
    /// `None` in the mempool.
    height: Option<u32>,
}

impl Known {
    fn rate(&self) -> FeeRate {
        self.fee / self.tx.weight()
    }
}

#[derive(Default)]
struct Books {
    tip: u32,
    known: HashMap<Txid, Known>,
    /// In the order of arrival.
    waiting: Vec<Txid>,
    by_script: HashMap<ScriptHash, Vec<OutPoint>>,
    /// In blocks and in the mempool.
    spenders: HashMap<OutPoint, (Txid, u32)>,
    /// Handed to the miner: in the next block, whatever the mempool holds.
    favoured: Vec<Transaction>,
    deposits: u64,
}

pub(crate) struct ModelChain {
    books: Mutex<Books>,
    weather: Weather,
    changes: watch::Sender<Change>,
    /// Counts how often the tip was asked for: the watcher does so once, at the begin of each pass.
    passes: watch::Sender<u64>,
}

impl Books {
    fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.known.get(&outpoint.txid)?.tx.output.get(usize::try_from(outpoint.vout).ok()?)
    }

    fn status(&self, txid: &Txid) -> Option<Status> {
        Some(self.known.get(txid)?.height.map_or(Status::Unconfirmed, |height| Status::Confirmed(block_at(height))))
    }

    /// What spends an output in a block, or at all.
    fn spender(&self, outpoint: &OutPoint, in_block: bool) -> Option<Txid> {
        let (txid, _) = self.spenders.get(outpoint)?;
        (!in_block || self.known.get(txid)?.height.is_some()).then_some(*txid)
    }

    /// Consensus for the next block, and the outputs that it spends.
    fn judge(&self, tx: &Transaction) -> Result<Vec<TxOut>, Refusal> {
        let lock = tx.lock_time.to_consensus_u32();
        if lock > self.tip {
            return Err(Refusal::with(Reason::NonFinal, format!("locked until {lock}, and the tip is {}", self.tip)));
        }
        let mut spent = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            let outpoint = &input.previous_output;
            let confirmed = self.known.get(&outpoint.txid).is_some_and(|known| known.height.is_some());
            let output = self.output(outpoint).filter(|_| confirmed && self.spender(outpoint, true).is_none());
            spent.push(output.ok_or_else(|| Refusal::with(Reason::MissingInputs, outpoint.to_string()))?.clone());
        }
        if total(&tx.output) > total(&spent) {
            return Err(Refusal::plain(Reason::InBelowOut));
        }
        if let Some(output) = tx.output.iter().find(|output| output.value < output.script_pubkey.minimal_non_dust()) {
            return Err(Refusal::with(Reason::Dust, output.value.to_string()));
        }
        if !is_signed(tx, &spent) {
            return Err(Refusal::plain(Reason::ScriptFailed));
        }
        Ok(spent)
    }

    /// As a node takes a transaction into its mempool; what it replaces (BIP 125) leaves.
    fn accept(&mut self, tx: &Transaction) -> Result<Txid, Refusal> {
        let txid = tx.compute_txid();
        match self.known.get(&txid).map(|known| known.height) {
            Some(None) => return Ok(txid),
            Some(Some(_)) => return Err(Refusal::plain(Reason::AlreadyKnown)),
            None => {}
        }
        let prevouts = self.judge(tx)?;
        let known = Known { tx: tx.clone(), fee: total(&prevouts) - total(&tx.output), prevouts, height: None };
        let relay = RELAY.fee_vb(tx.weight().to_vbytes_ceil()).unwrap();
        if known.fee < relay {
            return Err(Refusal::plain(Reason::FeeTooLow));
        }
        let rivals = self.rivals(tx);
        let fees: Amount = rivals.iter().map(|rival| self.known[rival].fee).sum();
        let better = rivals.iter().all(|rival| known.rate() > self.known[rival].rate());
        if !rivals.is_empty() && (!better || known.fee < fees + relay) {
            return Err(Refusal::plain(Reason::InsufficientFee));
        }
        rivals.iter().for_each(|rival| self.evict(rival));
        self.waiting.push(txid);
        self.admit(txid, known);
        Ok(txid)
    }

    /// What waits and spends the same.
    fn rivals(&self, tx: &Transaction) -> Vec<Txid> {
        let spender = |input: &TxIn| self.spender(&input.previous_output, false);
        let mut rivals: Vec<_> = tx.input.iter().filter_map(spender).collect();
        rivals.sort_unstable();
        rivals.dedup();
        rivals
    }

    fn admit(&mut self, txid: Txid, known: Known) {
        for (vin, input) in (0..).zip(&known.tx.input) {
            self.spenders.insert(input.previous_output, (txid, vin));
        }
        for (vout, output) in (0..).zip(&known.tx.output) {
            let outpoints = self.by_script.entry(ScriptHash::of(&output.script_pubkey)).or_default();
            outpoints.push(OutPoint { txid, vout });
        }
        self.known.insert(txid, known);
    }

    /// Nothing ever spends from what waits here, so nothing else goes with it.
    fn evict(&mut self, txid: &Txid) {
        let Some(known) = self.known.remove(txid) else { return };
        self.waiting.retain(|other| other != txid);
        for input in &known.tx.input {
            self.spenders.remove(&input.previous_output);
        }
        for output in &known.tx.output {
            let outpoints = self.by_script.entry(ScriptHash::of(&output.script_pubkey)).or_default();
            outpoints.retain(|outpoint| outpoint.txid != *txid);
        }
    }

    fn mine(&mut self, price: FeeRate) {
        let height = self.tip + 1;
        for tx in std::mem::take(&mut self.favoured) {
            // What came first stays.
            let Ok(prevouts) = self.judge(&tx) else { continue };
            self.rivals(&tx).iter().for_each(|rival| self.evict(rival));
            let fee = total(&prevouts) - total(&tx.output);
            self.admit(tx.compute_txid(), Known { tx, fee, prevouts, height: Some(height) });
        }
        let mut staying = vec![];
        for txid in std::mem::take(&mut self.waiting) {
            let known = self.known.get_mut(&txid).unwrap();
            if known.prevouts.is_empty() || known.rate() >= price {
                known.height = Some(height);
            } else {
                staying.push(txid);
            }
        }
        self.waiting = staying;
        self.tip = height;
    }
}

impl ModelChain {
    pub(crate) fn new(weather: Weather) -> Self {
        let books = Books { tip: FIRST_HEIGHT, ..Books::default() };
        let change = Change { tip: tip_at(FIRST_HEIGHT), blocks: 0, mempool: 0 };
        Self { books: Mutex::new(books), weather, changes: watch::channel(change).0, passes: watch::channel(0).0 }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn tell(&self) {
        let tip = tip_at(self.books().tip);
        self.changes.send_modify(|change| {
            change.blocks += u64::from(change.tip.height != tip.height);
            change.mempool += 1;
            change.tip = tip;
        });
    }

    pub(crate) fn height(&self) -> u32 {
        self.books().tip
    }

    /// Somebody pays a script; it is in the next block, whatever that costs him.
    pub(crate) fn deposit(&self, script: &Script, value: Amount) -> OutPoint {
        let mut books = self.books();
        books.deposits += 1;
        // An input that nobody knows makes each of them another one.
        let mut of_another = [0; 32];
        of_another[..8].copy_from_slice(&books.deposits.to_be_bytes());
        let previous_output = OutPoint { txid: Txid::from_byte_array(of_another), vout: 0 };
        let tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output, ..TxIn::default() }],
            output: vec![TxOut { value, script_pubkey: script.to_owned() }],
        };
        let txid = tx.compute_txid();
        books.waiting.push(txid);
        books.admit(txid, Known { tx, prevouts: vec![], fee: Amount::ZERO, height: None });
        OutPoint { txid, vout: 0 }
    }

    /// Hands a transaction to the miner himself: where it is valid it is in the next block, before all others.
    pub(crate) fn favour(&self, tx: Transaction) {
        self.books().favoured.push(tx);
    }

    /// Makes the next block.
    pub(crate) fn mine(&self) {
        {
            let mut books = self.books();
            let price = self.weather.price(books.tip + 1);
            books.mine(price);
        }
        self.tell();
    }

    /// Waits until the server has made a whole pass over what is known now: its passes follow each other, so one that began
    /// after now is over when the next one begins.
    pub(crate) async fn watched(&self) {
        let mut passes = self.passes.subscribe();
        for _ in 0..2 {
            let before = *passes.borrow_and_update();
            self.tell();
            crate::common::soon("a pass", passes.wait_for(|pass| *pass > before)).await.unwrap();
        }
    }

    /// The transaction that spends an output in a block, its fee, and its block's height.
    pub(crate) fn spending(&self, outpoint: &OutPoint) -> Option<(Transaction, Amount, u32)> {
        let books = self.books();
        let known = books.known.get(&books.spender(outpoint, true)?)?;
        Some((known.tx.clone(), known.fee, known.height?))
    }
}

fn total(outputs: &[TxOut]) -> Amount {
    outputs.iter().map(|output| output.value).sum()
}

/// Whether Bitcoin Core's interpreter accepts every input.
fn is_signed(tx: &Transaction, spent: &[TxOut]) -> bool {
    let kernel_tx = bitcoinkernel::Transaction::new(&serialize(tx)).unwrap();
    let none = Vec::<bitcoinkernel::TxOut>::new();
    let data = bitcoinkernel::PrecomputedTransactionData::new(&kernel_tx, &none).unwrap();
    // No input here is Taproot, whose rules need all spent outputs up front.
    let flags = bitcoinkernel::VERIFY_ALL_PRE_TAPROOT;
    spent.iter().enumerate().all(|(index, output)| {
        let script = bitcoinkernel::ScriptPubkey::new(output.script_pubkey.as_bytes()).unwrap();
        let value = i64::try_from(output.value.to_sat()).unwrap();
        bitcoinkernel::verify(&script, Some(value), &kernel_tx, index, Some(flags), &data).is_ok()
    })
}

fn hash_at(height: u32) -> BlockHash {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&height.to_be_bytes());
    BlockHash::from_byte_array(bytes)
}

fn block_at(height: u32) -> BlockRef {
    BlockRef { height, hash: hash_at(height), time: height * 600 }
}

fn tip_at(height: u32) -> Tip {
    Tip { height, hash: hash_at(height), time: height * 600, median_time: height * 600 }
}

#[async_trait::async_trait]
impl Chain for ModelChain {
    fn network(&self) -> Network {
        Network::Regtest
    }

    async fn tip(&self) -> Result<Tip, ChainError> {
        let tip = tip_at(self.height());
        self.passes.send_modify(|passes| *passes += 1);
        Ok(tip)
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        Ok((height <= self.height()).then(|| hash_at(height)))
    }

    async fn block_header(&self, _: &BlockHash) -> Result<Option<Header>, ChainError> {
        Err(ChainError::Misuse("this chain has books, no blocks"))
    }

    async fn block(&self, _: &BlockHash) -> Result<Option<Block>, ChainError> {
        Err(ChainError::Misuse("this chain has books, no blocks"))
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        let books = self.books();
        let info = |known: &Known| Some(TxInfo::new(&known.tx, &known.prevouts, books.status(txid)?, Network::Regtest));
        Ok(books.known.get(txid).and_then(info))
    }

    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        Ok(self.books().known.get(txid).map(|known| known.tx.clone()))
    }

    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        Ok(self.books().status(txid))
    }

    async fn script_history(&self, _: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        Err(ChainError::Misuse("nobody asks this chain for a history"))
    }

    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        let books = self.books();
        let utxo = |outpoint: &OutPoint| {
            let (output, status) = (books.output(outpoint)?, books.status(&outpoint.txid)?);
            let unspent = books.spender(outpoint, false).is_none();
            unspent.then_some(Utxo { txid: outpoint.txid, vout: outpoint.vout, status, value: output.value })
        };
        Ok(books.by_script.get(script).into_iter().flatten().filter_map(utxo).collect())
    }

    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        let books = self.books();
        let spending = books.spenders.get(outpoint).and_then(|(txid, vin)| {
            Some(Outspend::Spent(Spending { txid: *txid, vin: *vin, status: books.status(txid)? }))
        });
        Ok(spending.unwrap_or(Outspend::Unspent))
    }

    /// Yesterday's prices, as everybody's: what the last block took, and for the patient the least of the last few.
    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        let tip = self.height();
        let last = self.weather.price(tip);
        let least = (0..PATIENT.into()).map(|ago| self.weather.price(tip - ago)).min().unwrap();
        Ok(FeeEstimates::new(RELAY, [(1, last), (PATIENT, least)]))
    }

    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        let accepted = self.books().accept(tx)?;
        self.tell();
        Ok(accepted)
    }

    fn changes(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    fn synced_at(&self) -> Option<Instant> {
        Some(Instant::now())
    }
}
