//! The payer signs what it received, within the window and the viewer's limits, and nothing else.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::budget::Limits;
use crate::error::Detail;
use crate::params::FundingKind;
use crate::payee;
use crate::persist::StoredEvent;
use crate::testing::{self, CAPACITY, NOW, PRICE_SAT, TIP, World};
use crate::wire::Token;
use bitcoin::{FeeRate, Network};

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("this is to be refused"),
        Err(error) => error.code(),
    }
}

#[test]
fn the_answer_to_open_is_checked_field_by_field() {
    let node = testing::node();
    let answer = |change: &dyn Fn(&mut ChannelParams)| {
        let mut params = testing::params();
        change(&mut params);
        let signature = params.sign(&node);
        testing::request().opened(Box::new(params), signature, TIP)
    };
    assert!(answer(&|_| ()).is_ok());
    assert_eq!(code(answer(&|p| p.network = Network::Bitcoin)), Code::WrongNetwork);
    assert_eq!(code(answer(&|p| p.payer = node.public())), Code::WrongKey);
    assert_eq!(code(answer(&|p| p.payee = p.payer)), Code::WrongKey);
    type Change<'a> = &'a dyn Fn(&mut ChannelParams);
    let unacceptable: [Change<'_>; 11] = [
        &|p| p.tariff.price = Msat::new(1_000_001).unwrap(),
        &|p| p.tariff.window = 3,
        &|p| p.funding_kind = FundingKind::P2wsh,
        &|p| p.return_script = bitcoin::ScriptBuf::new_p2sh(&bitcoin::hashes::Hash::all_zeros()),
        &|p| p.purpose = "http://elsewhere".into(),
        &|p| p.expiry = TIP + 2_017,
        &|p| p.expiry = TIP + 2 * u32::from(p.stop_margin) - 1,
        &|p| p.confirmations = 2,
        &|p| p.min_deposit += Amount::ONE_SAT,
        &|p| p.max_deposit = CAPACITY,
        &|p| p.close_margin = p.stop_margin + 1,
    ];
    for change in unacceptable {
        assert_eq!(code(answer(change)), Code::UnacceptableTerms);
    }
    let params = Box::new(testing::params());
    let foreign = params.sign(&testing::payee_key());
    assert_eq!(code(testing::request().opened(params, foreign, TIP)), Code::InvalidSignature);
}

#[test]
fn only_an_own_look_at_the_chain_opens_the_channel() {
    let mut world = World::opened();
    let told = testing::funding(0, CAPACITY);
    let seen = |funding, confirmations| [SeenOutput { funding, confirmations }];
    let look = |world: &World, seen: &[SeenOutput]| world.payer.funding_seen(&told, seen).map(drop);
    assert_eq!(code(look(&world, &[])), Code::NotFunded);
    assert_eq!(code(look(&world, &seen(told, 0))), Code::NotFunded);
    assert_eq!(code(look(&world, &seen(testing::funding(0, Amount::from_sat(1)), 1))), Code::NotFunded);
    assert_eq!(code(world.payer.need(1, 0, NOW)), Code::NotFunded);
    assert_eq!(code(world.payer.stop()), Code::NothingToDo);
    world.payer(|payer| payer.funding_seen(&told, &seen(told, 1))).unwrap();
    assert_eq!(world.payer.phase(), Phase::Open);
}

#[test]
fn a_need_is_paid_up_to_the_window() {
    let mut world = World::funded();
    world.payer(|payer| payer.need(2_000, 0, NOW)).unwrap();
    assert_eq!(world.payer.paid().to_sat(), 2 * PRICE_SAT);
    world.receive(1);
    let step = world.payer.need(2_001, 1_000, NOW).unwrap();
    assert_eq!(step.events().len(), 1, "nothing is forgiven: {:?}", step.events());
    // A need that is paid already is answered with the same payment and stores nothing.
    assert!(world.payer.need(1_000, 0, NOW).unwrap().events().is_empty());
    assert_eq!(code(world.payer.receive(u64::MAX)), Code::InvalidArgument);
    assert_eq!(code(world.payer.need(u64::MAX, 0, NOW)), Code::DepositSpent);
}

