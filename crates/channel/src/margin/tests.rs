//! Margins grow with the fee rate, within their bounds, and the payee keeps to them.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::Amount;
use proptest::prelude::*;

use super::*;
use crate::Code;
use crate::payee::{Cover, Offer, Payee};
use crate::testing::{self, PRICE_SAT, TIP, World};

const CALM: FeeRate = FeeRate::from_sat_per_vb_u32(10);
const PRICE: Amount = Amount::from_sat(PRICE_SAT);

fn params(stop: u16, close: u16) -> ChannelParams {
    ChannelParams { stop_margin: stop, close_margin: close, ..testing::params() }
}

fn at(sat_per_vb: u64, longest: u32) -> Surge {
    Surge::new(FeeRate::from_sat_per_vb(sat_per_vb).unwrap(), CALM, longest)
}

#[test]
fn margins_follow_the_rate_from_calm_to_four_times() {
    let params = params(36, 24);
    let margins = |rate| {
        let Margins { stop, close } = at(rate, 504).margins(&params);
        (stop, close)
    };
    assert_eq!(margins(1), (36, 24), "no less than agreed");
    assert_eq!(margins(10), (36, 24), "the factor is 1 at the calm rate");
    assert_eq!(margins(11), (40, 27), "rounded up");
    assert_eq!(margins(20), (72, 48));
    assert_eq!(margins(40), (144, 96));
    assert_eq!(margins(41), (144, 96), "no more than four times");
    assert_eq!(margins(10_000), (144, 96));
}

#[test]
fn margins_leave_half_of_a_channels_time() {
    let longest = |rate, longest| at(rate, longest).margins(&params(36, 24));
    assert_eq!(longest(40, 90), Margins { stop: 90, close: 60 }, "in proportion");
    assert_eq!(longest(40, 30), Margins { stop: 36, close: 24 }, "what was agreed holds in any case");
    assert_eq!(longest(40, 0), Margins { stop: 36, close: 24 });
    // The canonical week, and a ladder of twenty payments that takes 60 blocks of it.
    let (week, rate) = (testing::offer(), FeeRate::from_sat_per_vb_u32(1_000));
    let margins = |offer: &Offer, stop| offer.surge(rate, CALM).margins(&params(stop, 1)).stop;
    assert_eq!(margins(&week, 300), 504);
    let ladder = World::timelock().payee.params().kind.clone();
    assert_eq!(margins(&Offer { kind: ladder, ..week }, 300), 474);
}

#[test]
fn a_calm_rate_of_nothing_is_no_division_by_it() {
    let surge = Surge::new(FeeRate::MAX, FeeRate::ZERO, u32::MAX);
    assert_eq!(surge.margins(&params(u16::MAX, u16::MAX)).stop, 4 * u32::from(u16::MAX));
    assert_eq!(Surge::new(FeeRate::ZERO, FeeRate::ZERO, 9).margins(&params(2, 1)), Margins { stop: 2, close: 1 });
}

#[test]
fn nothing_is_taken_or_served_inside_a_grown_margin_and_service_goes_on_after_it() {
    let mut world = World::funded();
    world.payee(|payee| payee.pay(testing::sign_for(payee.funding().unwrap(), PRICE), TIP)).unwrap();
    let next = world.sign(2 * PRICE_SAT);
    let expiry = world.payee.params().expiry;
    let dear = |tip| Moment { tip, surge: at(20, 504) };
    let code = |result: Result<(), crate::Error>| result.expect_err("this is to be refused").code();

    let stop = expiry - 72;
    assert_eq!(world.payee.cover(1_000, dear(stop - 1)).unwrap(), Cover::Paid);
    assert!(world.payee.pay(next, dear(stop - 1)).is_ok());
    assert_eq!(code(world.payee.cover(1_000, dear(stop)).map(drop)), Code::Expiring, "neither what is paid");
    assert_eq!(code(world.payee.cover(2_000, dear(stop)).map(drop)), Code::Expiring, "nor a need");
    assert_eq!(code(world.payee.release(1_000, dear(stop)).map(drop)), Code::Expiring);
    assert_eq!(code(world.payee.pay(next, dear(stop)).map(drop)), Code::Expiring);
    assert_eq!(code(world.payee.check_serving(dear(stop)).map(drop)), Code::Expiring);
    // Fees fall.
    assert!(world.payee.pay(next, stop).is_ok());
    assert!(world.payee.release(1_000, stop).is_ok());

    let due = expiry - 48;
    assert_eq!(world.payee.due_height(at(20, 504)), due);
    assert!(world.payee.expire(due).is_none(), "in calm there is time");
    assert!(world.payee.expire(dear(due - 1)).is_none());
    world.payee(|payee| Ok(payee.expire(dear(due)).expect("due"))).unwrap();
    assert_eq!(world.payee.closing().unwrap().cumulative, PRICE);
    // What was closed stays closed: fees that fall bring nothing back.
    assert_eq!(code(world.payee.check_serving(due).map(drop)), Code::Closing);
    assert_eq!(Payee::replay(world.payee_events()).unwrap().closing(), world.payee.closing());
}

#[test]
fn a_ladder_stops_earlier_and_settles_when_its_lock_allows() {
    let mut world = World::timelock_funded();
    world.pay_for(1_000).unwrap();
    let lock = world.payee.params().expiry - 3;
    let dear = |tip| Moment { tip, surge: at(1_000, 504) };
    assert!(world.payee.check_serving(dear(lock - 4 * 36 - 1)).is_ok());
    assert_eq!(world.payee.check_serving(dear(lock - 4 * 36)).unwrap_err().code(), Code::Expiring);
    // Before that height no block takes the commitment, whatever it pays.
    assert_eq!(world.payee.due_height(at(1_000, 504)), lock);
    assert!(world.payee.expire(dear(lock - 1)).is_none() && world.payee.expire(dear(lock)).is_some());
}

proptest! {
    #[test]
    fn margins_are_bounded_ordered_and_never_fall_as_the_rate_rises(
        (stop, close) in (1u16..).prop_flat_map(|stop| (Just(stop), 1..=stop)),
        calm in 1u64..1_000_000,
        (lower, higher) in (0u64..10_000_000).prop_flat_map(|higher| (0..=higher, Just(higher))),
        (longest, longer) in (0u32..200_000).prop_flat_map(|longer| (0..=longer, Just(longer))),
    ) {
        let params = params(stop, close);
        let margins = |rate, longest| {
            Surge::new(FeeRate::from_sat_per_kwu(rate), FeeRate::from_sat_per_kwu(calm), longest).margins(&params)
        };
        let (low, high) = (margins(lower, longest), margins(higher, longest));
        let (stop, close) = (u32::from(stop), u32::from(close));
        prop_assert!(low.close <= low.stop && high.close <= high.stop);
        prop_assert!(low.stop <= high.stop && low.close <= high.close);
        prop_assert!(high.stop <= margins(higher, longer).stop && high.close <= margins(higher, longer).close);
        prop_assert!((stop..=longest.max(stop).min(4 * stop)).contains(&high.stop));
        prop_assert!((close..=4 * close).contains(&high.close));
        prop_assert_eq!(margins(calm, longest), Margins { stop, close });
        // The earliest height at which it is settled follows.
        let due = |surge| Deadline::new(&params, None).height(surge);
        let surge = Surge::new(FeeRate::from_sat_per_kwu(higher), FeeRate::from_sat_per_kwu(calm), longest);
        prop_assert_eq!(due(surge), params.expiry.saturating_sub(high.close));
    }
}
