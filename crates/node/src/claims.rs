//! A channel whose funding is spent: what is ours is taken, when its locks are over, with a fee that grows until it confirms.
//!
//! Nothing of this is stored. What there is to take follows from the machine and from what the chain shows, and is worked out
//! anew with every look; a start begins where the chain stands.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rillpay_chain::{Outspend, Spending as Spent, Status};
use rillpay_channel::Code as ChannelCode;
use rillpay_channel::bitcoin::{FeeRate, Txid, Weight};
use rillpay_channel::fee::{Fee, Replaced, raised};
use rillpay_channel::revocable::claim::{Claim, sweep};
use rillpay_channel::revocable::holder::Spending;
use rillpay_wallet::BURIED;
use rillpay_wallet::fees::MAX_FEE_RATE;

use crate::channel::{Channel, Lifted};
use crate::error::Error;
use crate::lift;
use crate::node::{Shared, TARGET};
use crate::watcher::broadcast;

/// The first rate where the chain's backend has no estimate.
const UNESTIMATED: FeeRate = FeeRate::from_sat_per_vb_u32(10);

/// How urgent it is: the target in blocks, and how many blocks a transaction may wait before it is replaced by a dearer one.
fn urgency(spending: Spending) -> (u16, u32) {
    match spending {
        // The cheat's own delay is running.
        Spending::Cheat(_) => (1, 1),
        _ => (TARGET, u32::from(TARGET)),
    }
}

/// The claims of a channel, sorted by what is to be done with them.
#[derive(Default)]
struct Found<'k> {
    /// Nothing spends these: to be taken now.
    free: Vec<Claim<'k>>,
    /// A transaction that waits spends these, and has to be outbid. Each by itself: a rival of one must not keep us from
    /// the others.
    contested: BTreeMap<Txid, Vec<Claim<'k>>>,
}

