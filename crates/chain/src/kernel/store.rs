//! What the node keeps beside the kernel's block files: a lock on the folder and the waiting transactions.
//!
//! `mempool.dat` is a row of consensus-encoded transactions in arrival order. Accepting one appends it; a new block
//! writes the file afresh and renames it into place. Reading is lenient on purpose: everything in it is judged again,
//! and a torn last record (the process died while writing) only loses a transaction that nobody was told about.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bitcoin::Transaction;
use bitcoin::consensus::{Decodable, serialize};
use tempfile::TempDir;

use crate::ChainError;

/// The folder of a node.
pub(super) struct Store {
    dir: PathBuf,
    /// Holds the operating system's lock for as long as the node lives.
    _lock: File,
    /// Removes the folder at the end when nobody named one.
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens a folder for this process alone.
    pub(super) fn at(dir: &Path) -> Result<Self, ChainError> {
        Self::open(dir.to_owned(), None)
    }

    /// A folder that is removed when the store is dropped.
    pub(super) fn temporary() -> Result<Self, ChainError> {
        let temporary = TempDir::with_prefix("rillpay-chain-").map_err(|e| failed(&std::env::temp_dir(), e))?;
        Self::open(temporary.path().to_owned(), Some(temporary))
    }

    fn open(dir: PathBuf, temporary: Option<TempDir>) -> Result<Self, ChainError> {
        fs::create_dir_all(&dir).map_err(|e| failed(&dir, e))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|e| failed(&path, e))?;
        lock.try_lock().map_err(|e| match e {
            fs::TryLockError::WouldBlock => {
                ChainError::Unavailable(format!("{} is in use by another process", dir.display()))
            }
            fs::TryLockError::Error(e) => failed(&path, e),
        })?;
        Ok(Store { dir, _lock: lock, _temporary: temporary })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn mempool_path(&self) -> PathBuf {
        self.dir.join("mempool.dat")
    }

    /// The transactions that waited when the node last ran, in arrival order.
    pub(super) fn load_mempool(&self) -> Result<Vec<Transaction>, ChainError> {
        let path = self.mempool_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(&path, e)),
        };
        let mut reader = BufReader::new(file);
        let mut txs = Vec::new();
        while let Ok(tx) = Transaction::consensus_decode(&mut reader) {
            txs.push(tx);
        }
        Ok(txs)
    }

    /// Adds a transaction at the end. A half-written record is taken away again: it would hide all that follow.
    pub(super) fn append_mempool(&self, tx: &Transaction) -> Result<(), ChainError> {
        let path = self.mempool_path();
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            let end = file.metadata()?.len();
            file.write_all(&serialize(tx)).or_else(|e| file.set_len(end).and(Err(e)))
        };
        append().map_err(|e| failed(&path, e))
    }

    /// Replaces the file.
    pub(super) fn write_mempool<'a>(&self, txs: impl Iterator<Item = &'a Transaction>) -> Result<(), ChainError> {
        let path = self.mempool_path();
        let fresh = path.with_extension("new");
        let bytes: Vec<u8> = txs.flat_map(serialize).collect();
        fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, &path)).map_err(|e| failed(&path, e))
    }
}

fn failed(path: &Path, source: std::io::Error) -> ChainError {
    ChainError::Storage { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;

    use super::*;

    fn tx(lock: u32) -> Transaction {
        let output = bitcoin::TxOut { value: bitcoin::Amount::ONE_SAT, script_pubkey: bitcoin::ScriptBuf::new() };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock),
            input: vec![bitcoin::TxIn::default()],
            output: vec![output],
        }
    }

    #[test]
    fn a_torn_record_loses_only_itself() {
        let store = Store::temporary().unwrap();
        assert_eq!(store.load_mempool().unwrap(), []);
        store.write_mempool([tx(1), tx(2)].iter()).unwrap();
        store.append_mempool(&tx(3)).unwrap();
        assert_eq!(store.load_mempool().unwrap(), [tx(1), tx(2), tx(3)]);

        let bytes = fs::read(store.mempool_path()).unwrap();
        fs::write(store.mempool_path(), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(store.load_mempool().unwrap(), [tx(1), tx(2)]);
    }

    #[test]
    fn one_process_at_a_time() {
        let store = Store::temporary().unwrap();
        let second = Store::at(store.dir());
        assert_eq!(second.err().map(|e| e.code()), Some("chain-unavailable"));
    }

    #[test]
    fn a_temporary_folder_goes_away() {
        let store = Store::temporary().unwrap();
        let dir = store.dir().to_owned();
        drop(store);
        assert!(!dir.exists());
    }
}
