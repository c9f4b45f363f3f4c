//! One payer, one payee, their disks, the network between them and the chain below: what a page and a server do around
//! the machines, as little of it as there can be.
//!
//! The observer's [`Books`] watch every store and every send; [`World::check`] says what must hold between actions.

use std::collections::VecDeque;

use bitcoin::{Amount, FeeRate};
use rillpay_channel::budget::{Budget, Spent};
use rillpay_channel::commitment::Funding;
use rillpay_channel::payee::{self, Cover, Payee};
use rillpay_channel::payer::{self, Payer, Phase};
use rillpay_channel::settlement::{Claim, Settlement, settle};
use rillpay_channel::wire::{Message, Refusal, Token};
use rillpay_channel::{Code, Error, Msat};

use crate::action::Party;
use crate::chain::Chain;
use crate::checks::{Books, PayerBefore, decided};
use crate::disk::Disk;
use crate::host::{Crash, Host, Machine, Outcome};
use crate::net::{Frame, Net};
use crate::setup::{KEY_INDEX, NOW, Setup, TIP};
use crate::values::{node_key, payee_key, payer_key};

/// Everything there is. Made and moved by [`crate::play`].
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) payer: Host<Payer>,
    pub(crate) payee: Host<Payee>,
    pub(crate) net: Net,
    pub(crate) chain: Chain,
    pub(crate) books: Books,
    /// Released and on its way to the player.
    pub(crate) content: VecDeque<u64>,
    pub(crate) now: u64,
    /// How many decisions there have been, and which one is to end badly.
    decisions: u32,
    crash: Option<(u32, Crash)>,
}

/// The rate of every transaction here.
pub(crate) const FEE_RATE: FeeRate = FeeRate::BROADCAST_MIN;

impl World {
    /// A channel just opened, and funded and attached if the setup says so.
    pub(crate) fn new(setup: Setup) -> Self {
        let (mut payer_disk, mut payee_disk) = (Disk::default(), Disk::default());
        let request = setup.request();
        let Message::Open(open) = request.message() else { panic!("a request asks to open") };
        let step = setup.offer().open(&open, TIP, payee_key().public(), KEY_INDEX, &node_key()).unwrap();
        let saved = step.save(|events| payee_disk.store(events)).unwrap();
        let (payee, effects) = Payee::create(saved).unwrap();
        let [payee::Effect::Send(Message::Opened { params, signature })] = &effects[..] else {
            panic!("the answer to open is opened: {effects:?}")
        };
        let step = request.opened(params.clone(), *signature, TIP).unwrap();
        let saved = step.save(|events| payer_disk.store(events)).unwrap();
        let payer = Payer::create(saved, payer_key(), Budget::new(setup.limits, Spent::default())).unwrap();
        let mut world = Self {
            setup,
            payer: Host { machine: payer, disk: payer_disk },
            payee: Host { machine: payee, disk: payee_disk },
            net: Net::default(),
            chain: Chain::new(TIP),
            books: Books::default(),
            content: VecDeque::new(),
            now: NOW,
            decisions: 0,
            crash: None,
        };
        if setup.streaming {
            world.chain.deposit(setup.deposit);
            world.chain.mine(setup.confirmations.into());
            world.connect();
            world.exchange();
            world.payee_looks();
            world.exchange();
        }
        world
    }

    /// The decision number `after` from now ends like this.
    pub(crate) fn plan_crash(&mut self, after: u32, crash: Crash) {
        self.crash = Some((self.decisions + after, crash));
    }

    pub(crate) fn no_crash(&mut self) {
        self.crash = None;
    }

    pub(crate) const fn decisions(&self) -> u32 {
        self.decisions
    }

    fn next_crash(&mut self) -> Option<Crash> {
        let number = self.decisions;
        self.decisions += 1;
        let (_, crash) = self.crash.take_if(|(at, _)| *at == number)?;
        Some(crash)
    }

    // ---- the payer's page ----

    /// Carries a decision out. Says whether there was one.
    pub(crate) fn payer_decides(&mut self, decision: Result<payer::Step, Error>, adopted: bool) -> Result<(), Error> {
        let decision = decided(decision)?;
        let before = PayerBefore::new(&self.payer.machine, self.setup.limits);
        let events = decision.events().to_vec();
        let crash = self.next_crash();
        let outcome = self.payer.carry_out(decision, crash);
        self.payer_acts(outcome, &before, adopted, &events);
        Ok(())
    }

