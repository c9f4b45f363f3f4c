//! Refund: after expiry the payer alone takes back **every** output ever paid to the channel's address.
//!
//! The *refund kit* holds such transactions at several fee rates, signed ahead of time: any tool can broadcast one of them
//! after expiry, even if the browser's storage is gone.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Transaction, TxIn, TxOut, Witness};

use crate::commitment::{Funding, SEQUENCE, dust_limit};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::script::script_sig;
use crate::secp::secp;

/// The longest DER signature with low S and its hash type byte.
const MAX_SIGNATURE: usize = 72;
/// The most outputs that one refund sweeps: stays below what nodes relay.
pub const MAX_OUTPUTS: usize = 500;
/// The fee rates of a refund kit, in satoshi per virtual byte.
pub const KIT_FEE_RATES: [u32; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// A transaction that sweeps `outputs` to the return script. Valid in blocks **after** the expiry height.
///
/// # Errors
/// [`Code::NothingToDo`] for no outputs, [`Code::InvalidArgument`] for more than [`MAX_OUTPUTS`], [`Code::WrongKey`] for a
/// key that is not the channel's, [`Code::Uneconomic`] where the fee leaves no more than dust.
pub fn refund(
    params: &ChannelParams,
    outputs: &[Funding],
    fee_rate: FeeRate,
    payer: &Key,
) -> Result<Transaction, Error> {
    if outputs.is_empty() {
        return refuse(Code::NothingToDo, "nothing was paid to this address");
    }
    if outputs.len() > MAX_OUTPUTS {
        return refuse(Code::InvalidArgument, "too many outputs for one refund");
    }
    if payer.public() != params.payer {
        return refuse(Code::WrongKey, "this key is not the payer's of this channel");
    }
    let script = params.witness_script();
    // No payee's signature: an empty item takes the ELSE branch (and is minimal, as BIP 141's MINIMALIF asks).
    let witness = |payer: &[u8]| Witness::from_slice(&[payer, &[], script.as_bytes()]);
    let mut gross = Amount::ZERO;
    for output in outputs {
        gross = gross
            .checked_add(output.capacity)
            .ok_or(Error::new(Code::InvalidArgument, "the sum of all outputs is absurd"))?;
    }
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(params.expiry),
        input: outputs
            .iter()
            .map(|output| TxIn {
                previous_output: output.outpoint,
                script_sig: script_sig(params.funding_kind, &script),
                sequence: SEQUENCE,
                witness: witness(&[0; MAX_SIGNATURE]),
            })
            .collect(),
        output: vec![TxOut { value: gross, script_pubkey: params.return_script.clone() }],
    };
    let fee = fee_rate
        .fee_vb(u64::try_from(transaction.vsize()).unwrap_or(u64::MAX))
        .ok_or(Error::new(Code::InvalidArgument, "the fee rate is absurd"))?;
    let net = gross.checked_sub(fee).filter(|net| *net >= dust_limit(&params.return_script));
    let Some(net) = net else {
        return Err(Error::new(Code::Uneconomic, "the fee would eat up the refund").with(Detail::Amount(gross)));
    };
    if let Some(output) = transaction.output.first_mut() {
        output.value = net;
    }
    let mut witnesses = Vec::with_capacity(outputs.len());
    let mut cache = SighashCache::new(&transaction);
    for (index, output) in outputs.iter().enumerate() {
        let hash = cache
            .p2wsh_signature_hash(index, &script, output.capacity, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::InvalidArgument, "the refund cannot be hashed"))?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = Signature::sighash_all(secp().sign_ecdsa_low_r(&message, payer.secret()));
        witnesses.push(witness(&signature.serialize()));
    }
    for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
        input.witness = witness;
    }
    Ok(transaction)
}

/// One transaction of a refund kit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KitEntry {
    /// Satoshi per virtual byte.
    pub fee_rate: u32,
    /// Signed; valid in blocks after the expiry height.
    pub transaction: Transaction,
}

/// Refunds of `outputs` at each of [`KIT_FEE_RATES`] that leaves more than dust.
///
/// # Errors
/// As [`refund`]; [`Code::Uneconomic`] only where no rate leaves more than dust.
pub fn refund_kit(params: &ChannelParams, outputs: &[Funding], payer: &Key) -> Result<Vec<KitEntry>, Error> {
    let mut kit = Vec::with_capacity(KIT_FEE_RATES.len());
    for rate in KIT_FEE_RATES {
        match refund(params, outputs, FeeRate::from_sat_per_vb_u32(rate), payer) {
            Ok(transaction) => kit.push(KitEntry { fee_rate: rate, transaction }),
            // Dearer rates cannot do better.
            Err(error) if error.code() == Code::Uneconomic && !kit.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(kit)
}
