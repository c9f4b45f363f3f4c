//! What of the deposit comes back, when, and by whose signature.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::{ScriptBuf, TxOut};

use super::*;
use crate::budget::Budget;
use crate::commitment::{self, SeenOutput};
use crate::payer::Phase;
use crate::testing::{self, CAPACITY, NOW, PRICE_SAT, TIP, World};

const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Ok(_) => panic!("this is to be refused"),
        Err(error) => error.code(),
    }
}

fn grant(world: &World, funding: Funding, lock: u32, sat: u64) -> Grant {
    Grant::sign(world.payer.params(), funding, lock, Amount::from_sat(sat), &testing::payee_key()).unwrap()
}

fn own(world: &World) -> Funding {
    *world.payer.funding().unwrap()
}

fn effects(step: Step) -> Vec<Effect> {
    step.save(|_| Ok::<_, ()>(())).unwrap().into_parts().1
}

/// The channel with its funding transaction made, and the funding that it makes.
fn made() -> (World, Transaction, Funding) {
    let mut world = World::timelock();
    let transaction = testing::funding_transaction(world.payer.params());
    world.payer(|payer| payer.fund(transaction.clone())).unwrap();
    let funding = world.payer.check_transaction(&transaction).unwrap();
    (world, transaction, funding)
}

#[test]
fn a_granted_funding_can_be_asked_for_again_and_not_exchanged() {
    let (mut world, transaction, funding) = made();
    assert_eq!(world.payer.funding_transaction(), Some(&transaction));
    let expiry = world.payer.params().expiry;
    let refund = grant(&world, funding, expiry, 0);
    world.payer(|payer| payer.granted(&refund)).unwrap();
    assert_eq!(effects(world.payer.fund(transaction.clone()).unwrap()), [Effect::Send(Message::Fund(funding))]);
    let mut other = transaction;
    other.output[0].value += Amount::ONE_SAT;
    assert_eq!(code(world.payer.fund(other)), Code::UnexpectedMessage);
    // What the chain shows counts for the granted one alone.
    let stranger = testing::funding(9, CAPACITY);
    let seen = |funding| [SeenOutput { funding, confirmations: 1 }];
    assert_eq!(code(world.payer.funding_seen(&stranger, &seen(stranger))), Code::NotFunded);
    assert!(world.payer.funding_seen(&funding, &seen(funding)).is_ok());
}

#[test]
fn a_funding_transaction_fits_into_the_store() {
    let world = World::timelock();
    let sized = |size: usize| {
        let mut transaction = testing::funding_transaction(world.payer.params());
        let script = |bytes| ScriptBuf::from_bytes(vec![0; bytes]);
        transaction.output.push(TxOut { value: Amount::from_sat(5_000), script_pubkey: script(300) });
        let more = size - transaction.total_size();
        transaction.output[2].script_pubkey = script(300 + more);
        assert_eq!(transaction.total_size(), size);
        transaction
    };
    let longest = usize::from(MAX_TRANSACTION);
    assert!(world.payer.fund(sized(longest)).is_ok());
    assert_eq!(code(world.payer.fund(sized(longest + 1))), Code::InvalidArgument);
}

#[test]
fn a_session_takes_up_the_funding_where_it_was() {
    let (mut world, transaction, funding) = made();
    let resumed = |world: &World, state: &ChannelState| effects(world.payer.attached(state).unwrap());
    let state = world.payee.state();
    assert_eq!(resumed(&world, &state), [Effect::Send(Message::Fund(funding))]);
    // From the words alone the transaction is not known: the payee names the funding.
    let words = World::timelock();
    assert_eq!(resumed(&words, &state), []);
    let named = ChannelState { funding: Some(funding), ..state.clone() };
    assert_eq!(resumed(&words, &named), [Effect::Send(Message::Fund(funding))]);

    let expiry = world.payer.params().expiry;
    let refund = grant(&world, funding, expiry, 0);
    world.payer(|payer| payer.granted(&refund)).unwrap();
    assert_eq!(resumed(&world, &state), [Effect::Broadcast(transaction)]);
    world.payer(|payer| payer.funding_seen(&funding, &[SeenOutput { funding, confirmations: 1 }])).unwrap();
    assert_eq!(resumed(&world, &state), []);
    // Once it is there it is not broadcast again, not even when the grant is repeated.
    assert_eq!(effects(world.payer.granted(&refund).unwrap()), []);
}

