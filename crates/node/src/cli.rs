//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use rillpay_chain::Chain;
use rillpay_chain::bitcoind::{Auth, BitcoindChain, BitcoindOptions};
use rillpay_chain::esplora::{EsploraChain, EsploraOptions};
use rillpay_channel::bitcoin::{Amount, Network};
use rillpay_node::control::{self, Command as Wish};
use rillpay_node::{Node, Options, PeerAddress, Policy};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A node with two-way Bitcoin payment channels. Amounts are in satoshi.
#[derive(Debug, Parser)]
#[command(name = "rillpay-node", version)]
struct Cli {
    /// The node's folder.
    #[arg(long, global = true, env = "RILLPAY_NODE_DATA", default_value = ".rillpay-node")]
    data: PathBuf,
    /// Print answers as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the node until it is stopped.
    Run(Box<Run>),
    /// Shows who the node is and whom it is connected to.
    Info,
    /// Connects to a peer, and calls it again after every break and start.
    Connect {
        /// <key>@<host>:<port>
        peer: String,
    },
    /// Takes back the channels in the backup that a peer keeps, and ends them; after a loss of the folder.
    Restore {
        /// <key>@<host>:<port>
        peer: String,
    },
    /// Opens a channel with a connected peer.
    Open {
        /// The peer's key.
        peer: String,
        /// What we put in.
        capacity: u64,
        /// What of it is the peer's from the start.
        #[arg(long, default_value_t = 0)]
        push: u64,
        /// The peer puts in as much, or nothing is opened.
        #[arg(long, conflicts_with = "push")]
        both: bool,
    },
    /// Pays over a channel, or pays a request.
    Pay {
        /// How the channel's id begins, or the request's text.
        to: String,
        /// How much; a request says it itself.
        amount: Option<u64>,
    },
    /// Makes the text that asks the counterparty for a payment.
    Request {
        /// How the channel's id begins.
        channel: String,
        /// How much.
        amount: u64,
        /// What for.
        #[arg(default_value = "")]
        memo: String,
    },
    /// Lists the channels that the chain can still change.
    List,
    /// Closes a channel with the peer's consent.
    Close {
        /// How the channel's id begins.
        channel: String,
        /// Without the peer: our money comes after the delay that it set.
        #[arg(long)]
        alone: bool,
    },
    /// Shows where to pay the node on chain.
    Address,
    /// Shows what the node has, on chain and in channels.
    Balance,
    /// Stops the node.
    Stop,
}

#[derive(Debug, Args)]
struct Run {
    /// bitcoin, testnet, testnet4, signet or regtest.
    #[arg(long)]
    network: Network,
    /// Where peers can call, such as 0.0.0.0:9735.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where pages can call over a WebSocket, such as 127.0.0.1:9738.
    #[arg(long)]
    websocket: Option<SocketAddr>,
    /// A Bitcoin Core node's RPC server, such as http://127.0.0.1:8332.
    #[arg(long, conflicts_with = "esplora", required_unless_present = "esplora")]
    bitcoind: Option<String>,
    /// That node's cookie file.
    #[arg(long, conflicts_with = "user")]
    cookie: Option<PathBuf>,
    /// The user of that node's RPC server; the password is in the environment's RILLPAY_RPC_PASSWORD.
    #[arg(long)]
    user: Option<String>,
    /// An Esplora, such as https://blockstream.info/signet/api.
    #[arg(long)]
    esplora: Option<String>,
    /// Milliseconds between two looks at the chain.
    #[arg(long)]
    poll_milliseconds: Option<u64>,
    /// With words that were used before: from which block on their coins are looked for.
    #[arg(long)]
    since: Option<u32>,
    /// Blocks that a counterparty waits for its own money after it closes alone.
    #[arg(long, default_value_t = 1_000)]
    delay: u16,
    /// Confirmations before a channel is used.
    #[arg(long, default_value_t = 3)]
    depth: u32,
    /// Send peers the newest backup before every revocation, instead of once a minute.
    #[arg(long)]
    strict_backups: bool,
    /// Put as much into a channel as the peer that opens it, up to so many satoshi.
    #[arg(long, default_value_t = 0)]
    match_funding: u64,
    /// The watchtower that punishes for us while we are away: <key>@<host>:<port>.
    #[arg(long)]
    tower: Option<PeerAddress>,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rillpay-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let wish = match cli.command {
            Command::Run(options) => return serve(cli.data, *options).await,
            Command::Info => Wish::Info {},
            Command::Connect { peer } => Wish::Connect { peer },
            Command::Restore { peer } => Wish::Restore { peer },
            Command::Open { peer, capacity, push, both } => {
                Wish::Open { peer, capacity_sat: capacity, push_sat: push, both }
            }
            Command::Pay { to, amount: None } => Wish::PayRequest { request: to },
            Command::Pay { to, amount: Some(amount_sat) } => Wish::Pay { channel: to, amount_sat },
            Command::Request { channel, amount, memo } => Wish::Request { channel, amount_sat: amount, memo },
            Command::List => Wish::List {},
            Command::Close { channel, alone } => Wish::Close { channel, alone },
            Command::Address => Wish::Address {},
            Command::Balance => Wish::Balance {},
            Command::Stop => Wish::Stop {},
        };
        ask(&cli.data, cli.json, &wish).await
    })
}

