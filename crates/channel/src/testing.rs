//! Two endpoints with fixed keys, for the tests of the machines.

#![allow(clippy::arithmetic_side_effects)]

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{SecretKey, ecdsa::Signature};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness};

use crate::budget::Budget;
use crate::commitment::{self, Funding, Paid, SeenOutput};
use crate::keys::Key;
use crate::kind::{Kind, Ladder};
use crate::params::{ChannelParams, FundingKind};
use crate::payee::{self, Offer, Payee};
use crate::payer::{self, Payer, Request};
use crate::persist::StoredEvent;
use crate::tariff::{Tariff, Unit};
use crate::wire::{Message, Open};
use crate::{Error, Msat};

/// The canonical scenario: 1,000 sat a second, 36 mBTC for an hour.
pub(crate) const PRICE_SAT: u64 = 1_000;
pub(crate) const CAPACITY: Amount = Amount::from_sat(3_600_000);
pub(crate) const TIP: u32 = 200;
pub(crate) const NOW: u64 = 1_800_000_000;

fn key(byte: u8) -> Key {
    Key::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub(crate) fn payer_key() -> Key {
    key(1)
}

pub(crate) fn payee_key() -> Key {
    key(2)
}

pub(crate) fn node() -> Key {
    key(3)
}

pub(crate) fn return_script() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([9; 20]))
}

pub(crate) fn tariff() -> Tariff {
    Tariff { unit: Unit::Second, price: Msat::new(PRICE_SAT * 1000).unwrap(), window: 2 }
}

pub(crate) fn offer() -> Offer {
    Offer {
        kind: Kind::Cltv,
        network: Network::Regtest,
        tariff: tariff(),
        min_deposit: Amount::from_sat(10_000),
        max_deposit: CAPACITY * 10,
        confirmations: 1,
        lifetime: 1_008,
        stop_margin: 36,
        close_margin: 24,
        purpose: "http://127.0.0.1:8080".into(),
    }
}

pub(crate) fn request() -> Request {
    Request {
        ladder: None,
        network: Network::Regtest,
        funding_kind: FundingKind::P2shP2wsh,
        key: payer_key(),
        key_index: 0,
        return_script: return_script(),
        deposit: CAPACITY,
        tariff: tariff(),
        node: node().public(),
        min_deposit: offer().min_deposit,
        max_deposit: offer().max_deposit,
        confirmations: offer().confirmations,
        max_lifetime: 2_016,
        purpose: offer().purpose,
    }
}

pub(crate) fn open_request() -> Open {
    match request().message() {
        Message::Open(open) => open,
        other => panic!("not an open: {other:?}"),
    }
}

pub(crate) fn params() -> ChannelParams {
    World::opened().payee.params().clone()
}

/// Twenty payments, one every three blocks.
pub(crate) const LADDER: Ladder = Ladder { step: 3, updates: 20 };

fn timelock_offer() -> Offer {
    Offer { kind: Kind::Timelock { ladder: LADDER, payee_script: payee_script() }, ..offer() }
}

pub(crate) fn payee_script() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([8; 20]))
}

pub(crate) fn timelock_params() -> ChannelParams {
    World::timelock().payee.params().clone()
}

/// A signed transaction of a SegWit wallet that pays the channel its capacity, beside some change.
pub(crate) fn funding_transaction(params: &ChannelParams) -> Transaction {
    let input = TxIn {
        previous_output: funding(7, CAPACITY).outpoint,
        witness: Witness::from_slice(&[[1; 71].as_slice(), &[2; 33]]),
        ..TxIn::default()
    };
    let output = |value, script_pubkey| TxOut { value, script_pubkey };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output(Amount::from_sat(5_000), return_script()), output(CAPACITY, params.funding_script())],
    }
}

pub(crate) fn funding(number: u8, capacity: Amount) -> Funding {
    Funding { outpoint: OutPoint { txid: Txid::from_byte_array([number; 32]), vout: 0 }, capacity }
}

/// An output as the chain shows it, in its first block.
pub(crate) fn seen(funding: Funding) -> SeenOutput {
    SeenOutput { funding, confirmations: 1 }
}

pub(crate) fn sign_for(funding: &Funding, cumulative: Amount) -> Paid {
    commitment::pay(&params(), funding, 0, cumulative, &payer_key()).unwrap()
}

pub(crate) fn sign_with(key: &Key, sat: u64) -> Paid {
    commitment::pay(&params(), &funding(0, CAPACITY), 0, Amount::from_sat(sat), key).unwrap()
}

/// A payment of any amount whatever, with a signature that is one of another amount.
pub(crate) fn sign_unchecked(cumulative: Amount) -> Paid {
    Paid { cumulative, ..sign_with(&payer_key(), 1) }
}

/// The same signature with the other S value, which verifies by the bare equations of ECDSA.
pub(crate) fn high_s(paid: Paid) -> Paid {
    let compact = paid.signature.serialize_compact();
    let s = SecretKey::from_slice(&compact[32..]).unwrap().negate();
    let signature = Signature::from_compact(&[&compact[..32], &s.secret_bytes()].concat()).unwrap();
    Paid { signature, ..paid }
}

/// A payer and a payee of one channel; stores never fail here.
pub(crate) struct World {
    pub(crate) payer: Payer,
    pub(crate) payee: Payee,
    payer_log: Vec<payer::Event>,
    payee_log: Vec<payee::Event>,
}

