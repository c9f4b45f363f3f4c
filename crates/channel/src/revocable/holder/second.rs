//! The second stages of our own commitment in transactions whose fee other coins pay (BOLT 5, "HTLC Output Handling: Local
//! Commitment").
//!
//! With anchors they bring no fee of their own (BOLT 3, "HTLC-Timeout and HTLC-Success Transactions"), and the counterparty's
//! signature fixes one input, the output beside it, and the lock time. So those of one lock time go together, coins and change come
//! after them, and a dearer transaction of the same stages replaces one that waits.

use std::collections::BTreeMap;

use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::PublicKey;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, Transaction};

use crate::error::Error;
use crate::revocable::holder::onchain::{OnChain, SecondStage};
use crate::revocable::keys::BaseKeys;

/// As many as a transaction that nodes relay has room for, coins besides: each takes about 710 of 400,000 weight units.
const MOST: usize = 500;

/// Second stages of one lock time.
pub struct SecondStages<'c> {
    /// One at least.
    stages: Vec<SecondStage<'c>>,
    keys: &'c BaseKeys,
    point: PublicKey,
}

impl SecondStages<'_> {
    /// What they have in common with any transaction that carries them: an input and an output for each, which pay no fee. Coins
    /// and change come after those, and then [`SecondStages::sign`]. Without anchors it is one stage, with its fee, and nothing may
    /// be added.
    pub fn transaction(&self) -> Transaction {
        let made: Vec<_> = self.stages.iter().map(|stage| &stage.transaction.transaction).collect();
        Transaction {
            version: Version::TWO,
            lock_time: made.first().map_or(LockTime::ZERO, |first| first.lock_time),
            input: made.iter().flat_map(|one| one.input.clone()).collect(),
            output: made.iter().flat_map(|one| one.output.clone()).collect(),
        }
    }

    /// Signs for the stages in a transaction whose inputs and outputs are all in place.
    ///
    /// # Errors
    /// As [`crate::revocable::htlc::HtlcTransaction::sign_in`].
    pub fn sign(&self, transaction: &mut Transaction) -> Result<(), Error> {
        let key = self.keys.htlc_at(&self.point)?;
        for (index, stage) in self.stages.iter().enumerate() {
            stage.transaction.sign_in(transaction, index, &key, &stage.theirs, stage.preimage)?;
        }
        Ok(())
    }
}

impl OnChain<'_> {
    /// The second stages that a block after that of `height` can have, of the outputs that nobody has spent yet.
    pub fn second(&self, height: u32, is_unspent: impl Fn(&OutPoint) -> bool) -> Vec<SecondStages<'_>> {
        let Some((keys, point)) = self.own_keys() else { return vec![] };
        let mut by_lock: BTreeMap<u32, Vec<SecondStage<'_>>> = BTreeMap::new();
        for stage in self.second_stages() {
            let made = &stage.transaction.transaction;
            let lock = made.lock_time.to_consensus_u32();
            if lock <= height && made.input.iter().all(|input| is_unspent(&input.previous_output)) {
                by_lock.entry(lock).or_default().push(stage);
            }
        }
        let most = if self.has_anchors() { MOST } else { 1 };
        let mut all = vec![];
        for mut stages in by_lock.into_values() {
            while !stages.is_empty() {
                let rest = stages.split_off(stages.len().min(most));
                all.push(SecondStages { stages, keys, point });
                stages = rest;
            }
        }
        all
    }
}
