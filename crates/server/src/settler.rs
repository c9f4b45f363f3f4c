//! Collects the money: closed channels, merged into as few transactions as possible.
//!
//! A closed channel waits a while for others (`merge_delay`), unless its close margin has begun. The transaction is stored
//! before it is broadcast and repeated until it is buried; a restart repeats the same one. A channel whose share of the
//! fee would eat up its payment is kept, not burnt: it goes along when fees have fallen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rillpay_chain::{ChainError, Reason};
use rillpay_channel::bitcoin::{FeeRate, OutPoint};
use rillpay_channel::commitment::{Funding, Paid};
use rillpay_channel::keys::Key;
use rillpay_channel::settlement::{Claim, MAX_CHANNELS, settle};
use rillpay_channel::{ChannelParams, Code, Error};

use crate::app::App;
use crate::errors;
use crate::store::{Row, StoredSettlement};
use crate::watcher::BURIED;
use crate::watchlist::Watch;

/// Blocks that an ordinary settlement may take; one that is due asks for the next block.
const PATIENT_TARGET: u16 = 6;
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
    /// Channels that were not worth their fee, and the lowest rate at which they were not. They hurry nobody, and are
    /// tried again below it; zero is for those that cannot be settled at all.
    flagged: HashMap<Row, FeeRate>,
    /// The height at which they were last broadcast again.
    repeated_at: Option<u32>,
    not_before: Option<Instant>,
}

/// A claim that owns its parts.
struct OwnedClaim {
    row: Row,
    params: ChannelParams,
    funding: Funding,
    paid: Paid,
    key: Key,
}

impl OwnedClaim {
    const fn borrowed(&self) -> Claim<'_> {
        Claim { params: &self.params, funding: self.funding, paid: self.paid, key: &self.key }
    }
}

