//! The payer's side of a channel: pays for what it receives, ends, takes the rest back.
//!
//! ```text
//!          funding_seen          stop              stopped             closed
//!  opened ─────────────> open ─────────> stopping ─────────> closing ─────────> closed ──> settled (spent_seen)
//!                         any of them, from expiry on or as granted: refund, reclaimed ──> refunded
//! ```
//!
//! `stop` may be left out: the payee also takes a `close` by itself.
//!
//! Safety, whatever the peer says: a `need` is paid only up to what was received plus the agreed window at the agreed
//! price, within the viewer's own limits, and never while paused; a peer's claim about earlier payments counts only with
//! the payer's own valid signature; the final amount is never above what was signed before.
//!
//! Things get lost on the way: the payee has counted a piece as delivered, and the line broke. Were the payer to insist,
//! an honest stream would halt. So up to [`FORGIVEN_WINDOWS`] windows, in all the channel's life, are paid without
//! having arrived. That, and the window, is the most that a dishonest payee can gain.

mod back;
#[cfg(test)]
mod edges;
mod event;
mod open;
#[cfg(test)]
mod tests;

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, Transaction};

pub use event::{Event, Spend};
pub use open::{Recovery, Request};

use crate::amount::Msat;
use crate::budget::{Budget, Spent};
use crate::commitment::{self, Funding, Paid, SeenOutput};
use crate::error::{Code, Error, refuse};
use crate::grant::Grant;
use crate::keys::Key;
use crate::params::{ChannelId, ChannelParams, Statement, sign_attach};
use crate::persist::{Decision, Saved, ascending};
use crate::tariff::Meter;
use crate::wire::{ChannelState, Message};

/// How many windows' worth of lost deliveries a payer puts up with in a channel's life.
pub const FORGIVEN_WINDOWS: u64 = 10;

/// What a payer wants done, once its events are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this on the channel's session.
    Send(Message),
    /// Broadcast this transaction.
    Broadcast(Transaction),
}

/// A payer's decision.
pub type Step = Decision<Event, Effect>;

/// Where a channel stands for its payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing agreed by both sides has arrived.
    Opened,
    /// Can pay.
    Open,
    /// Stop was pressed; the final amount is not agreed yet.
    Stopping,
    /// The final payment is signed.
    Closing,
    /// The payee has signed its closing statement.
    Closed,
    /// The funding is spent by a settlement.
    Settled,
    /// The funding is spent by the payer's own refund.
    Refunded,
}

/// One channel, from the payer's side.
pub struct Payer {
    version: u64,
    id: ChannelId,
    params: Box<ChannelParams>,
    node: PublicKey,
    key: Key,
    key_index: u32,
    deposit: Amount,
    funding: Option<Funding>,
    paid: Option<Paid>,
    stopping: bool,
    closing: Option<Paid>,
    closed: Option<Signature>,
    spend: Option<Spend>,
    /// Only in a `timelock` channel: what will fund it, and what the payee has granted.
    transaction: Option<Transaction>,
    refundable: Option<Grant>,
    countersigned: Option<Grant>,
    budget: Budget,
    /// What has arrived, and what was forgiven, as this side counts it.
    received: Meter,
    forgiven: u64,
    paused: bool,
}

impl Payer {
    /// The machine of a channel just opened. `key` is the request's key.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] if the decision is not one of [`Request::opened`].
    pub fn create(saved: Saved<Event, Effect>, key: Key, budget: Budget) -> Result<Self, Error> {
        let (events, _) = saved.into_parts();
        Self::replay(events, key, budget)
    }

