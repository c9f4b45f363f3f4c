//! Each rule of the parameters, on both sides of its border.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::hashes::Hash;
use bitcoin::{PubkeyHash, ScriptHash, TapNodeHash, WPubkeyHash, WScriptHash, XOnlyPublicKey};

use super::*;
use crate::testing;

fn code(change: impl FnOnce(&mut ChannelParams)) -> Result<(), Code> {
    let mut params = testing::params();
    change(&mut params);
    params.validate().map_err(|error| error.code())
}

const REFUSED: Result<(), Code> = Err(Code::UnacceptableTerms);

#[test]
fn the_expiry_is_a_height() {
    let expiry = |expiry| {
        code(|p| {
            (p.expiry, p.stop_margin, p.close_margin) = (expiry, 1, 1);
        })
    };
    assert_eq!((expiry(0), expiry(2)), (REFUSED, Ok(())));
    // BIP 65: from here on it would be a time.
    assert_eq!((expiry(499_999_999), expiry(500_000_000)), (Ok(()), REFUSED));
}

#[test]
fn the_margins_are_ordered_and_lie_before_the_expiry() {
    let margins = |close, stop| {
        code(|p| {
            (p.expiry, p.stop_margin, p.close_margin) = (100, stop, close);
        })
    };
    assert_eq!((margins(0, 10), margins(1, 10)), (REFUSED, Ok(())));
    assert_eq!((margins(10, 10), margins(11, 10)), (Ok(()), REFUSED));
    assert_eq!((margins(10, 99), margins(10, 100), margins(10, 101)), (Ok(()), REFUSED, REFUSED));
}

#[test]
fn the_least_deposit_pays_for_a_window_and_is_no_dust() {
    let bounds = |price: u64, min, max| {
        code(|p| {
            p.tariff.price = Msat::new(price).unwrap();
            (p.min_deposit, p.max_deposit) = (Amount::from_sat(min), Amount::from_sat(max));
        })
    };
    assert_eq!((bounds(500_000, 1_000, 9_000), bounds(500_000, 999, 9_000)), (Ok(()), REFUSED));
    // 294 sat is the dust limit of the return script.
    assert_eq!((bounds(1_000, 294, 9_000), bounds(1_000, 293, 9_000)), (Ok(()), REFUSED));
    assert_eq!((bounds(1_000, 294, 294), bounds(1_000, 295, 294)), (Ok(()), REFUSED));
}

#[test]
fn a_deposit_is_taken_within_the_bounds_both_included() {
    let params = testing::params();
    let check = |sat: u64| params.check_deposit(Amount::from_sat(sat));
    let (least, most) = (params.min_deposit.to_sat(), params.max_deposit.to_sat());
    assert!(check(least).is_ok() && check(most).is_ok());
    let (small, large) = (check(least - 1).unwrap_err(), check(most + 1).unwrap_err());
    assert_eq!((small.code(), small.detail()), (Code::DepositTooSmall, Some(&Detail::Amount(params.min_deposit))));
    assert_eq!((large.code(), large.detail()), (Code::DepositTooLarge, Some(&Detail::Amount(params.max_deposit))));
}

#[test]
fn a_deposit_needs_a_confirmation_and_a_purpose_is_short_printable_text() {
    assert_eq!((code(|p| p.confirmations = 0), code(|p| p.confirmations = 2)), (REFUSED, Ok(())));
    let purpose = |text: String| code(|p| p.purpose = text);
    let longest = usize::from(MAX_PURPOSE);
    assert_eq!((purpose("x".repeat(longest)), purpose("x".repeat(longest + 1))), (Ok(()), REFUSED));
    assert_eq!((purpose(" ~".into()), purpose("\u{7f}".into()), purpose("\n".into())), (Ok(()), REFUSED, REFUSED));
}

#[test]
fn five_kinds_of_script_can_be_returned_to() {
    let key = XOnlyPublicKey::from(testing::node().public());
    let good = [
        ScriptBuf::new_p2pkh(&PubkeyHash::from_byte_array([1; 20])),
        ScriptBuf::new_p2sh(&ScriptHash::from_byte_array([1; 20])),
        ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1; 20])),
        ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([1; 32])),
        ScriptBuf::new_p2tr(crate::secp(), key, Some(TapNodeHash::from_byte_array([1; 32]))),
    ];
    for script in good {
        validate_return_script(&script).unwrap();
    }
    for bad in [ScriptBuf::new(), ScriptBuf::new_op_return([1; 20]), ScriptBuf::from_bytes(vec![0x52, 2, 1, 1])] {
        assert_eq!(validate_return_script(&bad).unwrap_err().code(), Code::InvalidReturnScript, "{bad}");
    }
}

#[test]
fn each_network_and_kind_of_funding_has_its_byte() {
    let networks = [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
    for (byte, network) in (0..).zip(networks) {
        assert_eq!((network_byte(network), network_from_byte(byte).unwrap()), (byte, network));
    }
    assert_eq!(network_from_byte(5).unwrap_err().code(), Code::MalformedMessage);
    for (byte, kind) in [(0, FundingKind::P2shP2wsh), (1, FundingKind::P2wsh)] {
        assert_eq!((kind.to_byte(), FundingKind::from_byte(byte).unwrap()), (byte, kind));
    }
    assert_eq!(FundingKind::from_byte(2).unwrap_err().code(), Code::MalformedMessage);
}

#[test]
fn an_id_shows_as_hexadecimal() {
    let id = ChannelId([0xa5; 32]);
    assert_eq!(id.to_string(), "a5".repeat(32));
    assert_eq!(format!("{id:?}"), format!("ChannelId({id})"));
}

#[test]
fn the_margins_are_counted_back_from_the_expiry() {
    let params = ChannelParams { expiry: 1_000, stop_margin: 36, close_margin: 24, ..testing::params() };
    assert_eq!((params.stop_height(), params.close_height()), (964, 976));
}

#[test]
fn a_statement_is_about_one_channel_one_funding_and_one_amount() {
    let node = testing::node();
    let funding = testing::funding(0, Amount::from_sat(10_000));
    let good = Statement { channel: testing::params().id(), funding, cumulative: Amount::from_sat(1_000) };
    let signature = good.sign(&node);
    good.verify(&node.public(), &signature).unwrap();
    for other in [
        Statement { channel: testing::timelock_params().id(), ..good },
        Statement { funding: testing::funding(1, funding.capacity), ..good },
        Statement { funding: testing::funding(0, Amount::from_sat(10_001)), ..good },
        Statement { cumulative: Amount::from_sat(1_001), ..good },
    ] {
        assert_eq!(other.verify(&node.public(), &signature).unwrap_err().code(), Code::InvalidSignature, "{other:?}");
    }
}

#[test]
fn the_address_is_that_of_the_script_on_its_network() {
    for (funding_kind, start) in [(FundingKind::P2shP2wsh, "2"), (FundingKind::P2wsh, "bcrt1q")] {
        for params in [testing::params(), testing::timelock_params()] {
            let params = ChannelParams { funding_kind, ..params };
            let program = params.witness_script().to_p2wsh();
            let address = params.address().unwrap();
            assert!(address.to_string().starts_with(start), "{address}");
            let expected = if funding_kind == FundingKind::P2wsh { program } else { program.to_p2sh() };
            assert_eq!((address.script_pubkey(), params.funding_script()), (expected.clone(), expected));
        }
    }
    // It names both keys and the expiry.
    let script = testing::params().witness_script();
    let key = |key: &PublicKey| script.as_bytes().windows(33).any(|bytes| bytes == key.serialize());
    assert!(key(&testing::params().payer) && key(&testing::params().payee));
}
