//! A third party punishes with a kit, and can do nothing else with it.

use bitcoin::{Amount, FeeRate, OutPoint, Transaction};
use proptest::prelude::*;
use rillpay_channel::Code;
use rillpay_channel::refund::KIT_FEE_RATES;
use rillpay_channel::revocable::justice::{Hint, Kit, MAX_SEALED, MAX_SENT};
use rillpay_channel::revocable::{ChannelType, Role, State};

use crate::consensus::accepted;
use crate::world::{Broadcast, ROLES, TYPES, busy, htlc, outputs, pay_to, split};

fn kit(cheat: &Broadcast) -> Kit {
    Kit::new(&cheat.commitment, &cheat.revoked(), pay_to(1), 2_000).unwrap()
}

fn rate(sat_per_vb: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_per_vb)
}

fn fee(transaction: &Transaction, spent: &[(OutPoint, bitcoin::TxOut)]) -> Amount {
    let value = |input: &bitcoin::TxIn| spent.iter().find(|(at, _)| *at == input.previous_output).unwrap().1.value;
    let paid: Amount = transaction.output.iter().map(|output| output.value).sum();
    transaction.input.iter().map(value).sum::<Amount>() - paid
}

#[test]
fn a_tower_punishes_at_every_rate_with_bytes_alone() {
    for kind in TYPES {
        for owner in ROLES {
            let cheat = Broadcast::new(kind, owner, &busy());
            let tower = Kit::decode(&kit(&cheat).encode()).unwrap();
            tower.verify().unwrap();
            assert_eq!(tower.commitment(), cheat.transaction.compute_txid());
            let spent = outputs(&cheat.transaction);
            let first = |at: &OutPoint| at.txid == tower.commitment();
            for sat_per_vb in KIT_FEE_RATES {
                let transactions = tower.punish(rate(sat_per_vb), first).unwrap();
                let [justice] = &transactions[..] else { panic!("one transaction") };
                assert_eq!(justice.input.len(), 7);
                assert!(justice.output.iter().all(|output| output.script_pubkey == pay_to(1)));
                assert!(accepted(justice, &spent));
                let least = justice.vsize() as u64 * u64::from(sat_per_vb);
                assert!(fee(justice, &spent).to_sat() >= least);
            }
            // Between two rates the lower one; below all the lowest.
            assert_eq!(tower.punish(rate(199), first).unwrap(), tower.punish(rate(100), first).unwrap());
            assert_eq!(tower.punish(FeeRate::ZERO, first).unwrap(), tower.punish(rate(1), first).unwrap());
        }
    }
}

#[test]
fn what_is_spent_already_is_left_out() {
    let cheat = Broadcast::new(ChannelType::StaticRemoteKey, Role::Opener, &busy());
    let kit = kit(&cheat);
    assert_eq!(kit.outpoints().count(), 13, "to_local, six HTLCs, and six outputs of the second stage");
    let (_, signed) = cheat.second_stage().swap_remove(2);
    let spent = [outputs(&cheat.transaction), outputs(&signed)].concat();
    let taken = signed.input[0].previous_output;
    let there = |at: &OutPoint| *at != taken && spent.iter().any(|(outpoint, _)| outpoint == at);
    let [justice] = &kit.punish(rate(10), there).unwrap()[..] else { panic!("one transaction") };
    assert_eq!(justice.input.len(), 7, "the second stage instead of the first");
    assert!(accepted(justice, &spent));
    assert_eq!(kit.punish(rate(10), |_| false).unwrap_err().code(), Code::NothingToDo);
}

#[test]
fn a_kit_pays_nobody_else() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &busy());
    let spent = outputs(&cheat.transaction);
    let justice = kit(&cheat).punish(rate(10), |_| true).unwrap().swap_remove(0);
    assert!(accepted(&justice, &spent));
    let mut stolen = justice.clone();
    stolen.output[0].script_pubkey = pay_to(2);
    assert!(!accepted(&stolen, &spent));
    let mut burnt = justice.clone();
    burnt.output[3].value -= Amount::ONE_SAT;
    assert!(!accepted(&burnt, &spent));
    // Others can take it apart, each part still pays us.
    let apart =
        Transaction { input: vec![justice.input[1].clone()], output: vec![justice.output[1].clone()], ..justice };
    assert!(accepted(&apart, &spent));
}

#[test]
fn a_kit_is_made_for_the_revoked_commitment_only() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &busy());
    let another = Broadcast::new(ChannelType::Anchors, Role::Accepter, &split(42, 500_000_000, 500_000_000));
    let code = |result: Result<Kit, rillpay_channel::Error>| result.unwrap_err().code();
    assert_eq!(code(Kit::new(&another.commitment, &cheat.revoked(), pay_to(1), 2_000)), Code::InvalidArgument);
    let bare = bitcoin::ScriptBuf::from_bytes(vec![0x51]);
    assert_eq!(code(Kit::new(&cheat.commitment, &cheat.revoked(), bare, 2_000)), Code::InvalidReturnScript);
    // The cheat has nothing there: there is nothing to punish with.
    let nothing = Broadcast::new(ChannelType::Anchors, Role::Accepter, &split(43, 1_000_000_000, 0));
    assert_eq!(code(Kit::new(&nothing.commitment, &nothing.revoked(), pay_to(1), 2_000)), Code::Uneconomic);
}

