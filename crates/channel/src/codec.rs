//! The byte layer: a strict, bounded reader and its writer. Integers are big-endian.
//!
//! The same layer carries messages, channel parameters and stored events. A value has exactly one encoding: trailing
//! bytes, lengths beyond a field's bound and numbers out of range are refused, and nothing is allocated for a length
//! before the bytes are there.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid};

use crate::amount::Msat;
use crate::error::{Code, Error};

/// The longest transaction in a stored event, in bytes: some hundred inputs.
pub(crate) const MAX_TRANSACTION: u16 = 32_000;

/// What cannot be parsed.
pub(crate) const fn malformed(text: &'static str) -> Error {
    Error::new(Code::MalformedMessage, text)
}

/// Reads fields off the front of a byte slice.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Ends the reading: bytes left over are an error.
    pub(crate) const fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes after the end")) }
    }

    /// Ends the reading with what is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(malformed("too short"))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("a flag that is neither 0 nor 1")),
        }
    }

    /// Bytes behind a one-byte length of at most `max`.
    pub(crate) fn bytes(&mut self, max: u8) -> Result<&'a [u8], Error> {
        let length = self.u8()?;
        if length > max {
            return Err(malformed("a field is longer than allowed"));
        }
        self.take(length.into())
    }

    /// So many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(malformed("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    /// Printable ASCII behind a one-byte length.
    pub(crate) fn text(&mut self, max: u8) -> Result<String, Error> {
        let bytes = self.bytes(max)?;
        if !bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
            return Err(malformed("text that is not printable ASCII"));
        }
        Ok(bytes.iter().copied().map(char::from).collect())
    }

    pub(crate) fn amount(&mut self) -> Result<Amount, Error> {
        let amount = Amount::from_sat(self.u64()?);
        if amount > Amount::MAX_MONEY { Err(malformed("more than 21 million bitcoin")) } else { Ok(amount) }
    }

    pub(crate) fn msat(&mut self) -> Result<Msat, Error> {
        Msat::new(self.u64()?).ok_or(malformed("more than 21 million bitcoin"))
    }

    pub(crate) fn key(&mut self) -> Result<PublicKey, Error> {
        PublicKey::from_slice(&self.array::<33>()?).map_err(|_| malformed("not a point on the curve"))
    }

    pub(crate) fn signature(&mut self) -> Result<Signature, Error> {
        Signature::from_compact(&self.array::<64>()?).map_err(|_| malformed("not a signature"))
    }

    pub(crate) fn script(&mut self, max: u8) -> Result<ScriptBuf, Error> {
        self.bytes(max).map(|bytes| ScriptBuf::from_bytes(bytes.to_vec()))
    }

    pub(crate) fn txid(&mut self) -> Result<Txid, Error> {
        self.array().map(Txid::from_byte_array)
    }

    pub(crate) fn outpoint(&mut self) -> Result<OutPoint, Error> {
        Ok(OutPoint { txid: self.txid()?, vout: self.u32()? })
    }

    /// A transaction behind a two-byte length of at most [`MAX_TRANSACTION`].
    pub(crate) fn transaction(&mut self) -> Result<Transaction, Error> {
        let length = self.u16()?;
        if length > MAX_TRANSACTION {
            return Err(malformed("a transaction is longer than allowed"));
        }
        deserialize(self.take(length.into())?).map_err(|_| malformed("not a transaction"))
    }

    /// Values behind a two-byte count of at most `max`.
    pub(crate) fn list<T>(
        &mut self,
        max: usize,
        read: impl Fn(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let count = self.u16()?;
        if usize::from(count) > max {
            return Err(malformed("a list is longer than it can become"));
        }
        (0..count).map(|_| read(self)).collect()
    }

    /// A value behind a presence flag.
    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<Option<T>, Error> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }
}

/// Appends fields to a byte vector.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// Bytes behind a one-byte length. Our own values are validated to fit; were one not to, it would be cut, and its
    /// reader would refuse it.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        self.u8(length).raw(bytes.get(..length.into()).unwrap_or(bytes))
    }

    /// Text made fit for its reader: cut to `max`, and anything but printable ASCII replaced.
    pub(crate) fn text(&mut self, text: &str, max: u8) -> &mut Self {
        let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        let fit: String = text.chars().map(printable).take(max.into()).collect();
        self.bytes(fit.as_bytes())
    }

    pub(crate) fn amount(&mut self, value: Amount) -> &mut Self {
        self.u64(value.to_sat())
    }

    pub(crate) fn msat(&mut self, value: Msat) -> &mut Self {
        self.u64(value.get())
    }

    pub(crate) fn key(&mut self, key: &PublicKey) -> &mut Self {
        self.raw(&key.serialize())
    }

    pub(crate) fn signature(&mut self, signature: &Signature) -> &mut Self {
        self.raw(&signature.serialize_compact())
    }

    pub(crate) fn txid(&mut self, txid: &Txid) -> &mut Self {
        self.raw(txid.as_byte_array())
    }

    pub(crate) fn outpoint(&mut self, outpoint: &OutPoint) -> &mut Self {
        self.txid(&outpoint.txid).u32(outpoint.vout)
    }

    /// See [`Reader::transaction`]; one that is too long is cut, and its reader refuses it.
    pub(crate) fn transaction(&mut self, transaction: &Transaction) -> &mut Self {
        let bytes = serialize(transaction);
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(length).raw(bytes.get(..length.into()).unwrap_or(&bytes))
    }

    /// Values behind a two-byte count. Longer lists never come about; one that did would be refused by its reader.
    pub(crate) fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) -> &mut Self {
        self.u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        values.for_each(|value| write(self, value));
        self
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{TxIn, TxOut};

    use super::*;

    /// A transaction of so many bytes.
    fn transaction(size: usize) -> Transaction {
        let of = |script: usize| Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default()],
            output: vec![TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::from_bytes(vec![0; script]) }],
        };
        // The script's length takes three bytes from here on.
        let rest = of(300).total_size() - 300;
        of(size - rest)
    }

    fn written(transaction: &Transaction) -> Vec<u8> {
        let mut w = Writer::default();
        w.transaction(transaction);
        w.finish()
    }

    #[test]
    fn a_transaction_is_read_up_to_its_bound() {
        let longest = usize::from(MAX_TRANSACTION);
        for size in [400, longest - 1, longest] {
            let (transaction, mut bytes) = (transaction(size), written(&transaction(size)));
            assert_eq!(bytes.len(), size + 2);
            let mut r = Reader::new(&bytes);
            assert_eq!(r.transaction().unwrap(), transaction);
            r.finish().unwrap();
            bytes.pop();
            assert_eq!(Reader::new(&bytes).transaction().unwrap_err().code(), Code::MalformedMessage);
        }
        // Longer than its length can say, it is cut, and refused.
        for size in [longest + 1, usize::from(u16::MAX) + 1] {
            assert_eq!(
                Reader::new(&written(&transaction(size))).transaction().unwrap_err().code(),
                Code::MalformedMessage
            );
        }
    }
}
