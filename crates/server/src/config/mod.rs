//! The operator's configuration, checked: whatever passes can be served with.
//!
//! A bad value is answered with a sentence that names its key. The commented example, `docs/rillpay.example.toml`, is
//! parsed by a test.

mod chain;
mod file;
mod offer;
mod payout;
mod secrets;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod tests;
mod tower;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use rillpay_channel::bitcoin::{Amount, FeeRate, Network};
use rillpay_channel::payee::Offer;

pub use chain::{Backend, ChainConfig};
pub use payout::{Payout, Series};
pub use tower::{Clients, TowerConfig, TowerLimits};

use crate::gateway::FreePattern;

/// Everything the server needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Store, seed file and, for the embedded chain, blocks.
    pub data_dir: PathBuf,
    /// The file with the operator's recovery words; the environment variable `RILLPAY_SEED_WORDS` comes first.
    pub seed_file: PathBuf,
    /// Where settlements pay to.
    pub payout: Payout,
    /// What the terms name for a browser's own look at the chain: absolute, or relative to the terms; or nothing.
    pub esplora: Option<String>,
    /// Where the chain is asked.
    pub chain: ChainConfig,
    /// What a channel is offered at.
    pub offer: Offer,
    /// The fee rate for the next block up to which the offer's margins are enough.
    pub calm: FeeRate,
    /// How settlements are made.
    pub settlement: SettlementPolicy,
    /// What is sold.
    pub content: Content,
    /// What is free besides playlists, initialisation segments and pictures.
    pub free: Vec<FreePattern>,
    /// How long a request for content waits for its payment before it is answered 402.
    pub wait: Duration,
    /// What one visitor, or all of them, may take.
    pub limits: Limits,
    /// Pages of other origins that may ask for terms and content.
    pub cors: Cors,
}

/// How settlements are made.
#[derive(Clone, Debug)]
pub struct SettlementPolicy {
    /// No settlement pays less.
    pub floor: FeeRate,
    /// No settlement pays more, unless it has to outbid a transaction that would take the money back.
    pub cap: FeeRate,
    /// How long a closed channel waits for others to share a transaction with.
    pub merge_delay: Duration,
    /// When this much waits, nothing waits any longer.
    pub value_at_risk: Amount,
    /// Above this rate what has time waits for lower fees; `None` where nothing ever does.
    pub patient: Option<FeeRate>,
}

/// What is sold, and where in the URL space it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The path prefix, such as `/media`.
    pub path: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of files.
    Folder(PathBuf),
    /// Another HTTP server: its URL, and the names under which its playlists are looked for.
    Upstream(String, Vec<String>),
}

/// What one visitor, or all of them, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Channels opened per minute, by all together.
    pub opens_per_minute: u32,
    /// Sockets at a time.
    pub sockets: u32,
    /// Frames per second on one socket; twice as many in a burst.
    pub frames_per_second: u32,
    /// Pages of 4 KiB that the store may take; `None` for as many as the disk has.
    pub store_pages: Option<u32>,
}

/// Pages of other origins that may ask for terms and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// These; possibly none.
    Origins(Vec<HeaderValue>),
    /// All: what is sold is guarded by payment, not by origin.
    Any,
}

