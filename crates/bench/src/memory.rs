//! What an open channel weighs while nobody pays on it.
//!
//! Two fresh processes on the same chain, one with an empty store and one with all the channels in it: what the second
//! needs more is the channels'. The chain, which is embedded here and remote in earnest, weighs the same in both.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::channels::{Opened, attach};
use crate::server::{Server, database};

/// How many processes are weighed.
const STARTS: usize = 5;

/// Resident memory of the server process, in bytes.
#[derive(Serialize)]
pub(crate) struct Memory {
    channels: usize,
    /// With none.
    empty_bytes: u64,
    /// With all channels open and funded, no socket on them.
    idle_bytes: u64,
    /// With an idle socket attached to so many of them.
    attached: usize,
    attached_bytes: u64,
}

/// Starts the server on `folder` with its channels and without. `paid` is what each of the first ones has paid: the
/// server has to know, after the restart, all that it acknowledged.
pub(crate) async fn measure(folder: &Path, channels: usize, paid: &[(Opened, u64)]) -> Result<Memory> {
    let idle_bytes = weigh(folder).await?;
    let server = Server::start(folder).await?;
    let (opened, sums): (Vec<&Opened>, Vec<u64>) = paid.iter().map(|(opened, paid)| (opened, *paid)).unzip();
    let sessions = attach(server.address(), opened).await?;
    let remembered: Vec<u64> = sessions.iter().map(|session| session.paid).collect();
    ensure!(remembered == sums, "an acknowledged payment was lost");
    let attached_bytes = server.settled_memory().await?;
    drop(sessions);
    server.stop().await?;

    fs::rename(database(folder), database(folder).with_extension("full"))?;
    let empty_bytes = weigh(folder).await?;
    Ok(Memory { channels, empty_bytes, idle_bytes, attached: paid.len(), attached_bytes })
}

/// What a process weighs after its start, in bytes: the median, as the allocator does not lay out any two of them alike.
async fn weigh(folder: &Path) -> Result<u64> {
    let mut weights = [0; STARTS];
    for weight in &mut weights {
        let server = Server::start(folder).await?;
        *weight = server.settled_memory().await?;
        server.stop().await?;
    }
    weights.sort_unstable();
    Ok(weights[STARTS / 2])
}
