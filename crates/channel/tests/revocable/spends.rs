//! What an honest close leads to.

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxIn, TxOut, Witness};
use rillpay_channel::Code;
use rillpay_channel::fee::{Fee, Replaced};
use rillpay_channel::revocable::ChannelType;
use rillpay_channel::revocable::claim::{sweep, to_remote};
use rillpay_channel::revocable::commitment::Purpose;
use rillpay_channel::revocable::fees::Stage;
use rillpay_channel::revocable::htlc::find_preimage;

use crate::consensus::accepted;
use crate::world::{
    Broadcast, CAPACITY, DELAY, ROLES, TYPES, accepts, busy, keys, outputs, pay_to, preimage_of, rate, split,
};

/// The sequence of inputs without a relative lock.
const NONE: u32 = 0xffff_fffd;

fn all() -> impl Iterator<Item = Broadcast> {
    TYPES.into_iter().flat_map(|kind| ROLES.map(|owner| Broadcast::new(kind, owner, &busy())))
}

#[test]
fn a_commitment_needs_both_signatures() {
    for kind in
        [ChannelType::Legacy, ChannelType::StaticRemoteKey, ChannelType::AnchorsNonzeroFee, ChannelType::Anchors]
    {
        for owner in ROLES {
            let close = Broadcast::new(kind, owner, &busy());
            let funding = [close.funding_output()];
            assert!(accepted(&close.transaction, &funding));
            let total: Amount = close.transaction.output.iter().map(|output| output.value).sum();
            assert_eq!(total + close.commitment.fee, CAPACITY);
            let mut swapped = close.transaction.clone();
            let items = swapped.input[0].witness.to_vec();
            swapped.input[0].witness = Witness::from_slice(&[&items[0], &items[2], &items[1], &items[3]]);
            assert!(!accepted(&swapped, &funding), "in the other order");
            let mut altered = close.transaction.clone();
            altered.output[0].value -= Amount::ONE_SAT;
            assert!(!accepted(&altered, &funding));
        }
    }
}

#[test]
fn the_owner_waits_for_its_delay() {
    for close in all() {
        let key = keys(close.owner).delayed_at(&close.commitment.keys.point).unwrap();
        let claims = close.confirmed(&close.transaction).delayed(&key).unwrap();
        let [claim] = &claims[..] else { panic!("one to_local output") };
        assert_eq!((claim.delay(), claim.lock()), (DELAY, 0));
        let delay = u32::from(DELAY);
        assert!(accepts(claim, &close.transaction, delay, 0));
        for early in [delay - 1, 0, NONE, 1 << 22 | delay] {
            assert!(!accepts(claim, &close.transaction, early, 0), "{early:#x}");
        }
        let swept = sweep(&claims, &pay_to(1), rate()).unwrap();
        assert_eq!(swept.transaction.output[0].value + swept.fee, claim.value());
        assert!(accepted(&swept.transaction, &outputs(&close.transaction)));
        // Not the other's key.
        let other = keys(close.owner.other()).delayed_at(&close.commitment.keys.point).unwrap();
        let error = close.confirmed(&close.transaction).delayed(&other).err().unwrap();
        assert_eq!(error.code(), Code::WrongKey);
    }
}

#[test]
fn the_other_gets_its_own_with_nothing_but_its_payment_key() {
    for close in all() {
        let own = keys(close.owner.other());
        let claims = to_remote(close.channel.channel_type, &close.transaction, &own.payment);
        let [claim] = &claims[..] else { panic!("one to_remote output") };
        let anchors = close.channel.channel_type.has_anchors();
        assert_eq!(claim.delay(), u16::from(anchors));
        assert!(accepts(claim, &close.transaction, if anchors { 1 } else { NONE }, 0));
        assert_eq!(accepts(claim, &close.transaction, 0, 0), !anchors, "with anchors a block later");
        assert_eq!(accepts(claim, &close.transaction, NONE, 0), !anchors);
        let wrong = keys(close.owner);
        assert!(to_remote(close.channel.channel_type, &close.transaction, &wrong.payment).is_empty());
    }
}

