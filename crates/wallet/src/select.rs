//! Which coins pay, how much the fee is, and whether there is change.
//!
//! The library (`bdk_coin_select`) searches; it weighs in 32-bit floating point. So its choice is a proposal only: fee and
//! change are worked out here, in integers, from the weight that the transaction will have at most, and coins are added
//! where the proposal is a satoshi short.

use bdk_coin_select::{
    Candidate, ChangePolicy, CoinSelector, DrainWeights, FeeRate as SearchRate, TXIN_BASE_WEIGHT, Target, TargetFee,
    TargetOutputs, metrics::Changeless,
};
use bitcoin::transaction::{InputWeightPrediction, predict_weight};
use bitcoin::{Amount, FeeRate, Script, TxOut, Weight};

use crate::book::{Coin, sum};
use crate::error::{ABSURD, Code, Error, refuse};

/// The most inputs of one transaction: a third of what nodes relay (400,000 weight units).
pub(crate) const MAX_INPUTS: usize = 500;
/// How long the library searches for coins that need no change.
const ROUNDS: usize = 1_000;

/// A low-R signature with its hash type (71 bytes at most) and a compressed key.
const INPUT: InputWeightPrediction = InputWeightPrediction::ground_p2wpkh(1);
/// The witness of such an input in weight units: the number of items, each with its length.
const WITNESS_WEIGHT: u64 = 1 + (1 + 71) + (1 + 33);
/// The length of a P2WPKH script.
const P2WPKH_LEN: usize = 22;
/// A P2WPKH output: amount, length, script.
const P2WPKH_OUTPUT_WEIGHT: u64 = (8 + 1 + 22) * 4;

/// Coins, fee and change; the sum of the coins is that of outputs, change and fee.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) coins: Vec<Coin>,
    pub(crate) change: Option<Amount>,
    pub(crate) fee: Amount,
}

/// The fee of a transaction with so many inputs of ours and outputs with scripts of these lengths.
pub(crate) fn fee(rate: FeeRate, inputs: usize, lengths: impl IntoIterator<Item = usize>) -> Result<Amount, Error> {
    let weight = predict_weight(std::iter::repeat_n(INPUT, inputs), lengths);
    rate.fee_vb(weight.to_vbytes_ceil()).ok_or(ABSURD)
}

/// What an output has to be worth to be made for ourselves: nodes relay it, and it can be spent at this rate.
pub(crate) fn least_change(rate: FeeRate) -> Result<Amount, Error> {
    // For a P2WPKH output, at Bitcoin Core's dust rate of 3 sat/vB.
    let dust = Amount::from_sat(294);
    Ok(cost_of_spending(rate)?.max(dust))
}

fn cost_of_spending(rate: FeeRate) -> Result<Amount, Error> {
    let weight = Weight::from_wu(TXIN_BASE_WEIGHT.saturating_add(WITNESS_WEIGHT));
    rate.fee_vb(weight.to_vbytes_ceil()).ok_or(ABSURD)
}

/// The coins that are worth more than the fee of spending them, the most valuable first, as many as fit.
fn worthwhile(coins: &[Coin], rate: FeeRate) -> Result<Vec<Coin>, Error> {
    let cost = cost_of_spending(rate)?;
    let mut coins: Vec<_> = coins.iter().filter(|coin| coin.value > cost).copied().collect();
    coins.sort_by_key(|coin| std::cmp::Reverse((coin.value, coin.outpoint)));
    coins.truncate(MAX_INPUTS);
    // What follows adds up any part of them.
    sum(coins.iter().map(|coin| coin.value))?;
    Ok(coins)
}

/// Coins for these outputs.
///
/// # Errors
/// [`Code::InsufficientFunds`] with what is missing; [`ABSURD`].
pub(crate) fn choose(coins: &[Coin], outputs: &[TxOut], rate: FeeRate) -> Result<Choice, Error> {
    let coins = worthwhile(coins, rate)?;
    let out = sum(outputs.iter().map(|output| output.value))?;
    let candidates: Vec<_> =
        coins.iter().map(|coin| Candidate::new(coin.value.to_sat(), WITNESS_WEIGHT, true)).collect();
    let search_rate = SearchRate::from_wu(rate.to_sat_per_kwu(), 1000);
    let each = outputs.iter().map(|output| (output.weight().to_wu(), output.value.to_sat()));
    let target = Target { fee: TargetFee::from_feerate(search_rate), outputs: TargetOutputs::fund_outputs(each) };
    let change = DrainWeights { output_weight: P2WPKH_OUTPUT_WEIGHT, spend_weight: 0, n_outputs: 1 };
    let change_policy = ChangePolicy::min_value(change, least_change(rate)?.to_sat());

    let mut exact = CoinSelector::new(&candidates);
    if exact.run_bnb(Changeless { target, change_policy }, ROUNDS).is_ok() {
        let chosen: Vec<_> = exact.apply_selection(&coins).copied().collect();
        if let Verdict::Enough { change, fee } = settle(&chosen, outputs, out, rate)? {
            return Ok(Choice { coins: chosen, change, fee });
        }
    }
    let mut selector = CoinSelector::new(&candidates);
    selector.sort_candidates_by_descending_value_pwu();
    // Where all of them are not enough the exact reckoning below says by how much.
    let _ = selector.select_until_target_met(target);
    loop {
        let chosen: Vec<_> = selector.apply_selection(&coins).copied().collect();
        match settle(&chosen, outputs, out, rate)? {
            Verdict::Enough { change, fee } => return Ok(Choice { coins: chosen, change, fee }),
            Verdict::Missing(missing) if !selector.select_next() => {
                return Err(Error::new(Code::InsufficientFunds, "there is not enough money for this").with(missing));
            }
            Verdict::Missing(_) => {}
        }
    }
}

