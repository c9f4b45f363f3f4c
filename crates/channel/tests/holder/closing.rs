//! Closing by agreement.

use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction, TxOut};
use rillpay_channel::Code;
use rillpay_channel::revocable::holder::{Effect, End, Holder};
use rillpay_wire::messages::{ClosingSigned, ErrorMessage, Shutdown};
use rillpay_wire::{Message, Payload};

use crate::consensus::accepted;
use crate::pair::{CAPACITY, HITESH, IRENE, Pair, rate, terms};

fn shut_down(pair: &mut Pair, who: usize) {
    pair.act(who, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
}

fn closed(pair: &Pair) -> Transaction {
    let [hitesh, irene] = [HITESH, IRENE].map(|who| match pair.sides[who].ended() {
        Some(End::Closed(transaction)) => transaction.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(hitesh, irene, "both broadcast the same");
    for side in &pair.sides {
        assert!(side.took(|effect| *effect == Effect::Broadcast(hitesh.clone())));
    }
    let channel = pair.sides[HITESH].holder.channel();
    let script_pubkey = channel.funding_script().to_p2wsh();
    assert!(accepted(&hitesh, &[(channel.funding.outpoint, TxOut { value: CAPACITY, script_pubkey })]));
    hitesh
}

fn paid(transaction: &Transaction, script: &ScriptBuf) -> Option<Amount> {
    transaction.output.iter().find(|output| output.script_pubkey == *script).map(|output| output.value)
}

#[test]
fn either_asks_and_the_opener_pays_the_fee() {
    for who in [HITESH, IRENE] {
        let mut pair = Pair::open(500_000_000);
        shut_down(&mut pair, who);
        pair.run();
        let transaction = closed(&pair);
        let fee = CAPACITY - transaction.output.iter().map(|output| output.value).sum::<Amount>();
        assert_eq!(paid(&transaction, &terms(IRENE).payout), Some(Amount::from_sat(500_000_000)));
        assert_eq!(paid(&transaction, &terms(HITESH).payout), Some(Amount::from_sat(500_000_000) - fee));
        // At the rate that the opener asked for, or the commitment's. A signature may be a byte or two shorter than reckoned.
        let rate = if who == HITESH { FeeRate::from_sat_per_vb_u32(2) } else { rate() };
        let asked = rate.fee_wu(transaction.weight()).unwrap();
        assert!(fee >= asked && fee <= asked + Amount::from_sat(10), "{fee}, {asked}");
    }
}

/// After a break both say shutdown again, and agree again: at the commitment's rate, as what the opener had asked for is forgotten. What pays
/// more stays.
#[test]
fn a_close_that_is_taken_up_again_replaces_no_dearer_one() {
    let mut pair = Pair::open(500_000_000);
    pair.act(HITESH, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(20))).unwrap();
    pair.run();
    let dear = closed(&pair);
    pair.restart(HITESH);
    pair.log.clear();
    pair.run();
    for kind in [Shutdown::KIND, ClosingSigned::KIND] {
        assert!([HITESH, IRENE].iter().all(|who| pair.log.contains(&(*who, kind))), "{kind}");
    }
    assert_eq!(closed(&pair), dear);
}

#[test]
fn payments_under_way_end_first_and_no_others_begin() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    // Wanted in the middle of an update: it is said when it may be.
    shut_down(&mut pair, HITESH);
    assert_eq!(pair.sides.each_ref().map(|side| side.holder.is_closing()), [true, false]);
    assert_eq!(pair.offer(HITESH, 1_000_000, 2).unwrap_err().code(), Code::Unavailable);
    pair.sign(HITESH);
    pair.run();
    assert!(pair.sides.iter().all(|side| side.ended().is_none()));
    assert_eq!(pair.offer(IRENE, 1_000_000, 2).unwrap_err().code(), Code::Unavailable);
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.sign(IRENE);
    pair.run();
    assert_eq!(paid(&closed(&pair), &terms(IRENE).payout), Some(Amount::from_sat(501_000_000)));
}

#[test]
fn dust_is_left_out() {
    let mut pair = Pair::open(0);
    shut_down(&mut pair, IRENE);
    pair.run();
    assert_eq!(closed(&pair).output.len(), 1);
}

#[test]
fn a_broken_connection_begins_the_closing_anew() {
    for lost in 0..5 {
        let mut pair = Pair::open(500_000_000);
        shut_down(&mut pair, IRENE);
        for n in 0..lost {
            pair.deliver(n % 2).unwrap();
        }
        pair.kill(lost % 2);
        pair.connect();
        pair.run();
        if lost == 0 {
            // What was said before the crash is said again.
            assert_eq!(pair.log.iter().filter(|(who, kind)| (*who, *kind) == (IRENE, 38)).count(), 2);
        }
        closed(&pair);
    }
}

/// Irene answers as whoever knows of no channel.
fn says_error(pair: &mut Pair) {
    let error = ErrorMessage::new(pair.sides[HITESH].holder.id(), "no such channel");
    pair.hear(HITESH, &error.into()).unwrap();
}

/// Both have said shutdown, and one answers as if there were no channel: it has closed, or lost what it knew. Its closing transaction
/// is waited for, and then the chain decides.
#[test]
fn whoever_has_forgotten_the_channel_does_not_keep_the_other_from_its_money() {
    let ended = |answer: fn(&mut Pair), blocks: u32| {
        let mut pair = Pair::open(500_000_000);
        shut_down(&mut pair, HITESH);
        pair.deliver(IRENE).unwrap();
        pair.deliver(HITESH).unwrap();
        pair.restart(IRENE);
        answer(&mut pair);
        for height in 0..blocks {
            pair.act(HITESH, |side| side.holder.at_height(&side.keys, height)).unwrap();
        }
        pair.sides[HITESH].ended().cloned()
    };
    let zeros = |pair: &mut Pair| {
        let Ok(Message::ChannelReestablish(mut said)) = Message::decode(&pair.sides[HITESH].inbox[0]) else {
            panic!("channel_reestablish");
        };
        (said.next_commitment_number, said.next_revocation_number) = (0, 0);
        pair.hear(HITESH, &said.into()).unwrap();
    };
    for answer in [says_error as fn(&mut Pair), zeros] {
        assert_eq!(ended(answer, 6), None);
        assert_eq!(ended(answer, 7), Some(End::Failed));
    }
    // One that knows of it after all.
    let back = |pair: &mut Pair| {
        says_error(pair);
        pair.deliver(HITESH).unwrap();
    };
    assert_eq!(ended(back, 100), None);
    // A copy has nothing to broadcast.
    let copy = |pair: &mut Pair| {
        pair.sides[HITESH].stored = Holder::restore(&pair.sides[HITESH].stored).unwrap();
        pair.restart(HITESH);
        says_error(pair);
    };
    assert_eq!(ended(copy, 100), None);
}

#[test]
fn an_agreed_close_is_said_again_to_whom_it_did_not_reach() {
    let mut pair = Pair::open(500_000_000);
    shut_down(&mut pair, HITESH);
    while pair.sides[IRENE].ended().is_none() {
        pair.deliver(IRENE).unwrap();
        if pair.sides[IRENE].ended().is_none() {
            pair.deliver(HITESH).unwrap();
        }
    }
    assert!(pair.sides[HITESH].ended().is_none());
    pair.reconnect();
    pair.run();
    closed(&pair);
}

#[test]
fn a_closing_transaction_of_another_kind_is_refused() {
    let mut pair = Pair::open(500_000_000);
    shut_down(&mut pair, HITESH);
    let mut offer = None;
    while offer.is_none() {
        pair.deliver(HITESH).unwrap();
        let next = pair.sides[IRENE].inbox.front().cloned();
        match next.map(|bytes| Message::decode(&bytes).unwrap()) {
            Some(Message::ClosingSigned(message)) => offer = Some(message),
            _ => {
                pair.deliver(IRENE).unwrap();
            }
        }
    }
    let offer = offer.unwrap();
    let irene = &pair.sides[IRENE];
    let refused = |change: fn(&mut rillpay_wire::messages::ClosingSigned)| {
        let mut offer = offer.clone();
        change(&mut offer);
        irene.holder.receive(&irene.keys, &offer.into()).unwrap_err().code()
    };
    assert_eq!(refused(|offer| offer.fee_satoshis += Amount::ONE_SAT), Code::InvalidSignature);
    assert_eq!(refused(|offer| offer.signature.0[5] ^= 1), Code::InvalidSignature);
    assert_eq!(refused(|offer| offer.fee_satoshis = Amount::MAX), Code::Unaffordable);
    // An opener gets no offer before its own.
    let hitesh = &Pair::open(500_000_000).sides[HITESH];
    let early = hitesh.holder.receive(&hitesh.keys, &offer.into()).unwrap_err();
    assert_eq!(early.code(), Code::UnexpectedMessage);
}

/// Two payments end while a shutdown is said: their ends are said again, and so is the shutdown.
#[test]
fn a_shutdown_is_said_again_among_ends_of_payments() {
    let mut pair = Pair::open(500_000_000);
    for secret in [1, 2] {
        pair.offer(HITESH, 1_000_000, secret).unwrap();
    }
    pair.sign(HITESH);
    pair.run();
    shut_down(&mut pair, IRENE);
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.sign(IRENE);
    pair.cut();
    pair.fulfill(IRENE, 1, 2).unwrap();
    pair.connect();
    pair.run();
    assert_eq!(paid(&closed(&pair), &terms(IRENE).payout), Some(Amount::from_sat(502_000_000)));
}

/// Nobody is asked for a signature under a transaction that leaves out what is theirs, or that no node relays.
#[test]
fn a_close_that_leaves_something_out_is_refused() {
    let mut pair = Pair::open(500_000_000);
    shut_down(&mut pair, IRENE);
    pair.deliver(HITESH).unwrap();
    pair.deliver(IRENE).unwrap();
    let front = Message::decode(&pair.sides[IRENE].inbox[0]).unwrap();
    let Message::ClosingSigned(good) = front else { panic!("{front:?}") };
    let channel = *pair.sides[HITESH].holder.channel();
    let signed = |outputs: Vec<TxOut>| {
        let input = bitcoin::TxIn {
            previous_output: channel.funding.outpoint,
            sequence: bitcoin::Sequence::MAX,
            ..Default::default()
        };
        let transaction = Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![input],
            output: outputs,
        };
        let hash = bitcoin::sighash::SighashCache::new(&transaction).p2wsh_signature_hash(
            0,
            &channel.funding_script(),
            CAPACITY,
            bitcoin::EcdsaSighashType::All,
        );
        let message = bitcoin::secp256k1::Message::from_digest(*hash.unwrap().as_ref());
        let mut offer = good.clone();
        let key = pair.sides[HITESH].keys.funding.expose();
        offer.signature = rillpay_channel::secp().sign_ecdsa(&message, &key).into();
        let irene = &pair.sides[IRENE];
        irene.holder.receive(&irene.keys, &offer.into()).map(drop).map_err(|error| error.code())
    };
    let out = |who: usize, sat| TxOut { value: Amount::from_sat(sat), script_pubkey: terms(who).payout };
    let (hitesh, irene) = (500_000_000 - good.fee_satoshis.to_sat(), 500_000_000);
    assert_eq!(signed(vec![out(HITESH, hitesh), out(IRENE, irene)]), Ok(()));
    // Its own he may leave to the miners.
    assert_eq!(signed(vec![out(IRENE, irene)]), Ok(()));
    assert_eq!(signed(vec![out(HITESH, hitesh)]), Err(Code::InvalidSignature));
    assert_eq!(signed(vec![]), Err(Code::InvalidSignature));
}

#[test]
fn after_the_close_is_agreed_nothing_is_updated() {
    let mut pair = Pair::open(500_000_000);
    shut_down(&mut pair, HITESH);
    let set = |pair: &mut Pair| {
        pair.act(HITESH, |side| side.holder.set_fee(&side.keys, FeeRate::from_sat_per_kwu(2_000))).unwrap_err().code()
    };
    assert_eq!(set(&mut pair), Code::Closing);
    pair.run();
    closed(&pair);
    assert_eq!(set(&mut pair), Code::Closing);
    // Should it not confirm, the commitment still may.
    let why = rillpay_channel::Error::new(Code::Unavailable, "it does not confirm");
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &why)).unwrap();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::Failed));
}
