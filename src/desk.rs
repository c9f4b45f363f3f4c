//! Questions to a server on a socket of their own, before there is a channel's session: to open, and to restore.

use std::pin::pin;

use futures_channel::mpsc::{UnboundedReceiver, unbounded};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use rillpay_channel::Code;
use rillpay_channel::wire::{MAX_FRAME, Message, SUBPROTOCOL};

use crate::env::sleep;
use crate::error::{Error, Problem, Result};
use crate::socket::{Socket, SocketEvent};
use crate::terms::Terms;

/// How long an answer may take.
const TIMEOUT_MS: u32 = 15_000;

/// A socket on which one question follows another.
pub(crate) struct Desk {
    socket: Socket,
    events: UnboundedReceiver<SocketEvent>,
    /// What to sign to show whose a key is.
    pub(crate) challenge: [u8; 32],
}

impl Desk {
    /// Opens a socket to the server of these terms.
    ///
    /// # Errors
    /// [`Problem::ConnectionLost`], as all methods here; [`Code::WrongKey`] for another server.
    pub(crate) async fn open(terms: &Terms) -> Result<Self> {
        let (sender, events) = unbounded();
        let socket = Socket::open(&terms.socket, Some(SUBPROTOCOL), MAX_FRAME, move |event| {
            // Nobody listens any more once there is an answer.
            let _ = sender.unbounded_send(event);
        })?;
        let mut desk = Self { socket, events, challenge: [0; 32] };
        match desk.next().await? {
            Message::Welcome { challenge, node } if node == terms.node => {
                desk.challenge = challenge;
                Ok(desk)
            }
            Message::Welcome { .. } => Err(Error::new(Code::WrongKey, "the server is not the one that its terms name")),
            _ => Err(SENSELESS),
        }
    }

    /// Sends a message; gives the one that comes back.
    ///
    /// # Errors
    /// [`Error::Peer`] for a refusal.
    pub(crate) async fn ask(&mut self, question: &Message) -> Result<Message> {
        self.socket.send(&question.encode());
        self.next().await
    }

    async fn next(&mut self) -> Result<Message> {
        let answer = async {
            while let Some(SocketEvent::Frame(frame)) = self.events.next().await {
                match Message::decode(frame.bytes())? {
                    Message::Refused(refusal) => return Err(Error::Peer(Box::new(refusal))),
                    Message::Unknown(_) => {}
                    message => return Ok(message),
                }
            }
            Err(Problem::ConnectionLost.into())
        };
        match select(pin!(answer), pin!(sleep(TIMEOUT_MS))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Problem::ConnectionLost.into()),
        }
    }
}

/// An answer to another question.
pub(crate) const SENSELESS: Error = Error::new(Code::UnexpectedMessage, "the server sent what makes no sense now");
