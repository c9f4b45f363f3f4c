//! Where settlements pay to: one address, or the next one of a wallet whose private keys are elsewhere.
//!
//! | `payout` | pays to |
//! | --- | --- |
//! | an address | that address, every time |
//! | the extended public key of a BIP 84 account | its receive addresses, `wpkh(KEY/0/*)`, one after the other |
//! | an output descriptor with a wildcard | its addresses, one after the other; of a pair (`<0;1>`), those of the first |
//!
//! Number 0 of a series is kept for what has to be named long before it is paid: the payee's share in the payer's copies
//! of a `timelock` channel's payments. So whoever opens channels uses up no numbers: a settlement does.

use miniscript::descriptor::{DescriptorPublicKey, Wildcard};
use miniscript::{Descriptor, ForEachKey};
use rillpay_channel::bitcoin::address::NetworkUnchecked;
use rillpay_channel::bitcoin::bip32::{Xpriv, Xpub};
use rillpay_channel::bitcoin::{Address, Network, NetworkKind, PrivateKey, Script, ScriptBuf};
use rillpay_channel::keys::Seed;
use rillpay_channel::{params, secp};

use super::{ConfigError, bad};

/// The depth of a BIP 84 account's key: purpose, coin, account.
const ACCOUNT_DEPTH: u8 = 3;
/// How many addresses of the server's own seed are compared with the one it is to pay to.
const OWN_ADDRESSES: u32 = 100;

/// Where settlements pay to.
#[derive(Clone, Debug)]
pub enum Payout {
    /// The same address every time.
    Address(ScriptBuf),
    /// The next address of a wallet.
    Series(Series),
}

/// The addresses of a wallet, by number.
#[derive(Clone, Debug)]
pub struct Series {
    descriptor: Box<Descriptor<DescriptorPublicKey>>,
    first: ScriptBuf,
}

impl Series {
    /// The number of the first address that a settlement pays to.
    pub const START: u32 = 1;

    /// Address number `index`; `None` from 2^31 on.
    pub fn script(&self, index: u32) -> Option<ScriptBuf> {
        let definite = self.descriptor.at_derivation_index(index).ok()?;
        Some(definite.derived_descriptor(secp()).ok()?.script_pubkey())
    }

    /// What names the series, however it is written down: its address number 0.
    pub fn name(&self) -> &Script {
        &self.first
    }
}

impl Payout {
    /// Reads what the configuration says.
    ///
    /// # Errors
    /// [`ConfigError`], a sentence: no address, key or descriptor; one of another network; a private key; addresses of a
    /// kind that is not supported.
    pub fn parse(text: &str, network: Network) -> Result<Self, ConfigError> {
        if let Ok(address) = text.parse::<Address<NetworkUnchecked>>() {
            let Ok(address) = address.require_network(network) else {
                return bad(KEY, format!("is not an address of the network {network}"));
            };
            let script = address.script_pubkey();
            params::validate_return_script(&script)
                .or_else(|_| bad(KEY, "is an address of a kind that is not supported"))?;
            return Ok(Self::Address(script));
        }
        if text.parse::<Xpriv>().is_ok() || text.parse::<PrivateKey>().is_ok() {
            return bad(KEY, PRIVATE);
        }
        if ["ypub", "zpub", "upub", "vpub"].iter().any(|prefix| text.starts_with(prefix)) {
            return bad(KEY, "is a key in another wallet's notation: export it as xpub or tpub, or as a descriptor");
        }
        let descriptor = match text.parse::<Xpub>() {
            Ok(key) if key.depth != ACCOUNT_DEPTH => {
                return bad(KEY, "is an extended key, yet not that of an account (BIP 84): write a descriptor instead");
            }
            Ok(key) => format!("wpkh({key}/0/*)"),
            Err(_) => text.to_owned(),
        };
        series(&descriptor, network).map(Self::Series)
    }

    /// The address that is named where none can be used up: the only one, or number 0.
    pub fn fixed(&self) -> &Script {
        match self {
            Self::Address(script) => script,
            Self::Series(series) => &series.first,
        }
    }

    /// In words, with the first addresses, for the operator to compare with those of the wallet.
    ///
    /// # Errors
    /// [`ConfigError`] where a script has no address, which was ruled out when it was parsed.
    pub fn describe(&self, network: Network) -> Result<String, ConfigError> {
        let address = |script: &Script| {
            Address::from_script(script, network).or_else(|_| bad(KEY, "is of a kind that has no address"))
        };
        let series = match self {
            Self::Address(script) => return Ok(address(script)?.to_string()),
            Self::Series(series) => series,
        };
        let mut text = "a fresh address each:".to_owned();
        for number in 0..3 {
            if let Some(script) = series.script(number) {
                text.push_str(&format!("\n  {number}  {}", address(&script)?));
            }
        }
        text.push_str("\n  ... from number 1 on; number 0 is for what timelock channels name before they are paid");
        Ok(text)
    }

    /// Whether it pays to the wallet of the server's own recovery words: earnings would stay where a thief of the server
    /// finds them.
    pub fn is_hot(&self, seed: &Seed) -> bool {
        (0..OWN_ADDRESSES).any(|index| seed.return_script(index).is_ok_and(|own| *own == *self.fixed()))
    }
}

const KEY: &str = "payout";
const PRIVATE: &str =
    "holds a private key: only public ones belong here, so that the server cannot spend what it earned";

