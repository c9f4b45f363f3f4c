//! The same on Bitcoin Core, whose mempool has the last word on what may replace what.

use rillpay_chain::bitcoind::BitcoindChain;
use rillpay_chain::testing::Node;
use rillpay_channel::bitcoin::consensus::encode::deserialize_hex;
use rillpay_channel::bitcoin::{Address, Network, Transaction};
use serde_json::json;

use super::ladder::{self, TIMELOCK};
use super::*;

struct OnCore {
    dir: tempfile::TempDir,
    node: Node,
    chain: BitcoindChain,
}

impl OnCore {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start().await;
        let chain = BitcoindChain::connect(node.options()).await.unwrap();
        let place = Self { dir, node, chain };
        place.config(&[]);
        for name in ["a", "b", "c"] {
            media(place.dir.path(), &format!("{name}.bin"), b"content");
        }
        place
    }

    fn config(&self, more: &[(&str, &str)]) -> Config {
        let payout = Address::from_script(&seed(200).return_script(0).unwrap(), Network::Regtest).unwrap();
        let keys: Vec<_> = BY_REQUEST.iter().chain(more).copied().collect();
        config(self.dir.path(), &payout, &keys)
    }

    async fn serve(&self, more: &[(&str, &str)]) -> Running {
        Running::start(self.config(more), Arc::new(self.chain.clone())).await
    }

    /// A viewer who has paid for three pieces and got them.
    async fn watched(&self, server: &Running) -> Viewer {
        let mut viewer = Viewer::open_for(server.address, 1, Unit::Request, 1_000_000).await;
        self.node.send(&viewer.payer.params().funding_script(), DEPOSIT).await;
        self.node.mine(1).await;
        viewer.funded(&self.chain).await;
        for (total, path) in (1..).zip(["/media/a.bin", "/media/b.bin", "/media/c.bin"]) {
            viewer.pay_for(total).await;
            assert_eq!(get(server.address, path, Some(viewer.token)).await.0, 200);
        }
        viewer
    }

    /// The node's one waiting transaction and its fee, as soon as it is another one than `before`.
    async fn waiting(&self, before: Option<Txid>) -> (Transaction, Amount) {
        soon("a transaction in the node's mempool", async {
            loop {
                let txids: Vec<Txid> = self.node.call("getrawmempool", json!([])).await;
                if let [txid] = txids[..]
                    && Some(txid) != before
                    && let Ok(hex) = self.node.try_call::<String>("getrawtransaction", json!([txid])).await
                {
                    let transaction: Transaction = deserialize_hex(&hex).unwrap();
                    // Everything here spends the one deposit.
                    let fee = DEPOSIT - transaction.output.iter().map(|output| output.value).sum();
                    return (transaction, fee);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    /// The chain grows to this height without room for what waits.
    async fn full_blocks_to(&self, height: u32) {
        while self.node.tip().await.0 < height {
            self.node.mine_exactly(&[]).await.unwrap();
        }
    }
}

fn back(transaction: &Transaction) -> Amount {
    let own = seed(1).return_script(0).unwrap();
    transaction.output.iter().filter(|output| output.script_pubkey == own).map(|output| output.value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_takes_every_step_of_an_escalation() {
    let place = OnCore::new().await;
    let server = place.serve(&[("settlement.max_sat_per_vbyte", "10")]).await;
    let emma = place.watched(&server).await;
    let (due, expiry) = (emma.payer.params().close_height(), emma.payer.params().expiry);
    place.full_blocks_to(due).await;
    let (mut last, mut paid) = place.waiting(None).await;
    for height in due + 1..expiry {
        place.full_blocks_to(height).await;
        let (next, fee) = place.waiting(Some(last.compute_txid())).await;
        assert!(fee >= paid + Amount::from_sat(next.vsize() as u64), "{paid} {fee}");
        assert_eq!(back(&next), DEPOSIT - Amount::from_sat(3_000));
        (last, paid) = (next, fee);
    }
    assert!(paid.to_sat() >= 10 * last.vsize() as u64, "the last block before the expiry is offered the cap");
    place.node.mine(1).await;
    assert_eq!(place.node.call::<Vec<Txid>>("getrawmempool", json!([])).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_lets_a_settlement_take_the_place_of_a_refund() {
    let place = OnCore::new().await;
    let server = place.serve(&[]).await;
    let emma = place.watched(&server).await;
    server.stop().await;
    place.full_blocks_to(emma.payer.params().expiry).await;
    place.node.seen_by(&place.chain).await;
    let kit = emma.kit();
    let mut refund = place.chain.broadcast(&kit[0].transaction).await.unwrap();
    let _server = place.serve(&[]).await;
    for entry in kit.iter().filter(|entry| matches!(entry.fee_rate, 5 | 10)) {
        let (settlement, _) = place.waiting(Some(refund)).await;
        assert_eq!(back(&settlement), DEPOSIT - Amount::from_sat(3_000));
        refund = place.chain.broadcast(&entry.transaction).await.unwrap();
    }
    let (settlement, _) = place.waiting(Some(refund)).await;
    place.node.mine(1).await;
    let emmas = back(&settlement);
    assert_eq!(emmas, DEPOSIT - Amount::from_sat(3_000), "she has fought for nothing");
    place.node.seen_by(&place.chain).await;
    assert!(place.chain.status(&settlement.compute_txid()).await.unwrap().unwrap().is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_lets_a_settlement_take_the_place_of_an_older_payment() {
    let place = OnCore::new().await;
    let server = place.serve(&TIMELOCK).await;
    let mut emma = ladder::open(server.address, 1).await;
    let funding = place.node.pay(&emma.payer.params().funding_script(), DEPOSIT).await;
    emma.put_in(funding, &place.chain).await;
    place.node.mine(1).await;
    emma.funded(&place.chain).await;
    let grants = emma.watch().await;
    server.stop().await;
    place.full_blocks_to(grants[1].lock).await;
    place.node.seen_by(&place.chain).await;
    let mut hers = place.chain.broadcast(&emma.own(1, &grants[1], 1)).await.unwrap();
    let _server = place.serve(&TIMELOCK).await;
    let (settlement, _) = place.waiting(Some(hers)).await;
    assert_eq!(back(&settlement), DEPOSIT - Amount::from_sat(3_000));

    // The oldest payment, and after that one the refund, each of them dearer.
    let refund = rivals::refund(&emma, 10);
    for (height, rival) in [(grants[0].lock, emma.own(1, &grants[0], 5)), (emma.payer.params().expiry, refund)] {
        place.full_blocks_to(height).await;
        place.node.seen_by(&place.chain).await;
        hers = place.chain.broadcast(&rival).await.unwrap();
        let (settlement, _) = place.waiting(Some(hers)).await;
        assert_eq!(back(&settlement), DEPOSIT - Amount::from_sat(3_000));
    }
    let (settlement, _) = place.waiting(Some(hers)).await;
    place.node.mine(1).await;
    place.node.seen_by(&place.chain).await;
    assert!(place.chain.status(&settlement.compute_txid()).await.unwrap().unwrap().is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_would_be_dust_stays_with_the_payee_and_the_node_takes_that() {
    let place = OnCore::new().await;
    let server = place.serve(&[("tariff.price_msat", "3_300_000")]).await;
    let mut emma = Viewer::open_for(server.address, 1, Unit::Request, 3_300_000).await;
    place.node.send(&emma.payer.params().funding_script(), Amount::from_sat(10_000)).await;
    place.node.mine(1).await;
    emma.funded(&place.chain).await;
    for (total, path) in (1..).zip(["/media/a.bin", "/media/b.bin", "/media/c.bin"]) {
        emma.pay_for(total).await;
        assert_eq!(get(server.address, path, Some(emma.token)).await.0, 200);
    }
    assert_eq!(emma.stop().await, Amount::from_sat(9_900));
    let (settlement, _) = place.waiting(None).await;
    assert_eq!(back(&settlement), Amount::ZERO, "no node would relay an output of a hundred satoshi");
    let [payout] = &settlement.output[..] else { panic!("{settlement:?}") };
    assert_eq!(payout.script_pubkey, seed(200).return_script(0).unwrap());
    let fee = Amount::from_sat(10_000) - payout.value;
    assert!(fee.to_sat() >= settlement.vsize() as u64 && fee < Amount::from_sat(1_000), "{fee}");
    place.node.mine(1).await;
    assert_eq!(place.node.call::<Vec<Txid>>("getrawmempool", json!([])).await, []);
}
