//! `Client`, the JavaScript class: the terms, the store, the lock, and the channels of one server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;
use js_sys::Array;
use rillpay_channel::bitcoin::{Amount, Network};
use rillpay_channel::budget::{Budget, Limits, Spent};
use rillpay_channel::keys::{Seed, canonical_words, channel_number};
use rillpay_channel::params::FundingKind;
use rillpay_channel::payer::{Payer, Request};
use rillpay_channel::wire::Message;
use rillpay_channel::{Code, Msat};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::channel::{Channel, Shared, Site};
use crate::desk::{Desk, SENSELESS};
use crate::env;
use crate::error::{Error, Problem, Result};
use crate::esplora::{Esplora, NO_CHAIN, Question};
use crate::js::{self, BudgetOptions, ClientOptions};
use crate::lock::Lock;
use crate::safety::Safety;
use crate::session::{self, Input};
use crate::store::{self, Store};
use crate::terms::{self, Terms};

/// The largest window to agree to, in units of price, where the page says nothing.
const DEFAULT_MAX_WINDOW: u32 = 30;
/// Blocks that may be found between the server's look at the chain and ours.
const TIP_SLACK: u32 = 3;

/// One server, as a page holds it.
#[wasm_bindgen]
pub struct Client {
    pub(crate) terms: Terms,
    pub(crate) site: Rc<Site>,
    pub(crate) seed: Seed,
    pub(crate) record: RefCell<store::Site>,
    limits: Limits,
    /// Spent with this server when the page was loaded: the budget per session counts from here.
    spent_at_start: Msat,
    lock: RefCell<Option<Lock>>,
    opening: Cell<bool>,
    channel: RefCell<Option<Held>>,
    earlier: RefCell<Vec<Held>>,
}

/// A channel and the one object that JavaScript knows it by.
struct Held {
    shared: Rc<Shared>,
    object: JsValue,
}

impl Held {
    fn new(shared: Rc<Shared>) -> Self {
        let object = Channel::new(shared.clone()).into();
        Self { shared, object }
    }
}

#[wasm_bindgen]
impl Client {
    /// See `Client.connect` in the package's types.
    ///
    /// # Errors
    /// Every code that says why this browser, this page, these options or this server will not do.
    pub async fn connect(options: JsValue) -> Result<Self> {
        let options = ClientOptions::read(options)?;
        let limits = limits(options.budget)?;
        let words = options.words.as_deref().map(canonical_words).transpose()?;
        let origin = terms::origin(&options.server)?;
        env::check()?;
        rillpay_channel::randomize(&env::random()?);

        let lock = Lock::take(&origin).await?;
        let terms = Terms::fetch(&origin).await?;
        accept(&terms, &options)?;
        let esplora =
            match &options.esplora {
                Some(url) => Some(terms::base_url(url, &origin).ok_or(Error::new(
                    Code::InvalidArgument,
                    "esplora has to be an https URL, or http on this machine",
                ))?),
                None => terms.esplora.clone(),
            };
        let store = Store::open(&origin).await?;
        let (record, is_new) = store.site_with(words).await?;
        if is_new {
            store.save_site(&record).await?;
        }
        let seed = Seed::from_words(&record.words, terms.network).map_err(|cause| store.corrupted("", cause))?;
        let site = Rc::new(Site {
            store,
            esplora: esplora.map(Esplora::new),
            socket: terms.socket.clone(),
            safety: Safety::look().await,
        });
        let client = Self {
            spent_at_start: record.spent().site,
            terms,
            site,
            seed,
            record: RefCell::new(record),
            limits,
            lock: RefCell::new(Some(lock)),
            opening: Cell::new(false),
            channel: RefCell::new(None),
            earlier: RefCell::new(vec![]),
        };
        client.restore().await?;
        client.resume().await
    }

    /// What the server offers.
    ///
    /// # Errors
    /// None in practice.
    #[wasm_bindgen(getter)]
    pub fn terms(&self) -> Result<JsValue> {
        js::to_value(&self.terms.view())
    }

    /// The newest channel that is not finished, or null.
    #[wasm_bindgen(getter)]
    pub fn channel(&self) -> JsValue {
        let channel = self.channel.borrow();
        channel.as_ref().map_or(JsValue::NULL, |held| held.object.clone())
    }

    /// Channels that have ended, but from which money may still come back.
    #[wasm_bindgen(getter)]
    pub fn earlier(&self) -> Array {
        self.earlier.borrow().iter().map(|held| held.object.clone()).collect()
    }

    /// False when the browser may evict what is stored.
    #[wasm_bindgen(getter)]
    pub fn persistent(&self) -> bool {
        self.site.safety.is_persistent()
    }

    /// How safe from loss is what this browser stores.
    ///
    /// # Errors
    /// None in practice.
    #[wasm_bindgen(getter)]
    pub fn safety(&self) -> Result<JsValue> {
        js::to_value(&self.site.safety.view())
    }

