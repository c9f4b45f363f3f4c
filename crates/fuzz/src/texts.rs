//! What people type and servers write, as text: recovery words, addresses, fee estimates, error codes; and the wallet's
//! record.

use std::sync::LazyLock;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, Transaction, TxIn, TxOut, Txid};
use rillpay_channel::Code;
use rillpay_channel::keys::{Seed, canonical_words, new_words};
use rillpay_wallet::account::parse_address;
use rillpay_wallet::fees::{MAX_FEE_RATE, MIN_FEE_RATE, Speed, estimate};
use rillpay_wallet::{Ask, Status, Wallet};

use crate::decoder::damaged;
use crate::input::Input;

/// Reads `bytes` as a wallet's record, as it stands or as damage to a real one.
///
/// # Panics
/// Where the reader breaks its promises.
pub fn wallet(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    let record = if i.bool() { i.rest().to_vec() } else { damaged(RECORD.clone(), &mut i) };
    match Wallet::load(&seed(), Network::Regtest, 0, &record) {
        Err(error) => assert_eq!(error.code(), rillpay_wallet::Code::CorruptedWallet),
        Ok(wallet) => {
            let again = wallet.record();
            let loaded = Wallet::load(&seed(), Network::Regtest, 0, &again).expect("what was written can be read");
            assert_eq!(loaded.record(), again);
            // Absurd amounts are refused; nothing panics.
            let _ = (wallet.balance(), wallet.history(), wallet.coins(), wallet.look().map(|look| look.asks()));
        }
    }
}

fn seed() -> Seed {
    Seed::from_bip39_seed(&[7; 64], Network::Regtest)
}

/// Of a wallet that has received twice.
static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut wallet = Wallet::new(&seed(), Network::Regtest, 0).expect("a wallet");
    let mut look = wallet.look().expect("a look");
    look.tip(120);
    for number in 0..2_u8 {
        let asked = look.asks().into_iter().find_map(|ask| match ask {
            Ask::History { place, address, after: None } => Some((place, address)),
            _ => None,
        });
        let (place, address) = asked.expect("asks about addresses");
        let previous_output = OutPoint { txid: Txid::from_byte_array([number; 32]), vout: 0 };
        let output = TxOut { value: Amount::from_sat(50_000), script_pubkey: address.script_pubkey() };
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output, ..TxIn::default() }],
            output: vec![output],
        };
        let status = Status { height: Some(100), time: Some(1_800_000_000) };
        look.history(place, &[(transaction.compute_txid(), status)]).expect("an answer");
        look.transaction(transaction.compute_txid(), transaction).expect("the one that was asked for");
    }
    while let Some(Ask::History { place, .. }) = look.asks().into_iter().find(|ask| matches!(ask, Ask::History { .. }))
    {
        look.history(place, &[]).expect("an answer");
    }
    wallet.see(look).expect("consistent");
    wallet.record()
});

/// Reads `bytes` as each of the texts, as they stand or as damage to a real one.
///
/// # Panics
/// Where a reader breaks its promises.
pub fn texts(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    let kind = i.u8();
    let real = match kind % 4 {
        0 => new_words(&[kind; 16]).expect("words"),
        1 => "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned(),
        2 => r#"{"1":87.882,"6":1.0070000000000001,"144":0.1,"1008":3}"#.to_owned(),
        _ => "invalid_words".to_owned(),
    };
    let bytes = if i.bool() { i.rest().to_vec() } else { damaged(real.into_bytes(), &mut i) };
    let Ok(text) = String::from_utf8(bytes) else { return };
    match kind % 4 {
        0 => {
            let read = Seed::from_words(&text, Network::Regtest);
            if let Err(error) = &read {
                assert_eq!(error.code(), Code::InvalidWords);
            }
            assert_eq!(read.is_ok(), canonical_words(&text).is_ok(), "words that are and are not words: {text}");
            if let Ok(words) = canonical_words(&text) {
                assert_eq!(canonical_words(&words).as_deref(), Ok(words.as_str()), "two spellings of the same words");
            }
        }
        1 => {
            if let Ok(script) = parse_address(&text, Network::Regtest) {
                let address =
                    bitcoin::Address::from_script(&script, Network::Regtest).expect("a script with an address");
                assert_eq!(parse_address(&address.to_string(), Network::Regtest), Ok(script), "another address");
            }
        }
        2 => {
            for speed in [Speed::Slow, Speed::Normal, Speed::Fast] {
                if let Ok(rate) = estimate(&text, speed) {
                    assert!((MIN_FEE_RATE..=MAX_FEE_RATE).contains(&rate), "{rate} out of {text}");
                }
            }
        }
        _ => {
            if let Some(code) = Code::parse(&text) {
                assert_eq!(code.as_str(), text);
            }
        }
    }
}
