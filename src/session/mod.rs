//! What a channel does while a page is open: one task that takes one input after another.
//!
//! ```text
//!   socket ──frames──┐                              ┌── messages ──> socket
//!   chain  ──looks───┤   one input at a time:       ├── transactions ──> Esplora
//!   page   ──stop────┼─> decide, store, commit, act ┤
//!   clock  ──ticks───┘                              └── events ──> page
//! ```
//!
//! A decision goes stale when the machine changes before it is committed. Here it cannot: nothing else decides, and the
//! next input waits until this one's events are on the disk. Rules about money are the machine's alone.

mod chain;
mod deposit;

use std::rc::Rc;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_channel::oneshot;
use futures_util::StreamExt;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rillpay_channel::commitment::Funding;
use rillpay_channel::payer::{Effect, Payer, Phase, Step};
use rillpay_channel::wire::{ChannelState, MAX_FRAME, Message, Refusal, SUBPROTOCOL};
use rillpay_channel::{Code, Fault};
use wasm_bindgen_futures::spawn_local;

use crate::channel::{Shared, Site};
use crate::env;
use crate::error::{Error, Problem, Result};
use crate::esplora::Look;
use crate::js::hex;
use crate::snapshot::StatementView;
use crate::socket::{Frame, Socket, SocketEvent};

/// How often the clock ticks.
const TICK_MS: u32 = 500;
/// A socket that is not attached after this time is given up.
const ATTACH_SECONDS: u64 = 15;
/// The longest wait before the next attempt to connect.
const MAX_BACKOFF_SECONDS: u64 = 20;

/// What the task reacts to.
pub(crate) enum Input {
    /// From the socket with this number.
    Socket(u32, SocketEvent),
    /// A look at the chain that the task asked for.
    Seen(Result<Look>),
    /// Content has arrived: see [`Shared`].
    Received,
    /// Time has passed.
    Tick,
    /// The viewer ends.
    Stop(oneshot::Sender<Result<StatementView>>),
    /// The viewer takes everything back, by what the chain shows now.
    Refund { look: Look, fee_rate: FeeRate, reply: oneshot::Sender<Result<Txid>> },
    /// The page's wallet has made the transaction that funds a `timelock` channel.
    Fund(Transaction, oneshot::Sender<Result<Txid>>),
    /// The viewer goes on.
    Resume,
    /// The page leaves; what is stored stays.
    End(oneshot::Sender<()>),
}

/// The task's own state; what pages see is in [`Shared`].
pub(crate) struct Session {
    shared: Rc<Shared>,
    inbox: UnboundedSender<Input>,
    node: PublicKey,
    socket: Option<Socket>,
    /// Tells events of the present socket from those of earlier ones.
    socket_number: u32,
    /// When the present socket was opened, or the next one may be; in seconds since 1970.
    since: u64,
    failures: u32,
    /// Another tab or device has the channel: connecting again would only take it back and forth.
    superseded: bool,
    /// The funding that the payee names, until our own look at the chain agrees.
    told: Option<Funding>,
    /// What the payee said of payments before the funding was agreed, of which they depend.
    state: Option<Box<ChannelState>>,
    looking: bool,
    look_due: u64,
    chain_failed: bool,
    stopping: Vec<oneshot::Sender<Result<StatementView>>>,
    /// Who waits for the refund's grant, and the broadcast after it.
    funding: Option<oneshot::Sender<Result<Txid>>>,
    /// What the payee was asked to let go, on this socket.
    reclaimed: Vec<Funding>,
    /// Who waits for what the payee lets go, and at which fee rate.
    taking: Option<(FeeRate, oneshot::Sender<Result<Txid>>)>,
}

