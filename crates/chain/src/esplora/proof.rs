//! That a transaction is in a block, shown by the hashes beside its way up the block's Merkle tree.

use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{Transaction, TxMerkleNode, Txid};

use super::api::MerkleProof;

/// A tree of 2²⁰ leaves is more than a block can hold.
const DEEPEST: usize = 20;
/// The size that the two hashes under an inner node have. A transaction of that size could stand for an inner node, and
/// so "prove" what is in no block ([CVE-2017-12842](https://nvd.nist.gov/vuln/detail/CVE-2017-12842)); nodes relay none.
const NODE: usize = 64;

/// Whether no proof can show that a transaction is in a block: it could as well stand for two hashes.
pub(super) fn is_unprovable(tx: &Transaction) -> bool {
    tx.base_size() == NODE
}

/// Whether a proof leads from the transaction to the root.
pub(super) fn leads(tx: &Transaction, txid: Txid, proof: &MerkleProof, root: TxMerkleNode) -> bool {
    if is_unprovable(tx) || proof.merkle.len() > DEEPEST {
        return false;
    }
    let mut position = proof.pos;
    let mut node = txid.to_byte_array();
    for beside in &proof.merkle {
        let beside = beside.to_byte_array();
        let (left, right) = if position & 1 == 0 { (node, beside) } else { (beside, node) };
        let mut engine = sha256d::Hash::engine();
        engine.input(&left);
        engine.input(&right);
        node = sha256d::Hash::from_engine(engine).to_byte_array();
        position >>= 1;
    }
    position == 0 && node == root.to_byte_array()
}

#[cfg(test)]
mod tests {
    use bitcoin::constants::genesis_block;
    use bitcoin::{Network, ScriptBuf};

    use super::*;

    #[test]
    fn a_proof_leads_to_the_root_or_not_at_all() {
        let block = genesis_block(Network::Bitcoin);
        let first = block.txdata[0].clone();
        let mut second = first.clone();
        second.input[0].script_sig = ScriptBuf::from_bytes(vec![1, 2, 3]);
        let ids = [first.compute_txid(), second.compute_txid()];
        let root = bitcoin::merkle_tree::calculate_root(ids.into_iter().map(|id| id.to_raw_hash())).unwrap();
        let root = TxMerkleNode::from_raw_hash(root);
        let other = |id: Txid| vec![TxMerkleNode::from_raw_hash(id.to_raw_hash())];
        let proof = |merkle, pos| MerkleProof { block_height: 0, merkle, pos };
        assert!(leads(&first, ids[0], &proof(other(ids[1]), 0), root));
        assert!(leads(&second, ids[1], &proof(other(ids[0]), 1), root));
        assert!(!leads(&first, ids[0], &proof(other(ids[1]), 1), root), "the other side");
        assert!(!leads(&first, ids[0], &proof(other(ids[1]), 2), root), "outside the tree");
        assert!(!leads(&first, ids[0], &proof(other(ids[0]), 0), root), "another tree");
        assert!(!leads(&first, ids[0], &proof(vec![], 0), root), "too short");
        assert!(leads(&block.txdata[0], ids[0], &proof(vec![], 0), block.header.merkle_root), "the only one");
    }
}