/// What a state without HTLCs costs a tower.
#[test]
fn a_kit_without_htlcs_is_small() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &split(9, 500_000_000, 500_000_000));
    assert!(kit(&cheat).encode().len() < 750);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// An altered kit is refused, or fails its check, or (the transaction to watch for is not signed) names another one.
    #[test]
    fn an_altered_kit_is_found_out(at: prop::sample::Index, flip in 1u8..) {
        let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &split(9, 500_000_000, 500_000_000));
        let kit = kit(&cheat);
        let mut bytes = kit.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(altered) = Kit::decode(&bytes) {
            prop_assert_eq!(altered.encode(), bytes);
            prop_assert!(altered.verify().is_err() || altered.commitment() != kit.commitment());
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..900), keep in 0usize..800) {
        let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &split(9, 500_000_000, 500_000_000));
        let kit = kit(&cheat).encode();
        let mixed: Vec<u8> = kit.iter().take(keep).copied().chain(bytes).collect();
        if let Ok(decoded) = Kit::decode(&mixed) {
            prop_assert_eq!(decoded.encode(), mixed);
        }
    }
}

#[test]
fn a_sealed_kit_opens_with_its_commitment_and_nothing_else() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &busy());
    let kit = kit(&cheat);
    let sealed = kit.seal().unwrap();
    assert_eq!(sealed, kit.seal().unwrap(), "sent again it is the same");
    assert_eq!(Kit::open(&sealed, &cheat.transaction).unwrap(), kit);
    let elsewhere = Kit::new(&cheat.commitment, &cheat.revoked(), pay_to(2), 2_000).unwrap().seal().unwrap();
    assert_ne!(sealed[..12], elsewhere[..12], "one key, two nonces");

    let refused = |sealed: &[u8], transaction: &Transaction| Kit::open(sealed, transaction).unwrap_err().code();
    let mut other = cheat.transaction.clone();
    other.lock_time = bitcoin::absolute::LockTime::ZERO;
    assert_ne!(Hint::of(&other.compute_txid()), Hint::of(&kit.commitment()));
    assert_eq!(refused(&sealed, &other), Code::MalformedMessage);
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert_eq!(refused(&altered, &cheat.transaction), Code::MalformedMessage);
    }
    for length in [0, 27, 28, sealed.len() - 1] {
        assert_eq!(refused(&sealed[..length], &cheat.transaction), Code::MalformedMessage);
    }
}

#[test]
fn a_kit_for_a_message_takes_what_is_worth_most() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Opener, &busy());
    let kit = |most| Kit::new(&cheat.commitment, &cheat.revoked(), pay_to(1), most).unwrap();
    assert_eq!((kit(7).outpoints().count(), kit(2).outpoints().count()), (7, 2));
    let value = |at: OutPoint| cheat.transaction.output[at.vout as usize].value;
    let [whole, short] = [7, 2].map(|most| kit(most).outpoints().map(value).collect::<Vec<_>>());
    assert!(whole.iter().filter(|value| **value > *short.iter().min().unwrap()).count() <= 1);
    let transactions = kit(2).punish(rate(10), |_| true).unwrap();
    assert!(accepted(&transactions[0], &outputs(&cheat.transaction)));
}

/// With as many of the longest entries as there may be.
#[test]
fn a_kit_for_a_message_fits_into_one() {
    let htlcs = (0..120).map(|n| htlc(Role::Opener, 1_000_000, n, 499_999_999)).collect();
    let cheat =
        Broadcast::new(ChannelType::Anchors, Role::Accepter, &State { htlcs, ..split(41, 500_000_000, 380_000_000) });
    let payout = bitcoin::ScriptBuf::from_bytes([&[0x51, 32][..], &[1; 32]].concat());
    let kit = Kit::new(&cheat.commitment, &cheat.revoked(), payout, MAX_SENT).unwrap();
    assert_eq!(kit.outpoints().count(), MAX_SENT);
    let length = kit.seal().unwrap().len();
    assert!((MAX_SEALED - 6_000..=MAX_SEALED).contains(&length), "{length}");
}

#[test]
fn each_try_offers_more_than_the_one_before() {
    let offers = |offered, estimate| Kit::offers(rate(offered), rate(estimate));
    assert_eq!(Kit::offers(FeeRate::ZERO, FeeRate::ZERO), (rate(1), rate(1)));
    assert_eq!(offers(0, 7), (rate(7), rate(7)));
    assert_eq!(offers(7, 5), (rate(7), rate(10)));
    assert_eq!(offers(10, 30), (rate(30), rate(30)));
    assert_eq!(offers(200, 1), (rate(200), rate(200)), "there is nothing above");
}
