//! The browser's own look at the chain, through Esplora's HTTP API. A viewer need not trust the site about the chain.

#[cfg(feature = "client")]
mod look;
#[cfg(feature = "wallet")]
mod wallet;

use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::{Transaction, Txid};

use crate::error::{Error, Problem, Result};
use crate::http::{self, HttpError};
use crate::js::{self, Fields, FromJs};
#[cfg(feature = "client")]
pub(crate) use look::{Look, Question};
#[cfg(feature = "wallet")]
pub(crate) use wallet::Answer;

/// Neither the terms nor the page name an Esplora.
pub(crate) const NO_CHAIN: Error = Error::Browser(Problem::ChainUnreachable, None);

/// The longest answer that is read. An address that somebody has sent dust to has many outputs, at some 260 bytes each; a
/// settlement of many channels has many inputs.
const MAX_BODY: usize = 4 << 20;

/// An Esplora server.
#[derive(Clone)]
pub(crate) struct Esplora {
    base: String,
}

/// Whether a transaction is in a block, and in which.
struct Status {
    confirmed: bool,
    height: Option<u32>,
}

impl Status {
    fn read(fields: &Fields) -> Option<Self> {
        let status: Fields = fields.find("status")?;
        Some(Self { confirmed: status.find("confirmed")?, height: status.find("block_height") })
    }

    fn confirmations(&self, tip: u32) -> u32 {
        let height = self.height.filter(|_| self.confirmed);
        height.and_then(|height| tip.checked_sub(height)).map_or(0, |above| above.saturating_add(1))
    }
}

impl Esplora {
    /// `base` has no slash at its end.
    pub(crate) const fn new(base: String) -> Self {
        Self { base }
    }

    /// Where its API begins.
    #[cfg(feature = "two-way")]
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Height of the best block.
    ///
    /// # Errors
    /// [`Problem::ChainUnreachable`], as all methods here.
    pub(crate) async fn tip(&self) -> Result<u32> {
        let text = http::get_text(&format!("{}/blocks/tip/height", self.base)).await;
        text.map_err(unreachable)?.trim().parse().map_err(|_| nonsense())
    }

    /// Hands a transaction to the network.
    ///
    /// # Errors
    /// [`Problem::BroadcastRefused`] with the node's words.
    pub(crate) async fn broadcast(&self, transaction: &Transaction) -> Result<()> {
        let url = format!("{}/tx", self.base);
        match http::post_text(&url, &serialize_hex(transaction)).await.map_err(unreachable)? {
            (true, _) => Ok(()),
            (false, cause) => Err(Error::Browser(Problem::BroadcastRefused, Some(cause))),
        }
    }

    async fn get<T: FromJs>(&self, path: &str) -> Result<Option<T>> {
        let text = self.text(path, MAX_BODY).await?;
        text.map(|text| js::parse(&text).ok_or_else(nonsense)).transpose()
    }

    /// At most so many bytes; `None` where there is no such thing.
    async fn text(&self, path: &str, most: usize) -> Result<Option<String>> {
        match http::get_text_up_to(&format!("{}{path}", self.base), most).await {
            Ok(text) => Ok(Some(text)),
            Err(HttpError::NotFound) => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    }
}

fn txid(fields: &Fields, name: &'static str) -> Option<Txid> {
    fields.find::<String>(name)?.parse().ok()
}

fn nonsense() -> Error {
    Error::Browser(Problem::ChainUnreachable, Some("the answer makes no sense".to_owned()))
}

fn unreachable(error: HttpError) -> Error {
    Error::Browser(Problem::ChainUnreachable, Some(error.cause()))
}
