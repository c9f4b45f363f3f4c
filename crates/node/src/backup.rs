//! What peers keep for us: a backup of every channel with each of them (BOLT 1, "Peer storage"), sent when something has
//! changed, and taken over when it comes back and knows more than the store.
//!
//! ```text
//!  a change is stored ──> within a minute, at once for a new channel ──> peer_storage to each peer with a channel
//!  peer_storage_retrieval ──> a channel that the store does not have, or an older state of: taken over as a copy
//! ```
//!
//! **A peer's backup is read before it is replaced**: what a node with a lost store sends would otherwise end the only good one.
//!
//! **Strict** ([`crate::Policy::strict_backups`]): no revocation leaves before the backup that holds the state after it, on
//! the same connection. The peer has then kept what it can be asked for later, unless it wants to lose it.

use std::sync::Arc;

use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::backup::{Backup, BackupKey, ChannelCopy};
use rillpay_channel::revocable::holder::Holder;
use rillpay_runtime::time::{Duration, sleep, timeout};
use rillpay_wire::messages::{Extension, PeerStorage};
use tokio::sync::watch;

use crate::channel::Channel;
use crate::error::{Error, Kind};
use crate::keep::Loaded;
use crate::links::{Link, Wire};
use crate::node::Shared;
use crate::peer::{PeerAddress, begin_calling, warn};

/// How often a peer gets the newest: BOLT 1 lets it store no more than one a minute.
const PAUSE: Duration = Duration::from_secs(60);

/// What came of a backup that a peer gave back.
#[derive(Clone, Debug)]
pub(crate) enum Retrieved {
    /// It was not made with our words.
    Unreadable,
    /// The ids of the channels that were taken over from it.
    Read(Vec<String>),
}

/// Tells when there is something to back up.
pub(crate) struct Backups {
    key: BackupKey,
    changes: watch::Sender<u64>,
    /// Of a channel that no backup knows nothing can be restored: those do not wait.
    openings: watch::Sender<u64>,
}

impl Backups {
    pub(crate) fn new(seed: &Seed) -> Result<Self, Error> {
        let (changes, openings) = (watch::Sender::new(0), watch::Sender::new(0));
        Ok(Self { key: BackupKey::from_seed(seed)?, changes, openings })
    }

    /// A channel has changed, durably.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A channel is new.
    pub(crate) fn opened(&self) {
        self.openings.send_modify(|count| *count = count.wrapping_add(1));
        self.changed();
    }
}

/// Sends everything that is stored.
pub(crate) async fn send(node: &Shared, wire: &Wire) -> Result<(), Error> {
    let backup = node.store.backup().await?;
    let mut nonce = [0; 24];
    nonce.iter_mut().zip(crate::node::random()?).for_each(|(to, from)| *to = from);
    let sealed = backup.seal(&node.backups.key, node.chain.network(), nonce)?;
    if sealed.left_out > 0 {
        tracing::error!(channels = sealed.left_out, "channels for which a backup has no room: close some");
    }
    wire.send(&PeerStorage { blob: sealed.blob, tlvs: Extension::default() }.into());
    Ok(())
}

