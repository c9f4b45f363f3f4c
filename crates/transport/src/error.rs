//! Why a connection cannot begin or go on. BOLT 8 has one reaction to all of it: close, without a word.

pub use rillpay_wire::Fault;

rillpay_wire::codes! {
    /// The peer speaks another version of the handshake.
    HandshakeVersion = "handshake_version", PeerIncompatible;
    /// An act of the handshake with too few or too many bytes.
    HandshakeLength = "handshake_length", PeerMisbehaved;
    /// A key in the handshake that is no point on the curve.
    HandshakeKey = "handshake_key", PeerMisbehaved;
    /// An act of the handshake that does not authenticate: the peer does not know our key, or is not whom we called.
    HandshakeRefused = "handshake_refused", PeerMisbehaved;
    /// A message that does not authenticate: somebody altered, left out, doubled or reordered bytes.
    Altered = "altered", PeerMisbehaved;
    /// A message of more than 65535 bytes.
    TooLong = "too_long", Misuse;
    /// A message before the handshake is done.
    NotOpen = "not_open", Misuse;
    /// Entropy that cannot be a key.
    InvalidEntropy = "invalid_entropy", Misuse;
    /// The connection ended in the middle of a message or a handshake.
    Cut = "cut", Environment;
    /// The network failed.
    Network = "network", Environment;
    /// The peer did not finish the handshake in time.
    HandshakeTimeout = "handshake_timeout", PeerMisbehaved;
    /// A WebSocket frame that carries no bytes of the stream.
    ForeignFrame = "foreign_frame", PeerMisbehaved;
}

/// A refusal: a stable [`Code`], a sentence, and the act of the handshake if it was in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    code: Code,
    text: &'static str,
    act: Option<u8>,
}

impl Error {
    pub(crate) const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text, act: None }
    }

    pub(crate) const fn in_act(mut self, act: u8) -> Self {
        self.act = Some(act);
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

    /// A sentence about this refusal, in English; never holds a secret.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The act of the handshake, 1 to 3, that was received when it failed.
    pub const fn act(&self) -> Option<u8> {
        self.act
    }
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
}
