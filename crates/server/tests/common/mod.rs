//! A real server on a free port, a real chain in memory, and viewers who pay through real sockets.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod odd;
pub mod program;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ScriptHash, TxInfo};
use rillpay_channel::bitcoin::{Address, Amount, FeeRate, Network, OutPoint, Txid};
use rillpay_channel::budget::Budget;
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::keys::Seed;
use rillpay_channel::payer::{Effect, Payer, Request, Step};
use rillpay_channel::refund::KitEntry;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::{ChannelState, Message, SUBPROTOCOL, Token};
use rillpay_channel::{FundingKind, Msat};
use rillpay_server::{Config, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub const ORIGIN: &str = "http://127.0.0.1";
pub const MBTC: u64 = 100_000;
/// Long enough for a loaded machine, short enough for a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Completes, or fails the test.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("too slow: {what}"))
}

pub async fn kernel() -> KernelChain {
    KernelChain::open(KernelConfig::default()).await.unwrap()
}

/// The book's terms: 1,000 satoshi a second. `more` replaces lines, given as `section.key = value`.
pub fn config(dir: &Path, payout: &Address, more: &[(&str, &str)]) -> Config {
    Config::parse(&config_text(dir, payout, more), dir).unwrap()
}

/// [`config`], as an operator writes it.
pub fn config_text(dir: &Path, payout: &Address, more: &[(&str, &str)]) -> String {
    let media = dir.join("media");
    std::fs::create_dir_all(&media).unwrap();
    let payout = format!("\"{payout}\"");
    let folder = format!("{media:?}");
    let data = format!("{:?}", dir.join("data"));
    let origin = format!("\"{ORIGIN}\"");
    let mut keys = vec![
        ("listen", "\"127.0.0.1:0\""),
        ("network", "\"regtest\""),
        ("data_dir", &data),
        ("origin", &origin),
        ("payout", &payout),
        ("chain.backend", "\"kernel\""),
        ("tariff.unit", "\"second\""),
        ("tariff.price_msat", "1_000_000"),
        ("deposit.min_sat", "10_000"),
        ("deposit.max_sat", "10_000_000"),
        ("deposit.confirmations", "1"),
        ("channel.lifetime_blocks", "100"),
        ("channel.stop_margin_blocks", "20"),
        ("channel.close_margin_blocks", "10"),
        ("settlement.merge_delay_seconds", "0"),
        ("content.folder", &folder),
        ("limits.opens_per_minute", "100_000"),
        ("limits.frames_per_second", "100_000"),
    ];
    for (key, value) in more {
        keys.retain(|(existing, _)| existing != key);
        keys.push((key, value));
    }
    let mut text = String::new();
    // TOML: keys of the root come before any section's.
    keys.sort_by_key(|(key, _)| key.contains('.'));
    for (key, value) in keys {
        writeln!(text, "{key} = {value}").unwrap();
    }
    text
}

/// A server in this process.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn start(config: Config, chain: Arc<dyn Chain>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::open(config, chain).await.unwrap();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server.run(listener, axum::Router::new(), shutdown).await.unwrap();
        });
        Self { address, stop: Some(stop), task }
    }

    /// Ends it as a signal would.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        soon("shutdown", self.task).await.unwrap();
    }
}

pub fn seed(number: u8) -> Seed {
    Seed::from_bip39_seed(&[number; 64], Network::Regtest)
}

