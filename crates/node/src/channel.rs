//! One channel: its machine behind a lock, and what happens with its decisions.
//!
//! The machine is taken out of its place while a decision is saved. Where that fails or is broken off, the place stays
//! empty, the connection ends, and whoever comes next reads the machine anew: what was sent and not saved is forgotten by
//! both sides, what was saved and not sent is said again (BOLT 2, "Message Retransmission").

use std::collections::BTreeMap;
use std::sync::Arc;

use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, Txid};
use rillpay_channel::revocable::holder::{Effect, End, Failure, Holder, Reaction, Step};
use rillpay_channel::revocable::{BaseKeys, Htlc, Role};
use rillpay_channel::{Code as ChannelCode, Error as ChannelError, Msat};
use rillpay_runtime::time::{Duration, Instant, timeout};
use rillpay_transport::Peeled;
use rillpay_wire::messages::Warning;
use rillpay_wire::types::OnionPacket;
use rillpay_wire::{ChannelId, Message};
use tokio::sync::{Mutex, watch};

use crate::backup;
use crate::error::{Code, Error, Kind};
use crate::keep::{Change, Loaded};
use crate::links::Wire;
use crate::node::{Notice, Shared};

/// A channel of this node.
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) peer: PublicKey,
    pub(crate) row: u32,
    /// A height before its funding.
    pub(crate) since: u32,
    pub(crate) funding: OutPoint,
    pub(crate) capacity: Amount,
    pub(crate) script: ScriptBuf,
    pub(crate) keys: BaseKeys,
    /// Counts what happened, for whoever waits for something.
    ticks: watch::Sender<u64>,
    slot: Mutex<Slot>,
}

/// What the lock guards.
pub(crate) struct Slot {
    machine: Option<Machine>,
    /// The connection, if there is one.
    pub(crate) wire: Option<Wire>,
    /// What the watcher has found out about this channel.
    pub(crate) sight: Sight,
}

struct Machine {
    holder: Holder,
    version: i64,
}

/// What the chain showed since the start. It is looked up anew after every start.
#[derive(Default)]
pub(crate) struct Sight {
    /// What spends the funding.
    pub(crate) spent_by: Option<Txid>,
    /// The height that the machine was last told.
    pub(crate) height: u32,
    /// A commitment of ours that waits, and who pays for it.
    pub(crate) lifted: Option<Lifted>,
    /// Our transactions that take outputs, and the height at which each was broadcast.
    pub(crate) sweeps: BTreeMap<Txid, u32>,
    /// The height at which a funding that both sign for was seen to come no more.
    pub(crate) lost_since: Option<u32>,
}

/// A commitment of ours that waits for a block.
#[derive(Clone)]
pub(crate) struct Lifted {
    pub(crate) commitment: Txid,
    /// The height at which it, or the newest child, was broadcast.
    pub(crate) since: u32,
    /// The newest child, and what it pays.
    pub(crate) child: Option<(Transaction, Amount)>,
}

impl Lifted {
    pub(crate) const fn new(commitment: Txid, since: u32) -> Self {
        Self { commitment, since, child: None }
    }
}

/// What somebody may know of a channel.
pub(crate) struct View {
    pub(crate) is_opener: bool,
    pub(crate) is_open: bool,
    /// Both have said that the funding is deep enough.
    pub(crate) is_ready: bool,
    pub(crate) is_closing: bool,
    /// Both sign for its funding, and not all has been signed.
    pub(crate) is_signing: bool,
    pub(crate) is_linked: bool,
    pub(crate) balance: Amount,
    /// What was given to us and by us for good, in millisatoshi.
    pub(crate) direct: (u64, u64),
    pub(crate) end: Option<End>,
    pub(crate) spent_by: Option<Txid>,
}

/// Somebody who waits for something to happen to a channel, for a while.
pub(crate) struct Waiting {
    ticks: watch::Receiver<u64>,
    until: Instant,
}

impl Waiting {
    /// Whether something happened in time.
    pub(crate) async fn goes_on(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        matches!(timeout(left, self.ticks.changed()).await, Ok(Ok(())))
    }
}

impl Channel {
    pub(crate) fn new(holder: Holder, keys: BaseKeys, loaded: &Loaded) -> Arc<Self> {
        let (ticks, _) = watch::channel(0);
        let fixed = holder.channel();
        Arc::new(Self {
            id: holder.id(),
            peer: loaded.peer,
            row: loaded.row,
            since: loaded.since,
            funding: fixed.funding.outpoint,
            capacity: fixed.funding.capacity,
            script: fixed.funding_script().to_p2wsh(),
            keys,
            ticks,
            slot: Mutex::new(Slot {
                machine: Some(Machine { holder, version: loaded.version }),
                wire: None,
                sight: Sight::default(),
            }),
        })
    }

