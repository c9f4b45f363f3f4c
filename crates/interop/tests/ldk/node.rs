//! An LDK node, whose wallet, chain and network are in the hand of the test.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, Signing, Verification};
use bitcoin::{Block, BlockHash, Network, ScriptBuf, Transaction};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use lightning::chain::chainmonitor::{ChainMonitor, Persist};
use lightning::chain::channelmonitor::{Balance, ChannelMonitor, ChannelMonitorUpdate};
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Filter, Listen};
use lightning::events::bump_transaction::BumpTransactionEvent;
use lightning::events::{ClosureReason, Event, EventsProvider, PaymentFailureReason};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{ChainParameters, ChannelManager, PaymentId, RecipientOnionFields};
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler, PeerManager, SocketDescriptor};
use lightning::onion_message::messenger::NullMessageRouter;
use lightning::routing::router::{InFlightHtlcs, Path, Route, RouteHop, RouteParameters, Router};
use lightning::sign::{InMemorySigner, KeysManager, NodeSigner, OutputSpender, Recipient, SpendableOutputDescriptor};
use lightning::types::features::{ChannelFeatures, NodeFeatures};
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};
use lightning::util::config::UserConfig;
use lightning::util::logger::{Level, Logger, Record};
use lightning::util::persist::MonitorName;
use lightning::util::ser::{ReadableArgs, Writeable};

/// Blocks after which its payments come back to it.
pub(crate) const EXPIRES_IN: u32 = 40;

/// What LDK says, from this level on, goes to the test's output, which is shown if the test fails.
pub(crate) struct Log(pub(crate) Level);

impl Logger for Log {
    fn log(&self, record: Record<'_>) {
        if record.level >= self.0 {
            println!("LDK: {}", record.args);
        }
    }
}

/// One fee rate for everything, in satoshi per 1000 units of weight.
pub(crate) struct Fees(pub(crate) AtomicU32);

impl FeeEstimator for Fees {
    fn get_est_sat_per_1000_weight(&self, target: ConfirmationTarget) -> u32 {
        match target {
            // What it puts up with from us.
            ConfirmationTarget::MinAllowedAnchorChannelRemoteFee
            | ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => 253,
            ConfirmationTarget::MaximumFeeEstimate => 50_000,
            _ => self.0.load(Ordering::Relaxed),
        }
    }
}

/// What it wants broadcast.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<Vec<Transaction>>);

impl BroadcasterInterface for Outbox {
    fn broadcast_transactions(&self, transactions: &[&Transaction]) {
        self.0.lock().unwrap().extend(transactions.iter().map(|transaction| (*transaction).clone()));
    }
}

/// It is never started again, so nothing is stored.
pub(crate) struct Unstored;

impl Persist<InMemorySigner> for Unstored {
    fn persist_new_channel(&self, _: MonitorName, _: &ChannelMonitor<InMemorySigner>) -> ChannelMonitorUpdateStatus {
        ChannelMonitorUpdateStatus::Completed
    }

    fn update_persisted_channel(
        &self,
        _: MonitorName,
        _: Option<&ChannelMonitorUpdate>,
        _: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        ChannelMonitorUpdateStatus::Completed
    }

    fn archive_persisted_channel(&self, _: MonitorName) {}
}

/// It knows no network to find a way in.
pub(crate) struct NoRoutes;

impl Router for NoRoutes {
    fn find_route(
        &self,
        _: &PublicKey,
        _: &RouteParameters,
        _: Option<&[&ChannelDetails]>,
        _: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        Err("no routes")
    }

    fn create_blinded_payment_paths<T: Signing + Verification>(
        &self,
        _: PublicKey,
        _: Vec<ChannelDetails>,
        _: ReceiveTlvs,
        _: Option<u64>,
        _: &Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        Err(())
    }
}

/// LDK's end of a connection: what it wrote, and whether it hung up.
#[derive(Clone, Default)]
pub(crate) struct Socket(Arc<Mutex<(VecDeque<u8>, bool)>>);

impl Socket {
    pub(crate) fn taken(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.drain(..).collect()
    }

