//! The payer's page: what it does around its machine when a frame, a piece of content or the viewer comes.

use bitcoin::{Amount, Transaction};
use rillpay_channel::budget::{Budget, Spent};
use rillpay_channel::commitment::Funding;
use rillpay_channel::payer::{self, Payer, Phase};
use rillpay_channel::wire::{Message, Refusal};
use rillpay_channel::{Code, Error, Msat};

use crate::action::Party;
use crate::checks::{PayerBefore, decided};
use crate::host::{Machine, Outcome};
use crate::values::payer_key;
use crate::world::{FEE_RATE, World};

impl World {
    /// Carries a decision out. Says whether there was one.
    pub(crate) fn payer_decides(&mut self, decision: Result<payer::Step, Error>, adopted: bool) -> Result<(), Error> {
        let decision = decided(decision)?;
        let before = PayerBefore::new(&self.payer.machine, self.setup.limits);
        let events = decision.events().to_vec();
        let crash = self.next_crash(Party::Payer);
        let outcome = self.payer.carry_out(decision, crash);
        if outcome.late {
            self.payer_late = Some((before, adopted, events));
        } else {
            self.payer_acts(outcome, &before, adopted, &events);
        }
        Ok(())
    }

    pub(crate) fn payer_acts(
        &mut self,
        outcome: Outcome<payer::Effect>,
        before: &PayerBefore,
        adopted: bool,
        events: &[payer::Event],
    ) {
        if outcome.stored {
            self.books.payer_stored(before, adopted, events);
        }
        for effect in outcome.effects {
            self.check_sent_by_payer(&effect);
            match effect {
                payer::Effect::Send(message) => self.net.send_to_payee(message.encode()),
                payer::Effect::Broadcast(funding) if self.funds(&funding) => {
                    self.chain.fund(&funding, self.payer.machine.params());
                }
                payer::Effect::Broadcast(refund) => {
                    self.chain.broadcast(&refund, self.payer.machine.params(), Party::Payer);
                }
            }
        }
        if outcome.died {
            self.reload_payer(Amount::ZERO);
        } else if outcome.stored {
            self.check_payer_replays();
        }
    }

    /// Whether this transaction pays into the channel.
    pub(crate) fn funds(&self, transaction: &Transaction) -> bool {
        let script = self.payer.machine.params().funding_script();
        transaction.output.iter().any(|output| output.script_pubkey == script)
    }

    /// The page is loaded anew, after the viewer has spent so much on another channel of the same site.
    pub(crate) fn reload_payer(&mut self, elsewhere: Amount) {
        self.net.payer_died();
        if let Some((before, adopted, events)) = self.payer_late.take() {
            // It is stored, whether or not the page heard of it.
            self.books.payer_stored(&before, adopted, &events);
        }
        let more = Msat::from_amount(elsewhere).unwrap();
        let site = &mut self.books.site;
        if more > Msat::ZERO {
            let today = (self.now / 86_400).max(site.day);
            let in_day = if today == site.day { site.in_day } else { Msat::ZERO };
            *site = Spent {
                day: today,
                in_day: in_day.checked_add(more).unwrap(),
                site: site.site.checked_add(more).unwrap(),
            };
        }
        let budget = Budget::new(self.setup.limits, *site);
        let payer = Payer::replay(self.payer.disk.read(), payer_key(), budget).expect("what was stored replays");
        assert_eq!(payer.spent(), *site, "a reload forgets what was spent");
        self.payer.restart(payer);
        self.books.loaded = *site;
    }

    fn check_payer_replays(&self) {
        let live = &self.payer.machine;
        let budget = Budget::new(self.setup.limits, live.spent());
        let replayed = Payer::replay(self.payer.disk.read(), payer_key(), budget).expect("what was stored replays");
        assert_eq!(replayed.view(), live.view(), "the payer's store tells another story");
    }

    pub(crate) fn connect(&mut self) {
        if self.is_silent(Party::Payer) || self.is_silent(Party::Payee) {
            return self.net.payer_died();
        }
        self.rouse(Party::Payer);
        let challenge = self.net.connect();
        let attach = self.payer.machine.attach(&challenge);
        self.net.send_to_payee(attach.encode());
    }

