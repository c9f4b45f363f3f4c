//! After the handshake: messages, each with its encrypted length before it (BOLT 8).
//!
//! The two directions are independent and can be parted. A [`Receiver`] takes bytes in pieces of any size, as sockets give
//! them, and gives whole messages.

use bitcoin::secp256k1::PublicKey;

use crate::cipher::{Cipher, TAG};
use crate::error::{Code, Error};

pub use rillpay_wire::MAX_MESSAGE;

/// The bytes of a length and its tag.
const HEADER: usize = 2 + TAG;

/// An established session with a peer whose key is known.
pub struct Session {
    sender: Sender,
    receiver: Receiver,
    remote: PublicKey,
}

impl Session {
    pub(crate) const fn new(ours: Cipher, theirs: Cipher, remote: PublicKey) -> Self {
        Self { sender: Sender { cipher: ours }, receiver: Receiver::new(theirs), remote }
    }

    /// The peer's key, proven by the handshake.
    pub const fn remote(&self) -> PublicKey {
        self.remote
    }

    /// The two directions, to be used from two places.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// As [`Sender::seal`].
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, message: &[u8], stream: &mut Vec<u8>) -> Result<(), Error> {
        self.sender.seal(message, stream)
    }

    /// As [`Receiver::feed`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.receiver.feed(bytes);
    }

    /// As [`Receiver::message`].
    ///
    /// # Errors
    /// As there.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.receiver.message()
    }
}

/// The direction to the peer.
pub struct Sender {
    cipher: Cipher,
}

impl Sender {
    /// Encrypts a message and appends it to what is to be sent. All of it must go out, in this order and once.
    ///
    /// # Errors
    /// [`Code::TooLong`] for a message of more than [`MAX_MESSAGE`] bytes; nothing was appended then.
    pub fn seal(&mut self, message: &[u8], stream: &mut Vec<u8>) -> Result<(), Error> {
        let too_long = Error::new(Code::TooLong, "a message of more than 65535 bytes");
        let mut length = u16::try_from(message.len()).map_err(|_| too_long)?.to_be_bytes();
        let tag = self.cipher.seal(&mut length);
        stream.extend_from_slice(&length);
        stream.extend_from_slice(&tag);
        let start = stream.len();
        stream.extend_from_slice(message);
        let tag = self.cipher.seal(stream.get_mut(start..).unwrap_or_default());
        stream.extend_from_slice(&tag);
        Ok(())
    }
}

/// The direction from the peer.
///
/// Take all messages after each piece that was fed: what is kept is then less than one message.
pub struct Receiver {
    cipher: Cipher,
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that were used.
    used: usize,
    /// The length of the message that follows, once it was read.
    length: Option<u16>,
    broken: Option<Error>,
}

impl Receiver {
    const fn new(cipher: Cipher) -> Self {
        Self { cipher, bytes: Vec::new(), used: 0, length: None, broken: None }
    }

