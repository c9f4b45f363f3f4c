//! What a counterparty may not send, and what BOLT 2 wants to be done about it. A refusal changes nothing.

use bitcoin::FeeRate;
use rillpay_channel::revocable::holder::{Effect, End, Failure, Holder, Reaction, Terms};
use rillpay_channel::{Code, Error};
use rillpay_wire::messages::{CommitmentSigned, Shutdown, UpdateAddHtlc, UpdateFee};
use rillpay_wire::types::FeeratePerKw;
use rillpay_wire::{ChannelId, Message, Payload};

use crate::pair::{HITESH, IRENE, Pair, msat, terms};

/// What Irene says to a message in place of the next one of Hitesh's.
fn refuses(pair: &Pair, message: impl Into<Message>) -> (Code, Reaction) {
    let irene = &pair.sides[IRENE];
    let error: Error = irene.holder.receive(&irene.keys, &message.into()).map(drop).unwrap_err();
    (error.code(), Holder::reaction(&error))
}

fn next<T>(pair: &mut Pair, take: impl Fn(Message) -> Option<T>) -> T {
    loop {
        let bytes = pair.sides[IRENE].inbox.front().cloned().expect("a message");
        if let Some(found) = take(Message::decode(&bytes).unwrap()) {
            return found;
        }
        pair.deliver(IRENE).unwrap();
    }
}

fn offered() -> (Pair, UpdateAddHtlc) {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    let add = next(&mut pair, |message| match message {
        Message::UpdateAddHtlc(add) => Some(add),
        _ => None,
    });
    (pair, add)
}

fn signed() -> (Pair, CommitmentSigned) {
    let (mut pair, _) = offered();
    pair.sign(HITESH);
    let signed = next(&mut pair, |message| match message {
        Message::CommitmentSigned(signed) => Some(signed),
        _ => None,
    });
    (pair, signed)
}

#[test]
fn payments_out_of_bounds() {
    let (pair, add) = offered();
    let refused = |change: fn(&mut UpdateAddHtlc)| {
        let mut add = add.clone();
        change(&mut add);
        refuses(&pair, add)
    };
    assert_eq!(refused(|add| add.id.0 = 1), (Code::UnknownHtlc, Reaction::Fail));
    assert_eq!(refused(|add| add.amount_msat.0 = 0), (Code::HtlcOutOfBounds, Reaction::Fail));
    assert_eq!(refused(|add| add.amount_msat.0 = 999), (Code::HtlcOutOfBounds, Reaction::Fail));
    assert_eq!(refused(|add| add.amount_msat.0 = u64::MAX), (Code::Unaffordable, Reaction::Fail));
    // Beyond the reserve of a hundredth, and what the commitment costs.
    assert_eq!(refused(|add| add.amount_msat.0 = 490_000_000_000), (Code::Unaffordable, Reaction::Fail));
    assert_eq!(refused(|add| add.cltv_expiry = 500_000_000), (Code::HtlcOutOfBounds, Reaction::Fail));
    assert_eq!(refused(|add| add.channel_id = ChannelId([1; 32])), (Code::UnknownChannel, Reaction::Fail));
}

/// Each side says how much may be under way to it, in number and in sum.
#[test]
fn more_payments_than_may_be_under_way() {
    let few = Terms { max_accepted: 2, ..terms(IRENE) };
    let little = Terms { max_in_flight: msat(2_500_000), ..terms(IRENE) };
    for theirs in [few, little] {
        let mut pair = Pair::opened([terms(HITESH), theirs], 500_000_000);
        pair.offer(HITESH, 1_000_000, 0).unwrap();
        let Message::UpdateAddHtlc(mut add) = Message::decode(&pair.sides[IRENE].inbox[0]).unwrap() else { panic!() };
        pair.deliver(IRENE).unwrap();
        pair.offer(HITESH, 1_000_000, 1).unwrap();
        pair.deliver(IRENE).unwrap();
        assert_eq!(pair.offer(HITESH, 1_000_000, 2).unwrap_err().code(), Code::HtlcOutOfBounds);
        add.id.0 = 2;
        assert_eq!(refuses(&pair, add), (Code::HtlcOutOfBounds, Reaction::Fail));
        pair.sign(HITESH);
        pair.run();
        pair.check();
    }
}

