//! What the ledger takes and refuses, and what it keeps.
//! Two of them with a wire between: `two.rs`.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::revocable::fees::ChannelType;
use crate::revocable::testing::{CAPACITY, channel, htlc, state};
use bitcoin::Amount;

pub(super) const ROLES: [Role; 2] = [Role::Opener, Role::Accepter];

fn limits() -> Limits {
    Limits {
        reserve: Amount::from_sat(10_000_000),
        htlc_minimum: Msat::new(1_000).unwrap(),
        max_in_flight: Msat::from_amount(Amount::from_sat(400_000_000)).unwrap(),
        max_accepted: 30,
    }
}

pub(super) fn ledger() -> Updates {
    Updates::new(&channel(ChannelType::Anchors), &state(), limits(), limits()).unwrap()
}

pub(super) fn add(by: Role, sat: u64) -> Update {
    Update::Add(htlc(by, sat * 1_000))
}

fn sat(msat: Msat) -> u64 {
    msat.get() / 1_000
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.unwrap_err().code()
}

/// Everything proposed so far becomes final; what settled on the way.
fn dance(ledger: &mut Updates, first: Role) -> Vec<Settled> {
    let mut settled = vec![];
    for signer in [first, first.other(), first] {
        if ledger.can_sign(signer) {
            ledger.sign(signer).unwrap();
            settled.extend(ledger.revoke(signer.other()).unwrap().1);
        }
    }
    assert!(ROLES.iter().all(|role| !ledger.can_sign(*role)));
    settled
}

/// Hitesh pays Irene 2 of his 5 BTC, with a payment that she takes.
#[test]
fn five_and_five_become_seven_and_three() {
    let (hitesh, irene) = (Role::Opener, Role::Accepter);
    let mut ledger = ledger();
    let payment = htlc(irene, 200_000_000_000);
    ledger.propose(irene, Update::Add(payment)).unwrap();
    assert_eq!(dance(&mut ledger, irene), [Settled::Added(0, payment)]);
    for owner in ROLES {
        let state = ledger.newest(owner).unwrap();
        assert_eq!((sat(state.opener), sat(state.accepter), state.htlcs.len()), (500_000_000, 300_000_000, 1));
    }
    ledger.propose(hitesh, Update::Fulfill(0, [8; 32])).unwrap();
    assert_eq!(dance(&mut ledger, hitesh), [Settled::Removed(0, payment, Some([8; 32]))]);
    for owner in ROLES {
        let state = ledger.newest(owner).unwrap();
        assert_eq!((sat(state.opener), sat(state.accepter), state.htlcs.len()), (700_000_000, 300_000_000, 0));
    }
    assert!(ledger.is_quiet());
}

/// The table of the module's header, row by row.
#[test]
fn an_update_takes_four_messages() {
    let (us, them) = (Role::Opener, Role::Accepter);
    let mut ledger = ledger();
    let has = |ledger: &Updates, owner| !ledger.newest(owner).unwrap().htlcs.is_empty();
    ledger.propose(us, add(us, 1_000)).unwrap();
    assert!(!has(&ledger, us) && !has(&ledger, them) && !ledger.can_sign(them));
    assert_eq!(ledger.sign(us).unwrap().number, CommitmentNumber::new(1).unwrap());
    assert!(!has(&ledger, us) && has(&ledger, them));
    // They cannot countersign before they acknowledge, and we cannot sign twice.
    assert_eq!(code(ledger.sign(them)), Code::UnexpectedMessage);
    ledger.propose(us, add(us, 2_000)).unwrap();
    assert_eq!(code(ledger.sign(us)), Code::UnexpectedMessage);
    assert_eq!(code(ledger.revoke(us)), Code::UnexpectedMessage);
    assert_eq!(ledger.revoke(them).unwrap(), (CommitmentNumber::FIRST, vec![]));
    assert!(!has(&ledger, us));
    assert_eq!(ledger.sign(them).unwrap().htlcs.len(), 1, "the second payment is not acknowledged");
    assert!(has(&ledger, us));
    let (revoked, settled) = ledger.revoke(us).unwrap();
    assert_eq!((revoked, settled.len()), (CommitmentNumber::FIRST, 1));
}

