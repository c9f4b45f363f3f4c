//! The justice kit: what a third party needs to punish one old state for us while we are away, and nothing more.
//!
//! For each output that the old state's owner could take it holds signatures that pay it to us, one at each of several
//! fee rates. A signature fixes its own input and output (`SIGHASH_SINGLE|ANYONECANPAY`): whoever holds the kit can leave
//! out what was already spent and merge the rest, but can pay nothing to anyone else. The kit shows the scripts of that one
//! state; it has no key, and says nothing about any other state.
//!
//! **Its limit.** With anchors the owner of a revoked commitment chooses what its second-stage transactions look like,
//! so that nobody can sign for their outputs beforehand. The kit takes HTLC outputs at the first stage only, where it has
//! a block's lead; what the owner gets past it stays open to ourselves for the delay ([`crate::revocable::penalty`]).
//!
//! Until the commitment is broadcast the third party needs to know nothing: see [`Hint`].

mod sealed;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey, ecdsa::Signature};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness};

use crate::codec::{Reader, Writer, malformed};
use crate::commitment::dust_limit;
use crate::error::{Code, Error, refuse};
use crate::params::{MAX_RETURN_SCRIPT, validate_return_script};
use crate::refund::KIT_FEE_RATES;
use crate::revocable::commitment::{Commitment, MAX_HTLCS, Purpose};
use crate::revocable::penalty::Revoked;
use crate::secp::{secp, verify};
use crate::spend::{MAX_SIGNATURE, SEQUENCE};

pub use sealed::Hint;

/// The format of an encoded kit.
const FORMAT: u8 = 1;
/// `to_local`, and each HTLC in both stages.
const MAX_ENTRIES: usize = 2 * MAX_HTLCS + 1;
/// The longest witness script, that of a received HTLC with anchors.
const MAX_SCRIPT: u8 = 143;
/// How many outputs one transaction takes: half of what nodes relay.
const MAX_INPUTS: usize = 400;
/// So many entries, with all that a kit has besides, fit into one message of Lightning's.
pub const MAX_SENT: usize = 85;
/// No sealed kit of so many is longer, in bytes.
pub const MAX_SEALED: usize = 61_440;
const SINGLE: EcdsaSighashType = EcdsaSighashType::SinglePlusAnyoneCanPay;

/// Signatures against one revoked commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kit {
    commitment: Txid,
    payout: ScriptBuf,
    revocation: PublicKey,
    entries: Vec<Entry>,
}

/// One output that the cheat could take.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    outpoint: OutPoint,
    value: Amount,
    script: ScriptBuf,
    is_htlc: bool,
    /// At the first of [`KIT_FEE_RATES`]; as many as leave more than dust.
    signatures: Vec<Signature>,
}

impl Kit {
    /// The kit against `commitment`, which `revoked` shows to be revoked, that pays everything to `payout`. It takes the `most`
    /// valuable outputs.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for another commitment than the revoked one, [`Code::InvalidReturnScript`],
    /// [`Code::Uneconomic`] where no output is worth its fee.
    pub fn new(commitment: &Commitment, revoked: &Revoked, payout: ScriptBuf, most: usize) -> Result<Self, Error> {
        validate_return_script(&payout)?;
        let revocation = commitment.keys.revocation;
        if revoked.key().public() != revocation {
            return refuse(Code::InvalidArgument, "this is not the commitment that was revoked");
        }
        let txid = commitment.transaction.compute_txid();
        let to_local = commitment.channel.to_local(commitment.owner, &commitment.keys);
        let first = (0..).zip(&commitment.outputs).filter_map(|(vout, output)| {
            let is_htlc = match output.purpose {
                Purpose::ToLocal => false,
                Purpose::Htlc(_) => true,
                Purpose::ToRemote | Purpose::Anchor(_) => return None,
            };
            let (outpoint, value, script) = (OutPoint { txid, vout }, output.output.value, output.script.clone());
            Some(Entry { outpoint, value, script, is_htlc, signatures: vec![] })
        });
        let fixed = !commitment.channel.channel_type.has_anchors();
        let second = commitment.htlc_transactions().into_iter().filter(|_| fixed).filter_map(|htlc| {
            let outpoint = OutPoint { txid: htlc.transaction.compute_txid(), vout: 0 };
            let value = htlc.transaction.output.first()?.value;
            Some(Entry { outpoint, value, script: to_local.clone(), is_htlc: false, signatures: vec![] })
        });
        let mut entries: Vec<_> = first.chain(second).collect();
        if entries.len() > most {
            entries.sort_by_key(|entry| Reverse(entry.value));
            entries.truncate(most);
        }
        let mut kit = Self { commitment: txid, payout, revocation, entries: vec![] };
        for mut entry in entries {
            for rate in KIT_FEE_RATES {
                let Some(message) = kit.message(&entry, rate)? else { break };
                entry.signatures.push(secp().sign_ecdsa_low_r(&message, revoked.key().secret()));
            }
            if !entry.signatures.is_empty() {
                kit.entries.push(entry);
            }
        }
        if kit.entries.is_empty() {
            return refuse(Code::Uneconomic, "no output of this commitment is worth the fee");
        }
        Ok(kit)
    }

