//! The payer's rules on both sides of their borders, and what is asked, told or stored twice.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::budget::Limits;
use crate::kind::Ladder;
use crate::persist::StoredEvent;
use crate::testing::{self, CAPACITY, LADDER, NOW, PRICE_SAT, World};

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("this is to be refused"),
        Err(error) => error.code(),
    }
}

fn saved(step: Step) -> Saved<Event, Effect> {
    step.save(|_| Ok::<_, ()>(())).unwrap()
}

fn effects(step: Step) -> Vec<Effect> {
    saved(step).into_parts().1
}

fn pay(world: &World, sat: u64) -> Paid {
    let own = *world.payer.funding().unwrap();
    commitment::pay(world.payer.params(), &own, 0, Amount::from_sat(sat), &testing::payer_key()).unwrap()
}

#[test]
fn an_expiry_leaves_time_to_watch_and_comes_back_in_time() {
    let margin = 36;
    let cltv = |life: u32| {
        let params = ChannelParams { expiry: testing::TIP + life, ..testing::params() };
        let signature = params.sign(&testing::node());
        testing::request().opened(Box::new(params), signature, testing::TIP)
    };
    assert!(cltv(2 * margin).is_ok() && cltv(2 * margin + 1).is_ok());
    assert_eq!(code(cltv(2 * margin - 1)), Code::UnacceptableTerms);
    assert!(cltv(2_016).is_ok());
    assert_eq!(code(cltv(2_017)), Code::UnacceptableTerms);
    // All payments of a ladder have to fit in before the margin.
    let timelock = |life: u32, ladder: Ladder| {
        let params = ChannelParams { expiry: testing::TIP + life, ..testing::timelock_params() };
        let signature = params.sign(&testing::node());
        let request = Request { ladder: Some(ladder), ..testing::request() };
        request.opened(Box::new(params), signature, testing::TIP)
    };
    let height = LADDER.height().unwrap();
    assert!(timelock(height + margin + 1, LADDER).is_ok());
    assert_eq!(code(timelock(height + margin, LADDER)), Code::UnacceptableTerms);
    // A ladder other than the one of the terms.
    let other = Ladder { updates: LADDER.updates - 1, ..LADDER };
    assert_eq!(code(timelock(1_000, other)), Code::UnacceptableTerms);
}

#[test]
fn what_was_agreed_at_the_opening_can_be_read() {
    let request = || Request { key_index: 7, ..testing::request() };
    let params = testing::params();
    let signature = params.sign(&testing::node());
    let step = request().opened(Box::new(params.clone()), signature, testing::TIP).unwrap();
    let payer = Payer::create(saved(step), testing::payer_key(), Budget::default()).unwrap();
    assert_eq!((payer.key_index(), payer.deposit(), payer.node()), (7, CAPACITY, &testing::node().public()));
    assert_eq!((payer.phase(), payer.returned(), payer.updates_left()), (Phase::Opened, Amount::ZERO, None));
    let recovery = Recovery {
        network: request().network,
        key: request().key,
        key_index: 5,
        return_script: request().return_script,
        node: request().node,
        purpose: request().purpose,
    };
    let step = recovery.recovered(Box::new(params), signature).unwrap();
    let payer = Payer::create(saved(step), testing::payer_key(), Budget::default()).unwrap();
    assert_eq!((payer.key_index(), payer.deposit()), (5, testing::offer().min_deposit));
}

#[test]
fn a_decision_counts_once() {
    let mut world = World::funded();
    let (one, two) = (saved(world.payer.receive(1).unwrap()), saved(world.payer.receive(2).unwrap()));
    // One that changes nothing may come between.
    let nothing = saved(world.payer.need(0, 0, NOW).unwrap());
    world.payer.commit(nothing).unwrap();
    world.payer.commit(one).unwrap();
    assert_eq!(code(world.payer.commit(two)), Code::StaleDecision);
    assert_eq!((world.payer.received(), world.payer.owed()), (1, Msat::new(1_000).unwrap()));
}

#[test]
fn a_pause_shows() {
    let mut world = World::funded();
    assert!(!world.payer.is_paused());
    world.payer.pause(true);
    assert!(world.payer.is_paused());
}

#[test]
fn the_least_deposit_opens_the_channel_and_less_does_not() {
    let world = World::opened();
    let look = |sat: u64, shown: u64| {
        let told = testing::funding(0, Amount::from_sat(sat));
        let seen = SeenOutput { funding: testing::funding(0, Amount::from_sat(shown)), confirmations: 1 };
        world.payer.funding_seen(&told, &[seen])
    };
    assert!(look(10_000, 10_000).is_ok() && look(10_001, 10_001).is_ok());
    assert_eq!(code(look(9_999, 9_999)), Code::NotFunded);
    assert_eq!(code(look(10_000, 10_001)), Code::NotFunded, "another amount than the payee named");
}

