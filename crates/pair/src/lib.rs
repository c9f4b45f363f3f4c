//! Both sides of a two-way channel in one process, for measurements: Hitesh, who opened it, and Irene, with 5 BTC each.
//!
//! Everything that two nodes do to a payment is done, but for the network: decided, saved, encoded, encrypted (BOLT 8),
//! decrypted, decoded, checked. Where it is saved is the caller's: [`Disk`].

#![allow(
    clippy::indexing_slicing,
    reason = "there are two sides, 0 and 1; another number is a mistake of the measurement"
)]

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, TxOut, Txid, WPubkeyHash};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::holder::{Accepted, Effect, Event, Holder, Payment, Proposal, Step, Terms};
use rillpay_channel::revocable::{BaseKeys, CommitmentNumber};
use rillpay_channel::{Error, Msat};
use rillpay_transport::{Endpoint, EphemeralKey, NodeKey};
use rillpay_wire::Message;
use rillpay_wire::types::OnionPacket;

const CAPACITY: Amount = Amount::from_sat(1_000_000_000);
const HALF: Amount = Amount::from_sat(500_000_000);
/// An expiry that no measurement comes near.
const EXPIRY: u32 = 1_000;

/// Where one side's events become durable.
pub trait Disk {
    /// Makes these events durable, all of them or none.
    ///
    /// # Errors
    /// Why nothing is stored.
    fn save(&mut self, events: &[Event]) -> Result<()>;
}

/// A disk that keeps the newest state in memory, and forgets the payments in revoked commitments.
#[derive(Default)]
pub struct Memory(Vec<u8>);

impl Disk for Memory {
    fn save(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            if let Event::Held(held) = event {
                self.0.clone_from(held);
            }
        }
        Ok(())
    }
}

/// One of the two.
pub struct Side<D> {
    /// What it has saved.
    pub disk: D,
    /// How often it has saved.
    pub saves: u64,
    keys: BaseKeys,
    holder: Holder,
    line: Endpoint<Arc<NodeKey>>,
    /// Payments to it that hold for good.
    received: Vec<u64>,
    /// Payments of its own that ended.
    resolved: Vec<u64>,
}

/// Both.
pub struct Pair<D> {
    /// Hitesh and Irene.
    pub sides: [Side<D>; 2],
    /// How many payments there were: the next one's preimage.
    payments: u64,
}

