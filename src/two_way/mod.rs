//! `TwoWay`, the JavaScript class of the third module: the node of [`rillpay_node`] in a page. It decides nothing; what is
//! here is what a page has in place of a process. Types are in `pkg/two-way.d.ts`.
//!
//! | module | in place of |
//! | --- | --- |
//! | `store` | SQLite: IndexedDB with strict durability, one writer by a Web Lock |
//! | `dial` | TCP: a WebSocket |
//! | `fetch` | hyper: the browser's own requests |
//! | `view` | the command line: what JavaScript sees |
//!
//! The wallet is the one of `rillpay/wallet`, its record and its lock: coins are never spent from two places, and what comes
//! out of channels is where the page's other money is.

mod dial;
mod fetch;
mod store;
mod view;

use std::sync::Arc;

use js_sys::Function;
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_chain::{Chain, ChainError};
use rillpay_channel::Code;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::keys::{Seed, canonical_words};
use rillpay_node::request::PaymentRequest;
use rillpay_node::{Node, Notice, Parts, PeerAddress, Policy};
use rillpay_runtime::time::Duration;
use rillpay_wallet::Wallet;
use tokio::sync::broadcast::error::RecvError;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::env;
use crate::error::{Error, Problem, Result};
use crate::js::{self, hex};
use crate::listeners::Listeners;
use crate::lock::Lock;
use crate::surroundings::{surroundings, words_of};
use crate::terms::{self, network_name};
use dial::WebSockets;
use fetch::Browser;
use store::Store;
use view::{BalanceView, ChannelView, CloseView, Event, InfoView, OpenView, Opening, Options, PaidView};

/// A node with two-way channels, as a page holds it.
#[wasm_bindgen]
pub struct TwoWay {
    node: Node,
    network: &'static str,
    listeners: Listeners,
}

#[wasm_bindgen]
impl TwoWay {
    /// See `openTwoWay` in the package's types.
    ///
    /// # Errors
    /// Every code that says why this browser, these options or what is stored will not do.
    pub async fn open(options: JsValue) -> Result<Self> {
        let options = Options::read(options)?;
        let words = options.site.words.as_deref().map(canonical_words).transpose()?;
        let origin = terms::origin(&options.site.server)?;
        env::check()?;
        rillpay_channel::randomize(&env::random()?);
        let (network, esplora) = surroundings(&options.site, &origin).await?;
        let site = words_of(&origin, words).await?;
        let seed = Seed::from_words(&site.words, network)?;
        let account = hex(&Wallet::new(&seed, network, site.next_key)?.id());
        let lock = Lock::take(&format!("wallet:{account}")).await?;
        let store = Store::open(account).await?;
        // Who loses the newest state of a channel can lose all of it.
        if store.is_new() && env::is_private().await {
            return Err(Problem::PrivateMode.into());
        }
        spawn_local(async {
            env::ask_for_persistence().await;
        });
        let usual = EsploraOptions::new(esplora.base(), network);
        let poll = options.poll_milliseconds.map_or(usual.poll, |poll| Duration::from_millis(poll.into()));
        let chain = EsploraChain::connect_by(EsploraOptions { poll, ..usual }, Arc::new(Browser)).await;
        let chain = chain.map_err(rillpay_node::Error::from)?;
        // A node waits for its chain; whoever opens a page wants to be told.
        chain.tip().await.map_err(|error| match error {
            ChainError::Unavailable(cause) => Error::Browser(Problem::ChainUnreachable, Some(cause)),
            error => rillpay_node::Error::from(error).into(),
        })?;
        let usual = Policy::default();
        let node = Node::begin(Parts {
            seed,
            chain: Arc::new(chain),
            store: Arc::new(store),
            dial: Arc::new(WebSockets),
            policy: Policy {
                depth: options.confirmations.unwrap_or(usual.depth),
                // A browser may forget everything at any time.
                strict_backups: true,
                ..usual
            },
            reserved: site.next_key,
            release: Box::new(move || drop(lock)),
        })
        .await?;
        let two_way = Self { node, network: network_name(network), listeners: Listeners::default() };
        two_way.pass_notices_on();
        Ok(two_way)
    }

    /// The network's name.
    #[wasm_bindgen(getter)]
    pub fn network(&self) -> String {
        self.network.to_owned()
    }

    /// The key that peers know this node by.
    #[wasm_bindgen(getter, js_name = nodeKey)]
    pub fn node_key(&self) -> String {
        self.node.id().to_string()
    }

    /// Who is connected, and how long the chain is.
    ///
    /// # Errors
    /// What the chain said.
    pub async fn info(&self) -> Result<JsValue> {
        js::to_value(&InfoView::from(self.node.info().await?))
    }

