//! The one error shape that JavaScript sees: `{ name: 'RillpayError', code, message, fault, data }`.
//!
//! Three sources come together: refusals of the protocol core, refusals that the server sent, and what only a browser
//! can meet (tabs, storage, networks). Every match below is exhaustive, so that a new code cannot be forgotten.

use std::borrow::Cow;

use js_sys::{Object, Reflect};
use rillpay_channel::wire::{ChannelState, Refusal};
use rillpay_channel::{Code, Detail, Fault};
use wasm_bindgen::JsValue;

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $fault:ident, $text:literal;)*) => {
        /// What only a browser can meet. Codes are stable, as those of [`Code`] are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem { $($(#[$doc])* $name,)* }

        impl Problem {
            /// Every problem, for tests and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Whose fault it is.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// A sentence that a viewer can read.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

problems! {
    /// Another tab holds the writer's lock of this server.
    AnotherTab = "another_tab", Environment, "this site is already being paid from another tab";
    /// The browser has no IndexedDB, Web Locks, WebSocket or fetch here (an insecure page, an old browser).
    UnsupportedBrowser = "unsupported_browser", Environment, "this browser or page lacks what is needed to pay safely";
    /// The page runs in a frame of another site, where storage is partitioned and vanishes.
    ThirdPartyFrame = "third_party_frame", Environment, "payments are not possible inside a frame of another site";
    /// A private window, which forgets everything when it closes: it may use a deposit, and makes no new one.
    PrivateMode = "private_mode", Environment, "deposits are not possible in a private window";
    /// The browser refuses to store (private mode, blocked site data, a closed database).
    StorageBlocked = "storage_blocked", Environment, "this browser does not let the page store anything";
    /// The disk or the site's share of it is full; nothing was sent.
    StorageFull = "storage_full", Environment, "there is no room left to store payments";
    /// No random numbers are to be had.
    NoEntropy = "no_entropy", Environment, "this browser gives no random numbers";
    /// The terms could not be fetched.
    TermsUnreachable = "terms_unreachable", Environment, "the server cannot be reached";
    /// The terms make no sense, or are none.
    InvalidTerms = "invalid_terms", PeerMisbehaved, "the server's terms make no sense";
    /// The socket to the server was lost or cannot be opened.
    ConnectionLost = "connection_lost", Environment, "the connection to the server is lost";
    /// The browser's own look at the chain failed: it is down, or says what makes no sense.
    ChainUnreachable = "chain_unreachable", Environment, "the Bitcoin chain cannot be looked at";
    /// A refund was refused by the node that it was given to.
    BroadcastRefused = "broadcast_refused", Environment, "the network refuses this transaction";
    /// Words were given to restore from, and others are stored for this server.
    OtherWords = "other_words", Misuse, "other recovery words are in use with this site here";
    /// A refund file that is none, is damaged, or contradicts itself.
    InvalidRefundFile = "invalid_refund_file", Misuse, "this is no refund file, or it is damaged";
    /// A channel is open already; it has to end first.
    ChannelOpen = "channel_open", Misuse, "a deposit with this site is already open";
    /// `disconnect` was called.
    Disconnected = "disconnected", Misuse, "the client was disconnected";
}

/// Anything that can go wrong in this module.
#[derive(Clone, Debug)]
pub enum Error {
    /// The protocol core refused.
    Core(rillpay_channel::Error),
    /// The server refused.
    Peer(Box<Refusal>),
    /// The browser, with the cause in its own words.
    Browser(Problem, Option<String>),
    /// What is stored for a channel does not replay; nothing was deleted.
    Corrupted {
        /// Whose store.
        server: String,
        /// Which channel, in hex; empty where the records of the server itself are unreadable.
        channel: String,
        /// What does not fit.
        cause: rillpay_channel::Error,
    },
    /// The wallet refused.
    #[cfg(any(feature = "wallet", feature = "two-way"))]
    Wallet(rillpay_wallet::Error),
    /// The node of two-way channels refused.
    #[cfg(feature = "two-way")]
    Node(rillpay_node::Error),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal of our own, with a code of the core.
    pub const fn new(code: Code, text: &'static str) -> Self {
        Self::Core(rillpay_channel::Error::new(code, text))
    }

    /// A problem of the browser with what caused it.
    pub fn caused(problem: Problem, cause: &JsValue) -> Self {
        let text = cause.as_string().or_else(|| {
            let error = cause.dyn_ref::<js_sys::Error>()?;
            Some(String::from(error.message()))
        });
        Self::Browser(problem, text)
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Core(error) => error.code().as_str(),
            Self::Peer(refusal) => &refusal.code,
            Self::Browser(problem, _) => problem.as_str(),
            Self::Corrupted { .. } => Code::CorruptedStore.as_str(),
            #[cfg(any(feature = "wallet", feature = "two-way"))]
            Self::Wallet(error) => error.code().as_str(),
            #[cfg(feature = "two-way")]
            Self::Node(error) => error.code(),
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Core(error) => error.fault(),
            // A code that only a newer server knows cannot be judged; it is not of our making.
            Self::Peer(refusal) => Code::parse(&refusal.code).map_or(Fault::Environment, Code::fault),
            Self::Browser(problem, _) => problem.fault(),
            Self::Corrupted { .. } => Code::CorruptedStore.fault(),
            #[cfg(any(feature = "wallet", feature = "two-way"))]
            Self::Wallet(error) => error.code().fault(),
            #[cfg(feature = "two-way")]
            Self::Node(error) => error.fault(),
        }
    }

    /// A sentence that a viewer can read.
    pub fn message(&self) -> Cow<'_, str> {
        match self {
            Self::Core(error) => error.text().into(),
            Self::Peer(refusal) => refusal.text.as_str().into(),
            Self::Browser(problem, _) => problem.text().into(),
            Self::Corrupted { cause, .. } => cause.text().into(),
            #[cfg(any(feature = "wallet", feature = "two-way"))]
            Self::Wallet(error) => error.text().into(),
            #[cfg(feature = "two-way")]
            Self::Node(error) => error.to_string().into(),
        }
    }

    /// Facts that go with it, as a plain object.
    pub fn data(&self) -> Object {
        let data = Object::new();
        match self {
            Self::Core(error) => match error.detail() {
                Some(Detail::State(state)) => put_state(&data, state),
                Some(Detail::Amount(amount)) => put(&data, "amountSat", amount.to_sat().into()),
                Some(Detail::Height(height)) => put(&data, "height", (*height).into()),
                None => {}
            },
            Self::Peer(refusal) => {
                put(&data, "peer", true.into());
                if let Some(state) = &refusal.state {
                    put_state(&data, state);
                }
            }
            Self::Browser(_, cause) => {
                if let Some(cause) = cause {
                    put(&data, "cause", cause.as_str().into());
                }
            }
            Self::Corrupted { server, channel, cause } => {
                put(&data, "server", server.as_str().into());
                put(&data, "channel", channel.as_str().into());
                put(&data, "cause", cause.code().as_str().into());
            }
            #[cfg(any(feature = "wallet", feature = "two-way"))]
            Self::Wallet(error) => {
                if let Some(amount) = error.amount() {
                    put(&data, "amountSat", amount.to_sat().into());
                }
            }
            // Its sentence says it all.
            #[cfg(feature = "two-way")]
            Self::Node(_) => {}
        }
        data
    }
}

