//! The three acts of `Noise_XK` (BOLT 8).
//!
//! ```text
//!   Initiator ──act_two──> Session            Responder ──act_one──> Answered ──act_three──> Session
//! ```
//!
//! The node's own key can be borrowed, shared or owned. Acts are taken as slices, and one of a wrong length is refused like any other that is wrong.

use std::borrow::Borrow;

use bitcoin::secp256k1::PublicKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, Secret, TAG, hkdf, open, seal};
use crate::error::{Code, Error};
use crate::keys::{EphemeralKey, NodeKey};
use crate::session::Session;

/// The bytes of act one.
pub const ACT_ONE: usize = 50;
/// The bytes of act two.
pub const ACT_TWO: usize = 50;
/// The bytes of act three.
pub const ACT_THREE: usize = 66;

const PROTOCOL: &[u8] = b"Noise_XK_secp256k1_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"lightning";
/// The only version there is.
const VERSION: u8 = 0;

/// What both sides mix everything into: the chaining key, the hash of all that was said, the key for the next tag.
struct Symmetric {
    chain: Secret,
    hash: [u8; 32],
    key: Secret,
}

impl Symmetric {
    fn new(responder: &PublicKey) -> Self {
        let hash: [u8; 32] = Sha256::digest(PROTOCOL).into();
        let mut state = Self { chain: Zeroizing::new(hash), hash, key: Secret::default() };
        state.mix_hash(PROLOGUE);
        state.mix_hash(&responder.serialize());
        state
    }

    fn mix_hash(&mut self, bytes: &[u8]) {
        self.hash = Sha256::new_with_prefix(self.hash).chain_update(bytes).finalize().into();
    }

    fn mix_key(&mut self, shared: &Secret) {
        (self.chain, self.key) = hkdf(&self.chain, &shared[..]);
    }

    /// The tag of an empty text; it becomes part of the hash.
    fn tag(&mut self) -> [u8; TAG] {
        let tag = seal(&self.key, 0, &self.hash, &mut []);
        self.mix_hash(&tag);
        tag
    }

    fn check_tag(&mut self, tag: &[u8; TAG]) -> Option<()> {
        open(&self.key, 0, &self.hash, &mut [], tag)?;
        self.mix_hash(tag);
        Some(())
    }

    /// The two keys of the session: for what the initiator says, and for what the responder says.
    fn split(self) -> (Cipher, Cipher) {
        let (initiator, responder) = hkdf(&self.chain, &[]);
        (Cipher::new(self.chain.clone(), initiator), Cipher::new(self.chain, responder))
    }
}

/// `version || key || tag`: the form of acts one and two.
fn write_point(key: &PublicKey, tag: [u8; TAG]) -> [u8; ACT_ONE] {
    let mut act = [VERSION; ACT_ONE];
    let (point, end) = act.split_at_mut(34);
    if let Some(point) = point.get_mut(1..) {
        point.copy_from_slice(&key.serialize());
    }
    end.copy_from_slice(&tag);
    act
}

/// Splits an act of `1 + N + 16` bytes.
fn parts<const N: usize>(act: &[u8], number: u8) -> Result<([u8; N], [u8; TAG]), Error> {
    let refuse = |code, text| Err(Error::new(code, text).in_act(number));
    let Some((version, rest)) = act.split_first() else {
        return refuse(Code::HandshakeLength, "an act of the handshake is cut");
    };
    match rest.split_first_chunk::<N>() {
        Some((body, tag)) if tag.len() == TAG => {
            if *version != VERSION {
                return refuse(Code::HandshakeVersion, "an unknown version of the handshake");
            }
            let mut bytes = [0; TAG];
            bytes.copy_from_slice(tag);
            Ok((*body, bytes))
        }
        _ => refuse(Code::HandshakeLength, "an act of the handshake is cut or too long"),
    }
}

fn read_point(act: &[u8], number: u8) -> Result<(PublicKey, [u8; TAG]), Error> {
    let (point, tag) = parts::<33>(act, number)?;
    Ok((parse(&point, number)?, tag))
}

