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
fn damaged_stores_are_refused_or_hold() {
    rillpay_fuzz::drive("restore", rillpay_fuzz::restore, &corpus("restore"));
}

#[test]
fn a_wallets_record_can_be_anything() {
    rillpay_fuzz::drive("wallet", rillpay_fuzz::wallet, &corpus("wallet"));
}

#[test]
fn texts_can_be_anything() {
    rillpay_fuzz::drive("texts", rillpay_fuzz::texts, &corpus("texts"));
}

#[test]
fn payer_and_payee_survive_any_sequence_of_actions() {
    rillpay_fuzz::drive("actions", rillpay_fuzz::actions, &corpus("actions"));
}

#[test]
fn two_holders_survive_any_sequence_of_actions() {
    rillpay_fuzz::drive("two_way", rillpay_fuzz::two_way, &corpus("two_way"));
}
