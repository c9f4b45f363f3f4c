//! Connections that break, sides that crash, and sides that lost what they knew.

use rillpay_channel::Code;
use rillpay_channel::revocable::holder::{Effect, End, Failure, Holder, Reaction};
use rillpay_wire::Message;

use crate::pair::{HITESH, IRENE, Pair, preimage};

/// Payments both ways, a fee and an end of each kind: whatever `accident` does after message `at`.
fn busy_day(at: usize, accident: impl Fn(&mut Pair)) -> (Pair, bool) {
    let mut pair = Pair::open(500_000_000);
    let mut left = at;
    let mut happened = false;
    let mut settle = |pair: &mut Pair, happened: &mut bool| {
        loop {
            if left == 0 && !*happened {
                accident(pair);
                *happened = true;
            }
            left = left.saturating_sub(1);
            let one = pair.deliver(HITESH).unwrap();
            if left == 0 && !*happened {
                accident(pair);
                *happened = true;
            }
            left = left.saturating_sub(1);
            let other = pair.deliver(IRENE).unwrap();
            if !one && !other {
                return;
            }
        }
    };
    // What was lost with the connection is offered again, as a caller would.
    let open = |pair: &Pair, who: usize, sat: u64| {
        pair.sides[who]
            .holder
            .ledger()
            .offered(pair.sides[who].holder.role())
            .any(|(_, htlc)| htlc.amount == crate::pair::msat(sat))
    };
    for _ in 0..2 {
        for (who, sat, secret) in [(HITESH, 3_000_000, 1), (IRENE, 2_000_000, 2)] {
            if !open(&pair, who, sat) {
                pair.offer(who, sat, secret).unwrap();
            }
            pair.sign(who);
        }
        settle(&mut pair, &mut happened);
    }
    for _ in 0..2 {
        for (who, secret) in [(IRENE, 1), (HITESH, 2)] {
            let waiting: Vec<_> = pair.sides[who].holder.received().map(|(id, ..)| id).collect();
            for id in waiting {
                if secret == 1 {
                    pair.fulfill(who, id, secret).unwrap();
                } else {
                    pair.send_back(who, id, Failure::Reason(vec![1])).unwrap();
                }
            }
            pair.sign(who);
        }
        settle(&mut pair, &mut happened);
    }
    (pair, happened)
}

fn ends_well(name: &str, accident: impl Fn(&mut Pair)) {
    for at in 0..200 {
        let (pair, happened) = busy_day(at, &accident);
        pair.check();
        assert!(pair.sides.iter().all(|side| side.holder.ledger().is_quiet()), "{name} {at}");
        assert_eq!(pair.balances(), [497_000_000, 503_000_000], "{name} {at}");
        let [hitesh, irene] = &pair.sides;
        assert!(hitesh.took(|effect| matches!(effect, Effect::Resolved(0, _, Ok(p)) if *p == preimage(1))));
        assert!(irene.took(|effect| matches!(effect, Effect::Resolved(0, _, Err(_)))));
        if !happened {
            assert!(at > 20, "{name}: {at} places for an accident");
            return;
        }
    }
    panic!("the day does not end");
}

#[test]
fn a_connection_breaks_anywhere() {
    ends_well("cut", Pair::reconnect);
}

#[test]
fn either_is_killed_anywhere() {
    for who in [HITESH, IRENE] {
        ends_well("kill", |pair| pair.restart(who));
    }
}

#[test]
fn it_breaks_again_while_it_is_taken_up_again() {
    for messages in 1..6 {
        ends_well("twice", |pair| pair.breaks_twice(messages));
    }
}

/// A payment that is known to be paid is taken, whenever the connection is there.
#[test]
fn a_preimage_waits_for_the_connection() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    pair.cut();
    assert_eq!(pair.fulfill(IRENE, 0, 2).unwrap_err().code(), Code::WrongPreimage);
    assert_eq!(pair.fulfill(IRENE, 1, 1).unwrap_err().code(), Code::UnknownHtlc);
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.kill(IRENE);
    pair.connect();
    pair.run();
    assert_eq!(pair.balances(), [499_000_000, 501_000_000]);
    pair.check();
}

