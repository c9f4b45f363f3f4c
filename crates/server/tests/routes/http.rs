//! Plain HTTP over a socket: a client that sends a path exactly as it is given, and a server on a free port.

use std::net::SocketAddr;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The quantity that was counted for it.
    pub(crate) fn counted(&self) -> u64 {
        self.header("rillpay-quantity").parse().expect("a priced answer says what it counted")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// Serves on a free port of this machine until the test ends.
pub(crate) async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Sends a request without a body.
pub(crate) async fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    exchange(to, method, path, headers, "").await
}

/// Sends a body.
pub(crate) async fn post(to: SocketAddr, path: &str, media_type: &str, body: &str) -> Answer {
    let length = body.len().to_string();
    let headers = [("Content-Type", media_type), ("Content-Length", length.as_str())];
    exchange(to, "POST", path, &headers, body).await
}

/// HTTP/1.0, so that the end of the connection is the end of the body.
async fn exchange(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: test\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request += body;
    let (mut reader, mut writer) = TcpStream::connect(to).await.unwrap().into_split();
    // A server may answer and hang up before it has read everything.
    let (_, bytes) = tokio::join!(writer.write_all(request.as_bytes()), async {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
        bytes
    });
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a complete head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Answer { status: head[9..12].parse().unwrap(), head, body: bytes[end + 4..].to_vec() }
}
