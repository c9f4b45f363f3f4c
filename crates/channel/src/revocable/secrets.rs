//! Per-commitment secrets: made from one seed, given away one by one, kept by the other side in 49 places.
//!
//! The secret of commitment *n* has the index `2^48 - 1 - n`. From a secret whose index ends in *b* zero bits follow all
//! those that differ in these bits alone; so whoever gets the secrets in order keeps one for each *b*, however many came.

use std::fmt;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, SecretKey};

use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error, refuse};
use crate::revocable::number::CommitmentNumber;
use crate::secp::secp;

/// The seed of one side's secrets in one channel. Never prints, and is wiped when dropped.
pub struct CommitmentSeed([u8; 32]);

impl CommitmentSeed {
    /// From 32 unguessable bytes that serve nothing else.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The secret that revokes the commitment with this number. Give it away only once the next one is in force.
    ///
    /// # Errors
    /// [`Code::UpdatesSpent`] for [`CommitmentNumber::MAX`], whose secret is the seed.
    pub fn secret(&self, number: CommitmentNumber) -> Result<CommitmentSecret, Error> {
        if number == CommitmentNumber::MAX {
            return refuse(Code::UpdatesSpent, "the channel has no commitment numbers left");
        }
        Ok(CommitmentSecret(derive(self.0, 48, number.index())))
    }

    /// The point of the commitment with this number, which the other side needs to build it.
    ///
    /// # Errors
    /// As [`CommitmentSeed::secret`].
    pub fn point(&self, number: CommitmentNumber) -> Result<PublicKey, Error> {
        self.secret(number)?.point()
    }
}

impl Drop for CommitmentSeed {
    fn drop(&mut self) {
        self.0 = [0; 32];
        // As far as safe code can ask the compiler to keep a write that nobody reads.
        std::hint::black_box(&self.0);
    }
}

/// A per-commitment secret. Whoever has the other side's takes everything, should it broadcast that commitment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommitmentSecret([u8; 32]);

impl CommitmentSecret {
    /// As it came in a `revoke_and_ack`.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// As it goes into a `revoke_and_ack`.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// `secret * G`.
    ///
    /// # Errors
    /// [`Code::InvalidSecret`] for 32 bytes that are no scalar of the curve.
    pub fn point(self) -> Result<PublicKey, Error> {
        self.key().map(|key| key.public_key(secp()))
    }

    /// Checks a secret that the other side gave away against the point that it had named for the same commitment.
    ///
    /// # Errors
    /// [`Code::InvalidSecret`].
    pub fn verify(self, point: &PublicKey) -> Result<(), Error> {
        if self.point()? == *point { Ok(()) } else { Err(invalid()) }
    }

    pub(crate) fn key(self) -> Result<SecretKey, Error> {
        SecretKey::from_slice(&self.0).map_err(|_| invalid())
    }
}

impl fmt::Debug for CommitmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentSecret")
    }
}

/// All secrets that the other side has given away, in at most 48 places of 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SecretStore {
    /// How many came: the number of the commitment that is to be revoked next.
    count: u64,
    /// In place *b* the newest whose index ends in *b* zero bits.
    places: Vec<CommitmentSecret>,
}

impl SecretStore {
    /// One without secrets.
    pub const fn new() -> Self {
        Self { count: 0, places: Vec::new() }
    }

