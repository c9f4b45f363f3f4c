//! The channel socket: one task per connection, which decodes, verifies, waits for the commit and answers in place.
//!
//! ```text
//!   frame ──limits──> decode ──> desk (decide, store, commit) ──> answer
//!   outbox (need, funding, settlement, superseded) ─────────────> push
//! ```
//!
//! What a peer can cost is bounded before any signature is checked: length and rate of frames, sockets, openings, time
//! without a session, refusals in a row.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rillpay_channel::wire::{self, MAX_FRAME, Message, Refusal};
use rillpay_channel::{Code, Error};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::app::App;
use crate::desk::Desk;
use crate::errors::{Reaction, SHUTTING_DOWN, SUPERSEDED, reaction};
use crate::limits::Bucket;
use crate::session::Push;
use crate::sockets::Place;

/// A frame is at most [`MAX_FRAME`] bytes: more is not worth a larger buffer, and there may be thousands of sockets.
const READ_BUFFER: usize = 2 * MAX_FRAME;
/// What a peer may leave unread before it counts as gone.
const MAX_WRITE_BUFFER: usize = 64 * MAX_FRAME;
/// Refusals that were the peer's fault, without a good message between them, before the socket is closed.
const MAX_STRIKES: u32 = 8;
/// A silent peer is asked this often whether it is there, and is gone when it does not answer until the next time.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A write that takes longer than this has lost its reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

const OVERSIZED: Error = Error::new(Code::OversizedMessage, "the frame is too long");
const NOT_BINARY: Error = Error::new(Code::MalformedMessage, "messages are binary frames");
const TOO_FAST: Error = Error::new(Code::RateLimited, "too many messages");

/// `GET /rillpay/v1/socket`.
pub(crate) async fn upgrade(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    let Some((place, pushes)) = app.sockets.admit() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many sockets\n").into_response();
    };
    upgrade
        .protocols([wire::SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| {
            let tasks = app.sockets.tasks.clone();
            tasks.track_future(run(socket, app, place, pushes))
        })
}

async fn run(ws: WebSocket, app: Arc<App>, place: Place, mut pushes: mpsc::Receiver<Push>) {
    let rate = app.config.limits.frames_per_second;
    let mut peer =
        Peer { ws, bucket: Bucket::new(rate, 1_000_000_000, rate.saturating_mul(2), Instant::now()), strikes: 0 };
    let Ok((mut desk, welcome)) = Desk::new(&app, place.outbox.clone()) else {
        return peer.close(close_code::ERROR, "no entropy").await;
    };
    if peer.send(&welcome).await.is_err() {
        return;
    }
    let (code, reason) = serve(&mut peer, &mut desk, &mut pushes).await;
    desk.leave();
    peer.close(code, reason).await;
}

/// Serves until the socket has to close; says why.
async fn serve(peer: &mut Peer, desk: &mut Desk<'_>, pushes: &mut mpsc::Receiver<Push>) -> (u16, &'static str) {
    const GONE: (u16, &str) = (close_code::AWAY, "");
    let heartbeat = sleep(HEARTBEAT);
    tokio::pin!(heartbeat);
    let mut heard = true;
    loop {
        tokio::select! {
            biased;
            push = pushes.recv() => match push {
                Some(Push::Message(message)) => {
                    if peer.send(&message).await.is_err() {
                        return GONE;
                    }
                }
                None | Some(Push::GoingDown) => {
                    let _ = peer.refuse(0, &SHUTTING_DOWN).await;
                    return (close_code::RESTART, "the server is going down");
                }
                Some(Push::Superseded) => {
                    let _ = peer.refuse(0, &SUPERSEDED).await;
                    return (close_code::POLICY, "superseded");
                }
            },
            frame = peer.ws.recv() => {
                heard = true;
                let outcome = match frame {
                    None | Some(Ok(Frame::Close(_))) => return GONE,
                    Some(Ok(Frame::Binary(bytes))) => peer.answer(&bytes, desk).await,
                    Some(Ok(Frame::Text(_))) => peer.refused(0, &NOT_BINARY).await,
                    // Answered by the WebSocket layer, yet not for nothing.
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => peer.count().map_or(Ok(()), Err),
                    Some(Err(error)) => peer.unreadable(&error).await,
                };
                if let Err(end) = outcome {
                    return end;
                }
            }
            () = &mut heartbeat => {
                if !heard || !desk.has_business() || peer.ping().await.is_err() {
                    return (close_code::AWAY, "idle");
                }
                heard = false;
                heartbeat.set(sleep(HEARTBEAT));
            }
        }
    }
}

/// How a socket ends: a close code and a reason.
type End = (u16, &'static str);

const LOST: End = (close_code::AWAY, "");

struct Peer {
    ws: WebSocket,
    bucket: Bucket,
    strikes: u32,
}

impl Peer {
    /// Takes one frame and answers it.
    async fn answer(&mut self, frame: &Bytes, desk: &mut Desk<'_>) -> Result<(), End> {
        let kind = frame.get(1).copied().unwrap_or(0);
        if !self.bucket.take(Instant::now()) {
            return self.refused(kind, &TOO_FAST).await;
        }
        let outcome = match Message::decode(frame) {
            Ok(message) => desk.handle(message).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(effects) => {
                self.strikes = 0;
                for message in effects {
                    self.send(&message).await?;
                }
                Ok(())
            }
            Err(error) => self.refused(kind, &error).await,
        }
    }

    /// Counts a frame that carries no message.
    fn count(&mut self) -> Option<End> {
        (!self.bucket.take(Instant::now())).then_some((close_code::POLICY, "too many frames"))
    }

    /// Says why a message of type `kind` (0 for none) was refused; ends the socket where that is due.
    async fn refused(&mut self, kind: u8, error: &Error) -> Result<(), End> {
        tracing::debug!(code = error.code().as_str(), "refused");
        self.refuse(kind, error).await?;
        match reaction(error) {
            Reaction::Continue => Ok(()),
            Reaction::Close => Err((close_code::POLICY, error.code().as_str())),
            Reaction::Strike => {
                self.strikes = self.strikes.saturating_add(1);
                if self.strikes >= MAX_STRIKES {
                    return Err((close_code::POLICY, "too many refusals"));
                }
                Ok(())
            }
        }
    }

    /// The WebSocket layer gave up. Where the frame was too long the peer is told; what follows cannot be read.
    async fn unreadable(&mut self, error: &axum::Error) -> Result<(), End> {
        if is_too_long(error) {
            let _ = self.refuse(0, &OVERSIZED).await;
            return Err((close_code::SIZE, OVERSIZED.code().as_str()));
        }
        tracing::debug!(%error, "a socket broke");
        Err(LOST)
    }

    async fn refuse(&mut self, kind: u8, error: &Error) -> Result<(), End> {
        self.send(&Message::Refused(Refusal::of(kind, error))).await
    }

    async fn send(&mut self, message: &Message) -> Result<(), End> {
        self.write(Frame::Binary(message.encode().into())).await
    }

    async fn ping(&mut self) -> Result<(), End> {
        self.write(Frame::Ping(Bytes::new())).await
    }

    async fn write(&mut self, frame: Frame) -> Result<(), End> {
        let sent = self.ws.send(frame);
        tokio::time::timeout(WRITE_TIMEOUT, sent).await.map_err(|_| LOST)?.map_err(|_| LOST)
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = self.write(frame).await;
    }
}

/// axum does not name its errors; tungstenite, below it, does.
fn is_too_long(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.to_string().contains("too long") {
            return true;
        }
        source = error.source();
    }
    false
}
