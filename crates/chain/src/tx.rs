//! Transactions and outputs as Esplora shows them.

use std::fmt;
use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Address, Amount, Network, OutPoint, Script, ScriptBuf, Transaction, TxOut, Txid, Witness};
use serde::{Deserialize, Serialize};

use crate::Status;

/// The SHA-256 of a script, by which Esplora names scripts: `/scripthash/:hash`.
///
/// Written as hex in the hash's own byte order (Electrum servers write it backwards).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScriptHash(sha256::Hash);

impl ScriptHash {
    /// The hash of an output script.
    pub fn of(script: &Script) -> Self {
        ScriptHash(sha256::Hash::hash(script.as_bytes()))
    }
}

#[cfg(feature = "bitcoind")]
impl ScriptHash {
    /// The hash as it was written down with [`as_bytes`](Self::as_bytes).
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        ScriptHash(sha256::Hash::from_byte_array(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_byte_array()
    }
}

impl From<&Script> for ScriptHash {
    fn from(script: &Script) -> Self {
        ScriptHash::of(script)
    }
}

impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ScriptHash {
    type Err = <sha256::Hash as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(ScriptHash)
    }
}

/// A transaction with what it spends and where it stands: Esplora's `/tx/:txid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxInfo {
    /// Its id.
    pub txid: Txid,
    /// Its version.
    pub version: i32,
    /// `nLockTime` as it travels.
    pub locktime: u32,
    /// Inputs, in order.
    pub vin: Vec<TxInput>,
    /// Outputs, in order.
    pub vout: Vec<TxOutput>,
    /// Bytes, witness included.
    pub size: u64,
    /// Weight units; a quarter of it, rounded up, is the virtual size.
    pub weight: u64,
    /// What the miner gets, in satoshi; 0 for a block reward.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
    /// Where it stands.
    pub status: Status,
}

/// An input as Esplora shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxInput {
    /// The transaction whose output is spent.
    pub txid: Txid,
    /// Which output of it.
    pub vout: u32,
    /// The output that is spent; `None` for a block reward.
    pub prevout: Option<TxOutput>,
    /// The input script.
    pub scriptsig: ScriptBuf,
    /// The input script as words.
    pub scriptsig_asm: String,
    /// The witness items; absent in JSON when there are none.
    #[serde(default, skip_serializing_if = "Witness::is_empty")]
    pub witness: Witness,
    /// True for a block reward.
    pub is_coinbase: bool,
    /// `nSequence` as it travels.
    pub sequence: u32,
}

/// An output as Esplora shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxOutput {
    /// The output script.
    pub scriptpubkey: ScriptBuf,
    /// The output script as words.
    pub scriptpubkey_asm: String,
    /// Esplora's name for the kind of script, such as `v0_p2wsh`.
    pub scriptpubkey_type: String,
    /// The address, where the script has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scriptpubkey_address: Option<Address<NetworkUnchecked>>,
    /// Satoshi.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
}

/// An unspent output as Esplora lists it: `/scripthash/:hash/utxo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utxo {
    /// The transaction that made it.
    pub txid: Txid,
    /// Which of its outputs.
    pub vout: u32,
    /// Where that transaction stands.
    pub status: Status,
    /// Satoshi.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
}

/// An output paid to a script, whether or not it has been spent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidOutput {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much.
    pub value: Amount,
    /// Where the transaction that made it stands.
    pub status: Status,
}

impl TxInfo {
    /// Describes a transaction. `prevouts` are the outputs that it spends, one for each input in order; a block reward
    /// spends none.
    pub fn new(tx: &Transaction, prevouts: &[TxOut], status: Status, network: Network) -> Self {
        let total = |outputs: &[TxOut]| outputs.iter().map(|o| o.value.to_sat()).fold(0_u64, u64::saturating_add);
        let fee = Amount::from_sat(total(prevouts).saturating_sub(total(&tx.output)));
        TxInfo {
            txid: tx.compute_txid(),
            version: tx.version.0,
            locktime: tx.lock_time.to_consensus_u32(),
            vin: tx
                .input
                .iter()
                .enumerate()
                .map(|(i, input)| TxInput {
                    txid: input.previous_output.txid,
                    vout: input.previous_output.vout,
                    prevout: prevouts.get(i).map(|o| TxOutput::new(o, network)),
                    scriptsig: input.script_sig.clone(),
                    scriptsig_asm: input.script_sig.to_asm_string(),
                    witness: input.witness.clone(),
                    is_coinbase: tx.is_coinbase(),
                    sequence: input.sequence.to_consensus_u32(),
                })
                .collect(),
            vout: tx.output.iter().map(|o| TxOutput::new(o, network)).collect(),
            size: u64::try_from(tx.total_size()).unwrap_or(u64::MAX),
            weight: tx.weight().to_wu(),
            fee,
            status,
        }
    }