impl<D: Disk> Pair<D> {
    /// A channel of 10 BTC, open, with nothing under way.
    ///
    /// # Errors
    /// What the disks say.
    pub fn open(disks: [D; 2]) -> Result<Self> {
        let (ours, theirs) = (keys(1)?, keys(2)?);
        let push = Msat::from_amount(HALF).context("half of the channel")?;
        let rate = FeeRate::from_sat_per_kwu(1_000);
        let (proposal, open) = Proposal::new(terms(1), &ours, [9; 32], (CAPACITY, push), rate)?;
        let Message::OpenChannel(open) = open else { bail!("no proposal") };
        let (accepted, answer) = Accepted::new(terms(2), &theirs, &open)?;
        let Message::AcceptChannel(answer) = answer else { bail!("no answer") };
        let outpoint = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 0 };
        let (pending, created) = proposal.accepted(&answer)?.funded(&ours, outpoint)?;
        let Message::FundingCreated(created) = created else { bail!("no funding") };
        let [first, second] = disks;
        let (irene, effects) = create(second, accepted.funded(&theirs, &created)?)?;
        let [Effect::Send(signed)] = &effects[..] else { bail!("no signature") };
        let Message::FundingSigned(signed) = &**signed else { bail!("no signature") };
        let (hitesh, _) = create(first, pending.signed(signed)?)?;
        let [to_irene, to_hitesh] = lines()?;
        let mut pair =
            Self { sides: [Side::new(hitesh, ours, to_irene), Side::new(irene, theirs, to_hitesh)], payments: 0 };
        let script_pubkey = pair.sides[0].holder.channel().funding_script().to_p2wsh();
        let output = TxOut { value: CAPACITY, script_pubkey };
        for who in [0, 1] {
            pair.act(who, |holder, keys| holder.funding_seen(keys, &output, 3))?;
        }
        pair.run()?;
        pair.check()?;
        Ok(pair)
    }

    /// Makes the channel as old as if each side had revoked `number` commitments, without making them.
    ///
    /// # Errors
    /// As [`Holder::aged`], and what the disks say.
    pub fn age(&mut self, number: CommitmentNumber) -> Result<()> {
        let [hitesh, irene] = &self.sides;
        let aged = [
            hitesh.holder.aged(&hitesh.keys, &irene.keys, number)?,
            irene.holder.aged(&irene.keys, &hitesh.keys, number)?,
        ];
        for (side, held) in self.sides.iter_mut().zip(aged) {
            side.holder = Holder::load(&held)?;
            side.disk.save(&[Event::Held(held)])?;
        }
        for who in [0, 1] {
            self.act(who, |holder, keys| holder.connected(keys, true))?;
        }
        self.run()?;
        self.check()
    }

    /// One of them pays the other 1,000 sat, directly, `count` times with one signature; until all of it holds for good.
    ///
    /// # Errors
    /// What the disks say.
    pub fn pay(&mut self, who: usize, count: u64) -> Result<()> {
        let amount = Msat::new(1_000_000).context("an amount")?;
        for _ in 0..count {
            self.act(who, |holder, keys| holder.pay(keys, amount))?;
        }
        self.act(who, Holder::sign)?;
        self.run()?;
        self.check()
    }

    /// The same with HTLCs: offered, taken with their preimages, and their ends taken in.
    ///
    /// # Errors
    /// What the disks say.
    pub fn pay_with_htlcs(&mut self, who: usize, count: u64) -> Result<()> {
        let amount = Msat::new(1_000_000).context("an amount")?;
        let onion = OnionPacket(Box::new([0; 1366]));
        let first = self.payments;
        for _ in 0..count {
            let payment_hash = sha256::Hash::hash(&preimage(self.payments));
            self.payments = self.payments.saturating_add(1);
            let payment = Payment { amount, payment_hash, expiry: EXPIRY, onion: onion.clone() };
            self.act(who, |holder, keys| holder.offer(keys, &payment))?;
        }
        self.act(who, Holder::sign)?;
        self.run()?;
        let (payer, payee) = (who, who ^ 1);
        let received = std::mem::take(&mut self.sides[payee].received);
        ensure!(u64::try_from(received.len())? == count, "payments are missing");
        for (id, number) in received.into_iter().zip(first..) {
            self.act(payee, |holder, keys| holder.fulfill(keys, id, preimage(number)))?;
        }
        self.act(payee, Holder::sign)?;
        self.run()?;
        let resolved = std::mem::take(&mut self.sides[payer].resolved);
        ensure!(u64::try_from(resolved.len())? == count, "payments have not ended");
        for id in resolved {
            self.act(payer, |holder, keys| holder.acknowledge(keys, id))?;
        }
        self.check()
    }

    /// The number of each side's newest commitment.
    pub fn numbers(&self) -> [u64; 2] {
        [0, 1].map(|who: usize| {
            let holder = &self.sides[who].holder;
            holder.ledger().number(holder.role()).get()
        })
    }

    /// Nothing is under way, and both say the same.
    fn check(&self) -> Result<()> {
        let [hitesh, irene] = &self.sides;
        ensure!(hitesh.holder.is_open() && irene.holder.is_open(), "the channel is not open");
        ensure!(hitesh.holder.ledger().is_quiet(), "something is under way");
        ensure!(hitesh.holder.ledger() == irene.holder.ledger(), "they do not agree");
        Ok(())
    }

    fn act(&mut self, who: usize, decide: impl FnOnce(&Holder, &BaseKeys) -> Result<Step, Error>) -> Result<()> {
        let side = &mut self.sides[who];
        let step = decide(&side.holder, &side.keys)?;
        let saved = step.save(|events| {
            if events.is_empty() {
                return Ok(());
            }
            side.saves = side.saves.saturating_add(1);
            side.disk.save(events)
        })?;
        for effect in side.holder.commit(saved)? {
            match effect {
                Effect::Send(message) => side.line.send(&message.encode()?)?,
                Effect::Received(id, ..) => side.received.push(id),
                Effect::Resolved(id, ..) => side.resolved.push(id),
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything arrives, and everything that follows from it.
    fn run(&mut self) -> Result<()> {
        loop {
            let mut is_quiet = true;
            for (from, to) in [(0, 1), (1, 0)] {
                let bytes = self.sides[from].line.outgoing();
                is_quiet &= bytes.is_empty();
                self.sides[to].line.feed(&bytes)?;
                while let Some(bytes) = self.sides[to].line.message()? {
                    let message = Message::decode(&bytes)?;
                    self.act(to, |holder, keys| holder.receive(keys, &message))?;
                }
            }
            if is_quiet {
                return Ok(());
            }
        }
    }
}

impl<D> Side<D> {
    fn new((holder, disk): (Holder, D), keys: BaseKeys, line: Endpoint<Arc<NodeKey>>) -> Self {
        Self { disk, saves: 0, keys, holder, line, received: vec![], resolved: vec![] }
    }
}

fn create<D: Disk>(mut disk: D, step: Step) -> Result<((Holder, D), Vec<Effect>)> {
    let saved = step.save(|events| disk.save(events))?;
    let (holder, effects) = Holder::create(saved)?;
    Ok(((holder, disk), effects))
}

fn keys(party: u8) -> Result<BaseKeys> {
    Ok(BaseKeys::from_seed(&Seed::from_bip39_seed(&[party; 64], Network::Regtest), 0)?)
}

fn terms(party: u8) -> Terms {
    let payout = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([party; 20]));
    Terms { direct: true, ..Terms::new(Network::Regtest, payout) }
}

fn preimage(number: u64) -> [u8; 32] {
    let mut preimage = [1; 32];
    preimage.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
    preimage
}

/// Both ends of a connection, its handshake done.
fn lines() -> Result<[Endpoint<Arc<NodeKey>>; 2]> {
    let node = |byte| Ok::<_, anyhow::Error>(Arc::new(NodeKey::new(SecretKey::from_slice(&[byte; 32])?)));
    let (hitesh, irene) = (node(11)?, node(12)?);
    let remote = irene.public();
    let mut lines = [
        Endpoint::call(hitesh, remote, EphemeralKey::new(&[13; 32])?),
        Endpoint::answer(irene, EphemeralKey::new(&[14; 32])?),
    ];
    let [caller, answerer] = &mut lines;
    answerer.feed(&caller.outgoing())?;
    caller.feed(&answerer.outgoing())?;
    answerer.feed(&caller.outgoing())?;
    ensure!(answerer.remote().is_some(), "the handshake is not done");
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// What one side has stored: its newest state, and rows of payments in revoked commitments.
    #[derive(Default)]
    struct Rows {
        held: Vec<u8>,
        revoked: usize,
    }

    impl Disk for Rows {
        fn save(&mut self, events: &[Event]) -> Result<()> {
            for event in events {
                match event {
                    Event::Held(held) => self.held.clone_from(held),
                    Event::Revoked(..) => self.revoked += 1,
                }
            }
            Ok(())
        }
    }

    fn pair() -> Pair<Rows> {
        Pair::open([Rows::default(), Rows::default()]).unwrap()
    }

    fn sizes(pair: &Pair<Rows>) -> [usize; 2] {
        [0, 1].map(|who: usize| pair.sides[who].disk.held.len())
    }

    /// A channel that is made old is the one that is used for so long, in everything but the sums of what was paid.
    #[test]
    fn an_aged_channel_is_a_used_one() {
        let (mut used, mut aged) = (pair(), pair());
        for _ in 0..150 {
            used.pay(0, 1).unwrap();
            used.pay(1, 1).unwrap();
        }
        assert_eq!(used.numbers(), [300, 300]);
        aged.age(CommitmentNumber::new(300).unwrap()).unwrap();
        assert_eq!((aged.numbers(), sizes(&aged)), (used.numbers(), sizes(&used)));
        for pair in [&mut used, &mut aged] {
            pair.pay(0, 1).unwrap();
            pair.pay(1, 1).unwrap();
        }
        for (used, aged) in used.sides.iter().zip(&aged.sides) {
            // Two sums of 8 bytes, of which the lower 5 can differ.
            let differ = used.disk.held.iter().zip(&aged.disk.held).filter(|(used, aged)| used != aged);
            assert!((1..=10).contains(&differ.count()));
        }
    }

    /// Direct payments leave nothing behind but a secret in one of 48 places, however many there were.
    #[test]
    fn ten_million_updates_take_no_more_room() {
        let mut first = pair();
        first.pay(0, 1).unwrap();
        let [least, _] = sizes(&first);
        // At the youngest age so many places are filled, and one that has come since is empty in no other.
        for (age, places) in [(0, 9), (1_000_000, 20), (5_000_000, 23), (10_000_000, 24), ((1 << 48) - 2_000, 48)] {
            let mut pair = pair();
            pair.age(CommitmentNumber::new(age).unwrap()).unwrap();
            for _ in 0..150 {
                pair.pay(0, 1).unwrap();
                pair.pay(1, 1).unwrap();
            }
            assert_eq!(pair.numbers(), [age + 300; 2]);
            // One place was filled by the first update.
            assert_eq!(sizes(&pair), [least + 32 * (places - 1); 2], "after {age}");
            assert_eq!([0, 1].map(|who: usize| pair.sides[who].disk.revoked), [0, 0]);
        }
    }

    /// What HTLCs leave behind, a cheat's punishment needs: what was under way in each commitment that is revoked.
    #[test]
    fn payments_by_htlc_settle_and_leave_a_row_for_each_commitment_they_were_in() {
        let mut pair = pair();
        for n in 0..10 {
            pair.pay_with_htlcs(n % 2, 3).unwrap();
        }
        assert_eq!(pair.numbers(), [20, 20]);
        assert_eq!([0, 1].map(|who: usize| pair.sides[who].disk.revoked), [10, 10]);
    }
}
