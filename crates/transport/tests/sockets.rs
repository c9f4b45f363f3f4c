//! Two peers over real sockets: TCP, TCP with somebody in the middle, and WebSocket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::time::Duration;

use axum::extract::ws;
use bitcoin::secp256k1::SecretKey;
use rillpay_transport::connection::{Connection, tcp};
use rillpay_transport::websocket::{self, Frame};
use rillpay_transport::{Code, EphemeralKey, Error, MAX_MESSAGE, NodeKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite;

/// Long enough for a slow machine; nothing here waits for it to pass but a peer that never speaks.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than two changes of keys in each direction.
const MANY: u32 = 1300;
/// The bytes of acts one and three, which the caller sends before its first message.
const HANDSHAKE: usize = 50 + 66;

type Tcp = Connection<OwnedReadHalf, OwnedWriteHalf>;

fn node(byte: u8) -> NodeKey {
    NodeKey::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

fn ephemeral(byte: u8) -> EphemeralKey {
    EphemeralKey::new(&[byte; 32]).unwrap()
}

async fn call(stream: TcpStream, remote: &NodeKey) -> Result<Tcp, Error> {
    let (reads, writes) = tcp(stream)?;
    Connection::call(reads, writes, &node(1), remote.public(), ephemeral(3), PATIENCE).await
}

async fn answer(stream: TcpStream) -> Result<Tcp, Error> {
    let (reads, writes) = tcp(stream)?;
    Connection::answer(reads, writes, &node(2), ephemeral(4), PATIENCE).await
}

/// Two ends of one TCP connection.
async fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

/// Message `n` of some side: all lengths from none on, now and then the longest.
fn message(side: u8, n: u32) -> Vec<u8> {
    let length = if n.is_multiple_of(400) { MAX_MESSAGE } else { n as usize };
    (0..length).map(|at| side ^ n.to_le_bytes()[at % 4]).collect()
}

/// Says many messages, hears as many, then closes and hears the other close. Not before: a WebSocket that is closed in one
/// direction takes nothing more in the other.
async fn converse<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(connection: Connection<R, W>, own: u8, peer: u8) {
    let Connection { mut incoming, mut outgoing, remote } = connection;
    assert_eq!(remote, node(peer).public());
    let speak = async {
        for n in 0..MANY {
            outgoing.send(&message(own, n)).await.unwrap();
        }
    };
    let hear = async {
        for n in 0..MANY {
            assert!(incoming.message().await.unwrap() == Some(message(peer, n)), "message {n} of {peer}");
        }
    };
    tokio::join!(speak, hear);
    outgoing.close().await.unwrap();
    assert_eq!(incoming.message().await.unwrap(), None);
}

#[tokio::test]
async fn two_peers_talk_over_tcp_across_changes_of_keys() {
    let (one, other) = streams().await;
    let bob = node(2);
    let (alice, bob) = tokio::join!(call(one, &bob), answer(other));
    tokio::join!(converse(alice.unwrap(), 1, 2), converse(bob.unwrap(), 2, 1));
}

#[tokio::test]
async fn messages_that_were_queued_leave_together() {
    let (one, other) = streams().await;
    let bob = node(2);
    let (alice, bob) = tokio::join!(call(one, &bob), answer(other));
    let (mut alice, mut bob) = (alice.unwrap(), bob.unwrap());
    for n in 1..4 {
        alice.outgoing.queue(&message(1, n)).unwrap();
    }
    let error = alice.outgoing.queue(&vec![0; MAX_MESSAGE + 1]).unwrap_err();
    assert_eq!(error.code(), Code::TooLong);
    alice.outgoing.flush().await.unwrap();
    for n in 1..4 {
        assert_eq!(bob.incoming.message().await.unwrap(), Some(message(1, n)));
    }
}

#[tokio::test]
async fn a_peer_with_another_key_is_refused() {
    let (one, other) = streams().await;
    // Alice wants Carol; it is Bob who answers. Bob sees it first, closes, and Alice has no session.
    let carol = node(5);
    let (alice, bob) = tokio::join!(call(one, &carol), answer(other));
    let error = bob.err().unwrap();
    assert_eq!((error.code(), error.act()), (Code::HandshakeRefused, Some(1)));
    let code = alice.err().unwrap().code();
    assert!([Code::Cut, Code::Network].contains(&code), "{code:?}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let (one, other) = streams().await;
    let (reads, writes) = tcp(one).unwrap();
    let limit = Duration::from_millis(50);
    let outcome = Connection::answer(reads, writes, &node(2), ephemeral(4), limit).await;
    assert_eq!(outcome.err().unwrap().code(), Code::HandshakeTimeout);
    let (reads, writes) = tcp(other).unwrap();
    let outcome = Connection::call(reads, writes, &node(1), node(2).public(), ephemeral(3), limit).await;
    // The first one hung up without an answer.
    assert_eq!(outcome.err().unwrap().code(), Code::Cut);
}

/// What somebody in the middle does to the caller's bytes.
#[derive(Clone, Copy)]
enum Attack {
    /// Changes the byte at this place.
    Alter(usize),
    /// Passes so many bytes on and no more.
    Cut(usize),
}

/// Passes bytes on between two streams, but attacks those of the first.
async fn middle(caller: TcpStream, answerer: TcpStream, attack: Attack) {
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_answerer, mut to_answerer) = answerer.into_split();
    let forth = async {
        let mut passed = 0;
        let mut piece = vec![0; 999];
        loop {
            let length = from_caller.read(&mut piece).await.unwrap_or(0);
            let mut bytes = piece[..length].to_vec();
            match attack {
                Attack::Alter(at) if (passed..passed + length).contains(&at) => bytes[at - passed] ^= 1,
                Attack::Cut(at) => bytes.truncate(at - passed),
                Attack::Alter(_) => {}
            }
            passed += bytes.len();
            if to_answerer.write_all(&bytes).await.is_err() || bytes.is_empty() || bytes.len() < length {
                break;
            }
        }
        let _ = to_answerer.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_answerer, &mut to_caller).await;
        let _ = to_caller.shutdown().await;
    };
    tokio::join!(forth, back);
}

/// What Bob hears of a hundred messages of ten bytes under an attack: how many whole ones, and how it ends.
async fn attacked(attack: Attack) -> (usize, Result<(), Error>) {
    let ((one, left), (right, other)) = (streams().await, streams().await);
    let between = tokio::spawn(middle(left, right, attack));
    let alice = tokio::spawn(async move {
        let mut alice = call(one, &node(2)).await?;
        for _ in 0..100 {
            alice.outgoing.send(b"0123456789").await?;
        }
        alice.outgoing.close().await?;
        // Until the other end hangs up.
        while alice.incoming.message().await?.is_some() {}
        Ok::<_, Error>(())
    });
    let mut heard = 0;
    let outcome = async {
        let mut bob = answer(other).await?;
        while let Some(message) = bob.incoming.message().await? {
            assert_eq!(message, b"0123456789");
            heard += 1;
        }
        Ok(())
    }
    .await;
    // How it ends for Alice depends on which of her bytes were still under way; that it does is what counts.
    let _ = alice.await.unwrap();
    between.await.unwrap();
    (heard, outcome)
}

#[tokio::test]
async fn an_altered_byte_ends_the_connection() {
    const FRAME: usize = 18 + 10 + 16;
    for (at, whole) in [(0, 0), (17, 0), (18, 0), (43, 0), (FRAME * 7, 7), (FRAME * 99 + 30, 99)] {
        let (heard, outcome) = attacked(Attack::Alter(HANDSHAKE + at)).await;
        assert_eq!((heard, outcome.unwrap_err().code()), (whole, Code::Altered), "byte {at}");
    }
    // In act one, and in act three.
    for (at, code, act) in
        [(0, Code::HandshakeVersion, 1), (49, Code::HandshakeRefused, 1), (115, Code::HandshakeRefused, 3)]
    {
        let error = attacked(Attack::Alter(at)).await.1.unwrap_err();
        assert_eq!((error.code(), error.act()), (code, Some(act)), "byte {at}");
    }
}

#[tokio::test]
async fn a_cut_ends_the_connection() {
    const FRAME: usize = 18 + 10 + 16;
    for at in [1, 17, 18, 43] {
        let (heard, outcome) = attacked(Attack::Cut(HANDSHAKE + FRAME * 5 + at)).await;
        assert_eq!((heard, outcome.unwrap_err().code()), (5, Code::Cut), "cut at {at}");
    }
    // Between two messages nothing is missing: whether that was the end only the messages can say.
    assert_eq!(attacked(Attack::Cut(HANDSHAKE + FRAME * 5)).await, (5, Ok(())));
    for at in [1, 49, 50, 115] {
        assert_eq!(attacked(Attack::Cut(at)).await.1.unwrap_err().code(), Code::Cut, "cut at {at}");
    }
}

fn from_axum(message: ws::Message) -> Frame {
    match message {
        ws::Message::Binary(bytes) => Frame::Bytes(bytes),
        ws::Message::Ping(_) | ws::Message::Pong(_) => Frame::Control,
        ws::Message::Close(_) => Frame::End,
        ws::Message::Text(_) => Frame::Foreign,
    }
}

fn from_tungstenite(message: tungstenite::Message) -> Frame {
    match message {
        tungstenite::Message::Binary(bytes) => Frame::Bytes(bytes),
        tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {
            Frame::Control
        }
        tungstenite::Message::Close(_) => Frame::End,
        tungstenite::Message::Text(_) => Frame::Foreign,
    }
}

/// Bob at the server's end of a WebSocket.
async fn bob(socket: ws::WebSocket) -> Result<(), Error> {
    let (reads, writes) = websocket::split(socket, ws::Message::Binary, from_axum);
    let mut bob = Connection::answer(reads, writes, &node(2), ephemeral(4), PATIENCE).await?;
    let first = bob.incoming.message().await?;
    assert_eq!(first.as_deref(), Some(&b"begin"[..]));
    converse(bob, 2, 1).await;
    Ok(())
}

/// A server at which Bob waits; what came of it goes out through the channel.
async fn websocket_server() -> (String, tokio::sync::mpsc::UnboundedReceiver<Result<(), Error>>) {
    let (outcomes, heard) = tokio::sync::mpsc::unbounded_channel();
    let upgrade = move |upgrade: ws::WebSocketUpgrade| {
        let outcomes = outcomes.clone();
        async move {
            upgrade.on_upgrade(move |socket| async move {
                outcomes.send(bob(socket).await).unwrap();
            })
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", axum::routing::get(upgrade));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, heard)
}

#[tokio::test]
async fn two_peers_talk_over_a_websocket_across_changes_of_keys() {
    let (url, mut outcomes) = websocket_server().await;
    let (socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let (reads, writes) = websocket::split(socket, tungstenite::Message::Binary, from_tungstenite);
    let (alice, bob) = (node(1), node(2));
    let mut connection = Connection::call(reads, writes, &alice, bob.public(), ephemeral(3), PATIENCE).await.unwrap();
    connection.outgoing.send(b"begin").await.unwrap();
    converse(connection, 1, 2).await;
    outcomes.recv().await.unwrap().unwrap();
}

#[tokio::test]
async fn text_on_the_websocket_ends_the_connection() {
    use futures_util::SinkExt;

    let (url, mut outcomes) = websocket_server().await;
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(tungstenite::Message::Ping(vec![1].into())).await.unwrap();
    socket.send(tungstenite::Message::text("hello")).await.unwrap();
    assert_eq!(outcomes.recv().await.unwrap().unwrap_err().code(), Code::ForeignFrame);

    // Bytes that are no handshake, in pieces of no meaning.
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    for piece in [vec![0; 20], vec![], vec![0; 30]] {
        socket.send(tungstenite::Message::binary(piece)).await.unwrap();
    }
    assert_eq!(outcomes.recv().await.unwrap().unwrap_err().code(), Code::HandshakeKey);

    // A close in the middle of act one.
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(tungstenite::Message::binary(vec![0; 20])).await.unwrap();
    socket.close(None).await.unwrap();
    assert_eq!(outcomes.recv().await.unwrap().unwrap_err().code(), Code::Cut);
}
