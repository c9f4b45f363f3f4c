//! Making a settlement: claims, fee, address, store, broadcast, in this order.

use std::sync::Arc;

use rillpay_chain::{ChainError, Reason};
use rillpay_channel::bitcoin::{FeeRate, OutPoint, ScriptBuf};
use rillpay_channel::commitment::{Funding, Paid};
use rillpay_channel::fee::{self, Fee, Replaced};
use rillpay_channel::keys::Key;
use rillpay_channel::settlement::{Claim, settle};
use rillpay_channel::{ChannelParams, Code, Error};

use super::addresses::Address;
use super::policy::is_urgent;
use super::{REFUSED, Settler, forget};
use crate::app::App;
use crate::errors;
use crate::store::{Row, StoreError, StoredSettlement};
use crate::watchlist::Watch;

/// How often an address is tried for when other servers on the same store take the numbers.
const MAX_ADDRESS_TRIES: u32 = 8;

/// A claim that owns its parts.
pub(super) struct OwnedClaim {
    row: Row,
    params: ChannelParams,
    funding: Funding,
    paid: Paid,
    key: Key,
}

impl OwnedClaim {
    pub(super) const fn borrowed(&self) -> Claim<'_> {
        Claim { params: &self.params, funding: self.funding, paid: self.paid, key: &self.key }
    }
}

/// What a settlement has to pay, and where to.
pub(super) struct Terms {
    pub(super) rate: FeeRate,
    /// What leaves the mempool for it.
    pub(super) replaced: Option<Replaced>,
    /// The address of the settlement that it replaces.
    pub(super) script: Option<ScriptBuf>,
}

impl From<FeeRate> for Terms {
    fn from(rate: FeeRate) -> Self {
        Self { rate, replaced: None, script: None }
    }
}

impl Settler {
    /// Settles what is worth its fee in this group; `None` if nothing is.
    pub(super) async fn settle(
        &mut self,
        app: &Arc<App>,
        group: &[Watch],
        terms: &Terms,
    ) -> Result<Option<StoredSettlement>, Error> {
        let claims = self.claims(app, group, terms.rate).await?;
        if claims.is_empty() {
            return Ok(None);
        }
        let Some((settlement, address)) = self.store(app, group, &claims, terms).await? else { return Ok(None) };
        let txid = settlement.txid;
        match app.view.chain.broadcast(&settlement.transaction).await {
            Err(ChainError::Refused(refusal)) => {
                tracing::error!(%txid, %refusal, "the chain refused a settlement");
                forget(app, &settlement).await?;
                if terms.script.is_none() {
                    self.free_address(app, &settlement, &[]);
                }
                if matches!(refusal.reason, Reason::InsufficientFee | Reason::FeeTooLow) {
                    self.outbid.extend(claims.iter().map(|claim| (claim.row, settlement.rate)));
                }
                return Err(REFUSED);
            }
            // Not known whether it arrived: it is repeated with the next block.
            Err(error) => drop(errors::of_chain(&error)),
            Ok(_) => tracing::info!(
                %txid, channels = claims.len(), rate = %settlement.rate, address = address.number.map(|taken| taken.number),
                "settlement broadcast"
            ),
        }
        for claim in &claims {
            self.waiting.remove(&claim.row);
            self.hurried.remove(&claim.row);
            self.outbid.remove(&claim.row);
        }
        Ok(Some(settlement))
    }

    /// Makes the transaction and stores it; `None` where it would cost more than it brings.
    async fn store(
        &mut self,
        app: &Arc<App>,
        group: &[Watch],
        claims: &[OwnedClaim],
        terms: &Terms,
    ) -> Result<Option<(StoredSettlement, Address)>, Error> {
        let (borrowed, tip): (Vec<_>, u32) = (claims.iter().map(OwnedClaim::borrowed).collect(), app.view.tip());
        let deposits: Vec<OutPoint> = claims.iter().map(|claim| claim.funding.outpoint).collect();
        let pays = terms.replaced.map_or(terms.rate.into(), |replaced| Fee::replacing(terms.rate, replaced));
        let mut tries = 1_u32;
        loop {
            let address = match &terms.script {
                Some(script) => Address { script: script.clone(), number: None },
                None => self.address(app, &deposits).await?,
            };
            let settled = match settle(&borrowed, &address.script, pays) {
                Err(error) if error.code() == Code::Uneconomic => {
                    self.flag_all(claims, terms);
                    return Ok(None);
                }
                settled => settled?,
            };
            let transaction = settled.transaction;
            // What it pays for others that leave is part of what the next attempt has to beat.
            let paid = terms.replaced.map(|_| fee::rate(settled.fee, transaction.weight()));
            let rate = paid.map_or(terms.rate, |paid| paid.max(terms.rate));
            let settlement = StoredSettlement { txid: transaction.compute_txid(), transaction, rate, height: tip };
            match app.channels.store.add_settlement(settlement.clone(), address.number.clone()).await {
                Ok(()) => {}
                Err(StoreError::Conflict) if tries < MAX_ADDRESS_TRIES => {
                    tries = tries.saturating_add(1);
                    continue;
                }
                // There is no time to wait for a better disk. Were the server to stop now, it would settle anew.
                Err(error) if group.iter().any(|watch| is_urgent(watch, tip)) => {
                    let txid = settlement.txid;
                    tracing::error!(%txid, %error, "a settlement that is due is broadcast without having been stored");
                }
                Err(error) => return Err(errors::of_store(&error)),
            }
            self.take_address(&address);
            return Ok(Some((settlement, address)));
        }
    }

    /// Takes note that a channel is not worth its fee at this rate; true if that is news.
    fn flag(&mut self, row: Row, rate: FeeRate) -> bool {
        let before = self.flagged.get(&row).copied();
        self.flagged.insert(row, before.map_or(rate, |before| before.min(rate)));
        before.is_none()
    }

    fn flag_all(&mut self, claims: &[OwnedClaim], terms: &Terms) {
        // What it costs to outbid others says nothing of the rate.
        if terms.replaced.is_some() {
            return;
        }
        let rate = terms.rate;
        let flagged = claims.iter().filter(|claim| self.flag(claim.row, rate)).count();
        if flagged > 0 {
            tracing::warn!(channels = flagged, %rate, "uneconomic to settle at this fee rate; kept until fees fall");
        }
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
                Err(error) if matches!(error.code(), Code::CorruptedStore | Code::UnknownChannel) => {
                    self.flag(watch.row, FeeRate::ZERO);
                    tracing::error!(channel = %watch.id, %error, "this channel cannot be settled");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(claims)
    }
}

/// What a closed channel has to claim.
pub(super) async fn claim(app: &Arc<App>, watch: &Watch) -> Result<OwnedClaim, Error> {
    let channel = app.channels.get(watch.id).await?;
    let parts = app.channels.look(&channel, None, |payee| {
        let nothing = Error::new(Code::NothingToDo, "the channel has nothing to settle");
        let (funding, paid) = payee.collectable().ok_or(nothing)?;
        Ok((payee.params().clone(), funding, paid))
    });
    let (params, funding, paid) = parts.await?;
    Ok(OwnedClaim { row: watch.row, params, funding, paid, key: app.seed.channel_key(watch.row)? })
}
