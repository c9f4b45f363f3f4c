//! Which Esplora to ask, and how patiently.

use std::time::Duration;

use bitcoin::Network;

/// Which Esplora to ask, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EsploraOptions {
    /// Where its API begins, such as `https://blockstream.info/signet/api`: `http` or `https`, without credentials,
    /// query and fragment. Over the internet use `https`: on plain `http` anybody on the way can answer.
    pub url: String,
    /// The network that it has to be on.
    pub network: Network,
    /// How long to wait between two looks at the tip and at the followed scripts. Doubled after each failure, up to half
    /// a minute.
    pub poll: Duration,
    /// How long one request may take, its whole answer included.
    pub patience: Duration,
}

impl EsploraOptions {
    /// The pause between two looks that public Esploras bear.
    pub const POLL: Duration = Duration::from_secs(10);
    /// The shortest pause between two looks.
    pub const SHORTEST_POLL: Duration = Duration::from_millis(10);
    /// Enough for a whole block over a slow line.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// An Esplora asked at the usual pace.
    pub fn new(url: impl Into<String>, network: Network) -> Self {
        EsploraOptions { url: url.into(), network, poll: Self::POLL, patience: Self::PATIENCE }
    }
}