    pub(crate) fn hung_up(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl SocketDescriptor for Socket {
    fn send_data(&mut self, data: &[u8], _: bool) -> usize {
        self.0.lock().unwrap().0.extend(data);
        data.len()
    }

    fn disconnect_socket(&mut self) {
        self.0.lock().unwrap().1 = true;
    }
}

type Monitors = ChainMonitor<
    InMemorySigner,
    Arc<dyn Filter + Send + Sync>,
    Arc<Outbox>,
    Arc<Fees>,
    Arc<Log>,
    Arc<Persister>,
    Arc<KeysManager>,
>;

/// What stores its monitors.
pub(crate) type Persister = dyn Persist<InMemorySigner> + Send + Sync;

/// What a node has before it has channels.
pub(crate) struct Parts {
    pub(crate) keys: Arc<KeysManager>,
    pub(crate) fees: Arc<Fees>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) log: Arc<Log>,
}

type Channels = ChannelManager<
    Arc<Monitors>,
    Arc<Outbox>,
    Arc<KeysManager>,
    Arc<KeysManager>,
    Arc<KeysManager>,
    Arc<Fees>,
    Arc<NoRoutes>,
    Arc<NullMessageRouter>,
    Arc<Log>,
>;

type Peers<D> = PeerManager<
    D,
    Arc<Channels>,
    IgnoringMessageHandler,
    IgnoringMessageHandler,
    Arc<Log>,
    IgnoringMessageHandler,
    Arc<KeysManager>,
    Arc<Monitors>,
>;

/// `D` is its end of a connection: one in the hand of the test, if nothing else is said.
pub(crate) struct Ldk<D: SocketDescriptor = Socket> {
    pub(crate) id: PublicKey,
    pub(crate) channels: Arc<Channels>,
    pub(crate) peers: Arc<Peers<D>>,
    pub(crate) fees: Arc<Fees>,
    monitors: Arc<Monitors>,
    keys: Arc<KeysManager>,
    outbox: Arc<Outbox>,
    /// Why channels ended.
    pub(crate) closed: Vec<ClosureReason>,
    /// What it may spend by itself.
    pub(crate) spendable: Vec<SpendableOutputDescriptor>,
    /// What became of its payments: the preimage, or nothing.
    pub(crate) paid: Vec<(PaymentHash, Option<PaymentPreimage>)>,
    /// Why those failed that did.
    pub(crate) failures: Vec<PaymentFailureReason>,
}

impl Parts {
    /// Those of the node with this seed. `rate` is what it estimates for everything.
    pub(crate) fn new(seed: u8, rate: u32, level: Level) -> Self {
        Self {
            keys: Arc::new(KeysManager::new(&[seed; 32], 1, 1, true)),
            fees: Arc::new(Fees(rate.into())),
            outbox: Arc::new(Outbox::default()),
            log: Arc::new(Log(level)),
        }
    }
}

impl Ldk {
    /// A node that has seen the chain so far. `rate` is what it estimates for everything.
    pub(crate) fn new(best_block: BestBlock, rate: u32, has_anchors: bool) -> Self {
        let parts = Parts::new(8, rate, Level::Debug);
        Self::with(parts, Arc::new(Unstored), best_block, has_anchors)
    }
}

impl<D: SocketDescriptor> Ldk<D> {
    /// A node of these parts that stores its monitors so.
    pub(crate) fn with(parts: Parts, persister: Arc<Persister>, best_block: BestBlock, has_anchors: bool) -> Self {
        let Parts { keys, fees, outbox, log } = parts;
        let monitors = Arc::new(ChainMonitor::new(
            None,
            outbox.clone(),
            log.clone(),
            fees.clone(),
            persister,
            keys.clone(),
            keys.get_peer_storage_key(),
        ));
        let mut config = UserConfig::default();
        config.channel_handshake_config.negotiate_anchors_zero_fee_htlc_tx = has_anchors;
        config.channel_handshake_config.their_channel_reserve_proportional_millionths = 20_000;
        // It takes channels with anchors only after a look at its wallet.
        config.manually_accept_inbound_channels = true;
        let parameters = ChainParameters { network: Network::Regtest, best_block };
        let channels = Arc::new(ChannelManager::new(
            fees.clone(),
            monitors.clone(),
            outbox.clone(),
            Arc::new(NoRoutes),
            Arc::new(NullMessageRouter {}),
            log.clone(),
            keys.clone(),
            keys.clone(),
            keys.clone(),
            config,
            parameters,
            1,
        ));
        let handlers = MessageHandler {
            chan_handler: channels.clone(),
            route_handler: IgnoringMessageHandler {},
            onion_message_handler: IgnoringMessageHandler {},
            custom_message_handler: IgnoringMessageHandler {},
            // Backups for its peers to keep.
            send_only_message_handler: monitors.clone(),
        };
        let peers = Arc::new(PeerManager::new(handlers, 1, &[9; 32], log, keys.clone()));
        let id = keys.get_node_id(Recipient::Node).unwrap();
        let (closed, spendable, paid, failures) = (vec![], vec![], vec![], vec![]);
        Self { id, channels, peers, fees, monitors, keys, outbox, closed, spendable, paid, failures }
    }

    /// Its one channel with us.
    pub(crate) fn channel(&self) -> ChannelDetails {
        let mut channels = self.channels.list_channels();
        assert_eq!(channels.len(), 1);
        channels.remove(0)
    }

    /// A block that follows on those it knows.
    pub(crate) fn block(&self, block: &Block, height: u32) {
        self.monitors.block_connected(block, height);
        self.channels.block_connected(block, height);
    }

    pub(crate) fn broadcasts(&self) -> Vec<Transaction> {
        self.outbox.0.lock().unwrap().drain(..).collect()
    }

