//! `/tx…` and `/fee-estimates`: transactions, where they stand, and what it takes to send one.

use axum::Json;
use axum::extract::{Path, State};
use rillpay_chain::{ChainError, FeeEstimates, Outspend, PackageVerdict, Status, TxInfo};
use rillpay_channel::bitcoin::consensus::encode::{deserialize_hex, serialize, serialize_hex};
use rillpay_channel::bitcoin::hashes::{Hash, HashEngine};
use rillpay_channel::bitcoin::{Block, MerkleBlock, OutPoint, Transaction, TxMerkleNode, Txid};
use serde::Serialize;

use super::{Backend, Failure, parse};

const BAD_TXID: &str = "Invalid hex string";
const NO_TRANSACTION: Failure = Failure::NotFound("Transaction not found");

pub(super) async fn transaction(
    State(chain): State<Backend>,
    Path(txid): Path<String>,
) -> Result<Json<TxInfo>, Failure> {
    let info = chain.transaction(&parse(&txid, BAD_TXID)?).await?;
    info.map(Json).ok_or(NO_TRANSACTION)
}

pub(super) async fn hex(State(chain): State<Backend>, Path(txid): Path<String>) -> Result<String, Failure> {
    Ok(serialize_hex(&find(&chain, &txid).await?))
}

pub(super) async fn raw(State(chain): State<Backend>, Path(txid): Path<String>) -> Result<Vec<u8>, Failure> {
    Ok(serialize(&find(&chain, &txid).await?))
}

/// Like Esplora, a transaction that nobody knows is simply not confirmed.
pub(super) async fn status(State(chain): State<Backend>, Path(txid): Path<String>) -> Result<Json<Status>, Failure> {
    let status = chain.status(&parse(&txid, BAD_TXID)?).await?;
    Ok(Json(status.unwrap_or(Status::Unconfirmed)))
}

/// Where in its block a transaction is, and the hashes beside its way up to the block's root.
#[derive(Serialize)]
pub(super) struct MerkleProof {
    block_height: u32,
    merkle: Vec<TxMerkleNode>,
    pos: usize,
}

pub(super) async fn merkle_proof(
    State(chain): State<Backend>,
    Path(txid): Path<String>,
) -> Result<Json<MerkleProof>, Failure> {
    let (block_height, block, pos) = place(&chain, &txid).await?;
    let mut row: Vec<TxMerkleNode> = block.txdata.iter().map(|tx| tx.compute_txid().to_raw_hash().into()).collect();
    let mut at = pos;
    let mut merkle = Vec::new();
    while row.len() > 1 {
        // The last of an odd number stands beside itself.
        merkle.extend(row.get(at ^ 1).or(row.last()));
        row = row.chunks(2).filter_map(|pair| Some(parent(pair.first()?, pair.last()?))).collect();
        at >>= 1;
    }
    Ok(Json(MerkleProof { block_height, merkle, pos }))
}

pub(super) async fn merkle_block(State(chain): State<Backend>, Path(txid): Path<String>) -> Result<String, Failure> {
    let (_, block, pos) = place(&chain, &txid).await?;
    let txid = block.txdata.get(pos).ok_or(NO_TRANSACTION)?.compute_txid();
    Ok(serialize_hex(&MerkleBlock::from_block_with_predicate(&block, |other| *other == txid)))
}

fn parent(left: &TxMerkleNode, right: &TxMerkleNode) -> TxMerkleNode {
    let mut engine = TxMerkleNode::engine();
    engine.input(&left.to_byte_array());
    engine.input(&right.to_byte_array());
    TxMerkleNode::from_engine(engine)
}

/// The block that holds a transaction, and where in it.
async fn place(chain: &Backend, txid: &str) -> Result<(u32, Block, usize), Failure> {
    const UNCONFIRMED: Failure = Failure::NotFound("Transaction not found or is unconfirmed");
    let txid: Txid = parse(txid, BAD_TXID)?;
    let at = chain.status(&txid).await?.and_then(|status| status.block()).ok_or(UNCONFIRMED)?;
    let block = chain.block(&at.hash).await?.ok_or(UNCONFIRMED)?;
    let position = block.txdata.iter().position(|tx| tx.compute_txid() == txid).ok_or(UNCONFIRMED)?;
    Ok((at.height, block, position))
}

pub(super) async fn outspend(
    State(chain): State<Backend>,
    Path((txid, vout)): Path<(String, String)>,
) -> Result<Json<Outspend>, Failure> {
    let outpoint = OutPoint { txid: parse(&txid, BAD_TXID)?, vout: parse(&vout, "Invalid output index")? };
    Ok(Json(chain.outspend(&outpoint).await?))
}

pub(super) async fn outspends(
    State(chain): State<Backend>,
    Path(txid): Path<String>,
) -> Result<Json<Vec<Outspend>>, Failure> {
    let tx = find(&chain, &txid).await?;
    let txid: Txid = tx.compute_txid();
    let mut spends = Vec::with_capacity(tx.output.len());
    for (vout, _) in (0_u32..).zip(&tx.output) {
        spends.push(chain.outspend(&OutPoint { txid, vout }).await?);
    }
    Ok(Json(spends))
}

pub(super) async fn broadcast(State(chain): State<Backend>, hex: String) -> Result<String, Failure> {
    let tx: Transaction = deserialize_hex(hex.trim()).map_err(|_| Failure::Invalid("Invalid transaction"))?;
    Ok(chain.broadcast(&tx).await?.to_string())
}

/// A parent and its child.
pub(super) async fn broadcast_package(
    State(chain): State<Backend>,
    package: String,
) -> Result<Json<PackageVerdict>, Failure> {
    const INVALID: Failure = Failure::Invalid("Invalid package");
    let [parent, child]: [String; 2] = serde_json::from_str(&package).map_err(|_| INVALID)?;
    let read = |hex: &str| deserialize_hex(hex.trim()).map_err(|_| INVALID);
    let verdict = match chain.broadcast_package(&read(&parent)?, &read(&child)?).await {
        Err(ChainError::Refused(refusal)) => Err(refusal),
        other => Ok(other?),
    };
    Ok(Json(PackageVerdict::of(&verdict)))
}

pub(super) async fn fee_estimates(State(chain): State<Backend>) -> Result<Json<FeeEstimates>, Failure> {
    Ok(Json(chain.fee_estimates().await?))
}

async fn find(chain: &Backend, txid: &str) -> Result<Transaction, Failure> {
    let tx = chain.raw_transaction(&parse(txid, BAD_TXID)?).await?;
    tx.ok_or(NO_TRANSACTION)
}
