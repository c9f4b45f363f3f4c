//! The demo wallet: one P2WPKH key that receives the block rewards and pays deposits.
//!
//! The key is the same in every copy of this program. Regtest coins are worth nothing, and a key that cannot be lost
//! is one file less.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Amount, CompressedPublicKey, FeeRate, OutPoint, PrivateKey, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Witness, ecdsa, transaction,
};

use super::rules::fee_at;
use super::total;
use crate::ChainError;

const SEED: &[u8] = b"rillpay demo wallet for regtest";
/// A low-s signature in DER with its hash type is at most this long.
const MAX_SIGNATURE: usize = 72;
const PUBLIC_KEY: usize = 33;

/// A coin that the wallet may spend.
#[derive(Clone, Debug)]
pub(super) struct Spendable {
    pub(super) outpoint: OutPoint,
    pub(super) output: TxOut,
    /// Confirmed coins go first, which keeps chains of unconfirmed transactions short.
    pub(super) confirmed: bool,
}

/// The key and how to sign with it.
pub(super) struct Wallet {
    secp: Secp256k1<All>,
    secret: SecretKey,
    public: CompressedPublicKey,
    script: ScriptBuf,
    fee_rate: FeeRate,
}

impl Wallet {
    /// `fee_rate` is what every payment offers.
    pub(super) fn new(fee_rate: FeeRate) -> Result<Self, ChainError> {
        #[expect(clippy::disallowed_methods, reason = "no browser runs this: the library has its own table")]
        let secp = Secp256k1::new();
        let seed = sha256::Hash::hash(SEED);
        let secret = SecretKey::from_slice(seed.as_byte_array())
            .map_err(|_| ChainError::Misuse("the demo wallet's seed is no key"))?;
        let private = PrivateKey::new(secret, bitcoin::NetworkKind::Test);
        let public = CompressedPublicKey::from_private_key(&secp, &private)
            .map_err(|_| ChainError::Misuse("the demo wallet's key must be compressed"))?;
        let script = ScriptBuf::new_p2wpkh(&public.wpubkey_hash());
        Ok(Wallet { secp, secret, public, script, fee_rate })
    }

    /// Where it is paid.
    pub(super) fn script(&self) -> &Script {
        &self.script
    }

    /// Pays the outputs from as few coins as will do, with change back to itself where that is worth an output.
    pub(super) fn pay(&self, mut coins: Vec<Spendable>, outputs: Vec<TxOut>) -> Result<Transaction, ChainError> {
        coins.sort_by_key(|coin| std::cmp::Reverse((coin.confirmed, coin.output.value)));
        let overflow = ChainError::Misuse("the payments add up to more money than there is");
        let paid = total(outputs.iter().map(|output| output.value))
            .filter(|paid| *paid <= Amount::MAX_MONEY)
            .ok_or(overflow)?;
        let available = total(coins.iter().map(|coin| coin.output.value)).unwrap_or(Amount::MAX_MONEY);
        let mut tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: Vec::new(),
            output: outputs,
        };
        let change = TxOut { value: Amount::ZERO, script_pubkey: self.script.clone() };
        tx.output.push(change);

        let mut gathered = Amount::ZERO;
        let mut needed = paid;
        for (used, coin) in coins.iter().enumerate() {
            tx.input.push(unsigned_input(coin.outpoint));
            gathered = gathered.checked_add(coin.output.value).unwrap_or(Amount::MAX_MONEY);
            let fee = fee_at(self.fee_rate, tx.weight());
            needed = paid.checked_add(fee).unwrap_or(Amount::MAX_MONEY);
            if let Some(rest) = gathered.checked_sub(needed) {
                self.set_change(&mut tx, rest);
                self.sign(&mut tx, coins.get(..=used).unwrap_or_default())?;
                return Ok(tx);
            }
        }
        Err(ChainError::InsufficientFunds { available, needed })
    }

    /// The last output is the change; without enough for one, the rest goes to the miner.
    fn set_change(&self, tx: &mut Transaction, rest: Amount) {
        if rest < self.script.minimal_non_dust() {
            tx.output.pop();
        } else if let Some(change) = tx.output.last_mut() {
            change.value = rest;
        }
    }

    fn sign(&self, tx: &mut Transaction, coins: &[Spendable]) -> Result<(), ChainError> {
        let sighash_type = EcdsaSighashType::All;
        let mut cache = SighashCache::new(tx);
        for (i, coin) in coins.iter().enumerate() {
            let sighash = cache
                .p2wpkh_signature_hash(i, &self.script, coin.output.value, sighash_type)
                .map_err(|_| ChainError::Misuse("the demo wallet only spends its own coins"))?;
            let signature = self.secp.sign_ecdsa(&Message::from_digest(sighash.to_byte_array()), &self.secret);
            if let Some(witness) = cache.witness_mut(i) {
                *witness = Witness::p2wpkh(&ecdsa::Signature { signature, sighash_type }, &self.public.0);
            }
        }
        Ok(())
    }
}

/// An input with a witness of the greatest size, so that the weight is known before signing.
fn unsigned_input(previous_output: OutPoint) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::from_slice(&[vec![0_u8; MAX_SIGNATURE], vec![0_u8; PUBLIC_KEY]]),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;

    use super::*;

    fn wallet() -> Wallet {
        Wallet::new(FeeRate::from_sat_per_vb(2).unwrap()).unwrap()
    }

    fn coin(vout: u32, sat: u64, confirmed: bool) -> Spendable {
        Spendable {
            outpoint: OutPoint { txid: Txid::all_zeros(), vout },
            output: TxOut { value: Amount::from_sat(sat), script_pubkey: wallet().script.clone() },
            confirmed,
        }
    }

    fn payment(sat: u64) -> Vec<TxOut> {
        vec![TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::new_op_return([1_u8; 32]) }]
    }

    #[test]
    fn confirmed_coins_and_large_coins_go_first() {
        let coins = vec![coin(0, 900_000, false), coin(1, 40_000, true), coin(2, 50_000, true)];
        let tx = wallet().pay(coins, payment(60_000)).unwrap();
        let used: Vec<u32> = tx.input.iter().map(|input| input.previous_output.vout).collect();
        assert_eq!(used, [2, 1]);
    }

    #[test]
    fn the_fee_is_the_rate_and_small_change_joins_it() {
        let tx = wallet().pay(vec![coin(0, 100_000, true)], payment(50_000)).unwrap();
        assert_eq!(tx.output.len(), 2);
        let fee = 100_000 - tx.output.iter().map(|o| o.value.to_sat()).sum::<u64>();
        let vsize = u64::try_from(tx.vsize()).unwrap();
        assert!((2 * vsize..=2 * vsize + 4).contains(&fee), "{fee} for {vsize} vB");

        let tx = wallet().pay(vec![coin(0, 50_599, true)], payment(50_000)).unwrap();
        assert_eq!(tx.output.len(), 1, "293 sat of change would be dust");
        let tx = wallet().pay(vec![coin(0, 50_600, true)], payment(50_000)).unwrap();
        assert_eq!(tx.output.len(), 2, "294 sat are worth an output");
    }

    #[test]
    fn too_little_says_what_is_missing() {
        let error = wallet().pay(vec![coin(0, 1_000, true)], payment(1_000)).unwrap_err();
        let ChainError::InsufficientFunds { available, needed } = error else { panic!("{error}") };
        assert_eq!(available.to_sat(), 1_000);
        assert!(needed.to_sat() > 1_200, "{needed}");
    }
}