    pub(crate) fn balances(&self) -> Vec<Balance> {
        self.monitors.get_claimable_balances(&[])
    }

    /// Looks after what it asks for. What others decide is returned: a funding, by its channel and output, and a payment to it.
    pub(crate) fn attend(&mut self) -> Vec<Event> {
        let events = Mutex::new(vec![]);
        let take = |event| {
            events.lock().unwrap().push(event);
            Ok(())
        };
        if self.channels.needs_pending_htlc_processing() {
            self.channels.process_pending_htlc_forwards();
        }
        self.channels.process_pending_events(&take);
        self.monitors.process_pending_events(&take);
        let mut left = vec![];
        for event in events.into_inner().unwrap() {
            match event {
                Event::OpenChannelRequest { temporary_channel_id, counterparty_node_id, .. } => {
                    self.channels.accept_inbound_channel(&temporary_channel_id, &counterparty_node_id, 0, None).unwrap()
                }
                Event::FundingGenerationReady { .. } | Event::PaymentClaimable { .. } => left.push(event),
                Event::ChannelClosed { reason, .. } => self.closed.push(reason),
                Event::SpendableOutputs { outputs, .. } => self.spendable.extend(outputs),
                // The commitment pays enough for a chain that nobody else uses: no anchor has to help.
                Event::BumpTransaction(BumpTransactionEvent::ChannelClose { commitment_tx, .. }) => {
                    self.outbox.0.lock().unwrap().push(commitment_tx);
                }
                Event::PaymentSent { payment_hash, payment_preimage, .. } => {
                    self.paid.push((payment_hash, Some(payment_preimage)));
                }
                Event::PaymentFailed { payment_hash, reason, .. } => {
                    self.paid.push((payment_hash.unwrap(), None));
                    self.failures.extend(reason);
                }
                Event::PaymentPathSuccessful { .. }
                | Event::PaymentPathFailed { .. }
                | Event::HTLCHandlingFailed { .. }
                | Event::PaymentClaimed { .. } => {}
                // For a second stage without a fee it would need coins, which it does not have.
                Event::BumpTransaction(BumpTransactionEvent::HTLCResolution { .. }) => {}
                Event::DiscardFunding { .. } | Event::ChannelPending { .. } | Event::ChannelReady { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        left
    }

    /// Pays the other side of its channel, which asks nobody for the secret.
    pub(crate) fn pay(&self, msat: u64, payment_hash: sha256::Hash) {
        self.pay_for(msat, PaymentHash(payment_hash.to_byte_array()), PaymentSecret([1; 32]));
    }

    /// Pays the other side of its channel for what it asked so.
    pub(crate) fn pay_for(&self, msat: u64, hash: PaymentHash, secret: PaymentSecret) {
        let channel = self.channel();
        let hop = RouteHop {
            pubkey: channel.counterparty.node_id,
            node_features: NodeFeatures::empty(),
            short_channel_id: channel.get_outbound_payment_scid().unwrap(),
            channel_features: ChannelFeatures::empty(),
            fee_msat: msat,
            cltv_expiry_delta: EXPIRES_IN,
            maybe_announced_channel: false,
        };
        let route = Route { paths: vec![Path { hops: vec![hop], blinded_tail: None }], route_params: None };
        let onion = RecipientOnionFields::secret_only(secret);
        self.channels.send_payment_with_route(route, hash, onion, PaymentId(hash.0)).unwrap();
    }

    /// What watches its channel, as it is now.
    pub(crate) fn copy(&self) -> Vec<u8> {
        self.monitors.get_monitor(self.channel().channel_id).unwrap().encode()
    }

    /// The commitment that it would broadcast if it had nothing but this copy.
    pub(crate) fn commitment_of(&self, copy: &[u8]) -> Transaction {
        let keys = (&*self.keys, &*self.keys);
        let (_, monitor) = <(BlockHash, ChannelMonitor<InMemorySigner>)>::read(&mut &copy[..], keys).unwrap();
        let outbox = Arc::new(Outbox::default());
        let log = Arc::new(Log(Level::Debug));
        monitor.broadcast_latest_holder_commitment_txn(&outbox, &self.fees, &log);
        let take = |event| {
            if let Event::BumpTransaction(BumpTransactionEvent::ChannelClose { commitment_tx, .. }) = event {
                outbox.0.lock().unwrap().push(commitment_tx);
            }
            Ok(())
        };
        monitor.process_pending_events(&&take, &log).unwrap();
        let made = outbox.0.lock().unwrap().pop();
        made.unwrap()
    }

    /// Takes what is its own in one transaction.
    pub(crate) fn sweep(&self, to: ScriptBuf) -> Transaction {
        let outputs: Vec<_> = self.spendable.iter().collect();
        let secp = rillpay_curve::context();
        self.keys.spend_spendable_outputs(&outputs, vec![], to, 1_000, None, &secp).unwrap()
    }
}
