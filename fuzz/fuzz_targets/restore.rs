//! See `rillpay_fuzz::restore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::restore(bytes));
