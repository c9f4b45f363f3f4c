//! Two holders of a two-way channel and a chain, driven by bytes: they pay each other, crash, lose connections and whole disks,
//! close, fail and cheat.
//!
//! Whatever happens, in the end either both say the same, or the chain has decided; and then every output of what was
//! broadcast belongs to somebody, nobody who kept to the rules is short of more than fees, and whoever played an old
//! state has nothing.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash};
use rillpay_channel::keys::Seed;
use rillpay_channel::persist::Saved;
use rillpay_channel::revocable::claim::Claim;
use rillpay_channel::revocable::fees::{ANCHOR, Stage};
use rillpay_channel::revocable::holder::{
    Accepted, Act, Effect, Event, Failure, Holder, OnChain, Payment, Proposal, Reaction, SecondStage, Spending, Step,
    Terms,
};
use rillpay_channel::revocable::{BaseKeys, CommitmentNumber, Htlc, Role, State};
use rillpay_channel::{Code, Error, Msat};
use rillpay_wire::Message;
use rillpay_wire::types::OnionPacket;

use crate::input::Input;
use crate::together;

const CAPACITY: Amount = Amount::from_sat(1_000_000);
/// Payments under way at once.
const UNDER_WAY: u16 = 6;
/// As many actions are enough for everything to meet everything else.
const ACTIONS: usize = 160;

struct Side {
    role: Role,
    keys: BaseKeys,
    holder: Holder,
    stored: Vec<u8>,
    /// A copy of what was stored some time ago.
    copy: Vec<u8>,
    revoked: BTreeMap<u64, Vec<Htlc>>,
    inbox: VecDeque<Vec<u8>>,
    /// Every commitment that it could ever have broadcast, and what it says.
    commitments: BTreeMap<u64, (Transaction, State)>,
    /// What it has broadcast.
    broadcast: Vec<Transaction>,
    /// It was set up again from a copy.
    is_copy: bool,
    /// It plays old states: the rules protect it no more.
    cheats: bool,
}

struct World {
    sides: [Side; 2],
    height: u32,
    /// Stores that fail from now on for so many times.
    broken_store: u8,
    secrets: u8,
    /// The chain shows the funding.
    is_funded: bool,
}

/// Drives two holders.
///
/// # Panics
/// Where one of the promises is broken.
pub fn two_way(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    let how = i.u8();
    let mut world = if how & 2 == 0 { World::open(how & 1 == 1) } else { World::open_together(&mut i) };
    for _ in 0..ACTIONS {
        if i.is_empty() {
            break;
        }
        world.act(&mut i);
        world.look();
    }
    world.end();
}

fn keys(who: usize) -> BaseKeys {
    let party = 1 + u8::from(who == 1);
    BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], Network::Regtest), 0).unwrap()
}

fn terms(who: usize) -> Terms {
    let payout = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1 + u8::from(who == 1); 20]));
    let dust_limit = Amount::from_sat(if who == 0 { 354 } else { 1_000 });
    Terms { dust_limit, max_accepted: UNDER_WAY, direct: true, ..Terms::new(Network::Regtest, payout) }
}

fn preimage(secret: u8) -> [u8; 32] {
    [secret; 32]
}

/// The output that the chain shows.
fn funding(side: &Side) -> TxOut {
    TxOut { value: CAPACITY, script_pubkey: side.holder.channel().funding_script().to_p2wsh() }
}

fn secret_of(hash: &sha256::Hash) -> u8 {
    (0..=u8::MAX).find(|secret| sha256::Hash::hash(&preimage(*secret)) == *hash).unwrap()
}