    /// The outputs of this transaction that pay to a script.
    pub fn outputs_to(&self, script: &ScriptHash) -> Vec<PaidOutput> {
        (0_u32..)
            .zip(&self.vout)
            .filter(|(_, output)| ScriptHash::of(&output.scriptpubkey) == *script)
            .map(|(vout, output)| PaidOutput {
                outpoint: OutPoint { txid: self.txid, vout },
                value: output.value,
                status: self.status,
            })
            .collect()
    }
}

impl TxOutput {
    /// Describes an output on a network.
    pub fn new(output: &TxOut, network: Network) -> Self {
        let script = &output.script_pubkey;
        TxOutput {
            scriptpubkey: script.clone(),
            scriptpubkey_asm: script.to_asm_string(),
            scriptpubkey_type: script_type(script).to_owned(),
            scriptpubkey_address: Address::from_script(script, network).ok().map(|address| address.into_unchecked()),
            value: output.value,
        }
    }
}

/// Esplora's names for kinds of script.
fn script_type(script: &Script) -> &'static str {
    if script.is_empty() {
        "empty"
    } else if script.is_op_return() {
        "op_return"
    } else if script.is_p2pk() {
        "p2pk"
    } else if script.is_p2pkh() {
        "p2pkh"
    } else if script.is_p2sh() {
        "p2sh"
    } else if script.is_p2wpkh() {
        "v0_p2wpkh"
    } else if script.is_p2wsh() {
        "v0_p2wsh"
    } else if script.is_p2tr() {
        "v1_p2tr"
    } else if script.is_multisig() {
        "multisig"
    } else {
        "unknown"
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hex::FromHex;
    use bitcoin::transaction::Version;
    use bitcoin::{Sequence, TxIn};
    use serde_json::json;

    use super::*;

    fn p2wpkh(value: u64) -> TxOut {
        let script = Vec::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
        TxOut { value: Amount::from_sat(value), script_pubkey: ScriptBuf::from_bytes(script) }
    }

    #[test]
    fn json_has_esploras_fields() {
        let tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(9),
            input: vec![TxIn {
                previous_output: OutPoint { txid: Txid::all_zeros(), vout: 3 },
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[vec![1_u8, 2]]),
            }],
            output: vec![p2wpkh(900)],
        };
        let output = |value: u64| {
            json!({
                "scriptpubkey": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
                "scriptpubkey_asm": "OP_0 OP_PUSHBYTES_20 751e76e8199196d454941c45d1b3a323f1433bd6",
                "scriptpubkey_type": "v0_p2wpkh",
                "scriptpubkey_address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
                "value": value,
            })
        };
        let info = TxInfo::new(&tx, &[p2wpkh(1000)], Status::Unconfirmed, Network::Regtest);
        let text = serde_json::to_value(&info).unwrap();
        assert_eq!(
            text,
            json!({
                "txid": tx.compute_txid().to_string(),
                "version": 2,
                "locktime": 9,
                "vin": [{
                    "txid": "00".repeat(32),
                    "vout": 3,
                    "prevout": output(1000),
                    "scriptsig": "",
                    "scriptsig_asm": "",
                    "witness": ["0102"],
                    "is_coinbase": false,
                    "sequence": 0xffff_fffd_u32,
                }],
                "vout": [output(900)],
                "size": tx.total_size(),
                "weight": tx.weight().to_wu(),
                "fee": 100,
                "status": {"confirmed": false},
            })
        );
        assert_eq!(serde_json::from_value::<TxInfo>(text).unwrap(), info);
    }

    #[test]
    fn script_hash_is_the_plain_sha256() {
        let empty = ScriptHash::of(Script::new());
        assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.to_string().parse::<ScriptHash>().unwrap(), empty);
    }
}
