//! What the mempool takes: consensus first, so that the next block can hold everything in it, then the relay rules
//! that decide on the real network whether anybody would ever see the transaction.
//!
//! The checks follow the order of Bitcoin Core's `MemPoolAccept`, cheap ones first and scripts last, and use its
//! reasons. Not imitated: limits on chains of unconfirmed transactions, packages, ephemeral dust and the
//! policy-only script flags; a backend with a real node has them.

use std::collections::{HashMap, HashSet};

use bitcoin::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::policy::{MAX_STANDARD_TX_SIGOPS_COST, MAX_STANDARD_TX_WEIGHT};
use bitcoin::{Amount, FeeRate, Script, Sequence, Transaction, TxOut, Txid, Weight};

use super::engine::Engine;
use super::index::{Coin, Index};
use super::mempool::{Entry, Mempool};
use super::total;
use crate::{Reason, Refusal};

/// A block reward can be spent in the 100th block after its own.
pub(super) const COINBASE_MATURITY: u32 = 100;
/// Without a witness, smaller transactions can be mistaken for inner nodes of a Merkle tree.
const MIN_STRIPPED_SIZE: usize = 65;
/// The longest input script that nodes relay, in bytes.
const MAX_SCRIPT_SIG: usize = 1650;
/// Transactions that one replacement may evict (BIP 125).
const MAX_REPLACED: usize = 100;
/// Total weight of waiting transactions: 20 million virtual bytes.
const MAX_POOL_WEIGHT: Weight = Weight::from_wu(80_000_000);

/// What the relay rules charge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// The lowest fee rate that is relayed; also the least by which a replacement must pay more for its own size.
    pub(super) min_relay: FeeRate,
}

/// Why a transaction knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Somebody broadcasts it: every rule holds.
    Broadcast,
    /// It was accepted before and comes back from an abandoned block or a restart: only consensus counts, and it
    /// replaces nothing.
    Return,
}

/// A transaction that passed, and what has to leave for it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) fee: Amount,
    pub(super) weight: Weight,
    pub(super) sigops: u64,
    pub(super) prevouts: Vec<TxOut>,
    /// Transactions that it replaces, with their descendants.
    pub(super) replaces: HashSet<Txid>,
}

/// Everything that the verdict depends on.
pub(super) struct Rules<'a> {
    pub(super) engine: &'a Engine,
    pub(super) index: &'a Index,
    pub(super) mempool: &'a Mempool,
    pub(super) policy: Policy,
}

