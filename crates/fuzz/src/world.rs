//! One payer, one payee, their disks, the network between them and the chain below: what a page and a server do around
//! the machines, as little of it as there can be.
//!
//! The observer's [`Books`] watch every store and every send; [`World::check`] says what must hold between actions.

use std::collections::VecDeque;

use bitcoin::FeeRate;
use rillpay_channel::budget::{Budget, Spent};
use rillpay_channel::commitment::Funding;
use rillpay_channel::payee::{self, Payee};
use rillpay_channel::payer::{self, Payer};
use rillpay_channel::wire::Message;

use crate::action::Party;
use crate::chain::Chain;
use crate::checks::{Books, PayerBefore};
use crate::disk::{Disk, DiskState};
use crate::exposure::Stake;
use crate::host::{Crash, Host};
use crate::net::{Frame, Net, Weather};
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
    crash: Option<Planned>,
    /// How many frames have arrived in exchanges, and which one is to meet with something.
    frames: u32,
    weather: Option<(u32, Weather)>,
    /// The frame that is overtaken by all others.
    overtaken: Option<(Party, usize, Frame)>,
    /// What the payer's late store was about: see [`Crash::Late`].
    pub(crate) payer_late: Option<(PayerBefore, bool, Vec<payer::Event>)>,
    /// The same of the payee's: the socket that it binds, and the content that it releases.
    pub(crate) payee_late: Option<(Option<usize>, Option<u64>)>,
    /// These do nothing any more.
    pub(crate) silent: Vec<Party>,
    /// What was at stake when it was last looked at.
    pub(crate) stake: Option<Stake>,
}

