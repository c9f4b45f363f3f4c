//! Long days of everything at once, the same ones each time: payments both ways, changes of the fee, breaks and crashes.

use bitcoin::FeeRate;
use bitcoin::hashes::{Hash, sha256};
use rillpay_channel::revocable::holder::{End, Failure, Holder};

use crate::chain::Chain;
use crate::payments::is_quiet;
use crate::world::{Loss, Plan, Who, World};

/// Numbers that look random: an xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn preimage(of: usize) -> [u8; 32] {
    sha256::Hash::hash(&of.to_be_bytes()).to_byte_array()
}

fn hash(of: usize) -> sha256::Hash {
    sha256::Hash::hash(&preimage(of))
}

/// The amounts that LDK pays, by their numbers, in millisatoshi.
fn amount(of: usize) -> u64 {
    [300_000, 450_000, 1_000_123, 4_000_000][of % 4]
}

fn preimage_of(hash_of: &sha256::Hash, payments: usize) -> [u8; 32] {
    preimage((0..payments).find(|of| hash(*of) == *hash_of).unwrap())
}

fn step(world: &mut World, dice: &mut Dice, payments: &mut usize) {
    let waiting: Vec<_> = world.us.holder().received().map(|(id, htlc, _)| (id, htlc.payment_hash)).collect();
    let pick = |dice: &mut Dice| waiting.get(dice.below(waiting.len().max(1) as u64) as usize).copied();
    let rate = 500 + 250 * dice.below(20);
    // What cannot be done at the moment is not done.
    match dice.below(9) {
        0..3 if world.ldk.channel().is_usable => {
            world.ldk.pay(amount(*payments), hash(*payments));
            *payments += 1;
        }
        3 => world.us.try_offer(1_000 + dice.below(2_000), hash(usize::MAX)),
        4 | 5 => {
            if let Some((id, hash)) = pick(dice) {
                let preimage = preimage_of(&hash, *payments);
                world.us.act(|holder, keys| holder.fulfill(keys, id, preimage)).unwrap_or_default();
            }
        }
        6 => {
            if let Some((id, _)) = pick(dice) {
                let back = Failure::Reason(vec![7; 292]);
                world.us.act(|holder, keys| holder.send_back(keys, id, back)).unwrap_or_default();
            }
        }
        7 if world.plan.opener == Who::Ldk => world.estimate(FeeRate::from_sat_per_kwu(rate)),
        7 => {
            let rate = FeeRate::from_sat_per_kwu(rate);
            world.us.act(|holder, keys| holder.set_fee(keys, rate)).unwrap_or_default();
        }
        _ => world.lose = Some(Loss::After(dice.below(8) as usize)),
    }
    if dice.below(2) == 0 {
        world.us.act(Holder::sign).unwrap();
    }
    for _ in 0..dice.below(4) {
        world.turn();
    }
    if !world.is_connected() {
        if dice.below(2) == 0 {
            world.us.restart();
        }
        world.connect(if dice.below(2) == 0 { Who::Us } else { Who::Ldk });
    }
}

fn day(chain: &Chain, plan: Plan, seed: u64) {
    let mut world = World::open_as(chain, plan);
    let before = world.us.exact_balance();
    let (mut dice, mut payments) = (Dice(seed), 0);
    for _ in 0..150 {
        step(&mut world, &mut dice, &mut payments);
    }
    world.lose = None;
    for _ in 0..3 {
        if !world.is_connected() {
            world.connect(Who::Us);
        }
        let waiting: Vec<_> = world.us.holder().received().map(|(_, htlc, _)| htlc.payment_hash).collect();
        for hash in waiting {
            world.us.fulfill(preimage_of(&hash, payments));
        }
        world.us.act(Holder::sign).unwrap();
        world.run();
    }
    assert!(is_quiet(&world), "{seed}");
    world.check();
    // Each payment ended once, and every millisatoshi is where it says.
    assert_eq!(world.ldk.paid.len(), payments, "{seed}");
    let taken = (0..payments).filter(|of| {
        world.ldk.paid.iter().any(|(paid, preimage)| paid.0 == hash(*of).to_byte_array() && preimage.is_some())
    });
    let received: u64 = taken.map(amount).sum();
    assert!(received > 0, "{seed}");
    assert_eq!(world.us.exact_balance() - before, received, "{seed}");

    world.ldk.channels.close_channel(&world.ldk_id(), &world.us.node.public()).unwrap();
    world.run();
    assert!(matches!(world.us.ended(), Some(End::Closed(_))), "{seed}");
}

#[test]
fn long_days() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        for seed in 1..=4 {
            day(&chain, plan, 0x9e37_79b9_7f4a_7c15 ^ seed);
        }
    }
}
