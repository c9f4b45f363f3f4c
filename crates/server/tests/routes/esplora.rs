//! Esplora's API in front of the embedded chain, asked by the client that the Bitcoin Dev Kit uses, and as raw text
//! where that client does not look.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use esplora_client::{AsyncClient, Builder};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_channel::bitcoin::consensus::encode::{deserialize, serialize_hex};
use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_channel::bitcoin::{Address, Amount, Block, Network, ScriptBuf, Transaction, Txid, WScriptHash};
use rillpay_server::esplora;

use crate::http::{Answer, listen, send};

struct World {
    chain: KernelChain,
    address: SocketAddr,
    client: AsyncClient,
}

impl World {
    async fn start() -> Self {
        let chain = KernelChain::open(KernelConfig::default()).await.unwrap();
        let router = Router::new().nest("/esplora", esplora::router(Arc::new(chain.clone())));
        let address = listen(router).await;
        let client = Builder::new(&format!("http://{address}/esplora")).build_async().unwrap();
        Self { chain, address, client }
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", &format!("/esplora{path}"), &[]).await
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body).unwrap()
    }
}

/// Some script that nothing else pays to.
fn somebody(n: u8) -> (ScriptBuf, Address) {
    let script = ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([n; 32]));
    let address = Address::from_script(&script, Network::Regtest).unwrap();
    (script, address)
}

#[tokio::test]
async fn blocks_as_a_client_reads_them() {
    let world = World::start().await;
    let tip = world.client.get_height().await.unwrap();
    let hash = world.client.get_tip_hash().await.unwrap();
    assert_eq!(tip, 120);
    assert_eq!(world.client.get_block_hash(tip).await.unwrap(), hash);

    let info = world.client.get_block_info(&hash).await.unwrap();
    let block: Block = world.client.get_block_by_hash(&hash).await.unwrap().unwrap();
    assert_eq!((info.id, info.height, info.tx_count), (hash, 120, 1));
    assert_eq!((info.size, info.weight), (block.total_size(), block.weight()));
    assert_eq!(info.merkle_root, block.header.merkle_root);
    assert_eq!(info.previousblockhash, Some(block.header.prev_blockhash));
    assert!(info.mediantime <= info.timestamp);
    assert_eq!(world.client.get_header_by_hash(&hash).await.unwrap(), block.header);

    let status = world.client.get_block_status(&hash).await.unwrap();
    assert_eq!((status.in_best_chain, status.height, status.next_best), (true, Some(120), None));
    let previous = world.client.get_block_status(&block.header.prev_blockhash).await.unwrap();
    assert_eq!(previous.next_best, Some(hash));

    let heights = |blocks: Vec<esplora_client::BlockInfo>| blocks.iter().map(|b| b.height).collect::<Vec<_>>();
    let newest = heights(world.client.get_block_infos(None).await.unwrap());
    assert_eq!(newest, (111..=120).rev().collect::<Vec<_>>());
    assert_eq!(heights(world.client.get_block_infos(Some(2)).await.unwrap()), [2, 1, 0]);
    let genesis = world.client.get_block_infos(Some(0)).await.unwrap();
    assert_eq!(genesis[0].previousblockhash, None);

    let txid = block.txdata[0].compute_txid();
    assert_eq!(world.client.get_block_txids(&hash).await.unwrap(), [txid]);
    assert_eq!(world.client.get_txid_at_block_index(&hash, 0).await.unwrap(), Some(txid));
    assert_eq!(world.client.get_txid_at_block_index(&hash, 1).await.unwrap(), None);
    let txs = world.client.get_block_txs(&hash, None).await.unwrap();
    assert!(txs[0].vin[0].is_coinbase && txs[0].vin[0].prevout.is_none());

    world.chain.reorganise(1, &[]).await.unwrap();
    let abandoned = world.client.get_block_status(&hash).await.unwrap();
    assert_eq!((abandoned.in_best_chain, abandoned.next_best), (false, None));
}

