//! Messages between payer and payee, one per WebSocket frame (docs/protocol.md lists every field).
//!
//! A frame is a version byte, a type byte and the fields of that type, nothing after them. Amounts are cumulative, so
//! that a repeated, lost or late frame can neither charge twice nor lose money.

#[cfg(test)]
mod tests;

use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, Network, ScriptBuf, Txid};

use crate::codec::{Reader, Writer, malformed};
use crate::commitment::{Funding, Paid};
use crate::error::{Code, Error};
use crate::grant::Grant;
use crate::kind::KindName;
use crate::params::{ChannelId, ChannelParams, FundingKind, MAX_RETURN_SCRIPT, network_byte, network_from_byte};

/// The protocol version of every frame.
pub const VERSION: u8 = 1;
/// The WebSocket subprotocol that names this version.
pub const SUBPROTOCOL: &str = "rillpay.1";
/// The longest frame, in bytes. A longer one is refused unread.
pub const MAX_FRAME: usize = 1024;
/// The longest error code, in bytes.
pub const MAX_CODE: u8 = 32;
/// The longest error text, in bytes.
pub const MAX_TEXT: u8 = 200;

/// Types from here on may be ignored by a side that does not know them; lower ones may not.
pub const OPTIONAL: u8 = 128;

/// A session token: 32 random bytes that HTTP requests for paid content carry in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where a channel stands, in the payee's books. The payer adopts a payment out of it only with its own valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// What funds the channel, once it is confirmed deeply enough.
    pub funding: Option<Funding>,
    /// The highest payment that was made durable.
    pub paid: Option<Paid>,
    /// Delivered so far, in the tariff's base quantity (milliseconds, bytes, requests).
    pub delivered: u64,
    /// The channel has been asked to stop: nothing more is delivered.
    pub stopped: bool,
    /// The final payment, once the payee settles.
    pub closing: Option<Paid>,
}

impl ChannelState {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.option(self.funding.as_ref(), |w, funding| funding.write(w));
        w.option(self.paid.as_ref(), |w, paid| paid.write(w));
        w.u64(self.delivered).bool(self.stopped);
        w.option(self.closing.as_ref(), |w, paid| paid.write(w));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            funding: r.option(Funding::read)?,
            paid: r.option(Paid::read)?,
            delivered: r.u64()?,
            stopped: r.bool()?,
            closing: r.option(Paid::read)?,
        })
    }
}

/// What the payer asks for when it opens a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// How old commitments are to lose.
    pub kind: KindName,
    /// The network the payer is on.
    pub network: Network,
    /// How the funding output hides the channel's script.
    pub funding_kind: FundingKind,
    /// The payer's channel key.
    pub payer: PublicKey,
    /// Where change and refunds go.
    pub return_script: ScriptBuf,
    /// What the payer means to deposit; what counts is what arrives.
    pub deposit: Amount,
}

/// An error as a peer sees it: a code and a short text, and the state that settles the matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code; one that this version does not know is kept as it came.
    pub code: String,
    /// A short English sentence.
    pub text: String,
    /// The type of the message that is refused; 0 where it is none in particular.
    pub about: u8,
    /// The payee's state, where the two sides differ.
    pub state: Option<Box<ChannelState>>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let state = match error.detail() {
            Some(crate::error::Detail::State(state)) => Some(state.clone()),
            _ => None,
        };
        Self { code: error.code().as_str().into(), text: error.text().into(), about: 0, state }
    }
}

impl Refusal {
    /// The refusal of a message of this type ([`Message::kind`]).
    pub fn of(kind: u8, error: &Error) -> Self {
        Self { about: kind, ..Self::from(error) }
    }
}

