//! Every refusal of the payee, by its stable code, with nothing lost.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::Msat;
use crate::persist::StoredEvent;
use crate::testing::{self, CAPACITY, PRICE_SAT, TIP, World};
use crate::wire::Open;
use bitcoin::Network;

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.expect_err("this is to be refused").code()
}

#[test]
fn an_offer_refuses_what_it_cannot_serve() {
    let (offer, node) = (testing::offer(), testing::node());
    let request = |change: &dyn Fn(&mut Open)| {
        let mut open = testing::open_request();
        change(&mut open);
        offer.open(&open, TIP, testing::payee_key().public(), 0, &node)
    };
    assert!(request(&|_| ()).is_ok());
    assert_eq!(code(request(&|open| open.network = Network::Bitcoin)), Code::WrongNetwork);
    assert_eq!(code(request(&|open| open.payer = testing::payee_key().public())), Code::WrongKey);
    assert_eq!(code(request(&|open| open.return_script = bitcoin::ScriptBuf::new())), Code::InvalidReturnScript);
    assert_eq!(code(request(&|open| open.deposit = Amount::from_sat(9_999))), Code::DepositTooSmall);
    assert_eq!(code(request(&|open| open.deposit = CAPACITY * 11)), Code::DepositTooLarge);
}

#[test]
fn a_deposit_counts_when_it_is_deep_and_large_enough() {
    let mut world = World::opened();
    let at = |confirmations, capacity| SeenOutput { funding: testing::funding(0, capacity), confirmations };
    // Seen, not deep enough.
    world.payee(|payee| payee.funding_seen(&[at(0, CAPACITY)], TIP)).unwrap();
    assert_eq!(code(world.payee.pay(world.sign(1_000), TIP)), Code::NotFunded);
    // Too small.
    let error = world.payee.funding_seen(&[at(1, Amount::from_sat(9_999))], TIP).unwrap_err();
    assert_eq!(
        (error.code(), error.detail()),
        (Code::DepositTooSmall, Some(&Detail::Amount(Amount::from_sat(10_000))))
    );
    // Another amount than asked for: capacity is what arrived.
    world.payee(|payee| payee.funding_seen(&[at(1, CAPACITY - Amount::from_sat(5))], TIP)).unwrap();
    assert_eq!(world.payee.funding().unwrap().capacity, CAPACITY - Amount::from_sat(5));
    // It moved in a reorganisation, before anything was paid.
    let moved = SeenOutput { funding: testing::funding(1, CAPACITY), confirmations: 1 };
    world.payee(|payee| payee.funding_seen(&[moved], TIP)).unwrap();
    assert_eq!(world.payee.funding(), Some(&moved.funding));
}

#[test]
fn a_second_deposit_changes_nothing() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let first = SeenOutput { funding: testing::funding(0, CAPACITY), confirmations: 3 };
    let second = SeenOutput { funding: testing::funding(7, CAPACITY + CAPACITY), confirmations: 9 };
    world.payee(|payee| payee.funding_seen(&[second, first], TIP)).unwrap();
    assert_eq!(world.payee.funding(), Some(&first.funding));
    // Even when the first one is gone for now: what was paid on it is not exchanged.
    world.payee(|payee| payee.funding_seen(&[second], TIP)).unwrap();
    assert_eq!(world.payee.funding(), Some(&first.funding));
    // Nor after the viewer has stopped, whose last signature will be for the first one.
    let mut world = World::funded();
    world.payee(|payee| payee.stop()).unwrap();
    world.payee(|payee| payee.funding_seen(&[second], TIP)).unwrap();
    assert_eq!(world.payee.funding(), Some(&first.funding));
}

#[test]
fn a_decision_counts_for_its_own_channel_alone() {
    let one = World::funded();
    let mut other = World::funded();
    other.payee = Payee::replay([Event::Opened {
        params: Box::new(ChannelParams { expiry: 2_000, ..testing::params() }),
        key_index: 1,
    }])
    .unwrap();
    let saved = one.payee.stop().unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    assert_eq!(code(other.payee.commit(saved)), Code::StaleDecision);
}

