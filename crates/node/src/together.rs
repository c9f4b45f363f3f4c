//! A channel that both may fund, before it is saved (BOLT 2, "Channel Establishment v2"). Coins are not held while the funding is
//! built, so that a peer that dallies locks nothing up: whoever signs first has them.
//!
//! ```text
//!   open ──> Asked ── accept_channel2 ──┐
//!                                       ├──> Building ── tx_complete, both ──> coins held, channel saved ──> commitment_signed
//!   open_channel2 ──────────────────────┘
//! ```

use std::sync::Arc;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, FeeRate};
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::holder::funding::{
    Negotiation, Progress, Proposal, Rates, Setting, Stake, Unsigned, accept,
};
use rillpay_wire::messages::{AcceptChannel2, OpenChannel2, TxAbort};
use rillpay_wire::{ChannelId, Message};
use tokio::sync::oneshot;

use crate::error::{Code, Error, Kind};
use crate::links::Link;
use crate::node::{Shared, TARGET, random};
use crate::opening::{Opened, Opening, Reply, check_room, create, refuse, terms};

/// We asked.
pub(crate) struct Asked {
    proposal: Proposal,
    keys: BaseKeys,
    row: u32,
    /// The least that the peer has to put in.
    least: Amount,
    pub(crate) reply: Reply,
}

/// The funding is being built.
pub(crate) struct Building {
    negotiation: Negotiation,
    keys: BaseKeys,
    row: u32,
    /// Who waits, where we asked.
    pub(crate) reply: Option<Reply>,
}

impl Building {
    pub(crate) const fn id(&self) -> ChannelId {
        self.negotiation.id()
    }
}

async fn setting(node: &Shared, peer: &PublicKey) -> Result<Setting, Error> {
    let height = node.chain.tip().await?.height;
    Ok(Setting { nodes: [node.key.public(), *peer], entropy: random()?, height, confirmed_only: true })
}

/// Asks the peer for a channel that both fund: we with `amount`, the peer with `least` or more. The answer comes through the
/// receiver.
pub(crate) async fn open(
    node: &Shared,
    link: &Link,
    (amount, least): (Amount, Amount),
) -> Result<oneshot::Receiver<Result<Opened, Error>>, Error> {
    let (terms, setting) = (terms(node, link).await?, setting(node, &link.peer).await?);
    let funding = node.rate(TARGET).await?;
    node.purse.look(node.chain.as_ref(), node.store.as_ref()).await?;
    let stake = node.purse.offer(amount, funding).await?;
    let (row, (lowest, highest)) = (node.new_row(), terms.rates);
    let keys = BaseKeys::from_seed(&node.seed, row)?;
    let rates = Rates { funding, commitments: funding.clamp(lowest, highest) };
    let (proposal, message) = Proposal::new(terms, &keys, setting, stake, rates)?;
    let (reply, answer) = oneshot::channel();
    let mut opening = link.opening.lock().await;
    if !matches!(*opening, Opening::None) {
        return Err(Error::new(Code::Busy, "a channel with this peer is being opened already"));
    }
    *opening = Opening::AskedBoth(Box::new(Asked { proposal, keys, row, least, reply }));
    link.wire.send(&message);
    Ok(answer)
}

/// The peer accepted: the turns begin.
pub(crate) fn accepted(link: &Link, asked: Asked, message: &AcceptChannel2) -> Opening {
    let Asked { proposal, keys, row, least, reply } = asked;
    let temporary = proposal.id();
    let begun = if message.funding_satoshis < least {
        Err(Error::new(Code::OpeningFailed, "the peer does not put in as much as was asked for"))
    } else {
        proposal.accepted(message).map_err(Error::from)
    };
    match begun {
        Ok((negotiation, first)) => {
            link.wire.send(&first);
            Opening::Building(Box::new(Building { negotiation, keys, row, reply: Some(reply) }))
        }
        Err(error) => {
            refuse(link, temporary, &error);
            let _ = reply.send(Err(error));
            Opening::None
        }
    }
}

