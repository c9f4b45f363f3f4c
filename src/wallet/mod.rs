//! `Wallet`, the JavaScript class of the second module: a binding of [`rillpay_wallet`], which decides everything about
//! coins and fees. Types are in `pkg/wallet.d.ts`.
//!
//! One change at a time: what it changes is stored before anything is shown or broadcast, and undone where it cannot be
//! stored. One page at a time: a Web Lock for each account.

mod order;
pub mod refund;

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::lock::{Mutex, MutexGuard};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use js_sys::{Array, Reflect, Uint8Array};
use rillpay_channel::bitcoin::Transaction;
use rillpay_channel::bitcoin::consensus::serialize;
use rillpay_channel::keys::{Seed, canonical_words};
use rillpay_wallet::Wallet as Machine;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::env;
use crate::error::{Error, Problem, Result};
use crate::esplora::{Answer, Esplora};
use crate::js::{self, hex};
use crate::lock::Lock;
use crate::store::wallet::Store;
use crate::surroundings::{Options, surroundings, words_of};
use crate::terms::{self, network_name};
use order::{AddressView, BalanceView, EntryView, PaymentOptions, Quote, Sent};

/// How many questions are asked at once.
const PARALLEL: usize = 6;

/// The page's own wallet.
#[wasm_bindgen]
pub struct Wallet {
    machine: RefCell<Machine>,
    seed: Seed,
    words: String,
    reserved: u32,
    esplora: Esplora,
    store: Store,
    account: String,
    lock: RefCell<Option<Lock>>,
    turns: Rc<Mutex<()>>,
}

#[wasm_bindgen]
impl Wallet {
    /// See `openWallet` in the package's types.
    ///
    /// # Errors
    /// Every code that says why this browser, these options or what is stored will not do.
    pub async fn open(options: JsValue) -> Result<Self> {
        let options = Options::read(options)?;
        let words = options.words.as_deref().map(canonical_words).transpose()?;
        let origin = terms::origin(&options.server)?;
        env::check()?;
        rillpay_channel::randomize(&env::random()?);
        let (network, esplora) = surroundings(&options, &origin).await?;
        let site = words_of(&origin, words).await?;
        let seed = Seed::from_words(&site.words, network)?;
        let mut machine = Machine::new(&seed, network, site.next_key)?;
        let account = hex(&machine.id());
        let lock = Lock::take(&format!("wallet:{account}")).await?;
        let store = Store::open().await?;
        if let Some(record) = store.load(&account).await? {
            machine = Machine::load(&seed, network, site.next_key, &record)?;
        }
        Ok(Self {
            machine: RefCell::new(machine),
            seed,
            words: site.words,
            reserved: site.next_key,
            esplora,
            store,
            account,
            lock: RefCell::new(Some(lock)),
            turns: Rc::new(Mutex::new(())),
        })
    }

    /// The network's name.
    #[wasm_bindgen(getter)]
    pub fn network(&self) -> String {
        network_name(self.machine.borrow().network()).to_owned()
    }

    /// The height of the best block at the last look.
    #[wasm_bindgen(getter, js_name = tipHeight)]
    pub fn tip_height(&self) -> u32 {
        self.machine.borrow().tip()
    }

    /// Looks at the chain; broadcasts again what was sent and is not seen.
    ///
    /// # Errors
    /// [`Problem::ChainUnreachable`], [`rillpay_wallet::Code::ContradictoryChain`], [`rillpay_wallet::Code::WalletTooLarge`],
    /// the errors of the store, [`Problem::Disconnected`].
    pub async fn sync(&self) -> Result<()> {
        let _turn = self.turn().await?;
        let mut look = self.machine.borrow().look()?;
        loop {
            let asks = look.asks();
            if asks.is_empty() {
                break;
            }
            let asking = stream::iter(asks).map(|ask| self.esplora.answer(ask)).buffer_unordered(PARALLEL);
            for answer in asking.try_collect::<Vec<_>>().await? {
                match answer {
                    Answer::Tip(height) => look.tip(height),
                    Answer::History(place, page) => look.history(place, &page)?,
                    Answer::Transaction(txid, Some(transaction)) => look.transaction(txid, transaction)?,
                    Answer::Transaction(txid, None) => look.gone(&txid),
                }
            }
        }
        self.change(|machine| machine.see(look)).await?;
        let unseen: Vec<Transaction> = self.machine.borrow().unseen().into_iter().cloned().collect();
        for transaction in unseen {
            // A node that has it already refuses, too; the next look shows what became of it.
            let _ = self.esplora.broadcast(&transaction).await;
        }
        Ok(())
    }

    /// The next receive address.
    ///
    /// # Errors
    /// None in practice.
    pub fn address(&self) -> Result<JsValue> {
        js::to_value(&AddressView::of(&mut self.machine.borrow_mut())?)
    }

    /// A receive address that nobody has.
    ///
    /// # Errors
    /// [`rillpay_wallet::Code::GapLimit`], the errors of the store, [`Problem::Disconnected`].
    #[wasm_bindgen(js_name = freshAddress)]
    pub async fn fresh_address(&self) -> Result<JsValue> {
        let _turn = self.turn().await?;
        self.change(Machine::fresh_address).await?;
        self.address()
    }

    /// What there is.
    ///
    /// # Errors
    /// [`rillpay_wallet::Code::ContradictoryChain`].
    pub fn balance(&self) -> Result<JsValue> {
        js::to_value(&BalanceView::from(self.machine.borrow().balance()?))
    }

