//! Construction: what adds up, what is left out, and what is refused.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::revocable::fees::ChannelType;
use crate::revocable::testing::{CAPACITY, channel, htlc, key, keys_of, state, with_htlcs};
use proptest::prelude::*;

fn build(channel: &Channel, owner: Role, state: &State) -> Result<Commitment, Error> {
    let point = keys_of(owner).seed.point(state.number).unwrap();
    Commitment::new(channel, owner, &point, state)
}

fn role(opener: bool) -> Role {
    if opener { Role::Opener } else { Role::Accepter }
}

#[test]
fn the_opener_pays_for_the_commitment_and_both_anchors() {
    for owner in [Role::Opener, Role::Accepter] {
        let commitment = build(&channel(ChannelType::Anchors), owner, &state()).unwrap();
        let value = |purpose| commitment.outputs.iter().find(|output| output.purpose == purpose).unwrap().output.value;
        let fee = Amount::from_sat(1124 * 2_500 / 1_000);
        let (opener, accepter) = match owner {
            Role::Opener => (value(Purpose::ToLocal), value(Purpose::ToRemote)),
            Role::Accepter => (value(Purpose::ToRemote), value(Purpose::ToLocal)),
        };
        assert_eq!(opener, CAPACITY / 2 - fee - ANCHOR - ANCHOR);
        assert_eq!(accepter, CAPACITY / 2);
        assert_eq!((commitment.base_fee, commitment.fee), (fee, fee));
        assert!(commitment.is_affordable);
    }
}

#[test]
fn both_owners_commitments_differ_and_each_is_signed_by_both() {
    let channel = channel(ChannelType::Anchors);
    let [ours, theirs] = [Role::Opener, Role::Accepter].map(|owner| build(&channel, owner, &state()).unwrap());
    assert_ne!(ours.transaction.compute_txid(), theirs.transaction.compute_txid());
    let (opener, accepter) = (keys_of(Role::Opener).funding, keys_of(Role::Accepter).funding);
    let signature = ours.sign(&accepter).unwrap();
    ours.verify(Role::Accepter, &signature).unwrap();
    ours.finish(&opener, &signature).unwrap();
    let code = |result: Result<_, Error>| result.map(|_: Transaction| ()).unwrap_err().code();
    assert_eq!(code(ours.finish(&accepter, &signature)), Code::WrongKey);
    assert_eq!(code(ours.finish(&key(9), &signature)), Code::WrongKey);
    assert_eq!(code(theirs.finish(&accepter, &signature)), Code::InvalidSignature);
    assert_eq!(ours.verify(Role::Opener, &signature).unwrap_err().code(), Code::InvalidSignature);
    assert_eq!(ours.sign(&keys_of(Role::Opener).htlc).unwrap_err().code(), Code::WrongKey);
}

#[test]
fn what_does_not_add_up_is_refused() {
    let channel = channel(ChannelType::Anchors);
    let code = |state: &State| build(&channel, Role::Opener, state).unwrap_err().code();
    let one = Msat::new(1).unwrap();
    assert_eq!(code(&State { opener: state().opener.checked_add(one).unwrap(), ..state() }), Code::InvalidArgument);
    assert_eq!(code(&State { opener: state().opener.checked_sub(one).unwrap(), ..state() }), Code::InvalidArgument);
    assert_eq!(code(&State { opener: Msat::MAX_MONEY, ..state() }), Code::InvalidArgument);
    let time = Htlc { expiry: 500_000_000, ..htlc(Role::Opener, 1_000_000) };
    assert_eq!(code(&with_htlcs(state(), vec![time])), Code::InvalidArgument);
    let many = vec![htlc(Role::Opener, 1_000); MAX_HTLCS + 1];
    assert_eq!(code(&with_htlcs(state(), many)), Code::InvalidArgument);
}

/// The opener has less than the fee: it gets nothing, and BOLT 2 has to keep such a state from coming about.
#[test]
fn an_opener_that_cannot_pay_is_noted() {
    let poor = |opener: u64| {
        let opener = Msat::new(opener).unwrap();
        State { opener, accepter: Msat::from_amount(CAPACITY).unwrap().checked_sub(opener).unwrap(), ..state() }
    };
    let channel = channel(ChannelType::StaticRemoteKey);
    let fee = ChannelType::StaticRemoteKey.commitment_fee(state().fee_rate, 0);
    let enough = build(&channel, Role::Opener, &poor(fee.to_sat() * 1_000)).unwrap();
    assert!(enough.is_affordable && enough.outputs.len() == 1 && enough.fee == fee);
    let short = build(&channel, Role::Opener, &poor(fee.to_sat() * 1_000 - 1)).unwrap();
    assert!(!short.is_affordable && short.outputs.len() == 1);
    assert_eq!(short.fee, fee, "the accepter's part of a satoshi goes to the miners, too");
    // The anchors would be made of nothing.
    let mut anchors = self::channel(ChannelType::Anchors);
    anchors.opener.dust_limit = Amount::ZERO;
    assert_eq!(build(&anchors, Role::Opener, &poor(0)).unwrap_err().code(), Code::InvalidArgument);
}