#[test]
fn a_session_asks_for_the_copy_of_a_payment_that_is_not_countersigned() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let resumed = |world: &World, state: &ChannelState| effects(world.payer.attached(state).unwrap());
    let state = world.payee.state();
    assert_eq!(resumed(&world, &state), [], "it has its copy");
    world.payer(|payer| payer.need(2_000, 1_000, NOW)).unwrap();
    let newest = world.payer.paid.unwrap();
    assert_eq!(resumed(&world, &state), [Effect::Send(Message::Pay(newest))]);
    let stopped = ChannelState { stopped: true, ..state.clone() };
    assert_eq!(resumed(&world, &stopped), [Effect::Send(Message::Stop)], "nothing is taken any more");
    world.payer(|payer| payer.stop()).unwrap();
    assert_eq!(resumed(&world, &state), [Effect::Send(Message::Stop)]);
    // A channel of the other kind has no copies.
    let mut cltv = World::funded();
    cltv.pay_for(1_000).unwrap();
    assert_eq!(resumed(&cltv, &cltv.payee.state()), []);
}

#[test]
fn grants_that_were_not_asked_for_are_refused_whoever_signed_them() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let (funding, expiry) = (own(&world), world.payer.params().expiry);
    let granted = |lock, sat, funding| world.payer.granted(&grant(&world, funding, lock, sat));
    let stranger = testing::funding(9, CAPACITY);
    for (lock, sat, funding) in [
        (expiry - 4, PRICE_SAT, funding),
        (expiry - 3, PRICE_SAT, stranger),
        (0, 0, funding),
        (expiry, 0, stranger),
        // The refund leaves the payee nothing.
        (expiry, 1, funding),
    ] {
        assert_eq!(code(granted(lock, sat, funding)), Code::UnexpectedMessage, "{lock} {sat}");
    }
    // The lock of the newest payment with another amount is not its copy; nor is the amount with another lock.
    assert_eq!(granted(expiry - 3, PRICE_SAT, funding).unwrap().events().len(), 1);
    assert!(granted(expiry - 3, PRICE_SAT + 1, funding).unwrap().events().is_empty());
    assert!(granted(expiry - 6, PRICE_SAT, funding).unwrap().events().is_empty());
    // In a channel of the other kind there is no such thing as a granted refund.
    let cltv = World::funded();
    let refund = grant(&cltv, own(&cltv), cltv.payer.params().expiry, 0);
    assert_eq!(code(cltv.payer.granted(&refund)), Code::UnexpectedMessage);
}

#[test]
fn the_newest_commitment_settles_before_the_expiry_and_the_refund_after_it() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let (funding, expiry) = (own(&world), world.payer.params().expiry);
    assert_eq!(world.payer.refund_height(), expiry - 3);
    assert_eq!(code(world.payer.refund(&[], RATE, expiry - 3)), Code::NothingToDo);
    let at = |tip| match &effects(world.payer.refund(&[testing::seen(funding)], RATE, tip).unwrap())[..] {
        [Effect::Broadcast(transaction)] => transaction.clone(),
        other => panic!("no broadcast: {other:?}"),
    };
    assert_eq!((at(expiry - 1).output.len(), at(expiry - 1).lock_time.to_consensus_u32()), (2, expiry - 3));
    assert_eq!((at(expiry).output.len(), at(expiry).lock_time.to_consensus_u32()), (1, expiry));
    // The one that pays the payee is a settlement, the other one a refund.
    let returned = at(expiry - 3).output[1].value;
    world.payer(|payer| payer.refund(&[testing::seen(funding)], RATE, expiry - 3)).unwrap();
    assert_eq!((world.payer.phase(), world.payer.spend().unwrap().returned), (Phase::Settled, returned));
    world.payer(|payer| payer.refund(&[testing::seen(funding)], RATE, expiry)).unwrap();
    assert_eq!(world.payer.phase(), Phase::Refunded);
}

