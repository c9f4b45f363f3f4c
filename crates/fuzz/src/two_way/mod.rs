//! Two holders of a two-way channel and a chain, driven by bytes: they pay each other, crash, lose connections and whole disks,
//! close, fail and cheat; blocks come and are taken back, and miners choose what is in them.
//!
//! Whatever happens, in the end either both say the same, or the chain has decided; and then every output of what is in a
//! block has gone to whom it belongs, nobody who kept to the rules is short of more than fees, and whoever played an old
//! state has nothing.
//!
//! Not here: a double spend of the funding in a reorganisation that is deeper than the confirmations both waited for, which nobody
//! is safe from; fees that do not get a transaction into a block (see `crates/node/tests`); a victim that is away.

mod chain;
mod end;
mod side;
mod together;
mod watch;

use std::sync::LazyLock;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness, opcodes,
};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::holder::{Accepted, Effect, Failure, Holder, Payment, Proposal, Reaction, Step, Terms};
use rillpay_channel::revocable::{BaseKeys, ChannelType};
use rillpay_channel::{Code, Error, Msat};
use rillpay_wire::Message;
use rillpay_wire::types::OnionPacket;

use crate::input::Input;
use chain::Chain;
use side::{Commitment, Side};

const CAPACITY: Amount = Amount::from_sat(1_000_000);
/// Payments under way at once.
const UNDER_WAY: u16 = 6;
/// As many actions are enough for everything to meet everything else.
const ACTIONS: usize = 160;
/// The height at which the channel begins.
const HEIGHT: u32 = 100;
/// Confirmations that both wait for.
const DEPTH: u32 = 3;

struct World {
    sides: [Side; 2],
    chain: Chain,
    /// How much trouble miners have made.
    trouble: u32,
    /// Stores that fail from now on for so many times.
    broken_store: u8,
    /// They fail only after they have stored.
    stores_first: bool,
    secrets: u8,
}

/// Drives two holders.
///
/// # Panics
/// Where one of the promises is broken.
pub fn two_way(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    let how = i.u8();
    let kind = if how & 4 == 0 { ChannelType::Anchors } else { ChannelType::StaticRemoteKey };
    let mut world = if how & 2 == 0 { World::open(how & 1 == 1, kind) } else { World::open_together(&mut i, kind) };
    for _ in 0..ACTIONS {
        if i.is_empty() {
            break;
        }
        world.act(&mut i);
        world.watch();
        world.look();
    }
    world.end();
}

fn keys(who: usize) -> &'static BaseKeys {
    static KEYS: LazyLock<[BaseKeys; 2]> = LazyLock::new(|| {
        [1, 2].map(|party| BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], Network::Regtest), 0).unwrap())
    });
    &KEYS[who]
}

/// Where the money of each goes in the end.
fn payout(who: usize) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1 + u8::from(who == 1); 20]))
}

fn terms(who: usize, channel_type: ChannelType) -> Terms {
    let dust_limit = Amount::from_sat(if who == 0 { 354 } else { 1_000 });
    let terms = Terms::new(Network::Regtest, payout(who));
    Terms { dust_limit, max_accepted: UNDER_WAY, depth: DEPTH, direct: true, channel_type, ..terms }
}

fn preimage(secret: u8) -> [u8; 32] {
    [secret; 32]
}

fn secret_of(hash: &sha256::Hash) -> u8 {
    (0..=u8::MAX).find(|secret| sha256::Hash::hash(&preimage(*secret)) == *hash).unwrap()
}

/// A coin that anybody can spend, and a transaction that makes this output of it, as its second one.
fn funded_by_anybody(output: TxOut) -> ((OutPoint, TxOut), Transaction) {
    let script = Builder::new().push_opcode(opcodes::OP_TRUE).into_script();
    let coin = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 0 };
    let value = output.value + Amount::from_sat(2_000);
    let witness = Witness::from_slice(&[script.as_bytes()]);
    let change = TxOut { value: Amount::from_sat(1_000), script_pubkey: script.to_p2wsh() };
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output: coin, witness, ..TxIn::default() }],
        output: vec![change, output],
    };
    ((coin, TxOut { value, script_pubkey: script.to_p2wsh() }), transaction)
}

impl World {
    fn new(sides: [Side; 2], coins: impl IntoIterator<Item = (OutPoint, TxOut)>) -> Self {
        Self { sides, chain: Chain::new(HEIGHT, coins), trouble: 0, broken_store: 0, stores_first: false, secrets: 0 }
    }