#[test]
fn nothing_is_said_before_the_channel_is_taken_up_again() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    let add = Message::decode(&pair.sides[IRENE].inbox[0]).unwrap();
    pair.cut();
    assert_eq!(pair.offer(HITESH, 1_000_000, 1).unwrap_err().code(), Code::Unavailable);
    for _ in 0..2 {
        let refused = pair.hear(IRENE, &add).unwrap_err();
        assert_eq!((refused.code(), Holder::reaction(&refused)), (Code::UnexpectedMessage, Reaction::Warn));
        pair.act(IRENE, |side| side.holder.connected(&side.keys, true)).unwrap();
    }
}

/// `channel_ready` was lost: it is said again, and only then.
#[test]
fn readiness_is_said_again() {
    let mut pair = Pair::funded([crate::pair::terms(HITESH), crate::pair::terms(IRENE)], 500_000_000);
    for who in [HITESH, IRENE] {
        pair.confirm(who, 2);
        assert!(!pair.sides[who].holder.is_funded());
        assert_eq!(pair.log.len(), who, "not deep enough");
        pair.confirm(who, 3);
        assert!(pair.sides[who].holder.is_funded() && !pair.sides[who].holder.is_ready());
        pair.confirm(who, 4);
    }
    assert_eq!(pair.log, [(HITESH, 36), (IRENE, 36)]);
    pair.kill(HITESH);
    pair.connect();
    pair.run();
    assert!(pair.sides.iter().all(|side| side.holder.is_open()));
    pair.offer(HITESH, 1_000, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    pair.log.clear();
    pair.reconnect();
    pair.run();
    assert_eq!(pair.log, [(HITESH, 136), (IRENE, 136)]);
}

fn pays(pair: &mut Pair, times: u64) {
    for id in 0..times {
        let next = pair.sides[HITESH].holder.ledger().next_id(pair.sides[HITESH].holder.role());
        pair.offer(HITESH, 1_000_000, id as u8).unwrap();
        pair.sign(HITESH);
        pair.run();
        pair.fulfill(IRENE, next, id as u8).unwrap();
        pair.sign(IRENE);
        pair.run();
    }
}

/// Who lost what they knew says so, and broadcasts nothing: the counterparty does.
#[test]
fn an_old_copy_asks_the_counterparty_to_close() {
    for who in [HITESH, IRENE] {
        let mut pair = Pair::open(500_000_000);
        pays(&mut pair, 1);
        let copy = pair.sides[who].stored.clone();
        pays(&mut pair, 2);
        pair.cut();
        pair.sides[who].holder = Holder::load(&Holder::restore(&copy).unwrap()).unwrap();
        let refused = pair.sides[who].holder.commitment(&pair.sides[who].keys).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        pair.connect();
        // The counterparty sees a peer that is behind, and fails the channel.
        let other = 1 - who;
        let behind = pair.deliver(other).unwrap_err();
        assert_eq!((behind.code(), Holder::reaction(&behind)), (Code::PeerBehind, Reaction::Fail));
        pair.act(other, |side| side.holder.fail(&side.keys, &behind)).unwrap();
        assert!(pair.sides[other].took(|effect| matches!(effect, Effect::Broadcast(_))));
        // It proves it, too: whoever was behind knows now for sure.
        pair.run();
        assert_eq!(pair.sides[who].ended(), Some(&End::FellBehind));
        assert!(!pair.sides[who].took(|effect| matches!(effect, Effect::Broadcast(_))));
    }
}

/// A copy that seems to be new may not be: the counterparty could lie. It pays and closes by agreement, and never alone.
#[test]
fn a_copy_goes_on_but_never_broadcasts() {
    let mut pair = Pair::open(500_000_000);
    pays(&mut pair, 1);
    pair.cut();
    let irene = &mut pair.sides[IRENE];
    irene.stored = Holder::restore(&irene.stored).unwrap();
    irene.holder = Holder::load(&irene.stored).unwrap();
    pair.connect();
    pair.run();
    pays(&mut pair, 1);
    pair.kill(IRENE);
    pair.connect();
    pair.run();
    let why = rillpay_channel::Error::new(Code::PeerBehind, "enough");
    pair.act(IRENE, |side| side.holder.fail(&side.keys, &why)).unwrap();
    assert_eq!(pair.sides[IRENE].ended(), Some(&End::FellBehind));
    assert!(!pair.sides[IRENE].took(|effect| matches!(effect, Effect::Broadcast(_))));
    pair.run();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::Failed));
}

