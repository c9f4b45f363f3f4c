//! Why the node's word cannot be had or taken.

use thiserror::Error;

use super::rpc::Said;
use crate::{ChainError, Unfit};

/// What a node answers while it starts.
const IN_WARMUP: i64 = -28;

/// What keeps the view from being the node's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Trouble {
    /// It does not answer, or does not let us in.
    #[error("the node cannot be asked: {0}")]
    Unreachable(String),
    /// It is on another network.
    #[error("the node is on another network: {0}")]
    Foreign(String),
    /// It answered something that cannot be.
    #[error("the node's answers cannot be right: {0}")]
    Lie(String),
    /// It knows that it does not know the newest blocks or transactions, or seems not to.
    #[error("the node is not in step with its network: {0}")]
    Behind(String),
    /// It is between two blocks, which is no trouble unless it stays there.
    #[error("the node is not in step with its network: {0}")]
    Passing(String),
    /// It has thrown away the block at this height.
    #[error("the node has pruned block {0}, which is needed: it must keep more blocks (prune=), and read them again")]
    Pruned(u32),
    /// It refuses an answer, in its own words.
    #[error("the node answers {method} with error {code}: {message}")]
    Said {
        /// What was asked.
        method: &'static str,
        /// One of Bitcoin Core's RPC error codes.
        code: i64,
        /// The node's words, cut to a bearable length.
        message: String,
    },
    /// Our own record of what was found cannot be written.
    #[error("what was found on the chain cannot be stored in {path}: {text}")]
    Store {
        /// The file.
        path: String,
        /// The database's words.
        text: String,
    },
}

impl Trouble {
    pub(crate) fn said(method: &'static str, said: &Said) -> Self {
        match said.code {
            IN_WARMUP => Trouble::Unreachable(format!("it is starting: {}", said.message)),
            code => Trouble::Said { method, code, message: said.message.clone() },
        }
    }

    pub(crate) fn lie(text: impl Into<String>) -> Self {
        Trouble::Lie(text.into())
    }

    pub(crate) fn behind(text: impl Into<String>) -> Self {
        Trouble::Behind(text.into())
    }
}

impl From<Trouble> for ChainError {
    fn from(trouble: Trouble) -> Self {
        let detail = trouble.to_string();
        let why = match trouble {
            Trouble::Unreachable(_) | Trouble::Said { .. } => return ChainError::Unavailable(detail),
            Trouble::Store { path, text } => return ChainError::Storage { path, source: std::io::Error::other(text) },
            Trouble::Foreign(_) => Unfit::OtherNetwork,
            Trouble::Lie(_) => Unfit::Untrue,
            Trouble::Behind(_) | Trouble::Passing(_) => Unfit::Behind,
            Trouble::Pruned(_) => Unfit::Pruned,
        };
        ChainError::Unfit { why, detail }
    }
}
