//! Follows the chain for all channels that it can still change.
//!
//! A pass compares every watched channel with the chain. It runs when the tip or the mempool changed, when a channel
//! closed, and now and then in any case; between passes nothing is asked. A channel's machine is loaded only when
//! something happened to it, or when its session should hear of it.
//!
//! ```text
//!   deposit confirmed ──> Funded        height reaches the close margin ──> settle at the last payment
//!   funding spent     ──> Spent         spending buried, or expired empty ──> finished, watched no more
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use rillpay_channel::commitment::SeenOutput;
use rillpay_channel::wire::{Message, Refusal};
use rillpay_channel::{Code, Error};

use crate::app::App;
use crate::channels::Channel;
use crate::errors;
use crate::session::Push;
use crate::settler::Settler;
use crate::watchlist::{Look, Watch, is_collectable};

/// Confirmations of a settlement after which a channel is watched no more: a deeper reorganisation has not been seen on
/// the main network since 2010.
pub(crate) const BURIED: u32 = 6;
/// A pass is made at least this often, whether or not the backend told of a change.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// The pause after a failed pass.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the server goes down.
pub(crate) async fn run(app: Arc<App>) {
    let mut changes = app.view.chain.changes();
    let mut settler = Settler::default();
    // Often enough that a view does not grow stale only because nothing happens.
    let longest_sleep = app.view.max_age().checked_div(3).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
    loop {
        changes.mark_unchanged();
        let pause = match pass(&app, &mut settler).await {
            Ok(pause) => pause.min(longest_sleep),
            Err(error) => {
                tracing::warn!(code = error.code().as_str(), "the channels could not be compared with the chain");
                RETRY
            }
        };
        app.channels.sweep();
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = app.channels.settle.notified() => {}
            changed = changes.changed() => if changed.is_err() {
                // The backend is gone: its `synced_at` tells, and nothing is served.
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// One pass over all watched channels, then over what is to be settled. Gives the time until the next settlement.
async fn pass(app: &Arc<App>, settler: &mut Settler) -> Result<Duration, Error> {
    let start = Instant::now();
    let tip = app.view.chain.tip().await.map_err(|error| errors::of_chain(&error))?;
    app.view.set_tip(tip.height);
    for watch in app.channels.watched.all() {
        if let Err(error) = inspect(app, &watch, tip.height).await {
            // One damaged channel must not keep the others from being watched; a failing chain or store must.
            if error.code() != Code::CorruptedStore {
                return Err(error);
            }
            tracing::error!(channel = %watch.id, "a damaged channel is left alone");
            app.channels.watched.remove(watch.id);
        }
    }
    app.view.looked(start);
    settler.run(app, tip.height).await
}

/// Looks at one channel now, for the session that just attached.
pub(crate) async fn look_at(app: &Arc<App>, channel: &Arc<Channel>) -> Result<(), Error> {
    let watch = match app.channels.watched.get(channel.id()) {
        Some(watch) => watch,
        None => app.channels.look(channel, None, |payee| Ok(Watch::of(payee))).await?,
    };
    inspect(app, &watch, app.view.tip()).await
}

async fn inspect(app: &Arc<App>, watch: &Watch, tip: u32) -> Result<(), Error> {
    let chain = app.view.chain.as_ref();
    let look = watch.look(chain, tip).await.map_err(|error| errors::of_chain(&error))?;
    let live = app.channels.live(watch.id);
    // What the session has not been told yet is told by deciding, even where nothing changes for the machine.
    let news = live.as_ref().is_some_and(|channel| channel.is_news(&look));
    if news || matters(watch, &look, tip) {
        let channel = match live {
            Some(channel) => channel,
            None => app.channels.get(watch.id).await?,
        };
        let session = channel.session();
        act(app, &channel, watch, &look, tip).await?;
        // Only now: a look that failed half-way is told again.
        channel.note(&look, session.as_ref());
    }
    if is_finished(app, watch, &look, tip).await? {
        let store = &app.channels.store;
        let never_funded = watch.funding.is_none() && look.outputs.is_empty();
        let done = if never_funded { store.discard(watch.row).await } else { store.finish(watch.row).await };
        done.map_err(|error| errors::of_store(&error))?;
        app.channels.watched.remove(watch.id);
    }
    Ok(())
}

fn is_due(watch: &Watch, look: &Look, tip: u32) -> bool {
    watch.funding.is_some() && !watch.closing && look.spent.is_none() && tip >= watch.close_height
}

/// Whether this look changes the machine's state.
fn matters(watch: &Watch, look: &Look, tip: u32) -> bool {
    let deep = |output: &SeenOutput| output.confirmations >= watch.confirmations;
    let own = |output: &SeenOutput| Some(output.funding.outpoint) == watch.funding;
    let spent = look.spent.map(|(txid, _)| txid) != watch.spent;
    let unspent = look.spent.is_none();
    let funded = unspent && !look.outputs.iter().any(own) && look.outputs.iter().any(deep);
    // A reorganisation buried the funding less deeply, or a later block deeply enough again.
    let shaken = unspent
        && watch.funding.is_some()
        && watch.deep != look.outputs.iter().any(|output| own(output) && deep(output));
    spent || funded || shaken || is_due(watch, look, tip)
}

async fn act(app: &Arc<App>, channel: &Arc<Channel>, watch: &Watch, look: &Look, tip: u32) -> Result<(), Error> {
    let channels = &app.channels;
    if look.spent.is_some() || watch.spent.is_some() {
        let (txid, confirmations) = look.spent.map_or((None, 0), |(txid, depth)| (Some(txid), depth));
        if txid != watch.spent {
            tracing::info!(channel = %watch.id, spent_by = ?txid, "the funding's spending changed");
        }
        let effects = channels.decide(channel, None, |payee| Ok(payee.spent_seen(txid, confirmations)));
        channel.push(effects.await?);
    }
    if look.spent.is_none() {
        let decided = channels.decide(channel, None, |payee| payee.funding_seen(&look.outputs, tip)).await;
        match decided {
            Ok(effects) => channel.push(effects),
            Err(error) if error.code() == Code::DepositTooSmall => {
                if let Some(session) = channel.session() {
                    session.push(Push::Message(Message::Refused(Refusal::from(&error))));
                }
            }
            Err(error) => return Err(error),
        }
    }
    if is_due(watch, look, tip) {
        let step = channels.decide(channel, None, |payee| payee.expire(tip).ok_or(NOTHING_DUE)).await;
        match step {
            Ok(effects) => {
                tracing::info!(channel = %watch.id, "the payer is gone and time runs out: settling at its last payment");
                channel.push(effects);
            }
            Err(error) if error == NOTHING_DUE => {}
            Err(error) => return Err(error),
        }
    }
    // Whoever waits for payment should see that there is nothing to wait for, or that there is.
    channel.progress.notify_waiters();
    Ok(())
}

const NOTHING_DUE: Error = Error::new(Code::NothingToDo, "nothing was ever paid on this channel");

/// Whether nothing on the chain can concern us any more.
async fn is_finished(app: &Arc<App>, watch: &Watch, look: &Look, tip: u32) -> Result<bool, Error> {
    if let Some((_, depth)) = look.spent {
        return Ok(depth >= BURIED);
    }
    if tip < watch.expiry.saturating_add(BURIED) || watch.collectable {
        return Ok(false);
    }
    let channel = app.channels.get(watch.id).await?;
    app.channels.look(&channel, None, |payee| Ok(!is_collectable(payee))).await
}
