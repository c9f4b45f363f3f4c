//! Basepoints, and the keys of a single commitment that follow from them.
//!
//! Every commitment has keys of its own, so that nobody can tell from one what another looks like:
//!
//! | key | from the basepoint of | secret known to |
//! | --- | --- | --- |
//! | delayed, owner's HTLC | the owner | the owner |
//! | other's HTLC | the other | the other |
//! | revocation | the other, blinded with the owner's point | nobody, until the owner gives its secret away |
//! | payment | the other, as it is (`option_static_remotekey`) | the other, though it may have lost everything else |

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::{PublicKey, Scalar, SecretKey};

use crate::codec::{Reader, Writer};
use crate::error::{Code, Error};
use crate::keys::{Key, Seed};
use crate::revocable::secrets::{CommitmentSecret, CommitmentSeed};
use crate::secp::secp;

/// What one side tells the other when a channel opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basepoints {
    /// `funding_pubkey`: one of the two keys of the funding output, and of this side's anchor.
    pub funding: PublicKey,
    /// `revocation_basepoint`.
    pub revocation: PublicKey,
    /// `payment_basepoint`.
    pub payment: PublicKey,
    /// `delayed_payment_basepoint`.
    pub delayed: PublicKey,
    /// `htlc_basepoint`.
    pub htlc: PublicKey,
}

impl Basepoints {
    /// Every one of them.
    pub(crate) const fn each(&self) -> [PublicKey; 5] {
        let Self { funding, revocation, payment, delayed, htlc } = *self;
        [funding, revocation, payment, delayed, htlc]
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.key(&self.funding).key(&self.revocation).key(&self.payment).key(&self.delayed).key(&self.htlc);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { funding: r.key()?, revocation: r.key()?, payment: r.key()?, delayed: r.key()?, htlc: r.key()? })
    }
}

/// The secrets behind one side's [`Basepoints`], and the seed of its per-commitment secrets.
pub struct BaseKeys {
    /// Signs commitments.
    pub funding: Key,
    /// Half of what punishes the other side.
    pub revocation: Key,
    /// What the other side's commitment pays this side.
    pub payment: Key,
    /// What this side's commitment pays itself.
    pub delayed: Key,
    /// Signs HTLC transactions.
    pub htlc: Key,
    /// What this side gives away, commitment by commitment.
    pub seed: CommitmentSeed,
}

impl BaseKeys {
    /// The keys of channel number `index`, below 2^31, of one who keeps nothing but recovery words. The last level of
    /// the path is 0 for the funding key, then revocation, payment, delayed, HTLC, and 5 for the seed of the secrets.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an index out of range.
    pub fn from_seed(seed: &Seed, index: u32) -> Result<Self, Error> {
        let key = |purpose| seed.revocable_key(index, purpose);
        Ok(Self {
            funding: key(0)?,
            revocation: key(1)?,
            payment: key(2)?,
            delayed: key(3)?,
            htlc: key(4)?,
            seed: CommitmentSeed::new(key(5)?.secret().secret_bytes()),
        })
    }

    /// What the other side gets to know.
    pub fn points(&self) -> Basepoints {
        Basepoints {
            funding: self.funding.public(),
            revocation: self.revocation.public(),
            payment: self.payment.public(),
            delayed: self.delayed.public(),
            htlc: self.htlc.public(),
        }
    }

    /// The secret of this side's delayed key in its commitment with this point.
    ///
    /// # Errors
    /// As [`derive_public`].
    pub fn delayed_at(&self, point: &PublicKey) -> Result<Key, Error> {
        derive_secret(&self.delayed, point)
    }

    /// The secret of this side's HTLC key in the commitment with this point, whoever owns it.
    ///
    /// # Errors
    /// As [`derive_public`].
    pub fn htlc_at(&self, point: &PublicKey) -> Result<Key, Error> {
        derive_secret(&self.htlc, point)
    }

    /// The key that punishes the other side for a commitment whose secret it gave away.
    ///
    /// # Errors
    /// [`Code::InvalidSecret`] for a secret that is no scalar, or as [`derive_public`].
    pub fn revocation_at(&self, secret: CommitmentSecret) -> Result<Key, Error> {
        derive_revocation_secret(&self.revocation, secret)
    }
}

/// The public keys of one commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitmentKeys {
    /// The owner's per-commitment point.
    pub point: PublicKey,
    /// `revocationpubkey`: the other's, once the owner has given the secret away.
    pub revocation: PublicKey,
    /// `local_delayedpubkey`: the owner's.
    pub delayed: PublicKey,
    /// `local_htlcpubkey`: the owner's.
    pub owner_htlc: PublicKey,
    /// `remote_htlcpubkey`: the other's.
    pub other_htlc: PublicKey,
}

impl CommitmentKeys {
    /// The keys of the owner's commitment with this per-commitment point.
    ///
    /// # Errors
    /// As [`derive_public`].
    pub fn new(owner: &Basepoints, other: &Basepoints, point: &PublicKey) -> Result<Self, Error> {
        Ok(Self {
            point: *point,
            revocation: derive_revocation(&other.revocation, point)?,
            delayed: derive_public(&owner.delayed, point)?,
            owner_htlc: derive_public(&owner.htlc, point)?,
            other_htlc: derive_public(&other.htlc, point)?,
        })
    }
}

