//! A machine and its disk: carries decisions out, and dies at any point of it.

use std::fmt::Debug;

use bitcoin::{Amount, Transaction, Txid};
use rillpay_channel::budget::Spent;
use rillpay_channel::commitment::{Funding, Paid};
use rillpay_channel::payee::Payee;
use rillpay_channel::payer::{Payer, Phase, Spend};
use rillpay_channel::persist::{Decision, Saved, StoredEvent};
use rillpay_channel::wire::ChannelState;
use rillpay_channel::{Error, payee, payer};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, DiskState};

/// How a decision ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// The process dies with nothing stored.
    BeforeStore,
    /// The store refuses and the process lives on.
    StoreFails,
    /// The process dies with everything stored and nothing sent.
    BeforeSend,
    /// The process dies after the first effect was carried out.
    AfterSend,
    /// The disk is slow: everything is stored, and nothing sent until this side has to do with something else.
    Late,
}

impl Crash {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::BeforeStore, Self::StoreFails, Self::BeforeSend, Self::AfterSend, Self::Late];
}

/// The two machines, as far as storing and acting goes.
pub(crate) trait Machine {
    type Event: StoredEvent + Debug;
    type Effect: Debug;
    /// What others can see of it and a reload must give back.
    type View: Debug + PartialEq;

    fn commit(&mut self, saved: Saved<Self::Event, Self::Effect>) -> Result<Vec<Self::Effect>, Error>;
    fn view(&self) -> Self::View;
}

pub(crate) struct Host<M: Machine> {
    pub(crate) machine: M,
    pub(crate) disk: Disk,
    /// Stored, but the process has not been told yet.
    late: Option<Saved<M::Event, M::Effect>>,
}

/// What came of a decision: effects to carry out, and whether the process lives on.
pub(crate) struct Outcome<F> {
    pub(crate) effects: Vec<F>,
    pub(crate) died: bool,
    /// Something was stored, and the process knows.
    pub(crate) stored: bool,
    /// Something was stored, and the process does not know yet.
    pub(crate) late: bool,
}

impl<M: Machine> Host<M> {
    pub(crate) const fn new(machine: M, disk: Disk) -> Self {
        Self { machine, disk, late: None }
    }

    /// A process that begins anew: what it was not told yet it reads from its disk.
    pub(crate) fn restart(&mut self, machine: M) {
        self.machine = machine;
        self.late = None;
    }

    /// The store that was late is done.
    pub(crate) fn finish(&mut self) -> Option<Outcome<M::Effect>> {
        let saved = self.late.take()?;
        let effects = self.machine.commit(saved).expect("nothing came between");
        Some(Outcome { effects, died: false, stored: true, late: false })
    }

    pub(crate) fn carry_out(
        &mut self,
        decision: Decision<M::Event, M::Effect>,
        crash: Option<Crash>,
    ) -> Outcome<M::Effect> {
        assert!(self.late.is_none(), "decides while an earlier decision is being stored");
        let before = self.machine.view();
        let changes = !decision.events().is_empty();
        let crash = match (crash, self.disk.state) {
            (None, DiskState::Full) => Some(Crash::StoreFails),
            (None, DiskState::Slow) => Some(Crash::Late),
            (crash, _) => crash,
        };
        match crash {
            Some(Crash::BeforeStore) => return Outcome { effects: vec![], died: true, stored: false, late: false },
            Some(Crash::StoreFails) if changes => {
                assert!(decision.save(|_| Err(())).is_err(), "a failing store must fail the decision");
                assert_eq!(self.machine.view(), before, "a failing store must change nothing");
                return Outcome { effects: vec![], died: false, stored: false, late: false };
            }
            _ => {}
        }
        let saved = decision.save(|events| self.disk.store(events)).expect("this disk never fails");
        assert_eq!(self.machine.view(), before, "saving alone must change nothing");
        if crash == Some(Crash::BeforeSend) {
            return Outcome { effects: vec![], died: true, stored: changes, late: false };
        }
        if crash == Some(Crash::Late) && changes {
            self.late = Some(saved);
            return Outcome { effects: vec![], died: false, stored: false, late: true };
        }
        let mut effects = self.machine.commit(saved).expect("nothing came between");
        let died = crash == Some(Crash::AfterSend);
        if died {
            effects.truncate(1);
        }
        Outcome { effects, died, stored: changes, late: false }
    }

    /// Commits two decisions that were made on the same state: the second one must be refused where the first one
    /// changed anything, and must leave no trace.
    pub(crate) fn race(
        &mut self,
        first: Decision<M::Event, M::Effect>,
        second: Decision<M::Event, M::Effect>,
    ) -> Outcome<M::Effect> {
        let late = second.save(|_| Ok::<_, ()>(())).expect("this store does not fail");
        let outcome = self.carry_out(first, None);
        if outcome.stored {
            let before = self.machine.view();
            let error = self.machine.commit(late).expect_err("a decision on a state of the past must be refused");
            assert_eq!(error.code(), rillpay_channel::Code::StaleDecision);
            assert_eq!(self.machine.view(), before, "a stale decision must change nothing");
        }
        outcome
    }
}

/// See [`Machine::View`].
#[derive(Debug, PartialEq)]
pub(crate) struct PayeeView {
    state: ChannelState,
    epoch: u64,
    spent: Option<Txid>,
    key_index: u32,
    released: bool,
}

impl Machine for Payee {
    type Event = payee::Event;
    type Effect = payee::Effect;
    type View = PayeeView;

    fn commit(&mut self, saved: Saved<Self::Event, Self::Effect>) -> Result<Vec<Self::Effect>, Error> {
        Self::commit(self, saved)
    }

    fn view(&self) -> PayeeView {
        PayeeView {
            state: self.state(),
            epoch: self.epoch(),
            spent: self.spent(),
            key_index: self.key_index(),
            released: self.is_released(),
        }
    }
}

/// See [`Machine::View`].
#[derive(Debug, PartialEq)]
pub(crate) struct PayerView {
    funding: Option<Funding>,
    paid: Amount,
    received: u64,
    closing: Option<Paid>,
    phase: Phase,
    spend: Option<Spend>,
    spent: Spent,
    deposit: Amount,
    key_index: u32,
    funded_by: Option<Txid>,
    refund_height: u32,
}

impl Machine for Payer {
    type Event = payer::Event;
    type Effect = payer::Effect;
    type View = PayerView;

    fn commit(&mut self, saved: Saved<Self::Event, Self::Effect>) -> Result<Vec<Self::Effect>, Error> {
        Self::commit(self, saved)
    }

    fn view(&self) -> PayerView {
        PayerView {
            funding: self.funding().copied(),
            paid: self.paid(),
            received: self.received(),
            closing: self.closing().copied(),
            phase: self.phase(),
            spend: self.spend().copied(),
            spent: self.spent(),
            deposit: self.deposit(),
            key_index: self.key_index(),
            funded_by: self.funding_transaction().map(Transaction::compute_txid),
            refund_height: self.refund_height(),
        }
    }
}
