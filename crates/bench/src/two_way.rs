//! Two-way channels: an update without a disk, to be compared with the same in the browser, and what an update costs a channel
//! that has had millions of them.
//!
//! Ten million updates would take an hour. So they are *sampled*: the channel is really paid on at four ages, each reached in
//! an instant ([`Pair::age`]), with the store of `rillpay-node` in a folder in memory where the system has such a folder.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::revocable::CommitmentNumber;
use rillpay_channel::revocable::holder::Event;
use rillpay_channel::secp;
use rillpay_node::testing::ChannelStore;
use rillpay_pair::{Disk, Memory, Pair};
use serde::Serialize;

use crate::growth::median;
use crate::load::micros;

/// How much is paid.
pub(crate) struct Plan {
    pub(crate) turns: u64,
    pub(crate) updates_per_turn: u64,
}

/// The ages, in updates of each side.
const AGES: [u64; 4] = [0, 1_000_000, 5_000_000, 10_000_000];

/// Direct payments on two-way channels.
#[derive(Serialize)]
pub(crate) struct TwoWay {
    updates_per_turn: u64,
    /// The median of a turn without a disk.
    native_turn_micros: u64,
    ages: Vec<Aged>,
}

/// A channel at one age.
#[derive(Serialize)]
struct Aged {
    updates_before: u64,
    /// The median of a turn.
    turn_micros: u64,
    /// One side's newest state.
    state_bytes: usize,
    /// One side's database, closed, after all turns.
    database_bytes: u64,
}

/// The store of one side, and the newest state in it.
struct Node {
    store: Option<ChannelStore>,
    held: usize,
}

impl Disk for Node {
    fn save(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            if let Event::Held(held) = event {
                self.held = held.len();
            }
        }
        Ok(self.store.as_mut().context("the store is closed")?.save(events)?)
    }
}

/// Measures in `folder`, which is made for it.
pub(crate) fn measure(folder: &Path, plan: &Plan) -> Result<TwoWay> {
    let mut unstored = Pair::open([Memory::default(), Memory::default()])?;
    let mut native = vec![];
    for _ in 0..plan.turns {
        native.push(turn(&mut unstored, plan.updates_per_turn)?);
    }

    let peer = SecretKey::from_slice(&[1; 32])?.public_key(secp());
    let mut pairs = vec![];
    for age in AGES {
        let node = |who: &str| {
            let store = ChannelStore::new(&folder.join(format!("{age}-{who}.sqlite")), peer)?;
            Ok::<_, anyhow::Error>(Node { store: Some(store), held: 0 })
        };
        let mut pair = Pair::open([node("hitesh")?, node("irene")?])?;
        pair.age(CommitmentNumber::new(age).context("an age")?)?;
        pairs.push((age, pair, vec![]));
    }
    for _ in 0..plan.turns {
        for (_, pair, turns) in &mut pairs {
            turns.push(turn(pair, plan.updates_per_turn)?);
        }
    }
    let aged = |(age, mut pair, turns): (u64, Pair<Node>, Vec<u64>)| {
        let [side, _] = &mut pair.sides;
        // Closed, so that its log is folded into the database.
        side.disk.store = None;
        let database = fs::metadata(folder.join(format!("{age}-hitesh.sqlite")))?;
        Ok(Aged {
            updates_before: age,
            turn_micros: median(turns),
            state_bytes: side.disk.held,
            database_bytes: database.len(),
        })
    };
    Ok(TwoWay {
        updates_per_turn: plan.updates_per_turn,
        native_turn_micros: median(native),
        ages: pairs.into_iter().map(aged).collect::<Result<_>>()?,
    })
}

/// So many payments, by one and by the other; how long they take, in microseconds.
fn turn<D: Disk>(pair: &mut Pair<D>, updates: u64) -> Result<u64> {
    let began = Instant::now();
    for who in [0, 1].into_iter().cycle().take(usize::try_from(updates)?) {
        pair.pay(who, 1)?;
    }
    Ok(micros(began.elapsed()))
}
