//! A channel that both fund: 5 and 5, connections that break while it is signed for, and what is refused.

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction, Witness};
use rillpay_channel::revocable::holder::funding::{Negotiation, Stake};
use rillpay_channel::revocable::holder::{Effect, End, Holder, Reaction};
use rillpay_channel::revocable::{CommitmentNumber, Role};
use rillpay_channel::{Code, Error, bitcoin};
use rillpay_wire::messages::{
    AcceptChannel2, CommitmentSigned, Extension, OpenChannel2, Shutdown, TxAbort, TxComplete, TxInitRbf, TxRbfTlvs,
    TxSignatures,
};
use rillpay_wire::types::FeeratePerKw;
use rillpay_wire::{ChannelId, Feature, Features, Message};

use crate::both::{FIVE, HEIGHT, answer, begun, build, change, coin, five_and_five, propose, sign, stake};
use crate::pair::{CAPACITY, HITESH, IRENE, Pair, keys, terms};

fn whole(pair: &Pair, who: usize) -> Option<Transaction> {
    pair.sides[who].holder.signing()?.whole().cloned()
}

/// The chain shows the funding, and Irene pays 2.
fn goes_on(pair: &mut Pair, before: [u64; 2], paid: u64) {
    for who in [HITESH, IRENE] {
        pair.confirm(who, 3);
    }
    pair.run();
    assert!(pair.sides.iter().all(|side| side.holder.is_open() && side.holder.signing().is_none()));
    assert_eq!(pair.balances(), before);
    pair.pay(HITESH, paid).unwrap();
    pair.sign(HITESH);
    pair.run();
    pair.check();
    assert_eq!(pair.balances(), [before[0] - paid, before[1] + paid]);
}

#[test]
fn both_put_in_five() {
    let mut pair = five_and_five();
    pair.run();
    let funding = whole(&pair, HITESH).unwrap();
    assert_eq!(whole(&pair, IRENE), Some(funding.clone()));
    assert!(funding.input.len() == 2 && funding.input.iter().all(|input| !input.witness.is_empty()));
    assert_eq!(funding.lock_time, LockTime::from_consensus(HEIGHT));
    assert!(pair.sides.iter().all(|side| side.took(|effect| *effect == Effect::Fund)));
    // Both brought the same, and Hitesh's node has the lesser key.
    assert_eq!(pair.log, [(HITESH, 71), (IRENE, 71)]);
    for (side, role) in pair.sides.iter().zip([Role::Opener, Role::Accepter]) {
        assert_eq!((side.holder.role(), side.holder.channel().funding.capacity), (role, CAPACITY));
        let (opener, accepter) = (side.holder.channel().opener, side.holder.channel().accepter);
        let id = ChannelId::v2(&opener.points.revocation, &accepter.points.revocation);
        assert_eq!(side.holder.id(), id);
        // Each pays for what it added; Hitesh also for what is common.
        let left = |script| funding.output.iter().find(|output| output.script_pubkey == script).unwrap().value;
        assert_eq!(left(change(HITESH)), Amount::from_sat(100_000_000 - 1_523));
        assert_eq!(left(change(IRENE)), Amount::from_sat(100_000_000 - 988));
    }
    goes_on(&mut pair, [500_000_000, 500_000_000], 200_000_000);
    // A hundredth is the reserve.
    let most = |pair: &mut Pair, sat| pair.pay(IRENE, sat).map_err(|error| error.code());
    let left = 700_000_000 - 10_000_000;
    assert_eq!(most(&mut pair, left + 1), Err(Code::Unaffordable));
    most(&mut pair, left).unwrap();
}

/// The opener alone brings coins: the accepter signs first, for nothing.
#[test]
fn one_alone_may_put_in_all() {
    let mut pair = begun([stake(HITESH, FIVE), Stake::nothing()]);
    pair.run();
    assert_eq!(pair.log, [(IRENE, 71), (HITESH, 71)]);
    assert_eq!(whole(&pair, HITESH), whole(&pair, IRENE));
    assert_eq!(whole(&pair, HITESH).unwrap().input.len(), 1);
    assert_eq!(pair.balances(), [500_000_000, 0]);
}