/// SQLite's pages have 4 KiB.
const PAGES_PER_MEBIBYTE: u32 = 256;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, a key is unknown or missing, or a value is of the wrong type.
    #[error("the configuration is garbled: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value makes no sense.
    #[error("the configuration's key `{key}` {why}")]
    Value {
        /// Its key, dotted.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn bad<T>(key: &'static str, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value { key, why: why.into() })
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from its own folder.
    ///
    /// # Errors
    /// [`ConfigError`], a sentence that names the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = Self::parse(&text, path.parent().unwrap_or(Path::new("")))?;
        secrets::keep_out(&config.content.source, &[(path, "this configuration file")])?;
        Ok(config)
    }

    /// Checks a configuration's text. Relative paths in it count from `base`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let file: file::File = toml::from_str(text)?;
        let network = network(&file.network)?;
        let data_dir = base.join(&file.data_dir);
        let seed_file = file.seed.file.as_ref().map_or_else(|| data_dir.join("seed.words"), |path| base.join(path));
        let content = content(&file.content, base)?;
        let esplora = file.esplora.as_deref().map(esplora).transpose()?;
        places(&content, esplora.as_deref())?;
        secrets::keep_apart(&content.source, &data_dir)?;
        secrets::keep_out(&content.source, &[(&seed_file, "the recovery words (`seed.file`)")])?;
        chain::keep_out(&file.chain, &content.source, base)?;
        let payout = Payout::parse(&file.payout, network)?;
        Ok(Self {
            listen: file
                .listen
                .parse()
                .or_else(|_| bad("listen", "has to be an address and a port, such as 127.0.0.1:8080"))?,
            seed_file,
            esplora,
            chain: chain::read(&file.chain, network, base, &data_dir)?,
            offer: offer::read(&file, network, payout.fixed())?,
            calm: offer::calm(&file.channel)?,
            payout,
            settlement: settlement(&file.settlement)?,
            wait: wait(file.content.wait_milliseconds)?,
            free: free(&file.content.free)?,
            content,
            limits: limits(&file.limits)?,
            data_dir,
            cors: cors(&file.cors)?,
        })
    }
}

fn network(name: &str) -> Result<Network, ConfigError> {
    match name {
        "bitcoin" => Ok(Network::Bitcoin),
        "testnet" => Ok(Network::Testnet),
        "testnet4" => Ok(Network::Testnet4),
        "signet" => Ok(Network::Signet),
        "regtest" => Ok(Network::Regtest),
        _ => bad("network", format!("is \"{name}\"; it has to be bitcoin, testnet, testnet4, signet or regtest")),
    }
}

fn esplora(text: &str) -> Result<String, ConfigError> {
    let absolute = text.starts_with("https://") || text.starts_with("http://");
    let text = text.trim_end_matches('/');
    if !(if absolute { text.parse::<Uri>().is_ok() } else { is_plain_path(text) }) {
        return bad("esplora", "has to be an http(s) URL or a plain path that begins with /, such as /esplora");
    }
    Ok(text.to_owned())
}

/// Whether a path can be mounted as it stands: no characters that a router takes for patterns.
fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.len() > 1 && path.starts_with('/') && !path.contains("//") && !path.contains("..") && path.bytes().all(plain)
}

/// The paths under which this server answers by itself.
const OWN_PATHS: [&str; 3] = ["/.well-known/rillpay", "/rillpay", "/healthz"];

/// Refuses places in the URL space of which one is within another: the router could not tell them apart.
fn places(content: &Content, esplora: Option<&str>) -> Result<(), ConfigError> {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let meets = |one: &str, other: &str| within(one, other) || within(other, one);
    let esplora = esplora.filter(|place| place.starts_with('/'));
    for own in OWN_PATHS {
        if meets(&content.path, own) {
            return bad("content.path", format!("meets {own}, where this server answers by itself"));
        }
        if esplora.is_some_and(|path| meets(path, own)) {
            return bad("esplora", format!("meets {own}, where this server answers by itself"));
        }
    }
    if esplora.is_some_and(|path| meets(path, &content.path)) {
        return bad("esplora", format!("meets the content's path {}; one must not lie within the other", content.path));
    }
    Ok(())
}

/// A fee rate that settlements may come across.
fn rate(sat_per_vbyte: u64) -> Option<FeeRate> {
    FeeRate::from_sat_per_vb(sat_per_vbyte).filter(|_| (1..=10_000).contains(&sat_per_vbyte))
}

