//! TLV streams (BOLT 1): records of a type, a length and a value, in strictly increasing order of type.
//!
//! [`Records`] walks over any stream. [`TlvStream`] is a struct with a field for each known record; what it does not know
//! it keeps if it is odd, in [`Unknown`], and refuses if it is even.

use crate::codec::{Reader, Writer};
use crate::error::{Code, Error, refuse};

/// Walks over the records of a stream and checks its form: minimal numbers, strictly increasing types, values that are
/// there. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    last: Option<u64>,
}

impl<'a> Records<'a> {
    /// The records in these bytes, up to their end.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes), last: None }
    }

    fn record(&mut self) -> Result<(u64, &'a [u8]), Error> {
        let kind = self.reader.big_size()?;
        if self.last.is_some_and(|last| last >= kind) {
            return Err(Error::new(Code::RecordOrder, "record types must strictly increase").in_record(kind));
        }
        self.last = Some(kind);
        let value = self.reader.big_size().and_then(|length| {
            let length = usize::try_from(length).map_err(|_| Error::new(Code::Truncated, "too short"))?;
            self.reader.take(length)
        });
        value.map(|value| (kind, value)).map_err(|error| error.in_record(kind))
    }
}

impl<'a> Iterator for Records<'a> {
    /// The type and the value.
    type Item = Result<(u64, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.reader.rest();
        }
        Some(record)
    }
}

/// A type that fills a record's value to its last byte.
pub trait Record: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// [`Code::Truncated`] or [`Code::TrailingBytes`] if the length does not fit, and what the type refuses.
    fn from_value(value: &[u8]) -> Result<Self, Error>;

    /// Writes the value.
    fn write_value(&self, writer: &mut Writer);
}

/// A record that is encoded as the type is anywhere else.
macro_rules! plain_records {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::tlv::Record for $type {
            fn from_value(value: &[u8]) -> Result<Self, $crate::error::Error> {
                let mut reader = $crate::codec::Reader::new(value);
                let value = reader.read()?;
                reader.finish()?;
                Ok(value)
            }

            fn write_value(&self, writer: &mut $crate::codec::Writer) {
                writer.write(self);
            }
        }
    )*};
}
pub(crate) use plain_records;

plain_records!(u16, u64, crate::codec::Tu16, crate::codec::Tu32, crate::codec::Tu64, crate::codec::BigSize);

/// All bytes of the value, without a length of their own.
impl Record for Vec<u8> {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        Ok(value.to_vec())
    }

    fn write_value(&self, writer: &mut Writer) {
        writer.raw(self);
    }
}

/// A record whose presence is all it says.
impl Record for () {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        Reader::new(value).finish()
    }

    fn write_value(&self, _: &mut Writer) {}
}

/// A fixed set of known records, each of which may be there or not.
pub trait TlvStream: Default {
    /// Takes a record of a known type in; `false` if the type is not known.
    ///
    /// # Errors
    /// Those of the record's type.
    fn take(&mut self, kind: u64, value: &[u8]) -> Result<bool, Error>;

    /// The records that are there, encoded, in any order.
    fn known(&self) -> Vec<(u64, Writer)>;

    /// Odd records of unknown types.
    fn unknown(&self) -> &Unknown;

    /// Odd records of unknown types.
    fn unknown_mut(&mut self) -> &mut Unknown;

    /// Reads a whole stream.
    ///
    /// # Errors
    /// [`Code::UnknownRecord`] for an unknown even type; those of [`Records`] and of the records.
    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut stream = Self::default();
        for record in Records::new(bytes) {
            let (kind, value) = record?;
            if stream.take(kind, value).map_err(|error| error.in_record(kind))? {
                continue;
            }
            stream.unknown_mut().add(kind, value.to_vec())?;
        }
        Ok(stream)
    }

    /// Writes the stream in its one order.
    fn encode(&self, writer: &mut Writer) {
        let mut records: Vec<(u64, Result<Vec<u8>, Error>)> =
            self.known().into_iter().map(|(kind, value)| (kind, value.finish())).collect();
        records.extend(self.unknown().iter().map(|(kind, value)| (kind, Ok(value.to_vec()))));
        records.sort_by_key(|(kind, _)| *kind);
        let mut last = None;
        for (kind, value) in records {
            if last == Some(kind) {
                writer.fail("a record stands twice in a stream");
            }
            last = Some(kind);
            match value {
                Ok(value) => {
                    // A `usize` is at most 64 bits wide.
                    writer.big_size(kind).big_size(u64::try_from(value.len()).unwrap_or(u64::MAX)).raw(&value);
                }
                Err(error) => {
                    writer.fail(error.text());
                }
            }
        }
    }
}

/// Records of unknown odd types: not understood, but kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Unknown(Vec<(u64, Vec<u8>)>);

