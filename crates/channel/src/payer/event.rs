//! What a payer stores about a channel.

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, Txid};

use crate::budget::Spent;
use crate::commitment::{Funding, Paid};
use crate::error::{Code, Error};
use crate::params::ChannelParams;
use crate::persist::StoredEvent;
use crate::wire::codec::{Reader, Writer, malformed};

/// A fact about a channel that survives a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The channel exists.
    Opened {
        /// What was agreed.
        params: Box<ChannelParams>,
        /// The operator's node key.
        node: PublicKey,
        /// Its signature over the parameters.
        signature: Signature,
        /// See [`crate::keys::Seed::channel_key`].
        key_index: u32,
        /// What the viewer was asked to deposit.
        deposit: Amount,
    },
    /// This output funds it, as both sides see.
    Funded(Funding),
    /// The newest payment.
    Paid {
        /// Amount and signature.
        paid: Paid,
        /// What had been received by then, in the tariff's base quantity.
        received: u64,
        /// The budget's books, this payment included.
        spent: Spent,
    },
    /// The viewer pressed Stop.
    Stopping,
    /// The final payment.
    Closing(Paid),
    /// The node's signature over the closing statement.
    Closed(Signature),
    /// The funding was spent; `None` after a reorganisation undid it.
    Spent(Option<Spend>),
}

/// A transaction that spent the funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which one.
    pub txid: Txid,
    /// What it paid to the return script.
    pub returned: Amount,
    /// It is a refund of our own.
    pub refund: bool,
    /// It is in a block.
    pub confirmed: bool,
}

impl StoredEvent for Event {
    fn slot(&self) -> u8 {
        match self {
            Self::Opened { .. } => 0,
            Self::Funded(_) => 1,
            Self::Paid { .. } => 2,
            Self::Stopping => 3,
            Self::Closing(_) => 4,
            Self::Closed(_) => 5,
            Self::Spent(_) => 6,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(112);
        w.u8(self.slot());
        match self {
            Self::Opened { params, node, signature, key_index, deposit } => {
                params.write(&mut w);
                w.key(node).signature(signature).u32(*key_index).amount(*deposit);
            }
            Self::Funded(funding) => funding.write(&mut w),
            Self::Paid { paid, received, spent } => {
                paid.write(&mut w);
                spent.write(w.u64(*received));
            }
            Self::Stopping => {}
            Self::Closing(paid) => paid.write(&mut w),
            Self::Closed(signature) => {
                w.signature(signature);
            }
            Self::Spent(spend) => {
                w.option(spend.as_ref(), |w, spend| {
                    w.txid(&spend.txid).amount(spend.returned).bool(spend.refund).bool(spend.confirmed);
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
            params: Box::new(ChannelParams::read(r)?),
            node: r.key()?,
            signature: r.signature()?,
            key_index: r.u32()?,
            deposit: r.amount()?,
        },
        1 => Event::Funded(Funding::read(r)?),
        2 => Event::Paid { paid: Paid::read(r)?, received: r.u64()?, spent: Spent::read(r)? },
        3 => Event::Stopping,
        4 => Event::Closing(Paid::read(r)?),
        5 => Event::Closed(r.signature()?),
        6 => Event::Spent(r.option(|r| {
            Ok(Spend { txid: r.txid()?, returned: r.amount()?, refund: r.bool()?, confirmed: r.bool()? })
        })?),
        _ => return Err(malformed("an unknown event")),
    })
}
