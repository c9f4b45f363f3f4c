//! What the payer takes back: after the expiry, or before it where the payee grants it ([`crate::grant`]).
//!
//! In a `cltv` channel the payer alone sweeps, after expiry, what was paid to the channel's address, be it the funding or
//! not. In a `timelock` channel it needs the payee's grant, which it got before it funded the channel.
//!
//! The *refund kit* holds such transactions at several fee rates, signed ahead of time: any tool can broadcast them after
//! expiry, even if the browser's storage is gone. Each spends one output alone: an address takes money from anybody, and
//! what becomes of one output (it is replaced, or taken back early) must not void the refund of another.
//!
//! Only confirmed outputs are taken back. An unconfirmed one can still be replaced, and whatever spends it would go with
//! it. That holds for the funding as well: until its first block, and where a reorganisation undid that, it waits.
//!
//! Anybody can pay dust to the address, too. The funding comes first; of the rest a refund takes what is worth more than
//! its own input, the most valuable first, as far as one transaction goes. What is left can be had by another one.

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};

use crate::commitment::{Funding, SeenOutput, rest};
use crate::error::{Code, Error, refuse};
use crate::grant::Grant;
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::spend::{Input, MAX_SIGNATURE, Spend, least, spend, sum};

const NOTHING: &str = "nothing is confirmed at this address";

/// The most outputs that one refund sweeps: stays below what nodes relay.
pub const MAX_OUTPUTS: usize = 500;
/// The most outputs that a refund kit has refunds for: anybody can pay to the address, and the file has to stay small.
pub const MAX_KIT_OUTPUTS: usize = 12;
/// The fee rates of a refund kit, in satoshi per virtual byte.
pub const KIT_FEE_RATES: [u32; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// The confirmed ones of what the chain shows at the address, at most `most` of them: `funding` first, then the most
/// valuable.
pub(crate) fn ranked(seen: &[SeenOutput], funding: Option<Funding>, most: usize) -> Vec<Funding> {
    let confirmed = seen.iter().filter(|output| output.confirmations > 0);
    let mut left: Vec<Funding> = confirmed.map(|output| output.funding).collect();
    let mut ranked = vec![];
    let rank = |output: &Funding| (funding == Some(*output), output.capacity);
    while ranked.len() < most
        // A few thousand at most; sorting them would cost each browser a kilobyte of code.
        && let Some((at, _)) = left.iter().enumerate().max_by_key(|(_, output)| rank(output))
    {
        ranked.push(left.swap_remove(at));
    }
    ranked
}

/// A transaction that sweeps `outputs` of a `cltv` channel to the return script. Valid in blocks **after** the expiry
/// height.
///
/// # Errors
/// [`Code::NothingToDo`] for no outputs, [`Code::InvalidArgument`] for more than [`MAX_OUTPUTS`] or one named twice,
/// [`Code::WrongKey`] for a key that is not the payer's, [`Code::InvalidSignature`] in a `timelock` channel,
/// [`Code::Uneconomic`], with the amount that would be needed, where the fee leaves less than the dust limit.
pub fn refund(
    params: &ChannelParams,
    outputs: &[Funding],
    fee_rate: FeeRate,
    payer: &Key,
) -> Result<Transaction, Error> {
    if outputs.is_empty() {
        return refuse(Code::NothingToDo, NOTHING);
    }
    if outputs.len() > MAX_OUTPUTS {
        return refuse(Code::InvalidArgument, "too many outputs for one refund");
    }
    check_key(params, payer)?;
    let spends: Result<Vec<_>, _> = outputs.iter().map(|output| Spend::new(params, *output, payer, None)).collect();
    let value = sum(outputs.iter().map(|output| output.capacity))?;
    Ok(spend(&spends?, LockTime::from_consensus(params.expiry), vec![], to_payer(params, value), fee_rate)?.transaction)
}

/// As [`refund`], of the first of `outputs`, and of those after it that are worth more than their own input costs at this
/// rate. They are in the order of [`ranked`].
///
/// # Errors
/// As [`refund`].
pub(crate) fn sweep(
    params: &ChannelParams,
    outputs: &[Funding],
    fee_rate: FeeRate,
    payer: &Key,
) -> Result<Transaction, Error> {
    let Some((first, others)) = outputs.split_first() else {
        return refuse(Code::NothingToDo, NOTHING);
    };
    let input = Spend::new(params, *first, payer, None)?.input();
    let cost = fee_rate.fee_vb(input.segwit_weight().to_vbytes_ceil()).unwrap_or(Amount::MAX_MONEY);
    let worth = others.iter().filter(|output| output.capacity > cost);
    let taken: Vec<_> = [first].into_iter().chain(worth).copied().collect();
    refund(params, &taken, fee_rate, payer)
}

/// What an output has to hold at least for a release of it to leave its payer more than dust at this rate.
///
/// # Errors
/// [`Code::WrongKey`] for a key that is not of this channel, [`Code::InvalidArgument`] for an absurd rate.
pub(crate) fn least_release(params: &ChannelParams, fee_rate: FeeRate, payer: &Key) -> Result<Amount, Error> {
    let nothing = Funding { outpoint: OutPoint::null(), capacity: Amount::ZERO };
    // Nothing is signed: what counts is the length, and there is no longer signature.
    let spends = [Spend::with(params, nothing, payer, Some(MAX_SIGNATURE.to_vec()))?];
    least(&spends, to_payer(params, Amount::ZERO), fee_rate)
}

/// The transaction that a grant of the payee allows: the payee's share, and the rest to the return script. Valid in
/// blocks after the grant's lock.
///
/// # Errors
/// As [`refund`] and [`Grant::verify`].
pub fn granted(params: &ChannelParams, grant: &Grant, fee_rate: FeeRate, payer: &Key) -> Result<Transaction, Error> {
    check_key(params, payer)?;
    let (theirs, signature) = grant.terms(params)?;
    let spends = [Spend::new(params, grant.funding, payer, Some(signature))?];
    // A share that is dust stays with the payer: there is no output that could hold it.
    let paid = theirs.as_ref().map_or(Amount::ZERO, |output| output.value);
    let own = to_payer(params, rest(grant.funding.capacity, paid)?);
    let lock = LockTime::from_consensus(grant.lock);
    Ok(spend(&spends, lock, theirs.into_iter().collect(), own, fee_rate)?.transaction)
}

fn check_key(params: &ChannelParams, payer: &Key) -> Result<(), Error> {
    if payer.public() == params.payer {
        Ok(())
    } else {
        refuse(Code::WrongKey, "this key is not the payer's of this channel")
    }
}

fn to_payer(params: &ChannelParams, value: Amount) -> TxOut {
    TxOut { value, script_pubkey: params.return_script.clone() }
}

/// One transaction of a refund kit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KitEntry {
    /// Satoshi per virtual byte.
    pub fee_rate: u32,
    /// Signed; valid in blocks after the expiry height. Spends one output.
    pub transaction: Transaction,
}

