//! The channels that the chain can still change, in a few words each: what to ask the chain, and when to act.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rillpay_chain::{Chain, ChainError, ScriptHash, Utxo};
use rillpay_channel::ChannelId;
use rillpay_channel::bitcoin::{Amount, OutPoint, Txid};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::payee::Payee;

/// What the watcher remembers of a channel; its machine stays in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) id: ChannelId,
    pub(crate) row: u32,
    script: ScriptHash,
    pub(crate) funding: Option<OutPoint>,
    /// Whether the funding had the agreed confirmations when last seen.
    pub(crate) deep: bool,
    pub(crate) confirmations: u32,
    pub(crate) close_height: u32,
    pub(crate) expiry: u32,
    pub(crate) closing: bool,
    /// Whether it is closing at more than nothing.
    pub(crate) collectable: bool,
    pub(crate) spent: Option<Txid>,
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
            funding: payee.funding().map(|funding| funding.outpoint),
            deep: payee.is_deep(),
            confirmations: params.confirmations.into(),
            close_height: params.close_height(),
            expiry: params.expiry,
            collectable: is_collectable(payee),
            closing: payee.closing().is_some(),
            spent: payee.spent(),
        }
    }

    /// Whether an event of this slot changes what is remembered here. A payment does not.
    pub(crate) const fn concerns(slot: u8) -> bool {
        !matches!(slot, 2..=4)
    }

    /// Asks the chain.
    pub(crate) async fn look(&self, chain: &dyn Chain, tip: u32) -> Result<Look, ChainError> {
        if let Some(funding) = &self.funding
            && let Some(spending) = chain.outspend(funding).await?.spending()
        {
            let spent = Some((spending.txid, spending.status.confirmations(tip)));
            return Ok(Look { outputs: vec![], spent });
        }
        let unspent = chain.script_unspent(&self.script).await?;
        let seen = |output: Utxo| SeenOutput {
            funding: Funding { outpoint: OutPoint::new(output.txid, output.vout), capacity: output.value },
            confirmations: output.status.confirmations(tip),
        };
        Ok(Look { outputs: unspent.into_iter().map(seen).collect(), spent: None })
    }
}

/// Whether a channel is closing with something to collect: one that closes at nothing is the payer's to take back.
pub(crate) fn is_collectable(payee: &Payee) -> bool {
    payee.closing().is_some_and(|paid| paid.cumulative > Amount::ZERO)
}

/// All that is watched, by channel.
#[derive(Default)]
pub(crate) struct WatchList(Mutex<HashMap<ChannelId, Watch>>);

impl WatchList {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelId, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, watch: Watch) {
        self.lock().insert(watch.id, watch);
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<Watch> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn remove(&self, id: ChannelId) {
        self.lock().remove(&id);
    }

    /// All of it, in the order of opening.
    pub(crate) fn all(&self) -> Vec<Watch> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable_by_key(|watch| watch.row);
        all
    }
}
