//! The fuzz targets for a bounded time, without libFuzzer.

use std::path::Path;

fn corpus(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name)
}

#[test]
fn the_decoder_takes_anything() {
    rillpay_fuzz::drive("decoder", rillpay_fuzz::decoder, &corpus("decoder"));
}

#[test]
fn payer_and_payee_survive_any_sequence_of_actions() {
    rillpay_fuzz::drive("actions", rillpay_fuzz::actions, &corpus("actions"));
}
