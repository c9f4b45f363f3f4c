//! What every backend must do, whatever it is made of.
//!
//! [`Rig`] is the hand that a test needs on the chain: blocks, reorganisations, money. A backend passes the contract by
//! calling [`contract!`] with a way to build its rig; each case is then a test of its own, on a fresh chain.

#![allow(dead_code, missing_docs, unreachable_pub)] // Each test binary uses its own part of the helpers.
#![allow(clippy::disallowed_methods)] // No browser runs this: the curve library has its own table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CLTV, OP_DROP};
use bitcoin::script::Builder;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, PublicKey, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, ecdsa};
use rillpay_chain::{Chain, ChainError, Fault, Outspend, PaidOutput, Reason, ScriptHash};

/// A chain under a test's control.
#[async_trait::async_trait]
pub trait Rig: Send + Sync {
    /// The backend as its users see it.
    fn chain(&self) -> Arc<dyn Chain>;
    /// Makes blocks; the first holds what waits.
    async fn mine(&self, count: u32);
    /// Replaces the newest blocks by a longer branch without their transactions.
    async fn reorganise(&self, depth: u32);
    /// Pays from a wallet that has money.
    async fn send(&self, to: &ScriptBuf, amount: Amount) -> Txid;
}

/// 36 mBTC, an hour of video.
pub const DEPOSIT: Amount = Amount::from_sat(3_600_000);
const FEE: Amount = Amount::from_sat(1_000);

/// A key with a locked output: `<height> CLTV DROP <key> CHECKSIG` as P2WSH, or without the lock at height 0.
pub struct Vault {
    secret: SecretKey,
    witness_script: ScriptBuf,
}

impl Vault {
    /// Different names give different keys.
    pub fn new(name: &str, locked_until: u32) -> Self {
        let secret = SecretKey::from_slice(sha256::Hash::hash(name.as_bytes()).as_byte_array()).unwrap();
        let key = PublicKey::new(secret.public_key(&Secp256k1::new()));
        let mut script = Builder::new();
        if locked_until > 0 {
            script = script.push_int(i64::from(locked_until)).push_opcode(OP_CLTV).push_opcode(OP_DROP);
        }
        let witness_script = script.push_key(&key).push_opcode(OP_CHECKSIG).into_script();
        Vault { secret, witness_script }
    }

    pub fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2wsh(&self.witness_script.wscript_hash())
    }

    pub fn hash(&self) -> ScriptHash {
        ScriptHash::of(&self.script())
    }

    /// Signs every input with the vault's key; `values` are those of the outputs spent.
    pub fn sign(&self, tx: &mut Transaction, values: &[Amount]) {
        let secp = Secp256k1::new();
        let sighash_type = EcdsaSighashType::All;
        let mut cache = SighashCache::new(tx);
        for (i, value) in values.iter().enumerate() {
            let sighash = cache.p2wsh_signature_hash(i, &self.witness_script, *value, sighash_type).unwrap();
            let signature = secp.sign_ecdsa(&Message::from_digest(sighash.to_byte_array()), &self.secret);
            let signature = ecdsa::Signature { signature, sighash_type };
            *cache.witness_mut(i).unwrap() = Witness::from_slice(&[signature.to_vec(), self.witness_script.to_bytes()]);
        }
    }

    /// Spends outputs of this vault into one output of `value`.
    pub fn spend(&self, from: &[PaidOutput], to: ScriptBuf, value: Amount) -> Transaction {
        self.spend_with(from, to, value, 0, Sequence::ENABLE_RBF_NO_LOCKTIME)
    }

    /// As [`Self::spend`], with the locks of the transaction itself.
    pub fn spend_with(
        &self,
        from: &[PaidOutput],
        to: ScriptBuf,
        value: Amount,
        lock_time: u32,
        sequence: Sequence,
    ) -> Transaction {
        let mut tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock_time),
            input: from
                .iter()
                .map(|output| TxIn { previous_output: output.outpoint, sequence, ..TxIn::default() })
                .collect(),
            output: vec![TxOut { value, script_pubkey: to }],
        };
        let values: Vec<Amount> = from.iter().map(|output| output.value).collect();
        self.sign(&mut tx, &values);
        tx
    }
}

