//! A node in a process: its folder, its store, where it listens.

use std::collections::{HashSet, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rillpay_chain::Chain;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_transport::connection::tcp;
use rillpay_transport::websocket::{self, Frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::answers::TowerInfo;
use crate::dial::{Dial, Stream};
use crate::error::{Code, Error};
use crate::keep::Keep;
use crate::node::{Node, Parts, Policy, Shared, begin};
use crate::peer::PeerAddress;
use crate::store::Store;
use crate::tower::Tower;
use crate::{peer, tower};

/// How many callers may be introducing themselves at a time. One more takes the place of the one that has taken longest: those
/// who are silent keep others out only while as many new ones come as greetings end.
const GREETINGS: usize = 64;
/// How many peers without a channel may be connected. Those with one always find room.
const STRANGERS: usize = 64;
/// How long a caller may take to ask for a WebSocket.
const UPGRADE: Duration = Duration::from_secs(10);
/// The longest WebSocket message that is read, in bytes. A message of the stream may span several.
const MAX_FRAME: usize = 128 * 1024;

/// How to run a node. It may hold the recovery words, so it never prints.
#[derive(Clone)]
pub struct Options {
    /// Where everything is kept. One process at a time.
    pub data_dir: PathBuf,
    /// Where peers can call. `None`: nobody can, and the node calls others.
    pub listen: Option<SocketAddr>,
    /// Where peers can call over a WebSocket, as pages do.
    pub websocket: Option<SocketAddr>,
    /// The recovery words, in place of the file `seed.words`.
    pub words: Option<String>,
    /// What it agrees to.
    pub policy: Policy,
    /// Who punishes for us while we are away.
    pub tower: Option<PeerAddress>,
}

impl Options {
    /// A node that listens nowhere.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let (data_dir, listen, websocket, words, tower) = (data_dir.into(), None, None, None, None);
        Self { data_dir, listen, websocket, words, policy: Policy::default(), tower }
    }
}

/// Where a node is.
pub(crate) struct Place {
    data_dir: PathBuf,
    address: Option<SocketAddr>,
    websocket: Option<SocketAddr>,
    tower: Option<Arc<Tower>>,
}

impl Node {
    /// Starts a node: takes the folder, reads the channels, looks at the chain, and only then talks to anybody.
    ///
    /// # Errors
    /// [`Code::Folder`], [`Code::StoreFailed`], or what the chain said; nothing runs then.
    pub async fn start(options: Options, chain: Arc<dyn Chain>) -> Result<Self, Error> {
        let Options { data_dir, listen: at, websocket, words, policy, tower } = options;
        let folder = |error: std::io::Error| Error::new(Code::Folder, format!("{}: {error}", data_dir.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).map_err(folder)?;
        // One that was there before may have been open to others.
        std::fs::set_permissions(&data_dir, Permissions::from_mode(0o700)).map_err(folder)?;
        let lock = take_folder(&data_dir)?;
        let store = Store::open(&data_dir.join("node.sqlite"))?.with_outbox(tower.is_some());
        let tower = tower.map(|at| Arc::new(Tower::new(at, store.clone())));
        let is_new = store.owner()?.is_none();
        let seed =
            rillpay_words::read_or_make(words.as_deref(), &data_dir.join("seed.words"), chain.network(), is_new)?;
        let parts = Parts {
            seed,
            chain,
            store: Arc::new(store),
            dial: Arc::new(Tcp),
            policy,
            reserved: 0,
            // Unlocked by name: a child of this process may have the file, too, until it becomes another program.
            release: Box::new(move || {
                let _ = lock.unlock();
            }),
        };
        let shared = begin(parts).await?;
        let address = listen(&shared, at, |stream| Box::pin(plain(stream))).await?;
        let websocket = listen(&shared, websocket, |stream| Box::pin(upgraded(stream))).await?;
        if let Some(tower) = &tower {
            shared.spawn(tower::run(Arc::clone(&shared), Arc::clone(tower)));
        }
        Ok(Self { shared, place: Arc::new(Place { data_dir, address, websocket, tower }) })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.place.address
    }

    /// Where it listens for WebSockets.
    pub fn websocket(&self) -> Option<SocketAddr> {
        self.place.websocket
    }

    /// What may be known of its watchtower.
    pub(crate) async fn tower(&self) -> Result<Option<TowerInfo>, Error> {
        match &self.place.tower {
            Some(tower) => Ok(Some(tower.info().await?)),
            None => Ok(None),
        }
    }

    /// Where its folder is.
    pub fn data_dir(&self) -> &Path {
        &self.place.data_dir
    }
}

fn take_folder(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| Error::new(Code::Folder, format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::new(Code::Folder, format!("another node uses {}", folder.display()))),
    }
}

/// Calls over TCP, or over a WebSocket where the address begins with `ws://`.
struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, address: &str) -> Result<Stream, String> {
        let (is_websocket, host) = address.strip_prefix("ws://").map_or((false, address), |host| (true, host));
        let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
        if !is_websocket {
            return plain(stream).await.map_err(|error| error.to_string());
        }
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let url = format!("ws://{host}/");
        let (socket, _) =
            client_async_with_config(url, stream, Some(frames())).await.map_err(|error| error.to_string())?;
        Ok(binary(socket))
    }
}

