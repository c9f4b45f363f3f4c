//! The quiet end of every run: from wherever the actions left them, both sides reach their money.

use bitcoin::Amount;
use rillpay_channel::margin::Surge;
use rillpay_channel::payee::Cover;
use rillpay_channel::payer::{FORGIVEN_WINDOWS, Phase};
use rillpay_channel::{Code, Error};

use crate::action::Party;
use crate::disk::DiskState;
use crate::world::{FEE_RATE, World};

impl World {
    /// From here on the network is reliable, nothing crashes and nobody lies.
    pub(crate) fn end(&mut self) {
        self.no_faults();
        self.silent.clear();
        self.payer.disk.state = DiskState::Fine;
        self.payee.disk.state = DiskState::Fine;
        self.rouse(Party::Payee);
        self.content.clear();
        self.reload_payer(Amount::ZERO);
        self.chain.mine(self.setup.confirmations.into());
        self.connect();
        self.exchange();
        self.payee_looks();
        self.exchange();
        self.payer_looks();
        self.exchange();
        self.check();
        self.goes_on();
        self.check();
        self.stops();
        self.check();
        self.settles();
        self.check();
        self.sweeps();
        self.check();
        self.nothing_is_left();
    }

    /// Everyone has told the truth, and what was deposited is still there.
    fn honest(&self) -> bool {
        !self.books.fooled && !self.books.has_rogues() && !self.books.evicted
    }

    /// Whatever was interrupted, the next second of content can be had: unless the channel is at its end, of course.
    fn goes_on(&mut self) {
        let both = self.payer.machine.funding() == self.payee.machine.funding();
        // One that the viewer has taken back already is history.
        let spent = |funding| self.chain.spend_of(funding).is_some();
        let history = [self.payer.machine.funding(), self.payee.machine.funding()].into_iter().flatten().any(spent);
        if self.honest() && !history {
            assert!(both, "the two sides see different deposits");
        }
        let limits = self.setup.limits;
        let limited = limits.session.is_some() || limits.day.is_some() || limits.site.is_some();
        let open = self.payer.machine.phase() == Phase::Open && both && self.honest() && !limited;
        let (second, window) = (self.setup.tariff.unit.base(), self.setup.tariff.window_quantity());
        let lost = self.payee.machine.delivered() + second
            - (self.payer.machine.received() + window).min(self.payee.machine.delivered() + second);
        let forgivable = self.books.forgiven + lost <= window * FORGIVEN_WINDOWS;
        let Ok(cover) = self.payee.machine.cover(second, self.chain.tip) else { return };
        if !open || !forgivable {
            return;
        }
        if cover != Cover::Paid {
            self.request(second).expect("it was coverable");
            self.exchange();
        }
        let mut released = self.request(second);
        // Payments that were lost on their way come first, one after the other, and may use up a ladder.
        while self.setup.ladder.is_some() && released == Ok(false) {
            let left = self.payee.machine.updates_left();
            self.exchange();
            released = self.request(second);
            assert!(self.payee.machine.updates_left() < left || released != Ok(false), "the stream is stuck");
        }
        let spent = |error: &Error| [Code::UpdatesSpent, Code::Expiring].contains(&error.code());
        if self.setup.ladder.is_none() || !released.as_ref().is_err_and(spent) {
            assert_eq!(released, Ok(true), "the stream is stuck");
        }
        self.receive();
    }

    /// The viewer stops, and both agree on what was delivered.
    fn stops(&mut self) {
        let funded = self.payer.machine.funding().is_some();
        let both = self.payer.machine.funding() == self.payee.machine.funding();
        let undisturbed = self.payee.machine.closing().is_none() && self.payee.machine.spent().is_none();
        if matches!(self.payer.machine.phase(), Phase::Open | Phase::Stopping) {
            self.stop();
            self.exchange();
        }
        if !(self.honest() && funded && both) {
            return;
        }
        if undisturbed {
            let ended = if self.payee.machine.delivered() == 0 { Phase::Refunded } else { Phase::Closed };
            assert_eq!(self.payer.machine.phase(), ended, "the end is stuck");
        }
        // A payee that had to close for want of time did so at the highest payment.
        if let Some(closing) = self.payer.machine.closing().filter(|_| !self.books.expired) {
            let owed = self.payee.machine.owed().to_amount_ceil();
            assert_eq!(closing.cumulative, owed, "the statement is not about what was delivered");
            if self.payer.machine.phase() == Phase::Closed {
                assert_eq!(self.payee.machine.closing(), Some(closing), "the books differ");
            }
        }
    }

    /// What the payee has coming is on the chain in time.
    fn settles(&mut self) {
        let payee = &self.payee.machine;
        let close_height = payee.params().close_height();
        let due = if payee.accepted() > Amount::ZERO {
            payee.due_height(Surge::NONE).max(close_height)
        } else {
            close_height
        };
        self.chain.mine(due.saturating_sub(self.chain.tip));
        self.payee_looks();
        let payee = &self.payee.machine;
        if payee.accepted() > Amount::ZERO && payee.spent().is_none() && !payee.is_released() {
            assert!(payee.closing().is_some(), "the payee lets its time run out");
        }
        let told = self.payer.machine.returned();
        let phase = self.payer.machine.phase();
        let Some(settlement) = self.settle() else { return };
        self.chain.mine(1);
        self.payee_looks();
        self.payer_looks();
        let txid = settlement.transaction.compute_txid();
        assert_eq!(self.payee.machine.spent(), Some(txid));
        if self.payer.machine.funding() != self.payee.machine.funding() {
            return;
        }
        assert_eq!(self.payer.machine.phase(), Phase::Settled);
        let spend = *self.payer.machine.spend().expect("settled by a transaction");
        assert_eq!((spend.txid, spend.refund, spend.confirmed), (txid, false, true));
        if phase == Phase::Closed && self.honest() {
            assert_eq!(spend.returned, told, "the viewer was told another amount");
        }
    }

    /// After expiry the viewer takes back whatever still lies at the address.
    fn sweeps(&mut self) {
        let expiry = self.payer.machine.params().expiry;
        // What came late gets a block, too.
        self.chain.mine(expiry.saturating_sub(self.chain.tip).max(1));
        let outputs = self.chain.unspent();
        if outputs.is_empty() {
            return;
        }
        let sum: Amount = outputs.iter().map(|output| output.capacity).sum();
        self.refund();
        let spend = outputs.first().and_then(|output| self.chain.spend_of(output)).expect("the refund is stuck");
        // One input with its witness and one output take less than 200 virtual bytes, each further input less than 160.
        let most = FEE_RATE.fee_vb(40 + 160 * u64::try_from(outputs.len()).unwrap()).unwrap();
        assert!(spend.returned < sum && spend.returned + most >= sum, "{} of {sum} came back", spend.returned);
        self.chain.mine(1);
    }

    fn nothing_is_left(&mut self) {
        let left: Amount = self.chain.unspent().iter().map(|output| output.capacity).sum();
        assert_eq!(left, Amount::ZERO, "{left} are left at the address");
        self.payee_looks();
        self.payer_looks();
        if let Some(funding) = self.payer.machine.funding().filter(|funding| self.chain.holds(funding)) {
            let spend = self.chain.spend_of(funding).expect("nothing is left");
            let phase = if spend.refund { Phase::Refunded } else { Phase::Settled };
            assert_eq!((self.payer.machine.phase(), self.payer.machine.spend()), (phase, Some(&spend)));
        }
    }
}
