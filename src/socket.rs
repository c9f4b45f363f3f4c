//! A WebSocket: binary frames in, binary frames out.
//!
//! Bound straight to the browser's own: gloo-net's wrapper sends each frame as a `Blob`, which the browser reads
//! asynchronously, and a payment is what a viewer waits for.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::error::{Error, Problem, Result};

/// The most frames that may wait: a server that floods is cut off.
const MAX_WAITING: usize = 256;

/// What a socket tells its owner.
pub(crate) enum SocketEvent {
    /// A frame, cut off just beyond the longest one allowed.
    Frame(Frame),
    /// It is closed, or could not be opened.
    Closed,
}

/// A frame that counts as waiting until it is dropped.
pub(crate) struct Frame {
    bytes: Vec<u8>,
    waiting: Rc<Cell<usize>>,
}

impl Frame {
    /// What is in it; nothing for a text.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }
}

/// An open, or opening, socket. Dropping it closes it, and it tells nothing more.
pub(crate) struct Socket {
    socket: WebSocket,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(JsValue)>,
}

impl Socket {
    /// Starts to open a socket, whose frames are cut off at one byte more than the longest one.
    ///
    /// # Errors
    /// [`Problem::ConnectionLost`] for a URL that the browser refuses.
    pub(crate) fn open(
        url: &str,
        protocol: Option<&str>,
        longest: usize,
        tell: impl Fn(SocketEvent) + Clone + 'static,
    ) -> Result<Self> {
        let socket = protocol.map_or_else(|| WebSocket::new(url), |protocol| WebSocket::new_with_str(url, protocol));
        let socket = socket.map_err(|cause| Error::caused(Problem::ConnectionLost, &cause))?;
        socket.set_binary_type(BinaryType::Arraybuffer);

        let waiting = Rc::new(Cell::new(0_usize));
        let (flooded, tell_message) = (socket.clone(), tell.clone());
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            if waiting.get() >= MAX_WAITING {
                // Closing what is closed already does nothing.
                let _ = flooded.close();
                return;
            }
            waiting.set(waiting.get().saturating_add(1));
            tell_message(SocketEvent::Frame(Frame {
                bytes: bounded(&event.data(), longest),
                waiting: waiting.clone(),
            }));
        });
        // `close` follows every `error`, so that one handler hears of both.
        let on_close = Closure::<dyn FnMut(JsValue)>::new(move |_| tell(SocketEvent::Closed));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Ok(Self { socket, _on_message: on_message, _on_close: on_close })
    }

    /// Sends a frame, or loses it where the socket is not open.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let _ = self.socket.send_with_u8_array(bytes);
    }

    /// Waits until it is open; one that never opens is told of as closed.
    pub(crate) async fn opened(&self) {
        let opened = Promise::new(&mut |resolve, _| match self.socket.ready_state() {
            WebSocket::CONNECTING => self.socket.set_onopen(Some(&resolve)),
            // Settling a promise cannot throw.
            _ => drop(resolve.call0(&JsValue::UNDEFINED)),
        });
        // Such a promise is never rejected.
        let _ = JsFuture::from(opened).await;
    }

    /// How many bytes wait to be sent.
    pub(crate) fn waiting(&self) -> u32 {
        self.socket.buffered_amount()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _ = self.socket.close();
    }
}

/// The bytes of a frame, at most one more than is allowed; a text frame has none, which is no message.
fn bounded(data: &JsValue, longest: usize) -> Vec<u8> {
    let Some(buffer) = data.dyn_ref::<ArrayBuffer>() else {
        return vec![];
    };
    let most = u32::try_from(longest).unwrap_or(u32::MAX).saturating_add(1);
    Uint8Array::new_with_byte_offset_and_length(buffer, 0, buffer.byte_length().min(most)).to_vec()
}
