//! The ledger of updates: which HTLC and which fee is in whose commitment, and what nobody can take back any more (BOLT 2,
//! "Normal Operation").
//!
//! An update of one party takes four steps, two messages of each party, before it holds for good:
//!
//! ```text
//! proposed ── signed ──────── acknowledged ─── countersigned ── settled
//!          its party's        the other's      the other's      its party's
//!          commitment_signed  revoke_and_ack   commitment_signed revoke_and_ack
//!
//! in the other's commitment:  from "signed" on
//! in its party's own:         from "countersigned" on
//! ```
//!
//! Both parties run the same ledger on the same messages, whoever sent them: nothing in it knows whose side it is on. Once
//! all messages have arrived both ledgers are equal.

mod limits;
mod step;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two;

pub use limits::{Limits, MAX_ACCEPTED};

use bitcoin::FeeRate;
use bitcoin::hashes::{Hash, sha256};

use crate::amount::Msat;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::{Channel, Role};
use crate::revocable::commitment::{Htlc, State};
use crate::revocable::htlc::Preimage;
use crate::revocable::number::CommitmentNumber;
use step::Step;

/// The most updates of one party that the other has not acknowledged.
const MAX_UNACKNOWLEDGED: u16 = 4_000;

/// What one party proposes to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// `update_add_htlc`: its party offers a payment.
    Add(Htlc),
    /// `update_fulfill_htlc`: its party takes the payment with this number that the other offered.
    Fulfill(u64, Preimage),
    /// `update_fail_htlc` and `update_fail_malformed_htlc`: its party sends that payment back.
    Fail(u64),
    /// `update_fee`: the opener sets the rate of later commitments.
    Fee(FeeRate),
    /// `direct_payment` (docs/lightning.md): its party gives so much to the other, without an HTLC.
    Pay(Msat),
}

/// What holds for good since a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// A payment is in both commitments: its receiver may fulfil, fail or forward it.
    Added(u64, Htlc),
    /// A payment is in neither commitment any more. It was taken with this preimage, or sent back.
    Removed(u64, Htlc, Option<Preimage>),
    /// This party gave so much to the other.
    Paid(Role, Msat),
}

/// A payment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Its number among those that its party offered, from 0.
    id: u64,
    htlc: Htlc,
    added: Step,
    /// How the receiver ends it.
    removed: Option<(Option<Preimage>, Step)>,
}

/// What there is of each party.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side {
    limits: Limits,
    /// What it has, payments under way apart.
    balance: Msat,
    /// The number of its next payment.
    next_id: u64,
    /// The number of its newest commitment that the other has signed.
    newest: CommitmentNumber,
    /// Whether the one before is not revoked yet.
    owes_revocation: bool,
    /// Its updates that the other has not acknowledged, as they were proposed.
    unacknowledged: Vec<Update>,
    /// How many of these it has signed for.
    signed: usize,
    /// Whether it has revoked since it last signed.
    revoked_last: bool,
}

/// The ledger of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updates {
    channel: Channel,
    opener: Side,
    accepter: Side,
    /// In the order of who offered them and their numbers.
    htlcs: Vec<Entry>,
    /// The rate that holds for good, and those after it, in order.
    fee_rate: FeeRate,
    fees: Vec<(FeeRate, Step)>,
    /// Direct payments under way: the sum for each party and step, in their order.
    payments: Vec<(Role, Step, Msat)>,
}

impl Updates {
    /// The ledger of a channel that opens with this state: commitment 0 of both parties, signed by both.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a state that is no first one: with payments, or with amounts that do not add up.
    pub(crate) fn new(channel: &Channel, first: &State, opener: Limits, accepter: Limits) -> Result<Self, Error> {
        let total = first.opener.checked_add(first.accepter);
        let whole = total.is_some() && total == Msat::from_amount(channel.funding.capacity);
        if !whole || !first.htlcs.is_empty() || first.number != CommitmentNumber::FIRST {
            return refuse(Code::InvalidArgument, "a channel does not open with such a state");
        }
        let side = |limits, balance| Side {
            limits,
            balance,
            next_id: 0,
            newest: first.number,
            owes_revocation: false,
            unacknowledged: vec![],
            signed: 0,
            revoked_last: false,
        };
        let (opener, accepter) = (side(opener, first.opener), side(accepter, first.accepter));
        Ok(Self {
            channel: *channel,
            opener,
            accepter,
            htlcs: vec![],
            fee_rate: first.fee_rate,
            fees: vec![],
            payments: vec![],
        })
    }

