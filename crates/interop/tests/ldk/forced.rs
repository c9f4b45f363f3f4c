//! Forced closes: each side's commitment on the chain, and what the other makes of it.

use bitcoin::hashes::Hash;
use bitcoin::{FeeRate, Transaction};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use rillpay_channel::revocable::fees::Stage;
use rillpay_channel::revocable::holder::{End, Holder, Spending};
use rillpay_channel::{Code, Error};

use crate::chain::Chain;
use crate::fees::change;
use crate::node::EXPIRES_IN;
use crate::payments::hash;
use crate::us::{OUR_DELAY, PUSH, payout};
use crate::world::{BOTH, Loss, Plan, Who, World, kind};

/// Blocks that LDK makes us wait for our own money after our own commitment.
const LDK_DELAY: u32 = 144;

fn fail(world: &mut World, by: Who) {
    world.is_quarrel = true;
    match by {
        Who::Us => {
            let why = Error::new(Code::Unaffordable, "enough");
            world.us.act(|holder, keys| holder.fail(keys, &why)).unwrap();
        }
        Who::Ldk => {
            let (id, us) = (world.ldk_id(), world.us.node.public());
            world.ldk.channels.force_close_broadcasting_latest_txn(&id, &us, "enough".to_owned()).unwrap();
        }
    }
    world.run();
}

/// What is on the chain is the newest commitment of LDK, to the last byte that is not its signature.
fn is_theirs(world: &World) {
    let spent_by = world.us.spent_by.as_ref().unwrap();
    assert_eq!(spent_by.compute_txid(), world.us.their_commitment().transaction.compute_txid());
    let holder = world.us.holder();
    assert_eq!(world.us.view().spending(), Spending::Theirs(holder.ledger().number(holder.role().other())));
}

/// The node takes this, and a miner.
fn confirms(world: &mut World, transaction: &Transaction) {
    assert_eq!(world.chain.offer(transaction), Ok(()));
    world.mine(1);
    assert!(world.has_confirmed(transaction));
}

/// What LDK can spend by itself goes through.
fn ldk_is_paid(world: &mut World) -> Transaction {
    assert_eq!(world.ldk.spendable.len(), 1, "{:?}", world.ldk.spendable);
    let swept = world.ldk.sweep(payout());
    confirms(world, &swept);
    swept
}

fn outcome(preimage: [u8; 32], taken: bool) -> (PaymentHash, Option<PaymentPreimage>) {
    (PaymentHash(hash(preimage).to_byte_array()), taken.then_some(PaymentPreimage(preimage)))
}

#[test]
fn ldk_broadcasts_the_commitment_that_we_expect() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        change(&mut world, plan.opener, FeeRate::from_sat_per_kwu(2_500));
        fail(&mut world, Who::Ldk);
        // It said so, and ours came too late.
        assert_eq!(world.us.ended(), Some(&End::Failed));
        assert!(world.complaints.iter().any(|text| text.contains("enough")), "{:?}", world.complaints);
        world.mine(1);
        is_theirs(&world);

        // Ours is there for us, and theirs for them, later.
        let swept = world.us.take();
        confirms(&mut world, &swept);
        world.mine(OUR_DELAY.into());
        let swept = ldk_is_paid(&mut world);
        assert_eq!(swept.input[0].sequence.to_consensus_u32(), u32::from(OUR_DELAY));
    }
}

#[test]
fn ldk_takes_its_own_from_our_commitment() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        change(&mut world, plan.opener, FeeRate::from_sat_per_kwu(2_500));
        fail(&mut world, Who::Us);
        assert_eq!(world.ldk.closed.len(), 1);
        assert!(world.ldk.channels.list_channels().is_empty());
        world.mine(6);
        let transaction = world.us.spent_by.clone().unwrap();
        assert!(world.broadcast.contains(&(Who::Us, transaction.clone())));
        assert_eq!(world.us.view().spending(), Spending::Ours);
        let swept = ldk_is_paid(&mut world);
        assert_eq!(swept.input[0].previous_output.txid, transaction.compute_txid());
        if plan.opener == Who::Us {
            assert!(transaction.output.iter().any(|output| output.value == PUSH));
        }

        // Ours is there after the delay, and not a block before. It has 7 confirmations, and would be in the next block.
        let swept = world.us.take();
        world.mine(LDK_DELAY - 7 - 1);
        assert!(world.chain.offer(&swept).unwrap_err().contains("non-BIP68-final"));
        world.mine(1);
        confirms(&mut world, &swept);
    }
}

