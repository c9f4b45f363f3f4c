//! One end of a connection in one value: bytes in, bytes out, from act one to the last message.
//!
//! ```text
//!   Calling ──act two──┐
//!                      ├──> Open ──> Failed
//!   Waiting ──act one──> Answered ──act three──┘
//! ```
//!
//! For places without tokio, the browser above all, where bytes come in pieces that mean nothing.

use std::borrow::Borrow;
use std::mem;

use bitcoin::secp256k1::PublicKey;

use crate::error::Error;
use crate::handshake::{ACT_ONE, ACT_THREE, ACT_TWO, Answered, Initiator, Responder};
use crate::keys::{EphemeralKey, NodeKey};
use crate::session::Session;

/// One end of a connection.
pub struct Endpoint<K> {
    state: State<K>,
    /// Bytes of an act that is not whole yet.
    act: Vec<u8>,
    outgoing: Vec<u8>,
}

enum State<K> {
    Calling(Initiator<K>),
    Waiting(Responder<K>, EphemeralKey),
    Answered(Answered),
    Open(Session),
    Failed(Error),
}

impl<K: Borrow<NodeKey>> Endpoint<K> {
    /// Calls the node of the key `remote`.
    pub fn call(local: K, remote: PublicKey, ephemeral: EphemeralKey) -> Self {
        let (initiator, act_one) = Initiator::start(local, remote, ephemeral);
        Self { state: State::Calling(initiator), act: Vec::new(), outgoing: act_one.to_vec() }
    }

    /// Waits for somebody to call.
    pub const fn answer(local: K, ephemeral: EphemeralKey) -> Self {
        let state = State::Waiting(Responder::new(local), ephemeral);
        Self { state, act: Vec::new(), outgoing: Vec::new() }
    }

    /// The peer's key, once the handshake is done.
    pub const fn remote(&self) -> Option<PublicKey> {
        match &self.state {
            State::Open(session) => Some(session.remote()),
            _ => None,
        }
    }

