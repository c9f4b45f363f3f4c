//! A funding that is built and being signed for: the machine's part of it, from `commitment_signed` to `channel_ready`.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Witness};
use rillpay_wire::messages::{
    CommitmentSigned, ErrorMessage, Extension, FundingUnderWay, TxAbort, TxSignatures, TxSignaturesTlvs,
};

use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error, refuse};
use crate::revocable::holder::Effect;
use crate::revocable::holder::draft::Draft;
use crate::revocable::holder::funding::construction::{MOST_PARTS, breach, sum};
use crate::revocable::holder::funding::witness;
use crate::revocable::holder::state::{End, Link, MAX_SCRIPT, State, long, read_long};
use crate::revocable::holder::update::verified;

/// `retransmit_flags`: `commitment_signed` is missing.
const COMMITMENT_SIGNED: u8 = 1;
/// Whoever underpays with its witness may do so by one in so many, as signatures vary in length.
const TOLERANCE: u64 = 10;

/// A funding that both sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// With our witnesses, and with the counterparty's once they came.
    transaction: Transaction,
    /// What its inputs spend, and which are ours.
    spent: Vec<(TxOut, bool)>,
    /// The rate that was agreed on.
    rate: FeeRate,
    /// Our witnesses leave first.
    is_first: bool,
    /// The counterparty's signature for our first commitment came.
    is_secured: bool,
    /// Our witnesses left.
    is_bound: bool,
    /// The counterparty's came.
    is_whole: bool,
}

impl Signing {
    pub(super) const fn new(
        transaction: Transaction,
        spent: Vec<(TxOut, bool)>,
        rate: FeeRate,
        is_first: bool,
    ) -> Self {
        Self { transaction, spent, rate, is_first, is_secured: false, is_bound: false, is_whole: false }
    }

    /// The funding, as far as it is signed.
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The funding, once both have signed it: to be broadcast, and again until the chain shows it.
    pub fn whole(&self) -> Option<&Transaction> {
        self.is_whole.then_some(&self.transaction)
    }

    /// Whether our witnesses have left: from then on the counterparty can broadcast it, until one of its inputs is spent
    /// otherwise.
    pub const fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Whether the counterparty's signature lets what is ours come back: only then a confirmation counts.
    pub(in crate::revocable::holder) const fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// The inputs and what they spend; `true` for those that are ours.
    pub fn inputs(&self) -> impl Iterator<Item = (OutPoint, &TxOut, bool)> {
        let inputs = self.transaction.input.iter().zip(&self.spent);
        inputs.map(|(input, (output, is_ours))| (input.previous_output, output, *is_ours))
    }

    fn witnesses(&self) -> Vec<Witness> {
        let inputs = self.transaction.input.iter().zip(&self.spent);
        inputs.filter(|(_, (_, is_ours))| *is_ours).map(|(input, _)| input.witness.clone()).collect()
    }

    /// Takes the counterparty's witnesses in.
    fn complete(&mut self, witnesses: &[Witness]) -> Result<(), Error> {
        let spent: Vec<_> = self.spent.iter().map(|(output, _)| output.clone()).collect();
        let theirs: Vec<_> = (0..).zip(&self.spent).filter(|(_, (_, is_ours))| !is_ours).map(|(n, _)| n).collect();
        if theirs.len() != witnesses.len() {
            return breach("another number of witnesses than of inputs");
        }
        let mut transaction = self.transaction.clone();
        for (index, witness) in theirs.into_iter().zip(witnesses) {
            witness::check(&self.transaction, index, &spent, witness)?;
            if let Some(input) = transaction.input.get_mut(index) {
                input.witness = witness.clone();
            }
        }
        self.transaction = transaction;
        self.check_fee()?;
        self.is_whole = true;
        Ok(())
    }

    /// Refuses witnesses that leave the funding with less than it was to pay.
    fn check_fee(&self) -> Result<(), Error> {
        let brought = sum(self.spent.iter().map(|(output, _)| output.value));
        let taken = sum(self.transaction.output.iter().map(|output| output.value));
        let fee = brought.zip(taken).and_then(|(brought, taken)| brought.checked_sub(taken)).unwrap_or(Amount::ZERO);
        let agreed = self.rate.to_sat_per_kwu();
        let bearable = agreed.saturating_sub(agreed.checked_div(TOLERANCE).unwrap_or(0));
        let least = FeeRate::from_sat_per_kwu(bearable).max(FeeRate::BROADCAST_MIN);
        if least.fee_wu(self.transaction.weight()).is_none_or(|least| fee < least) {
            return breach("witnesses that the fee does not pay for");
        }
        Ok(())
    }

