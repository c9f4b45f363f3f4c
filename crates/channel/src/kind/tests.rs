//! `timelock` channels: nothing is at stake before the refund is signed, each payment matures before its predecessor, and
//! either side can end alone.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction};

use super::*;
use crate::commitment::{self, Funding, Paid, SeenOutput};
use crate::error::Detail;
use crate::grant::Grant;
use crate::margin::Surge;
use crate::payer::{self, Payer};
use crate::settlement::{Claim, Spender, settle};
use crate::testing::{self, CAPACITY, LADDER, NOW, PRICE_SAT, TIP, World};
use crate::wire::Message;
use crate::{budget::Budget, payee};

const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("this is to be refused"),
        Err(error) => error.code(),
    }
}

fn funding(world: &World) -> Funding {
    *world.payer.funding().unwrap()
}

fn broadcast(effects: Vec<payer::Effect>) -> Transaction {
    match <[_; 1]>::try_from(effects) {
        Ok([payer::Effect::Broadcast(transaction)]) => transaction,
        other => panic!("no broadcast: {other:?}"),
    }
}

#[test]
fn each_rung_is_one_step_below_its_predecessor_and_none_is_beyond() {
    let ladder = Ladder { step: 3, updates: 600 };
    let locks: Vec<_> = (1..=600).map(|number| ladder.lock(2_000, number).unwrap()).collect();
    assert_eq!((locks[0], locks[599]), (1_997, 200));
    assert!(locks.windows(2).all(|pair| pair[0] == pair[1] + 3));
    for (number, lock) in (1..).zip(&locks) {
        assert_eq!(ladder.number(2_000, *lock), Some(number));
    }
    assert_eq!((ladder.lock(2_000, 0), ladder.lock(2_000, 601), ladder.lock(100, 600)), (None, None, None));
    for lock in [0, 197, 1_996, 1_998, 2_000, 2_003] {
        assert_eq!(ladder.number(2_000, lock), None, "{lock}");
    }
    assert_eq!(Ladder { step: 0, updates: 1 }.number(2_000, 2_000), None);
    assert_eq!(Ladder { step: u16::MAX, updates: u32::MAX }.height(), None);
}

#[test]
fn ladders_that_do_not_fit_into_the_channel_are_refused() {
    let kind =
        |step, updates| Kind::Timelock { ladder: Ladder { step, updates }, payee_script: testing::payee_script() };
    kind(3, 300).validate(1_000, 36).unwrap();
    for (step, updates) in [(0, 5), (5, 0), (3, 333), (3, 322), (u16::MAX, u32::MAX)] {
        assert_eq!(code(kind(step, updates).validate(1_000, 36)), Code::UnacceptableTerms, "{step} {updates}");
    }
    // The last rung has to be above the margin.
    kind(1, 963).validate(1_000, 36).unwrap();
    assert_eq!(code(kind(1, 964).validate(1_000, 36)), Code::UnacceptableTerms);
    let nowhere = Kind::Timelock { ladder: LADDER, payee_script: ScriptBuf::new() };
    assert_eq!(code(nowhere.validate(1_000, 36)), Code::InvalidReturnScript);
}

#[test]
fn each_kind_has_its_word_and_its_byte() {
    for (byte, kind, word) in [(0, KindName::Cltv, "cltv"), (1, KindName::Timelock, "timelock")] {
        assert_eq!((kind.as_str(), kind.to_byte()), (word, byte));
        assert_eq!(KindName::from_byte(byte).unwrap(), kind);
    }
    assert_eq!(code(KindName::from_byte(2)), Code::MalformedMessage);
}

#[test]
fn the_funding_is_broadcast_only_when_its_refund_is_signed() {
    let mut world = World::timelock();
    let transaction = testing::funding_transaction(world.payer.params());
    let effects = world.payer(|payer| payer.fund(transaction.clone())).unwrap();
    let [payer::Effect::Send(Message::Fund(asked))] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(asked, Funding { outpoint: OutPoint::new(transaction.compute_txid(), 1), capacity: CAPACITY });
    // Even a payer that sees it on the chain takes no funding that could be lost.
    let seen = SeenOutput { funding: asked, confirmations: 1 };
    assert_eq!(code(world.payer.funding_seen(&asked, &[seen])), Code::NotFunded);

    let effects = world.payee(|payee| payee.fund(asked, &testing::payee_key())).unwrap();
    let [payee::Effect::Send(Message::Granted(grant))] = effects[..] else { panic!("{effects:?}") };
    let forged = Grant { signature: testing::sign_with(&testing::node(), 1).signature, ..grant };
    assert_eq!(code(world.payer.granted(&forged)), Code::InvalidSignature);
    let later = Grant { lock: grant.lock + 1, ..grant };
    assert_eq!(code(world.payer.granted(&later)), Code::UnexpectedMessage);
    let other = Grant { funding: testing::funding(1, CAPACITY), ..grant };
    assert_eq!(code(world.payer.granted(&other)), Code::UnexpectedMessage);
    let effects = world.payer(|payer| payer.granted(&grant)).unwrap();
    assert_eq!(broadcast(effects), transaction);
    // A page that was closed in between broadcasts again.
    let state = world.payee.state();
    let effects = world.payer(|payer| payer.attached(&state)).unwrap();
    assert_eq!(broadcast(effects), transaction);
}

