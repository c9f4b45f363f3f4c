//! The funding is spent: who takes what, judged by Bitcoin Core's own script interpreter.

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};
use rillpay_channel::Code;
use rillpay_channel::revocable::claim::sweep;
use rillpay_channel::revocable::holder::{Effect, End, Holder, OnChain, Spending};
use rillpay_channel::revocable::{CommitmentNumber, fees::Stage};

use crate::consensus::accepted;
use crate::pair::{EXPIRY, HITESH, IRENE, Pair, Side, payout, preimage};

fn commitment(side: &Side) -> Transaction {
    side.holder.commitment(&side.keys).unwrap()
}

fn outputs(transaction: &Transaction) -> Vec<(OutPoint, TxOut)> {
    let txid = transaction.compute_txid();
    (0..).zip(transaction.output.clone()).map(|(vout, output)| (OutPoint { txid, vout }, output)).collect()
}

/// Takes everything there is to take at once, or after its delay; what arrives in the end.
fn taken(view: &OnChain<'_>, transaction: &Transaction) -> Amount {
    let claims = view.claims(transaction).unwrap();
    let sweep = sweep(&claims, &payout(), FeeRate::from_sat_per_vb_u32(5)).unwrap();
    assert!(accepted(&sweep.transaction, &outputs(transaction)));
    sweep.transaction.output[0].value
}

fn number(number: u64) -> CommitmentNumber {
    CommitmentNumber::new(number).unwrap()
}

fn near(amount: Amount, sat: u64) -> bool {
    amount.to_sat() > sat - 5_000 && amount.to_sat() <= sat
}

/// The book: Irene broadcasts 5 and 5 when it is 7 and 3, and Hitesh takes all 10.
#[test]
fn irene_cheats_and_hitesh_takes_all_ten() {
    let mut pair = Pair::open(500_000_000);
    let old = commitment(&pair.sides[IRENE]);
    pair.offer(IRENE, 200_000_000, 1).unwrap();
    pair.sign(IRENE);
    pair.run();
    let with_payment = commitment(&pair.sides[IRENE]);
    pair.fulfill(HITESH, 0, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    assert_eq!(pair.balances(), [700_000_000, 300_000_000]);
    let hitesh = &pair.sides[HITESH];
    for (cheat, at) in [(old, 0), (with_payment, 1)] {
        let view = hitesh.view(&cheat);
        assert_eq!(view.spending(), Spending::Cheat(number(at)));
        assert!(near(taken(&view, &cheat), 1_000_000_000));
    }
    // Her newest he lets be.
    let honest = commitment(&pair.sides[IRENE]);
    assert_eq!(hitesh.view(&honest).spending(), Spending::Theirs(number(2)));
    assert!(near(taken(&hitesh.view(&honest), &honest), 700_000_000));
}

/// She who closes alone waits 1000 blocks; the other has its money a block later.
#[test]
fn who_closes_alone_waits() {
    let mut pair = Pair::open(500_000_000);
    let why = rillpay_channel::Error::new(Code::InvalidSignature, "no");
    pair.act(IRENE, |side| side.holder.fail(&side.keys, &why)).unwrap();
    let closed = commitment(&pair.sides[IRENE]);
    assert!(pair.sides[IRENE].took(|effect| *effect == Effect::Broadcast(closed.clone())));
    for (who, spending, delay) in [(IRENE, Spending::Ours, 1_000), (HITESH, Spending::Theirs(number(0)), 1)] {
        let view = pair.sides[who].view(&closed);
        assert_eq!(view.spending(), spending);
        let claims = view.claims(&closed).unwrap();
        assert_eq!(claims.iter().map(|claim| claim.delay()).collect::<Vec<_>>(), [delay]);
        let mature = |made, tip| claims[0].is_mature(made, tip);
        assert!(!mature(None, u32::MAX) && mature(Some(100), 99 + u32::from(delay)));
        assert!(!mature(Some(100), 98 + u32::from(delay)), "a block too early");
        assert!(near(taken(&view, &closed), 500_000_000));
    }
}

/// Four payments, two each way; each side knows the preimage of one that it received.
fn with_payments() -> Pair {
    let mut pair = Pair::open(500_000_000);
    for (who, secret) in [(HITESH, 1), (HITESH, 2), (IRENE, 3), (IRENE, 4)] {
        pair.offer(who, 1_000_000, secret).unwrap();
        pair.sign(who);
        pair.run();
    }
    pair.cut();
    pair.fulfill(IRENE, 0, 1).unwrap();
    pair.fulfill(HITESH, 0, 3).unwrap();
    pair
}

#[test]
fn payments_are_resolved_on_the_chain_by_either_side() {
    let pair = with_payments();
    for owner in [HITESH, IRENE] {
        let (own, other) = (&pair.sides[owner], &pair.sides[1 - owner]);
        let transaction = commitment(own);
        let (ours, mut theirs) = (own.view(&transaction), other.view(&transaction));

        // The owner: one success at once, two time-outs later, each into another delay.
        let stages: Vec<_> = ours.second_stages().collect();
        let of = |stage: Stage| stages.iter().filter(|one| one.transaction.stage == stage).count();
        assert_eq!((of(Stage::Success), of(Stage::Timeout)), (1, 2));
        let htlc_key = own.keys.htlc_at(&own.keys.seed.point(number(4)).unwrap()).unwrap();
        for stage in &stages {
            let signed = stage.transaction.finish(&htlc_key, &stage.theirs, stage.preimage).unwrap();
            assert!(accepted(&signed, &outputs(&transaction)));
            let claims = ours.claims(&signed).unwrap();
            assert_eq!(claims.iter().map(|claim| claim.delay()).collect::<Vec<_>>(), [1_000]);
            // The other learns the preimage of what it offered, and nothing from a time-out.
            let shown = theirs.shown_by(&signed);
            assert_eq!(shown.len(), usize::from(stage.transaction.stage == Stage::Success));
        }

        // The other: its balance, what it has the preimage of, and what it takes back after the expiry.
        let locks = |view: &OnChain<'_>| {
            let mut locks: Vec<_> = view.claims(&transaction).unwrap().iter().map(|claim| claim.lock()).collect();
            locks.sort_unstable();
            locks
        };
        assert_eq!(locks(&theirs), [0, 0, EXPIRY, EXPIRY]);
        let mature =
            |tip| theirs.claims(&transaction).unwrap().iter().filter(|claim| claim.is_mature(Some(7), tip)).count();
        assert_eq!([6, 7, EXPIRY - 1, EXPIRY].map(mature), [0, 2, 2, 4]);
        assert!(near(taken(&theirs, &transaction), 501_000_000));
        theirs.learn(preimage(if owner == HITESH { 2 } else { 4 }));
        assert_eq!(locks(&theirs), [0, 0, 0, EXPIRY, EXPIRY]);
        // What the other takes with a preimage shows it to the owner.
        let claims = theirs.claims(&transaction).unwrap();
        let all = sweep(&claims, &payout(), FeeRate::from_sat_per_vb_u32(5)).unwrap().transaction;
        assert_eq!(ours.shown_by(&all).len(), 2);
    }
}

