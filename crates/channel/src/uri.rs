//! BIP 21 payment URIs, for QR codes and "open in wallet" links.

use bitcoin::{Address, Amount, Denomination};

/// `bitcoin:<address>?amount=<bitcoin>&label=<label>`. The label is percent-encoded (RFC 3986); empty, it is left out.
pub fn payment_uri(address: &Address, amount: Amount, label: &str) -> String {
    use std::fmt::Write;

    let mut uri = format!("bitcoin:{address}?amount={}", amount.to_string_in(Denomination::Bitcoin));
    if !label.is_empty() {
        uri.push_str("&label=");
        for byte in label.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;

    #[test]
    fn spells_amount_and_label() {
        let address = "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu".parse::<Address<_>>().unwrap();
        let address = address.require_network(Network::Bitcoin).unwrap();
        assert_eq!(
            payment_uri(&address, Amount::from_sat(3_600_000), "Fabian & Söhne"),
            format!("bitcoin:{address}?amount=0.036&label=Fabian%20%26%20S%C3%B6hne"),
        );
        assert_eq!(payment_uri(&address, Amount::ONE_BTC, ""), format!("bitcoin:{address}?amount=1"));
    }
}