#[test]
fn a_funding_whose_txid_others_could_change_is_refused() {
    let world = World::timelock();
    let good = testing::funding_transaction(world.payer.params());
    let change = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = good.clone();
        change(&mut transaction);
        world.payer.fund(transaction)
    };
    assert_eq!(code(change(&|tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![1, 7]))), Code::InvalidArgument);
    assert_eq!(code(change(&|tx| tx.input[0].witness.clear())), Code::InvalidArgument);
    assert_eq!(code(change(&|tx| tx.input.clear())), Code::InvalidArgument);
    assert_eq!(code(change(&|tx| drop(tx.output.pop()))), Code::InvalidArgument);
    assert_eq!(code(change(&|tx| tx.output.push(tx.output[1].clone()))), Code::InvalidArgument);
    assert_eq!(code(change(&|tx| tx.output[1].value = Amount::from_sat(9_999))), Code::DepositTooSmall);
    assert_eq!(code(change(&|tx| tx.output[1].value = CAPACITY * 11)), Code::DepositTooLarge);
    assert_eq!(code(World::opened().payer.fund(good.clone())), Code::InvalidArgument, "of a channel of the other kind");
    let cltv = World::opened();
    assert_eq!(code(cltv.payee.fund(testing::funding(0, CAPACITY), &testing::payee_key())), Code::UnexpectedMessage);
}

#[test]
fn each_payment_is_locked_below_the_one_before_and_held_by_both() {
    let mut world = World::timelock_funded();
    let expiry = world.payer.params().expiry;
    for number in 1..=LADDER.updates {
        assert_eq!(world.payer.updates_left(), Some(LADDER.updates - number + 1));
        world.pay_for(1_000).unwrap();
        let due = expiry - number * 3;
        assert_eq!(world.payee.due_height(Surge::NONE), due);
        // The payee settles at once when its commitment is valid, and not before.
        assert!(world.payee.expire(due - 1).is_none() && world.payee.expire(due).is_some());
        // So can the payer, at the same height, with the same amount for the payee.
        assert_eq!(world.payer.refund(&[], RATE, due - 1).unwrap_err().detail(), Some(&Detail::Height(due)));
        let step = world.payer.refund(&[testing::seen(funding(&world))], RATE, due).unwrap();
        let own = broadcast(step.save(|_| Ok::<_, ()>(())).unwrap().into_parts().1);
        assert_eq!(own.lock_time.to_consensus_u32(), due);
        assert_eq!(own.output[0].value, Amount::from_sat(PRICE_SAT) * number.into());
        assert_eq!(own.output[0].script_pubkey, testing::payee_script());
        assert_eq!(own.output[1].script_pubkey, testing::return_script());
    }
    assert_eq!((world.payer.updates_left(), world.payee.updates_left()), (Some(0), Some(0)));
    assert_eq!(code(world.payee.cover(1_000, TIP)), Code::UpdatesSpent);
    let (upto, delivered) = (world.payee.delivered() + 1_000, world.payee.delivered());
    assert_eq!(code(world.payer.need(upto, delivered, NOW)), Code::UpdatesSpent);
    // Both logs replay.
    let again = Payer::replay(world.payer_events(), testing::payer_key(), Budget::default()).unwrap();
    assert_eq!(again.updates_left(), Some(0));
    assert_eq!(payee::Payee::replay(world.payee_events()).unwrap().due_height(Surge::NONE), expiry - 60);
}

#[test]
fn the_payers_copy_of_the_newest_payment_is_fair_and_each_older_one_a_rival() {
    let mut world = World::timelock_funded();
    let own = |world: &World| {
        let due = world.payee.due_height(Surge::NONE);
        let step = world.payer.refund(&[testing::seen(funding(world))], RATE, due).unwrap();
        broadcast(step.save(|_| Ok::<_, ()>(())).unwrap().into_parts().1)
    };
    let refund = own(&world);
    world.pay_for(1_000).unwrap();
    let first = own(&world);
    world.pay_for(1_000).unwrap();
    let second = own(&world);

    world.payee(|payee| Ok(payee.expire(payee.due_height(Surge::NONE)).unwrap())).unwrap();
    let (params, key) = (world.payee.params(), testing::payee_key());
    let (funding, paid) = world.payee.collectable().unwrap();
    let claim = Claim { params, funding, paid, key: &key };
    assert_eq!(claim.spender(&refund), Some(Spender::Rival));
    assert_eq!(claim.spender(&first), Some(Spender::Rival));
    assert_eq!(claim.spender(&second), Some(Spender::Fair));
    let settlement = settle(&[claim], &testing::payee_script(), RATE).unwrap().transaction;
    let claim = Claim { params, funding, paid, key: &key };
    assert_eq!(claim.spender(&settlement), Some(Spender::Payee));
    // Changed by others it is nobody's.
    let mut moved = second;
    moved.output.swap(0, 1);
    assert_eq!(claim.spender(&moved), None);
}