/// The peer wants a channel that both may fund.
pub(crate) async fn asked(node: &Shared, link: &Link, message: &OpenChannel2) -> Result<(Opening, Message), Error> {
    if !link.wire.knows.dual_fund {
        return Err(Error::new(Code::PeerUnfit, "option_dual_fund was not agreed on"));
    }
    check_room(node, link).await?;
    let (terms, setting) = (terms(node, link).await?, setting(node, &link.peer).await?);
    let most = terms.capacity.1.checked_sub(message.funding_satoshis).unwrap_or(Amount::ZERO);
    let amount = message.funding_satoshis.min(node.policy.match_funding).min(most);
    let stake = stake(node, amount, message.funding_feerate_perkw.into()).await;
    let row = node.new_row();
    let keys = BaseKeys::from_seed(&node.seed, row)?;
    let (negotiation, answer) = accept(terms, &keys, &setting, message, &stake)?;
    Ok((Opening::Building(Box::new(Building { negotiation, keys, row, reply: None })), answer))
}

/// What we put in beside the peer: so much, or nothing, where we have not got it or the peer's rate is far from the chain's.
async fn stake(node: &Shared, amount: Amount, rate: FeeRate) -> Stake {
    let offer = async {
        let usual = node.rate(TARGET).await?.to_sat_per_kwu();
        let (slow, dear) = (usual / 2, usual.saturating_mul(2));
        if amount == Amount::ZERO || !(slow..=dear).contains(&rate.to_sat_per_kwu()) {
            return Ok(Stake::nothing());
        }
        node.purse.look(node.chain.as_ref(), node.store.as_ref()).await?;
        node.purse.offer(amount, rate).await
    };
    offer.await.unwrap_or_else(|error: Error| {
        tracing::info!(code = error.code(), "nothing is put in beside the peer: {error}");
        Stake::nothing()
    })
}

/// The peer took its turn.
pub(crate) async fn turn(node: &Arc<Shared>, link: &Link, building: Building, message: &Message) -> Opening {
    let Building { negotiation, keys, row, reply } = building;
    let id = negotiation.id();
    let done = match negotiation.receive(message) {
        Ok(Progress::Goes(negotiation, answer)) => {
            link.wire.send(&answer);
            return Opening::Building(Box::new(Building { negotiation: *negotiation, keys, row, reply }));
        }
        Ok(Progress::Built(unsigned, last)) => {
            if let Some(last) = last {
                link.wire.send(&last);
            }
            sign(node, link, keys, row, *unsigned).await
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = &done {
        tracing::warn!(peer = %link.peer, code = error.code(), "a funding is not built: {error}");
        link.wire.send(&Negotiation::abort(id, &crate::opening::told(error)));
    }
    if let Some(reply) = reply {
        let _ = reply.send(done);
    }
    Opening::None
}

/// The funding is built: our coins are held, the channel is saved, and then we sign for the peer's first commitment.
async fn sign(node: &Arc<Shared>, link: &Link, keys: BaseKeys, row: u32, unsigned: Unsigned) -> Result<Opened, Error> {
    let spent: Vec<_> = unsigned.transaction().input.iter().zip(unsigned.spent()).collect();
    for outpoint in unsigned.theirs() {
        let claimed = spent.iter().find(|(input, _)| input.previous_output == outpoint).map(|(_, output)| *output);
        if node.chain.coin(&outpoint).await?.as_ref() != claimed {
            let text = "a coin of the peer's that is not in a block, or not there any more";
            return Err(rillpay_channel::Error::new(rillpay_channel::Code::InvalidContribution, text).into());
        }
    }
    let (txid, ours) = (unsigned.transaction().compute_txid(), unsigned.ours().next().is_some());
    let witnesses = node.purse.join(node.store.as_ref(), &unsigned, row).await?;
    let created = match unsigned.signed(&keys, witnesses) {
        Ok(step) => create(node, link, keys, row, step).await,
        Err(error) => Err(error.into()),
    };
    // Where it is not known whether the channel was saved, its coins stay held until the next start knows.
    if let Err(error) = &created
        && ours
        && error.kind() != Kind::Node(Code::StoreFailed)
        && let Err(error) = node.purse.release(node.store.as_ref(), &txid).await
    {
        tracing::error!(%txid, %error, "the coins of a funding stay held");
    }
    created
}

/// The peer gave the building up.
pub(crate) fn gave_up(link: &Link, building: Building, message: &TxAbort) {
    link.wire.send(&Negotiation::abort(building.id(), ""));
    let text = message.text().filter(|text| !text.is_empty()).unwrap_or("the peer gave it up");
    if let Some(reply) = building.reply {
        let _ = reply.send(Err(Error::new(Code::OpeningFailed, text)));
    }
}
