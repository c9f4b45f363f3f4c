//! The payee's side of a channel: takes payments, counts deliveries, settles.
//!
//! ```text
//!            funding_seen          stop                  close
//!  opened ────────────────> open ────────> stopped ─────────────> closing ───> settled
//!                            │                │   expire (by height)  ^   spent
//!                            └────────────────┴───────────────────────┘
//! ```
//!
//! Invariant, after every event: `price of delivered <= accepted <= what can be spent of the capacity`.
//!
//! The funding's depth can fall again in a reorganisation; nothing is served until it is back.
//!
//! Where nothing was delivered the payee lets the deposit go (`reclaim`), and there is nothing to settle.
//!
//! `stop` may be left out: `close` does by itself. Every method is a pure decision (see [`crate::persist`]); chain heights
//! and fee rates come in as arguments.

#[cfg(test)]
mod edges;
mod event;
mod open;
#[cfg(test)]
mod tests;

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{Amount, Txid};

pub use event::Event;
pub use open::Offer;

use crate::amount::Msat;
use crate::commitment::{Funding, Paid, SeenOutput};
use crate::error::{Code, Detail, Error, refuse};
use crate::grant::Grant;
use crate::keys::Key;
use crate::margin::{Deadline, Moment, Surge};
use crate::params::{ChannelId, ChannelParams, Statement, verify_attach};
use crate::persist::{Decision, Saved, ascending};
use crate::tariff::Meter;
use crate::wire::{ChannelState, Message, Token};

/// What a payee wants done, once its events are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the channel's session, if there is one.
    Send(Message),
    /// Settle this channel, alone or with others.
    Settle,
    /// Sign the payer's copy of the newest commitment ([`Payee::countersign`]) and send it.
    Countersign,
}

/// A payee's decision.
pub type Step = Decision<Event, Effect>;

/// Whether content is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// It is: release it.
    Paid,
    /// It is not: send this and wait.
    Need(Message),
}

/// One channel, from the payee's side.
#[derive(Clone, Debug)]
pub struct Payee {
    version: u64,
    id: ChannelId,
    params: Box<ChannelParams>,
    key_index: u32,
    funding: Option<Funding>,
    deep: bool,
    epoch: u64,
    accepted: Option<Paid>,
    meter: Meter,
    stopped: bool,
    closing: Option<Paid>,
    spent: Option<Txid>,
    released: bool,
}

impl Payee {
    /// The machine of a channel just opened, and what to do now.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] if the decision is not one of [`Offer::open`].
    pub fn create(saved: Saved<Event, Effect>) -> Result<(Self, Vec<Effect>), Error> {
        let (events, effects) = saved.into_parts();
        Ok((Self::replay(events)?, effects))
    }

