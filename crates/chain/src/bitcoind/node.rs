//! Questions to Bitcoin Core, and its answers, checked as far as they can be.
//!
//! A block is believed when it has the hash that was asked for, work behind it and its transactions inside; a
//! transaction when it has its id; a place in the chain when a Merkle proof shows it. What nothing can prove (that a chain
//! is the best, what waits in the mempool, the outputs that an unfollowed transaction spends) is the node's word.

use std::collections::HashSet;

use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::constants::genesis_block;
use bitcoin::{
    Amount, Block, BlockHash, Denomination, MerkleBlock, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::rpc::{Answer, BATCH, Bound, Call, Rpc, Said, read};
use super::trouble::Trouble;
use crate::verdict::brief;
use crate::{BlockRef, Status};

/// "No such block" or "no such transaction".
const NOT_FOUND: i64 = -5;
/// "Block height out of range".
const OUT_OF_RANGE: i64 = -8;

/// Version 25.0, the first that tells what a transaction in a block spends.
const OLDEST: u32 = 250_000;

/// A node, and what is asked of it.
pub(crate) struct Node {
    pub(super) rpc: Rpc,
    pub(super) network: Network,
}

/// Where a node stands that is in step with its network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) height: u32,
    pub(crate) best: BlockHash,
    /// The best chain's work, most significant byte first.
    pub(crate) work: [u8; 32],
    /// The first block that it still has whole.
    pub(crate) first_kept: u32,
}

#[derive(Deserialize)]
struct ChainInfo {
    chain: String,
    blocks: u32,
    headers: u32,
    bestblockhash: BlockHash,
    initialblockdownload: bool,
    chainwork: String,
    #[serde(default)]
    pruneheight: Option<u32>,
}

#[derive(Deserialize)]
struct NetworkInfo {
    version: u32,
    connections: u32,
    #[serde(default = "yes")]
    localrelay: bool,
}

#[derive(Deserialize)]
struct PoolInfo {
    #[serde(default = "yes")]
    loaded: bool,
}

fn yes() -> bool {
    true
}

/// An output as `gettxout` and `getrawtransaction` show it.
#[derive(Deserialize)]
struct Coin {
    value: Box<RawValue>,
    #[serde(rename = "scriptPubKey")]
    script: CoinScript,
}

#[derive(Deserialize)]
struct CoinScript {
    hex: ScriptBuf,
}

impl Coin {
    fn read(self) -> Result<TxOut, Trouble> {
        let value = Amount::from_str_in(self.value.get(), Denomination::Bitcoin)
            .map_err(|e| Trouble::lie(format!("{} is no amount: {e}", brief(self.value.get()))))?;
        if value > Amount::MAX_MONEY {
            return Err(Trouble::lie(format!("{value} are more than there are")));
        }
        Ok(TxOut { value, script_pubkey: self.script.hex })
    }
}

#[derive(Deserialize)]
struct Spent {
    vin: Vec<SpentInput>,
}

#[derive(Deserialize)]
struct SpentInput {
    prevout: Option<Coin>,
}

#[derive(Deserialize)]
struct Located {
    hex: String,
    blockhash: Option<BlockHash>,
}

#[derive(Deserialize)]
struct Height {
    height: u32,
}

#[derive(Deserialize)]
struct Spender {
    #[serde(default, rename = "spendingtxid")]
    txid: Option<Txid>,
}

