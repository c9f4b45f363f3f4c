//! Set-up and control (BOLT 1).

use bitcoin::constants::ChainHash;

use super::Extension;
use crate::address::Address;
use crate::codec::{Reader, Wire, Writer};
use crate::error::Error;
use crate::features::Features;
use crate::message::Payload;
use crate::tlv::Record;
use crate::types::{ChannelId, printable};

/// The first message of each side: its features and what it is interested in.
///
/// Old nodes repeat the low features in a field of their own. Both fields are one set; it is written into the second, and
/// into the first only where it came with just that copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// What the sender can do and insists on.
    pub features: Features,
    /// Whether the first field repeats bits 0 to 13, for peers from before 2020.
    pub legacy_copy: bool,
    /// Networks and address.
    pub tlvs: InitTlvs,
}

extension! {
    /// What may follow [`Init`].
    InitTlvs {
        /// The chains that the sender cares for.
        1 => networks: Networks,
        /// An address descriptor (BOLT 7): where the sender sees the receiver. See [`InitTlvs::address`].
        3 => remote_addr: Vec<u8>,
    }
}

impl Init {
    /// An `init` with these features and nothing else.
    pub fn new(features: Features) -> Self {
        Self { features, legacy_copy: false, tlvs: InitTlvs::default() }
    }
}

impl Wire for Init {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (global, features): (Features, Features) = (reader.read()?, reader.read()?);
        let tlvs = reader.read()?;
        let legacy_copy = !global.as_bytes().is_empty() && global == features.legacy();
        let features = if legacy_copy { features } else { global.union(&features) };
        Ok(Self { features, legacy_copy, tlvs })
    }

    fn write(&self, writer: &mut Writer) {
        let global = if self.legacy_copy { self.features.legacy() } else { Features::default() };
        writer.write(&global).write(&self.features).write(&self.tlvs);
    }
}

impl Payload for Init {
    const KIND: u16 = 16;
}

impl InitTlvs {
    /// The address in `remote_addr`, if it is of a known kind.
    pub fn address(&self) -> Option<Address> {
        let bytes = self.remote_addr.as_ref()?;
        let [address] = <[Address; 1]>::try_from(Address::parse_all(bytes).ok()?).ok()?;
        Some(address)
    }
}

/// Chains, by the hash of their first block.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Networks(pub Vec<ChainHash>);

impl Record for Networks {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(value);
        let mut chains = Vec::new();
        while reader.remaining() > 0 {
            chains.push(reader.read()?);
        }
        Ok(Self(chains))
    }

    fn write_value(&self, writer: &mut Writer) {
        for chain in &self.0 {
            writer.write(chain);
        }
    }
}

message! {
    /// Something is wrong for good: the channel, or all of them, fail.
    ErrorMessage = 17 {
        /// Which channel, or [`ChannelId::ALL`].
        channel_id: ChannelId,
        /// A text for whoever looks; see [`ErrorMessage::text`].
        data: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Something is wrong that need not be for good.
    Warning = 1 {
        /// Which channel, or [`ChannelId::ALL`] if it is about none.
        channel_id: ChannelId,
        /// A text for whoever looks; see [`Warning::text`].
        data: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

impl ErrorMessage {
    /// Says this about a channel, or about all of them.
    pub fn new(channel_id: ChannelId, text: impl Into<Vec<u8>>) -> Self {
        Self { channel_id, data: text.into(), tlvs: Extension::default() }
    }

    /// The text, if it is safe to show.
    pub fn text(&self) -> Option<&str> {
        printable(&self.data)
    }
}

impl Warning {
    /// Says this about a channel, or about all of them.
    pub fn new(channel_id: ChannelId, text: impl Into<Vec<u8>>) -> Self {
        Self { channel_id, data: text.into(), tlvs: Extension::default() }
    }

    /// The text, if it is safe to show.
    pub fn text(&self) -> Option<&str> {
        printable(&self.data)
    }
}

message! {
    /// Asks for a sign of life.
    Ping = 18 {
        /// How many bytes the answer is to have; see [`Ping::pong`].
        num_pong_bytes: u16,
        /// Padding.
        ignored: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The sign of life.
    Pong = 19 {
        /// Padding, as long as was asked for.
        ignored: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

impl Ping {
    /// The answer, or `None` for a ping that wants none: one that asks for 65532 bytes or more.
    pub fn pong(&self) -> Option<Pong> {
        let ignored = vec![0; self.num_pong_bytes.into()];
        (self.num_pong_bytes < 65532).then_some(Pong { ignored, tlvs: Extension::default() })
    }
}

message! {
    /// Asks the peer to keep an encrypted backup, in place of the one before.
    PeerStorage = 7 {
        /// The backup, at most 65531 bytes.
        blob: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Gives the last backup back, after each reconnection.
    PeerStorageRetrieval = 9 {
        /// The backup, at most 65531 bytes.
        blob: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn a_ping_is_answered_with_as_much_as_fits() {
        let ping = |num_pong_bytes| Ping { num_pong_bytes, ignored: Vec::new(), tlvs: Extension::default() };
        let longest = ping(65531).pong().unwrap();
        assert_eq!(longest.encode().unwrap().len(), 65535);
        assert_eq!(ping(0).pong().unwrap().ignored, []);
        assert!(ping(65532).pong().is_none() && ping(65535).pong().is_none());
        let too_long = Pong { ignored: vec![0; 65532], ..longest };
        assert_eq!(too_long.encode().unwrap_err().code(), crate::Code::Unencodable);
    }

    #[test]
    fn both_feature_fields_are_one_set() {
        let decode = |bytes: &[u8]| match Message::decode(bytes).unwrap() {
            Message::Init(init) => init,
            other => panic!("{other:?}"),
        };
        let folded = decode(&[0, 16, 0, 1, 2, 0, 2, 1, 0]);
        assert_eq!((folded.legacy_copy, folded.features.bits().collect::<Vec<_>>()), (false, vec![1, 8]));
        let copied = decode(&[0, 16, 0, 2, 1, 0, 0, 2, 1, 0]);
        assert!(copied.legacy_copy);
        assert_eq!(copied.encode().unwrap(), [0, 16, 0, 2, 1, 0, 0, 2, 1, 0]);
        assert_eq!(folded.encode().unwrap(), [0, 16, 0, 0, 0, 2, 1, 2]);
    }

    #[test]
    fn the_address_is_read_if_it_is_one() {
        let mut tlvs = InitTlvs { remote_addr: Some(vec![1, 127, 0, 0, 1, 3, 232]), ..InitTlvs::default() };
        assert_eq!(tlvs.address(), Some(Address::Ipv4("127.0.0.1:1000".parse().unwrap())));
        for bad in [&[][..], &[1, 127], &[9, 1, 2]] {
            tlvs.remote_addr = Some(bad.to_vec());
            assert_eq!(tlvs.address(), None);
        }
    }
}