/// A peer that claims the future has to prove it, and one that claims the past has no claim.
#[test]
fn claims_about_past_and_future() {
    let mut pair = Pair::open(500_000_000);
    pays(&mut pair, 3);
    pair.reconnect();
    let hello = Message::decode(&pair.sides[IRENE].inbox[0]).unwrap();
    let Message::ChannelReestablish(hello) = hello else { panic!("{hello:?}") };
    let refused = |change: fn(&mut rillpay_wire::messages::ChannelReestablish)| {
        let mut hello = hello.clone();
        change(&mut hello);
        let irene = &pair.sides[IRENE];
        let error = irene.holder.receive(&irene.keys, &hello.into()).unwrap_err();
        assert_eq!(Holder::reaction(&error), Reaction::Fail);
        error.code()
    };
    assert_eq!(refused(|hello| hello.next_revocation_number += 1), Code::InvalidSecret);
    assert_eq!(refused(|hello| hello.next_revocation_number = u64::MAX), Code::InvalidSecret);
    assert_eq!(refused(|hello| hello.your_last_per_commitment_secret.0[0] ^= 1), Code::InvalidSecret);
    assert_eq!(refused(|hello| hello.next_revocation_number -= 1), Code::InvalidSecret);
    // Nothing proves nothing.
    for future in [1 << 48, (1 << 48) + 1, u64::MAX] {
        let mut hello = hello.clone();
        (hello.next_revocation_number, hello.your_last_per_commitment_secret.0) = (future, [0; 32]);
        let irene = &pair.sides[IRENE];
        assert_eq!(irene.holder.receive(&irene.keys, &hello.into()).unwrap_err().code(), Code::InvalidSecret);
    }
    for claimed in [0, 1, u64::MAX] {
        let mut hello = hello.clone();
        hello.next_commitment_number = claimed;
        let irene = &pair.sides[IRENE];
        assert_eq!(irene.holder.receive(&irene.keys, &hello.into()).unwrap_err().code(), Code::PeerBehind);
    }
}

#[test]
fn damaged_stores_are_refused() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    pair.sign(HITESH);
    damage(&pair.sides[HITESH].stored);
    // One whose funding both sign for, before and after they have.
    let mut pair = crate::both::five_and_five();
    damage(&pair.sides[HITESH].stored);
    pair.run();
    damage(&pair.sides[HITESH].stored);
}

fn damage(stored: &[u8]) {
    Holder::load(stored).unwrap();
    for end in 0..stored.len() {
        assert_eq!(Holder::load(&stored[..end]).unwrap_err().code(), Code::CorruptedStore);
    }
    // Any byte changed: refused, or harmless enough to be read.
    for at in 0..stored.len() {
        let mut bytes = stored.to_vec();
        bytes[at] ^= 0x41;
        if let Err(error) = Holder::load(&bytes) {
            assert_eq!(error.code(), Code::CorruptedStore);
        }
    }
}

/// A store that went back unnoticed: once the counterparty has proven it, nothing is broadcast any more.
#[test]
fn who_was_proven_to_be_behind_broadcasts_nothing() {
    let mut pair = Pair::open(500_000_000);
    let old = pair.sides[HITESH].stored.clone();
    pays(&mut pair, 2);
    pair.cut();
    let hitesh = &mut pair.sides[HITESH];
    hitesh.stored = old;
    hitesh.holder = Holder::load(&hitesh.stored).unwrap();
    pair.connect();
    assert!(pair.deliver(IRENE).is_err());
    pair.deliver(HITESH).unwrap();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::FellBehind));
    pair.kill(HITESH);
    let hitesh = &pair.sides[HITESH];
    assert_eq!(hitesh.holder.commitment(&hitesh.keys).unwrap_err().code(), Code::Unavailable);
}

