//! Cases made up at random, for `npm run soak`.

use super::{Case, End, Height, KindOfChannel, Step};
use crate::action::Party;
use crate::disk::DiskState;
use crate::host::Crash;
use crate::input::Input;

/// The case that these bytes make up. What comes of it nobody knows beforehand: the invariants alone must hold.
pub fn random(bytes: &[u8]) -> Case {
    let mut i = Input::new(bytes);
    let kinds = vec![i.pick(&[KindOfChannel::Cltv, KindOfChannel::Timelock])];
    let confirmations = 1 + u16::from(i.u8() % 3);
    let end = i.pick(&[End::Reconciled, End::PayerGone, End::PayeeGone]);
    let mut steps = vec![Step::Deposit, Step::Mine(confirmations.into())];
    while !i.is_empty() {
        steps.push(step(&mut i));
    }
    Case { about: "made up".into(), kinds, confirmations, steps, each: vec![], end, expect: None }
}

fn step(i: &mut Input<'_>) -> Step {
    let party = |i: &mut Input<'_>| i.pick(&[Party::Payer, Party::Payee]);
    match i.u8() % 24 {
        0 => Step::Deposit,
        1 | 2 => Step::Mine(1 + u32::from(i.u8() % 6)),
        3 => Step::Until(i.pick(&[Height::Stop, Height::Close, Height::Expiry])),
        4 | 5 => Step::Reorganise { blocks: i.u8() % 7, replaced: i.u8().is_multiple_of(4) },
        6..=10 => Step::Watch(1 + u32::from(i.u8() % 4)),
        11 => Step::Pause(i.bool()),
        12 => Step::Stop,
        13 => Step::Settle,
        14 => Step::Refund,
        15 => Step::Reload(party(i)),
        16..=18 => Step::Crash(party(i), u32::from(i.u8() % 6), i.pick(&Crash::ALL)),
        19 => Step::Disk(party(i), i.pick(&[DiskState::Fine, DiskState::Full, DiskState::Slow])),
        20 => Step::Clock(i.i8().into()),
        21 => Step::Silent(party(i)),
        22 => Step::Back(party(i)),
        _ => Step::PlayOldStates,
    }
}
