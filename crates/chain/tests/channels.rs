//! What the embedded chain says to the channel's own transactions: the book's settlement, the refund before and after
//! expiry, a deposit paid twice, and a hundred channels in one settlement.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    missing_docs
)]

use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ChainError, Reason, ScriptHash};
use rillpay_channel::commitment::{self, Funding};
use rillpay_channel::keys::{Key, Seed};
use rillpay_channel::refund::{refund, refund_kit};
use rillpay_channel::settlement::{Claim, settle};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{ChannelParams, FundingKind, Kind, Msat};

const EMMA: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";
const FABIAN: &str = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";
const DEPOSIT: Amount = Amount::from_sat(3_600_000);
const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// Channel number `index` between Emma and Fabian.
struct Channel {
    params: ChannelParams,
    emma: Key,
    fabian: Key,
}

fn channel(index: u32, funding_kind: FundingKind, expiry: u32) -> Channel {
    let emma = Seed::from_words(EMMA, Network::Regtest).unwrap();
    let fabian = Seed::from_words(FABIAN, Network::Regtest).unwrap();
    let (payer, payee) = (emma.channel_key(index).unwrap(), fabian.channel_key(index).unwrap());
    let params = ChannelParams {
        kind: Kind::Cltv,
        network: Network::Regtest,
        funding_kind,
        payer: payer.public(),
        payee: payee.public(),
        expiry,
        return_script: emma.return_script(index).unwrap(),
        tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).unwrap(), window: 2 },
        min_deposit: Amount::from_sat(10_000),
        max_deposit: DEPOSIT,
        confirmations: 1,
        stop_margin: 2,
        close_margin: 1,
        purpose: String::new(),
    };
    params.validate().unwrap();
    Channel { params, emma: payer, fabian: payee }
}

fn payout() -> ScriptBuf {
    Seed::from_words(FABIAN, Network::Regtest).unwrap().return_script(0).unwrap()
}

async fn open_chain() -> KernelChain {
    KernelChain::open(KernelConfig::default()).await.unwrap()
}

/// Everything unspent at the channel's address.
async fn unspent(chain: &KernelChain, params: &ChannelParams) -> Vec<Funding> {
    let script = ScriptHash::of(&params.funding_script());
    let found = chain.script_unspent(&script).await.unwrap();
    found.iter().map(|utxo| Funding { outpoint: OutPoint::new(utxo.txid, utxo.vout), capacity: utxo.value }).collect()
}

