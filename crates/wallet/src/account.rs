//! BIP 84, account 0: `m/84'/coin'/0'/branch/index`, P2WPKH.
//!
//! `coin` is 0 on the main network and 1 on the test networks (SLIP 44). The receive addresses are also where channels of
//! the same words pay back to ([`rillpay_channel::keys`]), so that this wallet finds that money without being told.

use std::collections::BTreeMap;

use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, ecdsa};
use bitcoin::{Address, CompressedPublicKey, Network, Script, ScriptBuf};
use rillpay_channel::keys::Seed;
use rillpay_channel::secp;

use crate::error::{Code, Error, refuse};

/// The two chains of addresses of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    /// Given to others.
    Receive,
    /// For what is left of a payment.
    Change,
}

impl Branch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Receive, Self::Change];

    const fn number(self) -> u32 {
        match self {
            Self::Receive => 0,
            Self::Change => 1,
        }
    }
}

/// Where in the account a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which chain.
    pub branch: Branch,
    /// Below 2^31.
    pub index: u32,
}

/// The account's key. It never prints, and is wiped when dropped.
pub(crate) struct Account {
    key: Xpriv,
}

impl Account {
    /// # Errors
    /// As [`Seed::account`].
    pub(crate) fn new(seed: &Seed) -> Result<Self, rillpay_channel::Error> {
        Ok(Self { key: seed.account()? })
    }

    /// The public half, on a network that has this coin.
    pub(crate) fn scripts(&self, network: Network) -> Result<Scripts, Error> {
        let branch = |branch: Branch| {
            let path = [normal(branch.number())?];
            Xpub::from_priv(secp(), &self.key).derive_pub(secp(), &path).map_err(|_| UNDERIVABLE)
        };
        let branches = [branch(Branch::Receive)?, branch(Branch::Change)?];
        Ok(Scripts { network, branches, listed: [vec![], vec![]], places: BTreeMap::new() })
    }

    /// The script of a place.
    pub(crate) fn script(&self, place: Place) -> Result<ScriptBuf, Error> {
        let path = [normal(place.branch.number())?, normal(place.index)?];
        let key = Xpub::from_priv(secp(), &self.key).derive_pub(secp(), &path).map_err(|_| UNDERIVABLE)?;
        Ok(ScriptBuf::new_p2wpkh(&CompressedPublicKey(key.public_key).wpubkey_hash()))
    }

    /// Signs with the key of a place. Low R, so that the signature has at most 71 bytes with its hash type.
    pub(crate) fn sign(
        &self,
        place: Place,
        message: &Message,
    ) -> Result<(ecdsa::Signature, CompressedPublicKey), Error> {
        let path = [normal(place.branch.number())?, normal(place.index)?];
        let mut key = self.key.derive_priv(secp(), &path).map_err(|_| UNDERIVABLE)?;
        let signature = secp().sign_ecdsa_low_r(message, &key.private_key);
        let public = CompressedPublicKey(key.private_key.public_key(secp()));
        key.private_key.non_secure_erase();
        Ok((signature, public))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.key.private_key.non_secure_erase();
    }
}

/// The account's public half: its scripts, as far as they were needed so far.
#[derive(Clone)]
pub(crate) struct Scripts {
    network: Network,
    branches: [Xpub; 2],
    listed: [Vec<ScriptBuf>; 2],
    places: BTreeMap<ScriptBuf, Place>,
}

impl Scripts {
    pub(crate) const fn network(&self) -> Network {
        self.network
    }

    /// Names the account: 8 bytes over both keys and the network.
    pub(crate) fn id(&self) -> [u8; 8] {
        let mut bytes = self.network.magic().to_bytes().to_vec();
        for branch in &self.branches {
            bytes.extend_from_slice(&branch.encode());
        }
        let hash = bitcoin::hashes::sha256::Hash::hash(&bytes).to_byte_array();
        let mut id = [0; 8];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        id
    }

    /// The script of a place, which from now on is recognised as ours, together with all before it.
    pub(crate) fn script(&mut self, place: Place) -> Result<ScriptBuf, Error> {
        let [receive, change] = &mut self.listed;
        let [receive_key, change_key] = &self.branches;
        let (listed, key) = match place.branch {
            Branch::Receive => (receive, receive_key),
            Branch::Change => (change, change_key),
        };
        let wanted = usize::try_from(place.index).map_err(|_| UNDERIVABLE)?;
        loop {
            if let Some(script) = listed.get(wanted) {
                return Ok(script.clone());
            }
            let index = u32::try_from(listed.len()).map_err(|_| UNDERIVABLE)?;
            let public = key.derive_pub(secp(), &[normal(index)?]).map_err(|_| UNDERIVABLE)?.public_key;
            let script = ScriptBuf::new_p2wpkh(&CompressedPublicKey(public).wpubkey_hash());
            self.places.insert(script.clone(), Place { branch: place.branch, index });
            listed.push(script);
        }
    }