fn parse(point: &[u8; 33], number: u8) -> Result<PublicKey, Error> {
    let refused = Error::new(Code::HandshakeKey, "a key in the handshake is no point on the curve").in_act(number);
    PublicKey::from_slice(point).map_err(|_| refused)
}

/// Has said act one and waits for act two.
pub struct Initiator<K> {
    state: Symmetric,
    local: K,
    ephemeral: EphemeralKey,
    remote: PublicKey,
}

impl<K: Borrow<NodeKey>> Initiator<K> {
    /// Calls the node of the key `remote`. Gives act one, to be sent.
    pub fn start(local: K, remote: PublicKey, ephemeral: EphemeralKey) -> (Self, [u8; ACT_ONE]) {
        let mut state = Symmetric::new(&remote);
        let public = ephemeral.public();
        state.mix_hash(&public.serialize());
        state.mix_key(&ephemeral.ecdh(&remote));
        let act_one = write_point(&public, state.tag());
        (Self { state, local, ephemeral, remote }, act_one)
    }

    /// Takes act two in. Gives the session, and act three, which must be sent before anything else.
    ///
    /// # Errors
    /// [`Code::HandshakeRefused`] if the peer has not the key that was called, or somebody stands between;
    /// [`Code::HandshakeVersion`], [`Code::HandshakeLength`], [`Code::HandshakeKey`].
    pub fn act_two(self, act: &[u8]) -> Result<(Session, [u8; ACT_THREE]), Error> {
        let Self { mut state, local, ephemeral, remote } = self;
        let local = local.borrow();
        let (point, tag) = read_point(act, 2)?;
        state.mix_hash(&point.serialize());
        state.mix_key(&ephemeral.ecdh(&point));
        let refused = Error::new(Code::HandshakeRefused, "the peer is not the node that was called").in_act(2);
        state.check_tag(&tag).ok_or(refused)?;

        let mut name = local.public().serialize();
        let name_tag = seal(&state.key, 1, &state.hash, &mut name);
        let mut act_three = [VERSION; ACT_THREE];
        let (body, end) = act_three.split_at_mut(50);
        if let Some((text, tag)) = body.get_mut(1..).and_then(|body| body.split_at_mut_checked(33)) {
            text.copy_from_slice(&name);
            tag.copy_from_slice(&name_tag);
        }
        state.mix_hash(body.get(1..).unwrap_or_default());
        state.mix_key(&local.ecdh(&point));
        end.copy_from_slice(&state.tag());
        let (ours, theirs) = state.split();
        Ok((Session::new(ours, theirs, remote), act_three))
    }
}

/// Waits for act one.
pub struct Responder<K> {
    local: K,
}

impl<K: Borrow<NodeKey>> Responder<K> {
    /// Waits for somebody to call the node of this key.
    pub const fn new(local: K) -> Self {
        Self { local }
    }

    /// Takes act one in. Gives act two, to be sent.
    ///
    /// # Errors
    /// [`Code::HandshakeRefused`] if the peer does not know our key; [`Code::HandshakeVersion`],
    /// [`Code::HandshakeLength`], [`Code::HandshakeKey`].
    pub fn act_one(self, act: &[u8], ephemeral: EphemeralKey) -> Result<(Answered, [u8; ACT_TWO]), Error> {
        let local = self.local.borrow();
        let (point, tag) = read_point(act, 1)?;
        let mut state = Symmetric::new(&local.public());
        state.mix_hash(&point.serialize());
        state.mix_key(&local.ecdh(&point));
        let refused = Error::new(Code::HandshakeRefused, "the peer calls another node").in_act(1);
        state.check_tag(&tag).ok_or(refused)?;

        let public = ephemeral.public();
        state.mix_hash(&public.serialize());
        state.mix_key(&ephemeral.ecdh(&point));
        let act_two = write_point(&public, state.tag());
        Ok((Answered { state, ephemeral }, act_two))
    }
}

/// Has said act two and waits for act three.
pub struct Answered {
    state: Symmetric,
    ephemeral: EphemeralKey,
}

