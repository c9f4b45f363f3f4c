//! How the deposit comes back: refunds after the expiry, and what the payee grants before it.
//!
//! A `timelock` channel is funded in three steps, so that the money can come back whatever the payee does:
//!
//! ```text
//! fund(transaction) ──store──> Fund ──> payee ──> Granted ──granted()──store──> broadcast the transaction
//! ```

#[cfg(test)]
mod tests;

use bitcoin::{Amount, FeeRate, Transaction};

use super::{Effect, Event, Payer, Spend, Step};
use crate::codec::MAX_TRANSACTION;
use crate::commitment::{Funding, SeenOutput};
use crate::error::{Code, Detail, Error, refuse};
use crate::grant::Grant;
use crate::refund::{self, KitEntry};
use crate::wire::{ChannelState, Message};

impl Payer {
    /// The funding transaction of a `timelock` channel is built and signed, and **not broadcast**: asks the payee for the
    /// refund's grant. [`Payer::granted`] then broadcasts it.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a transaction that does not fund this channel, once, out of SegWit inputs alone (of
    /// others the txid could still be changed by others, BIP 141, and the refund would be void); [`Code::DepositTooSmall`],
    /// [`Code::DepositTooLarge`]; [`Code::UnexpectedMessage`] where a funding is granted already.
    pub fn fund(&self, transaction: Transaction) -> Result<Step, Error> {
        let funding = self.check_transaction(&transaction)?;
        self.params.check_deposit(funding.capacity)?;
        if self.refundable.is_some_and(|grant| grant.funding != funding) {
            return refuse(Code::UnexpectedMessage, "this channel has its funding already");
        }
        Ok(self.step(vec![Event::Funding(transaction)], vec![Effect::Send(Message::Fund(funding))]))
    }

    /// The output of a transaction that funds this channel.
    pub(super) fn check_transaction(&self, transaction: &Transaction) -> Result<Funding, Error> {
        if self.params.kind.ladder().is_none() {
            return refuse(Code::InvalidArgument, "a channel of this kind is funded by paying into its address");
        }
        let native = transaction.input.iter().all(|input| input.script_sig.is_empty() && !input.witness.is_empty());
        let size = transaction.total_size();
        if transaction.input.is_empty() || !native || size > MAX_TRANSACTION.into() {
            return refuse(Code::InvalidArgument, "a funding transaction spends signed, native SegWit inputs alone");
        }
        let script = self.params.funding_script();
        let txid = transaction.compute_txid();
        let mut outputs = (0..).zip(&transaction.output).filter(|(_, output)| output.script_pubkey == script);
        match (outputs.next(), outputs.next()) {
            (Some((vout, output)), None) => {
                Ok(Funding { outpoint: bitcoin::OutPoint { txid, vout }, capacity: output.value })
            }
            _ => refuse(Code::InvalidArgument, "a funding transaction pays the channel once"),
        }
    }

    /// Whether the refund of a funding is certain: in a `timelock` channel it needs the payee's grant.
    pub(super) fn is_safe(&self, funding: &Funding) -> bool {
        self.params.kind.ladder().is_none() || self.refundable.is_some_and(|grant| grant.funding == *funding)
    }

    pub(super) fn is_refund(&self, grant: &Grant) -> bool {
        let kind = self.params.kind.ladder().is_some();
        kind && grant.lock == self.params.expiry && grant.cumulative == Amount::ZERO
    }

    /// What a session that begins has to take up again of the funding, and of the newest commitment.
    pub(super) fn resume_funding(&self, state: &ChannelState) -> Option<Effect> {
        self.params.kind.ladder()?;
        let own = self.transaction.as_ref().and_then(|transaction| self.check_transaction(transaction).ok());
        match (self.refundable, own.or(state.funding), self.paid) {
            (None, Some(funding), _) => Some(Effect::Send(Message::Fund(funding))),
            (Some(_), _, None) if self.funding.is_none() => self.transaction.clone().map(Effect::Broadcast),
            (Some(_), _, Some(paid))
                if self.countersigned.is_none_or(|grant| grant.lock != paid.lock)
                    && !self.stopping
                    && !state.stopped =>
            {
                Some(Effect::Send(Message::Pay(paid)))
            }
            _ => None,
        }
    }