/// Whether chosen coins are enough.
enum Verdict {
    Enough { change: Option<Amount>, fee: Amount },
    Missing(Amount),
}

/// Change and fee of a choice, exactly.
fn settle(chosen: &[Coin], outputs: &[TxOut], out: Amount, rate: FeeRate) -> Result<Verdict, Error> {
    let value = sum(chosen.iter().map(|coin| coin.value))?;
    let lengths = outputs.iter().map(|output| output.script_pubkey.len());
    let needed = out.checked_add(fee(rate, chosen.len(), lengths.clone())?).ok_or(ABSURD)?;
    if let Some(missing) = needed.checked_sub(value).filter(|missing| *missing > Amount::ZERO) {
        return Ok(Verdict::Missing(missing));
    }
    let rest = value.checked_sub(out).ok_or(ABSURD)?;
    let with_change = fee(rate, chosen.len(), lengths.chain([P2WPKH_LEN]))?;
    let least = least_change(rate)?;
    Ok(match rest.checked_sub(with_change).filter(|change| *change >= least) {
        Some(change) => Verdict::Enough { change: Some(change), fee: with_change },
        // Less than a change output is worth goes to the miner.
        None => Verdict::Enough { change: None, fee: rest },
    })
}

/// Everything that is worth its fee, to one script; gives the coins, and what arrives.
///
/// # Errors
/// [`Code::NothingToSpend`] where it would not be more than dust; [`ABSURD`].
pub(crate) fn everything(coins: &[Coin], to: &Script, rate: FeeRate) -> Result<(Choice, Amount), Error> {
    let coins = worthwhile(coins, rate)?;
    let value = sum(coins.iter().map(|coin| coin.value))?;
    let fee = fee(rate, coins.len(), [to.len()])?;
    match value.checked_sub(fee).filter(|rest| *rest >= to.minimal_non_dust()) {
        Some(rest) if !coins.is_empty() => Ok((Choice { coins, change: None, fee }, rest)),
        _ => refuse(Code::NothingToSpend, "there is nothing that is worth the fee of spending it"),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod tests {
    use super::*;
    use crate::account::{Branch, Place};
    use crate::book::Kind;
    use bitcoin::hashes::Hash;
    use bitcoin::{OutPoint, ScriptBuf, Txid};
    use proptest::prelude::*;

    fn coin(number: u32, sat: u64) -> Coin {
        Coin {
            outpoint: OutPoint::new(Txid::from_byte_array([7; 32]), number),
            value: Amount::from_sat(sat),
            place: Place { branch: Branch::Receive, index: number },
            kind: Kind::Confirmed,
        }
    }

    fn coins(values: &[u64]) -> Vec<Coin> {
        (0..).zip(values).map(|(number, sat)| coin(number, *sat)).collect()
    }

    fn output(sat: u64, len: usize) -> TxOut {
        TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::from_bytes(vec![0x51; len]) }
    }

    fn check(choice: &Choice, outputs: &[TxOut], rate: FeeRate) {
        let mut outpoints: Vec<_> = choice.coins.iter().map(|coin| coin.outpoint).collect();
        outpoints.sort();
        outpoints.dedup();
        assert_eq!(outpoints.len(), choice.coins.len(), "no input twice");
        let total = |amounts: &mut dyn Iterator<Item = Amount>| sum(amounts).unwrap();
        let input = total(&mut choice.coins.iter().map(|coin| coin.value));
        let output = total(&mut outputs.iter().map(|output| output.value).chain(choice.change).chain([choice.fee]));
        assert_eq!(input, output, "nothing lost");
        let lengths = || outputs.iter().map(|output| output.script_pubkey.len());
        let inputs = choice.coins.len();
        match choice.change {
            Some(change) => {
                assert!(change >= least_change(rate).unwrap());
                assert_eq!(choice.fee, fee(rate, inputs, lengths().chain([P2WPKH_LEN])).unwrap(), "exactly the rate");
            }
            None => {
                assert!(choice.fee >= fee(rate, inputs, lengths()).unwrap(), "at least the rate");
                let dear = fee(rate, inputs, lengths().chain([P2WPKH_LEN])).unwrap() + least_change(rate).unwrap();
                assert!(choice.fee < dear, "no more than change would cost");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn a_choice_adds_up(
            values in prop::collection::vec(prop_oneof![1_u64..2_000, 1_000_u64..1_000_000, 1_u64..2_000_000_000_000], 0..40),
            wanted in prop_oneof![294_u64..2_000_000, 1_u64..2_000_000_000_000],
            lengths in prop::collection::vec(22_usize..=34, 1..4),
            rate in 250_u64..=250_000,
        ) {
            let rate = FeeRate::from_sat_per_kwu(rate);
            let coins = coins(&values);
            let outputs: Vec<_> = lengths.iter().map(|length| output(wanted, *length)).collect();
            match choose(&coins, &outputs, rate) {
                Ok(choice) => check(&choice, &outputs, rate),
                Err(error) => {
                    prop_assert_eq!(error.code(), Code::InsufficientFunds);
                    // All that is worth its fee is really not enough, by exactly the sum that the error names.
                    let all = worthwhile(&coins, rate).unwrap();
                    let has = sum(all.iter().map(|coin| coin.value)).unwrap() + error.amount().unwrap();
                    let needs = sum(outputs.iter().map(|output| output.value)).unwrap()
                        + fee(rate, all.len(), lengths.iter().copied()).unwrap();
                    prop_assert_eq!(has, needs);
                }
            }
        }

        #[test]
        fn a_sweep_takes_all_that_is_worth_it(
            values in prop::collection::vec(prop_oneof![1_u64..2_000, 1_u64..1_000_000_000], 0..60),
            rate in 250_u64..=250_000,
        ) {
            let rate = FeeRate::from_sat_per_kwu(rate);
            let coins = coins(&values);
            let to = ScriptBuf::from_bytes(vec![0x51; 22]);
            let cost = cost_of_spending(rate).unwrap();
            match everything(&coins, &to, rate) {
                Ok((choice, rest)) => {
                    prop_assert_eq!(choice.fee, fee(rate, choice.coins.len(), [22]).unwrap());
                    check(&choice, &[TxOut { value: rest, script_pubkey: to }], rate);
                    for coin in coins {
                        prop_assert_eq!(choice.coins.contains(&coin), coin.value > cost);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), Code::NothingToSpend);
                    let all = worthwhile(&coins, rate).unwrap();
                    let has = sum(all.iter().map(|coin| coin.value)).unwrap();
                    prop_assert!(all.is_empty() || has < fee(rate, all.len(), [22]).unwrap() + to.minimal_non_dust());
                }
            }
        }
    }

    #[test]
    fn coins_that_fit_exactly_make_no_change() {
        let rate = FeeRate::from_sat_per_vb_u32(2);
        // 10 + 68 + 31 bytes at 2 sat each; the coin of 50,000 with change would do, too.
        let outputs = [output(10_000, 22)];
        let exact = 10_000 + fee(rate, 1, [22]).unwrap().to_sat();
        let choice = choose(&coins(&[50_000, exact, 3_000]), &outputs, rate).unwrap();
        assert_eq!((choice.coins.len(), choice.change), (1, None));
        assert_eq!(choice.coins[0].value.to_sat(), exact);
        check(&choice, &outputs, rate);
    }

    #[test]
    fn a_very_large_wallet_is_spent_from_without_a_slip() {
        // Far beyond what 24 bits of mantissa hold.
        let values: Vec<u64> = (0..200).map(|n| 10_000_000_000_007 - n).collect();
        let rate = FeeRate::from_sat_per_kwu(251);
        for wanted in [1_234_567_890_123_457, 9_999_999_999_999, 1_999_999_999_900_000] {
            let outputs = [output(wanted, 34)];
            check(&choose(&coins(&values), &outputs, rate).unwrap(), &outputs, rate);
        }
    }

    #[test]
    fn no_more_inputs_than_nodes_relay() {
        let values = vec![10_000; 1_000];
        let rate = FeeRate::BROADCAST_MIN;
        let (choice, _) = everything(&coins(&values), &ScriptBuf::from_bytes(vec![0x51; 22]), rate).unwrap();
        assert_eq!(choice.coins.len(), MAX_INPUTS);
        let error = choose(&coins(&values), &[output(6_000_000, 22)], rate).unwrap_err();
        assert_eq!(error.code(), Code::InsufficientFunds);
    }
}
