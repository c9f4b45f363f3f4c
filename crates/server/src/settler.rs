//! Collects the money: closed channels, merged into as few transactions as possible.
//!
//! A closed channel waits a while for others (`merge_delay`), unless its close margin has begun. The transaction is stored
//! before it is broadcast and repeated until it is buried; a restart repeats the same one. A channel whose share of the
//! fee would eat up its payment is kept, not burnt: it goes along when fees have fallen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rillpay_chain::{ChainError, Reason};
use rillpay_channel::bitcoin::{Amount, FeeRate, OutPoint};
use rillpay_channel::commitment::{Funding, Paid, dust_limit};
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
/// What one more channel adds to a merged settlement, in virtual bytes: input 41 + 35 (P2SH), witness (72 + 72 + 115 + 5)
/// / 4, change at most 43.
const CLAIM_VBYTES: u64 = 185;
/// The pause after a settlement that did not go well.
const RETRY: Duration = Duration::from_secs(30);

/// What the settler knows between two passes.
#[derive(Default)]
pub(crate) struct Settler {
    /// Settlements on their way; `None` until they are read from the store.
    under_way: Option<Vec<StoredSettlement>>,
    /// When each closed channel was first seen to wait.
    waiting: BTreeMap<Row, Instant>,
    /// Channels said to be uneconomic, so that it is said once.
    flagged: HashSet<Row>,
    repeated_at: u32,
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

impl Settler {
    /// Repeats what is under way and settles what is due; gives the time until something else is.
    pub(crate) async fn run(&mut self, app: &Arc<App>, tip: u32) -> Result<Duration, Error> {
        if self.under_way.is_none() {
            let stored = app.channels.store.settlements().await.map_err(|error| errors::of_store(&error))?;
            self.under_way = Some(stored);
            self.repeated_at = u32::MAX;
        }
        if self.repeated_at != tip {
            self.repeat(app, tip).await?;
            self.repeated_at = tip;
        }
        let due = self.due(app);
        let now = Instant::now();
        if let Some(pause) = self.not_before.and_then(|moment| moment.checked_duration_since(now)) {
            return Ok(pause);
        }
        let urgent = due.iter().any(|watch| tip >= watch.close_height);
        let oldest = due.iter().filter_map(|watch| self.waiting.get(&watch.row)).min();
        let Some(oldest) = oldest else { return Ok(Duration::MAX) };
        let delay = app.config.settlement.merge_delay;
        let rest = delay.saturating_sub(now.saturating_duration_since(*oldest));
        if !urgent && due.len() < MAX_CHANNELS && !rest.is_zero() {
            return Ok(rest);
        }
        self.not_before = None;
        for group in due.chunks(MAX_CHANNELS) {
            if let Err(error) = self.settle(app, group, urgent).await {
                tracing::error!(code = error.code().as_str(), text = error.text(), "a settlement failed; trying again");
                self.not_before = now.checked_add(RETRY);
            }
        }
        Ok(RETRY)
    }