/// No output can hold it: the payee's share below dust stays with the payer.
#[test]
fn a_share_that_is_dust_is_left_out() {
    let mut world = World::timelock_funded();
    let (funding, expiry) = (own(&world), world.payer.params().expiry);
    for (sat, outputs) in [(293, 1), (294, 2)] {
        let grant = grant(&world, funding, expiry - 3, sat);
        let transaction = refund::granted(world.payer.params(), &grant, RATE, &testing::payer_key()).unwrap();
        assert_eq!(transaction.output.len(), outputs, "{sat}");
        let paid = if outputs == 2 { Amount::from_sat(sat) } else { Amount::ZERO };
        let fee = CAPACITY - paid - transaction.output.last().unwrap().value;
        assert!((1..1_000).contains(&fee.to_sat()));
    }
    // More than the channel holds, or a share in a channel that has no output for it, cannot be granted.
    let granted = grant(&world, funding, expiry, 0);
    let more = Grant { cumulative: CAPACITY + Amount::ONE_SAT, ..granted };
    assert_eq!(code(more.verify(world.payer.params())), Code::ExceedsCapacity);
    world = World::funded();
    let share = Grant { cumulative: Amount::ONE_SAT, ..grant(&world, own(&world), 0, 0) };
    assert_eq!(code(share.verify(world.payer.params())), Code::InvalidArgument);
}

fn inputs(transaction: &Transaction) -> Vec<bitcoin::OutPoint> {
    transaction.input.iter().map(|input| input.previous_output).collect()
}