    /// The machine as its stored events tell it. Whatever does not fit together is refused. The books of what was spent
    /// before are taken from the newest of `budget` and the stored payment.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`], [`Code::InvalidWords`] for a key that is not the channel's.
    pub fn replay(events: impl IntoIterator<Item = Event>, key: Key, budget: Budget) -> Result<Self, Error> {
        let mut events = events.into_iter();
        let Some(Event::Opened { params, node, signature, key_index, deposit }) = events.next() else {
            return refuse(Code::CorruptedStore, "a stored channel does not begin with its opening");
        };
        params.validate().map_err(|_| CORRUPTED)?;
        params.verify(&node, &signature).map_err(|_| CORRUPTED)?;
        if params.payer != key.public() {
            return refuse(Code::InvalidWords, "these words are not those of the stored channel");
        }
        let received = Meter::new(params.tariff, 0);
        let mut payer = Self {
            version: 1,
            id: params.id(),
            params,
            node,
            key,
            key_index,
            deposit,
            funding: None,
            paid: None,
            stopping: false,
            closing: None,
            closed: None,
            spend: None,
            transaction: None,
            refundable: None,
            countersigned: None,
            budget,
            received,
            forgiven: 0,
            paused: false,
        };
        for event in ascending(events) {
            let event = event?;
            payer.check(&event)?;
            // What an earlier page spent belongs to its session, not to this one's.
            if let Event::Paid { spent, .. } = &event
                && spent.site >= payer.budget.spent().site
            {
                payer.budget.resume(*spent);
            }
            payer.apply(event);
        }
        // Money goes into a `timelock` channel only when it can come back.
        if payer.funding.is_some_and(|funding| !payer.is_safe(&funding)) {
            return Err(CORRUPTED);
        }
        Ok(payer)
    }

    /// Takes a stored decision over into the state and releases its effects.
    ///
    /// # Errors
    /// [`Code::StaleDecision`] where it was decided for another channel or the state has changed since.
    pub fn commit(&mut self, saved: Saved<Event, Effect>) -> Result<Vec<Effect>, Error> {
        let (events, effects) = saved.open(self.id, self.version)?;
        if !events.is_empty() {
            self.version = self.version.saturating_add(1);
        }
        events.into_iter().for_each(|event| self.apply(event));
        Ok(effects)
    }