fn refused(result: Result<bitcoin::Txid, ChainError>) -> Reason {
    match result {
        Err(ChainError::Refused(refusal)) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_numbers() {
    let chain = open_chain().await;
    let Channel { params, emma, fabian } = channel(0, FundingKind::P2shP2wsh, 1_000);
    assert!(params.address().unwrap().to_string().starts_with('2'), "P2SH, on a test network");
    chain.send(&params.funding_script(), DEPOSIT).await.unwrap();
    chain.mine(1).await.unwrap();
    let [funding] = unspent(&chain, &params).await[..] else { panic!("one deposit") };

    // 600 seconds at 1,000 sat.
    let paid = commitment::pay(&params, &funding, 0, Amount::from_sat(600_000), &emma).unwrap();
    paid.verify(&params, &funding).unwrap();
    let claim = Claim { params: &params, funding, paid, key: &fabian };
    let settlement = settle(&[claim], &payout(), RATE).unwrap();
    let txid = chain.broadcast(&settlement.transaction).await.unwrap();
    chain.mine(1).await.unwrap();

    assert!(chain.status(&txid).await.unwrap().unwrap().is_confirmed());
    let settled = chain.raw_transaction(&txid).await.unwrap().unwrap();
    assert_eq!(settled.output[0].value, Amount::from_sat(3_000_000), "30 mBTC back to Emma, exactly");
    assert_eq!(settled.output[0].script_pubkey, params.return_script);
    assert_eq!(settled.output[1].value, Amount::from_sat(600_000) - settlement.fee, "6 mBTC less the fee to Fabian");
    assert_eq!(settled.output[1].script_pubkey, payout());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_refused_before_expiry_and_sweeps_both_deposits_after() {
    let chain = open_chain().await;
    for (index, kind) in [FundingKind::P2shP2wsh, FundingKind::P2wsh].into_iter().enumerate() {
        let expiry = chain.tip().await.unwrap().height + 5;
        let Channel { params, emma, .. } = channel(u32::try_from(index).unwrap(), kind, expiry);
        chain.send(&params.funding_script(), DEPOSIT).await.unwrap();
        chain.send(&params.funding_script(), Amount::from_sat(12_345)).await.unwrap();
        chain.mine(1).await.unwrap();
        let outputs = unspent(&chain, &params).await;
        assert_eq!(outputs.len(), 2);

        // The kit is made now, and would survive the loss of everything else.
        let kit = refund_kit(&params, &outputs, &emma).unwrap();
        let entries = kit.into_iter().filter(|entry| entry.fee_rate == 5).map(|entry| entry.transaction);
        let [first, second] = &entries.collect::<Vec<_>>()[..] else { panic!("one for each deposit") };
        while chain.tip().await.unwrap().height < expiry {
            assert_eq!(refused(chain.broadcast(first).await), Reason::NonFinal);
            chain.mine(1).await.unwrap();
        }
        // A refund that only pretends to be final fails in its script.
        let mut eager = first.clone();
        eager.lock_time = bitcoin::absolute::LockTime::ZERO;
        assert!(matches!(refused(chain.broadcast(&eager).await), Reason::ScriptFailed));

        // Each comes back by itself, whatever becomes of the other.
        for entry in [second, first] {
            let txid = chain.broadcast(entry).await.unwrap();
            chain.mine(1).await.unwrap();
            assert!(chain.status(&txid).await.unwrap().unwrap().is_confirmed());
        }
        assert!(unspent(&chain, &params).await.is_empty());
        let returned = first.output[0].value + second.output[0].value;
        let gross = DEPOSIT + Amount::from_sat(12_345);
        assert!(returned < gross && returned > gross - Amount::from_sat(2_000), "{returned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_after_a_settlement_takes_back_only_the_second_deposit() {
    let chain = open_chain().await;
    let expiry = chain.tip().await.unwrap().height + 3;
    let Channel { params, emma, fabian } = channel(0, FundingKind::P2shP2wsh, expiry);
    chain.send(&params.funding_script(), DEPOSIT).await.unwrap();
    chain.mine(1).await.unwrap();
    let [funding] = unspent(&chain, &params).await[..] else { panic!("one deposit") };
    chain.send(&params.funding_script(), DEPOSIT).await.unwrap();
    let paid = commitment::pay(&params, &funding, 0, Amount::from_sat(1_000), &emma).unwrap();
    let settlement = settle(&[Claim { params: &params, funding, paid, key: &fabian }], &payout(), RATE).unwrap();
    chain.broadcast(&settlement.transaction).await.unwrap();
    chain.mine(2).await.unwrap();

    let both = [funding, unspent(&chain, &params).await[0]];
    let greedy = refund(&params, &both, RATE, &emma).unwrap();
    assert_eq!(refused(chain.broadcast(&greedy).await), Reason::MissingInputs);
    let rest = refund(&params, &both[1..], RATE, &emma).unwrap();
    chain.broadcast(&rest).await.unwrap();
    chain.mine(1).await.unwrap();
    assert!(unspent(&chain, &params).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_channels_settle_in_one_transaction() {
    let chain = open_chain().await;
    let channels: Vec<_> = (0..100)
        .map(|index| channel(index, if index % 2 == 0 { FundingKind::P2shP2wsh } else { FundingKind::P2wsh }, 1_000))
        .collect();
    chain.send_many(channels.iter().map(|one| (one.params.funding_script(), DEPOSIT)).collect()).await.unwrap();
    chain.mine(1).await.unwrap();

    let mut claims = vec![];
    for (number, Channel { params, emma, fabian }) in (0u64..).zip(&channels) {
        let [funding] = unspent(&chain, params).await[..] else { panic!("one deposit") };
        // From nothing at all to everything, so that some have no change.
        let cumulative = Amount::from_sat(DEPOSIT.to_sat() * number / 99);
        let paid = commitment::pay(params, &funding, 0, cumulative, emma).unwrap();
        claims.push(Claim { params, funding, paid, key: fabian });
    }
    let settlement = settle(&claims, &payout(), RATE).unwrap();
    let txid = chain.broadcast(&settlement.transaction).await.unwrap();
    chain.mine(1).await.unwrap();
    assert!(chain.status(&txid).await.unwrap().unwrap().is_confirmed());
    for (claim, one) in claims.iter().zip(&channels) {
        assert_eq!(returned(&settlement.transaction, &one.params), DEPOSIT - claim.paid.cumulative);
    }
}

fn returned(settlement: &Transaction, params: &ChannelParams) -> Amount {
    settlement
        .output
        .iter()
        .filter(|output| output.script_pubkey == params.return_script)
        .map(|output| output.value)
        .sum()
}
