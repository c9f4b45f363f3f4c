//! `rillpay-bench-server <rillpay.toml>`: the real server, with a way to pay into hundreds of channels at once.
//!
//! It runs [`rillpay_server::serve`] on a configuration file, as `rillpay-server run` does, and keeps the embedded chain
//! to itself so that a line on standard input can use the demo wallet:
//!
//! ```text
//! > fund <satoshi> <script, hex> <script, hex> ..      pays each of them in one transaction and makes a block
//! < ok
//! ```
//!
//! The end of the input is the order to shut down.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rillpay_chain::Chain;
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_channel::bitcoin::{Amount, ScriptBuf};
use rillpay_server::{Config, serve};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<()> {
    let file = PathBuf::from(std::env::args().nth(1).context("name a configuration file")?);
    let config = Config::load(&file)?;
    let chain_folder = config.data_dir.join("chain");
    std::fs::create_dir_all(&chain_folder)?;
    let chain = KernelChain::open(KernelConfig { data_dir: Some(chain_folder), ..KernelConfig::default() }).await?;
    let listener = TcpListener::bind(config.listen).await?;
    println!("listening {}", listener.local_addr()?);

    let (end, ended) = oneshot::channel::<()>();
    let shutdown = async {
        // Dropped or sent, it is the end.
        let _ = ended.await;
    };
    let backend: Arc<dyn Chain> = Arc::new(chain.clone());
    let server = tokio::spawn(serve(config, backend, listener, shutdown));
    let obeyed = obey(&chain, BufReader::new(stdin()).lines()).await;
    drop(end);
    server.await??;
    obeyed
}

async fn obey(chain: &KernelChain, mut lines: Lines<BufReader<Stdin>>) -> Result<()> {
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("fund") => {
                let amount = Amount::from_sat(words.next().context("no amount")?.parse()?);
                let pay = |hex| -> Result<_> { Ok((ScriptBuf::from_hex(hex)?, amount)) };
                chain.send_many(words.map(pay).collect::<Result<_>>()?).await?;
                chain.mine(1).await?;
                println!("ok");
            }
            _ => bail!("an unknown command: {line}"),
        }
    }
    Ok(())
}