/// However a dishonest payee asks, and however often the page is loaded anew.
#[test]
fn what_never_arrived_is_paid_up_to_a_bound_and_no_further() {
    let (window, allowance) = (2_000, 2_000 * FORGIVEN_WINDOWS);
    let most = window + allowance;
    let mut world = World::funded();
    assert_eq!(code(world.payer.need(most + 1, 0, NOW)), Code::AheadOfDelivery);
    assert_eq!(code(world.payer.need(1, most + 1, NOW)), Code::AheadOfDelivery);
    for upto in (1..1_000).map(|round| round * 1_500) {
        let lie = ChannelState { delivered: upto, ..world.payee.state() };
        world.payer = Payer::replay(world.payer_events(), testing::payer_key(), Budget::default()).unwrap();
        world.payer(|payer| payer.attached(&lie)).unwrap();
        let _ = world.payer(|payer| payer.need(upto, upto.saturating_sub(1_500), NOW));
    }
    assert!(world.payer.paid().to_sat() <= most, "{}", world.payer.paid());
    // What does arrive is paid for all the same.
    world.receive(1_000);
    let upto = world.payer.received() + window;
    assert!(world.payer.need(upto, 0, NOW).is_ok());
}

/// A store rolled back to before the deposit, and a payee that makes payments up.
#[test]
fn claims_before_the_deposit_count_nothing() {
    let mut world = World::opened();
    let forged = ChannelState {
        paid: Some(testing::sign_with(&testing::payee_key(), CAPACITY.to_sat())),
        delivered: 3_598_000,
        ..world.payee.state()
    };
    world.payer(|payer| payer.attached(&forged)).unwrap();
    assert_eq!((world.payer.received(), world.payer.paid()), (0, Amount::ZERO));
}

#[test]
fn a_pause_pays_nothing() {
    let mut world = World::funded();
    world.payer.pause(true);
    assert_eq!(code(world.payer.need(1_000, 0, NOW)), Code::Paused);
    world.payer.pause(false);
    assert!(world.payer.need(1_000, 0, NOW).is_ok());
}

#[test]
fn the_viewers_limits_come_before_the_signature() {
    let world = World::funded();
    let limits = Limits { session: Msat::new(1_500_000), ..Limits::default() };
    let budget = Budget::new(limits, Spent::default());
    let mut payer = Payer::replay(world.payer_events(), testing::payer_key(), budget).unwrap();
    let saved = payer.need(1_000, 0, NOW).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    payer.commit(saved).unwrap();
    assert_eq!(code(payer.need(2_000, 0, NOW)), Code::OverBudget);
    assert_eq!(payer.spent().site, Msat::new(1_000_000).unwrap());
}

#[test]
fn the_deposit_is_the_end() {
    let mut world = World::funded();
    for _ in 0..3_599 {
        // An hour, second by second, without the payee's half: this test is about the payer's.
        world.receive(1_000);
    }
    world.payer(|payer| payer.need(3_600_000, 3_599_000, NOW)).unwrap();
    assert_eq!(world.payer.paid(), CAPACITY);
    assert_eq!(code(world.payer.need(3_600_001, 3_600_000, NOW)), Code::DepositSpent);
}

#[test]
fn the_books_ten_minutes() {
    let mut world = World::funded();
    for _ in 0..600 {
        world.pay_for(1_000).unwrap();
    }
    end(&mut world);
    assert_eq!(world.payer.closing().unwrap().cumulative, Amount::from_sat(600_000));
    assert_eq!(world.payer.returned(), Amount::from_sat(3_000_000));
    assert_eq!(world.payer.phase(), Phase::Closed);
    assert_eq!(world.payee.closing(), world.payer.closing());
}

/// Stop, stopped, close, closed.
fn end(world: &mut World) {
    world.payer(|payer| payer.stop()).unwrap();
    let effects = world.payee(|payee| payee.stop()).unwrap();
    let [payee::Effect::Send(Message::Stopped { delivered })] = effects[..] else { panic!("{effects:?}") };
    let effects = world.payer(|payer| payer.stopped(delivered)).unwrap();
    let [Effect::Send(Message::Close(paid))] = effects[..] else { panic!("{effects:?}") };
    let effects = world.payee(|payee| payee.close(paid, &testing::node())).unwrap();
    let Some(payee::Effect::Send(Message::Closed { cumulative, signature })) = effects.first() else {
        panic!("{effects:?}")
    };
    world.payer(|payer| payer.closed(*cumulative, *signature)).unwrap();
}