impl Node {
    /// Where it stands, when it is on our network and in step with it.
    pub(crate) async fn state(&self) -> Result<State, Trouble> {
        let calls = [
            ("getblockchaininfo", json!([])),
            ("getblockhash", json!([0])),
            ("getnetworkinfo", json!([])),
            ("getmempoolinfo", json!([])),
        ];
        let [info, genesis, net, pool] = self.rpc.ask(calls, Bound::SMALL).await?;
        let info: ChainInfo = value("getblockchaininfo", info)?;
        let genesis: BlockHash = value("getblockhash", genesis)?;
        self.check_network(&info.chain, genesis)?;
        let net: NetworkInfo = value("getnetworkinfo", net)?;
        if net.version < OLDEST {
            return Err(Trouble::Unreachable(format!("its version is {}, {OLDEST} or later is needed", net.version)));
        }
        let pool: PoolInfo = value("getmempoolinfo", pool)?;
        if info.headers < info.blocks {
            return Err(Trouble::lie(format!("{} headers cannot be of {} blocks", info.headers, info.blocks)));
        }
        let behind = |text: String| Err(Trouble::Behind(text));
        let progress = format!("it has read {} of {} blocks", info.blocks, info.headers);
        if info.initialblockdownload {
            return behind(progress);
        }
        if info.headers > info.blocks {
            return Err(Trouble::Passing(progress));
        }
        if !pool.loaded {
            return behind("it is still reading its mempool".to_owned());
        }
        if self.network != Network::Regtest {
            if net.connections == 0 {
                return behind("it has no peers".to_owned());
            }
            if !net.localrelay {
                return behind("it sees blocks only (blocksonly=1), and so no payment that waits".to_owned());
            }
        }
        Ok(State {
            height: info.blocks,
            best: info.bestblockhash,
            work: work(&info.chainwork)?,
            first_kept: info.pruneheight.unwrap_or(0),
        })
    }

    /// Fails when the node is positively on another network.
    fn check_network(&self, chain: &str, genesis: BlockHash) -> Result<(), Trouble> {
        let ours = self.network.to_core_arg();
        if chain == ours && genesis == genesis_block(self.network).block_hash() {
            return Ok(());
        }
        Err(Trouble::Foreign(format!("`{}`, its first block is {genesis}; wanted is `{ours}`", brief(chain))))
    }

    /// The hash of the best chain's block at a height; `None` above the tip.
    pub(crate) async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, Trouble> {
        let [answer] = self.rpc.ask([("getblockhash", json!([height]))], Bound::SMALL).await?;
        unless("getblockhash", OUT_OF_RANGE, answer)
    }

    /// The hashes of the best chain's blocks at several heights.
    pub(crate) async fn hashes(&self, heights: &[u32]) -> Result<Vec<BlockHash>, Trouble> {
        let calls = heights.iter().map(|height| ("getblockhash", json!([height]))).collect();
        let answers = self.rpc.batch(calls, Bound::SMALL).await?;
        let hash = |answer| unless("getblockhash", OUT_OF_RANGE, answer)?.ok_or_else(moving);
        answers.into_iter().map(hash).collect()
    }

    /// A header; `None` when the node does not know it.
    pub(crate) async fn header(&self, hash: &BlockHash) -> Result<Option<Header>, Trouble> {
        let [answer] = self.rpc.ask([("getblockheader", json!([hash, false]))], Bound::SMALL).await?;
        let hex: Option<String> = unless("getblockheader", NOT_FOUND, answer)?;
        hex.map(|hex| check_header(hash, &hex)).transpose()
    }

    /// Headers that the node has just spoken of.
    pub(crate) async fn headers(&self, hashes: &[BlockHash]) -> Result<Vec<Header>, Trouble> {
        let calls = hashes.iter().map(|hash| ("getblockheader", json!([hash, false]))).collect();
        let answers = self.rpc.batch(calls, Bound::SMALL).await?;
        let header = |(hash, answer)| check_header(hash, &value::<String>("getblockheader", answer)?);
        hashes.iter().zip(answers).map(header).collect()
    }

