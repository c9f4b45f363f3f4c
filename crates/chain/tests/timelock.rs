//! What a Bitcoin Core node says to the book's time-locked channel: 600 payments, each refused before its lock and accepted
//! after it, the refund last of all, and nothing to be had by playing an older one.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, missing_docs)]

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction};
use rillpay_chain::testing::Node;
use rillpay_channel::budget::Budget;
use rillpay_channel::commitment::{Funding, Paid, SeenOutput};
use rillpay_channel::keys::{Key, Seed};
use rillpay_channel::margin::Surge;
use rillpay_channel::payee::{self, Offer, Payee};
use rillpay_channel::payer::{self, Payer, Request};
use rillpay_channel::persist::{Decision, Saved};
use rillpay_channel::settlement::{Claim, settle};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::Message;
use rillpay_channel::{FundingKind, Kind, Ladder, Msat};
use serde_json::{Value, json};

const EMMA: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";
const FABIAN: &str = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";
const DEPOSIT: Amount = Amount::from_sat(3_600_000);
const PRICE: u64 = 1_000;
const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);
/// The book's: one second each, ten minutes.
const LADDER: Ladder = Ladder { step: 1, updates: 600 };

fn stored<E, F>(decision: Decision<E, F>) -> Saved<E, F> {
    decision.save(|_| Ok::<_, ()>(())).unwrap()
}

/// A channel whose two sides each do as their machine says.
struct Channel {
    emma: Payer,
    fabian: Payee,
    emma_key: Key,
    fabian_key: Key,
    payout: ScriptBuf,
}

impl Channel {
    /// The funding is broadcast only once the refund is granted, and has a block.
    async fn open(node: &Node) -> Self {
        let emma = Seed::from_words(EMMA, Network::Regtest).unwrap();
        let fabian = Seed::from_words(FABIAN, Network::Regtest).unwrap();
        let (emma_key, fabian_key) = (emma.channel_key(0).unwrap(), fabian.channel_key(0).unwrap());
        let payout = fabian.return_script(0).unwrap();
        let offer = Offer {
            kind: Kind::Timelock { ladder: LADDER, payee_script: payout.clone() },
            network: Network::Regtest,
            tariff: Tariff { unit: Unit::Second, price: Msat::new(PRICE * 1_000).unwrap(), window: 2 },
            min_deposit: Amount::from_sat(10_000),
            max_deposit: DEPOSIT,
            confirmations: 1,
            lifetime: 620,
            stop_margin: 6,
            close_margin: 3,
            purpose: String::new(),
        };
        let request = Request {
            ladder: Some(LADDER),
            network: offer.network,
            funding_kind: FundingKind::P2wsh,
            key: emma.channel_key(0).unwrap(),
            key_index: 0,
            return_script: emma.return_script(0).unwrap(),
            deposit: DEPOSIT,
            tariff: offer.tariff,
            node: fabian_key.public(),
            min_deposit: offer.min_deposit,
            max_deposit: offer.max_deposit,
            confirmations: offer.confirmations,
            max_lifetime: offer.lifetime,
            purpose: offer.purpose.clone(),
        };
        let (tip, _) = node.tip().await;
        let Message::Open(asked) = request.message() else { panic!("no request") };
        let step = offer.open(&asked, tip, fabian_key.public(), 0, &fabian_key).unwrap();
        let (fabian, effects) = Payee::create(stored(step)).unwrap();
        let Some(payee::Effect::Send(Message::Opened { params, signature })) = effects.into_iter().next() else {
            panic!("no answer")
        };
        let step = request.opened(params, signature, tip).unwrap();
        let emma = Payer::create(stored(step), request.key, Budget::default()).unwrap();
        let mut channel = Self { emma, fabian, emma_key, fabian_key, payout };
        channel.fund(node).await;
        channel
    }

    async fn fund(&mut self, node: &Node) {
        let transaction = node.pay(&self.emma.params().funding_script(), DEPOSIT).await;
        let effects = self.emma(|emma| emma.fund(transaction.clone()).unwrap());
        let [payer::Effect::Send(Message::Fund(funding))] = effects[..] else { panic!("{effects:?}") };
        let decision = self.fabian.fund(funding, &self.fabian_key).unwrap();
        let effects = self.fabian.commit(stored(decision)).unwrap();
        let [payee::Effect::Send(Message::Granted(grant))] = effects[..] else { panic!("{effects:?}") };
        let effects = self.emma(|emma| emma.granted(&grant).unwrap());
        assert_eq!(effects, [payer::Effect::Broadcast(transaction.clone())]);
        assert_eq!(accepted(node, &transaction).await, Ok(()));
        node.call::<Value>("sendrawtransaction", json!([serialize_hex(&transaction)])).await;
        node.mine(1).await;
        let vout = transaction.output.iter().position(|output| output.value == DEPOSIT).unwrap();
        let outpoint = OutPoint::new(transaction.compute_txid(), u32::try_from(vout).unwrap());
        let seen = SeenOutput { funding: Funding { outpoint, capacity: DEPOSIT }, confirmations: 1 };
        self.emma(|emma| emma.funding_seen(&seen.funding, &[seen]).unwrap());
        let decision = self.fabian.funding_seen(&[seen], node.tip().await.0).unwrap();
        self.fabian.commit(stored(decision)).unwrap();
    }

    fn emma(&mut self, decide: impl FnOnce(&Payer) -> payer::Step) -> Vec<payer::Effect> {
        let decision = decide(&self.emma);
        self.emma.commit(stored(decision)).unwrap()
    }