#[test]
fn signatures_that_are_not_good() {
    let (pair, good) = signed();
    let refused = |change: fn(&mut CommitmentSigned)| {
        let mut message = good.clone();
        change(&mut message);
        refuses(&pair, message)
    };
    let bad = (Code::InvalidSignature, Reaction::Fail);
    assert_eq!(refused(|signed| signed.signature.0[7] ^= 1), bad);
    assert_eq!(refused(|signed| signed.signature.0 = [0xff; 64]), bad);
    assert_eq!(refused(|signed| signed.htlc_signatures[0].0[7] ^= 1), bad);
    assert_eq!(refused(|signed| signed.htlc_signatures.clear()), bad);
    assert_eq!(refused(|signed| signed.htlc_signatures.push(signed.signature)), bad);
    // Still good, as nothing has changed; and not a second time.
    let mut pair = pair;
    pair.deliver(IRENE).unwrap();
    assert_eq!(refuses(&pair, good), (Code::UnexpectedMessage, Reaction::Warn));
}

#[test]
fn revocations_that_do_not_revoke() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(IRENE, 1_000_000, 1).unwrap();
    pair.sign(IRENE);
    while pair.deliver(HITESH).unwrap() {}
    let revoked = next(&mut pair, |message| match message {
        Message::RevokeAndAck(revoked) => Some(revoked),
        _ => None,
    });
    for secret in [[0; 32], [0xff; 32], [1; 32]] {
        let mut wrong = revoked.clone();
        wrong.per_commitment_secret.0 = secret;
        assert_eq!(refuses(&pair, wrong), (Code::InvalidSecret, Reaction::Fail));
    }
    pair.run();
    assert_eq!(refuses(&pair, revoked), (Code::UnexpectedMessage, Reaction::Warn));
    pair.check();
}

#[test]
fn fees_out_of_bounds_and_from_the_wrong_side() {
    let mut pair = Pair::open(500_000_000);
    let fee = |pair: &Pair, rate| UpdateFee {
        channel_id: pair.sides[IRENE].holder.id(),
        feerate_per_kw: FeeratePerKw(rate),
        tlvs: Default::default(),
    };
    assert_eq!(refuses(&pair, fee(&pair, 252)), (Code::UnacceptableTerms, Reaction::Fail));
    assert_eq!(refuses(&pair, fee(&pair, 50_001)), (Code::UnacceptableTerms, Reaction::Fail));
    let message = fee(&pair, 1_000).into();
    assert_eq!(pair.hear(HITESH, &message).unwrap_err().code(), Code::UnexpectedMessage);
}

#[test]
fn ends_of_payments_that_are_not_there() {
    let (mut pair, _) = signed();
    pair.run();
    let channel_id = pair.sides[HITESH].holder.id();
    let fulfil = |id, preimage| rillpay_wire::messages::UpdateFulfillHtlc {
        channel_id,
        id: rillpay_wire::types::HtlcId(id),
        payment_preimage: rillpay_wire::types::Preimage([preimage; 32]),
        tlvs: Default::default(),
    };
    let mut heard = |message: Message| {
        let error = pair.hear(HITESH, &message).unwrap_err();
        (error.code(), Holder::reaction(&error))
    };
    assert_eq!(heard(fulfil(1, 1).into()), (Code::UnknownHtlc, Reaction::Fail));
    assert_eq!(heard(fulfil(0, 2).into()), (Code::WrongPreimage, Reaction::Fail));
    let malformed = rillpay_wire::messages::UpdateFailMalformedHtlc {
        channel_id,
        id: rillpay_wire::types::HtlcId(0),
        sha256_of_onion: bitcoin::hashes::Hash::hash(b""),
        failure_code: 5,
        tlvs: Default::default(),
    };
    assert_eq!(heard(malformed.into()), (Code::MalformedMessage, Reaction::Fail));
    assert_eq!(pair.fulfill(IRENE, 1, 1).unwrap_err().code(), Code::UnknownHtlc);
}