/// Starts the task of a channel.
pub(crate) fn start(site: Rc<Site>, payer: Payer, look: Option<Look>, ending: bool) -> Rc<Shared> {
    let (inbox, inputs) = unbounded();
    let node = *payer.node();
    let shared = Rc::new(Shared::new(site, payer, look, ending, inbox.clone()));
    let session = Session {
        shared: shared.clone(),
        inbox: inbox.clone(),
        node,
        socket: None,
        socket_number: 0,
        since: 0,
        failures: 0,
        superseded: false,
        told: None,
        state: None,
        looking: false,
        look_due: 0,
        chain_failed: false,
        stopping: vec![],
        funding: None,
        reclaimed: vec![],
        taking: None,
    };
    spawn_local(session.run(inputs));
    spawn_local(async move {
        while inbox.unbounded_send(Input::Tick).is_ok() {
            env::sleep(TICK_MS).await;
        }
    });
    shared
}

impl Session {
    async fn run(mut self, mut inputs: UnboundedReceiver<Input>) {
        while let Some(input) = inputs.next().await {
            match input {
                Input::Socket(number, event) if number == self.socket_number => self.on_socket(event).await,
                Input::Socket(..) => {}
                Input::Seen(look) => self.on_look(look).await,
                Input::Received => self.on_received().await,
                Input::Tick => self.on_tick(),
                Input::Stop(reply) => self.on_stop(reply).await,
                Input::Refund { look, fee_rate, reply } => self.on_refund(look, fee_rate, reply).await,
                Input::Fund(transaction, reply) => self.on_fund(transaction, reply).await,
                Input::Resume => self.superseded = false,
                Input::End(ended) => {
                    inputs.close();
                    self.detach();
                    // Whoever waited has gone if this fails.
                    let _ = ended.send(());
                    return;
                }
            }
            self.answer_stops();
            self.shared.changed();
        }
    }

    // ---- the one way to change anything ----

