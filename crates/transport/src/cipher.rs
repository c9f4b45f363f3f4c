//! The primitives: authenticated encryption, key derivation, and keys that change as they are used.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A symmetric key, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// The bytes that authenticate a ciphertext.
pub(crate) const TAG: usize = 16;

/// How many times a key is used before it changes.
const USES: u64 = 1000;

/// RFC 8439's nonce: 32 zero bits, then the number, little-endian as in Noise.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    let [_, _, _, _, end @ ..] = &mut nonce;
    *end = number.to_le_bytes();
    nonce.into()
}

fn aead(key: &Secret) -> ChaCha20Poly1305 {
    let key: &[u8; 32] = key;
    ChaCha20Poly1305::new(<&Key>::from(key))
}

/// Encrypts `text` where it stands and gives its tag.
pub(crate) fn seal(key: &Secret, number: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG] {
    let tag = aead(key).encrypt_inout_detached(&nonce(number), associated, text.into());
    #[expect(clippy::expect_used, reason = "fails for 256 GiB of text only")]
    tag.expect("a text within the cipher's limit").into()
}

/// Decrypts `text` where it stands; `None`, and the text untouched, if it does not authenticate.
#[must_use]
pub(crate) fn open(key: &Secret, number: u64, associated: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> Option<()> {
    aead(key).decrypt_inout_detached(&nonce(number), associated, text.into(), &Tag::from(*tag)).ok()
}

/// Two keys from one: BOLT 8's `HKDF(salt, ikm)`, RFC 5869 with an empty `info`.
pub(crate) fn hkdf(salt: &Secret, input: &[u8]) -> (Secret, Secret) {
    let mut bytes = Zeroizing::new([0; 64]);
    let derived = Hkdf::<Sha256>::new(Some(&salt[..]), input).expand(&[], &mut bytes[..]);
    #[expect(clippy::expect_used, reason = "fails for more than 8160 bytes only")]
    derived.expect("64 bytes are within HKDF's limit");
    let mut keys = (Secret::default(), Secret::default());
    let (first, second) = bytes.split_at(32);
    keys.0.copy_from_slice(first);
    keys.1.copy_from_slice(second);
    keys
}

/// One direction of a session: a key, the number of its next use, and the chain that its successor comes from.
pub(crate) struct Cipher {
    chain: Secret,
    key: Secret,
    number: u64,
}

impl Cipher {
    pub(crate) const fn new(chain: Secret, key: Secret) -> Self {
        Self { chain, key, number: 0 }
    }

    pub(crate) fn seal(&mut self, text: &mut [u8]) -> [u8; TAG] {
        let tag = seal(&self.key, self.number, &[], text);
        self.step();
        tag
    }

    /// As [`open`]; a text that does not authenticate uses nothing up.
    #[must_use]
    pub(crate) fn open(&mut self, text: &mut [u8], tag: &[u8; TAG]) -> Option<()> {
        open(&self.key, self.number, &[], text, tag)?;
        self.step();
        Some(())
    }

    fn step(&mut self) {
        // At most `USES`, so that it cannot overflow.
        self.number = self.number.saturating_add(1);
        if self.number == USES {
            (self.chain, self.key) = hkdf(&self.chain, &self.key[..]);
            self.number = 0;
        }
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&Secret, &Secret, u64) {
        (&self.chain, &self.key, self.number)
    }
}
