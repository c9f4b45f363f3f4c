//! What a payee stores about a channel.

use bitcoin::Txid;

use crate::codec::{Reader, Writer, malformed};
use crate::commitment::{Funding, Paid};
use crate::error::{Code, Error};
use crate::params::ChannelParams;
use crate::persist::{FORMAT, StoredEvent, read_format};

/// A fact about a channel that survives a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The channel exists; its payee key is the operator's number `key_index`.
    Opened {
        /// What was agreed.
        params: Box<ChannelParams>,
        /// See [`crate::keys::Seed::channel_key`].
        key_index: u32,
    },
    /// This output funds it.
    Funded {
        /// Which one.
        funding: Funding,
        /// It is confirmed as deeply as agreed; a reorganisation can undo that.
        deep: bool,
    },
    /// The newest session.
    Attached {
        /// Counts the sessions.
        epoch: u64,
    },
    /// The highest payment.
    Accepted(Paid),
    /// Delivered so far, in the tariff's base quantity.
    Delivered(u64),
    /// Nothing more is delivered.
    Stopped,
    /// Settle at this payment.
    Closing(Paid),
    /// The funding was spent by this transaction; `None` after a reorganisation undid it.
    Spent(Option<Txid>),
    /// The payer was granted the whole funding: nothing had been delivered.
    Released,
}

impl StoredEvent for Event {
    fn slot(&self) -> u8 {
        match self {
            Self::Opened { .. } => 0,
            Self::Funded { .. } => 1,
            Self::Attached { .. } => 2,
            Self::Accepted(_) => 3,
            Self::Delivered(_) => 4,
            Self::Stopped => 5,
            Self::Closing(_) => 6,
            Self::Spent(_) => 7,
            Self::Released => 8,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(80);
        w.u8(self.slot());
        match self {
            Self::Opened { params, key_index } => {
                params.write(w.u8(FORMAT));
                w.u32(*key_index);
            }
            Self::Funded { funding, deep } => {
                funding.write(&mut w);
                w.bool(*deep);
            }
            Self::Attached { epoch } => {
                w.u64(*epoch);
            }
            Self::Accepted(paid) | Self::Closing(paid) => paid.write(&mut w),
            Self::Delivered(quantity) => {
                w.u64(*quantity);
            }
            Self::Stopped | Self::Released => {}
            Self::Spent(txid) => {
                w.option(txid.as_ref(), |w, txid| {
                    w.txid(txid);
                });
            }
        }
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        read(&mut r)
            .and_then(|event| r.finish().map(|()| event))
            .map_err(|_| Error::new(Code::CorruptedStore, "a stored event cannot be parsed"))
    }
}

fn read(r: &mut Reader<'_>) -> Result<Event, Error> {
    Ok(match r.u8()? {
        0 => Event::Opened {
            params: read_format(r).and_then(|()| ChannelParams::read(r)).map(Box::new)?,
            key_index: r.u32()?,
        },
        1 => Event::Funded { funding: Funding::read(r)?, deep: r.bool()? },
        2 => Event::Attached { epoch: r.u64()? },
        3 => Event::Accepted(Paid::read(r)?),
        4 => Event::Delivered(r.u64()?),
        5 => Event::Stopped,
        6 => Event::Closing(Paid::read(r)?),
        7 => Event::Spent(r.option(Reader::txid)?),
        8 => Event::Released,
        _ => return Err(malformed("an unknown event")),
    })
}