    /// A block; `None` when the node does not know it. `height` is for the message when it is pruned.
    pub(crate) async fn block(&self, hash: &BlockHash, height: Option<u32>) -> Result<Option<Block>, Trouble> {
        let [answer] = self.rpc.ask([("getblock", json!([hash, 0]))], Bound::BLOCK).await?;
        if let Err(Said { message, .. }) = &answer
            && message.contains("pruned")
        {
            let height = match height {
                Some(height) => height,
                None => self.height_of(hash).await?,
            };
            return Err(Trouble::Pruned(height));
        }
        let Some(hex) = unless::<String>("getblock", NOT_FOUND, answer)? else { return Ok(None) };
        let block: Block = deserialize_hex(&hex).map_err(|e| Trouble::lie(format!("block {hash} is none: {e}")))?;
        check_header_itself(hash, &block.header)?;
        if !block.check_merkle_root() || !block.check_witness_commitment() {
            return Err(Trouble::lie(format!("block {hash} has other transactions than its header says")));
        }
        Ok(Some(block))
    }

    async fn height_of(&self, hash: &BlockHash) -> Result<u32, Trouble> {
        let Height { height } = self.rpc.call("getblockheader", json!([hash]), Bound::SMALL).await?;
        Ok(height)
    }

    /// The ids of what waits, and the best block while they were listed; `None` when that changed meanwhile.
    pub(crate) async fn mempool(&self) -> Result<Option<(BlockHash, HashSet<Txid>)>, Trouble> {
        let best = || ("getbestblockhash", json!([]));
        let calls = [best(), ("getrawmempool", json!([])), best()];
        let [before, listed, after] = self.rpc.ask(calls, Bound::LARGE).await?;
        let before: BlockHash = value("getbestblockhash", before)?;
        let after: BlockHash = value("getbestblockhash", after)?;
        let listed: HashSet<Txid> = value("getrawmempool", listed)?;
        Ok((before == after).then_some((before, listed)))
    }

    /// Transactions that wait (with a transaction index, confirmed ones, too); `None` for those that the node does not have.
    pub(crate) async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Option<Transaction>>, Trouble> {
        let mut found = Vec::with_capacity(txids.len());
        for chunk in txids.chunks(BATCH) {
            let calls = chunk.iter().map(|txid| ("getrawtransaction", json!([txid, 0]))).collect();
            let answers = self.rpc.batch(calls, Bound::LARGE).await?;
            for (txid, answer) in chunk.iter().zip(answers) {
                let hex: Option<String> = unless("getrawtransaction", NOT_FOUND, answer)?;
                found.push(hex.map(|hex| check_transaction(txid, &hex)).transpose()?);
            }
        }
        Ok(found)
    }

    /// The outputs that a transaction in a block spends, in input order. The node has them as long as it has the block.
    pub(crate) async fn spent_in(&self, block: &BlockHash, txid: &Txid, inputs: usize) -> Result<Vec<TxOut>, Trouble> {
        let params = json!([txid, 2, block]);
        let Spent { vin } = self.rpc.call("getrawtransaction", params, Bound::LARGE).await?;
        let outputs: Option<Vec<Coin>> = vin.into_iter().map(|input| input.prevout).collect();
        match outputs {
            Some(coins) if coins.len() == inputs => coins.into_iter().map(Coin::read).collect(),
            _ => Err(Trouble::lie(format!("it does not know what {txid} in block {block} spends"))),
        }
    }

    /// Outputs that the chain has and no block spends.
    pub(crate) async fn coins(&self, outpoints: &[OutPoint]) -> Result<Vec<Option<TxOut>>, Trouble> {
        let call = |outpoint: &OutPoint| -> Call { ("gettxout", json!([outpoint.txid, outpoint.vout, false])) };
        let answers = self.rpc.batch(outpoints.iter().map(call).collect(), Bound::LARGE).await?;
        let coin = |answer| value::<Option<Coin>>("gettxout", answer)?.map(Coin::read).transpose();
        answers.into_iter().map(coin).collect()
    }

