//! One error type for bytes that are no message, each with a stable code and with whose fault it is.
//!
//! BOLT 1 has one reaction to all of them: close the connection. The codes are for logs, tests and whoever has to find
//! out which of two implementations is wrong.

use std::fmt;

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol: what it sent is refused and may be held against it.
    PeerMisbehaved,
    /// The peer follows rules that we do not share, or has terms that we do not accept.
    PeerIncompatible,
    /// Our own caller asked for something that cannot be done.
    Misuse,
    /// The world: the chain, a full disk, a lost network, the passing of time.
    Environment,
}

impl Fault {
    /// The word for this fault in JavaScript errors and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::PeerIncompatible => "peer_incompatible",
            Self::Misuse => "misuse",
            Self::Environment => "environment",
        }
    }
}

/// Declares the codes of a crate, each with its stable text and whose fault it is: every crate that refuses something has such.
#[macro_export]
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $fault:ident;)*) => {
        /// Why something was refused. [`Code::as_str`] is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for tests and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable text of the code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Whose fault it is, seen from the side that reports it.
            pub const fn fault(self) -> $crate::Fault {
                match self { $(Self::$name => $crate::Fault::$fault,)* }
            }

            /// The code with this text, if it is one of these.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The bytes end before the field does.
    Truncated = "truncated", PeerMisbehaved;
    /// Bytes after the end of a value that fills its place.
    TrailingBytes = "trailing_bytes", PeerMisbehaved;
    /// A number that could have been written shorter.
    NotMinimal = "not_minimal", PeerMisbehaved;
    /// A TLV stream whose types do not strictly increase: out of order, or one of them twice.
    RecordOrder = "record_order", PeerMisbehaved;
    /// A TLV record of an even type that this side does not know.
    UnknownRecord = "unknown_record", PeerIncompatible;
    /// A message of an even type that this side does not know.
    UnknownMessage = "unknown_message", PeerIncompatible;
    /// A field that holds what it cannot: no point on the curve, a flag that is neither 0 nor 1, a broken witness.
    InvalidField = "invalid_field", PeerMisbehaved;
    /// An even feature bit that this side does not know or does not offer.
    UnknownFeature = "unknown_feature", PeerIncompatible;
    /// A feature is set without one that it builds on.
    MissingDependency = "missing_dependency", PeerMisbehaved;
    /// A value that does not fit its place in a message: to be sent, not received.
    Unencodable = "unencodable", Misuse;
}

/// A refusal: a stable [`Code`], a sentence, and where in the bytes it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    code: Code,
    text: &'static str,
    message: Option<u16>,
    record: Option<u64>,
    bit: Option<usize>,
}

impl Error {
    /// A refusal with a sentence that says why.
    pub const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text, message: None, record: None, bit: None }
    }

    pub(crate) const fn in_message(mut self, kind: u16) -> Self {
        self.message = Some(kind);
        self
    }

    pub(crate) const fn in_record(mut self, kind: u64) -> Self {
        self.record = Some(kind);
        self
    }

    pub(crate) const fn at_bit(mut self, bit: usize) -> Self {
        self.bit = Some(bit);
        self
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        self.code.fault()
    }

    /// A sentence about this refusal, in English.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The type of the message it happened in, where that was known.
    pub const fn message(&self) -> Option<u16> {
        self.message
    }

    /// The type of the TLV record it happened in, if it was in one.
    pub const fn record(&self) -> Option<u64> {
        self.record
    }

    /// The feature bit it is about, if it is about one.
    pub const fn bit(&self) -> Option<usize> {
        self.bit
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        if let Some(bit) = self.bit {
            write!(f, ", bit {bit}")?;
        }
        if let Some(kind) = self.record {
            write!(f, ", record {kind}")?;
        }
        if let Some(kind) = self.message {
            write!(f, ", message {kind}")?;
        }
        Ok(())
    }
}

/// Shorthand for [`Error::new`] in a `Result`.
pub(crate) const fn refuse<T>(code: Code, text: &'static str) -> Result<T, Error> {
    Err(Error::new(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_documented() {
        let page = include_str!("../../../docs/lightning.md");
        for (n, code) in Code::ALL.iter().enumerate() {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(Code::ALL[n + 1..].iter().all(|other| other.as_str() != code.as_str()));
            let row = format!("| `{}` | {} |", code.as_str(), code.fault().as_str().replace('_', " "));
            assert!(page.contains(&row), "docs/lightning.md lacks {row}");
        }
    }

    #[test]
    fn an_error_says_where_it_happened() {
        let error = Error::new(Code::Truncated, "too short").in_record(1).in_message(16);
        assert_eq!(error.to_string(), "too short, record 1, message 16");
        assert_eq!((error.record(), error.message(), error.bit()), (Some(1), Some(16), None));
        assert_eq!(Error::new(Code::UnknownFeature, "no").at_bit(40).to_string(), "no, bit 40");
    }
}
