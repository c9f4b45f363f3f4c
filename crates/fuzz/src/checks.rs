//! The books of an all-seeing observer, and what must hold by them.

use bitcoin::{Amount, OutPoint};
use rillpay_channel::budget::{Limits, Spent};
use rillpay_channel::commitment::{Funding, Paid, change};
use rillpay_channel::grant::Grant;
use rillpay_channel::payer::{FORGIVEN_WINDOWS, Payer};
use rillpay_channel::persist::Decision;
use rillpay_channel::tariff::Tariff;
use rillpay_channel::{ChannelParams, Error, Msat, payee, payer};

use crate::world::World;

/// What has happened, told by no one's memory but the observer's.
#[derive(Clone, Default)]
pub(crate) struct Books {
    /// Signed by the payer's machine, and stored.
    own: Vec<(OutPoint, Paid)>,
    /// Signed with the payer's key by someone else.
    rogue: Vec<(OutPoint, Paid)>,
    /// Signed by the payee, and sent.
    pub(crate) grants: Vec<Grant>,
    /// The highest amounts of each kind.
    paid: Amount,
    pub(crate) accepted: Amount,
    pub(crate) acked: Amount,
    pub(crate) delivered: u64,
    epoch: u64,
    /// What the viewer spent on the whole site.
    pub(crate) site: Spent,
    /// The same when the page was loaded.
    pub(crate) loaded: Spent,
    /// What really arrived, what the payer let pass as lost, and what it found again with a payment that it had lost.
    pub(crate) arrived: u64,
    pub(crate) forgiven: u64,
    pub(crate) found: u64,
    /// A peer's lie was believed, or a frame was damaged and yet believed.
    pub(crate) fooled: bool,
    /// A deposit was taken out of the chain for good.
    pub(crate) evicted: bool,
    /// The payee closed for want of time.
    pub(crate) expired: bool,
}

impl Books {
    /// The payments on this deposit, oldest first.
    pub(crate) fn own_of(&self, outpoint: &OutPoint) -> impl Iterator<Item = Paid> {
        let of = move |(signed, paid): &(OutPoint, Paid)| (signed == outpoint).then_some(*paid);
        self.own.iter().filter_map(of)
    }

    pub(crate) fn rogue(&mut self, outpoint: OutPoint, paid: Paid) {
        self.rogue.push((outpoint, paid));
    }

    fn granted(&mut self, grant: Grant) {
        if !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
    }

    pub(crate) fn has_rogues(&self) -> bool {
        !self.rogue.is_empty()
    }

    /// The payer's signature over this payment exists. Where there is no change the signature covers no amount: then one
    /// over any such amount is one over all of them.
    fn is_signed(&self, params: &ChannelParams, funding: &Funding, amount: Amount) -> bool {
        let all = || self.own.iter().chain(&self.rogue);
        let changeless = |amount| matches!(change(params, funding.capacity, amount), Ok(None));
        let on_it = || all().filter(|(outpoint, _)| *outpoint == funding.outpoint).map(|(_, paid)| paid.cumulative);
        on_it().any(|signed| signed == amount) || changeless(amount) && on_it().any(changeless)
    }

