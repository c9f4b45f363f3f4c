//! The holder's side of a channel with a counterparty (BOLT 2): opens it, pays both ways, revokes, takes up broken
//! connections, closes. One machine for both roles; it speaks Lightning's messages and nothing else.
//!
//! ```text
//!  Proposal ── accept_channel ──> Unfunded ── funding_created ──> Pending ── funding_signed ──┐
//!                                                                                             v
//!  Accepted ── funding_created ────────────────────────────────────────────────────────────> Holder
//!  funding::Negotiation ── tx_complete, both ────────────────────────────────────────────────┘ where both fund it
//!
//!           channel_ready       shutdown, both      closing_signed
//!  Holder:  ────────────> open ──────────────> quiet ─────────────> closed
//!                           │   a breach, an error, time          ┌───────> failed: the newest commitment is broadcast
//!                           └─────────────────────────────────────┘
//! ```
//!
//! Every method is a pure decision (see [`crate::persist`]). What only counts once the counterparty has signed for it is
//! not stored: a connection that breaks takes it away (BOLT 2, "Message Retransmission"). A revocation, a signature and
//! the acknowledgement of a preimage leave after they are stored.
//!
//! **A refusal** changes nothing. [`Holder::reaction`] says what BOLT 2 wants to be done about it: tell the counterparty and
//! disconnect, or fail the channel ([`Holder::fail`]).
//!
//! **Restored from a copy** ([`Holder::restore`]) a holder can no longer know which of its commitments it has revoked. It
//! never broadcasts one again; where the counterparty has to close, it is asked to.

#[cfg(feature = "testing")]
mod aged;
mod close;
mod draft;
pub mod funding;
mod onchain;
mod open;
mod reestablish;
mod second;
mod state;
mod terms;
mod update;

use bitcoin::{FeeRate, Transaction, TxOut};
use rillpay_wire::Message;
use rillpay_wire::types::OnionPacket;

use crate::amount::Msat;
use crate::error::{Code, Error, Fault, refuse};
use crate::persist::{Decision, Saved};
use crate::revocable::channel::{Channel, Role};
use crate::revocable::commitment::{Htlc, State as Commitment};
use crate::revocable::htlc::Preimage;
use crate::revocable::keys::BaseKeys;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::penalty::Revoked;
use crate::revocable::updates::Updates;
use draft::Draft;
use state::State;

pub use draft::concerns;
pub use onchain::{OnChain, SecondStage, Spending};
pub use open::{Accepted, Pending, Proposal, Unfunded};
pub use second::SecondStages;
pub use state::{End, Failure};
pub use terms::Terms;
pub use update::Payment;

/// What a holder stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything that it has to know after a restart. It replaces the one before.
    Held(Vec<u8>),
    /// The counterparty revoked the commitment with this state. Its payments, where it has any, are to be kept for the channel's
    /// whole life, by its number: should it be broadcast, they take its outputs ([`crate::revocable::penalty`]). The rest is for
    /// whoever makes a kit of it ([`Holder::revoked`]).
    Revoked(Commitment),
}

/// What a holder wants done, once its events are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the counterparty.
    Send(Box<Message>),
    /// The funding is safe to broadcast: the counterparty's signature lets it come back. Where both fund it,
    /// [`funding::Signing::whole`] is what to broadcast.
    Fund,
    /// Broadcast this, and see to it that it confirms.
    Broadcast(Transaction),
    /// Payments can be made from now on.
    Ready,
    /// A payment to us holds for good: to be fulfilled, failed or forwarded. [`Holder::received`] has those of before.
    Received(u64, Htlc, OnionPacket),
    /// What was offered has this number.
    Offered(u64),
    /// Our payment with this number was lost with the connection before it was signed for: it has not been offered. After a
    /// restart, those that [`Updates::offered`] does not have, and [`Holder::outcomes`] neither, were dropped so.
    Dropped(u64),
    /// The counterparty took our payment with this number and preimage. It pays for what we received upstream at once.
    /// [`Holder::learned`] and [`Holder::outcomes`] have those of before.
    Preimage(u64, Preimage),
    /// The counterparty gave us so much, for good, since the last time. [`Holder::direct`] has the sum.
    Paid(Msat),
    /// We gave the counterparty so much, for good, since the last time.
    Given(Msat),
    /// Our payment with this number is gone for good: taken, or sent back for this reason. [`Holder::outcomes`] has it until
    /// [`Holder::acknowledge`].
    Resolved(u64, Htlc, Result<Preimage, Failure>),
    /// The channel closed by agreement, or failed.
    Ended(End),
}

