//! Transactions as an Esplora server lists them: what wallets see. It obeys nothing but that a coin is there, once.

use rillpay_channel::bitcoin::absolute::LockTime;
use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::transaction::Version;
use rillpay_channel::bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness, address::NetworkUnchecked,
};

/// Transactions with the heights of their blocks, in the order in which they came.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) transactions: Vec<(Transaction, Option<u32>)>,
    foreign: u32,
}

impl Chain {
    /// Somebody pays to an address.
    pub(crate) fn pay(&mut self, address: &str, sat: u64, height: Option<u32>) -> Txid {
        self.foreign += 1;
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::from_byte_array([0xf0; 32]), self.foreign),
                witness: Witness::from_slice(&[[1; 71].as_slice(), &[2; 33]]),
                ..TxIn::default()
            }],
            output: vec![TxOut { value: Amount::from_sat(sat), script_pubkey: script(address) }],
        };
        let txid = transaction.compute_txid();
        self.transactions.push((transaction, height));
        txid
    }

    /// All that waits gets into the block at this height.
    pub(crate) fn mine(&mut self, height: u32) {
        for (_, block) in &mut self.transactions {
            block.get_or_insert(height);
        }
    }

    /// Takes a transaction whose coins, if they are of this chain, are there and unspent.
    pub(crate) fn take(&mut self, transaction: &Transaction) -> bool {
        let inputs: Vec<_> = transaction.input.iter().map(|input| input.previous_output).collect();
        let spent = |outpoint| self.transactions.iter().any(|(other, _)| spends(other, outpoint));
        if inputs.iter().any(spent) {
            return false;
        }
        self.transactions.push((transaction.clone(), None));
        true
    }

    pub(crate) fn find(&self, txid: &str) -> Option<&(Transaction, Option<u32>)> {
        self.transactions.iter().find(|(transaction, _)| transaction.compute_txid().to_string() == txid)
    }

    pub(crate) fn hex(&self, txid: &str) -> Option<String> {
        self.find(txid).map(|(transaction, _)| serialize_hex(transaction))
    }

    /// A page of an address's history: everything on the first one.
    pub(crate) fn history(&self, address: &str) -> String {
        let script = script(address);
        let pays = |txid: &OutPoint| {
            let found = self.transactions.iter().find(|(transaction, _)| transaction.compute_txid() == txid.txid);
            found.is_some_and(|(transaction, _)| transaction.output[txid.vout as usize].script_pubkey == script)
        };
        let touches = |transaction: &Transaction| {
            transaction.output.iter().any(|output| output.script_pubkey == script)
                || transaction.input.iter().any(|input| pays(&input.previous_output))
        };
        let listed = self.transactions.iter().rev().filter(|(transaction, _)| touches(transaction));
        let (waiting, confirmed): (Vec<_>, Vec<_>) = listed.partition(|(_, height)| height.is_none());
        let entries = waiting.into_iter().chain(confirmed).map(|(transaction, height)| {
            let status = height.map_or(r#""confirmed":false"#.to_owned(), |height| {
                format!(r#""confirmed":true,"block_height":{height},"block_time":{}"#, 1_700_000_000 + height)
            });
            format!(r#"{{"txid":"{}","status":{{{status}}}}}"#, transaction.compute_txid())
        });
        format!("[{}]", entries.collect::<Vec<_>>().join(","))
    }
}

fn spends(transaction: &Transaction, outpoint: &OutPoint) -> bool {
    transaction.input.iter().any(|input| input.previous_output == *outpoint)
}

pub(crate) fn script(address: &str) -> ScriptBuf {
    let address: Address<NetworkUnchecked> = address.parse().expect("an address");
    address.require_network(Network::Regtest).expect("of regtest").script_pubkey()
}
