//! See `rillpay_fuzz::two_way`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rillpay_fuzz::two_way(bytes));
