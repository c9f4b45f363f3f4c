//! Who paid whom in the best chain: the part of Esplora that Bitcoin Core does not have.
//!
//! Everything is in memory and rebuilt from the blocks at start; regtest chains are small.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, OutPoint, Transaction, TxOut, Txid};

use crate::links::Links;
use crate::status::median;
use crate::{BlockRef, Tip};

/// How many headers the median time past looks at.
const MEDIAN_SPAN: usize = 11;

/// An output that a transaction may spend.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    pub(super) output: TxOut,
    /// The confirming block's height; `None` for an output of a mempool transaction.
    pub(super) height: Option<u32>,
    /// Made by a block reward, which needs 100 blocks to mature.
    pub(super) coinbase: bool,
}

/// A confirmed transaction and its place.
pub(super) struct Confirmed {
    pub(super) tx: Arc<Transaction>,
    /// The outputs it spends, in input order; empty for a block reward.
    pub(super) prevouts: Vec<TxOut>,
    pub(super) height: u32,
    /// Its place within the block.
    pub(super) position: usize,
}

struct IndexedBlock {
    hash: BlockHash,
    header: Header,
    txids: Vec<Txid>,
}

/// The best chain's blocks, transactions, spends and scripts.
#[derive(Default)]
pub(super) struct Index {
    blocks: Vec<IndexedBlock>,
    txs: HashMap<Txid, Confirmed>,
    links: Links,
}

impl Index {
    /// The number of blocks, the genesis block included: the height of the next block.
    pub(super) fn next_height(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// The newest block, or `None` before the genesis block was connected.
    pub(super) fn tip(&self) -> Option<Tip> {
        let height = self.next_height().checked_sub(1)?;
        let block = self.block(height)?;
        let median_time = self.median_time(height)?;
        Some(Tip { height, hash: block.hash, time: block.time, median_time })
    }

    pub(super) fn block(&self, height: u32) -> Option<BlockRef> {
        let block = self.blocks.get(usize::try_from(height).ok()?)?;
        Some(BlockRef { height, hash: block.hash, time: block.header.time })
    }

    /// The header times of the block at `height` and the ten before it, oldest first.
    pub(super) fn recent_times(&self, height: u32) -> Vec<u32> {
        let end = usize::try_from(height).unwrap_or(usize::MAX).saturating_add(1).min(self.blocks.len());
        let span = self.blocks.get(end.saturating_sub(MEDIAN_SPAN)..end).unwrap_or_default();
        span.iter().map(|block| block.header.time).collect()
    }

    /// The median time past at `height`, in seconds since 1970.
    pub(super) fn median_time(&self, height: u32) -> Option<u32> {
        median(&self.recent_times(height))
    }

    pub(super) fn tx(&self, txid: &Txid) -> Option<&Confirmed> {
        self.txs.get(txid)
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// The output at `outpoint`, if it exists and nothing in the chain spends it.
    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        if self.links.spender(outpoint).is_some() {
            return None;
        }
        let made = self.txs.get(&outpoint.txid)?;
        let output = made.tx.output.get(usize::try_from(outpoint.vout).ok()?)?.clone();
        Some(Coin { output, height: Some(made.height), coinbase: made.tx.is_coinbase() })
    }

    /// Adds the block on top. The kernel has validated it, so its inputs exist.
    pub(super) fn connect(&mut self, block: Block) {
        let height = self.next_height();
        let hash = block.block_hash();
        let mut txids = Vec::with_capacity(block.txdata.len());
        // Consensus never counted the genesis block's reward as spendable.
        let txdata = if height == 0 { Vec::new() } else { block.txdata };
        for (position, tx) in txdata.into_iter().enumerate() {
            let txid = tx.compute_txid();
            let prevouts: Vec<TxOut> =
                tx.input.iter().filter_map(|input| self.coin(&input.previous_output)).map(|c| c.output).collect();
            self.links.add(txid, &tx, &prevouts);
            txids.push(txid);
            self.txs.insert(txid, Confirmed { tx: Arc::new(tx), prevouts, height, position });
        }
        self.blocks.push(IndexedBlock { hash, header: block.header, txids });
    }

    /// Takes the top block off and returns its transactions, without the reward, in block order.
    pub(super) fn disconnect(&mut self) -> Vec<Arc<Transaction>> {
        let Some(block) = self.blocks.pop() else {
            return Vec::new();
        };
        let mut returned = Vec::new();
        for txid in block.txids.iter().rev() {
            if let Some(confirmed) = self.txs.remove(txid) {
                self.links.remove(*txid, &confirmed.tx, &confirmed.prevouts);
                if !confirmed.tx.is_coinbase() {
                    returned.push(confirmed.tx);
                }
            }
        }
        returned.reverse();
        returned
    }

    /// The transactions of the block at `height`.
    pub(super) fn txids_at(&self, height: u32) -> &[Txid] {
        let block = usize::try_from(height).ok().and_then(|h| self.blocks.get(h));
        block.map(|b| b.txids.as_slice()).unwrap_or_default()
    }
}
