//! A transaction built by turns (BOLT 2, "Interactive Transaction Construction"): each side says what it puts in and what it
//! takes out, one thing at a time, until both have said in a row that they have nothing to add.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, Witness};
use rillpay_wire::messages::{Extension, TxAddInput, TxAddInputTlvs, TxAddOutput, TxComplete};
use rillpay_wire::types::SerialId;
use rillpay_wire::{ChannelId, Message};

use crate::commitment::dust_limit;
use crate::error::{Code, Error, refuse};

/// How many of each kind of addition a counterparty may send.
const MOST_ADDITIONS: u16 = 4_096;
/// The most inputs, and the most outputs: their number takes one byte.
pub(super) const MOST_PARTS: usize = 252;
/// `MAX_STANDARD_TX_WEIGHT`: what nodes relay.
const MOST_WEIGHT: u64 = 400_000;
/// The initiator's: version, lock time, the numbers of inputs and outputs, four weight units each byte; marker and flag.
const COMMON_WEIGHT: u64 = (4 + 4 + 1 + 1) * 4 + 2;
/// An input without its witness: outpoint, empty script, sequence.
const INPUT_WEIGHT: u64 = (36 + 1 + 4) * 4;
/// The least that a witness is reckoned with: a signature and a key (BOLT 3, Appendix G).
const LEAST_WITNESS: u64 = 107;
/// The same for a Taproot output: one signature.
const LEAST_TAPROOT_WITNESS: u64 = 66;
/// The longest transaction that fits an input's message beside its other fields, with room for a record.
const MOST_PREVIOUS: usize = 65_000;
/// What each input has: replaceable, and bound to the lock time.
const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;

/// A SegWit output of ours that a funding spends. It has to be in a block: the counterparty may ask for that, and what builds on
/// somebody's unconfirmed transaction can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// The transaction that made it.
    pub transaction: Transaction,
    /// Which of its outputs it is.
    pub vout: u32,
    /// What its witness will weigh at most, in weight units: 107 for P2WPKH and a signature with a low R.
    pub witness: u64,
}

impl Coin {
    fn outpoint(&self) -> OutPoint {
        OutPoint { txid: self.transaction.compute_txid(), vout: self.vout }
    }
}

/// What we put into a funding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stake {
    /// What of the channel is ours from the start. May be nothing.
    pub amount: Amount,
    /// What pays for it and for our part of the fee.
    pub coins: Vec<Coin>,
    /// Where the rest of them goes: a witness program.
    pub change: ScriptBuf,
}

impl Stake {
    /// Nothing: the counterparty funds the channel alone.
    pub const fn nothing() -> Self {
        Self { amount: Amount::ZERO, coins: vec![], change: ScriptBuf::new() }
    }
}

/// What both know before they begin.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub id: ChannelId,
    /// We asked for the channel: we speak first, make the funding output and pay for the common fields.
    pub is_initiator: bool,
    pub lock_time: LockTime,
    pub rate: FeeRate,
    /// Below this no output of ours is made, and below that none of theirs is taken.
    pub dust_limits: (Amount, Amount),
    /// The output that both make.
    pub funding: TxOut,
    /// What of it is ours, and theirs.
    pub shares: (Amount, Amount),
}

/// Something that we add, in its turn.
#[derive(Clone, Debug)]
enum Part {
    Input(Coin),
    Output(TxOut),
}

#[derive(Clone, Debug)]
struct Input {
    outpoint: OutPoint,
    output: TxOut,
    sequence: Sequence,
    is_ours: bool,
    /// What its witness is reckoned with.
    witness: u64,
}

#[derive(Clone, Debug)]
struct Output {
    output: TxOut,
    is_ours: bool,
}