impl World {
    fn open(shared: bool) -> Self {
        let push = Msat::new(if shared { 500_000_000 } else { 0 }).unwrap();
        let rate = FeeRate::from_sat_per_kwu(500);
        let (proposal, open) = Proposal::new(terms(0), &keys(0), [9; 32], (CAPACITY, push), rate).unwrap();
        let Message::OpenChannel(open) = open else { unreachable!() };
        let (accepted, answer) = Accepted::new(terms(1), &keys(1), &open).unwrap();
        let Message::AcceptChannel(answer) = answer else { unreachable!() };
        let outpoint = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 1 };
        let (pending, created) = proposal.accepted(&answer).unwrap().funded(&keys(0), outpoint).unwrap();
        let Message::FundingCreated(created) = created else { unreachable!() };
        let (second, effects) = Side::new(1, accepted.funded(&keys(1), &created).unwrap());
        let [Effect::Send(signed)] = &effects[..] else { unreachable!() };
        let Message::FundingSigned(signed) = &**signed else { unreachable!() };
        let (first, _) = Side::new(0, pending.signed(signed).unwrap());
        Self::funded([first, second])
    }

    /// Both put in the same, and sign for it in any weather.
    fn open_together(i: &mut Input<'_>) -> Self {
        let rate = FeeRate::from_sat_per_kwu(500);
        let steps = together::open([terms(0), terms(1)], [&keys(0), &keys(1)], CAPACITY / 2, rate);
        let [(mut first, sent), (mut second, answered)] = {
            let [first, second] = steps;
            [Side::new(0, first), Side::new(1, second)]
        };
        for (side, effects) in [(&mut second, sent), (&mut first, answered)] {
            for effect in effects {
                let Effect::Send(message) = effect else { unreachable!() };
                side.inbox.push_back(message.encode().unwrap());
            }
        }
        let mut world = Self { sides: [first, second], height: 100, broken_store: 0, secrets: 0, is_funded: false };
        for _ in 0..i.u8() % 24 {
            let who = usize::from(i.bool());
            match i.u8() % 8 {
                0 => {
                    world.cut();
                    world.connect();
                }
                1 => {
                    world.kill(who);
                    world.connect();
                }
                2 => world.broken_store = i.u8() % 3,
                _ => world.deliver(who),
            }
        }
        world.broken_store = 0;
        world.run();
        let wholes = world.sides.each_ref().map(|side| side.holder.signing().and_then(|signing| signing.whole()));
        assert!(wholes[0].is_some() && wholes[0] == wholes[1], "they do not agree on the funding");
        Self::funded(world.sides)
    }

    fn funded(sides: [Side; 2]) -> Self {
        let mut world = Self { sides, height: 100, broken_store: 0, secrets: 0, is_funded: true };
        for who in [0, 1] {
            world.decide(who, |side| side.holder.funding_seen(&side.keys, &funding(side), 3));
        }
        world.run();
        world.look();
        world
    }

    fn act(&mut self, i: &mut Input<'_>) {
        let who = usize::from(i.bool());
        match i.u8() % 24 {
            0..=3 => {
                let amount = Msat::new(u64::from(i.u16()) * 5_000 + 1).unwrap();
                self.secrets = self.secrets.wrapping_add(1);
                let payment = Payment {
                    amount,
                    payment_hash: sha256::Hash::hash(&preimage(self.secrets)),
                    expiry: self.height + 40 + u32::from(i.u8()),
                    onion: OnionPacket(Box::new([self.secrets; 1366])),
                };
                self.decide(who, |side| side.holder.offer(&side.keys, &payment));
            }
            4 | 5 => {
                let amount = Msat::new(u64::from(i.u16()) * 5_000 + 1).unwrap();
                self.decide(who, |side| side.holder.pay(&side.keys, amount));
            }
            6..=8 => {
                let nth = usize::from(i.u8() % 4);
                let found = self.sides[who].holder.received().nth(nth).map(|(id, htlc, _)| (id, htlc));
                if let Some((id, htlc)) = found {
                    let preimage = preimage(secret_of(&htlc.payment_hash));
                    if i.u8().is_multiple_of(3) {
                        let failure = Failure::Reason(vec![7]);
                        self.decide(who, |side| side.holder.send_back(&side.keys, id, failure));
                    } else {
                        self.decide(who, |side| side.holder.fulfill(&side.keys, id, preimage));
                    }
                }
            }
            9 => {
                let rate = FeeRate::from_sat_per_kwu(253 + u64::from(i.u16()) % 3_000);
                self.decide(who, |side| side.holder.set_fee(&side.keys, rate));
            }
            10..=12 => self.decide(who, |side| side.holder.sign(&side.keys)),
            13..=18 => self.deliver(who),
            19 => {
                self.cut();
                self.connect();
            }
            20 => {
                self.kill(who);
                self.connect();
            }
            21 => self.broken_store = i.u8() % 3,
            22 => match i.u8() % 8 {
                0 => self.decide(who, |side| side.holder.shutdown(&side.keys, FeeRate::from_sat_per_kwu(1_000))),
                1 => self.decide(who, |side| side.holder.fail(&side.keys, &Error::new(Code::Unavailable, "enough"))),
                2 => {
                    self.cut();
                    let side = &mut self.sides[who];
                    side.is_copy = true;
                    side.stored = Holder::restore(&side.copy).unwrap();
                    side.holder = Holder::load(&side.stored).unwrap();
                    self.connect();
                }
                3 => {
                    let nth = usize::from(i.u8());
                    let side = &mut self.sides[who];
                    let at = nth % side.commitments.len();
                    let (transaction, _) = side.commitments.values().nth(at).unwrap().clone();
                    side.cheats = true;
                    side.broadcast.push(transaction);
                }
                4 => {
                    let side = &mut self.sides[who];
                    side.copy.clone_from(&side.stored);
                }
                _ => {}
            },
            _ => {
                self.height += u32::from(i.u8() % 16);
                let height = self.height;
                for who in [0, 1] {
                    self.decide(who, |side| side.holder.at_height(&side.keys, height));
                }
            }
        }
    }

    /// One of them decides. What is refused has no consequence here; what the store refuses neither.
    fn decide(&mut self, who: usize, decide: impl FnOnce(&Side) -> Result<Step, Error>) {
        if let Ok(step) = decide(&self.sides[who]) {
            self.carry_out(who, step);
        }
    }

    fn carry_out(&mut self, who: usize, step: Step) {
        let broken = self.broken_store > 0 && !step.events().is_empty();
        if broken {
            self.broken_store -= 1;
        }
        let side = &mut self.sides[who];
        let saved = step.save(|events| {
            if broken {
                return Err(());
            }
            side.store(events);
            Ok(())
        });
        match saved {
            Ok(saved) => {
                let sent = side.commit(saved);
                self.sides[1 - who].inbox.extend(sent);
            }
            // Where it is not known whether it was stored, it starts anew.
            Err(()) => {
                self.kill(who);
                self.connect();
            }
        }
    }

    fn deliver(&mut self, who: usize) {
        let Some(bytes) = self.sides[who].inbox.pop_front() else { return };
        let message = Message::decode(&bytes).unwrap();
        let side = &self.sides[who];
        match side.holder.receive(&side.keys, &message) {
            Ok(step) => self.carry_out(who, step),
            Err(error) => {
                let lost = self.sides.iter().any(|side| side.is_copy);
                let known = matches!(error.code(), Code::Unaffordable | Code::HtlcOutOfBounds) || lost;
                assert!(known, "{who} refuses {message:?}: {error:?}");
                match Holder::reaction(&error) {
                    Reaction::Warn => {
                        self.cut();
                        self.connect();
                    }
                    Reaction::Fail => self.decide(who, |side| side.holder.fail(&side.keys, &error)),
                }
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..4_000 {
            if self.sides.iter().all(|side| side.inbox.is_empty()) {
                return;
            }
            self.deliver(0);
            self.deliver(1);
        }
        panic!("they never stop talking");
    }

    fn cut(&mut self) {
        for side in &mut self.sides {
            side.inbox.clear();
            let step = side.holder.disconnected(&side.keys).unwrap();
            let saved = step.save(|_| Ok::<_, ()>(())).unwrap();
            side.commit(saved);
        }
    }

    fn connect(&mut self) {
        for who in [0, 1] {
            self.decide(who, |side| side.holder.connected(&side.keys, true));
            if !self.is_funded {
                continue;
            }
            // Whoever looks at the chain says so again: a copy may be from before.
            self.decide(who, |side| side.holder.funding_seen(&side.keys, &funding(side), 3));
        }
    }

    fn kill(&mut self, who: usize) {
        self.cut();
        let side = &mut self.sides[who];
        side.holder = Holder::load(&side.stored).unwrap();
        assert!(!side.is_copy || side.holder.commitment(&side.keys).is_err());
    }

    /// What holds at any time; and what an eavesdropper on its own past would keep.
    fn look(&mut self) {
        for side in &mut self.sides {
            let state = side.holder.ledger().newest(side.role).unwrap();
            let locked: u64 = state.htlcs.iter().map(|htlc| htlc.amount.get()).sum();
            assert_eq!(state.opener.get() + state.accepter.get() + locked, CAPACITY.to_sat() * 1_000);
            if side.commitments.contains_key(&state.number.get()) {
                continue;
            }
            if let Ok(transaction) = side.holder.commitment(&side.keys) {
                side.commitments.insert(state.number.get(), (transaction, state));
            }
        }
    }

    fn end(&mut self) {
        self.broken_store = 0;
        let ended = |world: &Self| world.sides.iter().any(|side| !side.broadcast.is_empty());
        if !ended(self) && !self.sides.iter().any(|side| side.is_copy) {
            // Everything is said, and signed for.
            self.cut();
            self.connect();
            for _ in 0..6 {
                self.run();
                for who in [0, 1] {
                    self.decide(who, |side| side.holder.sign(&side.keys));
                }
            }
            self.look();
            if !ended(self) {
                assert_eq!(self.sides[0].holder.ledger(), self.sides[1].holder.ledger(), "they do not agree");
            }
        }
        self.run();
        self.look();
        // Whichever of what was broadcast confirms.
        for transaction in self.sides.iter().flat_map(|side| &side.broadcast) {
            self.confirmed(transaction);
        }
    }

    fn confirmed(&self, transaction: &Transaction) {
        let outputs: Amount = transaction.output.iter().map(|output| output.value).sum();
        let found = self.sides.iter().enumerate().find_map(|(owner, side)| {
            let (_, state) = side.commitments.values().find(|(one, _)| one == transaction)?;
            Some((owner, state))
        });
        let Some((owner, state)) = found else {
            return self.closed(transaction);
        };
        let anchors = transaction.output.iter().filter(|output| output.value == ANCHOR).map(|output| output.value);
        let all = outputs - anchors.sum::<Amount>();
        let (own, other) = (&self.sides[owner], &self.sides[1 - owner]);
        if self.sides.iter().any(|side| side.is_copy) {
            // Whoever lost what they knew is at the counterparty's mercy, but for what it owns in any commitment.
            let (rest, fees) = (state.balance(other.role).to_amount_floor(), CAPACITY - all + other.dust_limit());
            let claimed = value(&other.view(transaction).claims(transaction).unwrap());
            return assert!(claimed + fees >= rest, "{claimed} of {rest}");
        }
        let view = other.view(transaction);
        match view.spending() {
            Spending::Cheat(number) => {
                assert_eq!(number, state.number);
                assert!(own.cheats, "an old state of somebody who does not cheat");
                assert_eq!(value(&view.claims(transaction).unwrap()), all, "a cheat keeps something");
            }
            Spending::Theirs(number) => {
                assert_eq!(number, state.number);
                let mine = own.view(transaction);
                // A cheat may broadcast what it has given up, before its revocation arrives: the rules protect it no more.
                if own.holder.ledger().number(own.role) != state.number {
                    return assert!(own.cheats, "an old state of somebody who does not cheat");
                }
                let claims = view.claims(transaction).unwrap();
                let stages: Vec<_> = mine.second_stages().collect();
                let spends = |stage: &SecondStage<'_>| stage.transaction.transaction.input[0].previous_output;
                // A preimage comes before a time-out.
                let at_once: Vec<_> = claims.iter().filter(|one| one.lock() == 0).map(Claim::outpoint).collect();
                let succeed: Vec<_> =
                    stages.iter().filter(|one| one.transaction.stage == Stage::Success).map(spends).collect();
                let second = stages.iter().filter(|one| !at_once.contains(&spends(one)));
                let second = second.map(|one| value(&mine.claims(&one.transaction.transaction).unwrap()));
                let ours = value(&mine.claims(transaction).unwrap()) + second.sum::<Amount>();
                let theirs = claims.iter().filter(|one| one.lock() == 0 || !succeed.contains(&one.outpoint()));
                let theirs = theirs.map(Claim::value).sum::<Amount>();
                assert_eq!(ours + theirs, all, "an output belongs to nobody, or to both");
            }
            Spending::Unknown(_) => assert!(other.is_copy, "a commitment that its counterparty does not know"),
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    /// Both agreed on this: each is paid what it has, less the fee if it is the opener, and dust apart.
    fn closed(&self, transaction: &Transaction) {
        // Whoever broadcast it agreed to it, though it may have failed the channel since.
        let side = self.sides.iter().find(|side| side.broadcast.contains(transaction)).unwrap();
        let last = side.holder.ledger().newest(side.role).unwrap();
        for (who, role) in [(0, Role::Opener), (1, Role::Accepter)] {
            let payout = terms(who).payout;
            let paid = transaction.output.iter().find(|output| output.script_pubkey == payout);
            let (paid, has) = (paid.map_or(Amount::ZERO, |output| output.value), last.balance(role).to_amount_floor());
            let less = has.checked_sub(paid).expect("more than it has");
            let fee = if role == Role::Opener { Amount::from_sat(5_000) } else { Amount::ZERO };
            assert!(less <= fee || (paid == Amount::ZERO && has <= fee + side.dust_limit()), "{paid} of {has}");
        }
    }
}

fn value(claims: &[Claim<'_>]) -> Amount {
    claims.iter().map(Claim::value).sum()
}

impl Side {
    fn new(who: usize, step: Step) -> (Self, Vec<Effect>) {
        let mut stored = vec![];
        let saved = step.save(|events| {
            for event in events {
                let Event::Held(held) = event else { unreachable!() };
                stored.clone_from(held);
            }
            Ok::<_, ()>(())
        });
        let (holder, effects) = Holder::create(saved.unwrap()).unwrap();
        let side = Self {
            role: holder.role(),
            keys: keys(who),
            holder,
            copy: stored.clone(),
            stored,
            revoked: BTreeMap::new(),
            inbox: VecDeque::new(),
            commitments: BTreeMap::new(),
            broadcast: vec![],
            is_copy: false,
            cheats: false,
        };
        (side, effects)
    }

    fn store(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Held(held) => self.stored.clone_from(held),
                Event::Revoked(state) => {
                    self.revoked.insert(state.number.get(), state.htlcs.clone());
                }
            }
        }
    }

    fn commit(&mut self, saved: Saved<Event, Act>) -> Vec<Vec<u8>> {
        let mut sent = vec![];
        for effect in self.holder.commit(saved).unwrap() {
            match effect {
                Effect::Send(message) => sent.push(message.encode().unwrap()),
                Effect::Broadcast(transaction) => self.broadcast.push(transaction),
                _ => {}
            }
        }
        sent
    }

    fn dust_limit(&self) -> Amount {
        let channel = self.holder.channel();
        channel.opener.dust_limit.max(channel.accepter.dust_limit)
    }

    fn view(&self, transaction: &Transaction) -> OnChain<'_> {
        let revoked = |number: CommitmentNumber| self.revoked.get(&number.get()).cloned().unwrap_or_default();
        self.holder.spent(&self.keys, transaction, revoked).unwrap()
    }
}
