//! Nodes that call to leave their kits (docs/lightning.md, "Watchtowers"). Everything that they say is hostile until it is kept:
//! bounded in size, number and time, and never looked into.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rillpay_channel::bitcoin::constants::ChainHash;
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::revocable::justice::{Hint, MAX_SEALED};
use rillpay_transport::EphemeralKey;
use rillpay_transport::connection::{Connection, Incoming, Outgoing, tcp};
use rillpay_wire::messages::{
    Extension, Init, JUSTICE_KITS, Networks, TowerDone, TowerForget, TowerRefused, TowerStore, Warning,
};
use rillpay_wire::{ChannelId, Features, Message};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::store::{Request, Verdict};
use super::{Error, Shared};

/// How many callers may be introducing themselves at a time.
const GREETINGS: usize = 64;
/// How long a handshake and an `init` may take, each.
const GREETING: Duration = Duration::from_secs(10);
/// A client that says nothing for so long is hung up on. It calls again when it has something to say.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may take to read its answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many connections one node may have: the one that it uses, and one that it has forgotten.
const EACH: usize = 2;
/// So many requests are kept with one sync.
const BATCH: usize = 16;

/// Who is connected.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<PublicKey, usize>>);

impl Places {
    /// Whether there is a place for this client, among so many.
    fn take(&self, client: PublicKey, all: usize) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.values().fold(0_usize, |sum, count| sum.saturating_add(*count));
        let own = places.get(&client).copied().unwrap_or(0);
        if own >= EACH || taken >= all {
            return false;
        }
        places.insert(client, own.saturating_add(1));
        true
    }

    fn leave(&self, client: &PublicKey) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(client) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(places.remove(client)),
        }
    }
}

/// Takes calls until the tower goes down.
pub(super) async fn listen(tower: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(GREETINGS));
    loop {
        let Ok(greeting) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = Arc::clone(&tower);
                tower.tasks.spawn(async move {
                    let work = async {
                        let answered = answer(&serving, stream).await;
                        drop(greeting);
                        let (connection, client) = answered?;
                        let served = serve(&serving, connection, client).await;
                        serving.places.leave(&client);
                        served
                    };
                    tokio::select! {
                        () = serving.shutdown.cancelled() => {}
                        served = work => if let Err(error) = served {
                            tracing::debug!("a connection ended: {error}");
                        }
                    }
                });
            }
            // Too many open files, above all: others have to end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

type Open = (Incoming<OwnedReadHalf>, Outgoing<OwnedWriteHalf>);

/// The handshake, and `init`. Who is not served is told so.
async fn answer(tower: &Shared, stream: TcpStream) -> Result<(Open, PublicKey), Error> {
    let (reads, writes) = tcp(stream)?;
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|_| Error::Entropy)?;
    let ephemeral = EphemeralKey::new(&entropy)?;
    let Connection { mut incoming, mut outgoing, remote } =
        Connection::answer(reads, writes, &tower.key, ephemeral, GREETING).await?;
    let chain = ChainHash::using_genesis_block(tower.chain.network());
    let mut init = Init::new(Features::default().with_bit(JUSTICE_KITS));
    init.tlvs.networks = Some(Networks(vec![chain]));
    let greeting = async {
        outgoing.send(&encode(init.into())?).await?;
        Ok::<_, Error>(incoming.message().await?)
    };
    let first = timeout(GREETING, greeting).await.map_err(|_| Error::Client("says nothing"))??;
    let Some(Ok(Message::Init(theirs))) = first.map(|bytes| Message::decode(&bytes)) else {
        return Err(Error::Client("did not begin with init"));
    };
    let networks = theirs.tlvs.networks.map(|Networks(networks)| networks).unwrap_or_default();
    let refusal = if !networks.is_empty() && !networks.contains(&chain) {
        Some("another network is watched here")
    } else if !tower.clients.has(&remote) {
        Some("this tower does not serve you")
    } else if !tower.places.take(remote, tower.connections) {
        Some("too many connections")
    } else {
        None
    };
    if let Some(text) = refusal {
        let warning = encode(Warning::new(ChannelId::ALL, text).into())?;
        let _ = timeout(PATIENCE, outgoing.send(&warning)).await;
        return Err(Error::Client(text));
    }
    Ok(((incoming, outgoing), remote))
}

fn encode(message: Message) -> Result<Vec<u8>, Error> {
    message.encode().map_err(|_| Error::Client("cannot be answered"))
}

/// Serves a connection until it ends.
async fn serve(tower: &Shared, (mut incoming, outgoing): Open, client: PublicKey) -> Result<(), Error> {
    tracing::debug!(%client, "connected");
    // While some are kept, the next ones come in.
    let (queue, requests) = mpsc::channel(BATCH);
    let reading = async move {
        let queue = queue;
        while let Some(bytes) = timeout(IDLE, incoming.message()).await.map_err(|_| Error::Client("says nothing"))?? {
            let message = Message::decode(&bytes).map_err(|_| Error::Client("talks garbage"))?;
            if queue.send(message).await.is_err() {
                break;
            }
        }
        Ok::<_, Error>(())
    };
    let keeping = keep(tower, client, requests, outgoing);
    let (mut reading, mut keeping) = (std::pin::pin!(reading), std::pin::pin!(keeping));
    tokio::select! {
        // What was said before is answered.
        read = &mut reading => keeping.await.and(read),
        kept = &mut keeping => kept,
    }
}

/// Keeps what came, and answers once it is kept.
async fn keep(
    tower: &Shared,
    client: PublicKey,
    mut messages: mpsc::Receiver<Message>,
    mut outgoing: Outgoing<OwnedWriteHalf>,
) -> Result<(), Error> {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let (mut ids, mut requests, mut answers) = (vec![], vec![], vec![]);
        for message in batch.drain(..) {
            match message {
                Message::TowerStore(TowerStore { id, kit, .. }) if kit.len() > MAX_SEALED => {
                    answers.push(refused(id, TowerRefused::TOO_LARGE));
                }
                Message::TowerStore(TowerStore { id, group, hint, kit, .. }) => {
                    ids.push(id);
                    requests.push(Request::Keep { group, hint: Hint(hint), kit });
                }
                Message::TowerForget(TowerForget { id, group, .. }) => {
                    ids.push(id);
                    requests.push(Request::Forget(group));
                }
                Message::Ping(ping) => answers.extend(ping.pong().map(Message::from)),
                // Odd ones that nobody here knows are all right, all that belongs to channels is ignored.
                _ => {}
            }
        }
        if !requests.is_empty() {
            match tower.store.serve(client, requests).await {
                Ok(verdicts) => answers.extend(ids.iter().zip(verdicts).map(|(id, verdict)| match verdict {
                    Verdict::Done => TowerDone { id: *id, tlvs: Extension::default() }.into(),
                    Verdict::NoRoom => refused(*id, TowerRefused::NO_ROOM),
                })),
                Err(error) => {
                    tracing::error!(%client, "kits cannot be kept: {error}");
                    answers.extend(ids.iter().map(|id| refused(*id, TowerRefused::NOT_NOW)));
                }
            }
        }
        for answer in answers {
            outgoing.queue(&encode(answer)?)?;
        }
        timeout(PATIENCE, outgoing.flush()).await.map_err(|_| Error::Client("does not read"))??;
    }
    Ok(())
}

fn refused(id: u64, reason: u16) -> Message {
    TowerRefused { id, reason, tlvs: Extension::default() }.into()
}