/// A refund of each output by itself at each of [`KIT_FEE_RATES`] that leaves more than dust.
///
/// # Errors
/// [`Code::NothingToDo`] for no outputs; those of `refund`; [`Code::Uneconomic`] only where no rate leaves more than dust
/// of any output.
pub(crate) fn kit(
    outputs: &[Funding],
    refund: impl Fn(&Funding, FeeRate) -> Result<Transaction, Error>,
) -> Result<Vec<KitEntry>, Error> {
    let mut kit = vec![];
    let mut empty = Error::new(Code::NothingToDo, NOTHING);
    for output in outputs {
        for rate in KIT_FEE_RATES {
            match refund(output, FeeRate::from_sat_per_vb_u32(rate)) {
                Ok(transaction) => kit.push(KitEntry { fee_rate: rate, transaction }),
                // Dearer rates cannot do better.
                Err(error) if error.code() == Code::Uneconomic => {
                    empty = error;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    if kit.is_empty() { Err(empty) } else { Ok(kit) }
}

/// Refunds of each of `outputs` of a `cltv` channel, ahead of time.
///
/// # Errors
/// As [`refund`]; [`Code::Uneconomic`] only where no rate leaves more than dust of any output.
pub fn refund_kit(params: &ChannelParams, outputs: &[Funding], payer: &Key) -> Result<Vec<KitEntry>, Error> {
    kit(outputs, |output, rate| refund(params, &[*output], rate, payer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::FundingKind;
    use crate::testing::{self, CAPACITY};

    const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(1);

    fn outputs(number: usize, sat: u64) -> Vec<Funding> {
        let at = |vout| {
            let mut funding = testing::funding(0, Amount::from_sat(sat));
            funding.outpoint.vout = vout;
            funding
        };
        (0..).map(at).take(number).collect()
    }

    #[test]
    fn a_refund_is_of_no_more_outputs_than_nodes_relay_each_named_once() {
        let (params, payer) = (testing::params(), testing::payer_key());
        let refund = |outputs: &[Funding]| refund(&params, outputs, RATE, &payer).map_err(|error| error.code());
        let largest = refund(&outputs(MAX_OUTPUTS, 1_000)).unwrap();
        assert!(largest.weight().to_wu() <= 400_000);
        assert_eq!(refund(&outputs(MAX_OUTPUTS + 1, 1_000)), Err(Code::InvalidArgument));
        assert_eq!(refund(&[outputs(2, 1_000), outputs(1, 1_000)].concat()), Err(Code::InvalidArgument));
        assert_eq!(refund(&[]), Err(Code::NothingToDo));
    }

    #[test]
    fn a_sweep_leaves_what_costs_more_than_it_brings() {
        let payer = testing::payer_key();
        for funding_kind in [FundingKind::P2shP2wsh, FundingKind::P2wsh] {
            let params = ChannelParams { funding_kind, ..testing::params() };
            for rate in [1, 5, 200].map(FeeRate::from_sat_per_vb_u32) {
                let swept = |outputs: &[Funding]| sweep(&params, outputs, rate, &payer).unwrap();
                let deposit = testing::funding(1, CAPACITY);
                let alone = swept(&[deposit]);
                let with = |sat| swept(&[deposit, testing::funding(2, Amount::from_sat(sat))]);
                // At the border a further input takes as much as it brings.
                let border =
                    (0..50_000).collect::<Vec<u64>>().partition_point(|sat| with(*sat).input.len() == 1) as u64;
                let (before, after) = (with(border - 1), with(border + 1));
                assert_eq!((before.output, after.input.len()), (alone.output.clone(), 2));
                let more = after.output[0].value - alone.output[0].value;
                assert!(more.to_sat() <= 2 + rate.to_sat_per_vb_ceil(), "{more} at {border}");
            }
        }
        // The first comes along whatever it is worth.
        let (poor, rich) = (testing::funding(1, Amount::from_sat(10_000)), testing::funding(2, CAPACITY));
        let dear = FeeRate::from_sat_per_vb_u32(200);
        assert_eq!(sweep(&testing::params(), &[poor, rich], dear, &payer).unwrap().input.len(), 2);
        assert_eq!(sweep(&testing::params(), &[poor], dear, &payer).unwrap_err().code(), Code::Uneconomic);
        assert_eq!(sweep(&testing::params(), &[], RATE, &payer).unwrap_err().code(), Code::NothingToDo);
    }

    #[test]
    fn the_least_release_leaves_the_dust_limit() {
        let payer = testing::payer_key();
        for params in [testing::params(), testing::timelock_params()] {
            let least = least_release(&params, RATE, &payer).unwrap();
            let taken = |value| {
                let grant = Grant::sign(&params, testing::funding(1, value), 0, Amount::ZERO, &testing::payee_key());
                granted(&params, &grant.unwrap(), RATE, &payer)
            };
            assert!(taken(least).unwrap().output[0].value.to_sat() >= 294);
            // A signature may be a few bytes shorter than the longest.
            assert_eq!(taken(least - Amount::from_sat(3)).unwrap_err().code(), Code::Uneconomic);
            assert_eq!(least_release(&params, RATE, &testing::node()).unwrap_err().code(), Code::WrongKey);
            assert_eq!(least_release(&params, FeeRate::MAX, &payer).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_kit_holds_the_rates_that_leave_something() {
        let (params, payer) = (testing::params(), testing::payer_key());
        let kit = |sat| refund_kit(&params, &outputs(1, sat), &payer);
        let rates = |sat| kit(sat).unwrap().iter().map(|entry| entry.fee_rate).collect::<Vec<_>>();
        assert_eq!(rates(CAPACITY.to_sat()), KIT_FEE_RATES);
        assert_eq!(rates(2_000), [1, 2, 5, 10]);
        let dust = kit(400).unwrap_err();
        assert_eq!(dust.code(), Code::Uneconomic);
        assert!(matches!(dust.detail(), Some(crate::Detail::Amount(needed)) if needed.to_sat() > 400));
        let stranger = refund_kit(&params, &outputs(1, 400), &testing::node()).unwrap_err();
        assert_eq!(stranger.code(), Code::WrongKey);
    }

    #[test]
    fn a_grant_is_taken_by_the_payer_alone() {
        let params = testing::params();
        let grant =
            Grant::sign(&params, testing::funding(0, CAPACITY), 0, Amount::ZERO, &testing::payee_key()).unwrap();
        assert!(granted(&params, &grant, RATE, &testing::payer_key()).is_ok());
        assert_eq!(granted(&params, &grant, RATE, &testing::payee_key()).unwrap_err().code(), Code::WrongKey);
    }
}
