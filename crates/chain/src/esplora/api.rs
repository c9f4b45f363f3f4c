//! Esplora's endpoints, read into types. What is read is well-formed, and no more than that.

use std::str::FromStr;

use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::{deserialize, deserialize_hex, serialize_hex};
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, CompactTarget, OutPoint, Transaction, TxMerkleNode, Txid};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{BAD_REQUEST, Http, NOT_ALLOWED, NOT_FOUND, OK};
use super::trouble::{Trouble, clean};
use crate::{ChainError, FeeEstimates, Outspend, PackageVerdict, Reason, ScriptHash, Status, Utxo, verdict};

/// For answers of a line, or a few.
const SMALL: usize = 64 << 10;
/// For a list of blocks.
const BLOCKS: usize = 256 << 10;
/// For a list of unspent outputs, of which some servers give thousands.
const OUTPUTS: usize = 2 << 20;
/// For a whole block or a transaction as it travels: four million weight units are at most as many bytes.
const BLOCK: usize = (4 << 20) + SMALL;
/// For transactions as JSON, which takes several times their bytes: pages of 25 and 50 of them.
const PAGE: usize = 32 << 20;

/// A transaction in a list: all that is taken from its description. The rest is read from the transaction itself.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Listed {
    pub(super) txid: Txid,
    pub(super) status: Status,
}

/// Where in a block a transaction is, and the hashes beside its way up to the block's root.
#[derive(Deserialize)]
pub(super) struct MerkleProof {
    pub(super) block_height: u32,
    pub(super) merkle: Vec<TxMerkleNode>,
    pub(super) pos: u32,
}

#[derive(Deserialize)]
struct BlockInfo {
    id: BlockHash,
    height: u32,
    version: i32,
    timestamp: u32,
    merkle_root: TxMerkleNode,
    previousblockhash: Option<BlockHash>,
    nonce: u32,
    bits: u32,
}

/// A header with the height that the server says it has. The hash is the header's.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) height: u32,
    pub(super) hash: BlockHash,
    pub(super) header: Header,
}

impl Http {
    pub(super) async fn tip_hash(&self) -> Result<BlockHash, Trouble> {
        let text = self.get("/blocks/tip/hash", SMALL).await?.ok_or_else(|| self.unreachable("no newest block"))?;
        line(&text)
    }

    pub(super) async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, Trouble> {
        self.get(&format!("/block-height/{height}"), SMALL).await?.map(|text| line(&text)).transpose()
    }

    /// Some blocks of the best chain, newest first, from a height or from the tip on downwards.
    pub(super) async fn blocks(&self, from: Option<u32>) -> Result<Vec<Placed>, Trouble> {
        let path = from.map_or_else(|| "/blocks".to_owned(), |height| format!("/blocks/{height}"));
        let text = self.get(&path, BLOCKS).await?.ok_or_else(|| self.unreachable(format!("nothing at {path}")))?;
        json::<Vec<BlockInfo>>(&text)?.into_iter().map(Placed::try_from).collect()
    }

    pub(super) async fn header(&self, hash: &BlockHash) -> Result<Option<Header>, Trouble> {
        let Some(text) = self.get(&format!("/block/{hash}/header"), SMALL).await? else { return Ok(None) };
        let header: Header = hex(&text)?;
        if header.block_hash() != *hash {
            return Err(Trouble::lie(format!("it was asked for block {hash} and gave another header")));
        }
        Ok(Some(header))
    }

    /// A block whose transactions are those that its header commits to.
    pub(super) async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, Trouble> {
        let Some(bytes) = self.get(&format!("/block/{hash}/raw"), BLOCK).await? else { return Ok(None) };
        let block: Block = deserialize(&bytes).map_err(|e| Trouble::lie(format!("no block: {e}")))?;
        if block.block_hash() != *hash || !block.check_merkle_root() || !block.check_witness_commitment() {
            return Err(Trouble::lie(format!("it was asked for block {hash} and gave another one")));
        }
        Ok(Some(block))
    }

    /// The transaction itself. Its witnesses are the server's word: the id does not commit to them.
    pub(super) async fn raw(&self, txid: &Txid) -> Result<Option<Transaction>, Trouble> {
        let Some(bytes) = self.get(&format!("/tx/{txid}/raw"), BLOCK).await? else { return Ok(None) };
        let tx: Transaction = deserialize(&bytes).map_err(|e| Trouble::lie(format!("no transaction: {e}")))?;
        if tx.compute_txid() != *txid {
            return Err(Trouble::lie(format!("it was asked for transaction {txid} and gave another one")));
        }
        Ok(Some(tx))
    }