async fn plain(stream: TcpStream) -> Result<Stream, Error> {
    let (reads, writes) = tcp(stream)?;
    Ok(Stream::new(reads, writes))
}

/// The stream inside a WebSocket, whatever the URL that was asked for.
async fn upgraded(stream: TcpStream) -> Result<Stream, Error> {
    let failed = |text: String| Error::new(Code::PeerUnfit, format!("no WebSocket: {text}"));
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    let upgrade = timeout(UPGRADE, accept_async_with_config(stream, Some(frames()))).await;
    let socket = upgrade.map_err(|_| failed("not in time".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    Ok(binary(socket))
}

fn frames() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME))
}

/// The bytes of a WebSocket's binary messages.
fn binary(socket: WebSocketStream<TcpStream>) -> Stream {
    let (reads, writes) = websocket::split(socket, Message::Binary, |message| match message {
        Message::Binary(bytes) => Frame::Bytes(bytes),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Frame::Control,
        Message::Close(_) => Frame::End,
        Message::Text(_) => Frame::Foreign,
    });
    Stream::new(reads, writes)
}

/// The callers that are introducing themselves, the first of them first.
#[derive(Default)]
struct Greetings(Mutex<VecDeque<CancellationToken>>);

impl Greetings {
    /// Takes a caller in. Its token is cancelled when somebody else needs the place, and by whoever needs it no more.
    fn begin(&self) -> CancellationToken {
        let mut greetings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        greetings.retain(|greeting| !greeting.is_cancelled());
        if greetings.len() >= GREETINGS
            && let Some(longest) = greetings.pop_front()
        {
            longest.cancel();
        }
        let greeting = CancellationToken::new();
        greetings.push_back(greeting.clone());
        greeting
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Stream, Error>> + Send>>;

/// Takes calls from now on.
async fn listen(
    node: &Arc<Shared>,
    at: Option<SocketAddr>,
    open: fn(TcpStream) -> Opening,
) -> Result<Option<SocketAddr>, Error> {
    let Some(at) = at else { return Ok(None) };
    let failed = |error: std::io::Error| Error::new(Code::Folder, format!("cannot listen on {at}: {error}"));
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (serving, greetings) = (Arc::clone(node), Greetings::default());
    node.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (node, greeting) = (Arc::clone(&serving), greetings.begin());
                    serving.spawn(async move {
                        let answer = async { peer::answer(&node, open(stream).await?).await };
                        let answered = greeting.run_until_cancelled(answer).await;
                        greeting.cancel();
                        match answered {
                            Some(Ok(session)) if has_room_for(&node, &session.remote) => {
                                peer::serve(node, session, None).await;
                            }
                            Some(Ok(_)) => tracing::debug!("a stranger was not taken in"),
                            Some(Err(error)) => tracing::debug!(%error, "a caller was not answered"),
                            None => tracing::debug!("a caller was given up for another"),
                        }
                    });
                }
                // Too many open files, above all: others have to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    Ok(Some(address))
}

fn has_room_for(node: &Shared, peer: &PublicKey) -> bool {
    let known: HashSet<_> = node.channels().iter().map(|channel| channel.peer).collect();
    let strangers = || node.links.peers().iter().filter(|peer| !known.contains(peer)).count();
    known.contains(peer) || strangers() < STRANGERS
}