/// Only its party's own revocation makes an update final: until then that party could still broadcast a commitment
/// without it.
#[test]
fn nothing_is_final_before_its_party_has_revoked() {
    let (us, them) = (Role::Opener, Role::Accepter);
    let mut ledger = ledger();
    ledger.propose(us, add(us, 1_000)).unwrap();
    ledger.sign(us).unwrap();
    ledger.revoke(them).unwrap();
    ledger.sign(them).unwrap();
    ledger.propose(us, add(us, 2_000)).unwrap();
    ledger.sign(us).unwrap();
    assert_eq!(ledger.revoke(them).unwrap().1, []);
    assert_eq!(code(ledger.propose(them, Update::Fail(0))), Code::UnknownHtlc);
    let (_, settled) = ledger.revoke(us).unwrap();
    assert!(matches!(settled[..], [Settled::Added(0, _)]));
    ledger.propose(them, Update::Fail(0)).unwrap();
    assert_eq!(code(ledger.propose(them, Update::Fail(1))), Code::UnknownHtlc);
}

#[test]
fn a_payment_that_fails_goes_back() {
    let mut ledger = ledger();
    ledger.propose(Role::Opener, add(Role::Opener, 1_000_000)).unwrap();
    dance(&mut ledger, Role::Opener);
    ledger.propose(Role::Accepter, Update::Fail(0)).unwrap();
    let settled = dance(&mut ledger, Role::Accepter);
    assert!(matches!(settled[..], [Settled::Removed(0, _, None)]));
    assert_eq!(ledger.newest(Role::Opener).unwrap().opener, state().opener);
}

#[test]
fn bad_updates_change_nothing() {
    let (us, them) = (Role::Opener, Role::Accepter);
    let mut ledger = ledger();
    ledger.propose(us, add(us, 1_000)).unwrap();
    dance(&mut ledger, us);
    ledger.propose(them, add(them, 1_000)).unwrap();
    let before = ledger.clone();
    let mut refused = |by, update, expected| {
        assert_eq!(code(ledger.propose(by, update)), expected);
        assert_eq!(ledger, before);
    };
    refused(us, Update::Add(htlc(us, 999)), Code::HtlcOutOfBounds);
    refused(us, Update::Add(htlc(us, 0)), Code::HtlcOutOfBounds);
    refused(us, Update::Add(Htlc { expiry: 500_000_000, ..htlc(us, 1_000_000) }), Code::HtlcOutOfBounds);
    refused(us, Update::Add(Htlc { expiry: 0, ..htlc(us, 1_000_000) }), Code::HtlcOutOfBounds);
    refused(us, add(us, 400_000_000), Code::HtlcOutOfBounds);
    refused(us, add(them, 1_000), Code::InvalidArgument);
    refused(us, Update::Add(htlc(us, 600_000_000_000)), Code::Unaffordable);
    refused(us, Update::Fail(0), Code::UnknownHtlc);
    refused(us, Update::Fulfill(0, [8; 32]), Code::UnknownHtlc);
    refused(them, Update::Fail(1), Code::UnknownHtlc);
    refused(them, Update::Fulfill(0, [9; 32]), Code::WrongPreimage);
    refused(them, Update::Fee(FeeRate::from_sat_per_kwu(1_000)), Code::UnexpectedMessage);
    refused(us, Update::Fee(FeeRate::from_sat_per_kwu(1_000_000_000)), Code::Unaffordable);
    refused(us, Update::Fee(FeeRate::MAX), Code::Unaffordable);
    // Twice.
    ledger.propose(them, Update::Fail(0)).unwrap();
    assert_eq!(code(ledger.propose(them, Update::Fail(0))), Code::UnknownHtlc);
    assert_eq!(code(ledger.propose(them, Update::Fulfill(0, [8; 32]))), Code::UnknownHtlc);
}

