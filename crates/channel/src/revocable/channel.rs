//! What is fixed for a channel: its two parties, what they told each other when it opened, and the scripts that follow.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey, ecdsa::Signature};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, ScriptBuf, Transaction, Witness, ecdsa};

use crate::codec::{Reader, Writer, malformed};
use crate::commitment::Funding;
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::revocable::commitment::Htlc;
use crate::revocable::fees::{ChannelType, Stage};
use crate::revocable::keys::{Basepoints, CommitmentKeys, derive_public};
use crate::revocable::number::Obscuring;
use crate::revocable::script::{self, PaymentHash160};
use crate::script::is_first;
use crate::secp::{secp, verify};

/// The format of an encoded channel.
const FORMAT: u8 = 1;

/// The two parties, for the channel's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Asked for the channel, and pays the fees of commitments.
    Opener,
    /// Was asked.
    Accepter,
}

impl Role {
    /// The one who is not this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Opener => Self::Accepter,
            Self::Accepter => Self::Opener,
        }
    }

    pub(crate) fn write(self, w: &mut Writer) -> &mut Writer {
        w.bool(self == Self::Opener)
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(if r.bool()? { Self::Opener } else { Self::Accepter })
    }
}

/// What is fixed for one party when the channel opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its public keys.
    pub points: Basepoints,
    /// How many blocks it waits for its own money after its own commitment: the `to_self_delay` that its *peer* asked for.
    pub delay: u16,
    /// Its own `dust_limit_satoshis`: its commitment has no output below.
    pub dust_limit: Amount,
}

/// What is fixed for the channel once it is funded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The format of its commitments.
    pub channel_type: ChannelType,
    /// What both spend.
    pub funding: Funding,
    /// The party that pays the fees.
    pub opener: Party,
    /// The other one.
    pub accepter: Party,
}

impl Channel {
    /// Its bytes, for a store.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.finish()
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        Self::read(&mut r)
            .and_then(|channel| r.finish().map(|()| channel))
            .map_err(|_| Error::new(Code::CorruptedStore, "a stored channel cannot be parsed"))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u8(FORMAT);
        self.channel_type.write(w);
        self.funding.write(w);
        for party in [&self.opener, &self.accepter] {
            party.points.write(w);
            w.u16(party.delay).amount(party.dust_limit);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        if r.u8()? != FORMAT {
            return Err(malformed("an unknown format of stored channels"));
        }
        let (channel_type, funding) = (ChannelType::read(r)?, Funding::read(r)?);
        let mut party = || {
            let points = Basepoints::read(r)?;
            Ok::<_, Error>(Party { points, delay: r.u16()?, dust_limit: r.amount()? })
        };
        Ok(Self { channel_type, funding, opener: party()?, accepter: party()? })
    }

    /// What is fixed for one of the two.
    pub const fn party(&self, role: Role) -> &Party {
        match role {
            Role::Opener => &self.opener,
            Role::Accepter => &self.accepter,
        }
    }

    /// The script that both funding keys have to satisfy.
    pub fn funding_script(&self) -> ScriptBuf {
        script::funding(&self.opener.points.funding, &self.accepter.points.funding)
    }

    /// Signs a transaction that spends the funding alone: a commitment, or a closing transaction.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not one of the two.
    pub(crate) fn sign(&self, transaction: &Transaction, key: &Key) -> Result<Signature, Error> {
        if ![self.opener.points.funding, self.accepter.points.funding].contains(&key.public()) {
            return refuse(Code::WrongKey, "this key is not one of this channel");
        }
        Ok(secp().sign_ecdsa(&self.message(transaction)?, key.secret()))
    }