    /// Every transaction: unconfirmed ones first, then the newest.
    ///
    /// # Errors
    /// [`rillpay_wallet::Code::ContradictoryChain`].
    pub fn history(&self) -> Result<JsValue> {
        let machine = self.machine.borrow();
        let entries = machine.history()?;
        let shown: Vec<_> = entries.iter().map(|entry| EntryView::of(entry, machine.confirmations(entry))).collect();
        js::to_value(&shown)
    }

    /// What a payment, or without an amount a sweep, would cost.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn quote(&self, payment: JsValue) -> Result<JsValue> {
        let _turn = self.turn().await?;
        let order = self.order(PaymentOptions::read(payment)?, false).await?;
        let built = self.machine.borrow_mut().quote(&order)?;
        js::to_value(&Quote::of(&built, order.rate))
    }

    /// Pays.
    ///
    /// # Errors
    /// [`rillpay_channel::Code::InvalidArgument`]; the codes of [`rillpay_wallet`]; [`Problem::BroadcastRefused`], after which the
    /// coins are free again; the errors of the store; [`Problem::ChainUnreachable`] where fees have to be asked for.
    pub async fn send(&self, payment: JsValue) -> Result<JsValue> {
        self.pay(PaymentOptions::read(payment)?.with_amount()?).await
    }

    /// Pays everything that is worth its fee.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn sweep(&self, sweep: JsValue) -> Result<JsValue> {
        self.pay(PaymentOptions::read(sweep)?.without_amount()?).await
    }

    /// Signs and does not broadcast; holds the coins.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn build(&self, payment: JsValue) -> Result<JsValue> {
        let _turn = self.turn().await?;
        let order = self.order(PaymentOptions::read(payment)?, true).await?;
        let built = self.change(|machine| machine.build(&order)).await?;
        let shown = js::to_value(&Sent::of(&built, order.rate, None))?;
        put_bytes(&shown, &built.transaction);
        Ok(shown)
    }

    /// What was built is on its way.
    ///
    /// # Errors
    /// [`rillpay_wallet::Code::UnknownTransaction`], the errors of the store, [`Problem::Disconnected`].
    pub async fn commit(&self, txid: &str) -> Result<()> {
        let _turn = self.turn().await?;
        let txid = order::txid(txid)?;
        self.change(|machine| machine.sent(&txid)).await
    }

    /// What was built will never be sent.
    ///
    /// # Errors
    /// As [`Wallet::commit`].
    pub async fn release(&self, txid: &str) -> Result<()> {
        let _turn = self.turn().await?;
        let txid = order::txid(txid)?;
        self.change(|machine| machine.release(&txid)).await
    }

    /// What was built, and neither sent, released nor seen.
    ///
    /// # Errors
    /// None in practice.
    pub fn held(&self) -> Result<Array> {
        let machine = self.machine.borrow();
        let shown = machine.held().into_iter().map(|transaction| {
            let shown = js_sys::Object::new();
            put(&shown, "txid", &transaction.compute_txid().to_string().into());
            put_bytes(&shown, transaction);
            shown
        });
        Ok(shown.collect())
    }

    /// The recovery words.
    #[wasm_bindgen(js_name = recoveryWords)]
    pub fn recovery_words(&self) -> String {
        self.words.clone()
    }

    /// Lets the next page open the wallet, once what is under way is done.
    pub fn close(&self) {
        let Some(lock) = self.lock.borrow_mut().take() else {
            return;
        };
        let turns = self.turns.clone();
        spawn_local(async move {
            let _last = turns.lock().await;
            drop(lock);
        });
    }
}

impl Wallet {
    /// Waits until nothing else is under way.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.turns.lock().await;
        if self.lock.borrow().is_none() {
            return Err(Problem::Disconnected.into());
        }
        Ok(turn)
    }

    /// Changes the machine and stores it; where that fails the machine is as it was.
    async fn change<T>(&self, change: impl FnOnce(&mut Machine) -> Result<T, rillpay_wallet::Error>) -> Result<T> {
        let before = self.machine.borrow().record();
        let changed = change(&mut self.machine.borrow_mut())?;
        let after = self.machine.borrow().record();
        if after == before {
            return Ok(changed);
        }
        if let Err(error) = self.store.save(&self.account, &after).await {
            let network = self.machine.borrow().network();
            let machine = Machine::load(&self.seed, network, self.reserved, &before)?;
            *self.machine.borrow_mut() = machine;
            return Err(error);
        }
        Ok(changed)
    }

    async fn order(&self, payment: PaymentOptions, later: bool) -> Result<rillpay_wallet::Order> {
        let rate = payment.rate(&self.esplora).await?;
        payment.order(self.machine.borrow().network(), rate, later)
    }

    async fn pay(&self, payment: PaymentOptions) -> Result<JsValue> {
        let _turn = self.turn().await?;
        let order = self.order(payment, false).await?;
        let built = self
            .change(|machine| {
                let built = machine.build(&order)?;
                machine.sent(&built.txid)?;
                Ok(built)
            })
            .await?;
        let broadcast = match self.esplora.broadcast(&built.transaction).await {
            Ok(()) => true,
            Err(error @ Error::Browser(Problem::BroadcastRefused, _)) => {
                self.change(|machine| machine.release(&built.txid)).await?;
                return Err(error);
            }
            // It may have arrived: to say that it failed would make a viewer pay twice.
            Err(_) => false,
        };
        js::to_value(&Sent::of(&built, order.rate, Some(broadcast)))
    }
}

/// A plain object takes any property.
fn put(object: &JsValue, key: &str, value: &JsValue) {
    let _ = Reflect::set(object, &key.into(), value);
}

fn put_bytes(object: &JsValue, transaction: &Transaction) {
    put(object, "transaction", &Uint8Array::from(serialize(transaction).as_slice()));
}