impl World {
    pub(crate) fn opened() -> Self {
        Self::open(&offer(), &request())
    }

    /// A channel of the other kind, its funding transaction not made yet.
    pub(crate) fn timelock() -> Self {
        Self::open(&timelock_offer(), &Request { ladder: Some(LADDER), ..request() })
    }

    fn open(offer: &Offer, request: &Request) -> Self {
        let (mut payer_log, mut payee_log) = (vec![], vec![]);
        let Message::Open(asked) = request.message() else { panic!("not an open") };
        let step = offer.open(&asked, TIP, payee_key().public(), 0, &node()).unwrap();
        let (payee, effects) = Payee::create(step.save(store(&mut payee_log)).unwrap()).unwrap();
        let payee::Effect::Send(Message::Opened { params, signature }) = effects[0].clone() else {
            panic!("no answer")
        };
        let step = request.opened(params, signature, TIP).unwrap();
        let payer = Payer::create(step.save(store(&mut payer_log)).unwrap(), payer_key(), Budget::default()).unwrap();
        Self { payer, payee, payer_log, payee_log }
    }

    pub(crate) fn funded() -> Self {
        let mut world = Self::opened();
        let seen = SeenOutput { funding: funding(0, CAPACITY), confirmations: 1 };
        world.payee(|payee| payee.funding_seen(&[seen], TIP)).unwrap();
        world.payer(|payer| payer.funding_seen(&seen.funding, &[seen])).unwrap();
        world
    }

    /// As [`World::timelock`], with the refund granted and the funding seen.
    pub(crate) fn timelock_funded() -> Self {
        let mut world = Self::timelock();
        let transaction = funding_transaction(world.payer.params());
        let effects = world.payer(|payer| payer.fund(transaction)).unwrap();
        let [payer::Effect::Send(Message::Fund(funding))] = effects[..] else { panic!("{effects:?}") };
        let effects = world.payee(|payee| payee.fund(funding, &payee_key())).unwrap();
        world.hand_over(effects);
        let seen = SeenOutput { funding, confirmations: 1 };
        world.payee(|payee| payee.funding_seen(&[seen], TIP)).unwrap();
        world.payer(|payer| payer.funding_seen(&funding, &[seen])).unwrap();
        world
    }

    /// The payee's grants reach the payer.
    fn hand_over(&mut self, effects: Vec<payee::Effect>) {
        for effect in effects {
            let message = match effect {
                payee::Effect::Send(message) => Some(message),
                payee::Effect::Countersign => self.payee.countersign(&payee_key()).unwrap(),
                payee::Effect::Settle => None,
            };
            if let Some(Message::Granted(grant)) = message {
                self.payer(|payer| payer.granted(&grant)).unwrap();
            }
        }
    }

    pub(crate) fn payee(
        &mut self,
        decide: impl FnOnce(&Payee) -> Result<payee::Step, Error>,
    ) -> Result<Vec<payee::Effect>, Error> {
        let saved = decide(&self.payee)?.save(store(&mut self.payee_log)).unwrap();
        self.payee.commit(saved)
    }

    pub(crate) fn payer(
        &mut self,
        decide: impl FnOnce(&Payer) -> Result<payer::Step, Error>,
    ) -> Result<Vec<payer::Effect>, Error> {
        let saved = decide(&self.payer)?.save(store(&mut self.payer_log)).unwrap();
        self.payer.commit(saved)
    }

    /// The payee asks for `more`, the payer pays, the payee releases, the payer receives.
    pub(crate) fn pay_for(&mut self, more: u64) -> Result<(), Error> {
        let upto = self.payee.delivered() + more;
        let delivered = self.payee.delivered();
        let effects = self.payer(|payer| payer.need(upto, delivered, NOW))?;
        let [payer::Effect::Send(Message::Pay(paid))] = effects[..] else { panic!("no payment: {effects:?}") };
        let effects = self.payee(|payee| payee.pay(paid, TIP))?;
        self.hand_over(effects);
        self.payee(|payee| payee.release(more, TIP))?;
        self.payer(|payer| payer.receive(more)).map(drop)
    }

    /// Content arrives.
    pub(crate) fn receive(&mut self, quantity: u64) {
        self.payer(|payer| payer.receive(quantity)).unwrap();
    }

    pub(crate) fn sign(&self, sat: u64) -> Paid {
        sign_for(&funding(0, CAPACITY), Amount::from_sat(sat))
    }

    pub(crate) fn payee_events(&self) -> Vec<payee::Event> {
        newest(&self.payee_log)
    }

    pub(crate) fn payer_events(&self) -> Vec<payer::Event> {
        newest(&self.payer_log)
    }
}

fn store<E: Clone>(log: &mut Vec<E>) -> impl FnOnce(&[E]) -> Result<(), ()> + '_ {
    |events| {
        log.extend_from_slice(events);
        Ok(())
    }
}

/// What a store keeps: the newest event of each slot, in their order.
fn newest<E: StoredEvent + Clone>(log: &[E]) -> Vec<E> {
    let mut slots = std::collections::BTreeMap::new();
    slots.extend(log.iter().map(|event| (event.slot(), event.clone())));
    slots.into_values().collect()
}
