//! Which channels are opened, and which are not.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf};
use rillpay_channel::revocable::fees::ChannelType;
use rillpay_channel::revocable::holder::{Accepted, Proposal, Terms};
use rillpay_channel::{Code, Msat};
use rillpay_wire::messages::{AcceptChannel, OpenChannel};
use rillpay_wire::types::FeeratePerKw;
use rillpay_wire::{Feature, Features, Message};

use crate::pair::{CAPACITY, HITESH, IRENE, keys, msat, rate, terms};

fn propose(terms: Terms, capacity: Amount, push: Msat) -> Result<(Proposal, OpenChannel), Code> {
    let proposal = Proposal::new(terms, &keys(HITESH), [9; 32], (capacity, push), rate());
    let (proposal, message) = proposal.map_err(|error| error.code())?;
    let Message::OpenChannel(message) = message else { panic!("{message:?}") };
    Ok((proposal, message))
}

fn accept(message: &OpenChannel) -> Result<AcceptChannel, Code> {
    let (_, answer) = Accepted::new(terms(IRENE), &keys(IRENE), message).map_err(|error| error.code())?;
    let Message::AcceptChannel(answer) = answer else { panic!("{answer:?}") };
    Ok(answer)
}

#[test]
fn an_accepter_refuses_what_bolt_2_tells_it_to() {
    let (_, open) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    accept(&open).unwrap();
    let refused = |change: fn(&mut OpenChannel)| {
        let mut open = open.clone();
        change(&mut open);
        accept(&open).unwrap_err()
    };
    let unacceptable: [fn(&mut OpenChannel); 17] = [
        |open| open.push_msat.0 = 1_000_000_000_001,
        |open| open.push_msat.0 = u64::MAX,
        |open| open.to_self_delay = 2_017,
        |open| open.max_accepted_htlcs = 484,
        |open| open.max_accepted_htlcs = 0,
        |open| open.feerate_per_kw = FeeratePerKw(252),
        |open| open.feerate_per_kw = FeeratePerKw(50_001),
        |open| open.dust_limit_satoshis = Amount::from_sat(353),
        |open| open.dust_limit_satoshis = open.channel_reserve_satoshis + Amount::ONE_SAT,
        |open| open.dust_limit_satoshis = Amount::from_sat(1_001),
        |open| open.channel_reserve_satoshis = Amount::from_sat(353),
        |open| open.channel_reserve_satoshis = Amount::from_sat(100_000_001),
        |open| open.funding_satoshis = Amount::from_sat(19_999),
        |open| open.funding_satoshis = Amount::from_sat(1_000_000_001),
        |open| open.tlvs.channel_type = None,
        |open| open.tlvs.channel_type = Some(Features::default().with_required(Feature::Anchors)),
        |open| open.funding_pubkey = keys(IRENE).funding.public(),
    ];
    for (n, change) in unacceptable.into_iter().enumerate() {
        assert_eq!(refused(change), Code::UnacceptableTerms, "{n}");
    }
    assert_eq!(refused(|open| open.chain_hash = bitcoin::constants::ChainHash::BITCOIN), Code::WrongNetwork);
    let upfront = |script| {
        let mut open = open.clone();
        open.tlvs.upfront_shutdown_script = Some(script);
        accept(&open)
    };
    upfront(ScriptBuf::new()).unwrap();
    upfront(terms(HITESH).payout).unwrap();
    assert_eq!(upfront(ScriptBuf::from_bytes(vec![0x51])).unwrap_err(), Code::InvalidReturnScript);
}

/// Whoever has a key of the other side's in its place can make an output of a revoked commitment look like the other's own.
#[test]
fn nobody_opens_with_a_key_of_the_other_side() {
    let (_, open) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    let stolen = keys(IRENE).payment.public();
    let places: [fn(&mut OpenChannel) -> &mut PublicKey; 5] = [
        |open| &mut open.funding_pubkey,
        |open| &mut open.revocation_basepoint,
        |open| &mut open.payment_basepoint,
        |open| &mut open.delayed_payment_basepoint,
        |open| &mut open.htlc_basepoint,
    ];
    for place in places {
        let mut open = open.clone();
        *place(&mut open) = stolen;
        assert_eq!(accept(&open).unwrap_err(), Code::UnacceptableTerms);
    }
    let mut answer = accept(&open).unwrap();
    answer.payment_basepoint = open.payment_basepoint;
    let (proposal, _) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    assert_eq!(proposal.accepted(&answer).map(drop).unwrap_err().code(), Code::UnacceptableTerms);
}