    pub(super) async fn find(&self, txid: &Txid) -> Result<Option<Listed>, Trouble> {
        let Some(text) = self.get(&format!("/tx/{txid}"), PAGE).await? else { return Ok(None) };
        let listed: Listed = json(&text)?;
        if listed.txid != *txid {
            return Err(Trouble::lie(format!("it was asked for transaction {txid} and described another one")));
        }
        Ok(Some(listed))
    }

    pub(super) async fn merkle_proof(&self, txid: &Txid) -> Result<Option<MerkleProof>, Trouble> {
        self.get(&format!("/tx/{txid}/merkle-proof"), SMALL).await?.map(|text| json(&text)).transpose()
    }

    pub(super) async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, Trouble> {
        let path = format!("/tx/{}/outspend/{}", outpoint.txid, outpoint.vout);
        self.get(&path, SMALL).await?.map_or(Ok(Outspend::Unspent), |text| json(&text))
    }

    /// What waits, up to 50, and the first page of what is confirmed; or the confirmed ones after one.
    pub(super) async fn page(&self, script: &ScriptHash, after: Option<Txid>) -> Result<Vec<Listed>, Trouble> {
        let path = match after {
            None => format!("/scripthash/{script}/txs"),
            Some(txid) => format!("/scripthash/{script}/txs/chain/{txid}"),
        };
        self.get(&path, PAGE).await?.map_or(Ok(Vec::new()), |text| json(&text))
    }

    /// The unspent outputs of a script, in no order.
    pub(super) async fn unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, Trouble> {
        let text = self.get(&format!("/scripthash/{script}/utxo"), OUTPUTS).await?;
        text.map_or(Ok(Vec::new()), |text| json(&text))
    }

    /// A script's counts, as text to be compared.
    pub(super) async fn counts(&self, script: &ScriptHash) -> Result<Vec<u8>, Trouble> {
        Ok(self.get(&format!("/scripthash/{script}"), SMALL).await?.unwrap_or_default().to_vec())
    }

    pub(super) async fn fee_estimates(&self) -> Result<FeeEstimates, Trouble> {
        let text = self.get("/fee-estimates", SMALL).await?.ok_or_else(|| self.unreachable("no fee estimates"))?;
        super::fees::read(&text)
    }

    pub(super) async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        let txid = tx.compute_txid();
        let answer = self.post("/tx", serialize_hex(tx), SMALL).await?;
        match answer.status {
            OK => match line::<Txid>(&answer.body)? {
                theirs if theirs == txid => Ok(txid),
                theirs => Err(Trouble::lie(format!("it was given transaction {txid} and took {theirs}")).into()),
            },
            BAD_REQUEST => {
                let refusal = verdict::refusal(&words(&answer.body));
                if refusal.reason == Reason::AlreadyInMempool { Ok(txid) } else { Err(refusal.into()) }
            }
            status => Err(self.unreachable(format!("status {status} for /tx: {}", clean(&answer.body))).into()),
        }
    }

    /// As [`Http::broadcast`], both together; `false` where the server knows of no packages.
    pub(super) async fn submit_package(&self, package: [&Transaction; 2]) -> Result<bool, ChainError> {
        let [parent, child] = package.map(serialize_hex);
        let text = format!("[\"{parent}\",\"{child}\"]");
        let answer = self.post("/txs/package", text, SMALL).await?;
        match answer.status {
            OK => {
                json::<PackageVerdict>(&answer.body)?.judge(package)?;
                Ok(true)
            }
            BAD_REQUEST => Err(verdict::refusal(&words(&answer.body)).into()),
            NOT_FOUND | NOT_ALLOWED => Ok(false),
            status => {
                Err(self.unreachable(format!("status {status} for /txs/package: {}", clean(&answer.body))).into())
            }
        }
    }
}

impl TryFrom<BlockInfo> for Placed {
    type Error = Trouble;

