//! The table in WebAssembly, where no other package is there to ask for the right library.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

use bitcoin::secp256k1::{Message, SecretKey};
use wasm_bindgen_test::wasm_bindgen_test;

/// The keys of BIP-0340's test vectors 1 and 2, which are plain multiples of the generator.
#[wasm_bindgen_test]
fn keys_and_signatures_are_right() {
    let context = rillpay_curve::context();
    for (secret, public) in [
        (
            "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef",
            "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        ),
        (
            "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b14e5c9",
            "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
        ),
    ] {
        let secret: SecretKey = secret.parse().unwrap();
        let key = secret.public_key(&context);
        assert_eq!(key.x_only_public_key().0.to_string(), public);
        let message = Message::from_digest([7; 32]);
        let signature = context.sign_ecdsa(&message, &secret);
        context.verify_ecdsa(&message, &signature, &key).unwrap();
    }
}
