//! LDK's two: a `ChannelManager` each, whose monitors are kept as LDK recommends, by a `MonitorUpdatingPersister`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::transaction;
use bitcoin::{Amount, Block, CompactTarget, Network, OutPoint, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness};
use lightning::chain::BestBlock;
use lightning::events::Event;
use lightning::io;
use lightning::types::payment::PaymentPreimage;
use lightning::util::logger::Level;
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE, KVStoreSync, MonitorUpdatingPersister,
};
use lightning::util::ser::Writeable;
use lightning_persister::fs_store::FilesystemStore;

use crate::Payer;
use crate::node::{Ldk, Parts, Socket};

/// What is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ldks {
    /// What LDK waits for before a message leaves. A restart closes channels whose monitors are ahead of the manager.
    Monitors,
    /// The manager, too, whenever it says that it has to be, before messages leave: after a restart all channels go on.
    MonitorsAndManagers,
}

/// In satoshi. LDK opens no larger one unless it is told to.
const CAPACITY: u64 = 16_000_000;
/// After so many updates the whole monitor is written, and they are deleted: as `ldk-node` does it.
const MAX_PENDING_UPDATES: u64 = 100;

/// A store that counts what is written to the one behind it.
struct Counted {
    store: Box<dyn KVStoreSync + Send + Sync>,
    writes: AtomicU64,
}

impl KVStoreSync for Counted {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        self.store.read(primary, secondary, key)
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, bytes: Vec<u8>) -> Result<(), io::Error> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.store.write(primary, secondary, key, bytes)
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> Result<(), io::Error> {
        self.store.remove(primary, secondary, key, lazy)
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        self.store.list(primary, secondary)
    }
}

#[derive(Default)]
struct InMemory(Mutex<HashMap<[String; 3], Vec<u8>>>);

fn name(primary: &str, secondary: &str, key: &str) -> [String; 3] {
    [primary, secondary, key].map(str::to_owned)
}

impl KVStoreSync for InMemory {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        let found = self.0.lock().unwrap().get(&name(primary, secondary, key)).cloned();
        found.ok_or(io::Error::new(io::ErrorKind::NotFound, "nothing was stored there"))
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, bytes: Vec<u8>) -> Result<(), io::Error> {
        self.0.lock().unwrap().insert(name(primary, secondary, key), bytes);
        Ok(())
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, _: bool) -> Result<(), io::Error> {
        self.0.lock().unwrap().remove(&name(primary, secondary, key));
        Ok(())
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        let stored = self.0.lock().unwrap();
        let inside = stored.keys().filter(|[first, second, _]| first == primary && second == secondary);
        Ok(inside.map(|[.., key]| key.clone()).collect())
    }
}

struct Two {
    nodes: [Ldk; 2],
    stores: [Arc<Counted>; 2],
    sockets: [Socket; 2],
    stored: Ldks,
    payments: usize,
    claimed: u64,
}

pub(crate) fn open(folder: Option<&Path>, stored: Ldks) -> Box<dyn Payer> {
    let stores = ["hitesh", "irene"].map(|name| {
        let store: Box<dyn KVStoreSync + Send + Sync> = match folder {
            Some(folder) => Box::new(FilesystemStore::new(folder.join(name))),
            None => Box::new(InMemory::default()),
        };
        Arc::new(Counted { store, writes: AtomicU64::new(0) })
    });
    let best_block = BestBlock::from_network(Network::Regtest);
    let node = |seed, store: &Arc<Counted>| {
        let parts = Parts::new(seed, 1_000, Level::Error);
        let Parts { keys, fees, outbox, log } = &parts;
        let persister = MonitorUpdatingPersister::new(
            store.clone(),
            log.clone(),
            MAX_PENDING_UPDATES,
            keys.clone(),
            keys.clone(),
            outbox.clone(),
            fees.clone(),
        );
        let persister = Arc::new(persister);
        Ldk::with(parts, persister, best_block, true)
    };
    let nodes = [node(8, &stores[0]), node(9, &stores[1])];
    let sockets = [Socket::default(), Socket::default()];
    let act = nodes[0].peers.new_outbound_connection(nodes[1].id, sockets[0].clone(), None).unwrap();
    nodes[1].peers.new_inbound_connection(sockets[1].clone(), None).unwrap();
    nodes[1].peers.read_event(&mut sockets[1].clone(), &act).unwrap();
    let mut two = Two { nodes, stores, sockets, stored, payments: 0, claimed: 0 };
    two.run();
    two.fund(best_block);
    Box::new(two)
}