    /// The payer has stored this; `adopted` where it took it over from the payee.
    pub(crate) fn payer_stored(&mut self, before: &PayerBefore, adopted: bool, events: &[payer::Event]) {
        let mut received = before.received;
        for event in events {
            match event {
                payer::Event::Received { quantity, forgiven } => {
                    assert!(*forgiven >= self.forgiven, "what was forgiven is forgotten");
                    if adopted {
                        self.found += quantity - received;
                    }
                    received = *quantity;
                    self.forgiven = *forgiven;
                    let windows = before.tariff.window_quantity() * FORGIVEN_WINDOWS;
                    assert!(*forgiven <= windows, "{forgiven} is too much to forgive");
                    let known = self.arrived + self.forgiven + self.found;
                    assert!(*quantity <= known, "received {quantity} where no more than {known} can be");
                }
                payer::Event::Paid { paid, spent } => {
                    let funding = before.funding.expect("pays from a deposit");
                    assert!(paid.cumulative > before.paid, "a payment that is not more");
                    let more = Msat::from_amount(paid.cumulative - before.paid).unwrap();
                    assert_eq!(before.spent.site.checked_add(more), Some(spent.site), "booked is what is signed");
                    self.site = *spent;
                    if adopted {
                        assert!(
                            self.is_signed(&before.params, &funding, paid.cumulative),
                            "adopts what was never signed"
                        );
                        let covered = before.tariff.covered(Msat::from_amount(paid.cumulative).unwrap());
                        assert!(received <= before.received.max(covered), "adopts a count that is not paid");
                        continue;
                    }
                    // Of its own will it signs for what arrived, what it forgave and the window, and for nothing else.
                    let most = before.tariff.cost(received.saturating_add(before.tariff.window_quantity()));
                    let most = most.unwrap_or(Msat::MAX_MONEY).to_amount_ceil();
                    assert!(paid.cumulative <= most, "signed {} with {received} received", paid.cumulative);
                    self.own.push((funding.outpoint, *paid));
                    let within = |sum: Msat, limit: Option<Msat>| limit.is_none_or(|limit| sum <= limit);
                    assert!(within(spent.site, before.limits.site), "over the site's budget");
                    assert!(within(spent.in_day, before.limits.day), "over the day's budget");
                    let session = spent.site.checked_sub(self.loaded.site).unwrap();
                    assert!(within(session, before.limits.session), "over the session's budget");
                }
                payer::Event::Closing(paid) => {
                    let funding = before.funding.expect("closes a deposit");
                    if adopted {
                        assert!(self.is_signed(&before.params, &funding, paid.cumulative), "ends as it never signed");
                    } else {
                        assert!(paid.cumulative <= before.paid, "ends at more than was paid");
                        self.own.push((funding.outpoint, *paid));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The payer before a decision.
pub(crate) struct PayerBefore {
    params: ChannelParams,
    tariff: Tariff,
    funding: Option<Funding>,
    paid: Amount,
    received: u64,
    spent: Spent,
    limits: Limits,
}

impl PayerBefore {
    pub(crate) fn new(payer: &Payer, limits: Limits) -> Self {
        Self {
            params: payer.params().clone(),
            tariff: payer.params().tariff,
            funding: payer.funding().copied(),
            paid: payer.paid(),
            received: payer.received(),
            spent: payer.spent(),
            limits,
        }
    }
}

/// A decision, or a refusal for a reason that can be: nothing that these parties do makes a store look corrupted or a
/// state change under a decision.
pub(crate) fn decided<E, F>(decision: Result<Decision<E, F>, Error>) -> Result<Decision<E, F>, Error> {
    use rillpay_channel::Code::{CorruptedStore, InvalidArgument, StaleDecision, WrongKey};
    if let Err(error) = &decision {
        let never = [CorruptedStore, InvalidArgument, StaleDecision, WrongKey];
        assert!(!never.contains(&error.code()), "{error:?} is no answer to anything that can happen here");
    }
    decision
}

impl World {
    /// What must hold after every action.
    pub(crate) fn check(&mut self) {
        self.check_payee();
        self.check_payer();
        self.check_exposure();
    }

    fn check_payee(&mut self) {
        let payee = &self.payee.machine;
        let (accepted, params) = (payee.accepted(), payee.params());
        let accepted_msat = Msat::from_amount(accepted).unwrap();
        let owed = params.tariff.cost(payee.delivered()).expect("what is delivered has a price");
        assert_eq!(payee.owed(), owed);
        assert!(owed <= accepted_msat, "{owed} delivered for {accepted}");
        assert!(accepted >= self.books.accepted, "accepted fell from {} to {accepted}", self.books.accepted);
        assert!(accepted >= self.books.acked, "an acknowledged payment is lost");
        assert!(payee.delivered() >= self.books.delivered, "the count of what was delivered fell");
        assert!(payee.epoch() >= self.books.epoch, "the epoch fell");
        match payee.funding() {
            Some(funding) => {
                assert!(accepted <= params.spendable(funding.capacity), "accepted more than can be spent");
                for (what, paid) in [("accepted", payee.state().paid), ("closing", payee.closing().copied())] {
                    let Some(paid) = paid else { continue };
                    let signed = self.books.is_signed(params, funding, paid.cumulative);
                    assert!(signed, "{what} {} was never signed", paid.cumulative);
                    assert_eq!(paid.verify(params, funding), Ok(()));
                }
            }
            None => assert_eq!((accepted, payee.closing()), (Amount::ZERO, None)),
        }
        if let Some(closing) = payee.closing() {
            assert!(closing.cumulative >= owed.to_amount_ceil(), "closes below what was delivered");
        }
        self.books.accepted = accepted;
        self.books.delivered = payee.delivered();
        self.books.epoch = payee.epoch();
    }

    fn check_payer(&mut self) {
        let payer = &self.payer.machine;
        let paid = payer.paid();
        assert!(paid >= self.books.paid, "the payer forgot a payment");
        self.books.paid = paid;
        let Some(funding) = payer.funding() else {
            assert_eq!((paid, payer.closing()), (Amount::ZERO, None));
            return;
        };
        assert!(paid <= payer.params().spendable(funding.capacity), "paid more than can be spent");
        if paid > Amount::ZERO {
            assert!(self.books.is_signed(payer.params(), funding, paid), "{paid} was never signed");
        }
        if let Some(closing) = payer.closing() {
            assert_eq!(closing.verify(payer.params(), funding), Ok(()), "ends with a signature for another deposit");
        }
    }

    /// Nothing is sent that is not stored.
    pub(crate) fn check_sent_by_payer(&self, effect: &payer::Effect) {
        use rillpay_channel::wire::Message;
        let slot = |slot| self.payer.disk.slot::<payer::Event>(slot);
        let stored = match effect {
            payer::Effect::Send(Message::Pay(sent)) => {
                matches!(slot(3), Some(payer::Event::Paid { paid, .. }) if paid.cumulative >= sent.cumulative)
            }
            payer::Effect::Send(Message::Stop | Message::Reclaim(_)) => matches!(slot(4), Some(payer::Event::Stopping)),
            payer::Effect::Send(Message::Close(sent)) => {
                matches!(slot(5), Some(payer::Event::Closing(paid)) if paid == *sent)
            }
            payer::Effect::Send(Message::Fund(funding)) => match slot(8) {
                Some(payer::Event::Funding(transaction)) => transaction.compute_txid() == funding.outpoint.txid,
                _ => true,
            },
            payer::Effect::Broadcast(sent) if self.funds(sent) => {
                let txid = sent.compute_txid();
                matches!(slot(9), Some(payer::Event::Refundable(grant)) if grant.funding.outpoint.txid == txid)
            }
            payer::Effect::Broadcast(sent) => {
                let txid = sent.compute_txid();
                let funding = self.payer.machine.funding().map(|funding| funding.outpoint);
                let beside = funding.is_none_or(|own| sent.input.iter().all(|input| input.previous_output != own));
                let spend = slot(7);
                beside || matches!(spend, Some(payer::Event::Spent(Some(spend))) if spend.txid == txid)
            }
            other => panic!("a payer does not do this: {other:?}"),
        };
        assert!(stored, "done before it was stored: {effect:?}");
    }

    /// As [`World::check_sent_by_payer`].
    pub(crate) fn check_sent_by_payee(&mut self, effect: &payee::Effect) {
        use rillpay_channel::wire::Message;
        let disk = &self.payee.disk;
        let slot = |slot| disk.slot::<payee::Event>(slot);
        let stored = match effect {
            payee::Effect::Send(Message::Ack { cumulative, .. }) => {
                self.books.acked = self.books.acked.max(*cumulative);
                let accepted = match slot(3) {
                    Some(payee::Event::Accepted(paid)) => paid.cumulative,
                    _ => Amount::ZERO,
                };
                accepted >= *cumulative
            }
            payee::Effect::Send(Message::Attached { epoch, .. }) => {
                matches!(slot(2), Some(payee::Event::Attached { epoch: stored }) if stored == *epoch)
            }
            payee::Effect::Send(Message::Stopped { .. }) => matches!(slot(5), Some(payee::Event::Stopped)),
            payee::Effect::Send(Message::Closed { cumulative, .. }) => {
                matches!(slot(6), Some(payee::Event::Closing(paid)) if paid.cumulative == *cumulative)
            }
            payee::Effect::Send(Message::Granted(grant)) => {
                self.books.granted(*grant);
                let own = matches!(slot(1), Some(payee::Event::Funded { funding, .. }) if funding == grant.funding);
                let payment = |paid: Paid| (grant.lock, grant.cumulative) == (paid.lock, paid.cumulative);
                match self.payee.machine.params() {
                    params if params.kind.ladder().is_some() && grant.lock == params.expiry => {
                        grant.cumulative == Amount::ZERO
                    }
                    _ if grant.lock > 0 => matches!(slot(3), Some(payee::Event::Accepted(paid)) if payment(paid)),
                    _ => !own || matches!(slot(8), Some(payee::Event::Released)),
                }
            }
            // A payment of nothing on nothing has no copy.
            payee::Effect::Countersign => {
                matches!(slot(3), Some(payee::Event::Accepted(_))) || self.payee.machine.accepted() == Amount::ZERO
            }
            payee::Effect::Settle => matches!(slot(6), Some(payee::Event::Closing(_))),
            payee::Effect::Send(Message::FundingSeen { .. } | Message::Settled { .. }) => true,
            other @ payee::Effect::Send(_) => panic!("a payee does not do this: {other:?}"),
        };
        assert!(stored, "done before it was stored: {effect:?}");
    }
}
