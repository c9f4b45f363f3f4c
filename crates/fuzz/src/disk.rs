//! What survives a crash: the newest bytes of each slot, and nothing else (see `rillpay_channel::persist`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;

use rillpay_channel::persist::StoredEvent;

#[derive(Default)]
pub(crate) struct Disk {
    slots: BTreeMap<u8, Vec<u8>>,
    /// Writes to this slot are lost, silently. Only to see that the checks notice.
    pub(crate) loses: Option<u8>,
}

impl Disk {
    /// All of them at once; this disk never fails.
    pub(crate) fn store<E: StoredEvent>(&mut self, events: &[E]) -> Result<(), Infallible> {
        let kept = events.iter().filter(|event| Some(event.slot()) != self.loses);
        self.slots.extend(kept.map(|event| (event.slot(), event.encode())));
        Ok(())
    }

    /// The records in the order of their slots.
    pub(crate) fn read<E: StoredEvent + Debug>(&self) -> Vec<E> {
        self.slots.values().map(|bytes| E::decode(bytes).expect("what was stored can be read")).collect()
    }

    /// The record of one slot.
    pub(crate) fn slot<E: StoredEvent>(&self, slot: u8) -> Option<E> {
        self.slots.get(&slot).map(|bytes| E::decode(bytes).expect("what was stored can be read"))
    }
}