    fn open(shared: bool, kind: ChannelType) -> Self {
        let push = Msat::new(if shared { 500_000_000 } else { 0 }).unwrap();
        let rate = FeeRate::from_sat_per_kwu(500);
        let (proposal, open) = Proposal::new(terms(0, kind), keys(0), [9; 32], (CAPACITY, push), rate).unwrap();
        let Message::OpenChannel(open) = open else { unreachable!() };
        let (accepted, answer) = Accepted::new(terms(1, kind), keys(1), &open).unwrap();
        let Message::AcceptChannel(answer) = answer else { unreachable!() };
        let unfunded = proposal.accepted(&answer).unwrap();
        let (coin, funding) = funded_by_anybody(unfunded.output());
        let outpoint = OutPoint { txid: funding.compute_txid(), vout: 1 };
        let (pending, created) = unfunded.funded(keys(0), outpoint).unwrap();
        let Message::FundingCreated(created) = created else { unreachable!() };
        let (second, effects) = Side::new(keys(1), accepted.funded(keys(1), &created).unwrap());
        let [Effect::Send(signed)] = &effects[..] else { unreachable!() };
        let Message::FundingSigned(signed) = &**signed else { unreachable!() };
        let (first, _) = Side::new(keys(0), pending.signed(signed).unwrap());
        Self::new([first, second], [coin]).funded(&funding)
    }

