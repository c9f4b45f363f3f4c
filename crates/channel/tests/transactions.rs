//! Settlements and refunds of random channels, judged by Bitcoin Core's own script interpreter and by exact sums.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod consensus;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::SecretKey;
use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash};
use consensus::accepted;
use proptest::prelude::*;
use rillpay_channel::commitment::{self, Funding, dust_limit};
use rillpay_channel::fee::{Fee, Replaced};
use rillpay_channel::keys::Key;
use rillpay_channel::payee::{Effect, Event, Payee};
use rillpay_channel::refund::{KIT_FEE_RATES, KitEntry, granted, refund, refund_kit};
use rillpay_channel::settlement::{Claim, MAX_CHANNELS, Settlement, Spender, settle};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::Message;
use rillpay_channel::{ChannelParams, Code, FundingKind, Kind, Ladder, Msat};

const CAPACITY: u64 = 3_600_000;
const EXPIRY: u32 = 1_000;

fn key(number: u16) -> Key {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Key::new(SecretKey::from_slice(&bytes).unwrap())
}

fn pay_to(byte: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([byte; 20]))
}

fn rate(sat_per_vb: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_per_vb)
}

/// A channel with its own keys and funding.
struct Channel {
    payer: Key,
    payee: Key,
    params: ChannelParams,
    funding: Funding,
}

impl Channel {
    fn new(number: u16, kind: FundingKind, capacity: u64) -> Self {
        let (payer, payee) = (key(2 * number), key(2 * number + 1));
        let params = ChannelParams {
            kind: Kind::Cltv,
            network: Network::Regtest,
            funding_kind: kind,
            payer: payer.public(),
            payee: payee.public(),
            expiry: EXPIRY,
            return_script: pay_to(7),
            tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000).unwrap(), window: 2 },
            min_deposit: dust_limit(&pay_to(7)),
            max_deposit: Amount::MAX_MONEY,
            confirmations: 1,
            stop_margin: 2,
            close_margin: 1,
            purpose: String::new(),
        };
        params.validate().unwrap();
        let mut txid = [3; 32];
        txid[..2].copy_from_slice(&number.to_be_bytes());
        let outpoint = OutPoint { txid: Txid::from_byte_array(txid), vout: 1 };
        Self { payer, payee, params, funding: Funding { outpoint, capacity: Amount::from_sat(capacity) } }
    }

    fn claim(&self, cumulative: u64) -> Claim<'_> {
        let paid = commitment::pay(&self.params, &self.funding, 0, Amount::from_sat(cumulative), &self.payer).unwrap();
        paid.verify(&self.params, &self.funding).unwrap();
        Claim { params: &self.params, funding: self.funding, paid, key: &self.payee }
    }

    fn output(&self) -> (OutPoint, TxOut) {
        let script_pubkey = self.params.funding_script();
        (self.funding.outpoint, TxOut { value: self.funding.capacity, script_pubkey })
    }
}

fn outputs(channels: &[Channel]) -> Vec<(OutPoint, TxOut)> {
    channels.iter().map(Channel::output).collect()
}

fn total(tx: &Transaction) -> u64 {
    tx.output.iter().map(|output| output.value.to_sat()).sum()
}

/// The fee is what was asked for: never less, and no more than the longest signatures would have cost.
fn check_fee(settlement: &Settlement, sat_per_vb: u64, inputs: u64) {
    let least = settlement.transaction.vsize() as u64 * sat_per_vb;
    let fee = settlement.fee.to_sat();
    assert!((least..=least + (inputs + 1) * sat_per_vb).contains(&fee), "{fee} for {least}");
}

#[test]
fn the_books_settlement() {
    let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
    let settlement = settle(&[channel.claim(600_000)], &pay_to(8), rate(10)).unwrap();
    let tx = &settlement.transaction;
    assert!(accepted(tx, &[channel.output()]));
    assert_eq!(tx.output[0], TxOut { value: Amount::from_sat(3_000_000), script_pubkey: pay_to(7) });
    assert_eq!(tx.output[1], TxOut { value: Amount::from_sat(600_000) - settlement.fee, script_pubkey: pay_to(8) });
    assert_eq!(total(tx) + settlement.fee.to_sat(), CAPACITY);
    check_fee(&settlement, 10, 1);
}

