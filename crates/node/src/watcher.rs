//! Compares every channel, and the wallet, with the chain: after the start, at every change, and now and then in any case.
//!
//! ```text
//!   funding deep enough, and as agreed ──> funding_seen        a new block ──> at_height, update_fee
//!   funding spent ──> `claims`             ended, not spent  ──> the closing transaction or commitment, again
//!   a funding that is held, its channel stored ──> broadcast, again until it is seen; that of both: `signing`
//! ```

use std::sync::Arc;

use rillpay_chain::{Chain, ChainError, Outspend, Reason};
use rillpay_channel::bitcoin::{Amount, ScriptBuf, Transaction, TxOut};
use rillpay_channel::revocable::Role;
use rillpay_channel::revocable::holder::Holder;
use rillpay_channel::revocable::holder::funding::Signing;
use rillpay_channel::{Code as ChannelCode, Error as ChannelError};
use rillpay_runtime::time::{Duration, sleep};

use crate::channel::Channel;
use crate::error::{Error, Kind};
use crate::node::{Notice, Shared, TARGET};
use crate::{claims, lift, signing};

/// A pass is made at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The pause after a failed pass.
const RETRY: Duration = Duration::from_secs(1);
/// How many blocks a peer has to fund the channel that it opened.
pub(crate) const UNFUNDED: u32 = 2_016;
/// The first look, before anybody is talked to. A chain that cannot be asked is waited for.
pub(crate) async fn first_pass(node: &Arc<Shared>) -> Result<(), Error> {
    // A funding without a channel: the counterparty never signed, and it will never be broadcast.
    for txid in node.purse.held(node.store.as_ref()).await? {
        if node.channels().iter().all(|channel| channel.funding.txid != txid) {
            node.purse.release(node.store.as_ref(), &txid).await?;
        }
    }
    let mut looked_at = None;
    loop {
        match pass(node, &mut looked_at).await {
            Err(error) if is_of_chain(&error) => {
                tracing::warn!(code = error.code(), "waiting for the chain: {error}");
                sleep(RETRY).await;
                continue;
            }
            // A disk that fails, or one damaged channel, keeps the others from nothing.
            Err(error) => tracing::error!(code = error.code(), "not everything could be looked at: {error}"),
            Ok(()) => {}
        }
        return Ok(());
    }
}

