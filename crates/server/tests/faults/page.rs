//! A payer's machine and its store, driven as a page drives them, over a line that cannot be trusted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use rillpay_chain::kernel::KernelChain;
use rillpay_chain::{Chain, ScriptHash};
use rillpay_channel::bitcoin::{Amount, OutPoint};
use rillpay_channel::budget::Budget;
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::payer::{Effect, Event, Payer, Phase, Step};
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::{ChannelState, Message, Token};
use rillpay_channel::{Error, bitcoin::FeeRate};

use crate::common::{Socket, get, request, seed};

/// What one request costs, in satoshi.
pub(crate) const PRICE: u64 = 1000;
/// A page that hears nothing for so long takes its connection for dead.
const QUIET: Duration = Duration::from_millis(600);
/// How often it comes back for the same thing.
const TRIES: u32 = 40;

/// Where a page looks at the chain.
#[derive(Clone)]
pub(crate) enum Look {
    At(KernelChain),
    /// The test has made the deposit itself; the program's chain cannot be asked while it runs.
    Trusting,
}

pub(crate) struct Page {
    payer: Payer,
    number: u8,
    slots: BTreeMap<u8, Vec<u8>>,
    socket: Option<Socket>,
    token: Token,
    /// Where the socket goes, and where content is asked for.
    through: SocketAddr,
    server: SocketAddr,
    look: Look,
    pub(crate) arrived: u64,
}

impl Page {
    /// Opens a channel over a good line; its socket goes through `through` from the next one on.
    pub(crate) async fn open(server: SocketAddr, through: SocketAddr, number: u8, look: Look) -> Self {
        let mut socket = Socket::connect(server).await;
        let (_, node) = socket.welcome().await;
        let request = request(node, number, Unit::Request, PRICE * 1000);
        socket.send(&request.message()).await;
        let Some(Message::Opened { params, signature }) = socket.next().await else { panic!("not opened") };
        let tip = params.expiry - 100;
        let mut slots = BTreeMap::new();
        let saved = request.opened(params, signature, tip).unwrap().save(store(&mut slots)).unwrap();
        let payer = Payer::create(saved, request.key, Budget::default()).unwrap();
        Self { payer, number, slots, socket: None, token: Token([0; 32]), through, server, look, arrived: 0 }
    }

    pub(crate) fn payer(&self) -> &Payer {
        &self.payer
    }

    /// The page is loaded anew from its store.
    pub(crate) fn reload(&mut self) {
        self.socket = None;
        let events: Vec<_> = self.slots.values().map(|bytes| Event::decode(bytes).unwrap()).collect();
        let key = seed(self.number).channel_key(0).unwrap();
        self.payer = Payer::replay(events, key, Budget::default()).unwrap();
    }

    /// Connects and attaches; gives what the server says. `None` where the line fails.
    pub(crate) async fn connect(&mut self) -> Option<ChannelState> {
        self.socket = None;
        let mut socket = Socket::try_connect(self.through).await?;
        let Message::Welcome { challenge, .. } = hear(&mut socket).await? else { return None };
        self.socket = Some(socket);
        self.send(&self.payer.attach(&challenge)).await;
        loop {
            let message = hear(self.socket.as_mut()?).await?;
            if let Message::Attached { token, state, .. } = message {
                self.token = token;
                if let Some(funding) = state.funding {
                    self.sees(funding).await;
                }
                let step = self.payer.attached(&state);
                self.carry_out(step).await;
                return Some(*state);
            }
        }
    }