/// Looks at what the spender of a channel's funding left for us, and takes what can be taken.
pub(crate) async fn take(node: &Arc<Shared>, channel: &Channel, spent: Spent, tip: u32) -> Result<(), Error> {
    let Some(transaction) = node.chain.raw_transaction(&spent.txid).await? else { return Ok(()) };
    let payments = |number| {
        node.store.revoked(channel.row, number).unwrap_or_else(|error| {
            tracing::error!(channel = %channel.id, %error, "payments of a revoked commitment cannot be read");
            vec![]
        })
    };
    let (on_chain, is_new, goes_on, sweeps) = channel
        .look(node, |holder, sight| {
            let on_chain = holder.spent(&channel.keys, &transaction, payments)?;
            let is_new = sight.spent_by.replace(spent.txid) != Some(spent.txid);
            Ok((on_chain, is_new, holder.end().is_none(), sight.sweeps.clone()))
        })
        .await?;
    let spending = on_chain.spending();
    if is_new {
        let (channel, txid) = (channel.id, spent.txid);
        match spending {
            Spending::Cheat(_) => {
                tracing::error!(%channel, %txid, ?spending, "the peer broadcast a revoked commitment")
            }
            _ => tracing::info!(%channel, %txid, ?spending, "the funding is spent"),
        }
    }
    if goes_on || is_new {
        // What can be taken is taken even where the disk is full.
        if let Err(error) = channel.act(node, |holder, keys| holder.funding_spent(keys, &transaction)).await {
            tracing::error!(channel = %channel.id, %error, "the end of a channel is not stored");
        }
    }

    let lost = |lifted: &Lifted| lifted.commitment != spent.txid;
    if channel.look(node, |_, sight| Ok(sight.lifted.as_ref().is_some_and(lost))).await? {
        lift::let_go(node, channel).await?;
    }
    if !spent.status.is_confirmed() {
        lift::lift(node, channel, &on_chain, &transaction, tip).await?;
    } else if spent.status.confirmations(tip) >= BURIED {
        lift::let_go(node, channel).await?;
    }

    let (target, patience) = urgency(spending);
    let mut waiting: Vec<(Claim<'_>, Status)> =
        on_chain.claims(&transaction)?.into_iter().map(|claim| (claim, spent.status)).collect();
    let mut known: HashSet<_> = waiting.iter().map(|(claim, _)| claim.outpoint()).collect();
    let mut followed: Vec<_> = on_chain.lift(&transaction)?.iter().map(|lift| lift.anchor().script_pubkey()).collect();
    let (mut found, mut is_over) = (Found::default(), spent.status.confirmations(tip) >= BURIED);
    // When we made the newest one that is in a block: what it paid was enough.
    let mut enough = None;
    while let Some((claim, made)) = waiting.pop() {
        // What becomes of the output is asked next.
        let script = claim.script_pubkey();
        node.chain.follow(&script, made.block().map_or(tip, |block| block.height)).await?;
        followed.push(script);
        let Outspend::Spent(by) = node.chain.outspend(&claim.outpoint()).await? else {
            is_over = false;
            if claim.is_mature(made.block().map(|block| block.height), tip) {
                found.free.push(claim);
            }
            continue;
        };
        is_over &= by.status.confirmations(tip) >= BURIED;
        let ours = sweeps.get(&by.txid).copied();
        if by.status.is_confirmed() {
            enough = enough.max(ours);
        }
        if ours.is_none()
            && by.status.is_confirmed()
            && let Some(transaction) = node.chain.raw_transaction(&by.txid).await?
        {
            // A second stage of the counterparty's, in which a cheat has something to lose, too.
            let more = on_chain.claims(&transaction)?.into_iter().filter(|claim| known.insert(claim.outpoint()));
            waiting.extend(more.map(|claim| (claim, by.status)));
        }
        // One that we do not know is a rival's, or our own of before a restart: either way it has to be outbid.
        let is_late = ours.is_none_or(|height| tip.saturating_sub(height) >= patience);
        if !by.status.is_confirmed() && is_late {
            found.contested.entry(by.txid).or_default().push(claim);
        }
    }
    if is_over {
        tracing::info!(channel = %channel.id, "nothing is left to be done about this channel");
        return node.finish(channel, &followed).await;
    }
    // Nobody who cheats is to be saved by an estimate that is missing.
    let rate = node.rate(target).await.unwrap_or(UNESTIMATED);
    if !found.free.is_empty() {
        spend(node, channel, &found.free, rate.min(MAX_FEE_RATE).into(), tip).await?;
    }
    // One try with each block is enough. Each after those that were not offers more, whatever the estimate says.
    if sweeps.values().all(|height| *height != tip) {
        let tries = sweeps.values().filter(|height| Some(**height) > enough);
        let rate = tries.fold(rate, |rate, _| raised(rate)).min(MAX_FEE_RATE);
        for (txid, claims) in &found.contested {
            spend(node, channel, claims, outbidding(node, txid, rate).await, tip).await?;
        }
    }
    Ok(())
}

/// This rate, and what it takes to replace a transaction that waits. Where the backend cannot say what that pays, the rate
/// has to do: it rises with every try.
async fn outbidding(node: &Shared, waiting: &Txid, rate: FeeRate) -> Fee {
    match node.chain.transaction(waiting).await {
        Ok(Some(info)) => Fee::replacing(rate, Replaced::NOTHING.and(info.fee, Weight::from_wu(info.weight), true)),
        Ok(None) | Err(_) => rate.into(),
    }
}

/// Broadcasts a transaction that takes these.
async fn spend(node: &Shared, channel: &Channel, claims: &[Claim<'_>], fee: Fee, tip: u32) -> Result<(), Error> {
    let payout = node.purse.address().await?.script_pubkey();
    let sweep = match sweep(claims, &payout, fee) {
        Ok(sweep) => sweep,
        Err(error) if error.code() == ChannelCode::Uneconomic => {
            tracing::debug!(channel = %channel.id, "what is left is not worth its fee now");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let txid = sweep.transaction.compute_txid();
    if broadcast(node, &sweep.transaction).await? {
        tracing::info!(channel = %channel.id, %txid, fee = %sweep.fee, outputs = claims.len(), "taking what is ours");
    }
    channel
        .look(node, |_, sight| {
            sight.sweeps.insert(txid, tip);
            Ok(())
        })
        .await
}
