//! What a socket says, done: the messages of the protocol, one by one.

use std::sync::Arc;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::params::verify_recover;
use rillpay_channel::payee::{Effect, Event, Payee, Step};
use rillpay_channel::wire::{Message, Open, Refusal, Token};
use rillpay_channel::{ChannelId, Code, Error};

use crate::app::App;
use crate::channels::Channel;
use crate::errors::{self, OPENS_LIMITED, STALE_CHAIN};
use crate::session::Session;
use crate::sockets::Outbox;
use crate::watcher;

/// How often an opening is tried when other servers on the same store take the numbers.
const MAX_OPEN_TRIES: u32 = 8;
/// The type of [`Message::Need`].
const NEED: u8 = Message::Need { upto: 0, delivered: 0 }.kind();

/// One socket's place: its challenge, and its session once it has one.
pub(crate) struct Desk<'a> {
    app: &'a Arc<App>,
    challenge: [u8; 32],
    outbox: Outbox,
    attached: Option<Attached>,
}

struct Attached {
    channel: Arc<Channel>,
    session: Arc<Session>,
}

fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::new(Code::Unavailable, "no entropy"))?;
    Ok(bytes)
}

impl<'a> Desk<'a> {
    /// A desk, and the message to begin with.
    pub(crate) fn new(app: &'a Arc<App>, outbox: Outbox) -> Result<(Self, Message), Error> {
        let challenge = random()?;
        let welcome = Message::Welcome { challenge, node: app.node.public() };
        let desk = Self { app, challenge, outbox, attached: None };
        Ok((desk, welcome))
    }

    /// Whether there is a reason to keep a silent socket.
    pub(crate) const fn has_business(&self) -> bool {
        self.attached.is_some()
    }

    /// The socket is gone.
    pub(crate) fn leave(&mut self) {
        if let Some(Attached { channel, session }) = self.attached.take() {
            self.app.channels.detach(&channel, &session);
        }
    }

    /// Does what a message asks for; gives the answers.
    pub(crate) async fn handle(&mut self, message: Message) -> Result<Vec<Message>, Error> {
        match message {
            Message::Pay(paid) => {
                let now = self.app.view.now()?;
                let answers = self.decide(|payee| payee.pay(paid, now)).await?;
                self.progress();
                Ok(answers)
            }
            Message::Open(request) => self.open(&request).await,
            Message::Attach { channel, signature } => self.attach(channel, &signature).await,
            Message::Stop => {
                let answers = self.decide(Payee::stop).await?;
                self.progress();
                Ok(answers)
            }
            Message::Close(paid) => {
                let app = self.app;
                let answers = self.decide(|payee| payee.close(paid, &app.node)).await?;
                self.progress();
                Ok(answers)
            }
            Message::Refused(refusal) => {
                self.refused(&refusal);
                Ok(vec![])
            }
            Message::Recover { payer, signature } => self.recover(payer, &signature).await,
            Message::Fund(funding) => {
                let seed = &self.app.seed;
                self.decide(|payee| payee.fund(funding, &seed.channel_key(payee.key_index())?)).await
            }
            Message::Reclaim(output) => {
                let seed = &self.app.seed;
                let step = |payee: &Payee| payee.reclaim(output, &seed.channel_key(payee.key_index())?);
                let answers = self.decide(step).await?;
                self.progress();
                Ok(answers)
            }
            Message::Unknown(_) => Ok(vec![]),
            Message::Welcome { .. }
            | Message::Opened { .. }
            | Message::Recovered { .. }
            | Message::Granted(_)
            | Message::Attached { .. }
            | Message::FundingSeen { .. }
            | Message::Need { .. }
            | Message::Ack { .. }
            | Message::Stopped { .. }
            | Message::Closed { .. }
            | Message::Settled { .. } => Err(Error::new(Code::UnexpectedMessage, "only the server says this")),
        }
    }

    async fn open(&self, request: &Open) -> Result<Vec<Message>, Error> {
        for attempt in 0..MAX_OPEN_TRIES {
            if let Some(answers) = self.try_open(request, attempt == 0).await? {
                return Ok(answers);
            }
        }
        Err(Error::new(Code::Unavailable, "other servers open channels faster; try again"))
    }

