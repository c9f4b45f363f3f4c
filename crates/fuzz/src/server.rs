//! The payee's server: what it does around its machine when a frame or a request comes, or its watcher's time.

use bitcoin::Amount;
use rillpay_channel::payee::{self, Cover, Payee};
use rillpay_channel::settlement::{Claim, Settlement, settle};
use rillpay_channel::wire::{Message, Refusal, Token};
use rillpay_channel::{Code, Error};

use crate::action::Party;
use crate::checks::decided;
use crate::host::{Machine, Outcome};
use crate::values::{node_key, payee_key};
use crate::world::{FEE_RATE, World};

impl World {
    /// Carries a decision out. An attach `binds` the socket that it came on before anything is sent.
    pub(crate) fn payee_decides(
        &mut self,
        decision: Result<payee::Step, Error>,
        binds: Option<usize>,
    ) -> Result<bool, Error> {
        let decision = decided(decision)?;
        for event in decision.events() {
            if let payee::Event::Funded { funding, deep: true } = event {
                self.check_deep(funding);
            }
        }
        let crash = self.next_crash(Party::Payee);
        let outcome = self.payee.carry_out(decision, crash);
        if outcome.late {
            self.payee_late = Some((binds, None));
            return Ok(false);
        }
        Ok(self.payee_acts(outcome, binds))
    }

    /// Whether the events were stored and the process lives on.
    pub(crate) fn payee_acts(&mut self, outcome: Outcome<payee::Effect>, binds: Option<usize>) -> bool {
        let epoch = self.payee.machine.epoch();
        if let Some(socket) = binds.and_then(|index| self.net.socket(index))
            && outcome.stored
        {
            socket.epoch = Some(epoch);
        }
        for effect in outcome.effects {
            self.check_sent_by_payee(&effect);
            let message = match effect {
                payee::Effect::Send(message) => Some(message),
                payee::Effect::Countersign => self.countersigned(),
                payee::Effect::Settle => None,
            };
            if let Some(message) = message {
                self.net.send_to_payer(epoch, message.encode());
            }
        }
        if outcome.died {
            self.reload_payee();
        } else if outcome.stored {
            let replayed = Payee::replay(self.payee.disk.read()).expect("what was stored replays");
            assert_eq!(replayed.view(), self.payee.machine.view(), "the payee's store tells another story");
        }
        outcome.stored && !outcome.died
    }

    /// The payer's copy of the newest commitment.
    fn countersigned(&mut self) -> Option<Message> {
        let message = self.payee.machine.countersign(&payee_key()).expect("the key is the channel's")?;
        self.check_sent_by_payee(&payee::Effect::Send(message.clone()));
        Some(message)
    }

    pub(crate) fn reload_payee(&mut self) {
        self.net.payee_died();
        self.content.clear();
        self.payee_late = None;
        self.payee.restart(Payee::replay(self.payee.disk.read()).expect("what was stored replays"));
    }

    /// A frame reaches the server on this socket.
    pub(crate) fn payee_receives(&mut self, socket: usize, frame: &[u8]) {
        if self.is_silent(Party::Payee) {
            return;
        }
        self.rouse(Party::Payee);
        let Some(open) = self.net.socket(socket) else { return };
        let (challenge, epoch) = (open.challenge, open.epoch);
        let payee = &self.payee.machine;
        let current = || {
            let fenced = Error::new(Code::Superseded, "another session took this channel over");
            if epoch == Some(payee.epoch()) { Ok(()) } else { Err(fenced) }
        };
        let tip = self.chain.tip;
        let answer = match Message::decode(frame) {
            Err(error) => Err(error),
            Ok(Message::Attach { channel, .. }) if channel != payee.id() => {
                Err(Error::new(Code::UnknownChannel, "no such channel"))
            }
            Ok(Message::Attach { signature, .. }) => {
                let decision = payee.attach(&challenge, &signature, Token([socket.to_le_bytes()[0]; 32]));
                self.payee_decides(decision, Some(socket))
            }
            Ok(Message::Pay(paid)) => {
                let decision = current().and_then(|()| payee.pay(paid, tip));
                self.payee_decides(decision, None)
            }
            Ok(Message::Stop) => {
                let decision = current().and_then(|()| payee.stop());
                self.payee_decides(decision, None)
            }
            Ok(Message::Fund(funding)) => {
                let decision = current().and_then(|()| payee.fund(funding, &payee_key()));
                self.payee_decides(decision, None)
            }
            Ok(Message::Reclaim(output)) => {
                let decision = current().and_then(|()| payee.reclaim(output, &payee_key()));
                self.payee_decides(decision, None)
            }
            Ok(Message::Close(paid)) => {
                let decision = current().and_then(|()| payee.close(paid, &node_key()));
                self.payee_decides(decision, None)
            }
            Ok(_) => Err(Error::new(Code::UnexpectedMessage, "a payer does not say this")),
        };
        if let Err(error) = answer {
            self.net.answer(socket, Message::Refused(Refusal::from(&error)).encode());
        }
    }