/// Anybody can pay to the address, and unpay it as long as there is no block over it.
#[test]
fn what_is_not_confirmed_is_neither_swept_nor_in_a_kit() {
    let mut world = World::funded();
    let (expiry, own) = (world.payer.params().expiry, testing::seen(own(&world)));
    let loose = SeenOutput { funding: testing::funding(1, CAPACITY * 2), confirmations: 0 };
    let kit = world.payer.refund_kit(&[loose, own]).unwrap();
    assert_eq!(kit, world.payer.refund_kit(&[own]).unwrap());
    assert!(kit.iter().all(|entry| inputs(&entry.transaction) == [own.funding.outpoint]));
    assert_eq!(world.payer.refund_kit(&[loose]).unwrap_err().code(), Code::NothingToDo);
    // The funding itself, where a reorganisation has undone its block.
    let undone = SeenOutput { confirmations: 0, ..own };
    assert_eq!(world.payer.refund_kit(&[undone]).unwrap_err().code(), Code::NothingToDo);
    assert_eq!(code(world.payer.refund(&[undone, loose], RATE, expiry)), Code::NothingToDo);
    // What came beside it is no end of the channel.
    let beside = SeenOutput { confirmations: 1, ..loose };
    world.payer(|payer| payer.refund(&[undone, beside], RATE, expiry)).unwrap();
    assert_eq!(world.payer.spend(), None);
    let effects = world.payer(|payer| payer.refund(&[loose, own], RATE, expiry)).unwrap();
    let [Effect::Broadcast(refund)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(inputs(refund), [own.funding.outpoint]);
    assert_eq!(world.payer.phase(), Phase::Refunded);
}

#[test]
fn each_output_has_refunds_of_its_own_in_a_kit_and_the_fundings_come_first() {
    let world = World::funded();
    let own = own(&world);
    let other = |number: u8, sat| testing::funding(number, Amount::from_sat(sat));
    // Dust has no refund, and is no reason to have none of the others.
    let mut seen: Vec<_> = (1..=20).map(|number| testing::seen(other(number, 4_000_000))).collect();
    seen.push(testing::seen(own));
    seen.push(testing::seen(other(21, 5_000_000)));
    let outputs = |seen: &[SeenOutput]| {
        let kit = world.payer.refund_kit(seen).unwrap();
        let mut spent: Vec<_> = kit.iter().map(|entry| inputs(&entry.transaction)).collect();
        assert!(spent.iter().all(|spent| spent.len() == 1));
        spent.dedup();
        (kit.len(), spent.concat())
    };
    let (entries, spent) = outputs(&seen);
    assert_eq!(entries, refund::MAX_KIT_OUTPUTS * refund::KIT_FEE_RATES.len());
    assert_eq!(spent.len(), refund::MAX_KIT_OUTPUTS);
    assert_eq!(spent[..2], [own.outpoint, other(21, 0).outpoint], "then the most valuable");
    let small = [testing::seen(other(1, 400)), testing::seen(other(2, 2_000)), testing::seen(own)];
    assert_eq!(outputs(&small), (8 + 4, vec![own.outpoint, other(2, 0).outpoint]));
    assert_eq!(world.payer.refund_kit(&small[..1]).unwrap_err().code(), Code::Uneconomic);
}

#[test]
fn what_the_payee_may_let_go_is_known_before_it_is_asked() {
    let [own, other] = [0, 1].map(|number| testing::seen(testing::funding(number, CAPACITY)));
    let least = 10_000;
    let lets_go = |world: &World, output: SeenOutput| world.payer.reclaimable(&[output], RATE) == [output.funding];
    let of = |sat| testing::seen(testing::funding(2, Amount::from_sat(sat)));
    let mut world = World::opened();
    assert!(lets_go(&world, of(least - 1)) && !lets_go(&world, of(least)));
    // What is not confirmed may still be replaced, and with it what takes it back.
    assert!(!lets_go(&world, SeenOutput { confirmations: 0, ..of(least - 1) }));
    // While another deposit may still become the funding it stays.
    world = World::funded();
    assert!(!lets_go(&world, own) && !lets_go(&world, other));
    world.payer(|payer| payer.stop()).unwrap();
    assert!(lets_go(&world, own) && lets_go(&world, other));
    // A spent funding cannot be given back.
    let spend = Spend { txid: other.funding.outpoint.txid, returned: CAPACITY, refund: true, confirmed: false };
    world.payer(|payer| Ok(payer.spent_seen(Some(spend)))).unwrap();
    assert!(!lets_go(&world, own) && lets_go(&world, other));
    // Nor one for which something arrived.
    world = World::funded();
    world.pay_for(1_000).unwrap();
    assert!(lets_go(&world, other));
    world.payer(|payer| payer.stop()).unwrap();
    assert!(!lets_go(&world, own) && lets_go(&world, other));
    // Nor one whose final amount is signed, even if nothing of it arrived here.
    world = World::funded();
    let closing =
        commitment::pay(world.payer.params(), &own.funding, 0, Amount::from_sat(1), &testing::payer_key()).unwrap();
    let state = ChannelState { closing: Some(closing), stopped: true, ..world.payee.state() };
    world.payer(|payer| payer.attached(&state)).unwrap();
    assert!(!lets_go(&world, own));
}

/// Anybody can pay to the address, as often as they like.
#[test]
fn dust_neither_holds_a_refund_up_nor_eats_it() {
    let mut world = World::funded();
    let (expiry, own) = (world.payer.params().expiry, testing::seen(own(&world)));
    let beside = |vout, sat| {
        let mut output = testing::seen(testing::funding(1, Amount::from_sat(sat)));
        output.funding.outpoint.vout = vout;
        output
    };
    let dust = (0..2_000).map(|vout| beside(vout, 200));
    let coins = (2_000..2_600).map(|vout| beside(vout, 5_000 + u64::from(vout)));
    let mut seen: Vec<_> = dust.chain(coins).collect();
    seen.insert(1_000, own);
    let sweep = |world: &mut World, seen: &[SeenOutput]| {
        let effects = world.payer(|payer| payer.refund(seen, RATE, expiry)).unwrap();
        let [Effect::Broadcast(refund)] = &effects[..] else { panic!("{effects:?}") };
        inputs(refund)
    };
    let first = sweep(&mut world, &seen);
    assert_eq!(first.len(), refund::MAX_OUTPUTS);
    assert_eq!(first[..2], [own.funding.outpoint, seen[2_600].funding.outpoint]);
    assert_eq!(world.payer.phase(), Phase::Refunded);
    // The rest is for the next one; what is worth less than its input stays.
    seen.retain(|output| !first.contains(&output.funding.outpoint));
    assert_eq!(sweep(&mut world, &seen).len(), 600 + 1 - refund::MAX_OUTPUTS);
    seen.truncate(2_000);
    assert_eq!(code(world.payer.refund(&seen, RATE, expiry)), Code::Uneconomic);
    // Nor is a payee asked for it.
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    assert_eq!(world.payer.reclaimable(&seen, RATE), []);
    seen.extend([beside(5_000, 6_000), beside(5_001, 7_000), own]);
    let worth = [seen[2_001].funding, seen[2_000].funding];
    assert_eq!(world.payer.reclaimable(&seen, RATE), worth, "the most valuable first");
    assert_eq!(world.payer.reclaimable(&seen, FeeRate::from_sat_per_vb_u32(200)), []);
    // What may still become the funding hides nothing that may go.
    let large = (0..600).map(|vout| beside(vout, 20_000));
    let seen: Vec<_> = large.chain([beside(5_000, 6_000)]).collect();
    assert_eq!(World::opened().payer.reclaimable(&seen, RATE), [seen[600].funding]);
}

#[test]
fn a_deposit_beside_the_funding_comes_back_without_an_end() {
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let other = testing::funding(1, CAPACITY);
    let release = grant(&world, other, 0, 0);
    let effects = world.payer(|payer| payer.reclaimed(&release, RATE)).unwrap();
    assert!(matches!(effects[..], [Effect::Broadcast(_)]));
    assert_eq!((world.payer.phase(), world.payer.spend()), (Phase::Open, None));
    // A grant that keeps something for the payee is none of an unused deposit.
    let timelock = World::timelock_funded();
    let kept = grant(&timelock, self::own(&timelock), 0, 1_000);
    assert_eq!(code(timelock.payer.reclaimed(&kept, RATE)), Code::UnexpectedMessage);
}

#[test]
fn a_stored_grant_or_funding_that_is_none_is_not_believed() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let (good, funding, expiry) = (world.payer_events(), own(&world), world.payer.params().expiry);
    let replay = |change: &dyn Fn(&mut Event)| {
        let mut events = good.clone();
        events.iter_mut().for_each(change);
        Payer::replay(events, testing::payer_key(), Budget::default())
    };
    assert_eq!(replay(&|_| ()).unwrap().paid(), Amount::from_sat(PRICE_SAT));
    let forged = testing::sign_with(&testing::node(), 1).signature;
    type Change<'a> = &'a dyn Fn(&mut Event);
    let (partial, off) = (grant(&world, funding, expiry, 1), grant(&world, funding, expiry - 4, PRICE_SAT));
    let elsewhere = grant(&world, testing::funding(9, CAPACITY), expiry, 0);
    let cases: [Change<'_>; 7] = [
        &|event| {
            if let Event::Refundable(grant) = event {
                grant.signature = forged
            }
        },
        &|event| {
            if let Event::Refundable(grant) = event {
                *grant = partial
            }
        },
        &|event| {
            if let Event::Refundable(grant) = event {
                *grant = elsewhere
            }
        },
        &|event| {
            if let Event::Countersigned(grant) = event {
                grant.signature = forged
            }
        },
        &|event| {
            if let Event::Countersigned(grant) = event {
                *grant = off
            }
        },
        &|event| {
            if let Event::Funding(transaction) = event {
                transaction.input.clear()
            }
        },
        &|event| {
            if let Event::Paid { paid, .. } = event {
                paid.lock = 0
            }
        },
    ];
    for (n, change) in cases.into_iter().enumerate() {
        assert_eq!(code(replay(change)), Code::CorruptedStore, "{n}");
    }
    // A payment that ends the channel is none that goes on, even with our own signature.
    let last = commitment::pay(world.payer.params(), &funding, 0, Amount::from_sat(1), &testing::payer_key()).unwrap();
    let ended = replay(&|event| {
        if let Event::Paid { paid, .. } = event {
            *paid = last
        }
    });
    assert_eq!(code(ended), Code::CorruptedStore);
    assert!(world.payee.check_serving(TIP).is_ok());
}
