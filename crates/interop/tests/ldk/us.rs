//! Our node: a key, a channel, and what it stored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{Amount, Block, FeeRate, Network, ScriptBuf, Transaction, TxOut, WPubkeyHash};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::claim::{Claim, sweep};
use rillpay_channel::revocable::holder::{
    Accepted, Act, Effect, End, Event, Holder, OnChain, Payment, Pending, Proposal, Step, Terms, Unfunded,
};
use rillpay_channel::revocable::htlc::Preimage;
use rillpay_channel::revocable::{BaseKeys, Commitment, CommitmentNumber, Htlc, Role};
use rillpay_channel::{Error, Msat, persist::Saved};
use rillpay_transport::NodeKey;
use rillpay_wire::messages::{DIRECT_PAYMENTS, ErrorMessage};
use rillpay_wire::types::OnionPacket;
use rillpay_wire::{Feature, Features, Message};

use crate::chain::Chain;

pub(crate) const CAPACITY: Amount = Amount::from_sat(1_000_000);
/// What the accepter has from the start.
pub(crate) const PUSH: Amount = Amount::from_sat(300_000);
/// The fee rate that channels begin with.
pub(crate) const RATE: FeeRate = FeeRate::from_sat_per_kwu(1_000);

/// Blocks that LDK waits for its own money after its own commitment.
pub(crate) const OUR_DELAY: u16 = 100;
/// Outputs below this one are in no commitment of ours. LDK's limit is 354 satoshi.
pub(crate) const OUR_DUST: Amount = Amount::from_sat(546);

enum Opening {
    Idle,
    Asked(Box<Proposal>),
    Made(Box<Pending>),
    Accepted(Box<Accepted>),
}

pub(crate) struct Us {
    pub(crate) node: Arc<NodeKey>,
    pub(crate) keys: BaseKeys,
    opening: Opening,
    holder: Option<Holder>,
    /// Everything that it stored: a restart finds the last one.
    pub(crate) stored: Vec<Vec<u8>>,
    /// The payments in commitments that the counterparty has revoked.
    pub(crate) revoked: BTreeMap<CommitmentNumber, Vec<Htlc>>,
    /// To be sent.
    pub(crate) outbox: VecDeque<Message>,
    /// To be broadcast.
    pub(crate) broadcasts: Vec<Transaction>,
    funding: Option<Transaction>,
    funded_at: Option<(u32, TxOut)>,
    /// What spent the funding, on the chain.
    pub(crate) spent_by: Option<Transaction>,
    /// What the counterparty said about this channel.
    pub(crate) heard: Vec<Message>,
    /// What became of payments.
    pub(crate) effects: Vec<Effect>,
}

pub(crate) fn onion() -> OnionPacket {
    OnionPacket(Box::new([9; 1366]))
}

/// No term of ours is LDK's, so that none can stand for the other side's.
fn terms() -> Terms {
    Terms { delay: OUR_DELAY, dust_limit: OUR_DUST, max_accepted: 20, ..Terms::new(Network::Regtest, payout()) }
}

/// Where our money goes.
pub(crate) fn payout() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]))
}

/// What we offer and insist on.
pub(crate) fn features() -> Features {
    let assumed = Feature::ALL.iter().filter(|feature| feature.is_assumed());
    let features = assumed.fold(Features::default(), |set, feature| set.with_required(*feature));
    features.with_optional(Feature::Anchors).with_optional(Feature::ShutdownAnysegwit).with_bit(DIRECT_PAYMENTS)
}

impl Us {
    pub(crate) fn new() -> Self {
        Self {
            node: Arc::new(NodeKey::new(SecretKey::from_slice(&[11; 32]).unwrap())),
            keys: BaseKeys::from_seed(&Seed::from_bip39_seed(&[1; 64], Network::Regtest), 0).unwrap(),
            opening: Opening::Idle,
            holder: None,
            stored: vec![],
            revoked: BTreeMap::new(),
            outbox: VecDeque::new(),
            broadcasts: vec![],
            funding: None,
            funded_at: None,
            spent_by: None,
            heard: vec![],
            effects: vec![],
        }
    }

    pub(crate) fn holder(&self) -> &Holder {
        self.holder.as_ref().unwrap()
    }

    pub(crate) fn ended(&self) -> Option<&End> {
        self.holder().end()
    }

    // ---- decisions ----

    pub(crate) fn propose(&mut self, push: Amount) {
        let push = Msat::from_amount(push).unwrap();
        let proposal = Proposal::new(terms(), &self.keys, [9; 32], (CAPACITY, push), RATE);
        let (proposal, message) = proposal.unwrap();
        self.opening = Opening::Asked(Box::new(proposal));
        self.outbox.push_back(message);
    }

