//! A byte stream over a WebSocket of the browser's. Where frames begin and end means nothing (docs/lightning.md).

use std::pin::pin;

use async_trait::async_trait;
use futures_channel::mpsc::{UnboundedReceiver, unbounded};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use rillpay_channel::Code;
use rillpay_node::{Dial, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wasm_bindgen_futures::spawn_local;
use web_sys::Url;

use crate::env::sleep;
use crate::error::{Error, Result};
use crate::socket::{Socket, SocketEvent};

/// The longest frame that is taken, in bytes; a message of BOLT 8 has about half of it.
const LONGEST: usize = 128 * 1024;
/// How much is sent, or waits to be read, at once, in bytes.
const PIECE: usize = 64 * 1024;
/// How much may wait in the browser to be sent, in bytes.
const MOST_WAITING: u32 = 256 * 1024;
/// The pause until it is looked at again, in milliseconds.
const PAUSE: u32 = 20;

/// The address of a peer, as it is stored. BOLT 8 encrypts and authenticates what a plain WebSocket carries.
///
/// # Errors
/// [`Code::InvalidArgument`].
pub(super) fn url(text: &str) -> Result<String> {
    let url = Url::new(text).ok().filter(|url| matches!(url.protocol().as_str(), "ws:" | "wss:"));
    let bad = || Error::new(Code::InvalidArgument, "a peer's address is the ws or wss URL of its WebSocket");
    Ok(url.ok_or_else(bad)?.href())
}

/// Calls over WebSockets.
pub(super) struct WebSockets;

#[async_trait(?Send)]
impl Dial for WebSockets {
    async fn dial(&self, address: &str) -> std::result::Result<Stream, String> {
        let (tell, mut events) = unbounded();
        let socket = Socket::open(address, None, LONGEST, move |event| {
            // Nobody listens any more once the stream has ended.
            let _ = tell.unbounded_send(event);
        });
        let socket = socket.map_err(|error| error.message().into_owned())?;
        // A peer says nothing before it was called: the first event can only be an end.
        if let Either::Right(_) = select(pin!(socket.opened()), events.next()).await {
            return Err("no WebSocket there".to_owned());
        }
        let (near, far) = tokio::io::duplex(PIECE);
        spawn_local(carry(socket, events, far));
        let (reads, writes) = tokio::io::split(near);
        Ok(Stream::new(reads, writes))
    }
}

/// Carries bytes both ways until either side ends. Then both ends are dropped, and with them the socket.
async fn carry(socket: Socket, mut events: UnboundedReceiver<SocketEvent>, far: DuplexStream) {
    let (mut reads, mut writes) = tokio::io::split(far);
    let inwards = async {
        while let Some(SocketEvent::Frame(frame)) = events.next().await {
            // Text does not belong here, and has no bytes.
            if frame.bytes().is_empty() || writes.write_all(frame.bytes()).await.is_err() {
                return;
            }
        }
    };
    let outwards = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = reads.read(&mut piece).await {
            socket.send(piece.get(..length).unwrap_or_default());
            while socket.waiting() > MOST_WAITING {
                sleep(PAUSE).await;
            }
        }
    };
    select(pin!(inwards), pin!(outwards)).await;
}