/// An opener that has little more than its reserve cannot pay for a commitment at a high rate.
#[test]
fn a_fee_that_its_sender_cannot_pay() {
    let mut pair = Pair::open(989_950_000);
    let fee = |rate| UpdateFee {
        channel_id: pair.sides[IRENE].holder.id(),
        feerate_per_kw: FeeratePerKw(rate),
        tlvs: Default::default(),
    };
    assert_eq!(refuses(&pair, fee(50_000)), (Code::Unaffordable, Reaction::Fail));
    let rate = FeeRate::from_sat_per_kwu(50_000);
    assert_eq!(pair.act(HITESH, |side| side.holder.set_fee(&side.keys, rate)).unwrap_err().code(), Code::Unaffordable);
    pair.act(HITESH, |side| side.holder.set_fee(&side.keys, FeeRate::from_sat_per_kwu(5_000))).unwrap();
    pair.sign(HITESH);
    pair.run();
    pair.check();
}

/// Every message at a moment when it has no meaning.
#[test]
fn messages_out_of_turn() {
    let (mut other, add) = offered();
    other.sign(HITESH);
    let pair = Pair::funded([terms(HITESH), terms(IRENE)], 500_000_000);
    assert_eq!(refuses(&pair, add.clone()), (Code::UnexpectedMessage, Reaction::Warn), "not ready");
    let mut pair = Pair::open(500_000_000);
    let hello = rillpay_wire::messages::ChannelReestablish {
        channel_id: add.channel_id,
        next_commitment_number: 1,
        next_revocation_number: 0,
        your_last_per_commitment_secret: rillpay_wire::types::CommitmentSecret([0; 32]),
        my_current_per_commitment_point: crate::pair::keys(0).payment.public(),
        tlvs: Default::default(),
    };
    assert_eq!(refuses(&pair, hello), (Code::UnexpectedMessage, Reaction::Warn));
    // After its own shutdown a counterparty offers nothing.
    pair.act(HITESH, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
    pair.deliver(IRENE).unwrap();
    assert_eq!(refuses(&pair, add), (Code::Closing, Reaction::Fail));
}

#[test]
fn a_counterparty_binds_itself_to_one_script() {
    let mut pair = Pair::open(500_000_000);
    pair.act(HITESH, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
    let said = next(&mut pair, |message| match message {
        Message::Shutdown(said) => Some(said),
        _ => None,
    });
    pair.deliver(IRENE).unwrap();
    let mut other = said.clone();
    other.scriptpubkey = terms(IRENE).payout;
    assert_eq!(refuses(&pair, other), (Code::InvalidReturnScript, Reaction::Warn));
    let mut anyone = said;
    anyone.scriptpubkey = bitcoin::ScriptBuf::from_bytes(vec![0x51]);
    assert_eq!(refuses(&pair, anyone), (Code::InvalidReturnScript, Reaction::Warn));
}

/// Whoever has proposed something signs for it first.
#[test]
fn a_shutdown_before_what_was_proposed_is_signed_for() {
    let (mut pair, _) = offered();
    pair.deliver(IRENE).unwrap();
    let channel_id = pair.sides[IRENE].holder.id();
    let said = Shutdown { channel_id, scriptpubkey: terms(HITESH).payout, tlvs: Default::default() };
    assert_eq!(refuses(&pair, said.clone()), (Code::UnexpectedMessage, Reaction::Warn));
    pair.sign(HITESH);
    pair.run();
    pair.hear(IRENE, &said.into()).unwrap();
}

/// An error fails the channel, once, and a channel that failed says so to whoever comes back.
#[test]
fn an_error_fails_the_channel() {
    let mut pair = Pair::open(500_000_000);
    let why = Error::new(Code::InvalidSignature, "no");
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &why)).unwrap();
    let twice = pair.act(HITESH, |side| side.holder.fail(&side.keys, &why)).unwrap_err();
    assert_eq!(twice.code(), Code::Closing);
    pair.run();
    for side in &pair.sides {
        assert_eq!(side.ended(), Some(&End::Failed));
        let broadcasts = side.effects.iter().filter(|effect| matches!(effect, Effect::Broadcast(_)));
        assert_eq!(broadcasts.count(), 1);
        assert!(side.took(|effect| *effect == Effect::Ended(End::Failed)));
    }
    for who in [HITESH, IRENE] {
        pair.kill(who);
    }
    pair.log.clear();
    pair.connect();
    pair.run();
    assert_eq!(pair.log, [(HITESH, 17), (IRENE, 17)]);
    assert_eq!(rillpay_wire::messages::ErrorMessage::KIND, 17);
}

