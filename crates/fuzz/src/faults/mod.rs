//! Crashes and other faults as data: cases that a native test and a browser's both run.
//!
//! A [`Case`] is a file in `tests/faults`: what happens ([`Step`]s), which faults to try at every single point of it
//! ([`Each`]), how it ends and what must come of it. [`run()`] goes through it once undisturbed, then once for each fault at
//! each point: a crash at decision 17, frame 5 lost, and so on. The invariants of [`crate::World`] are checked after every
//! step of every run; [`Expect`] is checked at the end. `docs/faults.md` says how to add a case.

mod list;
mod random;
mod run;
#[cfg(not(target_arch = "wasm32"))]
mod soak;

use serde::{Deserialize, Serialize};

pub use list::CASES;
pub use random::random;
pub use run::{Ran, run, run_some};
#[cfg(not(target_arch = "wasm32"))]
pub use soak::{Failed, made_up, soak};

use crate::action::Party;
use crate::disk::DiskState;
use crate::host::Crash;
use crate::setup::Setup;

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What it is about, in a sentence.
    pub about: String,
    /// The kinds of channel it is run with.
    pub kinds: Vec<KindOfChannel>,
    /// Confirmations that a deposit needs.
    #[serde(default = "one")]
    pub confirmations: u16,
    /// What happens. A channel is open and attached before the first step, and not funded.
    pub steps: Vec<Step>,
    /// Which faults are tried at every point, each in a run of its own.
    #[serde(default)]
    pub each: Vec<Each>,
    /// How it ends.
    pub end: End,
    /// What must come of it; without, the invariants alone must hold.
    #[serde(default)]
    pub expect: Option<Expect>,
}

const fn one() -> u16 {
    1
}

/// `cltv` or `timelock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindOfChannel {
    /// See [`Setup::canonical`].
    Cltv,
    /// See [`Setup::timelock`].
    Timelock,
}

/// A thing that happens. Where a side has lost the other it comes back by itself, as page and server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The deposit is paid, and not confirmed.
    Deposit,
    /// So many blocks are found, and each side looks at each.
    Mine(u32),
    /// Blocks are found, and looked at, up to this height.
    Until(Height),
    /// So many blocks are replaced by one more.
    Reorganise {
        /// How many: 0 replaces what waits in the mempool alone.
        blocks: u8,
        /// A double spend of the deposit is in the new blocks: it never comes back.
        replaced: bool,
    },
    /// So many seconds are watched, or fewer if the server serves no more.
    Watch(u32),
    /// The viewer pauses or goes on.
    Pause(bool),
    /// The viewer stops.
    Stop,
    /// The server settles, if it is to.
    Settle,
    /// The viewer tries to take the deposit back.
    Refund,
    /// This side's process is ended and started again.
    Reload(Party),
    /// The decision of this side's, so many from now, ends like this.
    Crash(Party, u32, Crash),
    /// This side's disk is like this from now on.
    Disk(Party, DiskState),
    /// Hours pass, or the clock is set back by some.
    Clock(i32),
    /// This side does nothing any more.
    Silent(Party),
    /// It is there again.
    Back(Party),
    /// The payer broadcasts whatever it was ever granted, first the worst for the payee.
    PlayOldStates,
}

/// A height that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Height {
    /// From here on nothing is served.
    Stop,
    /// By here the payee settles.
    Close,
    /// Past here the payer takes its deposit back.
    Expiry,
}

/// A fault that is tried at every point of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// Every [`Crash`] at every decision of either side.
    Crash,
    /// Every [`crate::Weather`] of every frame in either direction.
    Frame,
}

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything is well again: the stream goes on, both reconcile, and each has its money in the end.
    Reconciled,
    /// The payer never comes back: the payee settles alone.
    PayerGone,
    /// The payee never comes back: the payer takes back alone what it can.
    PayeeGone,
}

/// What must come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// Seconds that the viewer watched. With a fault, at most one piece more may be counted.
    pub watched: u64,
    /// The most that the payer may have lost at the end, in satoshi, fees of its own apart. With a fault: a window more.
    #[serde(default)]
    pub payer_loses: u64,
    /// The same for the payee.
    #[serde(default)]
    pub payee_loses: u64,
    /// What the channel came to.
    pub outcome: Outcome,
}

/// What spent the deposit in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A transaction that pays the payee.
    Settled,
    /// One that pays the payer alone.
    Refunded,
    /// There is no deposit: it was never paid, or was spent elsewhere.
    Unfunded,
}

impl Case {
    /// From the text of its file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn setup(&self, kind: KindOfChannel) -> Setup {
        let setup = match kind {
            KindOfChannel::Cltv => Setup::canonical(),
            KindOfChannel::Timelock => Setup::timelock(),
        };
        Setup { confirmations: self.confirmations, streaming: false, ..setup }
    }
}