/// A frame. The comment says who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Payee, first on every socket: what an [`Message::Attach`] signs.
    Welcome {
        /// Fresh random bytes.
        challenge: [u8; 32],
        /// The operator's node key.
        node: PublicKey,
    },
    /// Payer: asks for a channel.
    Open(Open),
    /// Payee: the channel's parameters, signed by the node.
    Opened {
        /// Everything both sides agree on.
        params: Box<ChannelParams>,
        /// The node's signature over the channel's id.
        signature: Signature,
    },
    /// Payer: makes this socket the channel's one session.
    Attach {
        /// Which channel.
        channel: ChannelId,
        /// By the payer's channel key, over the challenge and the id.
        signature: Signature,
    },
    /// Payee: the session stands; older ones of the channel are fenced off.
    Attached {
        /// Counts the sessions of this channel.
        epoch: u64,
        /// What requests for content carry.
        token: Token,
        /// Where the channel stands.
        state: Box<ChannelState>,
    },
    /// Payee: how the deposit is doing on the chain.
    FundingSeen {
        /// What was seen, confirmed or not; `None` after a reorganisation took it away.
        funding: Option<Funding>,
        /// Its confirmations.
        confirmations: u32,
        /// Height of the payee's best block.
        tip: u32,
    },
    /// Payee: content waits for payment.
    Need {
        /// Pay for everything up to this quantity.
        upto: u64,
        /// Delivered so far.
        delivered: u64,
    },
    /// Payer: pays.
    Pay(Paid),
    /// Payee: the payment is durable.
    Ack {
        /// The highest durable cumulative amount.
        cumulative: Amount,
        /// Delivered so far.
        delivered: u64,
    },
    /// Payer: deliver nothing more and tell the final count.
    Stop,
    /// Payee: nothing more is delivered.
    Stopped {
        /// The final count.
        delivered: u64,
    },
    /// Payer: settle at this amount.
    Close(Paid),
    /// Payee: the final amount is durable and will be settled.
    Closed {
        /// The final amount.
        cumulative: Amount,
        /// The node's signature over the closing statement.
        signature: Signature,
    },
    /// Payee: the funding was spent.
    Settled {
        /// By this transaction.
        txid: Txid,
        /// Its confirmations; they can fall.
        confirmations: u32,
    },
    /// Payer, having lost its store: asks for the channel of this key.
    Recover {
        /// The payer's channel key.
        payer: PublicKey,
        /// By that key, over the challenge.
        signature: Signature,
    },
    /// Payee: the channel of that key.
    Recovered {
        /// Everything both sides agreed on.
        params: Box<ChannelParams>,
        /// The node's signature over the channel's id.
        signature: Signature,
        /// Where the channel stands.
        state: Box<ChannelState>,
    },
    /// Payer of a `timelock` channel: about to broadcast this funding, asks for the refund's grant.
    Fund(Funding),
    /// Payer: asks for a deposit back for which nothing was delivered.
    Reclaim(Funding),
    /// Payee: the payer may spend this.
    Granted(Grant),
    /// Either: something was refused.
    Refused(Refusal),
    /// A message of a type from [`OPTIONAL`] on that this side does not know, to be ignored. Its fields were not read.
    Unknown(u8),
}

macro_rules! types {
    ($($name:ident = $number:literal,)*) => { $(const $name: u8 = $number;)* };
}
types! {
    WELCOME = 1, OPEN = 2, OPENED = 3, ATTACH = 4, ATTACHED = 5, FUNDING_SEEN = 6, NEED = 7, PAY = 8, ACK = 9,
    STOP = 10, STOPPED = 11, CLOSE = 12, CLOSED = 13, SETTLED = 14, REFUSED = 15,
    RECOVER = 16, RECOVERED = 17, FUND = 18, RECLAIM = 19, GRANTED = 20,
}

