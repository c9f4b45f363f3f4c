//! What the embedded mempool refuses, one reason at a time, and what it lets through beside it.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod contract;

use std::sync::Arc;

use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG};
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxOut, Txid, Witness, relative};
use contract::{DEPOSIT, Rig, Vault, deposit, elsewhere, refusal};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ChainError, PaidOutput, Reason};

struct Kernel(KernelChain);

#[async_trait::async_trait]
impl Rig for Kernel {
    fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(self.0.clone())
    }

    async fn mine(&self, count: u32) {
        self.0.mine(count).await.unwrap();
    }

    async fn reorganise(&self, depth: u32) {
        self.0.reorganise(depth, &[]).await.unwrap();
    }

    async fn send(&self, to: &ScriptBuf, amount: Amount) -> Txid {
        self.0.send(to, amount).await.unwrap()
    }
}

/// A chain, a key without a lock, and a confirmed deposit to it.
struct Setting {
    rig: Kernel,
    vault: Vault,
    paid: PaidOutput,
}

impl Setting {
    async fn new() -> Self {
        let rig = Kernel(KernelChain::open(KernelConfig::default()).await.unwrap());
        let vault = Vault::new("refusals", 0);
        let paid = deposit(&rig, &vault).await;
        rig.mine(1).await;
        Setting { rig, vault, paid }
    }

    /// A spend of the deposit that pays `fee` satoshi and would be taken, changed by `change` and signed.
    fn spend(&self, fee: u64, change: impl FnOnce(&mut Transaction)) -> Transaction {
        let mut tx = self.vault.spend(&[self.paid], elsewhere(), DEPOSIT - Amount::from_sat(fee));
        change(&mut tx);
        let values = vec![self.paid.value; tx.input.len()];
        self.vault.sign(&mut tx, &values);
        tx
    }

    async fn refuses(&self, tx: &Transaction, reason: Reason) {
        let before = self.rig.0.mempool_len().unwrap();
        assert_eq!(refusal(&self.rig.0, tx).await, reason);
        assert_eq!(self.rig.0.mempool_len().unwrap(), before, "a refusal changes nothing");
    }

    async fn takes(&self, tx: &Transaction) {
        self.rig.0.broadcast(tx).await.unwrap();
        self.rig.mine(1).await;
        assert!(self.rig.0.status(&tx.compute_txid()).await.unwrap().unwrap().is_confirmed());
    }
}

/// The output `vout` of a transaction that waits.
fn waiting(tx: &Transaction, vout: u32) -> PaidOutput {
    let value = tx.output[vout as usize].value;
    let outpoint = OutPoint { txid: tx.compute_txid(), vout };
    PaidOutput { outpoint, value, status: rillpay_chain::Status::Unconfirmed }
}

#[tokio::test]
async fn inputs_that_are_spent() {
    let s = Setting::new().await;
    s.takes(&s.spend(1_000, |_| {})).await;
    s.refuses(&s.spend(2_000, |_| {}), Reason::MissingInputs).await;
}

#[tokio::test]
async fn an_output_number_that_does_not_exist() {
    let s = Setting::new().await;
    s.refuses(&s.spend(1_000, |tx| tx.input[0].previous_output.vout = 7), Reason::MissingInputs).await;
}

#[tokio::test]
async fn a_time_lock_before_the_median_time() {
    let s = Setting::new().await;
    let lock = s.rig.0.tip().await.unwrap().median_time;
    let locked = |until| s.spend(1_000, |tx| tx.lock_time = bitcoin::absolute::LockTime::from_consensus(until));
    s.refuses(&locked(lock), Reason::NonFinal).await;
    s.takes(&locked(lock - 1)).await;
}

#[tokio::test]
async fn final_sequences_switch_the_lock_off() {
    let s = Setting::new().await;
    let tx = s.spend(1_000, |tx| {
        tx.lock_time = bitcoin::absolute::LockTime::from_consensus(400_000);
        tx.input[0].sequence = Sequence::MAX;
    });
    s.takes(&tx).await;
}

