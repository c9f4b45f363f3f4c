//! One error type for everything that can be refused, each with a stable code and with whose fault it is.
//!
//! Codes cross the wire and the JavaScript boundary; the texts may change, the codes may not.

use bitcoin::Amount;
pub use rillpay_wire::{Fault, codes};

use crate::wire::ChannelState;

rillpay_wire::codes! {
    /// A frame that cannot be parsed: too short, trailing bytes, a field out of its range.
    MalformedMessage = "malformed_message", PeerMisbehaved;
    /// A frame longer than [`crate::wire::MAX_FRAME`].
    OversizedMessage = "oversized_message", PeerMisbehaved;
    /// A protocol version that this side does not speak.
    UnsupportedVersion = "unsupported_version", PeerIncompatible;
    /// A message type that does not exist in this version.
    UnknownMessage = "unknown_message", PeerIncompatible;
    /// A known message at a moment when it has no meaning.
    UnexpectedMessage = "unexpected_message", PeerMisbehaved;
    /// The peer is on another Bitcoin network.
    WrongNetwork = "wrong_network", PeerIncompatible;
    /// A public key that is not the one agreed, or that may not be used here.
    WrongKey = "wrong_key", PeerMisbehaved;
    /// A signature that does not verify.
    InvalidSignature = "invalid_signature", PeerMisbehaved;
    /// A signature with a high S value, which could be altered by others (BIP 146).
    HighS = "high_s", PeerMisbehaved;
    /// A per-commitment secret that does not revoke the commitment it is for.
    InvalidSecret = "invalid_secret", PeerMisbehaved;
    /// An update that leaves its party less than its reserve and, as the opener, the commitment's fee.
    Unaffordable = "unaffordable", PeerMisbehaved;
    /// A payment outside the bounds that its receiver set, or whose expiry is no block height.
    HtlcOutOfBounds = "htlc_out_of_bounds", PeerMisbehaved;
    /// The end of a payment that is not under way for good, or that is ending already.
    UnknownHtlc = "unknown_htlc", PeerMisbehaved;
    /// The other side of a two-way channel has lost what it knew, or claims to: the channel cannot go on.
    PeerBehind = "peer_behind", PeerMisbehaved;
    /// A preimage that does not fit the payment.
    WrongPreimage = "wrong_preimage", PeerMisbehaved;
    /// An input or output of a funding that both build, or a witness, that BOLT 2 does not allow.
    InvalidContribution = "invalid_contribution", PeerMisbehaved;
    /// Terms outside what this side agrees to (price, window, margins, expiry, bounds).
    UnacceptableTerms = "unacceptable_terms", PeerIncompatible;
    /// A return script of a kind that is not relayed or cannot be paid.
    InvalidReturnScript = "invalid_return_script", PeerMisbehaved;
    /// No such channel.
    UnknownChannel = "unknown_channel", PeerMisbehaved;
    /// The deposit that arrived is below the operator's least one.
    DepositTooSmall = "deposit_too_small", Environment;
    /// The deposit is above what can be spent on one channel.
    DepositTooLarge = "deposit_too_large", Environment;
    /// The channel has no confirmed funding.
    NotFunded = "not_funded", PeerMisbehaved;
    /// A cumulative amount below the one already accepted.
    CumulativeFell = "cumulative_fell", PeerMisbehaved;
    /// A cumulative amount above the channel's capacity.
    ExceedsCapacity = "exceeds_capacity", PeerMisbehaved;
    /// The payee asks for more than the agreed window beyond what was received.
    AheadOfDelivery = "ahead_of_delivery", PeerMisbehaved;
    /// Nothing is released before it is paid.
    NotPaid = "not_paid", PeerMisbehaved;
    /// One piece of content is larger than the window: the operator's window is too small.
    PieceTooLarge = "piece_too_large", PeerIncompatible;
    /// What is left of the deposit does not cover what is asked for.
    DepositSpent = "deposit_spent", Environment;
    /// The channel has made as many payments as its ladder of lock times allows.
    UpdatesSpent = "updates_spent", Environment;
    /// A commitment with another lock time than its place on the ladder has.
    WrongLock = "wrong_lock", PeerMisbehaved;
    /// A closing amount below what was delivered.
    CloseBelowDelivered = "close_below_delivered", PeerMisbehaved;
    /// A deposit that the payee keeps for now: something was delivered for it, or it may still be paid on.
    NotReclaimable = "not_reclaimable", PeerMisbehaved;
    /// The channel is closing or closed; nothing more can be paid on it.
    Closing = "closing", PeerMisbehaved;
    /// The channel is too close to its expiry (or past it) for what was asked.
    Expiring = "expiring", Environment;
    /// The expiry height has not been reached: nothing can be taken back yet.
    NotExpired = "not_expired", Misuse;
    /// The payer has paused: no payment is signed.
    Paused = "paused", Environment;
    /// A payment would pass one of the payer's own limits.
    OverBudget = "over_budget", Environment;
    /// Another session took this channel over.
    Superseded = "superseded", Environment;
    /// The decision was made on a state that has changed since.
    StaleDecision = "stale_decision", Misuse;
    /// A stored log that does not replay.
    CorruptedStore = "corrupted_store", Environment;
    /// What would be paid out is worth less than its fee, or is dust.
    Uneconomic = "uneconomic", Environment;
    /// An argument from our own caller is out of its range.
    InvalidArgument = "invalid_argument", Misuse;
    /// Recovery words that are not valid BIP 39.
    InvalidWords = "invalid_words", Misuse;
    /// There is nothing to sweep, settle or close.
    NothingToDo = "nothing_to_do", Misuse;
    /// The server cannot serve now: stale chain view, full disk, shutting down.
    Unavailable = "unavailable", Environment;
    /// Too many channels, sockets or messages.
    RateLimited = "rate_limited", PeerMisbehaved;
}

/// A refusal: a stable [`Code`], a sentence, and, where two sides differ, the state that settles the matter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    code: Code,
    text: &'static str,
    detail: Option<Detail>,
}

/// Facts that go with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Where the payee says the channel stands, so that a lost answer leaves nobody stuck.
    State(Box<ChannelState>),
    /// An amount that would have been right: a bound, a minimum or what is left.
    Amount(Amount),
    /// A block height that matters.
    Height(u32),
}

impl Error {
    /// A refusal with a sentence that says why.
    pub const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text, detail: None }
    }

    /// The same refusal with a fact beside it.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// A sentence about this refusal, in English; never holds a secret.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        self.code.fault()
    }

    /// The fact that goes with it.
    pub const fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
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
    fn codes_are_distinct_and_parse_back() {
        for (n, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(code.as_str().len() <= usize::from(crate::wire::MAX_CODE));
            assert!(Code::ALL[n + 1..].iter().all(|other| other.as_str() != code.as_str()));
        }
        assert_eq!(Code::parse("no_such_code"), None);
    }

    #[test]
    fn an_error_shows_its_sentence_and_whose_fault_it_is() {
        let error = Error::new(Code::OverBudget, "a sentence").with(Detail::Height(7));
        assert_eq!((error.to_string().as_str(), error.text()), ("a sentence", "a sentence"));
        assert_eq!((error.fault(), error.detail()), (Fault::Environment, Some(&Detail::Height(7))));
    }

    #[test]
    fn the_protocol_page_lists_every_code() {
        let page = include_str!("../../../docs/protocol.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.as_str(), code.fault().as_str().replace('_', " "));
            assert!(page.contains(&row), "docs/protocol.md lacks {row}");
        }
    }
}
