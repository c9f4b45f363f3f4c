//! Payments, as far as they go without an onion of ours: LDK pays us, who ask nobody what is in its onion, and what we offer to LDK
//! comes back, as LDK cannot read it.

use bitcoin::FeeRate;
use bitcoin::hashes::{Hash, sha256};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use rillpay_channel::revocable::holder::{Effect, Failure};

use crate::chain::Chain;
use crate::fees::change;
use crate::us::onion;
use crate::world::{BOTH, Loss, Plan, Who, World};

/// An expiry that no test here comes near.
const LATER: u32 = 500;
/// BOLT 4, `invalid_onion_key`.
const INVALID_KEY: u16 = 0x8000 | 0x4000 | 6;

pub(crate) fn hash(preimage: [u8; 32]) -> sha256::Hash {
    sha256::Hash::hash(&preimage)
}

pub(crate) fn is_quiet(world: &World) -> bool {
    let channel = world.ldk.channel();
    world.is_connected()
        && world.us.holder().ledger().is_quiet()
        && channel.pending_inbound_htlcs.is_empty()
        && channel.pending_outbound_htlcs.is_empty()
}

#[test]
fn ldk_pays_us() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        let before = world.us.balance().to_sat();
        // The smallest has no output in any commitment, the next one none in ours, and satoshis are split.
        let amounts = [300_000, 450_000, 20_000_000, 5_000_999, 5_000_001];
        for (n, msat) in (1..).zip(amounts) {
            world.ldk.pay(msat, hash([n; 32]));
        }
        world.run();
        assert_eq!(world.us.holder().received().count(), 5);
        assert_eq!(world.ldk.channel().pending_outbound_htlcs.len(), 5);
        let commitment = world.us.holder().commitment(&world.us.keys).unwrap();
        assert_eq!(world.chain.would_take(&commitment), Ok(()));
        assert_eq!(world.us.own_commitment().htlc_transactions().len(), 3);
        if plan.has_anchors {
            assert_eq!(world.us.their_commitment().htlc_transactions().len(), 4);
        }

        for n in 1..=5 {
            world.us.fulfill([n; 32]);
        }
        world.run();
        assert!(is_quiet(&world));
        for n in 1..=5 {
            let paid = (PaymentHash(hash([n; 32]).to_byte_array()), Some(PaymentPreimage([n; 32])));
            assert!(world.ldk.paid.contains(&paid), "{n}");
        }
        assert_eq!(world.us.balance().to_sat() - before, amounts.iter().sum::<u64>() / 1_000);
        world.check();
    }
}

#[test]
fn what_we_send_back_reaches_ldk() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut world = World::open(&chain, opener);
        let before = world.us.balance();
        for n in 1..=2 {
            world.ldk.pay(10_000_000, hash([n; 32]));
        }
        world.run();
        // A reason that nobody encrypted, and an onion said to be unreadable.
        let (_, _, packet) = world.us.holder().received().next().unwrap();
        let unreadable = Failure::Malformed(sha256::Hash::hash(&*packet.0), INVALID_KEY);
        let reasons = [Failure::Reason(vec![7; 292]), unreadable];
        for (id, reason) in (0..).zip(reasons) {
            world.us.act(|holder, keys| holder.send_back(keys, id, reason)).unwrap();
        }
        world.us.sign();
        world.run();
        assert!(is_quiet(&world));
        let failed = [1, 2].map(|n| (PaymentHash(hash([n; 32]).to_byte_array()), None));
        assert_eq!(world.ldk.paid, failed);
        assert_eq!(world.us.balance(), before);
        world.check();
    }
}

/// Whether LDK said about our payment with this number that it could not read the onion. It hashes only the onion's middle, its 1300
/// bytes of hops, and not all of it as BOLT 2 asks: nobody may rely on that hash.
fn came_back(world: &World, id: u64) -> bool {
    let hops = sha256::Hash::hash(&onion().0[33 + 1..33 + 1 + 1300]);
    let expected = Failure::Malformed(hops, INVALID_KEY);
    let came =
        |effect: &&Effect| matches!(effect, Effect::Resolved(of, _, Err(failure)) if *of == id && *failure == expected);
    world.us.effects.iter().filter(came).count() == 1
}

