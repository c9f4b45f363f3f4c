//! A byte stream over a WebSocket: the bytes of binary frames, one after the other. Where frames begin and end means
//! nothing, as packets mean nothing in TCP.

use std::io;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::error::{Code, Error};

/// What a WebSocket's message is to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of the stream: a binary message.
    Bytes(Bytes),
    /// Nothing: a ping or pong, which WebSocket libraries answer by themselves.
    Control,
    /// The end: a close message.
    End,
    /// What does not belong here: text.
    Foreign,
}

/// The reading and the writing half of a byte stream over `socket`, for [`Connection`](crate::connection::Connection).
///
/// `wrap` makes a binary message and `unwrap` says what a received one is; libraries have types of their own for that.
/// A WebSocket has no half that can be closed alone: close once everything was heard.
/// Keep the library's limit for messages near [`MAX_MESSAGE`](crate::MAX_MESSAGE): what it accepts, it holds.
pub fn split<S, M, E>(
    socket: S,
    wrap: fn(Bytes) -> M,
    unwrap: fn(M) -> Frame,
) -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send)
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Send + 'static,
    M: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let (sink, stream) = socket.split();
    let bytes = stream
        .map(move |message| {
            message.map_err(io::Error::other).map(unwrap).and_then(|frame| match frame {
                Frame::Foreign => {
                    let error = Error::new(Code::ForeignFrame, "a WebSocket message that is not binary");
                    Err(io::Error::new(io::ErrorKind::InvalidData, error))
                }
                frame => Ok(frame),
            })
        })
        .take_while(|frame| future::ready(!matches!(frame, Ok(Frame::End))))
        .filter_map(|frame| {
            future::ready(match frame {
                Ok(Frame::Bytes(bytes)) => Some(Ok(bytes)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
        });
    let sink = sink.sink_map_err(io::Error::other).with(move |bytes| future::ok::<M, io::Error>(wrap(bytes)));
    (StreamReader::new(Box::pin(bytes)), SinkWriter::new(CopyToBytes::new(Box::pin(sink))))
}