#[test]
fn payments_are_refused_each_with_its_code() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(5_000), TIP)).unwrap();
    let pay = |paid: Paid| world.payee.pay(paid, TIP);

    let error = pay(world_sign(4_999)).unwrap_err();
    assert_eq!(error.code(), Code::CumulativeFell);
    assert_eq!(error.detail(), Some(&Detail::State(Box::new(world.payee.state()))));
    // A repeat is acknowledged and stores nothing.
    assert!(pay(world_sign(5_000)).unwrap().events().is_empty());
    assert_eq!(code(pay(testing::sign_unchecked(CAPACITY + Amount::ONE_SAT))), Code::ExceedsCapacity);
    // Another channel's signature.
    let foreign = testing::sign_for(&testing::funding(1, CAPACITY), Amount::from_sat(6_000));
    assert_eq!(code(pay(foreign)), Code::InvalidSignature);
    // A signature for another amount.
    assert_eq!(code(pay(Paid { cumulative: Amount::from_sat(6_001), ..world_sign(6_000) })), Code::InvalidSignature);
    // The payee's own key.
    assert_eq!(code(pay(testing::sign_with(&testing::payee_key(), 6_000))), Code::InvalidSignature);
    // A malleated one.
    assert_eq!(code(pay(testing::high_s(world_sign(6_000)))), Code::HighS);
    assert_eq!(world.payee.accepted(), Amount::from_sat(5_000));
}

fn world_sign(sat: u64) -> Paid {
    testing::sign_for(&testing::funding(0, CAPACITY), Amount::from_sat(sat))
}

#[test]
fn nothing_is_released_unpaid() {
    let mut world = World::funded();
    assert_eq!(code(world.payee.release(1, TIP)), Code::NotPaid);
    world.payee(|payee| payee.pay(world_sign(PRICE_SAT), TIP)).unwrap();
    assert_eq!(world.payee.cover(1_000, TIP).unwrap(), Cover::Paid);
    let need = Cover::Need(Message::Need { upto: 1_001, delivered: 0 });
    assert_eq!(world.payee.cover(1_001, TIP).unwrap(), need);
    world.payee(|payee| payee.release(1_000, TIP)).unwrap();
    assert_eq!(code(world.payee.release(1, TIP)), Code::NotPaid);
    // A piece that no payer would pay for ahead.
    assert_eq!(code(world.payee.cover(2_001, TIP)), Code::PieceTooLarge);
    assert_eq!(code(world.payee.cover(u64::MAX, TIP)), Code::PieceTooLarge);
}

#[test]
fn the_deposit_pays_for_no_more_than_it_holds() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(3_600_000), TIP)).unwrap();
    for _ in 0..1_800 {
        world.payee(|payee| payee.release(2_000, TIP)).unwrap();
    }
    assert_eq!(code(world.payee.cover(1, TIP)), Code::DepositSpent);
    assert_eq!(world.payee.owed(), Msat::from_amount(CAPACITY).unwrap());
}

#[test]
fn a_reorganisation_stops_the_service_until_the_deposit_is_back() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(PRICE_SAT), TIP)).unwrap();
    let at = |confirmations| SeenOutput { funding: testing::funding(0, CAPACITY), confirmations };
    for gone in [vec![], vec![at(0)]] {
        world.payee(|payee| payee.funding_seen(&gone, TIP)).unwrap();
        assert_eq!(code(world.payee.release(1, TIP)), Code::NotFunded);
        assert_eq!(code(world.payee.pay(world_sign(2 * PRICE_SAT), TIP)), Code::NotFunded);
        // The log replays, and the channel can still end.
        assert_eq!(Payee::replay(world.payee_events()).unwrap().state(), world.payee.state());
        assert!(world.payee.close(world_sign(PRICE_SAT), &testing::node()).is_ok());
        world.payee(|payee| payee.funding_seen(&[at(1)], TIP)).unwrap();
        assert!(world.payee.release(1, TIP).is_ok());
    }
}

#[test]
fn nothing_is_taken_or_served_inside_the_margin() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(PRICE_SAT), TIP)).unwrap();
    let stop = world.payee.params().stop_height();
    assert!(world.payee.release(1, stop - 1).is_ok());
    assert_eq!(code(world.payee.release(1, stop)), Code::Expiring);
    assert_eq!(code(world.payee.pay(world_sign(2 * PRICE_SAT), stop)), Code::Expiring);

    let close = world.payee.params().close_height();
    assert!(world.payee.expire(close - 1).is_none());
    world.payee(|payee| Ok(payee.expire(close).expect("due"))).unwrap();
    assert_eq!(world.payee.closing().unwrap().cumulative, Amount::from_sat(PRICE_SAT));
    assert!(world.payee.expire(close).is_none());
    // Nothing was ever paid: nothing to settle.
    assert!(World::funded().payee.expire(close).is_none());
}

