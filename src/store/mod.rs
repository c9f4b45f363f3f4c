//! What survives a reload: IndexedDB, database `rillpay`.
//!
//! | object store | key | value |
//! | --- | --- | --- |
//! | `sites` | server's origin | the recovery words, the number of the next key, the unfinished channels, the budget's books |
//! | `sites` | server's origin, `#wallet` | `true` once a wallet of these words was opened |
//! | `events` | `[origin, channel, slot]` | the newest event of each slot, encoded by the core |
//!
//! Everything that one decision changes is written in one transaction with strict durability, and counts as stored only
//! when the browser says `complete`. Replay treats all of it as hostile: see [`rillpay_channel::payer::Payer::replay`].

pub(crate) mod idb;
#[cfg(any(feature = "wallet", feature = "two-way"))]
pub mod wallet;

use js_sys::{Array, JsString, Uint8Array};
use rillpay_channel::budget::Spent;
use rillpay_channel::keys::new_words;
use rillpay_channel::payer::Event;
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::{ChannelId, Code, Msat};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbKeyRange;

use crate::env;
use crate::error::{Error, Problem, Result};
use crate::js::{self, Fields, FromJs};
use idb::Database;

const SITES: &str = "sites";
const EVENTS: &str = "events";

/// What is stored for a server, apart from the events of its channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// BIP 39 words, the root of all keys for this server.
    pub words: String,
    /// The first key index that was never used.
    pub next_key: u32,
    /// Channels that are not finished, in hex; the newest last.
    pub channels: Vec<String>,
    /// Days since 1970 that `in_day_msat` counts.
    pub day: u64,
    /// Millisatoshi spent on that day.
    pub in_day_msat: u64,
    /// Millisatoshi ever spent with this server.
    pub site_msat: u64,
    /// The words came from elsewhere, and the server was not asked for all of their channels yet.
    pub restoring: bool,
    /// Restored channels, of those above, that were agreed at a price that nobody accepts now: they are only to be ended.
    pub ending: Vec<String>,
}

impl Site {
    /// The record of a server that was never met.
    pub const fn new(words: String) -> Self {
        Self {
            words,
            next_key: 0,
            channels: vec![],
            day: 0,
            in_day_msat: 0,
            site_msat: 0,
            restoring: false,
            ending: vec![],
        }
    }

    /// The record of a server whose channels are still to be restored from these words.
    pub fn restoring(words: String) -> Self {
        Self { restoring: true, ..Self::new(words) }
    }

    /// The budget's books.
    pub fn spent(&self) -> Spent {
        // More than all money is a garbled record; it counts as all money, so that nothing more can be spent.
        let msat = |amount| Msat::new(amount).unwrap_or(Msat::MAX_MONEY);
        Spent { day: self.day, in_day: msat(self.in_day_msat), site: msat(self.site_msat) }
    }

    /// Takes the books over, unless those here are newer.
    pub fn book(&mut self, spent: Spent) {
        if spent.site.get() >= self.site_msat {
            self.day = spent.day;
            self.in_day_msat = spent.in_day.get();
            self.site_msat = spent.site.get();
        }
    }
}

impl FromJs for Site {
    fn from_js(value: JsValue) -> Option<Self> {
        let fields = Fields::from_js(value)?;
        Some(Self {
            words: fields.find("words")?,
            next_key: fields.find("nextKey")?,
            channels: fields.find("channels")?,
            day: fields.find("day")?,
            in_day_msat: fields.find("inDayMsat")?,
            site_msat: fields.find("siteMsat")?,
            // Records of the first version have neither.
            restoring: fields.find::<Option<_>>("restoring")?.unwrap_or_default(),
            ending: fields.find::<Option<_>>("ending")?.unwrap_or_default(),
        })
    }
}

/// The records of one server.
pub struct Store {
    database: Database,
    server: String,
}

impl Store {
    /// Opens the store of a server's origin.
    ///
    /// # Errors
    /// [`Problem::StorageBlocked`], [`Problem::UnsupportedBrowser`].
    pub async fn open(server: &str) -> Result<Self> {
        Ok(Self { database: Database::open("rillpay", &[SITES, EVENTS]).await?, server: server.to_owned() })
    }

    /// What is stored for this server; `None` where nothing is.
    ///
    /// # Errors
    /// [`Error::Corrupted`], and the errors of the browser.
    pub async fn site(&self) -> Result<Option<Site>> {
        let value = self.database.get(SITES, &self.server.as_str().into()).await?;
        if value.is_undefined() {
            return Ok(None);
        }
        let site = Site::from_js(value).ok_or_else(|| self.corrupted("", UNREADABLE))?;
        Ok(Some(site))
    }