/// Somewhere to pay that nobody looks at.
pub fn elsewhere() -> ScriptBuf {
    Vault::new("elsewhere", 0).script()
}

/// Pays a deposit into a vault and waits until the chain shows it.
pub async fn deposit(rig: &dyn Rig, vault: &Vault) -> PaidOutput {
    let chain = rig.chain();
    chain.follow(&vault.script(), 0).await.unwrap();
    let txid = rig.send(&vault.script(), DEPOSIT).await;
    let outputs = chain.script_outputs(&vault.hash()).await.unwrap();
    *outputs.iter().find(|output| output.outpoint.txid == txid).expect("the deposit is listed")
}

/// The reason for which a broadcast is refused.
pub async fn refusal(chain: &dyn Chain, tx: &Transaction) -> Reason {
    match chain.broadcast(tx).await {
        Err(error @ ChainError::Refused(_)) => {
            assert_eq!(error.fault(), Fault::Transaction);
            let ChainError::Refused(refusal) = error else { unreachable!() };
            refusal.reason
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Makes each named case of this module a test on a fresh rig.
#[macro_export]
macro_rules! contract {
    ($rig:expr; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $case() {
                let rig = $rig.await;
                $crate::contract::$case(&rig).await;
            }
        )*
    };
    ($rig:expr) => {
        $crate::contract!(
            $rig;
            the_tip_agrees_with_itself,
            a_deposit_is_seen_waiting_then_confirmed,
            history_keeps_what_is_spent,
            an_unknown_thing_is_no_error,
            a_refund_waits_for_its_height,
            a_higher_fee_replaces,
            a_spend_of_nothing_is_refused,
            broadcasting_twice_is_harmless,
            a_parent_and_its_child_go_together,
            a_reorganisation_takes_confirmations_back,
            watchers_hear_of_blocks_and_transactions,
            the_view_is_fresh,
            fees_are_never_below_the_floor,
        );
    };
}

pub async fn the_tip_agrees_with_itself(rig: &dyn Rig) {
    let chain = rig.chain();
    let before = chain.tip().await.unwrap();
    rig.mine(3).await;
    let tip = chain.tip().await.unwrap();
    assert_eq!(tip.height, before.height + 3);
    assert_eq!(chain.block_hash(tip.height).await.unwrap(), Some(tip.hash));
    assert_eq!(chain.block_hash(tip.height + 1).await.unwrap(), None);

    let block = chain.block(&tip.hash).await.unwrap().expect("the tip can be read");
    assert_eq!(block.block_hash(), tip.hash);
    assert!(block.check_merkle_root() && block.check_witness_commitment());
    assert_eq!(chain.block_header(&tip.hash).await.unwrap(), Some(block.header));
    assert_eq!(block.header.time, tip.time);

    let mut times = Vec::new();
    for height in tip.height - 10..=tip.height {
        let hash = chain.block_hash(height).await.unwrap().unwrap();
        times.push(chain.block_header(&hash).await.unwrap().unwrap().time);
    }
    times.sort_unstable();
    assert_eq!(tip.median_time, times[5]);
}

pub async fn a_deposit_is_seen_waiting_then_confirmed(rig: &dyn Rig) {
    let chain = rig.chain();
    let vault = Vault::new("deposit", 0);
    let paid = deposit(rig, &vault).await;
    let txid = paid.outpoint.txid;
    assert_eq!(paid.value, DEPOSIT);
    assert!(!paid.status.is_confirmed());

    rig.mine(1).await;
    let tip = chain.tip().await.unwrap();
    let status = chain.status(&txid).await.unwrap().expect("it is confirmed");
    let block = status.block().expect("it is in a block");
    assert_eq!((block.height, block.hash, block.time), (tip.height, tip.hash, tip.time));
    rig.mine(2).await;
    assert_eq!(status.confirmations(chain.tip().await.unwrap().height), 3);

    let info = chain.transaction(&txid).await.unwrap().unwrap();
    assert_eq!((info.txid, info.status), (txid, status));
    assert_eq!(info.outputs_to(&vault.hash()), [PaidOutput { status, ..paid }]);
    let raw = chain.raw_transaction(&txid).await.unwrap().unwrap();
    assert_eq!(raw.compute_txid(), txid);
    let spent: u64 = info.vin.iter().map(|input| input.prevout.as_ref().unwrap().value.to_sat()).sum();
    let made: u64 = info.vout.iter().map(|output| output.value.to_sat()).sum();
    assert_eq!(info.fee.to_sat(), spent - made);
}

pub async fn history_keeps_what_is_spent(rig: &dyn Rig) {
    let chain = rig.chain();
    let vault = Vault::new("history", 0);
    // People pay twice.
    let first = deposit(rig, &vault).await;
    rig.mine(1).await;
    let second = deposit(rig, &vault).await;
    assert_eq!(chain.script_unspent(&vault.hash()).await.unwrap().len(), 2);

    let spend = vault.spend(&[first], elsewhere(), DEPOSIT - FEE);
    let txid = chain.broadcast(&spend).await.unwrap();
    let unspent = chain.script_unspent(&vault.hash()).await.unwrap();
    assert_eq!(unspent.len(), 1, "what the mempool spends is no longer there");
    assert_eq!((unspent[0].txid, unspent[0].vout), (second.outpoint.txid, second.outpoint.vout));
    assert_eq!(unspent[0].value, DEPOSIT);
    let coin = TxOut { value: DEPOSIT, script_pubkey: vault.script() };
    assert_eq!(chain.coin(&first.outpoint).await.unwrap(), Some(coin), "no block has it spent yet");
    assert_eq!(chain.coin(&second.outpoint).await.unwrap(), None, "no block has it yet");
    let spending = chain.outspend(&first.outpoint).await.unwrap().spending().expect("it is spent");
    assert_eq!((spending.txid, spending.vin), (txid, 0));
    assert!(!spending.status.is_confirmed());
    assert_eq!(chain.outspend(&second.outpoint).await.unwrap(), Outspend::Unspent);

    rig.mine(1).await;
    let spending = chain.outspend(&first.outpoint).await.unwrap().spending().unwrap();
    assert!(spending.status.is_confirmed());
    assert_eq!(chain.coin(&first.outpoint).await.unwrap(), None, "a block has it spent");
    let outputs = chain.script_outputs(&vault.hash()).await.unwrap();
    assert_eq!(outputs.len(), 2, "spent outputs stay in the history");
    let history = chain.script_history(&vault.hash()).await.unwrap();
    assert_eq!(history.len(), 3, "two deposits and one spend");
    assert_eq!(history[2].txid, first.outpoint.txid, "the oldest comes last");
}

pub async fn an_unknown_thing_is_no_error(rig: &dyn Rig) {
    let chain = rig.chain();
    let txid = Txid::hash(b"nobody");
    assert_eq!(chain.transaction(&txid).await.unwrap(), None);
    assert_eq!(chain.raw_transaction(&txid).await.unwrap(), None);
    assert_eq!(chain.status(&txid).await.unwrap(), None);
    assert_eq!(chain.outspend(&OutPoint { txid, vout: 0 }).await.unwrap(), Outspend::Unspent);
    assert_eq!(chain.coin(&OutPoint { txid, vout: 0 }).await.unwrap(), None);
    assert_eq!(chain.block(&Hash::hash(b"nothing")).await.unwrap(), None);
    assert_eq!(chain.block_header(&Hash::hash(b"nothing")).await.unwrap(), None);
    let unused = Vault::new("unused", 0);
    chain.follow(&unused.script(), 0).await.unwrap();
    assert_eq!(chain.script_history(&unused.hash()).await.unwrap(), []);
    assert_eq!(chain.script_unspent(&unused.hash()).await.unwrap(), []);
}

pub async fn a_refund_waits_for_its_height(rig: &dyn Rig) {
    let chain = rig.chain();
    let expiry = chain.tip().await.unwrap().height + 5;
    let vault = Vault::new("refund", expiry);
    let paid = deposit(rig, &vault).await;
    rig.mine(1).await;

    let early = vault.spend(&[paid], elsewhere(), DEPOSIT - FEE);
    assert_eq!(refusal(&*chain, &early).await, Reason::ScriptFailed, "the script wants the lock");
    let sequence = Sequence::ENABLE_LOCKTIME_NO_RBF;
    let refund = vault.spend_with(&[paid], elsewhere(), DEPOSIT - FEE, expiry, sequence);
    while chain.tip().await.unwrap().height < expiry {
        assert_eq!(refusal(&*chain, &refund).await, Reason::NonFinal);
        rig.mine(1).await;
    }
    // The next block is the first above the expiry height, and may hold it.
    let txid = chain.broadcast(&refund).await.unwrap();
    rig.mine(1).await;
    assert!(chain.status(&txid).await.unwrap().unwrap().is_confirmed());
}

pub async fn a_higher_fee_replaces(rig: &dyn Rig) {
    let chain = rig.chain();
    let vault = Vault::new("replace", 0);
    let paid = deposit(rig, &vault).await;
    rig.mine(1).await;
    let spend = |fee: u64| vault.spend(&[paid], elsewhere(), DEPOSIT - Amount::from_sat(fee));
    let first = chain.broadcast(&spend(1_000)).await.unwrap();
    let equal = vault.spend(&[paid], vault.script(), DEPOSIT - Amount::from_sat(1_000));
    assert_eq!(refusal(&*chain, &equal).await, Reason::InsufficientFee);
    let second = chain.broadcast(&spend(2_000)).await.unwrap();
    assert_eq!(chain.status(&first).await.unwrap(), None, "it was replaced");
    assert_eq!(chain.outspend(&paid.outpoint).await.unwrap().spending().unwrap().txid, second);
    rig.mine(1).await;
    assert!(chain.status(&second).await.unwrap().unwrap().is_confirmed());
    assert_eq!(refusal(&*chain, &spend(9_000)).await, Reason::MissingInputs, "a block decided");
}

pub async fn a_spend_of_nothing_is_refused(rig: &dyn Rig) {
    let vault = Vault::new("nothing", 0);
    let outpoint = OutPoint { txid: Txid::hash(b"nobody"), vout: 0 };
    let nothing = PaidOutput { outpoint, value: DEPOSIT, status: rillpay_chain::Status::Unconfirmed };
    let tx = vault.spend(&[nothing], elsewhere(), DEPOSIT - FEE);
    assert_eq!(refusal(&*rig.chain(), &tx).await, Reason::MissingInputs);
}

pub async fn broadcasting_twice_is_harmless(rig: &dyn Rig) {
    let chain = rig.chain();
    let vault = Vault::new("twice", 0);
    let paid = deposit(rig, &vault).await;
    let tx = vault.spend(&[paid], elsewhere(), DEPOSIT - FEE);
    let txid = chain.broadcast(&tx).await.unwrap();
    assert_eq!(chain.broadcast(&tx).await.unwrap(), txid);
    rig.mine(1).await;
    assert_eq!(refusal(&*chain, &tx).await, Reason::AlreadyKnown);
}

pub async fn a_parent_and_its_child_go_together(rig: &dyn Rig) {
    let chain = rig.chain();
    let [vault, other] = [Vault::new("package", 0), Vault::new("another package", 0)];
    let paid = deposit(rig, &vault).await;
    let parent = vault.spend(&[paid], vault.script(), DEPOSIT - FEE);
    let outpoint = OutPoint { txid: parent.compute_txid(), vout: 0 };
    let change = PaidOutput { outpoint, value: DEPOSIT - FEE, status: rillpay_chain::Status::Unconfirmed };
    let refused = chain.broadcast_package(&parent, &other.spend(&[change], elsewhere(), DEPOSIT / 2)).await;
    assert!(matches!(refused, Err(ChainError::Refused(refusal)) if refusal.reason == Reason::ScriptFailed));
    let child = vault.spend(&[change], elsewhere(), DEPOSIT - FEE * 3);
    for _ in 0..2 {
        chain.broadcast_package(&parent, &child).await.unwrap();
    }
    assert_eq!(chain.outspend(&outpoint).await.unwrap().spending().unwrap().txid, child.compute_txid());
    rig.mine(1).await;
    for tx in [parent, child] {
        assert!(chain.status(&tx.compute_txid()).await.unwrap().unwrap().is_confirmed());
    }
}

pub async fn a_reorganisation_takes_confirmations_back(rig: &dyn Rig) {
    let chain = rig.chain();
    let vault = Vault::new("reorganisation", 0);
    for depth in 1..=6 {
        let paid = deposit(rig, &vault).await;
        rig.mine(depth).await;
        let abandoned = chain.tip().await.unwrap();
        assert!(chain.status(&paid.outpoint.txid).await.unwrap().unwrap().is_confirmed());

        rig.reorganise(depth).await;
        let tip = chain.tip().await.unwrap();
        assert_eq!(tip.height, abandoned.height + 1);
        assert_ne!(chain.block_hash(abandoned.height).await.unwrap(), Some(abandoned.hash));
        let status = chain.status(&paid.outpoint.txid).await.unwrap().expect("it waits again");
        assert!(!status.is_confirmed());

        rig.mine(1).await;
        let again = chain.status(&paid.outpoint.txid).await.unwrap().unwrap();
        assert_eq!(again.block().map(|block| block.height), Some(tip.height + 1));
    }
    assert_eq!(chain.script_unspent(&vault.hash()).await.unwrap().len(), 6);
}

pub async fn watchers_hear_of_blocks_and_transactions(rig: &dyn Rig) {
    let chain = rig.chain();
    let mut changes = chain.changes();
    let start = *changes.borrow_and_update();
    assert_eq!(start.tip, chain.tip().await.unwrap());
    assert!(!changes.has_changed().unwrap(), "the current value counts as seen");

    deposit(rig, &Vault::new("watch", 0)).await;
    soon(changes.changed()).await.unwrap();
    let waiting = *changes.borrow_and_update();
    assert!(waiting.mempool > start.mempool && waiting.blocks == start.blocks);

    rig.mine(1).await;
    soon(changes.wait_for(|change| change.blocks > start.blocks)).await.unwrap();
    assert_eq!(changes.borrow_and_update().tip, chain.tip().await.unwrap());

    rig.reorganise(2).await;
    let tip = chain.tip().await.unwrap();
    soon(changes.wait_for(|change| change.tip == tip)).await.unwrap();
}

pub async fn the_view_is_fresh(rig: &dyn Rig) {
    let chain = rig.chain();
    let before = Instant::now();
    chain.tip().await.unwrap();
    let synced = chain.synced_at().expect("it is in step");
    assert!(before.saturating_duration_since(synced) < Duration::from_secs(30));
}

pub async fn fees_are_never_below_the_floor(rig: &dyn Rig) {
    let fees = rig.chain().fee_estimates().await.unwrap();
    for target in [0, 1, 6, 144, u16::MAX] {
        assert!(fees.within(target) >= fees.floor());
    }
}

/// Waits for something that must happen, but not for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it happens within ten seconds")
}