/// The opener has to pay for the first commitment, and one of the two has to have something to lose.
#[test]
fn the_first_commitment_has_to_make_sense() {
    let capacity = Amount::from_sat(100_000);
    let fee = 1_124 + 660;
    let opens = |push: u64| {
        let (proposal, open) = propose(terms(HITESH), capacity, Msat::new(push).unwrap())?;
        let answer = accept(&open)?;
        proposal.accepted(&answer).map(drop).map_err(|error| error.code())
    };
    opens(0).unwrap();
    opens((100_000 - fee) * 1_000).unwrap();
    assert_eq!(opens((100_000 - fee) * 1_000 + 1), Err(Code::UnacceptableTerms));
    // A channel so small that neither is above its reserve.
    let terms = Terms { capacity: (Amount::from_sat(2_000), CAPACITY), ..terms(HITESH) };
    let small = |push| propose(terms.clone(), Amount::from_sat(2_480), msat(push)).map(|(_, open)| open).unwrap();
    let accept = |open| Accepted::new(terms.clone(), &keys(IRENE), &open).map(drop).map_err(|error| error.code());
    accept(small(0)).unwrap();
    assert_eq!(accept(small(354)), Err(Code::UnacceptableTerms));
}

/// Without anchors the opener has no anchors to pay for, and a fee rate that would make dust of payments is refused.
#[test]
fn a_channel_without_anchors_is_asked_for() {
    let terms = Terms { channel_type: ChannelType::StaticRemoteKey, ..terms(HITESH) };
    let anchors = Features::default().with_required(Feature::StaticRemotekey).with_required(Feature::Anchors);
    let capacity = Amount::from_sat(100_000);
    let opens = |push: u64| {
        let (proposal, open) = propose(terms.clone(), capacity, Msat::new(push).unwrap())?;
        let answer = accept(&open)?;
        assert_eq!(answer.tlvs.channel_type, Some(Features::default().with_required(Feature::StaticRemotekey)));
        let mut other = answer.clone();
        other.tlvs.channel_type = Some(anchors.clone());
        let (again, _) = propose(terms.clone(), capacity, Msat::new(push).unwrap())?;
        assert_eq!(again.accepted(&other).map(drop).unwrap_err().code(), Code::UnacceptableTerms);
        proposal.accepted(&answer).map(drop).map_err(|error| error.code())
    };
    let fee = 724;
    opens((100_000 - fee) * 1_000).unwrap();
    assert_eq!(opens((100_000 - fee) * 1_000 + 1), Err(Code::UnacceptableTerms));
    let (_, mut open) = propose(terms.clone(), CAPACITY, Msat::ZERO).unwrap();
    for (rate, accepted) in [(10_000, true), (10_001, false)] {
        open.feerate_per_kw = FeeratePerKw(rate);
        assert_eq!(accept(&open).is_ok(), accepted, "{rate}");
    }
}

#[test]
fn an_opener_refuses_what_bolt_2_tells_it_to() {
    let (_, open) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    let answer = accept(&open).unwrap();
    let refused = |change: fn(&mut AcceptChannel)| {
        let mut answer = answer.clone();
        change(&mut answer);
        let (proposal, _) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
        proposal.accepted(&answer).map(drop).unwrap_err().code()
    };
    let unacceptable: [fn(&mut AcceptChannel); 8] = [
        |answer| answer.dust_limit_satoshis = Amount::from_sat(353),
        |answer| answer.dust_limit_satoshis = Amount::from_sat(1_001),
        |answer| answer.channel_reserve_satoshis = Amount::from_sat(100_000_001),
        |answer| answer.channel_reserve_satoshis = Amount::from_sat(353),
        |answer| answer.to_self_delay = 2_017,
        |answer| answer.max_accepted_htlcs = 484,
        |answer| answer.minimum_depth = 1_009,
        |answer| answer.tlvs.channel_type = Some(Features::default().with_required(Feature::StaticRemotekey)),
    ];
    for (n, change) in unacceptable.into_iter().enumerate() {
        assert_eq!(refused(change), Code::UnacceptableTerms, "{n}");
    }
    assert_eq!(refused(|answer| answer.temporary_channel_id.0[0] ^= 1), Code::UnknownChannel);
}