#[tokio::test]
async fn a_relative_lock_in_blocks() {
    let s = Setting::new().await;
    let tx = s.spend(1_000, |tx| tx.input[0].sequence = relative::LockTime::from_height(3).to_sequence());
    s.refuses(&tx, Reason::NonBip68Final).await;
    s.rig.mine(1).await;
    s.refuses(&tx, Reason::NonBip68Final).await;
    s.rig.mine(1).await;
    s.takes(&tx).await;
}

#[tokio::test]
async fn a_relative_lock_in_time() {
    let s = Setting::new().await;
    let locked =
        |n| s.spend(1_000, |tx| tx.input[0].sequence = relative::LockTime::from_512_second_intervals(n).into());
    s.refuses(&locked(1), Reason::NonBip68Final).await;
    s.takes(&locked(0)).await;
}

#[tokio::test]
async fn a_signature_by_another_key() {
    let s = Setting::new().await;
    let mut tx = s.spend(1_000, |_| {});
    let stranger = Vault::new("stranger", 0);
    let theirs = stranger.spend(&[s.paid], elsewhere(), DEPOSIT - Amount::from_sat(1_000));
    let script = tx.input[0].witness.last().unwrap().to_vec();
    tx.input[0].witness = Witness::from_slice(&[theirs.input[0].witness.nth(0).unwrap().to_vec(), script]);
    s.refuses(&tx, Reason::ScriptFailed).await;
}

#[tokio::test]
async fn a_signature_over_another_amount() {
    let s = Setting::new().await;
    let mut tx = s.spend(1_000, |_| {});
    tx.output[0].value -= Amount::ONE_SAT;
    s.refuses(&tx, Reason::ScriptFailed).await;
}

#[tokio::test]
async fn a_reward_that_is_not_ripe() {
    let s = Setting::new().await;
    let hash = s.rig.0.mine_to(1, &s.vault.script()).await.unwrap()[0];
    let block = s.rig.0.block(&hash).await.unwrap().unwrap();
    let reward = waiting(block.coinbase().unwrap(), 0);
    let tx = s.vault.spend(&[reward], elsewhere(), reward.value - Amount::from_sat(1_000));
    s.refuses(&tx, Reason::PrematureCoinbaseSpend).await;
    s.rig.mine(98).await;
    s.refuses(&tx, Reason::PrematureCoinbaseSpend).await;
    s.rig.mine(1).await;
    s.takes(&tx).await;
}

#[tokio::test]
async fn more_out_than_in() {
    let s = Setting::new().await;
    s.refuses(&s.spend(0, |tx| tx.output[0].value += Amount::ONE_SAT), Reason::InBelowOut).await;
}

#[tokio::test]
async fn values_beyond_all_money() {
    let s = Setting::new().await;
    let above = Amount::MAX_MONEY + Amount::ONE_SAT;
    s.refuses(&s.spend(0, |tx| tx.output[0].value = above), Reason::Malformed).await;
    let wrapping = s.spend(0, |tx| {
        let half = TxOut { value: Amount::from_sat(u64::MAX / 2 + 1), script_pubkey: elsewhere() };
        tx.output = vec![half.clone(), half];
    });
    s.refuses(&wrapping, Reason::Malformed).await;
}

#[tokio::test]
async fn no_inputs_or_no_outputs() {
    let s = Setting::new().await;
    s.refuses(&s.spend(1_000, |tx| tx.output.clear()), Reason::Malformed).await;
    s.refuses(&s.spend(1_000, |tx| tx.input.clear()), Reason::Malformed).await;
}

#[tokio::test]
async fn one_output_spent_twice_by_the_same_transaction() {
    let s = Setting::new().await;
    let tx = s.spend(1_000, |tx| {
        let again = tx.input[0].clone();
        tx.input.push(again);
    });
    s.refuses(&tx, Reason::Malformed).await;
}

#[tokio::test]
async fn a_block_reward_outside_a_block() {
    let s = Setting::new().await;
    let tip = s.rig.0.tip().await.unwrap();
    let block = s.rig.0.block(&tip.hash).await.unwrap().unwrap();
    s.refuses(block.coinbase().unwrap(), Reason::Coinbase).await;
}

