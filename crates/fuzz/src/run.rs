//! Runs of actions.

use crate::action::{Action, Party, plan};
use crate::host::{Crash, Machine};
use crate::setup::Setup;
use crate::world::World;

/// The bytes drive one payer and one payee; see [`plan`] for what they mean.
///
/// # Panics
/// Where an invariant does not hold.
pub fn actions(bytes: &[u8]) {
    let (setup, actions) = plan(bytes);
    play(setup, &actions, None);
}

/// Does all of that, checking after each, and drives both to their ends. With a `crash`, that decision of the run ends
/// that way. Returns how many decisions the actions made.
///
/// # Panics
/// Where an invariant does not hold.
pub fn play(setup: Setup, actions: &[Action], crash: Option<(u32, Crash)>) -> u32 {
    run(World::new(setup), actions, crash)
}

/// As [`play`], on a disk that silently loses what `party` stores in `slot`: proves that the checks can fail.
///
/// # Panics
/// It should.
pub fn play_on_bad_disk(setup: Setup, actions: &[Action], party: Party, slot: u8) {
    let mut world = World::new(setup);
    match party {
        Party::Payer => world.payer.disk.loses = Some(slot),
        Party::Payee => world.payee.disk.loses = Some(slot),
    }
    run(world, actions, None);
}

fn run(mut world: World, actions: &[Action], crash: Option<(u32, Crash)>) -> u32 {
    let start = world.decisions();
    if let Some((number, crash)) = crash {
        world.plan_crash(None, number, crash);
    }
    world.check();
    for action in actions {
        world.act(action);
        world.check();
    }
    let made = world.decisions() - start;
    world.end();
    made
}

impl World {
    pub(crate) fn act(&mut self, action: &Action) {
        match action {
            Action::Deposit => self.deposit(),
            // Whoever pays into the address of a `timelock` channel, past the page's wallet, is on his own.
            Action::DepositTooSmall if self.setup.ladder.is_some() => {}
            Action::DepositTooSmall => self.chain.deposit(self.setup.min_deposit() - bitcoin::Amount::ONE_SAT),
            Action::Mine(blocks) => self.chain.mine((*blocks).into()),
            Action::Reorganise { blocks, replaced } => self.reorganise(*blocks, *replaced),
            Action::Connect => self.connect(),
            Action::PayeeLooks => self.payee_looks(),
            Action::PayerLooks => self.payer_looks(),
            Action::Request(size) => {
                let _ = self.request(self.quantity(*size));
            }
            Action::Deliver(to, nth) => {
                let taken = self.net.take(*to, *nth);
                self.deliver(*to, taken);
            }
            Action::Drop(to, nth) => drop(self.net.take(*to, *nth)),
            Action::Duplicate(to, nth) => {
                let copied = self.net.copy(*to, *nth);
                self.deliver(*to, copied);
            }
            Action::Damage(to, nth, bit) => {
                let Some((socket, mut frame)) = self.net.take(*to, *nth) else { return };
                let bit = usize::from(*bit) % (frame.len() * 8);
                frame[bit / 8] ^= 1 << (bit % 8);
                self.hostile(*to, socket, &frame);
            }
            Action::Exchange => self.exchange(),
            Action::Receive => self.receive(),
            Action::LoseContent => drop(self.content.pop_front()),
            Action::Watch(times) => (0..*times).for_each(|_| self.watch()),
            Action::Pause(paused) => self.pause(*paused),
            Action::Stop => self.stop(),
            Action::Refund => self.refund(),
            Action::Settle => drop(self.settle()),
            Action::Reload(Party::Payer, elsewhere) => {
                self.reload_payer(bitcoin::Amount::from_sat((elsewhere & 3).into()));
            }
            Action::Reload(Party::Payee, _) => self.reload_payee(),
            Action::Crash(after, crash) => self.plan_crash(None, (*after).into(), *crash),
            Action::Race(party, swapped) => self.race(*party, *swapped),
            Action::Wait(hours) => self.wait((*hours).into()),
            Action::Disk(Party::Payer, state) => self.payer.disk.state = *state,
            Action::Disk(Party::Payee, state) => self.payee.disk.state = *state,
            Action::ForgeToPayer(forged) => {
                let Some(socket) = self.net.current() else { return };
                let Some(message) = forged.make(self) else { return };
                self.hostile(Party::Payer, socket, &message.encode());
            }
            Action::ForgeToPayee(forged) => {
                let Some(socket) = self.net.current() else { return };
                let Some(frame) = forged.make(self) else { return };
                self.hostile(Party::Payee, socket, &frame);
            }
        }
    }

    /// Blocks are replaced, and with `replaced` what was in them is spent elsewhere.
    pub(crate) fn reorganise(&mut self, blocks: u8, replaced: bool) {
        self.chain.reorganise(blocks.into(), replaced);
        let machines = [self.payer.machine.funding(), self.payee.machine.funding()];
        self.books.evicted |= machines.into_iter().flatten().any(|funding| !self.chain.holds(funding));
        self.books.evicted |= self.setup.ladder.is_some() && replaced;
    }

    /// A frame arrives that no honest peer has sent. Noted if it is believed.
    fn hostile(&mut self, to: Party, socket: usize, frame: &[u8]) {
        self.rouse(to);
        let before = (self.payer.machine.view(), self.payee.machine.view());
        self.arrives(to, socket, frame);
        let after = (self.payer.machine.view(), self.payee.machine.view());
        // On a slow disk what it did shows later.
        let late = match to {
            Party::Payer => self.payer_late.is_some(),
            Party::Payee => self.payee_late.is_some(),
        };
        self.books.fooled |= before != after || late;
    }

    /// Ask, pay, release, receive.
    fn watch(&mut self) {
        let second = self.setup.tariff.unit.base();
        if matches!(self.request(second), Ok(false)) {
            self.exchange();
            let _ = self.request(second);
        }
        self.rouse(Party::Payee);
        self.receive();
    }

    pub(crate) fn receive(&mut self) {
        if let Some(quantity) = self.content.pop_front() {
            self.payer_gets(quantity);
        }
    }

    fn quantity(&self, size: u8) -> u64 {
        let tariff = self.setup.tariff;
        let (unit, window) = (tariff.unit.base(), tariff.window_quantity());
        match size % 8 {
            0 => unit,
            1 => window,
            2 => window + 1,
            3 => 0,
            4 => u64::MAX,
            5 => window / 2 + 1,
            6 => u64::from(size) + 1,
            _ => window * u64::from(size),
        }
    }
}
