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

/// A channel of each kind.
fn setups() -> [Setup; 2] {
    [Setup::canonical(), Setup::timelock()].map(|setup| Setup { streaming: false, ..setup })
}

#[test]
fn every_decision_survives_every_crash() {
    for setup in setups() {
        let decisions = play(setup, &life(), None);
        assert!(decisions > 20, "{decisions} decisions are not a life");
        for number in 0..decisions {
            for crash in Crash::ALL {
                play(setup, &life(), Some((number, crash)));
            }
        }
    }
}

/// A store that loses any one kind of record, on either side, is found out.
#[test]
fn the_checks_can_fail() {
    let [cltv, timelock] = setups();
    let slots = [
        (cltv, Party::Payer, 1..=7),
        (cltv, Party::Payee, 1..=7),
        (timelock, Party::Payer, 1..=10),
        (timelock, Party::Payee, 1..=7),
    ];
    let each = slots.into_iter().flat_map(|(setup, party, slots)| slots.map(move |slot| (setup, party, slot)));
    for (setup, party, slot) in each {
        let found = catch_unwind(|| play_on_bad_disk(setup, &life(), party, slot));
        assert!(
            found.is_err(),
            "the {party:?} of a channel with {:?} loses slot {slot} and nobody notices",
            setup.ladder
        );
    }
}
