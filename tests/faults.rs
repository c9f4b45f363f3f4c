//! The cases of `tests/faults` in a browser: the same machines as WebAssembly, the same harness, the same files.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]

use rillpay_fuzz::faults::{CASES, Case, run_some};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// Of the faults that a case tries at every point, a browser tries each so many-th: all of them are run natively.
const STRIDE: usize = 17;

#[wasm_bindgen_test]
fn every_case_holds_in_a_browser() {
    let (mut runs, mut decisions) = (0, 0);
    for (name, text) in CASES {
        // A panic ends a browser's test at once: this says where.
        console_log!("case {name}");
        let case = Case::parse(text).expect("the file holds a case");
        let ran = run_some(name, &case, STRIDE);
        assert!(ran.runs >= u32::try_from(case.kinds.len()).unwrap_or(u32::MAX), "{name} was not run");
        (runs, decisions) = (runs + ran.runs, decisions + ran.decisions);
    }
    console_log!("{runs} runs of {} cases, {decisions} decisions", CASES.len());
}