    /// Both sides of a `timelock` channel hold each commitment. The payee's signature may be on its way for the newest; one
    /// that has kept it back for the one before gets no other until it has signed.
    pub(super) fn is_in_arrears(&self) -> bool {
        let signed = self.countersigned.map_or(self.params.expiry, |grant| grant.lock);
        let Some((ladder, paid)) = self.params.kind.ladder().zip(self.paid) else { return false };
        signed.saturating_sub(paid.lock) > ladder.step.into()
    }

    /// The payee has granted the refund of a `timelock` channel's funding, which is broadcast now, or a commitment. For a
    /// grant with lock 0 see [`Payer::reclaimed`].
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] for a grant that was not asked for, [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn granted(&self, grant: &Grant) -> Result<Step, Error> {
        if self.is_refund(grant) {
            let own = self.transaction.as_ref().map(|transaction| self.check_transaction(transaction)).transpose()?;
            if own.or(self.funding).is_some_and(|funding| funding != grant.funding) {
                return refuse(Code::UnexpectedMessage, "this is not the funding that a refund was asked for");
            }
            grant.verify(&self.params)?;
            let broadcast = self.transaction.clone().filter(|_| self.funding.is_none()).map(Effect::Broadcast);
            return Ok(self.step(vec![Event::Refundable(*grant)], broadcast.into_iter().collect()));
        }
        if !self.params.is_rung(grant.lock) || grant.lock == 0 || self.funding != Some(grant.funding) {
            return refuse(Code::UnexpectedMessage, "this is not what was asked for");
        }
        grant.verify(&self.params)?;
        // One for an earlier payment comes too late to be of use.
        let newest = self.paid.is_some_and(|paid| paid.lock == grant.lock && paid.cumulative == grant.cumulative);
        let events = if newest { vec![Event::Countersigned(*grant)] } else { vec![] };
        Ok(self.step(events, vec![]))
    }

    /// What at the channel's address the payee may let go before the expiry, once it is confirmed, and as far as something is
    /// left of it at this fee rate: a deposit that is too small, one beside the funding once that is chosen for good, and, at
    /// the end of a channel on which nothing was paid, the funding. The most valuable first, [`refund::MAX_OUTPUTS`] at most.
    /// `seen` is what the chain shows at the address.
    pub fn reclaimable(&self, seen: &[SeenOutput], fee_rate: FeeRate) -> Vec<Funding> {
        let is_due = |output: &&SeenOutput| output.confirmations > 0 && self.is_reclaimable(&output.funding);
        let mut outputs: Vec<SeenOutput> = seen.iter().filter(is_due).copied().collect();
        if outputs.is_empty() {
            return vec![];
        }
        let Ok(least) = refund::least_release(&self.params, fee_rate, &self.key) else { return vec![] };
        outputs.retain(|output| output.funding.capacity >= least);
        refund::ranked(&outputs, self.foremost(), refund::MAX_OUTPUTS)
    }

    fn is_reclaimable(&self, output: &Funding) -> bool {
        match &self.funding {
            Some(funding) if funding == output => {
                let unwatched = self.closing.is_none() && self.received.delivered() == 0;
                self.stopping && unwatched && self.spend.is_none()
            }
            Some(_) => self.paid.is_some() || self.stopping,
            None => output.capacity < self.params.min_deposit,
        }
    }

    /// The payee has granted an output at once (lock 0): takes it.
    ///
    /// # Errors
    /// [`Code::UnexpectedMessage`] for another grant, [`Code::InvalidSignature`], [`Code::HighS`], [`Code::Uneconomic`].
    pub fn reclaimed(&self, grant: &Grant, fee_rate: FeeRate) -> Result<Step, Error> {
        if grant.lock != 0 || grant.cumulative != Amount::ZERO {
            return refuse(Code::UnexpectedMessage, "this is not what was asked for");
        }
        grant.verify(&self.params)?;
        let transaction = refund::granted(&self.params, grant, fee_rate, &self.key)?;
        Ok(self.take(transaction, self.funding.is_some_and(|funding| funding == grant.funding)))
    }

    /// The height from which the payer can take back what it has, whatever the payee does: the expiry, or the lock of the
    /// newest commitment that both sides hold.
    pub fn refund_height(&self) -> u32 {
        self.countersigned.map_or(self.params.expiry, |grant| grant.lock)
    }

    /// The transaction that funds a `timelock` channel, once it is made. It may not be broadcast yet.
    pub const fn funding_transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Takes back what can be taken without the payee: after the expiry the confirmed outputs at the address that are worth
    /// it, [`refund::MAX_OUTPUTS`] at once, the funding before all (in a `timelock` channel: the funding), and in a `timelock`
    /// channel, from the lock of the newest commitment on, what that leaves. `seen` is what the chain shows at the address,
    /// `tip` the height of the best block.
    ///
    /// # Errors
    /// [`Code::NotExpired`] with the height from which it can, [`Code::NothingToDo`], [`Code::Uneconomic`].
    pub fn refund(&self, seen: &[SeenOutput], fee_rate: FeeRate, tip: u32) -> Result<Step, Error> {
        let early = self.countersigned.filter(|_| tip < self.params.expiry);
        let from = self.refund_height();
        if tip < from {
            return Err(
                Error::new(Code::NotExpired, "nothing can be taken back before this height").with(Detail::Height(from))
            );
        }
        let outputs = refund::ranked(seen, self.foremost(), refund::MAX_OUTPUTS);
        let transaction = match early {
            Some(grant) if outputs.contains(&grant.funding) => {
                refund::granted(&self.params, &grant, fee_rate, &self.key)?
            }
            _ => self.refund_at(&outputs, fee_rate)?,
        };
        // What was paid beside the funding may come back after a settlement, too; that outcome stands.
        Ok(self.take(transaction, self.funding.is_none_or(|funding| outputs.contains(&funding))))
    }

    /// The output that matters most: what funds the channel, or will.
    fn foremost(&self) -> Option<Funding> {
        self.funding.or(self.refundable.map(|grant| grant.funding))
    }

    /// A transaction that is valid after the expiry.
    fn refund_at(&self, outputs: &[Funding], fee_rate: FeeRate) -> Result<Transaction, Error> {
        if self.params.kind.ladder().is_none() {
            return refund::sweep(&self.params, outputs, fee_rate, &self.key);
        }
        match self.refundable.filter(|grant| outputs.contains(&grant.funding)) {
            Some(grant) => refund::granted(&self.params, &grant, fee_rate, &self.key),
            None => refuse(Code::NothingToDo, "there is nothing that can be taken back"),
        }
    }

    fn take(&self, transaction: Transaction, ends: bool) -> Step {
        let (own, theirs): (Vec<_>, Vec<_>) =
            transaction.output.iter().partition(|output| output.script_pubkey == self.params.return_script);
        let returned = own.last().map_or(Amount::ZERO, |output| output.value);
        // One that pays the payee's share is the settlement, whoever broadcasts it.
        let refund = theirs.is_empty();
        let spend = Spend { txid: transaction.compute_txid(), returned, refund, confirmed: false };
        let events = if ends { vec![Event::Spent(Some(spend))] } else { vec![] };
        self.step(events, vec![Effect::Broadcast(transaction)])
    }

    /// Signed refunds at several fee rates, valid after the expiry, for the viewer to keep: of each confirmed output by
    /// itself, the funding's first, then those of the most valuable others, of [`refund::MAX_KIT_OUTPUTS`] in all. In a
    /// `timelock` channel: of the funding. `seen` is what the chain shows at the address.
    ///
    /// # Errors
    /// As [`refund::refund_kit`]; [`Code::NothingToDo`] while nothing is confirmed.
    pub fn refund_kit(&self, seen: &[SeenOutput]) -> Result<Vec<KitEntry>, Error> {
        let mut outputs = refund::ranked(seen, self.foremost(), refund::MAX_KIT_OUTPUTS);
        outputs.retain(|output| self.is_safe(output));
        refund::kit(&outputs, |output, rate| self.refund_at(&[*output], rate))
    }
}
