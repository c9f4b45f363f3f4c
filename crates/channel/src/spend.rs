//! What settlement and refund share: inputs that spend channels, a fee out of the last output, signatures over everything.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use crate::commitment::{Funding, dust_limit};
use crate::error::{Code, Detail, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::script::script_sig;
use crate::secp::secp;

/// The sequence of every input of ours: it opts in to replacement (BIP 125) and leaves nLockTime in force.
pub(crate) const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;

/// The longest DER signature with low S and its hash type byte.
const MAX_SIGNATURE: [u8; 72] = [0; 72];

/// One input: the output it spends, who signs for it, and what else its witness holds.
pub(crate) struct Spend<'a> {
    funding: Funding,
    script: ScriptBuf,
    script_sig: ScriptBuf,
    key: &'a Key,
    /// The payer's signature over its commitment, where both sides spend.
    commitment: Option<Signature>,
}

impl<'a> Spend<'a> {
    pub(crate) fn new(params: &ChannelParams, funding: Funding, key: &'a Key, commitment: Option<Signature>) -> Self {
        let script = params.witness_script();
        let script_sig = script_sig(params.funding_kind, &script);
        Self { funding, script, script_sig, key, commitment }
    }

    /// With a commitment, the payee adds `signature` and takes the IF branch; without, the payer alone takes ELSE. The
    /// items that choose the branch are minimal, as relay asks for.
    fn witness(&self, signature: &[u8]) -> Witness {
        let script = self.script.as_bytes();
        match &self.commitment {
            Some(payer) => Witness::from_slice(&[&payer.to_vec(), signature, &[1], script]),
            None => Witness::from_slice(&[signature, &[], script]),
        }
    }

    fn input(&self) -> TxIn {
        TxIn {
            previous_output: self.funding.outpoint,
            script_sig: self.script_sig.clone(),
            sequence: SEQUENCE,
            witness: self.witness(&MAX_SIGNATURE),
        }
    }
}

/// A complete transaction and its fee.
pub(crate) struct Spent {
    pub(crate) transaction: Transaction,
    pub(crate) fee: Amount,
}

/// Spends the inputs into `outputs` and, last, `rest` less the fee at `fee_rate`.
///
/// # Errors
/// [`Code::InvalidArgument`] for an output spent twice or an absurd fee rate; [`Code::Uneconomic`], with the least amount
/// that `rest` would have to hold, where less than its dust limit would be left.
pub(crate) fn spend(
    spends: &[Spend<'_>],
    lock_time: LockTime,
    outputs: Vec<TxOut>,
    rest: TxOut,
    fee_rate: FeeRate,
) -> Result<Spent, Error> {
    let outpoint = |spend: &Spend<'_>| spend.funding.outpoint;
    // A few hundred at most; sorting them would cost each browser a kilobyte of code.
    if spends.iter().enumerate().any(|(n, one)| spends.iter().take(n).any(|other| outpoint(one) == outpoint(other))) {
        return refuse(Code::InvalidArgument, "an output can be spent only once");
    }
    let dust = dust_limit(&rest.script_pubkey);
    let gross = rest.value;
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time,
        input: spends.iter().map(Spend::input).collect(),
        output: outputs,
    };
    transaction.output.push(rest);

    let absurd = Error::new(Code::InvalidArgument, "the fee rate is absurd");
    let size = u64::try_from(transaction.vsize()).unwrap_or(u64::MAX);
    let fee = fee_rate.fee_vb(size).ok_or(absurd.clone())?;
    let needed = fee.checked_add(dust).ok_or(absurd)?;
    let Some(net) = gross.checked_sub(fee).filter(|net| *net >= dust) else {
        return Err(Error::new(Code::Uneconomic, "the fee would eat up the amount").with(Detail::Amount(needed)));
    };
    if let Some(last) = transaction.output.last_mut() {
        last.value = net;
    }
    sign(&mut transaction, spends)?;
    Ok(Spent { transaction, fee })
}

fn sign(transaction: &mut Transaction, spends: &[Spend<'_>]) -> Result<(), Error> {
    let mut witnesses = Vec::with_capacity(spends.len());
    let mut cache = SighashCache::new(&*transaction);
    for (index, spend) in spends.iter().enumerate() {
        let hash = cache
            .p2wsh_signature_hash(index, &spend.script, spend.funding.capacity, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::InvalidArgument, "the transaction cannot be hashed"))?;
        let message = Message::from_digest(hash.to_byte_array());
        // A low R saves a byte in half of all signatures; here nobody waits for the second try.
        let signature = Signature::sighash_all(secp().sign_ecdsa_low_r(&message, spend.key.secret()));
        witnesses.push(spend.witness(&signature.serialize()));
    }
    for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
        input.witness = witness;
    }
    Ok(())
}

/// The sum, or an error where it leaves the range of amounts.
pub(crate) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount, Error> {
    amounts
        .into_iter()
        .try_fold(Amount::ZERO, Amount::checked_add)
        .filter(|sum| *sum <= Amount::MAX_MONEY)
        .ok_or(Error::new(Code::InvalidArgument, "the sum of all amounts is absurd"))
}