    /// The recovery words.
    #[wasm_bindgen(js_name = recoveryWords)]
    pub fn recovery_words(&self) -> String {
        self.record.borrow().words.clone()
    }

    /// See `Client.open` in the package's types.
    ///
    /// # Errors
    /// [`Problem::ChannelOpen`], [`Problem::PrivateMode`], [`Code::DepositTooSmall`], [`Code::DepositTooLarge`],
    /// [`Code::InvalidArgument`], [`Problem::ConnectionLost`], [`Problem::ChainUnreachable`], what the server refuses with, and whatever does not fit in its answer.
    pub async fn open(&self, options: JsValue) -> Result<JsValue> {
        let deposit = Amount::from_sat(js::option(options, "depositSat")?);
        if self.opening.replace(true) {
            return Err(Problem::ChannelOpen.into());
        }
        let opened = self.open_channel(deposit).await;
        self.opening.set(false);
        opened
    }

    /// Closes socket, store and lock; the channel stays open.
    pub fn disconnect(&self) {
        // The lock goes last: nothing of ours may be written after another tab has it.
        let Some(lock) = self.lock.borrow_mut().take() else {
            return;
        };
        let channel = self.channel.borrow().as_ref().map(|held| held.shared.clone());
        let earlier: Vec<_> = self.earlier.borrow().iter().map(|held| held.shared.clone()).collect();
        spawn_local(async move {
            for shared in channel.into_iter().chain(earlier) {
                let (ended, end) = oneshot::channel();
                // A task that has ended already answers by being gone.
                let _ = shared.inbox.unbounded_send(Input::End(ended));
                let _ = end.await;
            }
            drop(lock);
        });
    }
}

impl Client {
    /// Replays the channels that are not finished, and forgets those that are. Their events stay stored.
    async fn resume(mut self) -> Result<Self> {
        let listed = self.record.borrow().channels.clone();
        let mut kept = vec![];
        for channel in listed {
            let payer = self.replay(&channel).await?;
            self.record.borrow_mut().book(payer.spent());
            // Without a look at the chain nothing is known to be finished.
            let look = match &self.site.esplora {
                Some(esplora) => esplora.look(&Question::about(&payer)?).await.ok(),
                None => None,
            };
            let ending = self.record.borrow().ending.contains(&channel);
            let shared = session::start(self.site.clone(), payer, look, ending);
            if shared.is_finished() {
                end(&shared);
            } else {
                kept.push((channel, Held::new(shared)));
            }
        }
        let (names, mut held): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        if self.record.borrow().channels.len() > names.len() {
            let mut record = self.record.borrow().clone();
            record.ending.retain(|channel| names.contains(channel));
            record.channels = names;
            self.put_record(record).await?;
        }
        *self.channel.borrow_mut() = held.pop();
        *self.earlier.borrow_mut() = held;
        self.spent_at_start = self.spent().site;
        Ok(self)
    }

    async fn replay(&self, channel: &str) -> Result<Payer> {
        let events = self.site.store.events(channel).await?;
        let corrupted = |cause| self.site.store.corrupted(channel, cause);
        let key_index = events.iter().find_map(|event| match event {
            rillpay_channel::payer::Event::Opened { key_index, .. } => Some(*key_index),
            _ => None,
        });
        let key = self.seed.channel_key(key_index.unwrap_or_default()).map_err(corrupted)?;
        let budget = Budget::new(self.limits, self.record.borrow().spent());
        let payer = Payer::replay(events, key, budget).map_err(corrupted)?;
        if payer.id().to_string() != channel {
            return Err(corrupted(MISFILED));
        }
        Ok(payer)
    }

    async fn open_channel(&self, deposit: Amount) -> Result<JsValue> {
        if self.lock.borrow().is_none() {
            return Err(Problem::Disconnected.into());
        }
        let open = self.channel.borrow().as_ref().is_some_and(|held| !held.shared.has_ended());
        if open {
            return Err(Problem::ChannelOpen.into());
        }
        if self.site.safety.is_private() {
            return Err(Problem::PrivateMode.into());
        }
        self.check_deposit(deposit)?;
        self.ask_to_keep();

        let tip = self.site.esplora.as_ref().ok_or(NO_CHAIN)?.tip().await?;
        let request = self.request(deposit).await?;
        let Message::Opened { params, signature } = Desk::open(&self.terms).await?.ask(&request.message()).await?
        else {
            return Err(SENSELESS);
        };
        let step = request.opened(params, signature, tip)?;
        let spent = self.spent();
        let saved = step.save_async(async |events| self.store_new(events, spent).await).await?;
        let payer = Payer::create(saved, request.key, self.budget(spent))?;
        let held = Held::new(session::start(self.site.clone(), payer, None, false));
        let object = held.object.clone();
        if let Some(ended) = self.channel.borrow_mut().replace(held) {
            self.earlier.borrow_mut().push(ended);
        }
        Ok(object)
    }

