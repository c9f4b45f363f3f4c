//! Follows the chain for all channels that it can still change.
//!
//! A pass compares every watched channel with the chain, some at a time, those first whose time is short. A channel that
//! cannot be looked at keeps no other from it: it is not served itself ([`WatchList::is_stale`]), what is known of it is
//! settled, and it is tried again in the next pass. A pass runs when the tip or the mempool changed, when a channel
//! closed, and now and then in any case; between passes nothing is asked. A channel's machine is loaded only when
//! something happened to it, or when its session should hear of it.
//!
//! ```text
//!   deposit confirmed ──> Funded        height reaches the close margin ──> settle at the last payment
//!   funding spent     ──> Spent         spending buried, or expired empty ──> finished, watched no more
//! ```
//!
//! A channel without a deposit is looked at while its viewer is there, and at its end: opening one costs nothing, and nothing
//! can be paid on it. What is finished the backend follows no longer.
//!
//! Once a pass the margins are fitted to the fee rate. After a start nobody is served before one whole pass has settled what
//! became due meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rillpay_chain::FeeEstimates;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::commitment::SeenOutput;
use rillpay_channel::margin::{Moment, Surge};
use rillpay_channel::wire::{Message, Refusal};
use rillpay_channel::{Code, Error};

use crate::app::App;
use crate::channels::Channel;
use crate::errors;
use crate::session::Push;
use crate::settler::Settler;
#[cfg(doc)]
use crate::watchlist::WatchList;
use crate::watchlist::{Look, Watch};

/// Confirmations of a settlement after which a channel is watched no more: a deeper reorganisation has not been seen on
/// the main network since 2010.
pub(crate) const BURIED: u32 = 6;
/// The rate that makes margins grow is the one for the next block.
const QUICK_TARGET: u16 = 1;
/// A pass is made at least this often, whether or not the backend told of a change.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// The pause after a failed pass.
const RETRY: Duration = Duration::from_secs(1);

/// Channels that are looked at at once.
const AT_ONCE: usize = 4;
/// Neither all looks of a pass nor one of them takes longer than this, or than a part of the time for which a view of the
/// chain counts: the settler's turn has to come.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
const SHORTEST_LOOK: Duration = Duration::from_secs(2);

