//! Fuzzing without libFuzzer: kept inputs, a fixed set of random ones, then fresh ones until the time is over.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Seeds that are the same in every run.
const FIXED: u64 = 200;
/// The longest random input.
const LONGEST: u64 = 400;

/// Runs `target` over the files in `corpus`, over 200 fixed inputs, and over fresh random ones for
/// `RILLPAY_FUZZ_SECONDS` (10 by default). Says how many runs there were.
///
/// # Panics
/// Where the target does, after it has told the input.
pub fn drive(name: &str, target: fn(&[u8]), corpus: &Path) {
    let seconds = std::env::var("RILLPAY_FUZZ_SECONDS")
        .ok()
        .map_or(10, |text| text.parse().expect("RILLPAY_FUZZ_SECONDS is a whole number of seconds"));
    let mut kept = 0_u64;
    if let Ok(folder) = std::fs::read_dir(corpus) {
        for file in folder {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            run(name, target, &bytes);
            kept += 1;
        }
    }
    for seed in 0..FIXED {
        run(name, target, &Random(seed).bytes());
    }
    let (since, mut fresh) = (Instant::now(), 0_u64);
    while since.elapsed() < Duration::from_secs(seconds) {
        let seed = getrandom::u64().expect("the system has random numbers");
        run(name, target, &Random(seed).bytes());
        fresh += 1;
    }
    // Not through `eprintln!`: the test harness would swallow it.
    let per_second = u128::from(fresh) * 1000 / since.elapsed().as_millis().max(1);
    let _ = writeln!(
        std::io::stderr(),
        "fuzz {name}: {kept} kept inputs, {FIXED} fixed ones, {fresh} fresh ones ({per_second} a second)"
    );
}

fn run(name: &str, target: fn(&[u8]), bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(std::io::stderr(), "fuzz {name} failed; the input is\n{hex}");
        if name == "actions" {
            let (setup, actions) = crate::plan(bytes);
            let _ = writeln!(std::io::stderr(), "which means\n{setup:?}");
            for action in actions {
                let _ = writeln!(std::io::stderr(), "  {action:?}");
            }
        }
        resume_unwind(panic);
    }
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
