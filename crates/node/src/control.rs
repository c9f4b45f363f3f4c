//! Commands to a running node, over the Unix socket `control` in its data folder, which only its owner can reach.
//!
//! One line of JSON asks, `{"command":"pay","channel":"ab","amount_sat":7}`; one line answers, `{"ok":{..}}` or
//! `{"error":{"code":"..","fault":"..","message":".."}}`. The connection ends with the answer.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rillpay_channel::bitcoin::Amount;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::error::{Code, Error};
use crate::node::Node;

/// The longest command, in bytes.
const MAX_COMMAND: u64 = 4_096;
/// How long a command may take to be said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a node can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Who it is and whom it is connected to.
    Info {},
    /// Connects to a peer, and remembers it.
    Connect {
        /// `<key>@<host>:<port>`.
        peer: String,
    },
    /// Opens a channel with a connected peer.
    Open {
        /// Its key.
        peer: String,
        /// What we put in.
        capacity_sat: u64,
        /// What of it is the peer's from the start.
        push_sat: u64,
        /// The peer puts in as much, or nothing is opened; then nothing is pushed.
        #[serde(default)]
        both: bool,
    },
    /// Pays the counterparty of a channel.
    Pay {
        /// How its id begins.
        channel: String,
        /// How much.
        amount_sat: u64,
    },
    /// Pays a request, once.
    PayRequest {
        /// Its text.
        request: String,
    },
    /// Asks for a payment.
    Request {
        /// How the channel's id begins.
        channel: String,
        /// How much.
        amount_sat: u64,
        /// What for.
        memo: String,
    },
    /// Every channel that the chain can still change.
    List {},
    /// Closes a channel.
    Close {
        /// How its id begins.
        channel: String,
        /// Without the counterparty.
        alone: bool,
    },
    /// Where to pay the node on chain.
    Address {},
    /// What it has.
    Balance {},
    /// Stops it.
    Stop {},
}

fn path(folder: &Path) -> PathBuf {
    folder.join("control")
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Folder, format!("{}: {error}", path.display()))
}

/// Takes commands from now on, until the node stops.
///
/// # Errors
/// [`Code::Folder`].
pub fn serve(node: &Node) -> Result<(), Error> {
    let path = path(node.data_dir());
    // Left behind by a process that was killed: the folder's lock is ours, so nobody listens there.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(|error| failed(&path, &error))?;
    // The folder lets nobody else in to begin with.
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(|error| failed(&path, &error))?;
    let serving = node.clone();
    node.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let node = serving.clone();
                    serving.spawn(async move {
                        if let Err(error) = answer(&node, stream).await {
                            tracing::debug!(%error, "a command was not answered");
                        }
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    Ok(())
}

async fn answer(node: &Node, stream: UnixStream) -> std::io::Result<()> {
    let (reads, mut writes) = stream.into_split();
    let mut line = String::new();
    let mut reads = BufReader::new(reads.take(MAX_COMMAND));
    match timeout(PATIENCE, reads.read_line(&mut line)).await {
        Ok(read) => read?,
        Err(_) => return Ok(()),
    };
    let command = serde_json::from_str::<Command>(&line);
    let stops = matches!(command, Ok(Command::Stop {}));
    let answer = match command {
        Ok(command) => carry_out(node, command).await,
        Err(error) => Err(Error::new(Code::InvalidCommand, format!("this is no command: {error}"))),
    };
    let answer = answer.map_or_else(|error| refusal(&error), |value| json!({ "ok": value }));
    writes.write_all(format!("{answer}\n").as_bytes()).await?;
    // Once the answer is on its way.
    if stops {
        node.ask_to_stop();
    }
    Ok(())
}

/// An answer that says why not.
pub fn refusal(error: &Error) -> Value {
    json!({ "error": { "code": error.code(), "fault": error.fault().as_str(), "message": error.to_string() } })
}

async fn carry_out(node: &Node, command: Command) -> Result<Value, Error> {
    fn said<T: Serialize>(value: T) -> Result<Value, Error> {
        serde_json::to_value(value).map_err(|error| Error::new(Code::InvalidCommand, error.to_string()))
    }
    match command {
        Command::Info {} => said(node.info().await?),
        Command::Connect { peer } => {
            let peer = peer.parse()?;
            node.connect(&peer).await?;
            Ok(json!({ "peer": peer.id.to_string() }))
        }
        Command::Open { peer, capacity_sat, push_sat, both } => {
            let peer: PublicKey =
                peer.parse().map_err(|_| Error::new(Code::InvalidCommand, "a peer is named by its key"))?;
            let (capacity, push) = (amount(capacity_sat)?, amount(push_sat)?);
            match (both, push) {
                (false, _) => said(node.open(peer, capacity, push).await?),
                (true, Amount::ZERO) => said(node.open_both(peer, capacity).await?),
                _ => Err(Error::new(Code::InvalidCommand, "who puts in as much is given nothing")),
            }
        }
        Command::Pay { channel, amount_sat } => said(node.pay(&channel, amount(amount_sat)?).await?),
        Command::PayRequest { request } => said(node.pay_request(&request.parse()?).await?),
        Command::Request { channel, amount_sat, memo } => {
            let request = node.request(&channel, amount(amount_sat)?, &memo)?;
            Ok(json!({ "request": request.to_string() }))
        }
        Command::List {} => Ok(json!({ "channels": node.list().await? })),
        Command::Close { channel, alone } => said(node.close(&channel, alone).await?),
        Command::Address {} => Ok(json!({ "address": node.deposit_address().await? })),
        Command::Balance {} => said(node.balance().await?),
        Command::Stop {} => Ok(json!({})),
    }
}

fn amount(sat: u64) -> Result<Amount, Error> {
    let amount = Amount::from_sat(sat);
    let fits = amount <= Amount::MAX_MONEY;
    if fits { Ok(amount) } else { Err(Error::new(Code::InvalidCommand, "more than all money")) }
}

/// Asks the node that runs in this folder; its answer, `{"ok":..}` or `{"error":..}`.
///
/// # Errors
/// [`Code::NotRunning`].
pub async fn ask(folder: &Path, command: &Command) -> Result<Value, Error> {
    let text = || format!("no node runs in {}", folder.display());
    let not_running = || Error::new(Code::NotRunning, text());
    let stream = UnixStream::connect(path(folder)).await.map_err(|_| not_running())?;
    let (reads, mut writes) = stream.into_split();
    let line = serde_json::to_string(command).map_err(|_| not_running())?;
    writes.write_all(format!("{line}\n").as_bytes()).await.map_err(|_| not_running())?;
    let mut answer = String::new();
    BufReader::new(reads).read_line(&mut answer).await.map_err(|_| not_running())?;
    serde_json::from_str(&answer).map_err(|_| not_running())
}