/// A holder's decision.
pub type Step = Decision<Event, Act>;

/// A part of a decision, released by [`Holder::commit`].
#[derive(Debug)]
pub struct Act(Inner);

#[derive(Debug)]
enum Inner {
    Adopt(Box<State>),
    Do(Box<Effect>),
}

/// What BOLT 2 asks for after a refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Send a `warning` and close the connection; the channel goes on with the next one.
    Warn,
    /// Fail the channel: [`Holder::fail`].
    Fail,
}

/// One channel, from the holder's side.
#[derive(Debug)]
pub struct Holder {
    version: u64,
    state: State,
}

impl Holder {
    /// The machine of a channel just funded, and what to do now.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] if the decision is of another kind.
    pub fn create(saved: Saved<Event, Act>) -> Result<(Self, Vec<Effect>), Error> {
        let (_, acts) = saved.into_parts();
        let (state, effects) = released(acts);
        let state = state.ok_or(Error::new(Code::CorruptedStore, "a channel does not begin with this decision"))?;
        Ok((Self { version: 1, state: *state }, effects))
    }

    /// The machine as [`Event::Held`] tells it, after a restart.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub fn load(held: &[u8]) -> Result<Self, Error> {
        Ok(Self { version: 1, state: State::decode(held)? })
    }

    /// What is to be stored, and then loaded, in place of a copy that may be old: a machine that broadcasts no commitment any more.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub fn restore(copy: &[u8]) -> Result<Vec<u8>, Error> {
        let mut state = State::decode(copy)?;
        state.is_copy = true;
        Ok(state.encode())
    }

    /// A copy that knows no more than what was fixed when the channel opened, for where there is no room for the rest: it is as
    /// old as copies get. To be stored and loaded as what [`Holder::restore`] gives.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub fn forget(copy: &[u8]) -> Result<Vec<u8>, Error> {
        let mut state = State::decode(copy)?;
        state.forget()?;
        state.is_copy = true;
        Ok(state.encode())
    }

    /// Takes a stored decision over into the state and releases its effects.
    ///
    /// # Errors
    /// [`Code::StaleDecision`] where it was decided for another channel or the state has changed since.
    pub fn commit(&mut self, saved: Saved<Event, Act>) -> Result<Vec<Effect>, Error> {
        let (_, acts) = saved.open(self.state.id(), self.version)?;
        let (state, effects) = released(acts);
        if let Some(state) = state {
            self.version = self.version.saturating_add(1);
            self.state = *state;
        }
        Ok(effects)
    }

    fn decide(&self, keys: &BaseKeys, change: impl FnOnce(&mut Draft<'_>) -> Result<(), Error>) -> Result<Step, Error> {
        let mut draft = Draft::new(keys, self.state.clone())?;
        change(&mut draft)?;
        Ok(draft.decision(self.version))
    }

    // ---- what others may know ----

    /// What is fixed for the channel.
    pub const fn channel(&self) -> &Channel {
        self.state.ledger.channel()
    }

    /// The channel's name on the connection.
    pub const fn id(&self) -> rillpay_wire::ChannelId {
        self.state.id
    }

    /// The funding that both build and sign, until both have seen it in the chain.
    pub const fn signing(&self) -> Option<&funding::Signing> {
        self.state.signing.as_ref()
    }

    /// Which of the two we are.
    pub const fn role(&self) -> Role {
        self.state.role
    }

    /// The updates, those under way included.
    pub const fn ledger(&self) -> &Updates {
        &self.state.ledger
    }

    /// Confirmations that the funding needs before the channel is used.
    pub const fn depth(&self) -> u32 {
        self.state.depth
    }

    /// Whether payments can be made: the funding is deep enough for both, the connection is up, and nobody is closing.
    pub fn is_open(&self) -> bool {
        self.state.is_open()
    }

    /// Whether the funding is deep enough for both. Whether payments can be made is another question: [`Holder::is_open`].
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }

    /// Whether the chain has shown the funding, deep enough for us.
    pub const fn is_funded(&self) -> bool {
        self.state.ready_sent
    }

    /// Whether either side wants to close it, or it has ended.
    pub fn is_closing(&self) -> bool {
        self.state.is_closing()
    }

    /// Whether it was made from a copy that may be old, or is known to be: it broadcasts no commitment.
    pub const fn is_copy(&self) -> bool {
        self.state.is_copy
    }

    /// How it ended, if it did.
    pub const fn end(&self) -> Option<&End> {
        self.state.end.as_ref()
    }

    /// What we have in the newest commitment of ours, payments under way apart.
    ///
    /// # Errors
    /// None in practice, as [`Updates::newest`].
    pub fn balance(&self) -> Result<Msat, Error> {
        Ok(self.state.ledger.newest(self.state.role)?.balance(self.state.role))
    }

    /// The payments to us that hold for good and wait to be fulfilled, failed or forwarded.
    pub fn received(&self) -> impl Iterator<Item = (u64, Htlc, &OnionPacket)> {
        self.state.received()
    }

    /// The newest commitment of ours, signed by both: what [`Holder::fail`] broadcasts. To be broadcast again after a restart, and
    /// only if it failed: a channel that goes on revokes it.
    ///
    /// # Errors
    /// [`Code::Unavailable`] for a machine of [`Holder::restore`], or before the counterparty has signed the first one;
    /// [`Code::WrongKey`] for keys of another channel.
    pub fn commitment(&self, keys: &BaseKeys) -> Result<Transaction, Error> {
        self.state.check(keys)?;
        self.state.own_commitment(keys)
    }

    /// What punishes the counterparty for this commitment, which it has revoked: for a kit that a third party keeps
    /// ([`crate::revocable::justice`]).
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a commitment that is not revoked, [`Code::WrongKey`] for keys of another channel.
    pub fn revoked(&self, keys: &BaseKeys, number: CommitmentNumber) -> Result<Revoked, Error> {
        let Some(secret) = self.state.secrets.get(number) else {
            return refuse(Code::InvalidArgument, "this commitment has not been revoked");
        };
        Revoked::new(self.channel(), self.role().other(), number, secret, keys)
    }

    /// What to do about a refused message.
    pub const fn reaction(error: &Error) -> Reaction {
        match (error.code(), error.fault()) {
            (Code::UnexpectedMessage | Code::RateLimited | Code::InvalidReturnScript, _) => Reaction::Warn,
            (_, Fault::PeerMisbehaved | Fault::PeerIncompatible) => Reaction::Fail,
            _ => Reaction::Warn,
        }
    }

    // ---- decisions ----

    /// A connection to the counterparty is up: this is the first thing to say about the channel. `direct`: both offer direct
    /// payments ([`rillpay_wire::messages::DIRECT_PAYMENTS`]).
    ///
    /// # Errors
    /// [`Code::WrongKey`] for keys of another channel.
    pub fn connected(&self, keys: &BaseKeys, direct: bool) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.connected(direct))
    }

    /// The connection is gone.
    ///
    /// # Errors
    /// As [`Holder::connected`].
    pub fn disconnected(&self, keys: &BaseKeys) -> Result<Step, Error> {
        self.decide(keys, |draft| {
            draft.disconnect();
            Ok(())
        })
    }

    /// The counterparty sent this about the channel.
    ///
    /// # Errors
    /// See [`Holder::reaction`].
    pub fn receive(&self, keys: &BaseKeys, message: &Message) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.receive(message))
    }

    /// The chain shows this output at the funding's outpoint, with so many confirmations.
    ///
    /// # Errors
    /// [`Code::NotFunded`] for another output than was agreed on: the channel is worth nothing.
    pub fn funding_seen(&self, keys: &BaseKeys, output: &TxOut, confirmations: u32) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.funding_seen(output, confirmations))
    }

    /// This spends the funding, and we have not broadcast it: nothing is paid here any more, and [`Holder::spent`] tells
    /// what there is to take.
    ///
    /// # Errors
    /// As [`Holder::connected`].
    pub fn funding_spent(&self, keys: &BaseKeys, transaction: &Transaction) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.funding_spent(transaction))
    }

    /// How payments of ours ended, until [`Holder::acknowledge`] says that it was taken in.
    pub fn outcomes(&self) -> impl Iterator<Item = (u64, &Result<Preimage, Failure>)> {
        self.state.outcomes.iter().map(|(id, outcome)| (*id, outcome))
    }

    /// The preimages of payments of ours that the counterparty takes at this moment: what was received for them upstream can be
    /// taken at once.
    pub fn learned(&self) -> impl Iterator<Item = (u64, Preimage)> {
        self.state.ledger.taken(self.state.role)
    }

    /// What the counterparty gave us, and what we gave it, in direct payments that hold for good: millisatoshi since the opening.
    pub const fn direct(&self) -> (u64, u64) {
        (self.state.taken, self.state.given)
    }

    /// What we give the counterparty in direct payments under way, in millisatoshi: what the second of [`Holder::direct`] grows by
    /// once they hold for good.
    pub fn giving(&self) -> u64 {
        self.state.ledger.giving(self.state.role)
    }

    /// The caller has taken in how this payment of ours ended, durably; it is forgotten here.
    ///
    /// # Errors
    /// [`Code::UnknownHtlc`].
    pub fn acknowledge(&self, keys: &BaseKeys, id: u64) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.acknowledge(id))
    }

    /// Offers a payment. It is under way once it is signed for: [`Holder::sign`].
    ///
    /// # Errors
    /// [`Code::Unavailable`] while the channel is not open; [`Code::Unaffordable`], [`Code::HtlcOutOfBounds`],
    /// [`Code::RateLimited`].
    pub fn offer(&self, keys: &BaseKeys, payment: &Payment) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.offer(payment))
    }

    /// Gives the counterparty so much, without an HTLC: it is paid once it is signed for and the revocations have followed.
    ///
    /// # Errors
    /// As [`Holder::offer`]; [`Code::Unavailable`], too, where the counterparty does not know such payments.
    pub fn pay(&self, keys: &BaseKeys, amount: Msat) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.pay(amount))
    }

    /// As [`Holder::pay`], signed for with the same decision: what is said is sure to be paid.
    ///
    /// # Errors
    /// As [`Holder::pay`]; [`Code::Unavailable`], too, while the counterparty owes a revocation.
    pub fn pay_now(&self, keys: &BaseKeys, amount: Msat) -> Result<Step, Error> {
        self.decide(keys, |draft| {
            draft.pay(amount)?;
            draft.sign_now()
        })
    }

    /// Takes a payment with its preimage. The preimage is stored before it is sent, so that nobody else has to remember it: while
    /// the connection is down it waits.
    ///
    /// # Errors
    /// [`Code::UnknownHtlc`], [`Code::WrongPreimage`].
    pub fn fulfill(&self, keys: &BaseKeys, id: u64, preimage: Preimage) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.fulfill(id, preimage))
    }

    /// Sends a payment back. To be decided anew where the connection broke before it was signed for: [`Holder::received`].
    ///
    /// # Errors
    /// [`Code::Unavailable`] while the connection is down, [`Code::UnknownHtlc`].
    pub fn send_back(&self, keys: &BaseKeys, id: u64, failure: Failure) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.send_back(id, failure))
    }

    /// Sets the fee rate of later commitments. Only the opener may.
    ///
    /// # Errors
    /// As [`Holder::offer`].
    pub fn set_fee(&self, keys: &BaseKeys, rate: FeeRate) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.set_fee(rate))
    }

    /// The rate that later commitments should have, where `estimate` confirms in time: ours to set as the opener of an open channel.
    /// Small differences are not worth a signature.
    pub fn due_fee(&self, estimate: FeeRate) -> Option<FeeRate> {
        let now = self.state.ledger.newest(self.state.role).ok()?.fee_rate.to_sat_per_kwu();
        let (least, most) = self.state.rates;
        let wanted = estimate.max(least).min(most);
        let differs = wanted.to_sat_per_kwu() > now.saturating_add(now / 4) || wanted.to_sat_per_kwu() < now / 2;
        (differs && self.is_open() && self.state.role == Role::Opener).then_some(wanted)
    }

    /// As [`Holder::set_fee`], signed for with the same decision.
    ///
    /// # Errors
    /// As [`Holder::set_fee`]; [`Code::Unavailable`], too, while the counterparty owes a revocation.
    pub fn set_fee_now(&self, keys: &BaseKeys, rate: FeeRate) -> Result<Step, Error> {
        self.decide(keys, |draft| {
            draft.set_fee(rate)?;
            draft.sign_now()
        })
    }

    /// Signs for what was offered, fulfilled, sent back or set since the last signature. Nothing happens where there is nothing
    /// to sign for, or while the counterparty owes a revocation; what it owes brings the signature along.
    ///
    /// # Errors
    /// As [`Holder::connected`].
    pub fn sign(&self, keys: &BaseKeys) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.sign_if_due())
    }

    /// Begins to close by agreement: no more payments are offered, those under way end, and the rest is paid out, in a
    /// transaction at this rate if we are the opener.
    ///
    /// # Errors
    /// As [`Holder::connected`]; [`Code::Closing`] where it has ended already; [`Code::Unavailable`] while the funding is being
    /// signed: [`Holder::fail`] gives it up.
    pub fn shutdown(&self, keys: &BaseKeys, rate: FeeRate) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.shutdown(rate))
    }

    /// A block of this height came, which was not told before: where a payment's time is up, or the counterparty has forgotten a
    /// channel and does not close it, the channel has to fail so that the chain decides.
    ///
    /// # Errors
    /// As [`Holder::connected`].
    pub fn at_height(&self, keys: &BaseKeys, height: u32) -> Result<Step, Error> {
        self.decide(keys, |draft| draft.at_height(height))
    }

    /// Fails the channel: tells the counterparty why, and broadcasts the newest commitment of ours. Also where both have said
    /// shutdown, and no closing transaction confirms. A funding that our witnesses have not left for is given up instead
    /// ([`End::Aborted`]): nothing was paid.
    ///
    /// # Errors
    /// As [`Holder::connected`]; [`Code::Closing`] where it has failed already, or a copy has closed by agreement.
    pub fn fail(&self, keys: &BaseKeys, why: &Error) -> Result<Step, Error> {
        self.decide(keys, |draft| {
            // A copy has nothing better than what was agreed on.
            if draft.state.has_failed() || (draft.state.is_copy && draft.state.end.is_some()) {
                return refuse(Code::Closing, "the channel has ended");
            }
            if draft.state.can_give_up() {
                return draft.give_up(why);
            }
            draft.fail(Some(why.text()))
        })
    }
}

fn step(state: State, version: u64, events: Vec<Event>, effects: Vec<Effect>) -> Step {
    let id = state.id();
    let adopt = std::iter::once(Act(Inner::Adopt(Box::new(state))));
    let acts = adopt.chain(effects.into_iter().map(|effect| Act(Inner::Do(Box::new(effect))))).collect();
    Decision::new(id, version, events, acts)
}

fn released(acts: Vec<Act>) -> (Option<Box<State>>, Vec<Effect>) {
    let (mut state, mut effects) = (None, Vec::with_capacity(acts.len()));
    for Act(inner) in acts {
        match inner {
            Inner::Adopt(new) => state = Some(new),
            Inner::Do(effect) => effects.push(*effect),
        }
    }
    (state, effects)
}
