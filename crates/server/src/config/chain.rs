//! Where the chain is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use rillpay_chain::bitcoind::{Auth, BitcoindChain, BitcoindOptions};
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ChainError};
use rillpay_channel::bitcoin::Network;

use super::{ConfigError, Source, bad, file, secrets};

/// The environment variable for the password of a node's RPC user.
const PASSWORD: &str = "RILLPAY_RPC_PASSWORD";
/// How often a node is looked at.
const POLL: Duration = Duration::from_secs(1);

/// Where the chain is asked, and how old its answers may be.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Who answers.
    pub backend: Backend,
    /// Nothing is served when the backend was last in step longer ago than this.
    pub max_age: Duration,
}

/// Who answers questions about the chain.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The embedded chain (regtest only), with its blocks in this folder.
    Kernel(PathBuf),
    /// A Bitcoin Core node.
    Bitcoind(BitcoindOptions),
    /// An Esplora.
    Esplora(EsploraOptions),
}

impl Backend {
    /// Opens or connects to it.
    ///
    /// # Errors
    /// [`ChainError`], where waiting would not help.
    pub async fn open(&self) -> Result<Arc<dyn Chain>, ChainError> {
        Ok(match self {
            Self::Kernel(data_dir) => {
                let data_dir = Some(data_dir.clone());
                Arc::new(KernelChain::open(KernelConfig { data_dir, ..KernelConfig::default() }).await?)
            }
            Self::Bitcoind(options) => Arc::new(BitcoindChain::connect(options.clone()).await?),
            Self::Esplora(options) => Arc::new(EsploraChain::connect(options.clone()).await?),
        })
    }
}

/// Refuses a content folder that holds what opens the node.
pub(super) fn keep_out(chain: &file::Chain, content: &Source, base: &Path) -> Result<(), ConfigError> {
    let files = [
        (&chain.cookie_file, "the node's cookie (`chain.cookie_file`)"),
        (&chain.password_file, "the node's password (`chain.password_file`)"),
    ];
    for (file, name) in files {
        if let Some(file) = file {
            secrets::keep_out(content, &[(&base.join(file), name)])?;
        }
    }
    Ok(())
}

/// Checks the section `chain`.
pub(super) fn read(
    chain: &file::Chain,
    network: Network,
    base: &Path,
    data_dir: &Path,
) -> Result<ChainConfig, ConfigError> {
    if !(1..=3600).contains(&chain.max_age_seconds) {
        return bad("chain.max_age_seconds", "has to be between 1 and 3600");
    }
    let usual = if chain.backend == "esplora" { EsploraOptions::POLL } else { POLL };
    let poll = chain.poll_milliseconds.map_or(usual, Duration::from_millis);
    if !(100..=60_000).contains(&poll.as_millis()) {
        return bad("chain.poll_milliseconds", "has to be between 100 and 60000");
    }
    let max_age = Duration::from_secs(chain.max_age_seconds);
    if poll >= max_age {
        return bad("chain.poll_milliseconds", "has to be less than chain.max_age_seconds");
    }
    let data_dir = data_dir.join("chain");
    let backend = match chain.backend.as_str() {
        "kernel" if network != Network::Regtest => {
            return bad("chain.backend", "is \"kernel\", which is for the network regtest only");
        }
        "kernel" if chain.url.is_some() => return bad("chain.url", "has no meaning for the backend kernel"),
        "kernel" => Backend::Kernel(data_dir),
        "bitcoind" => {
            let (url, auth) = (url(chain)?, auth(chain, base)?);
            Backend::Bitcoind(BitcoindOptions { url, auth, network, poll, data_dir: Some(data_dir) })
        }
        "esplora" => Backend::Esplora(esplora(chain, network, poll)?),
        other => return bad("chain.backend", format!("is \"{other}\"; it has to be kernel, bitcoind or esplora")),
    };
    Ok(ChainConfig { backend, max_age })
}

fn url(chain: &file::Chain) -> Result<String, ConfigError> {
    chain.url.clone().map_or_else(|| bad("chain.url", "is missing: where the backend listens"), Ok)
}

fn esplora(chain: &file::Chain, network: Network, poll: Duration) -> Result<EsploraOptions, ConfigError> {
    let url = url(chain)?;
    let parsed = url.parse::<Uri>().ok();
    if !parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
        return bad("chain.url", "has to be an http(s) URL, such as https://blockstream.info/signet/api");
    }
    if chain.cookie_file.is_some() || chain.user.is_some() || chain.password_file.is_some() {
        return bad("chain", "names a cookie, a user or a password, which an Esplora does not ask for");
    }
    Ok(EsploraOptions { poll, ..EsploraOptions::new(url, network) })
}

fn auth(chain: &file::Chain, base: &Path) -> Result<Auth, ConfigError> {
    match (&chain.cookie_file, &chain.user) {
        (Some(cookie), None) => Ok(Auth::Cookie(base.join(cookie))),
        (None, Some(user)) => Ok(Auth::Password { user: user.clone(), password: password(chain, base)? }),
        _ => bad("chain", "needs either `cookie_file` or `user`, with its password in `password_file`"),
    }
}

/// A password is never a value of the configuration: that is a file that many may read.
fn password(chain: &file::Chain, base: &Path) -> Result<String, ConfigError> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let Some(file) = &chain.password_file else {
        return bad("chain.password_file", format!("is missing, and the environment has no {PASSWORD}"));
    };
    let file = base.join(file);
    match std::fs::read_to_string(&file) {
        Ok(password) => Ok(password.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => bad("chain.password_file", format!("cannot be read ({}): {error}", file.display())),
    }
}
