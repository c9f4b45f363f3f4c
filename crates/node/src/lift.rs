//! A commitment of ours that waits for a block: a child of it brings money of the wallet's along, and more of it as fees rise or
//! time runs out, until the commitment is in a block.
//!
//! Nothing of this is stored but that the coins are held. What the child has to pay follows from what waits in the mempool; a start
//! begins where that stands.

use rillpay_chain::Outspend;
use rillpay_channel::bitcoin::{Amount, Transaction, Txid, Weight};
use rillpay_channel::fee::Replaced;
use rillpay_channel::revocable::holder::{OnChain, Spending};
use rillpay_wallet::Code as WalletCode;
use rillpay_wallet::fees::{MAX_FEE_RATE, MIN_FEE_RATE};

use crate::channel::{Channel, Lifted};
use crate::error::{Error, Kind};
use crate::node::{Shared, TARGET};
use crate::watcher::refusal;

/// Sees to it that a commitment of ours that waits pays enough.
pub(crate) async fn lift(
    node: &Shared,
    channel: &Channel,
    on_chain: &OnChain<'_>,
    commitment: &Transaction,
    tip: u32,
) -> Result<(), Error> {
    // The counterparty lifts its own.
    if on_chain.spending() != Spending::Ours {
        return Ok(());
    }
    let Some(lift) = on_chain.lift(commitment)? else { return Ok(()) };
    let parent = commitment.compute_txid();
    let before =
        channel.look(node, |_, sight| Ok(sight.lifted.get_or_insert(Lifted::new(parent, tip)).clone())).await?;
    node.chain.follow(&lift.anchor().script_pubkey(), channel.since).await?;
    let waiting = match node.chain.outspend(&lift.anchor().outpoint()).await? {
        Outspend::Spent(by) => node.chain.transaction(&by.txid).await?.map(|info| (by.txid, info.fee, info.weight)),
        Outspend::Unspent => None,
    };
    // One that the network has refused so far counts as well: another one would only hold other coins.
    let child = match (waiting, &before.child) {
        (Some((_, fee, weight)), _) => Some((fee, Weight::from_wu(weight))),
        (None, made) => made.as_ref().map(|(child, fee)| (*fee, child.weight())),
    };
    let waited = tip.saturating_sub(before.since);
    let estimate = node.rate(TARGET).await?.max(MIN_FEE_RATE);
    let Some(rate) = lift.next(child, (waited, TARGET.into()), (estimate, MAX_FEE_RATE), tip) else {
        return match before.child.filter(|_| waiting.is_none()) {
            Some((child, _)) => hand_over(node, commitment, &child).await,
            None => Ok(()),
        };
    };

    let made = before.child.map(|(child, _)| child.compute_txid());
    let replaced: Vec<Txid> = made.into_iter().chain(waiting.map(|(txid, ..)| txid)).collect();
    let fee = match child {
        Some((fee, weight)) => lift.fee(rate).and_replacing(Replaced::NOTHING.and(fee, weight, true)),
        None => lift.fee(rate),
    };
    let sign = |child: &mut Transaction| Ok(lift.sign(child)?);
    let (base, value) = (lift.child(), lift.anchor().value());
    let child = match node.purse.support(node.store.as_ref(), channel.row, (&base, value), &fee, &replaced, sign).await
    {
        Ok(child) => child,
        Err(error) if error.kind() == Kind::Wallet(WalletCode::InsufficientFunds) => {
            tracing::warn!(channel = %channel.id, "the wallet has not enough in blocks to raise the fee of a commitment");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let pays = fee.of(u64::try_from(child.vsize()).unwrap_or(u64::MAX)).unwrap_or(Amount::MAX_MONEY);
    tracing::info!(channel = %channel.id, txid = %child.compute_txid(), %rate, "raising the fee of a commitment");
    channel
        .look(node, |_, sight| {
            sight.lifted = Some(Lifted { child: Some((child.clone(), pays)), ..Lifted::new(parent, tip) });
            Ok(())
        })
        .await?;
    hand_over(node, commitment, &child).await
}

/// Where the commitment waits already this is as if the child came alone.
async fn hand_over(node: &Shared, commitment: &Transaction, child: &Transaction) -> Result<(), Error> {
    refusal(child, node.chain.broadcast_package(commitment, child).await).map(drop)
}

/// A commitment that is too cheap for the network by itself goes there with its child.
pub(crate) async fn into_mempool(
    node: &Shared,
    channel: &Channel,
    commitment: &Transaction,
    tip: u32,
) -> Result<(), Error> {
    let on_chain = channel.look(node, |holder, _| Ok(holder.spent(&channel.keys, commitment, |_| vec![])?)).await?;
    lift(node, channel, &on_chain, commitment, tip).await
}

/// What was held for a commitment that has lost, or is buried, is free again.
pub(crate) async fn let_go(node: &Shared, channel: &Channel) -> Result<(), Error> {
    let lifted = channel.look(node, |_, sight| Ok(sight.lifted.clone())).await?;
    if let Some((child, _)) = lifted.and_then(|lifted| lifted.child) {
        node.purse.let_go(node.store.as_ref(), &child.compute_txid()).await?;
    }
    channel
        .look(node, |_, sight| {
            sight.lifted = None;
            Ok(())
        })
        .await
}
