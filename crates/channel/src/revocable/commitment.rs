//! Commitment transactions: what both sides have, in a form that its owner can broadcast and the other can punish.

#[cfg(test)]
mod tests;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction, TxIn, TxOut};

use crate::amount::Msat;
use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::revocable::channel::{Channel, Role};
use crate::revocable::fees::{ANCHOR, Stage};
use crate::revocable::htlc::HtlcTransaction;
use crate::revocable::keys::CommitmentKeys;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::script;

/// The most HTLCs in one commitment: 483 each way, so that a penalty for all fits one transaction (BOLT 5).
pub const MAX_HTLCS: usize = 966;

/// A payment under way: to whoever shows the preimage, or back after a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Htlc {
    /// Who pays it.
    pub offered_by: Role,
    /// How much.
    pub amount: Msat,
    /// The hash of the preimage that takes it.
    pub payment_hash: sha256::Hash,
    /// `cltv_expiry`: the block height from which on its offerer may take it back.
    pub expiry: u32,
}

impl Htlc {
    /// Which second-stage transaction it has in the commitment of `owner`.
    pub fn stage(&self, owner: Role) -> Stage {
        if self.offered_by == owner { Stage::Timeout } else { Stage::Success }
    }

    /// What its output holds: whole satoshi.
    pub const fn value(&self) -> Amount {
        self.amount.to_amount_floor()
    }

    pub(crate) fn write<'w>(&self, w: &'w mut Writer) -> &'w mut Writer {
        self.offered_by.write(w).msat(self.amount).raw(self.payment_hash.as_byte_array()).u32(self.expiry)
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            offered_by: Role::read(r)?,
            amount: r.msat()?,
            payment_hash: sha256::Hash::from_byte_array(r.array()?),
            expiry: r.u32()?,
        })
    }
}

/// What one commitment says, from either party's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which commitment of its owner it is.
    pub number: CommitmentNumber,
    /// `feerate_per_kw`.
    pub fee_rate: FeeRate,
    /// What the opener has, HTLCs apart and fees not yet paid.
    pub opener: Msat,
    /// What the accepter has, HTLCs apart.
    pub accepter: Msat,
    /// The payments under way; at most [`MAX_HTLCS`].
    pub htlcs: Vec<Htlc>,
}

impl State {
    /// What one of the two has.
    pub const fn balance(&self, role: Role) -> Msat {
        match role {
            Role::Opener => self.opener,
            Role::Accepter => self.accepter,
        }
    }

    /// Its bytes, for whoever keeps states: see [`crate::revocable::holder::Event::Revoked`].
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.finish()
    }

    /// From its bytes. Whether it is a state of the channel is not checked here.
    ///
    /// # Errors
    /// [`Code::MalformedMessage`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let state = Self::read(&mut r)?;
        r.finish()?;
        Ok(state)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.number.get()).u64(self.fee_rate.to_sat_per_kwu()).msat(self.opener).msat(self.accepter);
        w.list(self.htlcs.iter(), |w, htlc| {
            htlc.write(w);
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            number: CommitmentNumber::new(r.u64()?).ok_or(malformed("there is no such commitment"))?,
            fee_rate: FeeRate::from_sat_per_kwu(r.u64()?),
            opener: r.msat()?,
            accepter: r.msat()?,
            htlcs: r.list(MAX_HTLCS, |r| Htlc::read(r))?,
        })
    }

    fn total(&self) -> Option<Msat> {
        let htlcs = self.htlcs.iter().map(|htlc| htlc.amount);
        [self.opener, self.accepter].into_iter().chain(htlcs).try_fold(Msat::ZERO, Msat::checked_add)
    }
}

/// What an output of a commitment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The owner's, after the delay.
    ToLocal,
    /// The other's.
    ToRemote,
    /// Raises the fee for this party.
    Anchor(Role),
    /// A payment under way.
    Htlc(Htlc),
}

/// An output of a commitment and what it takes to spend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it is for.
    pub purpose: Purpose,
    /// Value and output script.
    pub output: TxOut,
    /// The script that a spend shows; for `to_remote` without anchors the output script itself (P2WPKH).
    pub script: ScriptBuf,
}

/// A commitment transaction, not signed yet.
#[derive(Clone, Debug)]
pub struct Commitment {
    /// The channel it belongs to.
    pub channel: Channel,
    /// Who can broadcast it.
    pub owner: Role,
    /// Its keys.
    pub keys: CommitmentKeys,
    /// Without witness.
    pub transaction: Transaction,
    /// The transaction's outputs, in its order.
    pub outputs: Vec<Output>,
    /// What its owner and the other agreed on as the fee.
    pub base_fee: Amount,
    /// What it pays to miners: the base fee, what is trimmed, and what is below a satoshi.
    pub fee: Amount,
    /// Whether the opener has what the base fee and the anchors cost. Where it has not, `to_local` or `to_remote` is
    /// missing: BOLT 2 lets no update lead there.
    pub is_affordable: bool,
    fee_rate: FeeRate,
}

