//! `/block…`: what is in the chain, block by block.

use axum::Json;
use axum::extract::{Path, State};
use rillpay_chain::TxInfo;
use rillpay_channel::bitcoin::block::Header;
use rillpay_channel::bitcoin::consensus::encode::{serialize, serialize_hex};
use rillpay_channel::bitcoin::constants::genesis_block;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{Block, BlockHash, CompactTarget, TxMerkleNode, Txid};
use serde::Serialize;

use super::{Backend, Failure, parse};

/// How many blocks a list has.
const BLOCKS: u32 = 10;
/// How many transactions of a block a page has.
const PAGE: usize = 25;
/// The median of this many blocks' times is the chain's time (BIP 113).
const MEDIAN_OF: usize = 11;

const BAD_HASH: &str = "Invalid hex string";
const BAD_NUMBER: &str = "Invalid number";
const NO_BLOCK: &str = "Block not found";

/// A block as Esplora describes it.
#[derive(Serialize)]
pub(super) struct BlockInfo {
    id: BlockHash,
    height: u32,
    version: i32,
    timestamp: u32,
    tx_count: usize,
    size: usize,
    weight: u64,
    merkle_root: TxMerkleNode,
    previousblockhash: Option<BlockHash>,
    mediantime: u32,
    nonce: u32,
    bits: CompactTarget,
    difficulty: f64,
}

/// Whether a block is on the best chain, and what follows it there.
#[derive(Serialize)]
pub(super) struct BlockStatus {
    in_best_chain: bool,
    height: Option<u32>,
    next_best: Option<BlockHash>,
}

pub(super) async fn tip_height(State(chain): State<Backend>) -> Result<String, Failure> {
    Ok(chain.tip().await?.height.to_string())
}

pub(super) async fn tip_hash(State(chain): State<Backend>) -> Result<String, Failure> {
    Ok(chain.tip().await?.hash.to_string())
}

pub(super) async fn hash_at(State(chain): State<Backend>, Path(height): Path<String>) -> Result<String, Failure> {
    let hash = chain.block_hash(parse(&height, BAD_NUMBER)?).await?;
    Ok(hash.ok_or(Failure::NotFound(NO_BLOCK))?.to_string())
}

pub(super) async fn newest(State(chain): State<Backend>) -> Result<Json<Vec<BlockInfo>>, Failure> {
    let tip = chain.tip().await?.height;
    list(&chain, tip).await.map(Json)
}

pub(super) async fn from(
    State(chain): State<Backend>,
    Path(start): Path<String>,
) -> Result<Json<Vec<BlockInfo>>, Failure> {
    list(&chain, parse(&start, BAD_NUMBER)?).await.map(Json)
}

pub(super) async fn block(State(chain): State<Backend>, Path(hash): Path<String>) -> Result<Json<BlockInfo>, Failure> {
    let block = find(&chain, &hash).await?;
    let height = height(&chain, &block).ok_or(Failure::NotFound(NO_BLOCK))?;
    describe(&chain, &block, height).await.map(Json)
}

pub(super) async fn header(State(chain): State<Backend>, Path(hash): Path<String>) -> Result<String, Failure> {
    let header = chain.block_header(&parse(&hash, BAD_HASH)?).await?;
    Ok(serialize_hex(&header.ok_or(Failure::NotFound(NO_BLOCK))?))
}

pub(super) async fn raw(State(chain): State<Backend>, Path(hash): Path<String>) -> Result<Vec<u8>, Failure> {
    Ok(serialize(&find(&chain, &hash).await?))
}

pub(super) async fn status(
    State(chain): State<Backend>,
    Path(hash): Path<String>,
) -> Result<Json<BlockStatus>, Failure> {
    let block = find(&chain, &hash).await?;
    let height = best_height(&chain, &block).await?;
    let next_best = match height.and_then(|height| height.checked_add(1)) {
        Some(next) => chain.block_hash(next).await?,
        None => None,
    };
    Ok(Json(BlockStatus { in_best_chain: height.is_some(), height, next_best }))
}

pub(super) async fn txids(State(chain): State<Backend>, Path(hash): Path<String>) -> Result<Json<Vec<Txid>>, Failure> {
    let block = find(&chain, &hash).await?;
    Ok(Json(block.txdata.iter().map(|tx| tx.compute_txid()).collect()))
}