#[tokio::test]
async fn versions_that_nobody_relays() {
    let s = Setting::new().await;
    for version in [0, 4, -1] {
        s.refuses(&s.spend(1_000, |tx| tx.version = Version(version)), Reason::Version).await;
    }
    s.takes(&s.spend(1_000, |tx| tx.version = Version(3))).await;
}

#[tokio::test]
async fn dust() {
    let s = Setting::new().await;
    let with_change = |sat| {
        s.spend(2_000, |tx| {
            tx.output.push(TxOut { value: Amount::from_sat(sat), script_pubkey: elsewhere() });
        })
    };
    // 330 sat is the least for P2WSH at the relay network's 3 sat/vB.
    s.refuses(&with_change(329), Reason::Dust).await;
    s.takes(&with_change(330)).await;
}

#[tokio::test]
async fn a_fee_below_the_relay_rate() {
    let s = Setting::new().await;
    let vsize = u64::try_from(s.spend(1_000, |_| {}).vsize()).unwrap();
    s.refuses(&s.spend(vsize - 2, |_| {}), Reason::FeeTooLow).await;
    // A signature may be a byte shorter or longer.
    s.takes(&s.spend(vsize + 1, |_| {})).await;
}

#[tokio::test]
async fn the_relay_rate_is_the_operators() {
    let min_relay = FeeRate::from_sat_per_vb(5).unwrap();
    let config = KernelConfig { min_relay, wallet_fee_rate: min_relay, ..KernelConfig::default() };
    let rig = Kernel(KernelChain::open(config).await.unwrap());
    let vault = Vault::new("rate", 0);
    let paid = deposit(&rig, &vault).await;
    let cheap = vault.spend(&[paid], elsewhere(), DEPOSIT - Amount::from_sat(300));
    assert_eq!(refusal(&rig.0, &cheap).await, Reason::FeeTooLow);
    assert_eq!(rig.0.fee_estimates().await.unwrap().within(6), min_relay);
}

#[tokio::test]
async fn sizes_that_nobody_relays() {
    let s = Setting::new().await;
    let large = s.spend(500_000, |tx| {
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([0_u8; 75]) };
        tx.output.extend(vec![output; 1_200]);
    });
    s.refuses(&large, Reason::TooLarge).await;
    let small = s.spend(DEPOSIT.to_sat(), |tx| tx.output[0].script_pubkey = ScriptBuf::new_op_return([]));
    assert!(small.base_size() < 65, "{}", small.base_size());
    s.refuses(&small, Reason::TooSmall).await;
}

#[tokio::test]
async fn scripts_that_nobody_relays() {
    let s = Setting::new().await;
    let strange = Builder::new().push_slice([1_u8; 20]).push_opcode(OP_CHECKSIG).into_script();
    s.refuses(&s.spend(1_000, |tx| tx.output[0].script_pubkey = strange.clone()), Reason::OutputScript).await;
    s.refuses(&s.spend(1_000, |tx| tx.input[0].script_sig = strange.clone()), Reason::InputScript).await;
}

#[tokio::test]
async fn too_many_signature_checks() {
    let s = Setting::new().await;
    // A bare multisig output counts 20 checks, four times each, for consensus; 400 of them are twice the limit.
    let key = [2_u8; 33];
    let bare = Builder::new().push_int(1).push_slice(key).push_int(1).push_opcode(OP_CHECKMULTISIG).into_script();
    let tx = s.spend(500_000, |tx| {
        tx.output = vec![TxOut { value: Amount::from_sat(1_000), script_pubkey: bare.clone() }; 400];
    });
    s.refuses(&tx, Reason::TooManySigops).await;
}

#[tokio::test]
async fn chains_of_waiting_transactions_are_confirmed_in_order() {
    let s = Setting::new().await;
    let mut last = s.spend(1_000, |tx| tx.output[0].script_pubkey = s.vault.script());
    s.rig.0.broadcast(&last).await.unwrap();
    for _ in 0..40 {
        let from = waiting(&last, 0);
        last = s.vault.spend(&[from], s.vault.script(), from.value - Amount::from_sat(500));
        s.rig.0.broadcast(&last).await.unwrap();
    }
    s.rig.mine(1).await;
    assert_eq!(s.rig.0.mempool_len().unwrap(), 0);
    assert!(s.rig.0.status(&last.compute_txid()).await.unwrap().unwrap().is_confirmed());
}