#[test]
fn stop_settles_at_what_was_delivered_not_at_what_was_prepaid() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    // Paid ahead, never delivered.
    let effects = world.payer(|payer| payer.need(3_000, 1_000, NOW)).unwrap();
    let [Effect::Send(Message::Pay(paid))] = effects[..] else { panic!("{effects:?}") };
    world.payee(|payee| payee.pay(paid, TIP)).unwrap();
    assert_eq!(world.payee.accepted().to_sat(), 3 * PRICE_SAT);
    end(&mut world);
    assert_eq!(world.payer.closing().unwrap().cumulative.to_sat(), PRICE_SAT);
}

#[test]
fn a_final_count_beyond_what_was_paid_is_refused() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    assert_eq!(code(world.payer.stopped(1_000)), Code::UnexpectedMessage);
    world.payer(|payer| payer.stop()).unwrap();
    assert_eq!(code(world.payer.need(2_000, 1_000, NOW)), Code::Closing);
    assert_eq!(code(world.payer.stopped(1_001)), Code::AheadOfDelivery);
    assert_eq!(code(world.payer.stopped(u64::MAX)), Code::AheadOfDelivery);
    world.payer(|payer| payer.stopped(1_000)).unwrap();
    // The statement must be about this amount, and by the node.
    let amount = Amount::from_sat(PRICE_SAT);
    let statement =
        Statement { channel: world.payer.id(), funding: *world.payer.funding().unwrap(), cumulative: amount };
    assert_eq!(
        code(world.payer.closed(amount + Amount::ONE_SAT, statement.sign(&testing::node()))),
        Code::UnexpectedMessage
    );
    assert_eq!(code(world.payer.closed(amount, statement.sign(&testing::payee_key()))), Code::InvalidSignature);
    assert_eq!(code(world.payer.stop()), Code::NothingToDo);
}

#[test]
fn a_reload_goes_on_where_it_was() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.pay_for(500).unwrap();
    let mut payer = Payer::replay(world.payer_events(), testing::payer_key(), Budget::default()).unwrap();
    assert_eq!((payer.paid(), payer.received()), (world.payer.paid(), 1_500));
    let saved = payer.attached(&world.payee.state()).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    assert_eq!(payer.commit(saved).unwrap(), []);
    assert!(payer.need(2_500, 1_500, NOW).is_ok());
}

#[test]
fn a_payees_claim_counts_only_with_our_own_signature() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let claim = |paid| ChannelState { paid: Some(paid), ..world.payee.state() };
    let forged = claim(testing::sign_with(&testing::payee_key(), 50_000));
    assert_eq!(code(world.payer.attached(&forged)), Code::InvalidSignature);
    assert_eq!(world.payer.paid().to_sat(), PRICE_SAT);
    // A true one that this copy of the store has lost.
    let lost = claim(world.sign(50_000));
    let saved = world.payer.attached(&lost).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    world.payer.commit(saved).unwrap();
    assert_eq!(world.payer.paid().to_sat(), 50_000);
    assert_eq!(world.payer.spent().site, Msat::new(50_000_000).unwrap(), "and it is in the books");
}

#[test]
fn an_end_that_this_side_has_lost_is_adopted() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let close = world.payee.params().close_height();
    world.payee(|payee| Ok(payee.expire(close).expect("due"))).unwrap();
    let state = world.payee.state();
    let effects = world.payer(|payer| payer.attached(&state)).unwrap();
    assert_eq!(world.payer.phase(), Phase::Closing);
    let [Effect::Send(Message::Close(paid))] = effects[..] else { panic!("{effects:?}") };
    assert!(world.payee.close(paid, &testing::node()).unwrap().events().is_empty());
    // With another amount, or by another key, it is not.
    let mut fresh = World::funded();
    let forged =
        ChannelState { closing: Some(testing::sign_with(&testing::payee_key(), 9_000)), ..fresh.payee.state() };
    assert_eq!(code(fresh.payer(|payer| payer.attached(&forged))), Code::InvalidSignature);
}