fn put_state(data: &Object, state: &ChannelState) {
    let paid = state.paid.map_or(0, |paid| paid.cumulative.to_sat());
    put(data, "paidSat", paid.into());
    put(data, "delivered", state.delivered.into());
    put(data, "stopped", state.stopped.into());
}

/// Setting a property of a plain object cannot fail.
fn put(object: &Object, key: &str, value: JsValue) {
    let _ = Reflect::set(object, &key.into(), &value);
}

impl From<rillpay_channel::Error> for Error {
    fn from(error: rillpay_channel::Error) -> Self {
        Self::Core(error)
    }
}

#[cfg(any(feature = "wallet", feature = "two-way"))]
impl From<rillpay_wallet::Error> for Error {
    fn from(error: rillpay_wallet::Error) -> Self {
        Self::Wallet(error)
    }
}

#[cfg(feature = "two-way")]
impl From<rillpay_node::Error> for Error {
    fn from(error: rillpay_node::Error) -> Self {
        Self::Node(error)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Browser(problem, None)
    }
}

impl From<&Error> for JsValue {
    fn from(error: &Error) -> Self {
        let js = js_sys::Error::new(&error.message());
        js.set_name("RillpayError");
        put(&js, "code", error.code().into());
        put(&js, "fault", error.fault().as_str().into());
        put(&js, "data", error.data().into());
        js.into()
    }
}

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

use wasm_bindgen::JsCast as _;