    /// Decides, saves, commits, and then acts.
    pub(crate) async fn act(
        &self,
        node: &Shared,
        decide: impl FnOnce(&Holder, &BaseKeys) -> Result<Step, ChannelError>,
    ) -> Result<(), Error> {
        let mut slot = self.slot.lock().await;
        self.step(node, &mut slot, None, decide).await
    }

    async fn step(
        &self,
        node: &Shared,
        slot: &mut Slot,
        pays: Option<[u8; 16]>,
        decide: impl FnOnce(&Holder, &BaseKeys) -> Result<Step, ChannelError>,
    ) -> Result<(), Error> {
        let machine = self.machine(node, slot).await?;
        let step = decide(&machine.holder, &self.keys)?;
        let Some(mut machine) = slot.machine.take() else {
            return Err(Error::new(Code::StoreFailed, "the channel is not loaded"));
        };
        let change = !step.events().is_empty();
        let (row, version) = (self.row, machine.version);
        let saved =
            step.save_async(async |events| node.store.write(row, version, Change::of(events), pays).await).await;
        let effects = match saved {
            Ok(saved) => machine.holder.commit(saved)?,
            Err(error) => {
                tracing::error!(channel = %self.id, %error, "a decision was not stored; the channel is read anew");
                self.drop_connection(slot);
                return Err(error.into());
            }
        };
        if change {
            machine.version = version.saturating_add(1);
            node.backups.changed();
        }
        slot.machine = Some(machine);
        if let Err(error) = Self::back_up(node, slot, &effects).await {
            tracing::error!(channel = %self.id, %error, "no backup is sent, and so no revocation; the channel is read anew");
            slot.machine = None;
            self.drop_connection(slot);
            return Err(error);
        }
        for effect in effects {
            self.carry_out(node, slot, effect);
        }
        self.tick();
        node.notify(Notice::Changed);
        Ok(())
    }

    /// Where the node is strict, a peer that keeps backups has the newest before it gets a revocation.
    async fn back_up(node: &Shared, slot: &Slot, effects: &[Effect]) -> Result<(), Error> {
        let revokes = |effect: &Effect| match effect {
            Effect::Send(message) => matches!(**message, Message::RevokeAndAck(_)),
            _ => false,
        };
        match &slot.wire {
            Some(wire) if node.policy.strict_backups && wire.knows.keeps_backups && effects.iter().any(revokes) => {
                backup::send(node, wire).await
            }
            _ => Ok(()),
        }
    }