#[test]
fn after_the_final_signature_the_deposit_cannot_be_exchanged() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.payer(|payer| payer.stop()).unwrap();
    world.payer(|payer| payer.stopped(1_000)).unwrap();
    let other = SeenOutput { funding: testing::funding(1, CAPACITY), confirmations: 1 };
    assert_eq!(code(world.payer.funding_seen(&other.funding, &[other])), Code::UnexpectedMessage);
    assert!(Payer::replay(world.payer_events(), testing::payer_key(), Budget::default()).is_ok());
}

#[test]
fn an_interrupted_end_is_taken_up_again() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.payer(|payer| payer.stop()).unwrap();
    let state = world.payee.state();
    let effects = |world: &mut World| {
        let saved = world.payer.attached(&state).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
        world.payer.commit(saved).unwrap()
    };
    assert_eq!(effects(&mut world), [Effect::Send(Message::Stop)]);
    world.payer(|payer| payer.stopped(1_000)).unwrap();
    let closing = *world.payer.closing().unwrap();
    assert_eq!(effects(&mut world), [Effect::Send(Message::Close(closing))]);
}

#[test]
fn a_refund_waits_for_its_height_and_sweeps_everything() {
    let mut world = World::funded();
    let outputs = [0, 1].map(|number| testing::seen(testing::funding(number, CAPACITY)));
    let rate = FeeRate::from_sat_per_vb_u32(5);
    let expiry = world.payer.params().expiry;
    let error = world.payer.refund(&outputs, rate, expiry - 1).unwrap_err();
    assert_eq!((error.code(), error.detail()), (Code::NotExpired, Some(&Detail::Height(expiry))));
    assert_eq!(code(world.payer.refund(&[], rate, expiry)), Code::NothingToDo);
    let dust = [testing::seen(testing::funding(0, Amount::from_sat(400)))];
    assert_eq!(code(world.payer.refund(&dust, rate, expiry)), Code::Uneconomic);
    let effects = world.payer(|payer| payer.refund(&outputs, rate, expiry)).unwrap();
    let [Effect::Broadcast(refund)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(refund.input.len(), 2);
    assert_eq!(world.payer.phase(), Phase::Refunded);
    // What was paid beside the funding comes back without touching how the channel ended.
    let mut settled = World::funded();
    let spend = Spend { txid: outputs[1].funding.outpoint.txid, returned: CAPACITY, refund: false, confirmed: true };
    settled.payer(|payer| Ok(payer.spent_seen(Some(spend)))).unwrap();
    settled.payer(|payer| payer.refund(&outputs[1..], rate, expiry)).unwrap();
    assert_eq!(settled.payer.spend(), Some(&spend));
}

#[test]
fn replay_treats_the_log_as_hostile() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    end(&mut world);
    let good = world.payer_events();
    let replay = |events: Vec<Event>| Payer::replay(events, testing::payer_key(), Budget::default());
    assert_eq!(replay(good.clone()).unwrap().phase(), Phase::Closed);
    assert_eq!(code(Payer::replay(good.clone(), testing::node(), Budget::default())), Code::InvalidWords);
    // Cut or changed anywhere, it either replays to an earlier truth or is refused; it is never believed.
    assert_eq!(code(replay(vec![])), Code::CorruptedStore);
    assert_eq!(code(replay(good[1..].to_vec())), Code::CorruptedStore);
    assert_eq!(code(replay(good.iter().rev().cloned().collect())), Code::CorruptedStore);
    for event in &good {
        let bytes = event.encode();
        assert_eq!(&Event::decode(&bytes).unwrap(), event);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let Ok(changed) = Event::decode(&bad) else { continue };
            let events =
                good.iter().map(|old| if old.slot() == changed.slot() { changed.clone() } else { old.clone() });
            let Ok(payer) = replay(events.collect()) else { continue };
            // Only facts that no signature covers can change, and none of them can cost money.
            let unsigned = matches!(changed, Event::Opened { .. } | Event::Received { .. } | Event::Paid { .. });
            assert!(unsigned, "{changed:?}");
            assert_eq!(payer.closing(), world.payer.closing());
            assert_eq!(payer.paid(), world.payer.paid());
        }
    }
}