    /// The address of a place.
    pub(crate) fn address(&mut self, place: Place) -> Result<Address, Error> {
        Address::from_script(&self.script(place)?, self.network).map_err(|_| UNDERIVABLE)
    }

    /// The place of a script that is ours.
    pub(crate) fn place(&self, script: &Script) -> Option<Place> {
        // The wallet's scripts have one form only, which spares most foreign ones the search.
        if !script.is_p2wpkh() {
            return None;
        }
        self.places.get(script).copied()
    }
}

/// BIP 32 has keys that do not exist, with a probability below 2^-127, and no others beyond 2^31.
const UNDERIVABLE: Error = Error::new(Code::WalletTooLarge, "this address cannot be derived");

fn normal(index: u32) -> Result<ChildNumber, Error> {
    ChildNumber::from_normal_idx(index).map_err(|_| UNDERIVABLE)
}

/// The script behind an address of this network.
///
/// # Errors
/// [`Code::InvalidAddress`].
pub fn parse_address(text: &str, network: Network) -> Result<ScriptBuf, Error> {
    // Bech32m addresses have at most 90 characters.
    if text.len() > 100 {
        return refuse(Code::InvalidAddress, "this is no Bitcoin address");
    }
    let address: Address<_> =
        text.trim().parse().map_err(|_| Error::new(Code::InvalidAddress, "this is no Bitcoin address"))?;
    let address = address
        .require_network(network)
        .map_err(|_| Error::new(Code::InvalidAddress, "this address is of another Bitcoin network"))?;
    Ok(address.script_pubkey())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn scripts(network: Network) -> Scripts {
        Account::new(&Seed::from_words(WORDS, network).unwrap()).unwrap().scripts(network).unwrap()
    }

    #[test]
    fn addresses_are_those_of_bip_84() {
        // BIP-0084, test vectors.
        let mut scripts = scripts(Network::Bitcoin);
        for (branch, index, expected) in [
            (Branch::Receive, 0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
            (Branch::Receive, 1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"),
            (Branch::Change, 0, "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"),
        ] {
            let place = Place { branch, index };
            let address = scripts.address(place).unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(scripts.place(&address.script_pubkey()), Some(place));
        }
    }

    #[test]
    fn keys_are_those_of_bip_84() {
        // BIP-0084, test vectors: the public keys, and the account's extended key without its special version bytes.
        let account = Account::new(&Seed::from_words(WORDS, Network::Bitcoin).unwrap()).unwrap();
        let message = Message::from_digest([7; 32]);
        for (branch, index, expected) in [
            (Branch::Receive, 0, "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c"),
            (Branch::Receive, 1, "03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77"),
            (Branch::Change, 0, "03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6"),
        ] {
            let (signature, public) = account.sign(Place { branch, index }, &message).unwrap();
            assert_eq!(public.to_string(), expected);
            secp().verify_ecdsa(&message, &signature, &public.0).unwrap();
            assert!(signature.serialize_der().len() <= 70, "a low R");
        }
    }

    #[test]
    fn receive_addresses_are_those_that_channels_pay_back_to() {
        for network in [Network::Bitcoin, Network::Signet, Network::Regtest] {
            let seed = Seed::from_words(WORDS, network).unwrap();
            let mut scripts = scripts(network);
            for index in [0, 1, 25] {
                let place = Place { branch: Branch::Receive, index };
                assert_eq!(scripts.script(place).unwrap(), seed.return_script(index).unwrap());
            }
        }
    }

    #[test]
    fn an_account_has_one_name_per_network() {
        let networks = [Network::Bitcoin, Network::Testnet, Network::Signet, Network::Regtest];
        let ids: std::collections::BTreeSet<_> = networks.map(|network| scripts(network).id()).into();
        assert_eq!(ids.len(), networks.len());
    }

    #[test]
    fn only_addresses_of_the_network_are_paid() {
        let own = scripts(Network::Regtest).address(Place { branch: Branch::Receive, index: 3 }).unwrap();
        assert_eq!(parse_address(&format!(" {own}\n"), Network::Regtest).unwrap(), own.script_pubkey());
        let foreign = "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu";
        for text in [foreign, "", "bcrt1qq", &"b".repeat(10_000), "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"] {
            assert_eq!(parse_address(text, Network::Regtest).unwrap_err().code(), Code::InvalidAddress);
        }
    }
}