/// A commitment that we gave up: LDK takes what was ours of it.
#[test]
fn ldk_punishes_an_old_commitment_of_ours() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        let old = Holder::load(world.us.stored.last().unwrap()).unwrap().commitment(&world.us.keys).unwrap();
        change(&mut world, plan.opener, FeeRate::from_sat_per_kwu(2_500));
        world.cut();
        confirms(&mut world, &old);
        world.mine(1);
        let takes = |(who, one): &&(Who, Transaction)| {
            *who == Who::Ldk && one.input[0].previous_output.txid == old.compute_txid()
        };
        let (_, justice) = world.broadcast.iter().find(takes).expect("LDK takes the outputs");
        assert!(world.has_confirmed(justice));
    }
}

/// A commitment that LDK gave up, with a payment under way: we take everything.
#[test]
fn we_punish_an_old_commitment_of_ldk() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        world.ldk.pay(20_000_000, hash([1; 32]));
        world.run();
        let copy = world.ldk.copy();
        world.us.fulfill([1; 32]);
        world.run();
        change(&mut world, plan.opener, FeeRate::from_sat_per_kwu(2_500));
        let old = world.ldk.commitment_of(&copy);
        world.cut();
        confirms(&mut world, &old);
        assert!(matches!(world.us.view().spending(), Spending::Cheat(_)), "{:?}", world.us.view().spending());
        let justice = world.us.take();
        // Both balances and the payment.
        assert_eq!(justice.input.len(), 3);
        confirms(&mut world, &justice);
    }
}

/// Whoever lost what it knew has LDK close, and gets its money from LDK's commitment with nothing but its payment key.
#[test]
fn an_old_copy_of_ours_gets_its_money() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        for updates in 1..=3 {
            let mut world = World::open_as(&chain, plan);
            let copy = world.us.stored.last().unwrap().clone();
            for n in 0..updates {
                change(&mut world, plan.opener, FeeRate::from_sat_per_kwu(2_500 + n * 1_000));
            }
            world.cut();
            world.us.restore(&copy);
            world.is_quarrel = true;
            world.connect(Who::Us);
            assert_eq!(world.us.ended(), Some(&End::FellBehind), "{updates}");
            assert_eq!(world.ldk.closed.len(), 1);
            // One behind is an error to LDK; more behind is a warning, and then our word makes it close.
            let complains =
                |word: &str| world.complaints.iter().any(|text| text.starts_with(word) && text.contains("very old"));
            assert_eq!(
                [complains("error"), complains("warning")],
                [updates == 1, updates > 1],
                "{:?}",
                world.complaints
            );
            world.mine(1);
            let transaction = world.us.spent_by.clone().unwrap();
            assert!(world.broadcast.contains(&(Who::Ldk, transaction)));
            assert!(matches!(world.us.view().spending(), Spending::Unknown(number) if number.get() == updates));
            let swept = world.us.take();
            confirms(&mut world, &swept);
        }
    }
}

/// A fee beyond what we put up with: we fail the channel, and LDK takes that in.
#[test]
fn a_fee_that_we_refuse_ends_the_channel() {
    let chain = Chain::start();
    let mut world = World::open(&chain, Who::Ldk);
    world.is_quarrel = true;
    change(&mut world, Who::Ldk, FeeRate::from_sat_per_kwu(50_001));
    assert_eq!(world.refused, [Code::UnacceptableTerms]);
    assert_eq!((world.us.ended(), world.ldk.closed.len()), (Some(&End::Failed), 1));
    // The commitment before is the newest.
    assert_eq!(world.us.rates(), [FeeRate::from_sat_per_kwu(1_000); 2]);
    world.mine(6);
    assert_eq!(world.us.view().spending(), Spending::Ours);
    ldk_is_paid(&mut world);
}

// ---- payments under way ----

/// LDK's commitment with a payment to us, whose preimage we know.
#[test]
fn we_take_a_payment_from_the_commitment_of_ldk() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        world.ldk.pay(20_000_000, hash([1; 32]));
        world.run();
        world.cut();
        world.us.fulfill([1; 32]);
        world.us.restart();
        fail(&mut world, Who::Ldk);
        world.mine(1);
        is_theirs(&world);
        let swept = world.us.take();
        // The payment, and our balance.
        assert_eq!(swept.input.len(), 2);
        confirms(&mut world, &swept);
        // LDK reads the preimage on the chain.
        world.mine(6);
        assert_eq!(world.ldk.paid, [outcome([1; 32], true)]);
    }
}