    /// Opens a channel; `None` where another server has taken its key's number first. What is not in order does not count
    /// against the number of openings that all share.
    async fn try_open(&self, request: &Open, counts: bool) -> Result<Option<Vec<Message>>, Error> {
        let tip = self.app.view.fresh()?.tip;
        let row = self.app.channels.fresh_row();
        let key = self.app.seed.channel_key(row)?;
        let offer = &self.app.config.offer;
        let step = offer.open(request, tip, key.public(), row, &self.app.node)?;
        if counts && !self.app.admit_open() {
            return Err(OPENS_LIMITED);
        }
        let Some(Event::Opened { params, .. }) = step.events().first() else {
            return Err(Error::new(Code::InvalidArgument, "an opening without parameters"));
        };
        let params = params.clone();
        if counts
            && self.app.channels.store.by_payer(params.payer).await.map_err(|error| errors::of_store(&error))?.is_some()
        {
            return Err(Error::new(Code::WrongKey, "this key has a channel already"));
        }
        let script = params.funding_script();
        // The chain is asked to watch the address before anybody can know it.
        let followed = self.app.view.chain.follow(&script, tip).await;
        followed.map_err(|error| errors::of_chain(&error))?;
        Ok(self.app.channels.create(step, row, tip, &params).await?.map(messages))
    }

    async fn attach(&mut self, id: ChannelId, signature: &Signature) -> Result<Vec<Message>, Error> {
        let token = Token(random()?);
        let channel = self.app.channels.get(id).await?;
        let challenge = self.challenge;
        let effects =
            self.app.channels.decide(&channel, None, |payee| payee.attach(&challenge, signature, token)).await?;
        let answers = messages(effects);
        let Some(Message::Attached { epoch, .. }) = answers.first() else {
            return Err(Error::new(Code::InvalidArgument, "a session without an answer"));
        };
        self.leave();
        let session = Arc::new(Session::new(token, *epoch, self.outbox.clone()));
        self.app.channels.attach(&channel, Arc::clone(&session));
        self.attached = Some(Attached { channel: Arc::clone(&channel), session });
        // Tells the new session about its funding. When the chain cannot be asked, the watcher tells it later.
        if let Err(error) = watcher::look_at(self.app, &channel).await
            && error != STALE_CHAIN
        {
            tracing::warn!(channel = %id, code = error.code().as_str(), "a new session's channel could not be looked at");
        }
        Ok(answers)
    }

    /// Finds the channel of a payer that has nothing left but its key.
    async fn recover(&self, payer: PublicKey, signature: &Signature) -> Result<Vec<Message>, Error> {
        verify_recover(&payer, &self.challenge, signature)?;
        let channels = &self.app.channels;
        let id = channels.store.by_payer(payer).await.map_err(|error| errors::of_store(&error))?;
        let channel = channels.get(id.ok_or(Error::new(Code::UnknownChannel, "this key has no channel"))?).await?;
        let (params, state) =
            channels.look(&channel, None, |payee| Ok((payee.params().clone(), payee.state()))).await?;
        let signature = params.sign(&self.app.node);
        Ok(vec![Message::Recovered { params: Box::new(params), signature, state: Box::new(state) }])
    }

    async fn decide(&self, decide: impl FnOnce(&Payee) -> Result<Step, Error>) -> Result<Vec<Message>, Error> {
        let Attached { channel, session } = self.attached()?;
        let effects = self.app.channels.decide(channel, Some(session.epoch), decide).await?;
        let countersigns = effects.contains(&Effect::Countersign);
        let mut answers = messages(effects);
        if countersigns {
            let sign = |payee: &Payee| payee.countersign(&self.app.seed.channel_key(payee.key_index())?);
            answers.extend(self.app.channels.look(channel, Some(session.epoch), sign).await?);
        }
        Ok(answers)
    }

    fn attached(&self) -> Result<&Attached, Error> {
        self.attached.as_ref().ok_or(Error::new(Code::UnexpectedMessage, "attach to a channel first"))
    }

    /// The payer refuses something. If it is a payment, content that waits for it is not kept waiting.
    fn refused(&self, refusal: &Refusal) {
        tracing::debug!(code = refusal.code, about = refusal.about, "the payer refuses");
        if let Some(attached) = self.attached.as_ref().filter(|_| matches!(refusal.about, 0 | NEED)) {
            attached.session.set_refusal(Some(Code::parse(&refusal.code).unwrap_or(Code::NotPaid)));
            self.progress();
        }
    }

    /// Wakes the request for content that waits for this.
    fn progress(&self) {
        if let Some(attached) = &self.attached {
            attached.channel.progress.notify_waiters();
        }
    }
}

fn messages(effects: Vec<Effect>) -> Vec<Message> {
    effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(message),
            Effect::Settle | Effect::Countersign => None,
        })
        .collect()
}
