//! Hitesh and Irene on the embedded chain: Hitesh opens, Irene listens.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rillpay_chain::Chain;
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_channel::bitcoin::{Address, Amount, Network};
use rillpay_node::{Node, Options, PeerAddress, Policy};
use tempfile::TempDir;

/// In satoshi.
pub(crate) const BTC: u64 = 100_000_000;
/// No fee of a test is more.
pub(crate) const FEES: u64 = 20_000;
pub(crate) const HITESH: usize = 0;
pub(crate) const IRENE: usize = 1;

pub(crate) const fn btc(whole: u64) -> Amount {
    Amount::from_sat(whole * BTC)
}

pub(crate) async fn chain() -> KernelChain {
    KernelChain::open(KernelConfig::default()).await.unwrap()
}

/// Waits until something holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn start(folder: &Path, chain: &KernelChain, listen: Option<SocketAddr>) -> Node {
    start_with(Options { listen, ..Options::new(folder) }, chain).await
}

async fn start_with(options: Options, chain: &KernelChain) -> Node {
    // The port of the node's last life may be busy for a moment.
    for _ in 0..50 {
        match Node::start(options.clone(), Arc::new(chain.clone())).await {
            Ok(node) => return node,
            Err(error) if error.to_string().contains("listen") => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the port stays busy")
}

pub(crate) struct Pair {
    pub(crate) chain: KernelChain,
    pub(crate) folders: [TempDir; 2],
    pub(crate) nodes: [Node; 2],
    pub(crate) listen: [Option<SocketAddr>; 2],
    /// Hitesh's watchtower.
    pub(crate) tower: Option<PeerAddress>,
    /// The channel's id.
    pub(crate) channel: String,
    /// What Irene puts into channels of others, from her next start on.
    pub(crate) match_funding: Amount,
}

impl Pair {
    /// Connected; each has 20 on chain.
    pub(crate) async fn connected() -> Self {
        let chain = chain().await;
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let port = Some("127.0.0.1:0".parse().unwrap());
        let hitesh = start(folders[HITESH].path(), &chain, None).await;
        let irene = start(folders[IRENE].path(), &chain, port).await;
        for node in [&hitesh, &irene] {
            pay_to(&chain, &node.deposit_address().await.unwrap(), 20 * BTC).await;
        }
        chain.mine(1).await.unwrap();
        hitesh.connect(&address_of(&irene)).await.unwrap();
        let listen = [None, irene.address()];
        Self {
            chain,
            folders,
            nodes: [hitesh, irene],
            listen,
            tower: None,
            channel: String::new(),
            match_funding: Amount::ZERO,
        }
    }

    /// A channel that Hitesh opened with 10, of which 5 are Irene's.
    pub(crate) async fn open() -> Self {
        let mut pair = Self::connected().await;
        pair.open_channel().await;
        pair
    }

    /// The same with a watchtower that Hitesh leaves his kits with.
    pub(crate) async fn watched(mut self, tower: &PeerAddress) -> Self {
        self.tower = Some(tower.clone());
        self.restart(HITESH).await;
        until("he calls her again", || async { !self.nodes[HITESH].info().await.unwrap().peers.is_empty() }).await;
        self.open_channel().await;
        self
    }

    async fn open_channel(&mut self) {
        let pair = self;
        let irene = pair.nodes[IRENE].id();
        pair.channel = pair.nodes[HITESH].open(irene, btc(10), btc(5)).await.unwrap().channel;
        until("the funding waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
        assert!(pair.nodes[HITESH].pay(&pair.channel, btc(1)).await.is_err(), "not open yet");
        pair.chain.mine(3).await.unwrap();
        pair.is_open().await;
        assert_eq!(pair.balances().await, [5 * BTC, 5 * BTC]);
    }

    /// Waits until both can pay.
    pub(crate) async fn is_open(&self) {
        for who in [HITESH, IRENE] {
            until("the channel is open", || async { self.state(who).await == Some("open") }).await;
        }
    }

    pub(crate) async fn state(&self, who: usize) -> Option<&'static str> {
        let list = self.nodes[who].list().await.unwrap();
        list.iter().find(|channel| channel.id == self.channel).map(|channel| channel.state)
    }

    /// Waits until Irene's two are Hitesh's for good, and so her last revocation is his.
    pub(crate) async fn paid_two(&self) {
        until("two are paid for good", || async {
            let list = self.nodes[HITESH].list().await.unwrap();
            list.iter().find(|channel| channel.id == self.channel).unwrap().received_msat == 2 * BTC * 1_000
        })
        .await;
    }

    pub(crate) async fn balances(&self) -> [u64; 2] {
        let mut balances = [0; 2];
        for who in [HITESH, IRENE] {
            let list = self.nodes[who].list().await.unwrap();
            balances[who] = list.iter().find(|channel| channel.id == self.channel).unwrap().balance_sat;
        }
        balances
    }

    /// What each has on chain, in blocks.
    pub(crate) async fn on_chain(&self, who: usize) -> u64 {
        self.nodes[who].balance().await.unwrap().confirmed_sat
    }

    /// Killed, and started again with what it had stored.
    pub(crate) async fn restart(&mut self, who: usize) {
        self.nodes[who].stop().await;
        let match_funding = if who == IRENE { self.match_funding } else { Amount::ZERO };
        let (listen, tower) = (self.listen[who], self.tower.clone().filter(|_| who == HITESH));
        let policy = Policy { match_funding, ..Policy::default() };
        let options = Options { listen, policy, tower, ..Options::new(self.folders[who].path()) };
        self.nodes[who] = start_with(options, &self.chain).await;
    }

    /// Makes blocks until something holds, at most so many.
    pub(crate) async fn mine_until<F: Future<Output = bool>>(
        &self,
        most: u32,
        what: &str,
        mut holds: impl FnMut() -> F,
    ) {
        for _ in 0..most {
            if holds().await {
                return;
            }
            self.chain.mine(1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        until(what, holds).await;
    }
}

pub(crate) fn address_of(node: &Node) -> PeerAddress {
    PeerAddress { id: node.id(), address: node.address().unwrap().to_string() }
}

pub(crate) async fn pay_to(chain: &KernelChain, address: &str, sat: u64) {
    let address: Address<_> = address.parse().unwrap();
    let script = address.require_network(Network::Regtest).unwrap().script_pubkey();
    chain.send(&script, Amount::from_sat(sat)).await.unwrap();
}

/// The network as one node sees it.
pub(crate) async fn height(chain: &KernelChain) -> u32 {
    chain.tip().await.unwrap().height
}
