//! The server's recovery words: from the environment, or from a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::keys::{Seed, new_words};

/// The environment variable that comes before the file.
pub const VARIABLE: &str = "RILLPAY_SEED_WORDS";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The words are not BIP 39.
    #[error("the recovery words in {0} are not valid")]
    Words(String),
    /// Others could read the file.
    #[error("the file {path} can be read by others (mode {mode:o}); its mode has to be 600")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The store knows channels, so there was a seed: a new one could collect nothing from them.
    #[error(
        "there are channels in the store, but no recovery words in {0}: put back the file that belongs to them \
         (or set {VARIABLE})"
    )]
    Lost(PathBuf),
    /// The seed is not the one that the stored channels were opened with.
    #[error(
        "the recovery words are not those that channel {row} in the store was opened with; nothing could be collected \
         with them"
    )]
    Other {
        /// The channel's number, which is its key's.
        row: u32,
    },
    /// A key cannot be derived.
    #[error("a key cannot be derived: {0}")]
    Key(rillpay_channel::Error),
    /// The file cannot be read or made.
    #[error("the recovery words in {path} cannot be read or made: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the newest channel in the store was opened with: its number, and the payee's key.
pub type Newest = (u32, PublicKey);

/// The seed; makes the file at the first start, while the store knows no channel.
///
/// # Errors
/// [`SeedError`], a sentence; also where the seed is not that of the `newest` channel.
pub fn load(words: Option<&str>, path: &Path, network: Network, newest: Option<Newest>) -> Result<Seed, SeedError> {
    let seed = read_or_make(words, path, network, newest.is_none())?;
    if let Some((row, payee)) = newest
        && seed.channel_key(row).map_err(SeedError::Key)?.public() != payee
    {
        return Err(SeedError::Other { row });
    }
    Ok(seed)
}

fn read_or_make(words: Option<&str>, path: &Path, network: Network, may_make: bool) -> Result<Seed, SeedError> {
    if let Some(words) = words {
        return Seed::from_words(words, network).map_err(|_| SeedError::Words(format!("the environment's {VARIABLE}")));
    }
    let failed = |source| SeedError::File { path: path.to_owned(), source };
    let words = match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(SeedError::Permissions { path: path.to_owned(), mode });
            }
            fs::read_to_string(path).map_err(failed)?
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !may_make => {
            return Err(SeedError::Lost(path.to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    Seed::from_words(&words, network).map_err(|_| SeedError::Words(path.display().to_string()))
}

fn make(path: &Path) -> std::io::Result<String> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| std::io::Error::other(error.to_string()))?;
    let words = new_words(&entropy).map_err(|error| std::io::Error::other(error.text()))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{words}")?;
    file.sync_all()?;
    // The file's name is in its folder: without this a power cut could take away a file that is itself on the disk.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    tracing::warn!(
        path = %path.display(),
        "made new recovery words: back this file up; without it the money in open channels cannot be collected"
    );
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        let first = load(None, &path, Network::Regtest, None).unwrap().node_key().unwrap().public();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = load(None, &path, Network::Regtest, None).unwrap().node_key().unwrap().public();
        assert_eq!(first, again);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(None, &path, Network::Regtest, None), Err(SeedError::Permissions { mode: 0o640, .. })));
    }

    #[test]
    fn the_environment_comes_first_and_bad_words_are_refused() {
        let path = Path::new("/nowhere/seed.words");
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        assert!(load(Some(words), path, Network::Regtest, None).is_ok());
        assert!(matches!(load(Some("abandon"), path, Network::Regtest, None), Err(SeedError::Words(_))));
        assert!(matches!(load(None, path, Network::Regtest, None), Err(SeedError::File { .. })));
    }

    #[test]
    fn a_lost_or_foreign_seed_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        let own = load(None, &path, Network::Regtest, None).unwrap();
        let newest = Some((7, own.channel_key(7).unwrap().public()));
        assert!(load(None, &path, Network::Regtest, newest).is_ok());
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        let lost = load(None, &path, Network::Regtest, newest).err().unwrap();
        assert!(matches!(lost, SeedError::Lost(_)), "{lost}");
        assert!(!path.exists(), "nothing was made in its place");
        load(None, &path, Network::Regtest, None).unwrap();
        let other = load(None, &path, Network::Regtest, newest).err().unwrap();
        assert!(matches!(other, SeedError::Other { row: 7 }), "{other}");
    }
}
