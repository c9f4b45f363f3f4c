//! The mempool's rules are this crate's; the block's rules are Bitcoin Core's. At every border they must agree: what
//! the mempool refuses for the next block, the kernel refuses in the next block, and the other way round.

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::opcodes::all::{OP_CLTV, OP_CSV, OP_DROP};
use bitcoin::opcodes::{OP_0, OP_TRUE};
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};

use super::KernelConfig;
use super::miner::Selection;
use super::node::Node;
use super::rules::Admission;
use super::store::Store;

const VALUE: Amount = Amount::from_sat(100_000);

/// A chain with one confirmed output of a script.
struct Setting {
    node: Node,
    script: ScriptBuf,
    coin: OutPoint,
}

impl Setting {
    fn new(script: ScriptBuf) -> Self {
        let store = Store::temporary().unwrap();
        let mut node = Node::open(&KernelConfig::default(), store).unwrap();
        let payout = node.wallet().script().to_owned();
        for _ in 0..110 {
            node.mine(&payout).unwrap();
        }
        let output = TxOut { value: VALUE, script_pubkey: script.to_p2wsh() };
        let txid = node.pay(vec![output]).unwrap();
        node.mine(&payout).unwrap();
        Setting { node, script, coin: OutPoint { txid, vout: 0 } }
    }

    fn anyone() -> Self {
        Setting::new(Builder::new().push_opcode(OP_TRUE).into_script())
    }

    fn height(&self) -> u32 {
        self.node.tip().unwrap().height
    }

    fn spend(&self, lock: u32, sequence: Sequence) -> Transaction {
        self.spend_coin(self.coin, VALUE, lock, sequence)
    }

    fn spend_coin(&self, coin: OutPoint, value: Amount, lock: u32, sequence: Sequence) -> Transaction {
        let witness = Witness::from_slice(&[self.script.to_bytes()]);
        let script_pubkey = Builder::new().push_opcode(OP_0).push_slice(sha256::Hash::hash(b"").to_byte_array());
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock),
            input: vec![TxIn { previous_output: coin, script_sig: ScriptBuf::new(), sequence, witness }],
            output: vec![TxOut {
                value: value.checked_sub(Amount::from_sat(1_000)).unwrap(),
                script_pubkey: script_pubkey.into_script(),
            }],
        }
    }

    /// Whether the mempool would take it now; asserts that the kernel takes or refuses a block with it likewise.
    fn verdict(&mut self, tx: &Transaction) -> bool {
        let judged = self.node.judge(tx, Admission::Broadcast);
        let block = self.node.try_block(Selection::of(tx.clone(), Amount::from_sat(1_000)));
        assert_eq!(judged.is_ok(), block.is_ok(), "mempool: {judged:?}, kernel: {block:?}");
        judged.is_ok()
    }

    /// At which height the transaction is first taken, trying once a block.
    fn taken_at(&mut self, tx: &Transaction, patience: u32) -> Option<u32> {
        let payout = self.node.wallet().script().to_owned();
        for _ in 0..patience {
            if self.verdict(tx) {
                return Some(self.height());
            }
            self.node.mine(&payout).unwrap();
        }
        None
    }
}

#[test]
fn on_lock_heights() {
    let mut s = Setting::anyone();
    let lock = s.height() + 3;
    let tx = s.spend(lock, Sequence::ENABLE_LOCKTIME_NO_RBF);
    assert_eq!(s.taken_at(&tx, 9), Some(lock + 1), "a block above the lock holds it");
}

#[test]
fn on_lock_times() {
    let mut s = Setting::anyone();
    let lock = s.node.tip().unwrap().median_time + 1;
    let tx = s.spend(lock, Sequence::ENABLE_LOCKTIME_NO_RBF);
    let taken = s.taken_at(&tx, 40);
    assert!(taken.is_some(), "the median time passes it within some blocks");
}

#[test]
fn on_relative_heights() {
    let mut s = Setting::anyone();
    let confirmed = s.height();
    let tx = s.spend(0, Sequence::from_height(4));
    assert_eq!(s.taken_at(&tx, 9), Some(confirmed + 4));
}

