//! A channel before it is saved (BOLT 2, "Channel Establishment v1"). A connection that ends takes an opening with it: nobody
//! has paid anything, and the coins of a funding that was built are free again.
//!
//! ```text
//!   open ──> Asked ── accept_channel: the funding is built, and held ──> Made ── funding_signed ──> saved, then broadcast
//!   open_channel ──> Accepted ── funding_created ──> saved, then signed for
//! ```

use std::sync::Arc;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, FeeRate, OutPoint, Txid};
use rillpay_channel::revocable::fees::ChannelType;
use rillpay_channel::revocable::holder::funding::Negotiation;
use rillpay_channel::revocable::holder::{Accepted, Holder, Pending, Proposal, Step, Terms, concerns};
use rillpay_channel::revocable::{BaseKeys, Role};
use rillpay_channel::{Fault, Msat, revocable};
use rillpay_wire::messages::{AcceptChannel, ErrorMessage, FundingCreated, FundingSigned, OpenChannel};
use rillpay_wire::{ChannelId, Message};
use tokio::sync::oneshot;

use crate::channel::Channel;
use crate::error::{Code, Error, Kind};
use crate::keep::{Change, Loaded};
use crate::links::Link;
use crate::node::{Shared, TARGET, random};
use crate::together;

/// The most channels with one peer.
const MAX_CHANNELS: usize = 100;

/// The most channels that others have opened and not funded: each of them is stored, and costs nobody anything.
const MAX_UNFUNDED: usize = 200;

/// A channel just opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) id: ChannelId,
    pub(crate) funding: OutPoint,
}

pub(crate) type Reply = oneshot::Sender<Result<Opened, Error>>;

/// Where an opening stands.
pub(crate) enum Opening {
    None,
    /// We asked.
    Asked(Box<Asked>),
    /// The funding is built.
    Made(Box<Made>),
    /// We asked for a channel that both may fund.
    AskedBoth(Box<together::Asked>),
    /// Both build its funding.
    Building(Box<together::Building>),
    /// The peer asked, and we accepted.
    Accepted(Box<(Accepted, BaseKeys, u32, ChannelId)>),
}

pub(crate) struct Asked {
    proposal: Proposal,
    keys: BaseKeys,
    row: u32,
    rate: FeeRate,
    temporary: ChannelId,
    reply: Reply,
}

pub(crate) struct Made {
    pending: Pending,
    keys: BaseKeys,
    row: u32,
    txid: Txid,
    temporary: ChannelId,
    reply: Reply,
}

/// The terms of our side.
pub(crate) async fn terms(node: &Shared, link: &Link) -> Result<Terms, Error> {
    let payout = node.purse.address().await?.script_pubkey();
    let policy = &node.policy;
    Ok(Terms {
        delay: policy.delay,
        max_delay: policy.max_delay.max(policy.delay),
        depth: policy.depth,
        direct: link.wire.knows.direct,
        channel_type: if link.wire.knows.anchors { ChannelType::Anchors } else { ChannelType::StaticRemoteKey },
        ..Terms::new(node.chain.network(), payout)
    })
}

/// Asks the peer for a channel; the answer comes through the receiver. `both`: only one into which the peer puts as much.
pub(crate) async fn open(
    node: &Shared,
    peer: &PublicKey,
    (capacity, push): (Amount, Msat),
    both: bool,
) -> Result<oneshot::Receiver<Result<Opened, Error>>, Error> {
    let link = node.links.get(peer).ok_or(Error::new(Code::PeerOffline, "the peer is not connected"))?;
    // Whoever has agreed on version 2 opens with nothing else (BOLT 2); only that it has no place for what is pushed.
    match (link.wire.knows.dual_fund, both) {
        (true, _) if push == Msat::ZERO => {
            let least = if both { capacity } else { Amount::ZERO };
            return together::open(node, &link, (capacity, least)).await;
        }
        (_, true) => return Err(Error::new(Code::PeerUnfit, "the peer funds no channel together with others")),
        (_, false) => {}
    }
    let terms = terms(node, &link).await?;
    let rate = node.rate(TARGET).await?;
    // Before the peer is asked, which answers within seconds: the funding is built from what was seen here.
    node.purse.look(node.chain.as_ref(), node.store.as_ref()).await?;
    node.purse.check(capacity, rate).await?;
    let (row, nonce, (least, most)) = (node.new_row(), random()?, terms.rates(terms.channel_type));
    let keys = BaseKeys::from_seed(&node.seed, row)?;
    let (proposal, message) = Proposal::new(terms, &keys, nonce, (capacity, push), rate.clamp(least, most))?;
    let (reply, answer) = oneshot::channel();
    let mut opening = link.opening.lock().await;
    if !matches!(*opening, Opening::None) {
        return Err(Error::new(Code::Busy, "a channel with this peer is being opened already"));
    }
    *opening = Opening::Asked(Box::new(Asked { proposal, keys, row, rate, temporary: ChannelId(nonce), reply }));
    link.wire.send(&message);
    Ok(answer)
}

