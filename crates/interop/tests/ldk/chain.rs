//! The chain: a Bitcoin Core node on regtest.

use bitcoin::consensus::deserialize;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::FromHex;
use bitcoin::{Amount, Block, BlockHash, Script, Transaction, Txid};
use rillpay_chain::bitcoind::BitcoindOptions;
use rillpay_chain::testing::Node;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Chain {
    node: Node,
    runtime: Runtime,
}

impl Chain {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { node: runtime.block_on(Node::start()), runtime }
    }

    /// How a program of ours reaches the node.
    pub(crate) fn options(&self) -> BitcoindOptions {
        self.node.options()
    }

    pub(crate) fn tip(&self) -> (u32, BlockHash) {
        self.runtime.block_on(self.node.tip())
    }

    /// The block at this height.
    pub(crate) fn block(&self, height: u32) -> Block {
        let hash: String = self.ask("getblockhash", json!([height]));
        let block: String = self.ask("getblock", json!([hash, 0]));
        deserialize(&Vec::from_hex(&block).unwrap()).unwrap()
    }

    /// Makes blocks of what waits.
    pub(crate) fn mine(&self, count: u32) {
        self.runtime.block_on(self.node.mine(count));
    }

    /// Makes a block of exactly these, whatever they pay.
    pub(crate) fn mine_exactly(&self, transactions: &[Transaction]) {
        self.runtime.block_on(self.node.mine_exactly(transactions)).unwrap();
    }

    /// Makes a payment that nobody has been told of.
    pub(crate) fn pay(&self, to: &Script, amount: Amount) -> Transaction {
        self.runtime.block_on(self.node.pay(to, amount))
    }

    /// Tells the node of a transaction, which it may know already; what it says against it.
    pub(crate) fn offer(&self, transaction: &Transaction) -> Result<(), String> {
        let sent = self.node.try_call::<Value>("sendrawtransaction", json!([serialize_hex(transaction)]));
        match self.runtime.block_on(sent).map_err(|error| error.to_string()) {
            Err(error) if !error.contains("already in") => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the node would take it, into its mempool and so into a block; why not.
    pub(crate) fn would_take(&self, transaction: &Transaction) -> Result<(), String> {
        let answer: Value = self.ask("testmempoolaccept", json!([[serialize_hex(transaction)]]));
        if answer[0]["allowed"] == true { Ok(()) } else { Err(answer.to_string()) }
    }

    /// The transactions that wait for a block.
    pub(crate) fn waiting(&self) -> Vec<Txid> {
        self.ask("getrawmempool", json!([]))
    }

    fn ask<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> T {
        self.runtime.block_on(self.node.call(method, params))
    }
}
