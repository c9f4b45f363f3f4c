//! What each side could lose from here on, found out on copies of everything: if the other vanished now, and if it cheated
//! now with all that it was ever given.
//!
//! | from here on | the other side ends with |
//! | --- | --- |
//! | the payer vanishes | the price of everything that was delivered |
//! | the payer broadcasts every grant that it has, the payee watches the chain | the same |
//! | the payee vanishes | the deposit, less what arrived and at most the agreed window and what was forgiven |
//! | the payee settles at the highest payment that was ever signed | the same |
//!
//! Whoever makes a transaction chooses its fee: that counts as its own.

use bitcoin::Amount;
use rillpay_channel::commitment::{Funding, Paid};
use rillpay_channel::margin::Surge;
use rillpay_channel::settlement::{Claim, settle};
use rillpay_channel::{Code, refund};

use crate::action::Party;
use crate::chain::Refused;
use crate::values::{payee_key, payer_key};
use crate::world::{FEE_RATE, World};

/// Less than this need not be worth the fee of a transaction.
const UNECONOMIC: Amount = Amount::from_sat(1_000);

/// Everything that what follows depends on: where it is as it was, there is nothing new to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stake {
    chain: u64,
    grants: usize,
    fundings: [Option<Funding>; 2],
    paid: Amount,
    accepted: Amount,
    delivered: u64,
    received: u64,
    closing: [bool; 2],
}

impl Stake {
    fn of(world: &World) -> Self {
        let (payer, payee) = (&world.payer.machine, &world.payee.machine);
        Self {
            chain: world.chain.changes,
            grants: world.books.grants.len(),
            fundings: [payer.funding().copied(), payee.funding().copied()],
            paid: payer.paid(),
            accepted: payee.accepted(),
            delivered: payee.delivered(),
            received: payer.received(),
            closing: [payer.closing().is_some(), payee.closing().is_some()],
        }
    }
}

impl World {
    pub(crate) fn check_exposure(&mut self) {
        let stake = Some(Stake::of(self));
        if self.stake == stake {
            return;
        }
        self.stake = stake;
        self.payer_vanishes();
        self.payer_cheats();
        if !self.books.has_rogues() {
            self.payee_vanishes();
            self.payee_cheats();
        }
    }

    // ---- the payee's risk ----

    /// The funding is there, and the payee still has the time that it was promised.
    fn payee_is_in_time(&self) -> bool {
        let payee = &self.payee.machine;
        payee.funding().is_some_and(|funding| self.chain.holds(funding) && self.chain.spend_of(funding).is_none())
            && self.chain.tip <= payee.due_height(Surge::NONE)
    }

    fn payer_vanishes(&self) {
        if !self.payee_is_in_time() || self.payee.machine.accepted() == Amount::ZERO {
            return;
        }
        let mut copy = self.copy();
        copy.payee_ends();
        copy.payee_has_what_it_delivered();
    }

    /// The payee, alone: settles what is due, now or when it is.
    fn payee_ends(&mut self) {
        self.payee_looks();
        if self.settle().is_none() {
            self.chain.mine(self.payee.machine.due_height(Surge::NONE).saturating_sub(self.chain.tip));
            self.payee_looks();
            self.settle();
        }
        self.chain.mine(1);
    }

    pub(crate) fn payee_has_what_it_delivered(&self) {
        let payee = &self.payee.machine;
        let owed = payee.owed().to_amount_ceil();
        let got = self.chain.got(Party::Payee);
        assert!(got >= owed || owed < UNECONOMIC, "the payee delivered for {owed} and gets {got}");
    }

