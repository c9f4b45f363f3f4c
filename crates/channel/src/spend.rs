//! What all transactions that spend channels share: inputs, a fee out of the last output, signatures over everything.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use crate::commitment::{Funding, dust_limit};
use crate::error::{Code, Detail, Error, refuse};
use crate::fee::Fee;
use crate::keys::Key;
use crate::kind::Kind;
use crate::params::ChannelParams;
use crate::script::{is_first, script_sig};
use crate::secp::secp;

/// The sequence of every input of ours: it opts in to replacement (BIP 125) and leaves nLockTime in force.
pub(crate) const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;

/// The longest DER signature with low S and its hash type byte.
pub(crate) const MAX_SIGNATURE: [u8; 72] = [0; 72];

/// An output that is spent, with all it takes to do so.
pub(crate) trait Input {
    /// Which output.
    fn outpoint(&self) -> OutPoint;
    /// Its input, with a witness that is as long as the signed one may become.
    fn input(&self) -> TxIn;
    /// The witness of the input at `index`.
    fn sign(&self, cache: &mut SighashCache<&Transaction>, index: usize) -> Result<Witness, Error>;
}

/// One input: the output it spends, who signs for it, and what else its witness holds.
pub(crate) struct Spend<'a> {
    funding: Funding,
    script: ScriptBuf,
    script_sig: ScriptBuf,
    key: &'a Key,
    branch: Branch,
    /// The other side's signature with its hash type, where both spend.
    theirs: Option<Vec<u8>>,
}

/// How the witness takes its way through the script.
enum Branch {
    /// `cltv`, ELSE: the payer alone, after the expiry.
    Alone,
    /// `cltv`, IF: the payer's signature, then the payee's.
    Both { own_first: bool },
    /// `timelock`: both signatures in the order of the keys.
    Multisig { own_first: bool },
}

impl<'a> Spend<'a> {
    /// The owner of `key`, payer or payee, spends `funding`: with the other side's signature, or, without one, alone as
    /// the payer of a `cltv` channel may after its expiry.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not of this channel; [`Code::InvalidSignature`] without `theirs` where it is needed.
    pub(crate) fn new(
        params: &ChannelParams,
        funding: Funding,
        key: &'a Key,
        theirs: Option<Signature>,
    ) -> Result<Self, Error> {
        Self::with(params, funding, key, theirs.map(|theirs| theirs.to_vec()))
    }

    /// As [`Spend::new`], with the other side's signature as it goes into the witness.
    pub(crate) fn with(
        params: &ChannelParams,
        funding: Funding,
        key: &'a Key,
        theirs: Option<Vec<u8>>,
    ) -> Result<Self, Error> {
        let own = key.public();
        if own != params.payer && own != params.payee {
            return refuse(Code::WrongKey, "this key is not one of this channel");
        }
        let branch = match (&params.kind, &theirs) {
            (Kind::Cltv, Some(_)) => Branch::Both { own_first: own == params.payer },
            (Kind::Cltv, None) if own == params.payer => Branch::Alone,
            (Kind::Timelock { .. }, Some(_)) => {
                let other = if own == params.payer { &params.payee } else { &params.payer };
                Branch::Multisig { own_first: is_first(&own, other) }
            }
            _ => return refuse(Code::InvalidSignature, "the other side has not signed this"),
        };
        let script = params.witness_script();
        let script_sig = script_sig(params.funding_kind, &script);
        Ok(Self { funding, script, script_sig, key, branch, theirs })
    }

    /// The items that choose a branch are minimal, as relay asks for; CHECKMULTISIG takes an empty one too many (BIP 147).
    fn witness(&self, own: &[u8]) -> Witness {
        let script = self.script.as_bytes();
        let theirs = self.theirs.as_deref().unwrap_or_default();
        let pair = |own_first| if own_first { [own, theirs] } else { [theirs, own] };
        match self.branch {
            Branch::Alone => Witness::from_slice(&[own, &[], script]),
            Branch::Both { own_first } => {
                let [payer, payee] = pair(own_first);
                Witness::from_slice(&[payer, payee, &[1], script])
            }
            Branch::Multisig { own_first } => {
                let [first, second] = pair(own_first);
                Witness::from_slice(&[&[], first, second, script])
            }
        }
    }
}

impl Input for Spend<'_> {
    fn outpoint(&self) -> OutPoint {
        self.funding.outpoint
    }

    fn input(&self) -> TxIn {
        TxIn {
            previous_output: self.funding.outpoint,
            script_sig: self.script_sig.clone(),
            sequence: SEQUENCE,
            witness: self.witness(&MAX_SIGNATURE),
        }
    }

    fn sign(&self, cache: &mut SighashCache<&Transaction>, index: usize) -> Result<Witness, Error> {
        let hash = cache
            .p2wsh_signature_hash(index, &self.script, self.funding.capacity, EcdsaSighashType::All)
            .map_err(|_| Error::new(Code::InvalidArgument, "the transaction cannot be hashed"))?;
        let message = Message::from_digest(hash.to_byte_array());
        // A low R saves a byte in half of all signatures; here nobody waits for the second try.
        let signature = Signature::sighash_all(secp().sign_ecdsa_low_r(&message, self.key.secret()));
        Ok(self.witness(&signature.serialize()))
    }
}

