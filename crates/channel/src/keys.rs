//! Keys: BIP 39 words to BIP 32 keys, a fresh key for each channel and role.
//!
//! | path | key |
//! | --- | --- |
//! | `m/12065'/coin'/kind'/channel'/0'` | signs commitments and refunds, or settlements on the payee's side |
//! | `m/12065'/coin'/2'/channel'/0'` to `5'` | a `revocable` channel's base keys ([`crate::revocable::BaseKeys::from_seed`]) |
//! | `m/12065'/coin'/254'/0'/0'` | encrypts what peers keep ([`crate::revocable::backup`]) |
//! | `m/12065'/coin'/255'/0'/0'` | the operator's node key: signs parameters and statements |
//! | `m/84'/coin'/0'/0/channel` | BIP 84 receive address: change and refunds come back here |
//! | `m/84'/coin'/0'` | the account of the page's own wallet, to which those addresses belong |
//!
//! `coin` is 0 on the main network and 1 on the test networks (SLIP 44); `kind` is 0 for `cltv`. The return keys are
//! those of an ordinary BIP 84 wallet, so that the words alone, in any such wallet, show the money that came back.
//!
//! A payer's channels have even numbers ([`channel_number`]). The odd ones are left to a wallet of the same words, which
//! gives its receive addresses to others ([`wallet_number`]): whoever pays to one of those, or is paid from it, is not to
//! be found again by a payee, who sees where a channel returns to.

use bip39::Mnemonic;
use bitcoin::bip32::{ChildNumber, Xpriv};
use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{CompressedPublicKey, Network, ScriptBuf};

use crate::error::{Code, Error};
use crate::secp::secp;

/// The purpose level of our own paths. Not a BIP number; the book's chapter 12 and BIP 65 stand behind the digits.
const PURPOSE: u32 = 12_065;
/// The level-3 number of `revocable` channels.
const REVOCABLE: u32 = 2;
/// The level-3 number of the key of backups.
const BACKUP: u32 = 254;
/// The level-3 number of the node key, far from any channel kind.
const NODE: u32 = 255;

/// The first number from `least` on that a payer may give to a new channel.
pub const fn channel_number(least: u32) -> u32 {
    least.saturating_add(least & 1)
}

/// The first number from `least` on whose receive address a wallet may give to others.
pub const fn wallet_number(least: u32) -> u32 {
    least | 1
}

/// A secret key that never prints and is wiped when dropped.
pub struct Key(SecretKey);

impl Key {
    /// Wraps a secret key made elsewhere (tests, vectors, an operator's file).
    pub const fn new(secret: SecretKey) -> Self {
        Self(secret)
    }

    /// The compressed public key.
    pub fn public(&self) -> PublicKey {
        self.0.public_key(secp())
    }

    pub(crate) const fn secret(&self) -> &SecretKey {
        &self.0
    }

