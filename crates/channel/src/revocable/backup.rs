//! What peers keep for a holder, encrypted (BOLT 1, "Peer storage"): with it and the recovery words alone the money in
//! channels comes home.
//!
//! ```text
//!  blob, always 65531 bytes:  nonce | encrypted: channels, peers' addresses, numbers of keys | zeros | tag
//! ```
//!
//! **What it holds.** The whole state of each channel, as the store has it ([`crate::revocable::holder::Event::Held`]): two
//! kilobytes where nothing is under way. A channel whose state is current can then be closed by agreement; and with the
//! counterparty's secrets in it, a counterparty that takes the loss for a chance to cheat is punished. Where all of them together do
//! not fit, the longest are shortened to what never changes ([`Holder::forget`]): such a one is an old copy, for which the
//! counterparty has to close.
//!
//! **What it does not hold.** The payments that were under way in revoked commitments, which grow without end: of a cheat with an
//! old state that had some, the two balances are taken, its payments are not.
//!
//! **It can always be old.** Nobody can make a peer give back the newest one. So what is restored from it is a copy
//! ([`Holder::restore`]), which never broadcasts. Several peers keep one each, with all channels in it: of a channel the state of
//! the highest version counts.
//!
//! The key is one of the recovery words' own, the cipher XChaCha20-Poly1305, whose nonces are long enough to be random.

use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error, refuse};
use crate::keys::{Key, Seed};
use crate::params::network_byte;
use crate::revocable::holder::Holder;

/// The bytes of a blob: as many as BOLT 1 allows, whatever is in it.
pub const SIZE: usize = 65_531;
/// The format of what is encrypted.
const FORMAT: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
/// What there is room for.
const ROOM: usize = SIZE - NONCE - TAG;
/// More channels, or peers, than have room.
const MAX_ENTRIES: usize = 1_000;
/// The longest address of a peer that is kept.
const MAX_ADDRESS: u8 = u8::MAX;

/// Encrypts and decrypts the backups of whoever has the recovery words.
pub struct BackupKey(Key);

impl BackupKey {
    /// `m/12065'/coin'/254'/0'/0'`.
    ///
    /// # Errors
    /// None in practice: the path is fixed and in range.
    pub fn from_seed(seed: &Seed) -> Result<Self, Error> {
        seed.backup_key().map(Self)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.secret().secret_bytes().into())
    }
}

/// A channel as it was once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelCopy {
    /// The number of its keys ([`crate::revocable::BaseKeys::from_seed`]).
    pub index: u32,
    /// The counterparty's node key.
    pub peer: PublicKey,
    /// A height before its funding.
    pub since: u32,
    /// How often it had changed: of two copies the one with more is the newer.
    pub version: u64,
    /// [`crate::revocable::holder::Event::Held`]. To be given to [`Holder::restore`] before anything is done with it.
    pub held: Vec<u8>,
}

/// Everything that one with nothing left but the recovery words has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The first number that no channel's keys have had.
    pub next_index: u32,
    /// The height from which on the wallet's coins are looked for.
    pub since: u32,
    /// Where peers are, `<host>:<port>`.
    pub peers: Vec<(PublicKey, String)>,
    /// The channels that the chain can still change.
    pub channels: Vec<ChannelCopy>,
}

/// A backup for a peer to keep.
pub struct Sealed {
    /// [`SIZE`] bytes.
    pub blob: Vec<u8>,
    /// How many channels there was no room for, the smallest of all. They are not safe.
    pub left_out: usize,
}

impl Backup {
    /// Makes it fit, pads and encrypts it. `nonce`: 24 random bytes, which serve nothing else.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] for a channel that cannot be read, where it has to be shortened.
    pub fn seal(mut self, key: &BackupKey, network: Network, nonce: [u8; NONCE]) -> Result<Sealed, Error> {
        let left_out = self.fit()?;
        let mut text = self.encode(network);
        text.resize(ROOM, 0);
        let tag = key.cipher().encrypt_inout_detached(&XNonce::from(nonce), &[], text.as_mut_slice().into());
        let tag = tag.map_err(|_| Error::new(Code::InvalidArgument, "too long to be encrypted"))?;
        Ok(Sealed { blob: [&nonce[..], &text, &tag[..]].concat(), left_out })
    }

    /// Reads what a peer gave back.
    ///
    /// # Errors
    /// [`Code::MalformedMessage`] for anything that was not made with this key, [`Code::WrongNetwork`].
    pub fn open(blob: &[u8], key: &BackupKey, network: Network) -> Result<Self, Error> {
        let none = || malformed("this is no backup of ours");
        let (nonce, rest) = blob.split_first_chunk::<NONCE>().ok_or_else(none)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().filter(|(text, _)| text.len() == ROOM).ok_or_else(none)?;
        let mut text = text.to_vec();
        let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
        let opened = key.cipher().decrypt_inout_detached(&nonce, &[], text.as_mut_slice().into(), &tag);
        opened.map_err(|_| none())?;
        Self::decode(&text, network)
    }