#[test]
fn an_onion_that_ldk_cannot_read_comes_back() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        let before = world.us.balance();
        for (n, sat) in (1..).zip([50_000, 300, 5_000]) {
            world.us.offer(sat, hash([n; 32]), LATER);
        }
        world.us.sign();
        world.run();
        assert!(is_quiet(&world));
        assert!((0..3).all(|id| came_back(&world, id)), "{:?}", world.us.effects);
        assert_eq!(world.us.balance(), before);
        world.check();
    }
}

/// A payment each way at once. The connection breaks at message `at`, if there are so many; our node is killed or not.
fn day(world: &mut World, n: u8, at: usize, kill: bool) -> bool {
    let before = world.us.balance().to_sat();
    let id = world.us.holder().ledger().next_id(world.us.holder().role());
    world.lose = Some(Loss::After(at));
    world.ldk.pay(2_000_000, hash([n; 32]));
    world.us.offer(1_000, hash([200; 32]), LATER);
    world.us.sign();
    // The fee changes, too, unless it breaks before.
    change(world, world.plan.opener, FeeRate::from_sat_per_kwu(1_000 + 500 * u64::from(n % 2)));
    for _ in 0..4 {
        if !world.is_connected() {
            if kill {
                world.us.restart();
            }
            world.connect(if kill { Who::Us } else { Who::Ldk });
        }
        world.us.fulfill([n; 32]);
        world.run();
    }
    assert!(is_quiet(world), "{at}");
    assert!(came_back(world, id), "{at}");
    assert_eq!(world.ldk.paid.last().unwrap().1, Some(PaymentPreimage([n; 32])), "{at}");
    assert_eq!(world.us.balance().to_sat() - before, 2_000, "{at}");
    world.check();
    world.lose.take().is_none()
}

/// What we take while nobody listens is said with the next connection, by a node that was killed, too.
#[test]
fn a_preimage_waits_for_the_connection() {
    let chain = Chain::start();
    for opener in BOTH {
        for kill in [false, true] {
            let mut world = World::open(&chain, opener);
            world.ldk.pay(2_000_000, hash([1; 32]));
            world.run();
            world.cut();
            world.us.fulfill([1; 32]);
            if kill {
                world.us.restart();
            }
            world.connect(Who::Ldk);
            assert!(is_quiet(&world));
            assert_eq!(world.ldk.paid, [(PaymentHash(hash([1; 32]).to_byte_array()), Some(PaymentPreimage([1; 32])))]);
        }
    }
}

#[test]
fn payments_break_anywhere() {
    let chain = Chain::start();
    for opener in BOTH {
        for kill in [false, true] {
            let mut world = World::open(&chain, opener);
            let days = (1..100).take_while(|n| day(&mut world, *n, usize::from(*n) - 1, kill)).count();
            assert!((12..40).contains(&days), "{days} places for an accident");
        }
    }
}

/// What is under way ends first.
#[test]
fn a_close_waits_for_payments() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut world = World::open(&chain, opener);
        world.ldk.pay(2_000_000, hash([1; 32]));
        world.run();
        let rate = FeeRate::from_sat_per_kwu(1_000);
        match opener {
            Who::Us => world.ldk.channels.close_channel(&world.ldk_id(), &world.us.node.public()).unwrap(),
            Who::Ldk => world.us.act(|holder, keys| holder.shutdown(keys, rate)).unwrap(),
        }
        world.run();
        assert!(world.us.ended().is_none());
        world.us.fulfill([1; 32]);
        world.run();
        assert!(world.us.ended().is_some() && world.ldk.channels.list_channels().is_empty());
        assert_eq!(world.ldk.paid.len(), 1);
    }
}
