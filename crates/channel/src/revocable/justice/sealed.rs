//! A kit that nobody can read before the commitment is broadcast.
//!
//! Whoever keeps it sees a [`Hint`], which says which transaction to wait for, and bytes that this transaction's id opens.
//! Before that they learn how many states a channel has had, and about how many payments were under way in each; after it they
//! learn about this one state. This is how LND's watchtowers have it, in a format of our own (docs/lightning.md):
//!
//! ```text
//! hint   = first 16 bytes of SHA256(txid)
//! key    = SHA256(txid || txid)
//! nonce  = first 12 bytes of SHA256(kit)
//! sealed = nonce || ChaCha20-Poly1305(key, nonce, kit)
//! ```
//!
//! A key serves one commitment. The nonce follows from what is sealed, so that the same kit sealed again gives the same bytes,
//! and another kit for the same commitment uses another nonce.

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{Transaction, Txid};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};

use crate::codec::malformed;
use crate::error::{Code, Error};
use crate::revocable::justice::Kit;

const NONCE: usize = 12;
const TAG: usize = 16;

/// Which transaction a sealed kit waits for. It does not tell the transaction's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hint(pub [u8; 16]);

impl Hint {
    /// That of a kit against the commitment with this id.
    pub fn of(commitment: &Txid) -> Self {
        let mut hint = [0; 16];
        hint.iter_mut()
            .zip(sha256::Hash::hash(commitment.as_byte_array()).to_byte_array())
            .for_each(|(to, from)| *to = from);
        Self(hint)
    }
}

fn cipher(commitment: &Txid) -> ChaCha20Poly1305 {
    let mut engine = sha256::Hash::engine();
    engine.input(commitment.as_byte_array());
    engine.input(commitment.as_byte_array());
    ChaCha20Poly1305::new(&Key::from(sha256::Hash::from_engine(engine).to_byte_array()))
}

impl Kit {
    /// Its bytes, for whoever has seen the commitment.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], for a kit of many gigabytes only.
    pub fn seal(&self) -> Result<Vec<u8>, Error> {
        let kit = self.encode();
        let mut nonce = [0; NONCE];
        nonce.iter_mut().zip(sha256::Hash::hash(&kit).to_byte_array()).for_each(|(to, from)| *to = from);
        let mut sealed = [&nonce[..], &kit].concat();
        let (_, text) = sealed.split_at_mut(NONCE);
        let tag = cipher(&self.commitment()).encrypt_inout_detached(&Nonce::from(nonce), &[], text.into());
        let tag = tag.map_err(|_| Error::new(Code::InvalidArgument, "too long to be sealed"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// The kit from its sealed bytes, and the commitment that was broadcast; checked in full: it takes outputs of this
    /// transaction, and its signatures are good.
    ///
    /// # Errors
    /// [`Code::MalformedMessage`] for bytes that this transaction does not open, or that are no kit against it; as
    /// [`Kit::verify`].
    pub fn open(sealed: &[u8], commitment: &Transaction) -> Result<Self, Error> {
        let short = || malformed("too short for a sealed kit");
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or_else(short)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or_else(short)?;
        let (txid, mut kit) = (commitment.compute_txid(), text.to_vec());
        let opened =
            cipher(&txid).decrypt_inout_detached(&Nonce::from(*nonce), &[], (&mut kit[..]).into(), &Tag::from(*tag));
        opened.map_err(|_| malformed("this transaction does not open it"))?;
        let kit = Self::decode(&kit)?;
        let is_there = |entry: &super::Entry| {
            let output = usize::try_from(entry.outpoint.vout).ok().and_then(|vout| commitment.output.get(vout));
            output.is_some_and(|output| output.value == entry.value && output.script_pubkey == entry.script.to_p2wsh())
        };
        if kit.commitment() != txid || kit.entries.iter().any(|entry| entry.outpoint.txid == txid && !is_there(entry)) {
            return Err(malformed("a kit against another transaction"));
        }
        kit.verify()?;
        Ok(kit)
    }
}
