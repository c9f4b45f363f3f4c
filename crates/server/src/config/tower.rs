//! The configuration of a watchtower: a file of its own, `docs/rillpay-tower.example.toml`, in the words of the server's.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use serde::Deserialize;

use super::{ConfigError, PAGES_PER_MEBIBYTE, bad, chain, file, network};
use crate::config::Backend;

/// Everything a watchtower needs to know before it starts.
#[derive(Clone, Debug)]
pub struct TowerConfig {
    /// Where clients call.
    pub listen: SocketAddr,
    /// The network of the channels that are watched.
    pub network: Network,
    /// Store, recovery words and, for the embedded chain, blocks.
    pub data_dir: PathBuf,
    /// The file with the tower's recovery words; the environment variable `RILLPAY_SEED_WORDS` comes first.
    pub seed_file: PathBuf,
    /// Where the chain is asked.
    pub backend: Backend,
    /// Whose kits are kept.
    pub clients: Clients,
    /// What clients may take.
    pub limits: TowerLimits,
}

/// Whose kits a watchtower keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Those of the nodes with these keys.
    These(HashSet<PublicKey>),
    /// Everybody's, as long as there is room.
    Anybody,
}

impl Clients {
    /// Whether this node is served.
    pub fn has(&self, client: &PublicKey) -> bool {
        match self {
            Self::These(keys) => keys.contains(client),
            Self::Anybody => true,
        }
    }
}

/// What the clients of a watchtower may take, each and together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TowerLimits {
    /// Bytes of kits that one client may have here.
    pub client_bytes: u64,
    /// Pages of 4 KiB that the store may take.
    pub store_pages: u32,
    /// Connections at a time.
    pub connections: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: String,
    network: String,
    data_dir: PathBuf,
    #[serde(default)]
    seed: file::Seed,
    chain: file::Chain,
    clients: FileClients,
    #[serde(default)]
    limits: FileLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileClients {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    anybody: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    client_mebibytes: u32,
    store_mebibytes: u32,
    connections: u16,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { client_mebibytes: 100, store_mebibytes: 10_240, connections: 256 }
    }
}

impl TowerConfig {
    /// Reads and checks a file. Relative paths in it count from its own folder.
    ///
    /// # Errors
    /// [`ConfigError`], a sentence that names the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Checks a configuration's text. Relative paths in it count from `base`.
    ///
    /// # Errors
    /// As [`TowerConfig::load`].
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)?;
        let network = network(&file.network)?;
        let data_dir = base.join(&file.data_dir);
        Ok(Self {
            listen: file
                .listen
                .parse()
                .or_else(|_| bad("listen", "has to be an address and a port, such as 0.0.0.0:9911"))?,
            network,
            seed_file: file.seed.file.as_ref().map_or_else(|| data_dir.join("seed.words"), |path| base.join(path)),
            backend: chain::read(&file.chain, network, base, &data_dir)?.backend,
            clients: clients(&file.clients)?,
            limits: limits(&file.limits)?,
            data_dir,
        })
    }
}

fn clients(clients: &FileClients) -> Result<Clients, ConfigError> {
    match (clients.keys.as_slice(), clients.anybody) {
        ([], true) => Ok(Clients::Anybody),
        ([], false) => bad("clients", "needs `keys`, or `anybody = true`"),
        (_, true) => bad("clients.anybody", "cannot be true where `keys` are named"),
        (keys, false) => {
            let key = |text: &String| {
                text.parse().or_else(|_| bad("clients.keys", format!("holds \"{text}\", which is no node's key")))
            };
            keys.iter().map(key).collect::<Result<_, _>>().map(Clients::These)
        }
    }
}

fn limits(limits: &FileLimits) -> Result<TowerLimits, ConfigError> {
    if limits.client_mebibytes == 0 {
        return bad("limits.client_mebibytes", "has to be at least 1");
    }
    if limits.store_mebibytes == 0 {
        return bad("limits.store_mebibytes", "has to be at least 1");
    }
    if limits.connections == 0 {
        return bad("limits.connections", "has to be at least 1");
    }
    Ok(TowerLimits {
        client_bytes: u64::from(limits.client_mebibytes).saturating_mul(1 << 20),
        store_pages: limits.store_mebibytes.saturating_mul(PAGES_PER_MEBIBYTE),
        connections: limits.connections.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../docs/rillpay-tower.example.toml");

    #[test]
    fn the_example_is_in_order_and_shows_the_defaults() {
        let config = TowerConfig::parse(EXAMPLE, Path::new("/srv")).unwrap();
        assert_eq!(config.data_dir, Path::new("/srv/tower"));
        let Clients::These(keys) = &config.clients else { panic!("two businesses") };
        assert_eq!(keys.len(), 2);
        let shown =
            |line: &str| line.replace("# client_", "client_").replace("# store_", "store_").replace("# conn", "conn");
        let shown: Vec<_> = EXAMPLE.lines().map(shown).collect();
        assert_eq!(TowerConfig::parse(&shown.join("\n"), Path::new("/srv")).unwrap().limits, config.limits);
    }

    #[test]
    fn every_bad_value_is_answered_with_its_key() {
        for (key, from, to) in [
            ("listen", "listen = \"0.0.0.0:9911\"", "listen = \"nowhere\""),
            ("network", "network = \"regtest\"", "network = \"mainnet\""),
            ("chain.backend", "backend = \"kernel\"", "backend = \"pigeon\""),
            ("clients.keys", "keys = [", "keys = [\"02\","),
            ("clients.anybody", "keys = [", "anybody = true\nkeys = ["),
            ("limits.client_mebibytes", "# client_mebibytes = 100", "client_mebibytes = 0"),
            ("limits.store_mebibytes", "# store_mebibytes = 10240", "store_mebibytes = 0"),
            ("limits.connections", "# connections = 256", "connections = 0"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = TowerConfig::parse(&EXAMPLE.replace(from, to), Path::new("")).unwrap_err();
            assert!(error.to_string().contains(key), "{key}: {error}");
        }
        let nobody =
            "listen = \"0.0.0.0:1\"\nnetwork = \"regtest\"\ndata_dir = \"t\"\n[chain]\nbackend = \"kernel\"\n[clients]";
        assert!(TowerConfig::parse(nobody, Path::new("")).unwrap_err().to_string().contains("clients"));
        let anybody = TowerConfig::parse(&format!("{nobody}\nanybody = true"), Path::new("")).unwrap();
        assert_eq!(anybody.clients, Clients::Anybody);
    }
}
