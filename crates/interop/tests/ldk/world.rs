//! LDK, us, a connection and a chain.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::{Amount, Transaction, Txid};
use lightning::chain::BestBlock;
use lightning::events::Event;
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::peer_handler::SocketDescriptor;
use rillpay_channel::Code;
use rillpay_channel::revocable::holder::{Holder, Reaction};
use rillpay_transport::{Endpoint, EphemeralKey, NodeKey};
use rillpay_wire::Message;
use rillpay_wire::messages::{DIRECT_PAYMENTS, Init, Ping};

use crate::chain::Chain;
use crate::node::{Ldk, Socket};
use crate::us::{CAPACITY, PUSH, RATE, Us, features};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Us,
    Ldk,
}

impl Who {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Us => Self::Ldk,
            Self::Ldk => Self::Us,
        }
    }
}

pub(crate) const BOTH: [Who; 2] = [Who::Us, Who::Ldk];

/// The channel that a test wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) opener: Who,
    /// What the other has from the start.
    pub(crate) push: Amount,
    /// Without, a channel has static remote keys alone. We open none.
    pub(crate) has_anchors: bool,
}

impl Plan {
    pub(crate) const fn by(opener: Who) -> Self {
        Self { opener, push: PUSH, has_anchors: true }
    }

    /// The usual one by either, and what else LDK may open.
    pub(crate) const ALL: [Self; 3] =
        [Self::by(Who::Us), Self::by(Who::Ldk), Self { has_anchors: false, ..Self::by(Who::Ldk) }];
}

/// When the connection breaks: this is said, and never arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The next message of this type by one of them.
    Of(Who, u16),
    /// The message after so many others.
    After(usize),
}

struct Line {
    ours: Endpoint<Arc<NodeKey>>,
    theirs: Socket,
    /// Whether we have said `init`.
    greeted: bool,
}

pub(crate) struct World<'c> {
    pub(crate) plan: Plan,
    /// Shared: a node takes longer to start than anything here.
    pub(crate) chain: &'c Chain,
    pub(crate) ldk: Ldk,
    pub(crate) us: Us,
    line: Option<Line>,
    /// What was said since the log was emptied: by whom, and of which type.
    pub(crate) log: Vec<(Who, u16)>,
    pub(crate) lose: Option<Loss>,
    /// Whether LDK may complain, and the node refuse one of two transactions that spend the same.
    pub(crate) is_quarrel: bool,
    pub(crate) complaints: Vec<String>,
    /// Why we refused what LDK said.
    pub(crate) refused: Vec<Code>,
    /// What each broadcast, and the node took.
    pub(crate) broadcast: Vec<(Who, Transaction)>,
    /// The newest block that both know.
    pub(crate) height: u32,
    confirmed: HashSet<Txid>,
    handshakes: u8,
}

impl<'c> World<'c> {
    pub(crate) fn new(chain: &'c Chain, plan: Plan) -> Self {
        let (height, hash) = chain.tip();
        let ldk = Ldk::new(BestBlock::new(hash, height), RATE.to_sat_per_kwu() as u32, plan.has_anchors);
        Self {
            plan,
            chain,
            ldk,
            us: Us::new(),
            line: None,
            log: vec![],
            lose: None,
            is_quarrel: false,
            complaints: vec![],
            refused: vec![],
            broadcast: vec![],
            height,
            confirmed: HashSet::new(),
            handshakes: 0,
        }
    }

    /// A connected pair with a channel that both can use.
    pub(crate) fn open(chain: &'c Chain, opener: Who) -> Self {
        Self::open_as(chain, Plan::by(opener))
    }

    pub(crate) fn open_as(chain: &'c Chain, plan: Plan) -> Self {
        let mut world = Self::new(chain, plan);
        world.connect(plan.opener);
        world.fund();
        world.mine(6);
        assert!(world.us.holder().is_open() && world.ldk.channel().is_usable);
        world.log.clear();
        world
    }

    /// Asks for a channel, as far as a funding in the mempool.
    pub(crate) fn fund(&mut self) {
        let Plan { opener, push, .. } = self.plan;
        match opener {
            Who::Us => self.us.propose(push),
            Who::Ldk => {
                let (us, push) = (self.us.node.public(), push.to_sat() * 1_000);
                self.ldk.channels.create_channel(us, CAPACITY.to_sat(), push, 0, None, None).unwrap();
            }
        }
        self.run();
    }

    // ---- connection ----

