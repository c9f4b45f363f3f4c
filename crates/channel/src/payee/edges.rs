//! The payee's rules on both sides of their borders, and what is asked, told or stored twice.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::commitment;
use crate::kind::{Kind, KindName, Ladder};
use crate::persist::StoredEvent;
use crate::testing::{self, CAPACITY, LADDER, PRICE_SAT, TIP, World};

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("this is to be refused"),
        Err(error) => error.code(),
    }
}

fn effects(step: Step) -> Vec<Effect> {
    step.save(|_| Ok::<_, ()>(())).unwrap().into_parts().1
}

fn seen(number: u8, sat: u64, confirmations: u32) -> SeenOutput {
    SeenOutput { funding: testing::funding(number, Amount::from_sat(sat)), confirmations }
}

#[test]
fn an_offer_needs_time_for_all_its_payments_before_the_margin() {
    let node = testing::node();
    let open = |offer: Offer| {
        let mut request = testing::open_request();
        request.kind = offer.kind.name();
        offer.open(&request, TIP, testing::payee_key().public(), 7, &node)
    };
    let cltv = |lifetime| open(Offer { lifetime, ..testing::offer() });
    assert!(cltv(37).is_ok());
    assert_eq!(code(cltv(36)), Code::UnacceptableTerms);
    let timelock = |lifetime, ladder: Ladder| {
        open(Offer {
            kind: Kind::Timelock { ladder, payee_script: testing::payee_script() },
            lifetime,
            ..testing::offer()
        })
    };
    assert!(timelock(60 + 37, LADDER).is_ok());
    assert_eq!(code(timelock(60 + 36, LADDER)), Code::UnacceptableTerms);
    assert_eq!(code(timelock(59, LADDER)), Code::UnacceptableTerms);
    let mut other = testing::open_request();
    other.kind = KindName::Timelock;
    let refused = testing::offer().open(&other, TIP, testing::payee_key().public(), 0, &node);
    assert_eq!(code(refused), Code::UnacceptableTerms);
    let (payee, _) = Payee::create(cltv(1_008).unwrap().save(|_| Ok::<_, ()>(())).unwrap()).unwrap();
    assert_eq!((payee.key_index(), payee.epoch(), payee.version(), payee.updates_left()), (7, 0, 1, None));
    assert_eq!((payee.is_deep(), payee.is_released(), payee.spent()), (false, false, None));
}

#[test]
fn each_session_has_its_own_epoch() {
    let mut world = World::funded();
    let version = world.payee.version();
    for epoch in 1..=3 {
        let signature = crate::params::sign_attach(&testing::payer_key(), &world.payee.id(), &[1; 32]);
        world.payee(|payee| payee.attach(&[1; 32], &signature, Token([0; 32]))).unwrap();
        assert_eq!((world.payee.epoch(), world.payee.version()), (epoch, version + epoch));
    }
    // What stores nothing changes no version.
    world.payee(|payee| Ok(payee.spent_seen(None, 0))).unwrap();
    assert_eq!(world.payee.version(), version + 3);
}

#[test]
fn nothing_has_arrived_yet() {
    let mut world = World::opened();
    let told = |step: Step| (step.events().len(), effects(step));
    let none = Effect::Send(Message::FundingSeen { funding: None, confirmations: 0, tip: TIP });
    assert_eq!(told(world.payee.funding_seen(&[], TIP).unwrap()), (0, vec![none.clone()]));
    assert_eq!(code(world.payee.funding_seen(&[seen(0, 9_999, 1)], TIP)), Code::DepositTooSmall);
    assert_eq!(code(world.payee.stop()), Code::NotFunded);
    // The least deposit is enough.
    world.payee(|payee| payee.funding_seen(&[seen(0, 10_000, 1)], TIP)).unwrap();
    assert!(world.payee.is_deep());
    // The same again is no news; nor is it an error that only a small one is left in its place.
    let step = world.payee.funding_seen(&[seen(0, 10_000, 2)], TIP).unwrap();
    assert!(step.events().is_empty());
    let step = world.payee.funding_seen(&[seen(1, 9_999, 2)], TIP).unwrap();
    let gone = Event::Funded { funding: seen(0, 10_000, 0).funding, deep: false };
    assert_eq!(step.events(), [gone]);
    assert_eq!(effects(step), [none]);
}

