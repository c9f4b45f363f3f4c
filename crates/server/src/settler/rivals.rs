//! Rivals: transactions of the payer's that wait and would take back what was paid.
//!
//! After its expiry a `cltv` channel's payer can sweep it alone, and a `timelock` channel's payer holds every older payment.
//! A server that was down too long finds such a transaction in the mempool. As long as it waits, the settlement takes its
//! place by paying more, beyond the operator's cap if need be, and never more than it brings; the payer can answer in the
//! same way, and gets less of the deposit each time.
//!
//! The payer's own copy of the newest payment of a `timelock` channel takes nothing back, and spares us the fee. But while it
//! waits, older payments become valid: one that is too cheap for the next block, or was not in it, is outbid as well.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rillpay_chain::{Chain, ChainError};
use rillpay_channel::bitcoin::{FeeRate, OutPoint, Txid, Weight};
use rillpay_channel::fee::{self, Replaced};
use rillpay_channel::settlement::Spender;

use super::making::{Terms, claim};
use super::policy::Rates;
use super::{Settler, groups};
use crate::app::App;
use crate::watchlist::Watch;

/// Transactions that one replacement may evict (BIP 125).
const MAX_LEAVING: usize = 100;

impl Settler {
    /// Settles the channels whose deposit a rival spends that still waits, each rival's by themselves.
    pub(super) async fn contest(&mut self, app: &Arc<App>, rates: &Rates, tip: u32) {
        let contested = self.contested(app);
        self.fair.retain(|fair, _| contested.contains_key(fair));
        for (rival, group) in contested {
            let rivalled = match self.rivalled(app, rival, group, rates, tip).await {
                Ok(rivalled) => rivalled,
                Err(error) => {
                    tracing::warn!(%rival, %error, "a transaction that spends a deposit cannot be looked at");
                    continue;
                }
            };
            for group in groups(&rivalled) {
                self.outbid(app, rival, group, rates).await;
            }
        }
    }

    /// Closed channels that something spends which is no settlement on its way, by what spends them.
    fn contested(&self, app: &App) -> BTreeMap<Txid, Vec<Watch>> {
        let taken = self.taken();
        let ours: HashSet<&Txid> = taken.values().collect();
        let mut contested = BTreeMap::<_, Vec<_>>::new();
        for watch in app.channels.watched.all() {
            let free = watch.funding.is_some_and(|funding| !taken.contains_key(&funding.outpoint));
            let settled =
                |spent: &Txid| ours.contains(spent) || self.former.contains(spent) || self.lost.contains(spent);
            if let Some(spent) = watch.spent.filter(|spent| watch.collectable && free && !settled(spent)) {
                contested.entry(spent).or_default().push(watch);
            }
        }
        contested
    }

    /// Those of a group that a transaction robs or holds up, while it waits, as [`groups`] wants them.
    async fn rivalled(
        &mut self,
        app: &Arc<App>,
        txid: Txid,
        group: Vec<Watch>,
        rates: &Rates,
        tip: u32,
    ) -> Result<Vec<Watch>, ChainError> {
        let chain = app.view.chain.as_ref();
        if chain.status(&txid).await?.is_none_or(|status| status.is_confirmed()) {
            return Ok(vec![]);
        }
        // Where the backend cannot say what it pays, the next block tells whether that is enough.
        let info = chain.transaction(&txid).await.ok().flatten();
        let cheap = info.is_some_and(|info| fee::rate(info.fee, Weight::from_wu(info.weight)) < rates.hasty);
        let Some(transaction) = chain.raw_transaction(&txid).await? else { return Ok(vec![]) };
        let mut rivalled = Vec::new();
        for watch in group {
            // A channel that cannot be read is no reason to lose the others.
            let Ok(claim) = claim(app, &watch).await else { continue };
            match claim.borrowed().spender(&transaction) {
                Some(Spender::Rival) => rivalled.push(watch),
                Some(Spender::Payee) => {
                    self.former.insert(txid);
                    break;
                }
                Some(Spender::Fair) if cheap || tip > *self.fair.entry(txid).or_insert(tip) => rivalled.push(watch),
                Some(Spender::Fair) | None => {}
            }
        }
        rivalled.sort_by_key(|watch| (watch.lock, !watch.deep));
        Ok(rivalled)
    }

    async fn outbid(&mut self, app: &Arc<App>, rival: Txid, group: &[Watch], rates: &Rates) {
        let replaced = leaving(app, rival, true).await;
        // Where it was too little nonetheless, twice as much is offered the next time.
        let refused = group.iter().filter_map(|watch| self.outbid.get(&watch.row)).max();
        let doubled = refused.map_or(FeeRate::ZERO, |rate| rate.checked_mul(2).unwrap_or(FeeRate::MAX));
        let terms = Terms { replaced, ..rates.hasty.max(doubled).into() };
        match self.settle(app, group, &terms).await {
            Ok(Some(settlement)) => {
                tracing::warn!(%rival, txid = %settlement.txid, rate = %settlement.rate, "a rival of ours was outbid");
                self.former.remove(&rival);
                self.under_way.get_or_insert_default().push(settlement);
            }
            Ok(None) => {
                tracing::error!(%rival, channels = group.len(), "to outbid a rival would cost more than it brings");
                self.lost.insert(rival);
            }
            Err(error) => {
                tracing::error!(%rival, code = error.code().as_str(), "a rival could not be outbid; trying again");
            }
        }
    }
}

/// What leaves the mempool when this transaction does: it, and with `children` whatever spends from it, directly or not.
/// `None` where the backend cannot say, or where it is more than may be replaced.
pub(super) async fn leaving(app: &App, root: Txid, children: bool) -> Option<Replaced> {
    match walk(app.view.chain.as_ref(), root, children).await {
        Ok(replaced) => replaced,
        Err(error) => {
            tracing::warn!(%root, %error, "it is not known what would have to be replaced");
            None
        }
    }
}

async fn walk(chain: &dyn Chain, root: Txid, children: bool) -> Result<Option<Replaced>, ChainError> {
    let (mut replaced, mut seen, mut open) = (Replaced::NOTHING, HashSet::new(), vec![root]);
    while let Some(txid) = open.pop() {
        if !seen.insert(txid) {
            continue;
        }
        if seen.len() > MAX_LEAVING {
            return Ok(None);
        }
        let Some(info) = chain.transaction(&txid).await?.filter(|info| !info.status.is_confirmed()) else { continue };
        replaced = replaced.and(info.fee, Weight::from_wu(info.weight), txid == root);
        if !children {
            break;
        }
        for (vout, _) in (0_u32..).zip(&info.vout) {
            // One that a confirmed transaction spends is of no concern here.
            let spending = chain.outspend(&OutPoint { txid, vout }).await.ok().and_then(|outspend| outspend.spending());
            open.extend(spending.filter(|spending| !spending.status.is_confirmed()).map(|spending| spending.txid));
        }
    }
    Ok(Some(replaced))
}