impl Settler {
    /// Repeats what is under way and settles what is due; gives the time until something else is.
    pub(crate) async fn run(&mut self, app: &Arc<App>, tip: u32) -> Result<Duration, Error> {
        if self.repeated_at != Some(tip) {
            self.repeated_at = None;
            let under_way = match self.under_way.take() {
                Some(under_way) => under_way,
                None => app.channels.store.settlements().await.map_err(|error| errors::of_store(&error))?,
            };
            // Were this broken off by an error, the next pass would read them from the store again.
            let under_way = self.repeat(app, under_way, tip).await?;
            self.under_way = Some(self.raise(app, under_way, tip).await?);
            self.repeated_at = Some(tip);
        }
        self.forget_hopeless(app, tip).await?;
        let mut due = self.due(app);
        if due.is_empty() {
            return Ok(Duration::MAX);
        }
        let now = Instant::now();
        if let Some(pause) = self.not_before.and_then(|moment| moment.checked_duration_since(now)) {
            return Ok(pause);
        }
        let (patient, hasty) = (fee_rate(app, false).await?, fee_rate(app, true).await?);
        let is_urgent = |watch: &Watch| tip >= watch.close_height;
        // What is not worth its fee decides nothing, but comes along, last, where others pay for the journey.
        let is_flagged = |watch: &Watch| {
            let rate = if is_urgent(watch) { hasty } else { patient };
            self.flagged.get(&watch.row).is_some_and(|flagged| rate >= *flagged)
        };
        due.sort_by_key(is_flagged);
        let worth = due.get(..due.partition_point(|watch| !is_flagged(watch))).unwrap_or_default();
        let oldest = worth.iter().filter_map(|watch| self.waiting.get(&watch.row)).min();
        let Some(oldest) = oldest else { return Ok(Duration::MAX) };
        let urgent = worth.iter().any(is_urgent);
        let delay = app.config.settlement.merge_delay;
        let rest = delay.saturating_sub(now.saturating_duration_since(*oldest));
        if !urgent && worth.len() < MAX_CHANNELS && !rest.is_zero() {
            return Ok(rest);
        }
        let rate = if urgent { hasty } else { patient };
        let mut groups: Vec<&[Watch]> = due.chunks(MAX_CHANNELS).rev().collect();
        while let Some(group) = groups.pop() {
            match self.settle(app, group, rate).await {
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
                    self.not_before = now.checked_add(RETRY);
                }
            }
        }
        Ok(RETRY)
    }

    /// Forgets channels that were not worth their fee until their payer could take everything back, and after.
    async fn forget_hopeless(&mut self, app: &App, tip: u32) -> Result<(), Error> {
        if self.flagged.values().all(|rate| *rate == FeeRate::ZERO) {
            return Ok(());
        }
        for watch in app.channels.watched.all() {
            let kept = self.flagged.get(&watch.row).is_some_and(|rate| *rate > FeeRate::ZERO);
            if kept && tip >= watch.expiry.saturating_add(BURIED) {
                tracing::warn!(channel = %watch.id, "expired without ever having been worth its fee; given up");
                app.channels.store.finish(watch.row).await.map_err(|error| errors::of_store(&error))?;
                app.channels.watched.remove(watch.id);
            }
        }
        Ok(())
    }

    /// Takes note that a channel is not worth its fee at this rate; true if that is news.
    fn flag(&mut self, row: Row, rate: FeeRate) -> bool {
        let before = self.flagged.get(&row).copied();
        self.flagged.insert(row, before.map_or(rate, |before| before.min(rate)));
        before.is_none()
    }

    /// Closed channels whose funding is confirmed and nothing spends yet, in the order of opening.
    fn due(&mut self, app: &App) -> Vec<Watch> {
        let taken: HashSet<OutPoint> = self
            .under_way
            .iter()
            .flatten()
            .flat_map(|settlement| &settlement.transaction.input)
            .map(|input| input.previous_output)
            .collect();
        let mut due = app.channels.watched.all();
        due.retain(|watch| {
            watch.collectable
                && watch.deep
                && watch.spent.is_none()
                && watch.funding.is_some_and(|out| !taken.contains(&out))
        });
        let now = Instant::now();
        let rows: HashSet<Row> = due.iter().map(|watch| watch.row).collect();
        self.waiting.retain(|row, _| rows.contains(row));
        self.flagged.retain(|row, _| rows.contains(row));
        for watch in &due {
            self.waiting.entry(watch.row).or_insert(now);
        }
        due
    }

    /// Broadcasts again what is not in a block yet, and forgets what is buried or can never be. Gives what is left.
    async fn repeat(
        &self,
        app: &App,
        under_way: Vec<StoredSettlement>,
        tip: u32,
    ) -> Result<Vec<StoredSettlement>, Error> {
        let chain = app.view.chain.as_ref();
        let mut kept = Vec::with_capacity(under_way.len());
        for settlement in under_way {
            let status = chain.status(&settlement.txid).await.map_err(|error| errors::of_chain(&error))?;
            let done = match status {
                Some(status) => status.confirmations(tip) >= BURIED,
                None => match chain.broadcast(&settlement.transaction).await {
                    Ok(_) => false,
                    Err(ChainError::Refused(refusal)) if refusal.reason == Reason::AlreadyKnown => false,
                    Err(ChainError::Refused(refusal)) => {
                        tracing::warn!(txid = %settlement.txid, %refusal, "a settlement is refused now; it is made anew");
                        true
                    }
                    Err(error) => return Err(errors::of_chain(&error)),
                },
            };
            if done {
                forget(app, &settlement).await?;
            } else {
                kept.push(settlement);
            }
        }
        Ok(kept)
    }

    /// Replaces settlements that still wait while fees have risen well beyond what they pay (BIP 125).
    async fn raise(
        &mut self,
        app: &Arc<App>,
        under_way: Vec<StoredSettlement>,
        tip: u32,
    ) -> Result<Vec<StoredSettlement>, Error> {
        if under_way.is_empty() {
            return Ok(under_way);
        }
        let (patient, hasty) = (fee_rate(app, false).await?, fee_rate(app, true).await?);
        let watched = app.channels.watched.all();
        let mut now_under_way = Vec::with_capacity(under_way.len());
        for old in under_way {
            let inputs: HashSet<OutPoint> = old.transaction.input.iter().map(|input| input.previous_output).collect();
            let own = |watch: &&Watch| watch.funding.is_some_and(|funding| inputs.contains(&funding));
            let group: Vec<Watch> = watched.iter().filter(own).cloned().collect();
            let rate = if group.iter().any(|watch| tip >= watch.close_height) { hasty } else { patient };
            let status = app.view.chain.status(&old.txid).await.map_err(|error| errors::of_chain(&error))?;
            let waits = status.is_some_and(|status| !status.is_confirmed());
            let replaced =
                if waits && rate >= well_above(old.rate) { self.settle(app, &group, rate).await } else { Ok(None) };
            match replaced {
                Ok(Some(new)) => {
                    tracing::info!(old = %old.txid, new = %new.txid, from = %old.rate, to = %rate, "a settlement's fee was raised");
                    forget(app, &old).await?;
                    now_under_way.push(new);
                }
                Ok(None) => now_under_way.push(old),
                Err(error) => {
                    tracing::warn!(txid = %old.txid, code = error.code().as_str(), "a settlement's fee could not be raised");
                    now_under_way.push(old);
                }
            }
        }
        Ok(now_under_way)
    }

    /// Settles what is worth its fee in this group; `None` if nothing is.
    async fn settle(
        &mut self,
        app: &Arc<App>,
        group: &[Watch],
        rate: FeeRate,
    ) -> Result<Option<StoredSettlement>, Error> {
        let claims = self.claims(app, group, rate).await?;
        if claims.is_empty() {
            return Ok(None);
        }
        let borrowed: Vec<_> = claims.iter().map(OwnedClaim::borrowed).collect();
        let settled = match settle(&borrowed, &app.config.payout, rate) {
            Err(error) if error.code() == Code::Uneconomic => {
                let flagged = claims.iter().filter(|claim| self.flag(claim.row, rate)).count();
                if flagged > 0 {
                    tracing::warn!(channels = flagged, %rate, "uneconomic to settle at this fee rate; kept until fees fall");
                }
                return Ok(None);
            }
            settled => settled?,
        };
        let txid = settled.transaction.compute_txid();
        let settlement = StoredSettlement { txid, transaction: settled.transaction, rate };
        let stored = app.channels.store.add_settlement(settlement.clone()).await;
        if let Err(error) = stored {
            // There is no time to wait for a better disk. Were the server to stop now, it would settle anew.
            if !group.iter().any(|watch| app.view.tip() >= watch.close_height) {
                return Err(errors::of_store(&error));
            }
            tracing::error!(%txid, %error, "a settlement that is due is broadcast without having been stored");
        }
        match app.view.chain.broadcast(&settlement.transaction).await {
            Err(ChainError::Refused(refusal)) => {
                tracing::error!(%txid, %refusal, "the chain refused a settlement");
                forget(app, &settlement).await?;
                return Err(REFUSED);
            }
            // Not known whether it arrived: it is repeated with the next block.
            Err(error) => drop(errors::of_chain(&error)),
            Ok(_) => tracing::info!(
                %txid, channels = claims.len(), fee = %settled.fee, payout = %settled.payout, "settlement broadcast"
            ),
        }
        for claim in &claims {
            self.waiting.remove(&claim.row);
        }
        Ok(Some(settlement))
    }

    /// The claims of a group that bring more than they cost. A damaged channel is left out: the others are not to wait
    /// for it.
    async fn claims(&mut self, app: &Arc<App>, group: &[Watch], rate: FeeRate) -> Result<Vec<OwnedClaim>, Error> {
        let mut claims = Vec::with_capacity(group.len());
        for watch in group {
            match claim(app, watch).await {
                Ok(claim) => match claim.borrowed().is_economic(rate) {
                    Ok(true) => claims.push(claim),
                    Ok(false) => {
                        if self.flag(watch.row, rate) {
                            let amount = claim.paid.cumulative;
                            tracing::warn!(channel = %watch.id, %amount, %rate, "uneconomic to settle; kept until fees fall");
                        }
                    }
                    // Above all a seed that is not the one the channel was opened with.
                    Err(error) => {
                        self.flag(watch.row, FeeRate::ZERO);
                        tracing::error!(channel = %watch.id, %error, "this channel cannot be settled");
                    }
                },
                Err(error) if error.code() == Code::CorruptedStore => {
                    self.flag(watch.row, FeeRate::ZERO);
                    tracing::error!(channel = %watch.id, "a damaged channel cannot be settled");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(claims)
    }
}

async fn forget(app: &App, settlement: &StoredSettlement) -> Result<(), Error> {
    app.channels.store.remove_settlement(settlement.txid).await.map_err(|error| errors::of_store(&error))
}

/// A quarter more: less is not worth a replacement, which has to pay for its own relay, too.
fn well_above(rate: FeeRate) -> FeeRate {
    let rate = rate.to_sat_per_kwu();
    FeeRate::from_sat_per_kwu(rate.saturating_add(rate.div_ceil(4)))
}

async fn fee_rate(app: &App, urgent: bool) -> Result<FeeRate, Error> {
    let policy = &app.config.settlement;
    let estimates = app.view.chain.fee_estimates().await.map_err(|error| errors::of_chain(&error))?;
    let target = if urgent { 1 } else { PATIENT_TARGET };
    Ok(estimates.within(target).clamp(policy.floor, policy.cap))
}

async fn claim(app: &Arc<App>, watch: &Watch) -> Result<OwnedClaim, Error> {
    let channel = app.channels.get(watch.id).await?;
    let parts = app.channels.look(&channel, None, |payee| {
        let (Some(funding), Some(paid)) = (payee.funding(), payee.closing()) else {
            return Err(Error::new(Code::NothingToDo, "the channel is not closed"));
        };
        Ok((payee.params().clone(), *funding, *paid))
    });
    let (params, funding, paid) = parts.await?;
    Ok(OwnedClaim { row: watch.row, params, funding, paid, key: app.seed.channel_key(watch.row)? })
}
