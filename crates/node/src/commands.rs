//! What commands can ask of a node.

use std::sync::Arc;

use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::holder::End;
use rillpay_channel::{Code as ChannelCode, Error as ChannelError, Msat};
use rillpay_runtime::time::{Duration, timeout};
use rillpay_wallet::Balance;
use tokio::sync::oneshot;

use crate::answers::{BalanceInfo, ChannelInfo, CloseInfo, NodeInfo, OpenInfo, PaidInfo, RestoreInfo};
use crate::backup::{self, Retrieved};
use crate::channel::{Channel, name_of};
use crate::error::{Code, Error};
use crate::node::{Node, Shared, TARGET, random};
use crate::opening::{self, Opened};
use crate::peer::{self, PeerAddress};
use crate::purse::total;
use crate::request::PaymentRequest;

/// How long a peer may take to answer what a command asked of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a peer may take to give back what it keeps, which is the first thing that it says.
const RETRIEVAL: Duration = Duration::from_secs(5);

impl Node {
    /// What it is and whom it is connected to.
    ///
    /// # Errors
    /// What chain and store said.
    pub async fn info(&self) -> Result<NodeInfo, Error> {
        let height = self.shared.chain.tip().await?.height;
        let peers = self.shared.links.peers().iter().map(ToString::to_string).collect();
        #[cfg(not(target_arch = "wasm32"))]
        let [address, websocket] = [self.address(), self.websocket()].map(|at| at.map(|at| at.to_string()));
        #[cfg(not(target_arch = "wasm32"))]
        let tower = self.tower().await?;
        #[cfg(target_arch = "wasm32")]
        let ([address, websocket], tower) = ([None, None], None);
        Ok(NodeInfo { id: self.id().to_string(), address, websocket, peers, height, tower })
    }

    /// Connects to a peer, and remembers to call it again after every break and every start.
    ///
    /// # Errors
    /// [`Code::PeerOffline`], [`Code::PeerUnfit`], or what the transport said; then it is not remembered.
    pub async fn connect(&self, to: &PeerAddress) -> Result<(), Error> {
        let (node, to) = (Arc::clone(&self.shared), to.clone());
        self.shared
            .detached(async move {
                let session = peer::call(&node, &to).await?;
                node.store.set_peer(to.id, to.address.clone()).await?;
                let (up, is_up) = oneshot::channel();
                let serving = Arc::clone(&node);
                node.spawn(async move {
                    peer::serve(Arc::clone(&serving), session, Some(up)).await;
                    peer::begin_calling(&serving, &to);
                });
                is_up.await.map_err(|_| Error::new(Code::PeerOffline, "the peer hung up"))
            })
            .await
    }

    /// Connects to a peer as [`Node::connect`] does, and takes back the channels in the backup that it keeps: after a loss of
    /// everything but the recovery words. They are closed by agreement, or by the peer where they are not current. Repeating it,
    /// also with other peers, is harmless.
    ///
    /// # Errors
    /// As [`Node::connect`]; [`Code::NoBackup`].
    pub async fn restore(&self, to: &PeerAddress) -> Result<RestoreInfo, Error> {
        self.connect(to).await?;
        match backup::wait(&self.shared, &to.id, RETRIEVAL).await {
            Some(Retrieved::Read(channels)) => Ok(RestoreInfo { channels }),
            Some(Retrieved::Unreadable) => {
                Err(Error::new(Code::NoBackup, "what the peer gave back is no backup of these words"))
            }
            None => Err(Error::new(Code::NoBackup, "the peer gave no backup back")),
        }
    }

    /// Opens a channel of `capacity` with a connected peer; `push` of it is the peer's from the start. The funding is on its way
    /// when this returns.
    ///
    /// # Errors
    /// [`Code::PeerOffline`], [`Code::Busy`], [`Code::OpeningFailed`], [`Code::PeerSilent`]; what channel, wallet and chain say.
    pub async fn open(&self, peer: PublicKey, capacity: Amount, push: Amount) -> Result<OpenInfo, Error> {
        self.open_with(peer, (capacity, push), false).await
    }

    /// Opens a channel into which the peer puts as much as we do, or none. Where the connection breaks while it is signed for, the
    /// next one goes on with it.
    ///
    /// # Errors
    /// As [`Node::open`]; [`Code::PeerUnfit`] where the peer opens no channels of version 2.
    pub async fn open_both(&self, peer: PublicKey, amount: Amount) -> Result<OpenInfo, Error> {
        self.open_with(peer, (amount, Amount::ZERO), true).await
    }