/// Who brings less signs first, whatever is in the channel.
#[test]
fn who_brings_less_signs_first() {
    let more = Stake { coins: vec![coin(HITESH, Amount::from_sat(600_000_001))], ..stake(HITESH, FIVE) };
    let mut pair = begun([more, stake(IRENE, FIVE)]);
    pair.run();
    assert_eq!(pair.log, [(IRENE, 71), (HITESH, 71)]);
}

fn broken_at(at: usize, stakes: [Stake; 2], accident: &impl Fn(&mut Pair)) -> Pair {
    let mut pair = begun(stakes);
    for n in 0.. {
        if n == at {
            accident(&mut pair);
        }
        let idle = pair.sides.iter().all(|side| side.inbox.is_empty());
        pair.deliver(n % 2).unwrap();
        if idle && n >= at {
            break;
        }
    }
    pair
}

fn ends_well(name: &str, accident: impl Fn(&mut Pair)) {
    for nothing in [false, true] {
        for at in 0..12 {
            let theirs = if nothing { Stake::nothing() } else { stake(IRENE, FIVE) };
            let mut pair = broken_at(at, [stake(HITESH, FIVE), theirs], &accident);
            pair.run();
            let funding = whole(&pair, HITESH);
            assert!(funding.is_some() && funding == whole(&pair, IRENE), "{name} {at}");
            if !nothing {
                goes_on(&mut pair, [500_000_000, 500_000_000], 1_000);
            }
        }
    }
}

#[test]
fn a_connection_breaks_at_every_message() {
    ends_well("cut", Pair::reconnect);
}

#[test]
fn either_is_killed_at_every_message() {
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

/// Until both have signed for the other's commitment, and told so, either may forget; what is stored says so.
#[test]
fn what_is_stored_before_anything_leaves() {
    let [hitesh, _] = build([stake(HITESH, FIVE), stake(IRENE, FIVE)]);
    assert!(hitesh.signed(&keys(HITESH), vec![]).is_err(), "a witness is missing");
    let [hitesh, _] = build([stake(HITESH, FIVE), stake(IRENE, FIVE)]);
    let twice = [sign(HITESH, &hitesh), sign(HITESH, &hitesh)].concat();
    assert_eq!(hitesh.signed(&keys(HITESH), twice).map(drop).unwrap_err().code(), Code::InvalidArgument);
    let [hitesh, _] = build([stake(HITESH, FIVE), stake(IRENE, FIVE)]);
    let witnesses = sign(HITESH, &hitesh);
    assert_eq!(hitesh.signed(&keys(IRENE), witnesses).map(drop).unwrap_err().code(), Code::WrongKey);

    let mut pair = five_and_five();
    // Our commitment is not signed for: there is none to broadcast, and a confirmation means nothing.
    for side in &pair.sides {
        assert_eq!(side.holder.commitment(&side.keys).unwrap_err().code(), Code::Unavailable);
    }
    pair.confirm(HITESH, 3);
    assert!(!pair.sides[HITESH].holder.is_funded() && !pair.sides[HITESH].holder.signing().unwrap().is_bound());
    pair.deliver(HITESH).unwrap();
    let hitesh = &pair.sides[HITESH];
    assert!(hitesh.holder.signing().unwrap().is_bound());
    let stored = Holder::load(&hitesh.stored).unwrap();
    assert!(stored.signing().unwrap().is_bound() && stored.commitment(&hitesh.keys).is_ok());
}

// ---- giving up ----

fn error() -> Error {
    Error::new(Code::Unavailable, "we do not want it any more")
}

#[test]
fn it_is_given_up_before_the_witnesses_left() {
    let mut pair = five_and_five();
    pair.act(IRENE, |side| side.holder.fail(&side.keys, &error())).unwrap();
    assert_eq!(pair.sides[IRENE].ended(), Some(&End::Aborted));
    // Hitesh hears her signature first, and gives his witnesses; then he cannot forget it any more.
    pair.run();
    assert_eq!(pair.sides[HITESH].ended(), None);
    assert_eq!(pair.log, [(IRENE, 74), (HITESH, 71), (HITESH, 74)]);
    assert!(!pair.sides[IRENE].took(|effect| matches!(effect, Effect::Broadcast(_))));
    // She still says so after a break, as long as she remembers.
    pair.kill(IRENE);
    pair.log.clear();
    pair.connect();
    pair.run();
    assert_eq!(pair.log, [(HITESH, 136), (IRENE, 74), (HITESH, 74)]);
    // He gives up: the chain decides, and his coins are free as far as he is concerned.
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &error())).unwrap();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::Failed));

    for says in [true, false] {
        let mut pair = five_and_five();
        let id = pair.sides[HITESH].holder.id();
        let message: Message = if says {
            TxAbort { channel_id: id, data: b"no".to_vec(), tlvs: Extension::default() }.into()
        } else {
            rillpay_wire::messages::ErrorMessage::new(id, "no").into()
        };
        pair.hear(HITESH, &message).unwrap();
        assert_eq!(pair.sides[HITESH].ended(), Some(&End::Aborted));
        let echo: &[_] = if says { &[(HITESH, 74)] } else { &[] };
        assert_eq!(pair.log, echo);
        let again = pair.act(HITESH, |side| side.holder.fail(&side.keys, &error()));
        assert_eq!(again.unwrap_err().code(), Code::Closing);
        assert_eq!(Holder::load(&pair.sides[HITESH].stored).unwrap().end(), Some(&End::Aborted));
    }
}

