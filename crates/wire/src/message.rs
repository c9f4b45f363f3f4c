//! Framing (BOLT 1): two bytes of type, the payload, and what extends it.

use crate::codec::{Reader, Wire, Writer};
use crate::error::{Code, Error, refuse};
use crate::messages::*;

/// The most bytes of a message with its type: what the transport's two-byte length can say.
pub const MAX_MESSAGE: usize = 65535;

/// A message of one type.
pub trait Payload: Wire {
    /// The message's type.
    const KIND: u16;

    /// The bytes of the message, its type first.
    ///
    /// # Errors
    /// [`Code::Unencodable`] for a field or message that is too long.
    fn encode(&self) -> Result<Vec<u8>, Error> {
        frame(Self::KIND, |writer| self.write(writer))
    }
}

fn frame(kind: u16, payload: impl FnOnce(&mut Writer)) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new();
    writer.write(&kind);
    payload(&mut writer);
    let bytes = writer.finish().map_err(|error| error.in_message(kind))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Error::new(Code::Unencodable, "a message of more than 65535 bytes").in_message(kind));
    }
    Ok(bytes)
}

/// A message of an odd type that is not known here. BOLT 1 says to ignore it; whoever knows the type may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMessage {
    kind: u16,
    payload: Vec<u8>,
}

impl UnknownMessage {
    /// A message of another specification, to be sent. Even types of such need an agreement and are not framed here.
    ///
    /// # Errors
    /// [`Code::Unencodable`] for an even type, for one that has a struct of its own, and for more bytes than a message has.
    pub fn new(kind: u16, payload: Vec<u8>) -> Result<Self, Error> {
        let fits = payload.len().checked_add(2).is_some_and(|length| length <= MAX_MESSAGE);
        if kind.is_multiple_of(2) || Message::KINDS.contains(&kind) || !fits {
            return refuse(Code::Unencodable, "no message of an unknown odd type")
                .map_err(|e: Error| e.in_message(kind));
        }
        Ok(Self { kind, payload })
    }

    /// Its type, always odd.
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// What follows the type.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

macro_rules! messages {
    ($($name:ident)*) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("[`", stringify!($name), "`].")] $name($name),)*
            /// A message of an unknown odd type.
            Unknown(UnknownMessage),
        }

        impl Message {
            /// The types that are known.
            pub const KINDS: &'static [u16] = &[$($name::KIND,)*];

            /// The message's type.
            pub const fn kind(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $name::KIND,)*
                    Self::Unknown(message) => message.kind,
                }
            }

            /// The bytes of the message, its type first.
            ///
            /// # Errors
            /// [`Code::Unencodable`] for a field or message that is too long.
            pub fn encode(&self) -> Result<Vec<u8>, Error> {
                match self {
                    $(Self::$name(message) => message.encode(),)*
                    Self::Unknown(message) => frame(message.kind, |writer| {
                        writer.raw(&message.payload);
                    }),
                }
            }

            fn payload(kind: u16, reader: &mut Reader<'_>) -> Result<Self, Error> {
                match kind {
                    $($name::KIND => reader.read().map(Self::$name),)*
                    even if even.is_multiple_of(2) => refuse(Code::UnknownMessage, "an unknown even message"),
                    odd => Ok(Self::Unknown(UnknownMessage { kind: odd, payload: reader.rest().to_vec() })),
                }
            }

            /// For each known type, what makes one of random content.
            #[cfg(test)]
            pub(crate) const SAMPLES: &'static [fn(&mut crate::sample::Dice) -> Self] =
                &[$(|dice| Self::$name(crate::sample::Sample::sample(dice)),)*];
        }

        $(impl From<$name> for Message {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })*
    };
}

messages! {
    Warning Stfu PeerStorage PeerStorageRetrieval Init ErrorMessage Ping Pong
    OpenChannel AcceptChannel FundingCreated FundingSigned ChannelReady
    Shutdown ClosingSigned ClosingComplete ClosingSig
    OpenChannel2 AcceptChannel2
    TxAddInput TxAddOutput TxRemoveInput TxRemoveOutput TxComplete TxSignatures TxInitRbf TxAckRbf TxAbort
    SpliceLocked SpliceInit SpliceAck
    StartBatch UpdateAddHtlc UpdateFulfillHtlc UpdateFailHtlc CommitmentSigned RevokeAndAck UpdateFee
    UpdateFailMalformedHtlc ChannelReestablish
    ChannelAnnouncement NodeAnnouncement ChannelUpdate AnnouncementSignatures
    DirectPayment
    TowerStore TowerForget TowerDone TowerRefused
    QueryShortChannelIds ReplyShortChannelIdsEnd QueryChannelRange ReplyChannelRange GossipTimestampFilter
}

impl Message {
    /// Decodes a whole message.
    ///
    /// # Errors
    /// [`Code::UnknownMessage`] for an unknown even type; for a known type, any code that says its bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_MESSAGE {
            return refuse(Code::TrailingBytes, "a message of more than 65535 bytes");
        }
        let mut reader = Reader::new(bytes);
        let kind = reader.read()?;
        let message = Self::payload(kind, &mut reader).map_err(|error| error.in_message(kind))?;
        reader.finish().map_err(|error| error.in_message(kind))?;
        Ok(message)
    }
}
