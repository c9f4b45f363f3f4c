//! Hitesh, who opens the channel, and Irene. Messages travel as bytes; each keeps what it stored, and can lose the rest.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::holder::{
    Accepted, Effect, End, Event, Failure, Holder, OnChain, Payment, Proposal, Step, Terms,
};
use rillpay_channel::revocable::htlc::Preimage;
use rillpay_channel::revocable::{BaseKeys, CommitmentNumber, Htlc};
use rillpay_channel::{Error, Msat, bitcoin};
use rillpay_wire::Message;
use rillpay_wire::types::OnionPacket;

pub(crate) const CAPACITY: Amount = Amount::from_sat(1_000_000_000);
pub(crate) const HITESH: usize = 0;
pub(crate) const IRENE: usize = 1;
/// An expiry that no test comes near, unless it wants to.
pub(crate) const EXPIRY: u32 = 1_000;

pub(crate) fn keys(who: usize) -> BaseKeys {
    let party = 1 + who as u8;
    BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], Network::Regtest), 0).unwrap()
}

/// What funds their channel.
pub(crate) fn funding_script() -> ScriptBuf {
    rillpay_channel::revocable::script::funding(&keys(HITESH).funding.public(), &keys(IRENE).funding.public())
        .to_p2wsh()
}

pub(crate) fn terms(who: usize) -> Terms {
    let payout = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1 + who as u8; 20]));
    Terms { delay: 1_000, direct: true, ..Terms::new(Network::Regtest, payout) }
}

/// Where what is taken from the chain goes.
pub(crate) fn payout() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([9; 20]))
}

pub(crate) fn msat(sat: u64) -> Msat {
    Msat::from_amount(Amount::from_sat(sat)).unwrap()
}

pub(crate) fn rate() -> FeeRate {
    FeeRate::from_sat_per_kwu(1_000)
}

pub(crate) fn preimage(byte: u8) -> Preimage {
    [byte; 32]
}

pub(crate) fn onion(byte: u8) -> OnionPacket {
    OnionPacket(Box::new([byte; 1366]))
}

pub(crate) fn payment(sat: u64, secret: u8) -> Payment {
    let payment_hash = sha256::Hash::hash(&preimage(secret));
    Payment { amount: msat(sat), payment_hash, expiry: EXPIRY, onion: onion(secret) }
}

/// One of the two.
pub(crate) struct Side {
    pub(crate) keys: BaseKeys,
    pub(crate) holder: Holder,
    /// What a restart finds.
    pub(crate) stored: Vec<u8>,
    pub(crate) revoked: BTreeMap<u64, Vec<Htlc>>,
    pub(crate) inbox: VecDeque<Vec<u8>>,
    /// Everything but messages, in its order.
    pub(crate) effects: Vec<Effect>,
}

impl Side {
    /// Stores and commits; what is to be sent.
    fn carry_out(&mut self, step: Step) -> Vec<Vec<u8>> {
        let saved = step.save(|events| {
            for event in events {
                match event {
                    Event::Held(held) => self.stored = held.clone(),
                    Event::Revoked(state) => {
                        if !state.htlcs.is_empty() {
                            self.revoked.insert(state.number.get(), state.htlcs.clone());
                        }
                    }
                }
            }
            Ok::<_, ()>(())
        });
        let effects = self.holder.commit(saved.unwrap()).unwrap();
        self.sort(effects)
    }

    fn sort(&mut self, effects: Vec<Effect>) -> Vec<Vec<u8>> {
        let mut sent = vec![];
        for effect in effects {
            match effect {
                Effect::Send(message) => sent.push(message.encode().unwrap()),
                other => self.effects.push(other),
            }
        }
        sent
    }