impl Commitment {
    /// The commitment of `owner` with this per-commitment point.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] where the amounts do not add up to the capacity, for too many HTLCs or an expiry that
    /// is no height; [`Code::WrongKey`] as [`Channel::keys`].
    pub fn new(channel: &Channel, owner: Role, point: &PublicKey, state: &State) -> Result<Self, Error> {
        if state.htlcs.len() > MAX_HTLCS {
            return refuse(Code::InvalidArgument, "too many HTLCs for one commitment");
        }
        if state.htlcs.iter().any(|htlc| !bitcoin::absolute::LockTime::from_consensus(htlc.expiry).is_block_height()) {
            return refuse(Code::InvalidArgument, "the expiry of an HTLC is a block height");
        }
        if state.total().is_none() || state.total() != Msat::from_amount(channel.funding.capacity) {
            return refuse(Code::InvalidArgument, "the amounts do not add up to the capacity");
        }
        let keys = channel.keys(owner, point)?;
        let dust_limit = channel.party(owner).dust_limit;
        let htlc_outputs = channel.channel_type.htlc_outputs(state, owner, dust_limit);
        let base_fee = channel.channel_type.commitment_fee(state.fee_rate, htlc_outputs);
        let cost = channel.channel_type.commitment_cost(state.fee_rate, htlc_outputs);
        let opener = state.opener.to_amount_floor();
        let opener_rest = cost.and_then(|cost| opener.checked_sub(cost));
        let rest = |role| match role {
            Role::Opener => opener_rest.unwrap_or(Amount::ZERO),
            Role::Accepter => state.accepter.to_amount_floor(),
        };

        let mut outputs = Vec::with_capacity(state.htlcs.len().saturating_add(4));
        for htlc in &state.htlcs {
            if !channel.channel_type.is_trimmed(htlc, owner, dust_limit, state.fee_rate) {
                let script = channel.htlc_script(owner, &keys, htlc);
                outputs.push(p2wsh(Purpose::Htlc(*htlc), htlc.value(), script));
            }
        }
        let has_htlcs = !outputs.is_empty();
        let (local, remote) = (rest(owner), rest(owner.other()));
        if local >= dust_limit {
            outputs.push(p2wsh(Purpose::ToLocal, local, channel.to_local(owner, &keys)));
        }
        if remote >= dust_limit {
            outputs.push(to_remote(channel, &channel.to_remote_key(owner, &keys)?, remote));
        }
        if channel.channel_type.has_anchors() {
            for (role, rest) in [(owner, local), (owner.other(), remote)] {
                if has_htlcs || rest >= dust_limit {
                    let script = script::anchor(&channel.party(role).points.funding);
                    outputs.push(p2wsh(Purpose::Anchor(role), ANCHOR, script));
                }
            }
        }
        outputs.sort_by(|a, b| order(a).cmp(&order(b)));

        let (lock_time, sequence) = channel.obscuring().disguise(state.number);
        let input = TxIn { previous_output: channel.funding.outpoint, sequence, ..TxIn::default() };
        let output: Vec<_> = outputs.iter().map(|output| output.output.clone()).collect();
        let paid = output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
        // Anchors that the opener cannot pay for would be made of nothing.
        let Some(fee) = paid.and_then(|paid| channel.funding.capacity.checked_sub(paid)) else {
            return refuse(Code::InvalidArgument, "the outputs hold more than the channel");
        };
        let transaction = Transaction { version: Version::TWO, lock_time, input: vec![input], output };
        let (channel, is_affordable, fee_rate) = (*channel, opener_rest.is_some(), state.fee_rate);
        Ok(Self { channel, owner, keys, transaction, outputs, base_fee, fee, is_affordable, fee_rate })
    }

    /// Signs it with a funding key.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not one of the two.
    pub fn sign(&self, funding_key: &Key) -> Result<Signature, Error> {
        self.channel.sign(&self.transaction, funding_key)
    }

    /// Checks the signature of `signer`.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::HighS`].
    pub fn verify(&self, signer: Role, signature: &Signature) -> Result<(), Error> {
        self.channel.verify(&self.transaction, signer, signature)
    }

    /// The transaction to broadcast, with the owner's signature and the other's.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a key that is not the owner's; as [`Commitment::verify`].
    pub fn finish(&self, owner: &Key, theirs: &Signature) -> Result<Transaction, Error> {
        if owner.public() != self.channel.party(self.owner).points.funding {
            return refuse(Code::WrongKey, "only its owner broadcasts a commitment");
        }
        self.channel.finish(&self.transaction, self.owner, owner, theirs)
    }

    /// The second-stage transactions, in the order of their outputs: the order of `htlc_signatures` in
    /// `commitment_signed`.
    pub fn htlc_transactions(&self) -> Vec<HtlcTransaction> {
        let txid = self.transaction.compute_txid();
        let made = |(vout, output): (u32, &Output)| match output.purpose {
            Purpose::Htlc(htlc) => Some(HtlcTransaction::new(self, txid, vout, &htlc, output, self.fee_rate)),
            _ => None,
        };
        (0..).zip(&self.outputs).filter_map(made).collect()
    }
}

/// BIP 69, and then by expiry: HTLCs that look the same may still have second stages that differ.
fn order(output: &Output) -> (Amount, &[u8], u32) {
    let expiry = match output.purpose {
        Purpose::Htlc(htlc) => htlc.expiry,
        _ => 0,
    };
    (output.output.value, output.output.script_pubkey.as_bytes(), expiry)
}

fn p2wsh(purpose: Purpose, value: Amount, script: ScriptBuf) -> Output {
    Output { purpose, output: TxOut { value, script_pubkey: script.to_p2wsh() }, script }
}

fn to_remote(channel: &Channel, key: &PublicKey, value: Amount) -> Output {
    let script_pubkey = script::to_remote_output(channel.channel_type, key);
    let script = if channel.channel_type.has_anchors() { script::to_remote(key) } else { script_pubkey.clone() };
    Output { purpose: Purpose::ToRemote, output: TxOut { value, script_pubkey }, script }
}
