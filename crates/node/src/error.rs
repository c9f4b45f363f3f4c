//! One error for whoever gives commands: a stable code, whose fault it is, a sentence.

use rillpay_chain::ChainError;
use rillpay_channel::Fault;
#[cfg(not(target_arch = "wasm32"))]
use rillpay_words::WordsError;

use crate::keep::StoreError;

// What only a node can say. Codes of channels, wallet, chain and transport are passed on as they are.
rillpay_wire::codes! {
    /// A command that is garbled, or names what cannot be.
    InvalidCommand = "invalid_command", Misuse;
    /// The peer is not connected.
    PeerOffline = "peer_offline", Environment;
    /// The peer is on another network, or lacks what channels need.
    PeerUnfit = "peer_unfit", PeerIncompatible;
    /// No channel, or more than one, is meant by this.
    NoSuchChannel = "no_such_channel", Misuse;
    /// The channel takes no payments now: it is not funded deeply enough, closing, or not connected.
    NotPayable = "not_payable", Environment;
    /// An opening with this peer is under way already.
    Busy = "busy", Environment;
    /// The peer ended an opening, or the connection broke in it: nothing was paid.
    OpeningFailed = "opening_failed", PeerIncompatible;
    /// The peer does not answer in time.
    PeerSilent = "peer_silent", PeerMisbehaved;
    /// The watchtower does not keep our kits.
    TowerRefused = "tower_refused", Environment;
    /// This request was paid before.
    RequestPaid = "request_paid", Misuse;
    /// The peer gives no backup back, or one that is none of ours.
    NoBackup = "no_backup", Environment;
    /// The folder, the words or the store cannot be used.
    Folder = "folder", Environment;
    /// The store failed: nothing was done.
    StoreFailed = "store_failed", Environment;
    /// No node runs in this folder.
    NotRunning = "not_running", Environment;
}

/// A code, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Node(Code),
    Channel(rillpay_channel::Code),
    Wallet(rillpay_wallet::Code),
    Transport(rillpay_transport::Code),
    /// A word of the chain's.
    Chain(&'static str, rillpay_chain::Fault),
}

/// Why a command, or the start, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: Kind,
    text: String,
}

impl Error {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { kind: Kind::Node(code), text: text.into() }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            Kind::Node(code) => code.as_str(),
            Kind::Channel(code) => code.as_str(),
            Kind::Wallet(code) => code.as_str(),
            Kind::Transport(code) => code.as_str(),
            Kind::Chain(code, _) => code,
        }
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self.kind {
            Kind::Node(code) => code.fault(),
            Kind::Channel(code) => code.fault(),
            Kind::Wallet(code) => code.fault(),
            Kind::Transport(code) => code.fault(),
            Kind::Chain(_, rillpay_chain::Fault::Environment) => Fault::Environment,
            Kind::Chain(_, rillpay_chain::Fault::Transaction | rillpay_chain::Fault::Misuse) => Fault::Misuse,
        }
    }
}

impl From<rillpay_channel::Error> for Error {
    fn from(error: rillpay_channel::Error) -> Self {
        Self { kind: Kind::Channel(error.code()), text: error.text().to_owned() }
    }
}

impl From<rillpay_wallet::Error> for Error {
    fn from(error: rillpay_wallet::Error) -> Self {
        Self { kind: Kind::Wallet(error.code()), text: error.text().to_owned() }
    }
}

impl From<rillpay_transport::Error> for Error {
    fn from(error: rillpay_transport::Error) -> Self {
        Self { kind: Kind::Transport(error.code()), text: error.text().to_owned() }
    }
}

impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        Self { kind: Kind::Chain(error.code(), error.fault()), text: error.to_string() }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl From<WordsError> for Error {
    fn from(error: WordsError) -> Self {
        match error {
            WordsError::Invalid { source, .. } => source.into(),
            other => Self::new(Code::Folder, other.to_string()),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Paid => Self::new(Code::RequestPaid, "this request was paid before"),
            other => Self::new(Code::StoreFailed, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: rillpay_channel::bitcoin::Network = rillpay_channel::bitcoin::Network::Regtest;

    #[test]
    fn unusable_words_have_a_code() {
        let load = |words| rillpay_words::read_or_make(words, std::path::Path::new("/nowhere/w"), NETWORK, true);
        assert_eq!(Error::from(load(None).err().unwrap()).code(), "folder");
        assert_eq!(Error::from(load(Some("abandon")).err().unwrap()).code(), "invalid_words");
    }

    #[test]
    fn codes_are_distinct_and_documented() {
        let page = include_str!("../../../docs/node.md");
        for (n, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL[n + 1..].iter().all(|other| other.as_str() != code.as_str()));
            let others = (
                rillpay_channel::Code::parse(code.as_str()),
                rillpay_wallet::Code::parse(code.as_str()),
                rillpay_transport::Code::parse(code.as_str()),
            );
            assert_eq!(others, (None, None, None), "a code has one meaning");
            let row = format!("| `{}` | {} |", code.as_str(), code.fault().as_str().replace('_', " "));
            assert!(page.contains(&row), "docs/node.md lacks {row}");
        }
    }
}
