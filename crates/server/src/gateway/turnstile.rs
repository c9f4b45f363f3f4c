//! Lets each paid piece out once for each payment, and again for a while when the answer got lost.
//!
//! A response that breaks off, a player that asks twice: neither may charge twice. So a piece that a session has paid
//! for can be had again a few times for a short while, requests for the same piece stand in line behind the first, and
//! what the gate does is not undone by a client that goes away: the payment is remembered for its return.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rillpay_channel::wire::Token;
use rillpay_channel::{Code, Error};
use tokio::sync::OwnedMutexGuard;

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

/// The seats, by what they are for.
struct Seats(Mutex<LruCache<Ticket, Seat>>);

/// The gate with a short memory in front of it.
pub(super) struct Turnstile<G> {
    gate: Arc<G>,
    wait: Duration,
    keep: Duration,
    fetches: u32,
    seats: Arc<Seats>,
}

impl<G: Gate> Turnstile<G> {
    /// `wait` bounds one wait for a payment; a paid piece may be had `fetches` more times during `keep`.
    pub(super) fn new(gate: Arc<G>, wait: Duration, keep: Duration, fetches: u32) -> Self {
        Self { gate, wait, keep, fetches, seats: Arc::new(Seats(Mutex::new(LruCache::new(REMEMBERED)))) }
    }

    /// Whether the session stands, before anything costly is done for it.
    ///
    /// # Errors
    /// What the gate says.
    pub(super) async fn stands(&self, token: Token) -> Result<(), Error> {
        self.gate.stands(token).await
    }

    /// Waits until the piece may leave. Answers the quantity that was counted: `quantity`, or 0 for a repetition.
    ///
    /// # Errors
    /// What the gate says; [`Code::NotPaid`] if the line was too long.
    pub(super) async fn admit(&self, ticket: Ticket, quantity: u64) -> Result<u64, Error> {
        let seat = self.seats.take(&ticket);
        let seats = Arc::clone(&self.seats);
        let (gate, wait, keep, fetches) = (Arc::clone(&self.gate), self.wait, self.keep, self.fetches);
        // A task of its own: it goes on when the client has hung up, so that what was paid is also remembered.
        let entry = tokio::spawn(async move {
            let line = tokio::time::timeout(wait, seat.lock_owned()).await;
            let mut pass = line.map_err(|_| Error::new(Code::NotPaid, "the payment did not come in time"))?;
            if let Some(pass) = pass.as_mut()
                && pass.left > 0
                && pass.paid_at.elapsed() < keep
                // After Stop, or for a session that was taken over, nothing is given again.
                && gate.stands(ticket.token).await.is_ok()
            {
                pass.left = pass.left.saturating_sub(1);
                return Ok(0);
            }
            if let Err(refusal) = gate.release(ticket.token, quantity, wait).await {
                seats.leave(&ticket, &pass);
                return Err(refusal);
            }
            *pass = Some(Pass { paid_at: Instant::now(), left: fetches });
            Ok(quantity)
        });
        entry.await.unwrap_or(Err(Error::new(Code::Unavailable, "the server failed at the gate")))
    }
}

impl Seats {
    fn all(&self) -> MutexGuard<'_, LruCache<Ticket, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, ticket: &Ticket) -> Seat {
        Arc::clone(self.all().get_or_insert(ticket.clone(), Seat::default))
    }

    /// Forgets a seat that nothing was paid for, so that strangers cannot push out what others have paid. While others
    /// stand in line for it, it stays: they must not be served side by side with a new one.
    fn leave(&self, ticket: &Ticket, pass: &OwnedMutexGuard<Option<Pass>>) {
        let mut all = self.all();
        // One reference is the table's, one the guard's.
        if Arc::strong_count(OwnedMutexGuard::mutex(pass)) <= 2 {
            all.pop(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use rillpay_channel::wire::Token;

    use super::super::path::MediaPath;
    use super::*;

    /// Token 1 pays.
    struct One;

    impl Gate for One {
        async fn release(&self, token: Token, _: u64, _: Duration) -> Result<(), Error> {
            match token.0[0] {
                1 => Ok(()),
                _ => Err(Error::new(Code::UnknownChannel, "no such session")),
            }
        }

        async fn stands(&self, token: Token) -> Result<(), Error> {
            self.release(token, 0, Duration::ZERO).await
        }
    }

    #[tokio::test]
    async fn only_what_is_paid_is_remembered() {
        let second = Duration::from_secs(1);
        let turnstile = Turnstile::new(Arc::new(One), second, second, 1);
        let ticket = |token| Ticket {
            token: Token([token; 32]),
            piece: Piece::whole(MediaPath::parse("a").unwrap()),
            version: String::new(),
        };
        for stranger in 2..100 {
            let refusal = turnstile.admit(ticket(stranger), 7).await.unwrap_err();
            assert_eq!(refusal.code(), Code::UnknownChannel);
        }
        assert_eq!(turnstile.seats.all().len(), 0);
        for expected in [7, 0, 7] {
            assert_eq!(turnstile.admit(ticket(1), 7).await, Ok(expected));
        }
        assert_eq!(turnstile.seats.all().len(), 1);
    }
}