    async fn open_with(
        &self,
        peer: PublicKey,
        (amount, push): (Amount, Amount),
        both: bool,
    ) -> Result<OpenInfo, Error> {
        let node = Arc::clone(&self.shared);
        self.shared
            .detached(async move {
                let push = Msat::from_amount(push).ok_or(Error::new(Code::InvalidCommand, "more than all money"))?;
                let answer = opening::open(&node, &peer, (amount, push), both).await?;
                let ended = || Error::new(Code::OpeningFailed, "the connection ended");
                match timeout(PATIENCE, answer).await {
                    Ok(answer) => {
                        let opened = answer.unwrap_or_else(|_| Err(ended()))?;
                        check_signed(&node, &opened).await?;
                        Ok(OpenInfo { channel: opened.id.to_string(), funding: opened.funding.to_string() })
                    }
                    Err(_) => {
                        if let Some(link) = node.links.get(&peer) {
                            opening::abort(&node, &link, "no answer").await;
                        }
                        Err(Error::new(Code::PeerSilent, "the peer does not answer"))
                    }
                }
            })
            .await
    }

    /// Pays the counterparty of a channel.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`], [`Code::NotPayable`], [`Code::PeerOffline`], [`Code::PeerSilent`]: nothing was paid; what the channel
    /// says.
    pub async fn pay(&self, channel: &str, amount: Amount) -> Result<PaidInfo, Error> {
        let channel = self.find(channel)?;
        self.pay_over(channel, amount, None).await
    }

    /// Pays a request, once.
    ///
    /// # Errors
    /// As [`Node::pay`]; [`Code::RequestPaid`].
    pub async fn pay_request(&self, request: &PaymentRequest) -> Result<PaidInfo, Error> {
        let channel = self.shared.channel(&request.channel);
        let channel = channel.ok_or(Error::new(Code::NoSuchChannel, "there is no such channel"))?;
        if channel.peer != request.payee {
            return Err(Error::new(Code::NoSuchChannel, "this channel is with somebody else than who asks"));
        }
        if self.shared.store.is_paid(request.id).await? {
            return Err(Error::new(Code::RequestPaid, "this request was paid before"));
        }
        self.pay_over(channel, request.amount, Some(request.id)).await
    }

    async fn pay_over(&self, channel: Arc<Channel>, sum: Amount, id: Option<[u8; 16]>) -> Result<PaidInfo, Error> {
        let node = Arc::clone(&self.shared);
        self.shared
            .detached(async move {
                let amount = Msat::from_amount(sum).ok_or(Error::new(Code::InvalidCommand, "more than all money"))?;
                let mut waiting = channel.waiting(PATIENCE);
                let paid = loop {
                    if let Some(paid) = channel.pay(&node, amount, id).await? {
                        break paid;
                    }
                    // The counterparty owes a revocation. Whatever happens, there is one more tick.
                    if !waiting.goes_on().await {
                        return Err(Error::new(Code::PeerSilent, "the peer does not answer; nothing was paid"));
                    }
                };
                let view = channel.wait(&node, &mut waiting, |view| view.direct.1 >= paid).await?;
                Ok(PaidInfo {
                    channel: channel.id.to_string(),
                    amount_sat: sum.to_sat(),
                    settled: view.direct.1 >= paid,
                    balance_sat: view.balance.to_sat(),
                })
            })
            .await
    }

    /// Asks for a payment over a channel: a text for the counterparty's `pay`. Nothing is stored.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`], [`Code::InvalidCommand`].
    pub fn request(&self, channel: &str, amount: Amount, memo: &str) -> Result<PaymentRequest, Error> {
        let channel = self.find(channel)?;
        let mut id = [0; 16];
        id.iter_mut().zip(random()?).for_each(|(to, from)| *to = from);
        PaymentRequest::new(self.id(), channel.id, amount, memo, id)
    }

    /// Every channel that the chain can still change.
    ///
    /// # Errors
    /// [`Code::StoreFailed`].
    pub async fn list(&self) -> Result<Vec<ChannelInfo>, Error> {
        let mut list = vec![];
        for channel in self.shared.channels() {
            let view = channel.view(&self.shared).await?;
            let state = match &view.end {
                Some(end) => name_of(end),
                None if view.spent_by.is_some() => "spent",
                None if view.is_open => "open",
                None if !view.is_ready => "opening",
                None if view.is_closing => "closing",
                None => "offline",
            };
            list.push(ChannelInfo {
                id: channel.id.to_string(),
                peer: channel.peer.to_string(),
                state,
                opener: view.is_opener,
                capacity_sat: channel.capacity.to_sat(),
                balance_sat: view.balance.to_sat(),
                received_msat: view.direct.0,
                paid_msat: view.direct.1,
                funding: channel.funding.to_string(),
                spent_by: view.spent_by.map(|txid| txid.to_string()),
            });
        }
        Ok(list)
    }