    pub(in crate::revocable::holder) fn write(&self, w: &mut Writer) {
        long(w, &serialize(&self.transaction));
        w.list(self.spent.iter(), |w, (output, is_ours)| {
            w.amount(output.value).bytes(output.script_pubkey.as_bytes()).bool(*is_ours);
        });
        w.u64(self.rate.to_sat_per_kwu()).bool(self.is_first);
        w.bool(self.is_secured).bool(self.is_bound).bool(self.is_whole);
    }

    pub(in crate::revocable::holder) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let transaction = deserialize(read_long(r)?).map_err(|_| malformed("not a transaction"))?;
        let output = |r: &mut Reader<'_>| {
            let output = TxOut { value: r.amount()?, script_pubkey: r.script(MAX_SCRIPT)? };
            Ok((output, r.bool()?))
        };
        let spent = r.list(MOST_PARTS, output)?;
        let (rate, is_first) = (FeeRate::from_sat_per_kwu(r.u64()?), r.bool()?);
        Ok(Self { transaction, spent, rate, is_first, is_secured: r.bool()?, is_bound: r.bool()?, is_whole: r.bool()? })
    }

    /// What holds for every one that came about by messages.
    pub(in crate::revocable::holder) fn is_sound(&self, funding: OutPoint) -> bool {
        let mut inputs = self.transaction.input.iter().zip(&self.spent);
        let has_witness = |is_ours: bool| is_ours || self.is_whole;
        self.transaction.compute_txid() == funding.txid
            && self.transaction.input.len() == self.spent.len()
            && inputs.all(|(input, (_, is_ours))| has_witness(*is_ours) != input.witness.is_empty())
            && (self.is_secured || !self.is_bound)
            && (self.is_bound || !self.is_whole)
    }
}

impl State {
    /// Whether the funding can still be given up without a loss: our witnesses have not left. A copy does not know.
    pub(in crate::revocable::holder) fn can_give_up(&self) -> bool {
        !self.is_copy && self.signing.as_ref().is_some_and(|signing| !signing.is_bound)
    }

    /// Whether the counterparty's witnesses are missing, and the chain has not shown the funding either.
    pub(in crate::revocable::holder) fn is_signing(&self) -> bool {
        self.signing.as_ref().is_some_and(|signing| !signing.is_whole) && !self.ready_sent
    }

    /// What `channel_reestablish` says about a funding whose witnesses did not come.
    pub(in crate::revocable::holder) fn next_funding(&self) -> Option<FundingUnderWay> {
        let signing = self.signing.as_ref().filter(|signing| !signing.is_whole)?;
        let retransmit_flags = if signing.is_secured { 0 } else { COMMITMENT_SIGNED };
        Some(FundingUnderWay { txid: signing.transaction.compute_txid(), retransmit_flags })
    }
}

