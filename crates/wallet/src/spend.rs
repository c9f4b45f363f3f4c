//! From chosen coins to a signed transaction.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use rillpay_channel::fee::Fee;

use crate::account::Account;
use crate::book::{Coin, sum};
use crate::error::{Code, Error};
use crate::select::MAX_INPUTS;

/// Spends coins into outputs. Each input opts in to replacement (BIP 125). Inputs and outputs are in the order of BIP 69,
/// which tells nobody which output is the change.
///
/// # Errors
/// None in practice.
pub(crate) fn spend(
    account: &Account,
    coins: &[Coin],
    mut outputs: Vec<TxOut>,
    lock_time: LockTime,
) -> Result<Transaction, Error> {
    let mut coins = coins.to_vec();
    // An id is compared as it is written, which is backwards.
    coins.sort_by_key(|coin| {
        let mut txid = coin.outpoint.txid.to_byte_array();
        txid.reverse();
        (txid, coin.outpoint.vout)
    });
    outputs.sort_by(|a, b| (a.value, &a.script_pubkey).cmp(&(b.value, &b.script_pubkey)));
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let transaction =
        Transaction { version: Version::TWO, lock_time, input: coins.iter().map(input).collect(), output: outputs };
    let coins: Vec<_> = coins.into_iter().enumerate().collect();
    signed(account, &coins, transaction)
}

/// Adds coins to a transaction until they pay its fee, the most valuable first, and change. Its own inputs, whose witnesses are
/// as long as they will be, and outputs stay where they are.
///
/// # Errors
/// [`Code::InsufficientFunds`] with what is missing, [`Code::InvalidFeeRate`] for an absurd one.
pub(crate) fn support(
    account: &Account,
    base: &Transaction,
    value: Amount,
    mut coins: Vec<Coin>,
    change: ScriptBuf,
    fee: &Fee,
) -> Result<Transaction, Error> {
    let dust = change.minimal_non_dust();
    let paid = sum(base.output.iter().map(|output| output.value))?;
    let mut transaction = base.clone();
    transaction.output.push(TxOut { value: dust, script_pubkey: change });
    coins.sort_by_key(|coin| (coin.value, coin.outpoint));
    let (mut chosen, mut has) = (vec![], value);
    loop {
        let size = u64::try_from(transaction.vsize()).unwrap_or(u64::MAX);
        let fee = fee.of(size).ok_or(Error::new(Code::InvalidFeeRate, "the fee rate is absurd"))?;
        let needed = sum([paid, fee, dust])?;
        if let Some(rest) = has.checked_sub(needed) {
            if let Some(change) = transaction.output.last_mut() {
                change.value = sum([rest, dust])?;
            }
            break;
        }
        let Some(coin) = coins.pop().filter(|_| chosen.len() < MAX_INPUTS) else {
            let missing = needed.checked_sub(has).unwrap_or(Amount::ZERO);
            return Err(Error::new(Code::InsufficientFunds, "there is not enough money for this").with(missing));
        };
        has = sum([has, coin.value])?;
        // As long as the signed one may become.
        let witness = Witness::from_slice(&[&[0; 71][..], &[0; 33]]);
        let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        let previous_output = coin.outpoint;
        chosen.push((transaction.input.len(), coin));
        transaction.input.push(TxIn { previous_output, sequence, witness, ..TxIn::default() });
    }
    signed(account, &chosen, transaction)
}

/// With the witnesses of these coins at these inputs.
///
/// # Errors
/// None in practice.
pub(crate) fn signed(
    account: &Account,
    coins: &[(usize, Coin)],
    mut transaction: Transaction,
) -> Result<Transaction, Error> {
    let witnesses = witnesses(account, coins, &transaction)?;
    for ((index, _), witness) in coins.iter().zip(witnesses) {
        if let Some(input) = transaction.input.get_mut(*index) {
            input.witness = witness;
        }
    }
    Ok(transaction)
}

fn witnesses(account: &Account, coins: &[(usize, Coin)], transaction: &Transaction) -> Result<Vec<Witness>, Error> {
    let mut cache = SighashCache::new(transaction);
    let witness = |(index, coin): &(usize, Coin)| {
        let script = account.script(coin.place)?;
        let hash = cache
            .p2wpkh_signature_hash(*index, &script, coin.value, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::WalletTooLarge, "this transaction cannot be signed"))?;
        let (signature, key) = account.sign(coin.place, &Message::from_digest(hash.to_byte_array()))?;
        Ok(Witness::p2wpkh(&Signature::sighash_all(signature), &key.0))
    };
    coins.iter().map(witness).collect()
}