/// A copy may be older than the moment when the witnesses left.
#[test]
fn a_copy_forgets_nothing() {
    let mut pair = five_and_five();
    let old = Holder::restore(&pair.sides[HITESH].stored).unwrap();
    pair.run();
    pair.cut();
    pair.sides[HITESH].holder = Holder::load(&old).unwrap();
    pair.sides[HITESH].stored = old;
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &error())).unwrap();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::FellBehind));
}

/// It could not get back by itself what it would put in.
#[test]
fn a_copy_funds_nothing() {
    for who in [HITESH, IRENE] {
        let (mut pair, other) = (five_and_five(), 1 - who);
        let copy = Holder::restore(&pair.sides[who].stored).unwrap();
        pair.cut();
        pair.sides[who].holder = Holder::load(&copy).unwrap();
        pair.sides[who].stored = copy;
        pair.connect();
        pair.run();
        assert_eq!(pair.sides[who].ended(), Some(&End::FellBehind));
        assert!(!pair.log.contains(&(who, 71)), "{:?}", pair.log);
        let stored = Holder::load(&pair.sides[who].stored).unwrap();
        assert!(stored.is_copy() && !stored.signing().unwrap().is_bound());
        assert!(pair.sides[other].ended().is_some());
        // With nothing but what was fixed it is the same.
        assert_eq!(Holder::load(&Holder::forget(&pair.sides[who].stored).unwrap()).unwrap().end(), stored.end());
    }
}

/// It cannot go on with a channel that was funded since: it does not have the signature for its own commitment.
#[test]
fn a_copy_from_before_the_funding_asks_the_counterparty_to_close() {
    let mut pair = five_and_five();
    let old = Holder::restore(&pair.sides[HITESH].stored).unwrap();
    for who in [HITESH, IRENE] {
        pair.run();
        pair.confirm(who, 3);
    }
    pair.run();
    pair.cut();
    pair.sides[HITESH].holder = Holder::load(&old).unwrap();
    pair.connect();
    let refused = pair.deliver(HITESH).unwrap_err();
    assert_eq!((refused.code(), Holder::reaction(&refused)), (Code::PeerBehind, Reaction::Fail));
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &refused)).unwrap();
    assert_eq!(pair.sides[HITESH].ended(), Some(&End::FellBehind));
    pair.sides[IRENE].inbox.pop_front();
    pair.deliver(IRENE).unwrap();
    assert_eq!(pair.sides[IRENE].ended(), Some(&End::Failed));
    assert!(pair.sides[IRENE].took(|effect| matches!(effect, Effect::Broadcast(_))));
}

#[test]
fn a_funding_is_not_replaced() {
    let mut pair = five_and_five();
    pair.run();
    pair.log.clear();
    let bump = TxInitRbf {
        channel_id: pair.sides[HITESH].holder.id(),
        locktime: LockTime::ZERO,
        feerate: FeeratePerKw(5_000),
        tlvs: TxRbfTlvs::default(),
    };
    pair.hear(HITESH, &bump.into()).unwrap();
    pair.run();
    // One refusal, one echo.
    assert_eq!(pair.log, [(HITESH, 74), (IRENE, 74)]);
    goes_on(&mut pair, [500_000_000, 500_000_000], 1_000);
}

