//! The address that a settlement pays to: of a series, one that no other settlement pays to.
//!
//! Its number is stored in the same write as the settlement, before anybody sees that. A replacement keeps the address. So
//! does what is made anew out of a settlement that came to nothing, as long as both spend the same deposit: only one of them
//! can ever be confirmed, and an operator's wallet, which looks only so many addresses ahead, is not led on by a quarrel.

use std::collections::HashSet;

use rillpay_channel::bitcoin::{OutPoint, ScriptBuf, Transaction};
use rillpay_channel::{Code, Error};

use super::Settler;
use crate::app::App;
use crate::config::{Payout, Series};
use crate::errors;
use crate::store::{PayoutNumber, StoredSettlement};

/// An address, and the number to be stored with the first settlement that pays to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) script: ScriptBuf,
    pub(super) number: Option<PayoutNumber>,
}

/// The address of a settlement that came to nothing.
pub(super) struct Freed {
    inputs: HashSet<OutPoint>,
    script: ScriptBuf,
}

impl Settler {
    /// The address for a settlement of these deposits.
    pub(super) async fn address(&self, app: &App, deposits: &[OutPoint]) -> Result<Address, Error> {
        let series = match &app.config.payout {
            Payout::Address(script) => return Ok(Address { script: script.clone(), number: None }),
            Payout::Series(series) => series,
        };
        let ours = |freed: &&Freed| deposits.iter().any(|deposit| freed.inputs.contains(deposit));
        if let Some(freed) = self.freed.iter().find(ours) {
            return Ok(Address { script: freed.script.clone(), number: None });
        }
        let name = series.name().to_bytes();
        let next = app.channels.store.next_payout(name.clone()).await.map_err(|error| errors::of_store(&error))?;
        let number = next.unwrap_or(Series::START).max(self.next_number);
        let script = series.script(number).ok_or(Error::new(Code::Unavailable, "all addresses are used up"))?;
        Ok(Address { script, number: Some(PayoutNumber { series: name, number }) })
    }

    /// A settlement pays there now.
    pub(super) fn take_address(&mut self, address: &Address) {
        self.freed.retain(|freed| freed.script != address.script);
        // What could not be stored is at least remembered.
        if let Some(taken) = &address.number {
            self.next_number = self.next_number.max(taken.number.saturating_add(1));
        }
    }

    /// A settlement came to nothing; its address is for what is made anew of it, unless one that still stands has it.
    pub(super) fn free_address(&mut self, app: &App, settlement: &StoredSettlement, standing: &[StoredSettlement]) {
        let script = payout(&settlement.transaction).filter(|script| **script != *app.config.payout.fixed());
        let Some(script) = script.filter(|_| matches!(app.config.payout, Payout::Series(_))) else { return };
        if standing.iter().all(|other| payout(&other.transaction) != Some(script)) {
            let inputs = settlement.transaction.input.iter().map(|input| input.previous_output).collect();
            self.freed.push(Freed { inputs, script: script.clone() });
        }
    }

    /// Forgets addresses of settlements whose deposits are all done with.
    pub(super) fn prune_addresses(&mut self, watched: &HashSet<OutPoint>) {
        self.freed.retain(|freed| !freed.inputs.is_disjoint(watched));
    }
}

/// Where a settlement pays to: the payee's output is the last one.
pub(super) fn payout(transaction: &Transaction) -> Option<&ScriptBuf> {
    transaction.output.last().map(|output| &output.script_pubkey)
}