#[test]
fn closing_settles_at_what_was_delivered_and_only_once() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(10 * PRICE_SAT), TIP)).unwrap();
    for piece in [2_000, 2_000, 2_000, 2_000, 500] {
        world.payee(|payee| payee.release(piece, TIP)).unwrap();
    }
    let node = testing::node();
    let owed = 8 * PRICE_SAT + PRICE_SAT / 2;

    let error = world.payee.close(world_sign(owed - 1), &node).unwrap_err();
    assert_eq!(error.code(), Code::CloseBelowDelivered);
    assert_eq!(error.detail(), Some(&Detail::State(Box::new(world.payee.state()))));
    assert_eq!(code(world.payee.close(testing::high_s(world_sign(owed)), &node)), Code::HighS);

    world.payee(|payee| payee.stop()).unwrap();
    assert!(world.payee.stop().unwrap().events().is_empty());
    assert_eq!(code(world.payee.release(1, TIP)), Code::Closing);
    let effects = world.payee(|payee| payee.close(world_sign(owed), &node)).unwrap();
    assert!(effects.contains(&Effect::Settle));
    assert_eq!(world.payee.collectable(), Some((testing::funding(0, CAPACITY), world_sign(owed))));
    // Twice: the same answer, and no second settlement; at another amount: refused.
    assert!(world.payee.close(world_sign(owed), &node).unwrap().events().is_empty());
    assert_eq!(code(world.payee.close(world_sign(owed + 1), &node)), Code::Closing);
    assert_eq!(code(world.payee.pay(world_sign(11 * PRICE_SAT), TIP)), Code::Closing);
}

#[test]
fn a_session_needs_the_payers_signature_over_its_own_challenge() {
    let mut world = World::funded();
    let key = testing::payer_key();
    let id = world.payee.id();
    let signature = crate::params::sign_attach(&key, &id, &[1; 32]);
    assert_eq!(code(world.payee.attach(&[2; 32], &signature, Token([0; 32]))), Code::InvalidSignature);
    world.payee(|payee| payee.attach(&[1; 32], &signature, Token([0; 32]))).unwrap();
    assert_eq!(world.payee.epoch(), 1);
}

#[test]
fn a_spent_funding_ends_the_service_and_a_reorganisation_reopens_it() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(PRICE_SAT), TIP)).unwrap();
    let txid = testing::funding(3, CAPACITY).outpoint.txid;
    world.payee(|payee| Ok(payee.spent_seen(Some(txid), 0))).unwrap();
    assert_eq!(code(world.payee.release(1, TIP)), Code::Closing);
    world.payee(|payee| Ok(payee.spent_seen(None, 0))).unwrap();
    assert!(world.payee.release(1, TIP).is_ok());
}

#[test]
fn a_stale_decision_is_refused() {
    let mut world = World::funded();
    let one = world.payee.pay(world_sign(1), TIP).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    let two = world.payee.pay(world_sign(2), TIP).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    world.payee.commit(one).unwrap();
    assert_eq!(code(world.payee.commit(two)), Code::StaleDecision);
    assert_eq!(world.payee.accepted(), Amount::from_sat(1));
}

#[test]
fn a_failing_store_changes_nothing_and_releases_nothing() {
    let world = World::funded();
    let step = world.payee.pay(world_sign(1), TIP).unwrap();
    assert_eq!(step.save(|_| Err("disk full")).unwrap_err(), "disk full");
    assert_eq!(world.payee.accepted(), Amount::ZERO);
}

#[test]
fn replay_treats_the_log_as_hostile() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(world_sign(PRICE_SAT), TIP)).unwrap();
    world.payee(|payee| payee.release(1_000, TIP)).unwrap();
    let good = world.payee_events();
    assert_eq!(Payee::replay(good.clone()).unwrap().state(), world.payee.state());

    let corrupt = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = good.clone();
        change(&mut events);
        code(Payee::replay(events))
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<Event>);
    let cases: [Change<'_>; 7] = [
        &|events| events.clear(),
        &|events| drop(events.remove(0)),
        &|events| events.reverse(),
        &|events| events.push(events[1].clone()),
        // Delivered more than was paid.
        &|events| *events.last_mut().unwrap() = Event::Delivered(1_001),
        // A payment without its funding.
        &|events| drop(events.remove(1)),
        // A payment that was never signed.
        &|events| {
            for event in events.iter_mut() {
                if let Event::Accepted(paid) = event {
                    paid.cumulative = Amount::from_sat(2 * PRICE_SAT);
                }
            }
        },
    ];
    for change in cases {
        assert_eq!(corrupt(change), Code::CorruptedStore);
    }
    for event in &good {
        let bytes = event.encode();
        assert_eq!(&Event::decode(&bytes).unwrap(), event);
        assert_eq!(code(Event::decode(&bytes[..bytes.len() - 1])), Code::CorruptedStore);
        assert_eq!(code(Event::decode(&[&bytes[..], &[0]].concat())), Code::CorruptedStore);
    }
}