    /// The bare secret, for another library that wraps it anew; the copy is the caller's to wipe.
    pub const fn expose(&self) -> SecretKey {
        self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

/// The root of all keys of one party on one network.
pub struct Seed {
    root: Xpriv,
    coin: u32,
}

impl Seed {
    /// From BIP 39 words (English list, 12 to 24 words, no passphrase).
    ///
    /// # Errors
    /// [`Code::InvalidWords`] for an unknown word, a wrong count or a wrong checksum.
    pub fn from_words(words: &str, network: Network) -> Result<Self, Error> {
        let words = parse_words(words)?;
        Ok(Self::from_bip39_seed(&words.to_seed_normalized(""), network))
    }

    /// From a 64-byte BIP 39 seed.
    pub fn from_bip39_seed(seed: &[u8; 64], network: Network) -> Self {
        // BIP 32 fails with a probability below 2^-127; no seed is known for which it does.
        #[expect(clippy::expect_used, reason = "unreachable in practice, and there is no other seed to go on with")]
        let root = Xpriv::new_master(network, seed).expect("a seed whose master key is valid");
        let coin = u32::from(network != Network::Bitcoin);
        Self { root, coin }
    }

    /// The key that signs for channel number `index` of the `cltv` kind. `index` is below 2^31.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an index out of range.
    pub fn channel_key(&self, index: u32) -> Result<Key, Error> {
        self.hardened(&[PURPOSE, self.coin, 0, index, 0])
    }

    /// Key number `purpose` of `revocable` channel `index`.
    pub(crate) fn revocable_key(&self, index: u32, purpose: u32) -> Result<Key, Error> {
        self.hardened(&[PURPOSE, self.coin, REVOCABLE, index, purpose])
    }

    /// The key of backups that peers keep.
    pub(crate) fn backup_key(&self) -> Result<Key, Error> {
        self.hardened(&[PURPOSE, self.coin, BACKUP, 0, 0])
    }

    /// The operator's node key.
    ///
    /// # Errors
    /// None in practice: the path is fixed and in range.
    pub fn node_key(&self) -> Result<Key, Error> {
        self.hardened(&[PURPOSE, self.coin, NODE, 0, 0])
    }

    /// The BIP 84 receive key number `index`, where change and refunds of channel `index` go.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an index out of range.
    pub fn return_key(&self, index: u32) -> Result<Key, Error> {
        self.derive([hardened(84)?, hardened(self.coin)?, hardened(0)?, normal(0)?, normal(index)?])
    }

    /// The key of BIP 84 account 0, from which a wallet of the same words derives all its addresses.
    ///
    /// # Errors
    /// None in practice: the path is fixed and in range.
    pub fn account(&self) -> Result<Xpriv, Error> {
        let path = [hardened(84)?, hardened(self.coin)?, hardened(0)?];
        self.root.derive_priv(secp(), &path).map_err(|_| underivable())
    }

    /// The P2WPKH script of [`Seed::return_key`].
    ///
    /// # Errors
    /// As [`Seed::return_key`].
    pub fn return_script(&self, index: u32) -> Result<ScriptBuf, Error> {
        let key = CompressedPublicKey(self.return_key(index)?.public());
        Ok(ScriptBuf::new_p2wpkh(&key.wpubkey_hash()))
    }

    fn hardened(&self, path: &[u32; 5]) -> Result<Key, Error> {
        let [a, b, c, d, e] = *path;
        self.derive([hardened(a)?, hardened(b)?, hardened(c)?, hardened(d)?, hardened(e)?])
    }

    fn derive(&self, path: [ChildNumber; 5]) -> Result<Key, Error> {
        self.root.derive_priv(secp(), &path).map(|key| Key(key.private_key)).map_err(|_| underivable())
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.root.private_key.non_secure_erase();
    }
}

/// Twelve fresh recovery words from 16 bytes of entropy.
///
/// # Errors
/// None in practice: 16 bytes are a valid BIP 39 length.
pub fn new_words(entropy: &[u8; 16]) -> Result<String, Error> {
    Mnemonic::from_entropy(entropy).map(|words| words.to_string()).map_err(|_| invalid_words())
}

/// Whether these are valid BIP 39 words; gives them back in canonical spelling (lower case, one space between words).
///
/// # Errors
/// [`Code::InvalidWords`].
pub fn canonical_words(words: &str) -> Result<String, Error> {
    parse_words(words).map(|words| words.to_string())
}

fn parse_words(words: &str) -> Result<Mnemonic, Error> {
    if words.len() > 512 {
        return Err(invalid_words());
    }
    // The words of the list are ASCII.
    Mnemonic::parse_normalized(&words.to_ascii_lowercase()).map_err(|_| invalid_words())
}

const fn invalid_words() -> Error {
    Error::new(Code::InvalidWords, "these are not valid recovery words")
}

fn hardened(index: u32) -> Result<ChildNumber, Error> {
    ChildNumber::from_hardened_idx(index).map_err(|_| out_of_range())
}

fn normal(index: u32) -> Result<ChildNumber, Error> {
    ChildNumber::from_normal_idx(index).map_err(|_| out_of_range())
}

const fn underivable() -> Error {
    Error::new(Code::InvalidArgument, "this key cannot be derived; take the next index")
}

const fn out_of_range() -> Error {
    Error::new(Code::InvalidArgument, "a key index must be below 2^31")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Address;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn return_addresses_are_those_of_bip_84() {
        // BIP-0084, test vectors: first and second receive address.
        let seed = Seed::from_words(WORDS, Network::Bitcoin).unwrap();
        for (index, expected) in
            [(0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"), (1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g")]
        {
            let script = seed.return_script(index).unwrap();
            assert_eq!(Address::from_script(&script, Network::Bitcoin).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn keys_differ_by_channel_role_and_network() {
        let seed = Seed::from_words(WORDS, Network::Bitcoin).unwrap();
        let test = Seed::from_words(WORDS, Network::Regtest).unwrap();
        let keys = [
            seed.channel_key(0).unwrap().public(),
            seed.channel_key(1).unwrap().public(),
            seed.return_key(0).unwrap().public(),
            seed.node_key().unwrap().public(),
            seed.backup_key().unwrap().public(),
            test.channel_key(0).unwrap().public(),
            test.node_key().unwrap().public(),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[n + 1..].contains(key));
        }
    }

    #[test]
    fn channels_and_wallets_share_no_number() {
        assert_eq!([0, 1, 2, 7].map(channel_number), [0, 2, 2, 8]);
        assert_eq!([0, 1, 2, 7].map(wallet_number), [1, 1, 3, 7]);
        // Beyond what can be derived.
        assert!(channel_number(u32::MAX) >= 1 << 31);
    }

    #[test]
    fn words_are_checked_and_made_canonical() {
        assert_eq!(canonical_words(&WORDS.to_uppercase().replace(' ', "  \n")).unwrap(), WORDS);
        for bad in ["", "abandon", &WORDS.replace("about", "above"), &"abandon ".repeat(1000)] {
            assert_eq!(canonical_words(bad).unwrap_err().code(), Code::InvalidWords);
        }
        // Bounded before anything is made of it.
        let padded = |length| format!("{WORDS}{}", " ".repeat(length - WORDS.len()));
        assert_eq!(canonical_words(&padded(512)).unwrap(), WORDS);
        assert_eq!(canonical_words(&padded(513)).unwrap_err().code(), Code::InvalidWords);
        let fresh = new_words(&[7; 16]).unwrap();
        assert_eq!(canonical_words(&fresh).unwrap(), fresh);
        assert!(Seed::from_words(&fresh, Network::Signet).unwrap().channel_key(1 << 31).is_err());
    }
}
