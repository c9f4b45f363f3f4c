//! Our whole node and LDK behind `lightning-net-tokio`: two programs that call each other over TCP, each with a look of its own at
//! the chain.
//!
//! Here both have a clock, and nothing is carried by hand. What LDK leaves to the program around it is done while a test waits.

mod breaks;
mod channels;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::{Address, Amount, FeeRate, Network, Transaction, Txid};
use lightning::chain::BestBlock;
use lightning::events::PaymentFailureReason;
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;
use lightning::util::logger::Level;
use lightning_net_tokio::{SocketDescriptor, connect_outbound, setup_inbound};
use rillpay_chain::bitcoind::{BitcoindChain, BitcoindOptions};
use rillpay_node::{ChannelInfo, Node, Options, PeerAddress, Policy};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::chain::Chain;
use crate::node::{Ldk, Parts, Unstored};
use crate::payments::hash;
use crate::us::payout;
use crate::world::{Who, fund};

const CAPACITY: Amount = Amount::from_sat(10_000_000);
/// What the accepter has from the start.
const PUSH: Amount = Amount::from_sat(3_000_000);
/// What our wallet gets.
const COINS: Amount = Amount::from_sat(30_000_000);
/// All that one channel costs a side in fees, anchors included, is less.
const FEES: u64 = 20_000;
/// Blocks that LDK waits for its own money after its own commitment; it makes us wait for 144.
const OUR_DELAY: u16 = 60;
const LDK_DELAY: u32 = 144;
/// What LDK estimates for everything: as little as our node finds on a chain that nobody else uses.
const RATE: FeeRate = FeeRate::from_sat_per_kwu(253);
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Both programs, and the chain between them.
struct Meeting<'c> {
    chain: &'c Chain,
    ldk: Ldk<SocketDescriptor>,
    /// Where LDK takes calls.
    at: SocketAddr,
    folder: TempDir,
    node: Node,
    opener: Who,
    /// Our name for the channel.
    channel: String,
    /// The newest block that LDK knows.
    height: u32,
    confirmed: HashSet<Txid>,
    /// Whether both may broadcast what only one of them can have.
    is_race: bool,
    runtime: Runtime,
}

async fn start(folder: &TempDir, chain: BitcoindOptions) -> Node {
    let chain = BitcoindChain::connect(chain).await.unwrap();
    let policy = Policy { delay: OUR_DELAY, ..Policy::default() };
    let listen = Some("127.0.0.1:0".parse().unwrap());
    Node::start(Options { listen, policy, ..Options::new(folder.path()) }, Arc::new(chain)).await.unwrap()
}

