//! The book's numbers on a real Bitcoin Core node, with its mempool's rules: 5 and 5, a payment of 2, and every way to end.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, Txid};
use rillpay_chain::ChainError;
use rillpay_chain::testing::Node;
use rillpay_channel::revocable::claim::{Claim, sweep};
use rillpay_channel::revocable::holder::funding::Coin;
use rillpay_channel::revocable::holder::{Effect, End, Holder, SecondStages};
use rillpay_channel::{Code, Error, bitcoin};
use serde_json::{Value, json};

use crate::both::{FIVE, begun, change, stake, wallet};
use crate::pair::{CAPACITY, EXPIRY, HITESH, IRENE, Pair, funding_script, payout, terms};

async fn try_send(node: &Node, transaction: &Transaction) -> Result<Txid, ChainError> {
    node.try_call("sendrawtransaction", json!([serialize_hex(transaction)])).await
}

async fn send(node: &Node, transaction: &Transaction) {
    try_send(node, transaction).await.unwrap();
}

async fn refused(node: &Node, transaction: &Transaction, reason: &str) {
    let error = try_send(node, transaction).await.unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

/// So many blocks are one too few for its delay.
async fn confirms_after(node: &Node, blocks: u32, transaction: &Transaction) {
    node.mine(blocks).await;
    refused(node, transaction, "non-BIP68-final").await;
    node.mine(1).await;
    send(node, transaction).await;
    node.mine(1).await;
}

/// A node, and a channel on it with 5 of each, used by nobody yet.
async fn open() -> (Node, Pair) {
    let node = Node::start().await;
    let funding = node.pay(&funding_script(), CAPACITY).await;
    let outpoint = OutPoint { txid: funding.compute_txid(), vout: 0 };
    let mut pair = Pair::funded_by([terms(HITESH), terms(IRENE)], 500_000_000, outpoint);
    // Only now: the counterparty's signature brings it back.
    send(&node, &funding).await;
    for depth in 1..=3 {
        node.mine(1).await;
        for who in [HITESH, IRENE] {
            pair.confirm(who, depth);
        }
    }
    pair.run();
    assert!(pair.sides.iter().all(|side| side.holder.is_open()));
    (node, pair)
}

/// Both put in 5, in a transaction that both sign; it confirms, and its channel ends as any other.
#[tokio::test]
async fn both_put_in_five() {
    let node = Node::start().await;
    let mut stakes = [stake(HITESH, FIVE), stake(IRENE, FIVE)];
    for (who, stake) in stakes.iter_mut().enumerate() {
        let transaction = node.pay(&wallet(who), Amount::from_sat(600_000_000)).await;
        send(&node, &transaction).await;
        let is_coin = |output: &bitcoin::TxOut| output.script_pubkey == wallet(who);
        let vout = u32::try_from(transaction.output.iter().position(is_coin).unwrap()).unwrap();
        stake.coins = vec![Coin { transaction, vout, witness: 107 }];
    }
    node.mine(1).await;
    let mut pair = begun(stakes);
    pair.run();
    let funding = pair.sides[IRENE].holder.signing().unwrap().whole().unwrap().clone();
    // Not before the height that the opener saw, and at the rate that was agreed on.
    send(&node, &funding).await;
    let rate = funding.output.iter().map(|output| output.value).sum::<Amount>();
    let fee = Amount::from_sat(1_200_000_000) - rate;
    assert_eq!(fee.to_sat(), 1_523 + 988);
    let least = FeeRate::from_sat_per_kwu(2_500).fee_wu(funding.weight()).unwrap();
    assert!(fee >= least - Amount::from_sat(10), "{fee} for {}", funding.weight());
    for depth in 1..=3 {
        node.mine(1).await;
        for who in [HITESH, IRENE] {
            pair.confirm(who, depth);
        }
    }
    pair.run();
    pay_two(&mut pair);
    let commitment = pair.sides[HITESH].holder.commitment(&pair.sides[HITESH].keys).unwrap();
    send(&node, &commitment).await;
    node.mine(1).await;
    let irene = pair.sides[IRENE].view(&commitment);
    send(&node, &take(&irene.claims(&commitment).unwrap())).await;
    node.mine(1).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 300_000_000));
    assert_eq!(on_chain(&node, &change(IRENE)).await, Amount::from_sat(100_000_000 - 988));
}

