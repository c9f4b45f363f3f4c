//! A funding that both sides sign for, until the chain shows it: broadcast, given up, or replaced by another spend of its coins.

use std::sync::Arc;

use rillpay_channel::revocable::holder::End;
use rillpay_channel::{Code as ChannelCode, Error as ChannelError};
use rillpay_wallet::BURIED;

use crate::channel::Channel;
use crate::error::Error;
use crate::node::Shared;
use crate::watcher::{UNFUNDED, broadcast};

/// How many blocks a peer has to sign for a funding that we have not signed yet.
const UNSIGNED: u32 = 6;

/// Looks after such a funding. Whether there is nothing else to look at: the chain does not show it.
pub(crate) async fn tend(node: &Arc<Shared>, channel: &Channel, tip: u32) -> Result<bool, Error> {
    let (signing, end) = channel.look(node, |holder, _| Ok((holder.signing().cloned(), holder.end().cloned()))).await?;
    let Some(signing) = signing else { return Ok(false) };
    let (txid, age) = (channel.funding.txid, tip.saturating_sub(channel.since));
    if end == Some(End::Aborted) {
        forget(node, channel).await?;
        return Ok(true);
    }
    if node.chain.status(&txid).await?.is_some() {
        channel
            .look(node, |_, sight| {
                sight.lost_since = None;
                Ok(())
            })
            .await?;
        return Ok(false);
    }
    let has_coins = signing.inputs().any(|(_, _, is_ours)| is_ours);
    match signing.whole() {
        Some(transaction) => {
            broadcast(node, transaction).await?;
        }
        None if !signing.is_bound() && age > UNSIGNED && end.is_none() => {
            let why = ChannelError::new(ChannelCode::Unavailable, "the funding was not signed in time");
            channel.act(node, |holder, keys| holder.fail(keys, &why)).await?;
            return Ok(true);
        }
        // The peer may broadcast it yet, or never: our coins are free to be spent otherwise, which decides it.
        None if end.is_some() || age > UNFUNDED => node.purse.let_go(node.store.as_ref(), &txid).await?,
        None => {}
    }
    let mut is_lost = !has_coins && age > UNFUNDED;
    for (outpoint, ..) in signing.inputs() {
        is_lost |= node.chain.coin(&outpoint).await?.is_none();
    }
    let since = channel
        .look(node, |_, sight| {
            sight.lost_since = is_lost.then_some(sight.lost_since.unwrap_or(tip));
            Ok(sight.lost_since)
        })
        .await?;
    // It was spent otherwise, and lies deep enough.
    if since.is_some_and(|since| tip.saturating_sub(since) >= BURIED) {
        tracing::info!(channel = %channel.id, "its funding can come no more");
        forget(node, channel).await?;
    }
    Ok(true)
}

async fn forget(node: &Shared, channel: &Channel) -> Result<(), Error> {
    node.purse.let_go(node.store.as_ref(), &channel.funding.txid).await?;
    node.finish(channel, &[]).await
}