#[test]
fn the_last_satoshi_of_a_deposit_is_asked_for() {
    let mut world = World::opened();
    let deposit = seen(0, 10_000, 1);
    world.payee(|payee| payee.funding_seen(&[deposit], TIP)).unwrap();
    let paid = testing::sign_for(&deposit.funding, Amount::from_sat(8_000));
    world.payee(|payee| payee.pay(paid, TIP)).unwrap();
    for _ in 0..4 {
        world.payee(|payee| payee.release(2_000, TIP)).unwrap();
    }
    let need = Message::Need { upto: 10_000, delivered: 8_000 };
    assert_eq!(world.payee.cover(2_000, TIP).unwrap(), Cover::Need(need));
    let paid = testing::sign_for(&deposit.funding, Amount::from_sat(10_000));
    world.payee(|payee| payee.pay(paid, TIP)).unwrap();
    world.payee(|payee| payee.release(2_000, TIP)).unwrap();
    assert_eq!(code(world.payee.cover(1, TIP)), Code::DepositSpent);
}

#[test]
fn a_commitment_off_the_ladder_does_not_verify() {
    let world = World::timelock_funded();
    let (params, own) = (world.payee.params(), *world.payee.funding().unwrap());
    let verify = |lock| {
        let paid = commitment::pay(params, &own, lock, Amount::ONE_SAT, &testing::payer_key()).unwrap();
        paid.verify(params, &own)
    };
    for lock in [0, params.expiry - 3, params.expiry - 60] {
        verify(lock).unwrap();
    }
    for lock in [1, params.expiry, params.expiry - 4, params.expiry - 63] {
        assert_eq!(code(verify(lock)), Code::WrongLock, "{lock}");
    }
}

#[test]
fn payments_left_are_counted_down() {
    let mut world = World::timelock_funded();
    assert_eq!(world.payee.updates_left(), Some(20));
    world.pay_for(1_000).unwrap();
    assert_eq!(world.payee.updates_left(), Some(19));
    // In a channel of the other kind there is no copy to sign.
    let mut cltv = World::funded();
    cltv.pay_for(1_000).unwrap();
    assert_eq!(cltv.payee.countersign(&testing::payee_key()).unwrap(), None);
    assert_eq!(code(world.payee.countersign(&testing::node())), Code::WrongKey);
}

#[test]
fn a_spent_funding_is_not_closed_again_and_a_claim_on_it_stays() {
    let mut world = World::funded();
    let txid = testing::funding(3, CAPACITY).outpoint.txid;
    world.pay_for(1_000).unwrap();
    assert!(world.payee.spent_seen(None, 0).events().is_empty());
    world.payee(|payee| Ok(payee.spent_seen(Some(txid), 0))).unwrap();
    assert_eq!(world.payee.spent(), Some(txid));
    assert!(world.payee.expire(world.payee.params().expiry).is_none());
    let again = world.payee.spent_seen(Some(txid), 3);
    assert!(again.events().is_empty());
    assert_eq!(effects(again), [Effect::Send(Message::Settled { txid, confirmations: 3 })]);
    // A reorganisation undoes it; then it is due.
    world.payee(|payee| Ok(payee.spent_seen(None, 0))).unwrap();
    let expiry = world.payee.params().expiry;
    world.payee(|payee| Ok(payee.expire(expiry).expect("due"))).unwrap();
    let claim = world.payee.collectable();
    assert!(claim.is_some());
    // What spends it may yet leave the chain, or the mempool: the claim stays.
    world.payee(|payee| Ok(payee.spent_seen(Some(txid), 1))).unwrap();
    assert_eq!(world.payee.collectable(), claim);
    // Without a funding there is nothing to be spent.
    assert!(World::opened().payee.spent_seen(Some(txid), 1).events().is_empty());
}

