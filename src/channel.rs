//! `Channel`, the JavaScript class, and what it shares with the session that does its work.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::mpsc::UnboundedSender;
use futures_channel::oneshot;
use js_sys::Function;
use rillpay_channel::bitcoin::{FeeRate, consensus::deserialize};
use rillpay_channel::payer::{Payer, Phase};
use rillpay_channel::{Code, bitcoin::Amount};
use serde::Serialize;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use crate::error::{Error, Problem, Result};
use crate::esplora::{Esplora, Look, NO_CHAIN, Question};
use crate::js;
use crate::kit;
use crate::listeners::Listeners;
use crate::safety::Safety;
use crate::session::Input;
use crate::snapshot::{Snapshot, StatementView, Surroundings};
use crate::store::Store;

/// What all channels of one client use.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) esplora: Option<Esplora>,
    pub(crate) socket: String,
    pub(crate) safety: Safety,
}

/// One channel: the machine, what is known around it, and who listens. Borrows are short, and never held while waiting
/// or while calling a listener, which may call back.
pub(crate) struct Shared {
    pub(crate) site: Rc<Site>,
    pub(crate) payer: RefCell<Payer>,
    pub(crate) look: RefCell<Option<Look>>,
    pub(crate) session: RefCell<Option<String>>,
    /// Restored at a price that nobody accepts now: nothing more is paid on it, it ends as soon as it can.
    pub(crate) ending: bool,
    /// What has arrived and is not stored yet: what comes in quick succession is stored together.
    pub(crate) arrived: Cell<u64>,
    pub(crate) inbox: UnboundedSender<Input>,
    listeners: Listeners,
    shown: RefCell<Option<Snapshot>>,
}

/// See `ChannelEvent` in the package's types.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum Event {
    Changed { snapshot: Snapshot },
    Paid { paid_sat: u64, snapshot: Snapshot },
    Superseded { snapshot: Snapshot },
}

impl Shared {
    pub(crate) fn new(
        site: Rc<Site>,
        payer: Payer,
        look: Option<Look>,
        ending: bool,
        inbox: UnboundedSender<Input>,
    ) -> Self {
        Self {
            site,
            payer: RefCell::new(payer),
            look: RefCell::new(look),
            session: RefCell::new(None),
            ending,
            arrived: Cell::new(0),
            inbox,
            listeners: Listeners::default(),
            shown: RefCell::new(None),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let (look, session) = (self.look.borrow(), self.session.borrow());
        let around = Surroundings { look: look.as_ref(), session: session.as_deref(), safety: &self.site.safety };
        Snapshot::of(&self.payer.borrow(), &around)
    }

    /// The final statement, if there is one.
    pub(crate) fn statement(&self) -> Option<StatementView> {
        self.snapshot().ok()?.statement
    }

    /// Nothing is left to do: the end is confirmed and nothing remains at the address; or nothing ever arrived, and
    /// nothing would be served any more.
    pub(crate) fn is_finished(&self) -> bool {
        let payer = self.payer.borrow();
        let look = self.look.borrow();
        let Some(look) = look.as_ref() else {
            return false;
        };
        let over = match payer.phase() {
            Phase::Settled | Phase::Refunded => payer.spend().is_some_and(|spend| spend.confirmed),
            Phase::Opened => look.tip >= payer.params().stop_height(),
            Phase::Open | Phase::Stopping | Phase::Closing | Phase::Closed => false,
        };
        over && look.outputs.is_empty()
    }

    /// Nothing can be paid on it any more, though money may still have to come back.
    pub(crate) fn has_ended(&self) -> bool {
        let phase = self.payer.borrow().phase();
        matches!(phase, Phase::Closed | Phase::Settled | Phase::Refunded) || self.is_finished()
    }

    /// Tells the listeners, if anything that they can see has changed.
    pub(crate) fn changed(&self) {
        if let Ok(snapshot) = self.snapshot()
            && self.shown.borrow().as_ref() != Some(&snapshot)
        {
            self.show(Event::Changed { snapshot });
        }
    }

    pub(crate) fn paid(&self, paid: Amount) {
        if let Ok(snapshot) = self.snapshot() {
            let paid_sat = paid.to_sat();
            self.show(Event::Paid { paid_sat, snapshot });
        }
    }

    pub(crate) fn superseded(&self) {
        if let Ok(snapshot) = self.snapshot() {
            self.show(Event::Superseded { snapshot });
        }
    }

    pub(crate) fn problem(&self, error: &Error) {
        let event = js_sys::Object::new();
        // A plain object takes any property.
        let _ = js_sys::Reflect::set(&event, &"type".into(), &"problem".into());
        let _ = js_sys::Reflect::set(&event, &"error".into(), &error.into());
        self.listeners.emit(&event);
    }

    fn show(&self, event: Event) {
        let (Event::Changed { snapshot } | Event::Paid { snapshot, .. } | Event::Superseded { snapshot }) = &event;
        *self.shown.borrow_mut() = Some(snapshot.clone());
        if let Ok(event) = js::to_value(&event) {
            self.listeners.emit(&event);
        }
    }

    /// A fresh look at the chain.
    pub(crate) async fn look_now(&self) -> Result<Look> {
        let question = Question::about(&self.payer.borrow())?;
        let esplora = self.site.esplora.clone().ok_or(NO_CHAIN)?;
        esplora.look(&question).await
    }

    fn tell(&self, input: Input) -> Result<()> {
        self.inbox.unbounded_send(input).map_err(|_| Problem::Disconnected.into())
    }
}

/// One channel, as a page holds it.
#[wasm_bindgen]
pub struct Channel {
    shared: Rc<Shared>,
}

impl Channel {
    pub(crate) const fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }
}