    fn tick(&self) {
        self.ticks.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// Ends the connection: what was said on it may not have been kept.
    fn drop_connection(&self, slot: &mut Slot) {
        if let Some(wire) = slot.wire.take() {
            wire.cut();
            // Whoever waits for the counterparty waits in vain.
            self.tick();
        }
    }

    /// The store holds another state than the machine: the connection begins anew with that one.
    pub(crate) async fn read_anew(&self) {
        let mut slot = self.slot.lock().await;
        slot.machine = None;
        self.drop_connection(&mut slot);
    }

    /// The machine; read from the store where a decision broke off.
    async fn machine<'s>(&self, node: &Shared, slot: &'s mut Slot) -> Result<&'s Machine, Error> {
        if slot.machine.is_none() {
            self.drop_connection(slot);
            let loaded = node.store.channel(self.row).await?;
            slot.machine = Some(Machine { holder: Holder::load(&loaded.held)?, version: loaded.version });
        }
        slot.machine.as_ref().ok_or(Error::new(Code::StoreFailed, "the channel is not loaded"))
    }

    fn carry_out(&self, node: &Shared, slot: &mut Slot, effect: Effect) {
        let channel = self.id;
        match effect {
            Effect::Send(message) => {
                if let Some(wire) = &slot.wire {
                    wire.send(&message);
                }
            }
            // The watcher broadcasts what the stored states ask for, now and after every start.
            Effect::Fund | Effect::Broadcast(_) => node.wake.notify_one(),
            Effect::Ready => tracing::info!(%channel, "payments can be made"),
            Effect::Paid(amount) => {
                tracing::info!(%channel, %amount, "paid by the counterparty");
                node.notify(Notice::Paid(channel, amount));
            }
            Effect::Given(amount) => tracing::info!(%channel, %amount, "paid to the counterparty"),
            Effect::Ended(end) => {
                tracing::info!(%channel, end = name_of(&end), "the channel ended");
                node.wake.notify_one();
            }
            // See `give_back`.
            Effect::Received(..) => {}
            // No payment is ever offered over an HTLC here.
            Effect::Offered(_) | Effect::Dropped(_) | Effect::Preimage(..) | Effect::Resolved(..) => {}
        }
    }

    // ---- connections ----

    /// The channel was just made, over this connection.
    pub(crate) async fn begin(&self, node: &Shared, wire: Wire, effects: Vec<Effect>) {
        let mut slot = self.slot.lock().await;
        let is_up = !wire.is_cut();
        if is_up {
            slot.wire = Some(wire);
        } else if slot.wire.is_none() {
            // Nothing is stored here: where it fails, the machine is read anew, without a connection.
            let _ = self.step(node, &mut slot, None, |holder, keys| holder.disconnected(keys)).await;
        }
        for effect in effects {
            // What was not said is said again on the next connection.
            if is_up || !matches!(effect, Effect::Send(_)) {
                self.carry_out(node, &mut slot, effect);
            }
        }
    }

    /// A connection is up.
    pub(crate) async fn connected(&self, node: &Shared, wire: Wire, direct: bool) -> Result<(), Error> {
        let mut slot = self.slot.lock().await;
        self.machine(node, &mut slot).await?;
        // A newer connection may have come meanwhile, or somebody else has told it of this one.
        if wire.is_cut() || slot.wire.as_ref().is_some_and(|held| held.number == wire.number) {
            return Ok(());
        }
        slot.wire = Some(wire);
        self.step(node, &mut slot, None, |holder, keys| holder.connected(keys, direct)).await
    }

    /// That connection is gone; a newer one may have taken its place already.
    pub(crate) async fn disconnected(&self, node: &Shared, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.wire.as_ref().is_some_and(|wire| wire.number == number) {
            slot.wire = None;
            // Nothing is stored here: where it fails, the machine is read anew, without a connection.
            let _ = self.step(node, &mut slot, None, |holder, keys| holder.disconnected(keys)).await;
        }
    }

    /// The counterparty said this on connection `number`. An error ends the connection.
    pub(crate) async fn hear(&self, node: &Shared, number: u64, message: &Message) -> Result<(), Error> {
        let mut slot = self.slot.lock().await;
        if slot.wire.as_ref().is_none_or(|wire| wire.number != number) {
            return Ok(());
        }
        let machine = self.machine(node, &mut slot).await?;
        let refusal = match machine.holder.receive(&self.keys, message) {
            Ok(step) => {
                self.step(node, &mut slot, None, |_, _| Ok(step)).await?;
                return self.give_back(node, &mut slot).await;
            }
            Err(refusal) => refusal,
        };
        tracing::warn!(channel = %self.id, code = refusal.code().as_str(), "refused: {refusal}");
        match Holder::reaction(&refusal) {
            Reaction::Warn => {
                if let Some(wire) = &slot.wire {
                    wire.send(&Warning::new(self.id, refusal.text()).into());
                }
            }
            Reaction::Fail => self.step(node, &mut slot, None, |holder, keys| holder.fail(keys, &refusal)).await?,
        }
        Err(refusal.into())
    }

    /// Sends back what came over HTLCs: nobody here has asked for it, and nothing is forwarded.
    async fn give_back(&self, node: &Shared, slot: &mut Slot) -> Result<(), Error> {
        let height = slot.sight.height;
        let machine = self.machine(node, slot).await?;
        let answered = |(id, htlc, onion): (u64, Htlc, &OnionPacket)| (id, answer(node, &htlc, onion, height));
        let waiting: Vec<_> = machine.holder.received().map(answered).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        for (id, failure) in waiting {
            match self.step(node, slot, None, |holder, keys| holder.send_back(keys, id, failure)).await {
                // Decided anew with the next message, or the next connection.
                Err(error) if error.kind() == Kind::Channel(ChannelCode::Unavailable) => return Ok(()),
                decided => decided?,
            }
        }
        self.step(node, slot, None, |holder, keys| holder.sign(keys)).await
    }

    // ---- wishes ----

    /// Gives the counterparty so much, if it can be signed for at once: what will have been given once this holds for good, in
    /// millisatoshi. `None` while a revocation is missing.
    pub(crate) async fn pay(
        &self,
        node: &Shared,
        amount: Msat,
        request: Option<[u8; 16]>,
    ) -> Result<Option<u64>, Error> {
        let mut slot = self.slot.lock().await;
        self.check_open(node, &mut slot).await?;
        let machine = self.machine(node, &mut slot).await?;
        let (ledger, own) = (machine.holder.ledger(), machine.holder.role());
        if ledger.owes_revocation(own.other()) {
            return Ok(None);
        }
        // Saved together with the request that it pays, so that this one cannot be paid twice.
        self.step(node, &mut slot, request, |holder, keys| holder.pay_now(keys, amount)).await?;
        let holder = &self.machine(node, &mut slot).await?.holder;
        Ok(Some(holder.direct().1.saturating_add(holder.giving())))
    }

    async fn check_open(&self, node: &Shared, slot: &mut Slot) -> Result<(), Error> {
        let is_open = self.machine(node, slot).await?.holder.is_open();
        if slot.wire.is_none() {
            return Err(Error::new(Code::PeerOffline, "the peer of this channel is not connected"));
        }
        if !is_open || slot.sight.spent_by.is_some() {
            return Err(Error::new(Code::NotPayable, "the channel takes no payments now"));
        }
        Ok(())
    }

    /// Sets the fee rate of commitments, as the opener of an open channel.
    pub(crate) async fn set_fee(&self, node: &Shared, rate: FeeRate) -> Result<(), Error> {
        let mut slot = self.slot.lock().await;
        self.check_open(node, &mut slot).await?;
        self.step(node, &mut slot, None, |holder, keys| holder.set_fee_now(keys, rate)).await
    }

    /// Looks at the machine and at what the chain showed.
    pub(crate) async fn look<T>(
        &self,
        node: &Shared,
        look: impl FnOnce(&Holder, &mut Sight) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.slot.lock().await;
        self.machine(node, &mut slot).await?;
        let Slot { machine, sight, .. } = &mut *slot;
        let machine = machine.as_ref().ok_or(Error::new(Code::StoreFailed, "the channel is not loaded"))?;
        look(&machine.holder, sight)
    }

    /// What is known of it.
    pub(crate) async fn view(&self, node: &Shared) -> Result<View, Error> {
        let mut slot = self.slot.lock().await;
        let holder = &self.machine(node, &mut slot).await?.holder;
        let view = View {
            is_opener: holder.role() == Role::Opener,
            is_open: holder.is_open(),
            is_ready: holder.is_ready(),
            is_closing: holder.is_closing(),
            is_signing: holder.signing().is_some_and(|signing| signing.whole().is_none()) && !holder.is_funded(),
            is_linked: false,
            balance: holder.balance()?.to_amount_floor(),
            direct: holder.direct(),
            end: holder.end().cloned(),
            spent_by: None,
        };
        Ok(View { is_linked: slot.wire.is_some(), spent_by: slot.sight.spent_by, ..view })
    }

    /// Looks at it until this holds, the connection is gone, or the time is up.
    pub(crate) async fn wait(
        &self,
        node: &Shared,
        waiting: &mut Waiting,
        holds: impl Fn(&View) -> bool,
    ) -> Result<View, Error> {
        loop {
            let view = self.view(node).await?;
            if holds(&view) || !view.is_linked || !waiting.goes_on().await {
                return Ok(view);
            }
        }
    }

    /// For whoever waits for something: from before it looks for the first time.
    pub(crate) fn waiting(&self, patience: Duration) -> Waiting {
        let now = Instant::now();
        Waiting { ticks: self.ticks.subscribe(), until: now.checked_add(patience).unwrap_or(now) }
    }

    /// What the watcher has to see confirmed while nothing spends the funding.
    pub(crate) async fn to_broadcast(&self, node: &Shared) -> Result<Option<Transaction>, Error> {
        self.look(node, |holder, _| {
            Ok(match holder.end() {
                Some(End::Closed(transaction)) => Some(transaction.clone()),
                // Also where the counterparty's own was seen and is gone again: the channel goes on in no case, so that this
                // one will never be revoked. Whoever works with a copy has none.
                Some(End::Failed | End::Spent) => holder.commitment(&self.keys).ok(),
                Some(End::FellBehind | End::Aborted) | None => None,
            })
        })
        .await
    }
}

/// Why a payment over an HTLC comes back: for its origin, or for whoever handed over what cannot be read (BOLT 4, "Returning Errors").
fn answer(node: &Shared, htlc: &Htlc, onion: &OnionPacket, height: u32) -> Failure {
    match Peeled::new(&node.key, onion, &htlc.payment_hash) {
        Ok(peeled) => Failure::Reason(peeled.refuse(htlc.amount.get(), height)),
        Err(unreadable) => Failure::Malformed(sha256::Hash::hash(&*onion.0), unreadable.code()),
    }
}

/// The word for an end.
pub(crate) const fn name_of(end: &End) -> &'static str {
    match end {
        End::Closed(_) => "closed",
        End::Failed => "closed_alone",
        End::FellBehind => "fell_behind",
        End::Spent => "spent",
        End::Aborted => "aborted",
    }
}
