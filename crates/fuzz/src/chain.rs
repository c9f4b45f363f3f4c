//! The chain, as far as a channel looks at it: a tip, outputs at the channel's address, and what spends them.
//!
//! It takes a transaction only if its signatures, amounts and lock time hold. The script's other rules are proved with
//! Bitcoin Core's own interpreter in the protocol's vector tests.

use std::collections::BTreeSet;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use rillpay_channel::ChannelParams;
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::payer::Spend;

use crate::action::Party;

/// An output at the channel's address.
#[derive(Clone)]
struct Output {
    funding: Funding,
    /// The height of its block; `None` in the mempool.
    height: Option<u32>,
}

/// A transaction that spends some of them.
#[derive(Clone)]
struct Spender {
    inputs: Vec<OutPoint>,
    spend: Spend,
    height: Option<u32>,
    /// Who made it, and so bears the fee.
    by: Party,
    fee: Amount,
    /// To anybody but the payer.
    payout: Amount,
}

#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) tip: u32,
    outputs: Vec<Output>,
    spenders: Vec<Spender>,
    /// What a double spend took away: it can never be there again.
    gone: BTreeSet<OutPoint>,
    paid_in: u8,
    /// Counts whatever happens here.
    pub(crate) changes: u64,
}

/// Why a node would not take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotFinal,
    NoSuchOutput,
    Spent,
}

impl Chain {
    pub(crate) const fn new(tip: u32) -> Self {
        Self { tip, outputs: vec![], spenders: vec![], gone: BTreeSet::new(), paid_in: 0, changes: 0 }
    }

    /// Someone pays to the address.
    pub(crate) fn deposit(&mut self, capacity: Amount) {
        self.paid_in = self.paid_in.saturating_add(1);
        let outpoint = OutPoint { txid: Txid::from_byte_array([self.paid_in; 32]), vout: 0 };
        self.pay_in(Funding { outpoint, capacity });
    }

    /// Takes in the transaction that funds a `timelock` channel. Once more is nothing new, and one whose inputs were spent
    /// elsewhere is refused.
    pub(crate) fn fund(&mut self, transaction: &Transaction, params: &ChannelParams) {
        let (txid, script) = (transaction.compute_txid(), params.funding_script());
        for (vout, output) in (0..).zip(&transaction.output) {
            let outpoint = OutPoint { txid, vout };
            if output.script_pubkey == script && !self.gone.contains(&outpoint) {
                self.pay_in(Funding { outpoint, capacity: output.value });
            }
        }
    }

    fn pay_in(&mut self, funding: Funding) {
        self.changes += 1;
        if !self.holds(&funding) {
            self.outputs.push(Output { funding, height: None });
        }
    }

    /// So many blocks, the first of which takes in whatever waits.
    pub(crate) fn mine(&mut self, blocks: u32) {
        if blocks == 0 {
            return;
        }
        self.changes += 1;
        let height = self.tip + 1;
        self.tip += blocks;
        for output in &mut self.outputs {
            output.height.get_or_insert(height);
        }
        for spender in &mut self.spenders {
            spender.spend.confirmed = true;
            spender.height.get_or_insert(height);
        }
    }

    /// `blocks` blocks are replaced by one more that hold nothing. What was in them waits again or, where the deposits were
    /// `replaced`, is gone.
    pub(crate) fn reorganise(&mut self, blocks: u32, replaced: bool) {
        self.changes += 1;
        let fork = self.tip - blocks.min(self.tip);
        self.tip = fork + blocks + 1;
        let undone = |height: Option<u32>| height.is_none_or(|height| height > fork);
        if replaced {
            let lost = self.outputs.iter().filter(|output| undone(output.height));
            self.gone.extend(lost.map(|output| output.funding.outpoint));
            self.outputs.retain(|output| !undone(output.height));
            self.spenders.retain(|spender| !spender.inputs.iter().any(|input| self.gone.contains(input)));
        }
        for output in self.outputs.iter_mut().filter(|output| undone(output.height)) {
            output.height = None;
        }
        for spender in self.spenders.iter_mut().filter(|spender| undone(spender.height)) {
            spender.height = None;
            spender.spend.confirmed = false;
        }
    }

    fn spender_of(&self, outpoint: &OutPoint) -> Option<&Spender> {
        self.spenders.iter().find(|spender| spender.inputs.contains(outpoint))
    }

    /// The outputs that are not spent.
    pub(crate) fn seen(&self) -> Vec<SeenOutput> {
        let confirmations = |height: u32| (self.tip + 1).saturating_sub(height);
        let unspent = self.outputs.iter().filter(|output| self.spender_of(&output.funding.outpoint).is_none());
        unspent
            .map(|output| SeenOutput { funding: output.funding, confirmations: output.height.map_or(0, confirmations) })
            .collect()
    }

    pub(crate) fn unspent(&self) -> Vec<Funding> {
        self.seen().into_iter().map(|output| output.funding).collect()
    }