/// Irene pays Hitesh 2.
fn pay_two(pair: &mut Pair) {
    pair.offer(IRENE, 200_000_000, 1).unwrap();
    pair.sign(IRENE);
    pair.run();
    pair.fulfill(HITESH, 0, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    assert_eq!(pair.balances(), [700_000_000, 300_000_000]);
}

fn take(claims: &[Claim<'_>]) -> Transaction {
    sweep(claims, &payout(), FeeRate::from_sat_per_vb_u32(5)).unwrap().transaction
}

async fn on_chain(node: &Node, script: &ScriptBuf) -> Amount {
    let found: Value = node.call("scantxoutset", json!(["start", [format!("raw({})", script.to_hex_string())]])).await;
    Amount::from_str_in(&found["total_amount"].to_string(), bitcoin::Denomination::Bitcoin).unwrap()
}

/// The rest went to miners: the commitment's fee, two anchors and the sweep's fee.
fn is_less_fees(amount: Amount, whole: u64) -> bool {
    amount.to_sat() <= whole && amount.to_sat() > whole - 5_000
}

#[tokio::test]
async fn seven_and_three_by_agreement() {
    let (node, mut pair) = open().await;
    pay_two(&mut pair);
    pair.act(IRENE, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_vb_u32(2))).unwrap();
    pair.run();
    let Some(End::Closed(closed)) = pair.sides[HITESH].ended().cloned() else { panic!("closed") };
    send(&node, &closed).await;
    node.mine(1).await;
    assert_eq!(on_chain(&node, &terms(IRENE).payout).await, Amount::from_sat(300_000_000));
    assert!(is_less_fees(on_chain(&node, &terms(HITESH).payout).await, 700_000_000));
}

#[tokio::test]
async fn irene_cheats_and_hitesh_takes_all_ten() {
    let (node, mut pair) = open().await;
    let five_and_five = pair.sides[IRENE].holder.commitment(&pair.sides[IRENE].keys).unwrap();
    pay_two(&mut pair);
    send(&node, &five_and_five).await;
    node.mine(1).await;
    // Hitesh was away for almost as long as she has to wait.
    node.mine(997).await;
    let hitesh = pair.sides[HITESH].view(&five_and_five);
    send(&node, &take(&hitesh.claims(&five_and_five).unwrap())).await;
    node.mine(1).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 1_000_000_000));
}

#[tokio::test]
async fn who_closes_honestly_waits_a_thousand_blocks() {
    let (node, mut pair) = open().await;
    pay_two(&mut pair);
    let why = Error::new(Code::Unavailable, "the counterparty is gone");
    pair.act(IRENE, |side| side.holder.fail(&side.keys, &why)).unwrap();
    let broadcast = pair.sides[IRENE].effects.iter().find_map(|effect| match effect {
        Effect::Broadcast(transaction) => Some(transaction.clone()),
        _ => None,
    });
    let closed = broadcast.unwrap();
    send(&node, &closed).await;
    node.mine(1).await;
    let hitesh = pair.sides[HITESH].view(&closed);
    send(&node, &take(&hitesh.claims(&closed).unwrap())).await;
    node.mine(1).await;
    let seven = on_chain(&node, &payout()).await;
    assert!(is_less_fees(seven, 700_000_000));

    let irene = pair.sides[IRENE].view(&closed);
    let mine = take(&irene.claims(&closed).unwrap());
    confirms_after(&node, 997, &mine).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 1_000_000_000));
}

/// Second stages that a coin of this size pays for.
async fn with_coin(node: &Node, stages: &SecondStages<'_>, fee: u64) -> Transaction {
    let mut made = stages.transaction();
    // The coins of the node are anybody's.
    let coin = node.pay(&payout(), Amount::from_sat(fee)).await;
    made.input.extend(coin.input);
    made.output.extend(coin.output.into_iter().filter(|output| output.script_pubkey != payout()));
    stages.sign(&mut made).unwrap();
    made
}

/// Irene closes alone, and takes what she has preimages for: all of it in one transaction, and a dearer one in its place.
#[tokio::test]
async fn payments_with_preimages_are_taken_together_and_the_fee_is_raised() {
    let (node, mut pair) = open().await;
    for secret in 1..=3 {
        pair.offer(HITESH, 100_000_000, secret).unwrap();
        pair.sign(HITESH);
        pair.run();
    }
    pair.cut();
    for (id, secret) in [(0, 1), (1, 2)] {
        pair.fulfill(IRENE, id, secret).unwrap();
    }
    let commitment = pair.sides[IRENE].holder.commitment(&pair.sides[IRENE].keys).unwrap();
    send(&node, &commitment).await;
    node.mine(1).await;

    let (irene, hitesh) = (pair.sides[IRENE].view(&commitment), pair.sides[HITESH].view(&commitment));
    let [stages] = &irene.second(EXPIRY, |_| true)[..] else { panic!("of one lock time") };
    let slow = with_coin(&node, stages, 2_000).await;
    assert_eq!(slow.input.len(), 3);
    send(&node, &slow).await;
    refused(&node, &with_coin(&node, stages, 1_999).await, "insufficient fee").await;
    let success = with_coin(&node, stages, 8_000).await;
    send(&node, &success).await;
    node.mine(1).await;
    assert_eq!(hitesh.shown_by(&success), [1, 2].map(crate::pair::preimage));
    let is_there = |output: &OutPoint| success.input.iter().all(|input| input.previous_output != *output);
    assert!(irene.second(EXPIRY, is_there).is_empty());

    // After the delay both are hers, with the rest; the third payment goes back to Hitesh.
    let mut claims = irene.claims(&success).unwrap();
    claims.extend(irene.claims(&commitment).unwrap());
    let mine = take(&claims);
    confirms_after(&node, 998, &mine).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 700_000_000));
    let mut claims = hitesh.claims(&commitment).unwrap();
    claims.retain(|claim| is_there(&claim.outpoint()));
    send(&node, &take(&claims)).await;
    node.mine(1).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 1_000_000_000 - 2_000));
}