#[test]
fn a_deposit_that_was_signed_for_is_not_exchanged() {
    let other = SeenOutput { funding: testing::funding(1, CAPACITY), confirmations: 1 };
    let look = |world: &World| world.payer.funding_seen(&other.funding, &[other]);
    // Before that it may be: it moved in a reorganisation.
    let mut world = World::funded();
    assert_eq!(look(&world).unwrap().events(), [Event::Funded(other.funding)]);
    // The known one is no news, whatever the chain shows just now.
    let own = testing::funding(0, CAPACITY);
    assert!(world.payer.funding_seen(&own, &[]).unwrap().events().is_empty());
    world.payer(|payer| payer.need(1_000, 0, NOW)).unwrap();
    assert_eq!(code(look(&world)), Code::UnexpectedMessage, "paid on");
    // All that is left of a store that lost its payments.
    let mut world = World::funded();
    let state = ChannelState { closing: Some(pay(&world, 0)), ..world.payee.state() };
    world.payer(|payer| payer.attached(&state)).unwrap();
    assert_eq!(code(look(&world)), Code::UnexpectedMessage, "ended");
}

#[test]
fn what_is_asked_twice_is_answered_twice_and_stored_once() {
    let mut world = World::funded();
    let paid = effects(world.payer.need(2_000, 0, NOW).unwrap());
    world.payer(|payer| payer.need(2_000, 0, NOW)).unwrap();
    for upto in [2_000, 1_000] {
        let step = world.payer.need(upto, 0, NOW).unwrap();
        assert!(step.events().is_empty(), "{upto}");
        assert_eq!(effects(step), paid);
    }
    let paid = world.payer.paid.unwrap();
    world.payee(|payee| payee.pay(paid, testing::TIP)).unwrap();
    let state = world.payee.state();
    assert!(world.payer.attached(&state).unwrap().events().is_empty());
    world.payer(|payer| payer.stop()).unwrap();
    let again = world.payer.stop().unwrap();
    assert!(again.events().is_empty());
    assert_eq!(effects(again), [Effect::Send(Message::Stop)]);
    assert_ne!(World::opened().payer.stop().unwrap_err().text(), {
        world.payer(|payer| payer.stopped(1_000)).unwrap();
        world.payer.stop().unwrap_err().text()
    });
}

#[test]
fn a_stop_that_this_side_has_lost_is_taken_up() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.payee(|payee| payee.stop()).unwrap();
    let state = world.payee.state();
    let effects = world.payer(|payer| payer.attached(&state)).unwrap();
    assert_eq!((&effects[..], world.payer.phase()), (&[Effect::Send(Message::Stop)][..], Phase::Stopping));
    assert!(world.payer.attached(&state).unwrap().events().is_empty());
    // Without the deposit there is nothing that could be ended yet.
    let opened = World::opened();
    let step = opened.payer.attached(&state).unwrap();
    assert!(step.events().is_empty());
    assert_eq!(super::edges::effects(step), []);
}

#[test]
fn an_end_that_both_sides_know_is_left_alone() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.payer(|payer| payer.stop()).unwrap();
    world.payer(|payer| payer.stopped(1_000)).unwrap();
    let closing = *world.payer.closing().unwrap();
    let told = |paid| ChannelState { closing: Some(paid), stopped: true, ..world.payee.state() };
    // The same: say it again, until it is stated.
    let step = world.payer.attached(&told(closing)).unwrap();
    assert!(step.events().is_empty());
    assert_eq!(effects(step), [Effect::Send(Message::Close(closing))]);
    // Another one that we signed, as the payee has nothing newer: so be it.
    let other = pay(&world, 2_000);
    assert_eq!(world.payer.attached(&told(other)).unwrap().events(), [Event::Closing(other)]);
    // At a lock time that no payment has: it would not settle.
    let own = *world.payer.funding().unwrap();
    let locked =
        commitment::pay(world.payer.params(), &own, 9, Amount::from_sat(2_000), &testing::payer_key()).unwrap();
    assert_eq!(code(world.payer.attached(&told(locked))), Code::WrongLock);
    // Once stated, it stands.
    let (told, other) = (told(closing), told(other));
    let statement = Statement { channel: world.payer.id(), funding: own, cumulative: closing.cumulative };
    world.payer(|payer| payer.closed(closing.cumulative, statement.sign(&testing::node()))).unwrap();
    for state in [told, other] {
        let step = world.payer.attached(&state).unwrap();
        assert!(step.events().is_empty());
        assert_eq!(effects(step), []);
    }
}

#[test]
fn no_more_than_the_greatest_deposit_is_spent() {
    let mut world = World::opened();
    let most = world.payer.params().max_deposit;
    let seen = SeenOutput { funding: testing::funding(0, most + Amount::ONE_BTC), confirmations: 1 };
    world.payer(|payer| payer.funding_seen(&seen.funding, &[seen])).unwrap();
    world.payee(|payee| payee.funding_seen(&[seen], testing::TIP)).unwrap();
    let all = most.to_sat() / PRICE_SAT * 1_000;
    world.receive(all);
    assert!(world.payer.need(all, all, NOW).is_ok());
    assert_eq!(code(world.payer.need(all + 1, all, NOW)), Code::DepositSpent);
    let pay = |sat: Amount| {
        let paid = commitment::pay(world.payer.params(), &seen.funding, 0, sat, &testing::payer_key()).unwrap();
        world.payee.pay(paid, testing::TIP)
    };
    assert!(pay(most).is_ok());
    assert_eq!(code(pay(most + Amount::ONE_SAT)), Code::ExceedsCapacity);
}

