//! Onions of payments (BOLT 4), as far as a node needs them that neither takes nor forwards payments: what is in them for it, and the
//! answer to it, which nobody but the payment's origin can read.

use bitcoin::hashes::cmp::fixed_time_eq;
use bitcoin::hashes::hmac::{Hmac, HmacEngine};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::PublicKey;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, Key, Nonce};
use rillpay_wire::Reader;
use rillpay_wire::types::OnionPacket;
use zeroize::Zeroizing;

use crate::cipher::Secret;
use crate::keys::NodeKey;

/// The bytes in which the hops' payloads are.
const HOPS: usize = 1300;
/// The bytes of an HMAC.
const HMAC: usize = 32;
/// Of an answer, what is said and what pads it have so many bytes together.
const ANSWER: usize = 256;

/// Flags of a failure code: the onion cannot be read, and the failure is there to stay.
const BADONION: u16 = 0x8000;
const PERM: u16 = 0x4000;
const UNKNOWN_NEXT_PEER: u16 = PERM | 10;
const INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS: u16 = PERM | 15;
const INVALID_ONION_PAYLOAD: u16 = PERM | 22;

/// Why an onion cannot be read. Nothing can be told to its origin then: whoever handed it over is told the [code](Self::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// `invalid_onion_version`.
    Version,
    /// `invalid_onion_hmac`: altered on its way, for another payment, or for another node.
    Hmac,
    /// `invalid_onion_key`.
    Key,
}

impl Unreadable {
    /// The failure code for `update_fail_malformed_htlc`.
    pub const fn code(self) -> u16 {
        BADONION
            | PERM
            | match self {
                Self::Version => 4,
                Self::Hmac => 5,
                Self::Key => 6,
            }
    }
}

/// An onion that was made for this node and this payment. It has its origin's secret, so it never prints.
pub struct Peeled {
    shared: Secret,
    /// The payloads, of which this node can read its own only.
    hops: Zeroizing<[u8; HOPS]>,
}

impl Peeled {
    /// Takes off the layer that is for `node`.
    ///
    /// # Errors
    /// [`Unreadable`], the first of BOLT 4's reasons that holds.
    pub fn new(node: &NodeKey, onion: &OnionPacket, payment_hash: &sha256::Hash) -> Result<Self, Unreadable> {
        let (head, authenticated) = onion.0.split_at(1 + 33);
        let (hops, hmac) = authenticated.split_at(HOPS);
        let [version, key @ ..] = head else { return Err(Unreadable::Version) };
        if *version != 0 {
            return Err(Unreadable::Version);
        }
        let key = PublicKey::from_slice(key).map_err(|_| Unreadable::Key)?;
        let shared = node.ecdh(&key);
        let mut engine = hmac_engine(&derive(b"mu", &shared)[..]);
        engine.input(hops);
        engine.input(payment_hash.as_byte_array());
        if !fixed_time_eq(Hmac::<sha256::Hash>::from_engine(engine).as_byte_array(), hmac) {
            return Err(Unreadable::Hmac);
        }
        let mut readable = Zeroizing::new([0; HOPS]);
        readable.copy_from_slice(hops);
        apply(&derive(b"rho", &shared), &mut readable[..]);
        Ok(Self { shared, hops: readable })
    }

    /// The payload for this node, a TLV stream that is not looked into here, and whether the payment ends here. `None` if what is
    /// there is none.
    pub fn payload(&self) -> Option<(&[u8], bool)> {
        let mut reader = Reader::new(&self.hops[..]);
        let length = usize::try_from(reader.big_size().ok()?).ok()?;
        let payload = reader.take(length).ok()?;
        let next: [u8; HMAC] = reader.array().ok()?;
        // Zero was once said for payloads of another kind, and one is kept for later.
        (payload.len() > 1).then_some((payload, next == [0; HMAC]))
    }

    /// What a node says that has asked for no payment, and knows nobody to forward one to: the reason for `update_fail_htlc`.
    /// `amount` is the HTLC's in millisatoshi, `height` that of the best block.
    pub fn refuse(&self, amount: u64, height: u32) -> Vec<u8> {
        let mut message = Vec::new();
        match self.payload() {
            Some((_, true)) => {
                message.extend(INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS.to_be_bytes());
                message.extend(amount.to_be_bytes());
                message.extend(height.to_be_bytes());
            }
            Some((_, false)) => message.extend(UNKNOWN_NEXT_PEER.to_be_bytes()),
            None => {
                message.extend(INVALID_ONION_PAYLOAD.to_be_bytes());
                // Which record, and at which byte: none.
                message.extend([0; 3]);
            }
        }
        self.answer(&message)
    }