/// Either side can lift either commitment by its own anchor, for what is its own in it, before that begins to be lost.
#[test]
fn anchors_lift_a_commitment_for_what_is_at_stake() {
    let pair = with_payments();
    for owner in [HITESH, IRENE] {
        let transaction = commitment(&pair.sides[owner]);
        for who in [HITESH, IRENE] {
            let view = pair.sides[who].view(&transaction);
            let lift = view.lift(&transaction).unwrap().unwrap();
            // Its balance, two payments of its own, and the one that it can take; not the one whose preimage it lacks.
            assert!(near(lift.stake(), 501_000_000), "{}", lift.stake());
            assert_eq!(lift.due(), Some(EXPIRY));
            assert!((1_000..=1_010).contains(&lift.rate(None).to_sat_per_kwu()), "{}", lift.rate(None));
            let mut child = lift.child();
            child.output.push(TxOut { value: Amount::ZERO, script_pubkey: payout() });
            lift.sign(&mut child).unwrap();
            assert!(accepted(&child, &outputs(&transaction)));
            child.output[0].value = Amount::ONE_SAT;
            assert!(!accepted(&child, &outputs(&transaction)), "the child was signed for as it was");
        }
    }
}

/// Nobody pays for a cheat to confirm, nor for a closing transaction, which has no anchors.
#[test]
fn what_is_no_use_to_us_is_not_lifted() {
    let mut pair = Pair::open(500_000_000);
    let old = commitment(&pair.sides[IRENE]);
    let lift = pair.sides[HITESH].view(&old).lift(&old).unwrap().map(|lift| lift.due());
    assert_eq!(lift, Some(None), "nothing is under way");
    pair.pay(IRENE, 1_000).unwrap();
    pair.sign(IRENE);
    pair.run();
    assert!(pair.sides[HITESH].view(&old).lift(&old).unwrap().is_none());
    pair.act(HITESH, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
    pair.run();
    let Some(End::Closed(closed)) = pair.sides[HITESH].ended().cloned() else { panic!("closed") };
    assert!(pair.sides[IRENE].view(&closed).lift(&closed).unwrap().is_none());
}

/// Between a signature and its revocation the counterparty may broadcast either commitment.
#[test]
fn the_commitment_before_is_known_until_it_is_revoked() {
    let mut pair = with_payments();
    pair.connect();
    pair.run();
    let before = commitment(&pair.sides[IRENE]);
    pair.offer(HITESH, 7_000_000, 7).unwrap();
    pair.sign(HITESH);
    let at = pair.sides[IRENE].holder.ledger().number(pair.sides[IRENE].holder.role());
    assert_eq!(pair.sides[HITESH].view(&before).spending(), Spending::Theirs(at));
    assert_eq!(pair.sides[HITESH].view(&before).htlcs().len(), 2);
    pair.run();
    let newest = commitment(&pair.sides[IRENE]);
    assert_eq!(pair.sides[HITESH].view(&newest).htlcs().len(), 3);
    assert_eq!(pair.sides[HITESH].view(&before).spending(), Spending::Cheat(at));
}

#[test]
fn who_lost_everything_still_gets_its_balance() {
    let mut pair = Pair::open(500_000_000);
    let copy = pair.sides[HITESH].stored.clone();
    for secret in 0..2 {
        pair.offer(HITESH, 1_000_000, secret).unwrap();
        pair.sign(HITESH);
        pair.run();
    }
    let theirs = commitment(&pair.sides[IRENE]);
    pair.sides[HITESH].holder = Holder::load(&Holder::restore(&copy).unwrap()).unwrap();
    let view = pair.sides[HITESH].view(&theirs);
    assert_eq!(view.spending(), Spending::Unknown(number(2)));
    assert!(near(taken(&view, &theirs), 498_000_000));
}

/// A store that was put back, and nobody told: what it takes for its newest commitment is revoked, and does not follow the one
/// that shows it, wherever a reorganisation takes that.
#[test]
fn a_spend_from_the_future_tells_of_a_loss() {
    for (owner, has_failed) in [(HITESH, false), (IRENE, false), (IRENE, true)] {
        let mut pair = Pair::open(500_000_000);
        let before = pair.sides[HITESH].stored.clone();
        for _ in 0..2 {
            pair.pay(HITESH, 1_000_000).unwrap();
            pair.sign(HITESH);
            pair.run();
        }
        let spend = commitment(&pair.sides[owner]);
        pair.sides[HITESH].stored = before;
        pair.kill(HITESH);
        commitment(&pair.sides[HITESH]);
        if has_failed {
            let why = rillpay_channel::Error::new(Code::Unavailable, "enough");
            pair.act(HITESH, |side| side.holder.fail(&side.keys, &why)).unwrap();
        }
        pair.act(HITESH, |side| side.holder.funding_spent(&side.keys, &spend)).unwrap();
        pair.kill(HITESH);
        let hitesh = &pair.sides[HITESH];
        assert_eq!(hitesh.ended(), Some(if has_failed { &End::Failed } else { &End::Spent }));
        assert_eq!(hitesh.holder.commitment(&hitesh.keys).unwrap_err().code(), Code::Unavailable);
    }
}

#[test]
fn an_agreed_close_leaves_nothing_to_take() {
    let mut pair = Pair::open(500_000_000);
    pair.act(HITESH, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
    pair.run();
    let Some(End::Closed(closed)) = pair.sides[HITESH].ended().cloned() else { panic!("closed") };
    let view = pair.sides[IRENE].view(&closed);
    assert_eq!(view.spending(), Spending::Agreed);
    assert!(view.claims(&closed).unwrap().is_empty() && view.second_stages().next().is_none());
    let mut elsewhere = closed;
    elsewhere.input[0].previous_output.vout ^= 1;
    let irene = &pair.sides[IRENE];
    let refused = irene.holder.spent(&irene.keys, &elsewhere, |_| vec![]).map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

/// Closed alone, and then the disk died: an old copy is enough to find one's balance after the delay.
#[test]
fn an_old_copy_takes_what_its_owner_had_broadcast() {
    let mut pair = Pair::open(500_000_000);
    let copy = pair.sides[HITESH].stored.clone();
    for _ in 0..3 {
        pair.pay(IRENE, 100_000_000).unwrap();
        pair.sign(IRENE);
        pair.run();
    }
    let why = rillpay_channel::Error::new(Code::Unavailable, "enough");
    pair.act(HITESH, |side| side.holder.fail(&side.keys, &why)).unwrap();
    let ours = commitment(&pair.sides[HITESH]);
    pair.sides[HITESH].holder = Holder::load(&Holder::restore(&copy).unwrap()).unwrap();
    let view = pair.sides[HITESH].view(&ours);
    assert_eq!(view.spending(), Spending::Ours);
    assert_eq!(view.claims(&ours).unwrap()[0].delay(), 1_000);
    assert!(near(taken(&view, &ours), 800_000_000));
}