#[test]
fn the_payees_signature_or_the_payers_change_cannot_be_left_out() {
    let channel = Channel::new(0, FundingKind::P2wsh, CAPACITY);
    let tx = settle(&[channel.claim(600_000)], &pay_to(8), rate(1)).unwrap().transaction;
    let spent = [channel.output()];
    let mut robbed = tx.clone();
    robbed.output[0].value -= Amount::ONE_SAT;
    assert!(!accepted(&robbed, &spent));
    let mut moved = tx.clone();
    moved.output.swap(0, 1);
    assert!(!accepted(&moved, &spent));
    let mut alone = tx;
    let payer = alone.input[0].witness.to_vec();
    alone.input[0].witness = bitcoin::Witness::from_slice(&[&payer[0][..], &[], &payer[3]]);
    assert!(!accepted(&alone, &spent), "the payer alone, before expiry");
}

#[test]
fn at_the_dust_border() {
    let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
    let dust = dust_limit(&channel.params.return_script).to_sat();
    assert_eq!(dust, 294, "P2WPKH at the default dust relay fee");
    for (change, kept) in [(dust + 1, true), (dust, true), (dust - 1, false), (1, false), (0, false)] {
        let settlement = settle(&[channel.claim(CAPACITY - change)], &pay_to(8), rate(1)).unwrap();
        assert!(accepted(&settlement.transaction, &[channel.output()]));
        assert_eq!(settlement.transaction.output.len(), if kept { 2 } else { 1 });
        let paid = if kept { CAPACITY - change } else { CAPACITY };
        assert_eq!(settlement.payout + settlement.fee, Amount::from_sat(paid));
    }
}

