//! A channel's life without accidents.

use bitcoin::FeeRate;
use rillpay_channel::Code;
use rillpay_channel::revocable::Role;
use rillpay_channel::revocable::fees::LEAST_RATE;
use rillpay_channel::revocable::holder::{Effect, Failure};

use crate::pair::{EXPIRY, HITESH, IRENE, Pair, Side, msat, onion, payment, preimage};

/// The book: 5 and 5, and a payment of 2 from Irene to Hitesh makes 7 and 3.
#[test]
fn five_and_five_become_seven_and_three() {
    let mut pair = Pair::open(500_000_000);
    assert_eq!(pair.balances(), [500_000_000, 500_000_000]);
    pair.offer(IRENE, 200_000_000, 1).unwrap();
    pair.sign(IRENE);
    pair.run();
    let hitesh = &pair.sides[HITESH];
    let received: Vec<_> = hitesh.holder.received().collect();
    let [(0, htlc, packet)] = received[..] else { panic!("{received:?}") };
    assert_eq!((htlc.offered_by, htlc.expiry, packet), (Role::Accepter, EXPIRY, &onion(1)));
    assert!(hitesh.took(|effect| *effect == Effect::Received(0, htlc, onion(1))));

    pair.fulfill(HITESH, 0, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    assert_eq!(pair.balances(), [700_000_000, 300_000_000]);
    let irene = &pair.sides[IRENE];
    assert!(irene.took(|effect| *effect == Effect::Preimage(0, preimage(1))));
    assert!(irene.took(|effect| *effect == Effect::Resolved(0, htlc, Ok(preimage(1)))));
    assert!(pair.sides.iter().all(|side| side.holder.ledger().is_quiet()));
    pair.check();
    // What the counterparty's revoked commitment held is kept: it could be broadcast.
    assert_eq!(pair.sides[HITESH].revoked.values().collect::<Vec<_>>(), [&vec![htlc]]);
}

/// One message each way for a signature, and no more of them than there is to sign for.
#[test]
fn a_payment_takes_the_messages_of_bolt_2() {
    let mut pair = Pair::open(500_000_000);
    pair.log.clear();
    pair.offer(HITESH, 1_000, 1).unwrap();
    pair.sign(HITESH);
    pair.sign(HITESH);
    pair.run();
    let (add, fulfill, signed, revoked) = (128, 130, 132, 133);
    assert_eq!(pair.log, [(HITESH, add), (HITESH, signed), (IRENE, revoked), (IRENE, signed), (HITESH, revoked)]);
    pair.log.clear();
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.sign(IRENE);
    pair.run();
    assert_eq!(pair.log, [(IRENE, fulfill), (IRENE, signed), (HITESH, revoked), (HITESH, signed), (IRENE, revoked)]);
}

#[test]
fn a_payment_comes_back_with_its_reason() {
    let mut pair = Pair::open(500_000_000);
    let reasons = [
        Failure::Reason(vec![7; 292]),
        Failure::Malformed(bitcoin::hashes::Hash::hash(b"onion"), 0x8005),
        // Nobody reads so long a reason: it arrives empty.
        Failure::Reason(vec![7; 2_049]),
    ];
    for secret in 0..3 {
        pair.offer(HITESH, 1_000, secret).unwrap();
    }
    pair.sign(HITESH);
    pair.run();
    for (id, reason) in (0..).zip(&reasons) {
        pair.send_back(IRENE, id, reason.clone()).unwrap();
    }
    pair.sign(IRENE);
    pair.run();
    let came_back: Vec<_> = pair.sides[HITESH]
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Resolved(id, _, Err(failure)) => Some((*id, failure.clone())),
            _ => None,
        })
        .collect();
    let [one, two, _] = reasons;
    assert_eq!(came_back, [(0, one), (1, two), (2, Failure::Reason(vec![]))]);
    assert_eq!(pair.balances(), [500_000_000, 500_000_000]);
    pair.check();
}