#[tokio::test]
async fn a_payment_from_the_mempool_into_a_block_and_back() {
    let world = World::start().await;
    let (script, address) = somebody(1);
    let txid = world.chain.send(&script, Amount::from_sat(3_600_000)).await.unwrap();

    let status = world.client.get_tx_status(&txid).await.unwrap();
    assert!(!status.confirmed && status.block_height.is_none());
    let stats = world.client.get_address_stats(&address).await.unwrap();
    assert_eq!((stats.chain_stats.tx_count, stats.mempool_stats.tx_count), (0, 1));
    assert_eq!(stats.mempool_stats.funded_txo_sum, Amount::from_sat(3_600_000));
    assert_eq!(world.client.get_mempool_address_txs(&address).await.unwrap().len(), 1);

    let mined = world.chain.mine(1).await.unwrap();
    let info = world.client.get_tx_info(&txid).await.unwrap().unwrap();
    assert_eq!(info.status.block_hash, Some(mined[0]));
    assert_eq!((info.status.confirmed, info.status.block_height), (true, Some(121)));
    let spent: Amount = info.vin.iter().map(|input| input.prevout.as_ref().unwrap().value).sum();
    let paid: Amount = info.vout.iter().map(|output| output.value).sum();
    assert_eq!(spent - paid, info.fee);
    let tx = world.client.get_tx(&txid).await.unwrap().unwrap();
    assert_eq!((tx.compute_txid(), tx.weight(), tx.total_size()), (txid, info.weight, info.size));

    let utxos = world.client.get_scripthash_utxos(&script).await.unwrap();
    assert_eq!(utxos, world.client.get_address_utxos(&address).await.unwrap());
    assert_eq!((utxos[0].txid, utxos[0].value, utxos[0].status.confirmed), (txid, Amount::from_sat(3_600_000), true));
    let stats = world.client.get_scripthash_stats(&script).await.unwrap();
    assert_eq!((stats.chain_stats.funded_txo_count, stats.chain_stats.spent_txo_count), (1, 0));

    // The coin that paid for it is spent by it.
    let input = &info.vin[0];
    let outspend = world.client.get_output_status(&input.txid, input.vout.into()).await.unwrap().unwrap();
    assert_eq!((outspend.spent, outspend.txid, outspend.vin), (true, Some(txid), Some(0)));
    let outspends = world.client.get_tx_outspends(&txid).await.unwrap();
    assert_eq!(outspends.len(), info.vout.len());
    assert!(outspends.iter().all(|outspend| !outspend.spent));

    world.chain.reorganise(1, &[txid]).await.unwrap();
    assert!(world.client.get_tx_info(&txid).await.unwrap().is_none());
    assert!(world.client.get_address_utxos(&address).await.unwrap().is_empty());
}

#[tokio::test]
async fn histories_come_in_pages() {
    let world = World::start().await;
    let (script, address) = somebody(2);
    let mut sent: Vec<Txid> = Vec::new();
    for _ in 0..30 {
        sent.push(world.chain.send(&script, Amount::from_sat(10_000)).await.unwrap());
        world.chain.mine(1).await.unwrap();
    }
    let waiting = world.chain.send(&script, Amount::from_sat(10_000)).await.unwrap();
    sent.reverse();
    let ids = |txs: Vec<esplora_client::EsploraTx>| txs.iter().map(|tx| tx.txid).collect::<Vec<_>>();

    let first = ids(world.client.get_scripthash_txs(&script, None).await.unwrap());
    assert_eq!(first[0], waiting);
    assert_eq!(first[1..], sent[..25]);
    let second = ids(world.client.get_scripthash_txs(&script, Some(sent[24])).await.unwrap());
    assert_eq!(second, sent[25..]);
    assert_eq!(ids(world.client.get_address_txs(&address, Some(sent[28])).await.unwrap()), sent[29..]);
    assert!(world.client.get_scripthash_txs(&script, Some(sent[29])).await.unwrap().is_empty());
    let page: serde_json::Value = world.get(&format!("/address/{address}/txs/chain")).await.json();
    assert_eq!(page.as_array().unwrap().len(), 25);
}

