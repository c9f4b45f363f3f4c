//! Lets each paid piece out once for each payment, and again for a while when the answer got lost.
//!
//! A response that breaks off, a player that asks twice: neither may charge twice. So a piece that a session has paid
//! for can be had again a few times for a short while, requests for the same piece stand in line behind the first, and
//! what the gate does is not undone by a client that goes away: the payment is remembered for its return.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rillpay_channel::wire::Token;
use rillpay_channel::{Code, Error};

use super::piece::Piece;
use crate::gate::Gate;

/// How many paid pieces are remembered over all sessions; the least recently asked for is forgotten first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// One piece of content as one session sees it. The version keeps a file that was replaced from passing for the old one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    /// Who pays.
    pub(super) token: Token,
    /// For what.
    pub(super) piece: Piece,
    /// For which version of it.
    pub(super) version: String,
}

/// What was paid, and how often it may still be fetched.
struct Pass {
    paid_at: Instant,
    left: u32,
}

/// `None` until paid. The lock is held while the gate waits: that is the line.
type Seat = Arc<tokio::sync::Mutex<Option<Pass>>>;

/// The gate with a short memory in front of it.
pub(super) struct Turnstile<G> {
    gate: Arc<G>,
    wait: Duration,
    keep: Duration,
    fetches: u32,
    seats: Mutex<LruCache<Ticket, Seat>>,
}

impl<G: Gate> Turnstile<G> {
    /// `wait` bounds one wait for a payment; a paid piece may be had `fetches` more times during `keep`.
    pub(super) fn new(gate: Arc<G>, wait: Duration, keep: Duration, fetches: u32) -> Self {
        Self { gate, wait, keep, fetches, seats: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Waits until the piece may leave. Answers the quantity that was counted: `quantity`, or 0 for a repetition.
    ///
    /// # Errors
    /// What the gate says; [`Code::NotPaid`] if the line was too long.
    pub(super) async fn admit(&self, ticket: Ticket, quantity: u64) -> Result<u64, Error> {
        let seat = Arc::clone(self.seats().get_or_insert(ticket.clone(), Seat::default));
        let (gate, wait, keep, fetches) = (Arc::clone(&self.gate), self.wait, self.keep, self.fetches);
        // A task of its own: it goes on when the client has hung up, so that what was paid is also remembered.
        let entry = tokio::spawn(async move {
            let line = tokio::time::timeout(wait, seat.lock_owned()).await;
            let mut pass = line.map_err(|_| Error::new(Code::NotPaid, "the payment did not come in time"))?;
            if let Some(pass) = pass.as_mut()
                && pass.left > 0
                && pass.paid_at.elapsed() < keep
            {
                pass.left = pass.left.saturating_sub(1);
                return Ok(0);
            }
            gate.release(ticket.token, quantity, wait).await?;
            *pass = Some(Pass { paid_at: Instant::now(), left: fetches });
            Ok(quantity)
        });
        entry.await.unwrap_or(Err(Error::new(Code::Unavailable, "the server failed at the gate")))
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, LruCache<Ticket, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
