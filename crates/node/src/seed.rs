//! The node's recovery words: from the environment, or from a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rillpay_channel::bitcoin::Network;
use rillpay_channel::keys::{Seed, new_words};

use crate::error::{Code, Error};

fn unusable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::Folder, format!("the recovery words in {}: {why}", path.display()))
}

/// The seed. The file is made where there is none, unless the store knows a node: new words could take nothing from its
/// channels.
pub(crate) fn load(words: Option<&str>, path: &Path, network: Network, may_make: bool) -> Result<Seed, Error> {
    if let Some(words) = words {
        return Ok(Seed::from_words(words, network)?);
    }
    let words = match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(unusable(path, format!("others can read them (mode {mode:o}); the mode has to be 600")));
            }
            fs::read_to_string(path).map_err(|error| unusable(path, error))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !may_make => {
            return Err(unusable(path, "they are gone, and the store belongs to a node: put them back"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(|error| unusable(path, error))?,
        Err(error) => return Err(unusable(path, error)),
    };
    Ok(Seed::from_words(&words, network)?)
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
    tracing::warn!(path = %path.display(), "made new recovery words: write them down on paper");
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_kept_private_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        let node =
            |may_make| load(None, &path, Network::Regtest, may_make).map(|seed| seed.node_key().unwrap().public());
        assert!(node(false).is_err(), "the words of a node that has channels are not replaced");
        let first = node(true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(node(false).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(node(true).unwrap_err().code(), "folder");
        let bad = load(Some("abandon"), &path, Network::Regtest, true).err().unwrap();
        assert_eq!(bad.code(), "invalid_words");
    }
}
