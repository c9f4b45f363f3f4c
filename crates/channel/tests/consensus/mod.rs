//! Bitcoin Core's own script interpreter.

use bitcoin::consensus::serialize;
use bitcoin::{OutPoint, Transaction, TxOut};

/// Whether consensus accepts every input of `tx`.
pub(crate) fn accepted(tx: &Transaction, spent: &[(OutPoint, TxOut)]) -> bool {
    let kernel_tx = bitcoinkernel::Transaction::new(&serialize(tx)).unwrap();
    let none = Vec::<bitcoinkernel::TxOut>::new();
    let data = bitcoinkernel::PrecomputedTransactionData::new(&kernel_tx, &none).unwrap();
    // Taproot's rules need all spent outputs up front, and no input of ours is Taproot.
    let flags = bitcoinkernel::VERIFY_ALL_PRE_TAPROOT;
    tx.input.iter().enumerate().all(|(index, input)| {
        let (_, output) = spent.iter().find(|(outpoint, _)| *outpoint == input.previous_output).unwrap();
        let script = bitcoinkernel::ScriptPubkey::new(output.script_pubkey.as_bytes()).unwrap();
        let value = Some(i64::try_from(output.value.to_sat()).unwrap());
        bitcoinkernel::verify(&script, value, &kernel_tx, index, Some(flags), &data).is_ok()
    })
}
