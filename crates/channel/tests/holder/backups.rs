//! Copies in a backup: whole ones, and those for which there was no room.

use bitcoin::hashes::Hash;
use bitcoin::{Amount, Network, OutPoint, Txid};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::backup::{Backup, BackupKey, ChannelCopy, Sealed};
use rillpay_channel::revocable::holder::{End, Holder, Reaction, Spending, Terms};
use rillpay_channel::{Code, bitcoin};

use crate::pair::{CAPACITY, HITESH, IRENE, Pair, keys, terms};

fn key() -> BackupKey {
    BackupKey::from_seed(&Seed::from_bip39_seed(&[1; 64], Network::Regtest)).unwrap()
}

fn sealed(copies: &[Vec<u8>]) -> (Backup, Sealed) {
    let peer = keys(IRENE).funding.public();
    let copy = |(index, held): (usize, &Vec<u8>)| ChannelCopy {
        index: index as u32,
        peer,
        since: 1,
        version: 1,
        held: held.clone(),
    };
    let channels = copies.iter().enumerate().map(copy).collect();
    let backup = Backup { next_index: copies.len() as u32, since: 1, peers: vec![], channels };
    let sealed = backup.clone().seal(&key(), Network::Regtest, [1; 24]).unwrap();
    (backup, sealed)
}

/// After payments both ways, and with so many under way over HTLCs.
fn busy(payments: u64) -> Pair {
    let full = |who| Terms { max_accepted: 483, ..terms(who) };
    let mut pair = Pair::funded([full(HITESH), full(IRENE)], 500_000_000);
    for who in [HITESH, IRENE] {
        pair.confirm(who, 3);
    }
    pair.run();
    for who in [IRENE, HITESH] {
        pair.pay(who, 100_000_000).unwrap();
        pair.sign(who);
        pair.run();
    }
    pair.pay(IRENE, 200_000_000).unwrap();
    pair.sign(IRENE);
    pair.run();
    for n in 0..payments {
        pair.offer(HITESH, 1_000 + n, n as u8).unwrap();
    }
    pair.sign(HITESH);
    pair.run();
    pair
}

#[test]
fn a_state_is_small_unless_payments_are_under_way() {
    let (quiet, busy) = (busy(0), busy(60));
    let [quiet, busy] = [&quiet.sides[HITESH].stored, &busy.sides[IRENE].stored];
    assert!(quiet.len() < 2_000, "{}", quiet.len());
    assert!(busy.len() > 65_531, "{}", busy.len());
    // Whole, as long as there is room.
    let (backup, with_room) = sealed(&vec![quiet.clone(); 20]);
    assert_eq!(with_room.left_out, 0);
    assert_eq!(Backup::open(&with_room.blob, &key(), Network::Regtest).unwrap(), backup);
    // The longest is the first to be shortened.
    let (backup, without) = sealed(&[quiet.clone(), busy.clone(), quiet.clone()]);
    assert_eq!(without.left_out, 0);
    let mut read = Backup::open(&without.blob, &key(), Network::Regtest).unwrap();
    read.channels.sort_by_key(|channel| channel.index);
    assert_eq!(read.channels[0], backup.channels[0]);
    assert_eq!(read.channels[2], backup.channels[2]);
    assert_eq!(read.channels[1].held, Holder::forget(busy).unwrap());
    assert!(read.channels[1].held.len() < 1_000, "{}", read.channels[1].held.len());
    // What cannot be read cannot be shortened.
    let damaged = ChannelCopy { held: vec![9; 65_531], ..backup.channels[0].clone() };
    let damaged = Backup { channels: vec![damaged], ..backup };
    assert_eq!(damaged.seal(&key(), Network::Regtest, [1; 24]).err().unwrap().code(), Code::CorruptedStore);
}

#[test]
fn where_not_even_that_has_room_the_largest_channels_have_it() {
    let outpoint = OutPoint { txid: Txid::from_byte_array([8; 32]), vout: 0 };
    let less = (CAPACITY - Amount::ONE_SAT, 500_000_000);
    let small = Pair::funded_with([terms(HITESH), terms(IRENE)], less, outpoint).sides[HITESH].stored.clone();
    let large = busy(0).sides[HITESH].stored.clone();
    let mut copies = vec![small; 100];
    copies.extend(vec![large; 40]);
    let (_, sealed) = sealed(&copies);
    let read = Backup::open(&sealed.blob, &key(), Network::Regtest).unwrap();
    assert_eq!(read.channels.len() + sealed.left_out, 140);
    assert!((60..100).contains(&read.channels.len()), "{}", read.channels.len());
    assert_eq!(read.channels.iter().filter(|channel| channel.index >= 100).count(), 40);
}

/// The oldest copy there can be: the counterparty proves it, and closes; the money is there with the keys alone.
#[test]
fn a_forgotten_channel_asks_the_counterparty_to_close() {
    for (who, payments) in [(HITESH, 0), (IRENE, 0), (HITESH, 3), (IRENE, 3)] {
        let mut pair = busy(payments);
        pair.cut();
        let before = pair.sides[who].balance();
        let side = &mut pair.sides[who];
        side.stored = Holder::forget(&side.stored).unwrap();
        side.holder = Holder::load(&side.stored).unwrap();
        assert!(side.holder.is_copy() && side.holder.is_ready() && side.holder.ledger().is_quiet());
        assert_eq!(side.holder.commitment(&side.keys).unwrap_err().code(), Code::Unavailable);
        pair.connect();
        let other = 1 - who;
        let behind = pair.deliver(other).unwrap_err();
        assert_eq!(Holder::reaction(&behind), Reaction::Fail);
        pair.act(other, |side| side.holder.fail(&side.keys, &behind)).unwrap();
        pair.run();
        assert_eq!(pair.sides[who].ended(), Some(&End::FellBehind));
        let commitment = pair.sides[other].holder.commitment(&pair.sides[other].keys).unwrap();
        let seen = pair.sides[who].view(&commitment);
        assert!(matches!(seen.spending(), Spending::Unknown(_)), "{:?}", seen.spending());
        let claims = seen.claims(&commitment).unwrap();
        assert_eq!(claims.len(), 1);
        let value: u64 = claims.iter().map(|claim| claim.value().to_sat()).sum();
        assert!(value <= before && value > before - 20_000, "{value} of {before}");
    }
}

/// One commitment behind, where the counterparty could take the copy for one that a message got lost to.
#[test]
fn a_forgotten_channel_after_one_payment_is_behind_all_the_same() {
    for who in [HITESH, IRENE] {
        for payer in [HITESH, IRENE] {
            let mut pair = Pair::open(500_000_000);
            pair.pay(payer, 100_000_000).unwrap();
            pair.sign(payer);
            pair.run();
            pair.cut();
            let side = &mut pair.sides[who];
            side.holder = Holder::load(&Holder::forget(&side.stored).unwrap()).unwrap();
            pair.connect();
            while pair.deliver(1 - who).is_ok_and(|more| more) {}
            pair.deliver(who).unwrap();
            assert_eq!(pair.sides[who].ended(), Some(&End::FellBehind), "{who} {payer}");
        }
    }
}