// ---- what the counterparty may not do ----

/// The signature that is on its way to Hitesh, changed; what he says to it.
fn signature(change: impl FnOnce(&mut CommitmentSigned)) -> (Pair, Error) {
    let mut pair = five_and_five();
    let bytes = pair.sides[HITESH].inbox.pop_front().unwrap();
    let Message::CommitmentSigned(mut message) = Message::decode(&bytes).unwrap() else { panic!("signed") };
    change(&mut message);
    let error = pair.hear(HITESH, &message.into()).unwrap_err();
    (pair, error)
}

/// As BOLT 2 wants it: `tx_abort`, and nothing is left of it.
fn is_aborted(mut pair: Pair, who: usize, error: &Error) {
    assert_eq!(Holder::reaction(error), Reaction::Fail);
    pair.log.clear();
    pair.act(who, |side| side.holder.fail(&side.keys, error)).unwrap();
    assert_eq!((pair.sides[who].ended(), &pair.log[..]), (Some(&End::Aborted), &[(who, 74)][..]));
}

#[test]
fn signatures_of_the_first_commitment_are_checked() {
    let (pair, error) = signature(|message| message.signature.0[9] ^= 1);
    assert_eq!(error.code(), Code::InvalidSignature);
    is_aborted(pair, HITESH, &error);
    let (pair, error) = signature(|message| message.htlc_signatures.push(message.signature));
    assert_eq!(error.code(), Code::InvalidSignature);
    is_aborted(pair, HITESH, &error);
    let (pair, error) = signature(|message| {
        message.tlvs.funding_txid = Some(bitcoin::hashes::Hash::all_zeros());
    });
    assert_eq!(error.code(), Code::InvalidContribution);
    is_aborted(pair, HITESH, &error);
    // Twice is once too often.
    let mut pair = five_and_five();
    let bytes = pair.sides[HITESH].inbox[0].clone();
    pair.deliver(HITESH).unwrap();
    let error = pair.hear(HITESH, &Message::decode(&bytes).unwrap()).unwrap_err();
    assert_eq!((error.code(), Holder::reaction(&error)), (Code::UnexpectedMessage, Reaction::Warn));
}

/// Hitesh's witnesses on their way to Irene, who has not given hers, changed; what she says to them.
fn witnesses(change: impl FnOnce(&mut TxSignatures)) -> (Pair, Result<(), Error>) {
    let mut pair = five_and_five();
    pair.deliver(HITESH).unwrap();
    pair.deliver(IRENE).unwrap();
    let bytes = pair.sides[IRENE].inbox.pop_front().unwrap();
    let Message::TxSignatures(mut message) = Message::decode(&bytes).unwrap() else { panic!("witnesses") };
    change(&mut message);
    let heard = pair.hear(IRENE, &message.into());
    (pair, heard)
}

#[test]
fn witnesses_are_checked() {
    assert!(witnesses(|_| {}).1.is_ok());
    let with = |place: usize, change: fn(&mut Vec<u8>)| {
        move |message: &mut TxSignatures| {
            let mut elements = message.witnesses[0].to_vec();
            change(&mut elements[place]);
            message.witnesses[0] = Witness::from_slice(&elements);
        }
    };
    type Change = Box<dyn FnOnce(&mut TxSignatures)>;
    let changes: [Change; 8] = [
        Box::new(|message| message.witnesses[0] = Witness::new()),
        Box::new(|message| message.witnesses.clear()),
        Box::new(|message| message.witnesses.push(message.witnesses[0].clone())),
        Box::new(|message| message.txid = bitcoin::hashes::Hash::all_zeros()),
        // SIGHASH_NONE | ANYONECANPAY, another signature, another key, and bytes that nobody needs.
        Box::new(with(0, |signature| *signature.last_mut().unwrap() = 0x82)),
        Box::new(with(0, |signature| signature[20] ^= 1)),
        Box::new(with(1, |key| key[20] ^= 1)),
        Box::new(with(1, |key| key.push(0))),
    ];
    for change in changes {
        let (pair, heard) = witnesses(change);
        let error = heard.unwrap_err();
        assert_eq!(error.code(), Code::InvalidContribution);
        is_aborted(pair, IRENE, &error);
    }
    // Before the signature for our commitment they are worth nothing to us.
    let mut pair = five_and_five();
    pair.deliver(HITESH).unwrap();
    let bytes = pair.sides[IRENE].inbox.pop_back().unwrap();
    let error = pair.hear(IRENE, &Message::decode(&bytes).unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::InvalidContribution);
    is_aborted(pair, IRENE, &error);
}