    /// The ledger as it will be when each party has revoked `number` commitments, if the money is where it is now.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] while anything is under way.
    #[cfg(feature = "testing")]
    pub(crate) fn skip(&mut self, number: CommitmentNumber) -> Result<(), Error> {
        if !self.is_quiet() {
            return refuse(Code::InvalidArgument, "updates are under way");
        }
        (self.opener.newest, self.accepter.newest) = (number, number);
        Ok(())
    }

    /// `by` proposes an update. The ledger is as it was where that is refused.
    ///
    /// # Errors
    /// [`Code::Unaffordable`], [`Code::HtlcOutOfBounds`], [`Code::UnknownHtlc`], [`Code::WrongPreimage`];
    /// [`Code::UnexpectedMessage`] for a fee that the accepter sets, [`Code::RateLimited`] for thousands of updates
    /// without a signature.
    pub(crate) fn propose(&mut self, by: Role, update: Update) -> Result<(), Error> {
        // What ends a payment always may: there are no more ends than payments.
        let ends = matches!(update, Update::Fulfill(..) | Update::Fail(_));
        if !ends && self.side(by).unacknowledged.len() >= MAX_UNACKNOWLEDGED.into() {
            return refuse(Code::RateLimited, "too many updates without a signature");
        }
        match &update {
            Update::Add(htlc) => self.add(by, htlc)?,
            Update::Fulfill(id, preimage) => self.remove(by, *id, Some(*preimage))?,
            Update::Fail(id) => self.remove(by, *id, None)?,
            Update::Fee(rate) => self.set_fee(by, *rate)?,
            Update::Pay(amount) => self.pay(by, *amount)?,
        }
        self.side_mut(by).unacknowledged.push(update);
        Ok(())
    }

    /// Whether `signer` has anything to sign for, and may.
    pub(crate) fn can_sign(&self, signer: Role) -> bool {
        !self.side(signer.other()).owes_revocation && self.has_changes(signer.other())
    }

    /// `signer` signs the next commitment of the other, whose state this gives: to be built, and signed or verified.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] where the other has to revoke first, or where nothing has changed;
    /// [`Code::UpdatesSpent`] after the last number.
    pub(crate) fn sign(&mut self, signer: Role) -> Result<State, Error> {
        let owner = signer.other();
        if self.side(owner).owes_revocation {
            return refuse(Code::UnexpectedMessage, "the commitment before has not been revoked");
        }
        if !self.has_changes(owner) {
            return refuse(Code::UnexpectedMessage, "a commitment without any update");
        }
        let Some(number) = self.side(owner).newest.next() else {
            return refuse(Code::UpdatesSpent, "the channel has no commitment numbers left");
        };
        self.each_step(|step, by| step.sign(signer, by));
        let side = self.side_mut(owner);
        side.newest = number;
        side.owes_revocation = true;
        let signer = self.side_mut(signer);
        signer.signed = signer.unacknowledged.len();
        signer.revoked_last = false;
        self.newest(owner)
    }

    /// `owner` revokes its commitment before the newest: the number of what is revoked, and what holds for good now.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] where there is nothing to revoke.
    pub(crate) fn revoke(&mut self, owner: Role) -> Result<(CommitmentNumber, Vec<Settled>), Error> {
        let before = self.side(owner).newest.previous().filter(|_| self.side(owner).owes_revocation);
        let Some(revoked) = before else {
            return refuse(Code::UnexpectedMessage, "there is no commitment to revoke");
        };
        let before: Vec<_> = self.htlcs.iter().map(|entry| entry.added).collect();
        self.each_step(|step, by| step.revoke(owner, by));
        let side = self.side_mut(owner);
        side.owes_revocation = false;
        side.revoked_last = true;
        let other = self.side_mut(owner.other());
        other.unacknowledged.drain(..other.signed);
        other.signed = 0;

        let added = |(entry, before): (&Entry, Step)| {
            (entry.added == Step::Settled && before != Step::Settled).then_some(Settled::Added(entry.id, entry.htlc))
        };
        let mut settled: Vec<_> = self.htlcs.iter().zip(before).filter_map(added).collect();
        self.settle(&mut settled)?;
        Ok((revoked, settled))
    }