#[tokio::test]
async fn a_replacement_pays_for_the_descendants_that_leave() {
    let s = Setting::new().await;
    let parent = s.spend(1_000, |tx| tx.output[0].script_pubkey = s.vault.script());
    s.rig.0.broadcast(&parent).await.unwrap();
    let from = waiting(&parent, 0);
    let child = s.vault.spend(&[from], elsewhere(), from.value - Amount::from_sat(5_000));
    s.rig.0.broadcast(&child).await.unwrap();

    s.refuses(&s.spend(6_000, |_| {}), Reason::InsufficientFee).await;
    let replacement = s.spend(6_200, |_| {});
    s.rig.0.broadcast(&replacement).await.unwrap();
    assert_eq!(s.rig.0.mempool_len().unwrap(), 1);
    assert_eq!(s.rig.0.status(&child.compute_txid()).await.unwrap(), None);
    s.refuses(&child, Reason::MissingInputs).await;
}

#[tokio::test]
async fn a_replacement_needs_a_higher_rate_too() {
    let s = Setting::new().await;
    s.rig.0.broadcast(&s.spend(1_000, |_| {})).await.unwrap();
    let bulky = s.spend(3_000, |tx| {
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return([0_u8; 75]) };
        tx.output.extend(vec![output; 20]);
    });
    s.refuses(&bulky, Reason::InsufficientFee).await;
}

#[tokio::test]
async fn nothing_replaces_what_it_spends_from() {
    let s = Setting::new().await;
    let parent = s.spend(1_000, |tx| tx.output[0].script_pubkey = s.vault.script());
    s.rig.0.broadcast(&parent).await.unwrap();
    let both = s.vault.spend(&[s.paid, waiting(&parent, 0)], elsewhere(), DEPOSIT);
    s.refuses(&both, Reason::MempoolConflict).await;
}

#[tokio::test]
async fn a_reorganisation_drops_what_spends_a_lost_reward() {
    let s = Setting::new().await;
    let height = s.rig.0.tip().await.unwrap().height;
    let hash = s.rig.0.mine_to(1, &s.vault.script()).await.unwrap()[0];
    s.rig.mine(99).await;
    let block = s.rig.0.block(&hash).await.unwrap().unwrap();
    let reward = waiting(block.coinbase().unwrap(), 0);
    let spend = s.vault.spend(&[reward], elsewhere(), reward.value - Amount::from_sat(1_000));
    s.rig.0.broadcast(&spend).await.unwrap();
    let depth = s.rig.0.tip().await.unwrap().height - height;
    s.rig.reorganise(depth).await;
    assert_eq!(s.rig.0.status(&spend.compute_txid()).await.unwrap(), None, "its reward never was");
    assert_eq!(s.rig.0.mempool_len().unwrap(), 0);
}

/// A relative lock that had run out starts again when its coin goes back to the mempool.
#[tokio::test]
async fn a_reorganisation_closes_relative_locks_again() {
    let s = Setting::new().await;
    s.rig.mine(2).await;
    let tx = s.spend(1_000, |tx| tx.input[0].sequence = relative::LockTime::from_height(3).to_sequence());
    s.rig.0.broadcast(&tx).await.unwrap();
    s.rig.reorganise(3).await;
    let status = |txid| s.rig.0.status(txid);
    assert_eq!(status(&s.paid.outpoint.txid).await.unwrap(), Some(rillpay_chain::Status::Unconfirmed));
    assert_eq!(status(&tx.compute_txid()).await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_says_why_in_words_and_in_code() {
    let s = Setting::new().await;
    let error = s.rig.0.broadcast(&s.spend(10, |_| {})).await.unwrap_err();
    assert_eq!(error.code(), "min relay fee not met");
    assert_eq!(error.to_string(), "transaction refused: min relay fee not met, 10 < 122");
    let ChainError::Refused(refused) = error else { panic!("{error}") };
    assert_eq!(refused.reason, Reason::FeeTooLow);
}