/// Irene plays an old state, and hurries its payment into the second stage: Hitesh takes both stages at once.
#[tokio::test]
async fn a_cheat_loses_the_second_stage_too() {
    let (node, mut pair) = open().await;
    pair.offer(HITESH, 100_000_000, 1).unwrap();
    pair.sign(HITESH);
    pair.run();
    pair.cut();
    pair.fulfill(IRENE, 0, 1).unwrap();
    let old = Holder::load(&pair.sides[IRENE].stored).unwrap();
    pair.connect();
    pair.run();
    assert_eq!(pair.balances(), [400_000_000, 600_000_000]);
    let [hitesh, irene] = &pair.sides;
    let cheat = old.commitment(&irene.keys).unwrap();
    send(&node, &cheat).await;
    node.mine(1).await;
    let view = old.spent(&irene.keys, &cheat, |_| vec![]).unwrap();
    let [stages] = &view.second(EXPIRY, |_| true)[..] else { panic!("one second stage") };
    let success = with_coin(&node, stages, 2_000).await;
    send(&node, &success).await;
    node.mine(1).await;

    let view = hitesh.view(&cheat);
    let mut claims = view.claims(&cheat).unwrap();
    claims.retain(|claim| success.input.iter().all(|input| input.previous_output != claim.outpoint()));
    claims.extend(view.claims(&success).unwrap());
    send(&node, &take(&claims)).await;
    node.mine(1).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 1_000_000_000));
}

/// A payment under way when the channel fails: Hitesh, who broadcast, takes it back after its expiry, with a second stage whose
/// fee another coin pays; or Irene takes it with the preimage, and Hitesh reads that off the chain.
#[tokio::test]
async fn payments_are_resolved_by_preimage_or_by_time() {
    let (node, mut pair) = open().await;
    for secret in [1, 2] {
        pair.offer(HITESH, 100_000_000, secret).unwrap();
        pair.sign(HITESH);
        pair.run();
    }
    pair.cut();
    pair.fulfill(IRENE, 1, 2).unwrap();
    let commitment = pair.sides[HITESH].holder.commitment(&pair.sides[HITESH].keys).unwrap();
    send(&node, &commitment).await;
    node.mine(1).await;

    let (irene, hitesh) = (pair.sides[IRENE].view(&commitment), pair.sides[HITESH].view(&commitment));
    let claims = irene.claims(&commitment).unwrap();
    let (now, later): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.lock() == 0);
    assert!(later.is_empty(), "both payments are Hitesh's");
    let taken = take(&now);
    send(&node, &taken).await;
    node.mine(1).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 600_000_000));
    assert_eq!(hitesh.shown_by(&taken), [crate::pair::preimage(2)]);

    // The other one times out.
    let is_there = |output: &OutPoint| taken.input.iter().all(|input| input.previous_output != *output);
    assert!(hitesh.second(EXPIRY - 1, is_there).is_empty());
    let [timeout] = &hitesh.second(EXPIRY, is_there)[..] else { panic!("one second stage") };
    let timeout = with_coin(&node, timeout, 10_000).await;
    refused(&node, &timeout, "non-final").await;
    let (height, _) = node.tip().await;
    node.mine(EXPIRY - height).await;
    send(&node, &timeout).await;
    node.mine(1).await;
    // And then the delay, as with everything that is Hitesh's own in his commitment.
    let mut claims = hitesh.claims(&timeout).unwrap();
    claims.extend(hitesh.claims(&commitment).unwrap());
    let all = take(&claims);
    confirms_after(&node, 998, &all).await;
    assert!(is_less_fees(on_chain(&node, &payout()).await, 1_000_000_000 - 3_000));
}
