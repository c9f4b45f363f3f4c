//! Collects the money: closed channels, merged into as few transactions as possible.
//!
//! ```text
//!   closed ── policy ── now? ──> making ──> under way ── in a block ── buried ──> forgotten
//!                                  ^            │
//!   spent by the payer ── rivals ──┴── raised, made anew
//! ```
//!
//! A closed channel waits a while for others, unless there is a reason not to ([`policy`]). The transaction is stored before
//! it is broadcast and repeated until it is buried; a restart repeats the same one. While it waits it is replaced by a dearer
//! one as fees rise, and as time runs out with every block. A channel whose share of the fee would eat up its payment is
//! kept, not burnt: it goes along when fees have fallen.

mod addresses;
mod making;
mod policy;
mod rivals;
mod under_way;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rillpay_chain::FeeEstimates;
use rillpay_channel::bitcoin::{Amount, FeeRate, OutPoint, Txid};
use rillpay_channel::settlement::MAX_CHANNELS;
use rillpay_channel::{Code, Error};

use self::addresses::Freed;
use self::policy::{Now, Pending, Rates, is_urgent};
use crate::app::App;
use crate::errors;
use crate::store::{Row, Seen, StoredSettlement};
use crate::watcher::BURIED;
use crate::watchlist::Watch;

/// The pause after a settlement that did not go well.
const RETRY: Duration = Duration::from_secs(30);

const REFUSED: Error = Error::new(Code::Unavailable, "the chain refused a settlement");

/// What the settler knows between two passes.
#[derive(Default)]
pub(crate) struct Settler {
    /// Settlements on their way; `None` until they are read from the store.
    under_way: Option<Vec<StoredSettlement>>,
    /// When each closed channel was first seen to wait.
    waiting: BTreeMap<Row, Instant>,
    /// Channels whose settlement came to nothing: they do not wait for others a second time.
    hurried: HashSet<Row>,
    /// Whether those that wait do so until fees have fallen.
    held_back: bool,
    /// Channels that were not worth their fee, and the lowest rate at which they were not. They hurry nobody, and are
    /// tried again below it; zero is for those that cannot be settled at all.
    flagged: HashMap<Row, FeeRate>,
    /// The rates at which the mempool found their settlement too cheap.
    outbid: HashMap<Row, FeeRate>,
    /// Transactions of ours that were replaced, and may yet be seen.
    former: HashSet<Txid>,
    /// The heights at which channels were tried to be settled whose deposit the chain does not show as it should.
    tried: HashMap<Row, u32>,
    /// Rivals that are not worth outbidding. Looked at again with the next block.
    lost: HashSet<Txid>,
    /// Payers' own copies of their newest payments that wait, and the heights at which they were first seen.
    fair: HashMap<Txid, u32>,
    /// Addresses that may be paid to again.
    freed: Vec<Freed>,
    /// No address below this number of its series is fresh, whatever the store says.
    next_number: u32,
    /// The height at which those on their way were last looked at, all of them.
    looked_at: Option<u32>,
    not_before: Option<Instant>,
}