/// The peer said something about an opening. An error ends the connection.
pub(crate) async fn hear(node: &Arc<Shared>, link: &Arc<Link>, message: Message) -> Result<(), Error> {
    let mut opening = link.opening.lock().await;
    let state = std::mem::replace(&mut *opening, Opening::None);
    match (message, state) {
        (Message::OpenChannel(message), Opening::None | Opening::Accepted(_)) => {
            match accept(node, link, &message).await {
                Ok((state, answer)) => {
                    *opening = state;
                    link.wire.send(&answer);
                }
                Err(error) => refuse(link, message.temporary_channel_id, &error),
            }
        }
        (Message::OpenChannel(message), other) => {
            *opening = other;
            refuse(link, message.temporary_channel_id, &Error::new(Code::Busy, "one channel after the other"));
        }
        (Message::AcceptChannel(message), Opening::Asked(asked)) => {
            *opening = accepted(node, link, *asked, &message).await
        }
        (Message::FundingCreated(message), Opening::Accepted(accepted)) => {
            created(node, link, *accepted, &message).await
        }
        (Message::FundingSigned(message), Opening::Made(made)) => signed(node, link, *made, &message).await,
        (Message::OpenChannel2(message), Opening::None | Opening::Accepted(_)) => {
            match together::asked(node, link, &message).await {
                Ok((state, answer)) => {
                    *opening = state;
                    link.wire.send(&answer);
                }
                Err(error) => refuse(link, message.temporary_channel_id, &error),
            }
        }
        (Message::OpenChannel2(message), other) => {
            *opening = other;
            refuse(link, message.temporary_channel_id, &Error::new(Code::Busy, "one channel after the other"));
        }
        (Message::AcceptChannel2(message), Opening::AskedBoth(asked)) => {
            *opening = together::accepted(link, *asked, &message);
        }
        (Message::TxAbort(message), Opening::Building(building)) if building.id() == message.channel_id => {
            together::gave_up(link, *building, &message);
        }
        (message, Opening::Building(building)) if concerns(&message) == Some(building.id()) => {
            *opening = together::turn(node, link, *building, &message).await;
        }
        // What was on its way when a building was given up, and the answer to that.
        (message, other) if concerns(&message).is_some() => *opening = other,
        (_, other) => {
            *opening = other;
            crate::peer::warn(link, ChannelId::ALL, "nothing is being opened that this belongs to");
            return Err(Error::new(Code::OpeningFailed, "a message of an opening that there is not"));
        }
    }
    Ok(())
}

pub(crate) fn refuse(link: &Link, channel_id: ChannelId, error: &Error) {
    tracing::warn!(peer = %link.peer, code = error.code(), "an opening fails: {error}");
    link.wire.send(&ErrorMessage::new(channel_id, told(error)).into());
}

/// What a peer is told of an error.
pub(crate) fn told(error: &Error) -> String {
    // What the peer did wrong is for its eyes, what ails us is not.
    let is_its = matches!(error.fault(), Fault::PeerMisbehaved | Fault::PeerIncompatible);
    if is_its { error.to_string() } else { "not now".to_owned() }
}

/// Refuses more channels than we can have.
pub(crate) async fn check_room(node: &Shared, link: &Link) -> Result<(), Error> {
    if node.channels_with(&link.peer).len() >= MAX_CHANNELS {
        return Err(rillpay_channel::Error::new(rillpay_channel::Code::RateLimited, "too many channels").into());
    }
    let mut unfunded = 0_usize;
    for channel in node.channels() {
        let is_theirs = |holder: &Holder| holder.role() == Role::Accepter && holder.end().is_none();
        let waits = channel.look(node, |holder, _| Ok(is_theirs(holder) && !holder.is_funded())).await;
        // One that cannot be read keeps nobody from opening another.
        unfunded = unfunded.saturating_add(usize::from(waits.unwrap_or(false)));
    }
    if unfunded >= MAX_UNFUNDED {
        let text = "too many channels wait for their funding";
        return Err(rillpay_channel::Error::new(rillpay_channel::Code::RateLimited, text).into());
    }
    Ok(())
}