fn settlement(settlement: &file::Settlement) -> Result<SettlementPolicy, ConfigError> {
    let Some(floor) = rate(settlement.min_sat_per_vbyte) else {
        return bad("settlement.min_sat_per_vbyte", "has to be between 1 and 10000");
    };
    let Some(cap) = rate(settlement.max_sat_per_vbyte).filter(|cap| *cap >= floor) else {
        return bad("settlement.max_sat_per_vbyte", "has to be between settlement.min_sat_per_vbyte and 10000");
    };
    if settlement.merge_delay_seconds > 86_400 {
        return bad("settlement.merge_delay_seconds", "has to be at most 86400 (a day)");
    }
    let value_at_risk = Amount::from_sat(settlement.value_at_risk_sat);
    if value_at_risk == Amount::ZERO || value_at_risk > Amount::MAX_MONEY {
        return bad("settlement.value_at_risk_sat", "has to be at least 1 and at most all the money there is");
    }
    let patient = settlement.patient_sat_per_vbyte.map(|sat| rate(sat).filter(|patient| *patient >= floor));
    if patient == Some(None) {
        return bad("settlement.patient_sat_per_vbyte", "has to be between settlement.min_sat_per_vbyte and 10000");
    }
    let merge_delay = Duration::from_secs(settlement.merge_delay_seconds);
    Ok(SettlementPolicy { floor, cap, merge_delay, value_at_risk, patient: patient.flatten() })
}

fn wait(milliseconds: u64) -> Result<Duration, ConfigError> {
    if !(1..=60_000).contains(&milliseconds) {
        return bad("content.wait_milliseconds", "has to be between 1 and 60000");
    }
    Ok(Duration::from_millis(milliseconds))
}

fn content(content: &file::Content, base: &Path) -> Result<Content, ConfigError> {
    let path = content.path.trim_end_matches('/');
    if !is_plain_path(path) {
        return bad("content.path", "has to be a plain path that begins with /, such as /media");
    }
    let source = match (&content.folder, &content.upstream) {
        (Some(folder), None) => {
            let folder = base.join(folder);
            if !folder.is_dir() {
                return bad("content.folder", format!("is not a folder: {}", folder.display()));
            }
            Source::Folder(folder)
        }
        (None, Some(upstream)) => match upstream.parse::<Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() => {
                Source::Upstream(upstream.clone(), content.playlists.clone())
            }
            _ => return bad("content.upstream", "has to be an http(s) URL"),
        },
        _ => return bad("content", "needs either `folder` or `upstream`"),
    };
    Ok(Content { path: path.to_owned(), source })
}

fn free(patterns: &[String]) -> Result<Vec<FreePattern>, ConfigError> {
    let pattern =
        |text: &String| text.parse().or_else(|error| bad("content.free", format!("holds \"{text}\": {error}")));
    patterns.iter().map(pattern).collect()
}

fn limits(limits: &file::Limits) -> Result<Limits, ConfigError> {
    let positive = |key, value| {
        if value == 0 { bad(key, "has to be at least 1") } else { Ok(value) }
    };
    Ok(Limits {
        opens_per_minute: positive("limits.opens_per_minute", limits.opens_per_minute)?,
        sockets: positive("limits.sockets", limits.sockets)?,
        frames_per_second: positive("limits.frames_per_second", limits.frames_per_second)?,
        store_pages: limits
            .store_mebibytes
            .map(|size| positive("limits.store_mebibytes", size).map(|size| size.saturating_mul(PAGES_PER_MEBIBYTE)))
            .transpose()?,
    })
}

fn cors(cors: &file::Cors) -> Result<Cors, ConfigError> {
    if cors.origins == ["*"] {
        return Ok(Cors::Any);
    }
    let origin = |text: &String| {
        let scheme = text.starts_with("https://") || text.starts_with("http://");
        let bare = text.matches('/').count() == 2;
        HeaderValue::from_str(text)
            .ok()
            .filter(|_| scheme && bare)
            .map_or_else(|| bad("cors.origins", format!("holds \"{text}\", which is no origin")), Ok)
    };
    cors.origins.iter().map(origin).collect::<Result<_, _>>().map(Cors::Origins)
}
