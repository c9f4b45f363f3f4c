//! The kinds of one-way channel, and what sets them apart: how an old commitment loses to a newer one.
//!
//! | kind | an old commitment loses because | updates |
//! | --- | --- | --- |
//! | `cltv` | the payee alone can broadcast one, and each newer one pays it more | unlimited |
//! | `timelock` | the newer one may enter a block earlier: commitment *n* has nLockTime `expiry - n * step` | bounded |
//!
//! `timelock` is the construction of *Mastering Bitcoin*, chapter 12: a 2-of-2 funding, a refund that the payee signs
//! before anything is broadcast, and a ladder of commitments that both sides hold. Both kinds share every other rule.

#[cfg(test)]
mod tests;

use bitcoin::ScriptBuf;

use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error, refuse};
use crate::params::{MAX_RETURN_SCRIPT, validate_return_script};

/// The rungs of a `timelock` channel: how far commitments are apart, and how many there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// Blocks between one commitment's lock and the next one's: the time in which the newest has to be confirmed before
    /// its predecessor becomes valid. At least 1.
    pub step: u16,
    /// The most commitments, and so payments, in the channel's life. At least 1.
    pub updates: u32,
}

impl Ladder {
    /// The blocks between the expiry and the lock of the last commitment; `None` beyond the range of heights.
    pub fn height(&self) -> Option<u32> {
        self.updates.checked_mul(self.step.into())
    }

    /// The nLockTime of commitment `number` (from 1) in a channel that expires at `expiry`; `None` for one that the
    /// ladder does not have.
    pub fn lock(&self, expiry: u32, number: u32) -> Option<u32> {
        let below = number.checked_mul(self.step.into()).filter(|_| (1..=self.updates).contains(&number))?;
        expiry.checked_sub(below)
    }

    /// Which commitment has this nLockTime; `None` where no commitment has.
    pub fn number(&self, expiry: u32, lock: u32) -> Option<u32> {
        let below = expiry.checked_sub(lock)?;
        let number = below.checked_div(self.step.into())?;
        (self.lock(expiry, number) == Some(lock)).then_some(number)
    }
}

/// How a channel lets old commitments lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIP 65, "Payment Channels".
    Cltv,
    /// *Mastering Bitcoin*, chapter 12, "Trustless Channels" with time locks.
    Timelock {
        /// When which commitment becomes valid.
        ladder: Ladder,
        /// Where the payee's share goes in a commitment that the payer broadcasts.
        payee_script: ScriptBuf,
    },
}

impl Kind {
    /// The kind without its figures.
    pub const fn name(&self) -> KindName {
        match self {
            Self::Cltv => KindName::Cltv,
            Self::Timelock { .. } => KindName::Timelock,
        }
    }

    /// The ladder of a `timelock` channel.
    pub const fn ladder(&self) -> Option<&Ladder> {
        match self {
            Self::Cltv => None,
            Self::Timelock { ladder, .. } => Some(ladder),
        }
    }

    /// Rules that hold for any channel of the kind.
    pub(crate) fn validate(&self, expiry: u32, stop_margin: u16) -> Result<(), Error> {
        let Self::Timelock { ladder, payee_script } = self else { return Ok(()) };
        validate_return_script(payee_script)?;
        let lowest = ladder.height().and_then(|height| expiry.checked_sub(height));
        if ladder.step == 0 || ladder.updates == 0 || lowest.is_none_or(|lowest| lowest <= stop_margin.into()) {
            return refuse(Code::UnacceptableTerms, "the ladder of lock times makes no sense");
        }
        Ok(())
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u8(self.name().to_byte());
        if let Self::Timelock { ladder, payee_script } = self {
            w.u16(ladder.step).u32(ladder.updates).bytes(payee_script.as_bytes());
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match KindName::from_byte(r.u8()?)? {
            KindName::Cltv => Self::Cltv,
            KindName::Timelock => Self::Timelock {
                ladder: Ladder { step: r.u16()?, updates: r.u32()? },
                payee_script: r.script(MAX_RETURN_SCRIPT)?,
            },
        })
    }
}

/// The kind without its figures, as a payer asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KindName {
    /// See [`Kind::Cltv`].
    #[default]
    Cltv,
    /// See [`Kind::Timelock`].
    Timelock,
}

impl KindName {
    /// As terms and configuration write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cltv => "cltv",
            Self::Timelock => "timelock",
        }
    }

    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Cltv => 0,
            Self::Timelock => 1,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Result<Self, Error> {
        match byte {
            0 => Ok(Self::Cltv),
            1 => Ok(Self::Timelock),
            _ => Err(malformed("an unknown kind of channel")),
        }
    }
}
