//! The one curve context of the process, and tagged hashes that keep one kind of signature from passing as another.

use std::sync::OnceLock;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey, ecdsa::Signature};
use rillpay_curve::context;

use crate::error::{Code, Error, refuse};

static CONTEXT: OnceLock<Secp256k1<All>> = OnceLock::new();

/// The shared context; blinded when [`randomize`] came first.
pub fn secp() -> &'static Secp256k1<All> {
    CONTEXT.get_or_init(context)
}

/// Blinds the context with 32 bytes of entropy against side channels. Only the first call, before any other use, has effect.
pub fn randomize(entropy: &[u8; 32]) {
    CONTEXT.get_or_init(|| {
        let mut context = context();
        context.seeded_randomize(entropy);
        context
    });
}

/// What a tagged signature is for. The tag is hashed in (as BIP 340 does), so that a signature made for one purpose is
/// worthless for any other and for a Bitcoin transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Names a channel by its parameters.
    ChannelId,
    /// The node stands by the parameters of a channel.
    Open,
    /// The payer proves to a session that the channel is its own.
    Attach,
    /// The payer asks for the channel of its key.
    Recover,
    /// The node states the final amount.
    Statement,
}

impl Purpose {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::ChannelId => b"rillpay/1/channel",
            Self::Open => b"rillpay/1/open",
            Self::Attach => b"rillpay/1/attach",
            Self::Recover => b"rillpay/1/recover",
            Self::Statement => b"rillpay/1/statement",
        }
    }

    /// `SHA256(SHA256(tag) || SHA256(tag) || parts...)`.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> [u8; 32] {
        let tag = sha256::Hash::hash(self.tag());
        let mut engine = sha256::Hash::engine();
        engine.input(tag.as_byte_array());
        engine.input(tag.as_byte_array());
        for part in parts {
            engine.input(part);
        }
        sha256::Hash::from_engine(engine).to_byte_array()
    }

    pub(crate) fn sign(self, key: &SecretKey, parts: &[&[u8]]) -> Signature {
        secp().sign_ecdsa(&Message::from_digest(self.hash(parts)), key)
    }

    pub(crate) fn verify(self, key: &PublicKey, signature: &Signature, parts: &[&[u8]]) -> Result<(), Error> {
        verify(&Message::from_digest(self.hash(parts)), signature, key)
    }
}

/// Verifies a signature and tells a high-S one, which others could alter, from one that is wrong.
pub(crate) fn verify(message: &Message, signature: &Signature, key: &PublicKey) -> Result<(), Error> {
    if secp().verify_ecdsa(message, signature, key).is_ok() {
        return Ok(());
    }
    // libsecp256k1 accepts low S only: this second look is taken just for the error's sake.
    let mut normal = *signature;
    normal.normalize_s();
    if normal != *signature {
        return refuse(Code::HighS, "the signature has a high S value");
    }
    refuse(Code::InvalidSignature, "the signature does not verify")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_context() {
        assert!(std::ptr::eq(secp(), secp()));
    }

    /// The tags of docs/protocol.md, section 1.
    #[test]
    fn each_purpose_hashes_its_own_tag_in() {
        let sha256 = |parts: &[&[u8]]| sha256::Hash::hash(&parts.concat()).to_byte_array();
        for (purpose, tag) in [
            (Purpose::ChannelId, "rillpay/1/channel"),
            (Purpose::Open, "rillpay/1/open"),
            (Purpose::Attach, "rillpay/1/attach"),
            (Purpose::Recover, "rillpay/1/recover"),
            (Purpose::Statement, "rillpay/1/statement"),
        ] {
            let tag = sha256(&[tag.as_bytes()]);
            assert_eq!(purpose.hash(&[b"one", b"two"]), sha256(&[&tag, &tag, b"onetwo"]), "{purpose:?}");
        }
    }
}
