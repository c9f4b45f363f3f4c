//! The server under measurement: `rillpay-bench-server` as a process of its own, on a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rillpay_channel::bitcoin::{Amount, ScriptBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::process;

/// A running server.
pub(crate) struct Server {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pid: u32,
    address: SocketAddr,
}

impl Server {
    /// Starts the server on `folder`, which it finds as it left it, and waits until it listens.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let config = folder.join("rillpay.toml");
        fs::write(&config, include_str!("server.toml"))?;
        fs::create_dir_all(folder.join("media"))?;
        let program = std::env::current_exe()?.with_file_name("rillpay-bench-server");
        let mut child = Command::new(&program)
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let pid = child.id().context("the server ended at once")?;
        let commands = child.stdin.take().context("no pipe to the server")?;
        let mut answers = BufReader::new(child.stdout.take().context("no pipe from the server")?).lines();
        let first = answers.next_line().await?.context("the server ended before it listened")?;
        let address = first.strip_prefix("listening ").context("the server did not say where it listens")?.parse()?;
        Ok(Self { child, commands, answers, pid, address })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of the whole process so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid)
    }

    /// Resident memory, once it has stopped moving.
    pub(crate) async fn settled_memory(&self) -> Result<u64> {
        let mut before = process::resident_bytes(self.pid)?;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = process::resident_bytes(self.pid)?;
            if now.abs_diff(before) < 16 * 1024 {
                return Ok(now);
            }
            before = now;
        }
        bail!("the server's memory does not settle");
    }

    /// Pays `amount` to each script, confirms the payments and waits until the server has taken note of them all.
    pub(crate) async fn fund(&mut self, scripts: &[ScriptBuf], amount: Amount) -> Result<()> {
        for some in scripts.chunks(500) {
            let list: Vec<String> = some.iter().map(|script| script.to_hex_string()).collect();
            self.command(&format!("fund {} {}", amount.to_sat(), list.join(" "))).await?;
        }
        let mut before = self.cpu_time()?;
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.cpu_time()?;
            if now.saturating_sub(before) < Duration::from_millis(20) {
                return Ok(());
            }
            before = now;
        }
        bail!("the server does not come to rest");
    }

    /// Stops it as an operator would, and waits until it is gone.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.commands);
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await??;
        ensure!(status.success(), "the server ended badly: {status}");
        Ok(())
    }

    async fn command(&mut self, line: &str) -> Result<()> {
        self.commands.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = self.answers.next_line().await?.context("the server ended")?;
        ensure!(answer == "ok", "the server answered: {answer}");
        Ok(())
    }
}

/// The store's database below the server's folder.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("data/channels.sqlite")
}

/// Transactions that the store has committed since its log was created, each with one sync: `iChange` in the header of
/// the index of SQLite's write-ahead log (<https://sqlite.org/walformat.html#wal_index_header>).
pub(crate) fn commits(folder: &Path) -> Result<u32> {
    let mut index = database(folder).into_os_string();
    index.push("-shm");
    let bytes = fs::read(index)?;
    let field = bytes.get(8..12).context("a short index of the write-ahead log")?;
    Ok(u32::from_ne_bytes(field.try_into()?))
}