/// The peer wants a channel with us.
async fn accept(node: &Shared, link: &Link, message: &OpenChannel) -> Result<(Opening, Message), Error> {
    check_room(node, link).await?;
    let (terms, row) = (terms(node, link).await?, node.new_row());
    let keys = BaseKeys::from_seed(&node.seed, row)?;
    let (accepted, answer) = Accepted::new(terms, &keys, message)?;
    Ok((Opening::Accepted(Box::new((accepted, keys, row, message.temporary_channel_id))), answer))
}

/// The peer accepted: the funding is built, and named to it.
async fn accepted(node: &Shared, link: &Link, asked: Asked, message: &AcceptChannel) -> Opening {
    let Asked { proposal, keys, row, rate, temporary, reply } = asked;
    let made = async {
        let unfunded = proposal.accepted(message)?;
        let (txid, outpoint) = node.purse.build(node.store.as_ref(), &unfunded.output(), rate, row).await?;
        match unfunded.funded(&keys, outpoint) {
            Ok((pending, message)) => Ok((pending, message, txid)),
            Err(error) => {
                node.purse.release(node.store.as_ref(), &txid).await?;
                Err(error.into())
            }
        }
    };
    match made.await {
        Ok((pending, message, txid)) => {
            link.wire.send(&message);
            Opening::Made(Box::new(Made { pending, keys, row, txid, temporary, reply }))
        }
        Err(error) => {
            refuse(link, temporary, &error);
            let _ = reply.send(Err(error));
            Opening::None
        }
    }
}

/// The peer signed: the channel is saved, and the funding broadcast.
async fn signed(node: &Arc<Shared>, link: &Link, made: Made, message: &FundingSigned) {
    let Made { pending, keys, row, txid, temporary, reply } = made;
    let created = match pending.signed(message) {
        Ok(step) => create(node, link, keys, row, step).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = &created {
        refuse(link, temporary, error);
        // Where it is not known whether the channel was saved, its coins stay held until the next start knows.
        if error.kind() != Kind::Node(Code::StoreFailed)
            && let Err(error) = node.purse.release(node.store.as_ref(), &txid).await
        {
            tracing::error!(%txid, %error, "the coins of a funding stay held");
        }
    }
    let _ = reply.send(created);
}

/// The peer named its funding: the channel is saved, and our signature sent.
async fn created(
    node: &Arc<Shared>,
    link: &Link,
    (accepted, keys, row, temporary): (Accepted, BaseKeys, u32, ChannelId),
    message: &FundingCreated,
) {
    let created = match accepted.funded(&keys, message) {
        Ok(step) => create(node, link, keys, row, step).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = created {
        refuse(link, temporary, &error);
    }
}

pub(crate) async fn create(
    node: &Arc<Shared>,
    link: &Link,
    keys: BaseKeys,
    row: u32,
    step: Step,
) -> Result<Opened, Error> {
    let since = node.chain.tip().await?.height;
    let (peer, mut held) = (link.peer, vec![]);
    let saved = step
        .save_async(async |events| {
            let [revocable::holder::Event::Held(state)] = events else {
                return Err(Error::new(Code::OpeningFailed, "a channel begins with one state"));
            };
            held.clone_from(state);
            let id = Holder::load(state)?.id();
            Ok(node.store.create(row, id, peer, since, Change::of(events)).await?)
        })
        .await?;
    let (holder, effects) = Holder::create(saved)?;
    let opened = Opened { id: holder.id(), funding: holder.channel().funding.outpoint };
    let channel = Channel::new(holder, keys, &Loaded { row, peer, since, version: 1, held });
    node.add_channel(Arc::clone(&channel));
    node.backups.opened();
    channel.begin(node, link.wire.clone(), effects).await;
    tracing::info!(channel = %opened.id, %peer, "a channel is made");
    node.wake.notify_one();
    Ok(opened)
}

/// The opening over this connection is over.
pub(crate) async fn abort(node: &Shared, link: &Link, why: &str) {
    let failed = || Err(Error::new(Code::OpeningFailed, why));
    match std::mem::replace(&mut *link.opening.lock().await, Opening::None) {
        Opening::Asked(asked) => drop(asked.reply.send(failed())),
        Opening::AskedBoth(asked) => drop(asked.reply.send(failed())),
        Opening::Building(building) => {
            link.wire.send(&Negotiation::abort(building.id(), why));
            if let Some(reply) = building.reply {
                let _ = reply.send(failed());
            }
        }
        Opening::Made(made) => {
            if let Err(error) = node.purse.release(node.store.as_ref(), &made.txid).await {
                tracing::error!(txid = %made.txid, %error, "the coins of a funding stay held");
            }
            let _ = made.reply.send(failed());
        }
        Opening::None | Opening::Accepted(_) => {}
    }
}
