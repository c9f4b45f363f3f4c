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
pub(crate) const FORMAT: u8 = 2;

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

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// An event of which only the slot matters.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Slot(u8);

    impl StoredEvent for Slot {
        fn slot(&self) -> u8 {
            self.0
        }

        fn encode(&self) -> Vec<u8> {
            vec![self.0]
        }

        fn decode(bytes: &[u8]) -> Result<Self, Error> {
            bytes.first().copied().map(Self).ok_or(malformed("too short"))
        }
    }

    const CHANNEL: ChannelId = ChannelId([1; 32]);

    fn decision(slots: &[u8]) -> Decision<Slot, &'static str> {
        Decision::new(CHANNEL, 7, slots.iter().copied().map(Slot).collect(), vec!["effect"])
    }

    /// The result of a future that has nothing to wait for.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn an_awaited_store_gets_what_is_new_and_nothing_else() {
        let mut stored = vec![];
        let saved = ready(decision(&[3, 4]).save_async(async |events: &[Slot]| {
            stored.extend_from_slice(events);
            Ok::<_, ()>(())
        }));
        assert_eq!(saved.unwrap().open(CHANNEL, 7).unwrap(), (vec![Slot(3), Slot(4)], vec!["effect"]));
        assert_eq!(stored, [Slot(3), Slot(4)]);
        // Where nothing changes, no store is asked, not even a broken one.
        assert!(ready(decision(&[]).save_async(async |_: &[Slot]| Err("disk full"))).is_ok());
        assert_eq!(ready(decision(&[3]).save_async(async |_: &[Slot]| Err("disk full"))).unwrap_err(), "disk full");
    }

    #[test]
    fn a_decision_opens_for_its_own_channel_at_its_own_version() {
        let open = |channel, version| {
            let saved = decision(&[3]).save(|_| Ok::<_, ()>(())).unwrap();
            saved.open(channel, version).map(|(_, effects)| effects).map_err(|error| error.code())
        };
        assert_eq!(open(CHANNEL, 7), Ok(vec!["effect"]));
        assert_eq!(open(CHANNEL, 8), Err(Code::StaleDecision));
        assert_eq!(open(ChannelId([2; 32]), 7), Err(Code::StaleDecision));
    }

    #[test]
    fn a_slot_is_read_once_and_in_its_place() {
        let read = |slots: &[u8]| ascending(slots.iter().copied().map(Slot)).collect::<Result<Vec<_>, _>>();
        assert_eq!(read(&[1, 2, 5]).unwrap().len(), 3);
        for bad in [&[0, 1][..], &[1, 1], &[2, 1]] {
            assert_eq!(read(bad).unwrap_err().code(), Code::CorruptedStore, "{bad:?}");
        }
    }
}