/// What is to be done next.
pub(super) enum Turn {
    /// Say this; then it is the counterparty's turn.
    Say(Message),
    /// Both have nothing to add. This may still have to be said.
    Over(Option<Message>),
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Built {
    /// Without any witness.
    pub transaction: Transaction,
    /// What its inputs spend, in their order, and which are ours.
    pub spent: Vec<(TxOut, bool)>,
    /// Where the funding output is.
    pub outpoint: OutPoint,
    /// What our inputs hold, and theirs.
    pub brought: (Amount, Amount),
}

/// A transaction in the making.
#[derive(Debug)]
pub(super) struct Construction {
    plan: Plan,
    inputs: BTreeMap<u64, Input>,
    outputs: BTreeMap<u64, Output>,
    /// What we have not added yet.
    queue: VecDeque<(u64, Part)>,
    /// How many inputs and outputs the counterparty has added, removed ones included.
    additions: (u16, u16),
    /// The last thing that we said is that we have nothing to add.
    is_complete: bool,
}

/// Which breach of the rules it is.
pub(super) const fn breach<T>(text: &'static str) -> Result<T, Error> {
    refuse(Code::InvalidContribution, text)
}

fn rated(rate: FeeRate, weight: u64) -> Result<Amount, Error> {
    rate.fee_wu(Weight::from_wu(weight)).ok_or(Error::new(Code::InvalidArgument, "there are no such fee rates"))
}

pub(super) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
}