    /// What is stored for this server; or, to be stored now, a new record where nothing is, or nothing that depends on its
    /// words. True for a new one. Without words fresh ones are made.
    ///
    /// # Errors
    /// [`Problem::OtherWords`]; as [`Store::site`].
    pub async fn site_with(&self, words: Option<String>) -> Result<(Site, bool)> {
        match (self.site().await?, words) {
            (Some(site), None) => Ok((site, false)),
            (Some(site), Some(words)) if site.words == words => Ok((site, false)),
            (Some(site), Some(_)) if site.next_key > 0 || self.has_wallet().await? => Err(Problem::OtherWords.into()),
            (_, Some(words)) => Ok((Site::restoring(words), true)),
            (None, None) => Ok((Site::new(new_words(&env::random()?)?), true)),
        }
    }

    /// Stores what is known of this server.
    ///
    /// # Errors
    /// The errors of the browser.
    pub async fn save_site(&self, site: &Site) -> Result<()> {
        let puts = [(SITES, JsValue::from(&self.server), js::to_value(site)?)];
        self.database.put_all(&puts).await
    }

    /// Whether a wallet of the site's words was ever opened: then addresses of theirs may have been given out.
    ///
    /// # Errors
    /// The errors of the browser.
    pub async fn has_wallet(&self) -> Result<bool> {
        Ok(self.database.get(SITES, &self.wallet_mark()).await?.is_truthy())
    }

    /// From now on [`Store::has_wallet`]. A record of its own, for only the holder of the site's lock writes the site's.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub async fn mark_wallet(&self) -> Result<()> {
        self.database.put_all(&[(SITES, self.wallet_mark(), JsValue::TRUE)]).await
    }

    fn wallet_mark(&self) -> JsValue {
        // No origin looks like this.
        format!("{}#wallet", self.server).into()
    }

    /// The events of a channel, in the order that replay wants.
    ///
    /// # Errors
    /// [`Error::Corrupted`], and the errors of the browser.
    pub async fn events(&self, channel: &str) -> Result<Vec<Event>> {
        let range = IdbKeyRange::bound(&self.key(channel, 0), &self.key(channel, u8::MAX))
            .map_err(|cause| idb::blocked(&cause))?;
        let values: Array = self.database.get_all(EVENTS, &range).await?.unchecked_into();
        let mut events = Vec::new();
        for value in values.iter() {
            let bytes = value.dyn_into::<Uint8Array>().map_err(|_| self.corrupted(channel, UNREADABLE))?;
            events.push(Event::decode(&bytes.to_vec()).map_err(|cause| self.corrupted(channel, cause))?);
        }
        Ok(events)
    }

    /// Stores the events of one decision, together or not at all.
    ///
    /// # Errors
    /// [`Problem::StorageFull`], [`Problem::StorageBlocked`]: then nothing is stored.
    pub async fn save(&self, channel: &ChannelId, events: &[Event]) -> Result<()> {
        self.database.put_all(&self.puts(channel, events)).await
    }

    /// Stores the events of a new channel together with what they change for the server.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub async fn create(&self, site: &Site, channel: &ChannelId, events: &[Event]) -> Result<()> {
        let mut puts = self.puts(channel, events);
        puts.push((SITES, JsValue::from(&self.server), js::to_value(site)?));
        self.database.put_all(&puts).await
    }

    /// The error for a channel that does not replay.
    pub fn corrupted(&self, channel: &str, cause: rillpay_channel::Error) -> Error {
        Error::Corrupted { server: self.server.clone(), channel: channel.to_owned(), cause }
    }

    fn puts(&self, channel: &ChannelId, events: &[Event]) -> Vec<(&'static str, JsValue, JsValue)> {
        let channel = channel.to_string();
        events
            .iter()
            .map(|event| {
                let bytes = Uint8Array::from(event.encode().as_slice());
                (EVENTS, self.key(&channel, event.slot()), bytes.into())
            })
            .collect()
    }

    fn key(&self, channel: &str, slot: u8) -> JsValue {
        Array::of3(&JsString::from(self.server.as_str()), &JsString::from(channel), &slot.into()).into()
    }
}

const UNREADABLE: rillpay_channel::Error =
    rillpay_channel::Error::new(Code::CorruptedStore, "what is stored for this site cannot be read");
