//! One connection: BOLT 8's handshake, `init`, signs of life, and where its messages go.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::constants::ChainHash;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::holder::concerns;
use rillpay_channel::revocable::holder::funding::Negotiation;
use rillpay_runtime::time::{Duration, Instant, sleep, timeout};
use rillpay_transport::EphemeralKey;
use rillpay_transport::connection::{Connection, Incoming, Outgoing};
use rillpay_wire::messages::{
    DIRECT_PAYMENTS, ErrorMessage, Extension, Init, Networks, PeerStorageRetrieval, Ping, Warning,
};
use rillpay_wire::{ChannelId, Feature, Features, Message};
use tokio::sync::mpsc;

use crate::dial::{Reads, Stream, Writes};
use crate::error::{Code, Error};
use crate::links::{Common, Link};
use crate::node::{Notice, Shared};
use crate::{backup, queries, shelf};

/// How long a call, its handshake and its `init` may take, each.
const GREETING: Duration = Duration::from_secs(10);
/// How long a peer may be silent before it is asked for a sign of life, and again before it is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the last words to a peer may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// A connection that ends before that was of no use.
const SHORT: Duration = Duration::from_secs(1);
/// The pauses between two calls: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Who a peer is and where: `<key>@<host>:<port>`, or `<key>@ws://<host>:<port>` for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its node key.
    pub id: PublicKey,
    /// Host and port, or the URL of a WebSocket: what [`Dial`](crate::Dial) takes.
    pub address: String,
}

impl FromStr for PeerAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(Code::InvalidCommand, "a peer is written as <key>@<host>:<port>, or <key>@ws://<host>:<port>")
        };
        let (id, address) = text.split_once('@').ok_or_else(bad)?;
        let (host, port) = address.strip_prefix("ws://").unwrap_or(address).rsplit_once(':').ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.is_empty() || host.len() > 255 || !host.chars().all(plain) || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self { id: id.parse().map_err(|_| bad())?, address: address.to_owned() })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

/// A connection whose both sides have introduced themselves.
pub(crate) struct Session {
    pub(crate) incoming: Incoming<Reads>,
    pub(crate) outgoing: Outgoing<Writes>,
    pub(crate) remote: PublicKey,
    /// What both of us know.
    knows: Common,
    /// It keeps kits for us; a page leaves none.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) is_tower: bool,
}

/// What this node can do. BOLT 9 assumes some of it of every node, set or not; LDK hangs up on a node that leaves any of that out.
/// Onions and payment secrets are among it although every payment over an HTLC is sent back: `Channel::give_back` reads an onion
/// as far as the answer takes it.
fn features() -> Features {
    Features::default()
        .with_optional(Feature::DataLossProtect)
        .with_optional(Feature::GossipQueries)
        .with_optional(Feature::VarOnionOptin)
        .with_required(Feature::StaticRemotekey)
        .with_optional(Feature::PaymentSecret)
        .with_optional(Feature::SupportLargeChannel)
        .with_optional(Feature::Anchors)
        .with_optional(Feature::ShutdownAnysegwit)
        .with_optional(Feature::ProvideStorage)
        .with_optional(Feature::DualFund)
        .with_optional(Feature::ChannelType)
        .with_bit(DIRECT_PAYMENTS)
}

fn ephemeral() -> Result<EphemeralKey, Error> {
    Ok(EphemeralKey::new(&crate::node::random()?)?)
}

/// Calls a peer.
pub(crate) async fn call(node: &Shared, to: &PeerAddress) -> Result<Session, Error> {
    let offline = |text: &str| Error::new(Code::PeerOffline, format!("{} cannot be reached: {text}", to.address));
    let stream = timeout(GREETING, node.dial.dial(&to.address)).await;
    let Stream { reads, writes } = stream.map_err(|_| offline("no answer"))?.map_err(|error| offline(&error))?;
    let connection = Connection::call(reads, writes, &node.key, to.id, ephemeral()?, GREETING).await?;
    greet(connection, node.chain.network()).await
}

