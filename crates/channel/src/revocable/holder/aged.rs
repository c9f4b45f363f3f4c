//! Channels that were used for years, made in an instant: for measurements, behind the feature `testing`.

use crate::error::{Code, Error};
use crate::revocable::holder::Holder;
use crate::revocable::keys::BaseKeys;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::secrets::SecretStore;

impl Holder {
    /// What this holder would have stored if each side had revoked `number` commitments, and everybody had what they have now. It
    /// takes the keys of both. Both sides have to be aged alike, and then take up their connection.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] while anything is under way, [`Code::WrongKey`] for keys of another channel,
    /// [`Code::UpdatesSpent`] for one of the last numbers.
    pub fn aged(&self, own: &BaseKeys, other: &BaseKeys, number: CommitmentNumber) -> Result<Vec<u8>, Error> {
        self.state.check(own)?;
        let mut state = self.state.clone();
        state.ledger.skip(number)?;
        let after =
            number.next().ok_or(Error::new(Code::UpdatesSpent, "the channel has no commitment numbers left"))?;
        state.secrets = SecretStore::filled(&other.seed, number.get())?;
        state.points.newest = other.seed.point(number)?;
        state.points.next = Some(other.seed.point(after)?);
        let newest = state.ledger.newest(state.role)?;
        state.signed.commitment = state.build(own, state.role, &newest)?.sign(&other.funding)?;
        Ok(state.encode())
    }
}