    /// Checks the signature of `signer` over such a transaction.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub(crate) fn verify(&self, transaction: &Transaction, signer: Role, signature: &Signature) -> Result<(), Error> {
        verify(&self.message(transaction)?, signature, &self.party(signer).points.funding)
    }

    /// Such a transaction with the signature of `role`, made with its `key`, and that of the other.
    ///
    /// # Errors
    /// As [`Channel::sign`] and [`Channel::verify`].
    pub(crate) fn finish(
        &self,
        transaction: &Transaction,
        role: Role,
        key: &Key,
        theirs: &Signature,
    ) -> Result<Transaction, Error> {
        self.verify(transaction, role.other(), theirs)?;
        let ours = ecdsa::Signature::sighash_all(self.sign(transaction, key)?).serialize();
        let theirs = ecdsa::Signature::sighash_all(*theirs).serialize();
        let other = self.party(role.other()).points.funding;
        let (first, second) = if is_first(&key.public(), &other) { (&ours, &theirs) } else { (&theirs, &ours) };
        let script = self.funding_script();
        let mut transaction = transaction.clone();
        for input in &mut transaction.input {
            input.witness = Witness::from_slice(&[&[][..], first, second, script.as_bytes()]);
        }
        Ok(transaction)
    }

    fn message(&self, transaction: &Transaction) -> Result<Message, Error> {
        let (script, capacity) = (self.funding_script(), self.funding.capacity);
        let hash = SighashCache::new(transaction)
            .p2wsh_signature_hash(0, &script, capacity, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::InvalidArgument, "the transaction cannot be hashed"))?;
        Ok(Message::from_digest(hash.to_byte_array()))
    }

    /// What hides this channel's commitment numbers.
    pub fn obscuring(&self) -> Obscuring {
        Obscuring::new(&self.opener.points.payment, &self.accepter.points.payment)
    }

    /// The keys of the commitment of `owner` with this per-commitment point.
    ///
    /// # Errors
    /// [`Code::WrongKey`], which nobody can provoke: see [`derive_public`].
    pub fn keys(&self, owner: Role, point: &PublicKey) -> Result<CommitmentKeys, Error> {
        CommitmentKeys::new(&self.party(owner).points, &self.party(owner.other()).points, point)
    }

    /// The script of `to_local` and of the second stage in the commitment of `owner` with these keys.
    pub fn to_local(&self, owner: Role, keys: &CommitmentKeys) -> ScriptBuf {
        script::to_local(keys, self.party(owner).delay)
    }

    /// The key that `to_remote` pays in the commitment of `owner` with these keys.
    ///
    /// # Errors
    /// As [`Channel::keys`].
    pub fn to_remote_key(&self, owner: Role, keys: &CommitmentKeys) -> Result<PublicKey, Error> {
        let basepoint = self.party(owner.other()).points.payment;
        if self.channel_type.has_static_remotekey() { Ok(basepoint) } else { derive_public(&basepoint, &keys.point) }
    }

    /// The script of an HTLC in the commitment of `owner` with these keys.
    pub fn htlc_script(&self, owner: Role, keys: &CommitmentKeys, htlc: &Htlc) -> ScriptBuf {
        let payment = PaymentHash160::from(htlc.payment_hash);
        match htlc.stage(owner) {
            Stage::Timeout => script::offered_htlc(self.channel_type, keys, &payment),
            Stage::Success => script::received_htlc(self.channel_type, keys, &payment, htlc.expiry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocable::testing::channel;
    use proptest::prelude::*;

    #[test]
    fn what_is_stored_comes_back() {
        for channel_type in
            [ChannelType::Legacy, ChannelType::StaticRemoteKey, ChannelType::AnchorsNonzeroFee, ChannelType::Anchors]
        {
            let mut channel = channel(channel_type);
            channel.accepter.delay = 7;
            channel.opener.dust_limit = Amount::from_sat(1_000);
            assert_eq!(Channel::decode(&channel.encode()).unwrap(), channel);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(at: prop::sample::Index, flip in 1u8.., end: prop::sample::Index, more: bool) {
            let mut bytes = channel(ChannelType::Anchors).encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(channel) = Channel::decode(&bytes) {
                prop_assert_eq!(channel.encode(), bytes.clone());
            }
            if more { bytes.push(0) } else { bytes.truncate(end.index(bytes.len())) }
            prop_assert!(Channel::decode(&bytes).is_err());
        }
    }
}
