//! A node's words: its reasons not to take a transaction above all.

use crate::{Reason, Refusal};

/// Foreign words, cut to a length that a log can bear and without control characters.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Reads a node's words: the reason, and after a comma or in brackets more of it.
pub(crate) fn refusal(message: &str) -> Refusal {
    let word = message.split([',', '(']).next().unwrap_or(message).trim();
    let rest = message.get(word.len()..).unwrap_or("").trim_start_matches([',', ' ']);
    match reason(word) {
        Reason::Other => Refusal::with(Reason::Other, message),
        reason if reason.as_str() == word => Refusal::with(reason, rest),
        // Several of Bitcoin Core's words are one of our reasons: keep the word.
        reason => Refusal::with(reason, message),
    }
}

fn reason(word: &str) -> Reason {
    match word {
        "txn-already-known" | "Transaction outputs already in utxo set" | "Transaction already in block chain" => {
            Reason::AlreadyKnown
        }
        "txn-already-in-mempool" | "txn-same-nonwitness-data-in-mempool" => Reason::AlreadyInMempool,
        "bad-txns-inputs-missingorspent" | "missing-inputs" | "Missing inputs" => Reason::MissingInputs,
        "txn-mempool-conflict"
        | "bip125-replacement-disallowed"
        | "bad-txns-spends-conflicting-tx"
        | "replacement-adds-unconfirmed"
        | "too many potential replacements" => Reason::MempoolConflict,
        "insufficient fee" | "replacement-failed" => Reason::InsufficientFee,
        "non-final" => Reason::NonFinal,
        "non-BIP68-final" => Reason::NonBip68Final,
        "bad-txns-premature-spend-of-coinbase" => Reason::PrematureCoinbaseSpend,
        "mempool-script-verify-flag-failed"
        | "mandatory-script-verify-flag-failed"
        | "non-mandatory-script-verify-flag"
        | "block-script-verify-flag-failed" => Reason::ScriptFailed,
        "bad-txns-in-belowout" => Reason::InBelowOut,
        "coinbase" => Reason::Coinbase,
        "tx-size" => Reason::TooLarge,
        "tx-size-small" => Reason::TooSmall,
        "scriptsig-size" | "scriptsig-not-pushonly" | "bad-txns-nonstandard-inputs" | "bad-witness-nonstandard" => {
            Reason::InputScript
        }
        "scriptpubkey" | "bare-multisig" | "multi-op-return" | "datacarrier" => Reason::OutputScript,
        "bad-txns-too-many-sigops" => Reason::TooManySigops,
        "version" => Reason::Version,
        "dust" => Reason::Dust,
        "min relay fee not met" | "mempool min fee not met" => Reason::FeeTooLow,
        "mempool full" => Reason::MempoolFull,
        "TX decode failed" => Reason::Malformed,
        word if word.starts_with("bad-txns-") || word.starts_with("bad-cb-") => Reason::Malformed,
        _ => Reason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_words_become_reasons() {
        for (words, reason, detail) in [
            ("min relay fee not met, 0 < 110", Reason::FeeTooLow, "0 < 110"),
            ("mempool min fee not met, 100 < 200", Reason::FeeTooLow, "mempool min fee not met, 100 < 200"),
            ("non-final", Reason::NonFinal, ""),
            (
                "mempool-script-verify-flag-failed (Locktime requirement not satisfied), input 0 of ab",
                Reason::ScriptFailed,
                "(Locktime requirement not satisfied), input 0 of ab",
            ),
            ("bad-txns-inputs-missingorspent", Reason::MissingInputs, ""),
            (
                "Transaction outputs already in utxo set",
                Reason::AlreadyKnown,
                "Transaction outputs already in utxo set",
            ),
            ("bad-txns-vout-toolarge", Reason::Malformed, "bad-txns-vout-toolarge"),
            ("insufficient fee, rejecting replacement ab", Reason::InsufficientFee, "rejecting replacement ab"),
            ("too-large-cluster", Reason::Other, "too-large-cluster"),
            ("", Reason::Other, ""),
        ] {
            assert_eq!(refusal(words), Refusal::with(reason, detail), "{words}");
        }
    }
}