#[test]
fn each_party_has_an_anchor_until_anyone_may_have_it() {
    for owner in ROLES {
        let close = Broadcast::new(ChannelType::Anchors, owner, &busy());
        for role in ROLES {
            let funding = keys(role).funding;
            let claims = close.confirmed(&close.transaction).anchor(&funding).unwrap();
            let [claim] = &claims[..] else { panic!("one anchor each") };
            assert_eq!((claim.value(), claim.delay()), (Amount::from_sat(330), 0));
            assert!(accepts(claim, &close.transaction, NONE, 0));

            let output = TxOut { value: Amount::ZERO, script_pubkey: pay_to(1) };
            let mut anyone =
                Transaction { input: vec![claim.input()], output: vec![output], ..close.transaction.clone() };
            let script = anyone.input[0].witness.last().unwrap().to_vec();
            anyone.input[0].witness = Witness::from_slice(&[&[][..], &script]);
            for (sequence, free) in [(NONE, false), (15, false), (16, true)] {
                anyone.input[0].sequence.0 = sequence;
                assert_eq!(accepted(&anyone, &outputs(&close.transaction)), free, "{sequence}");
            }
        }
        assert!(close.confirmed(&close.transaction).anchor(&keys(owner).htlc).is_err());
    }
    let close = Broadcast::new(ChannelType::StaticRemoteKey, ROLES[0], &busy());
    assert!(close.confirmed(&close.transaction).anchor(&keys(ROLES[0]).funding).unwrap().is_empty());
}

/// BOLT 3: no anchor for a party that has nothing, where there are no HTLCs.
#[test]
fn a_party_without_an_output_has_no_anchor() {
    for owner in ROLES {
        let close = Broadcast::new(ChannelType::Anchors, owner, &split(0, CAPACITY.to_sat(), 0));
        let purposes: Vec<_> = close.commitment.outputs.iter().map(|output| output.purpose).collect();
        let mine = if owner == ROLES[0] { Purpose::ToLocal } else { Purpose::ToRemote };
        assert_eq!(purposes, [Purpose::Anchor(ROLES[0]), mine]);
        assert!(accepted(&close.transaction, &[close.funding_output()]));
    }
}

#[test]
fn the_owner_takes_htlcs_in_two_stages() {
    for close in all() {
        let key = keys(close.owner).delayed_at(&close.commitment.keys.point).unwrap();
        let second_stage = close.second_stage();
        assert_eq!(second_stage.len(), 6);
        for (htlc, signed) in second_stage {
            assert!(accepted(&signed, &outputs(&close.transaction)));
            let shown = find_preimage(&signed, &htlc.htlc.payment_hash);
            match htlc.stage {
                Stage::Success => assert_eq!(shown, preimage_of(&htlc.htlc.payment_hash)),
                Stage::Timeout => {
                    assert_eq!((shown, signed.lock_time.to_consensus_u32()), (None, htlc.htlc.expiry));
                    let mut early = signed.clone();
                    early.lock_time = bitcoin::absolute::LockTime::from_consensus(htlc.htlc.expiry - 1);
                    assert!(!accepted(&early, &outputs(&close.transaction)), "the other has not signed that");
                }
            }
            // Then the delay.
            let claims = close.confirmed(&signed).delayed(&key).unwrap();
            let [claim] = &claims[..] else { panic!("one output") };
            assert!(accepts(claim, &signed, DELAY.into(), 0));
            assert!(!accepts(claim, &signed, u32::from(DELAY) - 1, 0));
        }
    }
}

