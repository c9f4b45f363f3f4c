//! The metered gateway: a folder or an origin behind it, a price on every segment, payment before the first byte.
//!
//! ```text
//! path ──> one canonical name ──> what is in it? ── free ──────────────────────────> send
//!                                      │ priced
//!                       how much of the tariff's unit is it? ──> Gate::release ──> send
//! ```
//!
//! Three rules keep it honest:
//!
//! * **Content decides, not its name and not its playlist.** What is free is recognised by what is in it; what a
//!   segment costs is measured from its own timestamps (`media`), and never less than its playlist claims. So neither
//!   a clever spelling of a path nor a playlist that lies about durations makes anything cheaper.
//! * **Delivery is counted before the first byte leaves** ([`Gate::release`]), and once: a repetition within a short
//!   time is free (`turnstile`), so that a broken answer costs nobody anything.
//! * **Everything is bounded**: paths, playlists, what is read to measure, what is remembered, how long a request waits.
//!
//! When seconds are priced, a `Range` request costs what the whole segment costs, except where a playlist lists exactly
//! that range (`EXT-X-BYTERANGE`): then the range is a segment of its own.

mod content;
mod folder;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod hostile;
mod media;
mod path;
mod piece;
mod playlist;
mod problem;
mod response;
mod serve;
mod shelf;
mod turnstile;
mod upstream;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use rillpay_channel::tariff::Unit;
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use content::Content;
pub use folder::Folder;
pub use problem::status_of;
pub use response::{QUANTITY_HEADER, SESSION_HEADER};
pub use upstream::{Upstream, UpstreamError};

use crate::gate::Gate;
use shelf::Shelf;
use turnstile::Turnstile;

/// The largest answer of an origin that is held in memory to measure it, in bytes. A larger segment is estimated.
const MAX_PROBE: u64 = 16 << 20;
/// How many segments are measured at once.
const PROBES: usize = 8;

/// How the gateway prices and what it lets pass.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is priced.
    pub unit: Unit,
    /// What is free besides playlists, initialisation segments and pictures. Audio in segments of its own and subtitles
    /// are priced like any other segment unless they are named here: then a second is not paid for twice.
    pub free: Vec<FreePattern>,
    /// Whether pictures that no playlist lists as a segment are free (posters, thumbnails).
    pub free_images: bool,
    /// How long a request waits for its payment before the answer is 402.
    pub wait: Duration,
    /// For how long a paid segment may be fetched again for nothing.
    pub grace: Duration,
    /// How often.
    pub grace_fetches: u32,
    /// Segments that cannot be measured are taken to play at least as long as their bytes last at this rate; above zero.
    pub max_bytes_per_second: u64,
    /// Segments that cannot be measured and are in no known playlist count as at least this long, in milliseconds.
    pub unknown_segment_ms: u64,
    /// The URL path of the terms.
    pub terms: String,
    /// The web origins whose pages may load content; `None` for every one (the content is gated by payment, not origin).
    pub origins: Option<Vec<HeaderValue>>,
}

impl Settings {
    /// The defaults for a unit of price.
    pub fn new(unit: Unit) -> Self {
        Self {
            unit,
            free: Vec::new(),
            free_images: true,
            wait: Duration::from_secs(10),
            grace: Duration::from_secs(60),
            grace_fetches: 3,
            max_bytes_per_second: 500_000,
            unknown_segment_ms: 6_000,
            terms: "/.well-known/rillpay".to_owned(),
            origins: None,
        }
    }

    /// The shortest time that `bytes` can play, in milliseconds, rounded up.
    fn estimate_ms(&self, bytes: u64) -> u64 {
        let product = u128::from(bytes).saturating_mul(1000);
        u64::try_from(product.div_ceil(self.max_bytes_per_second.max(1).into())).unwrap_or(u64::MAX)
    }
}

/// A kind of file that is free by the operator's word: `*.vtt` (a file name ending) or `audio/` (a folder under the
/// media root).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreePattern {
    /// Every file whose name ends so, upper and lower case distinguished.
    Ending(String),
    /// Everything in this folder, with a slash at the end.
    Folder(String),
}

impl FreePattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Ending(ending) => path.ends_with(ending.as_str()),
            Self::Folder(folder) => path.starts_with(folder.as_str()),
        }
    }
}

/// Neither `*.ending` nor `folder/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a free pattern is a file name ending such as *.vtt or a folder such as audio/")]
pub struct BadPattern;

impl FromStr for FreePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let odd = |text: &str| text.contains(['*', '\\']) || text.starts_with('/');
        match (text.strip_prefix('*'), text.strip_suffix('/')) {
            (Some(ending), _)
                if ending.len() > 1 && ending.starts_with('.') && !odd(ending) && !ending.contains('/') =>
            {
                Ok(Self::Ending(ending.to_owned()))
            }
            (None, Some(folder)) if !folder.is_empty() && !odd(folder) => Ok(Self::Folder(text.to_owned())),
            _ => Err(BadPattern),
        }
    }
}

struct Gateway<G> {
    content: Content,
    settings: Settings,
    shelf: Shelf,
    turnstile: Turnstile<G>,
    probes: tokio::sync::Semaphore,
}

/// The routes of the gateway: everything below the path at which it is nested or mounted is content.
pub fn router<G: Gate>(gate: Arc<G>, content: Content, settings: Settings) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(match &settings.origins {
            None => AllowOrigin::any(),
            Some(origins) => AllowOrigin::list(origins.clone()),
        })
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([SESSION_HEADER, header::RANGE, header::CACHE_CONTROL])
        .expose_headers([QUANTITY_HEADER, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ETAG])
        .max_age(Duration::from_secs(3600));
    let turnstile = Turnstile::new(gate, settings.wait, settings.grace, settings.grace_fetches);
    let gateway = Arc::new(Gateway {
        content,
        settings,
        shelf: Shelf::new(),
        turnstile,
        probes: tokio::sync::Semaphore::new(PROBES),
    });
    Router::new().fallback(serve::serve::<G>).with_state(gateway).layer(cors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_patterns_are_endings_and_folders() {
        let pattern = |text: &str| text.parse::<FreePattern>();
        assert!(pattern("*.vtt").unwrap().matches("subs/en.vtt"));
        assert!(!pattern("*.vtt").unwrap().matches("subs/en.VTT"));
        assert!(pattern("audio/").unwrap().matches("audio/1.m4s"));
        assert!(!pattern("audio/").unwrap().matches("audio2/1.m4s"));
        for bad in ["", "*", "*.", "/", "audio", "*.a*", "/audio/", "*/x/"] {
            assert_eq!(pattern(bad), Err(BadPattern), "{bad:?}");
        }
    }

    #[test]
    fn estimates_round_up() {
        let settings = Settings { max_bytes_per_second: 3, ..Settings::new(Unit::Second) };
        assert_eq!(settings.estimate_ms(1), 334);
        assert_eq!(settings.estimate_ms(u64::MAX), u64::MAX);
    }
}