#[test]
fn the_reserve_stays_and_the_opener_pays_the_fee() {
    let free = |by: Role, ledger: &Updates| {
        let fee = match by {
            Role::Opener => ChannelType::Anchors.commitment_fee(state().fee_rate, 1) + Amount::from_sat(660),
            Role::Accepter => Amount::ZERO,
        };
        sat(ledger.newest(by).unwrap().balance(by)) - limits().reserve.to_sat() - fee.to_sat()
    };
    for by in ROLES {
        let wide = Limits { max_in_flight: Msat::MAX_MONEY, ..limits() };
        let mut ledger = Updates::new(&channel(ChannelType::Anchors), &state(), wide, wide).unwrap();
        let most = free(by, &ledger);
        assert_eq!(code(ledger.propose(by, add(by, most + 1))), Code::Unaffordable);
        ledger.propose(by, add(by, most)).unwrap();
        assert_eq!(code(ledger.propose(by, add(by, 1_000))), Code::Unaffordable);
    }
}

/// The opener has all but nothing: what the accepter offers would have a fee that nobody pays.
#[test]
fn an_accepter_does_not_offer_what_the_opener_cannot_pay_for() {
    let all = Msat::from_amount(CAPACITY).unwrap();
    let fee = |outputs| ChannelType::Anchors.commitment_fee(state().fee_rate, outputs) + Amount::from_sat(660);
    let least = fee(1) + limits().reserve;
    for (opener, fits) in [(least, true), (least - Amount::ONE_SAT, false)] {
        let opener = Msat::from_amount(opener).unwrap();
        let first = State { opener, accepter: all.checked_sub(opener).unwrap(), ..state() };
        let mut ledger = Updates::new(&channel(ChannelType::Anchors), &first, limits(), limits()).unwrap();
        let payment = htlc(Role::Accepter, 1_000_000);
        let offers =
            |ledger: &Updates, payment| ledger.clone().propose_own(Role::Accepter, &Update::Add(payment)).is_ok();
        assert_eq!(offers(&ledger, payment), fits);
        // The opener itself takes it: it was offered a payment, after all.
        ledger.propose(Role::Accepter, Update::Add(payment)).unwrap();
        let dust = htlc(Role::Accepter, 545_999);
        assert_eq!(offers(&ledger, dust), fits, "without an output it costs nothing");
        // What is given to the opener directly costs it nothing, and brings it nearer to its reserve.
        let gift = Update::Pay(Msat::new(1_000).unwrap());
        assert!(ledger.clone().propose_own(Role::Accepter, &gift).is_ok());
    }
}

#[test]
fn so_many_payments_and_no_more() {
    let mut ledger = ledger();
    for _ in 0..limits().max_accepted {
        ledger.propose(Role::Opener, add(Role::Opener, 1_000)).unwrap();
    }
    assert_eq!(code(ledger.propose(Role::Opener, add(Role::Opener, 1_000))), Code::HtlcOutOfBounds);
    // The other way is counted apart.
    ledger.propose(Role::Accepter, add(Role::Accepter, 1_000)).unwrap();
}

#[test]
fn a_newer_fee_overrides_an_older_one() {
    let mut ledger = ledger();
    let rate = FeeRate::from_sat_per_kwu;
    for sat in [3_000, 4_000] {
        ledger.propose(Role::Opener, Update::Fee(rate(sat))).unwrap();
    }
    assert_eq!(ledger.sign(Role::Opener).unwrap().fee_rate, rate(4_000));
    assert_eq!(ledger.newest(Role::Opener).unwrap().fee_rate, state().fee_rate);
    ledger.propose(Role::Opener, Update::Fee(rate(5_000))).unwrap();
    ledger.revoke(Role::Accepter).unwrap();
    assert_eq!(ledger.sign(Role::Accepter).unwrap().fee_rate, rate(4_000));
    ledger.revoke(Role::Opener).unwrap();
    dance(&mut ledger, Role::Opener);
    assert_eq!(ledger.newest(Role::Opener).unwrap().fee_rate, rate(5_000));
    assert!(ledger.is_quiet());
}