impl Settler {
    /// Repeats what is under way and settles what is due; gives the time until something else is.
    /// A backend without an estimate of `fees` keeps nothing from being settled.
    pub(crate) async fn run(
        &mut self,
        app: &Arc<App>,
        tip: u32,
        fees: Option<&FeeEstimates>,
    ) -> Result<Duration, Error> {
        let policy = &app.config.settlement;
        let rates = fees.map_or_else(|| Rates::blind(policy), |fees| Rates::new(policy, fees));
        let new_block = self.looked_at != Some(tip);
        if new_block || self.is_displaced(app) {
            self.look(app, &rates, tip).await?;
        }
        if new_block && fees.is_some() {
            let seen = Seen { height: tip, patient: rates.patient, hasty: rates.hasty };
            if let Err(error) = app.channels.store.see(seen).await {
                tracing::warn!(%error, "what was seen of the chain could not be stored");
            }
        }
        self.forget_hopeless(app, tip).await?;
        self.contest(app, &rates, tip).await;
        let mut due = self.due(app, tip);
        if due.is_empty() {
            self.held_back = false;
            return Ok(Duration::MAX);
        }
        let now = Instant::now();
        if let Some(pause) = self.not_before.and_then(|moment| moment.checked_duration_since(now)) {
            return Ok(pause);
        }
        // What is not worth its fee decides nothing, but comes along, last, where others pay for the journey.
        let is_flagged = |watch: &Watch| {
            let rate = rates.least(is_urgent(watch, tip));
            self.flagged.get(&watch.row).is_some_and(|flagged| rate >= *flagged)
        };
        due.sort_by_key(|watch| (watch.lock, !watch.deep, is_flagged(watch)));
        let worth: Vec<&Watch> = due.iter().filter(|watch| !is_flagged(watch)).collect();
        let oldest = worth.iter().filter_map(|watch| self.waiting.get(&watch.row)).min();
        let Some(oldest) = oldest else { return Ok(Duration::MAX) };
        let pending = Pending {
            amount: worth.iter().fold(Amount::ZERO, |sum, watch| sum.checked_add(watch.amount).unwrap_or(sum)),
            channels: worth.len(),
            urgent: worth.iter().any(|watch| is_urgent(watch, tip)),
            hurried: worth.iter().any(|watch| self.hurried.contains(&watch.row)),
            held_back: self.held_back,
            waited: now.saturating_duration_since(*oldest),
        };
        match pending.decide(policy, rates.dear) {
            Now::All => self.held_back = false,
            Now::Urgent => {
                self.held_back = true;
                due.retain(|watch| is_urgent(watch, tip));
            }
            Now::HoldBack => {
                if !self.held_back {
                    tracing::info!(channels = pending.channels, rate = %rates.patient, "settlement waits for lower fees");
                }
                self.held_back = true;
                return Ok(Duration::MAX);
            }
            Now::Wait(rest) => return Ok(rest),
        }
        for watch in due.iter().filter(|watch| !watch.deep) {
            tracing::warn!(channel = %watch.id, "time runs out: settling although the deposit is not seen deeply enough");
            self.tried.insert(watch.row, tip);
        }
        for rate in rates.tries(pending.urgent) {
            self.settle_all(app, &due, rate).await;
            due.retain(|watch| is_urgent(watch, tip) && self.flagged.get(&watch.row).is_some_and(|at| rate >= *at));
        }
        Ok(RETRY)
    }