impl Message {
    /// The type byte.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Welcome { .. } => WELCOME,
            Self::Open(_) => OPEN,
            Self::Opened { .. } => OPENED,
            Self::Attach { .. } => ATTACH,
            Self::Attached { .. } => ATTACHED,
            Self::FundingSeen { .. } => FUNDING_SEEN,
            Self::Need { .. } => NEED,
            Self::Pay(_) => PAY,
            Self::Ack { .. } => ACK,
            Self::Stop => STOP,
            Self::Stopped { .. } => STOPPED,
            Self::Close(_) => CLOSE,
            Self::Closed { .. } => CLOSED,
            Self::Settled { .. } => SETTLED,
            Self::Refused(_) => REFUSED,
            Self::Recover { .. } => RECOVER,
            Self::Recovered { .. } => RECOVERED,
            Self::Fund(_) => FUND,
            Self::Reclaim(_) => RECLAIM,
            Self::Granted(_) => GRANTED,
            Self::Unknown(kind) => *kind,
        }
    }

    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(80);
        w.u8(VERSION).u8(self.kind());
        match self {
            Self::Welcome { challenge, node } => w.raw(challenge).key(node),
            Self::Open(open) => w
                .u8(open.kind.to_byte())
                .u8(network_byte(open.network))
                .u8(open.funding_kind.to_byte())
                .key(&open.payer)
                .bytes(open.return_script.as_bytes())
                .amount(open.deposit),
            Self::Opened { params, signature } => {
                params.write(&mut w);
                w.signature(signature)
            }
            Self::Attach { channel, signature } => w.raw(&channel.0).signature(signature),
            Self::Attached { epoch, token, state } => {
                state.write(w.u64(*epoch).raw(&token.0));
                &mut w
            }
            Self::FundingSeen { funding, confirmations, tip } => {
                w.option(funding.as_ref(), |w, funding| funding.write(w)).u32(*confirmations).u32(*tip)
            }
            Self::Need { upto, delivered } => w.u64(*upto).u64(*delivered),
            Self::Ack { cumulative, delivered } => w.amount(*cumulative).u64(*delivered),
            Self::Stop | Self::Unknown(_) => &mut w,
            Self::Stopped { delivered } => w.u64(*delivered),
            Self::Pay(paid) | Self::Close(paid) => {
                paid.write(&mut w);
                &mut w
            }
            Self::Closed { cumulative, signature } => w.amount(*cumulative).signature(signature),
            Self::Settled { txid, confirmations } => w.txid(txid).u32(*confirmations),
            Self::Refused(refusal) => w
                .text(&refusal.code, MAX_CODE)
                .text(&refusal.text, MAX_TEXT)
                .u8(refusal.about)
                .option(refusal.state.as_ref(), |w, state| state.write(w)),
            Self::Recover { payer, signature } => w.key(payer).signature(signature),
            Self::Recovered { params, signature, state } => {
                params.write(&mut w);
                state.write(w.signature(signature));
                &mut w
            }
            Self::Fund(funding) | Self::Reclaim(funding) => {
                funding.write(&mut w);
                &mut w
            }
            Self::Granted(grant) => {
                grant.write(&mut w);
                &mut w
            }
        };
        w.finish()
    }

    /// Parses one frame.
    ///
    /// # Errors
    /// [`Code::OversizedMessage`], [`Code::UnsupportedVersion`], [`Code::UnknownMessage`], [`Code::MalformedMessage`].
    pub fn decode(frame: &[u8]) -> Result<Self, Error> {
        if frame.len() > MAX_FRAME {
            return Err(Error::new(Code::OversizedMessage, "the frame is too long"));
        }
        let mut r = Reader::new(frame);
        if r.u8()? != VERSION {
            return Err(Error::new(Code::UnsupportedVersion, "this protocol version is not spoken here"));
        }
        let kind = r.u8()?;
        if kind >= OPTIONAL {
            return Ok(Self::Unknown(kind));
        }
        let message = Self::read_body(kind, &mut r)?;
        r.finish()?;
        Ok(message)
    }

    fn read_body(kind: u8, r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match kind {
            WELCOME => Self::Welcome { challenge: r.array()?, node: r.key()? },
            OPEN => Self::Open(Open {
                kind: KindName::from_byte(r.u8()?)?,
                network: network_from_byte(r.u8()?)?,
                funding_kind: FundingKind::from_byte(r.u8()?)?,
                payer: r.key()?,
                return_script: r.script(MAX_RETURN_SCRIPT)?,
                deposit: r.amount()?,
            }),
            OPENED => Self::Opened { params: Box::new(ChannelParams::read(r)?), signature: r.signature()? },
            ATTACH => Self::Attach { channel: ChannelId(r.array()?), signature: r.signature()? },
            ATTACHED => {
                Self::Attached { epoch: r.u64()?, token: Token(r.array()?), state: Box::new(ChannelState::read(r)?) }
            }
            FUNDING_SEEN => {
                Self::FundingSeen { funding: r.option(Funding::read)?, confirmations: r.u32()?, tip: r.u32()? }
            }
            NEED => Self::Need { upto: r.u64()?, delivered: r.u64()? },
            PAY => Self::Pay(Paid::read(r)?),
            ACK => Self::Ack { cumulative: r.amount()?, delivered: r.u64()? },
            STOP => Self::Stop,
            STOPPED => Self::Stopped { delivered: r.u64()? },
            CLOSE => Self::Close(Paid::read(r)?),
            CLOSED => Self::Closed { cumulative: r.amount()?, signature: r.signature()? },
            SETTLED => Self::Settled { txid: r.txid()?, confirmations: r.u32()? },
            REFUSED => Self::Refused(Refusal {
                code: r.text(MAX_CODE)?,
                text: r.text(MAX_TEXT)?,
                about: r.u8()?,
                state: r.option(|r| ChannelState::read(r).map(Box::new))?,
            }),
            RECOVER => Self::Recover { payer: r.key()?, signature: r.signature()? },
            RECOVERED => Self::Recovered {
                params: Box::new(ChannelParams::read(r)?),
                signature: r.signature()?,
                state: Box::new(ChannelState::read(r)?),
            },
            FUND => Self::Fund(Funding::read(r)?),
            RECLAIM => Self::Reclaim(Funding::read(r)?),
            GRANTED => Self::Granted(Grant::read(r)?),
            0 => return Err(malformed("message type 0 does not exist")),
            _ => return Err(Error::new(Code::UnknownMessage, "this message type is not known here")),
        })
    }
}
