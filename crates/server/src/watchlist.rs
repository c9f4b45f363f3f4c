//! The channels that the chain can still change, in a few words each: what to ask the chain, and when to act.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rillpay_chain::{Chain, ChainError, ScriptHash, Utxo};
use rillpay_channel::ChannelId;
use rillpay_channel::bitcoin::{Amount, OutPoint, Txid};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::margin::{Deadline, Surge};
use rillpay_channel::payee::Payee;

/// What the watcher remembers of a channel; its machine stays in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) id: ChannelId,
    pub(crate) row: u32,
    pub(crate) script: ScriptHash,
    pub(crate) funding: Option<Funding>,
    /// Whether the funding had the agreed confirmations when last seen.
    pub(crate) deep: bool,
    pub(crate) confirmations: u32,
    due: Deadline,
    /// What is `due`, at the fees of now: the list keeps it.
    pub(crate) close_height: u32,
    pub(crate) expiry: u32,
    pub(crate) closing: bool,
    /// Whether it is closing at more than nothing: one that closes at nothing is the payer's to take back.
    pub(crate) collectable: bool,
    pub(crate) spent: Option<Txid>,
    /// The final payment's lock time. Only those with the same one can be settled together.
    pub(crate) lock: u32,
    /// In blocks after this height a transaction of the payer's can stand against the settlement.
    pub(crate) deadline: u32,
    /// The final payment.
    pub(crate) amount: Amount,
}

/// What the chain says about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Unspent outputs at the channel's address.
    pub(crate) outputs: Vec<SeenOutput>,
    /// What spent the funding, and the confirmations of that.
    pub(crate) spent: Option<(Txid, u32)>,
}

impl Watch {
    pub(crate) fn of(payee: &Payee) -> Self {
        let params = payee.params();
        Self {
            id: payee.id(),
            row: payee.key_index(),
            script: ScriptHash::of(&params.funding_script()),
            funding: payee.funding().copied(),
            deep: payee.is_deep(),
            confirmations: params.confirmations.into(),
            due: payee.deadline(),
            close_height: payee.due_height(Surge::NONE),
            expiry: params.expiry,
            collectable: payee.collectable().is_some(),
            closing: payee.closing().is_some() || payee.is_released(),
            spent: payee.spent(),
            lock: payee.closing().map_or(0, |paid| paid.lock),
            deadline: payee.rival_lock(),
            amount: payee.closing().map_or(Amount::ZERO, |paid| paid.cumulative),
        }
    }

    /// Whether an event of this slot changes what is remembered here. A payment does not, but where it lowers the height
    /// at which the channel is due.
    pub(crate) const fn concerns(payee: &Payee, slot: u8) -> bool {
        !matches!(slot, 2..=4) || (slot == 3 && payee.params().kind.ladder().is_some())
    }

    /// Asks the chain. Once a deposit funds the channel nothing else that is paid to its address matters, so that is not
    /// asked for: anybody can pay there, as often as they like.
    pub(crate) async fn look(&self, chain: &dyn Chain, tip: u32) -> Result<Look, ChainError> {
        if let Some(funding) = self.funding {
            if let Some(spending) = chain.outspend(&funding.outpoint).await?.spending() {
                let spent = Some((spending.txid, spending.status.confirmations(tip)));
                return Ok(Look { outputs: vec![], spent });
            }
            if let Some(status) = chain.status(&funding.outpoint.txid).await? {
                let outputs = vec![SeenOutput { funding, confirmations: status.confirmations(tip) }];
                return Ok(Look { outputs, spent: None });
            }
        }
        let unspent = chain.script_unspent(&self.script).await?;
        let seen = |output: Utxo| SeenOutput {
            funding: Funding { outpoint: OutPoint::new(output.txid, output.vout), capacity: output.value },
            confirmations: output.status.confirmations(tip),
        };
        Ok(Look { outputs: unspent.into_iter().map(seen).collect(), spent: None })
    }
}

/// All that is watched, by channel.
pub(crate) struct WatchList(Mutex<Watched>);

struct Watched {
    /// What fees do to the margins.
    surge: Surge,
    channels: HashMap<ChannelId, Entry>,
    /// The scripts of what has ended. The backend is not told yet.
    ended: Vec<ScriptHash>,
}

#[derive(Clone)]
struct Entry {
    watch: Watch,
    /// Start of the last look that came to its end; `None` before the first.
    looked: Option<Instant>,
}

impl Default for WatchList {
    fn default() -> Self {
        Self(Mutex::new(Watched { surge: Surge::NONE, channels: HashMap::new(), ended: vec![] }))
    }
}

impl WatchList {
    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, mut watch: Watch) {
        let mut watched = self.lock();
        watch.close_height = watch.due.height(watched.surge);
        let looked = watched.channels.get(&watch.id).and_then(|entry| entry.looked);
        watched.channels.insert(watch.id, Entry { watch, looked });
    }

    /// Moves all deadlines to where they are at these fees.
    pub(crate) fn set_surge(&self, surge: Surge) {
        let mut watched = self.lock();
        if watched.surge != surge {
            watched.surge = surge;
            for Entry { watch, .. } in watched.channels.values_mut() {
                watch.close_height = watch.due.height(surge);
            }
        }
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<Watch> {
        self.lock().channels.get(&id).map(|entry| entry.watch.clone())
    }

    /// Leaves a channel alone. The backend goes on following it.
    pub(crate) fn remove(&self, id: ChannelId) {
        self.lock().channels.remove(&id);
    }

    /// Nothing on the chain can concern this channel any more.
    pub(crate) fn end(&self, id: ChannelId) {
        let mut watched = self.lock();
        if let Some(Entry { watch, .. }) = watched.channels.remove(&id) {
            watched.ended.push(watch.script);
        }
    }

    /// The scripts of what has ended since this was last asked.
    pub(crate) fn take_ended(&self) -> Vec<ScriptHash> {
        std::mem::take(&mut self.lock().ended)
    }

    /// A look at this channel that began at `start` came to its end.
    pub(crate) fn looked(&self, id: ChannelId, start: Instant) {
        if let Some(entry) = self.lock().channels.get_mut(&id) {
            entry.looked = entry.looked.max(Some(start));
        }
    }

    /// Whether the chain can still change this channel, and it was not compared with it for so long.
    pub(crate) fn is_stale(&self, id: ChannelId, max_age: Duration) -> bool {
        let stale = |entry: &Entry| entry.looked.is_none_or(|looked| looked.elapsed() > max_age);
        self.lock().channels.get(&id).is_some_and(stale)
    }

    /// All of it, in the order of opening.
    pub(crate) fn all(&self) -> Vec<Watch> {
        let mut all: Vec<_> = self.lock().channels.values().map(|entry| entry.watch.clone()).collect();
        all.sort_unstable_by_key(|watch| watch.row);
        all
    }

    /// All of it, first what is due or closing, then what is funded, each by how long ago it was looked at.
    pub(crate) fn in_turn(&self, tip: u32) -> Vec<Watch> {
        // Sorted outside the lock: whoever serves content needs it, too.
        let mut turn: Vec<Entry> = self.lock().channels.values().cloned().collect();
        turn.sort_unstable_by_key(|Entry { watch, looked }| {
            let pressing = watch.closing || (watch.funding.is_some() && tip >= watch.close_height);
            (!pressing, watch.funding.is_none(), *looked, watch.row)
        });
        turn.into_iter().map(|entry| entry.watch).collect()
    }
}
