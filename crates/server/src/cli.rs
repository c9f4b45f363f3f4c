//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use axum::Router;
use clap::{Parser, Subcommand};
use rillpay_server::{Config, Server, Status, Tower, TowerConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::standalone::{self, Standalone};

/// Sells content by the second, over Bitcoin payment channels.
#[derive(Debug, Parser)]
#[command(name = "rillpay-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves as a configuration file says (docs/rillpay.example.toml explains every key).
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Shows everything on this computer: a private chain, a wallet with coins, a page with a video.
    Demo(Standalone),
    /// Checks a configuration file and says what is wrong with it, and where settlements will pay to.
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
    },
    /// Watches the chain for nodes that are away, and punishes for them (docs/rillpay-tower.example.toml explains every key).
    Tower {
        /// The watchtower's configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Shows what is at risk, what waits to be settled and what is on its way. The server may run meanwhile.
    Status {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rillpay-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match &command {
        Command::CheckConfig { file } => {
            let config = Config::load(file)?;
            println!("{} is in order", file.display());
            println!("settlements pay to {}", config.payout.describe(config.offer.network)?);
            return Ok(());
        }
        Command::Status { config } => {
            let config = Config::load(config)?;
            print!("{}", Status::read(&config).context("the payments cannot be read")?);
            return Ok(());
        }
        Command::Run { .. } | Command::Demo(_) | Command::Tower { .. } => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Run { config } => serve(&config).await,
            Command::Demo(options) => standalone::run(&options, ended()?).await,
            Command::Tower { config } => watch(&config).await,
            Command::CheckConfig { .. } | Command::Status { .. } => Ok(()),
        }
    })
}

async fn serve(file: &Path) -> Result<()> {
    let config = Config::load(file)?;
    let chain = config.chain.backend.open().await.context("the chain cannot be asked")?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let server = Server::open(config, chain).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(server.run(listener, Router::new(), ended()?).await?)
}

async fn watch(file: &Path) -> Result<()> {
    let config = TowerConfig::load(file)?;
    let chain = config.backend.open().await.context("the chain cannot be asked")?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let tower = Tower::open(config, chain).await?;
    println!("{}@{}", tower.id(), listener.local_addr()?);
    tower.run(listener, ended()?).await;
    Ok(())
}

/// Completes when the system asks the program to end.
fn ended() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            // Where Ctrl-C cannot be heard of, only `terminate` ends the program.
            Ok(()) = tokio::signal::ctrl_c() => {}
        }
    })
}