impl Unknown {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Code::UnknownRecord`] for an even type: the receiver could not ignore it.
    pub fn add(&mut self, kind: u64, value: Vec<u8>) -> Result<(), Error> {
        if kind.is_multiple_of(2) {
            return refuse(Code::UnknownRecord, "an unknown even record").map_err(|error: Error| error.in_record(kind));
        }
        self.0.push((kind, value));
        Ok(())
    }

    /// Types and values, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Declares a [`TlvStream`]: one optional field for each known record, and `unknown` for the odd ones beside them.
#[macro_export]
macro_rules! tlv_stream {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $kind:literal => $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// Records of unknown odd types.
            pub unknown: $crate::tlv::Unknown,
        }

        impl $crate::tlv::TlvStream for $name {
            #[allow(unused_variables, reason = "a stream may have no known record")]
            fn take(&mut self, kind: u64, value: &[u8]) -> Result<bool, $crate::error::Error> {
                match kind {
                    $($kind => self.$field = Some($crate::tlv::Record::from_value(value)?),)*
                    _ => return Ok(false),
                }
                #[allow(unreachable_code, reason = "a stream may have no known record")]
                Ok(true)
            }

            fn known(&self) -> Vec<(u64, $crate::codec::Writer)> {
                #[allow(unused_mut, reason = "a stream may have no known record")]
                let mut records = Vec::new();
                $(if let Some(value) = &self.$field {
                    let mut writer = $crate::codec::Writer::new();
                    $crate::tlv::Record::write_value(value, &mut writer);
                    records.push(($kind, writer));
                })*
                records
            }

            fn unknown(&self) -> &$crate::tlv::Unknown {
                &self.unknown
            }

            fn unknown_mut(&mut self) -> &mut $crate::tlv::Unknown {
                &mut self.unknown
            }
        }

        /// The stream that ends a message.
        impl $crate::codec::Wire for $name {
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::Error> {
                $crate::tlv::TlvStream::decode(reader.rest())
            }

            fn write(&self, writer: &mut $crate::codec::Writer) {
                $crate::tlv::TlvStream::encode(self, writer);
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Tu64;
    use proptest::prelude::*;

    tlv_stream! {
        /// A stream for these tests.
        #[expect(unreachable_pub, reason = "the macro is for public types")]
        pub struct Few {
            /// An amount.
            2 => amount: Tu64,
            /// A mark.
            5 => mark: (),
        }
    }

    fn encode(stream: &Few) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new();
        stream.encode(&mut writer);
        writer.finish()
    }

    #[test]
    fn known_and_unknown_records_merge_in_order() {
        let mut stream = Few { amount: Some(Tu64(256)), mark: Some(()), ..Few::default() };
        stream.unknown.add(0x101, vec![9]).unwrap();
        stream.unknown.add(3, vec![8]).unwrap();
        let bytes = encode(&stream).unwrap();
        assert_eq!(bytes, [2, 2, 1, 0, 3, 1, 8, 5, 0, 0xfd, 1, 1, 1, 9]);
        let back = Few::decode(&bytes).unwrap();
        assert_eq!((back.amount, back.mark), (stream.amount, stream.mark));
        assert_eq!(back.unknown.iter().collect::<Vec<_>>(), [(3, &[8][..]), (0x101, &[9])]);
    }

    #[test]
    fn an_even_or_doubled_record_is_not_written() {
        let mut stream = Few { mark: Some(()), ..Few::default() };
        assert_eq!(stream.unknown.add(4, Vec::new()).unwrap_err().code(), Code::UnknownRecord);
        stream.unknown.add(5, Vec::new()).unwrap();
        assert_eq!(encode(&stream).unwrap_err().code(), Code::Unencodable);
    }

    #[test]
    fn an_error_names_its_record_and_ends_the_walk() {
        let error = Few::decode(&[2, 2, 0, 1]).unwrap_err();
        assert_eq!((error.code(), error.record()), (Code::NotMinimal, Some(2)));
        let error = Few::decode(&[5, 1, 0]).unwrap_err();
        assert_eq!((error.code(), error.record()), (Code::TrailingBytes, Some(5)));
        let mut records = Records::new(&[3, 9, 0]);
        assert_eq!(records.next().unwrap().unwrap_err().code(), Code::Truncated);
        assert!(records.next().is_none());
        // A length near 2^64 asks for nothing.
        let error = Few::decode(&[3, 255, 255, 255, 255, 255, 255, 255, 255, 255]).unwrap_err();
        assert_eq!(error.code(), Code::Truncated);
    }

    proptest! {
        #[test]
        fn what_decodes_has_no_other_encoding(bytes in proptest::collection::vec(0_u8..8, 0..24)) {
            if let Ok(stream) = Few::decode(&bytes) {
                prop_assert_eq!(encode(&stream).unwrap(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_walked_over_without_panic(bytes: Vec<u8>) {
            prop_assert!(Records::new(&bytes).count() <= bytes.len());
        }
    }
}
