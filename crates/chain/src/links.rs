//! Who spends what, and who touches which script: the part of Esplora that Bitcoin Core does not have.

use std::collections::{BTreeSet, HashMap};

use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use crate::ScriptHash;

/// Which input spends an outpoint, and which transactions touch a script. A backend keeps one for the chain and one for
/// the mempool.
#[derive(Clone, Default)]
pub(crate) struct Links {
    spends: HashMap<OutPoint, (Txid, u32)>,
    scripts: HashMap<ScriptHash, BTreeSet<Txid>>,
}

impl Links {
    pub(crate) fn add(&mut self, txid: Txid, tx: &Transaction, prevouts: &[TxOut]) {
        for (vin, input) in (0_u32..).zip(&tx.input) {
            self.spends.insert(input.previous_output, (txid, vin));
        }
        for output in prevouts.iter().chain(&tx.output) {
            self.scripts.entry(ScriptHash::of(&output.script_pubkey)).or_default().insert(txid);
        }
    }

    pub(crate) fn remove(&mut self, txid: Txid, tx: &Transaction, prevouts: &[TxOut]) {
        for input in &tx.input {
            self.spends.remove(&input.previous_output);
        }
        for output in prevouts.iter().chain(&tx.output) {
            let script = ScriptHash::of(&output.script_pubkey);
            if let Some(txids) = self.scripts.get_mut(&script) {
                txids.remove(&txid);
                if txids.is_empty() {
                    self.scripts.remove(&script);
                }
            }
        }
    }

    pub(crate) fn spender(&self, outpoint: &OutPoint) -> Option<(Txid, u32)> {
        self.spends.get(outpoint).copied()
    }

    pub(crate) fn touching(&self, script: &ScriptHash) -> impl Iterator<Item = &Txid> {
        self.scripts.get(script).into_iter().flatten()
    }
}