    /// `caller` calls the other; both greet, and take up what there is.
    pub(crate) fn connect(&mut self, caller: Who) {
        assert!(self.line.is_none());
        self.handshakes += 1;
        let ephemeral = EphemeralKey::new(&[100 + self.handshakes; 32]).unwrap();
        let theirs = Socket::default();
        let node = self.us.node.clone();
        let ours = match caller {
            Who::Us => {
                self.ldk.peers.new_inbound_connection(theirs.clone(), None).unwrap();
                Endpoint::call(node, self.ldk.id, ephemeral)
            }
            Who::Ldk => {
                let act = self.ldk.peers.new_outbound_connection(node.public(), theirs.clone(), None).unwrap();
                let mut ours = Endpoint::answer(node, ephemeral);
                ours.feed(&act).unwrap();
                ours
            }
        };
        self.line = Some(Line { ours, theirs, greeted: false });
        self.run();
    }

    /// The connection breaks, and what was under way is lost.
    pub(crate) fn cut(&mut self) {
        if let Some(line) = self.line.take() {
            self.ldk.peers.socket_disconnected(&line.theirs);
            self.us.disconnected();
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    /// Everything arrives, and everything that follows from it.
    pub(crate) fn run(&mut self) {
        while self.turn() {}
        assert!(self.is_quarrel || self.complaints.is_empty(), "{:?}", self.complaints);
    }

    /// Whether anything happened.
    pub(crate) fn turn(&mut self) -> bool {
        let mut happened = false;
        for event in self.ldk.attend() {
            happened = true;
            fund(&self.ldk, self.chain, event);
        }
        self.ldk.peers.process_events();
        happened |= self.broadcast();
        if let Some(line) = &mut self.line {
            let bytes = line.theirs.taken();
            happened |= !bytes.is_empty();
            line.ours.feed(&bytes).unwrap();
            if line.ours.remote().is_some() && !line.greeted {
                line.greeted = true;
                self.say(Init::new(features()).into());
            }
        }
        while let Some(bytes) = self.line.as_mut().and_then(|line| line.ours.message().unwrap()) {
            happened = true;
            let message = Message::decode(&bytes).unwrap();
            assert_eq!(message.encode().unwrap(), bytes);
            self.arrived(message);
        }
        while let Some(message) = self.us.outbox.pop_front() {
            happened = true;
            self.say(message);
        }
        happened |= self.broadcast();
        if let Some(line) = &mut self.line {
            let bytes = line.ours.outgoing();
            happened |= !bytes.is_empty();
            let refused = !bytes.is_empty() && self.ldk.peers.read_event(&mut line.theirs, &bytes).is_err();
            if refused || line.theirs.hung_up() {
                self.complaints.push("LDK hung up".to_owned());
                self.cut();
            }
        }
        happened
    }

    fn loses(&mut self, who: Who, kind: u16) -> bool {
        let lost = match &mut self.lose {
            Some(Loss::Of(by, of)) => (*by, *of) == (who, kind),
            Some(Loss::After(0)) => true,
            Some(Loss::After(more)) => {
                *more -= 1;
                false
            }
            None => false,
        };
        if lost {
            self.lose = None;
            self.cut();
        }
        lost
    }

    /// We say this to LDK.
    pub(crate) fn say(&mut self, message: Message) {
        self.log.push((Who::Us, message.kind()));
        if !self.loses(Who::Us, message.kind())
            && let Some(line) = &mut self.line
        {
            line.ours.send(&message.encode().unwrap()).unwrap();
        }
    }

    fn arrived(&mut self, message: Message) {
        self.log.push((Who::Ldk, message.kind()));
        if self.loses(Who::Ldk, message.kind()) {
            return;
        }
        match &message {
            Message::Init(init) => {
                features().check_peer(&init.features).unwrap();
                self.us.connected(init.features.has_bit(DIRECT_PAYMENTS));
            }
            Message::Ping(ping) => self.us.outbox.extend(ping.pong().map(Message::from)),
            Message::Warning(warning) => self.complaints.push(format!("warning: {:?}", warning.text())),
            Message::ErrorMessage(error) => {
                self.complaints.push(format!("error: {:?}", error.text()));
                self.hear(&message);
            }
            // For those who route, and for those who keep backups: it asks nobody whether they do.
            Message::ChannelUpdate(_) | Message::GossipTimestampFilter(_) | Message::PeerStorage(_) => {}
            Message::Pong(_) => {}
            _ => self.hear(&message),
        }
    }

    /// Our node takes a message in, and does what it has to about one that it refuses.
    fn hear(&mut self, message: &Message) {
        let Err(error) = self.us.hear(message, self.chain) else { return };
        assert!(self.is_quarrel, "we refuse {message:?}: {error:?}");
        self.refused.push(error.code());
        match Holder::reaction(&error) {
            Reaction::Fail => self.us.act(|holder, keys| holder.fail(keys, &error)).unwrap(),
            Reaction::Warn => self.cut(),
        }
    }

    // ---- chain ----

    fn broadcast(&mut self) -> bool {
        let theirs = self.ldk.broadcasts().into_iter().map(|transaction| (Who::Ldk, transaction));
        let ours = std::mem::take(&mut self.us.broadcasts).into_iter().map(|transaction| (Who::Us, transaction));
        let all: Vec<_> = theirs.chain(ours).collect();
        let happened = !all.is_empty();
        for (who, transaction) in all {
            match self.chain.offer(&transaction) {
                Ok(()) => self.broadcast.push((who, transaction)),
                Err(error) if self.is_quarrel => self.complaints.push(format!("{who:?}: {error}")),
                Err(error) => panic!("the node refuses what {who:?} broadcasts: {error}"),
            }
        }
        happened
    }

    /// So many blocks come, and what follows from each.
    pub(crate) fn mine(&mut self, count: u32) {
        self.chain.mine(count);
        self.follow();
    }

    /// A block of exactly these comes.
    pub(crate) fn mine_exactly(&mut self, transactions: &[Transaction]) {
        self.chain.mine_exactly(transactions);
        self.follow();
    }

    fn follow(&mut self) {
        let (tip, _) = self.chain.tip();
        for height in self.height + 1..=tip {
            self.height = height;
            let block = self.chain.block(height);
            self.ldk.block(&block, height);
            self.us.block(&block, height);
            self.confirmed.extend(block.txdata.iter().map(Transaction::compute_txid));
        }
        self.run();
    }

    pub(crate) fn has_confirmed(&self, transaction: &Transaction) -> bool {
        self.confirmed.contains(&transaction.compute_txid())
    }

    // ---- LDK ----

    pub(crate) fn ldk_id(&self) -> lightning::ln::types::ChannelId {
        lightning::ln::types::ChannelId(self.us.holder().id().0)
    }

    /// LDK learns of another fee rate, which it adopts for the channel if it is the opener.
    pub(crate) fn ldk_estimates(&mut self, rate: bitcoin::FeeRate) {
        self.estimate(rate);
        self.run();
    }

    pub(crate) fn estimate(&self, rate: bitcoin::FeeRate) {
        self.ldk.fees.0.store(rate.to_sat_per_kwu() as u32, Ordering::Relaxed);
        self.ldk.channels.timer_tick_occurred();
    }

    /// What both say about the channel's money is the same, and our commitment is one that the node takes.
    pub(crate) fn check(&self) {
        let channel: ChannelDetails = self.ldk.channel();
        let [opener, accepter] = self.us.rates();
        assert_eq!(opener, accepter);
        assert_eq!(channel.feerate_sat_per_1000_weight.map(u64::from), Some(opener.to_sat_per_kwu()));
        assert!(self.us.holder().ledger().is_quiet());
        let commitment = self.us.holder().commitment(&self.us.keys).unwrap();
        assert_eq!(self.chain.would_take(&commitment), Ok(()));
    }
}

/// Pays for a channel that LDK opens.
pub(crate) fn fund<D: SocketDescriptor>(ldk: &Ldk<D>, chain: &Chain, event: Event) {
    let Event::FundingGenerationReady {
        temporary_channel_id: id,
        counterparty_node_id: us,
        channel_value_satoshis: value,
        output_script,
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    let funding = chain.pay(&output_script, Amount::from_sat(value));
    ldk.channels.funding_transaction_generated(id, us, funding).unwrap();
}

pub(crate) fn ping(num_pong_bytes: u16, ignored: usize) -> Ping {
    Ping { num_pong_bytes, ignored: vec![0; ignored], tlvs: Default::default() }
}

/// The types of the messages that tests name.
pub(crate) mod kind {
    use rillpay_wire::Payload;
    use rillpay_wire::messages::*;

    pub(crate) const UPDATE_FAIL_MALFORMED: u16 = UpdateFailMalformedHtlc::KIND;
    pub(crate) const FUNDING_CREATED: u16 = FundingCreated::KIND;
    pub(crate) const FUNDING_SIGNED: u16 = FundingSigned::KIND;
    pub(crate) const CHANNEL_READY: u16 = ChannelReady::KIND;
    pub(crate) const COMMITMENT_SIGNED: u16 = CommitmentSigned::KIND;
    pub(crate) const REVOKE_AND_ACK: u16 = RevokeAndAck::KIND;
    pub(crate) const UPDATE_FEE: u16 = UpdateFee::KIND;
    pub(crate) const REESTABLISH: u16 = ChannelReestablish::KIND;
}
