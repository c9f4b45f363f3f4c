//! The real program in a process of its own, on a chain of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rillpay_chain::kernel::{KernelChain, KernelConfig};

use super::{ORIGIN, soon};

/// Killed when dropped.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    pub async fn start(config: &Path, address: SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_rillpay-server"))
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self(child);
        soon("the program's start", async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        program
    }

    /// Without warning.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Writes a configuration by which requests are priced; gives its file.
pub fn program_config(dir: &Path, address: SocketAddr, price_msat: u64, wait_milliseconds: u64) -> PathBuf {
    std::fs::create_dir_all(dir.join("media")).unwrap();
    let file = dir.join("rillpay.toml");
    let text = format!(
        "listen = \"{address}\"\nnetwork = \"regtest\"\ndata_dir = \"data\"\norigin = \"{ORIGIN}\"\n\
         payout = \"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"\n\
         [chain]\nbackend = \"kernel\"\n[tariff]\nunit = \"request\"\nprice_msat = {price_msat}\n\
         [deposit]\nmin_sat = 10_000\nmax_sat = 10_000_000\nconfirmations = 1\n\
         [channel]\nlifetime_blocks = 100\nstop_margin_blocks = 20\nclose_margin_blocks = 10\n\
         [settlement]\nmerge_delay_seconds = 0\n\
         [content]\nfolder = \"media\"\nwait_milliseconds = {wait_milliseconds}\n\
         [limits]\nframes_per_second = 100_000\nopens_per_minute = 100_000\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// The program's chain, while the program does not run.
pub async fn program_chain(dir: &Path) -> KernelChain {
    let data_dir = Some(dir.join("data/chain"));
    KernelChain::open(KernelConfig { data_dir, ..KernelConfig::default() }).await.unwrap()
}