    pub(crate) fn holds(&self, funding: &Funding) -> bool {
        self.outputs.iter().any(|output| output.funding == *funding)
    }

    pub(crate) fn spend_of(&self, funding: &Funding) -> Option<Spend> {
        self.spender_of(&funding.outpoint).map(|spender| spender.spend)
    }

    /// Everything that was paid to the address.
    pub(crate) fn deposited(&self) -> Amount {
        self.outputs.iter().map(|output| output.funding.capacity).sum()
    }

    /// What this side got, with the fees that it chose to pay.
    pub(crate) fn got(&self, side: Party) -> Amount {
        let own = |spender: &Spender| match side {
            Party::Payer => spender.spend.returned,
            Party::Payee => spender.payout,
        };
        let fee = |spender: &Spender| if spender.by == side { spender.fee } else { Amount::ZERO };
        self.spenders.iter().map(|spender| own(spender) + fee(spender)).sum()
    }

    /// Takes a transaction of an honest party into the mempool.
    ///
    /// # Panics
    /// Where the next block could not hold it.
    pub(crate) fn broadcast(&mut self, transaction: &Transaction, params: &ChannelParams, by: Party) {
        let taken = self.try_broadcast(transaction, params, by);
        assert_eq!(taken, Ok(()), "the {by:?}'s transaction cannot be in the next block");
    }

    /// Takes anybody's transaction into the mempool, or says why a node would not.
    ///
    /// # Panics
    /// Where the transaction could be valid at no time.
    pub(crate) fn try_broadcast(
        &mut self,
        transaction: &Transaction,
        params: &ChannelParams,
        by: Party,
    ) -> Result<(), Refused> {
        let mut coming_in = Amount::ZERO;
        for (index, input) in transaction.input.iter().enumerate() {
            let output = self.outputs.iter().find(|output| output.funding.outpoint == input.previous_output);
            let capacity = output.ok_or(Refused::NoSuchOutput)?.funding.capacity;
            if self.spender_of(&input.previous_output).is_some() {
                return Err(Refused::Spent);
            }
            coming_in += capacity;
            check_witness(transaction, index, params, capacity);
        }
        if transaction.lock_time.to_consensus_u32() > self.tip {
            return Err(Refused::NotFinal);
        }
        let going_out: Amount = transaction.output.iter().map(|output| output.value).sum();
        assert!(going_out < coming_in, "pays a fee");
        for output in &transaction.output {
            assert!(output.value >= output.script_pubkey.minimal_non_dust(), "dust is not relayed: {output:?}");
        }
        let own = transaction.output.iter().filter(|output| output.script_pubkey == params.return_script);
        let returned = own.map(|output| output.value).sum();
        let payout = going_out - returned;
        let txid = transaction.compute_txid();
        self.changes += 1;
        self.spenders.push(Spender {
            inputs: transaction.input.iter().map(|input| input.previous_output).collect(),
            spend: Spend { txid, returned, refund: payout == Amount::ZERO, confirmed: false },
            height: None,
            by,
            fee: coming_in - going_out,
            payout,
        });
        Ok(())
    }
}

/// `cltv`: `[payer, payee, 1, script]` for a settlement and for what the payee lets go, `[payer, empty, script]` for a
/// refund. `timelock`: `[empty, signature, signature, script]` in the order of the keys.
fn check_witness(transaction: &Transaction, index: usize, params: &ChannelParams, capacity: Amount) {
    let script = params.witness_script();
    let items: Vec<&[u8]> = transaction.input[index].witness.iter().collect();
    assert_eq!(items.last(), Some(&script.as_bytes()), "the channel's script");
    let signed = |item: &[u8], key: &PublicKey| -> EcdsaSighashType {
        let signature = bitcoin::ecdsa::Signature::from_slice(item).expect("a signature");
        let hash = SighashCache::new(transaction)
            .p2wsh_signature_hash(index, &script, capacity, signature.sighash_type)
            .expect("can be hashed");
        let message = Message::from_digest(hash.to_byte_array());
        let verified = rillpay_channel::secp().verify_ecdsa(&message, &signature.signature, key);
        assert_eq!(verified, Ok(()), "a signature in the witness does not verify");
        signature.sighash_type
    };
    let (payer, payee) = match items[..] {
        [payer, [], _] if params.kind.ladder().is_none() => {
            assert_eq!(transaction.lock_time.to_consensus_u32(), params.expiry);
            assert_eq!(signed(payer, &params.payer), EcdsaSighashType::All);
            return;
        }
        [payer, payee, [1], _] if params.kind.ladder().is_none() => (payer, payee),
        [[], first, second, _] if params.kind.ladder().is_some() => {
            let payer_first = params.payer.serialize() < params.payee.serialize();
            if payer_first { (first, second) } else { (second, first) }
        }
        _ => panic!("a witness of another shape: {items:?}"),
    };
    let kinds = [signed(payer, &params.payer), signed(payee, &params.payee)];
    assert!(kinds.contains(&EcdsaSighashType::All), "nobody signs the whole");
}
