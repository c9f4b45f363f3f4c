//! `rillpay-bench <folder> <result.json> [--quick]`: what can be measured without a browser.
//!
//! Writes counts, bytes and microseconds, all of them integers; the ratios are made of them by `run.mjs`, which starts
//! this program and the browser. `README.md` says what each figure means.

mod channels;
mod growth;
mod load;
mod memory;
mod merged;
mod process;
mod server;
mod session;
mod two_way;
mod verify;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rillpay_channel::FundingKind;
use serde::Serialize;

use crate::load::Load;
use crate::memory::Memory;
use crate::merged::Merged;
use crate::server::Server;

/// How much is measured.
struct Plan {
    /// Channels under load.
    busy: u32,
    /// Channels in all.
    channels: u32,
    load: load::Plan,
    growth: growth::Plan,
    two_way: two_way::Plan,
}

const FULL: Plan = Plan {
    busy: 2_000,
    channels: 10_000,
    load: load::Plan { rounds: 3, payments: 50, verify: Duration::from_secs(1) },
    growth: growth::Plan { payments: 1_000_000, turns: 101, payments_per_turn: 100 },
    two_way: two_way::Plan { turns: 51, updates_per_turn: 100 },
};

/// Shows in seconds that everything works; its figures say little.
const QUICK: Plan = Plan {
    busy: 200,
    channels: 400,
    load: load::Plan { rounds: 1, payments: 20, verify: Duration::from_millis(200) },
    growth: growth::Plan { payments: 2_000, turns: 11, payments_per_turn: 50 },
    two_way: two_way::Plan { turns: 5, updates_per_turn: 20 },
};

#[derive(Serialize)]
struct Report {
    load: Load,
    memory: Memory,
    growth: growth::Growth,
    two_way: two_way::TwoWay,
    merged_p2sh_p2wsh: Merged,
    merged_p2wsh: Merged,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("name a folder to work in")?);
    let result = PathBuf::from(arguments.next().context("name a file for the results")?);
    let plan = if arguments.any(|argument| argument == "--quick") { QUICK } else { FULL };
    process::allow_open_files(u64::from(plan.busy).saturating_add(200))?;

    let payments = folder.join("payments");
    let _ = fs::remove_dir_all(&payments);
    let (load, memory) = payments_and_memory(&payments, &plan).await?;

    println!("   growth: {} payments on one channel", plan.growth.payments);
    let in_memory = Path::new("/dev/shm");
    let growing = tempfile::tempdir_in(if in_memory.is_dir() { in_memory } else { &folder })?;
    let growth = growth::measure(growing.path(), &plan.growth).await?;

    println!("   two-way channels: updates at four ages");
    let ageing = tempfile::tempdir_in(if in_memory.is_dir() { in_memory } else { &folder })?;
    let two_way = two_way::measure(ageing.path(), &plan.two_way)?;

    let report = Report {
        load,
        memory,
        growth,
        two_way,
        merged_p2sh_p2wsh: merged::measure(FundingKind::P2shP2wsh)?,
        merged_p2wsh: merged::measure(FundingKind::P2wsh)?,
    };
    serde_json::to_writer_pretty(File::create(result)?, &report)?;
    Ok(())
}

async fn payments_and_memory(folder: &Path, plan: &Plan) -> Result<(Load, Memory)> {
    println!("   channels: {} are opened and funded", plan.channels);
    let mut server = Server::start(folder).await?;
    let mut busy = channels::open(&mut server, 0..plan.channels).await?;
    busy.truncate(usize::try_from(plan.busy)?);
    let sessions = channels::attach(server.address(), &busy).await?;

    println!("   payments: {} channels pay, one payment at a time each", plan.busy);
    let (load, paid) = load::measure(&server, folder, busy, sessions, &plan.load).await?;
    println!("   payments: {load}");
    server.stop().await?;

    println!("   memory: the server with all channels, and without");
    let memory = memory::measure(folder, usize::try_from(plan.channels)?, &paid).await?;
    Ok((load, memory))
}