    /// The machine as its stored events tell it. Whatever does not fit together is refused.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub fn replay(events: impl IntoIterator<Item = Event>) -> Result<Self, Error> {
        let mut events = events.into_iter();
        let Some(Event::Opened { params, key_index }) = events.next() else {
            return refuse(Code::CorruptedStore, "a stored channel does not begin with its opening");
        };
        params.validate().map_err(|_| CORRUPTED)?;
        let meter = Meter::new(params.tariff, 0);
        let mut payee = Self {
            version: 1,
            id: params.id(),
            params,
            key_index,
            funding: None,
            deep: false,
            epoch: 0,
            accepted: None,
            meter,
            stopped: false,
            closing: None,
            spent: None,
            released: false,
        };
        for event in ascending(events) {
            let event = event?;
            payee.check(&event)?;
            payee.apply(event);
        }
        if payee.owed() > payee.accepted_msat() {
            return Err(CORRUPTED);
        }
        Ok(payee)
    }

    /// Takes a stored decision over into the state and releases its effects.
    ///
    /// # Errors
    /// [`Code::StaleDecision`] where it was decided for another channel or the state has changed since; load the machine anew.
    pub fn commit(&mut self, saved: Saved<Event, Effect>) -> Result<Vec<Effect>, Error> {
        let (events, effects) = saved.open(self.id, self.version)?;
        if !events.is_empty() {
            self.version = self.version.saturating_add(1);
        }
        events.into_iter().for_each(|event| self.apply(event));
        Ok(effects)
    }

    /// A stored event that no decision of ours could have made is refused.
    fn check(&self, event: &Event) -> Result<(), Error> {
        let fits = match event {
            Event::Opened { .. } => false,
            Event::Funded { funding, .. } => funding.capacity >= self.params.min_deposit,
            Event::Attached { .. } | Event::Stopped => true,
            Event::Accepted(paid) => self.params.is_rung(paid.lock) && self.is_signed(paid),
            Event::Closing(paid) => self.is_signed(paid),
            Event::Delivered(quantity) => self.params.tariff.cost(*quantity).is_some(),
            Event::Spent(_) => self.funding.is_some(),
            Event::Released => self.stopped && self.owes_nothing(),
        };
        if fits { Ok(()) } else { Err(CORRUPTED) }
    }

    fn is_signed(&self, paid: &Paid) -> bool {
        self.funding.is_some_and(|funding| paid.verify(&self.params, &funding).is_ok())
    }

    /// Nothing was delivered, and no end at more than nothing is agreed.
    fn owes_nothing(&self) -> bool {
        self.meter.delivered() == 0 && self.closing.is_none_or(|paid| paid.cumulative == Amount::ZERO)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => {}
            Event::Funded { funding, deep } => {
                self.funding = Some(funding);
                self.deep = deep;
            }
            Event::Attached { epoch } => self.epoch = epoch,
            Event::Accepted(paid) => self.accepted = Some(paid),
            Event::Delivered(quantity) => self.meter.advance(quantity),
            Event::Stopped => self.stopped = true,
            Event::Closing(paid) => self.closing = Some(paid),
            Event::Spent(txid) => self.spent = txid,
            Event::Released => self.released = true,
        }
    }

    fn step(&self, events: Vec<Event>, effects: Vec<Effect>) -> Step {
        Decision::new(self.id, self.version, events, effects)
    }

    // ---- what others may know ----

    /// The channel's name.
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// What was agreed.
    pub const fn params(&self) -> &ChannelParams {
        &self.params
    }

    /// Which of the operator's keys signs for it.
    pub const fn key_index(&self) -> u32 {
        self.key_index
    }

    /// Counts the sessions; a session of another epoch is fenced off.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Counts the changes of this machine since it was made or loaded.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What funds it.
    pub const fn funding(&self) -> Option<&Funding> {
        self.funding.as_ref()
    }

    /// Whether the funding, when last seen, had the agreed confirmations. A reorganisation can take them away.
    pub const fn is_deep(&self) -> bool {
        self.deep
    }

    /// The highest durable cumulative payment.
    pub fn accepted(&self) -> Amount {
        self.accepted.map_or(Amount::ZERO, |paid| paid.cumulative)
    }

    /// Delivered so far, in the tariff's base quantity.
    pub const fn delivered(&self) -> u64 {
        self.meter.delivered()
    }

    /// What the delivered costs.
    pub fn owed(&self) -> Msat {
        // The meter never advances past what can be priced.
        self.meter.owed().unwrap_or(Msat::MAX_MONEY)
    }

    /// The payment to settle at, once the channel closes.
    pub const fn closing(&self) -> Option<&Paid> {
        self.closing.as_ref()
    }

    /// What there is to settle: the channel is closing at more than nothing. Look again after every start; the effect
    /// [`Effect::Settle`] may have been lost in a crash. It stays when something spends the funding: a reorganisation can
    /// undo that, and a rival that waits can be outbid.
    pub fn collectable(&self) -> Option<(Funding, Paid)> {
        self.funding.zip(self.closing).filter(|(_, paid)| paid.cumulative > Amount::ZERO && !self.released)
    }

    /// When a channel whose payer has gone is settled at its last payment.
    pub fn deadline(&self) -> Deadline {
        Deadline::new(&self.params, self.lowest_lock())
    }

    /// The height of the [`Payee::deadline`] at these fees.
    pub fn due_height(&self, surge: Surge) -> u32 {
        self.deadline().height(surge)
    }

    /// The lock of the first transaction that the payer holds against the final payment: the refund's, or an older payment's.
    /// Its copy of the newest payment is none, unless the end that both agreed on is worth more.
    pub fn rival_lock(&self) -> u32 {
        let Some((ladder, newest)) = self.params.kind.ladder().zip(self.lowest_lock()) else {
            return self.params.expiry;
        };
        if self.closing.is_some_and(|paid| paid.cumulative > self.accepted()) {
            return newest;
        }
        newest.saturating_add(ladder.step.into()).min(self.params.expiry)
    }

    /// How many payments can still be made; `None` where there is no bound.
    pub fn updates_left(&self) -> Option<u32> {
        self.params.updates_left(self.accepted.map(|paid| paid.lock))
    }

    /// In a `timelock` channel, the lowest lock of a transaction of the payer's: the last payment's, or the refund's.
    fn lowest_lock(&self) -> Option<u32> {
        self.params.kind.ladder()?;
        Some(self.accepted.map_or(self.params.expiry, |paid| paid.lock))
    }

    /// What a payment that comes now is to be locked to.
    fn next_lock(&self, now: Moment) -> Result<u32, Error> {
        let lock = self.params.next_lock(self.accepted.map(|paid| paid.lock))?;
        if self.params.kind.ladder().is_some() {
            self.check_ahead(lock, now)?
        }
        Ok(lock)
    }

    /// Refuses what would become valid before there was time to act.
    fn check_ahead(&self, height: u32, now: Moment) -> Result<(), Error> {
        if height.saturating_sub(now.surge.margins(&self.params).stop) <= now.tip {
            return Err(self.conflict(Code::Expiring, "the channel is too close to its expiry"));
        }
        Ok(())
    }

    /// Whether the payer was granted the whole funding: there is nothing to settle.
    pub const fn is_released(&self) -> bool {
        self.released
    }

    /// The transaction that spent the funding, as last seen.
    pub const fn spent(&self) -> Option<Txid> {
        self.spent
    }

    /// Where the channel stands, as a peer may know it.
    pub fn state(&self) -> ChannelState {
        ChannelState {
            funding: self.funding,
            paid: self.accepted,
            delivered: self.meter.delivered(),
            stopped: self.stopped,
            closing: self.closing,
        }
    }

    fn accepted_msat(&self) -> Msat {
        // A payment never exceeds a capacity, and a capacity never exceeds all money.
        Msat::from_amount(self.accepted()).unwrap_or(Msat::ZERO)
    }

    fn conflict(&self, code: Code, text: &'static str) -> Error {
        Error::new(code, text).with(Detail::State(Box::new(self.state())))
    }

    /// Whether content may be delivered and payments taken: not inside the stop margin, as long as it is at these fees.
    ///
    /// # Errors
    /// [`Code::NotFunded`], [`Code::Closing`], [`Code::Expiring`].
    pub fn check_serving(&self, now: impl Into<Moment>) -> Result<Funding, Error> {
        if self.stopped || self.closing.is_some() || self.spent.is_some() {
            return Err(self.conflict(Code::Closing, "the channel is closing"));
        }
        self.check_ahead(self.lowest_lock().unwrap_or(self.params.expiry), now.into())?;
        let deep = self.funding.filter(|_| self.deep);
        deep.ok_or_else(|| self.conflict(Code::NotFunded, "the deposit is not confirmed deeply enough"))
    }

    // ---- decisions ----

    /// The chain shows these outputs at the channel's address (all of them, spent ones left out). Picks the one that
    /// funds the channel, once; what else was paid to the address is the payer's to take back after expiry.
    ///
    /// # Errors
    /// [`Code::DepositTooSmall`], with the least deposit, where nothing that arrived is enough.
    pub fn funding_seen(&self, outputs: &[SeenOutput], tip: u32) -> Result<Step, Error> {
        let own = |output: &&SeenOutput| self.funding.is_some_and(|funding| funding == output.funding);
        let enough = |output: &&SeenOutput| output.funding.capacity >= self.params.min_deposit;
        let best = outputs.iter().find(own).or_else(|| {
            let enough = outputs.iter().filter(|_| !self.is_pinned()).filter(enough);
            enough.max_by_key(|output| (output.confirmations, output.funding.outpoint))
        });
        let (events, seen) = match best {
            Some(best) => {
                let deep = best.confirmations >= self.params.confirmations.into();
                // Before anything is at stake a deposit counts only once it is deep; later its depth can fall, too.
                let known = self.funding == Some(best.funding);
                let news = if known { deep != self.deep } else { deep };
                let events = if news { vec![Event::Funded { funding: best.funding, deep }] } else { vec![] };
                (events, (Some(best.funding), best.confirmations))
            }
            None if outputs.is_empty() || self.funding.is_some() => {
                let gone = self.funding.filter(|_| self.deep).map(|funding| Event::Funded { funding, deep: false });
                (gone.into_iter().collect(), (None, 0))
            }
            None => {
                return Err(Error::new(Code::DepositTooSmall, "what arrived is too small to be served")
                    .with(Detail::Amount(self.params.min_deposit)));
            }
        };
        let (funding, confirmations) = seen;
        Ok(self.step(events, vec![Effect::Send(Message::FundingSeen { funding, confirmations, tip })]))
    }

    /// A socket claims the channel: with the payer's signature over the socket's challenge it becomes the one session.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn attach(&self, challenge: &[u8; 32], signature: &Signature, token: Token) -> Result<Step, Error> {
        verify_attach(&self.params.payer, &self.id, challenge, signature)?;
        let epoch = self.epoch.saturating_add(1);
        let reply = Message::Attached { epoch, token, state: Box::new(self.state()) };
        Ok(self.step(vec![Event::Attached { epoch }], vec![Effect::Send(reply)]))
    }

    /// Whether `more` of the base quantity is covered by what was paid.
    ///
    /// # Errors
    /// As [`Payee::check_serving`]; [`Code::DepositSpent`] where the deposit can never cover it,
    /// [`Code::PieceTooLarge`] where `more` is beyond the window, [`Code::UpdatesSpent`] where no payment is left.
    pub fn cover(&self, more: u64, now: impl Into<Moment>) -> Result<Cover, Error> {
        let now = now.into();
        let funding = self.check_serving(now)?;
        if more > self.params.tariff.window_quantity() {
            return refuse(Code::PieceTooLarge, "this piece is larger than the window: no payer would pay for it");
        }
        let upto = self.meter.after(more)?;
        let cost = self.params.tariff.cost(upto).ok_or(DEPOSIT_SPENT)?;
        if cost <= self.accepted_msat() {
            return Ok(Cover::Paid);
        }
        if cost.to_amount_ceil() > self.params.spendable(funding.capacity) {
            return Err(DEPOSIT_SPENT);
        }
        self.next_lock(now)?;
        Ok(Cover::Need(Message::Need { upto, delivered: self.meter.delivered() }))
    }

    /// Counts `more` as delivered. Release the content only after this is committed.
    ///
    /// # Errors
    /// As [`Payee::cover`]; [`Code::NotPaid`] where it is not paid.
    pub fn release(&self, more: u64, now: impl Into<Moment>) -> Result<Step, Error> {
        match self.cover(more, now)? {
            Cover::Paid => Ok(self.step(vec![Event::Delivered(self.meter.after(more)?)], vec![])),
            Cover::Need(_) => refuse(Code::NotPaid, "this is not paid for"),
        }
    }

    /// The payer pays. A repeat of the last payment is acknowledged again and changes nothing.
    ///
    /// # Errors
    /// As [`Payee::check_serving`]; [`Code::CumulativeFell`], [`Code::ExceedsCapacity`], [`Code::WrongLock`],
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn pay(&self, paid: Paid, now: impl Into<Moment>) -> Result<Step, Error> {
        let now = now.into();
        let funding = self.check_serving(now)?;
        let ack = Message::Ack { cumulative: paid.cumulative, delivered: self.meter.delivered() };
        let mut effects = vec![Effect::Send(ack)];
        if self.params.kind.ladder().is_some() {
            effects.push(Effect::Countersign);
        }
        if paid.cumulative < self.accepted() {
            return Err(self.conflict(Code::CumulativeFell, "less than was paid already"));
        }
        if paid.cumulative == self.accepted() {
            return Ok(self.step(vec![], effects));
        }
        self.check_lock(&paid, now)?;
        paid.verify(&self.params, &funding)?;
        Ok(self.step(vec![Event::Accepted(paid)], effects))
    }

    /// A payment's commitment has to be valid before all earlier ones, and not yet. Rungs may be left out: a payment can
    /// be lost.
    fn check_lock(&self, paid: &Paid, now: Moment) -> Result<(), Error> {
        let lower = self.lowest_lock().is_none_or(|lowest| paid.lock < lowest);
        if !lower || !self.params.is_rung(paid.lock) {
            return Err(self.conflict(Code::WrongLock, "this commitment's lock time is not the next one"));
        }
        if self.params.kind.ladder().is_some() { self.check_ahead(paid.lock, now) } else { Ok(()) }
    }

    /// Signs the payer's copy of the newest commitment of a `timelock` channel; `None` where there is none.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not the channel's.
    pub fn countersign(&self, key: &Key) -> Result<Option<Message>, Error> {
        let (Some(_), Some(funding), Some(paid)) = (self.params.kind.ladder(), self.funding, self.accepted) else {
            return Ok(None);
        };
        Grant::sign(&self.params, funding, paid.lock, paid.cumulative, key).map(Message::Granted).map(Some)
    }

    /// The payer of a `timelock` channel is about to fund it with this output: it may take it back after the expiry.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] in a channel of another kind, [`Code::WrongKey`], [`Code::DepositTooSmall`],
    /// [`Code::DepositTooLarge`].
    pub fn fund(&self, funding: Funding, key: &Key) -> Result<Step, Error> {
        if self.params.kind.ladder().is_none() {
            return refuse(Code::UnexpectedMessage, "in a channel of this kind the refund needs no grant");
        }
        self.params.check_deposit(funding.capacity)?;
        let grant = Grant::sign(&self.params, funding, self.params.expiry, Amount::ZERO, key)?;
        Ok(self.step(vec![], vec![Effect::Send(Message::Granted(grant))]))
    }

    /// The payer asks for a deposit back for which nothing was delivered. If it is the channel's funding, that ends the
    /// channel. Asking again repeats the answer.
    ///
    /// # Errors
    /// [`Code::NotReclaimable`] with the state: something was delivered or is to be settled, or this output may yet
    /// become the funding. [`Code::WrongKey`].
    pub fn reclaim(&self, output: Funding, key: &Key) -> Result<Step, Error> {
        let own = self.funding.is_some_and(|funding| funding.outpoint == output.outpoint);
        let stray = if self.is_pinned() { !own } else { output.capacity < self.params.min_deposit };
        let events = match () {
            () if stray || (own && self.released) => vec![],
            () if own && self.owes_nothing() && self.spent.is_none() => {
                let stop = (!self.stopped).then_some(Event::Stopped);
                stop.into_iter().chain([Event::Released]).collect()
            }
            () => return Err(self.conflict(Code::NotReclaimable, "this deposit is still needed")),
        };
        let grant = Grant::sign(&self.params, output, 0, Amount::ZERO, key)?;
        Ok(self.step(events, vec![Effect::Send(Message::Granted(grant))]))
    }

    /// The funding is chosen for good: one that was paid on, or whose end was asked for, is never exchanged for another.
    const fn is_pinned(&self) -> bool {
        self.funding.is_some() && (self.accepted.is_some() || self.stopped || self.closing.is_some())
    }

    /// The payer wants to end: nothing more is delivered. Asking again repeats the answer.
    ///
    /// # Errors
    /// [`Code::NotFunded`] where there is nothing to end.
    pub fn stop(&self) -> Result<Step, Error> {
        if self.funding.is_none() {
            return Err(self.conflict(Code::NotFunded, "the deposit is not confirmed yet"));
        }
        let events = if self.stopped { vec![] } else { vec![Event::Stopped] };
        Ok(self.step(events, vec![Effect::Send(Message::Stopped { delivered: self.meter.delivered() })]))
    }

    /// The payer names the final amount. Closing again at the same amount repeats the answer.
    ///
    /// # Errors
    /// [`Code::NotFunded`], [`Code::Closing`] for another amount than the first, [`Code::CloseBelowDelivered`],
    /// [`Code::WrongLock`], [`Code::ExceedsCapacity`], [`Code::InvalidSignature`], [`Code::HighS`]; conflicts carry the
    /// state.
    pub fn close(&self, paid: Paid, node: &Key) -> Result<Step, Error> {
        let funding = self.funding.ok_or_else(|| self.conflict(Code::NotFunded, "the deposit is not confirmed yet"))?;
        let statement = Statement { channel: self.id, funding, cumulative: paid.cumulative };
        let closed = || Message::Closed { cumulative: paid.cumulative, signature: statement.sign(node) };
        if let Some(first) = &self.closing {
            if first.cumulative == paid.cumulative {
                return Ok(self.step(vec![], vec![Effect::Send(closed())]));
            }
            return Err(self.conflict(Code::Closing, "the channel is closing at another amount"));
        }
        if self.released {
            return Err(self.conflict(Code::Closing, "the deposit was given back"));
        }
        if paid.lock != 0 {
            return Err(self.conflict(Code::WrongLock, "the final payment has no lock time"));
        }
        if paid.cumulative < self.owed().to_amount_ceil() {
            return Err(self.conflict(Code::CloseBelowDelivered, "less than what was delivered"));
        }
        paid.verify(&self.params, &funding)?;
        Ok(self.step(vec![Event::Closing(paid)], vec![Effect::Send(closed()), Effect::Settle]))
    }

    /// The payer is gone and time runs out, the sooner the higher the fees: settle at the last payment. `None` while there is
    /// time, or nothing to take.
    pub fn expire(&self, now: impl Into<Moment>) -> Option<Step> {
        let now = now.into();
        let over = self.closing.is_some() || self.spent.is_some() || self.released;
        let due = now.tip >= self.due_height(now.surge) && !over;
        let paid = self.accepted.filter(|_| due)?;
        Some(self.step(vec![Event::Closing(paid)], vec![Effect::Settle]))
    }

    /// The chain shows the funding spent by `txid` (or, after a reorganisation, spent no more).
    pub fn spent_seen(&self, txid: Option<Txid>, confirmations: u32) -> Step {
        let news = self.funding.is_some() && self.spent != txid;
        let events = if news { vec![Event::Spent(txid)] } else { vec![] };
        let tell = txid.map(|txid| Effect::Send(Message::Settled { txid, confirmations }));
        self.step(events, tell.into_iter().collect())
    }
}

const CORRUPTED: Error = Error::new(Code::CorruptedStore, "what is stored about this channel does not fit together");
const DEPOSIT_SPENT: Error = Error::new(Code::DepositSpent, "the deposit does not cover this");
