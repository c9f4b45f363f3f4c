//! A request for a payment, as a text that is sent by mail or read from a screen.
//!
//! ```text
//!   rillpay:<key>?channel=<id>&amount_sat=<number>&id=<32 hex digits>&memo=<percent-encoded>
//! ```
//!
//! It is not signed: whoever pays it looks at what it says. A direct payment goes to the counterparty of the channel that it
//! names, so a forged one can at most make somebody pay its own counterparty. The id keeps it from being paid twice.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::hex::{DisplayHex, FromHex};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_wire::ChannelId;

use crate::error::{Code, Error};

/// The longest memo, in bytes.
const MAX_MEMO: usize = 200;
/// The longest request.
const MAX_REQUEST: usize = 2_000;

/// Who asks for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    /// Who is to be paid.
    pub payee: PublicKey,
    /// Over which channel.
    pub channel: ChannelId,
    /// How much.
    pub amount: Amount,
    /// What for.
    pub memo: String,
    /// What makes this request another one than the last.
    pub id: [u8; 16],
}

impl PaymentRequest {
    /// A request.
    ///
    /// # Errors
    /// [`Code::InvalidCommand`] for no amount, or for a memo that is too long or holds control characters.
    pub fn new(payee: PublicKey, channel: ChannelId, amount: Amount, memo: &str, id: [u8; 16]) -> Result<Self, Error> {
        let is_memo = memo.len() <= MAX_MEMO && !memo.chars().any(char::is_control);
        if !is_memo || amount == Amount::ZERO || amount > Amount::MAX_MONEY {
            return Err(Error::new(Code::InvalidCommand, "a request needs an amount and a short memo"));
        }
        Ok(Self { payee, channel, amount, memo: memo.to_owned(), id })
    }
}

impl fmt::Display for PaymentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payee, channel, amount, memo, id } = self;
        let memo = utf8_percent_encode(memo, NON_ALPHANUMERIC);
        let (amount, id) = (amount.to_sat(), id.as_hex());
        write!(f, "rillpay:{payee}?channel={channel}&amount_sat={amount}&id={id}&memo={memo}")
    }
}

impl FromStr for PaymentRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::new(Code::InvalidCommand, "this is no request for a payment");
        let text = text.trim();
        if text.len() > MAX_REQUEST {
            return Err(bad());
        }
        let (payee, query) = text.strip_prefix("rillpay:").and_then(|rest| rest.split_once('?')).ok_or_else(bad)?;
        let fields: Vec<_> = query.split('&').filter_map(|field| field.split_once('=')).collect();
        let [("channel", channel), ("amount_sat", amount), ("id", id), ("memo", memo)] = fields[..] else {
            return Err(bad());
        };
        let amount = Amount::from_sat(amount.parse().map_err(|_| bad())?);
        let id = <[u8; 16]>::from_hex(id).map_err(|_| bad())?;
        let memo = percent_decode_str(memo).decode_utf8().map_err(|_| bad())?;
        let payee = payee.parse().map_err(|_| bad())?;
        let channel = ChannelId(<[u8; 32]>::from_hex(channel).map_err(|_| bad())?);
        Self::new(payee, channel, amount, &memo, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    #[test]
    fn a_request_is_a_text_and_comes_back() {
        let payee = KEY.parse().unwrap();
        let memo = "two & a half: café?";
        let request = PaymentRequest::new(payee, ChannelId([0xab; 32]), Amount::from_sat(7), memo, [9; 16]).unwrap();
        let text = request.to_string();
        assert!(text.starts_with(&format!("rillpay:{KEY}?channel=abab")) && text.is_ascii());
        assert_eq!(format!(" {text}\n").parse::<PaymentRequest>().unwrap(), request);
        for (from, to) in [
            ("rillpay:", "bitcoin:"),
            ("amount_sat=7", "amount_sat=0"),
            ("amount_sat=7", "amount_sat=-7"),
            ("amount_sat=7", "amount_sat=2100000000000001"),
            ("&memo=", "&more=1&memo="),
            ("two", "%00"),
            ("two", "%ff"),
            ("0909", "09"),
            ("abab", "ab"),
            ("rillpay:02", "rillpay:09"),
        ] {
            let changed = text.replace(from, to).parse::<PaymentRequest>();
            assert_eq!(changed.unwrap_err().code(), "invalid_command", "{to}");
        }
    }
}