    /// One second more: both sides hold the commitment for it. Gives Fabian's transaction and Emma's.
    fn pay(&mut self, tip: u32) -> (Transaction, Transaction) {
        self.emma(|emma| emma.receive(1_000).unwrap());
        let upto = self.emma.received();
        let effects = self.emma(|emma| emma.need(upto, 0, 0).unwrap());
        let [payer::Effect::Send(Message::Pay(paid))] = effects[..] else { panic!("{effects:?}") };
        let decision = self.fabian.pay(paid, tip).unwrap();
        self.fabian.commit(stored(decision)).unwrap();
        let Some(Message::Granted(grant)) = self.fabian.countersign(&self.fabian_key).unwrap() else {
            panic!("no signature")
        };
        self.emma(|emma| emma.granted(&grant).unwrap());
        let own = rillpay_channel::refund::granted(self.emma.params(), &grant, RATE, &self.emma_key).unwrap();
        (self.settlement(paid), own)
    }

    fn settlement(&self, paid: Paid) -> Transaction {
        let funding = *self.fabian.funding().unwrap();
        let claim = Claim { params: self.fabian.params(), funding, paid, key: &self.fabian_key };
        settle(&[claim], &self.payout, RATE).unwrap().transaction
    }

    fn refund(&self) -> Transaction {
        let funding = *self.emma.funding().unwrap();
        let kit = self.emma.refund_kit(&[SeenOutput { funding, confirmations: 1 }]).unwrap();
        kit.into_iter().find(|entry| entry.fee_rate == 2).unwrap().transaction
    }
}

/// Whether the node's mempool would take it; else its reason.
async fn accepted(node: &Node, transaction: &Transaction) -> Result<(), String> {
    let verdict: Value = node.call("testmempoolaccept", json!([[serialize_hex(transaction)]])).await;
    match &verdict[0]["allowed"] {
        Value::Bool(true) => Ok(()),
        _ => Err(verdict[0]["reject-reason"].as_str().unwrap_or_default().to_owned()),
    }
}

async fn send(node: &Node, transaction: &Transaction) {
    node.call::<Value>("sendrawtransaction", json!([serialize_hex(transaction)])).await;
}

#[tokio::test]
async fn each_of_600_commitments_matures_before_its_predecessor_and_the_refund_comes_last() {
    let node = Node::start().await;
    let mut channel = Channel::open(&node).await;
    let (mut tip, _) = node.tip().await;
    let commitments: Vec<_> = (0..600).map(|_| channel.pay(tip)).collect();
    assert_eq!(channel.emma.updates_left(), Some(0));
    let refund = channel.refund();
    let too_early = Err("non-final".to_owned());

    let lowest = commitments[599].0.lock_time.to_consensus_u32();
    node.mine(lowest - tip - 1).await;
    tip = lowest - 1;
    for (index, (fabians, emmas)) in commitments.iter().enumerate().rev() {
        let number = index + 1;
        assert_eq!(fabians.lock_time.to_consensus_u32(), tip + 1, "commitment {number}");
        for one in [fabians, emmas] {
            assert_eq!(accepted(&node, one).await, too_early, "commitment {number} at {tip}");
        }
        node.mine(1).await;
        tip += 1;
        for one in [fabians, emmas] {
            assert_eq!(accepted(&node, one).await, Ok(()), "commitment {number} at {tip}");
        }
        let predecessor = index.checked_sub(1).map_or(&refund, |before| &commitments[before].1);
        assert_eq!(accepted(&node, predecessor).await, too_early, "the one before {number} at {tip}");
    }
    // Fabian never answered again: everything comes back, and then no commitment is worth anything.
    node.mine(1).await;
    send(&node, &refund).await;
    node.mine(1).await;
    assert_eq!(accepted(&node, &commitments[599].0).await, Err("missing-inputs".to_owned()));
}

#[tokio::test]
async fn an_older_commitment_is_too_early_until_it_is_too_late() {
    let node = Node::start().await;
    let mut channel = Channel::open(&node).await;
    let (tip, _) = node.tip().await;
    let (_, older) = channel.pay(tip);
    let (newest, _) = channel.pay(tip);
    let due = channel.fabian.due_height(Surge::NONE);
    node.mine(due - tip - 1).await;
    // Emma may offer the miners what she likes: it is not valid yet.
    assert_eq!(accepted(&node, &older).await, Err("non-final".to_owned()));
    node.mine(1).await;
    send(&node, &newest).await;
    assert_eq!(accepted(&node, &older).await, Err("non-final".to_owned()));
    node.mine(3).await;
    for late in [&older, &channel.refund()] {
        assert_eq!(accepted(&node, late).await, Err("missing-inputs".to_owned()));
    }
    let paid = newest.output.iter().find(|output| output.script_pubkey == channel.emma.params().return_script);
    assert_eq!(paid.unwrap().value, DEPOSIT - Amount::from_sat(2 * PRICE));
}

#[tokio::test]
async fn the_end_by_agreement_waits_for_nothing() {
    let node = Node::start().await;
    let mut channel = Channel::open(&node).await;
    let (tip, _) = node.tip().await;
    let (locked, _) = channel.pay(tip);
    let decision = channel.fabian.release(1_000, tip).unwrap();
    channel.fabian.commit(stored(decision)).unwrap();
    channel.emma(|emma| emma.stop().unwrap());
    let effects = channel.emma(|emma| emma.stopped(1_000).unwrap());
    let [payer::Effect::Send(Message::Close(last))] = effects[..] else { panic!("{effects:?}") };
    let decision = channel.fabian.close(last, &channel.fabian_key).unwrap();
    channel.fabian.commit(stored(decision)).unwrap();
    let settlement = channel.settlement(last);
    assert_eq!(accepted(&node, &locked).await, Err("non-final".to_owned()));
    send(&node, &settlement).await;
    node.mine(locked.lock_time.to_consensus_u32() - tip).await;
    assert_eq!(accepted(&node, &locked).await, Err("missing-inputs".to_owned()));
}
