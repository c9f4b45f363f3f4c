//! Makes blocks.
//!
//! A block is built on a [`Parent`], which is all that its rules depend on: nothing here knows whether the parent is
//! the tip or the root of a side branch.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxMerkleNode,
    TxOut, Txid, Weight, Witness, transaction,
};

use super::mempool::Mempool;
use crate::ChainError;
use crate::status::median;

/// Regtest halves the reward this often.
const HALVING_INTERVAL: u32 = 150;
const FIRST_SUBSIDY: Amount = Amount::from_int_btc(50);
/// Room for the header and the reward.
const RESERVED_WEIGHT: Weight = Weight::from_wu(4_000);
/// Signature checks that a block may cost.
const MAX_BLOCK_SIGOPS: u64 = 80_000;
/// The kernel refuses headers more than two hours ahead of the clock; stay well below.
const MAX_AHEAD: u32 = 90 * 60;

/// What the next block stands on.
pub(super) struct Parent {
    pub(super) hash: BlockHash,
    pub(super) height: u32,
    /// Header times of the parent and up to ten blocks before it, oldest first.
    pub(super) times: Vec<u32>,
}

/// Transactions for a block, parents before children, and their fees.
#[derive(Default)]
pub(super) struct Selection {
    txs: Vec<Transaction>,
    fees: Amount,
}

impl Selection {
    /// One transaction that nobody has judged, to see what the kernel says.
    #[cfg(test)]
    pub(super) fn of(tx: Transaction, fees: Amount) -> Self {
        Selection { txs: vec![tx], fees }
    }

    /// Takes what fits from the pool, in arrival order. All of it is valid in the next block, so the only reason to
    /// leave a transaction out is room, and then its children stay out too.
    pub(super) fn from(mempool: &Mempool) -> Self {
        let mut selection = Selection::default();
        let mut room = Weight::MAX_BLOCK.checked_sub(RESERVED_WEIGHT).unwrap_or(Weight::ZERO);
        let mut sigops = MAX_BLOCK_SIGOPS;
        let mut left_out: Vec<Txid> = Vec::new();
        for (txid, entry) in mempool.iter() {
            let orphaned = entry.tx.input.iter().any(|input| left_out.contains(&input.previous_output.txid));
            let fits = room.checked_sub(entry.weight).zip(sigops.checked_sub(entry.sigops));
            let fees = selection.fees.checked_add(entry.fee);
            match (orphaned, fits, fees) {
                (false, Some((room_left, sigops_left)), Some(fees)) => {
                    room = room_left;
                    sigops = sigops_left;
                    selection.fees = fees;
                    selection.txs.push(Transaction::clone(&entry.tx));
                }
                _ => left_out.push(*txid),
            }
        }
        selection
    }
}

impl Parent {
    /// Builds and grinds the next block. `payout` receives reward and fees; `salt` makes two blocks on the same
    /// parent differ.
    ///
    /// # Errors
    ///
    /// [`ChainError::Unavailable`] when the computer's clock is so far behind the chain that nobody would take the
    /// block: the chain was mined in the future, or the clock was set back.
    pub(super) fn next_block(&self, selection: Selection, payout: ScriptBuf, salt: u64) -> Result<Block, ChainError> {
        let height = self.height.saturating_add(1);
        let time = self.next_time(clock()?)?;
        let mut txdata = vec![reward(height, selection.fees, payout, salt)];
        txdata.extend(selection.txs);
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: self.hash,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        commit_to_witnesses(&mut block);
        block.header.merkle_root = block.compute_merkle_root().unwrap_or(TxMerkleNode::all_zeros());
        grind(&mut block.header)?;
        Ok(block)
    }

    /// The parent of the block after `block`.
    pub(super) fn followed_by(mut self, block: &Block) -> Self {
        if self.times.len() >= 11 {
            self.times.remove(0);
        }
        self.times.push(block.header.time);
        Parent { hash: block.block_hash(), height: self.height.saturating_add(1), times: self.times }
    }

    /// Now, or just after the median time past where many blocks were made within seconds.
    fn next_time(&self, now: u32) -> Result<u32, ChainError> {
        let least = median(&self.times).unwrap_or(0).saturating_add(1);
        if least > now.saturating_add(MAX_AHEAD) {
            return Err(ChainError::Unavailable(format!(
                "the chain's time {least} is too far ahead of this computer's clock, {now}"
            )));
        }
        Ok(least.max(now))
    }
}

/// Seconds since 1970.
fn clock() -> Result<u32, ChainError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    since
        .and_then(|since| u32::try_from(since.as_secs()).ok())
        .ok_or_else(|| ChainError::Unavailable("this computer's clock is not set".to_owned()))
}

/// The reward at a height, in satoshi, without fees.
fn subsidy(height: u32) -> Amount {
    let halvings = height.div_euclid(HALVING_INTERVAL);
    Amount::from_sat(FIRST_SUBSIDY.to_sat().checked_shr(halvings).unwrap_or(0))
}

fn reward(height: u32, fees: Amount, payout: ScriptBuf, salt: u64) -> Transaction {
    let script_sig = Builder::new().push_int(i64::from(height)).push_slice(salt.to_le_bytes()).into_script();
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0_u8; 32]]),
        }],
        output: vec![TxOut {
            value: subsidy(height).checked_add(fees).unwrap_or(Amount::MAX_MONEY),
            script_pubkey: payout,
        }],
    }
}

/// Adds the output that commits to all witnesses (BIP 141).
fn commit_to_witnesses(block: &mut Block) {
    let Some(root) = block.witness_root() else { return };
    let commitment = Block::compute_witness_commitment(&root, &[0_u8; 32]);
    let mut push = PushBytesBuf::from([0xaa, 0x21, 0xa9, 0xed]);
    // 36 bytes never exceed what one push can hold.
    if push.extend_from_slice(commitment.as_byte_array()).is_ok()
        && let Some(reward) = block.txdata.first_mut()
    {
        let script_pubkey = Builder::new().push_opcode(OP_RETURN).push_slice(push).into_script();
        reward.output.push(TxOut { value: Amount::ZERO, script_pubkey });
    }
}

/// Finds a nonce. On regtest every second hash will do.
fn grind(header: &mut Header) -> Result<(), ChainError> {
    let target = Target::from_compact(header.bits);
    for nonce in 0..=u32::MAX {
        header.nonce = nonce;
        if target.is_met_by(header.block_hash()) {
            return Ok(());
        }
    }
    Err(ChainError::Unavailable("no nonce makes a valid block".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(times: &[u32]) -> Parent {
        Parent { hash: BlockHash::all_zeros(), height: 0, times: times.to_vec() }
    }

    #[test]
    fn the_reward_halves_every_150_blocks() {
        assert_eq!(subsidy(149), Amount::from_int_btc(50));
        assert_eq!(subsidy(150), Amount::from_int_btc(25));
        assert_eq!(subsidy(150 * 64), Amount::ZERO);
    }

    #[test]
    fn time_follows_the_clock_but_never_the_median_past() {
        assert_eq!(parent(&[10, 20, 30]).next_time(100).unwrap(), 100);
        assert_eq!(parent(&[100, 200, 300]).next_time(100).unwrap(), 201);
        assert!(parent(&[100_000]).next_time(100).is_err(), "nobody takes a block from the far future");
    }
}