    /// One that has been given the first `count` secrets of this seed, without the steps before.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn filled(seed: &CommitmentSeed, count: u64) -> Result<Self, Error> {
        let length = u64::BITS.saturating_sub(count.leading_zeros());
        let secret = |place| newest(place, count).map(|index| CommitmentSecret(derive(seed.0, 48, index)));
        Ok(Self { count, places: (0..length).map(secret).collect::<Result<_, _>>()? })
    }

    /// The commitment whose secret is to come next; `None` when all have come.
    pub fn next(&self) -> Option<CommitmentNumber> {
        CommitmentNumber::new(self.count).filter(|next| *next != CommitmentNumber::MAX)
    }

    /// Takes in the next secret, after checking that those before follow from it where they have to.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a number that is not the next one, [`Code::InvalidSecret`] for a secret that is not
    /// from the same seed as those before. The store is then as it was.
    pub fn insert(&mut self, number: CommitmentNumber, secret: CommitmentSecret) -> Result<(), Error> {
        if self.next() != Some(number) {
            return refuse(Code::InvalidArgument, "secrets are revealed in the order of their commitments");
        }
        let place = place(number.index());
        for (below, known) in (0..place).zip(&self.places) {
            if derive(secret.0, place, newest(below, self.count)?) != known.0 {
                return Err(invalid());
            }
        }
        let count = self.count.checked_add(1).ok_or(out_of_range())?;
        match self.places.get_mut(place as usize) {
            Some(known) => *known = secret,
            // Indexes count down by one, so that the places fill one after the other.
            None => self.places.push(secret),
        }
        self.count = count;
        Ok(())
    }

    /// The secret of a commitment that was revoked; `None` for one that was not.
    pub fn get(&self, number: CommitmentNumber) -> Option<CommitmentSecret> {
        if number.get() >= self.count {
            return None;
        }
        let index = number.index();
        (0..).zip(&self.places).find_map(|(place, known)| {
            let from = newest(place, self.count).ok()?;
            (index >> place == from >> place).then(|| CommitmentSecret(derive(known.0, place, index)))
        })
    }

    /// Its bytes: how many secrets came (8 bytes), then the places in order. At most 1,544 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.places.len().saturating_mul(32).saturating_add(8));
        w.u64(self.count);
        for secret in &self.places {
            w.raw(&secret.0);
        }
        w.finish()
    }

    /// From its bytes, checked as far as they say anything about each other.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`] for another length than the count asks for, and for secrets that are not from one seed.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(bytes).map_err(|_| Error::new(Code::CorruptedStore, "these secrets do not fit together"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let count = r.u64()?;
        if count > CommitmentNumber::MAX.get() {
            return Err(malformed("more secrets than there are commitments"));
        }
        // The first index with b zero bits at its end comes after 2^b - 1 others.
        let length = u64::BITS.saturating_sub(count.leading_zeros());
        let places = (0..length).map(|_| r.array().map(CommitmentSecret)).collect::<Result<Vec<_>, _>>()?;
        r.finish()?;
        for (above, base) in (0..).zip(&places) {
            let from = newest(above, count)?;
            for (below, known) in (0..above).zip(&places) {
                let index = newest(below, count)?;
                if index >> above == from >> above && derive(base.0, above, index) != known.0 {
                    return Err(invalid());
                }
            }
        }
        Ok(Self { count, places })
    }
}

/// BOLT 3's `derive_secret`: the secret with `index`, from one whose index differs in the lower `bits` alone, where it
/// has zeros.
fn derive(mut secret: [u8; 32], bits: u32, index: u64) -> [u8; 32] {
    for bit in (0..bits).rev().filter(|bit| index >> bit & 1 == 1) {
        // Bit 0 is the lowest of the first byte.
        if let Some(byte) = secret.get_mut(bit as usize / 8) {
            *byte ^= 1 << (bit % 8);
        }
        secret = sha256::Hash::hash(&secret).to_byte_array();
    }
    secret
}

/// BOLT 3's `where_to_put_secret`. Index 0 is never stored.
const fn place(index: u64) -> u32 {
    index.trailing_zeros()
}

/// The index in `place` after `count` secrets: the least one revealed that ends in so many zero bits.
fn newest(place: u32, count: u64) -> Result<u64, Error> {
    let least = CommitmentNumber::MAX.get().checked_add(1).and_then(|end| end.checked_sub(count));
    let bit = 1u64.checked_shl(place).ok_or(out_of_range())?;
    // Of the multiples of 2^place every second one has the bit itself set.
    let multiple = least.and_then(|least| least.checked_next_multiple_of(bit)).ok_or(out_of_range())?;
    Ok(multiple | bit)
}

const fn invalid() -> Error {
    Error::new(Code::InvalidSecret, "this secret does not revoke that commitment")
}

