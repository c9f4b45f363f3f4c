//! A session over any byte stream: handshake first, then whole messages both ways.
//!
//! ```text
//!   TcpStream ──split──┐
//!   websocket::split ──┴─> (reads, writes) ── Connection::call / answer ──> Incoming, Outgoing
//! ```

use std::io;

use bitcoin::secp256k1::PublicKey;
use rillpay_runtime::time::{Duration, timeout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
#[cfg(not(target_arch = "wasm32"))]
use tokio::net::TcpStream;
#[cfg(not(target_arch = "wasm32"))]
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::{Code, Error};
use crate::handshake::{ACT_ONE, ACT_THREE, ACT_TWO, Initiator, Responder};
use crate::keys::{EphemeralKey, NodeKey};
use crate::session::{Receiver, Sender, Session};

/// How much is read from the network at once, in bytes.
const PIECE: usize = 16 * 1024;

/// An encrypted connection to a peer whose key is known.
pub struct Connection<R, W> {
    /// Messages from the peer.
    pub incoming: Incoming<R>,
    /// Messages to the peer.
    pub outgoing: Outgoing<W>,
    /// The peer's key.
    pub remote: PublicKey,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Calls the node of the key `remote` at the other end of this stream. The handshake must end within `limit`.
    ///
    /// # Errors
    /// As [`Initiator`] has them; [`Code::HandshakeTimeout`], [`Code::Cut`], [`Code::Network`].
    pub async fn call(
        mut reads: R,
        mut writes: W,
        local: &NodeKey,
        remote: PublicKey,
        ephemeral: EphemeralKey,
        limit: Duration,
    ) -> Result<Self, Error> {
        let handshake = async {
            let (initiator, act_one) = Initiator::start(local, remote, ephemeral);
            write(&mut writes, &act_one).await?;
            let (session, act_three) = initiator.act_two(&read::<ACT_TWO>(&mut reads).await?)?;
            write(&mut writes, &act_three).await?;
            Ok(session)
        };
        let session = within(limit, handshake).await?;
        Ok(Self::new(session, reads, writes))
    }

    /// Answers whoever calls from the other end of this stream. The handshake must end within `limit`.
    ///
    /// # Errors
    /// As [`Responder`] has them; [`Code::HandshakeTimeout`], [`Code::Cut`], [`Code::Network`].
    pub async fn answer(
        mut reads: R,
        mut writes: W,
        local: &NodeKey,
        ephemeral: EphemeralKey,
        limit: Duration,
    ) -> Result<Self, Error> {
        let handshake = async {
            let act_one = read::<ACT_ONE>(&mut reads).await?;
            let (answered, act_two) = Responder::new(local).act_one(&act_one, ephemeral)?;
            write(&mut writes, &act_two).await?;
            answered.act_three(&read::<ACT_THREE>(&mut reads).await?)
        };
        let session = within(limit, handshake).await?;
        Ok(Self::new(session, reads, writes))
    }

    fn new(session: Session, reads: R, writes: W) -> Self {
        let remote = session.remote();
        let (sender, receiver) = session.split();
        let piece = vec![0; PIECE].into_boxed_slice();
        Self {
            incoming: Incoming { receiver, reads, piece },
            outgoing: Outgoing { sender, writes, waiting: vec![], written: 0 },
            remote,
        }
    }
}

/// The two halves of a TCP stream, for [`Connection`]. Small messages go out at once.
///
/// # Errors
/// [`Code::Network`] if the socket is no longer one.
#[cfg(not(target_arch = "wasm32"))]
pub fn tcp(stream: TcpStream) -> Result<(OwnedReadHalf, OwnedWriteHalf), Error> {
    stream.set_nodelay(true).map_err(network)?;
    Ok(stream.into_split())
}

/// Messages from the peer.
pub struct Incoming<R> {
    receiver: Receiver,
    reads: R,
    piece: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The next message, or `None` if the peer closed the connection between two. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// [`Code::Altered`], [`Code::Cut`] if the connection ended inside a message, [`Code::Network`]. None of them goes
    /// away: close the connection.
    pub async fn message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(message) = self.receiver.message()? {
                return Ok(Some(message));
            }
            match self.reads.read(&mut self.piece).await.map_err(network)? {
                0 if self.receiver.is_at_rest() => return Ok(None),
                0 => return Err(CUT),
                length => self.receiver.feed(self.piece.get(..length).unwrap_or_default()),
            }
        }
    }
}

/// Messages to the peer.
pub struct Outgoing<W> {
    sender: Sender,
    writes: W,
    /// What is sealed; so much of it is written.
    waiting: Vec<u8>,
    written: usize,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    /// Sends a message. If a call is dropped, the rest of its message goes out with the next one, or with
    /// [`Outgoing::flush`].
    ///
    /// # Errors
    /// [`Code::TooLong`], and nothing is sent; [`Code::Network`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        self.queue(message)?;
        self.flush().await
    }

    /// Seals a message and keeps it for the next [`Outgoing::flush`], so that several leave together.
    ///
    /// # Errors
    /// [`Code::TooLong`].
    pub fn queue(&mut self, message: &[u8]) -> Result<(), Error> {
        self.waiting.drain(..self.written);
        self.written = 0;
        self.sender.seal(message, &mut self.waiting)
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// [`Code::Network`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = self.writes.write(rest).await.map_err(network)?;
            if written == 0 {
                return Err(network(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(written);
        }
        self.writes.flush().await.map_err(network)
    }

    /// Writes what waits and ends this direction.
    ///
    /// # Errors
    /// [`Code::Network`].
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush().await?;
        self.writes.shutdown().await.map_err(network)
    }
}

const CUT: Error = Error::new(Code::Cut, "the connection ended in the middle of a message");

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = Error::new(Code::HandshakeTimeout, "the peer did not finish the handshake in time");
    timeout(limit, work).await.unwrap_or(Err(late))
}

async fn read<const N: usize>(reads: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Error> {
    let mut act = [0; N];
    reads.read_exact(&mut act).await.map_err(network)?;
    Ok(act)
}

async fn write(writes: &mut (impl AsyncWrite + Unpin), act: &[u8]) -> Result<(), Error> {
    writes.write_all(act).await.map_err(network)?;
    writes.flush().await.map_err(network)
}

/// An error of ours that went through `io`, an end before its time, or whatever the network has.
fn network(error: io::Error) -> Error {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).copied();
    ours.unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::new(Code::Cut, "the connection ended in the middle of the handshake"),
        _ => Error::new(Code::Network, "the network failed"),
    })
}
