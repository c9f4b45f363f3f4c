//! Runs a case: once as it is, then with each of its faults at each point.

use bitcoin::Amount;
use rillpay_channel::Code;
use rillpay_channel::payer::Phase;

use super::{Case, Each, End, Expect, Height, KindOfChannel, Outcome, Step};
use crate::action::Party;
use crate::disk::DiskState;
use crate::host::Crash;
use crate::net::Weather;
use crate::world::World;

/// How often a viewer whose page gets no answer comes back for the same second.
const TRIES: u32 = 4;

/// How much there was to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Runs, the undisturbed ones among them.
    pub runs: u32,
    /// Decisions of both sides, in all runs.
    pub decisions: u32,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Crash(u32, Crash),
    Frame(u32, Weather),
}

/// Runs the case with all its kinds and faults.
///
/// # Panics
/// Where something does not hold; it is told before in which run.
pub fn run(name: &str, case: &Case) -> Ran {
    run_some(name, case, 1)
}

/// As [`run`], with each `stride`-th of its faults only.
///
/// # Panics
/// As [`run`].
pub fn run_some(name: &str, case: &Case, stride: usize) -> Ran {
    let mut ran = Ran::default();
    for kind in &case.kinds {
        let (decisions, frames) = once(name, case, *kind, Fault::None, &mut ran);
        for each in &case.each {
            let faults: Vec<Fault> = match each {
                Each::Crash => (0..decisions).flat_map(|at| Crash::ALL.map(|crash| Fault::Crash(at, crash))).collect(),
                Each::Frame => {
                    (0..frames).flat_map(|at| Weather::ALL.map(|weather| Fault::Frame(at, weather))).collect()
                }
            };
            for fault in faults.into_iter().step_by(stride) {
                once(name, case, *kind, fault, &mut ran);
            }
        }
    }
    ran
}

/// Tells what was being run, where a check fails. (A browser aborts instead, and names the case by its test.)
struct Telling(String);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// How many decisions and frames the steps took.
fn once(name: &str, case: &Case, kind: KindOfChannel, fault: Fault, ran: &mut Ran) -> (u32, u32) {
    let mut telling = Telling(String::new());
    let mut world = World::new(case.setup(kind));
    world.connect();
    world.exchange();
    match fault {
        Fault::None => {}
        Fault::Crash(at, crash) => world.plan_crash(None, at, crash),
        Fault::Frame(at, weather) => world.plan_weather(at, weather),
    }
    let (decisions, frames) = (world.decisions(), world.frames());
    for (number, step) in case.steps.iter().enumerate() {
        telling.0 = format!("case {name}, {kind:?}, {fault:?}, step {number}: {step:?}");
        world.takes(*step);
        world.check();
    }
    let counted = (world.decisions() - decisions, world.frames() - frames);
    telling.0 = format!("case {name}, {kind:?}, {fault:?}, at the end");
    let disturbed = !matches!(fault, Fault::None) || case.steps.iter().any(|step| matches!(step, Step::Crash(..)));
    world.no_faults();
    if let Some(expect) = &case.expect {
        world.check_watched(expect, disturbed);
    }
    match case.end {
        End::Reconciled => world.end(),
        End::PayerGone => world.payer_is_gone(),
        End::PayeeGone => world.payee_is_gone(),
    }
    if let Some(expect) = &case.expect {
        world.check_outcome(expect, disturbed);
    }
    ran.runs += 1;
    ran.decisions += counted.0;
    counted
}

impl World {
    fn takes(&mut self, step: Step) {
        match step {
            Step::Deposit => {
                self.deposit();
                self.exchange();
                self.come_back();
                if self.chain.deposited() == Amount::ZERO {
                    // The page died before it knew what to do: the viewer does it again.
                    self.deposit();
                    self.exchange();
                    self.come_back();
                }
            }
            Step::Mine(blocks) => self.find(blocks),
            Step::Until(height) => {
                let params = self.payer.machine.params();
                let height = match height {
                    Height::Stop => params.stop_height(),
                    Height::Close => params.close_height(),
                    Height::Expiry => params.expiry,
                };
                self.find(height.saturating_sub(self.chain.tip));
            }
            Step::Reorganise { blocks, replaced } => {
                self.reorganise(blocks, replaced);
                self.look();
            }
            Step::Watch(seconds) => {
                for _ in 0..seconds {
                    if !self.watches() {
                        return;
                    }
                }
            }
            Step::Pause(paused) => self.pause(paused),
            Step::Stop => self.stops_watching(),
            Step::Settle => {
                self.settle();
            }
            Step::Refund => self.refund(),
            Step::Reload(Party::Payer) => {
                self.reload_payer(Amount::ZERO);
                self.come_back();
            }
            Step::Reload(Party::Payee) => {
                self.reload_payee();
                self.come_back();
            }
            Step::Crash(party, after, crash) => self.plan_crash(Some(party), after, crash),
            Step::Disk(Party::Payer, state) => self.payer.disk.state = state,
            Step::Disk(Party::Payee, state) => self.payee.disk.state = state,
            Step::Clock(hours) => self.wait(hours.into()),
            Step::Silent(party) => {
                self.silent.push(party);
                self.net.cut();
            }
            Step::Back(party) => {
                self.silent.retain(|silent| *silent != party);
                self.come_back();
            }
            Step::PlayOldStates => {
                self.play_grants();
            }
        }
    }