impl Two {
    fn fund(&mut self, best_block: BestBlock) {
        let [opener, accepter] = &self.nodes;
        let push = CAPACITY / 2 * 1_000;
        opener.channels.create_channel(accepter.id, CAPACITY, push, 0, None, None).unwrap();
        let left = self.run();
        let [Event::FundingGenerationReady { temporary_channel_id: id, output_script, .. }] = &left[..] else {
            panic!("{left:?}")
        };
        // From nowhere: LDK does not ask, as long as it looks like a payment that nobody can change.
        let (previous_output, witness) = (OutPoint::new(Txid::all_zeros(), 0), Witness::from_slice(&[[0]]));
        let funding = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output, witness, ..TxIn::default() }],
            output: vec![TxOut { value: Amount::from_sat(CAPACITY), script_pubkey: output_script.clone() }],
        };
        let [opener, accepter] = &self.nodes;
        opener.channels.funding_transaction_generated(*id, accepter.id, funding.clone()).unwrap();
        self.run();
        let mut tip = best_block.block_hash;
        for height in 1..=6 {
            let header = Header {
                version: Version::TWO,
                prev_blockhash: tip,
                merkle_root: TxMerkleNode::all_zeros(),
                time: 1_700_000_000 + height,
                bits: CompactTarget::from_consensus(0x207f_ffff),
                nonce: height,
            };
            tip = header.block_hash();
            let txdata = if height == 1 { vec![funding.clone()] } else { vec![] };
            let block = Block { header, txdata };
            for node in &self.nodes {
                node.block(&block, height);
            }
            self.run();
        }
        assert!(self.nodes.iter().all(|node| node.channel().is_usable));
    }

    /// Everything arrives, and everything that follows from it. What others decide is returned, payments apart: they are taken.
    fn run(&mut self) -> Vec<Event> {
        let mut left = vec![];
        loop {
            let mut is_quiet = true;
            for (from, to) in [(0, 1), (1, 0)] {
                for event in self.nodes[from].attend() {
                    is_quiet = false;
                    match event {
                        Event::PaymentClaimable { purpose, .. } => {
                            let preimage: PaymentPreimage = purpose.preimage().unwrap();
                            self.nodes[from].channels.claim_funds(preimage);
                            self.claimed += 1;
                        }
                        other => left.push(other),
                    }
                }
                if self.stored == Ldks::MonitorsAndManagers
                    && self.nodes[from].channels.get_and_clear_needs_persistence()
                {
                    let stored = self.stores[from].write(
                        CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
                        CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE,
                        CHANNEL_MANAGER_PERSISTENCE_KEY,
                        self.nodes[from].channels.encode(),
                    );
                    stored.unwrap();
                }
                self.nodes[from].peers.process_events();
                let bytes = self.sockets[from].taken();
                if !bytes.is_empty() {
                    is_quiet = false;
                    self.nodes[to].peers.read_event(&mut self.sockets[to], &bytes).unwrap();
                }
            }
            if is_quiet {
                return left;
            }
        }
    }
}

impl Payer for Two {
    fn pay(&mut self, count: u64) {
        let payer = self.payments % 2;
        self.payments += 1;
        let before = (self.claimed, self.nodes[payer].paid.len());
        for _ in 0..count {
            let (hash, secret) = self.nodes[1 - payer].channels.create_inbound_payment(None, 7_200, None).unwrap();
            self.nodes[payer].pay_for(1_000_000, hash, secret);
        }
        let left = self.run();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.claimed, before.0 + count);
        let paid = &self.nodes[payer].paid[before.1..];
        assert!(paid.len() as u64 == count && paid.iter().all(|(_, preimage)| preimage.is_some()));
    }

    fn writes(&self) -> u64 {
        self.stores.iter().map(|store| store.writes.load(Ordering::Relaxed)).sum()
    }

    /// What a minute brings: what is known of payments that ended is forgotten after some.
    fn rest(&mut self) {
        for _ in 0..10 {
            for node in &self.nodes {
                node.channels.timer_tick_occurred();
            }
            self.run();
        }
    }
}