async fn ask(folder: &Path, json: bool, wish: &Wish) -> Result<ExitCode> {
    let answer = control::ask(folder, wish).await.unwrap_or_else(|error| control::refusal(&error));
    let error = answer.get("error");
    match error {
        _ if json => println!("{answer}"),
        Some(error) => eprintln!("rillpay-node: {} ({})", text(error, "message"), text(error, "code")),
        None => print(wish, answer.get("ok").unwrap_or(&Value::Null)),
    }
    Ok(if error.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A field as a person reads it.
fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn print(wish: &Wish, answer: &Value) {
    let field = |name| text(answer, name);
    match wish {
        Wish::Info {} => {
            println!("id         {}\naddress    {}", field("id"), field("address"));
            println!("websocket  {}\nheight     {}", field("websocket"), field("height"));
            for peer in answer.get("peers").and_then(Value::as_array).into_iter().flatten() {
                println!("peer       {}", peer.as_str().unwrap_or("-"));
            }
            if let Some(tower) = answer.get("tower").filter(|tower| !tower.is_null()) {
                println!("tower      {}@{}", text(tower, "id"), text(tower, "address"));
                println!("unsent     {}  {}", text(tower, "unsent"), text(tower, "trouble"));
            }
        }
        Wish::Connect { .. } => println!("connected to {}", field("peer")),
        Wish::Restore { .. } => {
            let channels = answer.get("channels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            println!("{} channels came back, and are being closed", channels.len());
            channels.iter().filter_map(Value::as_str).for_each(|id| println!("{id}"));
        }
        Wish::Open { .. } => println!("channel {}\nfunding {}", field("channel"), field("funding")),
        Wish::Pay { .. } | Wish::PayRequest { .. } => {
            let settled = if field("settled") == "true" { "paid" } else { "signed for, and sure to follow:" };
            println!("{settled} {} sat; {} sat are left", field("amount_sat"), field("balance_sat"));
        }
        Wish::Request { .. } => println!("{}", field("request")),
        Wish::List {} => {
            for channel in answer.get("channels").and_then(Value::as_array).into_iter().flatten() {
                let field = |name| text(channel, name);
                let (id, state) = (field("id"), field("state"));
                println!(
                    "{id}  {state}  {} of {} sat  with {}",
                    field("balance_sat"),
                    field("capacity_sat"),
                    field("peer")
                );
            }
        }
        Wish::Close { .. } => println!("{}  {}", field("state"), field("txid")),
        Wish::Address {} => println!("{}", field("address")),
        Wish::Balance {} => println!(
            "on chain     {} sat, {} of them in blocks\nin channels  {} sat",
            field("total_sat"),
            field("confirmed_sat"),
            field("channels_sat")
        ),
        Wish::Stop {} => println!("the node stops"),
    }
}

/// Connects to the backend of the chain.
async fn chain(data: &Path, options: &Run) -> Result<Arc<dyn Chain>> {
    let poll = options.poll_milliseconds.map(Duration::from_millis);
    if let Some(url) = &options.esplora {
        let usual = EsploraOptions::new(url, options.network);
        let options = EsploraOptions { poll: poll.unwrap_or(EsploraOptions::POLL), ..usual };
        return Ok(Arc::new(EsploraChain::connect(options).await?));
    }
    let auth = match (&options.cookie, &options.user) {
        (Some(cookie), None) => Auth::Cookie(cookie.clone()),
        (None, Some(user)) => {
            let password = std::env::var("RILLPAY_RPC_PASSWORD").context("RILLPAY_RPC_PASSWORD is not set")?;
            Auth::Password { user: user.clone(), password }
        }
        _ => bail!("say who we are to the Bitcoin node, with --cookie or --user"),
    };
    let options = BitcoindOptions {
        url: options.bitcoind.clone().unwrap_or_default(),
        auth,
        network: options.network,
        poll: poll.unwrap_or(BitcoindOptions::POLL),
        data_dir: Some(data.join("chain")),
    };
    Ok(Arc::new(BitcoindChain::connect(options).await?))
}

async fn serve(data: PathBuf, run: Run) -> Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let chain = chain(&data, &run).await.context("the chain cannot be asked")?;
    let options = Options {
        listen: run.listen,
        words: std::env::var(rillpay_words::VARIABLE).ok(),
        websocket: run.websocket,
        policy: Policy {
            since: run.since,
            delay: run.delay,
            depth: run.depth,
            strict_backups: run.strict_backups,
            match_funding: Amount::from_sat(run.match_funding),
            ..Policy::default()
        },
        tower: run.tower,
        ..Options::new(data)
    };
    let node = tokio::select! {
        node = Node::start(options, chain) => node?,
        // The chain may be waited for.
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    control::serve(&node)?;
    match node.address() {
        Some(address) => println!("{}@{address}", node.id()),
        None => println!("{}", node.id()),
    }
    if let Some(address) = node.websocket() {
        println!("{}@ws://{address}", node.id());
    }
    tokio::select! {
        () = node.asked_to_stop() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    node.stop().await;
    Ok(ExitCode::SUCCESS)
}