/// Answers whoever calls.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn answer(node: &Shared, Stream { reads, writes }: Stream) -> Result<Session, Error> {
    greet(Connection::answer(reads, writes, &node.key, ephemeral()?, GREETING).await?, node.chain.network()).await
}

/// Exchanges `init`.
async fn greet(connection: Connection<Reads, Writes>, network: Network) -> Result<Session, Error> {
    let Connection { mut incoming, mut outgoing, remote } = connection;
    let chain = ChainHash::using_genesis_block(network);
    let mut init = Init::new(features());
    init.tlvs.networks = Some(Networks(vec![chain]));
    let unfit = |text: &str| Error::new(Code::PeerUnfit, format!("the peer {text}"));
    let init = Message::from(init).encode().map_err(|_| unfit("cannot be greeted"))?;
    let greeting = async {
        outgoing.send(&init).await?;
        Ok::<_, Error>(incoming.message().await?)
    };
    let silent = |_| Error::new(Code::PeerSilent, "the peer does not introduce itself");
    let first = timeout(GREETING, greeting).await.map_err(silent)??.ok_or_else(|| unfit("hung up"))?;
    let Ok(Message::Init(theirs)) = Message::decode(&first) else {
        return Err(unfit("did not begin with init"));
    };
    let refusal = match (features().check_peer(&theirs.features), &theirs.tlvs.networks) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(()), Some(networks)) if !networks.0.is_empty() && !networks.0.contains(&chain) => {
            Some("the peer is on another network".to_owned())
        }
        _ => None,
    };
    if let Some(text) = refusal {
        if let Ok(bytes) = Message::from(Warning::new(ChannelId::ALL, text.as_str())).encode() {
            let _ = timeout(FAREWELL, outgoing.send(&bytes)).await;
        }
        return Err(Error::new(Code::PeerUnfit, text));
    }
    let both_know = |feature| features().negotiated(&theirs.features, feature);
    let knows = Common {
        direct: theirs.features.has_bit(DIRECT_PAYMENTS),
        dual_fund: both_know(Feature::DualFund),
        anchors: both_know(Feature::Anchors),
        keeps_backups: both_know(Feature::ProvideStorage),
    };
    Ok(Session {
        incoming,
        outgoing,
        remote,
        knows,
        #[cfg(not(target_arch = "wasm32"))]
        is_tower: theirs.features.has_bit(rillpay_wire::messages::JUSTICE_KITS),
    })
}

/// Serves a connection until it ends. `up` is told when its channels have been spoken of.
pub(crate) async fn serve(node: Arc<Shared>, session: Session, up: Option<tokio::sync::oneshot::Sender<()>>) {
    let Session { mut incoming, outgoing, remote, knows, .. } = session;
    let (link, messages) = node.links.add(remote, knows, &node.shutdown);
    tracing::info!(peer = %remote, "connected");
    let writer = write(outgoing, messages);
    let talk = async {
        // Before anything about channels: a peer that has lost its own needs it for what follows.
        match shelf::get(&node, remote).await {
            Ok(Some(blob)) => link.wire.send(&PeerStorageRetrieval { blob, tlvs: Extension::default() }.into()),
            Ok(None) => {}
            Err(error) => tracing::error!(peer = %remote, %error, "a peer's backup cannot be read"),
        }
        for channel in node.channels_with(&remote) {
            if let Err(error) = channel.connected(&node, link.wire.clone(), knows.direct).await {
                tracing::warn!(channel = %channel.id, %error, "the channel is not taken up");
            }
        }
        if let Some(up) = up {
            let _ = up.send(());
        }
        node.notify(Notice::Changed);
        tokio::select! {
            () = link.ended.cancelled() => {}
            () = backup::keep(&node, &link) => {}
            why = listen(&node, &link, &mut incoming) => tracing::info!(peer = %remote, "disconnected: {why}"),
        }
        link.wire.cut();
        node.links.remove(&link);
        for channel in node.channels_with(&remote) {
            channel.disconnected(&node, link.wire.number).await;
        }
        crate::opening::abort(&node, &link, "the connection ended").await;
        node.notify(Notice::Changed);
        // The queue ends with its last sender, and the writer with the queue.
        drop(link);
    };
    let mut writer = std::pin::pin!(writer);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        // The peer takes nothing more: it will be noticed by the reader, too.
        () = &mut writer => talk.await,
        () = &mut talk => drop(timeout(FAREWELL, writer).await),
    }
}

