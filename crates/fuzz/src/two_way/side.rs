//! One of the two: its machine, its disk, and what it remembers for the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::hashes::sha256;
use bitcoin::{Amount, Transaction};
use rillpay_channel::Msat;
use rillpay_channel::persist::Saved;
use rillpay_channel::revocable::holder::{Act, Effect, Event, Holder, OnChain, Step};
use rillpay_channel::revocable::{BaseKeys, CommitmentNumber, Htlc, Role, State};

/// A commitment that its owner could have broadcast at some time.
pub(super) struct Commitment {
    pub(super) transaction: Transaction,
    pub(super) state: State,
    /// What its owner had stored then.
    stored: Vec<u8>,
}

/// When another look at the chain would come to the same.
#[derive(Clone, Copy)]
pub(super) struct Idle {
    /// As long as the chain holds nothing new,
    pub(super) changes: u64,
    /// and below this height.
    pub(super) until: Option<u32>,
    /// The next height at which more can be done, as far as it is known.
    pub(super) due: Option<u32>,
}

pub(super) struct Side {
    pub(super) role: Role,
    pub(super) keys: &'static BaseKeys,
    pub(super) holder: Holder,
    pub(super) stored: Vec<u8>,
    /// A copy of what was stored some time ago.
    pub(super) copy: Vec<u8>,
    revoked: BTreeMap<u64, Vec<Htlc>>,
    pub(super) inbox: VecDeque<Vec<u8>>,
    /// All of its commitments.
    pub(super) commitments: BTreeMap<u64, Commitment>,
    /// Every payment that it ever offered, by its number.
    pub(super) offered: BTreeMap<u64, Htlc>,
    /// The payments to it that it took with their preimages, and the heights at which it did.
    pub(super) fulfilled: BTreeMap<sha256::Hash, (Msat, u32)>,
    /// The preimages that the chain showed it.
    pub(super) shown: BTreeSet<[u8; 32]>,
    /// What its last look at the chain came to, if nothing else has happened to it since.
    pub(super) idle: Option<Idle>,
    /// It was set up again from a copy.
    pub(super) is_copy: bool,
    /// It plays old states: the rules protect it no more.
    pub(super) cheats: bool,
}

impl Side {
    pub(super) fn new(keys: &'static BaseKeys, step: Step) -> (Self, Vec<Effect>) {
        let mut stored = vec![];
        let saved = step.save(|events| {
            for event in events {
                let Event::Held(held) = event else { unreachable!() };
                stored.clone_from(held);
            }
            Ok::<_, ()>(())
        });
        let (holder, effects) = Holder::create(saved.unwrap()).unwrap();
        let side = Self {
            role: holder.role(),
            keys,
            holder,
            copy: stored.clone(),
            stored,
            revoked: BTreeMap::new(),
            inbox: VecDeque::new(),
            commitments: BTreeMap::new(),
            offered: BTreeMap::new(),
            fulfilled: BTreeMap::new(),
            shown: BTreeSet::new(),
            idle: None,
            is_copy: false,
            cheats: false,
        };
        (side, effects)
    }

    pub(super) fn store(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Held(held) => self.stored.clone_from(held),
                Event::Revoked(state) => {
                    self.revoked.insert(state.number.get(), state.htlcs.clone());
                }
            }
        }
    }

    /// What it sends. What is to be broadcast, it finds out when it looks at the chain.
    pub(super) fn commit(&mut self, saved: Saved<Event, Act>) -> Vec<Vec<u8>> {
        self.idle = None;
        let effects = self.holder.commit(saved).unwrap().into_iter();
        let sent = effects.filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.encode().unwrap()),
            _ => None,
        });
        sent.collect()
    }

    /// It starts anew with what it has stored, or with its copy instead.
    pub(super) fn restart(&mut self, from_copy: bool) {
        if from_copy {
            self.is_copy = true;
            self.stored = Holder::restore(&self.copy).unwrap();
        }
        self.idle = None;
        self.holder = Holder::load(&self.stored).unwrap();
        assert!(!self.is_copy || self.holder.commitment(self.keys).is_err());
    }

    /// Remembers what it has now.
    pub(super) fn remember(&mut self) {
        let state = self.holder.ledger().newest(self.role).unwrap();
        self.offered.extend(self.holder.ledger().offered(self.role).map(|(id, htlc)| (id, *htlc)));
        if self.commitments.contains_key(&state.number.get()) {
            return;
        }
        if let Ok(transaction) = self.holder.commitment(self.keys) {
            let stored = self.stored.clone();
            self.commitments.insert(state.number.get(), Commitment { transaction, state, stored });
        }
    }

    /// Its commitment that is this transaction.
    pub(super) fn commitment(&self, transaction: &Transaction) -> Option<&Commitment> {
        self.commitments.values().find(|one| one.transaction == *transaction)
    }

    /// Its machine as it was when this was its newest commitment.
    pub(super) fn before(&self, transaction: &Transaction) -> Option<Holder> {
        self.commitment(transaction).map(|one| Holder::load(&one.stored).unwrap())
    }

    pub(super) fn dust_limit(&self) -> Amount {
        let channel = self.holder.channel();
        channel.opener.dust_limit.max(channel.accepter.dust_limit)
    }

    /// What this spend of the funding is to it.
    pub(super) fn view(&self, transaction: &Transaction) -> OnChain<'_> {
        self.view_with(&self.holder, transaction)
    }

    /// The same to a machine of it.
    pub(super) fn view_with(&self, holder: &Holder, transaction: &Transaction) -> OnChain<'_> {
        let revoked = |number: CommitmentNumber| self.revoked.get(&number.get()).cloned().unwrap_or_default();
        holder.spent(self.keys, transaction, revoked).unwrap()
    }

    /// Whether the rules protect it: it keeps to them, and knows what it did.
    pub(super) const fn is_protected(&self) -> bool {
        !self.cheats && !self.is_copy
    }
}