fn series(text: &str, network: Network) -> Result<Series, ConfigError> {
    let (descriptor, private) = match Descriptor::parse_descriptor(secp(), text) {
        Ok(parsed) => parsed,
        // A garbled private key must not be repeated in a log.
        Err(_) if text.contains("prv") => return bad(KEY, PRIVATE),
        Err(error) => {
            let what = "is no Bitcoin address, no extended public key and no output descriptor";
            // A descriptor's error is of use only to whoever wrote one.
            return bad(KEY, if text.contains('(') { format!("{what}: {error}") } else { what.to_owned() });
        }
    };
    if !private.is_empty() {
        return bad(KEY, PRIVATE);
    }
    let single = descriptor.into_single_descriptors().ok().and_then(|all| all.into_iter().next());
    let Some(descriptor) = single.filter(|descriptor| descriptor.sanity_check().is_ok()) else {
        return bad(KEY, "is a descriptor that makes no sense");
    };
    if !descriptor.has_wildcard() {
        return bad(KEY, "is a descriptor of one address: end its keys with /*, or write the address itself");
    }
    // Deriving from a hardened wildcard is a panic in miniscript.
    let hardened = |key: &DescriptorPublicKey| {
        key.has_hardened_step() || matches!(key, DescriptorPublicKey::XPub(key) if key.wildcard == Wildcard::Hardened)
    };
    if descriptor.for_any_key(hardened) {
        return bad(KEY, "is a descriptor with a hardened step, which takes a private key");
    }
    let kind = NetworkKind::from(network);
    let fits = |key: &DescriptorPublicKey| match key {
        DescriptorPublicKey::XPub(key) => key.xkey.network == kind,
        DescriptorPublicKey::MultiXPub(key) => key.xkey.network == kind,
        DescriptorPublicKey::Single(_) => true,
    };
    if !descriptor.for_each_key(fits) {
        return bad(KEY, format!("is a key of another network than {network}"));
    }
    let mut series = Series { descriptor: Box::new(descriptor), first: ScriptBuf::new() };
    let Some(first) = series.script(0) else {
        return bad(KEY, "is a descriptor that gives no addresses");
    };
    params::validate_return_script(&first)
        .or_else(|_| bad(KEY, "is a descriptor of addresses of a kind that is not supported"))?;
    series.first = first;
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn seed(network: Network) -> Seed {
        Seed::from_words(WORDS, network).unwrap()
    }

    fn account(network: Network) -> (Xpriv, Xpub) {
        let private = seed(network).account().unwrap();
        (private, Xpub::from_priv(secp(), &private))
    }

    fn addresses(text: &str, network: Network) -> Vec<String> {
        let Payout::Series(series) = Payout::parse(text, network).unwrap() else { panic!("{text} is one address") };
        let address = |index| Address::from_script(&series.script(index).unwrap(), network).unwrap().to_string();
        (0..2).map(address).collect()
    }

    fn why(text: &str, network: Network) -> String {
        match Payout::parse(text, network) {
            Err(ConfigError::Value { key: "payout", why }) => why,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The vectors of BIP 84 and BIP 86.
    #[test]
    fn an_account_key_and_descriptors_give_their_wallets_addresses() {
        let (_, key) = account(Network::Bitcoin);
        let first = ["bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"];
        assert_eq!(addresses(&key.to_string(), Network::Bitcoin), first);
        assert_eq!(addresses(&format!("wpkh([73c5da0a/84'/0'/0']{key}/<0;1>/*)"), Network::Bitcoin), first);
        let taproot = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
        let first = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr";
        assert_eq!(addresses(&format!("tr({taproot}/0/*)"), Network::Bitcoin)[0], first);
    }

    #[test]
    fn one_address_stays_the_same() {
        let payout = Payout::parse("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
        assert!(matches!(&payout, Payout::Address(script) if **script == *payout.fixed()));
    }

    #[test]
    fn private_keys_other_networks_and_what_has_no_addresses_are_refused() {
        let (private, key) = account(Network::Signet);
        let main = account(Network::Bitcoin).1;
        let wif = PrivateKey::new(private.private_key, Network::Signet);
        for text in [
            private.to_string(),
            wif.to_string(),
            format!("wpkh({private}/0/*)"),
            format!("wsh(sortedmulti(1,{private}/0/*,{key}/1/*))"),
            format!("wpkh({private}x/0/*)"),
        ] {
            let why = why(&text, Network::Signet);
            assert!(why.contains("private key"), "{why}");
            assert!(!why.contains("prv"), "the key itself is never repeated");
        }
        for text in [main.to_string(), format!("wpkh({main}/0/*)"), format!("wpkh({main}/<0;1>/*)")] {
            assert!(why(&text, Network::Signet).contains("another network"), "{text}");
            assert!(Payout::parse(&text, Network::Bitcoin).is_ok());
        }
        let master = Xpub::from_priv(secp(), &Xpriv::new_master(Network::Signet, &[7; 32]).unwrap());
        for (text, part) in [
            (master.to_string(), "not that of an account"),
            (format!("wpkh({key}/0/5)"), "one address"),
            (format!("wpkh({key}/0/*')"), "hardened"),
            (format!("pk({key}/0/*)"), "not supported"),
            (format!("wpkh({key}/0/*)#00000000"), "no output descriptor"),
            (format!("wpkh({key}"), "no output descriptor"),
            ("zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs".into(), "another wallet's notation"),
            ("somewhere".into(), "no Bitcoin address"),
            (String::new(), "no Bitcoin address"),
        ] {
            let why = why(&text, Network::Signet);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_wallet_of_the_servers_own_words_is_recognised() {
        let own = seed(Network::Regtest);
        let other = Seed::from_bip39_seed(&[9; 64], Network::Regtest);
        let key = account(Network::Regtest).1.to_string();
        let address = Address::from_script(&own.return_script(7).unwrap(), Network::Regtest).unwrap().to_string();
        for text in [key, address] {
            let payout = Payout::parse(&text, Network::Regtest).unwrap();
            assert!(payout.is_hot(&own) && !payout.is_hot(&other), "{text}");
        }
    }
}
