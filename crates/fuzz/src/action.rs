//! What can happen to a channel, and how bytes name it.

use crate::disk::DiskState;
use crate::forge::{ForgedToPayee, ForgedToPayer};
use crate::host::Crash;
use crate::input::Input;
use crate::setup::Setup;
use serde::{Deserialize, Serialize};

/// Longer inputs are cut here: what an action can break, a hundred of them show.
const MAX_ACTIONS: usize = 120;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The viewer's side.
    Payer,
    /// The site's side.
    Payee,
}

/// A thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Someone pays the agreed deposit to the address; again and again if asked again. The page's own wallet does, once, in
    /// a `timelock` channel.
    Deposit,
    /// Someone pays too little.
    DepositTooSmall,
    /// Blocks are found.
    Mine(u8),
    /// Blocks are replaced; with `replaced`, deposits in them are spent elsewhere and never come back.
    Reorganise {
        /// How many.
        blocks: u8,
        /// See above.
        replaced: bool,
    },
    /// The payer opens a socket and attaches.
    Connect,
    /// The payee's watcher looks at the chain.
    PayeeLooks,
    /// The payer looks at the chain.
    PayerLooks,
    /// The player asks the gateway for content, of a size that this number picks.
    Request(u8),
    /// A frame arrives; not the first of its queue unless 0.
    Deliver(Party, u8),
    /// A frame is lost.
    Drop(Party, u8),
    /// A frame arrives and will arrive again.
    Duplicate(Party, u8),
    /// A frame arrives with one bit turned.
    Damage(Party, u8, u16),
    /// All frames arrive in order, and the answers to them, until nobody has anything to say.
    Exchange,
    /// Released content reaches the player.
    Receive,
    /// Released content never reaches it.
    LoseContent,
    /// Ask, pay, release, receive: this many times, undisturbed but for a crash.
    Watch(u8),
    /// The viewer pauses or goes on.
    Pause(bool),
    /// The viewer stops.
    Stop,
    /// The payer tries to take back what is at the address.
    Refund,
    /// The payee settles if it is to.
    Settle,
    /// A process is ended and started again. A payer may have paid elsewhere on the site meanwhile (in satoshi).
    Reload(Party, u8),
    /// A later decision, so many from now, ends like this.
    Crash(u8, Crash),
    /// Two decisions are made on one state.
    Race(Party, bool),
    /// Hours go by, or the clock is set back by some.
    Wait(i8),
    /// A disk is full or slow from now on, or fine again.
    Disk(Party, DiskState),
    /// A malicious payee speaks.
    ForgeToPayer(ForgedToPayer),
    /// A malicious payer speaks.
    ForgeToPayee(ForgedToPayee),
}

impl Party {
    fn read(i: &mut Input<'_>) -> Self {
        i.pick(&[Self::Payer, Self::Payee])
    }
}

impl Action {
    fn read(i: &mut Input<'_>) -> Self {
        match i.u8() % 40 {
            0 => Self::Deposit,
            1 => Self::DepositTooSmall,
            2 | 3 => Self::Mine(1 + i.u8() % 16),
            4 => Self::Reorganise { blocks: 1 + i.u8() % 6, replaced: i.bool() },
            5 => Self::Connect,
            6 | 7 => Self::PayeeLooks,
            8 => Self::PayerLooks,
            9 | 10 => Self::Request(i.u8()),
            11..=14 => Self::Deliver(Party::read(i), i.u8() % 3),
            15 => Self::Drop(Party::read(i), i.u8() % 3),
            16 => Self::Duplicate(Party::read(i), i.u8() % 3),
            17 => Self::Damage(Party::read(i), i.u8() % 3, i.u16()),
            18..=20 => Self::Exchange,
            21 | 22 => Self::Receive,
            23 => Self::LoseContent,
            24..=26 => Self::Watch(1 + i.u8() % 3),
            27 => Self::Pause(i.bool()),
            28 => Self::Stop,
            29 => Self::Refund,
            30 => Self::Settle,
            31 => Self::Reload(Party::read(i), i.u8()),
            32..=34 => Self::Crash(i.u8() % 4, i.pick(&Crash::ALL)),
            35 => Self::Race(Party::read(i), i.bool()),
            36 if i.bool() => Self::Wait(i.i8()),
            36 => Self::Disk(Party::read(i), i.pick(&[DiskState::Fine, DiskState::Full, DiskState::Slow])),
            37 | 38 => Self::ForgeToPayer(ForgedToPayer::read(i)),
            _ => Self::ForgeToPayee(ForgedToPayee::read(i)),
        }
    }
}

/// What an input of [`crate::actions`] says: the terms, and what happens.
pub fn plan(bytes: &[u8]) -> (Setup, Vec<Action>) {
    let mut i = Input::new(bytes);
    let setup = Setup::read(&mut i);
    let mut actions = vec![];
    while !i.is_empty() && actions.len() < MAX_ACTIONS {
        actions.push(Action::read(&mut i));
    }
    (setup, actions)
}