/// `basepoint + SHA256(point || basepoint) * G`.
///
/// # Errors
/// [`Code::WrongKey`] where the result is no point; that needs a basepoint that fits a hash, which nobody can make.
pub fn derive_public(basepoint: &PublicKey, point: &PublicKey) -> Result<PublicKey, Error> {
    basepoint.add_exp_tweak(secp(), &tweak(point, basepoint)?).map_err(|_| underivable())
}

/// The secret of [`derive_public`]'s key: `secret + SHA256(point || basepoint)`.
///
/// # Errors
/// As [`derive_public`].
pub fn derive_secret(base: &Key, point: &PublicKey) -> Result<Key, Error> {
    let tweak = tweak(point, &base.public())?;
    base.secret().add_tweak(&tweak).map(Key::new).map_err(|_| underivable())
}

/// `basepoint * SHA256(basepoint || point) + point * SHA256(point || basepoint)`.
///
/// # Errors
/// As [`derive_public`].
pub fn derive_revocation(basepoint: &PublicKey, point: &PublicKey) -> Result<PublicKey, Error> {
    let theirs = basepoint.mul_tweak(secp(), &tweak(basepoint, point)?).map_err(|_| underivable())?;
    let owners = point.mul_tweak(secp(), &tweak(point, basepoint)?).map_err(|_| underivable())?;
    theirs.combine(&owners).map_err(|_| underivable())
}

/// The secret of [`derive_revocation`]'s key, from the base secret of one side and the given-away secret of the other.
///
/// # Errors
/// [`Code::InvalidSecret`] for a secret that is no scalar, or as [`derive_public`].
pub fn derive_revocation_secret(base: &Key, secret: CommitmentSecret) -> Result<Key, Error> {
    let revealed = Key::new(secret.key()?);
    let (basepoint, point) = (base.public(), revealed.public());
    let product = |secret: &SecretKey, tweak: Scalar| secret.mul_tweak(&tweak).map(Key::new).map_err(|_| underivable());
    let theirs = product(base.secret(), tweak(&basepoint, &point)?)?;
    let owners = product(revealed.secret(), tweak(&point, &basepoint)?)?;
    theirs.secret().add_tweak(&Scalar::from(*owners.secret())).map(Key::new).map_err(|_| underivable())
}

/// `SHA256(first || second)` as a number.
fn tweak(first: &PublicKey, second: &PublicKey) -> Result<Scalar, Error> {
    let mut engine = sha256::Hash::engine();
    engine.input(&first.serialize());
    engine.input(&second.serialize());
    Scalar::from_be_bytes(sha256::Hash::from_engine(engine).to_byte_array()).map_err(|_| underivable())
}

const fn underivable() -> Error {
    Error::new(Code::WrongKey, "no key follows from this basepoint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocable::testing::base_keys;
    use proptest::prelude::*;

    #[test]
    fn every_key_of_every_channel_is_another() {
        let seed = Seed::from_bip39_seed(&[7; 64], bitcoin::Network::Regtest);
        let mut keys = vec![seed.channel_key(0).unwrap().public(), seed.node_key().unwrap().public()];
        for index in [0, 1] {
            let base = BaseKeys::from_seed(&seed, index).unwrap();
            let Basepoints { funding, revocation, payment, delayed, htlc } = base.points();
            let first = base.seed.point(crate::revocable::CommitmentNumber::FIRST).unwrap();
            keys.extend([funding, revocation, payment, delayed, htlc, first]);
            assert_eq!(BaseKeys::from_seed(&seed, index).unwrap().points(), base.points());
        }
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[n + 1..].contains(key));
        }
        assert_eq!(BaseKeys::from_seed(&seed, 1 << 31).err().unwrap().code(), Code::InvalidArgument);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// Each side comes to the secrets of its own keys, whichever way it goes.
        #[test]
        fn secrets_and_points_agree(owner in 1u8..100, other in 100u8..200, secret in prop::array::uniform32(1u8..)) {
            let (owner, other) = (base_keys(owner), base_keys(other));
            let secret = CommitmentSecret::new(secret);
            let point = secret.point().unwrap();
            let keys = CommitmentKeys::new(&owner.points(), &other.points(), &point).unwrap();
            prop_assert_eq!(owner.delayed_at(&point).unwrap().public(), keys.delayed);
            prop_assert_eq!(owner.htlc_at(&point).unwrap().public(), keys.owner_htlc);
            prop_assert_eq!(other.htlc_at(&point).unwrap().public(), keys.other_htlc);
            prop_assert_eq!(other.revocation_at(secret).unwrap().public(), keys.revocation);
            // Not with the owner's own basepoint, and not with another secret.
            prop_assert!(owner.revocation_at(secret).unwrap().public() != keys.revocation);
            let another = owner.seed.secret(crate::revocable::CommitmentNumber::FIRST).unwrap();
            prop_assert!(other.revocation_at(another).unwrap().public() != keys.revocation);
        }
    }
}