impl Rules<'_> {
    /// Judges a transaction for the next block.
    pub(super) fn check(&self, tx: &Transaction, admission: Admission) -> Result<Accepted, Refusal> {
        let txid = tx.compute_txid();
        let weight = tx.weight();
        check_form(tx)?;
        if admission == Admission::Broadcast {
            check_standard(tx, weight)?;
        }
        self.check_final(tx)?;
        if self.mempool.get(&txid).is_some() {
            return Err(Refusal::plain(Reason::AlreadyInMempool));
        }
        let coins = self.coins(tx, &txid)?;
        self.check_relative_locks(tx, &coins)?;
        let fee = self.check_values(tx, &coins)?;
        let prevouts: Vec<TxOut> = coins.into_iter().map(|coin| coin.output).collect();
        let sigops = sigop_cost(tx, &prevouts)?;
        let replaces = self.check_conflicts(tx, fee, weight, admission)?;
        if admission == Admission::Broadcast {
            let floor = fee_at(self.policy.min_relay, weight);
            if fee < floor {
                return Err(short_of(Reason::FeeTooLow, fee, floor));
            }
            if self.mempool.weight().checked_add(weight).is_none_or(|total| total > MAX_POOL_WEIGHT) {
                return Err(Refusal::plain(Reason::MempoolFull));
            }
        }
        self.engine
            .verify_scripts(tx, &prevouts)
            .map_err(|input| Refusal::with(Reason::ScriptFailed, format!("input {input} of {txid}")))?;
        Ok(Accepted { fee, weight, sigops, prevouts, replaces })
    }

    /// Absolute locks (BIP 113): heights against the next block, times against the median time past.
    fn check_final(&self, tx: &Transaction) -> Result<(), Refusal> {
        let lock = tx.lock_time.to_consensus_u32();
        let median = self.index.tip().map_or(0, |tip| tip.median_time);
        let reached = if lock < LOCK_TIME_THRESHOLD { self.index.next_height() } else { median };
        if lock == 0 || lock < reached || tx.input.iter().all(|input| input.sequence == Sequence::MAX) {
            return Ok(());
        }
        Err(Refusal::with(Reason::NonFinal, format!("locked until {lock}, now {reached}")))
    }

    /// The outputs that it spends, in input order, from chain or mempool.
    fn coins(&self, tx: &Transaction, txid: &Txid) -> Result<Vec<Coin>, Refusal> {
        if self.index.tx(txid).is_some() {
            return Err(Refusal::plain(Reason::AlreadyKnown));
        }
        let coin = |input: &bitcoin::TxIn| {
            let outpoint = &input.previous_output;
            let found = self.index.coin(outpoint).or_else(|| self.mempool.coin(outpoint));
            found.ok_or_else(|| Refusal::with(Reason::MissingInputs, outpoint.to_string()))
        };
        tx.input.iter().map(coin).collect()
    }

    /// Relative locks (BIP 68). A coin that waits in the mempool counts as confirmed in the next block.
    fn check_relative_locks(&self, tx: &Transaction, coins: &[Coin]) -> Result<(), Refusal> {
        if tx.version.0 < 2 {
            return Ok(());
        }
        let next = self.index.next_height();
        let median = u64::from(self.index.tip().map_or(0, |tip| tip.median_time));
        for (input, coin) in tx.input.iter().zip(coins) {
            let height = coin.height.unwrap_or(next);
            let ripe = match input.sequence.to_relative_lock_time() {
                None => true,
                Some(bitcoin::relative::LockTime::Blocks(blocks)) => {
                    height.saturating_add(u32::from(blocks.value())) <= next
                }
                Some(bitcoin::relative::LockTime::Time(intervals)) => {
                    let since = u64::from(self.index.median_time(height.saturating_sub(1)).unwrap_or(u32::MAX));
                    since.saturating_add(u64::from(intervals.value()).saturating_mul(512)) <= median
                }
            };
            if !ripe {
                return Err(Refusal::with(Reason::NonBip68Final, input.previous_output.to_string()));
            }
        }
        Ok(())
    }

    /// Rewards are ripe, sums are in range, and what goes out came in. Returns the fee.
    fn check_values(&self, tx: &Transaction, coins: &[Coin]) -> Result<Amount, Refusal> {
        let next = self.index.next_height();
        for coin in coins.iter().filter(|coin| coin.coinbase) {
            let age = next.saturating_sub(coin.height.unwrap_or(next));
            if age < COINBASE_MATURITY {
                return Err(Refusal::with(Reason::PrematureCoinbaseSpend, format!("{age} blocks old")));
            }
        }
        let total_in = total(coins.iter().map(|coin| coin.output.value));
        let total_out = total(tx.output.iter().map(|output| output.value));
        match (total_in, total_out) {
            (Some(paid), Some(received)) if paid <= Amount::MAX_MONEY => paid
                .checked_sub(received)
                .ok_or_else(|| Refusal::with(Reason::InBelowOut, format!("{paid} < {received}"))),
            _ => Err(Refusal::with(Reason::Malformed, "input values out of range")),
        }
    }

    /// Replacement (BIP 125 without signalling): more fee than all that leaves, by the relay rate for its own size,
    /// and a better rate than each transaction that it conflicts with directly.
    fn check_conflicts(
        &self,
        tx: &Transaction,
        fee: Amount,
        weight: Weight,
        admission: Admission,
    ) -> Result<HashSet<Txid>, Refusal> {
        let spender = |input: &bitcoin::TxIn| self.mempool.links().spender(&input.previous_output);
        let direct: HashSet<Txid> = tx.input.iter().filter_map(spender).map(|(txid, _)| txid).collect();
        if direct.is_empty() {
            return Ok(direct);
        }
        if admission == Admission::Return {
            return Err(Refusal::plain(Reason::MempoolConflict));
        }
        let leaving = self.mempool.with_descendants(direct.iter().copied());
        if tx.input.iter().any(|input| leaving.contains(&input.previous_output.txid)) {
            return Err(Refusal::with(Reason::MempoolConflict, "it spends from what it would replace"));
        }
        if leaving.len() > MAX_REPLACED {
            return Err(Refusal::with(Reason::MempoolConflict, "it would replace too many transactions"));
        }
        for other in direct.iter().filter_map(|txid| self.mempool.get(txid)) {
            if rate_product(fee, other.weight) <= rate_product(other.fee, weight) {
                return Err(Refusal::with(Reason::InsufficientFee, "its fee rate is not higher"));
            }
        }
        let evicted_fees = leaving.iter().filter_map(|txid| self.mempool.get(txid)).map(|entry| entry.fee);
        let needed = evicted_fees
            .chain([fee_at(self.policy.min_relay, weight)])
            .try_fold(Amount::ZERO, Amount::checked_add)
            .unwrap_or(Amount::MAX_MONEY);
        if fee < needed {
            return Err(short_of(Reason::InsufficientFee, fee, needed));
        }
        Ok(leaving)
    }
}

