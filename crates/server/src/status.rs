//! What the store says of the operator's money, for `rillpay-server status`: read beside a running server, or without one.

use std::collections::HashMap;
use std::fmt;

use rillpay_channel::bitcoin::{Amount, FeeRate, OutPoint, Txid};
use rillpay_channel::payee::Payee;
use rillpay_channel::settlement::{gain, is_worth};

use crate::config::{Config, Payout, Series};
use crate::store::{Seen, Snapshot, StoreError};

/// Blocks to the expiry: what is nearer is counted in the line of the first of these that is not below it.
const WITHIN: [u32; 4] = [6, 36, 144, 1008];

/// What the store says of the operator's money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    seen: Option<Seen>,
    /// What was paid and is in no settlement, by the blocks that are left: as [`WITHIN`], and more than those.
    at_risk: [Sum; 5],
    /// The closed channels among these.
    closed: Sum,
    /// Those among the closed that are not worth their fee at the patient rate last seen.
    uneconomic: Sum,
    under_way: Vec<UnderWay>,
    damaged: usize,
    /// The next number of a series of addresses.
    next_address: Option<u32>,
}

/// Some channels, and what was paid on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    channels: usize,
    paid: Amount,
}

impl Sum {
    fn add(&mut self, paid: Amount) {
        self.channels = self.channels.saturating_add(1);
        self.paid = self.paid.checked_add(paid).unwrap_or(Amount::MAX_MONEY);
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} channels {:>16} sat", self.channels, self.paid.to_sat())
    }
}

/// A settlement on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UnderWay {
    txid: Txid,
    rate: FeeRate,
    height: u32,
    collects: Sum,
}

impl Status {
    /// Reads the store that the configuration names.
    ///
    /// # Errors
    /// [`StoreError`], also where no server has made a store there yet.
    pub fn read(config: &Config) -> Result<Self, StoreError> {
        let snapshot = Snapshot::open(&config.data_dir.join("channels.sqlite"))?;
        let mut status = Self { seen: snapshot.seen()?, ..Self::default() };
        if let Payout::Series(series) = &config.payout {
            status.next_address = Some(snapshot.next_payout(series.name().as_bytes())?.unwrap_or(Series::START));
        }
        let mut taken = HashMap::new();
        for settlement in snapshot.settlements()? {
            let deposits = settlement.transaction.input.iter().map(|input| input.previous_output);
            taken.extend(deposits.map(|deposit| (deposit, status.under_way.len())));
            let (txid, rate, height) = (settlement.txid, settlement.rate, settlement.height);
            status.under_way.push(UnderWay { txid, rate, height, collects: Sum::default() });
        }
        for channel in snapshot.open_channels()? {
            match channel {
                Ok(channel) => status.count(&channel.payee, &taken),
                Err(_) => status.damaged = status.damaged.saturating_add(1),
            }
        }
        Ok(status)
    }

    fn count(&mut self, payee: &Payee, taken: &HashMap<OutPoint, usize>) {
        let paid = payee.closing().map_or(payee.accepted(), |paid| paid.cumulative);
        let Some(funding) = payee.funding().filter(|_| paid > Amount::ZERO && !payee.is_released()) else { return };
        if let Some(settlement) = taken.get(&funding.outpoint).and_then(|index| self.under_way.get_mut(*index)) {
            settlement.collects.add(paid);
            return;
        }
        // Spent by what is no settlement on its way: a settlement that is buried, or the payer's own.
        if payee.spent().is_some() {
            return;
        }
        let left = payee.params().expiry.saturating_sub(self.seen.map_or(0, |seen| seen.height));
        let line = WITHIN.iter().position(|within| left <= *within).unwrap_or(WITHIN.len());
        if let Some(line) = self.at_risk.get_mut(line) {
            line.add(paid);
        }
        if payee.closing().is_some() {
            self.closed.add(paid);
            let gain = gain(payee.params(), funding.capacity, paid).unwrap_or(paid);
            if self.seen.is_some_and(|seen| !is_worth(gain, seen.patient)) {
                self.uneconomic.add(paid);
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seen {
            Some(Seen { height, patient, hasty }) => writeln!(
                f,
                "at block {height}; a settlement pays {} sat/vB, an urgent one {} sat/vB",
                patient.to_sat_per_vb_ceil(),
                hasty.to_sat_per_vb_ceil()
            )?,
            None => writeln!(f, "the server has not looked at the chain yet")?,
        }
        writeln!(f, "\npaid, in no settlement yet, by blocks to the expiry:")?;
        for (within, sum) in WITHIN.iter().zip(&self.at_risk) {
            writeln!(f, "  at most {within:>5} {sum}")?;
        }
        if let Some(sum) = self.at_risk.last() {
            writeln!(f, "  more          {sum}")?;
        }
        writeln!(f, "of these:")?;
        writeln!(f, "  closed        {}", self.closed)?;
        writeln!(f, "  not worth it  {}", self.uneconomic)?;
        writeln!(f, "\nsettlements on their way: {}", self.under_way.len())?;
        for UnderWay { txid, rate, height, collects } in &self.under_way {
            let rate = rate.to_sat_per_vb_ceil();
            writeln!(f, "  {txid}  made at block {height}, {rate} sat/vB\n                {collects}")?;
        }
        if let Some(number) = self.next_address {
            writeln!(f, "\nthe next settlement pays to address number {number}")?;
        }
        if self.damaged > 0 {
            writeln!(f, "\nchannels whose record is damaged: {} (the server's log names them)", self.damaged)?;
        }
        Ok(())
    }
}