/// With anchors a second stage pays no fee: the owner merges several and adds an input of its own.
#[test]
fn second_stages_merge_and_take_on_a_fee() {
    let close = Broadcast::new(ChannelType::Anchors, ROLES[0], &busy());
    let point = &close.commitment.keys.point;
    let (owner, other) = (keys(ROLES[0]).htlc_at(point).unwrap(), keys(ROLES[1]).htlc_at(point).unwrap());
    let made: Vec<_> =
        close.commitment.htlc_transactions().into_iter().filter(|htlc| htlc.stage == Stage::Success).collect();
    assert!(made.len() == 4 && made.iter().all(|htlc| htlc.transaction.output[0].value == htlc.htlc.value()));

    let mut merged = made[0].transaction.clone();
    for htlc in &made[1..] {
        merged.input.extend(htlc.transaction.input.clone());
        merged.output.extend(htlc.transaction.output.clone());
    }
    // The wallet's own input and change; anyone can spend what it spends.
    let outpoint = OutPoint { txid: bitcoin::hashes::Hash::from_byte_array([9; 32]), vout: 0 };
    let anyone = bitcoin::ScriptBuf::from_bytes(vec![0x51]);
    merged.input.push(TxIn { previous_output: outpoint, witness: Witness::from_slice(&[&[0x51]]), ..TxIn::default() });
    merged.output.push(TxOut { value: Amount::from_sat(40_000), script_pubkey: pay_to(4) });
    for (index, htlc) in made.iter().enumerate() {
        let theirs = htlc.sign(&other).unwrap();
        let preimage = preimage_of(&htlc.htlc.payment_hash);
        htlc.sign_in(&mut merged, index, &owner, &theirs, preimage).unwrap();
        let elsewhere = htlc.sign_in(&mut merged.clone(), (index + 1) % 5, &owner, &theirs, preimage);
        assert_eq!(elsewhere.unwrap_err().code(), Code::InvalidArgument);
    }
    let mut spent = outputs(&close.transaction);
    spent.push((outpoint, TxOut { value: Amount::from_sat(50_000), script_pubkey: anyone.to_p2wsh() }));
    assert!(accepted(&merged, &spent));
    let key = keys(ROLES[0]).delayed_at(point).unwrap();
    assert_eq!(close.confirmed(&merged).delayed(&key).unwrap().len(), 4);

    // The other's signature holds for one input and output; the owner's for all.
    let mut robbed = merged;
    robbed.output[4].script_pubkey = pay_to(5);
    assert!(!accepted(&robbed, &spent));
}

#[test]
fn a_second_stage_takes_the_right_preimage_and_keys_only() {
    for close in all() {
        let point = &close.commitment.keys.point;
        let (owner, other) =
            (keys(close.owner).htlc_at(point).unwrap(), keys(close.owner.other()).htlc_at(point).unwrap());
        for htlc in close.commitment.htlc_transactions() {
            let theirs = htlc.sign(&other).unwrap();
            let right = preimage_of(&htlc.htlc.payment_hash).filter(|_| htlc.stage == Stage::Success);
            let wrong = if htlc.stage == Stage::Success { None } else { Some([1; 32]) };
            let code = |result: Result<_, rillpay_channel::Error>| result.map(|_: Transaction| ()).unwrap_err().code();
            assert_eq!(code(htlc.finish(&owner, &theirs, wrong)), Code::InvalidArgument);
            assert_eq!(code(htlc.finish(&owner, &theirs, Some([99; 32]))), Code::InvalidArgument);
            assert_eq!(code(htlc.finish(&other, &theirs, right)), Code::WrongKey);
            assert_eq!(htlc.sign(&owner).unwrap_err().code(), Code::WrongKey);
            let other_signature = close.commitment.sign(&keys(close.owner).funding).unwrap();
            assert_eq!(code(htlc.finish(&owner, &other_signature, right)), Code::InvalidSignature);
        }
    }
}