impl Answered {
    /// Takes act three in. The session knows who called.
    ///
    /// # Errors
    /// [`Code::HandshakeRefused`] if the peer has not the key that it names, or somebody stands between;
    /// [`Code::HandshakeVersion`], [`Code::HandshakeLength`], [`Code::HandshakeKey`].
    pub fn act_three(self, act: &[u8]) -> Result<Session, Error> {
        let Self { mut state, ephemeral } = self;
        let (sealed, tag) = parts::<49>(act, 3)?;
        let refused = Error::new(Code::HandshakeRefused, "the peer's key does not authenticate").in_act(3);
        let (text, name_tag) = sealed.split_first_chunk::<33>().ok_or(refused)?;
        let mut name = *text;
        let name_tag = name_tag.try_into().map_err(|_| refused)?;
        open(&state.key, 1, &state.hash, &mut name, name_tag).ok_or(refused)?;
        let remote = parse(&name, 3)?;
        state.mix_hash(&sealed);
        state.mix_key(&ephemeral.ecdh(&remote));
        state.check_tag(&tag).ok_or(refused)?;
        let (theirs, ours) = state.split();
        Ok(Session::new(ours, theirs, remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::SecretKey;
    use proptest::prelude::*;

    fn node(byte: u8) -> NodeKey {
        NodeKey::new(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    fn ephemeral(byte: u8) -> EphemeralKey {
        EphemeralKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn both_sides_learn_who_the_other_is() {
        let (alice, bob) = (node(1), node(2));
        let (initiator, act_one) = Initiator::start(&alice, bob.public(), ephemeral(3));
        let (answered, act_two) = Responder::new(&bob).act_one(&act_one, ephemeral(4)).unwrap();
        let (a, act_three) = initiator.act_two(&act_two).unwrap();
        let b = answered.act_three(&act_three).unwrap();
        assert_eq!((a.remote(), b.remote()), (bob.public(), alice.public()));
    }

    #[test]
    fn whoever_calls_another_key_is_refused() {
        let (alice, bob, carol) = (node(1), node(2), node(5));
        let (_, act_one) = Initiator::start(&alice, carol.public(), ephemeral(3));
        let error = Responder::new(&bob).act_one(&act_one, ephemeral(4)).err().unwrap();
        assert_eq!((error.code(), error.act()), (Code::HandshakeRefused, Some(1)));
        // Somebody between them who has the act, but not the key.
        let (initiator, act_one) = Initiator::start(&alice, bob.public(), ephemeral(3));
        assert!(Responder::new(&carol).act_one(&act_one, ephemeral(4)).is_err());
        let forged = write_point(&ephemeral(6).public(), [0; TAG]);
        let error = initiator.act_two(&forged).err().unwrap();
        assert_eq!((error.code(), error.act()), (Code::HandshakeRefused, Some(2)));
    }

    proptest! {
        #[test]
        fn an_act_with_any_other_byte_is_refused(act in 0_usize..3, at: prop::sample::Index, change in 1_u8..=255) {
            let (alice, bob) = (node(1), node(2));
            let alter = |bytes: &mut [u8], number: usize| if act == number {
                bytes[at.index(bytes.len())] ^= change;
            };
            let (initiator, mut act_one) = Initiator::start(&alice, bob.public(), ephemeral(3));
            alter(&mut act_one, 0);
            let answer = Responder::new(&bob).act_one(&act_one, ephemeral(4));
            prop_assert_eq!(answer.is_err(), act == 0);
            let Ok((answered, mut act_two)) = answer else { return Ok(()) };
            alter(&mut act_two, 1);
            let last = initiator.act_two(&act_two);
            prop_assert_eq!(last.is_err(), act == 1);
            let Ok((_, mut act_three)) = last else { return Ok(()) };
            alter(&mut act_three, 2);
            prop_assert!(answered.act_three(&act_three).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let (alice, bob) = (node(1), node(2));
            prop_assert!(Responder::new(&bob).act_one(&bytes, ephemeral(4)).is_err());
            let (initiator, act_one) = Initiator::start(&alice, bob.public(), ephemeral(3));
            prop_assert!(initiator.act_two(&bytes).is_err());
            let (answered, _) = Responder::new(&bob).act_one(&act_one, ephemeral(4)).unwrap();
            prop_assert!(answered.act_three(&bytes).is_err());
        }
    }
}