/// Equal amounts and payment hashes make equal outputs; their second stages differ, and come in order of expiry.
#[test]
fn outputs_that_look_the_same_are_ordered_by_expiry() {
    let one = |expiry, msat| Htlc { expiry, ..htlc(Role::Opener, msat) };
    let state = with_htlcs(state(), vec![one(510, 5_000_001), one(505, 5_000_900), one(507, 5_000_000)]);
    let commitment = build(&channel(ChannelType::Anchors), Role::Opener, &state).unwrap();
    let locks: Vec<_> =
        commitment.htlc_transactions().iter().map(|htlc| htlc.transaction.lock_time.to_consensus_u32()).collect();
    assert_eq!(locks, [505, 507, 510]);
    let vouts: Vec<_> =
        commitment.htlc_transactions().iter().map(|htlc| htlc.transaction.input[0].previous_output.vout).collect();
    assert!(vouts.is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Not a satoshi is unaccounted for, whatever is trimmed.
    #[test]
    fn outputs_and_fee_are_the_capacity(
        which in 0usize..4, owner: bool, rate in 253u64..20_000, dust in 0u64..2_000, share in 0u64..=1_000,
        number in 0u64..1 << 48,
        htlcs in prop::collection::vec((any::<bool>(), 1u64..20_000_000, 1u32..500_000_000, any::<u8>()), 0..12),
    ) {
        let types = [ChannelType::Legacy, ChannelType::StaticRemoteKey, ChannelType::AnchorsNonzeroFee, ChannelType::Anchors];
        let (channel_type, owner) = (types[which], role(owner));
        let mut channel = channel(channel_type);
        channel.opener.dust_limit = Amount::from_sat(dust);
        channel.accepter.dust_limit = Amount::from_sat(dust);
        let htlcs: Vec<_> = htlcs.into_iter().map(|(by, msat, expiry, hash)| Htlc {
            expiry, payment_hash: sha256::Hash::hash(&[hash]), ..htlc(role(by), msat)
        }).collect();
        let locked: u64 = htlcs.iter().map(|htlc| htlc.amount.get()).sum();
        let free = CAPACITY.to_sat() * 1_000 - locked;
        let opener = free / 1_000 * share;
        let state = State {
            number: CommitmentNumber::new(number).unwrap(),
            fee_rate: FeeRate::from_sat_per_kwu(rate),
            opener: Msat::new(opener).unwrap(),
            accepter: Msat::new(free - opener).unwrap(),
            htlcs,
        };
        let point = keys_of(owner).seed.point(CommitmentNumber::FIRST).unwrap();
        let commitment = match Commitment::new(&channel, owner, &point, &state) {
            Ok(commitment) => commitment,
            // Only anchors that nobody pays for.
            Err(_) => {
                prop_assert!(channel_type.has_anchors() && opener / 1_000 < 20_000 * 4);
                return Ok(());
            }
        };
        let sum: Amount = commitment.transaction.output.iter().map(|output| output.value).sum();
        prop_assert_eq!(sum + commitment.fee, CAPACITY);
        if commitment.is_affordable {
            prop_assert!(commitment.fee >= commitment.base_fee);
        }
        prop_assert_eq!(channel.obscuring().read(&commitment.transaction), Some(state.number));

        // Trimmed or made, each HTLC is one or the other; every output is above the dust limit but the anchors.
        let made = commitment.outputs.iter().filter(|output| matches!(output.purpose, Purpose::Htlc(_))).count();
        let trimmed = state.htlcs.iter()
            .filter(|htlc| channel_type.is_trimmed(htlc, owner, Amount::from_sat(dust), state.fee_rate)).count();
        prop_assert_eq!(made + trimmed, state.htlcs.len());
        let is_anchor = |output: &&Output| matches!(output.purpose, Purpose::Anchor(_));
        prop_assert!(commitment.outputs.iter().filter(|o| !is_anchor(o)).all(|o| o.output.value >= Amount::from_sat(dust)));
        prop_assert!(commitment.outputs.is_sorted_by_key(order));
        for (output, made) in commitment.outputs.iter().zip(&commitment.transaction.output) {
            prop_assert_eq!(&output.output, made);
        }
        // What a second stage pays out is no dust either.
        for htlc in commitment.htlc_transactions() {
            prop_assert!(htlc.transaction.output[0].value >= Amount::from_sat(dust));
        }
        // The real weight is never above the expected one.
        let witness = 4 + 2 * 73 + 71 + 2;
        if commitment.is_affordable {
            prop_assert!(commitment.transaction.weight().to_wu() + witness <= channel_type.commitment_weight(made as u64));
        }
    }

    /// The same for both: whoever builds it, from whatever order of the HTLCs, gets the same transaction.
    #[test]
    fn the_order_of_htlcs_does_not_matter(
        htlcs in prop::collection::vec((any::<bool>(), 600_000u64..603_000, 500u32..503, 0u8..3), 0..10),
    ) {
        let htlcs: Vec<_> = htlcs.into_iter().map(|(by, msat, expiry, hash)| Htlc {
            expiry, payment_hash: sha256::Hash::hash(&[hash]), ..htlc(role(by), msat)
        }).collect();
        let channel = channel(ChannelType::Anchors);
        let mut state = with_htlcs(state(), htlcs);
        let one = build(&channel, Role::Opener, &state).unwrap();
        state.htlcs.reverse();
        let other = build(&channel, Role::Opener, &state).unwrap();
        prop_assert_eq!(&one.transaction, &other.transaction);
        let second = |commitment: &Commitment| -> Vec<_> {
            commitment.htlc_transactions().into_iter().map(|htlc| htlc.transaction).collect()
        };
        prop_assert_eq!(second(&one), second(&other));
    }
}