    /// Closed channels whose funding nothing spends yet, in the order of opening.
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
            watch.closing && watch.spent.is_none() && watch.funding.is_some_and(|out| !taken.contains(&out))
        });
        let now = Instant::now();
        let rows: HashSet<Row> = due.iter().map(|watch| watch.row).collect();
        self.waiting.retain(|row, _| rows.contains(row));
        self.flagged.retain(|row| rows.contains(row));
        for watch in &due {
            self.waiting.entry(watch.row).or_insert(now);
        }
        due
    }

    /// Broadcasts again what is not in a block yet, and forgets what is buried or can never be.
    async fn repeat(&mut self, app: &App, tip: u32) -> Result<(), Error> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let mut kept = Vec::with_capacity(under_way.len());
        for settlement in under_way.drain(..) {
            let chain = app.view.chain.as_ref();
            let status = chain.status(&settlement.txid).await;
            let done = match status {
                Ok(Some(status)) => status.confirmations(tip) >= BURIED,
                Ok(None) => match chain.broadcast(&settlement.transaction).await {
                    Ok(_) => false,
                    Err(ChainError::Refused(refusal)) if refusal.reason == Reason::AlreadyKnown => false,
                    Err(ChainError::Refused(refusal)) => {
                        tracing::warn!(txid = %settlement.txid, %refusal, "a settlement is refused now; it is made anew");
                        true
                    }
                    Err(error) => {
                        errors::of_chain(&error);
                        false
                    }
                },
                Err(error) => {
                    errors::of_chain(&error);
                    false
                }
            };
            if done {
                let removed = app.channels.store.remove_settlement(settlement.txid).await;
                removed.map_err(|error| errors::of_store(&error))?;
            } else {
                kept.push(settlement);
            }
        }
        *under_way = kept;
        Ok(())
    }

    async fn settle(&mut self, app: &Arc<App>, group: &[Watch], urgent: bool) -> Result<(), Error> {
        let rate = fee_rate(app, urgent).await?;
        let mut claims = Vec::with_capacity(group.len());
        for watch in group {
            let claim = claim(app, watch).await?;
            if is_economic(&claim, rate) {
                claims.push(claim);
            } else if self.flagged.insert(watch.row) {
                tracing::warn!(
                    channel = %watch.id, amount = %claim.paid.cumulative, %rate,
                    "uneconomic to settle at this fee rate; kept until fees fall"
                );
            }
        }
        if claims.is_empty() {
            // Nothing to do until fees fall: look again with the next block, or later.
            self.not_before = Instant::now().checked_add(RETRY);
            return Ok(());
        }
        let borrowed: Vec<_> = claims
            .iter()
            .map(|claim| Claim { params: &claim.params, funding: claim.funding, paid: claim.paid, key: &claim.key })
            .collect();
        let settled = match settle(&borrowed, &app.config.payout, rate) {
            Err(error) if error.code() == Code::Uneconomic => {
                tracing::warn!(channels = claims.len(), %rate, "uneconomic to settle at this fee rate; kept until fees fall");
                self.not_before = Instant::now().checked_add(RETRY);
                return Ok(());
            }
            settled => settled?,
        };
        let settlement =
            StoredSettlement { txid: settled.transaction.compute_txid(), transaction: settled.transaction, rate };
        let stored = app.channels.store.add_settlement(settlement.clone()).await;
        stored.map_err(|error| errors::of_store(&error))?;
        match app.view.chain.broadcast(&settlement.transaction).await {
            Err(ChainError::Refused(refusal)) => {
                tracing::error!(txid = %settlement.txid, %refusal, "the chain refused a settlement");
                let removed = app.channels.store.remove_settlement(settlement.txid).await;
                removed.map_err(|error| errors::of_store(&error))?;
                return Err(Error::new(Code::Unavailable, "the chain refused a settlement"));
            }
            // Not known whether it arrived: it is repeated with the next block.
            Err(error) => drop(errors::of_chain(&error)),
            Ok(txid) => tracing::info!(
                %txid, channels = claims.len(), fee = %settled.fee, payout = %settled.payout, "settlement broadcast"
            ),
        }
        for claim in &claims {
            self.waiting.remove(&claim.row);
        }
        self.under_way.get_or_insert_default().push(settlement);
        Ok(())
    }
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

/// Whether a claim brings more than what it adds to the fee of a merged transaction.
fn is_economic(claim: &OwnedClaim, rate: FeeRate) -> bool {
    let change = claim.funding.capacity.checked_sub(claim.paid.cumulative).unwrap_or(Amount::ZERO);
    let gain =
        if change < dust_limit(&claim.params.return_script) { claim.funding.capacity } else { claim.paid.cumulative };
    rate.fee_vb(CLAIM_VBYTES).is_some_and(|fee| gain > fee)
}