/// Runs until the server goes down.
pub(crate) async fn run(app: Arc<App>) {
    let mut changes = app.view.chain.changes();
    let (mut settler, mut fees) = (Settler::default(), None);
    // Often enough that a view does not grow stale only because nothing happens.
    let longest_sleep = app.view.max_age().checked_div(3).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
    loop {
        changes.mark_unchanged();
        let pause = match pass(&app, &mut settler, &mut fees).await {
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

/// One pass over all watched channels, then over what is to be settled. Gives the time until the next settlement. `fees` is
/// what was last heard of them.
async fn pass(app: &Arc<App>, settler: &mut Settler, fees: &mut Option<FeeEstimates>) -> Result<Duration, Error> {
    let start = Instant::now();
    let now = moment(app, fees).await?;
    app.view.set_now(now);
    app.channels.watched.set_surge(now.surge);
    look_at_all(app, now).await;
    // At the start what fell due while the server was down comes before any visitor. Later a settlement that has to wait
    // keeps nobody from being served.
    let at_start = !app.view.has_looked();
    if !at_start {
        app.view.looked(start);
    }
    let pause = settler.run(app, now.tip, fees.as_ref()).await?;
    // Not before: the settler may want to know what became of the last settlement.
    for script in app.channels.watched.take_ended() {
        if let Err(error) = app.view.chain.unfollow(&script).await {
            tracing::warn!(%script, %error, "a script is followed although nobody needs it any more");
        }
    }
    if at_start {
        app.view.looked(start);
    }
    Ok(pause)
}

/// Compares the channels with the chain, as far as there is time.
async fn look_at_all(app: &Arc<App>, now: Moment) {
    let (start, longest) = (Instant::now(), longest_look(app));
    let late = AtomicUsize::new(0);
    let look = async |watch: Watch| {
        if start.elapsed() >= longest {
            late.fetch_add(1, Ordering::Relaxed);
            put_off(app, &watch, now).await;
            return;
        }
        let Err(error) = inspect(app, &watch, now).await else { return };
        match error.code() {
            // It waits for the operator.
            Code::CorruptedStore => {
                tracing::error!(channel = %watch.id, "a damaged channel is left alone");
                app.channels.watched.remove(watch.id);
            }
            // Another server on the same store has discarded it.
            Code::UnknownChannel => {
                tracing::info!(channel = %watch.id, "a channel is not in the store any more");
                app.channels.watched.end(watch.id);
            }
            code => {
                let (channel, code) = (watch.id, code.as_str());
                tracing::warn!(%channel, code, "a channel could not be compared with the chain");
                put_off(app, &watch, now).await;
            }
        }
    };
    let turn: Vec<Watch> = app.channels.watched.in_turn(now.tip);
    let turn = turn.into_iter().filter(|watch| is_of_interest(app, watch, now.tip));
    stream::iter(turn).for_each_concurrent(AT_ONCE, look).await;
    let late = late.into_inner();
    if late > 0 {
        tracing::warn!(
            channels = late,
            "there was no time to compare these with the chain; the next pass comes to them sooner"
        );
    }
}

/// Whether the chain can say anything about a channel that matters now.
fn is_of_interest(app: &App, watch: &Watch, tip: u32) -> bool {
    let attended = || app.channels.live(watch.id).is_some_and(|channel| channel.session().is_some());
    watch.funding.is_some() || watch.closing || tip >= watch.expiry.saturating_add(BURIED) || attended()
}

/// What is left to do for a channel that could not be compared with the chain in this pass.
async fn put_off(app: &Arc<App>, watch: &Watch, now: Moment) {
    if let Err(error) = close_unseen(app, watch, now).await {
        tracing::error!(channel = %watch.id, code = error.code().as_str(), "a channel that is due could not be closed");
    }
}

fn longest_look(app: &App) -> Duration {
    app.view.max_age().checked_div(4).unwrap_or(LONGEST_LOOK).clamp(SHORTEST_LOOK, LONGEST_LOOK)
}

/// The height of the best block, and what the fees of now do to the margins.
async fn moment(app: &App, fees: &mut Option<FeeEstimates>) -> Result<Moment, Error> {
    let tip = app.view.chain.tip().await.map_err(|error| errors::of_chain(&error))?;
    match app.view.chain.fee_estimates().await {
        Ok(estimates) => *fees = Some(estimates),
        // The margins stay as they were: for want of an estimate no channel is ended, and none goes on for longer.
        Err(error) => drop(errors::of_chain(&error)),
    }
    let surge = |fees: &FeeEstimates| app.config.offer.surge(fees.within(QUICK_TARGET), app.config.calm);
    Ok(Moment { tip: tip.height, surge: fees.as_ref().map_or(Surge::NONE, surge) })
}

/// Looks at one channel now, for the session that just attached.
pub(crate) async fn look_at(app: &Arc<App>, channel: &Arc<Channel>) -> Result<(), Error> {
    let Some(watch) = app.channels.watched.get(channel.id()) else { return tell_the_end(app, channel).await };
    inspect(app, &watch, app.view.now()?).await
}

/// Tells the session of a finished channel how that ended: of that the backend may know nothing any more.
async fn tell_the_end(app: &Arc<App>, channel: &Arc<Channel>) -> Result<(), Error> {
    let watch = app.channels.look(channel, None, |payee| Ok(Watch::of(payee))).await?;
    let look = Look { outputs: vec![], spent: watch.spent.map(|txid| (txid, BURIED)) };
    let session = channel.session();
    act(app, channel, &watch, &look, app.view.now()?).await?;
    channel.note(&look, session.as_ref());
    Ok(())
}

/// Compares one channel with the chain.
async fn inspect(app: &Arc<App>, watch: &Watch, now: Moment) -> Result<(), Error> {
    let (chain, tip, start) = (app.view.chain.as_ref(), now.tip, Instant::now());
    let look = tokio::time::timeout(longest_look(app), watch.look(chain, tip)).await;
    let look = look.map_err(|_| errors::STALE_CHAIN)?.map_err(|error| errors::of_chain(&error))?;
    let live = app.channels.live(watch.id);
    // A refund that waits for its block is no reason to give up: the settlement can take its place.
    let too_late = look.spent.is_some_and(|(_, depth)| depth > 0);
    let live = if is_due(watch, tip) && !too_late { Some(close_in_time(app, live, watch, now).await?) } else { live };
    let closed = app.channels.watched.get(watch.id);
    let watch = closed.as_ref().unwrap_or(watch);
    // What the session has not been told yet is told by deciding, even where nothing changes for the machine.
    let news = live.as_ref().is_some_and(|channel| channel.is_news(&look));
    if news || matters(watch, &look) {
        let channel = match live {
            Some(channel) => channel,
            None => app.channels.get(watch.id).await?,
        };
        let session = channel.session();
        act(app, &channel, watch, &look, now).await?;
        // Only now: a look that failed half-way is told again.
        channel.note(&look, session.as_ref());
    }
    app.channels.watched.looked(watch.id, start);
    if is_finished(app, watch, &look, tip).await? {
        let store = &app.channels.store;
        let never_funded = watch.funding.is_none() && look.outputs.is_empty();
        let done = if never_funded { store.discard(watch.row).await } else { store.finish(watch.row).await };
        done.map_err(|error| errors::of_store(&error))?;
        app.channels.watched.end(watch.id);
    }
    Ok(())
}

const fn is_due(watch: &Watch, tip: u32) -> bool {
    watch.funding.is_some() && !watch.closing && tip >= watch.close_height
}

/// A channel whose time has come is closed by what is known of it: a payer who can make its address hard to look at is not
/// given time by it.
async fn close_unseen(app: &Arc<App>, watch: &Watch, now: Moment) -> Result<(), Error> {
    if watch.spent.is_none() && is_due(watch, now.tip) {
        close_in_time(app, app.channels.live(watch.id), watch, now).await?;
    }
    Ok(())
}

/// Whether this look changes the machine's state.
fn matters(watch: &Watch, look: &Look) -> bool {
    let deep = |output: &SeenOutput| output.confirmations >= watch.confirmations;
    let own = |output: &SeenOutput| Some(output.funding) == watch.funding;
    let spent = look.spent.map(|(txid, _)| txid) != watch.spent;
    let unspent = look.spent.is_none();
    let funded = unspent && !look.outputs.iter().any(own) && look.outputs.iter().any(deep);
    // A reorganisation buried the funding less deeply, or a later block deeply enough again.
    let shaken = unspent
        && watch.funding.is_some()
        && watch.deep != look.outputs.iter().any(|output| own(output) && deep(output));
    spent || funded || shaken
}

/// Closes a channel at its last payment, if there was one.
async fn close_in_time(
    app: &Arc<App>,
    live: Option<Arc<Channel>>,
    watch: &Watch,
    now: Moment,
) -> Result<Arc<Channel>, Error> {
    let channels = &app.channels;
    let channel = match live {
        Some(channel) => channel,
        None => channels.get(watch.id).await?,
    };
    if channels.look(&channel, None, |payee| Ok(payee.accepted() == Amount::ZERO)).await? {
        return Ok(channel);
    }
    // The machine closes no channel that it takes for spent. What spends this one is told again by the look.
    if watch.spent.is_some() {
        channels.decide(&channel, None, |payee| Ok(payee.spent_seen(None, 0))).await?;
    }
    match channels.decide(&channel, None, |payee| payee.expire(now).ok_or(NOTHING_DUE)).await {
        Ok(effects) => {
            tracing::info!(channel = %watch.id, "the payer is gone and time runs out: settling at its last payment");
            channel.push(effects);
            channel.progress.notify_waiters();
        }
        Err(error) if error == NOTHING_DUE => {}
        Err(error) => return Err(error),
    }
    Ok(channel)
}

async fn act(app: &Arc<App>, channel: &Arc<Channel>, watch: &Watch, look: &Look, now: Moment) -> Result<(), Error> {
    let (channels, tip) = (&app.channels, now.tip);
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
    app.channels.look(&channel, None, |payee| Ok(payee.collectable().is_none())).await
}
