//! A channel opened by either, with a part for the other from the start.

use bitcoin::Amount;
use lightning::chain::channelmonitor::Balance;
use rillpay_channel::revocable::Role;

use crate::chain::Chain;
use crate::us::CAPACITY;
use crate::world::{BOTH, Plan, Who, World};

fn is_opened(chain: &Chain, plan: Plan) {
    let Plan { opener, push, has_anchors } = plan;
    let mut world = World::new(chain, plan);
    world.connect(opener);
    world.fund();
    // The accepter says how many confirmations it wants: we want three, LDK six.
    let depth = if opener == Who::Us { 6 } else { 3 };
    world.mine(depth - 1);
    assert!(!world.us.holder().is_open() && !world.ldk.channel().is_usable);
    world.mine(1);
    let channel = world.ldk.channel();
    assert!(world.us.holder().is_open() && channel.is_channel_ready && channel.is_usable);
    assert_eq!(channel.channel_id, world.ldk_id());
    assert_eq!(channel.channel_value_satoshis, CAPACITY.to_sat());
    assert_eq!(channel.channel_type.unwrap().supports_anchors_zero_fee_htlc_tx(), has_anchors);
    assert_eq!(channel.is_outbound, opener == Who::Ldk);

    let (role, ours) = match opener {
        Who::Us => (Role::Opener, CAPACITY - push),
        Who::Ldk => (Role::Accepter, push),
    };
    assert_eq!((world.us.holder().role(), world.us.balance()), (role, ours));
    // LDK sees the same, less what stays in the channel: the reserve, and the opener's two anchors.
    let (reserve, for_ldk) = (CAPACITY / 50, CAPACITY / 100);
    let anchors = if opener == Who::Us { Amount::from_sat(660) } else { Amount::ZERO };
    assert_eq!(channel.inbound_capacity_msat, 1_000 * ours.to_sat().saturating_sub((reserve + anchors).to_sat()));
    assert_eq!(channel.unspendable_punishment_reserve, Some(for_ldk.to_sat()));
    if opener == Who::Us {
        // It does not count on what is dust.
        let outputs = if push < Amount::from_sat(354) { Amount::ZERO } else { push };
        assert_eq!(claimable(&world), outputs);
    }
    world.check();
}

fn claimable(world: &World) -> Amount {
    Amount::from_sat(world.ldk.balances().iter().map(Balance::claimable_amount_satoshis).sum())
}

#[test]
fn ldk_opens_to_us() {
    let chain = Chain::start();
    is_opened(&chain, Plan::by(Who::Ldk));
}

#[test]
fn we_open_to_ldk() {
    let chain = Chain::start();
    is_opened(&chain, Plan::by(Who::Us));
}

#[test]
fn ldk_opens_without_anchors() {
    let chain = Chain::start();
    is_opened(&chain, Plan { has_anchors: false, ..Plan::by(Who::Ldk) });
}

/// The accepter has nothing, or so little that a commitment has no output for it.
#[test]
fn little_or_nothing_is_pushed() {
    let chain = Chain::start();
    for opener in BOTH {
        for push in [0, 300] {
            is_opened(&chain, Plan { push: Amount::from_sat(push), ..Plan::by(opener) });
        }
    }
}