    /// Until it works.
    pub(crate) async fn reconnect(&mut self) -> ChannelState {
        for _ in 0..TRIES {
            if let Some(state) = self.connect().await {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server is not to be had any more");
    }

    async fn send(&mut self, message: &Message) {
        let Some(socket) = &mut self.socket else { return };
        if socket.try_send(message).await.is_err() {
            self.socket = None;
        }
    }

    /// Store, then act. A refusal of the machine's own is for the viewer to read.
    async fn carry_out(&mut self, step: Result<Step, Error>) {
        let Ok(step) = step else { return };
        let saved = step.save(store(&mut self.slots)).unwrap();
        for effect in self.payer.commit(saved).unwrap() {
            match (effect, &self.look) {
                (Effect::Send(message), _) => self.send(&message).await,
                (Effect::Broadcast(transaction), Look::At(chain)) => {
                    chain.broadcast(&transaction).await.unwrap();
                }
                (Effect::Broadcast(_), Look::Trusting) => panic!("nothing to broadcast here"),
            }
        }
    }

    async fn sees(&mut self, told: Funding) {
        let seen = match &self.look {
            Look::Trusting => vec![SeenOutput { funding: told, confirmations: 1 }],
            Look::At(chain) => {
                let tip = chain.tip().await.unwrap().height;
                let script = ScriptHash::of(&self.payer.params().funding_script());
                let outputs = chain.script_unspent(&script).await.unwrap();
                let seen = outputs.into_iter().map(|output| SeenOutput {
                    funding: Funding { outpoint: OutPoint::new(output.txid, output.vout), capacity: output.value },
                    confirmations: output.status.confirmations(tip),
                });
                seen.collect()
            }
        };
        let step = self.payer.funding_seen(&told, &seen);
        self.carry_out(step).await;
    }

    /// Answers a message as a page does.
    async fn answer(&mut self, message: &Message) {
        let step = match message {
            Message::FundingSeen { funding: Some(funding), .. } => return self.sees(*funding).await,
            Message::Need { upto, delivered } => self.payer.need(*upto, *delivered, 0),
            Message::Stopped { delivered } => self.payer.stopped(*delivered),
            Message::Closed { cumulative, signature } => self.payer.closed(*cumulative, *signature),
            Message::Granted(grant) => self.payer.reclaimed(grant, FeeRate::from_sat_per_vb_u32(2)),
            Message::Refused(refusal) => match &refusal.state {
                // As an answer to a refusal, only news count.
                Some(state) => match self.payer.attached(state) {
                    Ok(step) if step.events().is_empty() => return,
                    step => step,
                },
                None => return,
            },
            _ => return,
        };
        self.carry_out(step).await;
    }

    /// Waits until the deposit is seen by both.
    pub(crate) async fn funded(&mut self) {
        for _ in 0..TRIES {
            if self.payer.funding().is_some() {
                return;
            }
            if !self.listens().await {
                self.reconnect().await;
            }
        }
        panic!("the deposit is not seen");
    }

    /// Answers one message. Whether there was one.
    async fn listens(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let Some(message) = hear(socket).await else {
            self.socket = None;
            return false;
        };
        self.answer(&message).await;
        true
    }

    /// Has this piece of content, however often it takes.
    pub(crate) async fn watch(&mut self, piece: u32) {
        for _ in 0..TRIES {
            if self.socket.is_none() {
                self.reconnect().await;
            }
            let path = format!("/media/{piece}.bin");
            let mut asked = tokio::spawn(try_get(self.server, path, self.token));
            let status = loop {
                let Some(socket) = &mut self.socket else { break asked.await.unwrap() };
                tokio::select! {
                    status = &mut asked => break status.unwrap(),
                    message = socket.next() => match message {
                        Some(message) => self.answer(&message).await,
                        None => self.socket = None,
                    },
                }
            };
            if status == Some(200) {
                self.arrived += 1;
                let step = self.payer.receive(1);
                return self.carry_out(step).await;
            }
            // Nothing came: the connection is taken for dead.
            self.socket = None;
        }
        panic!("piece {piece} is not to be had");
    }

    /// Presses Stop, and waits for the payee's statement.
    pub(crate) async fn stop(&mut self) -> Amount {
        for _ in 0..TRIES {
            if matches!(self.payer.phase(), Phase::Open | Phase::Stopping) {
                let step = self.payer.stop();
                self.carry_out(step).await;
            }
            while self.payer.phase() != Phase::Closed && self.listens().await {}
            if self.payer.phase() == Phase::Closed {
                return self.payer.closing().unwrap().cumulative;
            }
            self.reconnect().await;
        }
        panic!("the end is stuck");
    }

    /// Both ledgers say the same: what was counted is what is paid, and `most_lost` of it never arrived.
    pub(crate) async fn reconciles(&mut self, most_lost: u64) {
        let stated = self.stop().await;
        let state = self.reconnect().await;
        assert_eq!(state.closing.map(|paid| paid.cumulative), Some(stated));
        assert_eq!(stated, Amount::from_sat(state.delivered * PRICE), "the statement is not about what was counted");
        let lost = state.delivered.checked_sub(self.arrived).expect("no more arrived than was counted");
        assert!(lost <= most_lost, "{lost} pieces were paid and never arrived");
        assert!(self.payer.paid() >= stated);
        // The page's store tells the same story.
        let (paid, received) = (self.payer.paid(), self.payer.received());
        self.reload();
        assert_eq!((self.payer.paid(), self.payer.received()), (paid, received));
    }
}

/// What a page keeps: the newest event of each slot.
fn store(slots: &mut BTreeMap<u8, Vec<u8>>) -> impl FnOnce(&[Event]) -> Result<(), Infallible> + '_ {
    |events| {
        slots.extend(events.iter().map(|event| (event.slot(), event.encode())));
        Ok(())
    }
}

/// The next message; `None` if there is none for a while, or the line is broken.
async fn hear(socket: &mut Socket) -> Option<Message> {
    tokio::time::timeout(QUIET, socket.next()).await.ok().flatten()
}

/// As [`get`], from a server that may be going down.
async fn try_get(server: SocketAddr, path: String, token: Token) -> Option<u16> {
    tokio::spawn(async move { get(server, &path, Some(token)).await.0 }).await.ok()
}