    fn payer_acts(
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
                payer::Effect::Broadcast(refund) => self.chain.broadcast(&refund, self.payer.machine.params()),
            }
        }
        if outcome.died {
            self.reload_payer(Amount::ZERO);
        } else if outcome.stored {
            self.check_payer_replays();
        }
    }

    /// The page is loaded anew, after the viewer has spent so much on another channel of the same site.
    pub(crate) fn reload_payer(&mut self, elsewhere: Amount) {
        self.net.payer_died();
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
        self.payer.machine = payer;
        self.books.loaded = *site;
    }

    fn check_payer_replays(&self) {
        let live = &self.payer.machine;
        let budget = Budget::new(self.setup.limits, live.spent());
        let replayed = Payer::replay(self.payer.disk.read(), payer_key(), budget).expect("what was stored replays");
        assert_eq!(replayed.view(), live.view(), "the payer's store tells another story");
    }

    pub(crate) fn connect(&mut self) {
        let challenge = self.net.connect();
        let attach = self.payer.machine.attach(&challenge);
        self.net.send_to_payee(attach.encode());
    }

    /// A frame reaches the page.
    pub(crate) fn payer_receives(&mut self, frame: &[u8]) {
        let Ok(message) = Message::decode(frame) else { return };
        // What is refused is dropped: a page tells the viewer, the tests of the page say how.
        let _ = match message {
            Message::Attached { state, .. } => {
                if let Some(told) = state.funding {
                    let _ = self.payer_is_told(&told);
                }
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
        let Some(funding) = self.payer.machine.funding() else { return };
        let decision = self.payer.machine.spent_seen(self.chain.spend_of(funding));
        self.payer_decides(Ok(decision), false).expect("a look at the chain is never refused");
    }

    pub(crate) fn stop(&mut self) {
        let funded = self.payer.machine.funding().is_some();
        let phase = self.payer.machine.phase();
        let decision = self.payer.machine.stop();
        let may = funded && matches!(phase, Phase::Open | Phase::Stopping);
        assert_eq!(decision.is_ok(), may, "stopping in {phase:?}");
        let _ = self.payer_decides(decision, false);
    }

    pub(crate) fn refund(&mut self) {
        let outputs = self.chain.unspent();
        let (tip, expiry) = (self.chain.tip, self.payer.machine.params().expiry);
        let decision = self.payer.machine.refund(&outputs, FEE_RATE, tip);
        if let Err(error) = &decision {
            let sum: Amount = outputs.iter().map(|output| output.capacity).sum();
            match error.code() {
                Code::NotExpired => assert!(tip < expiry),
                Code::NothingToDo => assert!(outputs.is_empty()),
                Code::Uneconomic => assert!(sum < Amount::from_sat(1_000), "{sum} can be swept"),
                _ => panic!("{error:?}"),
            }
        } else {
            assert!(tip >= expiry, "a refund before its time");
        }
        let _ = self.payer_decides(decision, false);
    }

    // ---- the payee's server ----

    /// Carries a decision out. An attach `binds` the socket that it came on before anything is sent.
    fn payee_decides(&mut self, decision: Result<payee::Step, Error>, binds: Option<usize>) -> Result<bool, Error> {
        let decision = decided(decision)?;
        for event in decision.events() {
            if let payee::Event::Funded { funding, deep: true } = event {
                self.check_deep(funding);
            }
        }
        let crash = self.next_crash();
        let outcome = self.payee.carry_out(decision, crash);
        Ok(self.payee_acts(outcome, binds))
    }

    /// Whether the events were stored and the process lives on.
    fn payee_acts(&mut self, outcome: Outcome<payee::Effect>, binds: Option<usize>) -> bool {
        let epoch = self.payee.machine.epoch();
        if let Some(socket) = binds.and_then(|index| self.net.socket(index))
            && outcome.stored
        {
            socket.epoch = Some(epoch);
        }
        for effect in outcome.effects {
            self.check_sent_by_payee(&effect);
            if let payee::Effect::Send(message) = effect {
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

    pub(crate) fn reload_payee(&mut self) {
        self.net.payee_died();
        self.content.clear();
        self.payee.machine = Payee::replay(self.payee.disk.read()).expect("what was stored replays");
    }

    /// A frame reaches the server on this socket.
    pub(crate) fn payee_receives(&mut self, socket: usize, frame: &[u8]) {
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
        let tip = self.chain.tip;
        let decision = self.payee.machine.funding_seen(&self.chain.seen(), tip);
        if let Err(error) = self.payee_decides(decision, None) {
            assert_eq!(error.code(), Code::DepositTooSmall);
        }
        if let Some(funding) = self.payee.machine.funding() {
            let spend = self.chain.spend_of(funding);
            let decision = self.payee.machine.spent_seen(spend.map(|spend| spend.txid), 0);
            let _ = self.payee_decides(Ok(decision), None);
        }
        if let Some(decision) = self.payee.machine.expire(tip) {
            self.books.expired = true;
            let _ = self.payee_decides(Ok(decision), None);
        }
    }

    /// What the gateway does with a request: releases it, or asks for payment. Says whether it was released.
    pub(crate) fn request(&mut self, quantity: u64) -> Result<bool, Error> {
        let tip = self.chain.tip;
        match self.payee.machine.cover(quantity, tip) {
            Ok(Cover::Paid) => {
                let decision = self.payee.machine.release(quantity, tip);
                assert!(decision.is_ok(), "covered and yet not released: {decision:?}");
                let released = self.payee_decides(decision, None)?;
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
                let can_be = [Code::Closing, Code::Expiring, Code::NotFunded, Code::DepositSpent, Code::PieceTooLarge];
                assert!(can_be.contains(&error.code()), "{error:?}");
                Err(error)
            }
        }
    }

    /// The settlement that is due, if its output is worth its fee.
    pub(crate) fn settlement(&self) -> Option<Settlement> {
        let payee = &self.payee.machine;
        let (paid, funding) = (*payee.closing()?, *payee.funding()?);
        if !self.chain.unspent().contains(&funding) {
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
        self.chain.broadcast(&settlement.transaction, params);
        Some(settlement)
    }

    /// Two decisions on one state, of which the second is too late.
    pub(crate) fn race(&mut self, party: Party, swapped: bool) {
        let quantity = self.setup.tariff.unit.base();
        match party {
            Party::Payee => {
                let (payee, tip) = (&self.payee.machine, self.chain.tip);
                let pair = (payee.release(quantity, tip), payee.stop());
                let (Ok(release), Ok(stop)) = pair else { return };
                let outcome = if swapped { self.payee.race(stop, release) } else { self.payee.race(release, stop) };
                self.payee_acts(outcome, None);
            }
            Party::Payer => {
                let payer = &self.payer.machine;
                let pair = (payer.need(payer.received() + quantity, 0, self.now), payer.stop());
                let (Ok(need), Ok(stop)) = pair else { return };
                let (first, second) = if swapped { (stop, need) } else { (need, stop) };
                let before = PayerBefore::new(payer, self.setup.limits);
                let events = first.events().to_vec();
                let outcome = self.payer.race(first, second);
                self.payer_acts(outcome, &before, false, &events);
            }
        }
    }

    // ---- the network ----

    pub(crate) fn arrives(&mut self, to: Party, socket: usize, frame: &[u8]) {
        match to {
            Party::Payer => self.payer_receives(frame),
            Party::Payee => self.payee_receives(socket, frame),
        }
    }

    pub(crate) fn deliver(&mut self, to: Party, taken: Option<(usize, Frame)>) {
        if let Some((socket, frame)) = taken {
            self.arrives(to, socket, &frame);
        }
    }

    /// Delivers everything in order until there is nothing on its way.
    pub(crate) fn exchange(&mut self) {
        for _ in 0..200 {
            if let Some((socket, frame)) = self.net.take(Party::Payee, 0) {
                self.arrives(Party::Payee, socket, &frame);
            } else if let Some((socket, frame)) = self.net.take(Party::Payer, 0) {
                self.arrives(Party::Payer, socket, &frame);
            } else {
                return;
            }
        }
        panic!("two hundred messages and they still talk");
    }

    /// Both sides' funding is on the chain, as deep as agreed, and holds enough.
    fn check_deep(&self, funding: &Funding) {
        let deep = u32::from(self.setup.confirmations);
        let seen = self.chain.seen();
        let there = seen.iter().find(|output| output.funding == *funding).expect("the deposit is on the chain");
        assert!(there.confirmations >= deep, "{} confirmations are not {deep}", there.confirmations);
        assert!(funding.capacity >= self.setup.min_deposit(), "too small a deposit was taken");
    }
}