/// Our commitment with payments from LDK: one that we take in its second stage, which LDK has signed, and one that LDK takes back.
#[test]
fn payments_in_our_commitment_go_either_way() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        let (taken, left) = ([1; 32], [2; 32]);
        world.ldk.pay(20_000_000, hash(taken));
        world.ldk.pay(30_000_000, hash(left));
        world.run();
        world.cut();
        world.us.fulfill(taken);
        world.us.restart();
        fail(&mut world, Who::Us);
        world.mine(1);
        assert_eq!(world.us.view().spending(), Spending::Ours);
        let success = only_second_stage(&world, Stage::Success);
        if plan.has_anchors {
            // It pays no fee of its own: nodes do not relay it alone, but a miner may take it.
            assert!(world.chain.would_take(&success).unwrap_err().contains("min relay fee not met"));
        } else {
            assert_eq!(world.chain.would_take(&success), Ok(()));
        }
        world.mine_exactly(std::slice::from_ref(&success));
        assert!(world.has_confirmed(&success));

        // LDK broadcasts when its payment has expired, and is sure six blocks later.
        world.mine(EXPIRES_IN + 1);
        world.mine(7);
        assert_eq!(world.ldk.paid, [outcome(taken, true), outcome(left, false)]);
        let commitment = world.us.spent_by.as_ref().unwrap().compute_txid();
        let back = |(who, one): &&(Who, Transaction)| {
            *who == Who::Ldk && one.input.iter().any(|input| input.previous_output.txid == commitment)
        };
        let (_, back) = world.broadcast.iter().find(back).unwrap();
        assert!(world.has_confirmed(back));
    }
}

/// Our second stage, signed by both, that pays no fee or its own.
fn only_second_stage(world: &World, stage: Stage) -> Transaction {
    let view = world.us.view();
    let mut stages = view.second_stages();
    let (one, None) = (stages.next().unwrap(), stages.next()) else { panic!("there are several") };
    assert_eq!(one.transaction.stage, stage);
    let holder = world.us.holder();
    let point = world.us.keys.seed.point(holder.ledger().number(holder.role())).unwrap();
    let key = world.us.keys.htlc_at(&point).unwrap();
    one.transaction.finish(&key, &one.theirs, one.preimage).unwrap()
}

/// A payment of ours that LDK neither takes nor sends back: ours again after its expiry, from either commitment.
#[test]
fn we_take_our_own_payment_back() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        for broadcaster in BOTH {
            let mut world = World::open_as(&chain, plan);
            let expiry = world.height + EXPIRES_IN;
            world.us.offer(20_000, hash([1; 32]), expiry);
            world.us.sign();
            // LDK would send it back, but its word does not arrive.
            world.lose = Some(Loss::Of(Who::Ldk, kind::UPDATE_FAIL_MALFORMED));
            world.run();
            assert!(world.lose.is_none() && !world.is_connected());
            fail(&mut world, broadcaster);
            world.mine(1);
            let back = match broadcaster {
                Who::Us => only_second_stage(&world, Stage::Timeout),
                Who::Ldk => {
                    is_theirs(&world);
                    world.us.take()
                }
            };
            world.mine(expiry - world.height - 1);
            assert!(world.chain.would_take(&back).unwrap_err().contains("non-final"));
            world.mine(1);
            world.mine_exactly(std::slice::from_ref(&back));
            assert!(world.has_confirmed(&back));
        }
    }
}

/// Nobody takes a payment before its time is up: LDK, who offered it, closes.
#[test]
fn a_payment_that_nobody_takes_ends_the_channel() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        world.is_quarrel = true;
        world.ldk.pay(20_000_000, hash([1; 32]));
        world.run();
        world.mine(EXPIRES_IN + 1);
        assert!(world.us.ended().is_none() && world.ldk.closed.is_empty());
        // Three blocks of grace, as BOLT 2 wants.
        world.mine(3);
        assert_eq!((world.us.ended(), world.ldk.closed.len()), (Some(&End::Failed), 1));
        world.mine(1);
        is_theirs(&world);
    }
}
