//! Commitment numbers: 48 bits that count up, and their disguise on the chain.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Sequence, Transaction};

/// What marks a lock time as the lower half of a number: as a time it has long passed.
const LOCK_TIME: u32 = 0x20 << 24;
/// What marks a sequence as the upper half of a number: it turns off the relative lock of BIP 68.
const SEQUENCE: u32 = 0x80 << 24;
/// The bits that carry a half of a number.
const HALF: u32 = 0x00ff_ffff;

/// The number of a commitment: from 0, one more with each new commitment of the same owner; below 2^48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitmentNumber(u64);

impl CommitmentNumber {
    /// The commitment that a channel opens with.
    pub const FIRST: Self = Self(0);
    /// That of the second.
    pub const SECOND: Self = Self(1);
    /// The highest number there is; its secret would be the seed of all, so that no commitment gets it.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// A number, or `None` from 2^48 on.
    pub const fn new(number: u64) -> Option<Self> {
        if number > Self::MAX.0 { None } else { Some(Self(number)) }
    }

    /// The number as it is.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this; `None` after the last that a commitment may have.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).and_then(Self::new).filter(|next| *next != Self::MAX)
    }

    /// The one before this; `None` before the first.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The index of its secret, which counts down from 2^48 - 1.
    pub(crate) const fn index(self) -> u64 {
        Self::MAX.0 ^ self.0
    }
}

/// What hides a channel's commitment numbers from everybody else: 48 bits that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obscuring(u64);

impl Obscuring {
    /// The lower 48 bits of `SHA256(payment basepoint of the opener || of the accepter)`.
    pub fn new(opener: &PublicKey, accepter: &PublicKey) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(&opener.serialize());
        engine.input(&accepter.serialize());
        let [.., a, b, c, d, e, f] = sha256::Hash::from_engine(engine).to_byte_array();
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The factor itself, below 2^48.
    pub const fn factor(self) -> u64 {
        self.0
    }

    /// Hides a number, or, applied again, shows it.
    pub const fn apply(self, number: CommitmentNumber) -> CommitmentNumber {
        CommitmentNumber(number.0 ^ self.0)
    }

    /// The lock time and the sequence of the commitment with this number.
    pub fn disguise(self, number: CommitmentNumber) -> (LockTime, Sequence) {
        let [_, _, a, b, c, d, e, f] = self.apply(number).0.to_be_bytes();
        let lock = LOCK_TIME | u32::from_be_bytes([0, d, e, f]);
        let sequence = SEQUENCE | u32::from_be_bytes([0, a, b, c]);
        (LockTime::from_consensus(lock), Sequence(sequence))
    }

    /// The number of a commitment seen on the chain; `None` for a transaction that is none.
    pub fn read(self, transaction: &Transaction) -> Option<CommitmentNumber> {
        let [input] = transaction.input.as_slice() else { return None };
        let (lock, sequence) = (transaction.lock_time.to_consensus_u32(), input.sequence.0);
        if lock & !HALF != LOCK_TIME || sequence & !HALF != SEQUENCE {
            return None;
        }
        let hidden = u64::from(sequence & HALF) << 24 | u64::from(lock & HALF);
        Some(self.apply(CommitmentNumber(hidden)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocable::testing;
    use proptest::prelude::*;

    fn obscuring(opener: u8, accepter: u8) -> Obscuring {
        Obscuring::new(&testing::key(opener).public(), &testing::key(accepter).public())
    }

    #[test]
    fn numbers_end_before_the_seed() {
        let last = CommitmentNumber::new((1 << 48) - 2).unwrap();
        assert_eq!(last.previous().and_then(CommitmentNumber::next), Some(last));
        assert_eq!((last.next(), last.index()), (None, 1));
        assert_eq!(CommitmentNumber::MAX.next(), None);
        assert_eq!(CommitmentNumber::new(1 << 48), None);
        assert_eq!((CommitmentNumber::FIRST.previous(), CommitmentNumber::FIRST.index()), (None, (1 << 48) - 1));
    }

    proptest! {
        #[test]
        fn obscuring_is_an_involution_and_fits_the_fields(number in 0u64..1 << 48, a in 1u8..9, b in 1u8..9) {
            let number = CommitmentNumber::new(number).unwrap();
            let obscuring = obscuring(a, b);
            prop_assert!(obscuring.factor() < 1 << 48);
            prop_assert_eq!(obscuring.apply(obscuring.apply(number)), number);

            let (lock_time, sequence) = obscuring.disguise(number);
            prop_assert!(lock_time.is_block_time() && !sequence.is_relative_lock_time());
            let mut transaction = testing::transaction(vec![]);
            transaction.lock_time = lock_time;
            transaction.input[0].sequence = sequence;
            prop_assert_eq!(obscuring.read(&transaction), Some(number));

            transaction.lock_time = LockTime::from_consensus(lock_time.to_consensus_u32() ^ 1 << 24);
            prop_assert_eq!(obscuring.read(&transaction), None);
            transaction.lock_time = lock_time;
            transaction.input[0].sequence.0 ^= 1 << 31;
            prop_assert_eq!(obscuring.read(&transaction), None);
        }
    }

    #[test]
    fn the_order_of_the_parties_matters() {
        assert_ne!(obscuring(1, 2), obscuring(2, 1));
    }
}