    /// A frame reaches the page.
    pub(crate) fn payer_receives(&mut self, frame: &[u8]) {
        if self.is_silent(Party::Payer) {
            return;
        }
        self.rouse(Party::Payer);
        let Ok(message) = Message::decode(frame) else { return };
        // What is refused is dropped: a page tells the viewer, the tests of the page say how.
        let _ = match message {
            Message::Attached { state, .. } => {
                if let Some(told) = state.funding {
                    let _ = self.payer_is_told(&told);
                }
                self.rouse(Party::Payer);
                let decision = self.payer.machine.attached(&state);
                self.payer_decides(decision, true)
            }
            Message::FundingSeen { funding: Some(told), .. } => self.payer_is_told(&told),
            Message::Need { upto, delivered } => {
                let paused = self.payer.machine.is_paused();
                let decision = self.payer.machine.need(upto, delivered, self.now);
                assert!(!(paused && decision.is_ok()), "pays while paused");
                self.payer_decides(decision, false)
            }
            Message::Stopped { delivered } => {
                let decision = self.payer.machine.stopped(delivered);
                self.payer_decides(decision, false)
            }
            Message::Closed { cumulative, signature } => {
                let decision = self.payer.machine.closed(cumulative, signature);
                self.payer_decides(decision, false)
            }
            Message::Granted(grant) if grant.lock > 0 => {
                let decision = self.payer.machine.granted(&grant);
                self.payer_decides(decision, false)
            }
            // A deposit that a reorganisation took away cannot be spent: a node would refuse it.
            Message::Granted(grant) if !self.chain.unspent().contains(&grant.funding) => Ok(()),
            Message::Granted(grant) => {
                let decision = self.payer.machine.reclaimed(&grant, FEE_RATE);
                self.payer_decides(decision, false)
            }
            Message::Refused(Refusal { state: Some(state), .. }) => {
                let decision = self.payer.machine.attached(&state);
                // As an answer to a refusal, only news count: to repeat what was refused would go on for ever.
                match decision {
                    Ok(decision) if decision.events().is_empty() => Ok(()),
                    decision => self.payer_decides(decision, true),
                }
            }
            _ => Ok(()),
        };
    }

    /// Content has arrived.
    pub(crate) fn payer_gets(&mut self, quantity: u64) {
        if self.is_silent(Party::Payer) {
            return;
        }
        self.rouse(Party::Payer);
        let decision = self.payer.machine.receive(quantity);
        self.books.arrived += quantity;
        self.payer_decides(decision, false).expect("what was released has a price");
    }

    fn payer_is_told(&mut self, told: &Funding) -> Result<(), Error> {
        let decision = self.payer.machine.funding_seen(told, &self.chain.seen());
        if let Ok(decision) = &decision
            && !decision.events().is_empty()
        {
            self.check_deep(told);
        }
        self.payer_decides(decision, false)
    }

    pub(crate) fn payer_looks(&mut self) {
        if self.is_silent(Party::Payer) {
            return;
        }
        self.rouse(Party::Payer);
        let Some(funding) = self.payer.machine.funding() else { return };
        let decision = self.payer.machine.spent_seen(self.chain.spend_of(funding));
        self.payer_decides(Ok(decision), false).expect("a look at the chain is never refused");
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.rouse(Party::Payer);
        self.payer.machine.pause(paused);
    }

    pub(crate) fn stop(&mut self) {
        self.rouse(Party::Payer);
        let funded = self.payer.machine.funding().is_some();
        let phase = self.payer.machine.phase();
        let decision = self.payer.machine.stop();
        let may = funded && matches!(phase, Phase::Open | Phase::Stopping);
        assert_eq!(decision.is_ok(), may, "stopping in {phase:?}");
        let _ = self.payer_decides(decision, false);
    }

    pub(crate) fn refund(&mut self) {
        self.rouse(Party::Payer);
        let outputs = self.chain.seen();
        let (tip, from) = (self.chain.tip, self.payer.machine.refund_height());
        let early = from < self.payer.machine.params().expiry;
        let decision = self.payer.machine.refund(&outputs, FEE_RATE, tip);
        if let Err(error) = &decision {
            let confirmed = outputs.iter().filter(|output| output.confirmations > 0);
            let sum: Amount = confirmed.map(|output| output.funding.capacity).sum();
            match error.code() {
                Code::NotExpired => assert!(tip < from),
                Code::NothingToDo => assert_eq!(sum, Amount::ZERO, "{sum} can be taken back"),
                Code::Uneconomic => assert!(early || sum < Amount::from_sat(1_000), "{sum} can be swept"),
                _ => panic!("{error:?}"),
            }
        } else {
            assert!(tip >= from, "a refund before its time");
        }
        let _ = self.payer_decides(decision, false);
    }
}
