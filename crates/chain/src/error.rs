//! What can go wrong, with a stable code and whose fault it is.

use std::fmt;

use thiserror::Error;

/// Whose fault an error is, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend, the disk or the network to it: try again later, and serve nothing meanwhile.
    Environment,
    /// The one who made the transaction. The caller knows whether that was a peer or itself.
    Transaction,
    /// The caller asked for something that cannot be.
    Misuse,
}

/// Anything that keeps a [`Chain`](crate::Chain) from a positive answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The network's verdict on a broadcast transaction.
    #[error("transaction refused: {0}")]
    Refused(#[from] Refusal),
    /// The backend cannot be reached, or stopped: nothing is known about the chain.
    #[error("the chain backend is unavailable: {0}")]
    Unavailable(String),
    /// The backend answers, and what it says must not be relied upon.
    #[error("{detail}")]
    Unfit {
        /// Why not.
        why: Unfit,
        /// What exactly.
        detail: String,
    },
    /// Reading or writing the backend's own files failed.
    #[error("the chain backend's storage failed at {path}: {source}")]
    Storage {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The demo wallet cannot pay that much yet.
    #[error("the wallet can spend {available}, {needed} is needed")]
    InsufficientFunds {
        /// What it can spend now.
        available: bitcoin::Amount,
        /// The payment and its fee.
        needed: bitcoin::Amount,
    },
    /// A request that no chain could satisfy, such as a reorganisation deeper than the chain.
    #[error("{0}")]
    Misuse(&'static str),
}

impl ChainError {
    /// A stable word for programs. For a refusal it is the node's reason.
    pub fn code(&self) -> &'static str {
        match self {
            ChainError::Refused(refusal) => refusal.reason.as_str(),
            ChainError::Unavailable(_) => "chain-unavailable",
            ChainError::Unfit { why, .. } => why.as_str(),
            ChainError::Storage { .. } => "chain-storage",
            ChainError::InsufficientFunds { .. } => "insufficient-funds",
            ChainError::Misuse(_) => "chain-misuse",
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            ChainError::Refused(_) => Fault::Transaction,
            ChainError::Unavailable(_) | ChainError::Unfit { .. } | ChainError::Storage { .. } => Fault::Environment,
            ChainError::InsufficientFunds { .. } | ChainError::Misuse(_) => Fault::Misuse,
        }
    }
}

/// Why a backend that answers must not be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unfit {
    /// It is on another network than the one it should be on.
    OtherNetwork,
    /// It gave an answer that cannot be true.
    Untrue,
    /// It does not know the newest blocks or the transactions that wait, or seems not to.
    Behind,
    /// It has thrown away blocks that are needed.
    Pruned,
}

impl Unfit {
    /// A stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Unfit::OtherNetwork => "chain-other-network",
            Unfit::Untrue => "chain-untrue",
            Unfit::Behind => "chain-behind",
            Unfit::Pruned => "chain-pruned",
        }
    }
}

/// Why a node does not take a transaction: a reason that programs can match and a detail that people can read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Refusal {
    /// The kind of reason.
    pub reason: Reason,
    /// What exactly, where more can be said than the reason; may be empty.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        if !self.detail.is_empty() {
            write!(f, ", {}", self.detail)?;
        }
        Ok(())
    }
}

impl Refusal {
    /// A refusal whose reason says everything.
    pub fn plain(reason: Reason) -> Self {
        Refusal { reason, detail: String::new() }
    }

    /// A refusal with figures or places.
    pub fn with(reason: Reason, detail: impl Into<String>) -> Self {
        Refusal { reason, detail: detail.into() }
    }
}

/// Reasons, named by the strings that Bitcoin Core uses for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Already confirmed.
    AlreadyKnown,
    /// Already waiting in the mempool.
    AlreadyInMempool,
    /// An input does not exist or is spent in the chain.
    MissingInputs,
    /// An input is spent in the mempool and this transaction may not replace the one that spends it.
    MempoolConflict,
    /// It pays too little to replace the transactions that it conflicts with (BIP 125).
    InsufficientFee,
    /// `nLockTime` lies ahead of the next block (BIP 113).
    NonFinal,
    /// A relative lock of an input has not run out (BIP 68).
    NonBip68Final,
    /// It spends a block reward less than 100 blocks old.
    PrematureCoinbaseSpend,
    /// A script, signature or witness does not hold.
    ScriptFailed,
    /// Its form is not a transaction that a block may hold: no inputs, doubled inputs, values out of range.
    Malformed,
    /// It pays out more than it takes in.
    InBelowOut,
    /// Only a block may hold it.
    Coinbase,
    /// Larger than nodes relay.
    TooLarge,
    /// Smaller than nodes relay.
    TooSmall,
    /// An input script that is not plain data, or too long.
    InputScript,
    /// An output script of no known kind.
    OutputScript,
    /// Too many signature checks.
    TooManySigops,
    /// A version that nodes do not relay.
    Version,
    /// An output not worth spending.
    Dust,
    /// It pays less than the lowest fee that nodes relay.
    FeeTooLow,
    /// The mempool is full.
    MempoolFull,
    /// Anything else that a node said; the detail has its words.
    Other,
}

impl Reason {
    /// Bitcoin Core's string for the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::AlreadyKnown => "txn-already-known",
            Reason::AlreadyInMempool => "txn-already-in-mempool",
            Reason::MissingInputs => "bad-txns-inputs-missingorspent",
            Reason::MempoolConflict => "txn-mempool-conflict",
            Reason::InsufficientFee => "insufficient fee",
            Reason::NonFinal => "non-final",
            Reason::NonBip68Final => "non-BIP68-final",
            Reason::PrematureCoinbaseSpend => "bad-txns-premature-spend-of-coinbase",
            Reason::ScriptFailed => "mempool-script-verify-flag-failed",
            Reason::Malformed => "bad-txns",
            Reason::InBelowOut => "bad-txns-in-belowout",
            Reason::Coinbase => "coinbase",
            Reason::TooLarge => "tx-size",
            Reason::TooSmall => "tx-size-small",
            Reason::InputScript => "scriptsig",
            Reason::OutputScript => "scriptpubkey",
            Reason::TooManySigops => "bad-txns-too-many-sigops",
            Reason::Version => "version",
            Reason::Dust => "dust",
            Reason::FeeTooLow => "min relay fee not met",
            Reason::MempoolFull => "mempool full",
            Reason::Other => "rejected",
        }
    }
}