    /// The channel as it sees it once this has spent the funding.
    pub(crate) fn view(&self, transaction: &Transaction) -> OnChain<'_> {
        let revoked = |number: CommitmentNumber| self.revoked.get(&number.get()).cloned().unwrap_or_default();
        self.holder.spent(&self.keys, transaction, revoked).unwrap()
    }

    pub(crate) fn ended(&self) -> Option<&End> {
        self.holder.end()
    }

    pub(crate) fn balance(&self) -> u64 {
        self.holder.balance().unwrap().get() / 1_000
    }

    pub(crate) fn took(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(wanted)
    }
}

pub(crate) struct Pair {
    pub(crate) sides: [Side; 2],
    /// What each sent, by its type, in its order.
    pub(crate) log: Vec<(usize, u16)>,
}

pub(crate) fn create(keys: BaseKeys, step: Step) -> (Side, Vec<Vec<u8>>) {
    let mut stored = vec![];
    let saved = step.save(|events| {
        let [Event::Held(held)] = events else { panic!("one event") };
        stored = held.clone();
        Ok::<_, ()>(())
    });
    let (holder, effects) = Holder::create(saved.unwrap()).unwrap();
    let mut side = Side { keys, holder, stored, revoked: BTreeMap::new(), inbox: VecDeque::new(), effects: vec![] };
    let sent = side.sort(effects);
    (side, sent)
}

macro_rules! expect {
    ($bytes:expr, $name:ident) => {
        match Message::decode(&$bytes).unwrap() {
            Message::$name(message) => message,
            other => panic!("{other:?}"),
        }
    };
}

impl Pair {
    /// Funded and ready, with so much of Irene's from the start, in satoshi.
    pub(crate) fn open(push: u64) -> Self {
        Self::opened([terms(HITESH), terms(IRENE)], push)
    }

    pub(crate) fn opened(terms: [Terms; 2], push: u64) -> Self {
        let mut pair = Self::funded(terms, push);
        for who in [HITESH, IRENE] {
            pair.confirm(who, 3);
        }
        pair.run();
        assert!(pair.sides.iter().all(|side| side.holder.is_open()));
        pair
    }