    /// Takes bytes in, as they come from the network.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.bytes.drain(..self.used);
            self.used = 0;
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The next message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Code::Altered`] if the bytes are not what the peer sent. The connection must be closed: every later call gives
    /// the same error.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let message = self.next();
        if let Err(error) = message {
            self.broken = Some(error);
            self.bytes = Vec::new();
            self.used = 0;
        }
        message
    }

    /// Whether the stream may end here: between two messages, not inside of one.
    pub fn is_at_rest(&self) -> bool {
        self.broken.is_none() && self.length.is_none() && self.bytes.len() == self.used
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(header) = self.open(HEADER)? else { return Ok(None) };
                let length = u16::from_be_bytes(header.try_into().map_err(|_| ALTERED)?);
                *self.length.insert(length)
            }
        };
        let message = self.open(usize::from(length).saturating_add(TAG))?;
        if message.is_some() {
            self.length = None;
        }
        Ok(message)
    }

    /// Opens the next `length` bytes, of which the last are the tag, if they are there.
    fn open(&mut self, length: usize) -> Result<Option<Vec<u8>>, Error> {
        let end = self.used.saturating_add(length);
        let Some((text, tag)) =
            self.bytes.get_mut(self.used..end).and_then(|bytes| bytes.split_last_chunk_mut::<TAG>())
        else {
            return Ok(None);
        };
        self.cipher.open(text, tag).ok_or(ALTERED)?;
        self.used = end;
        Ok(Some(text.to_vec()))
    }
}

const ALTERED: Error = Error::new(Code::Altered, "bytes that the peer did not send");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::Secret;
    use bitcoin::secp256k1::SecretKey;
    use proptest::prelude::*;

    fn pair() -> (Sender, Receiver) {
        let cipher = || Cipher::new(Secret::new([1; 32]), Secret::new([2; 32]));
        (Sender { cipher: cipher() }, Receiver::new(cipher()))
    }

    #[test]
    fn keys_change_after_a_thousand_uses_in_each_direction_by_itself() {
        let one = crate::NodeKey::new(SecretKey::from_slice(&[1; 32]).unwrap());
        let mut session = Session::new(
            Cipher::new(Secret::new([1; 32]), Secret::new([2; 32])),
            Cipher::new(Secret::new([1; 32]), Secret::new([3; 32])),
            one.public(),
        );
        let first = Secret::new([2; 32]);
        let mut stream = Vec::new();
        for _ in 0..499 {
            session.seal(b"", &mut stream).unwrap();
        }
        assert_eq!(session.sender.cipher.parts().2, 998);
        assert_eq!(session.sender.cipher.parts().1, &first);
        session.seal(b"", &mut stream).unwrap();
        let (chain, key, number) = session.sender.cipher.parts();
        assert_ne!(key, &first);
        assert_eq!((chain.clone(), key.clone(), number), {
            let (chain, key) = crate::cipher::hkdf(&Secret::new([1; 32]), &[2; 32]);
            (chain, key, 0)
        });
        // The other direction was not used.
        assert_eq!(session.receiver.cipher.parts().2, 0);
    }

    #[test]
    fn lengths_are_limited() {
        let (mut sender, mut receiver) = pair();
        let mut stream = Vec::new();
        assert_eq!(sender.seal(&vec![0; MAX_MESSAGE + 1], &mut stream).unwrap_err().code(), Code::TooLong);
        assert!(stream.is_empty());
        for message in [vec![7; MAX_MESSAGE], Vec::new()] {
            sender.seal(&message, &mut stream).unwrap();
            receiver.feed(&stream);
            stream.clear();
            assert_eq!(receiver.message().unwrap(), Some(message));
            assert!(receiver.is_at_rest());
        }
    }

    #[test]
    fn a_message_left_out_doubled_or_swapped_is_not_accepted() {
        let sealed = || {
            let (mut sender, receiver) = pair();
            let frames = [b"first", b"other"].map(|message| {
                let mut frame = Vec::new();
                sender.seal(message, &mut frame).unwrap();
                frame
            });
            (frames, receiver)
        };
        for order in [&[1][..], &[1, 0], &[0, 0]] {
            let (frames, mut receiver) = sealed();
            let mut outcome = Ok(None);
            for frame in order {
                receiver.feed(&frames[*frame]);
                outcome = receiver.message();
            }
            assert_eq!(outcome.unwrap_err().code(), Code::Altered);
            // It stays broken.
            receiver.feed(&frames[0]);
            assert_eq!(receiver.message().unwrap_err().code(), Code::Altered);
            assert!(!receiver.is_at_rest());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn messages_come_whole_however_the_stream_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            repeat in 1_usize..120,
            pieces in prop::collection::vec(1_usize..90, 1..20),
        ) {
            let (mut sender, mut receiver) = pair();
            let mut stream = Vec::new();
            for _ in 0..repeat {
                for message in &messages {
                    sender.seal(message, &mut stream).unwrap();
                }
            }
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for piece in pieces.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                receiver.feed(now);
                while let Some(message) = receiver.message().unwrap() {
                    got.push(message);
                }
                rest = later;
            }
            prop_assert!(receiver.is_at_rest());
            prop_assert_eq!(got, vec![messages; repeat].concat());
        }

        #[test]
        fn an_altered_byte_is_found_in_the_message_it_is_in(
            count in 1_usize..6, at: prop::sample::Index, change in 1_u8..=255,
        ) {
            let (mut sender, mut receiver) = pair();
            let mut stream = Vec::new();
            for _ in 0..count {
                sender.seal(b"hello", &mut stream).unwrap();
            }
            let at = at.index(stream.len());
            stream[at] ^= change;
            receiver.feed(&stream);
            for _ in 0..at / 39 {
                prop_assert_eq!(receiver.message().unwrap(), Some(b"hello".to_vec()));
            }
            prop_assert_eq!(receiver.message().unwrap_err().code(), Code::Altered);
        }
    }
}