    /// Stores what was decided, commits it, and acts.
    async fn carry_out(&mut self, step: Step) -> Result<Vec<Transaction>> {
        let shared = self.shared.clone();
        let (channel, paid_before) = {
            let payer = shared.payer.borrow();
            (payer.id(), payer.paid())
        };
        let saved = step.save_async(async |events| shared.site.store.save(&channel, events).await).await?;
        let effects = shared.payer.borrow_mut().commit(saved)?;
        let mut broadcasts = vec![];
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    if let Message::Reclaim(output) = &message {
                        self.reclaimed.push(*output);
                    }
                    self.send(&message);
                }
                Effect::Broadcast(transaction) => broadcasts.push(transaction),
            }
        }
        let paid = shared.payer.borrow().paid();
        if paid > paid_before {
            shared.paid(paid);
        }
        Ok(broadcasts)
    }

    async fn carry_out_all(&mut self, step: Result<Step, rillpay_channel::Error>) -> Result<()> {
        // What else is broadcast has ways of its own.
        for funding in self.carry_out(step?).await? {
            let sent = self.broadcast(&funding).await;
            self.answer_funding(sent.map(|()| funding.compute_txid()));
        }
        Ok(())
    }

    fn send(&self, message: &Message) {
        if let Some(socket) = &self.socket {
            // One that is lost is made good by the next session: amounts are cumulative.
            socket.send(&message.encode());
        }
    }

    /// Tells the payee that its message of this kind is refused.
    fn refuse(&self, kind: u8, error: &Error) {
        let refusal = match error {
            Error::Core(error) => Refusal::of(kind, error),
            // What happens inside this browser is no business of the peer's.
            _ => Refusal::of(kind, &rillpay_channel::Error::new(Code::Unavailable, "the payer cannot pay now")),
        };
        self.send(&Message::Refused(refusal));
    }

    // ---- socket ----

    fn phase(&self) -> Phase {
        self.shared.payer.borrow().phase()
    }

    fn wants_socket(&self) -> bool {
        !self.superseded && !self.shared.payer.borrow().spend().is_some_and(|spend| spend.confirmed)
    }

    fn is_attached(&self) -> bool {
        self.shared.session.borrow().is_some()
    }

    fn connect(&mut self) {
        self.socket_number = self.socket_number.wrapping_add(1);
        self.since = env::now();
        let (inbox, number) = (self.inbox.clone(), self.socket_number);
        let tell = move |event| {
            // The task has ended if this fails, and with it the socket.
            let _ = inbox.unbounded_send(Input::Socket(number, event));
        };
        match Socket::open(&self.shared.site.socket, Some(SUBPROTOCOL), MAX_FRAME, tell) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.lose(&error),
        }
    }

    fn detach(&mut self) {
        self.socket = None;
        self.reclaimed.clear();
        *self.shared.session.borrow_mut() = None;
    }

    /// Gives the socket up and plans the next attempt: soon after the first loss, then ever later.
    fn lose(&mut self, error: &Error) {
        // One outage is told once.
        if self.failures == 0 || error.fault() != Fault::Environment {
            self.shared.problem(error);
        }
        self.detach();
        let backoff = 1_u64.checked_shl(self.failures).unwrap_or(MAX_BACKOFF_SECONDS);
        // Not all viewers of a server that restarts come at once. Without entropy they do.
        let [spread] = env::random::<1>().unwrap_or_default();
        let wait = backoff.min(MAX_BACKOFF_SECONDS).saturating_sub(u64::from(spread % 2));
        self.since = env::now().saturating_add(wait);
        self.failures = self.failures.saturating_add(1);
    }

    fn on_tick(&mut self) {
        let now = env::now();
        if self.socket.is_none() && now >= self.since && self.wants_socket() {
            self.connect();
        } else if self.socket.is_some() && !self.wants_socket() {
            self.detach();
        } else if self.socket.is_some() && !self.is_attached() && now >= self.since.saturating_add(ATTACH_SECONDS) {
            self.lose(&Problem::ConnectionLost.into());
        }
        if now >= self.look_due {
            self.look();
        }
    }

    async fn on_socket(&mut self, event: SocketEvent) {
        let done = match event {
            SocketEvent::Closed => Err(Problem::ConnectionLost.into()),
            SocketEvent::Frame(frame) => self.on_frame(frame).await,
        };
        if let Err(error) = done {
            self.lose(&error);
        }
    }

    /// An error returned from here gives the socket up; a refusal that does not is told and answered.
    async fn on_frame(&mut self, frame: Frame) -> Result<()> {
        let message = Message::decode(frame.bytes())?;
        let kind = message.kind();
        match message {
            Message::Welcome { challenge, node } if !self.is_attached() => {
                if node != self.node {
                    return Err(Error::new(Code::WrongKey, "this is not the server that the deposit was agreed with"));
                }
                let attach = self.shared.payer.borrow().attach(&challenge);
                self.send(&attach);
            }
            Message::Attached { token, state, .. } if !self.is_attached() => {
                let step = self.shared.payer.borrow().attached(&state);
                self.carry_out_all(step).await?;
                self.end_if_due().await?;
                self.told = state.funding.or(self.told);
                self.state = self.shared.payer.borrow().funding().is_none().then_some(state);
                self.failures = 0;
                *self.shared.session.borrow_mut() = Some(hex(&token.0));
                self.look();
            }
            Message::FundingSeen { funding, .. } => {
                self.told = funding;
                self.look();
            }
            Message::Settled { .. } => self.look(),
            Message::Need { upto, delivered } if self.is_attached() => {
                let step = self.shared.payer.borrow().need(upto, delivered, env::now());
                if let Err(error) = self.carry_out_all(step).await {
                    self.refuse(kind, &error);
                    self.shared.problem(&error);
                }
            }
            Message::Ack { cumulative, .. } if cumulative <= self.shared.payer.borrow().paid() => {}
            Message::Stopped { delivered } => {
                let step = self.shared.payer.borrow().stopped(delivered);
                if let Err(error) = self.carry_out_all(step).await {
                    self.refuse(kind, &error);
                    self.fail_stops(&error);
                }
            }
            Message::Closed { cumulative, signature } => {
                let step = self.shared.payer.borrow().closed(cumulative, signature);
                if let Err(error) = self.carry_out_all(step).await {
                    self.fail_stops(&error);
                }
                self.look();
            }
            Message::Granted(grant) if grant.lock == 0 => {
                let taken = self.take_granted(&grant).await;
                self.answer_taking(taken);
                self.look();
            }
            Message::Granted(grant) => {
                let step = self.shared.payer.borrow().granted(&grant);
                self.carry_out_all(step).await?;
            }
            Message::Refused(refusal) => self.on_refused(refusal).await?,
            Message::Unknown(_) => {}
            Message::Welcome { .. }
            | Message::Attached { .. }
            | Message::Need { .. }
            | Message::Ack { .. }
            | Message::Open(_)
            | Message::Opened { .. }
            | Message::Attach { .. }
            | Message::Pay(_)
            | Message::Stop
            | Message::Close(_)
            | Message::Recover { .. }
            | Message::Recovered { .. }
            | Message::Fund(_)
            | Message::Reclaim(_) => {
                return Err(Error::new(Code::UnexpectedMessage, "the server sent what makes no sense now"));
            }
        }
        Ok(())
    }

    async fn on_refused(&mut self, refusal: Refusal) -> Result<()> {
        if let Some(state) = &refusal.state {
            // What the payee can prove is adopted. Where it proves nothing new, saying the same again would only be refused
            // again, without end.
            let step = self.shared.payer.borrow().attached(state)?;
            if !step.events().is_empty() {
                self.carry_out(step).await?;
            }
        }
        if refusal.code == Code::Superseded.as_str() {
            self.superseded = true;
            self.detach();
            self.shared.superseded();
            return Ok(());
        }
        let error = Error::Peer(Box::new(refusal));
        if self.is_attached() {
            self.fail_stops(&error);
            if self.funding.is_some() {
                self.answer_funding(Err(error.clone()));
            }
            if self.taking.is_some() {
                self.answer_taking(Err(error.clone()));
            }
            self.shared.problem(&error);
            return Ok(());
        }
        // What refuses the attachment leaves nothing to talk about.
        self.fail_stops(&error);
        Err(error)
    }

    // ---- the viewer ----

    async fn on_received(&mut self) {
        let arrived = self.shared.arrived.take();
        if arrived == 0 {
            return;
        }
        let step = self.shared.payer.borrow().receive(arrived);
        if let Err(error) = self.carry_out_all(step).await {
            // It did arrive: the next time it may be stored.
            let since = self.shared.arrived.get();
            self.shared.arrived.set(since.saturating_add(arrived));
            self.shared.problem(&error);
        }
    }

    async fn on_stop(&mut self, reply: oneshot::Sender<Result<StatementView>>) {
        let step = self.shared.payer.borrow().stop();
        let done = match step {
            // The end is agreed, or under way: the answer comes with it.
            Err(_) if !matches!(self.phase(), Phase::Opened | Phase::Open) => Ok(()),
            step => self.carry_out_all(step).await,
        };
        match done {
            Ok(()) => self.stopping.push(reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Stops what may only be stopped: see [`Shared::ending`].
    async fn end_if_due(&mut self) -> Result<()> {
        if !self.shared.ending || self.phase() != Phase::Open {
            return Ok(());
        }
        let step = self.shared.payer.borrow().stop();
        self.carry_out_all(step).await
    }

    fn answer_stops(&mut self) {
        if self.stopping.is_empty() {
            return;
        }
        if let Some(statement) = self.shared.statement() {
            for reply in self.stopping.drain(..) {
                // A page that does not wait any more does not mind.
                let _ = reply.send(Ok(statement.clone()));
            }
        }
    }

    fn fail_stops(&mut self, error: &Error) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