    /// Both put in the same, and sign for it in any weather.
    fn open_together(i: &mut Input<'_>, kind: ChannelType) -> Self {
        let rate = FeeRate::from_sat_per_kwu(500);
        let stake = CAPACITY / 2;
        let steps = together::open([terms(0, kind), terms(1, kind)], [keys(0), keys(1)], stake, rate);
        let [(mut first, sent), (mut second, answered)] = {
            let [first, second] = steps;
            [Side::new(keys(0), first), Side::new(keys(1), second)]
        };
        for (side, effects) in [(&mut second, sent), (&mut first, answered)] {
            for effect in effects {
                let Effect::Send(message) = effect else { unreachable!() };
                side.inbox.push_back(message.encode().unwrap());
            }
        }
        let mut world = Self::new([first, second], together::coins(stake));
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
                2 => world.break_store(i.u8()),
                _ => world.deliver(who),
            }
        }
        world.broken_store = 0;
        world.run();
        let wholes = world.sides.each_ref().map(|side| side.holder.signing().and_then(|signing| signing.whole()));
        assert_eq!(wholes[0], wholes[1], "they do not agree on the funding");
        let whole = wholes[0].expect("both have signed the funding").clone();
        world.funded(&whole)
    }

    /// The funding gets as deep as it has to be.
    fn funded(mut self, transaction: &Transaction) -> Self {
        self.broadcast(0, transaction);
        for _ in 0..DEPTH {
            self.chain.mine(false, |_| false);
            self.watch();
        }
        self.run();
        self.look();
        self
    }

    fn act(&mut self, i: &mut Input<'_>) {
        // Once the chain has to decide, there is little else to do.
        if self.chain.is_contested(&self.funding()) && i.bool() {
            return self.miners_act(i);
        }
        let who = usize::from(i.bool());
        match i.u8() % 24 {
            0..=3 => {
                let amount = Msat::new(u64::from(i.u16()) * 5_000 + 1).unwrap();
                self.secrets = self.secrets.wrapping_add(1);
                let payment = Payment {
                    amount,
                    payment_hash: sha256::Hash::hash(&preimage(self.secrets)),
                    expiry: self.chain.tip() + 40 + u32::from(i.u8()),
                    onion: OnionPacket(Box::new([self.secrets; 1366])),
                };
                self.decide(who, |side| side.holder.offer(side.keys, &payment));
            }
            4 | 5 => {
                let amount = Msat::new(u64::from(i.u16()) * 5_000 + 1).unwrap();
                self.decide(who, |side| side.holder.pay(side.keys, amount));
            }
            6..=8 => {
                let tip = self.chain.tip();
                let nth = usize::from(i.u8() % 4);
                let found = self.sides[who].holder.received().nth(nth).map(|(id, htlc, _)| (id, htlc));
                if let Some((id, htlc)) = found {
                    let preimage = preimage(secret_of(&htlc.payment_hash));
                    if i.u8().is_multiple_of(3) {
                        let failure = Failure::Reason(vec![7]);
                        self.decide(who, |side| side.holder.send_back(side.keys, id, failure));
                    } else if self.decide(who, |side| side.holder.fulfill(side.keys, id, preimage)) {
                        self.sides[who].fulfilled.entry(htlc.payment_hash).or_insert((htlc.amount, tip));
                    }
                }
            }
            9 => {
                let rate = FeeRate::from_sat_per_kwu(253 + u64::from(i.u16()) % 3_000);
                self.decide(who, |side| side.holder.set_fee(side.keys, rate));
            }
            10 | 11 => {
                self.decide(who, |side| side.holder.sign(side.keys));
            }
            12 => self.settle(),
            13..=16 => self.deliver(who),
            17 | 18 => self.run(),
            // It may take a while until they are connected again.
            19 => {
                self.cut();
                if who == 0 {
                    self.connect();
                }
            }
            20 => {
                self.kill(who);
                self.connect();
            }
            21 => self.break_store(i.u8()),
            22 => match i.u8() % 8 {
                0 => {
                    self.decide(who, |side| side.holder.shutdown(side.keys, FeeRate::from_sat_per_kwu(1_000)));
                }
                1 => {
                    let enough = Error::new(Code::Unavailable, "enough");
                    self.decide(who, |side| side.holder.fail(side.keys, &enough));
                }
                2 => {
                    self.cut();
                    self.sides[who].restart(true);
                    self.connect();
                }
                3 | 5 => {
                    let nth = i.u8();
                    let side = &mut self.sides[who];
                    // One with payments in it, if there is one and the bytes say so; a copy may have none at all.
                    let has_payments = |one: &&Commitment| !one.state.htlcs.is_empty();
                    let with: Vec<_> = side.commitments.values().filter(has_payments).collect();
                    let all: Vec<_> = side.commitments.values().collect();
                    let from = if nth & 0x40 == 0 || with.is_empty() { all } else { with };
                    if let Some(at) = usize::from(nth & 0x3f).checked_rem(from.len()) {
                        // Perhaps to a miner alone: nobody sees it before it is in a block.
                        self.chain.broadcast(&from[at].transaction, who, nth & 0x80 == 0).unwrap();
                        (side.cheats, side.idle) = (true, None);
                    }
                }
                4 => {
                    let side = &mut self.sides[who];
                    side.copy.clone_from(&side.stored);
                }
                _ => self.miners_act(i),
            },
            _ => {
                let blocks = i.u8();
                self.mine((blocks % 32).into(), i);
            }
        }
    }

    const fn break_store(&mut self, how: u8) {
        (self.broken_store, self.stores_first) = (how % 3, how & 0x80 != 0);
    }

    /// One of them decides, and stores it; whether it did. What is refused has no consequence here; what the store refuses neither.
    fn decide(&mut self, who: usize, decide: impl FnOnce(&Side) -> Result<Step, Error>) -> bool {
        decide(&self.sides[who]).is_ok_and(|step| self.carry_out(who, step))
    }

    fn carry_out(&mut self, who: usize, step: Step) -> bool {
        let broken = self.broken_store > 0 && !step.events().is_empty();
        if broken {
            self.broken_store -= 1;
        }
        let stores = !broken || self.stores_first;
        let side = &mut self.sides[who];
        let saved = step.save(|events| {
            if stores {
                side.store(events);
            }
            if broken { Err(()) } else { Ok(()) }
        });
        match saved {
            Ok(saved) => {
                let sent = side.commit(saved);
                self.sides[1 - who].inbox.extend(sent);
                true
            }
            // It is not known whether it was stored: it starts anew.
            Err(()) => {
                self.kill(who);
                self.connect();
                stores
            }
        }
    }

    fn deliver(&mut self, who: usize) {
        let Some(bytes) = self.sides[who].inbox.pop_front() else { return };
        let message = Message::decode(&bytes).unwrap();
        let side = &self.sides[who];
        match side.holder.receive(side.keys, &message) {
            Ok(step) => {
                self.carry_out(who, step);
            }
            Err(error) => {
                let lost = self.sides.iter().any(|side| side.is_copy);
                let known = matches!(error.code(), Code::Unaffordable | Code::HtlcOutOfBounds) || lost;
                assert!(known, "{who} refuses {message:?}: {error:?}");
                match Holder::reaction(&error) {
                    Reaction::Warn => {
                        let side = &self.sides[who];
                        let is_over = side.is_copy && side.holder.end().is_some();
                        self.cut();
                        // They could go on like this until the end is buried.
                        if !is_over {
                            self.connect();
                        }
                    }
                    Reaction::Fail => {
                        self.decide(who, |side| side.holder.fail(side.keys, &error));
                    }
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

    /// Everything is said, and signed for.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.run();
            for who in [0, 1] {
                self.decide(who, |side| side.holder.sign(side.keys));
            }
        }
        self.run();
    }

    fn cut(&mut self) {
        for side in &mut self.sides {
            side.inbox.clear();
            let step = side.holder.disconnected(side.keys).unwrap();
            let saved = step.save(|_| Ok::<_, ()>(())).unwrap();
            side.commit(saved);
        }
    }

    /// Both look at the chain before they talk: one of them may just have started.
    fn connect(&mut self) {
        self.watch();
        self.cut();
        for who in [0, 1] {
            self.decide(who, |side| side.holder.connected(side.keys, true));
        }
    }

    fn kill(&mut self, who: usize) {
        self.cut();
        self.sides[who].restart(false);
    }

    /// What holds at any time; and what an eavesdropper on its own past would keep.
    fn look(&mut self) {
        for side in &mut self.sides {
            let state = side.holder.ledger().newest(side.role).unwrap();
            let locked: u64 = state.htlcs.iter().map(|htlc| htlc.amount.get()).sum();
            assert_eq!(state.opener.get() + state.accepter.get() + locked, CAPACITY.to_sat() * 1_000);
            side.remember();
        }
    }
}