    /// Takes bytes in, in pieces of any size. Then look for messages, and for bytes to send.
    ///
    /// # Errors
    /// As the handshake has them. The connection must be closed: every later call gives the same error.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        loop {
            let length = match &mut self.state {
                State::Open(session) => {
                    session.feed(bytes);
                    return Ok(());
                }
                State::Failed(error) => return Err(*error),
                State::Calling(_) => ACT_TWO,
                State::Waiting(..) => ACT_ONE,
                State::Answered(_) => ACT_THREE,
            };
            let missing = length.saturating_sub(self.act.len());
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.act.extend_from_slice(now);
            bytes = later;
            if self.act.len() < length {
                return Ok(());
            }
            self.step()?;
        }
    }

    /// Takes a whole act in.
    fn step(&mut self) -> Result<(), Error> {
        let act = mem::take(&mut self.act);
        // Whatever was there is used up; if it does not lead on, this is how it ended.
        let state = mem::replace(&mut self.state, State::Failed(UNFINISHED));
        let next = match state {
            State::Calling(initiator) => initiator.act_two(&act).map(|(session, act_three)| {
                self.outgoing.extend_from_slice(&act_three);
                State::Open(session)
            }),
            State::Waiting(responder, ephemeral) => responder.act_one(&act, ephemeral).map(|(answered, act_two)| {
                self.outgoing.extend_from_slice(&act_two);
                State::Answered(answered)
            }),
            State::Answered(answered) => answered.act_three(&act).map(State::Open),
            done => Ok(done),
        };
        if next.is_err() {
            self.outgoing.clear();
        }
        self.state = next.unwrap_or_else(State::Failed);
        match self.state {
            State::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The next message from the peer, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Code::Altered`](crate::Code::Altered); or that with which the handshake failed.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match &mut self.state {
            State::Open(session) => session.message(),
            State::Failed(error) => Err(*error),
            _ => Ok(None),
        }
    }

    /// Queues a message for the peer; it leaves with [`Endpoint::outgoing`].
    ///
    /// # Errors
    /// [`Code::TooLong`](crate::Code::TooLong); [`Code::NotOpen`](crate::Code::NotOpen) before the handshake is done.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        match &mut self.state {
            State::Open(session) => session.seal(message, &mut self.outgoing),
            State::Failed(error) => Err(*error),
            _ => Err(UNFINISHED),
        }
    }

    /// What is to be sent now, once and in this order.
    #[must_use]
    pub fn outgoing(&mut self) -> Vec<u8> {
        mem::take(&mut self.outgoing)
    }
}

const UNFINISHED: Error = Error::new(crate::Code::NotOpen, "the handshake is not done");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use bitcoin::secp256k1::SecretKey;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn node(byte: u8) -> Arc<NodeKey> {
        Arc::new(NodeKey::new(SecretKey::from_slice(&[byte; 32]).unwrap()))
    }

    fn ephemeral(byte: u8) -> EphemeralKey {
        EphemeralKey::new(&[byte; 32]).unwrap()
    }

    fn pair() -> [Endpoint<Arc<NodeKey>>; 2] {
        let bob = node(2);
        [Endpoint::call(node(1), bob.public(), ephemeral(3)), Endpoint::answer(bob, ephemeral(4))]
    }

    /// Carries what waits from one end to the other, in pieces.
    fn carry(from: &mut Endpoint<Arc<NodeKey>>, to: &mut Endpoint<Arc<NodeKey>>, piece: usize) -> Result<(), Error> {
        from.outgoing().chunks(piece).try_for_each(|piece| to.feed(piece))
    }

    #[test]
    fn nothing_is_sent_before_the_handshake_is_done() {
        let [mut alice, mut bob] = pair();
        assert_eq!(alice.send(b"hello").unwrap_err().code(), Code::NotOpen);
        assert_eq!((alice.message(), alice.remote()), (Ok(None), None));
        carry(&mut alice, &mut bob, 50).unwrap();
        assert_eq!(bob.send(b"hello").unwrap_err().code(), Code::NotOpen);
        carry(&mut bob, &mut alice, 50).unwrap();
        // Act three and a message leave together.
        alice.send(b"hello").unwrap();
        assert_eq!(alice.send(&vec![0; 65536]).unwrap_err().code(), Code::TooLong);
        carry(&mut alice, &mut bob, 1000).unwrap();
        assert_eq!(bob.message(), Ok(Some(b"hello".to_vec())));
        assert_eq!(bob.remote(), Some(node(1).public()));
        assert_eq!(alice.remote(), Some(node(2).public()));
    }

    #[test]
    fn a_failed_handshake_stays_failed_and_says_nothing() {
        let [mut alice, mut bob] = pair();
        let mut act_one = alice.outgoing();
        act_one[40] ^= 1;
        assert_eq!(bob.feed(&act_one).unwrap_err().code(), Code::HandshakeRefused);
        act_one[40] ^= 1;
        assert_eq!(bob.feed(&act_one).unwrap_err().code(), Code::HandshakeRefused);
        assert_eq!(bob.message().unwrap_err().code(), Code::HandshakeRefused);
        assert_eq!(bob.send(b"").unwrap_err().code(), Code::HandshakeRefused);
        assert!(bob.outgoing().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pieces_of_any_size_make_the_same_connection(piece in 1_usize..200, count in 1_usize..1200) {
            let [mut alice, mut bob] = pair();
            carry(&mut alice, &mut bob, piece).unwrap();
            carry(&mut bob, &mut alice, piece).unwrap();
            for n in 0..count {
                alice.send(&n.to_be_bytes()).unwrap();
            }
            let mut heard = Vec::new();
            for piece in alice.outgoing().chunks(piece) {
                bob.feed(piece).unwrap();
                while let Some(message) = bob.message().unwrap() {
                    heard.push(message);
                }
            }
            prop_assert_eq!(heard, (0..count).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_end_in_an_error_or_in_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200), first: bool) {
            let mut end = { let [alice, bob] = pair(); if first { alice } else { bob } };
            let _ = end.feed(&bytes);
            prop_assert!(end.remote().is_none() && !matches!(end.message(), Ok(Some(_))));
        }
    }
}