/// A raw socket that speaks the protocol.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("the server takes connections")
    }

    /// As [`Socket::connect`]; `None` where nobody is there.
    pub async fn try_connect(address: SocketAddr) -> Option<Self> {
        let mut request = format!("ws://{address}/rillpay/v1/socket").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (socket, response) = soon("connecting", connect_async(request)).await.ok()?;
        assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        Some(Self(socket))
    }

    pub async fn send(&mut self, message: &Message) {
        self.send_frame(Frame::Binary(message.encode().into())).await;
    }

    /// As [`Socket::send`]; an error where the connection is broken.
    pub async fn try_send(&mut self, message: &Message) -> Result<(), ()> {
        self.0.send(Frame::Binary(message.encode().into())).await.map_err(drop)
    }

    pub async fn send_frame(&mut self, frame: Frame) {
        self.0.send(frame).await.unwrap();
    }

    /// The next message; `None` once the server has closed.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match soon("a message", self.0.next()).await {
                Some(Ok(Frame::Binary(bytes))) => return Some(Message::decode(&bytes).unwrap()),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("a frame of another kind: {other:?}"),
            }
        }
    }

    /// The first message that `pick` wants; others are skipped.
    pub async fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed while waiting for {what}"));
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    /// The code of the next refusal; other messages are skipped.
    pub async fn refusal(&mut self) -> String {
        self.wait_for("a refusal", |message| match message {
            Message::Refused(refusal) => Some(refusal.code),
            _ => None,
        })
        .await
    }

    pub async fn welcome(&mut self) -> ([u8; 32], rillpay_channel::bitcoin::secp256k1::PublicKey) {
        match self.next().await {
            Some(Message::Welcome { challenge, node }) => (challenge, node),
            other => panic!("not a welcome: {other:?}"),
        }
    }
}

/// One viewer with one channel.
pub struct Viewer {
    pub socket: Socket,
    pub payer: Payer,
    pub token: Token,
    pub epoch: u64,
    pub address: SocketAddr,
}

pub fn request(node: rillpay_channel::bitcoin::secp256k1::PublicKey, number: u8, unit: Unit, price: u64) -> Request {
    let seed = seed(number);
    Request {
        ladder: None,
        network: Network::Regtest,
        funding_kind: FundingKind::P2shP2wsh,
        key: seed.channel_key(0).unwrap(),
        key_index: 0,
        return_script: seed.return_script(0).unwrap(),
        deposit: Amount::from_sat(36 * MBTC),
        min_deposit: Amount::from_sat(10_000),
        max_deposit: Amount::from_sat(10_000_000),
        confirmations: 1,
        tariff: Tariff { unit, price: Msat::new(price).unwrap(), window: 2 },
        node,
        max_lifetime: 10_000,
        purpose: ORIGIN.into(),
    }
}

/// Saves a decision in no place at all.
pub fn store(step: Step) -> rillpay_channel::persist::Saved<rillpay_channel::payer::Event, Effect> {
    step.save(|_| Ok::<_, std::convert::Infallible>(())).unwrap()
}

impl Viewer {
    /// Opens a channel and attaches to it.
    pub async fn open(address: SocketAddr, number: u8) -> Self {
        Self::open_for(address, number, Unit::Second, 1_000_000).await
    }

    pub async fn open_for(address: SocketAddr, number: u8, unit: Unit, price: u64) -> Self {
        Self::open_with(address, 100, |node| request(node, number, unit, price)).await
    }

    /// Opens a channel with a request of one's own, in the hope of a life of so many blocks.
    pub async fn open_with(
        address: SocketAddr,
        lifetime: u32,
        make: impl FnOnce(rillpay_channel::bitcoin::secp256k1::PublicKey) -> Request,
    ) -> Self {
        let mut socket = Socket::connect(address).await;
        let (challenge, node) = socket.welcome().await;
        let request = make(node);
        socket.send(&request.message()).await;
        let (params, signature) = socket
            .wait_for("opened", |message| match message {
                Message::Opened { params, signature } => Some((params, signature)),
                other => panic!("not opened: {other:?}"),
            })
            .await;
        let tip = params.expiry - lifetime;
        let step = request.opened(params, signature, tip).unwrap();
        let payer = Payer::create(store(step), request.key, Budget::default()).unwrap();
        let mut viewer = Self { socket, payer, token: Token([0; 32]), epoch: 0, address };
        viewer.attach(challenge).await;
        viewer
    }

    async fn attach(&mut self, challenge: [u8; 32]) -> ChannelState {
        self.socket.send(&self.payer.attach(&challenge)).await;
        let (epoch, token, state) = self
            .socket
            .wait_for("attached", |message| match message {
                Message::Attached { epoch, token, state } => Some((epoch, token, *state)),
                other => panic!("not attached: {other:?}"),
            })
            .await;
        (self.epoch, self.token) = (epoch, token);
        let step = self.payer.attached(&state).unwrap();
        self.carry_out(step).await;
        state
    }

