//! Whoever plays an old state loses everything.

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};
use proptest::prelude::*;
use rillpay_channel::Code;
use rillpay_channel::revocable::claim::{Claim, sweep, to_remote};
use rillpay_channel::revocable::commitment::MAX_HTLCS;
use rillpay_channel::revocable::fees::Stage;
use rillpay_channel::revocable::penalty::Revoked;
use rillpay_channel::revocable::{ChannelType, CommitmentSecret, Role, SecretStore, State};

use crate::consensus::accepted;
use crate::world::{
    Broadcast, CAPACITY, ROLES, TYPES, accepts, busy, htlc, keys, number, outputs, pay_to, preimage_of, rate, split,
};

/// The book: 5 and 5, a payment of 2 makes 7 and 3, and Irene broadcasts the state before. Hitesh takes all 10.
#[test]
fn irene_cheats_and_hitesh_takes_all_ten() {
    let (hitesh, irene) = (keys(Role::Opener), keys(Role::Accepter));
    for kind in TYPES {
        let before = split(0, 500_000_000, 500_000_000);
        let cheat = Broadcast::new(kind, Role::Accepter, &before);
        // Irene moved on to 7 and 3, and gave the secret of 5 and 5 away.
        let mut secrets = SecretStore::new();
        let secret = irene.seed.secret(before.number).unwrap();
        secret.verify(&cheat.commitment.keys.point).unwrap();
        secrets.insert(before.number, secret).unwrap();
        let secrets = SecretStore::decode(&secrets.encode()).unwrap();

        let detect = |transaction: &Transaction| {
            Revoked::detect(&cheat.channel, Role::Accepter, transaction, &secrets, &hitesh).unwrap()
        };
        let now = Broadcast::new(kind, Role::Accepter, &split(1, 700_000_000, 300_000_000));
        assert!(detect(&now.transaction).is_none(), "not revoked");
        let mut elsewhere = cheat.transaction.clone();
        elsewhere.input[0].previous_output.vout ^= 1;
        assert!(detect(&elsewhere).is_none(), "another channel's");

        let revoked = detect(&cheat.transaction).unwrap();
        assert_eq!(revoked.number(), before.number);
        let mut claims = revoked.claims(&cheat.transaction, &[]);
        claims.extend(to_remote(kind, &cheat.transaction, &hitesh.payment));
        let justice = sweep(&claims, &pay_to(1), rate()).unwrap();
        assert!(accepted(&justice.transaction, &outputs(&cheat.transaction)));
        let anchors = if kind.has_anchors() { Amount::from_sat(660) } else { Amount::ZERO };
        let all = CAPACITY - cheat.commitment.fee - anchors - justice.fee;
        assert_eq!(justice.transaction.output, [TxOut { value: all, script_pubkey: pay_to(1) }]);
        assert!(all > Amount::from_sat(999_990_000), "10 BTC less fees");
    }
}

#[test]
fn every_output_of_either_stage_is_open_to_the_other_at_once() {
    for kind in TYPES {
        for owner in ROLES {
            let cheat = Broadcast::new(kind, owner, &busy());
            let revoked = cheat.revoked();
            let claims = revoked.claims(&cheat.transaction, &cheat.htlcs);
            assert_eq!(claims.len(), 7, "to_local and six HTLCs");
            for claim in &claims {
                assert_eq!((claim.delay(), claim.lock()), (0, 0));
                assert!(accepts(claim, &cheat.transaction, 0xffff_fffd, 0));
            }
            let justice = sweep(&claims, &pay_to(1), rate()).unwrap();
            assert!(accepted(&justice.transaction, &outputs(&cheat.transaction)));

            for (_, signed) in cheat.second_stage() {
                let claims = revoked.claims(&signed, &cheat.htlcs);
                let [claim] = &claims[..] else { panic!("one output") };
                assert!(accepts(claim, &signed, 0xffff_fffd, 0));
            }
        }
    }
}

/// The cheat is ahead with some HTLCs, merged into one transaction: that and what is left of the commitment fall together.
#[test]
fn one_penalty_for_both_stages() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Opener, &busy());
    let point = &cheat.commitment.keys.point;
    let (owner, other) = (keys(Role::Opener).htlc_at(point).unwrap(), keys(Role::Accepter).htlc_at(point).unwrap());
    let mut made = cheat.commitment.htlc_transactions();
    made.retain(|htlc| htlc.stage == Stage::Success);
    made.pop();
    let mut merged = made[0].transaction.clone();
    for htlc in &made[1..] {
        merged.input.extend(htlc.transaction.input.clone());
        merged.output.extend(htlc.transaction.output.clone());
    }
    for (index, htlc) in made.iter().enumerate() {
        let preimage = preimage_of(&htlc.htlc.payment_hash);
        htlc.sign_in(&mut merged, index, &owner, &htlc.sign(&other).unwrap(), preimage).unwrap();
    }
    assert!(accepted(&merged, &outputs(&cheat.transaction)));

    let revoked = cheat.revoked();
    let taken = |claim: &Claim<'_>| merged.input.iter().any(|input| input.previous_output == claim.outpoint());
    let mut claims = revoked.claims(&cheat.transaction, &cheat.htlcs);
    claims.retain(|claim| !taken(claim));
    assert_eq!(claims.len(), 4, "to_local and three HTLCs");
    claims.extend(revoked.claims(&merged, &cheat.htlcs));
    assert_eq!(claims.len(), 7);
    let justice = sweep(&claims, &pay_to(1), rate()).unwrap();
    let spent: Vec<_> = [outputs(&cheat.transaction), outputs(&merged)].concat();
    assert!(accepted(&justice.transaction, &spent));
}

