//! What the cheated side takes from a revoked commitment: every output that its owner could have got, in either stage.
//!
//! ```text
//! to_local ────────────── revocation key, at once
//! HTLC outputs ────────── revocation key, at once
//! second-stage outputs ── revocation key, within the delay
//! ```
//!
//! It needs the number, to find the secret, and the HTLCs of the revoked state; nothing else of it is kept.

use bitcoin::Transaction;

use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::revocable::channel::{Channel, Role};
use crate::revocable::claim::{Claim, Path, htlc_outputs, paid_to};
use crate::revocable::commitment::{Commitment, Htlc, State};
use crate::revocable::keys::{BaseKeys, CommitmentKeys};
use crate::revocable::number::CommitmentNumber;
use crate::revocable::secrets::{CommitmentSecret, SecretStore};

/// A commitment whose owner gave its secret away.
pub struct Revoked {
    channel: Channel,
    owner: Role,
    number: CommitmentNumber,
    keys: CommitmentKeys,
    key: Key,
}

impl Revoked {
    /// Commitment `number` of `owner`, by its secret and the base keys of the other.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for base keys that are not the other's in this channel, [`Code::InvalidSecret`] for a secret
    /// that is no scalar.
    pub fn new(
        channel: &Channel,
        owner: Role,
        number: CommitmentNumber,
        secret: CommitmentSecret,
        other: &BaseKeys,
    ) -> Result<Self, Error> {
        if other.points() != channel.party(owner.other()).points {
            return refuse(Code::WrongKey, "these keys do not punish that party");
        }
        let keys = channel.keys(owner, &secret.point()?)?;
        let key = other.revocation_at(secret)?;
        Ok(Self { channel: *channel, owner, number, keys, key })
    }

    /// Whether a transaction that spends the funding is a commitment of `owner` that was revoked. Ask only about
    /// transactions that are not commitments of one's own: those have the same numbers.
    ///
    /// # Errors
    /// As [`Revoked::new`].
    pub fn detect(
        channel: &Channel,
        owner: Role,
        transaction: &Transaction,
        secrets: &SecretStore,
        other: &BaseKeys,
    ) -> Result<Option<Self>, Error> {
        if transaction.input.iter().all(|input| input.previous_output != channel.funding.outpoint) {
            return Ok(None);
        }
        let Some(number) = channel.obscuring().read(transaction) else { return Ok(None) };
        let Some(secret) = secrets.get(number) else { return Ok(None) };
        Self::new(channel, owner, number, secret, other).map(Some)
    }

    /// Which commitment it is.
    pub const fn number(&self) -> CommitmentNumber {
        self.number
    }

    /// The commitment itself, made anew from its state.
    ///
    /// # Errors
    /// As [`Commitment::new`]; [`Code::InvalidArgument`] for the state of another one.
    pub fn commitment(&self, state: &State) -> Result<Commitment, Error> {
        if state.number != self.number {
            return refuse(Code::InvalidArgument, "this is the state of another commitment");
        }
        Commitment::new(&self.channel, self.owner, &self.keys.point, state)
    }

    /// What can be taken from the commitment, given its HTLCs, or from any transaction that spends one of them: merged
    /// with others or not.
    pub fn claims(&self, transaction: &Transaction, htlcs: &[Htlc]) -> Vec<Claim<'_>> {
        let script = self.channel.to_local(self.owner, &self.keys);
        let mut claims = paid_to(transaction, &script.to_p2wsh(), &script, &self.key, Path::Revoked);
        let found = htlc_outputs(&self.channel, self.owner, &self.keys, transaction, htlcs);
        claims.extend(
            found.map(|(outpoint, output, script, _)| Claim::revoked_htlc(outpoint, output.clone(), script, &self.key)),
        );
        claims
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }
}
