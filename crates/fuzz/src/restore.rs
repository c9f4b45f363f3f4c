//! Stored records of a real channel, damaged: what a store gives back after a bad disk, a bad backup or a bad neighbour.
//!
//! The first bytes say what is damaged, the others what happened to the channel before ([`crate::plan`]). Whatever comes
//! of it: nothing panics, a refusal says that the store is corrupted, and what is taken holds every rule that the machine
//! itself keeps, down to each signature.

use std::fmt::Debug;

use bitcoin::Amount;
use rillpay_channel::budget::Budget;
use rillpay_channel::commitment::{Funding, Paid, SeenOutput};
use rillpay_channel::payee::Payee;
use rillpay_channel::payer::Payer;
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::{ChannelParams, Code, Error, Msat};

use crate::action::plan;
use crate::input::Input;
use crate::setup::NOW;
use crate::values::payer_key;
use crate::world::{FEE_RATE, World};

/// The records of one side, oldest slot first.
type Records = Vec<Vec<u8>>;

/// Replays damaged stores of both sides.
///
/// # Panics
/// Where a replay breaks its promises.
pub fn restore(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    let damages: Vec<[u8; 4]> = (0..=i.u8() % 3).map(|_| i.array()).collect();
    let (setup, actions) = plan(i.rest());
    let mut world = World::new(setup);
    let mut before = stores(&world);
    for (number, action) in actions.iter().take(24).enumerate() {
        world.act(action);
        if number == actions.len() / 2 {
            before = stores(&world);
        }
    }
    let now = stores(&world);
    for ((now, older), other) in now.iter().zip(&before).zip(now.iter().rev()) {
        let mut records = now.clone();
        for damage in &damages {
            hurt(&mut records, *damage, older, other);
        }
        payee_replays(&records);
        payer_replays(&records);
    }
}

fn stores(world: &World) -> [Records; 2] {
    [world.payee.disk.records(), world.payer.disk.records()]
}

fn hurt(records: &mut Records, [how, which, at, value]: [u8; 4], older: &Records, other: &Records) {
    let nth = |records: &Records| usize::from(which) % records.len().max(1);
    let index = nth(records);
    let Some(record) = records.get_mut(index) else { return };
    let at = usize::from(at) % record.len().max(1);
    match how % 9 {
        0..=2 if record.is_empty() => {}
        0 => record[at] ^= 1 << (value % 8),
        1 => record[at] = value,
        2 => record.truncate(at),
        3 => record.push(value),
        4 => {
            records.remove(index);
        }
        5 => {
            let second = usize::from(value) % records.len();
            records.swap(index, second);
        }
        // Of an older backup.
        6 => records.extend(older.get(nth(older)).cloned()),
        7 => {
            let slot = record.first().copied();
            if let Some(older) = older.iter().find(|older| older.first().copied() == slot) {
                record.clone_from(older);
            }
        }
        // Of the other side.
        _ => records.extend(other.get(nth(other)).cloned()),
    }
}

fn decoded<E: StoredEvent + Debug>(records: &Records) -> Option<Vec<E>> {
    let events: Result<Vec<E>, Error> = records.iter().map(|record| E::decode(record)).collect();
    events.map_err(|error| assert_eq!(error.code(), Code::CorruptedStore)).ok()
}

fn taken<M>(replayed: Result<M, Error>) -> Option<M> {
    replayed
        .map_err(|error| assert!(matches!(error.code(), Code::CorruptedStore | Code::InvalidWords), "{error:?}"))
        .ok()
}

fn verifies(params: &ChannelParams, funding: Option<&Funding>, paid: Option<Paid>) {
    let Some(paid) = paid else { return };
    let funding = funding.expect("nothing is paid without a deposit");
    assert_eq!(paid.verify(params, funding), Ok(()), "takes a payment that nobody signed");
    assert!(paid.cumulative <= params.spendable(funding.capacity));
}

fn payee_replays(records: &Records) {
    let Some(events) = decoded(records) else { return };
    let Some(payee) = taken(Payee::replay(events)) else { return };
    let (params, state) = (payee.params(), payee.state());
    assert_eq!(params.validate(), Ok(()));
    verifies(params, payee.funding(), state.paid);
    verifies(params, payee.funding(), state.closing);
    assert!(payee.owed() <= Msat::from_amount(payee.accepted()).unwrap(), "more delivered than paid");
    assert!(payee.funding().is_none_or(|funding| funding.capacity >= params.min_deposit));
    // It goes on, whatever it is asked.
    let second = params.tariff.unit.base();
    for tip in [0, params.stop_height(), params.expiry, u32::MAX] {
        let _ = (payee.cover(second, tip), payee.release(second, tip), payee.expire(tip), payee.stop());
    }
}

fn payer_replays(records: &Records) {
    let Some(events) = decoded(records) else { return };
    let Some(payer) = taken(Payer::replay(events, payer_key(), Budget::default())) else { return };
    let params = payer.params();
    assert_eq!(params.validate(), Ok(()));
    verifies(params, payer.funding(), payer.closing().copied());
    let paid = payer.paid();
    let capacity = payer.funding().map_or(Amount::ZERO, |funding| params.spendable(funding.capacity));
    assert!(paid <= capacity, "{paid} of {capacity} paid");
    let second = params.tariff.unit.base();
    let _ = (payer.need(payer.received() + second, 0, NOW), payer.stop(), payer.stopped(payer.received()));
    if let Some(funding) = payer.funding() {
        let outputs = [SeenOutput { funding: *funding, confirmations: 1 }];
        let _ = (payer.refund(&outputs, FEE_RATE, params.expiry), payer.refund_kit(&outputs));
    }
}
