//! How to reach a Bitcoin Core node.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;

/// How to reach a node, and how often to look at it.
#[derive(Clone, Debug)]
pub struct BitcoindOptions {
    /// Where its RPC server listens: `http://host:port`, without credentials. Bitcoin Core speaks no TLS: reach a node on
    /// another machine through a tunnel.
    pub url: String,
    /// Who we are to it.
    pub auth: Auth,
    /// The network that it must be on. Another one is refused, at the start and at every later contact.
    pub network: Network,
    /// How long to sleep between two looks at the node; see [`BitcoindOptions::POLL`]. At least 10 ms.
    pub poll: Duration,
    /// Where what was found about followed scripts is kept over a restart, in one file. `None` keeps it in memory, and
    /// a restart reads the blocks again, as far as the node still has them.
    pub data_dir: Option<PathBuf>,
}

impl BitcoindOptions {
    /// A second between two looks: short against the time between blocks, and cheap for the node.
    pub const POLL: Duration = Duration::from_secs(1);
    /// The shortest time between two looks that somebody has not asked for.
    pub const SHORTEST_POLL: Duration = Duration::from_millis(10);
}

/// Credentials of a node's RPC server. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// The file that the node writes anew at each start, `.cookie` in its data folder. It is read again whenever the
    /// node does not take what it said before.
    Cookie(PathBuf),
    /// `rpcauth` or `rpcuser` and `rpcpassword` of the node's configuration.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Cookie(path) => f.debug_tuple("Cookie").field(path).finish(),
            Auth::Password { .. } => f.debug_struct("Password").finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_prints() {
        let auth = Auth::Password { user: "fabian".to_owned(), password: "correct horse".to_owned() };
        let text = format!("{auth:?}");
        assert!(text.starts_with("Password") && !text.contains("horse") && !text.contains("fabian"), "{text}");
    }
}
