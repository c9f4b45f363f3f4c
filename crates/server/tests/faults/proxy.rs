//! A proxy between a page and a server that spoils one frame, in either direction.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use rillpay_channel::wire::SUBPROTOCOL;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async};

/// What a frame meets with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Lost,
    Doubled,
    /// The next frame in its direction goes first.
    Overtaken,
    /// It is lost, and the connection breaks.
    Cut,
    /// It arrives, and then the server is to be killed.
    Kill,
    /// The server is to be killed, and it is lost.
    KillAndLose,
}

#[derive(Default)]
struct Plan {
    /// Frames that have passed since it was made.
    passed: u32,
    fault: Option<(u32, Fault)>,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    /// The server is to be killed.
    pub(crate) kill: Arc<Notify>,
}

type Socket<S> = WebSocketStream<S>;

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), plan: Arc::default(), kill: Arc::default() };
        let own = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().connection(stream, server));
            }
        });
        proxy
    }

    /// The frame number `at` from now on meets with this.
    pub(crate) fn plan(&self, at: u32, fault: Fault) {
        *self.plan.lock().unwrap() = Plan { passed: 0, fault: Some((at, fault)) };
    }

    /// Counts from now on.
    pub(crate) fn count(&self) {
        *self.plan.lock().unwrap() = Plan::default();
    }

    pub(crate) fn passed(&self) -> u32 {
        self.plan.lock().unwrap().passed
    }

    /// Nothing that was planned is left to happen.
    pub(crate) fn is_done(&self) -> bool {
        self.plan.lock().unwrap().fault.is_none()
    }

    fn next(&self) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        let number = plan.passed;
        plan.passed += 1;
        plan.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault)
    }

    async fn connection(self, stream: TcpStream, server: SocketAddr) {
        let mut request = format!("ws://{server}/rillpay/v1/socket").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        // A server that is just being started: the page tries again.
        let Ok((mut to_server, _)) = connect_async(request).await else { return };
        let Ok(mut to_page) = accept_hdr_async(stream, agree).await else { return };
        let mut held = [None, None];
        loop {
            let (frame, up) = tokio::select! {
                frame = to_page.next() => (frame, true),
                frame = to_server.next() => (frame, false),
            };
            let Some(Ok(frame)) = frame else { return };
            // Pings and the like are the connection's own.
            let fault = if matches!(frame, Frame::Binary(_)) { self.next() } else { None };
            let copies = match fault {
                None | Some(Fault::Kill) => 1,
                Some(Fault::Doubled) => 2,
                Some(Fault::Cut) => return,
                Some(Fault::KillAndLose) => {
                    self.kill.notify_one();
                    0
                }
                Some(Fault::Lost) => 0,
                Some(Fault::Overtaken) => {
                    held[usize::from(up)] = Some(frame);
                    continue;
                }
            };
            for _ in 0..copies {
                if send(&mut to_page, &mut to_server, up, frame.clone()).await.is_err() {
                    return;
                }
            }
            if let Some(late) = held[usize::from(up)].take()
                && send(&mut to_page, &mut to_server, up, late).await.is_err()
            {
                return;
            }
            if fault == Some(Fault::Kill) {
                self.kill.notify_one();
            }
        }
    }
}

async fn send(
    to_page: &mut Socket<TcpStream>,
    to_server: &mut Socket<MaybeTlsStream<TcpStream>>,
    up: bool,
    frame: Frame,
) -> Result<(), ()> {
    let sent = if up { to_server.send(frame).await } else { to_page.send(frame).await };
    sent.map_err(drop)
}

#[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    Ok(response)
}