/// Keeps a peer's backup up to date, as long as the connection is there.
pub(crate) async fn keep(node: &Shared, link: &Link) {
    // Whatever it kept it has given back before it says anything else.
    let mut heard = link.heard.subscribe();
    if !link.wire.knows.keeps_backups || heard.wait_for(|heard| *heard).await.is_err() {
        return std::future::pending().await;
    }
    let (mut changes, mut openings) = (node.backups.changes.subscribe(), node.backups.openings.subscribe());
    loop {
        changes.mark_unchanged();
        openings.mark_unchanged();
        // Whoever has no channel with us is not asked for favours.
        if !node.channels_with(&link.peer).is_empty()
            && let Err(error) = send(node, &link.wire).await
        {
            tracing::error!(peer = %link.peer, %error, "no backup is sent");
            changes.mark_changed();
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = openings.changed() => continue,
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A peer gave this back. What cannot be read of it harms nothing; an error means that the store failed.
pub(crate) async fn retrieved(node: &Arc<Shared>, link: &Link, blob: &[u8]) -> Result<(), Error> {
    // It is given back once on each connection.
    if link.retrieved.borrow().is_some() {
        return Ok(());
    }
    let result = match Backup::open(blob, &node.backups.key, node.chain.network()) {
        Ok(backup) => Retrieved::Read(take_over(node, backup).await?),
        Err(error) => {
            tracing::warn!(peer = %link.peer, code = error.code().as_str(), "what a peer kept for us is useless: {error}");
            warn(link, rillpay_wire::ChannelId::ALL, error.text());
            Retrieved::Unreadable
        }
    };
    link.retrieved.send_replace(Some(result));
    Ok(())
}

/// Takes over what the store does not know; the ids of the channels.
async fn take_over(node: &Arc<Shared>, backup: Backup) -> Result<Vec<String>, Error> {
    let Backup { next_index, since, peers, channels } = backup;
    let mut taken = vec![];
    for copy in channels {
        let (peer, index) = (copy.peer, copy.index);
        match take_over_one(node, copy).await {
            Ok(None) => {}
            Ok(Some(channel)) => {
                tracing::warn!(channel = %channel.id, %peer, "a peer's backup knows more than the store: taken over as a copy");
                taken.push(channel.id.to_string());
            }
            // A disk that fails ends the connection: nothing may take this backup's place before it was read.
            Err(error) if matches!(error.kind(), Kind::Node(_)) => return Err(error),
            Err(error) => tracing::error!(%peer, index, %error, "a channel in a backup cannot be taken over"),
        }
    }
    // Also where the channels are no news: it may have broken off after them.
    let looked_from = node.store.owner()?.map_or(0, |owner| owner.since);
    if node.store.next_row()? < next_index || looked_from > since {
        node.reach_back(next_index, since).await?;
    }
    let known: Vec<_> = node.store.peers()?.into_iter().map(|(id, _)| id).collect();
    for (id, address) in peers {
        if !known.contains(&id)
            && let Ok(to) = format!("{id}@{address}").parse::<PeerAddress>()
        {
            node.store.set_peer(id, address).await?;
            begin_calling(node, &to);
        }
    }
    if !taken.is_empty() {
        node.backups.opened();
        node.wake.notify_one();
    }
    Ok(taken)
}

/// Takes a channel over, if the copy is newer than what is stored.
async fn take_over_one(node: &Arc<Shared>, copy: ChannelCopy) -> Result<Option<Arc<Channel>>, Error> {
    let ChannelCopy { index: row, peer, since, version, held } = copy;
    let held = Holder::restore(&held)?;
    let (holder, keys) = (Holder::load(&held)?, BaseKeys::from_seed(&node.seed, row)?);
    // Also refuses the keys of another channel.
    let _ = holder.disconnected(&keys)?;
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let loaded = Loaded { row, peer, since, version, held };
    if !node.store.take_over(holder.id(), loaded.clone()).await? {
        return Ok(None);
    }
    if let Some(channel) = node.channel(&holder.id()) {
        channel.read_anew().await;
        return Ok(Some(channel));
    }
    let channel = Channel::new(holder, keys, &loaded);
    node.add_channel(Arc::clone(&channel));
    if let Some(link) = node.links.get(&peer) {
        channel.connected(node, link.wire.clone(), link.wire.knows.direct).await?;
    }
    Ok(Some(channel))
}

/// Waits for what the peer gives back, on this connection or, if it breaks, on the next one.
pub(crate) async fn wait(node: &Shared, peer: &PublicKey, patience: Duration) -> Option<Retrieved> {
    let look = async {
        loop {
            let retrieved = node.links.get(peer).map(|link| link.retrieved.subscribe());
            if let Some(mut retrieved) = retrieved
                && let Ok(found) = retrieved.wait_for(Option::is_some).await
            {
                return found.clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(patience, look).await.ok()?
}