pub(super) async fn txid_at(
    State(chain): State<Backend>,
    Path((hash, index)): Path<(String, String)>,
) -> Result<String, Failure> {
    let block = find(&chain, &hash).await?;
    let tx = block.txdata.get(parse::<usize>(&index, BAD_NUMBER)?);
    Ok(tx.ok_or(Failure::NotFound("tx index out of range"))?.compute_txid().to_string())
}

pub(super) async fn transactions(
    state: State<Backend>,
    Path(hash): Path<String>,
) -> Result<Json<Vec<TxInfo>>, Failure> {
    transactions_from(state, Path((hash, "0".to_owned()))).await
}

pub(super) async fn transactions_from(
    State(chain): State<Backend>,
    Path((hash, start)): Path<(String, String)>,
) -> Result<Json<Vec<TxInfo>>, Failure> {
    let start: usize = parse(&start, BAD_NUMBER)?;
    if !start.is_multiple_of(PAGE) {
        return Err(Failure::Invalid("start index must be a multiple of 25"));
    }
    let block = find(&chain, &hash).await?;
    let mut page = Vec::new();
    for tx in block.txdata.iter().skip(start).take(PAGE) {
        // A transaction that only an abandoned block holds has no description any more.
        page.extend(chain.transaction(&tx.compute_txid()).await?);
    }
    if page.is_empty() {
        return Err(Failure::NotFound("start index out of range"));
    }
    Ok(Json(page))
}

async fn find(chain: &Backend, hash: &str) -> Result<Block, Failure> {
    let block = chain.block(&parse(hash, BAD_HASH)?).await?;
    block.ok_or(Failure::NotFound(NO_BLOCK))
}

async fn list(chain: &Backend, newest: u32) -> Result<Vec<BlockInfo>, Failure> {
    let oldest = newest.saturating_sub(BLOCKS.saturating_sub(1));
    let mut blocks = Vec::new();
    for height in (oldest..=newest).rev() {
        let Some(hash) = chain.block_hash(height).await? else { continue };
        if let Some(block) = chain.block(&hash).await? {
            blocks.push(describe(chain, &block, height).await?);
        }
    }
    Ok(blocks)
}

async fn describe(chain: &Backend, block: &Block, height: u32) -> Result<BlockInfo, Failure> {
    let Header { version, prev_blockhash, merkle_root, time, bits, nonce } = block.header;
    Ok(BlockInfo {
        id: block.block_hash(),
        height,
        version: version.to_consensus(),
        timestamp: time,
        tx_count: block.txdata.len(),
        size: block.total_size(),
        weight: block.weight().to_wu(),
        merkle_root,
        previousblockhash: (prev_blockhash != BlockHash::all_zeros()).then_some(prev_blockhash),
        mediantime: median_time(chain, block.header).await?,
        nonce,
        bits,
        difficulty: block.header.difficulty_float(),
    })
}

/// The height that a block's first transaction says it has, which is a rule since height 227,931 of the main network
/// (BIP 34) and from the start elsewhere. The first block of a chain says none.
fn height(chain: &Backend, block: &Block) -> Option<u32> {
    if block.header.prev_blockhash == BlockHash::all_zeros() {
        let genesis = genesis_block(chain.network()).block_hash();
        return (block.block_hash() == genesis).then_some(0);
    }
    let script = &block.coinbase()?.input.first()?.script_sig;
    let number = script.instructions_minimal().next()?.ok()?.script_num()?;
    u32::try_from(number).ok()
}

/// The height of a block on the best chain, `None` for one beside it.
async fn best_height(chain: &Backend, block: &Block) -> Result<Option<u32>, Failure> {
    let Some(height) = height(chain, block) else { return Ok(None) };
    let best = chain.block_hash(height).await?;
    Ok((best == Some(block.block_hash())).then_some(height))
}

async fn median_time(chain: &Backend, newest: Header) -> Result<u32, Failure> {
    let mut times = vec![newest.time];
    let mut previous = newest.prev_blockhash;
    while times.len() < MEDIAN_OF {
        let Some(header) = chain.block_header(&previous).await? else { break };
        times.push(header.time);
        previous = header.prev_blockhash;
    }
    times.sort_unstable();
    let middle = times.len().div_euclid(2);
    Ok(times.get(middle).copied().unwrap_or(newest.time))
}