    /// Connects to a peer, and calls it again after every break and every reload.
    ///
    /// # Errors
    /// [`rillpay_node::Code::PeerOffline`], [`rillpay_node::Code::PeerUnfit`], what the transport said.
    pub async fn connect(&self, address: &str, node_key: &str) -> Result<()> {
        let address = PeerAddress { id: key(node_key)?, address: dial::url(address)? };
        Ok(self.node.connect(&address).await?)
    }

    /// Opens a channel with a connected peer, from the page's wallet.
    ///
    /// # Errors
    /// As [`Node::open`].
    #[wasm_bindgen(js_name = openChannel)]
    pub async fn open_channel(&self, channel: JsValue) -> Result<JsValue> {
        let Opening { peer, capacity, push } = Opening::read(channel)?;
        js::to_value(&OpenView::from(self.node.open(peer, capacity, push).await?))
    }

    /// Pays the counterparty of a channel.
    ///
    /// # Errors
    /// As [`Node::pay`].
    pub async fn pay(&self, channel: &str, amount_sat: JsValue) -> Result<JsValue> {
        js::to_value(&PaidView::from(self.node.pay(channel, amount(amount_sat)?).await?))
    }

    /// Pays a request, once.
    ///
    /// # Errors
    /// As [`Node::pay_request`].
    #[wasm_bindgen(js_name = payRequest)]
    pub async fn pay_request(&self, request: &str) -> Result<JsValue> {
        let request: PaymentRequest = request.parse()?;
        js::to_value(&PaidView::from(self.node.pay_request(&request).await?))
    }

    /// Asks for a payment: a text for the counterparty.
    ///
    /// # Errors
    /// As [`Node::request`].
    pub fn request(&self, channel: &str, amount_sat: JsValue, memo: Option<String>) -> Result<String> {
        Ok(self.node.request(channel, amount(amount_sat)?, &memo.unwrap_or_default())?.to_string())
    }

    /// Every channel that the chain can still change.
    ///
    /// # Errors
    /// [`rillpay_node::Code::StoreFailed`].
    pub async fn channels(&self) -> Result<JsValue> {
        let list: Vec<_> = self.node.list().await?.into_iter().map(ChannelView::from).collect();
        js::to_value(&list)
    }

    /// Closes a channel by agreement.
    ///
    /// # Errors
    /// As [`Node::close`].
    pub async fn close(&self, channel: &str) -> Result<JsValue> {
        js::to_value(&CloseView::from(self.node.close(channel, false).await?))
    }

    /// Closes a channel without the peer.
    ///
    /// # Errors
    /// As [`Node::close`].
    #[wasm_bindgen(js_name = closeAlone)]
    pub async fn close_alone(&self, channel: &str) -> Result<JsValue> {
        js::to_value(&CloseView::from(self.node.close(channel, true).await?))
    }

    /// Where to pay the page's wallet.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn address(&self) -> Result<String> {
        Ok(self.node.deposit_address().await?)
    }

    /// What there is, on chain and in channels.
    ///
    /// # Errors
    /// What wallet and chain say.
    pub async fn balance(&self) -> Result<JsValue> {
        js::to_value(&BalanceView::from(self.node.balance().await?))
    }

    /// Calls back after each change; returns the function that ends it.
    pub fn subscribe(&self, listener: Function) -> JsValue {
        self.listeners.subscribe(listener)
    }

    /// Stops the node: the next page may open it. What is open stays so.
    pub async fn stop(&self) {
        self.node.stop().await;
    }
}

impl TwoWay {
    fn pass_notices_on(&self) {
        let (mut notices, listeners) = (self.node.notices(), self.listeners.clone());
        spawn_local(async move {
            loop {
                let event = match notices.recv().await {
                    Ok(Notice::Paid(channel, amount)) => {
                        Event::Paid { channel: channel.to_string(), amount_msat: amount.get() }
                    }
                    // Whoever missed some asks anew, as after any other.
                    Ok(Notice::Changed) | Err(RecvError::Lagged(_)) => Event::Changed {},
                    Err(RecvError::Closed) => return,
                };
                if let Ok(event) = js::to_value(&event) {
                    listeners.emit(&event);
                }
            }
        });
    }
}

/// # Errors
/// [`Code::InvalidArgument`].
fn key(text: &str) -> Result<PublicKey> {
    text.parse().map_err(|_| Error::new(Code::InvalidArgument, "a node is named by its key, 33 bytes in hex"))
}

/// # Errors
/// [`Code::InvalidArgument`].
fn amount(sat: JsValue) -> Result<Amount> {
    let amount = Amount::from_sat(js::argument(sat)?);
    let fits = amount > Amount::ZERO && amount <= Amount::MAX_MONEY;
    if fits { Ok(amount) } else { Err(Error::new(Code::InvalidArgument, "an amount is at least 1 sat")) }
}
