//! The recovery words of a program that runs by itself: from the environment, or from a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rillpay_channel::bitcoin::Network;
use rillpay_channel::keys::{Seed, new_words};

/// The environment variable that comes before the file.
pub const VARIABLE: &str = "RILLPAY_SEED_WORDS";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// The words are not BIP 39.
    #[error("the recovery words in {place} are not valid")]
    Invalid {
        /// Where they are.
        place: String,
        /// What is wrong with them, with its code.
        source: rillpay_channel::Error,
    },
    /// Others could read the file.
    #[error("the file {path} can be read by others (mode {mode:o}); its mode has to be 600")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There was a seed: a new one could take nothing from the channels in the store.
    #[error(
        "there are no recovery words in {0}, and the store belongs to those that were there: put them back (or set \
         {VARIABLE})"
    )]
    Lost(PathBuf),
    /// The file cannot be read or made.
    #[error("the recovery words in {path} cannot be read or made: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The seed: of `words`, which come from [`VARIABLE`], or else of the file. Where there is no file it is made, if that may be.
///
/// # Errors
/// [`WordsError`], a sentence.
pub fn read_or_make(words: Option<&str>, path: &Path, network: Network, may_make: bool) -> Result<Seed, WordsError> {
    if let Some(words) = words {
        let invalid = |source| WordsError::Invalid { place: format!("the environment's {VARIABLE}"), source };
        return Seed::from_words(words, network).map_err(invalid);
    }
    let failed = |source| WordsError::File { path: path.to_owned(), source };
    let words = match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(WordsError::Permissions { path: path.to_owned(), mode });
            }
            fs::read_to_string(path).map_err(failed)?
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !may_make => {
            return Err(WordsError::Lost(path.to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    Seed::from_words(&words, network)
        .map_err(|source| WordsError::Invalid { place: path.display().to_string(), source })
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
        "made new recovery words: write them down; without them the money in channels cannot be taken"
    );
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(words: Option<&str>, path: &Path, may_make: bool) -> Result<impl PartialEq + std::fmt::Debug, WordsError> {
        read_or_make(words, path, Network::Regtest, may_make).map(|seed| seed.node_key().unwrap().public())
    }

    #[test]
    fn the_file_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        assert!(matches!(load(None, &path, false), Err(WordsError::Lost(_))));
        assert!(!path.exists(), "nothing was made in its place");
        let first = load(None, &path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(None, &path, true).unwrap(), first);
        assert_eq!(load(None, &path, false).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(None, &path, true), Err(WordsError::Permissions { mode: 0o640, .. })));
    }

    #[test]
    fn the_environment_comes_first_and_bad_words_are_refused() {
        let path = Path::new("/nowhere/seed.words");
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        assert!(load(Some(words), path, false).is_ok());
        assert!(matches!(load(Some("abandon"), path, true), Err(WordsError::Invalid { .. })));
        assert!(matches!(load(None, path, true), Err(WordsError::File { .. })));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap().write_all(b"abandon").unwrap();
        let invalid = load(None, &path, true).unwrap_err();
        assert!(invalid.to_string().contains("seed.words") && !invalid.to_string().contains("abandon"), "{invalid}");
    }
}
