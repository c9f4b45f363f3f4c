//! The channels in memory: those with a session or with work under way. All others are in the store only.
//!
//! Decisions on one channel are made one after the other, under its lock, and the lock is held until the decision is
//! durable: whatever the next one reads has survived a crash. A decision whose storing failed, or whose task went away
//! half-way, leaves no machine behind; the next one loads it from the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rillpay_chain::{Chain, ChainError};
use rillpay_channel::payee::{Effect, Payee, Step};
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::wire::Token;
use rillpay_channel::{ChannelId, ChannelParams, Code, Error};
use tokio::sync::Notify;

use crate::errors;
use crate::session::{Push, Session};
use crate::store::{Loaded, Row, Store, StoreError};
use crate::watchlist::{Look, Watch, WatchList};

/// Blocks before a channel's opening from which on a backend follows it: one that was at another height then. The opening is
/// stored: by a lifetime that the operator has changed since it would be missed, and the deposit with it.
const LOOK_BACK: u32 = 144;

/// Why the unfinished channels cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store does not give them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain backend cannot follow them.
    #[error("the chain backend cannot follow the open channels: {0}")]
    Chain(#[from] ChainError),
}

/// A channel in memory.
pub(crate) struct Channel {
    id: ChannelId,
    /// `None` until it is loaded, and after a failure.
    machine: tokio::sync::Mutex<Option<Loaded>>,
    session: Mutex<Option<Arc<Session>>>,
    /// Held by the one request for content that is being paid for.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Something changed that a waiting request for content should look at.
    pub(crate) progress: Notify,
    /// What the session was last told about the chain; `None` before the first look for this session.
    told: Mutex<Option<Look>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    fn new(id: ChannelId) -> Self {
        Self {
            id,
            machine: tokio::sync::Mutex::new(None),
            session: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            progress: Notify::new(),
            told: Mutex::new(None),
        }
    }

    pub(crate) const fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// Whether the channel was compared with the chain since its session attached.
    pub(crate) fn is_looked_at(&self) -> bool {
        lock(&self.told).is_some()
    }

    /// Whether the session has not been told of this look at the chain.
    pub(crate) fn is_news(&self, look: &Look) -> bool {
        lock(&self.told).as_ref() != Some(look)
    }

    /// Takes note that this session was told. One that has attached since was perhaps not.
    pub(crate) fn note(&self, look: &Look, session: Option<&Arc<Session>>) {
        let current = lock(&self.session);
        if current.as_ref().map(Arc::as_ptr) == session.map(Arc::as_ptr) {
            *lock(&self.told) = Some(look.clone());
        }
    }

    /// Sends to the session, if there is one.
    pub(crate) fn push(&self, effects: Vec<Effect>) {
        let Some(session) = self.session() else { return };
        for effect in effects {
            if let Effect::Send(message) = effect {
                session.push(Push::Message(message));
            }
        }
    }
}

/// All channels.
pub(crate) struct Channels {
    pub(crate) store: Store,
    pub(crate) watched: WatchList,
    /// Wakes the settler.
    pub(crate) settle: Notify,
    live: Mutex<HashMap<ChannelId, Weak<Channel>>>,
    tokens: Mutex<HashMap<Token, Arc<Channel>>>,
    next_row: AtomicU32,
}

impl Channels {
    /// Reads what is unfinished, and has the chain follow it. A channel that cannot be read is logged and left alone; the
    /// others go on.
    pub(crate) async fn load(store: Store, chain: &dyn Chain, lifetime: u32) -> Result<Self, LoadError> {
        let watched = WatchList::default();
        for loaded in store.open_channels().await? {
            match loaded {
                Ok(loaded) => {
                    // A backend that starts anew has to look back to before the opening.
                    let params = loaded.payee.params();
                    let opened = loaded.opened.unwrap_or(params.expiry.saturating_sub(lifetime));
                    let since = opened.saturating_sub(LOOK_BACK);
                    chain.follow(&params.funding_script(), since).await?;
                    watched.put(Watch::of(&loaded.payee));
                }
                Err((row, error)) => tracing::error!(row, %error, "a channel is left alone"),
            }
        }
        Ok(Self {
            next_row: AtomicU32::new(store.next_row().await?),
            store,
            watched,
            settle: Notify::new(),
            live: Mutex::new(HashMap::new()),
            tokens: Mutex::new(HashMap::new()),
        })
    }

    /// The number of a fresh key. Storing the channel under it is what claims it.
    pub(crate) fn fresh_row(&self) -> Row {
        self.next_row.fetch_add(1, Ordering::Relaxed)
    }

    /// Stores a channel just opened, `opened` being the best block's height, and gives its effects; `None` where another
    /// server on this store has taken the number, which is skipped from now on.
    pub(crate) async fn create(
        &self,
        step: Step,
        row: Row,
        opened: u32,
        params: &ChannelParams,
    ) -> Result<Option<Vec<Effect>>, Error> {
        let stored = step.save_async(async |events| self.store.create(params, row, opened, events).await).await;
        let saved = match stored {
            Ok(saved) => saved,
            Err(StoreError::Conflict) => {
                let next = self.store.next_row().await.map_err(|error| errors::of_store(&error))?;
                self.next_row.fetch_max(next, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => return Err(errors::of_store(&error)),
        };
        let (payee, effects) = Payee::create(saved)?;
        self.watched.put(Watch::of(&payee));
        Ok(Some(effects))
    }

    /// The channel, in memory from now on as long as somebody holds it.
    pub(crate) async fn get(&self, id: ChannelId) -> Result<Arc<Channel>, Error> {
        let channel = {
            let mut live = lock(&self.live);
            live.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
                let channel = Arc::new(Channel::new(id));
                live.insert(id, Arc::downgrade(&channel));
                channel
            })
        };
        // Loaded under the channel's own lock, as it is changed: nobody holds a state that somebody else is replacing.
        self.look(&channel, None, |_| Ok(())).await?;
        Ok(channel)
    }

