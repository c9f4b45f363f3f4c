//! Why an Esplora's answer is of no use.

use thiserror::Error;

use crate::{ChainError, Unfit};

/// The longest text of a server's that goes into a message.
const LONGEST_QUOTE: usize = 200;

/// Why an Esplora's answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Trouble {
    /// No answer, or a refusal to give one.
    #[error("{0}")]
    Unreachable(String),
    /// It is on another network.
    #[error("the Esplora is on another network: {0}")]
    Foreign(String),
    /// It does not know the newest blocks, or its answers are of different moments. Honest servers do it too.
    #[error("the Esplora is not in step with its network: {0}")]
    Behind(String),
    /// What came cannot be true.
    #[error("the Esplora gave an answer that cannot be true: {0}")]
    Lie(String),
}

impl Trouble {
    pub(super) fn lie(text: impl Into<String>) -> Self {
        Trouble::Lie(text.into())
    }

    pub(super) fn behind(text: impl Into<String>) -> Self {
        Trouble::Behind(text.into())
    }
}

impl From<Trouble> for ChainError {
    fn from(trouble: Trouble) -> Self {
        let detail = trouble.to_string();
        let why = match trouble {
            Trouble::Unreachable(_) => return ChainError::Unavailable(detail),
            Trouble::Foreign(_) => Unfit::OtherNetwork,
            Trouble::Behind(_) => Unfit::Behind,
            Trouble::Lie(_) => Unfit::Untrue,
        };
        ChainError::Unfit { why, detail }
    }
}

/// The beginning of a server's text, fit for a log.
pub(super) fn clean(bytes: &[u8]) -> String {
    let start = bytes.get(..LONGEST_QUOTE).unwrap_or(bytes);
    let text = String::from_utf8_lossy(start);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