impl Construction {
    /// `entropy` chooses the numbers, and so the places, of what we add.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for coins that are none, or that do not cover share and fee.
    pub(super) fn new(plan: Plan, stake: &Stake, entropy: &[u8; 32]) -> Result<Self, Error> {
        let parts = parts(&plan, stake)?;
        let mut taken = BTreeSet::new();
        let mut serials = (0_u64..).map(|counter| serial(entropy, counter, plan.is_initiator));
        let mut fresh = || serials.find(|serial| taken.insert(*serial)).unwrap_or_default();
        let queue = parts.into_iter().map(|part| (fresh(), part)).collect();
        let (inputs, outputs, additions) = (BTreeMap::new(), BTreeMap::new(), (0, 0));
        Ok(Self { plan, inputs, outputs, queue, additions, is_complete: false })
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The next thing that we say.
    pub(super) fn speak(&mut self) -> Result<Message, Error> {
        let channel_id = self.plan.id;
        let Some((serial, part)) = self.queue.pop_front() else {
            self.is_complete = true;
            return Ok(TxComplete { channel_id, tlvs: Extension::default() }.into());
        };
        self.is_complete = false;
        match part {
            Part::Input(coin) => {
                let outpoint = coin.outpoint();
                if self.inputs.values().any(|input| input.outpoint == outpoint) {
                    return breach("the counterparty has added a coin of ours");
                }
                let prevtx = bitcoin::consensus::serialize(&coin.transaction);
                let output = output_of(&coin.transaction, coin.vout)?;
                let input = Input { outpoint, output, sequence: SEQUENCE, is_ours: true, witness: coin.witness };
                self.inputs.insert(serial, input);
                Ok(TxAddInput {
                    channel_id,
                    serial_id: SerialId(serial),
                    prevtx,
                    prevtx_vout: coin.vout,
                    sequence: SEQUENCE,
                    tlvs: TxAddInputTlvs::default(),
                }
                .into())
            }
            Part::Output(output) => {
                let (sats, script) = (output.value, output.script_pubkey.clone());
                self.outputs.insert(serial, Output { output, is_ours: true });
                Ok(TxAddOutput { channel_id, serial_id: SerialId(serial), sats, script, tlvs: Extension::default() }
                    .into())
            }
        }
    }

    /// The counterparty said this.
    ///
    /// # Errors
    /// [`Code::InvalidContribution`] for what BOLT 2 lets nobody add, remove or leave so: the negotiation has failed.
    /// [`Code::UnexpectedMessage`].
    pub(super) fn receive(&mut self, message: &Message) -> Result<Turn, Error> {
        match message {
            Message::TxAddInput(message) => self.add_input(message)?,
            Message::TxAddOutput(message) => self.add_output(message)?,
            Message::TxRemoveInput(message) => remove(&mut self.inputs, message.serial_id, |input| input.is_ours)?,
            Message::TxRemoveOutput(message) => remove(&mut self.outputs, message.serial_id, |output| output.is_ours)?,
            Message::TxComplete(_) if self.is_complete => return Ok(Turn::Over(None)),
            Message::TxComplete(_) => {
                let answer = self.speak()?;
                return Ok(if self.is_complete { Turn::Over(Some(answer)) } else { Turn::Say(answer) });
            }
            _ => return refuse(Code::UnexpectedMessage, "a funding is being built, and this is no part of it"),
        }
        self.speak().map(Turn::Say)
    }

    fn check_serial(&self, serial: SerialId) -> Result<u64, Error> {
        // The initiator has the even ones.
        if serial.0.is_multiple_of(2) == self.plan.is_initiator {
            return breach("a number of the other side's");
        }
        if self.inputs.contains_key(&serial.0) || self.outputs.contains_key(&serial.0) {
            return breach("a number that is taken");
        }
        Ok(serial.0)
    }

    fn add_input(&mut self, message: &TxAddInput) -> Result<(), Error> {
        let (additions, _) = &mut self.additions;
        *additions = additions.saturating_add(1);
        if *additions > MOST_ADDITIONS {
            return breach("too many inputs were added");
        }
        let serial = self.check_serial(message.serial_id)?;
        if message.sequence > SEQUENCE {
            return breach("an input that does not let the transaction be replaced");
        }
        let broken = Error::new(Code::InvalidContribution, "an input of something that is no transaction");
        let previous = message.previous_transaction().map_err(|_| broken)?;
        let Some(previous) = previous else {
            return breach("a new channel has no funding to spend");
        };
        let output = output_of(&previous, message.prevtx_vout)?;
        let outpoint = OutPoint { txid: previous.compute_txid(), vout: message.prevtx_vout };
        if self.inputs.values().any(|input| input.outpoint == outpoint) {
            return breach("an input that is there already");
        }
        let witness = if output.script_pubkey.is_p2tr() { LEAST_TAPROOT_WITNESS } else { LEAST_WITNESS };
        let input = Input { outpoint, output, sequence: message.sequence, is_ours: false, witness };
        self.inputs.insert(serial, input);
        Ok(())
    }

    fn add_output(&mut self, message: &TxAddOutput) -> Result<(), Error> {
        let (_, additions) = &mut self.additions;
        *additions = additions.saturating_add(1);
        if *additions > MOST_ADDITIONS {
            return breach("too many outputs were added");
        }
        let serial = self.check_serial(message.serial_id)?;
        let script = &message.script;
        if !(script.is_witness_program() || script.is_p2pkh() || script.is_p2sh()) {
            return breach("an output that nodes do not relay");
        }
        let (_, least) = self.plan.dust_limits;
        if message.sats < least.max(dust_limit(script)) {
            return breach("an output that is dust");
        }
        if message.sats > Amount::MAX_MONEY {
            return breach("an output of more than all money");
        }
        let output = TxOut { value: message.sats, script_pubkey: script.clone() };
        self.outputs.insert(serial, Output { output, is_ours: false });
        Ok(())
    }

    /// Both have nothing to add: what was built, held against BOLT 2's conditions ("The `tx_complete` Message").
    ///
    /// # Errors
    /// [`Code::InvalidContribution`].
    pub(super) fn finish(self) -> Result<Built, Error> {
        let Self { plan, inputs, outputs, .. } = self;
        if inputs.len() > MOST_PARTS || outputs.len() > MOST_PARTS {
            return breach("too many inputs or outputs");
        }
        let (ours, theirs) = (Side::of(true, &plan, &inputs, &outputs)?, Side::of(false, &plan, &inputs, &outputs)?);
        theirs.check(plan.rate)?;
        let weight = ours.weight.saturating_add(theirs.weight);
        if weight > MOST_WEIGHT {
            return breach("a transaction that nodes do not relay");
        }
        let spent = inputs.values().map(|input| (input.output.clone(), input.is_ours)).collect();
        let input = |input: &Input| TxIn {
            previous_output: input.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: input.sequence,
            witness: Witness::new(),
        };
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: plan.lock_time,
            input: inputs.values().map(input).collect(),
            output: outputs.values().map(|output| output.output.clone()).collect(),
        };
        let at_script = |output: &TxOut| output.script_pubkey == plan.funding.script_pubkey;
        let mut found = (0_u32..).zip(&transaction.output).filter(|(_, output)| at_script(output));
        let (Some((vout, output)), None) = (found.next(), found.next()) else {
            return breach("not one funding output");
        };
        if *output != plan.funding {
            return breach("a funding output of another amount than both put in");
        }
        let outpoint = OutPoint { txid: transaction.compute_txid(), vout };
        Ok(Built { transaction, spent, outpoint, brought: (ours.brought, theirs.brought) })
    }
}

