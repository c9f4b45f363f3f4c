//! What a wallet refuses, with a stable code and whose fault it is.

use bitcoin::Amount;

rillpay_channel::codes! {
    /// The coins that may be spent do not cover amount and fee. The error says how much is missing.
    InsufficientFunds = "insufficient_funds", Environment;
    /// An amount so small that nodes do not relay it. The error says the least one.
    DustAmount = "dust_amount", Misuse;
    /// No address, or one of another network.
    InvalidAddress = "invalid_address", Misuse;
    /// A fee rate outside 1 to 1,000 satoshi per virtual byte.
    InvalidFeeRate = "invalid_fee_rate", Misuse;
    /// There is no coin that is worth more than the fee of spending it.
    NothingToSpend = "nothing_to_spend", Environment;
    /// A further fresh address would be beyond the gap that other wallets look across (BIP 44).
    GapLimit = "gap_limit", Misuse;
    /// The wallet holds no transaction with this id.
    UnknownTransaction = "unknown_transaction", Misuse;
    /// The chain's answers contradict each other, or are not what was asked for.
    ContradictoryChain = "contradictory_chain", Environment;
    /// More addresses or transactions than this wallet is made for.
    WalletTooLarge = "wallet_too_large", Environment;
    /// What is stored for the wallet cannot be read, or is of other words or another network.
    CorruptedWallet = "corrupted_wallet", Environment;
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    code: Code,
    text: &'static str,
    amount: Option<Amount>,
}

impl Error {
    /// A refusal with a sentence that says why.
    pub const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text, amount: None }
    }

    /// The same with the amount that is missing or would have been right.
    #[must_use]
    pub(crate) const fn with(mut self, amount: Amount) -> Self {
        self.amount = Some(amount);
        self
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// A sentence about it, in English; never holds a secret.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The amount that is missing or would have been right.
    pub const fn amount(&self) -> Option<Amount> {
        self.amount
    }
}

/// Amounts beyond all the bitcoin there can be: only a fabricated chain has them.
pub(crate) const ABSURD: Error = Error::new(Code::ContradictoryChain, "the sum of all amounts is absurd");

/// Shorthand for [`Error::new`] in a `Result`.
pub(crate) const fn refuse<T>(code: Code, text: &'static str) -> Result<T, Error> {
    Err(Error::new(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_no_code_of_a_channel() {
        for (n, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL[n + 1..].iter().all(|other| other.as_str() != code.as_str()));
            assert_eq!(rillpay_channel::Code::parse(code.as_str()), None, "a code has one meaning");
        }
    }

    #[test]
    fn the_wallets_page_lists_every_code() {
        let page = include_str!("../../../docs/wallet.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.as_str(), code.fault().as_str().replace('_', " "));
            assert!(page.contains(&row), "docs/wallet.md lacks {row}");
        }
    }
}