/// The height of the best block, from a chain that may have to be waited for.
pub(crate) async fn first_tip(chain: &dyn Chain) -> Result<u32, Error> {
    loop {
        match chain.tip().await.map_err(Error::from) {
            Ok(tip) => return Ok(tip.height),
            Err(error) if is_of_chain(&error) => {
                tracing::warn!(code = error.code(), "waiting for the chain: {error}");
                sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

const fn is_of_chain(error: &Error) -> bool {
    matches!(error.kind(), Kind::Chain(..))
}

/// Watches until the node is stopped.
pub(crate) async fn run(node: Arc<Shared>) {
    let (mut changes, mut looked_at) = (node.chain.changes(), None);
    loop {
        changes.mark_unchanged();
        let mut pause = LONGEST_SLEEP;
        if let Err(error) = pass(&node, &mut looked_at).await {
            tracing::warn!(code = error.code(), "the channels could not be compared with the chain: {error}");
            pause = RETRY;
        }
        node.notify(Notice::Changed);
        tokio::select! {
            () = node.wake.notified() => {}
            () = sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() {
                sleep(RETRY).await;
            }
        }
    }
}

/// One look at everything. What fails about one channel keeps no other from being looked at.
async fn pass(node: &Arc<Shared>, looked_at: &mut Option<u32>) -> Result<(), Error> {
    let tip = node.chain.tip().await?.height;
    let mut failed = None;
    // All of them first: a backend that has to read old blocks reads them once.
    for channel in node.channels() {
        node.chain.follow(&channel.script, channel.since).await?;
    }
    for channel in node.channels() {
        if let Err(error) = inspect(node, &channel, tip).await {
            tracing::debug!(channel = %channel.id, code = error.code(), "not looked at: {error}");
            failed.get_or_insert(error);
        }
    }
    if let Err(error) = tend_purse(node, tip, looked_at).await {
        failed.get_or_insert(error);
    }
    failed.map_or(Ok(()), Err)
}

async fn tend_purse(node: &Shared, tip: u32, looked_at: &mut Option<u32>) -> Result<(), Error> {
    let channels = node.channels();
    for txid in node.purse.held(node.store.as_ref()).await? {
        let Some(channel) = channels.iter().find(|channel| channel.funding.txid == txid) else { continue };
        let signing = channel.look(node, |holder, _| Ok(holder.signing().cloned())).await?;
        match signing.as_ref().map(Signing::whole) {
            None => node.purse.send(node.store.as_ref(), &txid).await?,
            Some(Some(transaction)) => node.purse.complete(node.store.as_ref(), transaction).await?,
            // Not signed by both yet.
            Some(None) => {}
        }
    }
    for transaction in node.purse.unseen().await {
        broadcast(node, &transaction).await?;
        *looked_at = None;
    }
    if *looked_at != Some(tip) {
        node.purse.look(node.chain.as_ref(), node.store.as_ref()).await?;
        node.store.clear_shelf(tip).await?;
        *looked_at = Some(tip);
    }
    Ok(())
}

/// Hands a transaction to the network; whether it is there now.
pub(crate) async fn broadcast(node: &Shared, transaction: &Transaction) -> Result<bool, Error> {
    let sent = node.chain.broadcast(transaction).await.map(drop);
    Ok(refusal(transaction, sent)?.is_none())
}

/// What the network has against a transaction. It is tried again with every pass, so that a refusal is only told of.
pub(crate) fn refusal(transaction: &Transaction, sent: Result<(), ChainError>) -> Result<Option<Reason>, Error> {
    match sent {
        Ok(()) => Ok(None),
        Err(ChainError::Refused(refusal)) => {
            tracing::warn!(txid = %transaction.compute_txid(), "the network refuses a transaction: {refusal}");
            Ok(Some(refusal.reason))
        }
        Err(error) => Err(error.into()),
    }
}

async fn inspect(node: &Arc<Shared>, channel: &Channel, tip: u32) -> Result<(), Error> {
    if signing::tend(node, channel, tip).await? {
        return Ok(());
    }
    if let Outspend::Spent(spending) = node.chain.outspend(&channel.funding).await? {
        return claims::take(node, channel, spending, tip).await;
    }
    // A reorganisation may have taken a spend back.
    channel
        .look(node, |_, sight| {
            sight.spent_by = None;
            Ok(())
        })
        .await?;
    if let Some(transaction) = channel.to_broadcast(node).await? {
        let sent = node.chain.broadcast(&transaction).await.map(drop);
        // A commitment may need help at once, or even to get in.
        return match refusal(&transaction, sent)? {
            None => match node.chain.outspend(&channel.funding).await? {
                Outspend::Spent(spending) => claims::take(node, channel, spending, tip).await,
                Outspend::Unspent => Ok(()),
            },
            Some(Reason::FeeTooLow | Reason::MempoolFull) => lift::into_mempool(node, channel, &transaction, tip).await,
            Some(_) => Ok(()),
        };
    }
    confirm(node, channel, tip).await?;
    retire(node, channel).await?;
    grow_older(node, channel, tip).await
}

/// Tells the machine how deep its funding is, once the chain has shown that it is what was agreed on.
async fn confirm(node: &Shared, channel: &Channel, tip: u32) -> Result<(), Error> {
    if channel.look(node, |holder, _| Ok(holder.is_funded())).await? {
        return Ok(());
    }
    let Some(status) = node.chain.status(&channel.funding.txid).await? else {
        return give_up(node, channel, tip).await;
    };
    let confirmations = status.confirmations(tip);
    if confirmations == 0 {
        return Ok(());
    }
    let Some(transaction) = node.chain.raw_transaction(&channel.funding.txid).await? else { return Ok(()) };
    let output = usize::try_from(channel.funding.vout).ok().and_then(|vout| transaction.output.get(vout));
    // A transaction without that output funds nothing either.
    let none = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() };
    let output = output.unwrap_or(&none);
    let seen = channel.act(node, |holder, keys| holder.funding_seen(keys, output, confirmations)).await;
    if seen.as_ref().is_err_and(|error| error.kind() == Kind::Channel(ChannelCode::NotFunded)) {
        let why = ChannelError::new(ChannelCode::NotFunded, "the funding is not what was agreed on");
        return channel.act(node, |holder, keys| holder.fail(keys, &why)).await;
    }
    seen
}

/// Forgets a channel without a funding that the peer should have made long ago (BOLT 2, "The `channel_ready` Message").
async fn give_up(node: &Shared, channel: &Channel, tip: u32) -> Result<(), Error> {
    // What of ours would fund a copy is lost.
    let is_lost = |holder: &Holder| holder.role() == Role::Accepter || holder.is_copy();
    let is_lost = channel.look(node, |holder, _| Ok(is_lost(holder))).await?;
    if is_lost && tip.saturating_sub(channel.since) > UNFUNDED {
        tracing::info!(channel = %channel.id, "the peer never funded it");
        node.finish(channel, &[]).await?;
    }
    Ok(())
}

/// A channel made from a copy that may be old ends: by agreement, if the copy is current after all. Nothing but that can be done
/// with it, as it broadcasts nothing.
async fn retire(node: &Shared, channel: &Channel) -> Result<(), Error> {
    let is_due = |holder: &Holder| holder.is_copy() && holder.is_funded() && !holder.is_closing();
    if channel.look(node, |holder, _| Ok(is_due(holder))).await? {
        let rate = node.rate(TARGET).await?;
        channel.act(node, |holder, keys| holder.shutdown(keys, rate)).await?;
    }
    Ok(())
}

/// What a new block means to a channel that goes on.
async fn grow_older(node: &Shared, channel: &Channel, tip: u32) -> Result<(), Error> {
    if channel.look(node, |_, sight| Ok(sight.height == tip)).await? {
        return Ok(());
    }
    channel.act(node, |holder, keys| holder.at_height(keys, tip)).await?;
    channel
        .look(node, |_, sight| {
            sight.height = tip;
            Ok(())
        })
        .await?;
    let estimate = node.rate(TARGET).await?;
    let due = channel.look(node, |holder, _| Ok(holder.due_fee(estimate))).await?;
    if let Some(rate) = due
        && let Err(error) = channel.set_fee(node, rate).await
    {
        // Unaffordable above all; the next block asks again.
        tracing::debug!(channel = %channel.id, code = error.code(), "the fee rate stays: {error}");
    }
    Ok(())
}