#[test]
fn a_deposit_is_let_go_where_nothing_is_owed_for_it() {
    let key = testing::payee_key();
    let own = testing::funding(0, CAPACITY);
    // The least deposit may become the funding.
    let opened = World::opened();
    assert_eq!(code(opened.payee.reclaim(seen(1, 10_000, 0).funding, &key)), Code::NotReclaimable);
    assert!(opened.payee.reclaim(seen(1, 9_999, 0).funding, &key).is_ok());
    // An end at more than nothing is kept, an end at nothing is not.
    for (sat, kept) in [(PRICE_SAT, true), (0, false)] {
        let mut world = World::funded();
        let paid = world.sign(sat);
        world.payee(|payee| payee.close(paid, &testing::node())).unwrap();
        let step = world.payee.reclaim(own, &key);
        assert_eq!(
            step.map(|step| step.events().to_vec()).map_err(|error| error.code()),
            match kept {
                true => Err(Code::NotReclaimable),
                false => Ok(vec![Event::Stopped, Event::Released]),
            }
        );
    }
    // What is stopped already is not stopped again.
    let mut world = World::funded();
    world.payee(|payee| payee.stop()).unwrap();
    let step = world.payee.reclaim(own, &key).unwrap();
    assert_eq!(step.events(), [Event::Released]);
}

#[test]
fn every_event_has_one_encoding() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let mut events = world.payee_events();
    let txid = testing::funding(3, CAPACITY).outpoint.txid;
    events.extend([
        Event::Funded { funding: testing::funding(1, CAPACITY), deep: false },
        Event::Attached { epoch: 3 },
        Event::Stopped,
        Event::Closing(world.sign(PRICE_SAT)),
        Event::Spent(Some(txid)),
        Event::Spent(None),
        Event::Released,
    ]);
    let slots: std::collections::BTreeSet<_> = events.iter().map(StoredEvent::slot).collect();
    assert!(slots.into_iter().eq(0..=8), "one of each at least");
    for event in events {
        let bytes = event.encode();
        assert_eq!(Event::decode(&bytes).unwrap(), event);
        assert_eq!(code(Event::decode(&bytes[..bytes.len() - 1])), Code::CorruptedStore);
        assert_eq!(code(Event::decode(&[&bytes[..], &[0]].concat())), Code::CorruptedStore);
    }
    assert_eq!(code(Event::decode(&[9])), Code::CorruptedStore);
}

#[test]
fn a_stored_event_that_cannot_be_is_not_believed() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let (good, own) = (world.payee_events(), *world.payee.funding().unwrap());
    let replay = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = good.clone();
        change(&mut events);
        events.sort_by_key(StoredEvent::slot);
        Payee::replay(events)
    };
    replay(&|_| ()).unwrap();
    // The last payment of a channel is none that goes on.
    let last =
        commitment::pay(world.payee.params(), &own, 0, Amount::from_sat(PRICE_SAT), &testing::payer_key()).unwrap();
    replay(&|events| events.push(Event::Closing(last))).unwrap();
    type Change<'a> = &'a dyn Fn(&mut Vec<Event>);
    let cases: [Change<'_>; 5] = [
        &|events| {
            events.retain(|event| !matches!(event, Event::Accepted(_)));
            events.push(Event::Accepted(last));
        },
        &|events| events.push(Event::Closing(Paid { cumulative: CAPACITY, ..last })),
        &|events| {
            events.retain(|event| matches!(event, Event::Opened { .. }));
            events.push(Event::Funded { funding: testing::funding(1, Amount::from_sat(9_999)), deep: true });
        },
        &|events| {
            events.retain(|event| matches!(event, Event::Opened { .. }));
            events.push(Event::Spent(None));
        },
        // Given back without an end, and for what was delivered.
        &|events| {
            events.retain(|event| matches!(event, Event::Opened { .. } | Event::Funded { .. }));
            events.push(Event::Released);
        },
    ];
    for (n, change) in cases.into_iter().enumerate() {
        assert_eq!(code(replay(change)), Code::CorruptedStore, "{n}");
    }
}