/// A complete transaction and its fee.
pub(crate) struct Spent {
    pub(crate) transaction: Transaction,
    pub(crate) fee: Amount,
}

/// Spends the inputs into `outputs` and, last, `rest` less the fee.
///
/// # Errors
/// [`Code::InvalidArgument`] for an output spent twice or an absurd fee rate; [`Code::Uneconomic`], with the least amount
/// that `rest` would have to hold, where less than its dust limit would be left.
pub(crate) fn spend(
    spends: &[impl Input],
    lock_time: LockTime,
    outputs: Vec<TxOut>,
    rest: TxOut,
    fee: impl Into<Fee>,
) -> Result<Spent, Error> {
    // A few hundred at most; sorting them would cost each browser a kilobyte of code.
    let twice = |(n, one): (usize, &_)| spends.iter().take(n).any(|other| Input::outpoint(one) == other.outpoint());
    if spends.iter().enumerate().any(twice) {
        return refuse(Code::InvalidArgument, "an output can be spent only once");
    }
    let gross = rest.value;
    let (mut transaction, fee, needed) = draft(spends, lock_time, outputs, rest, fee)?;
    let Some(net) = gross.checked_sub(fee).filter(|_| gross >= needed) else {
        return Err(Error::new(Code::Uneconomic, "the fee would eat up the amount").with(Detail::Amount(needed)));
    };
    if let Some(last) = transaction.output.last_mut() {
        last.value = net;
    }
    sign(&mut transaction, spends)?;
    Ok(Spent { transaction, fee })
}

/// What `rest` has to hold at least for [`spend`] to spend the inputs into it alone.
///
/// # Errors
/// [`Code::InvalidArgument`] for an absurd fee rate.
pub(crate) fn least(spends: &[impl Input], rest: TxOut, fee: impl Into<Fee>) -> Result<Amount, Error> {
    draft(spends, LockTime::ZERO, vec![], rest, fee).map(|(_, _, needed)| needed)
}

/// The transaction without its signatures and before its fee is taken off, the fee, and what `rest` has to hold at least.
fn draft(
    spends: &[impl Input],
    lock_time: LockTime,
    outputs: Vec<TxOut>,
    rest: TxOut,
    fee: impl Into<Fee>,
) -> Result<(Transaction, Amount, Amount), Error> {
    let dust = dust_limit(&rest.script_pubkey);
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time,
        input: spends.iter().map(Input::input).collect(),
        output: outputs,
    };
    transaction.output.push(rest);
    let absurd = Error::new(Code::InvalidArgument, "the fee rate is absurd");
    let size = u64::try_from(transaction.vsize()).unwrap_or(u64::MAX);
    let fee = fee.into().of(size).ok_or(absurd.clone())?;
    let needed = fee.checked_add(dust).ok_or(absurd)?;
    Ok((transaction, fee, needed))
}

fn sign(transaction: &mut Transaction, spends: &[impl Input]) -> Result<(), Error> {
    let mut witnesses = Vec::with_capacity(spends.len());
    let mut cache = SighashCache::new(&*transaction);
    for (index, spend) in spends.iter().enumerate() {
        witnesses.push(spend.sign(&mut cache, index)?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::sighash_type;
    use crate::testing::{self, CAPACITY};

    fn theirs() -> Option<Signature> {
        let signature = testing::sign_with(&testing::payer_key(), 1_000).signature;
        Some(Signature { signature, sighash_type: sighash_type(None) })
    }

    #[test]
    fn only_the_payer_of_a_cltv_channel_ever_spends_alone() {
        let (cltv, timelock) = (testing::params(), testing::timelock_params());
        let code = |params, key: &Key, theirs| {
            Spend::new(params, testing::funding(0, CAPACITY), key, theirs).map(drop).map_err(|error| error.code())
        };
        let (payer, payee) = (testing::payer_key(), testing::payee_key());
        assert_eq!(code(&cltv, &payer, None), Ok(()));
        assert_eq!(code(&cltv, &payee, None), Err(Code::InvalidSignature));
        assert_eq!(code(&timelock, &payer, None), Err(Code::InvalidSignature));
        assert_eq!(code(&timelock, &payee, None), Err(Code::InvalidSignature));
        for params in [&cltv, &timelock] {
            assert_eq!((code(params, &payer, theirs()), code(params, &payee, theirs())), (Ok(()), Ok(())));
            assert_eq!(code(params, &testing::node(), theirs()), Err(Code::WrongKey));
        }
    }

    #[test]
    fn a_sum_ends_where_money_does() {
        assert_eq!(sum([Amount::MAX_MONEY, Amount::ZERO]).unwrap(), Amount::MAX_MONEY);
        for absurd in [Amount::ONE_SAT, Amount::MAX] {
            assert_eq!(sum([Amount::MAX_MONEY, absurd]).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
