//! `rillpay-server demo`: server, chain, wallet, miner and page in one process, with nothing to install.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use rillpay_chain::Chain;
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_server::{Config, Server, demo};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

/// How long a transaction waits for its block.
const BLOCK_TIME: Duration = Duration::from_secs(2);

/// How old payments lose, in the demo's channels.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Only the site could broadcast one, and would lose by it.
    Cltv,
    /// Both sides could; each newer one is valid earlier.
    Timelock,
}

impl Kind {
    /// The section `[channel]` of a configuration. The ladder is the book's: a channel of thirty days (4,320 blocks), and
    /// a payment for each second of an hour.
    const fn section(self) -> &'static str {
        match self {
            Self::Cltv => "lifetime_blocks = 1008",
            Self::Timelock => "kind = \"timelock\"\nstep_blocks = 1\nupdates = 3600\nlifetime_blocks = 4320",
        }
    }
}

/// What the demo can be told.
#[derive(Debug, Args)]
pub(crate) struct Standalone {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Where blocks, wallet and payments are kept.
    #[arg(long, default_value = ".demo")]
    data: PathBuf,
    /// The page, as built by `npm run build`.
    #[arg(long, default_value = "www/dist")]
    site: PathBuf,
    /// The videos that are sold.
    #[arg(long, default_value = "www/media")]
    media: PathBuf,
    /// The kind of channel that is offered.
    #[arg(long, value_enum, default_value_t = Kind::Cltv)]
    kind: Kind,
    /// The folder of a rillpay-node that runs beside it, for the page with two-way channels.
    #[arg(long)]
    node: Option<PathBuf>,
}

/// Runs the demo until `shutdown` completes.
pub(crate) async fn run(options: &Standalone, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    ensure!(options.media.is_dir(), "there is no folder {}: start it from the repository", options.media.display());
    std::fs::create_dir_all(&options.data).with_context(|| format!("cannot make {}", options.data.display()))?;
    let data_dir = Some(options.data.join("chain"));
    let chain = KernelChain::open(KernelConfig { data_dir, ..KernelConfig::default() }).await?;

    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .await
        .with_context(|| format!("port {} cannot be had; choose another one with --port", options.port))?;
    let url = format!("http://{}", listener.local_addr()?);
    let config = Config::parse(&configuration(options, &url, &chain.wallet_address()?.to_string())?, Path::new(""))?;

    let server = Server::open(config, Arc::new(chain.clone())).await?;
    let mut page = demo::router(chain.clone()).fallback_service(ServeDir::new(&options.site));
    if let Some(folder) = &options.node {
        page = page.merge(demo::node::router(folder.clone()));
    }
    let miner = tokio::spawn(mine(chain));
    println!("Rillpay demo: {url}");
    let served = server.run(listener, page, shutdown).await;
    miner.abort();
    Ok(served?)
}

/// The demo's configuration, in the words of the file that an operator would write: the book's price and deposit, one
/// confirmation, a settlement at once.
fn configuration(options: &Standalone, url: &str, payout: &str) -> Result<String> {
    let text = |path: &Path| path.to_str().map(|path| format!("{path:?}")).context("a path that is not UTF-8");
    Ok(format!(
        r#"
        listen = "127.0.0.1:{port}"
        network = "regtest"
        data_dir = {data}
        origin = "{url}"
        payout = "{payout}"
        esplora = "/esplora"
        [chain]
        backend = "kernel"
        [tariff]
        unit = "second"
        price_msat = 1_000_000
        window_units = 2
        [deposit]
        min_sat = 10_000
        max_sat = 10_000_000
        confirmations = 1
        [channel]
        {channel}
        stop_margin_blocks = 36
        close_margin_blocks = 24
        [settlement]
        merge_delay_seconds = 0
        [content]
        folder = {media}
        wait_milliseconds = 10_000
        [limits]
        opens_per_minute = 600
        [cors]
        origins = ["*"]
        "#,
        port = options.port,
        data = text(&options.data)?,
        media = text(&options.media)?,
        channel = options.kind.section(),
    ))
}

/// Makes a block some time after something waits for one.
async fn mine(chain: KernelChain) {
    let mut changes = chain.changes();
    loop {
        match chain.mempool_len() {
            Ok(0) => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            Ok(_) => {
                tokio::time::sleep(BLOCK_TIME).await;
                if let Err(error) = chain.mine(1).await {
                    tracing::error!(%error, "no block could be made");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the embedded chain has stopped");
                return;
            }
        }
    }
}