#[test]
fn only_the_other_side_and_only_with_the_secret() {
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Accepter, &busy());
    let secret = keys(Role::Accepter).seed.secret(number(41)).unwrap();
    let new = |secret, who: Role| Revoked::new(&cheat.channel, Role::Accepter, number(41), secret, &keys(who));
    assert_eq!(new(secret, Role::Accepter).err().unwrap().code(), Code::WrongKey);
    let no_scalar = CommitmentSecret::new([0xff; 32]);
    assert_eq!(new(no_scalar, Role::Opener).err().unwrap().code(), Code::InvalidSecret);
    // The secret of another commitment opens nothing in this one.
    let another = new(keys(Role::Accepter).seed.secret(number(40)).unwrap(), Role::Opener).unwrap();
    assert!(another.claims(&cheat.transaction, &cheat.htlcs).is_empty());
}

/// As many HTLCs as there can be, one penalty that nodes relay (BOLT 5).
#[test]
fn the_largest_penalty_is_relayed() {
    let each = MAX_HTLCS as u64 / 2;
    let htlcs =
        (0..each).flat_map(|n| ROLES.map(|role| htlc(role, 10_000 + n, (n % 90) as u8, 600_000 + n as u32))).collect();
    let locked: u64 = (0..each).map(|n| 10_000 + n).sum();
    let state = State { htlcs, ..split(5, 500_000_000 - locked, 500_000_000 - locked) };
    let cheat = Broadcast::new(ChannelType::Anchors, Role::Opener, &state);
    assert!(cheat.transaction.weight().to_wu() <= 400_000);
    let revoked = cheat.revoked();
    let mut claims = revoked.claims(&cheat.transaction, &cheat.htlcs);
    let own = keys(Role::Accepter);
    claims.extend(to_remote(ChannelType::Anchors, &cheat.transaction, &own.payment));
    assert_eq!(claims.len(), MAX_HTLCS + 2);
    let justice = sweep(&claims, &pay_to(1), rate()).unwrap();
    assert!(justice.transaction.weight().to_wu() <= 400_000);
    assert!(accepted(&justice.transaction, &outputs(&cheat.transaction)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the old state: the other gets all of it but the anchors and the fees.
    #[test]
    fn nothing_is_left_to_a_cheat(
        anchors: bool, opener_cheats: bool, at in 0u64..(1 << 48) - 1, opener in 1_000_000u64..900_000_000, sat_per_vb in 1u32..50,
        htlcs in prop::collection::vec((any::<bool>(), 1u64..5_000_000, 0u8..100, 1u32..500_000_000), 0..8),
    ) {
        let kind = if anchors { ChannelType::Anchors } else { ChannelType::StaticRemoteKey };
        let cheats = if opener_cheats { Role::Opener } else { Role::Accepter };
        let htlcs: Vec<_> = htlcs.into_iter().map(|(by, sat, secret, expiry)| {
            htlc(if by { Role::Opener } else { Role::Accepter }, sat, secret, expiry)
        }).collect();
        let locked: u64 = htlcs.iter().map(|htlc| htlc.amount.get() / 1_000).sum();
        let state = State { htlcs, ..split(at, opener, CAPACITY.to_sat() - opener - locked) };
        let cheat = Broadcast::new(kind, cheats, &state);
        prop_assert!(accepted(&cheat.transaction, &[cheat.funding_output()]));
        let (revoked, own) = (cheat.revoked(), keys(cheats.other()));
        prop_assert_eq!(revoked.number(), state.number);
        let mut claims = revoked.claims(&cheat.transaction, &cheat.htlcs);
        claims.extend(to_remote(kind, &cheat.transaction, &own.payment));
        let fee_rate = FeeRate::from_sat_per_vb_u32(sat_per_vb);
        let justice = sweep(&claims, &pay_to(1), fee_rate).unwrap();
        prop_assert!(accepted(&justice.transaction, &outputs(&cheat.transaction)));
        let taken: Vec<OutPoint> = claims.iter().map(|claim| claim.outpoint()).collect();
        for (outpoint, output) in outputs(&cheat.transaction) {
            prop_assert!(taken.contains(&outpoint) || output.value == Amount::from_sat(330));
        }
        let left = if anchors { Amount::from_sat(660) } else { Amount::ZERO };
        prop_assert_eq!(justice.transaction.output[0].value + justice.fee + left + cheat.commitment.fee, CAPACITY);
        let least = justice.transaction.vsize() as u64 * u64::from(sat_per_vb);
        prop_assert!(justice.fee.to_sat() >= least);
    }
}
