//! What a payer stores about a channel.

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, Transaction, Txid};

use crate::budget::Spent;
use crate::codec::{Reader, Writer, malformed};
use crate::commitment::{Funding, Paid};
use crate::error::{Code, Error};
use crate::grant::Grant;
use crate::params::ChannelParams;
use crate::persist::{FORMAT, StoredEvent, read_format};

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
    /// What has arrived, in the tariff's base quantity.
    Received {
        /// Cumulative, `forgiven` included.
        quantity: u64,
        /// How much of it the payee delivered without its ever arriving; see [`super::FORGIVEN_WINDOWS`].
        forgiven: u64,
    },
    /// The newest payment.
    Paid {
        /// Amount and signature.
        paid: Paid,
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
    /// The transaction that funds a `timelock` channel; broadcast only when the refund of its output is granted.
    Funding(Transaction),
    /// The payee lets the payer take the funding back after the expiry.
    Refundable(Grant),
    /// The payer's copy of the newest commitment.
    Countersigned(Grant),
}

/// A transaction that spent the funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which one.
    pub txid: Txid,
    /// What it paid to the return script.
    pub returned: Amount,
    /// It pays the payee nothing.
    pub refund: bool,
    /// It is in a block.
    pub confirmed: bool,
}

impl StoredEvent for Event {
    fn slot(&self) -> u8 {
        match self {
            Self::Opened { .. } => 0,
            Self::Funded(_) => 1,
            Self::Received { .. } => 2,
            Self::Paid { .. } => 3,
            Self::Stopping => 4,
            Self::Closing(_) => 5,
            Self::Closed(_) => 6,
            Self::Spent(_) => 7,
            Self::Funding(_) => 8,
            Self::Refundable(_) => 9,
            Self::Countersigned(_) => 10,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(112);
        w.u8(self.slot());
        match self {
            Self::Opened { params, node, signature, key_index, deposit } => {
                params.write(w.u8(FORMAT));
                w.key(node).signature(signature).u32(*key_index).amount(*deposit);
            }
            Self::Funded(funding) => funding.write(&mut w),
            Self::Received { quantity, forgiven } => {
                w.u64(*quantity).u64(*forgiven);
            }
            Self::Paid { paid, spent } => {
                paid.write(&mut w);
                spent.write(&mut w);
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
            Self::Funding(transaction) => {
                w.transaction(transaction);
            }
            Self::Refundable(grant) | Self::Countersigned(grant) => grant.write(&mut w),
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
            node: r.key()?,
            signature: r.signature()?,
            key_index: r.u32()?,
            deposit: r.amount()?,
        },
        1 => Event::Funded(Funding::read(r)?),
        2 => Event::Received { quantity: r.u64()?, forgiven: r.u64()? },
        3 => Event::Paid { paid: Paid::read(r)?, spent: Spent::read(r)? },
        4 => Event::Stopping,
        5 => Event::Closing(Paid::read(r)?),
        6 => Event::Closed(r.signature()?),
        7 => Event::Spent(r.option(|r| {
            Ok(Spend { txid: r.txid()?, returned: r.amount()?, refund: r.bool()?, confirmed: r.bool()? })
        })?),
        8 => Event::Funding(r.transaction()?),
        9 => Event::Refundable(Grant::read(r)?),
        10 => Event::Countersigned(Grant::read(r)?),
        _ => return Err(malformed("an unknown event")),
    })
}
