//! What the operating system says about a process: CPU time, memory, open files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Fields of `/proc/<pid>/stat` after the program's name, counted from 0: `utime` and `stime` (proc(5)).
const UTIME: usize = 11;
const STIME: usize = 12;

/// User and system time of a process, all its threads together.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name is in parentheses and may itself hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')').context("/proc/<pid>/stat has no name in it")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).context("a short /proc/<pid>/stat")?.parse()?) };
    let total = ticks(UTIME)?.saturating_add(ticks(STIME)?);
    let per_second = rustix::param::clock_ticks_per_second();
    let micros = total.saturating_mul(1_000_000).checked_div(per_second).context("a clock without ticks")?;
    Ok(Duration::from_micros(micros))
}

/// Resident memory of a process that is its own: files that are mapped and shared memory left out.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon in /proc")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes.saturating_mul(1024))
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Allows as many open files as the system lets us, and refuses to go on with fewer than `needed`.
pub(crate) fn allow_open_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => bail!("{needed} open files are needed, the system allows {allowed}"),
        _ => Ok(()),
    }
}