    /// Encrypts a failure message, of which 256 bytes have room, for the payment's origin.
    pub fn answer(&self, message: &[u8]) -> Vec<u8> {
        let said = message.get(..ANSWER).unwrap_or(message);
        let padding = vec![0; ANSWER.saturating_sub(said.len())];
        let mut text = Vec::with_capacity(2 + 2 + ANSWER);
        for part in [said, &padding] {
            text.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            text.extend(part);
        }
        let mut engine = hmac_engine(&derive(b"um", &self.shared)[..]);
        engine.input(&text);
        let mut packet = Hmac::<sha256::Hash>::from_engine(engine).to_byte_array().to_vec();
        packet.extend(text);
        apply(&derive(b"ammag", &self.shared), &mut packet);
        packet
    }
}

fn hmac_engine(key: &[u8]) -> HmacEngine<sha256::Hash> {
    HmacEngine::new(key)
}

/// A key of this kind from a shared secret.
fn derive(kind: &[u8], shared: &Secret) -> Secret {
    let mut engine = hmac_engine(kind);
    engine.input(&shared[..]);
    Zeroizing::new(Hmac::<sha256::Hash>::from_engine(engine).to_byte_array())
}

/// Encrypts or decrypts with the stream of this key, which is used once.
fn apply(key: &Secret, text: &mut [u8]) {
    let key: &[u8; 32] = key;
    ChaCha20::new(<&Key>::from(key), &Nonce::default()).apply_keystream(text);
}

#[cfg(test)]
mod tests {
    use bitcoin::secp256k1::SecretKey;

    use super::*;
    use crate::keys::EphemeralKey;

    fn hash() -> sha256::Hash {
        sha256::Hash::hash(b"preimage")
    }

    fn node() -> NodeKey {
        NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap())
    }

    /// An onion for [`node`] in which its origin has put this first.
    fn onion(begins: &[u8]) -> OnionPacket {
        let ephemeral = EphemeralKey::new(&[9; 32]).unwrap();
        let shared = ephemeral.ecdh(&node().public());
        let mut hops = [0; HOPS];
        hops[..begins.len()].copy_from_slice(begins);
        apply(&derive(b"rho", &shared), &mut hops);
        let mut engine = hmac_engine(&derive(b"mu", &shared)[..]);
        engine.input(&hops);
        engine.input(hash().as_byte_array());
        let hmac = Hmac::<sha256::Hash>::from_engine(engine).to_byte_array();
        let packet = [&[0][..], &ephemeral.public().serialize(), &hops, &hmac].concat();
        OnionPacket(Box::new(packet.try_into().unwrap()))
    }

    fn peeled(begins: &[u8]) -> Peeled {
        Peeled::new(&node(), &onion(begins), &hash()).unwrap()
    }

    #[test]
    fn what_is_no_payload_is_none() {
        // 1300 bytes, less the HMAC and three for the length.
        let longest: u16 = 1300 - 32 - 3;
        let lengths = |length: u16| [&[0xfd][..], &length.to_be_bytes()].concat();
        for none in [&[0][..], &[1], &lengths(longest + 1), &lengths(0xffff), &lengths(252), &[0xff; 9]] {
            assert_eq!(peeled(none).payload(), None, "{none:?}");
        }
        assert_eq!(peeled(&[2, 5, 6]).payload(), Some((&[5, 6][..], true)));
        assert_eq!(peeled(&lengths(longest)).payload(), Some((&[0; 1265][..], true)));
        let next = [&[2, 5, 6][..], &[1; 32]].concat();
        assert_eq!(peeled(&next).payload(), Some((&[5, 6][..], false)));
    }

    /// What the origin reads in an answer.
    fn read(peeled: &Peeled, mut answer: Vec<u8>) -> Vec<u8> {
        apply(&derive(b"ammag", &peeled.shared), &mut answer);
        let (hmac, text) = answer.split_at(HMAC);
        let mut engine = hmac_engine(&derive(b"um", &peeled.shared)[..]);
        engine.input(text);
        assert_eq!(Hmac::<sha256::Hash>::from_engine(engine).as_byte_array(), hmac);
        let length = usize::from(u16::from_be_bytes([text[0], text[1]]));
        text[2..2 + length].to_vec()
    }

    #[test]
    fn a_refusal_says_what_bolt_4_wants_said() {
        let next = [&[2, 5, 6][..], &[1; 32]].concat();
        let ends = [&[0x40, 15][..], &1_000_u64.to_be_bytes(), &700_u32.to_be_bytes()].concat();
        for (begins, said) in [(&[2, 5, 6][..], &ends[..]), (&next, &[0x40, 10]), (&[0], &[0x40, 22, 0, 0, 0])] {
            let peeled = peeled(begins);
            let answer = peeled.refuse(1_000, 700);
            assert_eq!(answer.len(), 292);
            assert_eq!(read(&peeled, answer), said);
        }
        // More has no room.
        let peeled = peeled(&[2, 5, 6]);
        assert_eq!(read(&peeled, peeled.answer(&[8; 300])), [8; 256]);
    }
}