#[test]
fn the_other_takes_htlcs_with_the_preimage_or_after_their_time() {
    for close in all() {
        let anchors = close.channel.channel_type.has_anchors();
        let sequence = if anchors { 1 } else { NONE };
        let key = keys(close.owner.other()).htlc_at(&close.commitment.keys.point).unwrap();
        let confirmed = close.confirmed(&close.transaction);
        let known = confirmed.htlcs(&close.htlcs, preimage_of, &key).unwrap();
        assert_eq!(known.len(), 6, "each output once, equal ones as well");
        for claim in &known {
            assert_eq!(claim.delay(), u16::from(anchors));
            assert!(accepts(claim, &close.transaction, sequence, claim.lock()));
            assert_eq!(accepts(claim, &close.transaction, 0, claim.lock()), !anchors, "with anchors a block later");
            if claim.lock() > 0 {
                assert!(!accepts(claim, &close.transaction, sequence, claim.lock() - 1));
            }
        }
        let timed_out = close.htlcs.iter().filter(|htlc| htlc.offered_by != close.owner).count();
        assert_eq!(known.iter().filter(|claim| claim.lock() > 0).count(), timed_out);
        // Without preimages the time-outs remain.
        assert_eq!(confirmed.htlcs(&close.htlcs, |_| None, &key).unwrap().len(), timed_out);

        let swept = sweep(&known, &pay_to(1), rate()).unwrap();
        assert!(accepted(&swept.transaction, &outputs(&close.transaction)));
        for htlc in close.htlcs.iter().filter(|htlc| htlc.offered_by == close.owner) {
            assert_eq!(find_preimage(&swept.transaction, &htlc.payment_hash), preimage_of(&htlc.payment_hash));
        }
        // A wrong preimage opens nothing.
        let wrong = confirmed.htlcs(&close.htlcs, |_| Some([99; 32]), &key).unwrap();
        for claim in wrong.iter().filter(|claim| claim.lock() == 0) {
            assert!(!accepts(claim, &close.transaction, sequence, 0));
        }
        let owners = keys(close.owner).htlc_at(&close.commitment.keys.point).unwrap();
        assert_eq!(confirmed.htlcs(&close.htlcs, preimage_of, &owners).err().unwrap().code(), Code::WrongKey);
    }
}

/// What waits and spends the same output leaves for more, however low the rate.
#[test]
fn a_sweep_pays_for_what_it_replaces() {
    let close = Broadcast::new(ChannelType::Anchors, ROLES[0], &busy());
    let key = keys(ROLES[1]).payment;
    let claims = to_remote(ChannelType::Anchors, &close.transaction, &key);
    let waits = sweep(&claims, &pay_to(1), rate()).unwrap();
    let replaced = Replaced::NOTHING.and(waits.fee, waits.transaction.weight(), true);
    let dearer = sweep(&claims, &pay_to(1), Fee::replacing(FeeRate::BROADCAST_MIN, replaced)).unwrap();
    assert!(dearer.fee >= waits.fee + FeeRate::BROADCAST_MIN.fee_wu(dearer.transaction.weight()).unwrap());
}

#[test]
fn what_cannot_be_swept_says_why() {
    let close = Broadcast::new(ChannelType::Anchors, ROLES[0], &busy());
    let funding = keys(ROLES[0]).funding;
    let confirmed = close.confirmed(&close.transaction);
    let anchor = confirmed.anchor(&funding).unwrap();
    let code = |claims: &[_]| sweep(claims, &pay_to(1), rate()).unwrap_err().code();
    assert_eq!(code(&[]), Code::NothingToDo);
    assert_eq!(code(&anchor), Code::Uneconomic);
    let twice: Vec<_> = [confirmed.anchor(&funding).unwrap(), anchor].into_iter().flatten().collect();
    assert_eq!(code(&twice), Code::InvalidArgument);
    assert_eq!(twice[0].sign(&close.transaction, 0).unwrap_err().code(), Code::InvalidArgument);
}