    /// The watcher's round.
    pub(crate) fn payee_looks(&mut self) {
        if self.is_silent(Party::Payee) {
            return;
        }
        self.rouse(Party::Payee);
        let tip = self.chain.tip;
        let decision = self.payee.machine.funding_seen(&self.chain.seen(), tip);
        if let Err(error) = self.payee_decides(decision, None) {
            assert_eq!(error.code(), Code::DepositTooSmall);
        }
        if let Some(funding) = self.payee.machine.funding() {
            let spend = self.chain.spend_of(funding);
            self.rouse(Party::Payee);
            let decision = self.payee.machine.spent_seen(spend.map(|spend| spend.txid), 0);
            let _ = self.payee_decides(Ok(decision), None);
        }
        self.rouse(Party::Payee);
        if let Some(decision) = self.payee.machine.expire(tip) {
            self.books.expired = true;
            let _ = self.payee_decides(Ok(decision), None);
        }
    }

    /// What the gateway does with a request: releases it, or asks for payment. Says whether it was released, or will be as
    /// soon as that is stored.
    pub(crate) fn request(&mut self, quantity: u64) -> Result<bool, Error> {
        if self.is_silent(Party::Payee) {
            return Ok(false);
        }
        self.rouse(Party::Payee);
        let tip = self.chain.tip;
        match self.payee.machine.cover(quantity, tip) {
            Ok(Cover::Paid) => {
                let decision = self.payee.machine.release(quantity, tip);
                assert!(decision.is_ok(), "covered and yet not released: {decision:?}");
                let released = self.payee_decides(decision, None)?;
                if let Some((_, content)) = &mut self.payee_late {
                    *content = Some(quantity);
                    return Ok(true);
                }
                if released {
                    self.content.push_back(quantity);
                }
                Ok(released)
            }
            Ok(Cover::Need(need)) => {
                let refused = self.payee.machine.release(quantity, tip).map(drop);
                assert_eq!(refused.map_err(|error| error.code()), Err(Code::NotPaid), "released unpaid");
                self.net.send_to_payer(self.payee.machine.epoch(), need.encode());
                Ok(false)
            }
            Err(error) => {
                let can_be = [
                    Code::Closing,
                    Code::Expiring,
                    Code::NotFunded,
                    Code::DepositSpent,
                    Code::PieceTooLarge,
                    Code::UpdatesSpent,
                ];
                assert!(can_be.contains(&error.code()), "{error:?}");
                Err(error)
            }
        }
    }

    /// The settlement that is due, if its output is worth its fee.
    pub(crate) fn settlement(&self) -> Option<Settlement> {
        let payee = &self.payee.machine;
        let (paid, funding) = (*payee.closing()?, *payee.funding()?);
        if !self.chain.unspent().contains(&funding) || paid.lock > self.chain.tip || self.is_silent(Party::Payee) {
            return None;
        }
        let claim = Claim { params: payee.params(), funding, paid, key: &payee_key() };
        let payout = &self.setup.payout();
        match settle(&[claim], payout, FEE_RATE) {
            Ok(settlement) => Some(settlement),
            Err(error) => {
                assert_eq!(error.code(), Code::Uneconomic);
                assert!(paid.cumulative < Amount::from_sat(1_000), "{} can be settled", paid.cumulative);
                None
            }
        }
    }

    /// Broadcasts [`World::settlement`], which adds up.
    pub(crate) fn settle(&mut self) -> Option<Settlement> {
        self.rouse(Party::Payee);
        let settlement = self.settlement()?;
        let params = self.payee.machine.params();
        let (paid, funding) = (*self.payee.machine.closing()?, *self.payee.machine.funding()?);
        let rest = funding.capacity - paid.cumulative;
        let change = if rest < params.return_script.minimal_non_dust() { Amount::ZERO } else { rest };
        let outputs = &settlement.transaction.output;
        let returned: Amount = outputs
            .iter()
            .filter(|output| output.script_pubkey == params.return_script)
            .map(|output| output.value)
            .sum();
        assert_eq!(returned, change, "the viewer gets what the screen said");
        assert_eq!(settlement.payout + settlement.fee + change, funding.capacity, "the settlement adds up");
        assert_eq!(outputs.last().map(|output| output.value), Some(settlement.payout));
        self.chain.broadcast(&settlement.transaction, params, Party::Payee);
        Some(settlement)
    }
}
