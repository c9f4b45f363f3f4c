//! Bitcoin Core's validation, wrapped in rust-bitcoin's types: the only file that touches `bitcoinkernel`.
//!
//! The kernel writes each block to its block files at once, but its databases only now and then and when it is
//! closed. A process that is killed would therefore wake up with an old chain. So the databases live in memory and
//! are **rebuilt from the block files at every start**, which validates every block again: one source of truth, no
//! state that can disagree with it, at a cost of one or two milliseconds a block.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, Transaction, TxOut};
use bitcoinkernel::prelude::*;
use bitcoinkernel::{
    BlockValidationStateRef, ChainType, ChainstateManager, Context, ContextBuilder, KernelError,
    PrecomputedTransactionData, ProcessBlockResult, ScriptPubkey, VERIFY_ALL, ValidationMode, disable_logging, verify,
};

use crate::ChainError;

/// The validation engine and its block files.
pub(super) struct Engine {
    chainman: ChainstateManager,
    /// Must outlive the chainstate manager, which is dropped first because it is declared first.
    _context: Context,
    /// What the kernel said of the last block that it found invalid.
    verdict: Arc<Mutex<Option<String>>>,
    failed: Arc<AtomicBool>,
}

/// The kernel's buffer of log lines fills up unless somebody reads it; what matters here arrives by callback.
static QUIET: Once = Once::new();

fn unavailable(error: KernelError) -> ChainError {
    ChainError::Unavailable(format!("validation engine: {error}"))
}

impl Engine {
    /// Opens the block files below `dir`, creating them if need be, and validates the chain in them.
    pub(super) fn open(dir: &Path) -> Result<Self, ChainError> {
        QUIET.call_once(disable_logging);
        let verdict = Arc::new(Mutex::new(None));
        let failed = Arc::new(AtomicBool::new(false));
        let context = context(Arc::clone(&verdict), Arc::clone(&failed)).map_err(unavailable)?;
        let blocks = dir.join("blocks");
        let utf8 = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or(ChainError::Misuse("the data directory's name must be valid UTF-8"))
        };
        let chainman = ChainstateManager::builder(&context, &utf8(dir)?, &utf8(&blocks)?)
            .and_then(|options| options.wipe_db(true, true))
            .and_then(|options| {
                options.block_tree_db_in_memory(true).chainstate_db_in_memory(true).worker_threads(1).build()
            })
            .map_err(unavailable)?;
        chainman.import_blocks().map_err(unavailable)?;
        Ok(Engine { chainman, _context: context, verdict, failed })
    }

    /// False once the kernel reported that it cannot go on (a full disk, a corrupted file).
    pub(super) fn is_sound(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// The height of the best chain.
    pub(super) fn height(&self) -> u32 {
        u32::try_from(self.chainman.active_chain().height()).unwrap_or(0)
    }

    /// The hash of the best chain's block at a height.
    pub(super) fn hash_at(&self, height: u32) -> Option<BlockHash> {
        let entry = self.chainman.active_chain().at_height(usize::try_from(height).ok()?)?;
        Some(BlockHash::from_byte_array(entry.block_hash().to_bytes()))
    }

    /// Reads a block, on the best chain or beside it.
    pub(super) fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        let key = bitcoinkernel::BlockHash::new(hash.as_byte_array()).map_err(unavailable)?;
        let Some(entry) = self.chainman.get_block_tree_entry(&key) else {
            return Ok(None);
        };
        let bytes =
            self.chainman.read_block_data(&entry).and_then(|block| block.consensus_encode()).map_err(unavailable)?;
        let block = deserialize(&bytes).map_err(|e| ChainError::Unavailable(format!("unreadable block: {e}")))?;
        Ok(Some(block))
    }

    /// Gives a block to the kernel. Success means that it is stored and, where its branch is the longest, connected.
    pub(super) fn process(&self, block: &Block) -> Result<(), ChainError> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        *verdict = None;
        drop(verdict);
        let block = bitcoinkernel::Block::new(&serialize(block)).map_err(unavailable)?;
        let result = self.chainman.process_block(&block);
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, verdict) {
            (ProcessBlockResult::NewBlock | ProcessBlockResult::Duplicate, None) if self.is_sound() => Ok(()),
            (_, verdict) => Err(ChainError::Unavailable(format!(
                "the kernel refused a block: {}",
                verdict.unwrap_or_else(|| "no reason given".to_owned())
            ))),
        }
    }

    /// Runs the scripts of all inputs under every consensus rule. `prevouts` are the outputs spent, in input order.
    /// On failure, the index of the first input that does not hold.
    pub(super) fn verify_scripts(&self, tx: &Transaction, prevouts: &[TxOut]) -> Result<(), usize> {
        let checked = || -> Result<Option<usize>, KernelError> {
            let tx = bitcoinkernel::Transaction::new(&serialize(tx))?;
            let spent = prevouts.iter().map(kernel_output).collect::<Result<Vec<_>, _>>()?;
            let hashes = PrecomputedTransactionData::new(&tx, &spent)?;
            let bad = spent.iter().enumerate().find(|(i, output)| {
                let script = output.script_pubkey();
                verify(&script, Some(output.value()), &tx, *i, Some(VERIFY_ALL), &hashes).is_err()
            });
            Ok(bad.map(|(i, _)| i))
        };
        match checked() {
            Ok(None) => Ok(()),
            Ok(Some(input)) => Err(input),
            // The kernel could not even read it: as wrong as a wrong script.
            Err(_) => Err(0),
        }
    }
}

fn kernel_output(output: &TxOut) -> Result<bitcoinkernel::TxOut, KernelError> {
    let script = ScriptPubkey::new(output.script_pubkey.as_bytes())?;
    let value = i64::try_from(output.value.to_sat()).map_err(|_| KernelError::OutOfBounds)?;
    Ok(bitcoinkernel::TxOut::new(&script, value))
}

fn context(verdict: Arc<Mutex<Option<String>>>, failed: Arc<AtomicBool>) -> Result<Context, KernelError> {
    let fatal = Arc::clone(&failed);
    ContextBuilder::new()
        .chain_type(ChainType::Regtest)
        .with_block_checked_validation(move |_: bitcoinkernel::Block, state: BlockValidationStateRef<'_>| {
            if state.mode() != ValidationMode::Valid {
                let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
                *verdict = Some(format!("{:?}", state.result()));
            }
        })
        .with_flush_error_notification(move |message: String| {
            tracing::error!(%message, "the validation engine cannot write");
            failed.store(true, Ordering::Release);
        })
        .with_fatal_error_notification(move |message: String| {
            tracing::error!(%message, "the validation engine stopped");
            fatal.store(true, Ordering::Release);
        })
        .build()
}