#[test]
fn the_opener_sets_the_fee() {
    let mut pair = Pair::open(500_000_000);
    let rate = FeeRate::from_sat_per_kwu(2_500);
    pair.act(HITESH, |side| side.holder.set_fee(&side.keys, rate)).unwrap();
    pair.sign(HITESH);
    pair.run();
    for side in &pair.sides {
        for owner in [Role::Opener, Role::Accepter] {
            assert_eq!(side.holder.ledger().newest(owner).unwrap().fee_rate, rate);
        }
    }
    let refused =
        |pair: &mut Pair, who, rate| pair.act(who, |side| side.holder.set_fee(&side.keys, rate)).unwrap_err().code();
    assert_eq!(refused(&mut pair, IRENE, rate), Code::UnexpectedMessage);
    assert_eq!(refused(&mut pair, HITESH, FeeRate::MAX), Code::InvalidArgument);
}

/// A quarter more or less than half; within what both put up with; and only by the opener of an open channel.
#[test]
fn the_fee_is_due_when_it_is_worth_a_signature() {
    let mut pair = Pair::open(500_000_000);
    let due = |pair: &Pair, who: usize, rate| {
        let due = pair.sides[who].holder.due_fee(FeeRate::from_sat_per_kwu(rate));
        due.map(|rate| rate.to_sat_per_kwu())
    };
    for (estimate, expected) in [
        (1_000, None),
        (1_250, None),
        (1_251, Some(1_251)),
        (500, None),
        (499, Some(499)),
        (0, Some(LEAST_RATE.to_sat_per_kwu())),
        (u64::MAX, Some(50_000)),
    ] {
        assert_eq!(due(&pair, HITESH, estimate), expected, "{estimate}");
        assert_eq!(due(&pair, IRENE, estimate), None);
    }
    pair.act(HITESH, |side| side.holder.set_fee_now(&side.keys, FeeRate::from_sat_per_kwu(2_500))).unwrap();
    pair.run();
    assert_eq!((due(&pair, HITESH, 2_500), due(&pair, HITESH, 1_000)), (None, Some(1_000)));
    pair.cut();
    assert_eq!(due(&pair, HITESH, 1_000), None);
}

/// Both may offer as many as the other lets them, and no more.
#[test]
fn as_many_payments_as_agreed() {
    let mut pair = Pair::open(500_000_000);
    for secret in 0..30 {
        pair.offer(HITESH, 1_000, secret).unwrap();
        pair.offer(IRENE, 2_000, secret).unwrap();
    }
    assert_eq!(pair.offer(HITESH, 1_000, 30).unwrap_err().code(), Code::HtlcOutOfBounds);
    pair.sign(HITESH);
    pair.sign(IRENE);
    pair.run();
    pair.check();
    assert!(pair.sides.iter().all(|side| side.holder.received().count() == 30));
    for id in 0..30 {
        pair.fulfill(IRENE, id, id as u8).unwrap();
        pair.fulfill(HITESH, id, id as u8).unwrap();
    }
    pair.sign(IRENE);
    pair.sign(HITESH);
    pair.run();
    assert_eq!(pair.balances(), [500_030_000, 499_970_000]);
    pair.check();
}

#[test]
fn a_payment_whose_time_is_up_fails_the_channel() {
    let failed = |height, fulfil| {
        let mut pair = Pair::open(500_000_000);
        pair.offer(HITESH, 1_000, 1).unwrap();
        pair.sign(HITESH);
        pair.run();
        pair.cut();
        if fulfil {
            pair.fulfill(IRENE, 0, 1).unwrap();
        }
        [HITESH, IRENE].map(|who| {
            pair.act(who, |side| side.holder.at_height(&side.keys, height)).unwrap();
            pair.sides[who].ended().is_some()
        })
    };
    // Its sender takes it back three blocks after the expiry; who knows the preimage takes it 18 blocks before.
    assert_eq!(failed(EXPIRY + 2, false), [false, false]);
    assert_eq!(failed(EXPIRY + 3, false), [true, false]);
    assert_eq!(failed(EXPIRY - 19, true), [false, false]);
    assert_eq!(failed(EXPIRY - 18, true), [false, true]);
}