/// Whatever an effect told is asked for again after a crash, until it was taken in.
#[test]
fn what_an_effect_told_is_kept() {
    let mut pair = Pair::open(500_000_000);
    for secret in [1, 2, 3] {
        pair.offer(HITESH, 1_000_000, secret).unwrap();
    }
    pair.sign(HITESH);
    pair.run();
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.send_back(IRENE, 1, Failure::Reason(vec![7])).unwrap();
    pair.sign(IRENE);
    // Hitesh has the preimage and the signature, and dies before he has done anything with either.
    for _ in 0..3 {
        pair.deliver(HITESH).unwrap();
    }
    pair.kill(HITESH);
    assert_eq!(pair.sides[HITESH].holder.learned().collect::<Vec<_>>(), [(0, preimage(1))]);
    pair.connect();
    pair.run();
    pair.kill(HITESH);
    let failure = Failure::Reason(vec![7]);
    let known: Vec<_> = pair.sides[HITESH].holder.outcomes().map(|(id, one)| (id, one.clone())).collect();
    assert_eq!(known, [(0, Ok(preimage(1))), (1, Err(failure))]);
    for id in [0, 1] {
        pair.act(HITESH, |side| side.holder.acknowledge(&side.keys, id)).unwrap();
    }
    pair.kill(HITESH);
    assert_eq!(pair.sides[HITESH].holder.outcomes().count(), 0);
    let again = pair.act(HITESH, |side| side.holder.acknowledge(&side.keys, 0)).unwrap_err();
    assert_eq!(again.code(), Code::UnknownHtlc);
}

#[test]
fn what_is_lost_with_the_connection_is_told() {
    let mut pair = Pair::open(500_000_000);
    for secret in [1, 2] {
        pair.offer(HITESH, 1_000_000, secret).unwrap();
        if secret == 1 {
            pair.sign(HITESH);
        }
    }
    assert!(pair.sides[HITESH].took(|effect| *effect == Effect::Offered(1)));
    pair.cut();
    assert!(pair.sides[HITESH].took(|effect| *effect == Effect::Dropped(1)));
    assert!(!pair.sides[HITESH].took(|effect| *effect == Effect::Dropped(0)));
}

/// As many payments as BOLT 2 allows, all of them ending while as many begin: what is stored can be read again.
#[test]
fn the_fullest_channel_is_read_again() {
    let full = |who| rillpay_channel::revocable::holder::Terms { max_accepted: 483, ..crate::pair::terms(who) };
    let mut pair = Pair::funded([full(HITESH), full(IRENE)], 500_000_000);
    for who in [HITESH, IRENE] {
        pair.confirm(who, 3);
    }
    pair.run();
    for n in 0..483u64 {
        pair.offer(HITESH, 1_000 + n, (n % 200) as u8).unwrap();
    }
    pair.sign(HITESH);
    pair.run();
    for id in 0..483 {
        pair.send_back(IRENE, id, Failure::Reason(vec![1])).unwrap();
    }
    pair.sign(IRENE);
    while pair.sides[HITESH].holder.ledger().owes_revocation(pair.sides[HITESH].holder.role())
        || pair.sides[HITESH].inbox.len() > 1
    {
        pair.deliver(HITESH).unwrap();
    }
    pair.deliver(HITESH).unwrap();
    // His revocation arrives, his signature does not; and more payments come.
    pair.deliver(IRENE).unwrap();
    pair.sides[IRENE].inbox.clear();
    for n in 0..483u64 {
        if pair.offer(HITESH, 1_000 + n, (n % 200) as u8).is_err() {
            break;
        }
        pair.deliver(IRENE).unwrap();
    }
    let why = rillpay_channel::Error::new(Code::Unavailable, "enough");
    pair.act(IRENE, |side| side.holder.fail(&side.keys, &why)).unwrap();
    Holder::load(&pair.sides[IRENE].stored).unwrap();
}