#[test]
fn own_terms_have_to_make_sense() {
    let refused = |change: fn(&mut Terms)| {
        let mut own = terms(HITESH);
        change(&mut own);
        propose(own, CAPACITY, Msat::ZERO).map(drop).unwrap_err()
    };
    assert_eq!(refused(|terms| terms.dust_limit = Amount::from_sat(353)), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.max_accepted = 484), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.max_accepted = 0), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.delay = 0), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.delay = 2_017), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.rates = (FeeRate::MAX, FeeRate::ZERO)), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.dust_limit = Amount::from_sat(1_001)), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.channel_type = ChannelType::Legacy), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.channel_type = ChannelType::AnchorsNonzeroFee), Code::InvalidArgument);
    assert_eq!(refused(|terms| terms.payout = ScriptBuf::new()), Code::InvalidReturnScript);
    let legacy = |terms: &mut Terms| terms.payout = ScriptBuf::new_p2pkh(&bitcoin::hashes::Hash::all_zeros());
    assert_eq!(refused(legacy), Code::InvalidReturnScript);
    let pushed = |push| propose(terms(HITESH), CAPACITY, push).map(drop);
    let all = Msat::from_amount(CAPACITY).unwrap();
    assert_eq!(pushed(Msat::new(all.get() + 1).unwrap()).unwrap_err(), Code::InvalidArgument);
    pushed(all).unwrap();
}

#[test]
fn signatures_of_the_first_commitments_are_checked() {
    let (proposal, open) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    let (accepted, answer) = Accepted::new(terms(IRENE), &keys(IRENE), &open).unwrap();
    let Message::AcceptChannel(answer) = answer else { panic!("{answer:?}") };
    let unfunded = proposal.accepted(&answer).unwrap();
    let outpoint = OutPoint { txid: bitcoin::hashes::Hash::all_zeros(), vout: 70_000 };
    let too_far = unfunded.funded(&keys(HITESH), outpoint).map(drop).unwrap_err();
    assert_eq!(too_far.code(), Code::InvalidArgument);

    let (proposal, _) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    let unfunded = proposal.accepted(&answer).unwrap();
    let outpoint = OutPoint { vout: 1, ..outpoint };
    assert_eq!(unfunded.funded(&keys(IRENE), outpoint).map(drop).unwrap_err().code(), Code::WrongKey);
    let (proposal, _) = propose(terms(HITESH), CAPACITY, msat(500_000_000)).unwrap();
    let (pending, created) = proposal.accepted(&answer).unwrap().funded(&keys(HITESH), outpoint).unwrap();
    let Message::FundingCreated(mut created) = created else { panic!("{created:?}") };
    created.funding_output_index ^= 1;
    let refused = accepted.funded(&keys(IRENE), &created).map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidSignature);

    let (accepted, _) = Accepted::new(terms(IRENE), &keys(IRENE), &open).unwrap();
    created.funding_output_index ^= 1;
    let step = accepted.funded(&keys(IRENE), &created).unwrap();
    assert_eq!(step.events().len(), 1);
    let saved = step.save(|_| Ok::<_, ()>(())).unwrap();
    let (_, effects) = rillpay_channel::revocable::holder::Holder::create(saved).unwrap();
    let [rillpay_channel::revocable::holder::Effect::Send(answer)] = &effects[..] else { panic!("{effects:?}") };
    let Message::FundingSigned(mut wrong) = (**answer).clone() else { panic!("{answer:?}") };
    wrong.signature.0[9] ^= 1;
    assert_eq!(pending.signed(&wrong).map(drop).unwrap_err().code(), Code::InvalidSignature);
}