const fn out_of_range() -> Error {
    Error::new(Code::InvalidArgument, "there is no such per-commitment secret")
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(number: u64) -> CommitmentNumber {
        CommitmentNumber::new(number).unwrap()
    }

    fn filled(seed: &CommitmentSeed, count: u64) -> SecretStore {
        let mut store = SecretStore::new();
        for n in 0..count {
            store.insert(number(n), seed.secret(number(n)).unwrap()).unwrap();
        }
        assert_eq!(store, SecretStore::filled(seed, count).unwrap());
        store
    }

    #[test]
    fn the_seed_is_never_a_secret() {
        let seed = CommitmentSeed::new([7; 32]);
        assert_eq!(seed.secret(CommitmentNumber::MAX).unwrap_err().code(), Code::UpdatesSpent);
        assert!(seed.secret(CommitmentNumber::MAX.previous().unwrap()).unwrap().to_bytes() != [7; 32]);
    }

    #[test]
    fn ten_thousand_secrets_take_fourteen_places() {
        let seed = CommitmentSeed::new([3; 32]);
        let store = filled(&seed, 10_000);
        assert_eq!(store.encode().len(), 8 + 14 * 32);
        for n in [0, 1, 2, 4_095, 4_096, 7_777, 9_998, 9_999] {
            assert_eq!(store.get(number(n)), Some(seed.secret(number(n)).unwrap()));
        }
        assert_eq!(store.get(number(10_000)), None);
    }

    /// The store of a channel at its very end, made from the seed without the 2^48 steps before.
    #[test]
    fn the_last_secret_fits() {
        let seed = CommitmentSeed::new([9; 32]);
        let count = CommitmentNumber::MAX.get() - 1;
        let mut store = SecretStore::filled(&seed, count).unwrap();
        assert_eq!(SecretStore::decode(&store.encode()).unwrap(), store);
        store.insert(number(count), seed.secret(number(count)).unwrap()).unwrap();
        assert_eq!(store.next(), None);
        assert_eq!(store.encode().len(), 1_544);
        assert_eq!(SecretStore::decode(&store.encode()).unwrap(), store);
        let after = store.insert(CommitmentNumber::MAX, CommitmentSecret([1; 32]));
        assert_eq!(after.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(store.get(number(5)), Some(seed.secret(number(5)).unwrap()));
    }

    #[test]
    fn a_secret_that_is_no_scalar_is_refused() {
        let point = CommitmentSecret([1; 32]).point().unwrap();
        CommitmentSecret([1; 32]).verify(&point).unwrap();
        for bad in [[0; 32], [0xff; 32], [2; 32]] {
            assert_eq!(CommitmentSecret(bad).verify(&point).unwrap_err().code(), Code::InvalidSecret);
        }
        assert_eq!(format!("{:?}", CommitmentSecret([1; 32])), "CommitmentSecret");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_goes_in_comes_out(seed: [u8; 32], count in 0u64..600) {
            let seed = CommitmentSeed::new(seed);
            let store = filled(&seed, count);
            for n in 0..count {
                prop_assert_eq!(store.get(number(n)), Some(seed.secret(number(n)).unwrap()));
            }
            prop_assert_eq!(store.get(number(count)), None);
            prop_assert_eq!(SecretStore::decode(&store.encode()).unwrap(), store);
        }

        #[test]
        fn out_of_order_is_refused(seed: [u8; 32], count in 0u64..40, at in 0u64..80) {
            let seed = CommitmentSeed::new(seed);
            let mut store = filled(&seed, count);
            let before = store.clone();
            let result = store.insert(number(at), seed.secret(number(at)).unwrap());
            if at == count {
                prop_assert!(result.is_ok());
            } else {
                prop_assert_eq!(result.unwrap_err().code(), Code::InvalidArgument);
                prop_assert_eq!(store, before);
            }
        }

        /// A wrong secret is found out at the latest by the next one that covers its index.
        #[test]
        fn a_wrong_secret_is_found_out(seed: [u8; 32], wrong in 0u64..127) {
            let seed = CommitmentSeed::new(seed);
            let mut store = filled(&seed, wrong);
            let index = number(wrong).index();
            // One at an even index is checked at once; one at an odd index by the next.
            let refused = (wrong..128).find(|n| {
                let mut secret = seed.secret(number(*n)).unwrap();
                if *n == wrong {
                    secret.0[0] ^= 1;
                }
                store.insert(number(*n), secret).is_err()
            });
            prop_assert_eq!(refused, Some(wrong + u64::from(!index.is_multiple_of(2))));
        }

        #[test]
        fn an_altered_record_never_gives_a_secret_that_was_not_put_in(
            seed: [u8; 32], count in 1u64..300, byte: prop::sample::Index, flip in 1u8..,
        ) {
            let seed = CommitmentSeed::new(seed);
            let mut bytes = filled(&seed, count).encode();
            let at = byte.index(bytes.len());
            bytes[at] ^= flip;
            // What no other place vouches for cannot be checked; it changes nothing but itself.
            if let Ok(store) = SecretStore::decode(&bytes) {
                prop_assert!(store != filled(&seed, count));
                prop_assert_eq!(store.encode(), bytes);
            }
        }
    }
}