    /// The connection broke: proposals that nobody signed for have not been.
    pub(crate) fn disconnect(&mut self) {
        self.htlcs.retain(|entry| entry.added != Step::Proposed);
        for entry in &mut self.htlcs {
            entry.removed.take_if(|(_, step)| *step == Step::Proposed);
        }
        self.fees.retain(|(_, step)| *step != Step::Proposed);
        self.payments.retain(|(_, step, _)| *step != Step::Proposed);
        for side in [&mut self.opener, &mut self.accepter] {
            let lost = side.unacknowledged.split_off(side.signed);
            let adds = lost.iter().filter(|update| matches!(update, Update::Add(_)));
            side.next_id = adds.fold(side.next_id, |next, _| next.saturating_sub(1));
        }
    }

    /// What is fixed for the channel.
    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The number of `owner`'s newest commitment that the other has signed.
    pub const fn number(&self, owner: Role) -> CommitmentNumber {
        self.side(owner).newest
    }

    /// The number of the next payment that `by` offers.
    pub const fn next_id(&self, by: Role) -> u64 {
        self.side(by).next_id
    }

    /// Whether `by` has proposed what the other has not acknowledged.
    pub(crate) const fn has_unacknowledged(&self, by: Role) -> bool {
        !self.side(by).unacknowledged.is_empty()
    }

    /// The number of the first payment of `by` that the other has not acknowledged; its next one where there is none.
    pub(crate) fn first_unacknowledged(&self, by: Role) -> u64 {
        let side = self.side(by);
        let adds = side.unacknowledged.iter().filter(|update| matches!(update, Update::Add(_)));
        adds.fold(side.next_id, |next, _| next.saturating_sub(1))
    }

    /// Whether `by` sends this payment back and the other has not acknowledged it.
    pub(crate) fn is_sending_back(&self, by: Role, id: u64) -> bool {
        self.side(by).unacknowledged.contains(&Update::Fail(id))
    }

    /// Whether `by` has proposed anything but ends of payments that it has not signed for.
    pub fn has_unsigned(&self, by: Role) -> bool {
        let side = self.side(by);
        let ends = |update: &Update| matches!(update, Update::Fulfill(..) | Update::Fail(_));
        side.unacknowledged.iter().skip(side.signed).any(|update| !ends(update))
    }

    /// The payments that `by` offers and that are not gone for good, with their numbers.
    pub fn offered(&self, by: Role) -> impl Iterator<Item = (u64, &Htlc)> {
        self.htlcs.iter().filter(move |entry| entry.htlc.offered_by == by).map(|entry| (entry.id, &entry.htlc))
    }

    /// The payments to `to` that hold for good, and that it may fulfil, fail or forward.
    pub(crate) fn received(&self, to: Role) -> impl Iterator<Item = (u64, &Htlc)> {
        let open = move |entry: &&Entry| {
            entry.htlc.offered_by != to && entry.added == Step::Settled && entry.removed.is_none()
        };
        self.htlcs.iter().filter(open).map(|entry| (entry.id, &entry.htlc))
    }

    /// The payments of `by` that the other takes, with the preimages that it showed.
    pub(crate) fn taken(&self, by: Role) -> impl Iterator<Item = (u64, Preimage)> {
        let own = self.htlcs.iter().filter(move |entry| entry.htlc.offered_by == by);
        own.filter_map(|entry| Some((entry.id, entry.removed?.0?)))
    }

    /// What `by` gives in direct payments that do not hold for good yet, in millisatoshi.
    pub(crate) fn giving(&self, by: Role) -> u64 {
        let own = self.payments.iter().filter(|(of, ..)| *of == by);
        own.fold(0, |sum, (.., amount)| sum.saturating_add(amount.get()))
    }

    /// What `by` has to send again, before its signature, when the other has not got it: the updates it signed for.
    pub(crate) fn to_retransmit(&self, by: Role) -> &[Update] {
        let side = self.side(by);
        side.unacknowledged.get(..side.signed).unwrap_or_default()
    }

