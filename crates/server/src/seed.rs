//! The server's recovery words, and whether they are those of its channels.

use std::path::Path;

use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::keys::Seed;
use rillpay_words::{WordsError, read_or_make};

pub use rillpay_words::VARIABLE;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There are no words, or none that can be used.
    #[error(transparent)]
    Words(#[from] WordsError),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_foreign_seed_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.words");
        let own = load(None, &path, Network::Regtest, None).unwrap();
        let newest = Some((7, own.channel_key(7).unwrap().public()));
        assert!(load(None, &path, Network::Regtest, newest).is_ok());
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        let lost = load(None, &path, Network::Regtest, newest).err().unwrap();
        assert!(matches!(lost, SeedError::Words(WordsError::Lost(_))), "{lost}");
        assert!(!path.exists(), "nothing was made in its place");
        load(None, &path, Network::Regtest, None).unwrap();
        let other = load(None, &path, Network::Regtest, newest).err().unwrap();
        assert!(matches!(other, SeedError::Other { row: 7 }), "{other}");
    }
}
