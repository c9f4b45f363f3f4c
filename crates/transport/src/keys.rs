//! Keys, and what the handshake does with them. None of them prints; each is wiped when dropped.

use std::sync::OnceLock;

use bitcoin::secp256k1::ecdh::SharedSecret;
use bitcoin::secp256k1::{All, PublicKey, Secp256k1, SecretKey};
use zeroize::Zeroizing;

use crate::error::{Code, Error};

/// The lasting key of a node: its public key is the node's name.
pub struct NodeKey(SecretKey);

impl NodeKey {
    /// Wraps a secret key. The caller's own copy stays the caller's to wipe.
    pub const fn new(secret: SecretKey) -> Self {
        Self(secret)
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        public(&self.0)
    }

    pub(crate) fn ecdh(&self, point: &PublicKey) -> Zeroizing<[u8; 32]> {
        ecdh(&self.0, point)
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

/// The key of one handshake. It must come from strong randomness and cannot be used twice: there is no copy of it.
pub struct EphemeralKey(SecretKey);

impl EphemeralKey {
    /// From 32 bytes of fresh entropy.
    ///
    /// # Errors
    /// [`Code::InvalidEntropy`] for zero and for numbers beyond the curve's order: less likely than 2^-127, so the device
    /// that gave them is broken.
    pub fn new(entropy: &[u8; 32]) -> Result<Self, Error> {
        let key = SecretKey::from_slice(entropy);
        key.map(Self).map_err(|_| Error::new(Code::InvalidEntropy, "this entropy cannot be a key"))
    }

    pub(crate) fn public(&self) -> PublicKey {
        public(&self.0)
    }

    pub(crate) fn ecdh(&self, point: &PublicKey) -> Zeroizing<[u8; 32]> {
        ecdh(&self.0, point)
    }
}

impl Drop for EphemeralKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

fn public(secret: &SecretKey) -> PublicKey {
    static CONTEXT: OnceLock<Secp256k1<All>> = OnceLock::new();
    secret.public_key(CONTEXT.get_or_init(rillpay_curve::context))
}

/// The SHA-256 of the shared point in compressed form.
fn ecdh(secret: &SecretKey, point: &PublicKey) -> Zeroizing<[u8; 32]> {
    let mut shared = SharedSecret::new(point, secret);
    let bytes = Zeroizing::new(shared.secret_bytes());
    shared.non_secure_erase();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_that_is_no_key_is_refused() {
        for bad in [[0; 32], [0xff; 32]] {
            assert_eq!(EphemeralKey::new(&bad).err().unwrap().code(), Code::InvalidEntropy);
        }
        let (node, ephemeral) = (NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap()), EphemeralKey::new(&[9; 32]));
        let ephemeral = ephemeral.unwrap();
        assert_eq!(node.ecdh(&ephemeral.public()), ephemeral.ecdh(&node.public()));
    }
}