#[test]
fn updates_without_a_signature_are_bounded() {
    let mut ledger = ledger();
    let fee = |n: u64| Update::Fee(FeeRate::from_sat_per_kwu(n));
    for n in 0..MAX_UNACKNOWLEDGED {
        ledger.propose(Role::Opener, fee(n.into())).unwrap();
    }
    assert_eq!(code(ledger.propose(Role::Opener, fee(1))), Code::RateLimited);
    assert_eq!(ledger.fees.len(), 1);
    dance(&mut ledger, Role::Opener);
    ledger.propose(Role::Opener, fee(1)).unwrap();
}

/// Everything that a store can hold, altered in any one bit, is refused or is another ledger that is sound.
#[test]
fn an_altered_record_is_refused_or_sound() {
    let mut ledger = ledger();
    for (by, sat) in [(Role::Opener, 1_000), (Role::Accepter, 2_000), (Role::Opener, 3_000)] {
        ledger.propose(by, add(by, sat)).unwrap();
    }
    dance(&mut ledger, Role::Opener);
    ledger.propose(Role::Opener, Update::Fulfill(0, [8; 32])).unwrap();
    ledger.propose(Role::Opener, Update::Fee(FeeRate::from_sat_per_kwu(3_000))).unwrap();
    ledger.propose(Role::Accepter, Update::Fail(1)).unwrap();
    ledger.sign(Role::Opener).unwrap();
    let bytes = ledger.encode();
    assert_eq!(Updates::decode(&bytes).unwrap(), ledger);
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        match Updates::decode(&altered) {
            Ok(other) => assert!(other != ledger && other.encode() == altered),
            Err(error) => {
                assert_eq!(error.code(), Code::CorruptedStore);
                refused += 1;
            }
        }
    }
    assert!(refused > bytes.len() * 2, "{refused} of {}", bytes.len() * 8);
    for end in 0..bytes.len() {
        assert_eq!(code(Updates::decode(&bytes[..end])), Code::CorruptedStore);
    }
    assert_eq!(code(Updates::decode(&[&bytes[..], &[0]].concat())), Code::CorruptedStore);
}

/// Each rule that every ledger keeps, broken one at a time.
#[test]
fn an_unsound_record_is_refused() {
    let mut ledger = ledger();
    for by in [Role::Opener, Role::Opener, Role::Accepter] {
        ledger.propose(by, add(by, 1_000)).unwrap();
    }
    dance(&mut ledger, Role::Opener);
    ledger.propose(Role::Accepter, Update::Fulfill(0, [8; 32])).unwrap();
    let rate = FeeRate::from_sat_per_kwu(1_000);
    let broken: [fn(&mut Updates); 11] = [
        |ledger| ledger.htlcs.swap(0, 1),
        |ledger| ledger.htlcs.push(ledger.htlcs[2].clone()),
        |ledger| ledger.htlcs[1].id = 2,
        |ledger| ledger.htlcs[0].added = Step::Acknowledged,
        |ledger| ledger.htlcs[0].removed = Some((None, Step::Settled)),
        |ledger| ledger.htlcs[0].removed = Some((Some([9; 32]), Step::Proposed)),
        |ledger| ledger.htlcs[2].htlc.amount = Msat::from_amount(CAPACITY).unwrap(),
        |ledger| ledger.opener.balance = Msat::ZERO,
        |ledger| ledger.accepter.signed = 2,
        |ledger| ledger.accepter.newest = CommitmentNumber::MAX,
        |ledger| (ledger.opener.newest, ledger.opener.owes_revocation) = (CommitmentNumber::FIRST, true),
    ];
    for (n, breaking) in broken.into_iter().enumerate() {
        let mut other = ledger.clone();
        breaking(&mut other);
        let result = Updates::decode(&other.encode());
        assert_eq!(result.map_err(|error| error.code()), Err(Code::CorruptedStore), "rule {n}");
    }
    for steps in [[Step::Signed, Step::Signed], [Step::Proposed, Step::Signed], [Step::Settled, Step::Proposed]] {
        let mut other = ledger.clone();
        other.fees = steps.map(|step| (rate, step)).to_vec();
        assert_eq!(code(Updates::decode(&other.encode())), Code::CorruptedStore);
    }
}

