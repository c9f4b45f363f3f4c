//! What survives a crash: the newest bytes of each slot, and nothing else (see `rillpay_channel::persist`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;

use rillpay_channel::persist::StoredEvent;
use serde::{Deserialize, Serialize};

/// How a disk behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Stores at once.
    #[default]
    Fine,
    /// Every store fails.
    Full,
    /// Every store is reported late: see [`crate::Crash::Late`].
    Slow,
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    slots: BTreeMap<u8, Vec<u8>>,
    pub(crate) state: DiskState,
    /// Writes to this slot are lost, silently. Only to see that the checks notice.
    pub(crate) loses: Option<u8>,
}

impl Disk {
    /// All of them at once. Whether they may be stored is the [`DiskState`]'s to say, before this is called.
    pub(crate) fn store<E: StoredEvent>(&mut self, events: &[E]) -> Result<(), Infallible> {
        let kept = events.iter().filter(|event| Some(event.slot()) != self.loses);
        self.slots.extend(kept.map(|event| (event.slot(), event.encode())));
        Ok(())
    }

    /// What is on it, on one that works.
    pub(crate) fn as_good_as_new(&self) -> Self {
        Self { slots: self.slots.clone(), ..Self::default() }
    }

    /// The records in the order of their slots.
    pub(crate) fn read<E: StoredEvent + Debug>(&self) -> Vec<E> {
        self.slots.values().map(|bytes| E::decode(bytes).expect("what was stored can be read")).collect()
    }

    /// The same as they lie there.
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        self.slots.values().cloned().collect()
    }

    /// The record of one slot.
    pub(crate) fn slot<E: StoredEvent>(&self, slot: u8) -> Option<E> {
        self.slots.get(&slot).map(|bytes| E::decode(bytes).expect("what was stored can be read"))
    }
}