    pub(crate) fn act(&mut self, decide: impl FnOnce(&Holder, &BaseKeys) -> Result<Step, Error>) -> Result<(), Error> {
        let step = decide(self.holder(), &self.keys)?;
        let saved = self.store(step);
        let effects = self.holder.as_mut().unwrap().commit(saved).unwrap();
        self.carry_out(effects);
        Ok(())
    }

    fn store(&mut self, step: Step) -> Saved<Event, Act> {
        let saved = step.save(|events| {
            self.stored.extend(events.iter().filter_map(|event| match event {
                Event::Held(held) => Some(held.clone()),
                Event::Revoked(state) => {
                    self.revoked.insert(state.number, state.htlcs.clone());
                    None
                }
            }));
            Ok::<_, ()>(())
        });
        saved.unwrap()
    }

    fn create(&mut self, step: Step) {
        let saved = self.store(step);
        let (holder, effects) = Holder::create(saved).unwrap();
        self.holder = Some(holder);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.outbox.push_back(*message),
                Effect::Fund => self.broadcasts.extend(self.funding.take()),
                Effect::Broadcast(transaction) => self.broadcasts.push(transaction),
                other => self.effects.push(other),
            }
        }
    }

    /// Offers a payment with an onion that nobody can read.
    pub(crate) fn offer(&mut self, sat: u64, payment_hash: sha256::Hash, expiry: u32) {
        let amount = Msat::from_amount(Amount::from_sat(sat)).unwrap();
        let payment = Payment { amount, payment_hash, expiry, onion: onion() };
        self.act(|holder, keys| holder.offer(keys, &payment)).unwrap();
    }

    /// As [`Self::offer`], if the channel takes it now.
    pub(crate) fn try_offer(&mut self, sat: u64, payment_hash: sha256::Hash) {
        if self.holder().is_open() && self.holder().ledger().offered(self.holder().role()).count() < 10 {
            self.offer(sat, payment_hash, 500);
        }
    }

    /// Takes what waits to be taken and has this preimage.
    pub(crate) fn fulfill(&mut self, preimage: Preimage) {
        let hash = sha256::Hash::hash(&preimage);
        let waiting = self.holder().received().filter(|(_, htlc, _)| htlc.payment_hash == hash);
        for id in waiting.map(|(id, ..)| id).collect::<Vec<_>>() {
            self.act(|holder, keys| holder.fulfill(keys, id, preimage)).unwrap();
        }
        self.sign();
    }

    pub(crate) fn sign(&mut self) {
        self.act(Holder::sign).unwrap();
    }

    // ---- what happens to it ----

    /// `direct`: LDK offers what only we know.
    pub(crate) fn connected(&mut self, direct: bool) {
        if self.holder.is_some() {
            self.act(|holder, keys| holder.connected(keys, direct)).unwrap();
        }
    }

    pub(crate) fn disconnected(&mut self) {
        if self.holder.is_some() {
            self.act(Holder::disconnected).unwrap();
        }
        self.outbox.clear();
    }

    /// Killed, and started again with what it had stored.
    pub(crate) fn restart(&mut self) {
        self.outbox.clear();
        self.holder = Some(Holder::load(self.stored.last().unwrap()).unwrap());
    }

    /// Made anew from a copy of what it once stored.
    pub(crate) fn restore(&mut self, copy: &[u8]) {
        self.stored.push(Holder::restore(copy).unwrap());
        self.restart();
    }

    /// A message about a channel arrived.
    pub(crate) fn hear(&mut self, message: &Message, chain: &Chain) -> Result<(), Error> {
        self.heard.push(message.clone());
        let opening = std::mem::replace(&mut self.opening, Opening::Idle);
        match (opening, message) {
            (Opening::Idle, Message::OpenChannel(open)) => {
                let (accepted, answer) = Accepted::new(terms(), &self.keys, open)?;
                self.opening = Opening::Accepted(Box::new(accepted));
                self.outbox.push_back(answer);
            }
            (Opening::Asked(proposal), Message::AcceptChannel(answer)) => {
                let unfunded: Unfunded = proposal.accepted(answer)?;
                let output = unfunded.output();
                let funding = chain.pay(&output.script_pubkey, output.value);
                let outpoint = outpoint_of(&funding, &output.script_pubkey);
                self.funding = Some(funding);
                let (pending, created) = unfunded.funded(&self.keys, outpoint)?;
                self.opening = Opening::Made(Box::new(pending));
                self.outbox.push_back(created);
            }
            (Opening::Accepted(accepted), Message::FundingCreated(created)) => {
                let step = accepted.funded(&self.keys, created)?;
                self.create(step);
            }
            (Opening::Made(pending), Message::FundingSigned(signed)) => {
                let step = pending.signed(signed)?;
                self.create(step);
            }
            (_, message) if self.holder.is_some() => self.act(|holder, keys| holder.receive(keys, message))?,
            // A channel that never came to be, here.
            (_, Message::ChannelReestablish(message)) => self.outbox.push_back(
                ErrorMessage {
                    channel_id: message.channel_id,
                    data: b"unknown channel".to_vec(),
                    tlvs: Default::default(),
                }
                .into(),
            ),
            (_, Message::ErrorMessage(_)) => {}
            (_, message) => panic!("{message:?}"),
        }
        Ok(())
    }

    pub(crate) fn block(&mut self, block: &Block, height: u32) {
        let Some(holder) = &self.holder else { return };
        let funding = holder.channel().funding.outpoint;
        for transaction in &block.txdata {
            if transaction.compute_txid() == funding.txid {
                self.funded_at = Some((height, transaction.output[funding.vout as usize].clone()));
            }
            if transaction.input.iter().any(|input| input.previous_output == funding) {
                self.spent_by = Some(transaction.clone());
                self.act(|holder, keys| holder.funding_spent(keys, transaction)).unwrap();
            }
        }
        if let Some((at, output)) = self.funded_at.clone() {
            self.act(|holder, keys| holder.funding_seen(keys, &output, height - at + 1)).unwrap();
        }
        self.act(|holder, keys| holder.at_height(keys, height)).unwrap();
    }

    // ---- commitments ----

    /// The counterparty's commitment that we signed last, rebuilt from what it said.
    pub(crate) fn their_commitment(&self) -> Commitment {
        let holder = self.holder();
        let other = holder.role().other();
        let state = holder.ledger().newest(other).unwrap();
        let point = self.points()[state.number.get() as usize];
        Commitment::new(holder.channel(), other, &point, &state).unwrap()
    }

    /// The counterparty's per-commitment points, by their numbers.
    fn points(&self) -> Vec<PublicKey> {
        let mut points: Vec<PublicKey> = vec![];
        for message in &self.heard {
            let point = match message {
                Message::OpenChannel(open) => open.first_per_commitment_point,
                Message::AcceptChannel(accept) => accept.first_per_commitment_point,
                Message::ChannelReady(ready) => ready.second_per_commitment_point,
                Message::RevokeAndAck(revoked) => revoked.next_per_commitment_point,
                _ => continue,
            };
            // Readiness and revocations are said again after a break.
            if !points.contains(&point) {
                points.push(point);
            }
        }
        points
    }

    /// Our own newest commitment.
    pub(crate) fn own_commitment(&self) -> Commitment {
        let holder = self.holder();
        let state = holder.ledger().newest(holder.role()).unwrap();
        let point = self.keys.seed.point(state.number).unwrap();
        Commitment::new(holder.channel(), holder.role(), &point, &state).unwrap()
    }

    /// What our node makes of what spent the funding.
    pub(crate) fn view(&self) -> OnChain<'_> {
        let revoked = |number| self.revoked.get(&number).cloned().unwrap_or_default();
        self.holder().spent(&self.keys, self.spent_by.as_ref().unwrap(), revoked).unwrap()
    }

    /// Takes everything that there is for us in it.
    pub(crate) fn take(&self) -> Transaction {
        take(&self.view().claims(self.spent_by.as_ref().unwrap()).unwrap())
    }

    /// What we have in our newest commitment.
    pub(crate) fn balance(&self) -> Amount {
        self.holder().balance().unwrap().to_amount_floor()
    }

    /// As [`Self::balance`], in millisatoshi.
    pub(crate) fn exact_balance(&self) -> u64 {
        self.holder().balance().unwrap().get()
    }

    /// The fee rates of both newest commitments.
    pub(crate) fn rates(&self) -> [FeeRate; 2] {
        [Role::Opener, Role::Accepter].map(|owner| self.holder().ledger().newest(owner).unwrap().fee_rate)
    }
}

/// Takes all of it to where our money goes.
fn take(claims: &[Claim<'_>]) -> Transaction {
    sweep(claims, &payout(), RATE).unwrap().transaction
}

pub(crate) fn outpoint_of(transaction: &Transaction, script: &ScriptBuf) -> bitcoin::OutPoint {
    let vout = transaction.output.iter().position(|output| output.script_pubkey == *script).unwrap();
    bitcoin::OutPoint { txid: transaction.compute_txid(), vout: vout as u32 }
}
