//! The opener changes the fee rate, the other answers.

use bitcoin::FeeRate;

use crate::chain::Chain;
use crate::world::{Plan, Who, World, kind};

pub(crate) fn change(world: &mut World, opener: Who, rate: FeeRate) {
    match opener {
        Who::Us => {
            world.us.act(|holder, keys| holder.set_fee(keys, rate)).unwrap();
            world.us.act(|holder, keys| holder.sign(keys)).unwrap();
            world.run();
        }
        Who::Ldk => world.ldk_estimates(rate),
    }
}

#[test]
fn either_changes_the_fee_up_and_down() {
    let chain = Chain::start();
    for plan in Plan::ALL {
        let mut world = World::open_as(&chain, plan);
        let opener = plan.opener;
        let other = opener.other();
        for rate in [2_500, 10_000, 1_000, 253] {
            let rate = FeeRate::from_sat_per_kwu(rate);
            world.log.clear();
            change(&mut world, opener, rate);
            assert_eq!(world.us.rates(), [rate; 2]);
            let expected = [
                (opener, kind::UPDATE_FEE),
                (opener, kind::COMMITMENT_SIGNED),
                (other, kind::REVOKE_AND_ACK),
                (other, kind::COMMITMENT_SIGNED),
                (opener, kind::REVOKE_AND_ACK),
            ];
            assert_eq!(world.log, expected);
            world.check();
        }
    }
}
