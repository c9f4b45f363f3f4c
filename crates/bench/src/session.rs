//! One payer's socket, as docs/protocol.md describes it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use rillpay_channel::ChannelParams;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::commitment::Funding;
use rillpay_channel::payer::Payer;
use rillpay_channel::wire::{ChannelState, Message, SUBPROTOCOL};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A socket to the server, welcomed.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    challenge: [u8; 32],
    node: PublicKey,
}

impl Session {
    /// Connects and waits for the welcome.
    pub(crate) async fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}/rillpay/v1/socket").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (mut socket, _) = client_async(request, stream).await?;
        match receive(&mut socket).await? {
            Message::Welcome { challenge, node } => Ok(Self { socket, challenge, node }),
            other => bail!("no welcome but {other:?}"),
        }
    }

    /// The operator's node key, as the welcome names it.
    pub(crate) const fn node(&self) -> PublicKey {
        self.node
    }

    /// Asks for a channel.
    pub(crate) async fn open(&mut self, request: &Message) -> Result<(Box<ChannelParams>, Signature)> {
        self.send(request.encode().into()).await?;
        match self.receive().await? {
            Message::Opened { params, signature } => Ok((params, signature)),
            other => bail!("no channel but {other:?}"),
        }
    }

    /// Makes this socket the channel's session and waits until the channel is funded.
    pub(crate) async fn attach(&mut self, payer: &Payer) -> Result<(ChannelState, Funding)> {
        self.send(payer.attach(&self.challenge).encode().into()).await?;
        let state = match self.receive().await? {
            Message::Attached { state, .. } => *state,
            other => bail!("not attached but {other:?}"),
        };
        if let Some(funding) = state.funding {
            return Ok((state, funding));
        }
        loop {
            match self.receive().await? {
                Message::FundingSeen { funding: Some(funding), confirmations: 1.., .. } => return Ok((state, funding)),
                Message::FundingSeen { .. } => {}
                other => bail!("no funding but {other:?}"),
            }
        }
    }

    /// Sends one payment and waits until it is acknowledged: the acknowledgement has to name `cumulative`.
    pub(crate) async fn pay(&mut self, frame: Bytes, cumulative: u64) -> Result<()> {
        self.send(frame).await?;
        loop {
            match self.receive().await? {
                Message::Ack { cumulative: acknowledged, .. } => {
                    ensure!(acknowledged.to_sat() == cumulative, "another payment was acknowledged");
                    return Ok(());
                }
                Message::FundingSeen { .. } => {}
                other => bail!("no acknowledgement but {other:?}"),
            }
        }
    }

    async fn send(&mut self, frame: Bytes) -> Result<()> {
        Ok(self.socket.send(Frame::Binary(frame)).await?)
    }

    async fn receive(&mut self) -> Result<Message> {
        receive(&mut self.socket).await
    }
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Result<Message> {
    loop {
        match socket.next().await.context("the server hung up")?? {
            Frame::Binary(frame) => return Message::decode(&frame).context("a frame that cannot be read"),
            Frame::Ping(_) | Frame::Pong(_) => {}
            other => bail!("an unexpected frame: {other:?}"),
        }
    }
}
