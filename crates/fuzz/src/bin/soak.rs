//! `npm run soak`: faults at random, for a given time. See `docs/faults.md`.
//!
//! ```text
//! soak --minutes=N [--seed=NUMBER]    cases made up from this seed on, or from one that is told
//! soak --case=FILE                    the case in this file
//! ```
//!
//! A case that fails is written to `target/soak`, from where it can be run again, made smaller, and kept in `tests/faults`.
#![allow(clippy::unwrap_used, reason = "a command of the developers'; it says what it wants")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rillpay_fuzz::faults::{Case, run, soak};

fn main() -> ExitCode {
    let arg = |name: &str| std::env::args().find_map(|arg| arg.strip_prefix(name).map(str::to_owned));
    if let Some(file) = arg("--case=") {
        let text = std::fs::read_to_string(&file).expect("the file can be read");
        let case = Case::parse(&text).expect("the file holds a case");
        println!("{:?}", run(&file, &case));
        return ExitCode::SUCCESS;
    }
    let minutes: u64 = arg("--minutes=").map_or(1, |text| text.parse().expect("--minutes= wants a whole number"));
    let seed = arg("--seed=").map(|text| text.parse().expect("--seed= wants a whole number"));
    let seed = seed.unwrap_or_else(|| getrandom::u64().expect("the system has random numbers") >> 12);
    println!("made up cases, from the seed {seed} on");
    match soak(Duration::from_secs(minutes.saturating_mul(60)), seed) {
        Ok(ran) => {
            println!("{} cases held, {} decisions", ran.runs, ran.decisions);
            ExitCode::SUCCESS
        }
        Err(failed) => {
            let folder = PathBuf::from("target/soak");
            let file = folder.join(format!("{}.json", failed.seed));
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(&file, serde_json::to_string_pretty(&failed.case).unwrap()).unwrap();
            println!("the case of the seed {} failed; again: npm run soak -- --case={}", failed.seed, file.display());
            ExitCode::FAILURE
        }
    }
}