impl Accepted {
    /// The pool's record of the transaction.
    pub(super) fn into_entry(self, tx: std::sync::Arc<Transaction>) -> Entry {
        Entry { tx, prevouts: self.prevouts, fee: self.fee, weight: self.weight, sigops: self.sigops }
    }
}

/// The fee that a rate asks of a transaction, by its virtual size, which is a whole number of bytes.
pub(super) fn fee_at(rate: FeeRate, weight: Weight) -> Amount {
    rate.fee_vb(weight.to_vbytes_ceil()).unwrap_or(Amount::MAX_MONEY)
}

/// Cross-multiplied so that `a.fee / a.weight` and `b.fee / b.weight` compare without division.
fn rate_product(fee: Amount, other_weight: Weight) -> u128 {
    u128::from(fee.to_sat()).saturating_mul(u128::from(other_weight.to_wu()))
}

fn short_of(reason: Reason, fee: Amount, needed: Amount) -> Refusal {
    Refusal::with(reason, format!("{} < {}", fee.to_sat(), needed.to_sat()))
}

/// What makes bytes a transaction at all, without looking at the chain.
fn check_form(tx: &Transaction) -> Result<(), Refusal> {
    let malformed = |what: &str| Err(Refusal::with(Reason::Malformed, what));
    if tx.input.is_empty() || tx.output.is_empty() {
        return malformed("no inputs or no outputs");
    }
    if Weight::from_non_witness_data_size(u64::try_from(tx.base_size()).unwrap_or(u64::MAX)) > Weight::MAX_BLOCK {
        return malformed("larger than a block");
    }
    let total = tx.output.iter().map(|output| output.value).try_fold(Amount::ZERO, Amount::checked_add);
    if total.is_none_or(|total| total > Amount::MAX_MONEY) {
        return malformed("output values out of range");
    }
    let mut seen = HashSet::with_capacity(tx.input.len());
    if !tx.input.iter().all(|input| seen.insert(input.previous_output)) {
        return malformed("an output is spent twice");
    }
    if tx.is_coinbase() {
        return Err(Refusal::plain(Reason::Coinbase));
    }
    if tx.input.iter().any(|input| input.previous_output.is_null()) {
        return malformed("an input names no output");
    }
    Ok(())
}

/// What nodes relay, without looking at the chain.
fn check_standard(tx: &Transaction, weight: Weight) -> Result<(), Refusal> {
    if !(1..=3).contains(&tx.version.0) {
        return Err(Refusal::with(Reason::Version, tx.version.0.to_string()));
    }
    if weight > Weight::from_wu(u64::from(MAX_STANDARD_TX_WEIGHT)) {
        return Err(Refusal::with(Reason::TooLarge, format!("{weight}")));
    }
    if tx.base_size() < MIN_STRIPPED_SIZE {
        return Err(Refusal::with(Reason::TooSmall, format!("{} bytes", tx.base_size())));
    }
    for input in &tx.input {
        if input.script_sig.len() > MAX_SCRIPT_SIG || !input.script_sig.is_push_only() {
            return Err(Refusal::with(Reason::InputScript, input.previous_output.to_string()));
        }
    }
    for (vout, output) in tx.output.iter().enumerate() {
        let script = &output.script_pubkey;
        if !is_standard(script) {
            return Err(Refusal::with(Reason::OutputScript, format!("output {vout}")));
        }
        let least = script.minimal_non_dust();
        if output.value < least {
            let detail = format!("output {vout}: {} < {}", output.value.to_sat(), least.to_sat());
            return Err(Refusal::with(Reason::Dust, detail));
        }
    }
    Ok(())
}

fn is_standard(script: &Script) -> bool {
    script.is_witness_program()
        || script.is_p2sh()
        || script.is_p2pkh()
        || script.is_p2pk()
        || script.is_multisig()
        || script.is_op_return()
}

fn sigop_cost(tx: &Transaction, prevouts: &[TxOut]) -> Result<u64, Refusal> {
    let spent: HashMap<_, _> = tx.input.iter().map(|input| input.previous_output).zip(prevouts).collect();
    let cost = tx.total_sigop_cost(|outpoint| spent.get(outpoint).map(|output| (*output).clone()));
    let cost = u64::try_from(cost).unwrap_or(u64::MAX);
    if cost > u64::from(MAX_STANDARD_TX_SIGOPS_COST) {
        return Err(Refusal::with(Reason::TooManySigops, cost.to_string()));
    }
    Ok(cost)
}