    /// Asks the browser to keep what is stored: when there is money at stake, and a viewer understands why; some browsers ask
    /// theirs.
    pub(crate) fn ask_to_keep(&self) {
        let site = self.site.clone();
        spawn_local(async move { site.safety.ask().await });
    }

    /// Stores what is known of this server now.
    pub(crate) async fn put_record(&self, record: store::Site) -> Result<()> {
        self.site.store.save_site(&record).await?;
        *self.record.borrow_mut() = record;
        Ok(())
    }

    fn check_deposit(&self, deposit: Amount) -> Result<()> {
        use rillpay_channel::Detail;

        let (code, bound) = if deposit < self.terms.min_deposit {
            (Code::DepositTooSmall, self.terms.min_deposit)
        } else if deposit > self.terms.max_deposit {
            (Code::DepositTooLarge, self.terms.max_deposit)
        } else {
            return Ok(());
        };
        let error = rillpay_channel::Error::new(code, "the deposit is outside the server's bounds");
        Err(error.with(Detail::Amount(bound)).into())
    }

    /// What to ask for, with a key that was never used: its number is stored as used before the server sees the key.
    async fn request(&self, deposit: Amount) -> Result<Request> {
        let key_index = channel_number(self.record.borrow().next_key);
        let mut record = self.record.borrow().clone();
        record.next_key = key_index.saturating_add(1);
        self.put_record(record).await?;
        Ok(Request {
            ladder: self.terms.ladder,
            network: self.terms.network,
            // The page's own wallet funds a `timelock` channel, and knows the smaller form.
            funding_kind: if self.terms.ladder.is_some() { FundingKind::P2wsh } else { FundingKind::default() },
            key: self.seed.channel_key(key_index)?,
            key_index,
            return_script: self.seed.return_script(key_index)?,
            deposit,
            tariff: self.terms.tariff,
            node: self.terms.node,
            min_deposit: self.terms.min_deposit,
            max_deposit: self.terms.max_deposit,
            confirmations: self.terms.confirmations,
            max_lifetime: self.terms.expiry_blocks.saturating_add(TIP_SLACK),
            purpose: self.terms.purpose.clone(),
        })
    }

    async fn store_new(&self, events: &[rillpay_channel::payer::Event], spent: Spent) -> Result<()> {
        let [rillpay_channel::payer::Event::Opened { params, .. }] = events else {
            return Err(Error::new(Code::InvalidArgument, "a channel begins with its opening"));
        };
        let id = params.id();
        let mut record = self.record.borrow().clone();
        record.channels.push(id.to_string());
        record.book(spent);
        self.site.store.create(&record, &id, events).await?;
        *self.record.borrow_mut() = record;
        Ok(())
    }

    /// The books of the newest channel, else those stored.
    pub(crate) fn spent(&self) -> Spent {
        let channel = self.channel.borrow();
        channel.as_ref().map_or_else(|| self.record.borrow().spent(), |held| held.shared.payer.borrow().spent())
    }

    /// The budget of a new channel: what this session has spent already counts against its limit.
    pub(crate) fn budget(&self, spent: Spent) -> Budget {
        let used = spent.site.saturating_sub(self.spent_at_start);
        let limits = Limits { session: self.limits.session.map(|limit| limit.saturating_sub(used)), ..self.limits };
        Budget::new(limits, spent)
    }
}

const MISFILED: rillpay_channel::Error =
    rillpay_channel::Error::new(Code::CorruptedStore, "a channel is stored under another one's name");

/// Ends the task of a channel that nobody holds.
fn end(shared: &Shared) {
    let (ended, _) = oneshot::channel();
    let _ = shared.inbox.unbounded_send(Input::End(ended));
}

fn limits(options: BudgetOptions) -> Result<Limits> {
    let msat = |limit: Option<u64>| match limit.map(Msat::new) {
        Some(None) => Err(Error::new(Code::InvalidArgument, "a budget above all the bitcoin there can be")),
        Some(limit) => Ok(limit),
        None => Ok(None),
    };
    Ok(Limits {
        session: msat(options.per_session_msat)?,
        day: msat(options.per_day_msat)?,
        site: msat(options.per_site_msat)?,
    })
}

/// Whether the page agrees to these terms.
fn accept(terms: &Terms, options: &ClientOptions) -> Result<()> {
    if let Some(name) = &options.network {
        let wanted: Network =
            terms::parse_network(name).ok_or(Error::new(Code::InvalidArgument, "there is no such network"))?;
        if wanted != terms.network {
            return Err(Error::new(Code::WrongNetwork, "this server is on another Bitcoin network"));
        }
    }
    if terms.tariff.window > options.max_window_units.unwrap_or(DEFAULT_MAX_WINDOW) {
        return Err(Error::new(Code::UnacceptableTerms, "this server wants too much in advance"));
    }
    Ok(())
}
