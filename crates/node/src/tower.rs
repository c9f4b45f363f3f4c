//! Leaves kits with a watchtower (docs/lightning.md, "Watchtowers"): for every state that a counterparty has revoked, in their order,
//! until the tower says that it keeps them. What it was not told yet waits in the [outbox](crate::outbox), over outages and restarts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rillpay_channel::Code as ChannelCode;
use rillpay_channel::bitcoin::ScriptBuf;
use rillpay_channel::bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use rillpay_channel::revocable::State;
use rillpay_channel::revocable::justice::{Hint, Kit, MAX_SENT};
use rillpay_channel::revocable::penalty::Revoked;
use rillpay_wire::messages::{Extension, TowerDone, TowerForget, TowerRefused, TowerStore};
use rillpay_wire::{ChannelId, Message};
use tokio::time::timeout;

use crate::answers::TowerInfo;
use crate::error::{Code, Error};
use crate::node::Shared;
use crate::outbox::Letter;
use crate::peer::{self, PeerAddress, Session};
use crate::store::Store;

/// So many kits are sent before the first of them is answered.
const WINDOW: u32 = 16;
/// How long the tower may take to keep them.
const PATIENCE: Duration = Duration::from_secs(30);
/// With nothing to say for so long we hang up; the tower would soon.
const IDLE: Duration = Duration::from_secs(30);
/// The pauses between two tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The tower, and how it goes.
pub(crate) struct Tower {
    at: PeerAddress,
    /// The node's, which has the outbox.
    store: Store,
    trouble: Mutex<Option<String>>,
}

impl Tower {
    pub(crate) const fn new(at: PeerAddress, store: Store) -> Self {
        Self { at, store, trouble: Mutex::new(None) }
    }

    /// Why it does not have everything, if something went wrong last time.
    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What may be known of it.
    pub(crate) async fn info(&self) -> Result<TowerInfo, Error> {
        let (id, address) = (self.at.id.to_string(), self.at.address.clone());
        Ok(TowerInfo { id, address, unsent: self.store.undelivered().await?, trouble: self.trouble() })
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Delivers until the node is stopped.
pub(crate) async fn run(node: Arc<Shared>, tower: Arc<Tower>) {
    let (first, longest) = PAUSES;
    let mut pause = first;
    loop {
        match deliver(&node, &tower).await {
            Ok(()) => pause = first,
            Err(error) => {
                tracing::warn!(tower = %tower.at.id, code = error.code(), "kits are not delivered: {error}");
                tower.set_trouble(Some(format!("{error} ({})", error.code())));
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(longest);
            }
        }
    }
}

/// Waits for something to tell, connects, and tells it and what follows; until there has been nothing for a while.
async fn deliver(node: &Shared, tower: &Tower) -> Result<(), Error> {
    while tower.store.letters(0, 1).await?.is_empty() {
        tower.set_trouble(None);
        tower.store.new_letters().await;
    }
    let mut session = peer::call(node, &tower.at).await?;
    if !session.is_tower {
        return Err(Error::new(Code::PeerUnfit, "this is no watchtower"));
    }
    loop {
        let letters = tower.store.letters(0, WINDOW).await?;
        if letters.is_empty() {
            tower.set_trouble(None);
            if timeout(IDLE, tower.store.new_letters()).await.is_err() {
                return Ok(());
            }
            continue;
        }
        tell(node, &tower.store, &mut session, letters).await?;
    }
}

/// Tells these, and hears what the tower says to each.
async fn tell(node: &Shared, store: &Store, session: &mut Session, letters: Vec<Letter>) -> Result<(), Error> {
    let (mut waiting, mut needless) = (HashSet::new(), vec![]);
    for letter in letters {
        let place = letter.place;
        match message(node, letter).await? {
            Some(message) => {
                let bytes = message.encode().map_err(|_| Error::new(Code::TowerRefused, "the kit is too large"))?;
                session.outgoing.queue(&bytes)?;
                waiting.insert(place);
            }
            None => needless.push(place),
        }
    }
    store.delivered(needless).await?;
    let silent = |_| Error::new(Code::PeerSilent, "the tower does not answer");
    timeout(PATIENCE, session.outgoing.flush()).await.map_err(silent)??;
    let (mut kept, mut refusal) = (vec![], None);
    while !waiting.is_empty() {
        let bytes = timeout(PATIENCE, session.incoming.message()).await.map_err(silent)??;
        let bytes = bytes.ok_or(Error::new(Code::PeerOffline, "the tower hung up"))?;
        let message = Message::decode(&bytes).map_err(|_| Error::new(Code::PeerUnfit, "the tower talks garbage"))?;
        match message {
            Message::TowerDone(TowerDone { id, .. }) => kept.extend(waiting.take(&id)),
            Message::TowerRefused(TowerRefused { id, reason, .. }) => {
                waiting.remove(&id);
                refusal = Some(reason);
            }
            Message::Warning(warning) => {
                let text = warning.text().unwrap_or("the tower warns").to_owned();
                return Err(Error::new(Code::TowerRefused, text));
            }
            _ => {}
        }
    }
    store.delivered(kept).await?;
    match refusal {
        None => Ok(()),
        Some(TowerRefused::NO_ROOM) => Err(Error::new(Code::TowerRefused, "the tower has no room for more kits")),
        Some(TowerRefused::NOT_NOW) => Err(Error::new(Code::TowerRefused, "the tower's store fails")),
        Some(reason) => Err(Error::new(Code::TowerRefused, format!("the tower refuses a kit, reason {reason}"))),
    }
}

/// What is said; nothing where there is nothing to punish with.
async fn message(node: &Shared, letter: Letter) -> Result<Option<Message>, Error> {
    let Letter { place, row, id, state } = letter;
    let (group, tlvs) = (group(node, &id)?, Extension::default());
    let Some(state) = state else { return Ok(Some(TowerForget { id: place, group, tlvs }.into())) };
    let Some(channel) = node.channel(&id) else {
        tracing::error!(row, "no kit can be made for a channel that was not loaded");
        return Ok(None);
    };
    let number = state.number;
    let revoked = channel.look(node, |holder, _| Ok(holder.revoked(&channel.keys, number)?)).await?;
    let payout = node.purse.address().await?.script_pubkey();
    let made = tokio::task::spawn_blocking(move || seal(&revoked, &state, payout)).await;
    match made.map_err(|_| Error::new(Code::NotRunning, "the node stops"))? {
        Ok((hint, kit)) => Ok(Some(TowerStore { id: place, group, hint: hint.0, kit, tlvs }.into())),
        Err(error) if error.code() == ChannelCode::Uneconomic => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn seal(revoked: &Revoked, state: &State, payout: ScriptBuf) -> Result<(Hint, Vec<u8>), rillpay_channel::Error> {
    let kit = Kit::new(&revoked.commitment(state)?, revoked, payout, MAX_SENT)?;
    Ok((Hint::of(&kit.commitment()), kit.seal()?))
}

/// A name for the kits of a channel, that tells nobody which channel it is.
fn group(node: &Shared, id: &ChannelId) -> Result<[u8; 16], Error> {
    let mut engine = HmacEngine::<sha256::Hash>::new(&node.seed.node_key()?.expose().secret_bytes());
    engine.input(b"rillpay/tower/group");
    engine.input(&id.0);
    let mut group = [0; 16];
    let hash = Hmac::<sha256::Hash>::from_engine(engine).to_byte_array();
    group.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Ok(group)
}