    fn try_from(info: BlockInfo) -> Result<Self, Trouble> {
        let header = Header {
            version: Version::from_consensus(info.version),
            prev_blockhash: info.previousblockhash.unwrap_or_else(BlockHash::all_zeros),
            merkle_root: info.merkle_root,
            time: info.timestamp,
            bits: CompactTarget::from_consensus(info.bits),
            nonce: info.nonce,
        };
        if header.block_hash() != info.id {
            return Err(Trouble::lie(format!("block {} is not what its description says", info.id)));
        }
        Ok(Placed { height: info.height, hash: info.id, header })
    }
}

/// What the node behind an Esplora said about a transaction: electrs wraps it up as
/// `sendrawtransaction RPC error: {"code":-26,"message":"…"}`, sometimes with `-26: ` before the words.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let text = String::from_utf8_lossy(body);
    let wrapped = text.find('{').and_then(|start| text.get(start..));
    let said = wrapped.and_then(|json| serde_json::from_str::<Said>(json.trim()).ok());
    clean(said.map_or_else(|| text.trim().to_owned(), |said| said.message).as_bytes())
}

fn utf8(bytes: &[u8]) -> Result<&str, Trouble> {
    std::str::from_utf8(bytes).map(str::trim).map_err(|_| garbage(bytes))
}

fn line<T: FromStr>(bytes: &[u8]) -> Result<T, Trouble> {
    utf8(bytes)?.parse().map_err(|_| garbage(bytes))
}

fn hex<T: bitcoin::consensus::Decodable>(bytes: &[u8]) -> Result<T, Trouble> {
    deserialize_hex(utf8(bytes)?).map_err(|_| garbage(bytes))
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|_| garbage(bytes))
}

fn garbage(bytes: &[u8]) -> Trouble {
    Trouble::lie(format!("it cannot be read: {}", clean(bytes)))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that goes wrong may panic")]
mod tests {
    use super::*;

    const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    /// What Esplora answers, in its own spelling.
    fn answers() -> Vec<String> {
        let status = format!(r#"{{"confirmed":true,"block_height":7,"block_hash":"{ZEROS}","block_time":9}}"#);
        vec![
            format!(r#"[{{"txid":"{ZEROS}","status":{status}}}]"#),
            format!(r#"{{"block_height":7,"merkle":["{ZEROS}"],"pos":1}}"#),
            format!(r#"{{"spent":true,"txid":"{ZEROS}","vin":0,"status":{status}}}"#),
            format!(
                r#"[{{"id":"{ZEROS}","height":7,"version":2,"timestamp":9,"merkle_root":"{ZEROS}","previousblockhash":null,"nonce":1,"bits":2}}]"#
            ),
            r#"sendrawtransaction RPC error: {"code":-26,"message":"non-final"}"#.to_owned(),
        ]
    }

    proptest::proptest! {
        /// Whatever a server answers is read, or is a lie.
        #[test]
        fn hostile_answers_are_read_or_lies(
            which in 0_usize..5,
            at in 0_usize..300,
            cut in 0_usize..4,
            put in "[-0-9a-f\",:{}\\[\\]nultre. ]{0,6}",
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        ) {
            let answer = answers().swap_remove(which);
            let at = at % answer.len();
            let damaged: String = answer.chars().take(at).chain(put.chars()).chain(answer.chars().skip(at + cut)).collect();
            for bytes in [damaged.as_bytes(), &noise] {
                let _ = (json::<Vec<Listed>>(bytes), json::<MerkleProof>(bytes), json::<Outspend>(bytes));
                if let Ok(blocks) = json::<Vec<BlockInfo>>(bytes) {
                    for block in blocks {
                        let id = block.id;
                        if let Ok(placed) = Placed::try_from(block) {
                            proptest::prop_assert_eq!(placed.header.block_hash(), id);
                        }
                    }
                }
                let _ = (line::<Txid>(bytes), hex::<Header>(bytes), verdict::refusal(&words(bytes)));
            }
        }
    }

    #[test]
    fn a_nodes_words_are_unwrapped() {
        for (body, reason) in [
            (r#"sendrawtransaction RPC error: {"code":-26,"message":"non-final"}"#, Reason::NonFinal),
            (
                r#"sendrawtransaction RPC error -26: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#,
                Reason::MissingInputs,
            ),
            ("min relay fee not met, 0 < 110", Reason::FeeTooLow),
            ("{", Reason::Other),
            ("", Reason::Other),
        ] {
            assert_eq!(verdict::refusal(&words(body.as_bytes())).reason, reason, "{body}");
        }
    }
}
