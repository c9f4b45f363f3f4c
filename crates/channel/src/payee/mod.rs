//! The payee's side of a `cltv` channel: takes payments, counts deliveries, settles.
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
//! `stop` may be left out: `close` does by itself. Every method is a pure decision (see [`crate::persist`]); chain heights come in as arguments.

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
use crate::keys::Key;
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
            Event::Accepted(paid) | Event::Closing(paid) => {
                self.funding.is_some_and(|funding| paid.verify(&self.params, &funding).is_ok())
            }
            Event::Delivered(quantity) => self.params.tariff.cost(*quantity).is_some(),
            Event::Spent(_) => self.funding.is_some(),
        };
        if fits { Ok(()) } else { Err(CORRUPTED) }
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

    /// What is to be settled: the channel is closing and nothing spends its funding. Look again after every start; the
    /// effect [`Effect::Settle`] may have been lost in a crash.
    pub fn unsettled(&self) -> Option<(Funding, Paid)> {
        self.funding.zip(self.closing).filter(|_| self.spent.is_none())
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

    /// Whether content may be delivered and payments taken, at this height.
    ///
    /// # Errors
    /// [`Code::NotFunded`], [`Code::Closing`], [`Code::Expiring`].
    pub fn check_serving(&self, tip: u32) -> Result<Funding, Error> {
        if self.stopped || self.closing.is_some() || self.spent.is_some() {
            return Err(self.conflict(Code::Closing, "the channel is closing"));
        }
        if tip >= self.params.stop_height() {
            return Err(self.conflict(Code::Expiring, "the channel is too close to its expiry"));
        }
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
        // A funding that was paid on is never exchanged for another one.
        let pinned = self.accepted.is_some() || self.stopped || self.closing.is_some();
        let best = outputs.iter().find(own).or_else(|| {
            let enough = outputs.iter().filter(|_| !pinned).filter(enough);
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
    /// [`Code::PieceTooLarge`] where `more` is beyond the window.
    pub fn cover(&self, more: u64, tip: u32) -> Result<Cover, Error> {
        let funding = self.check_serving(tip)?;
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
        Ok(Cover::Need(Message::Need { upto, delivered: self.meter.delivered() }))
    }

    /// Counts `more` as delivered. Release the content only after this is committed.
    ///
    /// # Errors
    /// As [`Payee::cover`]; [`Code::NotPaid`] where it is not paid.
    pub fn release(&self, more: u64, tip: u32) -> Result<Step, Error> {
        match self.cover(more, tip)? {
            Cover::Paid => Ok(self.step(vec![Event::Delivered(self.meter.after(more)?)], vec![])),
            Cover::Need(_) => refuse(Code::NotPaid, "this is not paid for"),
        }
    }

    /// The payer pays. A repeat of the last payment is acknowledged again and changes nothing.
    ///
    /// # Errors
    /// As [`Payee::check_serving`]; [`Code::CumulativeFell`], [`Code::ExceedsCapacity`], [`Code::InvalidSignature`],
    /// [`Code::HighS`].
    pub fn pay(&self, paid: Paid, tip: u32) -> Result<Step, Error> {
        let funding = self.check_serving(tip)?;
        let ack = Message::Ack { cumulative: paid.cumulative, delivered: self.meter.delivered() };
        if paid.cumulative < self.accepted() {
            return Err(self.conflict(Code::CumulativeFell, "less than was paid already"));
        }
        if paid.cumulative == self.accepted() {
            return Ok(self.step(vec![], vec![Effect::Send(ack)]));
        }
        paid.verify(&self.params, &funding)?;
        Ok(self.step(vec![Event::Accepted(paid)], vec![Effect::Send(ack)]))
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
    /// [`Code::ExceedsCapacity`], [`Code::InvalidSignature`], [`Code::HighS`]; conflicts carry the state.
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
        if paid.cumulative < self.owed().to_amount_ceil() {
            return Err(self.conflict(Code::CloseBelowDelivered, "less than what was delivered"));
        }
        paid.verify(&self.params, &funding)?;
        Ok(self.step(vec![Event::Closing(paid)], vec![Effect::Send(closed()), Effect::Settle]))
    }

    /// The payer is gone and time runs out: settle at the last payment. `None` while there is time, or nothing to take.
    pub fn expire(&self, tip: u32) -> Option<Step> {
        let due = tip >= self.params.close_height() && self.closing.is_none() && self.spent.is_none();
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
