//! See `rillpay_fuzz::texts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::texts(bytes));
