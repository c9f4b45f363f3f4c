//! The chain, as far as a channel looks at it: a tip, outputs at the channel's address, and what spends them.
//!
//! It takes a transaction only if its signatures, amounts and lock time hold. The script's other rules are proved with
//! Bitcoin Core's own interpreter in the protocol's vector tests.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use rillpay_channel::ChannelParams;
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::payer::Spend;

/// An output at the channel's address.
pub(crate) struct Output {
    pub(crate) funding: Funding,
    /// The height of its block; `None` in the mempool.
    height: Option<u32>,
    spent: Option<(Spend, Option<u32>)>,
}

pub(crate) struct Chain {
    pub(crate) tip: u32,
    outputs: Vec<Output>,
    paid_in: u8,
}

impl Chain {
    pub(crate) const fn new(tip: u32) -> Self {
        Self { tip, outputs: vec![], paid_in: 0 }
    }

    /// Someone pays to the address.
    pub(crate) fn deposit(&mut self, capacity: Amount) {
        self.paid_in = self.paid_in.saturating_add(1);
        let outpoint = OutPoint { txid: Txid::from_byte_array([self.paid_in; 32]), vout: 0 };
        self.outputs.push(Output { funding: Funding { outpoint, capacity }, height: None, spent: None });
    }

    /// So many blocks, the first of which takes in whatever waits.
    pub(crate) fn mine(&mut self, blocks: u32) {
        if blocks == 0 {
            return;
        }
        let height = self.tip + 1;
        self.tip += blocks;
        for output in &mut self.outputs {
            output.height.get_or_insert(height);
            if let Some((spend, at)) = &mut output.spent {
                spend.confirmed = true;
                at.get_or_insert(height);
            }
        }
    }

    /// `blocks` blocks are replaced by one more that hold nothing. What was in them waits again or, where the deposits were
    /// `replaced`, is gone.
    pub(crate) fn reorganise(&mut self, blocks: u32, replaced: bool) {
        let fork = self.tip - blocks.min(self.tip);
        self.tip = fork + blocks + 1;
        let undone = |height: Option<u32>| height.is_none_or(|height| height > fork);
        self.outputs.retain(|output| !(replaced && undone(output.height)));
        for output in &mut self.outputs {
            if undone(output.height) {
                output.height = None;
            }
            if let Some((spend, at)) = &mut output.spent
                && undone(*at)
            {
                spend.confirmed = false;
                *at = None;
            }
        }
    }

    /// The outputs that are not spent.
    pub(crate) fn seen(&self) -> Vec<SeenOutput> {
        let confirmations = |height: u32| (self.tip + 1).saturating_sub(height);
        let unspent = self.outputs.iter().filter(|output| output.spent.is_none());
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
        let output = self.outputs.iter().find(|output| output.funding == *funding)?;
        output.spent.map(|(spend, _)| spend)
    }

    /// Takes a transaction into the mempool.
    ///
    /// # Panics
    /// Where the next block could not hold it.
    pub(crate) fn broadcast(&mut self, transaction: &Transaction, params: &ChannelParams) {
        let locked = transaction.lock_time.to_consensus_u32();
        assert!(locked <= self.tip, "locked until {locked}, and the tip is {}", self.tip);
        let refund = locked != 0;
        let mut coming_in = Amount::ZERO;
        for (index, input) in transaction.input.iter().enumerate() {
            let output = self.outputs.iter().find(|output| output.funding.outpoint == input.previous_output);
            let output = output.expect("spends an output that is there");
            assert!(output.spent.is_none(), "spends it twice");
            coming_in += output.funding.capacity;
            check_witness(transaction, index, params, output.funding.capacity, refund);
        }
        let going_out: Amount = transaction.output.iter().map(|output| output.value).sum();
        assert!(going_out < coming_in, "pays a fee");
        for output in &transaction.output {
            assert!(output.value >= output.script_pubkey.minimal_non_dust(), "dust is not relayed: {output:?}");
        }
        let own = transaction.output.iter().filter(|output| output.script_pubkey == params.return_script);
        let spend = Spend {
            txid: transaction.compute_txid(),
            returned: own.map(|output| output.value).sum(),
            refund,
            confirmed: false,
        };
        for input in &transaction.input {
            for output in &mut self.outputs {
                if output.funding.outpoint == input.previous_output {
                    output.spent = Some((spend, None));
                }
            }
        }
    }
}

/// `[payer, payee, 1, script]` for a settlement, `[payer, empty, script]` for a refund.
fn check_witness(transaction: &Transaction, index: usize, params: &ChannelParams, capacity: Amount, refund: bool) {
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
    match items[..] {
        [payer, [], _] => {
            assert!(refund, "only a refund goes without the payee");
            assert_eq!(transaction.lock_time.to_consensus_u32(), params.expiry);
            signed(payer, &params.payer);
        }
        [payer, payee, [1], _] => {
            signed(payer, &params.payer);
            assert_eq!(signed(payee, &params.payee), EcdsaSighashType::All);
        }
        _ => panic!("a witness of another shape: {items:?}"),
    }
}