    /// Which waiting transaction (with an index of spenders, also which confirmed one) spends an output.
    pub(crate) async fn spender(&self, outpoint: &OutPoint) -> Result<Option<Txid>, Trouble> {
        let params = json!([[{"txid": outpoint.txid, "vout": outpoint.vout}]]);
        let answers: Vec<Spender> = self.rpc.call("gettxspendingprevout", params, Bound::SMALL).await?;
        match <[Spender; 1]>::try_from(answers) {
            Ok([spender]) => Ok(spender.txid),
            Err(_) => Err(Trouble::lie("one output has one answer about its spending")),
        }
    }

    /// A transaction that nobody follows: in the mempool, or, if the node keeps an index, in the chain.
    pub(crate) async fn locate(&self, txid: &Txid) -> Result<Option<(Transaction, Status)>, Trouble> {
        let [answer] = self.rpc.ask([("getrawtransaction", json!([txid, 1]))], Bound::LARGE).await?;
        let Some(Located { hex, blockhash }) = unless("getrawtransaction", NOT_FOUND, answer)? else {
            return Ok(None);
        };
        let tx = check_transaction(txid, &hex)?;
        let Some(hash) = blockhash else { return Ok(Some((tx, Status::Unconfirmed))) };
        let proof: String = self.rpc.call("gettxoutproof", json!([[txid], hash]), Bound::SMALL).await?;
        let header = check_proof(txid, &hash, &proof)
            .ok_or_else(|| Trouble::lie(format!("it cannot prove that block {hash} holds {txid}")))?;
        let height = self.height_of(&hash).await?;
        // A block beside the best chain confirms nothing.
        let best = self.hash_at(height).await? == Some(hash);
        Ok(best.then_some((tx, Status::Confirmed(BlockRef { height, hash, time: header.time }))))
    }
}

/// The node's chain is another one than a moment ago.
pub(crate) fn moving() -> Trouble {
    Trouble::Passing("its chain changes while it is read".to_owned())
}

/// The answer, or the node's error as trouble.
pub(super) fn value<T: DeserializeOwned>(method: &'static str, answer: Answer) -> Result<T, Trouble> {
    read(method, &answer.map_err(|said| Trouble::said(method, &said))?)
}

/// As [`value`], but this one error means that there is nothing.
fn unless<T: DeserializeOwned>(method: &'static str, nothing: i64, answer: Answer) -> Result<Option<T>, Trouble> {
    match answer {
        Err(said) if said.code == nothing => Ok(None),
        answer => value(method, answer).map(Some),
    }
}

fn check_header(hash: &BlockHash, hex: &str) -> Result<Header, Trouble> {
    let header: Header = deserialize_hex(hex).map_err(|e| Trouble::lie(format!("header {hash} is none: {e}")))?;
    check_header_itself(hash, &header)?;
    Ok(header)
}

fn check_header_itself(hash: &BlockHash, header: &Header) -> Result<(), Trouble> {
    // Whether the target is the one that the rules demand takes all headers to tell; the node has done it.
    match header.validate_pow(header.target()) {
        Ok(found) if found == *hash => Ok(()),
        _ => Err(Trouble::lie(format!("what it gives as block {hash} has another hash"))),
    }
}

fn check_transaction(txid: &Txid, hex: &str) -> Result<Transaction, Trouble> {
    let tx: Transaction = deserialize_hex(hex).map_err(|e| Trouble::lie(format!("transaction {txid} is none: {e}")))?;
    if tx.compute_txid() == *txid {
        return Ok(tx);
    }
    Err(Trouble::lie(format!("what it gives as transaction {txid} has another id")))
}

fn check_proof(txid: &Txid, hash: &BlockHash, proof: &str) -> Option<Header> {
    let proof: MerkleBlock = deserialize_hex(proof).ok()?;
    check_header_itself(hash, &proof.header).ok()?;
    let (mut matches, mut indexes) = (vec![], vec![]);
    proof.extract_matches(&mut matches, &mut indexes).ok()?;
    matches.contains(txid).then_some(proof.header)
}