    /// With every grant, from the first block in which it is valid; the newest of them comes just before the payee's own
    /// settlement, the older ones when their time comes.
    fn payer_cheats(&self) {
        if !self.payee_is_in_time() || self.books.grants.is_empty() {
            return;
        }
        let mut early = self.copy();
        early.play_grants();
        early.chain.mine(self.payee.machine.due_height(Surge::NONE).saturating_sub(early.chain.tip));
        early.play_grants();
        early.payee_ends();
        early.payee_has_what_it_delivered();

        let mut late = self.copy();
        late.payee_ends();
        let mut locks: Vec<u32> = self.books.grants.iter().map(|grant| grant.lock).collect();
        locks.sort_unstable();
        for lock in locks {
            late.chain.mine(lock.saturating_sub(late.chain.tip));
            late.play_grants();
        }
        late.payee_has_what_it_delivered();
    }

    /// Broadcasts what the payer was granted; gives what the nodes say.
    pub(crate) fn play_grants(&mut self) -> Vec<Result<(), Refused>> {
        let params = self.payer.machine.params().clone();
        let mut grants = self.books.grants.clone();
        grants.retain(|grant| self.chain.holds(&grant.funding));
        // What is worst for the payee comes first.
        grants.sort_by_key(|grant| grant.cumulative);
        let mut play = |grant| match refund::granted(&params, grant, FEE_RATE, &payer_key()) {
            Ok(transaction) => Some(self.chain.try_broadcast(&transaction, &params, Party::Payer)),
            Err(error) => {
                assert_eq!(error.code(), Code::Uneconomic);
                None
            }
        };
        grants.iter().filter_map(&mut play).collect()
    }

    // ---- the payer's risk ----

    /// Page and words are all that is left to the payer.
    fn payee_vanishes(&self) {
        let mut copy = self.copy();
        copy.silent.push(Party::Payee);
        copy.payer_ends();
        copy.payer_has_the_rest();
    }

    pub(crate) fn payer_ends(&mut self) {
        self.payer_looks();
        let from = self.payer.machine.refund_height();
        // What came late gets a block, too.
        self.chain.mine(from.saturating_sub(self.chain.tip).max(1));
        self.refund();
        self.chain.mine(1);
        let expiry = self.payer.machine.params().expiry;
        if !self.chain.unspent().is_empty() {
            self.chain.mine(expiry.saturating_sub(self.chain.tip));
            self.refund();
            self.chain.mine(1);
        }
        self.payer_looks();
    }

    /// The deposit, less what arrived, the window, and what was let pass as lost.
    pub(crate) fn payer_has_the_rest(&self) {
        let (books, tariff) = (&self.books, self.setup.tariff);
        let arrived = books.arrived + books.forgiven + books.found;
        let most = tariff.cost(arrived.saturating_add(tariff.window_quantity())).map(|cost| cost.to_amount_ceil());
        let Some(most) = most.filter(|most| *most < self.chain.deposited()) else { return };
        let (deposited, got) = (self.chain.deposited(), self.chain.got(Party::Payer));
        // A rest that is dust cannot be paid out.
        let dust = self.payer.machine.params().return_script.minimal_non_dust();
        let small = deposited - most < UNECONOMIC;
        assert!(
            got + most + dust > deposited || small,
            "of {deposited} the payer gets {got}, where no more than {most} could be paid"
        );
    }

    fn payee_cheats(&self) {
        let Some(funding) = self.payer.machine.funding().copied() else { return };
        let highest = self.books.own_of(&funding.outpoint).max_by_key(|paid| paid.cumulative);
        let Some(paid) = highest.filter(|_| self.chain.unspent().contains(&funding)) else { return };
        let mut copy = self.copy();
        copy.settle_at(funding, paid);
        copy.chain.mine(1);
        copy.payer_looks();
        copy.payer_ends();
        copy.payer_has_the_rest();
    }

    fn settle_at(&mut self, funding: Funding, paid: Paid) {
        let params = self.payer.machine.params().clone();
        let claim = Claim { params: &params, funding, paid, key: &payee_key() };
        self.chain.mine(paid.lock.saturating_sub(self.chain.tip));
        match settle(&[claim], &self.setup.payout(), FEE_RATE) {
            Ok(settlement) => self.chain.broadcast(&settlement.transaction, &params, Party::Payee),
            Err(error) => assert_eq!(error.code(), Code::Uneconomic),
        }
    }
}