#[test]
fn a_channel_opens_with_nothing_under_way() {
    let (channel, limits) = (channel(ChannelType::Anchors), limits());
    let bad = |state: State| code(Updates::new(&channel, &state, limits, limits));
    assert_eq!(bad(State { htlcs: vec![htlc(Role::Opener, 1)], ..state() }), Code::InvalidArgument);
    assert_eq!(bad(State { number: CommitmentNumber::new(1).unwrap(), ..state() }), Code::InvalidArgument);
    assert_eq!(bad(State { opener: Msat::ZERO, ..state() }), Code::InvalidArgument);
    let last = CommitmentNumber::MAX.previous().unwrap();
    let mut ledger = ledger();
    ledger.accepter.newest = last;
    ledger.propose(Role::Opener, add(Role::Opener, 1_000)).unwrap();
    assert_eq!(code(ledger.sign(Role::Opener)), Code::UpdatesSpent);
}

/// What comes in with one update may go out with the next, whichever of them the ledger looks at first.
#[test]
fn what_was_received_can_be_spent_at_once() {
    let (opener, accepter) = (Role::Opener, Role::Accepter);
    let mut ledger = ledger();
    let wide = Limits { max_in_flight: Msat::MAX_MONEY, reserve: Amount::from_sat(1_000), ..limits() };
    (ledger.opener.limits, ledger.accepter.limits) = (wide, wide);
    ledger.propose(accepter, add(accepter, 300_000_000)).unwrap();
    dance(&mut ledger, accepter);
    ledger.propose(opener, Update::Fulfill(0, [8; 32])).unwrap();
    ledger.propose(opener, add(opener, 700_000_000)).unwrap();
    assert_eq!(code(ledger.propose(opener, add(opener, 100_000_000))), Code::Unaffordable);
    dance(&mut ledger, opener);
}

/// An opener leaves room for twice the fee and one payment more; who answers it is held to the letter only.
#[test]
fn an_opener_leaves_room() {
    let opener = Role::Opener;
    let mut ledger = ledger();
    let wide = Limits { max_in_flight: Msat::MAX_MONEY, ..limits() };
    (ledger.opener.limits, ledger.accepter.limits) = (wide, wide);
    let cost = |rate: u64, outputs| {
        let fee = ChannelType::Anchors.commitment_fee(FeeRate::from_sat_per_kwu(rate * 2_500), outputs);
        (fee + Amount::from_sat(660) + limits().reserve).to_sat()
    };
    let has = sat(state().opener);
    for (left, own, theirs) in [
        (cost(2, 2), true, true),
        (cost(2, 2) - 1, false, true),
        (cost(1, 1), false, true),
        (cost(1, 1) - 1, false, false),
    ] {
        let update = add(opener, has - left);
        assert_eq!(ledger.clone().propose_own(opener, &update).is_ok(), own, "{left}");
        assert_eq!(ledger.clone().propose(opener, update).is_ok(), theirs, "{left}");
    }
    // A fee may use that room, or it would be of no use.
    ledger.propose(opener, add(opener, has - cost(2, 2))).unwrap();
    assert!(ledger.clone().propose_own(opener, &Update::Fee(FeeRate::from_sat_per_kwu(5_000))).is_ok());
    assert!(ledger.clone().propose_own(opener, &Update::Fee(FeeRate::from_sat_per_kwu(6_000))).is_err());
}