    /// Whether `by` has revoked since it last signed. What was lost is sent again in the order in which it was sent first:
    /// a signature covers what its party had acknowledged by then.
    pub(crate) const fn revoked_last(&self, by: Role) -> bool {
        self.side(by).revoked_last
    }

    /// The newest commitment of `owner` that the other has signed.
    ///
    /// # Errors
    /// None in practice: no update is taken in that leads to amounts below zero.
    pub fn newest(&self, owner: Role) -> Result<State, Error> {
        self.state(self.side(owner).newest, |step, by| step.is_in(owner, by))
    }

    /// Whether the commitment before the newest is still to be revoked by its owner.
    pub const fn owes_revocation(&self, owner: Role) -> bool {
        self.side(owner).owes_revocation
    }

    /// Whether nothing is under way: no payment, no update, no revocation. A channel closes by agreement only then.
    pub fn is_quiet(&self) -> bool {
        let quiet = |side: &Side| !side.owes_revocation && side.unacknowledged.is_empty();
        let nothing = self.htlcs.is_empty() && self.fees.is_empty() && self.payments.is_empty();
        nothing && quiet(&self.opener) && quiet(&self.accepter)
    }

    const fn side(&self, role: Role) -> &Side {
        match role {
            Role::Opener => &self.opener,
            Role::Accepter => &self.accepter,
        }
    }