    /// The transaction to watch for.
    pub const fn commitment(&self) -> Txid {
        self.commitment
    }

    /// The outputs that the kit takes, in the commitment and, where they can be foreseen, in its second stage.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        self.entries.iter().map(|entry| entry.outpoint)
    }

    /// The output scripts of what it takes, each once: what is to be followed once the commitment is in the chain.
    pub fn scripts(&self) -> BTreeSet<ScriptBuf> {
        self.entries.iter().map(|entry| entry.script.to_p2wsh()).collect()
    }

    /// The lowest rate of kits' that is above this one.
    pub fn dearer(rate: FeeRate) -> Option<FeeRate> {
        KIT_FEE_RATES.into_iter().map(FeeRate::from_sat_per_vb_u32).find(|next| *next > rate)
    }

    /// What to offer after `offered` for outputs that nothing spends, and for those that a waiting transaction spends: each try
    /// after one that was not enough offers more, whatever the estimate for the next block says. Below the lowest rate of
    /// kits' the next one would be the same transaction again, and a block lost.
    pub fn offers(offered: FeeRate, estimate: FeeRate) -> (FeeRate, FeeRate) {
        let estimate = estimate.max(Self::dearer(FeeRate::ZERO).unwrap_or(FeeRate::ZERO));
        (estimate.max(offered), Self::dearer(offered).unwrap_or(offered).max(estimate))
    }

    /// Checks every signature, as whoever takes a kit in should.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`]; [`Code::MalformedMessage`] for a signature at a rate that leaves dust.
    pub fn verify(&self) -> Result<(), Error> {
        for entry in &self.entries {
            for (signature, rate) in entry.signatures.iter().zip(KIT_FEE_RATES) {
                let message = self.message(entry, rate)?.ok_or(malformed("a signature for an output of dust"))?;
                verify(&message, signature, &self.revocation)?;
            }
        }
        Ok(())
    }

    /// The transactions that take every output that is `unspent`, at the highest rate of the kit's that is not above
    /// `fee_rate`, or at its lowest. Each can replace one at a lower rate.
    ///
    /// # Errors
    /// [`Code::NothingToDo`] where nothing is left to take.
    pub fn punish(
        &self,
        fee_rate: FeeRate,
        mut unspent: impl FnMut(&OutPoint) -> bool,
    ) -> Result<Vec<Transaction>, Error> {
        let entries: Vec<_> = self.entries.iter().filter(|entry| unspent(&entry.outpoint)).collect();
        if entries.is_empty() {
            return refuse(Code::NothingToDo, "there is nothing left to take");
        }
        entries.chunks(MAX_INPUTS).map(|entries| self.merge(entries, fee_rate)).collect()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        // More entries than fit are never made.
        let count = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
        w.u8(FORMAT).txid(&self.commitment).bytes(self.payout.as_bytes()).key(&self.revocation).u16(count);
        for Entry { outpoint, value, script, is_htlc, signatures } in &self.entries {
            w.outpoint(outpoint).amount(*value).bool(*is_htlc).bytes(script.as_bytes());
            w.u8(u8::try_from(signatures.len()).unwrap_or(u8::MAX));
            for signature in signatures {
                w.signature(signature);
            }
        }
        w.finish()
    }

    /// From its bytes. The signatures are not checked: see [`Kit::verify`].
    ///
    /// # Errors
    /// [`Code::MalformedMessage`], [`Code::InvalidReturnScript`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FORMAT {
            return Err(malformed("an unknown format of justice kits"));
        }
        let (commitment, payout, revocation) = (r.txid()?, r.script(MAX_RETURN_SCRIPT)?, r.key()?);
        validate_return_script(&payout)?;
        let count = usize::from(r.u16()?);
        if !(1..=MAX_ENTRIES).contains(&count) {
            return Err(malformed("a justice kit for no output, or for too many"));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let (outpoint, value, is_htlc, script) = (r.outpoint()?, r.amount()?, r.bool()?, r.script(MAX_SCRIPT)?);
            let signatures = r.u8()?;
            if !(1..=KIT_FEE_RATES.len()).contains(&signatures.into()) {
                return Err(malformed("too few or too many signatures"));
            }
            let signatures = (0..signatures).map(|_| r.signature()).collect::<Result<_, _>>()?;
            entries.push(Entry { outpoint, value, script, is_htlc, signatures });
        }
        r.finish()?;
        Ok(Self { commitment, payout, revocation, entries })
    }

    fn merge(&self, entries: &[&Entry], fee_rate: FeeRate) -> Result<Transaction, Error> {
        let mut merged = bare(vec![], vec![]);
        for entry in entries {
            // The rates ascend.
            let affordable = |rate: &u32| FeeRate::from_sat_per_vb_u32(*rate) <= fee_rate;
            let chosen = entry.signatures.iter().zip(KIT_FEE_RATES).rfind(|(_, rate)| affordable(rate));
            let Some((signature, rate)) = chosen.or(entry.signatures.iter().zip(KIT_FEE_RATES).next()) else {
                continue;
            };
            let signature = ecdsa::Signature { signature: *signature, sighash_type: SINGLE };
            let Some(alone) = self.alone(entry, rate, &signature.serialize())? else { continue };
            merged.input.extend(alone.input);
            merged.output.extend(alone.output);
        }
        Ok(merged)
    }

    /// What is signed to take this output at this rate, in satoshi per virtual byte; `None` where dust would be left.
    fn message(&self, entry: &Entry, rate: u32) -> Result<Option<Message>, Error> {
        let Some(alone) = self.alone(entry, rate, &MAX_SIGNATURE)? else { return Ok(None) };
        let hash = SighashCache::new(&alone)
            .p2wsh_signature_hash(0, &entry.script, entry.value, SINGLE)
            .map_err(|_| Error::new(Code::InvalidArgument, "the transaction cannot be hashed"))?;
        Ok(Some(Message::from_digest(hash.to_byte_array())))
    }

    /// The transaction that takes this output alone, at this rate.
    fn alone(&self, entry: &Entry, rate: u32, signature: &[u8]) -> Result<Option<Transaction>, Error> {
        let script = entry.script.as_bytes();
        let revocation = self.revocation.serialize();
        let branch = if entry.is_htlc { &revocation[..] } else { &[1] };
        let witness = |signature: &[u8]| Witness::from_slice(&[signature, branch, script]);
        let input = |signature| TxIn {
            previous_output: entry.outpoint,
            sequence: SEQUENCE,
            witness: witness(signature),
            ..TxIn::default()
        };
        let output = |value| TxOut { value, script_pubkey: self.payout.clone() };
        let weight = bare(vec![input(&MAX_SIGNATURE)], vec![output(entry.value)]).weight();
        let fee = FeeRate::from_sat_per_vb_u32(rate).fee_wu(weight);
        let fee = fee.ok_or(Error::new(Code::InvalidArgument, "the fee rate is absurd"))?;
        let rest = entry.value.checked_sub(fee).filter(|rest| *rest >= dust_limit(&self.payout));
        Ok(rest.map(|rest| bare(vec![input(signature)], vec![output(rest)])))
    }
}

fn bare(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