/// What one side has to do with the transaction.
struct Side {
    brought: Amount,
    /// What it takes out again, its share of the funding output included.
    taken: Amount,
    weight: u64,
}

impl Side {
    fn of(
        is_ours: bool,
        plan: &Plan,
        inputs: &BTreeMap<u64, Input>,
        outputs: &BTreeMap<u64, Output>,
    ) -> Result<Self, Error> {
        let inputs: Vec<_> = inputs.values().filter(|input| input.is_ours == is_ours).collect();
        let outputs: Vec<_> = outputs.values().filter(|output| output.is_ours == is_ours).collect();
        let (share, other) = if is_ours { plan.shares } else { (plan.shares.1, plan.shares.0) };
        let brought = sum(inputs.iter().map(|input| input.output.value));
        let out = sum(outputs.iter().map(|output| output.output.value));
        // The initiator made the funding output for both.
        let is_initiator = is_ours == plan.is_initiator;
        let taken = out.and_then(|out| if is_initiator { out.checked_sub(other) } else { out.checked_add(share) });
        let (Some(brought), Some(taken)) = (brought, taken) else {
            return breach("amounts that do not add up");
        };
        let witnesses = inputs.iter().map(|input| input.witness);
        let weight = weight(is_initiator, witnesses, outputs.iter().map(|output| &output.output));
        Ok(Self { brought, taken, weight })
    }

    /// Refuses less than what it takes out and the fee for what it added.
    fn check(&self, rate: FeeRate) -> Result<(), Error> {
        let Some(fee) = self.brought.checked_sub(self.taken) else {
            return breach("more is taken out than was put in");
        };
        // Rounded down, as some do.
        let least = rate.to_sat_per_kwu().saturating_mul(self.weight).checked_div(1_000).unwrap_or(u64::MAX);
        if fee < Amount::from_sat(least) { breach("too little for the fee of what was added") } else { Ok(()) }
    }
}

/// What one side pays the fee of (BOLT 3, "Calculating Fees for Collaborative Transactions").
fn weight<'a>(
    is_initiator: bool,
    witnesses: impl ExactSizeIterator<Item = u64>,
    outputs: impl Iterator<Item = &'a TxOut>,
) -> u64 {
    let common = if is_initiator { COMMON_WEIGHT } else { 0 };
    let inputs = INPUT_WEIGHT.saturating_mul(u64::try_from(witnesses.len()).unwrap_or(u64::MAX));
    let outputs = outputs.map(|output| output.weight().to_wu()).fold(0, u64::saturating_add);
    let witnesses = witnesses.fold(0, u64::saturating_add);
    common.saturating_add(inputs).saturating_add(outputs).saturating_add(witnesses)
}

