//! Fuzzing without libFuzzer: kept inputs, then made up ones until the time is over.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Action, Setup, play};

/// So many inputs are made up, however slow the machine is.
const LEAST: u64 = 200;
/// The longest random input.
const LONGEST: u64 = 400;

/// Runs `target` over the files in `corpus`, and over made up inputs for `RILLPAY_FUZZ_SECONDS` (10 by default), 200 of
/// them at least. They are the same in every run, so that a change is blamed for what it broke and for nothing else, unless
/// `RILLPAY_FUZZ_FRESH` asks for new ones. Says how many runs there were.
///
/// # Panics
/// Where the target does, after it has told the input.
pub fn drive(name: &str, target: fn(&[u8]), corpus: &Path) {
    let seconds = std::env::var("RILLPAY_FUZZ_SECONDS")
        .ok()
        .map_or(10, |text| text.parse().expect("RILLPAY_FUZZ_SECONDS is a whole number of seconds"));
    let fresh = std::env::var_os("RILLPAY_FUZZ_FRESH").is_some();
    let mut kept = 0_u64;
    if let Ok(folder) = std::fs::read_dir(corpus) {
        for file in folder {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            run(name, target, &bytes);
            kept += 1;
        }
    }
    let first = if fresh { getrandom::u64().expect("the system has random numbers") } else { 0 };
    let (since, mut made_up) = (Instant::now(), 0_u64);
    while made_up < LEAST || since.elapsed() < Duration::from_secs(seconds) {
        run(name, target, &Random(first.wrapping_add(made_up)).bytes());
        made_up += 1;
    }
    // Not through `eprintln!`: the test harness would swallow it.
    let per_second = u128::from(made_up) * 1000 / since.elapsed().as_millis().max(1);
    let _ = writeln!(
        std::io::stderr(),
        "fuzz {name}: {kept} kept inputs, {made_up} made up ones from {first} on ({per_second} a second)"
    );
}

fn run(name: &str, target: fn(&[u8]), bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(std::io::stderr(), "fuzz {name} failed; the input is\n{hex}");
        if name == "actions" {
            let (setup, actions) = crate::plan(bytes);
            let _ = writeln!(std::io::stderr(), "of which this is enough\n{setup:?}");
            for action in shrunk(setup, actions) {
                let _ = writeln!(std::io::stderr(), "  {action:?}");
            }
        }
        resume_unwind(panic);
    }
}

/// Leaves out whatever can be left out without the failure going away: whole stretches first, single actions last.
fn shrunk(setup: Setup, mut actions: Vec<Action>) -> Vec<Action> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut stretch = actions.len();
    while stretch > 0 {
        let mut from = 0;
        while from < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(from..(from + stretch).min(actions.len()));
            if catch_unwind(|| play(setup, &fewer, None)).is_err() {
                actions = fewer;
            } else {
                from += stretch;
            }
        }
        stretch /= 2;
    }
    std::panic::set_hook(hook);
    actions
}

/// SplitMix64: small, and good enough to pick inputs with.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % LONGEST;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
