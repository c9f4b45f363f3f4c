//! The ledger's bytes, for a store. Reading treats them as hostile: what does not fit together is refused.

use bitcoin::FeeRate;
use bitcoin::hashes::{Hash, sha256};

use crate::amount::Msat;
use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error};
use crate::revocable::channel::{Channel, Role};
use crate::revocable::commitment::{Htlc, MAX_HTLCS};
use crate::revocable::htlc::Preimage;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::updates::{Entry, Limits, MAX_UNACKNOWLEDGED, Side, Step, Update, Updates};

/// The format of an encoded ledger.
const FORMAT: u8 = 1;
/// The most rates that can be under way: one for each step before the last.
const MAX_FEES: usize = 4;
/// The most sums of direct payments: as many for each party.
const MAX_PAYMENTS: usize = 2 * MAX_FEES;

impl Updates {
    /// Its bytes. They grow with what is under way, not with what has been.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORMAT);
        self.channel.write(&mut w);
        self.opener.write(&mut w);
        self.accepter.write(&mut w);
        w.u64(self.fee_rate.to_sat_per_kwu()).list(self.fees.iter(), |w, (rate, step)| {
            w.u64(rate.to_sat_per_kwu()).u8(step.to_byte());
        });
        w.list(self.payments.iter(), |w, (by, step, amount)| {
            by.write(w).u8(step.to_byte()).msat(*amount);
        });
        w.list(self.htlcs.iter(), |w, Entry { id, htlc, added, removed }| {
            htlc.write(w.u64(*id)).u8(added.to_byte()).option(removed.as_ref(), |w, (preimage, step)| {
                write_preimage(w, preimage.as_ref()).u8(step.to_byte());
            });
        });
        w.finish()
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`Code::CorruptedStore`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let corrupted = || Error::new(Code::CorruptedStore, "a stored ledger does not fit together");
        let ledger = Self::read(bytes).map_err(|_| corrupted())?;
        if ledger.is_sound() { Ok(ledger) } else { Err(corrupted()) }
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FORMAT {
            return Err(malformed("an unknown format of ledgers"));
        }
        let channel = Channel::read(&mut r)?;
        let (opener, accepter) = (Side::read(&mut r)?, Side::read(&mut r)?);
        let fee_rate = FeeRate::from_sat_per_kwu(r.u64()?);
        let fee = |r: &mut Reader<'_>| Ok((FeeRate::from_sat_per_kwu(r.u64()?), Step::from_byte(r.u8()?)?));
        let fees = r.list(MAX_FEES, fee)?;
        let payments = r.list(MAX_PAYMENTS, |r| Ok((Role::read(r)?, Step::from_byte(r.u8()?)?, r.msat()?)))?;
        let htlcs = r.list(MAX_ENTRIES, |r| {
            let (id, htlc, added) = (r.u64()?, Htlc::read(r)?, Step::from_byte(r.u8()?)?);
            let removed = r.option(|r| Ok((r.option(Reader::array)?, Step::from_byte(r.u8()?)?)))?;
            Ok(Entry { id, htlc, added, removed })
        })?;
        r.finish()?;
        Ok(Self { channel, opener, accepter, htlcs, fee_rate, fees, payments })
    }

    /// What holds for every ledger that came about by updates.
    fn is_sound(&self) -> bool {
        let total = self.opener.balance.checked_add(self.accepter.balance);
        let order = |entry: &Entry| (entry.htlc.offered_by, entry.id);
        let ordered = self.htlcs.iter().zip(self.htlcs.iter().skip(1)).all(|(one, next)| order(one) < order(next));
        let entry = |entry: &Entry| {
            let ended = entry.removed.is_none_or(|(preimage, step)| {
                let fits = |preimage: Preimage| sha256::Hash::hash(&preimage) == entry.htlc.payment_hash;
                entry.added == Step::Settled && step != Step::Settled && preimage.is_none_or(fits)
            });
            ended && entry.id < self.side(entry.htlc.offered_by).next_id
        };
        let side = |side: &Side| {
            side.signed <= side.unacknowledged.len()
                && (!side.owes_revocation || side.newest != CommitmentNumber::FIRST)
                && side.newest != CommitmentNumber::MAX
        };
        total.is_some()
            && total == Msat::from_amount(self.channel.funding.capacity)
            && ordered
            && self.htlcs.iter().all(entry)
            && self.fees.iter().all(|(_, step)| *step != Step::Settled)
            && self.fees.iter().zip(self.fees.iter().skip(1)).all(|((_, older), (_, newer))| newer < older)
            && self.payments.iter().all(|(_, step, _)| *step != Step::Settled)
            && self
                .payments
                .iter()
                .zip(self.payments.iter().skip(1))
                .all(|(one, next)| (one.0, one.1) < (next.0, next.1))
            && [&self.opener, &self.accepter].into_iter().all(side)
            && [Role::Opener, Role::Accepter].into_iter().all(|owner| self.newest(owner).is_ok())
    }
}