#[tokio::test]
async fn transactions_are_sent_and_refused_with_the_nodes_reason() {
    let world = World::start().await;
    let (script, _) = somebody(3);
    let txid = world.chain.send(&script, Amount::from_sat(50_000)).await.unwrap();
    let tx = world.client.get_tx(&txid).await.unwrap().unwrap();
    // Once more is as good as once, until it is confirmed.
    assert_eq!(world.client.broadcast(&tx).await.unwrap(), txid);
    world.chain.mine(1).await.unwrap();

    let post = async |body: String| post(world.address, &body).await;
    let again = post(serialize_hex(&tx)).await;
    assert_eq!(again, (400, "txn-already-known".to_owned()));
    let mut early = tx.clone();
    early.lock_time = rillpay_channel::bitcoin::absolute::LockTime::from_height(500).unwrap();
    early.input[0].sequence = rillpay_channel::bitcoin::Sequence::ENABLE_LOCKTIME_NO_RBF;
    let (status, reason) = post(serialize_hex(&early)).await;
    assert_eq!((status, reason.starts_with("non-final")), (400, true), "{reason}");
    assert_eq!(post("00ff".to_owned()).await, (400, "Invalid transaction".to_owned()));
    assert_eq!(post("zz".to_owned()).await.0, 400);
    assert_eq!(post("00".repeat(1 << 20)).await.0, 413);
}

/// Posts a transaction in hex.
async fn post(to: SocketAddr, body: &str) -> (u16, String) {
    let answer = crate::http::post(to, "/esplora/tx", "text/plain", body).await;
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[tokio::test]
async fn texts_types_and_statuses_are_esploras() {
    let world = World::start().await;
    let tip = world.client.get_tip_hash().await.unwrap();
    let (script, address) = somebody(4);
    let txid = world.chain.send(&script, Amount::from_sat(50_000)).await.unwrap();

    assert_eq!(world.text("/blocks/tip/height").await, "120");
    assert_eq!(world.text("/blocks/tip/hash").await, tip.to_string());
    assert_eq!(world.text("/block-height/120").await, tip.to_string());
    assert_eq!(world.text(&format!("/block/{tip}/header")).await.len(), 160);
    let hex = world.text(&format!("/tx/{txid}/hex")).await;
    let raw = world.get(&format!("/tx/{txid}/raw")).await;
    let tx: Transaction = deserialize(&raw.body).unwrap();
    assert_eq!((serialize_hex(&tx), tx.compute_txid()), (hex, txid));
    assert_eq!(world.text(&format!("/tx/{txid}/status")).await, "{\"confirmed\":false}");

    let name = sha256::Hash::hash(script.as_bytes());
    let stats = world.get(&format!("/scripthash/{name}")).await.json();
    assert_eq!(stats["scripthash"], name.to_string());
    assert_eq!(stats["mempool_stats"]["funded_txo_sum"], 50_000);
    assert_eq!(world.get(&format!("/address/{address}")).await.json()["address"], address.to_string());
    let fees = world.client.get_fee_estimates().await.unwrap();
    assert!(fees.contains_key(&1) && fees.contains_key(&144));

    let nothing = "00".repeat(32);
    for (path, status, text) in [
        (format!("/tx/{nothing}"), 404, "Transaction not found"),
        (format!("/tx/{nothing}/hex"), 404, "Transaction not found"),
        (format!("/tx/{nothing}/status"), 200, "{\"confirmed\":false}"),
        (format!("/tx/{nothing}/outspend/0"), 200, "{\"spent\":false}"),
        ("/tx/xyz".to_owned(), 400, "Invalid hex string"),
        (format!("/block/{nothing}"), 404, "Block not found"),
        ("/block-height/121".to_owned(), 404, "Block not found"),
        ("/block-height/-1".to_owned(), 400, "Invalid number"),
        (format!("/block/{tip}/txs/7"), 400, "start index must be a multiple of 25"),
        (format!("/block/{tip}/txs/25"), 404, "start index out of range"),
        ("/address/nonsense".to_owned(), 400, "Invalid Bitcoin address"),
        ("/address/bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq/utxo".to_owned(), 400, "Address on invalid network"),
        ("/scripthash/12/txs".to_owned(), 400, "Invalid hex string"),
        ("/wallet/12".to_owned(), 404, "endpoint does not exist"),
        ("/mempool/recent/1/2".to_owned(), 404, "endpoint does not exist"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!((answer.status, std::str::from_utf8(&answer.body).unwrap()), (status, text), "{path}");
    }
}

#[tokio::test]
async fn pages_of_every_origin_may_ask() {
    let world = World::start().await;
    let origin = ("Origin", "https://guest.example");
    let answer = send(world.address, "GET", "/esplora/blocks/tip/height", &[origin]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("cache-control"), "no-store");
    let asks = [origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let answer = send(world.address, "OPTIONS", "/esplora/tx", &asks).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
}