    /// Shortens and leaves out until there is room; how many channels were left out.
    fn fit(&mut self) -> Result<usize, Error> {
        let before = self.channels.len();
        // Peers without a channel cost nothing if they are lost.
        self.peers.retain(|(peer, _)| self.channels.iter().any(|channel| channel.peer == *peer));
        self.peers.retain(|(_, address)| address.len() <= MAX_ADDRESS.into());
        if self.size() > ROOM {
            self.channels.sort_by_key(|channel| channel.held.len());
        }
        for at in (0..before).rev() {
            if self.size() <= ROOM {
                break;
            }
            if let Some(channel) = self.channels.get_mut(at) {
                channel.held = Holder::forget(&channel.held)?;
            }
        }
        if self.size() > ROOM {
            let capacity = |channel: &ChannelCopy| Some(Holder::load(&channel.held).ok()?.channel().funding.capacity);
            self.channels.sort_by_cached_key(|channel| std::cmp::Reverse(capacity(channel)));
        }
        while self.size() > ROOM && self.channels.pop().is_some() {}
        Ok(before.saturating_sub(self.channels.len()))
    }

    /// How many bytes it takes.
    fn size(&self) -> usize {
        let peers = self.peers.iter().map(|(_, address)| address.len().saturating_add(PEER));
        let channels = self.channels.iter().map(|channel| channel.held.len().saturating_add(CHANNEL));
        peers.chain(channels).fold(FRAME, usize::saturating_add)
    }

    fn encode(&self, network: Network) -> Vec<u8> {
        let mut w = Writer::with_capacity(ROOM);
        w.u8(FORMAT).u8(network_byte(network)).u32(self.next_index).u32(self.since);
        w.list(self.peers.iter(), |w, (peer, address)| {
            w.key(peer).text(address, MAX_ADDRESS);
        });
        w.list(self.channels.iter(), |w, ChannelCopy { index, peer, since, version, held }| {
            w.u32(*index).key(peer).u32(*since).u64(*version);
            w.u16(u16::try_from(held.len()).unwrap_or(u16::MAX)).raw(held);
        });
        w.finish()
    }

    fn decode(text: &[u8], network: Network) -> Result<Self, Error> {
        let mut r = Reader::new(text);
        if r.u8()? != FORMAT {
            return Err(malformed("an unknown format of backups"));
        }
        if r.u8()? != network_byte(network) {
            return refuse(Code::WrongNetwork, "a backup of channels on another network");
        }
        let (next_index, since) = (r.u32()?, r.u32()?);
        let peers = r.list(MAX_ENTRIES, |r| Ok((r.key()?, r.text(MAX_ADDRESS)?)))?;
        let channels = r.list(MAX_ENTRIES, |r| {
            let (index, peer, since, version, length) = (r.u32()?, r.key()?, r.u32()?, r.u64()?, r.u16()?);
            Ok(ChannelCopy { index, peer, since, version, held: r.take(length.into())?.to_vec() })
        })?;
        if r.rest().iter().any(|byte| *byte != 0) {
            return Err(malformed("bytes after the end"));
        }
        Ok(Self { next_index, since, peers, channels })
    }
}

