//! Every crash there can be in the life of a channel, one after the other; and proof that the checks see what goes wrong.

use std::panic::catch_unwind;

use rillpay_fuzz::{Action, Crash, Party, Setup, play, play_on_bad_disk};

/// From deposit to settlement. A viewer whose page or server died comes back after each step.
fn life() -> Vec<Action> {
    let steps = [
        Action::Deposit,
        Action::Mine(1),
        Action::PayeeLooks,
        Action::Watch(2),
        Action::Watch(1),
        Action::Stop,
        Action::Settle,
        Action::Mine(1),
        Action::PayeeLooks,
        Action::PayerLooks,
    ];
    steps.into_iter().flat_map(|step| [step, Action::Exchange, Action::Connect, Action::Exchange]).collect()
}

fn setup() -> Setup {
    Setup { streaming: false, ..Setup::canonical() }
}

#[test]
fn every_decision_survives_every_crash() {
    let decisions = play(setup(), &life(), None);
    assert!(decisions > 20, "{decisions} decisions are not a life");
    for number in 0..decisions {
        for crash in Crash::ALL {
            play(setup(), &life(), Some((number, crash)));
        }
    }
}

/// A store that loses any one kind of record, on either side, is found out.
#[test]
fn the_checks_can_fail() {
    let slots = [(Party::Payer, 1..=7), (Party::Payee, 1..=7)];
    for (party, slot) in slots.into_iter().flat_map(|(party, slots)| slots.map(move |slot| (party, slot))) {
        let found = catch_unwind(|| play_on_bad_disk(setup(), &life(), party, slot));
        assert!(found.is_err(), "the {party:?} loses slot {slot} and nobody notices");
    }
}
