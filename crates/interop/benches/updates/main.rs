//! Updates per second of a two-way channel, ours and LDK's: `updates <folder> <result.json> [--quick]`.
//!
//! Two nodes of each kind are in this process, on one thread: what one says is carried to the other as encrypted bytes. A payment
//! is over when both have revoked what was before. Ours keep themselves in the store of `rillpay-node`, LDK's in the one that comes
//! with it; all stores are in the same folder, and then in memory. Everybody takes turns, and the medians count.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod ldk;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/ldk/node.rs"]
mod node;
mod ours;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::ldk::Ldks;
use crate::ours::Ours;

/// How often everybody has a turn, and how many payments each makes in it: one after the other, or so many with one signature.
struct Plan {
    turns: u64,
    payments: u64,
    batch: u64,
}

const FULL: Plan = Plan { turns: 15, payments: 20, batch: 20 };
/// Shows that everything works; its figures say little.
const QUICK: Plan = Plan { turns: 3, payments: 20, batch: 10 };

/// Somebody who pays: `count` payments at once, to the side that was paid less.
trait Payer {
    fn pay(&mut self, count: u64);

    /// How often anything was written since the start.
    fn writes(&self) -> u64;

    /// Between two turns.
    fn rest(&mut self) {}
}

/// What one of them took.
#[derive(Serialize)]
struct Took {
    /// For a whole turn of payments, one after the other: the median.
    turn_micros: u64,
    /// For a whole turn of payments, many with one signature: the median.
    batched_turn_micros: u64,
    /// Writes for a turn of payments, one after the other, by both sides.
    turn_writes: u64,
}

#[derive(Serialize)]
struct Report {
    turns: u64,
    payments_per_turn: u64,
    batch: u64,
    durable: BTreeMap<&'static str, Took>,
    in_memory: BTreeMap<&'static str, Took>,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [folder, result, rest @ ..] = &arguments[..] else {
        println!("updates <folder> <result.json> [--quick]: `npm run bench` runs it");
        return;
    };
    let plan = if rest.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let folder = tempfile::tempdir_in(PathBuf::from(folder)).unwrap();
    let durable = measure(&plan, &mut contestants(Some(folder.path())));
    let in_memory = measure(&plan, &mut contestants(None));
    let Plan { turns, payments, batch } = plan;
    let report = Report { turns, payments_per_turn: payments, batch, durable, in_memory };
    serde_json::to_writer_pretty(File::create(result).unwrap(), &report).unwrap();
}

/// Everybody, with stores in this folder, or in memory.
fn contestants(folder: Option<&Path>) -> BTreeMap<&'static str, Box<dyn Payer>> {
    let inside = |name: &str| {
        folder.map(|folder| {
            let path = folder.join(name);
            std::fs::create_dir(&path).unwrap();
            path
        })
    };
    BTreeMap::from([
        ("ours_direct", ours::open(inside("ours_direct").as_deref(), Ours::Direct)),
        ("ours_htlc", ours::open(inside("ours_htlc").as_deref(), Ours::Htlc)),
        ("ldk_htlc", ldk::open(inside("ldk_htlc").as_deref(), Ldks::Monitors)),
        ("ldk_htlc_with_manager", ldk::open(inside("ldk_htlc_with_manager").as_deref(), Ldks::MonitorsAndManagers)),
    ])
}

fn measure(plan: &Plan, payers: &mut BTreeMap<&'static str, Box<dyn Payer>>) -> BTreeMap<&'static str, Took> {
    let mut times: BTreeMap<_, [Vec<u64>; 2]> = payers.keys().map(|name| (*name, Default::default())).collect();
    let mut writes = BTreeMap::new();
    // The first turn is for warming up.
    for turn in 0..=plan.turns {
        for (name, payer) in payers.iter_mut() {
            for (batch, times) in [1, plan.batch].into_iter().zip(times.get_mut(name).unwrap()) {
                let (began, before) = (Instant::now(), payer.writes());
                for _ in 0..plan.payments / batch {
                    payer.pay(batch);
                }
                if turn > 0 {
                    times.push(u64::try_from(began.elapsed().as_micros()).unwrap());
                }
                if batch == 1 {
                    writes.insert(*name, payer.writes() - before);
                }
                payer.rest();
            }
        }
    }
    let took = |(name, [single, batched]): (&'static str, [Vec<u64>; 2])| {
        let took =
            Took { turn_micros: median(single), batched_turn_micros: median(batched), turn_writes: writes[name] };
        (name, took)
    };
    times.into_iter().map(took).collect()
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