#[test]
fn on_relative_times() {
    let mut s = Setting::anyone();
    assert!(!s.verdict(&s.spend(0, Sequence::from_512_second_intervals(1))));
    assert!(s.verdict(&s.spend(0, Sequence::from_512_second_intervals(0))));
}

#[test]
fn on_cltv() {
    let lock = 114;
    let script = Builder::new().push_int(lock).push_opcode(OP_CLTV).push_opcode(OP_DROP).push_opcode(OP_TRUE);
    let mut s = Setting::new(script.into_script());
    let lock = u32::try_from(lock).unwrap();
    assert!(!s.verdict(&s.spend(0, Sequence::ENABLE_LOCKTIME_NO_RBF)), "no lock at all");
    assert!(!s.verdict(&s.spend(lock - 1, Sequence::ENABLE_LOCKTIME_NO_RBF)), "too low a lock");
    assert!(!s.verdict(&s.spend(lock, Sequence::MAX)), "a lock switched off");
    let tx = s.spend(lock, Sequence::ENABLE_LOCKTIME_NO_RBF);
    assert_eq!(s.taken_at(&tx, 9), Some(lock + 1));
}

#[test]
fn on_csv() {
    let script = Builder::new().push_int(3).push_opcode(OP_CSV).push_opcode(OP_DROP).push_opcode(OP_TRUE);
    let mut s = Setting::new(script.into_script());
    let confirmed = s.height();
    assert!(!s.verdict(&s.spend(0, Sequence::from_height(2))), "too short a lock");
    let tx = s.spend(0, Sequence::from_height(3));
    assert_eq!(s.taken_at(&tx, 9), Some(confirmed + 3));
}

#[test]
fn on_the_age_of_rewards() {
    let mut s = Setting::anyone();
    let reward = s.node.mine(&s.script.to_p2wsh()).unwrap();
    let mined = s.height();
    let reward = s.node.engine().block(&reward).unwrap().unwrap().txdata.swap_remove(0);
    let coin = OutPoint { txid: reward.compute_txid(), vout: 0 };
    let tx = s.spend_coin(coin, reward.output[0].value, 0, Sequence::MAX);
    assert_eq!(s.taken_at(&tx, 120), Some(mined + 100));
}

#[test]
fn on_missing_and_spent_inputs() {
    let mut s = Setting::anyone();
    let nowhere = OutPoint { txid: Txid::hash(b"nobody"), vout: 0 };
    assert!(!s.verdict(&s.spend_coin(nowhere, VALUE, 0, Sequence::MAX)));
    let tx = s.spend(0, Sequence::MAX);
    assert!(s.verdict(&tx), "and the block with it is on the chain now");
    assert!(!s.verdict(&s.spend(0, Sequence::ENABLE_RBF_NO_LOCKTIME)));
    assert!(!s.verdict(&tx), "not twice");
}

#[test]
fn on_values() {
    let mut s = Setting::anyone();
    let more = VALUE.checked_add(Amount::from_sat(1_001)).unwrap();
    assert!(!s.verdict(&s.spend_coin(s.coin, more, 0, Sequence::MAX)), "one satoshi from nowhere");
}

/// What was taken is in the next block, whatever order the pool's map has.
#[test]
fn on_a_pool_of_related_transactions() {
    let mut s = Setting::anyone();
    let payout = s.node.wallet().script().to_owned();
    let outputs = vec![TxOut { value: VALUE, script_pubkey: s.script.to_p2wsh() }; 20];
    let txid = s.node.pay(outputs).unwrap();
    for vout in 0..20 {
        let spend = s.spend_coin(OutPoint { txid, vout }, VALUE, 0, Sequence::MAX);
        s.node.broadcast(spend).unwrap();
    }
    assert_eq!(s.node.mempool_len(), 21);
    let hash = s.node.mine(&payout).unwrap();
    assert_eq!(s.node.mempool_len(), 0);
    let block = Arc::new(s.node.engine().block(&hash).unwrap().unwrap());
    assert_eq!(block.txdata.len(), 22);
}
