//! A decision in the making: a copy of the state that messages and wishes change, and what is to happen once it is stored.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Transaction, TxOut};
use rillpay_wire::messages::{ChannelReady, ChannelReadyTlvs, ErrorMessage};
use rillpay_wire::{ChannelId, Message};

use crate::error::{Code, Error, refuse};
use crate::revocable::channel::Role;
use crate::revocable::commitment::{self, Commitment};
use crate::revocable::holder::funding::Signing;
use crate::revocable::holder::state::{End, Link, State};
use crate::revocable::holder::{Effect, Event, Step, step};
use crate::revocable::keys::BaseKeys;
use crate::revocable::number::CommitmentNumber;

/// How many blocks after its expiry a payment of ours may still be taken back by the counterparty's own word.
const GRACE: u32 = 3;
/// How many blocks before its expiry a payment whose preimage we know has to be ours for good. (BOLT 2, "cltv_expiry_delta
/// Selection": twice the reorganisation plus grace and a margin to confirm.)
const TO_CLAIM: u32 = 18;

/// How many blocks the closing transaction of a counterparty that knows of the channel no more may take to be seen.
const TO_BE_SEEN: u32 = 6;

pub(super) struct Draft<'k> {
    pub(super) keys: &'k BaseKeys,
    pub(super) state: State,
    pub(super) effects: Vec<Effect>,
    pub(super) archive: Vec<Event>,
    /// Whether the change has to survive.
    pub(super) durable: bool,
}

impl<'k> Draft<'k> {
    pub(super) fn new(keys: &'k BaseKeys, state: State) -> Result<Self, Error> {
        state.check(keys)?;
        Ok(Self { keys, state, effects: vec![], archive: vec![], durable: false })
    }

    pub(super) fn decision(self, version: u64) -> Step {
        let Self { state, effects, archive: mut events, durable, .. } = self;
        if durable {
            events.push(Event::Held(state.encode()));
        }
        step(state, version, events, effects)
    }

    pub(super) fn own(&self) -> Role {
        self.state.role
    }

    pub(super) fn other(&self) -> Role {
        self.state.role.other()
    }

    pub(super) fn send(&mut self, message: impl Into<Message>) {
        self.effects.push(Effect::Send(Box::new(message.into())));
    }

    // ---- commitments ----

    pub(super) fn build(&self, owner: Role, state: &commitment::State) -> Result<Commitment, Error> {
        self.state.build(self.keys, owner, state)
    }

    pub(super) fn own_point(&self, number: CommitmentNumber) -> Result<PublicKey, Error> {
        self.keys.seed.point(number)
    }

    // ---- the funding, time, and the end ----

    pub(super) fn funding_seen(&mut self, output: &TxOut, confirmations: u32) -> Result<(), Error> {
        let channel = self.state.ledger.channel();
        let script_pubkey = channel.funding_script().to_p2wsh();
        if *output != (TxOut { value: channel.funding.capacity, script_pubkey }) {
            return refuse(Code::NotFunded, "this output does not fund the channel");
        }
        // Without the counterparty's signature a funding that it broadcast brings us nothing that we could lose.
        let is_secured = self.state.signing.as_ref().is_none_or(Signing::is_secured);
        if self.state.ready_sent || self.state.has_failed() || !is_secured || confirmations < self.state.depth {
            return Ok(());
        }
        self.state.ready_sent = true;
        self.durable = true;
        // Otherwise it goes out when the connection is up again.
        if self.state.link == Link::Up {
            self.send_ready()?;
        }
        self.tell_ready();
        Ok(())
    }

    pub(super) fn send_ready(&mut self) -> Result<(), Error> {
        let second_per_commitment_point = self.own_point(CommitmentNumber::SECOND)?;
        let channel_id = self.state.id;
        self.send(ChannelReady { channel_id, second_per_commitment_point, tlvs: ChannelReadyTlvs::default() });
        Ok(())
    }

    pub(super) fn channel_ready(&mut self, message: &ChannelReady) -> Result<(), Error> {
        if self.state.ready_received {
            // Sent again after a reconnection, or with another alias: nothing new.
            return Ok(());
        }
        self.state.ready_received = true;
        self.state.points.next = Some(message.second_per_commitment_point);
        self.durable = true;
        self.tell_ready();
        Ok(())
    }

