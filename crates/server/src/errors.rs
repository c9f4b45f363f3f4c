//! The one table of errors: what an inner failure is called outside, and what a socket does after it.

use rillpay_chain::ChainError;
use rillpay_channel::{Code, Error, Fault};

use crate::store::StoreError;

/// A store's failure, as a peer sees it.
pub(crate) fn of_store(error: &StoreError) -> Error {
    match error {
        StoreError::Conflict => Error::new(Code::Superseded, "another server took this channel over; attach again"),
        StoreError::Corrupted(_) => {
            Error::new(Code::CorruptedStore, "this channel's record is damaged; the operator has to look")
        }
        StoreError::Full => Error::new(Code::Unavailable, "this server takes no more channels at the moment"),
        StoreError::Failed(_) | StoreError::Version(_) => {
            Error::new(Code::Unavailable, "nothing can be stored at the moment; nothing was lost")
        }
    }
}

/// A chain backend's failure, as a peer sees it. Its details are the operator's.
pub(crate) fn of_chain(error: &ChainError) -> Error {
    tracing::warn!(%error, "the chain backend failed");
    STALE_CHAIN
}

/// Nothing is served on an old view of the chain.
pub(crate) const STALE_CHAIN: Error = Error::new(Code::Unavailable, "the server cannot see the chain at the moment");
/// The server is going down.
pub(crate) const SHUTTING_DOWN: Error = Error::new(Code::Unavailable, "the server is going down");
/// A newer session, here or at another server, has the channel.
pub(crate) const SUPERSEDED: Error = Error::new(Code::Superseded, "another session took this channel over");
/// The token of a request names no session.
pub(crate) const NO_SESSION: Error = Error::new(Code::UnknownChannel, "no such session");
/// The payment did not come in time.
pub(crate) const NOT_PAID: Error = Error::new(Code::NotPaid, "no payment came in time");

/// All visitors together open channels too fast.
pub(crate) const OPENS_LIMITED: Error =
    Error::new(Code::RateLimited, "too many channels are being opened; try again in a minute");

/// What a socket does after it answered with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Go on.
    Continue,
    /// Go on, unless there were too many of these.
    Strike,
    /// Close: nothing sensible can follow.
    Close,
}

/// The reaction to a refusal.
pub(crate) fn reaction(error: &Error) -> Reaction {
    match (error.code(), error.fault()) {
        (Code::OversizedMessage | Code::Superseded, _) => Reaction::Close,
        // Others may have used it up.
        _ if *error == OPENS_LIMITED => Reaction::Continue,
        // What an honest page can run into when a block, a stop or a reload comes in between.
        (Code::NotFunded | Code::Closing | Code::NotPaid | Code::UnknownChannel | Code::CloseBelowDelivered, _) => {
            Reaction::Continue
        }
        (_, Fault::PeerMisbehaved | Fault::PeerIncompatible) => Reaction::Strike,
        (_, Fault::Misuse | Fault::Environment) => Reaction::Continue,
    }
}