/// A crash to come.
struct Planned {
    of: Option<Party>,
    after: u32,
    crash: Crash,
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
        let (payer, payee) = (Host::new(payer, payer_disk), Host::new(payee, payee_disk));
        let mut world = Self::around(setup, payer, payee, Chain::new(TIP), Books::default(), NOW);
        if setup.streaming {
            world.connect();
            world.exchange();
            world.deposit();
            world.exchange();
            world.chain.mine(setup.confirmations.into());
            world.payee_looks();
            world.exchange();
        }
        world
    }

    /// Nothing is planned, and nothing is on its way.
    fn around(setup: Setup, payer: Host<Payer>, payee: Host<Payee>, chain: Chain, books: Books, now: u64) -> Self {
        Self {
            setup,
            payer,
            payee,
            net: Net::default(),
            chain,
            books,
            content: VecDeque::new(),
            now,
            decisions: 0,
            crash: None,
            frames: 0,
            weather: None,
            overtaken: None,
            payer_late: None,
            payee_late: None,
            silent: vec![],
            stake: None,
        }
    }

    /// As both are after a restart of both, with nothing wrong any more and nothing on its way: to see what would come.
    pub(crate) fn copy(&self) -> Self {
        let budget = Budget::new(self.setup.limits, self.books.site);
        let payer = Payer::replay(self.payer.disk.read(), payer_key(), budget).expect("what was stored replays");
        let payee = Payee::replay(self.payee.disk.read()).expect("what was stored replays");
        let payer = Host::new(payer, self.payer.disk.as_good_as_new());
        let payee = Host::new(payee, self.payee.disk.as_good_as_new());
        Self::around(self.setup, payer, payee, self.chain.clone(), self.books.clone(), self.now)
    }

    /// Someone pays the agreed deposit. Into a `timelock` channel the page's own wallet does, in its own way, and always by
    /// the same transaction.
    pub(crate) fn deposit(&mut self) {
        if self.setup.ladder.is_none() {
            return self.chain.deposit(self.setup.deposit);
        }
        self.rouse(Party::Payer);
        let payer = &self.payer.machine;
        let decision = payer.fund(self.setup.funding_transaction(payer.params()));
        self.payer_decides(decision, false).expect("this funds the channel");
    }

    /// The clock moves, not always forwards.
    pub(crate) fn wait(&mut self, hours: i64) {
        self.now = self.now.saturating_add_signed(hours * 3600);
    }

    pub(crate) fn is_silent(&self, party: Party) -> bool {
        self.silent.contains(&party)
    }

    /// Before a side turns to something else its late store is done, and what that was to bring happens. Whether there
    /// was one.
    pub(crate) fn rouse(&mut self, party: Party) -> bool {
        match party {
            Party::Payer => {
                let Some(outcome) = self.payer.finish() else { return false };
                let (before, adopted, events) = self.payer_late.take().expect("noted with the store");
                self.payer_acts(outcome, &before, adopted, &events);
            }
            Party::Payee => {
                let Some(outcome) = self.payee.finish() else { return false };
                let (binds, content) = self.payee_late.take().expect("noted with the store");
                self.payee_acts(outcome, binds);
                self.content.extend(content);
            }
        }
        true
    }

    /// The decision number `after` from now, of those that `of` makes if it is named, ends like this.
    pub(crate) fn plan_crash(&mut self, of: Option<Party>, after: u32, crash: Crash) {
        self.crash = Some(Planned { of, after, crash });
    }

    /// The frame number `after` from now that arrives in an exchange meets with this.
    pub(crate) fn plan_weather(&mut self, after: u32, weather: Weather) {
        self.weather = Some((self.frames + after, weather));
    }

    /// What was planned does not happen any more.
    pub(crate) fn no_faults(&mut self) {
        self.crash = None;
        self.weather = None;
    }

    pub(crate) const fn decisions(&self) -> u32 {
        self.decisions
    }

    pub(crate) const fn frames(&self) -> u32 {
        self.frames
    }

    pub(crate) fn next_crash(&mut self, of: Party) -> Option<Crash> {
        self.decisions += 1;
        let planned = self.crash.as_mut().filter(|planned| planned.of.is_none_or(|party| party == of))?;
        if planned.after > 0 {
            planned.after -= 1;
            return None;
        }
        self.crash.take().map(|planned| planned.crash)
    }

    /// Two decisions on one state, of which the second is too late.
    pub(crate) fn race(&mut self, party: Party, swapped: bool) {
        let quantity = self.setup.tariff.unit.base();
        self.rouse(party);
        let disk = match party {
            Party::Payer => self.payer.disk.state,
            Party::Payee => self.payee.disk.state,
        };
        if disk != DiskState::Fine {
            return;
        }
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
                self.travels(Party::Payee, socket, frame);
            } else if let Some((socket, frame)) = self.net.take(Party::Payer, 0) {
                self.travels(Party::Payer, socket, frame);
            } else if let Some((to, socket, frame)) = self.overtaken.take() {
                self.arrives(to, socket, &frame);
            } else if !self.rouse(Party::Payee) && !self.rouse(Party::Payer) {
                return;
            }
        }
        panic!("two hundred messages and they still talk");
    }

    /// A frame arrives, unless something was planned for it.
    fn travels(&mut self, to: Party, socket: usize, frame: Frame) {
        let number = self.frames;
        self.frames += 1;
        match self.weather.take_if(|(at, _)| *at == number).map(|(_, weather)| weather) {
            Some(Weather::Lost) => {}
            Some(Weather::Overtaken) => self.overtaken = Some((to, socket, frame)),
            Some(Weather::Doubled) => {
                self.arrives(to, socket, &frame);
                self.arrives(to, socket, &frame);
            }
            Some(Weather::Cut) => self.net.cut(),
            None => self.arrives(to, socket, &frame),
        }
    }

    /// Both sides' funding is on the chain, as deep as agreed, and holds enough.
    pub(crate) fn check_deep(&self, funding: &Funding) {
        let deep = u32::from(self.setup.confirmations);
        let seen = self.chain.seen();
        let there = seen.iter().find(|output| output.funding == *funding).expect("the deposit is on the chain");
        assert!(there.confirmations >= deep, "{} confirmations are not {deep}", there.confirmations);
        assert!(funding.capacity >= self.setup.min_deposit(), "too small a deposit was taken");
    }
}
