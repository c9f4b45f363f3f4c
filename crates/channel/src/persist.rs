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

use crate::codec::{Reader, malformed};
use crate::error::{Code, Error, refuse};
use crate::params::ChannelId;

/// The format of the stored events, as the first of them begins with it.
pub(crate) const FORMAT: u8 = 1;

/// Only this format is known here.
pub(crate) fn read_format(r: &mut Reader<'_>) -> Result<(), Error> {
    if r.u8()? == FORMAT { Ok(()) } else { Err(malformed("an unknown format of stored events")) }
}

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
    channel: ChannelId,
    base: u64,
    events: Vec<E>,
    effects: Vec<F>,
}

/// A decision whose events are stored. Commit it to the machine to get the effects.
#[must_use = "the effects are released by the machine's commit"]
#[derive(Debug)]
pub struct Saved<E, F>(Decision<E, F>);

impl<E, F> Decision<E, F> {
    pub(crate) const fn new(channel: ChannelId, base: u64, events: Vec<E>, effects: Vec<F>) -> Self {
        Self { channel, base, events, effects }
    }

    /// What is to be stored, together; empty where nothing changes.
    pub fn events(&self) -> &[E] {
        &self.events
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
    /// The events and effects, for a machine of this channel at this version.
    pub(crate) fn open(self, channel: ChannelId, version: u64) -> Result<(Vec<E>, Vec<F>), Error> {
        let Decision { channel: of, base, events, effects } = self.0;
        if of != channel || base != version {
            return refuse(Code::StaleDecision, "the channel has changed since this was decided");
        }
        Ok((events, effects))
    }

    /// The events and effects, for a machine that is yet to be made of them.
    pub(crate) fn into_parts(self) -> (Vec<E>, Vec<F>) {
        (self.0.events, self.0.effects)
    }
}

/// Hands the events on as long as their slots ascend, as a store gives them.
pub(crate) fn ascending<E: StoredEvent>(events: impl Iterator<Item = E>) -> impl Iterator<Item = Result<E, Error>> {
    let mut last = 0;
    events.map(move |event| {
        if event.slot() <= last {
            return refuse(Code::CorruptedStore, "the stored events of a channel are not in order");
        }
        last = event.slot();
        Ok(event)
    })
}