    /// Closes a channel: by agreement, or alone, which takes as long as the counterparty set.
    ///
    /// # Errors
    /// [`Code::NoSuchChannel`]; [`Code::PeerOffline`] for a close by agreement; what the channel says.
    pub async fn close(&self, channel: &str, alone: bool) -> Result<CloseInfo, Error> {
        let (channel, node) = (self.find(channel)?, Arc::clone(&self.shared));
        self.shared
            .detached(async move {
                let mut waiting = channel.waiting(PATIENCE);
                let view = channel.view(&node).await?;
                // Also where a closing transaction was agreed on, and the network has forgotten it.
                let is_copy = channel.look(&node, |holder, _| Ok(holder.is_copy())).await?;
                let is_lost = matches!(view.end, Some(End::Closed(_))) && view.spent_by.is_none() && !is_copy;
                if alone && (view.end.is_none() || is_lost) {
                    let why = ChannelError::new(ChannelCode::Closing, "closed by its owner");
                    channel.act(&node, |holder, keys| holder.fail(keys, &why)).await?;
                } else if view.end.is_none() {
                    if !view.is_linked {
                        let text = "the peer is not connected: wait for it, or close alone";
                        return Err(Error::new(Code::PeerOffline, text));
                    }
                    let rate = node.rate(TARGET).await?;
                    channel.act(&node, |holder, keys| holder.shutdown(keys, rate)).await?;
                }
                let view = channel.wait(&node, &mut waiting, |view| view.end.is_some()).await?;
                let state = view.end.as_ref().map_or("closing", name_of);
                let txid = match &view.end {
                    Some(End::Closed(transaction)) => Some(transaction.compute_txid().to_string()),
                    _ => channel.to_broadcast(&node).await?.map(|tx| tx.compute_txid().to_string()),
                };
                Ok(CloseInfo { channel: channel.id.to_string(), state, txid })
            })
            .await
    }

    /// Where to pay this node on chain.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn deposit_address(&self) -> Result<String, Error> {
        self.look_at_purse().await?;
        Ok(self.shared.purse.address().await?.to_string())
    }

    /// What it has.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn balance(&self) -> Result<BalanceInfo, Error> {
        self.look_at_purse().await?;
        let balance: Balance = self.shared.purse.balance().await?;
        let mut channels = Amount::ZERO;
        for channel in self.shared.channels() {
            let view = channel.view(&self.shared).await?;
            // While a funding is signed for, its coins are those of the wallet.
            if view.end.is_none() && view.spent_by.is_none() && !view.is_signing {
                channels = channels.checked_add(view.balance).unwrap_or(Amount::MAX_MONEY);
            }
        }
        let confirmed_sat = balance.confirmed.to_sat();
        Ok(BalanceInfo { confirmed_sat, total_sat: total(&balance).to_sat(), channels_sat: channels.to_sat() })
    }

    async fn look_at_purse(&self) -> Result<(), Error> {
        let node = Arc::clone(&self.shared);
        self.shared.detached(async move { node.purse.look(node.chain.as_ref(), node.store.as_ref()).await }).await
    }

    /// The channel whose id begins so.
    fn find(&self, prefix: &str) -> Result<Arc<Channel>, Error> {
        let mut found = self.shared.channels().into_iter().filter(|channel| channel.id.to_string().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                Err(Error::new(Code::NoSuchChannel, "more than one channel begins so: say more of it"))
            }
            _ => Err(Error::new(Code::NoSuchChannel, "there is no such channel")),
        }
    }
}

/// Waits until both have signed for a funding that both build, or the connection ends: then it goes on with the next one.
async fn check_signed(node: &Shared, opened: &Opened) -> Result<(), Error> {
    let view = match node.channel(&opened.id) {
        Some(channel) => {
            let mut waiting = channel.waiting(PATIENCE);
            Some(channel.wait(node, &mut waiting, |view| view.end.is_some() || !view.is_signing).await?)
        }
        None => None,
    };
    match view {
        Some(view) if view.end != Some(End::Aborted) => Ok(()),
        _ => Err(Error::new(Code::OpeningFailed, "the funding was given up")),
    }
}