/// Once the chain has shown the funding, lost witnesses are missed by nobody.
#[test]
fn the_chain_knows_better_than_lost_witnesses() {
    let mut pair = five_and_five();
    pair.deliver(HITESH).unwrap();
    pair.deliver(IRENE).unwrap();
    pair.deliver(IRENE).unwrap();
    let lost = pair.sides[HITESH].inbox.pop_front().unwrap();
    assert!(whole(&pair, IRENE).is_some() && whole(&pair, HITESH).is_none());
    pair.cut();
    pair.confirm(HITESH, 3);
    pair.confirm(IRENE, 3);
    pair.connect();
    pair.run();
    assert!(pair.sides.iter().all(|side| side.holder.is_open()));
    pair.hear(HITESH, &Message::decode(&lost).unwrap()).unwrap();
    goes_on(&mut pair, [500_000_000, 500_000_000], 1_000);
    let number = CommitmentNumber::FIRST.next();
    assert_eq!(Some(pair.sides[HITESH].holder.ledger().number(Role::Opener)), number);
}

#[test]
fn another_funding_than_ours_fails_the_channel() {
    let mut pair = five_and_five();
    pair.reconnect();
    let bytes = pair.sides[HITESH].inbox.pop_front().unwrap();
    let Message::ChannelReestablish(mut message) = Message::decode(&bytes).unwrap() else { panic!("first") };
    let theirs = message.tlvs.next_funding.as_mut().unwrap();
    assert_eq!(theirs.retransmit_flags, 1);
    theirs.txid = bitcoin::hashes::Hash::all_zeros();
    pair.log.clear();
    pair.hear(HITESH, &message.clone().into()).unwrap();
    assert_eq!((pair.sides[HITESH].ended(), &pair.log[..]), (Some(&End::Aborted), &[(HITESH, 17)][..]));

    // Who has all of it tells the other to forget what it asks for.
    let mut pair = five_and_five();
    pair.run();
    pair.reconnect();
    pair.sides[HITESH].inbox.clear();
    pair.log.clear();
    pair.hear(HITESH, &message.into()).unwrap();
    assert_eq!((pair.sides[HITESH].ended(), &pair.log[..]), (None, &[(HITESH, 74)][..]));
}

#[test]
fn nobody_closes_what_is_not_signed() {
    let mut pair = five_and_five();
    let shutdown = |side: &crate::pair::Side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_kwu(500));
    assert_eq!(pair.act(HITESH, shutdown).unwrap_err().code(), Code::Unavailable);
    let (channel_id, scriptpubkey) = (pair.sides[HITESH].holder.id(), terms(IRENE).payout);
    let message: Message = Shutdown { channel_id, scriptpubkey, tlvs: Extension::default() }.into();
    assert_eq!(pair.hear(HITESH, &message).unwrap_err().code(), Code::UnexpectedMessage);
    pair.run();
    pair.hear(HITESH, &message).unwrap();
}

// ---- terms ----