    fn check(&self, event: &Event) -> Result<(), Error> {
        let signed = |paid: &Paid| self.funding.is_some_and(|funding| paid.verify(&self.params, &funding).is_ok());
        let fits = match event {
            Event::Opened { .. } => false,
            Event::Funded(funding) => funding.capacity >= self.params.min_deposit,
            Event::Received { quantity, forgiven } => {
                self.params.tariff.cost(*quantity).is_some() && *forgiven <= self.forgivable().min(*quantity)
            }
            Event::Paid { paid, .. } => self.params.is_rung(paid.lock) && signed(paid),
            Event::Stopping => self.funding.is_some(),
            Event::Closing(paid) => signed(paid),
            Event::Closed(signature) => self.statement().is_some_and(|s| s.verify(&self.node, signature).is_ok()),
            Event::Spent(_) => true,
            Event::Funding(transaction) => self.check_transaction(transaction).is_ok(),
            Event::Refundable(grant) => self.is_refund(grant) && grant.verify(&self.params).is_ok(),
            Event::Countersigned(grant) => self.params.is_rung(grant.lock) && grant.verify(&self.params).is_ok(),
        };
        if fits { Ok(()) } else { Err(CORRUPTED) }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => {}
            Event::Funded(funding) => self.funding = Some(funding),
            Event::Received { quantity, forgiven } => {
                self.received.advance(quantity);
                self.forgiven = forgiven;
            }
            Event::Paid { paid, spent } => {
                self.paid = Some(paid);
                self.budget.book(spent);
            }
            Event::Stopping => self.stopping = true,
            Event::Closing(paid) => self.closing = Some(paid),
            Event::Closed(signature) => self.closed = Some(signature),
            Event::Spent(spend) => self.spend = spend,
            Event::Funding(transaction) => self.transaction = Some(transaction),
            Event::Refundable(grant) => self.refundable = Some(grant),
            Event::Countersigned(grant) => self.countersigned = Some(grant),
        }
    }

    fn step(&self, events: Vec<Event>, effects: Vec<Effect>) -> Step {
        Decision::new(self.id, self.version, events, effects)
    }

    // ---- what the page may know ----

    /// The channel's name.
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// What was agreed.
    pub const fn params(&self) -> &ChannelParams {
        &self.params
    }

    /// The operator's node key.
    pub const fn node(&self) -> &PublicKey {
        &self.node
    }

    /// Which of the payer's keys signs for it.
    pub const fn key_index(&self) -> u32 {
        self.key_index
    }

    /// What the viewer was asked to deposit.
    pub const fn deposit(&self) -> Amount {
        self.deposit
    }

    /// What funds it.
    pub const fn funding(&self) -> Option<&Funding> {
        self.funding.as_ref()
    }

    /// The highest amount signed over.
    pub fn paid(&self) -> Amount {
        self.paid.map_or(Amount::ZERO, |paid| paid.cumulative)
    }

    /// How many payments can still be made; `None` where there is no bound.
    pub fn updates_left(&self) -> Option<u32> {
        self.params.updates_left(self.paid.map(|paid| paid.lock))
    }

    /// What has arrived, in the tariff's base quantity.
    pub const fn received(&self) -> u64 {
        self.received.delivered()
    }

    /// What has arrived costs this much.
    pub fn owed(&self) -> Msat {
        self.received.owed().unwrap_or(Msat::MAX_MONEY)
    }

    /// The final payment, once it is signed.
    pub const fn closing(&self) -> Option<&Paid> {
        self.closing.as_ref()
    }

    /// What spent the funding, as last seen.
    pub const fn spend(&self) -> Option<&Spend> {
        self.spend.as_ref()
    }

    /// What was spent against the limits, to carry over to the next channel.
    pub const fn spent(&self) -> Spent {
        self.budget.spent()
    }

    /// No payment is signed while paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Where it stands.
    pub const fn phase(&self) -> Phase {
        match (&self.spend, &self.closed, &self.closing, self.stopping, &self.funding) {
            (Some(Spend { refund: true, .. }), ..) => Phase::Refunded,
            (Some(_), ..) => Phase::Settled,
            (_, Some(_), ..) => Phase::Closed,
            (_, _, Some(_), ..) => Phase::Closing,
            (_, _, _, true, _) => Phase::Stopping,
            (.., Some(_)) => Phase::Open,
            (.., None) => Phase::Opened,
        }
    }

    /// What comes back when the channel ends at the final payment, or at the highest one before.
    pub fn returned(&self) -> Amount {
        let (Some(funding), last) = (&self.funding, self.closing.or(self.paid)) else {
            return Amount::ZERO;
        };
        let cumulative = last.map_or(Amount::ZERO, |paid| paid.cumulative);
        let change = commitment::change(&self.params, funding.capacity, cumulative);
        change.ok().flatten().map_or(Amount::ZERO, |output| output.value)
    }

    fn statement(&self) -> Option<Statement> {
        let (funding, closing) = (self.funding?, self.closing?);
        Some(Statement { channel: self.id, funding, cumulative: closing.cumulative })
    }

    /// What can be forgiven in the channel's life.
    fn forgivable(&self) -> u64 {
        self.params.tariff.window_quantity().saturating_mul(FORGIVEN_WINDOWS)
    }

    /// Lets a demand up to `upto` stand: within the window, or by forgiving what seems to be lost.
    fn allow(&self, upto: u64) -> Result<Option<Event>, Error> {
        let horizon = self.received().saturating_add(self.params.tariff.window_quantity());
        let lost = upto.saturating_sub(horizon);
        if lost == 0 {
            return Ok(None);
        }
        let forgiven = self.forgiven.checked_add(lost).filter(|sum| *sum <= self.forgivable());
        match (forgiven, self.received.after(lost)) {
            (Some(forgiven), Ok(quantity)) => Ok(Some(Event::Received { quantity, forgiven })),
            _ => refuse(Code::AheadOfDelivery, "the server asks for more than it has delivered"),
        }
    }

    /// Pauses (no payment is signed) or goes on.
    pub const fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    // ---- decisions ----

    /// Content of this quantity has arrived.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a quantity that cannot be priced.
    pub fn receive(&self, quantity: u64) -> Result<Step, Error> {
        let absurd = |_| Error::new(Code::InvalidArgument, "an absurd quantity");
        let quantity = self.received.after(quantity).map_err(absurd)?;
        Ok(self.step(vec![Event::Received { quantity, forgiven: self.forgiven }], vec![]))
    }

    /// The message that makes a socket, known by its challenge, the channel's session.
    pub fn attach(&self, challenge: &[u8; 32]) -> Message {
        let signature = sign_attach(&self.key, &self.id, challenge);
        Message::Attach { channel: self.id, signature }
    }

    /// The payee tells where it thinks the channel stands (when a session begins, or with a refusal). What it says of
    /// payments is adopted only with our own valid signature: a store that has lost something is made whole by it.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`] (and the like) for a payment that we never signed.
    pub fn attached(&self, state: &ChannelState) -> Result<Step, Error> {
        let (mut events, mut effects) = (vec![], vec![]);
        if let (Some(funding), Some(theirs)) = (&self.funding, &state.paid)
            && let Some(lost) = theirs.cumulative.checked_sub(self.paid()).filter(|lost| *lost > Amount::ZERO)
        {
            // One without a lock time ends a `timelock` channel; as a payment it would not replay.
            if !self.params.is_rung(theirs.lock) {
                return refuse(Code::WrongLock, "this is no payment of this channel");
            }
            theirs.verify(&self.params, funding)?;
            let (lost, paid) = (msat(lost), msat(theirs.cumulative));
            // What a lost store once paid for has been delivered, as far as the payee says so.
            let quantity = self.received().max(state.delivered.min(self.params.tariff.covered(paid)));
            events.push(Event::Received { quantity, forgiven: self.forgiven });
            events.push(Event::Paid { paid: *theirs, spent: self.budget.found(lost) });
        }
        effects.extend(self.resume_funding(state));
        let stopped = self.stopping || (state.stopped && self.funding.is_some());
        if stopped && !self.stopping {
            events.push(Event::Stopping);
        }
        match (&self.funding, &state.closing, &self.closing) {
            // It settles at another amount than we last said: so be it, if we signed that, and it has not stated ours.
            (Some(funding), Some(theirs), ours)
                if self.closed.is_none() && ours.is_none_or(|ours| ours.cumulative != theirs.cumulative) =>
            {
                theirs.verify(&self.params, funding)?;
                events.push(Event::Closing(*theirs));
                effects.push(Effect::Send(Message::Close(*theirs)));
            }
            // Go on where a reload or a lost connection broke off.
            (_, _, Some(ours)) if self.closed.is_none() => effects.push(Effect::Send(Message::Close(*ours))),
            (_, _, None) if stopped => effects.push(Effect::Send(Message::Stop)),
            _ => {}
        }
        Ok(self.step(events, effects))
    }

    /// The payee names the funding; `seen` is what the payer's own look at the chain shows at the address.
    ///
    /// # Errors
    /// [`Code::NotFunded`] where the payer's own look does not show it, confirmed as deeply as agreed.
    pub fn funding_seen(&self, told: &Funding, seen: &[SeenOutput]) -> Result<Step, Error> {
        if self.funding == Some(*told) {
            return Ok(self.step(vec![], vec![]));
        }
        let deep = |output: &SeenOutput| output.confirmations >= self.params.confirmations.into();
        let agreed = seen.iter().any(|output| output.funding == *told && deep(output)) && self.is_safe(told);
        if !agreed || told.capacity < self.params.min_deposit {
            return refuse(Code::NotFunded, "the chain does not show this deposit yet");
        }
        // Signatures are for one deposit: what was signed would be worthless, and the stored log would not replay.
        if self.paid.is_some() || self.closing.is_some() {
            return refuse(Code::UnexpectedMessage, "the channel was paid on with another deposit");
        }
        Ok(self.step(vec![Event::Funded(*told)], vec![]))
    }

    /// The payee asks for payment up to a cumulative quantity. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`Code::Paused`], [`Code::NotFunded`], [`Code::Closing`], [`Code::AheadOfDelivery`], [`Code::DepositSpent`],
    /// [`Code::UpdatesSpent`], [`Code::OverBudget`].
    pub fn need(&self, upto: u64, delivered: u64, now: u64) -> Result<Step, Error> {
        if self.paused {
            return refuse(Code::Paused, "paused: nothing is paid");
        }
        if self.phase() != Phase::Open && self.phase() != Phase::Opened {
            return refuse(Code::Closing, "the channel is closing");
        }
        let funding = self.funding.ok_or(Error::new(Code::NotFunded, "the deposit is not confirmed yet"))?;
        let cumulative = self
            .params
            .tariff
            .cost(upto)
            .map(Msat::to_amount_ceil)
            .filter(|cost| *cost <= self.params.spendable(funding.capacity))
            .ok_or(Error::new(Code::DepositSpent, "the deposit does not cover this"))?;
        let more = cumulative.checked_sub(self.paid()).filter(|more| *more > Amount::ZERO);
        let Some(more) = more.filter(|_| !self.is_in_arrears()) else {
            let again = self.paid.map(|last| Effect::Send(Message::Pay(last)));
            return Ok(self.step(vec![], again.into_iter().collect()));
        };
        let mut events: Vec<_> = self.allow(upto.max(delivered))?.into_iter().collect();
        let lock = self.params.next_lock(self.paid.map(|paid| paid.lock))?;
        let spent = self.budget.reserve(msat(more), now)?;
        let paid = commitment::pay(&self.params, &funding, lock, cumulative, &self.key)?;
        events.push(Event::Paid { paid, spent });
        Ok(self.step(events, vec![Effect::Send(Message::Pay(paid))]))
    }

    /// The viewer ends.
    ///
    /// # Errors
    /// [`Code::NothingToDo`] where no deposit has arrived or the end has been agreed already.
    pub fn stop(&self) -> Result<Step, Error> {
        match self.phase() {
            Phase::Open => Ok(self.step(vec![Event::Stopping], vec![Effect::Send(Message::Stop)])),
            Phase::Stopping => Ok(self.step(vec![], vec![Effect::Send(Message::Stop)])),
            Phase::Opened => refuse(Code::NothingToDo, "there is nothing to end: no deposit has arrived"),
            _ => refuse(Code::NothingToDo, "the channel is ending already"),
        }
    }

    /// The payee tells its final count: sign exactly that, if it is paid, or ask for the deposit back, if it is nothing.
    /// (Where it counts too much, what it holds is worth that anyway: see [`FORGIVEN_WINDOWS`].)
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] where nobody asked, [`Code::AheadOfDelivery`].
    pub fn stopped(&self, delivered: u64) -> Result<Step, Error> {
        let (Phase::Stopping, Some(funding)) = (self.phase(), self.funding) else {
            return refuse(Code::UnexpectedMessage, "no end was asked for");
        };
        let owed = self.params.tariff.cost(delivered).map(Msat::to_amount_ceil);
        let Some(owed) = owed.filter(|owed| *owed <= self.paid()) else {
            return refuse(Code::AheadOfDelivery, "the server counts more than was paid");
        };
        if delivered == 0 {
            return Ok(self.step(vec![], vec![Effect::Send(Message::Reclaim(funding))]));
        }
        let paid = commitment::pay(&self.params, &funding, 0, owed, &self.key)?;
        Ok(self.step(vec![Event::Closing(paid)], vec![Effect::Send(Message::Close(paid))]))
    }

    /// The payee has signed its closing statement.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] for an amount that was not asked for, [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn closed(&self, cumulative: Amount, signature: Signature) -> Result<Step, Error> {
        let Some(statement) = self.statement().filter(|statement| statement.cumulative == cumulative) else {
            return refuse(Code::UnexpectedMessage, "this is not the amount to close at");
        };
        statement.verify(&self.node, &signature)?;
        let events = if self.closed.is_some() { vec![] } else { vec![Event::Closed(signature)] };
        Ok(self.step(events, vec![]))
    }

    /// The payer's own look at the chain shows the funding spent (or, after a reorganisation, spent no more).
    pub fn spent_seen(&self, spend: Option<Spend>) -> Step {
        let events = if self.spend == spend { vec![] } else { vec![Event::Spent(spend)] };
        self.step(events, vec![])
    }
}

/// An amount of bitcoin that exists is within the range of millisatoshi, too.
fn msat(amount: Amount) -> Msat {
    Msat::from_amount(amount).unwrap_or(Msat::MAX_MONEY)
}

const CORRUPTED: Error = Error::new(Code::CorruptedStore, "what is stored about this channel does not fit together");