fn work(hex: &str) -> Result<[u8; 32], Trouble> {
    bitcoin::hex::FromHex::from_hex(hex).map_err(|_| Trouble::lie(format!("{} is no amount of work", brief(hex))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_thing_itself_passes() {
        let genesis = genesis_block(Network::Regtest);
        let hash = genesis.block_hash();
        let hex = bitcoin::consensus::encode::serialize_hex(&genesis.header);
        assert_eq!(check_header(&hash, &hex).unwrap(), genesis.header);
        let other = genesis_block(Network::Signet).block_hash();
        for (hash, hex) in [(other, hex.as_str()), (hash, "00"), (hash, "zz"), (hash, "")] {
            assert!(matches!(check_header(&hash, hex), Err(Trouble::Lie(_))), "{hash} {hex}");
        }
        let tx = &genesis.txdata[0];
        let hex = bitcoin::consensus::encode::serialize_hex(tx);
        assert_eq!(check_transaction(&tx.compute_txid(), &hex).unwrap(), *tx);
        let other = bitcoin::hashes::Hash::all_zeros();
        assert!(matches!(check_transaction(&other, &hex), Err(Trouble::Lie(_))));
    }

    #[test]
    fn amounts_are_exact() {
        let coin = |value: &str| {
            serde_json::from_str::<Coin>(&format!(r#"{{"value":{value},"scriptPubKey":{{"hex":"51"}}}}"#))
                .unwrap()
                .read()
        };
        assert_eq!(coin("0.03600000").unwrap().value, Amount::from_sat(3_600_000));
        assert_eq!(coin("20999999.97690000").unwrap().value, Amount::from_sat(2_099_999_997_690_000));
        for wrong in ["-1", "0.000000001", "\"1\"", "1e99", "[]", "21000000.00000001", "99999999"] {
            assert!(matches!(coin(wrong), Err(Trouble::Lie(_))), "{wrong}");
        }
    }

    proptest::proptest! {
        /// Whatever a node answers about an output: its amount is exact, or the answer is none.
        #[test]
        fn hostile_coins_are_exact_or_refused(value in "[-0-9.eE\"]{0,24}", script in "[0-9a-fx]{0,80}") {
            let text = format!(r#"{{"value":{value},"scriptPubKey":{{"hex":"{script}"}}}}"#);
            let Ok(coin) = serde_json::from_str::<Coin>(&text) else { return Ok(()) };
            if let Ok(output) = coin.read() {
                let again = output.value.to_string_in(Denomination::Bitcoin);
                proptest::prop_assert_eq!(Amount::from_str_in(&again, Denomination::Bitcoin), Ok(output.value));
                proptest::prop_assert!(output.value <= Amount::MAX_MONEY, "{}", output.value);
            }
        }

        #[test]
        fn hostile_headers_and_transactions_are_none(hex in "[0-9a-fA-F]{0,400}") {
            let zero = bitcoin::hashes::Hash::all_zeros();
            proptest::prop_assert!(check_header(&zero, &hex).is_err());
            let zero = bitcoin::hashes::Hash::all_zeros();
            proptest::prop_assert!(check_transaction(&zero, &hex).is_err());
        }
    }

    #[test]
    fn another_network_is_told_by_name_and_first_block() {
        let auth = super::super::Auth::Password { user: String::new(), password: String::new() };
        let rpc = Rpc::new("http://127.0.0.1:1", auth, Network::Signet).unwrap();
        let node = Node { rpc, network: Network::Signet };
        let first = |network| genesis_block(network).block_hash();
        assert_eq!(node.check_network("signet", first(Network::Signet)), Ok(()));
        for (name, network) in [("main", Network::Bitcoin), ("signet", Network::Regtest), ("test", Network::Signet)] {
            assert!(matches!(node.check_network(name, first(network)), Err(Trouble::Foreign(_))));
        }
    }
}