/// The bytes of a backup of nothing.
const FRAME: usize = 1 + 1 + 4 + 4 + 2 + 2;
/// Those of a peer, but for its address.
const PEER: usize = 33 + 1;
/// Those of a channel, but for its state.
const CHANNEL: usize = 4 + 33 + 4 + 8 + 2;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::revocable::testing::key as some_key;

    const NETWORK: Network = Network::Regtest;

    fn key(seed: u8) -> BackupKey {
        BackupKey::from_seed(&Seed::from_bip39_seed(&[seed; 64], NETWORK)).unwrap()
    }

    fn backup() -> Backup {
        let peer = some_key(3).public();
        let channel = ChannelCopy { index: 7, peer, since: 100, version: 1_000_000, held: vec![1, 2, 3] };
        Backup {
            next_index: 8,
            since: 90,
            peers: vec![(peer, "irene.example:9735".to_owned())],
            channels: vec![channel],
        }
    }

    fn sealed(backup: &Backup, nonce: u8) -> Vec<u8> {
        let sealed = backup.clone().seal(&key(1), NETWORK, [nonce; 24]).unwrap();
        assert_eq!(sealed.left_out, 0);
        sealed.blob
    }

    #[test]
    fn it_comes_back_to_whoever_has_the_words_and_to_nobody_else() {
        let blob = sealed(&backup(), 1);
        assert_eq!(Backup::open(&blob, &key(1), NETWORK).unwrap(), backup());
        let refused = |blob: &[u8], seed, network| Backup::open(blob, &key(seed), network).unwrap_err().code();
        assert_eq!(refused(&blob, 2, NETWORK), Code::MalformedMessage);
        // The same words have the same keys on every test network.
        assert_eq!(refused(&blob, 1, Network::Signet), Code::WrongNetwork);
        for length in [0, 1, 23, 24, 39, 40, SIZE - 1] {
            assert_eq!(refused(&blob[..length], 1, NETWORK), Code::MalformedMessage, "{length}");
        }
        assert_eq!(refused(&[&blob[..], &[0]].concat(), 1, NETWORK), Code::MalformedMessage);
        assert_eq!(refused(&[0; SIZE], 1, NETWORK), Code::MalformedMessage);
        for at in [0, 23, 24, 100, SIZE - 17, SIZE - 16, SIZE - 1] {
            let mut altered = blob.clone();
            altered[at] ^= 1;
            assert_eq!(refused(&altered, 1, NETWORK), Code::MalformedMessage, "{at}");
        }
    }

    #[test]
    fn blobs_of_much_and_of_nothing_look_alike() {
        let nothing = Backup { peers: vec![], channels: vec![], ..backup() };
        let (much, none) = (sealed(&backup(), 1), sealed(&nothing, 2));
        assert_eq!((much.len(), none.len()), (SIZE, SIZE));
        assert_eq!(Backup::open(&none, &key(1), NETWORK).unwrap(), nothing);
        // Padding that has become something would show as long runs.
        let differ = much.iter().zip(&none).filter(|(one, other)| one != other).count();
        assert!(differ > SIZE * 9 / 10, "{differ}");
    }

    #[test]
    fn what_would_be_read_otherwise_is_refused() {
        let mut text = backup().encode(NETWORK);
        text.resize(ROOM, 0);
        assert_eq!(Backup::decode(&text, NETWORK).unwrap(), backup());
        for (at, byte) in [(0, 2), (ROOM - 1, 1)] {
            let mut other = text.clone();
            other[at] = byte;
            assert_eq!(Backup::decode(&other, NETWORK).unwrap_err().code(), Code::MalformedMessage);
        }
    }

    #[test]
    fn peers_without_a_channel_and_endless_addresses_are_no_use() {
        let mut long = backup();
        let peer = long.peers[0].0;
        let one = |length| (peer, "a".repeat(length));
        long.peers = vec![(some_key(4).public(), "b:1".to_owned()), one(255), one(256)];
        let read = Backup::open(&sealed(&long, 1), &key(1), NETWORK).unwrap();
        assert_eq!(read.peers, [one(255)]);
    }

    #[test]
    fn it_is_filled_to_the_last_byte() {
        let mut full = backup();
        full.channels[0].held = vec![9; ROOM - FRAME - PEER - full.peers[0].1.len() - CHANNEL];
        assert_eq!(full.size(), full.encode(NETWORK).len());
        assert_eq!(Backup::open(&sealed(&full, 1), &key(1), NETWORK).unwrap(), full);
        // One more: it has to be shortened, and nobody can read this.
        full.channels[0].held.push(9);
        assert_eq!(full.seal(&key(1), NETWORK, [1; 24]).err().unwrap().code(), Code::CorruptedStore);
    }

    fn any_copy() -> impl Strategy<Value = ChannelCopy> {
        (any::<u32>(), 1u8..9, any::<u32>(), any::<u64>(), vec(any::<u8>(), 0..3_000)).prop_map(
            |(index, peer, since, version, held)| {
                let peer = some_key(peer).public();
                ChannelCopy { index, peer, since, version, held }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn anything_that_fits_comes_back(channels in vec(any_copy(), 0..12), next_index: u32, since: u32, nonce: u8) {
            let peer = |channel: &ChannelCopy| (channel.peer, format!("{}.example:1", channel.index));
            let peers = channels.iter().map(peer).collect();
            let backup = Backup { next_index, since, peers, channels };
            prop_assert_eq!(backup.size(), backup.encode(NETWORK).len());
            let blob = sealed(&backup, nonce);
            prop_assert_eq!(blob.len(), SIZE);
            prop_assert_eq!(Backup::open(&blob, &key(1), NETWORK).unwrap(), backup);
        }

        /// Behind the cipher, where nobody but ourselves writes: still read as hostile.
        #[test]
        fn any_text_is_decoded_or_refused(channels in vec(any_copy(), 0..4), at: prop::sample::Index, flip in 1u8..) {
            let mut text = Backup { channels, ..backup() }.encode(NETWORK);
            let at = at.index(text.len());
            text[at] ^= flip;
            if let Ok(read) = Backup::decode(&text, NETWORK) {
                let again = read.encode(NETWORK);
                prop_assert_eq!(&text[..again.len()], &again[..]);
            }
        }
    }
}
