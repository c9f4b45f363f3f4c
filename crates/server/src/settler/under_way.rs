//! Settlements on their way: repeated until they are buried, raised until they are in a block, made anew where they cannot
//! be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rillpay_chain::{ChainError, Reason};
use rillpay_channel::Error;
use rillpay_channel::bitcoin::{FeeRate, OutPoint, Txid};
use rillpay_channel::fee::{half_way, least_step};

use super::addresses::payout;
use super::making::Terms;
use super::policy::Rates;
use super::rivals::leaving;
use super::{REFUSED, Settler, forget};
use crate::app::App;
use crate::errors;
use crate::store::StoredSettlement;
use crate::watcher::BURIED;
use crate::watchlist::Watch;

/// The deposits that a settlement spends.
fn deposits(settlement: &StoredSettlement) -> impl Iterator<Item = OutPoint> {
    settlement.transaction.input.iter().map(|input| input.previous_output)
}

/// The channels that a settlement settles, as far as they are watched.
fn group(settlement: &StoredSettlement, watched: &[Watch]) -> Vec<Watch> {
    let inputs: HashSet<OutPoint> = deposits(settlement).collect();
    let own = |watch: &&Watch| watch.funding.is_some_and(|funding| inputs.contains(&funding.outpoint));
    watched.iter().filter(own).cloned().collect()
}

impl Settler {
    /// The deposits that settlements on their way spend, and which does.
    pub(super) fn taken(&self) -> HashMap<OutPoint, Txid> {
        let under_way = self.under_way.iter().flatten();
        under_way.flat_map(|settlement| deposits(settlement).map(|deposit| (deposit, settlement.txid))).collect()
    }

    /// Whether the chain shows another transaction in the place of a settlement on its way.
    pub(super) fn is_displaced(&self, app: &App) -> bool {
        let taken = self.taken();
        let other = |watch: &Watch| {
            let own = watch.funding.and_then(|funding| taken.get(&funding.outpoint));
            let spent = watch.spent.filter(|spent| !self.former.contains(spent));
            own.zip(spent).is_some_and(|(own, spent)| *own != spent)
        };
        !taken.is_empty() && app.channels.watched.all().iter().any(other)
    }

    /// Broadcasts again what is not in a block yet, and forgets what is buried or can never be. Gives what is left, and whether
    /// the chain answered about all of it.
    pub(super) async fn repeat(
        &mut self,
        app: &App,
        under_way: Vec<StoredSettlement>,
        tip: u32,
    ) -> Result<(Vec<StoredSettlement>, bool), Error> {
        let chain = app.view.chain.as_ref();
        let (mut kept, mut failed, mut all_seen) = (Vec::with_capacity(under_way.len()), Vec::new(), true);
        let mut unseen = |error: &ChainError| {
            drop(errors::of_chain(error));
            all_seen = false;
        };
        for settlement in under_way {
            match chain.status(&settlement.txid).await {
                Err(error) => {
                    unseen(&error);
                    kept.push(settlement);
                }
                Ok(Some(status)) if status.confirmations(tip) >= BURIED => forget(app, &settlement).await?,
                Ok(Some(_)) => kept.push(settlement),
                Ok(None) => match chain.broadcast(&settlement.transaction).await {
                    Ok(_) => kept.push(settlement),
                    Err(ChainError::Refused(refusal)) if refusal.reason == Reason::AlreadyKnown => {
                        kept.push(settlement)
                    }
                    Err(ChainError::Refused(refusal)) => {
                        tracing::warn!(txid = %settlement.txid, %refusal, "a settlement is refused now; it is made anew");
                        forget(app, &settlement).await?;
                        failed.push(settlement);
                    }
                    Err(error) => {
                        unseen(&error);
                        kept.push(settlement);
                    }
                },
            }
        }
        if !failed.is_empty() {
            let watched = app.channels.watched.all();
            for settlement in failed {
                // Its channels have waited for others once already.
                self.hurried.extend(group(&settlement, &watched).iter().map(|watch| watch.row));
                self.free_address(app, &settlement, &kept);
            }
        }
        Ok((kept, all_seen))
    }

    /// Replaces settlements that wait where fees have risen well beyond what they pay, and urgent ones with every block
    /// that went by without them (BIP 125).
    pub(super) async fn raise(
        &mut self,
        app: &Arc<App>,
        under_way: Vec<StoredSettlement>,
        rates: &Rates,
        tip: u32,
    ) -> Result<Vec<StoredSettlement>, Error> {
        let watched = app.channels.watched.all();
        let mut now_under_way = Vec::with_capacity(under_way.len());
        for old in under_way {
            let group = group(&old, &watched);
            let status = app.view.chain.status(&old.txid).await.map_err(|error| errors::of_chain(&error));
            let waits = status.is_ok_and(|status| status.is_some_and(|status| !status.is_confirmed()));
            let rate = rates.raised(old.rate, &group, tip, tip > old.height).filter(|_| waits);
            let Some(rate) = rate else {
                now_under_way.push(old);
                continue;
            };
            let mut replaced = self.replace(app, &old, &group, rate).await;
            // What that costs is more than it brings: less is better than to stay where it is.
            let mut rate = rate;
            while matches!(replaced, Ok(None)) {
                rate = half_way(old.rate, rate);
                if rate < least_step(old.rate) {
                    break;
                }
                replaced = self.replace(app, &old, &group, rate).await;
            }
            match replaced {
                Ok(Some(new)) => {
                    tracing::info!(old = %old.txid, new = %new.txid, from = %old.rate, to = %new.rate, "a settlement's fee was raised");
                    forget(app, &old).await?;
                    self.former.insert(old.txid);
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

    /// A settlement of the same channels at another rate, to the same address, in the place of the old one.
    async fn replace(
        &mut self,
        app: &Arc<App>,
        old: &StoredSettlement,
        group: &[Watch],
        rate: FeeRate,
    ) -> Result<Option<StoredSettlement>, Error> {
        let mut terms = Terms { script: payout(&old.transaction).cloned(), ..rate.into() };
        // Whoever spends from a settlement has to be paid for, too. That is rare, and takes many questions to find out.
        for with_children in [false, true] {
            terms.replaced = leaving(app, old.txid, with_children).await;
            match self.settle(app, group, &terms).await {
                Err(error) if error == REFUSED && !with_children => {}
                done => return done,
            }
        }
        Err(REFUSED)
    }
}