    /// The channel, if it is in memory.
    pub(crate) fn live(&self, id: ChannelId) -> Option<Arc<Channel>> {
        lock(&self.live).get(&id).and_then(Weak::upgrade)
    }

    /// Forgets the channels that nobody holds any more.
    pub(crate) fn sweep(&self) {
        let mut live = lock(&self.live);
        live.retain(|_, channel| channel.strong_count() > 0);
        live.shrink_to_fit();
    }

    /// The channel and session behind a token.
    pub(crate) fn by_token(&self, token: &Token) -> Option<(Arc<Channel>, Arc<Session>)> {
        let channel = lock(&self.tokens).get(token).cloned()?;
        let session = channel.session().filter(|session| session.token == *token)?;
        Some((channel, session))
    }

    /// Decides, makes it durable, and gives the effects. `epoch` is the session's that asks; the server itself asks
    /// with `None`.
    pub(crate) async fn decide(
        &self,
        channel: &Channel,
        epoch: Option<u64>,
        decide: impl FnOnce(&Payee) -> Result<Step, Error>,
    ) -> Result<Vec<Effect>, Error> {
        let mut slot = channel.machine.lock().await;
        let mut machine = self.take(channel, &mut slot).await?;
        let step = match fence(&machine.payee, epoch).and_then(|()| decide(&machine.payee)) {
            Ok(step) => step,
            Err(error) => {
                *slot = Some(machine);
                return Err(error);
            }
        };
        let (row, version, changes) = (machine.row, machine.version, !step.events().is_empty());
        let concerns_chain = step.events().iter().any(|event| Watch::concerns(&machine.payee, event.slot()));
        // From here on until the end the slot is empty: were this broken off, nobody would go on with an old state.
        let saved =
            step.save_async(async |events| self.store.write(row, version, events).await).await.map_err(|error| {
                tracing::warn!(channel = %channel.id, %error, "a decision was not stored");
                errors::of_store(&error)
            })?;
        let effects = machine.payee.commit(saved)?;
        if changes {
            machine.version = version.next();
        }
        if concerns_chain {
            self.watched.put(Watch::of(&machine.payee));
        }
        if effects.contains(&Effect::Settle) && machine.payee.collectable().is_some() {
            self.settle.notify_one();
        }
        *slot = Some(machine);
        Ok(effects)
    }

    /// Looks at a channel's state.
    pub(crate) async fn look<T>(
        &self,
        channel: &Channel,
        epoch: Option<u64>,
        look: impl FnOnce(&Payee) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = channel.machine.lock().await;
        let machine = self.take(channel, &mut slot).await?;
        let seen = fence(&machine.payee, epoch).and_then(|()| look(&machine.payee));
        *slot = Some(machine);
        seen
    }

    async fn take(&self, channel: &Channel, slot: &mut Option<Loaded>) -> Result<Loaded, Error> {
        if let Some(machine) = slot.take() {
            return Ok(machine);
        }
        let loaded = self.store.load(channel.id).await.map_err(|error| {
            tracing::error!(channel = %channel.id, %error, "a channel cannot be loaded");
            errors::of_store(&error)
        })?;
        let loaded = loaded.ok_or(Error::new(Code::UnknownChannel, "no such channel"))?;
        if loaded.open {
            // What is watched is what is stored, also after a write of which it was not known whether it arrived, and
            // after another server's.
            self.watched.put(Watch::of(&loaded.payee));
        }
        Ok(loaded)
    }

    /// Makes a session the channel's one; the one before is told and fenced off.
    pub(crate) fn attach(&self, channel: &Arc<Channel>, session: Arc<Session>) {
        let mut current = lock(&channel.session);
        // Two may attach at a time: the later epoch stands, whichever comes here first.
        if current.as_ref().is_some_and(|current| current.epoch > session.epoch) {
            session.push(Push::Superseded);
            return;
        }
        lock(&channel.told).take();
        lock(&self.tokens).insert(session.token, Arc::clone(channel));
        if let Some(before) = current.replace(session) {
            lock(&self.tokens).remove(&before.token);
            before.push(Push::Superseded);
        }
        drop(current);
        channel.progress.notify_waiters();
    }

    /// A session is over.
    pub(crate) fn detach(&self, channel: &Arc<Channel>, session: &Arc<Session>) {
        session.end();
        lock(&self.tokens).remove(&session.token);
        let mut current = lock(&channel.session);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *current = None;
        }
        drop(current);
        channel.progress.notify_waiters();
    }
}

fn fence(payee: &Payee, epoch: Option<u64>) -> Result<(), Error> {
    if epoch.is_some_and(|epoch| epoch != payee.epoch()) {
        return Err(errors::SUPERSEDED);
    }
    Ok(())
}
