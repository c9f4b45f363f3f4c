//! How a deposit goes in where the page itself makes it, and how what was deposited comes back.

use futures_channel::oneshot;
use rillpay_channel::Code;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rillpay_channel::commitment::Funding;
use rillpay_channel::grant::Grant;
use rillpay_channel::wire::Message;

use super::Session;
use crate::channel::DEFAULT_FEE_RATE;
use crate::error::{Error, Result};
use crate::esplora::{Look, NO_CHAIN};

/// How many outputs are asked for at once: anybody can pay to the address, and a payee has enough of too many messages.
const RECLAIMS: usize = 4;

const NOTHING_TO_TAKE: &str = "there is nothing to take back";

impl Session {
    pub(super) async fn broadcast(&self, transaction: &Transaction) -> Result<()> {
        let esplora = self.shared.site.esplora.clone().ok_or(NO_CHAIN)?;
        esplora.broadcast(transaction).await
    }

    pub(super) async fn on_fund(&mut self, transaction: Transaction, reply: oneshot::Sender<Result<Txid>>) {
        let step = self.shared.payer.borrow().fund(transaction);
        let asked = self.carry_out_all(step).await;
        self.funding = Some(reply);
        if let Err(error) = asked {
            self.answer_funding(Err(error));
        }
    }

    pub(super) fn answer_funding(&mut self, outcome: Result<Txid>) {
        match (self.funding.take(), outcome) {
            // A page that does not wait any more does not mind.
            (Some(reply), outcome) => drop(reply.send(outcome)),
            // After a reload nobody waits.
            (None, Err(error)) => self.shared.problem(&error),
            (None, Ok(_)) => {}
        }
    }

    /// Asks for what need not wait for the expiry: once on each socket, for a payee may say no. What was granted makes for
    /// another look, and so for the next ones.
    pub(super) fn reclaim(&mut self, look: &Look) {
        if !self.is_attached() {
            return;
        }
        let outputs = self.shared.payer.borrow().reclaimable(&look.outputs, DEFAULT_FEE_RATE);
        let due = outputs.into_iter().filter(|output| !self.reclaimed.contains(output)).take(RECLAIMS);
        for output in due.collect::<Vec<_>>() {
            self.reclaimed.push(output);
            self.send(&Message::Reclaim(output));
        }
    }

    /// Takes what the payee has let go.
    pub(super) async fn take_granted(&mut self, grant: &Grant) -> Result<Txid> {
        let rate = self.taking.as_ref().map_or(DEFAULT_FEE_RATE, |(rate, _)| *rate);
        let step = self.shared.payer.borrow().reclaimed(grant, rate)?;
        let broadcasts = self.carry_out(step).await?;
        for transaction in &broadcasts {
            self.broadcast(transaction).await?;
        }
        broadcasts.first().map(Transaction::compute_txid).ok_or(Error::new(Code::NothingToDo, NOTHING_TO_TAKE))
    }

    pub(super) fn answer_taking(&mut self, outcome: Result<Txid>) {
        match (self.taking.take(), outcome) {
            // A page that does not wait any more does not mind.
            (Some((_, reply)), outcome) => drop(reply.send(outcome)),
            (None, Err(error)) => self.shared.problem(&error),
            (None, Ok(_)) => {}
        }
    }

    pub(super) async fn on_refund(&mut self, look: Look, fee_rate: FeeRate, reply: oneshot::Sender<Result<Txid>>) {
        let early = self.reclaimable(&look, fee_rate);
        self.look_due = 0;
        match early {
            Some(funding) => {
                self.taking = Some((fee_rate, reply));
                self.send(&Message::Reclaim(funding));
            }
            // A page that does not wait any more does not mind.
            None => drop(reply.send(self.refund(look, fee_rate).await)),
        }
    }

    /// What can be had before the payer can take it alone, while the payee can be asked.
    pub(super) fn reclaimable(&self, look: &Look, fee_rate: FeeRate) -> Option<Funding> {
        let payer = self.shared.payer.borrow();
        let asked = self.is_attached() && look.tip < payer.refund_height();
        payer.reclaimable(&look.outputs, fee_rate).first().copied().filter(|_| asked)
    }

    pub(super) async fn refund(&mut self, look: Look, fee_rate: FeeRate) -> Result<Txid> {
        let step = self.shared.payer.borrow().refund(&look.outputs, fee_rate, look.tip)?;
        let broadcasts = self.carry_out(step).await?;
        let [transaction] = broadcasts.as_slice() else {
            return Err(Error::new(Code::NothingToDo, NOTHING_TO_TAKE));
        };
        self.broadcast(transaction).await?;
        Ok(transaction.compute_txid())
    }
}
