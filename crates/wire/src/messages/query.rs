//! Asking a peer for gossip (BOLT 7).

use bitcoin::constants::ChainHash;

use super::Extension;
use crate::codec::{BigSize, Reader, Wire, Writer};
use crate::error::{Code, Error, refuse};
use crate::tlv::Record;

/// A long list behind a byte that says how it is encoded. Encoding 0 is a plain row of elements; 1 was a compression that
/// may no longer be used, and is carried here but not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedList {
    /// How.
    pub encoding: u8,
    /// What.
    pub data: Vec<u8>,
}

impl EncodedList {
    /// A plain list.
    pub fn plain<T: Wire>(elements: &[T]) -> Self {
        let mut writer = Writer::new();
        for element in elements {
            writer.write(element);
        }
        // Elements of a fixed size always fit.
        Self { encoding: 0, data: writer.finish().unwrap_or_default() }
    }

    /// The elements: [`ShortChannelId`](crate::ShortChannelId)s, [`Timestamps`], or [`BigSize`] flags.
    ///
    /// # Errors
    /// [`Code::InvalidField`] for another encoding than 0, [`Code::Truncated`] if the list is not whole.
    pub fn elements<T: Wire>(&self) -> Result<Vec<T>, Error> {
        if self.encoding != 0 {
            return refuse(Code::InvalidField, "a list whose encoding is not plain");
        }
        all(&self.data)
    }
}

fn all<T: Wire>(bytes: &[u8]) -> Result<Vec<T>, Error> {
    let mut reader = Reader::new(bytes);
    let mut elements = Vec::new();
    while reader.remaining() > 0 {
        elements.push(reader.read()?);
    }
    Ok(elements)
}

impl Record for EncodedList {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(value);
        Ok(Self { encoding: reader.read()?, data: reader.rest().to_vec() })
    }

    fn write_value(&self, writer: &mut Writer) {
        writer.write(&self.encoding).raw(&self.data);
    }
}

/// Behind a two-byte length, which counts the encoding, too.
impl Wire for EncodedList {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::from_value(reader.prefixed()?)
    }

    fn write(&self, writer: &mut Writer) {
        writer.count(self.data.len().saturating_add(1));
        self.write_value(writer);
    }
}

message! {
    /// Asks for all there is about these channels.
    QueryShortChannelIds = 261 {
        /// The chain.
        chain_hash: ChainHash,
        /// The channels, rising.
        encoded_short_ids: EncodedList,
        /// What of each.
        tlvs: QueryShortChannelIdsTlvs,
    }
}

extension! {
    /// What may follow [`QueryShortChannelIds`].
    QueryShortChannelIdsTlvs {
        /// A BigSize of flags for each channel.
        1 => query_flags: EncodedList,
    }
}

message! {
    /// That was all.
    ReplyShortChannelIdsEnd = 262 {
        /// The chain.
        chain_hash: ChainHash,
        /// Whether the sender keeps up with that chain.
        full_information: bool,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Asks which channels were funded in these blocks.
    QueryChannelRange = 263 {
        /// The chain.
        chain_hash: ChainHash,
        /// The first block.
        first_blocknum: u32,
        /// How many, at least 1.
        number_of_blocks: u32,
        /// What more about them.
        tlvs: QueryChannelRangeTlvs,
    }
}

extension! {
    /// What may follow [`QueryChannelRange`].
    QueryChannelRangeTlvs {
        /// Bit 0 asks for timestamps, bit 1 for checksums.
        1 => query_option: BigSize,
    }
}

message! {
    /// Some of the channels that were funded in the blocks asked for.
    ReplyChannelRange = 264 {
        /// The chain.
        chain_hash: ChainHash,
        /// The first block of this part.
        first_blocknum: u32,
        /// How many blocks are in this part.
        number_of_blocks: u32,
        /// Whether this part is the last.
        sync_complete: bool,
        /// The channels, rising.
        encoded_short_ids: EncodedList,
        /// What was asked for beside them.
        tlvs: ReplyChannelRangeTlvs,
    }
}

extension! {
    /// What may follow [`ReplyChannelRange`].
    ReplyChannelRangeTlvs {
        /// [`Timestamps`] for each channel.
        1 => timestamps: EncodedList,
        /// Checksums for each channel.
        3 => checksums: Checksums,
    }
}

fields! {
    /// When the updates of a channel's two directions were made; 0 where there is none.
    Timestamps {
        /// Node 1's.
        node_id_1: u32,
        /// Node 2's.
        node_id_2: u32,
    }
}

fields! {
    /// CRC32C of the updates of a channel's two directions, without signature and timestamp; 0 where there is none.
    Checksum {
        /// Node 1's.
        node_id_1: u32,
        /// Node 2's.
        node_id_2: u32,
    }
}

/// A [`Checksum`] for each channel.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checksums(pub Vec<Checksum>);

impl Record for Checksums {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        all(value).map(Self)
    }

    fn write_value(&self, writer: &mut Writer) {
        for checksum in &self.0 {
            writer.write(checksum);
        }
    }
}

message! {
    /// From when on the receiver shall pass gossip on.
    GossipTimestampFilter = 265 {
        /// The chain.
        chain_hash: ChainHash,
        /// Seconds since 1970.
        first_timestamp: u32,
        /// Seconds from there.
        timestamp_range: u32,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ShortChannelId;

    #[test]
    fn lists_are_whole_and_plain() {
        let ids = [ShortChannelId(142), ShortChannelId(15_465)];
        let list = EncodedList::plain(&ids);
        assert_eq!(list.elements::<ShortChannelId>().unwrap(), ids);
        let cut = EncodedList { data: list.data[1..].to_vec(), ..list.clone() };
        assert_eq!(cut.elements::<ShortChannelId>().unwrap_err().code(), Code::Truncated);
        let packed = EncodedList { encoding: 1, ..list };
        assert_eq!(packed.elements::<ShortChannelId>().unwrap_err().code(), Code::InvalidField);
        assert_eq!(EncodedList::plain(&[BigSize(3), BigSize(300)]).data, [3, 0xfd, 1, 44]);
    }
}
