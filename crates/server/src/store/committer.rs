//! The one thread that writes.
//!
//! ```text
//!   sockets ──push──> queue ──take all──> BEGIN, write.., COMMIT (one sync) ──> answer everybody
//! ```
//!
//! While a transaction is being synced the queue gathers the next one, so batches grow with the load by themselves. Where
//! the disk is quicker than the load, transactions are spaced out to one per [`PACE`]: a sync, and a page of the log, that
//! many payments share is what makes a payment cheap. Whoever pays alone never waits for that.
//!
//! A change that conflicts fails alone; a failing transaction fails everybody in it, and since it may or may not have
//! reached the disk, each of them loads its channel anew.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rillpay_channel::ChannelId;
use rillpay_channel::bitcoin::Txid;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::record::{self, Change, ColdRecord};
use super::{PayoutNumber, Row, Seen, StoreError, StoredSettlement, Version, settlements};

/// Under load a transaction begins no sooner than this after the one before.
const PACE: Duration = Duration::from_millis(10);

/// Where an answer goes. Whoever gave up waiting does not mind that it is lost.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something to make durable.
pub(super) enum Write {
    Change { row: Row, version: Version, change: Change },
    Create { id: ChannelId, row: Row, payer: PublicKey, opened: u32, events: Vec<ColdRecord> },
    Finish(Row),
    Discard(Row),
    AddSettlement(StoredSettlement, Option<PayoutNumber>),
    RemoveSettlement(Txid),
    See(Seen),
}

/// Something to do on the store's thread.
pub(super) enum Job {
    Write(Write, Reply<()>),
    /// Done after the writes that came with it.
    Read(Box<dyn FnOnce(&Connection) + Send>),
    Close(Reply<()>),
}

struct Shared {
    /// `None` once closed.
    jobs: Mutex<Option<Vec<Job>>>,
    arrived: Condvar,
    well: AtomicBool,
}

/// The sending end of the committer's queue.
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    /// Hands over a job. After the close its reply is dropped, which whoever waits for it notices.
    pub(super) fn push(&self, job: Job) {
        let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = jobs.as_mut() {
            jobs.push(job);
            // With more than one job waiting the committer has been woken already.
            if jobs.len() == 1 {
                self.0.arrived.notify_one();
            }
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.0.well.load(Ordering::Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        self.push(Job::Close(reply));
    }
}

/// Starts the thread.
pub(super) fn start(db: Connection) -> Result<Queue, StoreError> {
    let shared =
        Arc::new(Shared { jobs: Mutex::new(Some(Vec::new())), arrived: Condvar::new(), well: AtomicBool::new(true) });
    let committer = Committer { db, shared: Arc::clone(&shared), answers: Vec::new() };
    thread::Builder::new()
        .name("committer".into())
        .spawn(move || committer.run())
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(Queue(shared))
}

struct Committer {
    db: Connection,
    shared: Arc<Shared>,
    /// Answers that leave after the commit; kept to reuse its memory.
    answers: Vec<(Reply<()>, Result<(), StoreError>)>,
}

impl Committer {
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut open = true;
        while open && self.take(&mut batch) {
            let (began, shared) = (Instant::now(), batch.len() > 1);
            open = self.process(&mut batch);
            if shared {
                thread::sleep(PACE.saturating_sub(began.elapsed()));
            }
        }
        // Jobs that came in meanwhile are dropped, and their owners see that.
        *self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits for jobs and swaps them for the empty `batch`. False once closed.
    fn take(&self, batch: &mut Vec<Job>) -> bool {
        let mut jobs = self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match jobs.as_mut() {
                None => return false,
                Some(waiting) if !waiting.is_empty() => {
                    mem::swap(waiting, batch);
                    return true;
                }
                Some(_) => jobs = self.shared.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Does a batch; false when it asked to close.
    fn process(&mut self, batch: &mut Vec<Job>) -> bool {
        let (mut reads, mut closing) = (Vec::new(), Vec::new());
        // The transaction; an error in it is final.
        let mut transaction = None;
        for job in batch.drain(..) {
            let (write, reply) = match job {
                Job::Write(write, reply) => (write, reply),
                Job::Read(read) => {
                    reads.push(read);
                    continue;
                }
                Job::Close(reply) => {
                    closing.push(reply);
                    continue;
                }
            };
            let outcome = match transaction.get_or_insert_with(|| begin(&self.db)) {
                Ok(()) => write.apply(&self.db),
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = &outcome
                && !matches!(error, StoreError::Conflict | StoreError::Full)
                && (!matches!(write, Write::Create { .. }) || self.db.is_autocommit())
            {
                transaction = Some(Err(error.clone()));
            }
            self.answers.push((reply, outcome));
        }
        if let Some(transaction) = transaction {
            self.finish(transaction);
        }
        reads.into_iter().for_each(|read| read(&self.db));
        let open = closing.is_empty();
        for reply in closing {
            let _ = reply.send(Ok(()));
        }
        open
    }

    /// Commits, or rolls back if anything failed, and answers everybody.
    fn finish(&mut self, transaction: Result<(), StoreError>) {
        let outcome = transaction.and_then(|()| commit(&self.db));
        if let Err(error) = &outcome {
            tracing::error!(%error, changes = self.answers.len(), "nothing of a transaction was stored");
            // After some errors SQLite has rolled back by itself.
            if !self.db.is_autocommit()
                && let Err(error) = self.db.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "the store could not be rolled back");
            }
        }
        self.shared.well.store(outcome.is_ok(), Ordering::Relaxed);
        for (reply, own) in self.answers.drain(..) {
            let _ = reply.send(own.and_then(|()| outcome.clone()));
        }
    }
}

fn begin(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(())
}

/// Does what, if it fails, leaves the rest of the transaction as it was: payments do not fail because of an opening.
fn alone(db: &Connection, work: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    db.prepare_cached("SAVEPOINT opening")?.execute([])?;
    let done = work();
    if done.is_err() {
        // After some errors, such as a full disk, SQLite has rolled back the whole transaction by itself.
        if db.is_autocommit() {
            return done;
        }
        db.prepare_cached("ROLLBACK TO opening")?.execute([])?;
    }
    db.prepare_cached("RELEASE opening")?.execute([])?;
    done
}

fn commit(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

impl Write {
    fn apply(&self, db: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Change { row, version, change } => change.write(db, *row, *version),
            Self::Create { id, row, payer, opened, events } => {
                alone(db, || record::create(db, *id, *row, payer, *opened, events))
            }
            Self::Discard(row) => record::discard(db, *row),
            Self::Finish(row) => record::finish(db, *row),
            Self::AddSettlement(settlement, number) => settlements::add(db, settlement, number.as_ref()),
            Self::See(seen) => settlements::see(db, seen),
            Self::RemoveSettlement(txid) => settlements::remove(db, txid),
        }
    }
}