    fn tell_ready(&mut self) {
        if self.state.is_ready() {
            // Both have seen it in the chain.
            self.state.signing = None;
            self.effects.push(Effect::Ready);
        }
    }

    pub(super) fn at_height(&mut self, height: u32) -> Result<(), Error> {
        if self.state.end.is_some() {
            return Ok(());
        }
        if let Some(blocks) = &mut self.state.gone_for {
            *blocks = blocks.saturating_add(1);
            // A copy could only ask whoever does not know what is asked.
            if *blocks > TO_BE_SEEN && !self.state.is_copy {
                return self.fail(Some("no closing transaction is seen"));
            }
        }
        let State { ledger, preimages, role, .. } = &self.state;
        let unclaimed = ledger.offered(*role).any(|(_, htlc)| htlc.expiry.saturating_add(GRACE) <= height);
        let claimed = ledger
            .offered(role.other())
            .any(|(id, htlc)| preimages.contains_key(&id) && htlc.expiry <= height.saturating_add(TO_CLAIM));
        if unclaimed || claimed { self.fail(Some("the time of a payment is up")) } else { Ok(()) }
    }

    /// The counterparty answers as one that has closed the channel. One that has lost it does so, too.
    pub(super) fn is_gone(&mut self) {
        self.state.gone_for.get_or_insert(0);
    }

    /// The counterparty spent the funding: with its commitment, or with a closing transaction whose last word did not reach us.
    pub(super) fn funding_spent(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if !self.state.is_copy && self.state.is_beyond(self.keys, transaction)? {
            // A reorganisation may take it back: ours may be revoked then, and must not follow.
            self.state.is_copy = true;
            self.durable = true;
        }
        if self.state.end.is_some() {
            return Ok(());
        }
        let is_commitment = self.state.ledger.channel().obscuring().read(transaction).is_some();
        let end = if is_commitment { End::Spent } else { End::Closed(transaction.clone()) };
        self.state.end = Some(end.clone());
        self.durable = true;
        self.send(ErrorMessage::new(self.state.id, "the funding was spent"));
        self.effects.push(Effect::Ended(end));
        Ok(())
    }

    /// The connection broke: proposals that nobody signed for have not been.
    pub(super) fn disconnect(&mut self) {
        // Whatever is unsigned has the last numbers.
        let (own, before) = (self.own(), self.state.ledger.next_id(self.own()));
        self.state.disconnect();
        self.effects.extend((self.state.ledger.next_id(own)..before).map(Effect::Dropped));
    }

    /// Ends the channel alone. Whoever may not broadcast asks the counterparty to.
    pub(super) fn fail(&mut self, why: Option<&str>) -> Result<(), Error> {
        if self.state.can_give_up() {
            self.end_unpaid();
            return Ok(());
        }
        let end = if self.state.is_copy { End::FellBehind } else { End::Failed };
        self.state.end = Some(end.clone());
        self.durable = true;
        if let Some(why) = why {
            self.send(ErrorMessage::new(self.state.id, why));
        }
        if end == End::Failed {
            let commitment = self.state.own_commitment(self.keys)?;
            self.effects.push(Effect::Broadcast(commitment));
        }
        self.effects.push(Effect::Ended(end));
        Ok(())
    }

    // ---- messages ----