    /// Both have signed commitment 0.
    pub(crate) fn funded(terms: [Terms; 2], push: u64) -> Self {
        Self::funded_by(terms, push, OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 1 })
    }

    pub(crate) fn funded_by(terms: [Terms; 2], push: u64, outpoint: OutPoint) -> Self {
        Self::funded_with(terms, (CAPACITY, push), outpoint)
    }

    pub(crate) fn funded_with([ours, theirs]: [Terms; 2], (capacity, push): (Amount, u64), outpoint: OutPoint) -> Self {
        let amounts = (capacity, msat(push));
        let (proposal, open) = Proposal::new(ours, &keys(HITESH), [9; 32], amounts, rate()).unwrap();
        let open = expect!(open.encode().unwrap(), OpenChannel);
        let (accepted, answer) = Accepted::new(theirs, &keys(IRENE), &open).unwrap();
        let answer = expect!(answer.encode().unwrap(), AcceptChannel);
        let unfunded = proposal.accepted(&answer).unwrap();
        assert_eq!((unfunded.output().value, unfunded.output().script_pubkey), (capacity, funding_script()));
        let (pending, created) = unfunded.funded(&keys(HITESH), outpoint).unwrap();
        let created = expect!(created.encode().unwrap(), FundingCreated);
        let (irene, sent) = create(keys(IRENE), accepted.funded(&keys(IRENE), &created).unwrap());
        let signed = expect!(sent[0], FundingSigned);
        let (hitesh, sent) = create(keys(HITESH), pending.signed(&signed).unwrap());
        assert!(sent.is_empty() && hitesh.effects == [Effect::Fund]);
        Self { sides: [hitesh, irene], log: vec![] }
    }

    /// One of them decides; what it sends is under way. Nothing happens where it is refused.
    pub(crate) fn act(&mut self, who: usize, decide: impl FnOnce(&Side) -> Result<Step, Error>) -> Result<(), Error> {
        let step = decide(&self.sides[who])?;
        let sent = self.sides[who].carry_out(step);
        self.log.extend(sent.iter().map(|bytes| (who, u16::from_be_bytes([bytes[0], bytes[1]]))));
        self.sides[1 - who].inbox.extend(sent);
        Ok(())
    }

    /// The funding has so many confirmations.
    pub(crate) fn confirm(&mut self, who: usize, depth: u32) {
        let output = TxOut { value: CAPACITY, script_pubkey: funding_script() };
        self.act(who, |side| side.holder.funding_seen(&side.keys, &output, depth)).unwrap();
    }

    pub(crate) fn offer(&mut self, who: usize, sat: u64, secret: u8) -> Result<(), Error> {
        self.act(who, |side| side.holder.offer(&side.keys, &payment(sat, secret)))
    }

    pub(crate) fn pay(&mut self, who: usize, sat: u64) -> Result<(), Error> {
        self.act(who, |side| side.holder.pay(&side.keys, msat(sat)))
    }

    pub(crate) fn fulfill(&mut self, who: usize, id: u64, secret: u8) -> Result<(), Error> {
        self.act(who, |side| side.holder.fulfill(&side.keys, id, preimage(secret)))
    }

    pub(crate) fn send_back(&mut self, who: usize, id: u64, failure: Failure) -> Result<(), Error> {
        self.act(who, |side| side.holder.send_back(&side.keys, id, failure))
    }

    pub(crate) fn sign(&mut self, who: usize) {
        self.act(who, |side| side.holder.sign(&side.keys)).unwrap();
    }

    /// The oldest message on its way to `who` arrives; whether there was one.
    pub(crate) fn deliver(&mut self, who: usize) -> Result<bool, Error> {
        let Some(bytes) = self.sides[who].inbox.pop_front() else { return Ok(false) };
        self.hear(who, &Message::decode(&bytes).unwrap()).map(|()| true)
    }

    pub(crate) fn hear(&mut self, who: usize, message: &Message) -> Result<(), Error> {
        self.act(who, |side| side.holder.receive(&side.keys, message))
    }

    /// Everything arrives.
    pub(crate) fn run(&mut self) {
        while self.deliver(HITESH).unwrap() | self.deliver(IRENE).unwrap() {}
    }

    /// The connection breaks, and what was under way is lost.
    pub(crate) fn cut(&mut self) {
        for who in [HITESH, IRENE] {
            self.act(who, |side| side.holder.disconnected(&side.keys)).unwrap();
            self.sides[who].inbox.clear();
        }
    }

    /// Killed, and started again with what it had stored. The connection is gone, too.
    pub(crate) fn kill(&mut self, who: usize) {
        self.cut();
        self.sides[who].holder = Holder::load(&self.sides[who].stored).unwrap();
    }

    pub(crate) fn connect(&mut self) {
        for who in [HITESH, IRENE] {
            self.act(who, |side| side.holder.connected(&side.keys, true)).unwrap();
        }
    }

    /// The connection breaks and is taken up again.
    pub(crate) fn reconnect(&mut self) {
        self.cut();
        self.connect();
    }

    /// One is killed and comes back.
    pub(crate) fn restart(&mut self, who: usize) {
        self.kill(who);
        self.connect();
    }

    /// The connection breaks, and one is killed after so many messages of taking it up again.
    pub(crate) fn breaks_twice(&mut self, messages: usize) {
        self.reconnect();
        for n in 0..messages {
            self.deliver(n % 2).unwrap();
        }
        self.restart(messages % 2);
    }

    /// Both say the same about both commitments, and no money came from nowhere or went there.
    pub(crate) fn check(&self) {
        let [hitesh, irene] = &self.sides;
        assert_eq!(hitesh.holder.ledger(), irene.holder.ledger());
    }

    pub(crate) fn balances(&self) -> [u64; 2] {
        [self.sides[HITESH].balance(), self.sides[IRENE].balance()]
    }
}