async fn write(mut outgoing: Outgoing<Writes>, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if outgoing.queue(&message).is_err() {
            return;
        }
        // What has gathered meanwhile leaves together.
        while let Ok(message) = messages.try_recv() {
            if outgoing.queue(&message).is_err() {
                return;
            }
        }
        if outgoing.flush().await.is_err() {
            return;
        }
    }
    let _ = outgoing.close().await;
}

/// Hears messages until the connection ends; gives the reason.
async fn listen(node: &Arc<Shared>, link: &Arc<Link>, incoming: &mut Incoming<Reads>) -> Error {
    let mut asked = false;
    loop {
        let bytes = match timeout(SILENCE, incoming.message()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Error::new(Code::PeerOffline, "the peer hung up"),
            Ok(Err(error)) => return error.into(),
            Err(_) if asked => return Error::new(Code::PeerSilent, "the peer gives no sign of life"),
            Err(_) => {
                asked = true;
                link.wire.send(&Ping { num_pong_bytes: 1, ignored: vec![], tlvs: Extension::default() }.into());
                continue;
            }
        };
        asked = false;
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => {
                warn(link, ChannelId::ALL, &error.to_string());
                return Error::new(Code::PeerUnfit, format!("a message that cannot be read: {error}"));
            }
        };
        if let Err(error) = hear(node, link, message).await {
            return error;
        }
        link.heard.send_replace(true);
    }
}

/// An error ends the connection.
async fn hear(node: &Arc<Shared>, link: &Arc<Link>, message: Message) -> Result<(), Error> {
    let number = link.wire.number;
    match message {
        Message::Ping(ping) => {
            if let Some(pong) = ping.pong() {
                reply(link, &pong.into());
            }
            Ok(())
        }
        Message::QueryChannelRange(query) => {
            reply(link, &queries::channels_in(&query));
            Ok(())
        }
        Message::QueryShortChannelIds(query) => {
            reply(link, &queries::about(&query));
            Ok(())
        }
        Message::Init(_) => {
            warn(link, ChannelId::ALL, "init is said once");
            Err(Error::new(Code::PeerUnfit, "the peer said init twice"))
        }
        Message::PeerStorage(storage) => {
            shelf::put(node, link.peer, storage.blob).await;
            Ok(())
        }
        Message::PeerStorageRetrieval(storage) => {
            // Not broken off when the connection ends: a channel may be stored by then.
            let (on, over) = (Arc::clone(node), Arc::clone(link));
            node.detached(async move { backup::retrieved(&on, &over, &storage.blob).await }).await
        }
        Message::OpenChannel(_)
        | Message::AcceptChannel(_)
        | Message::FundingCreated(_)
        | Message::FundingSigned(_)
        | Message::OpenChannel2(_)
        | Message::AcceptChannel2(_)
        | Message::TxAddInput(_)
        | Message::TxAddOutput(_)
        | Message::TxRemoveInput(_)
        | Message::TxRemoveOutput(_)
        | Message::TxComplete(_) => {
            // Not broken off when the connection ends: the channel may be stored by then.
            let (on, over) = (Arc::clone(node), Arc::clone(link));
            node.detached(async move { crate::opening::hear(&on, &over, message).await }).await
        }
        Message::ErrorMessage(error) if error.channel_id == ChannelId::ALL => {
            crate::opening::abort(node, link, error.text().unwrap_or("the peer refused")).await;
            let message = Message::from(error);
            for channel in node.channels_with(&link.peer) {
                channel.hear(node, number, &message).await?;
            }
            Ok(())
        }
        message => {
            let Some(id) = concerns(&message) else { return Ok(()) };
            if let Some(channel) = node.channel(&id).filter(|channel| channel.peer == link.peer) {
                return channel.hear(node, number, &message).await;
            }
            match message {
                Message::ErrorMessage(error) => {
                    crate::opening::abort(node, link, error.text().unwrap_or("the peer refused")).await;
                }
                Message::Warning(warning) => {
                    tracing::warn!(peer = %link.peer, "the peer warns: {}", warning.text().unwrap_or("(unreadable)"));
                }
                // Of a funding that is being built, or was.
                Message::TxAbort(_) => return crate::opening::hear(node, link, message).await,
                // It can forget a funding that we have given up.
                Message::ChannelReestablish(message) if message.tlvs.next_funding.is_some() => {
                    link.wire.send(&Negotiation::abort(id, "no such channel"));
                }
                _ => {
                    link.wire.send(&ErrorMessage::new(id, "no such channel").into());
                }
            }
            Ok(())
        }
    }
}

