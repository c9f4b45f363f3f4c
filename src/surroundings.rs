//! Where the recovery words of a site, its network and its chain come from.

use rillpay_channel::Code;
use rillpay_channel::bitcoin::Network;
use wasm_bindgen::JsValue;

use crate::env;
use crate::error::{Error, Problem, Result};
use crate::esplora::{Esplora, NO_CHAIN};
use crate::js::{Fields, argument, wrong};
use crate::lock::Lock;
use crate::store::Store;
use crate::terms::{self, Terms};

/// What opens something of a site's: its wallet, its two-way channels.
pub(crate) struct Options {
    pub(crate) server: String,
    pub(crate) network: Option<String>,
    pub(crate) esplora: Option<String>,
    pub(crate) words: Option<String>,
}

impl Options {
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub(crate) fn read(options: JsValue) -> Result<Self> {
        let options: Fields = argument(options)?;
        Ok(Self {
            server: options.get("server").map_err(wrong)?,
            network: options.get("network").map_err(wrong)?,
            esplora: options.get("esplora").map_err(wrong)?,
            words: options.get("words").map_err(wrong)?,
        })
    }
}

/// Network and Esplora: those named, else those of the server's terms.
pub(crate) async fn surroundings(options: &Options, origin: &str) -> Result<(Network, Esplora)> {
    let invalid = |text| Error::new(Code::InvalidArgument, text);
    let network =
        options.network.as_deref().map(|name| terms::parse_network(name).ok_or(invalid("there is no such network")));
    let network = network.transpose()?;
    let esplora = options.esplora.as_deref().map(|url| {
        terms::base_url(url, origin).ok_or(invalid("esplora has to be an https URL, or http on this machine"))
    });
    let esplora = esplora.transpose()?;
    if let (Some(network), Some(esplora)) = (network, &esplora) {
        return Ok((network, Esplora::new(esplora.clone())));
    }
    let terms = Terms::fetch(origin).await?;
    if network.is_some_and(|network| network != terms.network) {
        return Err(Error::new(Code::WrongNetwork, "this server is on another Bitcoin network"));
    }
    Ok((terms.network, Esplora::new(esplora.or(terms.esplora).ok_or(NO_CHAIN)?)))
}

/// The record of the site whose words these are; made, where there is none, as the site's client would make it.
pub(crate) async fn words_of(origin: &str, words: Option<String>) -> Result<crate::store::Site> {
    let store = Store::open(origin).await?;
    let given = words.is_some();
    let (mut site, mut is_new) = store.site_with(words.clone()).await?;
    if is_new {
        // Fresh words would be gone with the window, and with them whatever was paid to their addresses.
        if !given && env::is_private().await {
            return Err(Problem::PrivateMode.into());
        }
        // Only the holder of the site's lock writes its record.
        let _lock = Lock::take(origin).await?;
        (site, is_new) = store.site_with(words).await?;
        if is_new {
            store.save_site(&site).await?;
        }
        store.mark_wallet().await?;
        return Ok(site);
    }
    store.mark_wallet().await?;
    // A client that restores other words at this very moment has replaced these before it could see the mark.
    match store.site().await? {
        Some(now) if now.words == site.words => Ok(now),
        _ => Err(Problem::AnotherTab.into()),
    }
}