fn granted(effects: &[Effect]) -> Grant {
    match effects {
        [Effect::Send(Message::Granted(grant))] => *grant,
        other => panic!("nothing granted: {other:?}"),
    }
}

#[test]
fn a_deposit_for_which_nothing_was_delivered_is_given_back_and_ends_the_channel() {
    let mut world = World::funded();
    let own = *world.payee.funding().unwrap();
    let key = testing::payee_key();
    // Paid ahead, nothing delivered: what was paid is not owed.
    let paid = world.sign(PRICE_SAT);
    world.payee(|payee| payee.pay(paid, TIP)).unwrap();
    let grant = granted(&world.payee(|payee| payee.reclaim(own, &key)).unwrap());
    grant.verify(world.payee.params()).unwrap();
    assert_eq!((grant.lock, grant.cumulative, grant.funding), (0, Amount::ZERO, own));
    assert_eq!(granted(&world.payee(|payee| payee.reclaim(own, &key)).unwrap()), grant, "asking again repeats it");
    // From then on it gives nothing, takes nothing and has nothing to settle.
    assert_eq!(code(world.payee.cover(1_000, TIP)), Code::Closing);
    assert_eq!(code(world.payee.pay(world.sign(2 * PRICE_SAT), TIP)), Code::Closing);
    assert_eq!(code(world.payee.close(world.sign(PRICE_SAT), &testing::node())), Code::Closing);
    assert!(world.payee.expire(world.payee.params().expiry).is_none());
    assert!(world.payee.collectable().is_none());
    let again = Payee::replay(world.payee_events()).unwrap();
    assert!(again.is_released());
    // A log that gives back what was delivered for is none of ours.
    let mut events = world.payee_events();
    events.insert(events.len() - 2, Event::Delivered(1_000));
    events.sort_by_key(StoredEvent::slot);
    assert_eq!(code(Payee::replay(events)), Code::CorruptedStore);
}

#[test]
fn what_is_owed_or_may_be_needed_is_not_given_back() {
    let key = testing::payee_key();
    let (own, other) = (testing::funding(0, CAPACITY), testing::funding(1, CAPACITY));
    // Before the funding is fixed any output that is large enough may become it.
    let mut world = World::opened();
    assert_eq!(code(world.payee.reclaim(other, &key)), Code::NotReclaimable);
    let small = testing::funding(2, Amount::from_sat(9_999));
    granted(&world.payee(|payee| payee.reclaim(small, &key)).unwrap());
    let mut world = World::funded();
    assert_eq!(code(world.payee.reclaim(other, &key)), Code::NotReclaimable);
    world.pay_for(1_000).unwrap();
    assert_eq!(code(world.payee.reclaim(own, &key)), Code::NotReclaimable);
    assert_eq!(code(world.payee.reclaim(other, &testing::node())), Code::WrongKey);
    // A second deposit goes back while the stream goes on.
    granted(&world.payee(|payee| payee.reclaim(other, &key)).unwrap());
    world.pay_for(1_000).unwrap();
    // What is spent is gone.
    let mut spent = World::funded();
    spent.payee(|payee| Ok(payee.spent_seen(Some(other.outpoint.txid), 0))).unwrap();
    assert_eq!(code(spent.payee.reclaim(own, &key)), Code::NotReclaimable);
}

#[test]
fn the_first_rival_on_a_ladder_is_the_first_that_is_worth_less() {
    let world = World::timelock_funded();
    let (params, funding) = (world.payee.params(), *world.payee.funding().unwrap());
    let paid = |lock, sat| {
        crate::commitment::pay(params, &funding, lock, Amount::from_sat(sat), &testing::payer_key()).unwrap()
    };
    let after = |events: &[Event]| {
        let log = world.payee_events().into_iter().chain(events.iter().cloned());
        Payee::replay(log).unwrap().rival_lock()
    };
    let (expiry, newest) = (params.expiry, params.expiry - 6);
    let accepted = Event::Accepted(paid(newest, 5_000));
    // The payer has gone.
    assert_eq!(after(&[accepted.clone(), Event::Closing(paid(newest, 5_000))]), newest + 3);
    // By agreement, at no more than was paid, or at more.
    assert_eq!(after(&[accepted.clone(), Event::Closing(paid(0, 4_000))]), newest + 3);
    assert_eq!(after(&[accepted, Event::Closing(paid(0, 6_000))]), newest);
    // Against the only payment there is the refund.
    let first = expiry - 3;
    assert_eq!(after(&[Event::Accepted(paid(first, 5_000)), Event::Closing(paid(first, 5_000))]), expiry);
    assert_eq!(after(&[Event::Closing(paid(0, 5_000))]), expiry);
}