    /// Comes back on a fresh socket; gives what the server says about the channel.
    pub async fn reattach(&mut self, address: SocketAddr) -> ChannelState {
        self.address = address;
        self.socket = Socket::connect(address).await;
        let (challenge, _) = self.socket.welcome().await;
        self.attach(challenge).await
    }

    /// Ends the session; what the server still had to say goes by.
    pub async fn leave(&mut self) {
        if self.socket.0.send(Frame::Close(None)).await.is_ok() {
            while self.socket.next().await.is_some() {}
        }
    }

    pub async fn carry_out(&mut self, step: Step) {
        for effect in self.payer.commit(store(step)).unwrap() {
            match effect {
                Effect::Send(message) => self.socket.send(&message).await,
                Effect::Broadcast(_) => panic!("nothing to broadcast here"),
            }
        }
    }

    /// Pays a deposit, confirms it, and waits until the server has seen it.
    pub async fn fund(&mut self, chain: &KernelChain, deposit: Amount) {
        chain.send(&self.payer.params().funding_script(), deposit).await.unwrap();
        chain.mine(1).await.unwrap();
        self.funded(chain).await;
    }

    /// Content of this quantity has arrived.
    pub fn receive(&mut self, quantity: u64) {
        let step = self.payer.receive(quantity).unwrap();
        assert!(self.payer.commit(store(step)).unwrap().is_empty());
    }

    /// Waits until the server has seen a confirmed deposit, and checks it against the chain.
    pub async fn funded(&mut self, chain: &dyn Chain) {
        let funding = self
            .socket
            .wait_for("the deposit", |message| match message {
                Message::FundingSeen { funding: Some(funding), confirmations, .. } if confirmations >= 1 => {
                    Some(funding)
                }
                _ => None,
            })
            .await;
        let tip = chain.tip().await.unwrap().height;
        let script = ScriptHash::of(&self.payer.params().funding_script());
        let seen: Vec<_> = chain
            .script_unspent(&script)
            .await
            .unwrap()
            .into_iter()
            .map(|output| SeenOutput {
                funding: Funding { outpoint: OutPoint::new(output.txid, output.vout), capacity: output.value },
                confirmations: output.status.confirmations(tip),
            })
            .collect();
        let step = self.payer.funding_seen(&funding, &seen).unwrap();
        self.carry_out(step).await;
    }

    /// Answers one message as a page does; gives it.
    pub async fn step(&mut self) -> Option<Message> {
        let message = self.socket.next().await?;
        let step = match &message {
            Message::Need { upto, delivered } => Some(self.payer.need(*upto, *delivered, 0).unwrap()),
            Message::Stopped { delivered } => Some(self.payer.stopped(*delivered).unwrap()),
            Message::Closed { cumulative, signature } => Some(self.payer.closed(*cumulative, *signature).unwrap()),
            _ => None,
        };
        if let Some(step) = step {
            self.carry_out(step).await;
        }
        Some(message)
    }

    /// Answers messages as a page does until one is wanted; gives that one.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.step().await.unwrap_or_else(|| panic!("closed while waiting for {what}"));
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The refunds that a page would keep in a file.
    pub fn kit(&self) -> Vec<KitEntry> {
        let funding = *self.payer.funding().unwrap();
        self.payer.refund_kit(&[SeenOutput { funding, confirmations: 1 }]).unwrap()
    }

    /// Takes a deposit back that the server grants at once.
    pub async fn take_back(&mut self, output: Funding, chain: &dyn Chain) -> Txid {
        let seen = [SeenOutput { funding: output, confirmations: 1 }];
        assert_eq!(self.payer.reclaimable(&seen, FeeRate::from_sat_per_vb_u32(2)), [output]);
        self.socket.send(&Message::Reclaim(output)).await;
        self.granted(chain).await
    }

    /// Presses Stop with nothing watched, and takes the deposit back.
    pub async fn stop_unwatched(&mut self, chain: &dyn Chain) -> Txid {
        let step = self.payer.stop().unwrap();
        self.carry_out(step).await;
        self.granted(chain).await
    }

