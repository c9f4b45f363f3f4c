//! The byte layer: a strict, bounded reader and its writer. Integers are big-endian unless they say otherwise.
//!
//! A value has exactly one encoding: numbers that are not minimal, bytes left over and lengths that lie are refused, and
//! nothing is allocated before the bytes are there.

use crate::error::{Code, Error, refuse};

/// Reads fields off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Code::TrailingBytes`] if bytes are left over.
    pub const fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { refuse(Code::TrailingBytes, "bytes after the end") }
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Code::Truncated`].
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Code::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.0 = tail;
        Ok(*head)
    }

    /// All that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.0;
        self.0 = &[];
        rest
    }

    /// A value of any type.
    ///
    /// # Errors
    /// Those of the type.
    pub fn read<T: Wire>(&mut self) -> Result<T, Error> {
        T::read(self)
    }

    /// A BigSize number (BOLT 1, appendix A).
    ///
    /// # Errors
    /// [`Code::Truncated`], or [`Code::NotMinimal`] for a number that fits a shorter form.
    pub fn big_size(&mut self) -> Result<u64, Error> {
        let (value, least) = match self.read::<u8>()? {
            0xfd => (self.read::<u16>()?.into(), 0xfd),
            0xfe => (self.read::<u32>()?.into(), 0x1_0000),
            0xff => (self.read::<u64>()?, 0x1_0000_0000),
            small => (small.into(), 0),
        };
        if value < least { refuse(Code::NotMinimal, "a BigSize that is not minimal") } else { Ok(value) }
    }

    /// Bytes behind a two-byte length.
    ///
    /// # Errors
    /// [`Code::Truncated`].
    pub fn prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length: u16 = self.read()?;
        self.take(length.into())
    }

    /// A truncated integer: all bytes that are left, at most `N`, without leading zeros.
    fn truncated<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.rest();
        if bytes.len() > N {
            return refuse(Code::TrailingBytes, "a truncated integer that is too long");
        }
        if bytes.first() == Some(&0) {
            return refuse(Code::NotMinimal, "a truncated integer with a leading zero");
        }
        let mut wide = [0; N];
        // Not longer than `N`, as was checked.
        if let Some(end) = wide.len().checked_sub(bytes.len()).and_then(|start| wide.get_mut(start..)) {
            end.copy_from_slice(bytes);
        }
        Ok(wide)
    }
}

const TRUNCATED: Error = Error::new(Code::Truncated, "too short");

/// Writes fields one after the other. What does not fit its place is noted, and [`Writer::finish`] then fails.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    failed: Option<Error>,
}

impl Writer {
    /// Writes into nothing yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), failed: None }
    }

    /// These bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A value of any type.
    pub fn write<T: Wire>(&mut self, value: &T) -> &mut Self {
        value.write(self);
        self
    }

    /// A BigSize number, in its shortest form.
    pub fn big_size(&mut self, value: u64) -> &mut Self {
        if let Ok(small @ 0..=0xfc) = u8::try_from(value) {
            self.write(&small)
        } else if let Ok(short) = u16::try_from(value) {
            self.write(&0xfd_u8).write(&short)
        } else if let Ok(word) = u32::try_from(value) {
            self.write(&0xfe_u8).write(&word)
        } else {
            self.write(&0xff_u8).write(&value)
        }
    }

    /// Bytes behind a two-byte length.
    pub fn prefixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// A two-byte length or count.
    pub fn count(&mut self, count: usize) -> &mut Self {
        match u16::try_from(count) {
            Ok(count) => self.write(&count),
            Err(_) => self.fail("a field has more than 65535 bytes or elements"),
        }
    }

    /// Notes that something cannot be written.
    pub(crate) const fn fail(&mut self, text: &'static str) -> &mut Self {
        self.failed = Some(Error::new(Code::Unencodable, text));
        self
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`Code::Unencodable`] if a value did not fit its place.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        self.failed.map_or(Ok(self.bytes), Err)
    }

    fn truncated(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        self.raw(bytes.get(zeros..).unwrap_or_default());
    }
}

/// A type with one encoding.
pub trait Wire: Sized {
    /// Reads a value off the front.
    ///
    /// # Errors
    /// [`Code::Truncated`], and what the type refuses.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error>;

    /// Writes the value at the end.
    fn write(&self, writer: &mut Writer);
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Wire for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                reader.array().map(Self::from_be_bytes)
            }

            fn write(&self, writer: &mut Writer) {
                writer.raw(&self.to_be_bytes());
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! truncated {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        ///
        /// It has no length of its own: it reads all that is left, so it can only end a TLV record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl Wire for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
                reader.truncated().map(|bytes| Self(<$inner>::from_be_bytes(bytes)))
            }

            fn write(&self, writer: &mut Writer) {
                writer.truncated(&self.0.to_be_bytes());
            }
        }
    )*};
}

truncated! {
    /// `tu16`: a 16-bit number without leading zero bytes.
    Tu16(u16);
    /// `tu32`: a 32-bit number without leading zero bytes.
    Tu32(u32);
    /// `tu64`: a 64-bit number without leading zero bytes.
    Tu64(u64);
}

/// `bigsize`: a number of one, three, five or nine bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BigSize(pub u64);

impl Wire for BigSize {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.big_size().map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        writer.big_size(self.0);
    }
}

impl Wire for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.read::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => refuse(Code::InvalidField, "a flag that is neither 0 nor 1"),
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.write(&u8::from(*self));
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.array()
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(self);
    }
}

/// Bytes behind a two-byte length.
impl Wire for Vec<u8> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.prefixed().map(Self::from)
    }

    fn write(&self, writer: &mut Writer) {
        writer.prefixed(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written<T: Wire>(value: &T) -> Vec<u8> {
        let mut writer = Writer::new();
        value.write(&mut writer);
        writer.finish().unwrap()
    }

    #[test]
    fn a_field_that_is_too_long_cannot_be_written() {
        let mut writer = Writer::new();
        writer.prefixed(&vec![0; 65536]);
        assert_eq!(writer.finish().unwrap_err().code(), Code::Unencodable);
        assert_eq!(written(&vec![0_u8; 65535]).len(), 65537);
    }

    #[test]
    fn truncated_integers_are_minimal() {
        for (value, bytes) in [(0, &[][..]), (1, &[1]), (256, &[1, 0]), (u64::MAX, &[255; 8])] {
            assert_eq!(written(&Tu64(value)), bytes);
            assert_eq!(Reader::new(bytes).read::<Tu64>().unwrap(), Tu64(value));
        }
        assert_eq!(Reader::new(&[0, 1]).read::<Tu16>().unwrap_err().code(), Code::NotMinimal);
        assert_eq!(Reader::new(&[1, 0, 0]).read::<Tu16>().unwrap_err().code(), Code::TrailingBytes);
        assert_eq!(Reader::new(&[1, 2, 3]).read::<Tu32>().unwrap(), Tu32(0x01_0203));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, shift in 0_u32..64, signed: i64) {
            let value = value >> shift;
            prop_assert_eq!(Reader::new(&written(&BigSize(value))).read::<BigSize>(), Ok(BigSize(value)));
            prop_assert_eq!(Reader::new(&written(&Tu64(value))).read::<Tu64>(), Ok(Tu64(value)));
            prop_assert_eq!(Reader::new(&written(&signed)).read::<i64>(), Ok(signed));
        }

        #[test]
        fn bytes_that_are_a_number_are_its_only_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.read::<BigSize>() {
                prop_assert_eq!([&written(&value), reader.rest()].concat(), &bytes[..]);
            }
            if let Ok(value) = Reader::new(&bytes).read::<Tu32>() {
                prop_assert_eq!(written(&value), bytes);
            }
        }
    }
}
