//! See `rillpay_fuzz::decoder`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::decoder(bytes));