/// Answers a question. Whoever does not read its answers gets no more of them.
fn reply(link: &Link, message: &Message) {
    if link.wire.is_heard() {
        link.wire.send(message);
    }
}

pub(crate) fn warn(link: &Link, channel_id: ChannelId, text: &str) {
    link.wire.send(&Warning::new(channel_id, text).into());
}

/// Calls a peer from now on, at this address.
pub(crate) fn begin_calling(node: &Arc<Shared>, to: &PeerAddress) {
    if node.links.is_new_call(to) {
        node.spawn(keep_calling(Arc::clone(node), to.id));
    }
}

/// Calls a peer for ever, with growing pauses while it cannot be reached.
async fn keep_calling(node: Arc<Shared>, id: PublicKey) {
    let (first, longest) = PAUSES;
    let mut pause = first;
    while let Some(to) = node.links.called_at(&id) {
        // Whoever called first: one connection is enough.
        if let Some(link) = node.links.get(&id) {
            link.ended.cancelled().await;
            pause = first;
        } else {
            match call(&node, &to).await {
                Ok(session) => {
                    let since = Instant::now();
                    serve(Arc::clone(&node), session, None).await;
                    // One that hangs up at once is as good as one that cannot be reached.
                    let is_short = since.elapsed() < SHORT;
                    pause = if is_short { pause.saturating_mul(2).min(longest) } else { first };
                }
                Err(error) => {
                    tracing::debug!(peer = %id, %error, "not reached");
                    pause = pause.saturating_mul(2).min(longest);
                }
            }
        }
        // Two nodes that call each other at the same moment must not do so again.
        let jitter = crate::node::random().map_or(0, |[byte, ..]| u64::from(byte));
        sleep(pause.saturating_add(Duration::from_millis(jitter))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who requires what all nodes are assumed to have finds it.
    #[test]
    fn what_is_assumed_is_offered() {
        for assumed in Feature::ALL.iter().filter(|feature| feature.is_assumed()) {
            assert!(features().offers(*assumed), "{}", assumed.as_str());
        }
    }

    #[test]
    fn peers_are_written_as_lightning_has_them() {
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        for good in ["127.0.0.1:9735", "irene.example:1", "[::1]:9735", "ws://127.0.0.1:9738"] {
            let peer: PeerAddress = format!("{key}@{good}").parse().unwrap();
            assert_eq!(peer.to_string(), format!("{key}@{good}"));
        }
        for bad in [
            "",
            key,
            "@a:1",
            &format!("{key}@wss://a:1"),
            &format!("{key}@ws://a:1/b"),
            "xx@a:1",
            &format!("{key}@a"),
            &format!("{key}@a:65536"),
            &format!("{key}@a b:1"),
        ] {
            assert_eq!(bad.parse::<PeerAddress>().unwrap_err().code(), "invalid_command", "{bad}");
        }
    }
}