    /// Each block is looked at as it comes, by both; the payee settles what is due.
    fn find(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.chain.mine(1);
            self.look();
        }
    }

    fn look(&mut self) {
        self.payee_looks();
        self.settle();
        self.exchange();
        self.payer_looks();
        self.come_back();
    }

    /// The page connects again if its connection is gone.
    fn come_back(&mut self) {
        for _ in 0..TRIES {
            self.exchange();
            if self.net.current().is_some() || self.is_silent(Party::Payer) || self.is_silent(Party::Payee) {
                return;
            }
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        self.connect();
        self.exchange();
        self.payee_looks();
        self.exchange();
    }

    /// One second, however often the player has to ask for it. Whether it came.
    fn watches(&mut self) -> bool {
        let second = self.setup.tariff.unit.base();
        let before = self.books.arrived;
        for _ in 0..TRIES {
            let released = match self.request(second) {
                Ok(released) => released,
                // The watcher looks again soon.
                Err(error) if error.code() == Code::NotFunded => {
                    self.look();
                    continue;
                }
                Err(_) => return false,
            };
            self.exchange();
            self.rouse(Party::Payee);
            self.receive();
            if self.books.arrived > before {
                self.come_back();
                return true;
            }
            let asked = self.net.current().is_some() && !released;
            if asked && matches!(self.request(second), Ok(true)) {
                self.rouse(Party::Payee);
                self.receive();
            }
            if self.books.arrived > before {
                self.come_back();
                return true;
            }
            // No answer: the page takes the connection for dead.
            self.reconnect();
        }
        false
    }

    /// The viewer presses Stop, and the page sees to it.
    fn stops_watching(&mut self) {
        for _ in 0..TRIES {
            if matches!(self.payer.machine.phase(), Phase::Open | Phase::Stopping) {
                self.stop();
            }
            self.exchange();
            if matches!(self.payer.machine.phase(), Phase::Closed | Phase::Settled | Phase::Refunded) {
                break;
            }
            self.reconnect();
        }
        self.come_back();
    }

    fn payer_is_gone(&mut self) {
        self.silent = vec![Party::Payer];
        self.payee.disk.state = DiskState::Fine;
        self.reload_payee();
        let expiry = self.payee.machine.params().expiry;
        while self.chain.tip <= expiry {
            self.find(1);
        }
        self.check();
    }

    fn payee_is_gone(&mut self) {
        self.silent = vec![Party::Payee];
        self.payer.disk.state = DiskState::Fine;
        self.reload_payer(Amount::ZERO);
        self.payer_ends();
        self.check();
    }

    // ---- what came of it ----

    fn check_watched(&self, expect: &Expect, disturbed: bool) {
        let second = self.setup.tariff.unit.base();
        let (arrived, delivered) = (self.books.arrived, self.copy().payee.machine.delivered());
        assert_eq!(arrived, expect.watched * second, "another count arrived");
        // What a fault cost was counted, and never arrived.
        let most = if disturbed { arrived + self.setup.tariff.window_quantity() } else { arrived };
        assert!((arrived..=most).contains(&delivered), "{arrived} arrived, {delivered} are counted");
    }

    fn check_outcome(&self, expect: &Expect, disturbed: bool) {
        let tariff = self.setup.tariff;
        let price = |quantity| tariff.cost(quantity).expect("has a price").to_amount_ceil();
        let window = if disturbed { price(tariff.window_quantity()) } else { Amount::ZERO };
        let (watched, owed) = (price(self.books.arrived), self.payee.machine.owed().to_amount_ceil());

        let spent = self.chain.deposited().checked_sub(self.chain.got(Party::Payer)).expect("no more than was paid in");
        let lost = spent.checked_sub(watched).unwrap_or(Amount::ZERO);
        assert!(lost <= Amount::from_sat(expect.payer_loses) + window, "the payer lost {lost}");

        let lost = owed.checked_sub(self.chain.got(Party::Payee)).unwrap_or(Amount::ZERO);
        assert!(lost <= Amount::from_sat(expect.payee_loses), "the payee lost {lost}");

        let outcome = match (self.chain.deposited(), self.chain.got(Party::Payee)) {
            (Amount::ZERO, _) => Outcome::Unfunded,
            (_, Amount::ZERO) => Outcome::Refunded,
            _ => Outcome::Settled,
        };
        assert_eq!(outcome, expect.outcome);
        assert!(self.chain.unspent().is_empty(), "something is left at the address");
    }
}