#[test]
fn what_cannot_be_settled_says_why() {
    let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
    let code = |claims: &[Claim<'_>], sat_per_vb| settle(claims, &pay_to(8), rate(sat_per_vb)).unwrap_err().code();
    assert_eq!(code(&[], 1), Code::NothingToDo);
    assert_eq!(code(&[channel.claim(0)], 1), Code::Uneconomic);
    assert_eq!(code(&[channel.claim(499)], 1), Code::Uneconomic);
    assert_eq!(code(&[Claim { key: &channel.payer, ..channel.claim(1_000) }], 1), Code::WrongKey);
    assert_eq!(code(&[channel.claim(1_000), channel.claim(1_000)], 1), Code::InvalidArgument);
    let too_many: Vec<_> = (0..=MAX_CHANNELS).map(|_| channel.claim(1_000)).collect();
    assert_eq!(code(&too_many, 1), Code::InvalidArgument);
    let more = Amount::from_sat(CAPACITY + 1);
    let error = commitment::pay(&channel.params, &channel.funding, 0, more, &channel.payer).unwrap_err();
    assert_eq!(error.code(), Code::ExceedsCapacity);
}

/// The estimate of what a channel costs in a settlement is never below what it does cost.
#[test]
fn a_claim_is_economic_when_it_brings_more_than_it_costs() {
    let channels: Vec<_> = (0..50).map(|number| Channel::new(number, FundingKind::P2shP2wsh, CAPACITY)).collect();
    let claims: Vec<_> = channels.iter().map(|channel| channel.claim(600_000)).collect();
    let size = |claims: &[Claim<'_>]| settle(claims, &pay_to(8), rate(1)).unwrap().fee.to_sat();
    let one_more = (size(&claims) - size(&claims[..49])).max(size(&claims[..2]) - size(&claims[..1]));
    let economic = |cumulative| channels[0].claim(cumulative).is_economic(rate(1)).unwrap();
    assert!(!economic(0) && !economic(one_more) && economic(one_more + 25));
    // At one satoshi per byte the estimate is 185: what brings exactly that gains nothing.
    assert!(!economic(185) && economic(186));
    // What is left would be dust: the whole capacity is the gain.
    assert!(Channel::new(0, FundingKind::P2wsh, 400).claim(200).is_economic(rate(2)).unwrap());
    let stranger = Claim { key: &channels[0].payer, ..channels[0].claim(600_000) };
    assert_eq!(stranger.is_economic(rate(1)).unwrap_err().code(), Code::WrongKey);
}

#[test]
fn a_hundred_channels_in_one_transaction() {
    for kind in [FundingKind::P2shP2wsh, FundingKind::P2wsh] {
        let channels: Vec<_> = (0..100).map(|number| Channel::new(number, kind, CAPACITY)).collect();
        let claims: Vec<_> = channels.iter().map(|channel| channel.claim(600_000)).collect();
        let merged = settle(&claims, &pay_to(8), rate(2)).unwrap();
        assert!(accepted(&merged.transaction, &outputs(&channels)));
        assert_eq!(merged.payout + merged.fee, Amount::from_sat(60_000_000));
        check_fee(&merged, 2, 100);
        let alone: usize = claims
            .iter()
            .map(|claim| settle(std::slice::from_ref(claim), &pay_to(8), rate(2)).unwrap().transaction.vsize())
            .sum();
        assert!(merged.transaction.vsize() * 100 <= alone * 80, "{} against {alone}", merged.transaction.vsize());
    }
}

#[test]
fn the_largest_settlement_is_relayed() {
    let channels: Vec<_> =
        (0..MAX_CHANNELS as u16).map(|number| Channel::new(number, FundingKind::P2shP2wsh, CAPACITY)).collect();
    let claims: Vec<_> = channels.iter().map(|channel| channel.claim(1_000)).collect();
    let settlement = settle(&claims, &pay_to(8), rate(1)).unwrap();
    assert!(settlement.transaction.weight().to_wu() <= 400_000);
    assert!(accepted(&settlement.transaction, &outputs(&channels)));
}

#[test]
fn a_settlement_that_replaces_others_pays_for_what_leaves() {
    let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
    let other = Channel::new(1, FundingKind::P2shP2wsh, CAPACITY);
    let old = settle(&[channel.claim(600_000), other.claim(600_000)], &pay_to(8), rate(10)).unwrap();
    let replaced = Replaced::NOTHING.and(old.fee, old.transaction.weight(), true);
    // The group has shrunk: at the old rate, and even at a better one, half the size would pay less than before.
    let fee = Fee::replacing(rate(12), replaced);
    let new = settle(&[channel.claim(600_000)], &pay_to(8), fee).unwrap();
    assert!(new.fee.to_sat() >= old.fee.to_sat() + new.transaction.vsize() as u64, "{} {}", new.fee, old.fee);
    assert_eq!(new.payout + new.fee, Amount::from_sat(600_000));
    assert!(accepted(&new.transaction, &[channel.output()]));
    // What leaves is worth more than what comes in: there is nothing to win.
    let dear = Replaced::NOTHING.and(Amount::from_sat(600_000), old.transaction.weight(), true);
    let error = settle(&[channel.claim(600_000)], &pay_to(8), Fee::replacing(rate(1), dear)).unwrap_err();
    assert_eq!(error.code(), Code::Uneconomic);
}

#[test]
fn whose_transaction_spends_a_channel_is_told_by_its_signatures() {
    let (channel, other) =
        (Channel::new(0, FundingKind::P2shP2wsh, CAPACITY), Channel::new(1, FundingKind::P2wsh, CAPACITY));
    let claim = channel.claim(600_000);
    let merged = settle(&[other.claim(5_000), channel.claim(500_000)], &pay_to(8), rate(2)).unwrap().transaction;
    assert_eq!(claim.spender(&merged), Some(Spender::Payee), "an older settlement, merged with others");
    let taken = refund(&channel.params, &[channel.funding], rate(2), &channel.payer).unwrap();
    assert_eq!(claim.spender(&taken), Some(Spender::Rival));
    assert_eq!(other.claim(1).spender(&taken), None);
    // Signatures are worth nothing over another transaction: whoever shows this one does not have it from the payer.
    let mut forged = taken.clone();
    forged.input[0].witness = merged.input[1].witness.clone();
    assert_eq!(claim.spender(&forged), None);
    let mut forged = taken;
    forged.output[0].value -= Amount::from_sat(1);
    assert_eq!(claim.spender(&forged), None);
}

#[test]
fn a_refund_is_valid_from_expiry_on_and_sweeps_all() {
    let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
    let second =
        Funding { outpoint: OutPoint { vout: 5, ..channel.funding.outpoint }, capacity: Amount::from_sat(20_000) };
    let both = [channel.funding, second];
    let spent = |tx: &Transaction| -> Vec<_> {
        let output = |input: &TxIn| {
            let funding = both.iter().find(|funding| funding.outpoint == input.previous_output).unwrap();
            (funding.outpoint, TxOut { value: funding.capacity, ..channel.output().1 })
        };
        tx.input.iter().map(output).collect()
    };
    // Both at once, and each by itself.
    let swept = |at| refund(&channel.params, &both, rate(at), &channel.payer).unwrap();
    let all = KIT_FEE_RATES.map(|rate| KitEntry { fee_rate: rate, transaction: swept(rate) });
    let kit = refund_kit(&channel.params, &both, &channel.payer).unwrap();
    assert_eq!(kit.len(), 8 + 7);
    for entry in all.into_iter().chain(kit) {
        let tx = entry.transaction;
        let spent = spent(&tx);
        assert!(accepted(&tx, &spent));
        assert_eq!(tx.lock_time.to_consensus_u32(), EXPIRY);
        let fee = spent.iter().map(|(_, output)| output.value.to_sat()).sum::<u64>() - total(&tx);
        let least = tx.vsize() as u64 * u64::from(entry.fee_rate);
        assert!((least..=least + 3 * u64::from(entry.fee_rate)).contains(&fee));
        let mut early = tx;
        early.lock_time = bitcoin::absolute::LockTime::from_consensus(EXPIRY - 1);
        assert!(!accepted(&early, &spent));
    }
    let other = refund(&channel.params, &[channel.funding], rate(1), &channel.payee).unwrap_err();
    assert_eq!(other.code(), Code::WrongKey);
}

/// The other kind of channel: each side holds the newest commitment and can end alone, and the payer holds its refund.
#[test]
fn both_sides_of_a_timelock_channel_hold_what_consensus_accepts() {
    let mut orders = [false; 2];
    for (number, kind) in (0..6).flat_map(|number| [(number, FundingKind::P2shP2wsh), (number, FundingKind::P2wsh)]) {
        let mut channel = Channel::new(number, kind, CAPACITY);
        channel.params.kind = Kind::Timelock { ladder: Ladder { step: 3, updates: 20 }, payee_script: pay_to(8) };
        channel.params.validate().unwrap();
        let (params, funding) = (&channel.params, channel.funding);
        orders[usize::from(params.payer.serialize() < params.payee.serialize())] = true;
        let lock = params.next_lock(None).unwrap();
        let paid = commitment::pay(params, &funding, lock, Amount::from_sat(600_000), &channel.payer).unwrap();
        let mut payee = Payee::replay([
            Event::Opened { params: Box::new(params.clone()), key_index: 0 },
            Event::Funded { funding, deep: true },
            Event::Accepted(paid),
        ])
        .unwrap();
        let Some(Message::Granted(copy)) = payee.countersign(&channel.payee).unwrap() else { panic!("no copy") };
        let fund = payee.fund(funding, &channel.payee).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
        let [Effect::Send(Message::Granted(back))] = payee.commit(fund).unwrap()[..] else { panic!("no refund") };

        let claim = Claim { params, funding, paid, key: &channel.payee };
        let settlement = settle(&[claim], &pay_to(9), rate(2)).unwrap().transaction;
        let own = granted(params, &copy, rate(2), &channel.payer).unwrap();
        let refund = granted(params, &back, rate(2), &channel.payer).unwrap();
        assert_eq!(settlement.output[0], TxOut { value: Amount::from_sat(3_000_000), script_pubkey: pay_to(7) });
        assert_eq!(own.output[0], TxOut { value: Amount::from_sat(600_000), script_pubkey: pay_to(8) });
        for (tx, lock) in [(settlement, lock), (own, lock), (refund, EXPIRY)] {
            assert_eq!(tx.lock_time.to_consensus_u32(), lock);
            assert!(accepted(&tx, &[channel.output()]));
            let mut early = tx;
            early.lock_time = bitcoin::absolute::LockTime::from_consensus(lock - 1);
            assert!(!accepted(&early, &[channel.output()]), "the lock is signed");
        }
    }
    assert_eq!(orders, [true; 2], "either key comes first in some of them");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the mix of capacities, payments and kinds: consensus accepts it, each payer gets its change exactly, and
    /// not a satoshi is unaccounted for.
    #[test]
    fn any_mix_settles_exactly(
        mix in prop::collection::vec((294u64..5_000_000_000, 0u64..=1_000, any::<bool>(), 0u64..600), 1..8),
        sat_per_vb in 1u32..300,
    ) {
        let channels: Vec<_> = mix.iter().enumerate().map(|(number, (capacity, _, p2wsh, _))| {
            let kind = if *p2wsh { FundingKind::P2wsh } else { FundingKind::P2shP2wsh };
            Channel::new(number as u16, kind, *capacity)
        }).collect();
        // Near the borders as often as between them.
        let paid = |(capacity, part, _, near): &(u64, u64, bool, u64)| match part % 3 {
            0 => (*near).min(*capacity),
            1 => capacity.saturating_sub(*near),
            _ => capacity / 1_000 * part,
        };
        let claims: Vec<_> = channels.iter().zip(&mix).map(|(channel, one)| channel.claim(paid(one))).collect();
        let gain: u64 = mix.iter().map(|one| if one.0 - paid(one) < 294 { one.0 } else { paid(one) }).sum();
        let gross: u64 = mix.iter().map(|one| one.0).sum();
        match settle(&claims, &pay_to(8), rate(sat_per_vb)) {
            Ok(settlement) => {
                let tx = &settlement.transaction;
                prop_assert!(accepted(tx, &outputs(&channels)));
                prop_assert_eq!(settlement.payout.to_sat() + settlement.fee.to_sat(), gain);
                prop_assert_eq!(total(tx) + settlement.fee.to_sat(), gross);
                check_fee(&settlement, sat_per_vb.into(), mix.len() as u64);
                for claim in &claims {
                    let change = claim.funding.capacity - claim.paid.cumulative;
                    if change.to_sat() >= 294 {
                        let index = tx.input.iter().position(|input| input.previous_output == claim.funding.outpoint).unwrap();
                        prop_assert_eq!(tx.output[index].value, change);
                    }
                }
            }
            Err(error) => {
                prop_assert_eq!(error.code(), Code::Uneconomic);
                prop_assert!(gain < 294 + u64::from(sat_per_vb) * 220 * mix.len() as u64);
            }
        }
    }

    /// A signature for one amount, funding or channel is worth nothing for another.
    #[test]
    fn a_payment_counts_for_its_own_commitment_alone(a in 0u64..=CAPACITY, b in 0u64..=CAPACITY) {
        let channel = Channel::new(0, FundingKind::P2shP2wsh, CAPACITY);
        let other = Channel::new(1, FundingKind::P2shP2wsh, CAPACITY);
        let paid = channel.claim(a).paid;
        prop_assert!(paid.verify(&channel.params, &other.funding).is_err());
        prop_assert!(paid.verify(&other.params, &channel.funding).is_err());
        let forged = commitment::Paid { cumulative: Amount::from_sat(b), ..paid };
        // Below dust all amounts share one signature: the whole capacity is the payee's then.
        let same = a == b || (CAPACITY - a < 294 && CAPACITY - b < 294);
        prop_assert_eq!(forged.verify(&channel.params, &channel.funding).is_ok(), same);
    }
}