    async fn granted(&mut self, chain: &dyn Chain) -> Txid {
        let granted =
            self.until("a grant", |message| matches!(message, Message::Granted(_) | Message::Refused(_))).await;
        let Message::Granted(grant) = granted else { panic!("not granted: {granted:?}") };
        let step = self.payer.reclaimed(&grant, FeeRate::from_sat_per_vb_u32(2)).unwrap();
        let effects = self.payer.commit(store(step)).unwrap();
        let [Effect::Broadcast(transaction)] = &effects[..] else { panic!("nothing to broadcast: {effects:?}") };
        chain.broadcast(transaction).await.unwrap()
    }

    /// Presses Stop and waits for the closing statement.
    pub async fn stop(&mut self) -> Amount {
        let step = self.payer.stop().unwrap();
        self.carry_out(step).await;
        loop {
            match self.step().await {
                Some(Message::Closed { cumulative, .. }) => return cumulative,
                Some(Message::Refused(refusal)) => panic!("refused: {refusal:?}"),
                Some(_) => {}
                None => panic!("closed while stopping"),
            }
        }
    }

    /// Pays for a quantity without being asked: prepays.
    pub async fn pay_for(&mut self, quantity: u64) -> Message {
        let missing = quantity.saturating_sub(self.payer.received());
        self.receive(missing);
        let step = self.payer.need(quantity, 0, 0).unwrap();
        self.carry_out(step).await;
        self.socket
            .wait_for("an answer to a payment", |message| match message {
                Message::Ack { .. } | Message::Refused(_) => Some(message),
                _ => None,
            })
            .await
    }

    /// As [`Viewer::pay_for`], for a server that may go away: gives the acknowledged amount.
    pub async fn try_pay_for(&mut self, quantity: u64) -> Option<u64> {
        let step = self.payer.need(quantity, 0, 0).unwrap();
        for effect in self.payer.commit(store(step)).unwrap() {
            let Effect::Send(message) = effect else { panic!("a message") };
            self.socket.0.send(Frame::Binary(message.encode().into())).await.ok()?;
        }
        loop {
            match self.socket.next().await? {
                Message::Ack { cumulative, .. } => return Some(cumulative.to_sat()),
                Message::Refused(refusal) => panic!("{refusal:?}"),
                _ => {}
            }
        }
    }

    /// Takes the server's word for a deposit that the test itself has made.
    pub fn trust_funding(&mut self, funding: rillpay_channel::commitment::Funding) {
        let step = self.payer.funding_seen(&funding, &[SeenOutput { funding, confirmations: 1 }]).unwrap();
        assert!(self.payer.commit(store(step)).unwrap().is_empty());
    }

    /// Waits for a settlement with so many confirmations.
    pub async fn settled(&mut self, at_least: u32) -> Txid {
        self.socket
            .wait_for("the settlement", |message| match message {
                Message::Settled { txid, confirmations } if confirmations >= at_least => Some(txid),
                _ => None,
            })
            .await
    }
}

/// Puts a file into the server's media folder.
pub fn media(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join("media").join(name), bytes).unwrap();
}

/// One HTTP request over a connection of its own.
pub async fn get(address: SocketAddr, path: &str, token: Option<Token>) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if let Some(token) = token {
        let hex: String = token.0.iter().map(|byte| format!("{byte:02x}")).collect();
        request.push_str(&format!("rillpay-session: {hex}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    soon("an HTTP answer", stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// Waits until the server says of itself that it is well (200), or that it is not (503).
pub async fn health(address: SocketAddr, wanted: u16) {
    while get(address, "/healthz", None).await.0 != wanted {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a transaction pays in satoshi per virtual byte, rounded down.
pub fn rate(transaction: &TxInfo) -> u64 {
    transaction.fee.to_sat() / transaction.weight.div_ceil(4)
}

/// The chain grows to this height, by blocks without room for what waits.
pub async fn full_blocks_to(chain: &KernelChain, height: u32) {
    while chain.tip().await.unwrap().height < height {
        chain.reorganise(0, &[]).await.unwrap();
    }
}
