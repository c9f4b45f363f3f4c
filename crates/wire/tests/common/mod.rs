//! Runs files of published vectors and says how many cases ran.
//!
//! The folder is the crate's own `tests/data`, or the one that `RILLPAY_VECTORS` names. From the crate's own, each file
//! must be there with its known number of cases; from another, a file that is not there is skipped with a line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

/// One file: its name, how many cases our copy has, and what checks one of them.
pub(crate) type File = (&'static str, usize, fn(&Value));

pub(crate) fn run(own: &str, files: &[File]) -> ExitCode {
    let other = std::env::var_os("RILLPAY_VECTORS").map(PathBuf::from);
    let folder = other.as_deref().unwrap_or(Path::new(own));
    let (mut passed, mut failed) = (0, 0);
    for (name, count, check) in files {
        let path = folder.join(name);
        if other.is_some() && !path.exists() {
            println!("{name}: not in this folder, skipped");
            continue;
        }
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let cases = file["cases"].as_array().expect("a list of cases");
        assert!(other.is_some() || cases.len() == *count, "{name}: {} cases, not {count}", cases.len());
        let bad = cases.iter().filter(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err());
        let bad = bad.inspect(|case| eprintln!("{name}: FAILED: {} {}", case["name"], case["hex"])).count();
        println!("{name}: {} cases ran, {bad} failed", cases.len());
        passed += cases.len() - bad;
        failed += bad;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::from(u8::from(failed != 0))
}

pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} is missing"))
}