#[test]
fn the_session_is_proved_by_the_channels_key() {
    let world = World::funded();
    let Message::Attach { channel, signature } = world.payer.attach(&[4; 32]) else { panic!("not an attach") };
    assert_eq!(channel, world.payee.id());
    assert!(world.payee.attach(&[4; 32], &signature, Token([1; 32])).is_ok());
}

#[test]
fn with_nothing_watched_the_deposit_comes_back_at_once() {
    let mut world = World::funded();
    let own = *world.payer.funding().unwrap();
    world.payer(|payer| payer.stop()).unwrap();
    let effects = world.payer(|payer| payer.stopped(0)).unwrap();
    assert_eq!(effects, [Effect::Send(Message::Reclaim(own))]);
    world.payee(|payee| payee.stop()).unwrap();
    let effects = world.payee(|payee| payee.reclaim(own, &testing::payee_key())).unwrap();
    let [payee::Effect::Send(Message::Granted(grant))] = effects[..] else { panic!("{effects:?}") };
    let rate = FeeRate::from_sat_per_vb_u32(3);
    let forged = Grant { funding: testing::funding(1, CAPACITY), ..grant };
    assert_eq!(code(world.payer.reclaimed(&forged, rate)), Code::InvalidSignature);
    assert_eq!(code(world.payer.reclaimed(&Grant { lock: 9, ..grant }, rate)), Code::UnexpectedMessage);
    assert_eq!(code(world.payer.granted(&grant)), Code::UnexpectedMessage, "that is for refunds and commitments");
    let effects = world.payer(|payer| payer.reclaimed(&grant, rate)).unwrap();
    let [Effect::Broadcast(transaction)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(transaction.lock_time.to_consensus_u32(), 0);
    assert_eq!(transaction.output.len(), 1);
    assert_eq!(transaction.output[0].script_pubkey, testing::return_script());
    assert_eq!(world.payer.phase(), Phase::Refunded);
}

#[test]
fn words_alone_bring_the_channel_back() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    world.pay_for(500).unwrap();
    let request = testing::request();
    let recovery = Recovery {
        network: request.network,
        key: testing::payer_key(),
        key_index: 0,
        return_script: request.return_script,
        node: request.node,
        purpose: request.purpose,
    };
    let Message::Recover { payer: asked, signature } = recovery.message(&[4; 32]) else { panic!("no request") };
    crate::params::verify_recover(&asked, &[4; 32], &signature).unwrap();
    assert_eq!(code(crate::params::verify_recover(&asked, &[5; 32], &signature)), Code::InvalidSignature);
    let params = Box::new(world.payee.params().clone());
    let node = testing::node();
    let answer = |change: &dyn Fn(&mut ChannelParams), signer: &Key| {
        let mut params = params.clone();
        change(&mut params);
        let signature = params.sign(signer);
        recovery.recovered(params, signature)
    };
    assert_eq!(code(answer(&|params| params.network = Network::Bitcoin, &node)), Code::WrongNetwork);
    assert_eq!(code(answer(&|params| params.payer = node.public(), &node)), Code::WrongKey);
    assert_eq!(code(answer(&|params| params.purpose = "elsewhere".into(), &node)), Code::UnacceptableTerms);
    assert_eq!(code(answer(&|params| params.return_script = testing::payee_script(), &node)), Code::UnacceptableTerms);
    assert_eq!(code(answer(&|_| (), &testing::payee_key())), Code::InvalidSignature);
    let step = answer(&|_| (), &node).unwrap();
    let saved = step.save(|_| Ok::<_, ()>(())).unwrap();
    let mut payer = Payer::create(saved, testing::payer_key(), Budget::default()).unwrap();
    let own = *world.payer.funding().unwrap();
    let mut follow = |decide: &dyn Fn(&Payer) -> Result<Step, Error>| {
        let saved = decide(&payer).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
        payer.commit(saved).unwrap();
    };
    follow(&|payer| payer.funding_seen(&own, &[SeenOutput { funding: own, confirmations: 2 }]));
    follow(&|payer| payer.attached(&world.payee.state()));
    assert_eq!((payer.paid(), payer.received()), (world.payer.paid(), world.payer.received()));
    assert_eq!(payer.returned(), world.payer.returned());
}