    pub(super) fn receive(&mut self, message: &Message) -> Result<(), Error> {
        if concerns(message).is_some_and(|id| id != self.state.id && id != ChannelId::ALL) {
            return refuse(Code::UnknownChannel, "a message for another channel");
        }
        match (self.state.link, message) {
            (_, Message::Warning(_)) => Ok(()),
            (_, Message::ErrorMessage(_)) if self.state.end.is_some() => Ok(()),
            // It may know of the channel no more, because it has closed: a commitment would only replace the better end.
            (Link::Asked, Message::ErrorMessage(_)) if self.may_have_closed() => {
                self.is_gone();
                Ok(())
            }
            (_, Message::ErrorMessage(_)) => self.fail(None),
            (_, Message::ChannelReestablish(_)) if self.state.end == Some(End::Aborted) => {
                self.is_given_up();
                Ok(())
            }
            _ if self.state.has_failed() => {
                // The counterparty may not know yet (BOLT 2, "Message Retransmission").
                if matches!(message, Message::ChannelReestablish(_)) {
                    self.send(ErrorMessage::new(self.state.id, "the channel has failed"));
                }
                Ok(())
            }
            (Link::Asked, Message::ChannelReestablish(message)) => self.reestablish(message),
            (Link::Up | Link::Asked, Message::TxAbort(_)) => {
                self.tx_abort();
                Ok(())
            }
            (Link::Up, Message::TxInitRbf(_)) => {
                self.init_rbf();
                Ok(())
            }
            (Link::Up, Message::TxSignatures(message)) if self.state.is_v2 => self.tx_signatures(message),
            (Link::Up, Message::CommitmentSigned(message)) if self.state.is_signing() => {
                self.first_commitment_signed(message)
            }
            (Link::Up, Message::ChannelReady(message)) => self.channel_ready(message),
            (Link::Up, Message::Shutdown(_)) if self.state.is_signing() => {
                refuse(Code::UnexpectedMessage, "the funding is not signed yet")
            }
            (Link::Up, Message::Shutdown(message)) => self.counterparty_shuts_down(message),
            (Link::Up, Message::ClosingSigned(message)) => self.closing_signed(message),
            (Link::Up, _) if !self.state.is_ready() => refuse(Code::UnexpectedMessage, "the channel is not ready"),
            (Link::Up, Message::UpdateAddHtlc(message)) => self.add(message),
            (Link::Up, Message::UpdateFulfillHtlc(message)) => self.fulfilled(message),
            (Link::Up, Message::UpdateFailHtlc(message)) => {
                self.came_back(message.id, super::Failure::reason(&message.reason))
            }
            (Link::Up, Message::UpdateFailMalformedHtlc(message)) => self.malformed(message),
            (Link::Up, Message::UpdateFee(message)) => self.fee(message),
            (Link::Up, Message::DirectPayment(message)) => self.paid(message),
            (Link::Up, Message::CommitmentSigned(message)) => self.commitment_signed(message),
            (Link::Up, Message::RevokeAndAck(message)) => self.revoke_and_ack(message),
            _ => refuse(Code::UnexpectedMessage, "the channel does not expect this message now"),
        }
    }
}

impl State {
    /// Refuses the keys of another channel.
    pub(super) fn check(&self, keys: &BaseKeys) -> Result<(), Error> {
        // One of them is enough: they come from one seed and number.
        if keys.funding.public() != self.ledger.channel().party(self.role).points.funding {
            return refuse(Code::WrongKey, "these keys are not those of this channel");
        }
        Ok(())
    }

    /// The commitment of `owner` with this state.
    pub(super) fn build(&self, keys: &BaseKeys, owner: Role, state: &commitment::State) -> Result<Commitment, Error> {
        let point = if owner == self.role { keys.seed.point(state.number)? } else { self.points.newest };
        Commitment::new(self.ledger.channel(), owner, &point, state)
    }

    /// Our newest commitment, signed by both.
    pub(super) fn own_commitment(&self, keys: &BaseKeys) -> Result<Transaction, Error> {
        if self.is_copy {
            return refuse(Code::Unavailable, "a machine made from a copy broadcasts no commitment");
        }
        if self.signing.as_ref().is_some_and(|signing| !signing.is_secured()) {
            return refuse(Code::Unavailable, "the counterparty has not signed the first commitment");
        }
        let commitment = self.build(keys, self.role, &self.ledger.newest(self.role)?)?;
        commitment.finish(&keys.funding, &self.signed.commitment)
    }
}

/// Which channel a message of BOLT 2's normal operation, of a funding that is built, or an `error` or `warning`, is about.
pub fn concerns(message: &Message) -> Option<ChannelId> {
    macro_rules! of {
        ($($name:ident)*) => {
            match message {
                $(Message::$name(message) => Some(message.channel_id),)*
                _ => None,
            }
        };
    }
    of!(
        Warning ErrorMessage ChannelReady Shutdown ClosingSigned UpdateAddHtlc UpdateFulfillHtlc UpdateFailHtlc
        UpdateFailMalformedHtlc UpdateFee DirectPayment CommitmentSigned RevokeAndAck ChannelReestablish TxAddInput
        TxAddOutput TxRemoveInput TxRemoveOutput TxComplete TxSignatures TxInitRbf TxAckRbf TxAbort
    )
}