#[test]
fn keys_of_another_channel() {
    let pair = Pair::open(500_000_000);
    let irene = &pair.sides[IRENE];
    assert_eq!(irene.holder.connected(&pair.sides[HITESH].keys, true).map(drop).unwrap_err().code(), Code::WrongKey);
}

#[test]
fn a_decision_on_a_state_that_has_changed() {
    let mut pair = Pair::open(500_000_000);
    let hitesh = &pair.sides[HITESH];
    let stale = hitesh.holder.offer(&hitesh.keys, &crate::pair::payment(1_000, 1)).unwrap();
    pair.offer(HITESH, 1_000, 2).unwrap();
    let saved = stale.save(|_| Ok::<_, ()>(())).unwrap();
    assert_eq!(pair.sides[HITESH].holder.commit(saved).unwrap_err().code(), Code::StaleDecision);
}

#[test]
fn a_funding_that_is_none() {
    let mut pair = Pair::funded([terms(HITESH), terms(IRENE)], 500_000_000);
    let good = bitcoin::TxOut { value: crate::pair::CAPACITY, script_pubkey: crate::pair::funding_script() };
    let less = bitcoin::TxOut { value: good.value - bitcoin::Amount::ONE_SAT, ..good.clone() };
    let other = bitcoin::TxOut { script_pubkey: terms(IRENE).payout, ..good };
    for output in [less, other] {
        let refused = pair.act(IRENE, |side| side.holder.funding_seen(&side.keys, &output, 100)).unwrap_err();
        assert_eq!(refused.code(), Code::NotFunded);
    }
    assert!(!pair.sides[IRENE].holder.is_open());
}

#[test]
fn nothing_is_paid_on_a_channel_whose_funding_is_spent() {
    let mut pair = Pair::open(500_000_000);
    let theirs = pair.sides[HITESH].holder.commitment(&pair.sides[HITESH].keys).unwrap();
    for _ in 0..2 {
        pair.act(IRENE, |side| side.holder.funding_spent(&side.keys, &theirs)).unwrap();
    }
    assert_eq!(pair.sides[IRENE].ended(), Some(&End::Spent));
    assert!(!pair.sides[IRENE].took(|effect| matches!(effect, Effect::Broadcast(_))));
    assert_eq!(pair.pay(IRENE, 1_000).unwrap_err().code(), Code::Unavailable);
    pair.run();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::Failed), "whoever is told so fails it, too");
    pair.kill(IRENE);
    assert_eq!(pair.sides[IRENE].ended(), Some(&End::Spent));
}

/// However many payments wait for a signature: one that comes in can always be taken.
#[test]
fn a_preimage_is_taken_whatever_else_waits() {
    let mut pair = Pair::open(500_000_000);
    pair.offer(HITESH, 1_000_000, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    let refused = (0..4_001).find_map(|_| pair.pay(IRENE, 1).err()).unwrap();
    assert_eq!(refused.code(), Code::RateLimited);
    pair.fulfill(IRENE, 0, 1).unwrap();
    Holder::load(&pair.sides[IRENE].stored).unwrap();
    pair.sign(IRENE);
    pair.run();
    assert_eq!(pair.balances(), [499_000_000 + 4_000, 501_000_000 - 4_000]);
}

/// A caller that never takes in how its payments ended is stopped before what it does not look at cannot be stored.
#[test]
fn ends_of_payments_have_to_be_taken_in() {
    let mut pair = Pair::open(500_000_000);
    let mut ended = 0;
    let refused = loop {
        let offered = (0..30).map(|_| pair.offer(HITESH, 1_000, 1)).take_while(Result::is_ok).count() as u64;
        if offered == 0 {
            break pair.offer(HITESH, 1_000, 1).unwrap_err().code();
        }
        pair.sign(HITESH);
        pair.run();
        for id in ended..ended + offered {
            pair.send_back(IRENE, id, Failure::Reason(vec![])).unwrap();
        }
        pair.sign(IRENE);
        pair.run();
        ended += offered;
    };
    assert_eq!((refused, ended), (Code::RateLimited, 2_000));
    Holder::load(&pair.sides[HITESH].stored).unwrap();
    pair.act(HITESH, |side| side.holder.acknowledge(&side.keys, 7)).unwrap();
    pair.offer(HITESH, 1_000, 1).unwrap();
}