/// Payments that end are counted until they are gone for good.
const MAX_ENTRIES: usize = 2 * MAX_HTLCS;

impl Side {
    fn write(&self, w: &mut Writer) {
        let Limits { reserve, htlc_minimum, max_in_flight, max_accepted } = self.limits;
        w.amount(reserve).msat(htlc_minimum).msat(max_in_flight).u16(max_accepted);
        w.msat(self.balance).u64(self.next_id).u64(self.newest.get()).bool(self.owes_revocation);
        w.bool(self.revoked_last).list(self.unacknowledged.iter(), |w, update| update.write(w));
        w.u16(u16::try_from(self.signed).unwrap_or(u16::MAX));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let limits =
            Limits { reserve: r.amount()?, htlc_minimum: r.msat()?, max_in_flight: r.msat()?, max_accepted: r.u16()? };
        Ok(Self {
            limits,
            balance: r.msat()?,
            next_id: r.u64()?,
            newest: CommitmentNumber::new(r.u64()?).ok_or(malformed("no commitment number"))?,
            owes_revocation: r.bool()?,
            revoked_last: r.bool()?,
            // What ends a payment is not counted against the bound.
            unacknowledged: r.list(usize::from(MAX_UNACKNOWLEDGED).saturating_add(MAX_HTLCS), |r| Update::read(r))?,
            signed: r.u16()?.into(),
        })
    }
}

impl Update {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Add(htlc) => htlc.write(w.u8(0)),
            Self::Fulfill(id, preimage) => w.u8(1).u64(*id).raw(preimage),
            Self::Fail(id) => w.u8(2).u64(*id),
            Self::Fee(rate) => w.u8(3).u64(rate.to_sat_per_kwu()),
            Self::Pay(amount) => w.u8(4).msat(*amount),
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        match r.u8()? {
            0 => Htlc::read(r).map(Self::Add),
            1 => Ok(Self::Fulfill(r.u64()?, r.array()?)),
            2 => r.u64().map(Self::Fail),
            3 => r.u64().map(FeeRate::from_sat_per_kwu).map(Self::Fee),
            4 => r.msat().map(Self::Pay),
            _ => Err(malformed("an unknown update")),
        }
    }
}

impl Step {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Proposed => 0,
            Self::Signed => 1,
            Self::Acknowledged => 2,
            Self::Countersigned => 3,
            Self::Settled => 4,
        }
    }

    const fn from_byte(byte: u8) -> Result<Self, Error> {
        match byte {
            0 => Ok(Self::Proposed),
            1 => Ok(Self::Signed),
            2 => Ok(Self::Acknowledged),
            3 => Ok(Self::Countersigned),
            4 => Ok(Self::Settled),
            _ => Err(malformed("an unknown step")),
        }
    }
}

fn write_preimage<'w>(w: &'w mut Writer, preimage: Option<&Preimage>) -> &'w mut Writer {
    w.option(preimage, |w, preimage| {
        w.raw(preimage);
    })
}
