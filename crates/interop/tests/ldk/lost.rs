//! Connections that break anywhere, and our side killed with them.

use bitcoin::FeeRate;
use rillpay_channel::revocable::holder::End;

use crate::chain::Chain;
use crate::fees::change;
use crate::world::{BOTH, Loss, Plan, Who, World, kind};

/// The connection breaks, our node is killed or not, and either calls again.
fn take_up_again(world: &mut World, kill: bool, caller: Who) {
    world.cut();
    if kill {
        world.us.restart();
    }
    world.connect(caller);
}

#[test]
fn a_quiet_channel_is_taken_up_again() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut world = World::open(&chain, opener);
        for (kill, caller) in [(false, Who::Us), (true, Who::Us), (false, Who::Ldk), (true, Who::Ldk)] {
            world.cut();
            assert!(!world.us.holder().is_open() && !world.ldk.channel().is_usable);
            take_up_again(&mut world, kill, caller);
            assert!(world.us.holder().is_open() && world.ldk.channel().is_usable);
        }
        // It is as it was.
        change(&mut world, opener, FeeRate::from_sat_per_kwu(2_500));
        world.check();
    }
}

/// Whichever message of a change of the fee is lost, with whatever follows it: the change is made once.
#[test]
fn a_change_of_the_fee_breaks_anywhere() {
    let chain = Chain::start();
    for opener in BOTH {
        let other = opener.other();
        let mut world = World::open(&chain, opener);
        let places = [
            (opener, kind::UPDATE_FEE),
            (opener, kind::COMMITMENT_SIGNED),
            (other, kind::REVOKE_AND_ACK),
            (other, kind::COMMITMENT_SIGNED),
            (opener, kind::REVOKE_AND_ACK),
        ];
        let mut rate = 1_000;
        for kill in [false, true] {
            for place in places {
                rate += 1_500;
                let rate = FeeRate::from_sat_per_kwu(rate);
                world.lose = Some(Loss::Of(place.0, place.1));
                change(&mut world, opener, rate);
                assert!(world.lose.is_none() && !world.is_connected(), "{place:?} was said");
                take_up_again(&mut world, kill, opener);
                // Nobody signed for an update that was lost alone: the opener may have to begin again.
                if world.us.rates() != [rate; 2] {
                    assert_eq!(place, (opener, kind::UPDATE_FEE));
                    change(&mut world, opener, rate);
                }
                assert_eq!(world.us.rates(), [rate; 2], "{place:?}, {kill}");
                world.check();
            }
        }
    }
}

/// Both breaks in one: the connection is lost again while it is taken up.
#[test]
fn it_breaks_again_while_it_is_taken_up() {
    let chain = Chain::start();
    for opener in BOTH {
        let other = opener.other();
        let mut world = World::open(&chain, opener);
        let mut rate = 1_000;
        for first in [(opener, kind::COMMITMENT_SIGNED), (other, kind::REVOKE_AND_ACK)] {
            for second in [(Who::Us, kind::REESTABLISH), (Who::Ldk, kind::REESTABLISH), first] {
                rate += 1_500;
                let rate = FeeRate::from_sat_per_kwu(rate);
                world.lose = Some(Loss::Of(first.0, first.1));
                change(&mut world, opener, rate);
                world.lose = Some(Loss::Of(second.0, second.1));
                take_up_again(&mut world, true, Who::Us);
                assert!(world.lose.is_none() && !world.is_connected(), "{second:?} was said again");
                take_up_again(&mut world, true, Who::Ldk);
                assert_eq!(world.us.rates(), [rate; 2], "{first:?}, {second:?}");
                world.check();
            }
        }
    }
}

#[test]
fn readiness_is_said_again() {
    let chain = Chain::start();
    for opener in BOTH {
        for loser in BOTH {
            let mut world = World::new(&chain, Plan::by(opener));
            world.connect(opener);
            world.fund();
            world.lose = Some(Loss::Of(loser, kind::CHANNEL_READY));
            world.mine(6);
            assert!(world.lose.is_none() && !world.is_connected());
            take_up_again(&mut world, true, opener);
            world.mine(6);
            assert!(world.us.holder().is_open() && world.ldk.channel().is_usable, "{opener:?} {loser:?}");
            change(&mut world, opener, FeeRate::from_sat_per_kwu(2_500));
            world.check();
        }
    }
}

/// The funding confirms while the connection is down.
#[test]
fn a_channel_confirms_while_nobody_is_connected() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut world = World::new(&chain, Plan::by(opener));
        world.connect(opener);
        world.fund();
        world.cut();
        world.us.restart();
        world.mine(6);
        assert!(!world.ldk.channel().is_usable);
        world.connect(Who::Ldk);
        assert!(world.us.holder().is_open() && world.ldk.channel().is_usable);
        world.check();
    }
}

/// A funding that only one of them knows of: LDK's is never broadcast, and ours neither.
#[test]
fn an_opening_that_breaks_costs_nobody_anything() {
    let chain = Chain::start();
    for opener in BOTH {
        for place in [(opener, kind::FUNDING_CREATED), (opener.other(), kind::FUNDING_SIGNED)] {
            let mut world = World::new(&chain, Plan::by(opener));
            world.connect(opener);
            world.is_quarrel = true;
            world.lose = Some(Loss::Of(place.0, place.1));
            world.fund();
            assert!(world.lose.is_none() && !world.is_connected(), "{place:?} was said");
            world.connect(opener);
            world.mine(6);
            // The chain has heard of no funding, and so takes no commitment either.
            assert!(world.broadcast.is_empty(), "{place:?}");
            assert!(world.ldk.channels.list_channels().is_empty(), "{place:?}");
            // Only who answered with a signature has anything to remember: until LDK says that it knows nothing of it.
            let remembers = place == (Who::Us, kind::FUNDING_SIGNED);
            assert_eq!(world.us.stored.last().is_some(), remembers, "{place:?}");
            if remembers {
                assert_eq!(world.us.ended(), Some(&End::Failed));
            }
        }
    }
}