impl<'c> Meeting<'c> {
    /// Both run, and our wallet has coins.
    fn new(chain: &'c Chain, opener: Who) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (height, tip) = chain.tip();
        let parts = Parts::new(8, RATE.to_sat_per_kwu() as u32, Level::Debug);
        let ldk: Ldk<SocketDescriptor> = Ldk::with(parts, Arc::new(Unstored), BestBlock::new(tip, height), true);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (at, peers) = (listener.local_addr().unwrap(), ldk.peers.clone());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(setup_inbound(peers.clone(), stream.into_std().unwrap()));
            }
        });
        let folder = TempDir::new().unwrap();
        let node = runtime.block_on(start(&folder, chain.options()));
        let address: Address<_> = runtime.block_on(node.deposit_address()).unwrap().parse().unwrap();
        let deposit = chain.pay(&address.require_network(Network::Regtest).unwrap().script_pubkey(), COINS);
        let (channel, confirmed, is_race) = (String::new(), HashSet::new(), false);
        let mut meeting = Self { chain, ldk, at, folder, node, opener, channel, height, confirmed, is_race, runtime };
        assert_eq!(chain.offer(&deposit), Ok(()));
        meeting.chain.mine(1);
        meeting.until("our coins", |meeting| meeting.on_chain() == COINS.to_sat());
        meeting
    }

    /// A channel that both can use. The opener has called, too.
    fn open(chain: &'c Chain, opener: Who) -> Self {
        Self::open_over(chain, opener, opener)
    }

    /// A channel that both can use, over a connection that `caller` made.
    fn open_over(chain: &'c Chain, opener: Who, caller: Who) -> Self {
        let mut meeting = Self::new(chain, opener);
        meeting.connect(caller);
        let (us, them) = (meeting.node.id(), meeting.ldk.id);
        match opener {
            Who::Us => {
                let node = meeting.node.clone();
                let opened = meeting.during(async move { node.open(them, CAPACITY, PUSH).await });
                meeting.channel = opened.unwrap().channel;
            }
            Who::Ldk => {
                let push = PUSH.to_sat() * 1_000;
                meeting.ldk.channels.create_channel(us, CAPACITY.to_sat(), push, 0, None, None).unwrap();
                meeting.until("a channel is made", |meeting| !meeting.list().is_empty());
                meeting.channel = meeting.list().remove(0).id;
            }
        }
        meeting.until("the funding waits for a block", |meeting| meeting.chain.waiting().len() == 1);
        // LDK wants six confirmations as the accepter, our node three.
        meeting.mine(6);
        meeting.until("both can use it", |meeting| meeting.is_open());
        assert_eq!(meeting.ours(), meeting.part_of(Who::Us));
        meeting
    }

    /// What somebody has of the channel: nobody pays the other here.
    fn part_of(&self, who: Who) -> Amount {
        if who == self.opener { CAPACITY - PUSH } else { PUSH }
    }

    // ---- time ----

    /// What the program around LDK does: blocks, events, and what is to be broadcast.
    fn turn(&mut self) {
        let (tip, _) = self.chain.tip();
        for height in self.height + 1..=tip {
            self.height = height;
            let block = self.chain.block(height);
            self.ldk.block(&block, height);
            self.confirmed.extend(block.txdata.iter().map(Transaction::compute_txid));
        }
        for event in self.ldk.attend() {
            fund(&self.ldk, self.chain, event);
        }
        for transaction in self.ldk.broadcasts() {
            let taken = self.chain.offer(&transaction);
            assert!(taken.is_ok() || self.is_race, "the node refuses what LDK broadcasts: {taken:?}");
        }
        self.ldk.peers.process_events();
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        loop {
            self.turn();
            if holds(self) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "not in time: {what}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets our node do something that LDK has a part in.
    fn during<T: Send + 'static>(&mut self, work: impl Future<Output = T> + Send + 'static) -> T {
        let working = self.runtime.spawn(work);
        self.until("our node does it", |_| working.is_finished());
        self.runtime.block_on(working).unwrap()
    }

    fn mine(&mut self, blocks: u32) {
        self.chain.mine(blocks);
        self.turn();
    }

    /// Makes blocks until something holds, at most so many.
    fn mine_until(&mut self, most: u32, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..most {
            self.turn();
            if holds(self) {
                return;
            }
            self.chain.mine(1);
            std::thread::sleep(15 * PAUSE);
        }
        self.until(what, holds);
    }

    // ---- connection ----

    /// `caller` calls the other.
    fn connect(&mut self, caller: Who) {
        match caller {
            Who::Us => {
                let (node, to) = (self.node.clone(), PeerAddress { id: self.ldk.id, address: self.at.to_string() });
                self.during(async move { node.connect(&to).await }).unwrap();
            }
            Who::Ldk => {
                self.ldk_calls();
            }
        }
        self.until("both are connected", |meeting| meeting.are_connected());
    }

    /// Ends with the connection.
    fn ldk_calls(&self) -> JoinHandle<()> {
        let (peers, us, at) = (self.ldk.peers.clone(), self.node.id(), self.node.address().unwrap());
        let called = self.runtime.block_on(connect_outbound(peers, us, at));
        self.runtime.spawn(called.expect("our node takes calls"))
    }

    fn are_connected(&self) -> bool {
        let ours = self.runtime.block_on(self.node.info()).unwrap().peers;
        let known_to_ldk = self.ldk.peers.peer_by_node_id(&self.node.id()).is_some();
        known_to_ldk && ours.contains(&self.ldk.id.to_string())
    }

    /// LDK hangs up. Our node calls again if it called before.
    fn hang_up(&mut self) {
        self.ldk.peers.disconnect_by_node_id(self.node.id());
    }

    fn stop(&self) {
        self.runtime.block_on(self.node.stop());
    }

    /// Our node comes back with what it stored, and listens somewhere else.
    fn start(&mut self) {
        self.node = self.runtime.block_on(start(&self.folder, self.chain.options()));
    }

    // ---- what both have ----

    /// Our channels.
    fn list(&self) -> Vec<ChannelInfo> {
        self.runtime.block_on(self.node.list()).unwrap()
    }

    /// The state of the channel in our words, while the chain can still change it.
    fn state(&self) -> Option<&'static str> {
        self.list().iter().find(|channel| channel.id == self.channel).map(|channel| channel.state)
    }

    /// What is ours of the channel.
    fn ours(&self) -> Amount {
        Amount::from_sat(self.list().iter().find(|channel| channel.id == self.channel).unwrap().balance_sat)
    }

    /// What our wallet has in blocks, in satoshi.
    fn on_chain(&self) -> u64 {
        self.runtime.block_on(self.node.balance()).unwrap().confirmed_sat
    }

    fn is_open(&self) -> bool {
        self.state() == Some("open") && self.ldk.channels.list_usable_channels().len() == 1
    }

    fn ldk_id(&self) -> ChannelId {
        self.ldk.channel().channel_id
    }

    // ---- payments ----

    /// LDK offers a payment over an HTLC, which is on its way when this returns.
    fn ldk_offers(&self, preimage: [u8; 32]) {
        self.ldk.pay(1_000_000, hash(preimage));
        self.ldk.peers.process_events();
    }

    /// It came back, and the channel is what it was before.
    fn comes_back(&mut self, preimage: [u8; 32]) {
        let failed = (PaymentHash(hash(preimage).to_byte_array()), None);
        self.until("the payment comes back", |meeting| meeting.ldk.paid.contains(&failed));
        self.until("nothing is under way", |meeting| {
            meeting.is_open() && meeting.ldk.channel().pending_outbound_htlcs.is_empty()
        });
        // LDK could read our answer: the payee, it says, and not the way there.
        assert_eq!(self.ldk.failures.last(), Some(&PaymentFailureReason::RecipientRejected));
        assert_eq!(self.ours(), self.part_of(Who::Us));
    }

    // ---- ends ----

    /// What is ours of the channel is in our wallet, which had `before` on chain, and our node has done with it.
    fn we_are_paid(&mut self, before: u64) {
        let part = self.part_of(Who::Us).to_sat();
        self.mine_until(30, "our money comes home", |meeting| meeting.on_chain() > before + part - FEES);
        assert!(self.on_chain() <= before + part);
        self.mine_until(12, "our node has done with it", |meeting| meeting.list().is_empty());
    }

    /// LDK takes what is its own of the channel.
    fn ldk_is_paid(&mut self) {
        assert_eq!(self.ldk.spendable.len(), 1, "{:?}", self.ldk.spendable);
        let swept = self.ldk.sweep(payout());
        assert_eq!(self.chain.offer(&swept), Ok(()));
        self.mine(1);
        assert!(self.confirmed.contains(&swept.compute_txid()));
        let (paid, part) = (swept.output[0].value, self.part_of(Who::Ldk));
        assert!(paid <= part && paid + Amount::from_sat(FEES) > part, "{paid} of {part}");
    }

    /// LDK's estimates change, and with them the fee rate of the channels that it opened.
    fn ldk_estimates(&mut self, rate: FeeRate) {
        let rate = rate.to_sat_per_kwu() as u32;
        self.ldk.fees.0.store(rate, Ordering::Relaxed);
        self.ldk.channels.timer_tick_occurred();
        self.until("the fee rate changes", |meeting| {
            let channel = meeting.ldk.channel();
            channel.feerate_sat_per_1000_weight == Some(rate) && channel.is_usable
        });
    }
}
