//! Store first, act second, made into types.
//!
//! A machine never changes by itself and never acts. It *decides*: given an input, it returns a [`Decision`] that holds
//! events to store and effects to carry out. The effects are sealed inside until the events are stored:
//!
//! ```text
//! machine.pay(..) ──> Decision ──save(store)──> Saved ──machine.commit(..)──> effects
//!                      events                              state changes here, and only by the stored events
//! ```
//!
//! When the store fails, the machine is as it was and nothing has left it. A decision made on a state that has changed
//! since is refused at the commit. Replaying the stored events goes through the same code as the commit, and treats
//! them as hostile.
//!
//! **Slots.** A store keeps, for each channel, the newest event of each [`StoredEvent::slot`], not a growing log: what is
//! stored for payment 1,000,000 is what was stored for payment 1. The events of one decision are stored together or not
//! at all.

use crate::error::Error;

/// An event as a store sees it.
pub trait StoredEvent: Sized {
    /// Which record it replaces. Replay wants the records in ascending order of their slots.
    fn slot(&self) -> u8;
    /// Its bytes.
    fn encode(&self) -> Vec<u8>;
    /// From its bytes.
    ///
    /// # Errors
    /// [`crate::Code::CorruptedStore`].
    fn decode(bytes: &[u8]) -> Result<Self, Error>;
}

/// What a machine wants to happen: nothing has, until it is saved and committed.
#[must_use = "nothing has happened until the decision is saved and committed"]
#[derive(Debug)]
pub struct Decision<E, F> {
    base: u64,
    events: Vec<E>,
    effects: Vec<F>,
}

/// A decision whose events are stored. Commit it to the machine to get the effects.
#[must_use = "the effects are released by the machine's commit"]
#[derive(Debug)]
pub struct Saved<E, F>(Decision<E, F>);

impl<E, F> Decision<E, F> {
    pub(crate) fn new(base: u64, events: Vec<E>, effects: Vec<F>) -> Self {
        Self { base, events, effects }
    }

    /// What is to be stored, together; empty where nothing changes.
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// The version of the state that this was decided on. A store that several writers share compares it with its own.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Stores the events, if there are any.
    ///
    /// # Errors
    /// The store's own error; the decision is gone, the machine is as it was. Where it is not known whether the events
    /// were stored, load the machine anew.
    pub fn save<S>(self, store: impl FnOnce(&[E]) -> Result<(), S>) -> Result<Saved<E, F>, S> {
        if !self.events.is_empty() {
            store(&self.events)?;
        }
        Ok(Saved(self))
    }

    /// As [`Decision::save`], for stores that are awaited.
    ///
    /// # Errors
    /// As [`Decision::save`].
    pub async fn save_async<S>(self, store: impl AsyncFnOnce(&[E]) -> Result<(), S>) -> Result<Saved<E, F>, S> {
        if !self.events.is_empty() {
            store(&self.events).await?;
        }
        Ok(Saved(self))
    }
}

impl<E, F> Saved<E, F> {
    pub(crate) fn into_parts(self) -> (u64, Vec<E>, Vec<F>) {
        (self.0.base, self.0.events, self.0.effects)
    }
}
