//! The books: coins, balance and history, worked out of whole transactions and of nothing else.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Amount, OutPoint, Transaction, Txid};

use crate::account::{Place, Scripts};
use crate::error::{ABSURD, Error};

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The height of its block; `None` while it waits for one.
    pub height: Option<u32>,
    /// The time in its block's header, in seconds since 1970.
    pub time: Option<u32>,
}

/// A transaction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) transaction: Transaction,
    pub(crate) status: Status,
}

/// An output of ours that nothing spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much.
    pub value: Amount,
    /// Whose key spends it.
    pub place: Place,
    /// What may be done with it.
    pub kind: Kind,
}

/// What may be done with a coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a block.
    Confirmed,
    /// Not in a block, but of a transaction that spends coins of ours only: it can be spent further.
    OwnChange,
    /// Not in a block, and somebody else could still take it back.
    Unconfirmed,
    /// A block reward that is not 100 blocks deep yet.
    Immature,
    /// Held for a transaction that was built and not sent.
    Locked,
}

/// Every coin counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// In blocks.
    pub confirmed: Amount,
    /// On its way in, and change of payments that are on their way out.
    pub unconfirmed: Amount,
    /// Block rewards that cannot be spent yet.
    pub immature: Amount,
    /// Held for transactions that were built and not sent.
    pub locked: Amount,
}

/// A transaction as it concerns this wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub txid: Txid,
    /// What it pays to addresses of ours.
    pub received: Amount,
    /// What it spends of coins of ours.
    pub sent: Amount,
    /// Its fee, where this wallet alone paid for it.
    pub fee: Option<Amount>,
    /// Where it stands.
    pub status: Status,
}

/// Blocks until a block reward can be spent.
const MATURITY: u32 = 100;

/// Confirmations at a tip: 0 while unconfirmed. A block that is newer than the tip that was seen counts as the tip.
pub(crate) fn confirmations(status: Status, tip: u32) -> u32 {
    status.height.map_or(0, |height| tip.saturating_sub(height).saturating_add(1))
}

/// Looks into the transactions of a wallet.
pub(crate) struct Book<'a> {
    scripts: &'a Scripts,
    tip: u32,
    transactions: BTreeMap<Txid, (&'a Transaction, Status)>,
    spent: BTreeSet<OutPoint>,
}

impl<'a> Book<'a> {
    /// `transactions` must not contradict each other: no two of them spend the same output.
    pub(crate) fn new(
        scripts: &'a Scripts,
        tip: u32,
        transactions: impl IntoIterator<Item = (Txid, &'a Transaction, Status)>,
    ) -> Self {
        let transactions: BTreeMap<_, _> =
            transactions.into_iter().map(|(txid, transaction, status)| (txid, (transaction, status))).collect();
        let inputs = transactions.values().flat_map(|(transaction, _)| &transaction.input);
        let spent = inputs.map(|input| input.previous_output).collect();
        Self { scripts, tip, transactions, spent }
    }

    /// The coins; those that `locked` transactions spend are locked.
    pub(crate) fn coins(&self, locked: &BTreeSet<OutPoint>) -> Vec<Coin> {
        let mut coins = vec![];
        for (txid, (transaction, status)) in &self.transactions {
            for (vout, output) in (0..).zip(&transaction.output) {
                let outpoint = OutPoint::new(*txid, vout);
                let Some(place) = self.scripts.place(&output.script_pubkey) else {
                    continue;
                };
                if self.spent.contains(&outpoint) {
                    continue;
                }
                let kind = if transaction.is_coinbase() && confirmations(*status, self.tip) < MATURITY {
                    Kind::Immature
                } else if locked.contains(&outpoint) {
                    Kind::Locked
                } else if status.height.is_some() {
                    Kind::Confirmed
                } else if self.is_own(transaction) {
                    Kind::OwnChange
                } else {
                    Kind::Unconfirmed
                };
                coins.push(Coin { outpoint, value: output.value, place, kind });
            }
        }
        coins
    }

    /// # Errors
    /// [`ABSURD`].
    pub(crate) fn history(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = vec![];
        for (txid, (transaction, status)) in &self.transactions {
            let received =
                transaction.output.iter().filter(|output| self.scripts.place(&output.script_pubkey).is_some());
            let received = sum(received.map(|output| output.value))?;
            let own: Vec<_> = transaction.input.iter().filter_map(|input| self.own(&input.previous_output)).collect();
            let sent = sum(own.iter().copied())?;
            let paid_alone = own.len() == transaction.input.len();
            let out = sum(transaction.output.iter().map(|output| output.value))?;
            let fee = if paid_alone { sent.checked_sub(out) } else { None };
            entries.push(Entry { txid: *txid, received, sent, fee, status: *status });
        }
        // Unconfirmed first, then the newest.
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.status.height.unwrap_or(u32::MAX), entry.txid)));
        Ok(entries)
    }

    /// The value of an output of ours.
    fn own(&self, outpoint: &OutPoint) -> Option<Amount> {
        let (transaction, _) = self.transactions.get(&outpoint.txid)?;
        let output = transaction.output.get(usize::try_from(outpoint.vout).ok()?)?;
        self.scripts.place(&output.script_pubkey).map(|_| output.value)
    }

    fn is_own(&self, transaction: &Transaction) -> bool {
        transaction.input.iter().all(|input| self.own(&input.previous_output).is_some())
    }
}

/// # Errors
/// [`ABSURD`].
pub(crate) fn balance(coins: &[Coin]) -> Result<Balance, Error> {
    let total = |kinds: &[Kind]| sum(coins.iter().filter(|coin| kinds.contains(&coin.kind)).map(|coin| coin.value));
    Ok(Balance {
        confirmed: total(&[Kind::Confirmed])?,
        unconfirmed: total(&[Kind::OwnChange, Kind::Unconfirmed])?,
        immature: total(&[Kind::Immature])?,
        locked: total(&[Kind::Locked])?,
    })
}

/// # Errors
/// [`ABSURD`].
pub(crate) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, Error> {
    let sum = amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add);
    sum.filter(|sum| *sum <= Amount::MAX_MONEY).ok_or(ABSURD)
}

/// Whether a transaction pays to us or spends what is ours.
pub(crate) fn touches(scripts: &Scripts, transactions: &BTreeMap<Txid, Transaction>, one: &Transaction) -> bool {
    let paid = one.output.iter().any(|output| scripts.place(&output.script_pubkey).is_some());
    paid || one.input.iter().any(|input| {
        let outpoint = input.previous_output;
        let output =
            transactions.get(&outpoint.txid).and_then(|tx| tx.output.get(usize::try_from(outpoint.vout).ok()?));
        output.is_some_and(|output| scripts.place(&output.script_pubkey).is_some())
    })
}
