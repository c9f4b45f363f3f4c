//! The payer's side of a `cltv` channel: pays for what it receives, ends, takes the rest back.
//!
//! ```text
//!          funding_seen          stop              stopped             closed
//!  opened ─────────────> open ─────────> stopping ─────────> closing ─────────> closed ──> settled (spent_seen)
//!                         any of them, from expiry on: refund ──> refunded
//! ```
//!
//! Safety, whatever the peer says: a `need` is paid only up to what was received plus the agreed window at the agreed
//! price, within the viewer's own limits, and never while paused; a peer's claim about earlier payments counts only with
//! the payer's own valid signature; the final amount is what was delivered, within the same window.

mod event;
mod open;
#[cfg(test)]
mod tests;

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, FeeRate, Transaction};

pub use event::{Event, Spend};
pub use open::Request;

use crate::amount::Msat;
use crate::budget::{Budget, Spent};
use crate::commitment::{self, Funding, Paid};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::params::{ChannelId, ChannelParams, Statement, sign_attach};
use crate::payee::SeenOutput;
use crate::persist::{Decision, Saved, StoredEvent};
use crate::refund;
use crate::tariff::Meter;
use crate::wire::{ChannelState, Message};

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
    budget: Budget,
    /// What has arrived, as this side counts it.
    received: Meter,
    /// The payee's count was taken over once, after a reload.
    resumed: bool,
    paused: bool,
}

impl Payer {
    /// The machine of a channel just opened. `key` is the request's key.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] if the decision is not one of [`Request::opened`].
    pub fn create(saved: Saved<Event, Effect>, key: Key, budget: Budget) -> Result<Self, Error> {
        let (_, events, _) = saved.into_parts();
        let mut payer = Self::replay(events, key, budget)?;
        payer.resumed = true;
        Ok(payer)
    }

    /// The machine as its stored events tell it. Whatever does not fit together is refused. The books of what was spent
    /// before are taken from the newest of `budget` and the stored payment.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`], [`Code::WrongKey`] for a key that is not the channel's.
    pub fn replay(events: impl IntoIterator<Item = Event>, key: Key, budget: Budget) -> Result<Self, Error> {
        let mut events = events.into_iter();
        let Some(Event::Opened { params, node, signature, key_index, deposit }) = events.next() else {
            return refuse(Code::CorruptedStore, "a stored channel does not begin with its opening");
        };
        params.validate().map_err(|_| CORRUPTED)?;
        params.verify(&node, &signature).map_err(|_| CORRUPTED)?;
        if params.payer != key.public() {
            return refuse(Code::WrongKey, "these words are not those of the stored channel");
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
            budget,
            received,
            resumed: false,
            paused: false,
        };
        let mut last_slot = 0;
        for event in events {
            if event.slot() <= last_slot {
                return Err(CORRUPTED);
            }
            last_slot = event.slot();
            payer.check(&event)?;
            // What an earlier page spent belongs to its session, not to this one's.
            if let Event::Paid { spent, .. } = &event
                && spent.site >= payer.budget.spent().site
            {
                payer.budget.resume(*spent);
            }
            payer.apply(event);
        }
        Ok(payer)
    }