#[wasm_bindgen]
impl Channel {
    /// A consistent picture of the channel.
    ///
    /// # Errors
    /// None in practice.
    pub fn snapshot(&self) -> Result<JsValue> {
        js::to_value(&self.shared.snapshot()?)
    }

    /// Calls back after each change; returns the function that ends it.
    pub fn subscribe(&self, listener: Function) -> JsValue {
        self.shared.listeners.subscribe(listener)
    }

    /// While paused every `need` is refused: nothing can be paid.
    pub fn pause(&self) {
        self.shared.payer.borrow_mut().pause(true);
        self.shared.changed();
    }

    /// Ends a pause; and takes the channel back where another tab or device took it over.
    pub fn resume(&self) {
        self.shared.payer.borrow_mut().pause(false);
        self.shared.changed();
        // After `disconnect` there is nothing to resume.
        let _ = self.shared.tell(Input::Resume);
    }

    /// Tells the channel what has arrived, in the tariff's base quantity.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for what is no whole number of at least zero; [`Problem::Disconnected`].
    pub fn received(&self, amount: JsValue) -> Result<()> {
        let arrived = self.shared.arrived.get();
        let sum = arrived.checked_add(js::argument(amount)?);
        let sum = sum.ok_or(Error::new(Code::InvalidArgument, "an absurd quantity"))?;
        // Only asked whether it can be: the session decides, stores and commits it in its turn.
        drop(self.shared.payer.borrow().receive(sum)?);
        self.shared.arrived.set(sum);
        self.shared.tell(Input::Received)
    }

    /// Ends the channel; resolves to the final statement.
    ///
    /// # Errors
    /// [`Code::NothingToDo`] before a deposit is confirmed, what the server refuses with, [`Problem::Disconnected`].
    pub async fn stop(&self) -> Result<JsValue> {
        let (reply, answer) = oneshot::channel();
        self.shared.tell(Input::Stop(reply))?;
        let statement = answer.await.map_err(|_| Problem::Disconnected)??;
        js::to_value(&statement)
    }

    /// Funds a `timelock` channel with this signed transaction, which nobody has seen yet: it is broadcast once the server
    /// has signed the refund. Resolves to its id.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::DepositTooSmall`], [`Code::DepositTooLarge`], what the server refuses with,
    /// [`Problem::BroadcastRefused`], [`Problem::Disconnected`].
    pub async fn fund(&self, transaction: &[u8]) -> Result<String> {
        let transaction = deserialize(transaction)
            .map_err(|_| Error::new(Code::InvalidArgument, "these bytes are no transaction"))?;
        let (reply, answer) = oneshot::channel();
        self.shared.tell(Input::Fund(transaction, reply))?;
        let txid = answer.await.map_err(|_| Problem::Disconnected)??;
        Ok(txid.to_string())
    }

    /// Signed refunds that any tool can broadcast after expiry.
    ///
    /// # Errors
    /// [`Problem::ChainUnreachable`], [`Code::NothingToDo`] before anything is confirmed, [`Code::Uneconomic`].
    #[wasm_bindgen(js_name = refundKit)]
    pub async fn refund_kit(&self) -> Result<JsValue> {
        let look = self.shared.look_now().await?;
        let kit = kit::refund_kit(&self.shared.payer.borrow(), &look.outputs)?;
        js::to_value(&kit)
    }

    /// After expiry: sweeps everything confirmed at the address back; resolves to the transaction's id. Before it: takes back one
    /// output for which nothing was delivered, if the server agrees.
    ///
    /// # Errors
    /// [`Code::NotExpired`], [`Code::NothingToDo`], [`Code::Uneconomic`], [`Problem::ChainUnreachable`],
    /// [`Problem::BroadcastRefused`].
    pub async fn refund(&self, options: JsValue) -> Result<String> {
        let rate = if options.is_undefined() { None } else { js::option(options, "satPerVbyte")? };
        if rate == Some(0) {
            return Err(Error::new(Code::InvalidArgument, "the fee rate has to be above zero"));
        }
        let fee_rate = rate.map_or(DEFAULT_FEE_RATE, FeeRate::from_sat_per_vb_u32);
        let look = self.shared.look_now().await?;
        let (reply, answer) = oneshot::channel();
        self.shared.tell(Input::Refund { look, fee_rate, reply })?;
        let txid = answer.await.map_err(|_| Problem::Disconnected)??;
        Ok(txid.to_string())
    }
}

/// Where the page names none: a refund is in no hurry.
pub(crate) const DEFAULT_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(5);