#[test]
fn what_only_counts_once_it_is_signed_is_not_stored() {
    let pair = Pair::open(500_000_000);
    let hitesh = &pair.sides[HITESH];
    let step = hitesh.holder.offer(&hitesh.keys, &payment(1_000, 1)).unwrap();
    assert!(step.events().is_empty());
    let step = hitesh.holder.sign(&hitesh.keys).unwrap();
    assert!(step.events().is_empty(), "nothing to sign for");
}

/// Without an HTLC: one signature of each, and as many payments in it as were made meanwhile.
#[test]
fn direct_payments_take_one_round_trip() {
    let mut pair = Pair::open(500_000_000);
    pair.log.clear();
    for _ in 0..3 {
        pair.pay(IRENE, 50_000_000).unwrap();
    }
    pair.sign(IRENE);
    pair.run();
    let (pay, signed, revoked) = (33_001, 132, 133);
    assert_eq!(
        pair.log,
        [
            (IRENE, pay),
            (IRENE, pay),
            (IRENE, pay),
            (IRENE, signed),
            (HITESH, revoked),
            (HITESH, signed),
            (IRENE, revoked)
        ]
    );
    assert_eq!(pair.balances(), [650_000_000, 350_000_000]);
    assert!(pair.sides[HITESH].took(|effect| *effect == Effect::Paid(msat(150_000_000))));
    assert!(!pair.sides[IRENE].took(|effect| matches!(effect, Effect::Paid(_))));
    assert!(pair.sides.iter().all(|side| side.revoked.is_empty()), "nothing more to keep");
    pair.check();
    assert_eq!(pair.pay(IRENE, 0).unwrap_err().code(), Code::HtlcOutOfBounds);
    assert_eq!(pair.pay(IRENE, 340_000_001).unwrap_err().code(), Code::Unaffordable, "the reserve stays");
    pair.pay(IRENE, 340_000_000).unwrap();
}

/// Said and signed for, or neither: a payment that waits for its signature could be signed for later, with another.
#[test]
fn a_payment_now_is_signed_for_or_refused() {
    let mut pair = Pair::open(500_000_000);
    pair.log.clear();
    let pay = |side: &Side| side.holder.pay_now(&side.keys, msat(200_000_000));
    let set_fee = |side: &Side| side.holder.set_fee_now(&side.keys, FeeRate::from_sat_per_kwu(2_500));
    pair.act(HITESH, pay).unwrap();
    assert_eq!(pair.log, [(HITESH, 33_001), (HITESH, 132)]);
    let given =
        |pair: &Pair| [HITESH, IRENE].map(|who| (pair.sides[who].holder.giving(), pair.sides[who].holder.direct()));
    assert_eq!(given(&pair), [(200_000_000_000, (0, 0)), (0, (0, 0))]);
    // Irene owes a revocation.
    assert_eq!(pair.act(HITESH, pay).unwrap_err().code(), Code::Unavailable);
    assert_eq!(pair.act(HITESH, set_fee).unwrap_err().code(), Code::Unavailable);
    pair.run();
    assert_eq!(given(&pair), [(0, (0, 200_000_000_000)), (0, (200_000_000_000, 0))]);
    pair.act(HITESH, set_fee).unwrap();
    assert!(!pair.sides[HITESH].holder.ledger().has_unsigned(Role::Opener));
    pair.reconnect();
    pair.run();
    assert_eq!(pair.balances(), [300_000_000, 700_000_000], "once");
    assert_eq!(pair.sides[IRENE].holder.ledger().newest(Role::Accepter).unwrap().fee_rate.to_sat_per_kwu(), 2_500);
    pair.check();
}

#[test]
fn direct_payments_only_where_both_know_them() {
    let mut pair = Pair::open(500_000_000);
    pair.pay(HITESH, 1_000).unwrap();
    let said = rillpay_wire::Message::decode(&pair.sides[IRENE].inbox[0]).unwrap();
    pair.cut();
    for who in [HITESH, IRENE] {
        pair.act(who, |side| side.holder.connected(&side.keys, false)).unwrap();
    }
    pair.run();
    assert_eq!(pair.pay(HITESH, 1_000).unwrap_err().code(), Code::Unavailable);
    assert_eq!(pair.hear(IRENE, &said).unwrap_err().code(), Code::UnexpectedMessage);
}