#[test]
fn the_end_by_agreement_has_no_lock() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    world.payer(|payer| payer.stop()).unwrap();
    world.payee(|payee| payee.stop()).unwrap();
    let effects = world.payer(|payer| payer.stopped(1_000)).unwrap();
    let [payer::Effect::Send(Message::Close(paid))] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((paid.lock, paid.cumulative.to_sat()), (0, PRICE_SAT));
    world.payee(|payee| payee.close(paid, &testing::node())).unwrap();
    assert_eq!(world.payee.collectable(), Some((funding(&world), paid)));
}

#[test]
fn locks_that_are_not_the_next_are_refused() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let params = world.payer.params().clone();
    let (own, expiry) = (funding(&world), params.expiry);
    let pay = |lock, sat| commitment::pay(&params, &own, lock, Amount::from_sat(sat), &testing::payer_key()).unwrap();
    for lock in [0, expiry, expiry - 3, expiry - 4, expiry - 63, expiry + 3] {
        assert_eq!(code(world.payee.pay(pay(lock, 2_000), TIP)), Code::WrongLock, "{lock}");
    }
    let locked = pay(expiry - 6, 1_000);
    assert_eq!(code(world.payee.close(locked, &testing::node())), Code::WrongLock);
    // A payment that was lost leaves its rung empty.
    world.payee(|payee| payee.pay(pay(expiry - 9, 2_000), TIP)).unwrap();
    // Too near to its own lock nothing is accepted, served or asked for.
    let near = expiry - 9 - 36;
    assert_eq!(code(world.payee.pay(pay(expiry - 9, 2_000), near)), Code::Expiring);
    assert_eq!(code(world.payee.check_serving(expiry - 3 - 36)), Code::Expiring);
    assert_eq!(code(world.payee.cover(1_000, expiry - 6 - 36)), Code::Expiring);
    // A channel of the other kind knows no locks.
    let mut cltv = World::funded();
    cltv.pay_for(1_000).unwrap();
    let locked = Paid { lock: 1_000, ..cltv.sign(2_000) };
    assert_eq!(code(cltv.payee.pay(locked, TIP)), Code::WrongLock);
}

#[test]
fn a_payee_that_keeps_its_signature_back_gets_one_payment_and_no_more() {
    let mut world = World::timelock_funded();
    let need = |world: &mut World, upto| {
        world.receive(1_000);
        let effects = world.payer(|payer| payer.need(upto, 0, NOW)).unwrap();
        let [payer::Effect::Send(Message::Pay(paid))] = effects[..] else { panic!("{effects:?}") };
        paid
    };
    let first = need(&mut world, 1_000);
    let second = need(&mut world, 2_000);
    assert_eq!(need(&mut world, 3_000), second, "asked again, it gets what it has");
    let grant = |paid: Paid| {
        Grant::sign(world.payer.params(), funding(&world), paid.lock, paid.cumulative, &testing::payee_key())
    };
    let (late, newest) = (grant(first).unwrap(), grant(second).unwrap());
    world.payer(|payer| payer.granted(&late)).unwrap();
    assert_eq!(need(&mut world, 3_000), second, "for the one before the newest it comes too late");
    world.payer(|payer| payer.granted(&newest)).unwrap();
    assert!(need(&mut world, 3_000).cumulative > second.cumulative);
}

#[test]
fn a_payee_that_never_answers_again_keeps_nothing() {
    let world = World::timelock_funded();
    let (own, expiry) = (testing::seen(funding(&world)), world.payer.params().expiry);
    assert_eq!(code(world.payer.refund(&[own], RATE, expiry - 1)), Code::NotExpired);
    let refund =
        broadcast(world.payer.refund(&[own], RATE, expiry).unwrap().save(|_| Ok::<_, ()>(())).unwrap().into_parts().1);
    assert_eq!((refund.lock_time.to_consensus_u32(), refund.output.len()), (expiry, 1));
    // What else was paid to the address needs the payee's grant.
    let other = testing::seen(testing::funding(9, CAPACITY * 2));
    assert_eq!(world.payer.refund_kit(&[other, own]), world.payer.refund_kit(&[own]));
    assert_eq!(world.payer.refund_kit(&[own]).unwrap().len(), 8);
    assert_eq!(code(world.payer.refund(&[other], RATE, expiry)), Code::NothingToDo);
    assert_eq!(world.payer.refund_kit(&[other]).unwrap_err().code(), Code::NothingToDo);
}

#[test]
fn a_final_amount_told_as_a_payment_is_not_adopted() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let own = funding(&world);
    let last = commitment::pay(world.payer.params(), &own, 0, Amount::from_sat(2_000), &testing::payer_key()).unwrap();
    let mut state = world.payee.state();
    state.paid = Some(last);
    assert_eq!(code(world.payer.attached(&state)), Code::WrongLock);
}
