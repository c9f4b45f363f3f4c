//! Closing by agreement.

use bitcoin::{Amount, FeeRate, Transaction};
use rillpay_channel::revocable::holder::{End, Spending};

use crate::chain::Chain;
use crate::us::{CAPACITY, OUR_DUST, payout};
use crate::world::{BOTH, Loss, Plan, Who, World};

/// Smaller outputs are left out by both.
const DUST: Amount = Amount::from_sat(354);
const CLOSING: FeeRate = FeeRate::from_sat_per_kwu(1_200);

fn shut_down(world: &mut World, closer: Who) {
    match closer {
        Who::Us => world.us.act(|holder, keys| holder.shutdown(keys, CLOSING)).unwrap(),
        Who::Ldk => world.ldk.channels.close_channel(&world.ldk_id(), &world.us.node.public()).unwrap(),
    }
    world.run();
}

/// Both have the same transaction, and the chain has it.
fn closed(world: &mut World) -> Transaction {
    let Plan { opener, push, .. } = world.plan;
    let Some(End::Closed(transaction)) = world.us.ended().cloned() else { panic!("{:?}", world.us.ended()) };
    for who in BOTH {
        assert!(world.broadcast.contains(&(who, transaction.clone())), "{who:?}");
    }
    assert!(world.ldk.channels.list_channels().is_empty());
    world.mine(6);
    assert_eq!(world.us.spent_by.as_ref(), Some(&transaction));

    if push < DUST {
        // Nobody pays out what the chain would not relay: miners have it, with the fee.
        assert_eq!(transaction.output.len(), 1);
        return transaction;
    }
    // The opener pays the fee, and the other gets to the satoshi what it had.
    let paid: Amount = transaction.output.iter().map(|output| output.value).sum();
    let (ours, theirs) = (transaction.output.iter()).partition::<Vec<_>, _>(|output| output.script_pubkey == payout());
    let [[ours], [theirs]] = [&ours[..], &theirs[..]] else { panic!("{transaction:?}") };
    let (by_opener, by_accepter) = if opener == Who::Us { (ours, theirs) } else { (theirs, ours) };
    assert_eq!(by_accepter.value, push);
    assert_eq!(by_opener.value, CAPACITY - push - (CAPACITY - paid));
    // LDK can spend its part.
    let swept = world.ldk.sweep(payout());
    assert_eq!(swept.input[0].previous_output.txid, transaction.compute_txid());
    assert_eq!(world.chain.offer(&swept), Ok(()));
    transaction
}

#[test]
fn either_closes_what_either_opened() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        for closer in BOTH {
            let mut world = World::open_as(&chain, plan);
            shut_down(&mut world, closer);
            let transaction = closed(&mut world);
            let fee = CAPACITY - transaction.output.iter().map(|output| output.value).sum::<Amount>();
            // What we ask for as the opener. LDK, who does not pay it, takes the highest fee that we agree to: no more.
            if plan.opener == Who::Us && closer == Who::Us {
                let asked = CLOSING.fee_wu(transaction.weight()).unwrap();
                assert!(fee >= asked && fee <= asked + Amount::from_sat(20), "{fee}, {asked}");
            }
        }
    }
}

#[test]
fn what_is_dust_is_left_out() {
    let chain = Chain::start();
    for opener in BOTH {
        for push in [0, 300] {
            let mut world = World::open_as(&chain, Plan { push: Amount::from_sat(push), ..Plan::by(opener) });
            shut_down(&mut world, opener.other());
            closed(&mut world);
        }
    }
}

/// An output that is dust to us alone. Each side's signature is for the transaction that it wants (BOLT 3, "Legacy Closing Transaction").
#[test]
fn what_is_dust_to_one_side_alone() {
    let chain = Chain::start();
    let push = Amount::from_sat(400);
    assert!(push > DUST && push < OUR_DUST);
    for opener in BOTH {
        let mut world = World::open_as(&chain, Plan { push, ..Plan::by(opener) });
        world.is_quarrel = true;
        shut_down(&mut world, opener);
        assert!(world.ldk.channels.list_channels().is_empty());
        let ours = match (opener, world.us.ended()) {
            // LDK's output, which LDK cannot do without: the channel fails.
            (Who::Us, Some(End::Failed)) => world.us.holder().commitment(&world.us.keys).unwrap(),
            // Ours. LDK can do without, but then joins its signature for one transaction to ours for the other: what it
            // broadcasts is invalid, and the close depends on us.
            (Who::Ldk, Some(End::Closed(transaction))) => transaction.clone(),
            other => panic!("{other:?}"),
        };
        let invalid = world.complaints.iter().any(|text| text.starts_with("Ldk: ") && text.contains("CHECK(MULTI)SIG"));
        assert_eq!(invalid, opener == Who::Ldk, "{:?}", world.complaints);
        world.mine(6);
        assert_eq!(world.us.spent_by, Some(ours));
        if opener == Who::Ldk {
            assert_eq!(world.chain.offer(&world.ldk.sweep(payout())), Ok(()));
        }
    }
}

#[test]
fn both_close_at_once() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut world = World::open(&chain, opener);
        world.us.act(|holder, keys| holder.shutdown(keys, CLOSING)).unwrap();
        shut_down(&mut world, Who::Ldk);
        closed(&mut world);
    }
}

/// Whichever message of a close is lost, with whatever follows it: both end with the same transaction.
#[test]
fn a_close_breaks_anywhere() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut places = 0;
        loop {
            let mut world = World::open(&chain, opener);
            world.lose = Some(Loss::After(places));
            shut_down(&mut world, opener.other());
            if world.lose.is_some() {
                break;
            }
            assert!(!world.is_connected());
            world.us.restart();
            places += 1;
            if world.us.ended().is_none() && world.ldk.channels.list_channels().is_empty() {
                // Our last word reached LDK, and its own was lost: it knows of no channel any more, and says so.
                world.is_quarrel = true;
                world.connect(Who::Us);
                world.mine(1);
                let Some(End::Closed(transaction)) = world.us.ended().cloned() else { panic!("not closed") };
                assert_eq!(world.us.view().spending(), Spending::Agreed);
                assert!(world.broadcast.contains(&(Who::Ldk, transaction)));
                continue;
            }
            world.connect(Who::Us);
            closed(&mut world);
        }
        // Two shutdowns, and the same fee said by both.
        assert_eq!(places, 4);
    }
}