/// What we add: coins, the funding output as the initiator, and what is left of the coins.
fn parts(plan: &Plan, stake: &Stake) -> Result<Vec<Part>, Error> {
    let unusable = |text| Error::new(Code::InvalidArgument, text);
    let mut brought = Amount::ZERO;
    let mut outpoints = BTreeSet::new();
    for coin in &stake.coins {
        let output = output_of(&coin.transaction, coin.vout).map_err(|_| unusable("a coin that cannot be used"))?;
        if coin.transaction.total_size() > MOST_PREVIOUS {
            return Err(unusable("a coin of a transaction that fits no message"));
        }
        if !outpoints.insert(coin.outpoint()) {
            return Err(unusable("a coin that is there twice"));
        }
        brought = brought.checked_add(output.value).ok_or(unusable("more than all money"))?;
    }
    let mut outputs = if plan.is_initiator { vec![plan.funding.clone()] } else { vec![] };
    let least = LEAST_WITNESS.saturating_mul(u64::try_from(stake.coins.len()).unwrap_or(u64::MAX));
    let actual = stake.coins.iter().map(|coin| coin.witness).fold(0, u64::saturating_add);
    // The witnesses of all, or the least that they are reckoned with, at the place of the first.
    let all = least.max(actual);
    let witnesses = || (0..stake.coins.len()).map(move |n| if n == 0 { all } else { 0 });
    let rest = |outputs: &[TxOut]| {
        let fee = rated(plan.rate, weight(plan.is_initiator, witnesses(), outputs.iter()))?;
        let needed = stake.amount.checked_add(fee).ok_or(unusable("more than all money"))?;
        Ok::<_, Error>(brought.checked_sub(needed))
    };
    if rest(&outputs)?.is_none() {
        return Err(unusable("the coins do not cover our share and its fee"));
    }
    let (least_change, _) = plan.dust_limits;
    let mut change = TxOut { value: Amount::ZERO, script_pubkey: stake.change.clone() };
    outputs.push(change.clone());
    let left = rest(&outputs)?.filter(|left| *left >= least_change.max(dust_limit(&change.script_pubkey)));
    outputs.pop();
    if let Some(left) = left.filter(|_| !stake.coins.is_empty()) {
        if !stake.change.is_witness_program() {
            return Err(unusable("what is left cannot go there"));
        }
        change.value = left;
        outputs.push(change);
    }
    if stake.coins.len() > MOST_PARTS {
        return Err(unusable("too many coins"));
    }
    let coins = stake.coins.iter().cloned().map(Part::Input);
    Ok(coins.chain(outputs.into_iter().map(Part::Output)).collect())
}

/// The output that a coin is.
fn output_of(transaction: &Transaction, vout: u32) -> Result<TxOut, Error> {
    let output = usize::try_from(vout).ok().and_then(|vout| transaction.output.get(vout));
    let Some(output) = output else {
        return breach("an input of an output that there is not");
    };
    if !output.script_pubkey.is_witness_program() {
        return breach("an input that is not SegWit");
    }
    if output.value > Amount::MAX_MONEY {
        return breach("an input of more than all money");
    }
    Ok(output.clone())
}

fn remove<T>(parts: &mut BTreeMap<u64, T>, serial: SerialId, is_ours: impl FnOnce(&T) -> bool) -> Result<(), Error> {
    match parts.get(&serial.0) {
        Some(part) if !is_ours(part) => {
            parts.remove(&serial.0);
            Ok(())
        }
        _ => breach("the removal of what the counterparty has not added"),
    }
}

fn serial(entropy: &[u8; 32], counter: u64, is_initiator: bool) -> u64 {
    let mut engine = sha256::Hash::engine();
    engine.input(entropy);
    engine.input(&counter.to_be_bytes());
    let hash = sha256::Hash::from_engine(engine).to_byte_array();
    let number = hash.first_chunk().map_or(counter, |bytes| u64::from_be_bytes(*bytes));
    if is_initiator { number & !1 } else { number | 1 }
}

#[cfg(test)]
mod tests;
