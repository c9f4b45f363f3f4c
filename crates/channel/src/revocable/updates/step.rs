//! How far an update has come on its way into both commitments.

use crate::revocable::channel::Role;

/// How far an update has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Proposed,
    Signed,
    Acknowledged,
    Countersigned,
    Settled,
}

impl Step {
    /// Whether the newest commitment of `owner` has an update of `by` that has come so far.
    pub(super) fn is_in(self, owner: Role, by: Role) -> bool {
        self >= if owner == by { Self::Countersigned } else { Self::Signed }
    }

    /// Whether the next one of `owner` would have it.
    pub(super) fn is_next_in(self, owner: Role, by: Role) -> bool {
        owner != by || self >= Self::Acknowledged
    }

    /// `signer` signed the next commitment of the other.
    pub(super) fn sign(&mut self, signer: Role, by: Role) {
        match (*self, signer == by) {
            (Self::Proposed, true) => *self = Self::Signed,
            (Self::Acknowledged, false) => *self = Self::Countersigned,
            _ => {}
        }
    }

    /// `owner` revoked its commitment before the newest.
    pub(super) fn revoke(&mut self, owner: Role, by: Role) {
        match (*self, owner == by) {
            (Self::Signed, false) => *self = Self::Acknowledged,
            (Self::Countersigned, true) => *self = Self::Settled,
            _ => {}
        }
    }
}