#[test]
fn an_accepter_refuses_what_bolt_2_tells_it_to() {
    let (_, open) = propose(stake(HITESH, FIVE));
    let irene = stake(IRENE, FIVE);
    answer(&open, &irene).unwrap();
    let refused = |change: &dyn Fn(&mut OpenChannel2)| {
        let mut open = open.clone();
        change(&mut open);
        answer(&open, &irene).map(drop).unwrap_err().code()
    };
    let unacceptable: [&dyn Fn(&mut OpenChannel2); 12] = [
        &|open| open.to_self_delay = 2_017,
        &|open| open.max_accepted_htlcs = 484,
        &|open| open.commitment_feerate_perkw = FeeratePerKw(252),
        &|open| open.commitment_feerate_perkw = FeeratePerKw(50_001),
        &|open| open.funding_feerate_perkw = FeeratePerKw(252),
        &|open| open.locktime = LockTime::from_consensus(HEIGHT + 7),
        &|open| open.locktime = LockTime::from_consensus(1_600_000_000),
        &|open| open.dust_limit_satoshis = Amount::from_sat(353),
        &|open| open.funding_satoshis = Amount::from_sat(500_000_001),
        &|open| open.funding_satoshis = Amount::MAX,
        &|open| open.tlvs.channel_type = None,
        &|open| open.tlvs.channel_type = Some(Features::default().with_required(Feature::Anchors)),
    ];
    for (n, change) in unacceptable.into_iter().enumerate() {
        assert_eq!(refused(change), Code::UnacceptableTerms, "{n}");
    }
    assert_eq!(refused(&|open| open.chain_hash = bitcoin::constants::ChainHash::BITCOIN), Code::WrongNetwork);
    assert_eq!(refused(&|open| open.temporary_channel_id.0[0] ^= 1), Code::UnknownChannel);
    let bad = Some(ScriptBuf::from_bytes(vec![0x51]));
    assert_eq!(refused(&|open| open.tlvs.upfront_shutdown_script = bad.clone()), Code::InvalidReturnScript);
    // What we put in has to be there.
    let poor = Stake { coins: vec![coin(IRENE, FIVE)], ..irene.clone() };
    assert_eq!(answer(&open, &poor).map(drop).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn an_opener_refuses_what_bolt_2_tells_it_to() {
    let (_, open) = propose(stake(HITESH, FIVE));
    let (_, accepted) = answer(&open, &stake(IRENE, FIVE)).unwrap();
    let refused = |change: &dyn Fn(&mut AcceptChannel2)| {
        let mut accepted = accepted.clone();
        change(&mut accepted);
        let (proposal, _) = propose(stake(HITESH, FIVE));
        proposal.accepted(&accepted).map(drop).unwrap_err().code()
    };
    let unacceptable: [&dyn Fn(&mut AcceptChannel2); 6] = [
        &|accepted| accepted.dust_limit_satoshis = Amount::from_sat(353),
        &|accepted| accepted.to_self_delay = 2_017,
        &|accepted| accepted.minimum_depth = 1_009,
        &|accepted| accepted.funding_satoshis = Amount::from_sat(500_000_001),
        &|accepted| accepted.funding_satoshis = Amount::MAX,
        &|accepted| accepted.tlvs.channel_type = None,
    ];
    for (n, change) in unacceptable.into_iter().enumerate() {
        assert_eq!(refused(change), Code::UnacceptableTerms, "{n}");
    }
    assert_eq!(refused(&|accepted| accepted.temporary_channel_id.0[0] ^= 1), Code::UnknownChannel);
}

/// A message of another channel, or of another kind, ends a negotiation.
#[test]
fn a_negotiation_hears_nothing_else() {
    let refused = |message: Message| {
        let (_, open) = propose(stake(HITESH, FIVE));
        let (negotiation, _) = answer(&open, &stake(IRENE, FIVE)).unwrap();
        negotiation.receive(&message).map(drop).unwrap_err().code()
    };
    let (_, open) = propose(stake(HITESH, FIVE));
    let id = answer(&open, &stake(IRENE, FIVE)).unwrap().0.id();
    assert_eq!(refused(Negotiation::abort(ChannelId([1; 32]), "another")), Code::UnknownChannel);
    let shutdown = Shutdown { channel_id: id, scriptpubkey: ScriptBuf::new(), tlvs: Extension::default() };
    assert_eq!(refused(shutdown.into()), Code::UnexpectedMessage);
    // The opener adds nothing, and neither does she: there is no funding output.
    let (negotiation, _) = answer(&open, &Stake::nothing()).unwrap();
    let complete = TxComplete { channel_id: id, tlvs: Extension::default() };
    assert_eq!(negotiation.receive(&complete.into()).map(drop).unwrap_err().code(), Code::InvalidContribution);
}
