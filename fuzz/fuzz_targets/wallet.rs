//! See `rillpay_fuzz::wallet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::wallet(bytes));