    const fn side_mut(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Opener => &mut self.opener,
            Role::Accepter => &mut self.accepter,
        }
    }

    fn remove(&mut self, by: Role, id: u64, preimage: Option<Preimage>) -> Result<(), Error> {
        let found = self.htlcs.iter_mut().find(|entry| entry.id == id && entry.htlc.offered_by == by.other());
        let Some(entry) = found.filter(|entry| entry.added == Step::Settled && entry.removed.is_none()) else {
            return refuse(Code::UnknownHtlc, "there is no such payment to end");
        };
        if preimage.is_some_and(|preimage| sha256::Hash::hash(&preimage) != entry.htlc.payment_hash) {
            return refuse(Code::WrongPreimage, "this is not the preimage of that payment");
        }
        entry.removed = Some((preimage, Step::Proposed));
        Ok(())
    }

    /// Applies `change` to how far each update has come, with whose it is.
    fn each_step(&mut self, change: impl Fn(&mut Step, Role)) {
        for entry in &mut self.htlcs {
            change(&mut entry.added, entry.htlc.offered_by);
            if let Some((_, step)) = &mut entry.removed {
                change(step, entry.htlc.offered_by.other());
            }
        }
        for (_, step) in &mut self.fees {
            change(step, Role::Opener);
        }
        self.merge_fees();
        for (by, step, _) in &mut self.payments {
            change(step, *by);
        }
        self.merge_payments();
    }

    /// Payments of one party that have come equally far are one sum.
    fn merge_payments(&mut self) {
        self.payments.sort_unstable_by_key(|(by, step, _)| (*by, *step));
        self.payments.dedup_by(|next, sum| {
            // What is under way was affordable, so that its sum is no more than the channel.
            let both = ((next.0, next.1) == (sum.0, sum.1)).then(|| sum.2.checked_add(next.2)).flatten();
            both.map(|both| sum.2 = both).is_some()
        });
    }

    /// Of rates that have come equally far the newest counts. So there is one for each step at most.
    pub(super) fn merge_fees(&mut self) {
        self.fees.dedup_by(|newer, older| {
            let same = newer.1 == older.1;
            if same {
                *older = *newer;
            }
            same
        });
    }

    /// Whether the next commitment of `owner` would have other updates than the newest.
    fn has_changes(&self, owner: Role) -> bool {
        let changes = |step: Step, by| step.is_next_in(owner, by) && !step.is_in(owner, by);
        self.fees.iter().any(|(_, step)| changes(*step, Role::Opener))
            || self.payments.iter().any(|(by, step, _)| changes(*step, *by))
            || self.htlcs.iter().any(|entry| {
                let by = entry.htlc.offered_by;
                changes(entry.added, by) || entry.removed.is_some_and(|(_, step)| changes(step, by.other()))
            })
    }

    /// The state of a commitment with those updates that `has` says it has.
    fn state(&self, number: CommitmentNumber, has: impl Fn(Step, Role) -> bool) -> Result<State, Error> {
        let mut state = State {
            number,
            fee_rate: self.fee_rate,
            opener: self.opener.balance,
            accepter: self.accepter.balance,
            htlcs: vec![],
        };
        if let Some((rate, _)) = self.fees.iter().rfind(|(_, step)| has(*step, Role::Opener)) {
            state.fee_rate = *rate;
        }
        // What comes in may be what goes out again: only the sum has to be there.
        let (mut opener, mut accepter) = (Flow::default(), Flow::default());
        let mut moves = |from: Role, to: Option<Role>, amount: Msat| {
            let mut flow = |role, outwards| {
                let flow = match role {
                    Role::Opener => &mut opener,
                    Role::Accepter => &mut accepter,
                };
                flow.add(outwards, amount)
            };
            flow(from, true)?;
            to.map_or(Ok(()), |to| flow(to, false))
        };
        for (by, _, amount) in self.payments.iter().filter(|(by, step, _)| has(*step, *by)) {
            moves(*by, Some(by.other()), *amount)?;
        }
        for Entry { htlc, added, removed, .. } in &self.htlcs {
            let by = htlc.offered_by;
            if !has(*added, by) {
                continue;
            }
            match removed.filter(|(_, step)| has(*step, by.other())) {
                None => {
                    state.htlcs.push(*htlc);
                    moves(by, None, htlc.amount)?;
                }
                Some((Some(_), _)) => moves(by, Some(by.other()), htlc.amount)?,
                Some((None, _)) => {}
            }
        }
        state.opener = opener.apply(state.opener)?;
        state.accepter = accepter.apply(state.accepter)?;
        Ok(state)
    }

    /// Books what was removed for good, and drops it.
    fn settle(&mut self, settled: &mut Vec<Settled>) -> Result<(), Error> {
        let is_over = |entry: &Entry| entry.removed.is_some_and(|(_, step)| step == Step::Settled);
        for entry in self.htlcs.iter().filter(|entry| is_over(entry)) {
            let (htlc, preimage) = (entry.htlc, entry.removed.and_then(|(preimage, _)| preimage));
            if preimage.is_some() {
                transfer(&mut self.opener.balance, &mut self.accepter.balance, htlc.offered_by, htlc.amount)?;
            }
            settled.push(Settled::Removed(entry.id, htlc, preimage));
        }
        self.htlcs.retain(|entry| !is_over(entry));
        for (by, _, amount) in self.payments.extract_if(.., |(_, step, _)| *step == Step::Settled) {
            transfer(&mut self.opener.balance, &mut self.accepter.balance, by, amount)?;
            settled.push(Settled::Paid(by, amount));
        }
        // A newer rate overrides those before it.
        let last = self.fees.iter().rposition(|(_, step)| *step == Step::Settled);
        if let Some((rate, _)) = last.and_then(|last| self.fees.drain(..=last).next_back()) {
            self.fee_rate = rate;
        }
        Ok(())
    }
}

/// Moves what `from` gives the other.
fn transfer(opener: &mut Msat, accepter: &mut Msat, from: Role, amount: Msat) -> Result<(), Error> {
    let (from, to) = match from {
        Role::Opener => (opener, accepter),
        Role::Accepter => (accepter, opener),
    };
    *from = from.checked_sub(amount).ok_or(unaffordable())?;
    *to = to.checked_add(amount).ok_or(unaffordable())?;
    Ok(())
}

/// What one party gets and gives.
#[derive(Default)]
struct Flow {
    inwards: Msat,
    outwards: Msat,
}

impl Flow {
    fn add(&mut self, outwards: bool, amount: Msat) -> Result<(), Error> {
        let sum = if outwards { &mut self.outwards } else { &mut self.inwards };
        *sum = sum.checked_add(amount).ok_or(unaffordable())?;
        Ok(())
    }

    fn apply(&self, balance: Msat) -> Result<Msat, Error> {
        let sum = balance.checked_add(self.inwards).and_then(|sum| sum.checked_sub(self.outwards));
        sum.ok_or(unaffordable())
    }
}

const fn unaffordable() -> Error {
    Error::new(Code::Unaffordable, "more than its party has")
}