#[test]
fn what_an_earlier_page_spent_counts_for_the_site_and_not_for_this_session() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let msat = |sat: u64| Msat::new(sat * 1_000).unwrap();
    let replay = |limits, site| {
        let budget = Budget::new(limits, Spent { site, ..Spent::default() });
        Payer::replay(world.payer_events(), testing::payer_key(), budget).unwrap()
    };
    let session = Limits { session: Some(msat(1_000)), ..Limits::default() };
    for before in [Msat::ZERO, msat(1_000)] {
        let payer = replay(session, before);
        assert_eq!(payer.spent(), world.payer.spent());
        assert!(payer.need(2_000, 1_000, NOW).is_ok());
        assert_eq!(code(payer.need(2_001, 1_000, NOW)), Code::OverBudget);
    }
    let site = Limits { site: Some(msat(2_000)), ..Limits::default() };
    assert!(replay(site, Msat::ZERO).need(2_000, 1_000, NOW).is_ok());
    assert_eq!(code(replay(site, Msat::ZERO).need(2_001, 1_000, NOW)), Code::OverBudget);
    // More was spent since, on another channel: that is not forgotten.
    assert_eq!(replay(site, msat(1_500)).spent().site, msat(1_500));
    assert_eq!(code(replay(site, msat(1_500)).need(2_000, 1_000, NOW)), Code::OverBudget);
}

#[test]
fn a_stored_count_or_payment_that_cannot_be_is_not_believed() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let good = world.payer_events();
    let replay = |change: &dyn Fn(&mut Event)| {
        let mut events = good.clone();
        events.iter_mut().for_each(change);
        Payer::replay(events, testing::payer_key(), Budget::default())
    };
    let count = |count, lost| {
        replay(&|event| {
            if let Event::Received { quantity, forgiven } = event {
                (*quantity, *forgiven) = (count, lost);
            }
        })
    };
    let most = 2_000 * FORGIVEN_WINDOWS;
    assert!(count(most, most).is_ok() && count(most + 1, most).is_ok());
    assert_eq!(code(count(most + 1, most + 1)), Code::CorruptedStore);
    assert_eq!(code(count(most - 1, most)), Code::CorruptedStore, "more is forgiven than came in all");
    assert_eq!(code(count(u64::MAX, 0)), Code::CorruptedStore, "beyond all price");
    // A payment that was never signed, and a deposit below the least one.
    let unsigned = replay(&|event| {
        if let Event::Paid { paid, .. } = event {
            paid.cumulative += Amount::ONE_SAT;
        }
    });
    assert_eq!(code(unsigned), Code::CorruptedStore);
    let small = replay(&|event| {
        if let Event::Funded(funding) = event {
            funding.capacity = Amount::from_sat(9_999);
        }
    });
    assert_eq!(code(small), Code::CorruptedStore);
}

#[test]
fn forgiveness_is_paid_to_its_last_unit() {
    let mut world = World::funded();
    let most = 2_000 * (FORGIVEN_WINDOWS + 1);
    assert!(world.payer.need(most, 0, NOW).is_ok());
    // In parts, too.
    world.payer(|payer| payer.need(most - 500, 0, NOW)).unwrap();
    assert_eq!(code(world.payer.need(most + 1, 0, NOW)), Code::AheadOfDelivery);
    assert!(world.payer.need(most, 0, NOW).is_ok());
}

#[test]
fn every_event_has_one_encoding() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let mut events = world.payer_events();
    let closing = pay(&world, 1_000);
    let spend =
        Spend { txid: testing::funding(3, CAPACITY).outpoint.txid, returned: CAPACITY, refund: true, confirmed: false };
    events.extend([
        Event::Stopping,
        Event::Closing(closing),
        Event::Closed(closing.signature),
        Event::Spent(Some(spend)),
        Event::Spent(Some(Spend { refund: false, confirmed: true, ..spend })),
        Event::Spent(None),
    ]);
    let slots: std::collections::BTreeSet<_> = events.iter().map(StoredEvent::slot).collect();
    assert!(slots.into_iter().eq(0..=10), "one of each at least");
    for event in events {
        let bytes = event.encode();
        assert_eq!(Event::decode(&bytes).unwrap(), event);
        assert_eq!(code(Event::decode(&bytes[..bytes.len() - 1])), Code::CorruptedStore);
        assert_eq!(code(Event::decode(&[&bytes[..], &[0]].concat())), Code::CorruptedStore);
    }
    assert_eq!(code(Event::decode(&[11])), Code::CorruptedStore);
}
