//! The cases of `tests/faults`, natively. `tests/faults.rs` of the repository runs the same ones in a browser.

#![allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;

use rillpay_fuzz::faults::{CASES, Case, Expect, KindOfChannel, Ran, run};

fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    CASES.iter().map(|(name, text)| {
        let case = Case::parse(text).unwrap_or_else(|error| panic!("{name}.json: {error}"));
        assert!(case.expect.is_some(), "{name}.json expects nothing");
        (*name, case)
    })
}

/// All cases of a kind, with all their faults.
fn hold(kind: KindOfChannel) {
    let mut sum = Ran::default();
    for (name, mut case) in cases() {
        case.kinds.retain(|listed| *listed == kind);
        let ran = run(name, &case);
        // Where nobody decides anything, there is no point to break.
        assert!(case.each.is_empty() || ran.decisions == 0 || ran.runs > 10, "{name}: {ran:?}");
        println!("{name}: {} runs", ran.runs);
        sum = Ran { runs: sum.runs + ran.runs, decisions: sum.decisions + ran.decisions };
    }
    assert!(sum.runs > 500, "{sum:?} is not every point of every case");
    println!("{kind:?}: {} runs, {} decisions", sum.runs, sum.decisions);
}

#[test]
fn every_case_holds_in_a_cltv_channel() {
    hold(KindOfChannel::Cltv);
}

#[test]
fn every_case_holds_in_a_timelock_channel() {
    hold(KindOfChannel::Timelock);
}

#[test]
fn every_file_is_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.collect();
    let listed: BTreeSet<_> = CASES.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(files, listed, "name each file in crates/fuzz/src/faults/list.rs");
}

/// A case whose expectation is too good is found out, whichever part of it.
#[test]
fn expectations_can_fail() {
    let sleeper = || cases().find(|(name, _)| *name == "the_payee_sleeps_past_the_expiry").unwrap().1;
    let failing = |change: fn(&mut Expect)| {
        let mut case = Case { each: vec![], ..sleeper() };
        change(case.expect.as_mut().unwrap());
        catch_unwind(|| run("wrong on purpose", &case)).is_err()
    };
    assert!(!failing(|_| {}));
    assert!(failing(|expect| expect.payee_loses -= 1));
    assert!(failing(|expect| expect.watched += 1));
    assert!(failing(|expect| expect.outcome = rillpay_fuzz::faults::Outcome::Settled));
}

#[test]
fn a_case_with_a_misspelt_step_is_refused() {
    let (_, text) = CASES[0];
    assert!(Case::parse(&text.replace("\"deposit\"", "\"deposits\"")).is_err());
    assert!(Case::parse(&text.replace("\"about\"", "\"abuot\"")).is_err());
}
