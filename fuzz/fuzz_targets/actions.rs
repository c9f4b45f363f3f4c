//! See `rillpay_fuzz::actions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::actions(bytes));