    /// Looks at what is on its way: after each block, and when something else was seen in its place.
    async fn look(&mut self, app: &Arc<App>, rates: &Rates, tip: u32) -> Result<(), Error> {
        let new_block = self.looked_at.take() != Some(tip);
        let under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => app.channels.store.settlements().await.map_err(|error| errors::of_store(&error))?,
        };
        if new_block {
            self.lost.clear();
        }
        // Were this broken off by an error, the next pass would read them from the store again.
        let (mut under_way, all_seen) = self.repeat(app, under_way, tip).await?;
        if !under_way.is_empty() {
            under_way = self.raise(app, under_way, rates, tip).await?;
        }
        if under_way.is_empty() {
            self.former.clear();
        }
        self.under_way = Some(under_way);
        self.looked_at = all_seen.then_some(tip);
        Ok(())
    }

    /// Settles all that is due, in as few transactions as possible.
    async fn settle_all(&mut self, app: &Arc<App>, due: &[Watch], rate: FeeRate) {
        let mut groups: Vec<&[Watch]> = groups(due).collect();
        groups.reverse();
        while let Some(group) = groups.pop() {
            match self.settle(app, group, &rate.into()).await {
                Ok(Some(settlement)) => {
                    self.under_way.get_or_insert_default().push(settlement);
                }
                Ok(None) => {}
                // One input that the chain does not know would hold all others up: halves find it.
                Err(error) if error == REFUSED && group.len() > 1 => {
                    let (first, second) = group.split_at(group.len().div_ceil(2));
                    groups.extend([second, first]);
                }
                Err(error) => {
                    tracing::error!(
                        code = error.code().as_str(),
                        text = error.text(),
                        "a settlement failed; trying again"
                    );
                    self.not_before = Instant::now().checked_add(RETRY);
                }
            }
        }
    }

    /// Forgets channels that were not worth their fee until their payer could take everything back, and after. One whose
    /// settlement is on its way was worth it at last.
    async fn forget_hopeless(&mut self, app: &App, tip: u32) -> Result<(), Error> {
        if self.flagged.values().all(|rate| *rate == FeeRate::ZERO) {
            return Ok(());
        }
        let taken = self.taken();
        for watch in app.channels.watched.all() {
            if watch.funding.is_some_and(|funding| taken.contains_key(&funding.outpoint)) {
                continue;
            }
            let kept = self.flagged.get(&watch.row).is_some_and(|rate| *rate > FeeRate::ZERO);
            if kept && tip >= watch.expiry.saturating_add(BURIED) {
                tracing::warn!(channel = %watch.id, "expired without ever having been worth its fee; given up");
                app.channels.store.finish(watch.row).await.map_err(|error| errors::of_store(&error))?;
                app.channels.watched.end(watch.id);
            }
        }
        Ok(())
    }

    /// Closed channels that nothing spends yet, in the order of opening. One whose deposit is not seen deeply enough, or not at
    /// all, waits for it as long as there is time; then it is tried with every block: what is seen decides who is served, and
    /// the chain what can be collected.
    fn due(&mut self, app: &App, tip: u32) -> Vec<Watch> {
        let taken = self.taken();
        let watched = app.channels.watched.all();
        let deposits: HashSet<OutPoint> =
            watched.iter().filter_map(|watch| watch.funding).map(|funding| funding.outpoint).collect();
        self.prune_addresses(&deposits);
        let rows: HashSet<Row> = watched.iter().map(|watch| watch.row).collect();
        self.outbid.retain(|row, _| rows.contains(row));
        self.tried.retain(|row, _| rows.contains(row));
        let mut due = watched;
        due.retain(|watch| {
            watch.collectable
                && (watch.deep || (is_urgent(watch, tip) && self.tried.get(&watch.row) != Some(&tip)))
                && watch.spent.is_none()
                && watch.funding.is_some_and(|funding| !taken.contains_key(&funding.outpoint))
        });
        let now = Instant::now();
        let rows: HashSet<Row> = due.iter().map(|watch| watch.row).collect();
        self.waiting.retain(|row, _| rows.contains(row));
        self.hurried.retain(|row| rows.contains(row));
        self.flagged.retain(|row, _| rows.contains(row));
        for watch in &due {
            self.waiting.entry(watch.row).or_insert(now);
        }
        due
    }
}

/// What can be settled together, of channels in the order of their lock times: those with the same one, as many as a
/// settlement may have. Deposits that are seen are not put at risk together with others.
fn groups(watches: &[Watch]) -> impl Iterator<Item = &[Watch]> {
    let together = watches.chunk_by(|one, other| (one.lock, one.deep) == (other.lock, other.deep));
    together.flat_map(|group| group.chunks(MAX_CHANNELS))
}

async fn forget(app: &App, settlement: &StoredSettlement) -> Result<(), Error> {
    app.channels.store.remove_settlement(settlement.txid).await.map_err(|error| errors::of_store(&error))
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use rillpay_channel::payee::{Event, Payee};

    use super::*;
    use crate::store::tests::params;

    #[test]
    fn no_group_is_larger_than_a_settlement_nor_of_several_kinds() {
        let opened = Event::Opened { params: Box::new(params(0)), key_index: 0 };
        let watch = Watch::of(&Payee::replay([opened]).unwrap());
        let of = |lock, deep| {
            let mut watch = watch.clone();
            (watch.lock, watch.deep) = (lock, deep);
            watch
        };
        let some = |watch, count| repeat_n(watch, count);
        let all: Vec<Watch> =
            some(of(0, true), 1_201).chain(some(of(0, false), 2)).chain(some(of(7, true), 500)).collect();
        let cut: Vec<_> = groups(&all).map(|group| (group.len(), group[0].lock, group[0].deep)).collect();
        assert_eq!(
            cut,
            [(500, 0, true), (500, 0, true), (201, 0, true), (2, 0, false), (500, 7, true)],
            "all of them, each once"
        );
    }
}