impl Draft<'_> {
    fn signing(&mut self) -> Result<&mut Signing, Error> {
        let none = Error::new(Code::UnexpectedMessage, "no funding is being signed");
        self.state.signing.as_mut().ok_or(none)
    }

    /// The counterparty signed our first commitment: our witnesses may leave.
    pub(in crate::revocable::holder) fn first_commitment_signed(
        &mut self,
        message: &CommitmentSigned,
    ) -> Result<(), Error> {
        let own = self.own();
        let commitment = self.build(own, &self.state.ledger.newest(own)?)?;
        let signing = self.signing()?;
        if signing.is_secured {
            return refuse(Code::UnexpectedMessage, "the first commitment is signed for already");
        }
        let txid = signing.transaction.compute_txid();
        if message.tlvs.funding_txid.is_some_and(|named| named != txid) {
            return breach("a signature for another funding");
        }
        let signed = verified(&commitment, message)?;
        signing.is_secured = true;
        let is_first = signing.is_first;
        self.state.signed = signed;
        self.durable = true;
        if is_first { self.send_witnesses() } else { Ok(()) }
    }

    /// Our witnesses, the first time or again.
    fn send_witnesses(&mut self) -> Result<(), Error> {
        let channel_id = self.state.id;
        let signing = self.signing()?;
        let message = TxSignatures {
            channel_id,
            txid: signing.transaction.compute_txid(),
            witnesses: signing.witnesses(),
            tlvs: TxSignaturesTlvs::default(),
        };
        let was_bound = std::mem::replace(&mut signing.is_bound, true);
        self.durable |= !was_bound;
        self.send(message);
        Ok(())
    }

    pub(in crate::revocable::holder) fn tx_signatures(&mut self, message: &TxSignatures) -> Result<(), Error> {
        // Where either has seen the funding in the chain nothing is missing any more.
        if self.state.ready_sent || self.state.ready_received {
            return Ok(());
        }
        let signing = self.signing()?;
        if signing.is_whole {
            return Ok(());
        }
        if !signing.is_secured {
            return breach("witnesses before the signature for our commitment");
        }
        if message.txid != signing.transaction.compute_txid() {
            return breach("witnesses for another funding");
        }
        signing.complete(&message.witnesses)?;
        let is_bound = signing.is_bound;
        self.durable = true;
        if !is_bound {
            self.send_witnesses()?;
        }
        self.effects.push(Effect::Fund);
        Ok(())
    }

    /// A connection is up again, and the counterparty says which funding it is waiting for.
    pub(in crate::revocable::holder) fn resume(&mut self, theirs: Option<&FundingUnderWay>) -> Result<(), Error> {
        let Some(theirs) = theirs else {
            // Whoever does not ask for our witnesses has them: a copy from before they left must not go on.
            if self.state.signing.as_ref().is_some_and(|signing| !signing.is_bound) {
                return refuse(Code::PeerBehind, "the counterparty does not wait for the funding that we sign");
            }
            return Ok(());
        };
        let funding = self.state.ledger.channel().funding.outpoint.txid;
        let Some(signing) = self.state.signing.as_ref() else {
            // Both have seen it in the chain: the counterparty asked before it looked.
            if theirs.txid != funding {
                self.abort("there is no such funding");
            }
            return Ok(());
        };
        let (is_whole, is_secured, is_first) = (signing.is_whole, signing.is_secured, signing.is_first);
        if theirs.txid != funding {
            if is_whole {
                self.abort("there is no such funding");
                return Ok(());
            }
            self.send(ErrorMessage::new(self.state.id, "another funding than the one that we sign"));
            return self.fail(None);
        }
        if !is_whole && theirs.retransmit_flags & COMMITMENT_SIGNED != 0 {
            self.send_signature(&self.state.ledger.newest(self.other())?)?;
        }
        if is_whole || (is_secured && is_first) {
            self.send_witnesses()?;
        }
        Ok(())
    }

    /// A funding is not replaced here (BOLT 2 lets anybody say so).
    pub(in crate::revocable::holder) fn init_rbf(&mut self) {
        self.abort("a funding is not replaced here");
    }

    fn abort(&mut self, why: &str) {
        self.state.aborting = true;
        self.send(TxAbort { channel_id: self.state.id, data: why.as_bytes().to_vec(), tlvs: Extension::default() });
    }

    pub(in crate::revocable::holder) fn tx_abort(&mut self) {
        // The echo of ours.
        if std::mem::take(&mut self.state.aborting) {
            return;
        }
        let echo = TxAbort { channel_id: self.state.id, data: vec![], tlvs: Extension::default() };
        self.send(echo);
        if self.state.can_give_up() {
            self.end_unpaid();
        }
    }

    /// Gives the funding up and tells why; nobody has paid anything.
    pub(in crate::revocable::holder) fn give_up(&mut self, why: &Error) -> Result<(), Error> {
        // BOLT 2 wants to see what a signature was refused for: that of our commitment, which nobody else has.
        if matches!(why.code(), Code::InvalidSignature | Code::HighS) {
            let own = self.own();
            let commitment = self.build(own, &self.state.ledger.newest(own)?)?;
            self.abort(&serialize_hex(&commitment.transaction));
        } else {
            self.abort(why.text());
        }
        self.end_unpaid();
        Ok(())
    }

    pub(in crate::revocable::holder) fn end_unpaid(&mut self) {
        self.state.end = Some(End::Aborted);
        self.durable = true;
        self.effects.push(Effect::Ended(End::Aborted));
    }

    /// The counterparty asks for a channel whose funding was given up.
    pub(in crate::revocable::holder) fn is_given_up(&mut self) {
        self.state.link = Link::Up;
        self.abort("the funding was given up");
    }
}
