//! How safe from loss is what this browser stores.

use std::cell::Cell;

use serde::Serialize;

use crate::env;

/// What WebKit allows a page between two visits.
const WEBKIT_DAYS: u32 = 7;
/// Ten minutes each.
const BLOCKS_PER_DAY: u32 = 144;

/// What is known of this browser.
pub(crate) struct Safety {
    persistent: Cell<bool>,
    evicts: bool,
    private: bool,
}

/// See `Safety` in the package's types.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SafetyView {
    persistent: bool,
    eviction_days: Option<u32>,
    private_mode: bool,
}

impl Safety {
    /// Looks around.
    pub(crate) async fn look() -> Self {
        Self {
            persistent: Cell::new(env::is_persistent().await),
            evicts: env::evicts(),
            private: env::is_private().await,
        }
    }

    /// Asks the browser to keep what is stored.
    pub(crate) async fn ask(&self) {
        self.persistent.set(env::ask_for_persistence().await);
    }

    pub(crate) const fn is_persistent(&self) -> bool {
        self.persistent.get()
    }

    pub(crate) const fn is_private(&self) -> bool {
        self.private
    }

    /// Whether what is stored may be gone so many blocks after a visit.
    pub(crate) fn evicts_within(&self, blocks: u32) -> bool {
        self.eviction_days().is_some_and(|days| blocks > days.saturating_mul(BLOCKS_PER_DAY))
    }

    pub(crate) fn view(&self) -> SafetyView {
        SafetyView { persistent: self.is_persistent(), eviction_days: self.eviction_days(), private_mode: self.private }
    }

    fn eviction_days(&self) -> Option<u32> {
        (self.evicts && !self.is_persistent()).then_some(WEBKIT_DAYS)
    }
}