    /// Takes a stored decision over into the state and releases its effects.
    ///
    /// # Errors
    /// [`Code::StaleDecision`] where the state has changed since the decision.
    pub fn commit(&mut self, saved: Saved<Event, Effect>) -> Result<Vec<Effect>, Error> {
        let (base, events, effects) = saved.into_parts();
        if base != self.version {
            return refuse(Code::StaleDecision, "the channel has changed since this was decided");
        }
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
            Event::Paid { paid, received, .. } => signed(paid) && self.params.tariff.cost(*received).is_some(),
            Event::Stopping => self.funding.is_some(),
            Event::Closing(paid) => signed(paid),
            Event::Closed(signature) => self.statement().is_some_and(|s| s.verify(&self.node, signature).is_ok()),
            Event::Spent(_) => true,
        };
        if fits { Ok(()) } else { Err(CORRUPTED) }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => {}
            Event::Funded(funding) => self.funding = Some(funding),
            Event::Paid { paid, received, spent } => {
                self.paid = Some(paid);
                self.received.advance(received);
                self.budget.book(spent);
            }
            Event::Stopping => self.stopping = true,
            Event::Closing(paid) => self.closing = Some(paid),
            Event::Closed(signature) => self.closed = Some(signature),
            Event::Spent(spend) => self.spend = spend,
        }
    }

    fn step(&self, events: Vec<Event>, effects: Vec<Effect>) -> Step {
        Decision::new(self.version, events, effects)
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

    /// The largest cumulative quantity that may be asked for now.
    fn horizon(&self) -> u64 {
        self.received().saturating_add(self.params.tariff.window_quantity())
    }

    // ---- what the page tells ----

    /// Content of this quantity has arrived.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a quantity that cannot be priced.
    pub fn receive(&mut self, quantity: u64) -> Result<(), Error> {
        let total =
            self.received.after(quantity).map_err(|_| Error::new(Code::InvalidArgument, "an absurd quantity"))?;
        self.received.advance(total);
        Ok(())
    }

    /// Pauses (no payment is signed) or goes on.
    pub const fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    // ---- decisions ----

    /// The message that makes a socket, known by its challenge, the channel's session.
    pub fn attach(&self, challenge: &[u8; 32]) -> Message {
        let signature = sign_attach(&self.key, &self.id, challenge);
        Message::Attach { channel: self.id, signature }
    }

    /// The payee tells where it thinks the channel stands. A payment is adopted only with our own valid signature; after a
    /// reload the payee's count of what was delivered is taken over once, as far as it is paid.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`] (and the like) for a payment that we never signed.
    pub fn attached(&mut self, state: &ChannelState) -> Result<Step, Error> {
        let mut events = vec![];
        // Only what bears our signature counts as paid; before there is a deposit, nothing can.
        let mut highest = self.paid();
        if let (Some(funding), Some(theirs)) = (&self.funding, &state.paid)
            && theirs.cumulative > highest
        {
            theirs.verify(&self.params, funding)?;
            highest = theirs.cumulative;
            events.push(Event::Paid { paid: *theirs, received: self.received(), spent: self.budget.spent() });
        }
        if !self.resumed {
            self.resumed = true;
            let paid_for = self.params.tariff.covered(Msat::from_amount(highest).unwrap_or(Msat::ZERO));
            self.received.advance(state.delivered.min(paid_for));
        }
        let mut effects = vec![];
        // Go on where a reload or a lost connection broke off.
        match (&self.closing, self.stopping) {
            (Some(closing), _) if self.closed.is_none() => effects.push(Effect::Send(Message::Close(*closing))),
            (None, true) => effects.push(Effect::Send(Message::Stop)),
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
        let agreed = seen.iter().any(|output| output.funding == *told && deep(output));
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
    /// [`Code::OverBudget`].
    pub fn need(&self, upto: u64, delivered: u64, now: u64) -> Result<Step, Error> {
        if self.paused {
            return refuse(Code::Paused, "paused: nothing is paid");
        }
        if self.phase() != Phase::Open && self.phase() != Phase::Opened {
            return refuse(Code::Closing, "the channel is closing");
        }
        let funding = self.funding.ok_or(Error::new(Code::NotFunded, "the deposit is not confirmed yet"))?;
        if upto.max(delivered) > self.horizon() {
            return refuse(Code::AheadOfDelivery, "the server asks for more than it has delivered");
        }
        let cumulative = self
            .params
            .tariff
            .cost(upto)
            .map(Msat::to_amount_ceil)
            .filter(|cost| *cost <= self.params.spendable(funding.capacity))
            .ok_or(Error::new(Code::DepositSpent, "the deposit does not cover this"))?;
        if let Some(last) = self.paid.filter(|last| last.cumulative >= cumulative) {
            return Ok(self.step(vec![], vec![Effect::Send(Message::Pay(last))]));
        }
        let more = cumulative.checked_sub(self.paid()).and_then(Msat::from_amount).ok_or(CORRUPTED)?;
        let spent = self.budget.reserve(more, now)?;
        let paid = commitment::pay(&self.params, &funding, cumulative, &self.key)?;
        let event = Event::Paid { paid, received: self.received(), spent };
        Ok(self.step(vec![event], vec![Effect::Send(Message::Pay(paid))]))
    }

    /// The viewer ends.
    ///
    /// # Errors
    /// [`Code::NotFunded`], [`Code::Closing`] where the end has been agreed already.
    pub fn stop(&self) -> Result<Step, Error> {
        if self.funding.is_none() {
            return refuse(Code::NotFunded, "there is nothing to end: no deposit has arrived");
        }
        match self.phase() {
            Phase::Open => Ok(self.step(vec![Event::Stopping], vec![Effect::Send(Message::Stop)])),
            Phase::Stopping => Ok(self.step(vec![], vec![Effect::Send(Message::Stop)])),
            _ => refuse(Code::Closing, "the channel is closing"),
        }
    }

    /// The payee tells its final count: sign exactly that, if it is within what was paid and received.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] where nobody asked, [`Code::AheadOfDelivery`].
    pub fn stopped(&self, delivered: u64) -> Result<Step, Error> {
        let (Phase::Stopping, Some(funding)) = (self.phase(), self.funding) else {
            return refuse(Code::UnexpectedMessage, "no end was asked for");
        };
        let owed = self.params.tariff.cost(delivered).map(Msat::to_amount_ceil);
        let owed = owed.filter(|owed| delivered <= self.horizon() && *owed <= self.paid());
        let Some(owed) = owed else {
            return refuse(Code::AheadOfDelivery, "the server counts more than it has delivered");
        };
        let paid = commitment::pay(&self.params, &funding, owed, &self.key)?;
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

    /// After expiry: takes back every output at the address. `tip` is the height of the best block.
    ///
    /// # Errors
    /// [`Code::NotExpired`] with the height, [`Code::NothingToDo`], [`Code::Uneconomic`].
    pub fn refund(&self, outputs: &[Funding], fee_rate: FeeRate, tip: u32) -> Result<Step, Error> {
        if tip < self.params.expiry {
            return Err(Error::new(Code::NotExpired, "nothing can be taken back before the expiry")
                .with(Detail::Height(self.params.expiry)));
        }
        let transaction = refund::refund(&self.params, outputs, fee_rate, &self.key)?;
        let returned = transaction.output.first().map_or(Amount::ZERO, |output| output.value);
        let spend = Spend { txid: transaction.compute_txid(), returned, refund: true, confirmed: false };
        Ok(self.step(vec![Event::Spent(Some(spend))], vec![Effect::Broadcast(transaction)]))
    }

    /// Signed refunds of `outputs` at several fee rates, for the viewer to keep.
    ///
    /// # Errors
    /// As [`refund::refund_kit`].
    pub fn refund_kit(&self, outputs: &[Funding]) -> Result<Vec<refund::KitEntry>, Error> {
        refund::refund_kit(&self.params, outputs, &self.key)
    }
}

const CORRUPTED: Error = Error::new(Code::CorruptedStore, "what is stored about this channel does not fit together");
