//! Cases made up at random, one after the other, for as long as wanted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{Case, Ran, random, run};
use crate::drive::Random;

/// A case that failed, and the seed that made it up.
#[derive(Debug)]
pub struct Failed {
    /// See [`made_up`].
    pub seed: u64,
    /// What was run; as JSON it is a case file.
    pub case: Case,
}

/// The case that a seed makes up.
pub fn made_up(seed: u64) -> Case {
    let mut case = random(&Random::new(seed).bytes());
    case.about = format!("Made up by `npm run soak` from the seed {seed}.");
    case
}

/// Runs made up cases for this long, the first of them from `seed`, the others from the seeds that follow.
///
/// # Errors
/// The first case in which something did not hold. What it was has been told by then, and at which step.
pub fn soak(time: Duration, seed: u64) -> Result<Ran, Box<Failed>> {
    let (since, mut told) = (Instant::now(), Instant::now());
    let mut sum = Ran::default();
    for seed in (seed..=u64::MAX).take_while(|_| since.elapsed() < time) {
        let case = made_up(seed);
        let ran = catch_unwind(AssertUnwindSafe(|| run(&format!("of seed {seed}"), &case)));
        let Ok(ran) = ran else { return Err(Box::new(Failed { seed, case })) };
        sum = Ran { runs: sum.runs + ran.runs, decisions: sum.decisions + ran.decisions };
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("   {} cases, {} decisions, the newest from the seed {seed}", sum.runs, sum.decisions);
        }
    }
    Ok(sum)
}
