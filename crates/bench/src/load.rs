//! The load: thousands of channels, each with one payment on its way at any time.
//!
//! ```text
//!   verify ─> round ─> verify ─> round ─> verify ─> round ─> verify
//!             │ every channel: send a payment signed beforehand, wait for its ack, send the next
//!             │ counted between the time all are under way and the time the first has nothing left to send
//! ```
//!
//! The yardstick is measured between the rounds, when the server is idle, so that a machine that grows slower or faster
//! meanwhile changes both sides of the ratio.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::commitment;
use rillpay_channel::wire::Message;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Bytes;

use crate::channels::{Attached, Opened, seed};
use crate::server::{Server, commits};
use crate::session::Session;
use crate::verify::{Signed, Verified, verify_for};

/// How much load.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Payments per channel and round.
    pub(crate) payments: u64,
    /// CPU time of each measurement of the yardstick.
    pub(crate) verify: Duration,
}

/// Sums over all rounds.
#[derive(Default, Serialize)]
pub(crate) struct Load {
    channels: usize,
    rounds: u32,
    /// Payments acknowledged while counting.
    payments: u64,
    wall_micros: u64,
    server_cpu_micros: u64,
    /// Transactions of the store while counting, each with one sync.
    commits: u64,
    /// From sending a payment to its acknowledgement, over all payments of the last round.
    ack_micros_median: u64,
    ack_micros_99: u64,
    /// The yardstick.
    verifications: u64,
    verify_cpu_micros: u64,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |micros: u64, count: u64| micros.saturating_mul(1000).checked_div(count).unwrap_or(0);
        write!(
            f,
            "{} payments with {} syncs; {} ns of the server's CPU time each, a bare verification {} ns",
            self.payments,
            self.commits,
            each(self.server_cpu_micros, self.payments),
            each(self.verify_cpu_micros, self.verifications),
        )
    }
}

/// A channel under load.
struct Lane {
    session: Session,
    opened: Opened,
    funding: commitment::Funding,
    paid: u64,
}

/// A payment signed beforehand.
struct Payment {
    frame: Bytes,
    cumulative: u64,
}

/// Puts the load on the server. Returns the figures, the channels, and what each has paid in the end.
pub(crate) async fn measure(
    server: &Server,
    folder: &Path,
    channels: Vec<Opened>,
    sessions: Vec<Attached>,
    plan: &Plan,
) -> Result<(Load, Vec<(Opened, u64)>)> {
    let mut lanes: Vec<Lane> = channels
        .into_iter()
        .zip(sessions)
        .map(|(opened, attached)| Lane { session: attached.session, opened, funding: attached.funding, paid: 0 })
        .collect();
    let mut load = Load { channels: lanes.len(), rounds: plan.rounds, ..Load::default() };
    let mut verified = Verified::default();
    for _ in 0..plan.rounds {
        let (payments, sample) = sign(&lanes, plan.payments)?;
        verified.add(verify_for(plan.verify, &sample)?);
        lanes = round(server, folder, lanes, payments, &mut load).await?;
        verified.add(verify_for(plan.verify, &sample)?);
    }
    load.verifications = verified.count;
    load.verify_cpu_micros = micros(verified.cpu);
    Ok((load, lanes.into_iter().map(|lane| (lane.opened, lane.paid)).collect()))
}

/// Signs the payments of a round, on all processors; and of each channel's first one, what a verifier needs.
fn sign(lanes: &[Lane], count: u64) -> Result<(Vec<Vec<Payment>>, Vec<Signed>)> {
    let threads = std::thread::available_parallelism()?.get();
    let part = lanes.len().div_ceil(threads).max(1);
    let signed: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
        let work = |lanes: &'_ [Lane]| lanes.iter().map(|lane| sign_lane(lane, count)).collect::<Result<Vec<_>>>();
        let workers: Vec<_> = lanes.chunks(part).map(|lanes| scope.spawn(move || work(lanes))).collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a signer died"))?).collect()
    });
    let lanes: Vec<(Vec<Payment>, Signed)> =
        signed.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    Ok(lanes.into_iter().unzip())
}

fn sign_lane(lane: &Lane, count: u64) -> Result<(Vec<Payment>, Signed)> {
    let params = lane.opened.payer.params();
    let key = seed().channel_key(lane.opened.payer.key_index())?;
    let mut payments = Vec::with_capacity(usize::try_from(count)?);
    let mut sample = None;
    for cumulative in (lane.paid..).skip(1).take(usize::try_from(count)?) {
        let amount = Amount::from_sat(cumulative);
        let paid = commitment::pay(params, &lane.funding, 0, amount, &key)?;
        if sample.is_none() {
            let (message, _) = commitment::sighash(params, &lane.funding, 0, amount)?;
            sample = Some(Signed { message, signature: paid.signature, key: params.payer });
        }
        payments.push(Payment { frame: Message::Pay(paid).encode().into(), cumulative });
    }
    Ok((payments, sample.context("no payment was signed")?))
}

/// What the lanes tell while they pay.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    exhausted: AtomicBool,
}

async fn round(
    server: &Server,
    folder: &Path,
    lanes: Vec<Lane>,
    payments: Vec<Vec<Payment>>,
    load: &mut Load,
) -> Result<Vec<Lane>> {
    let progress = Arc::new(Progress::default());
    // Every channel has had an acknowledgement or two when counting begins.
    let under_way = u64::try_from(lanes.len())?.saturating_mul(2);
    let mut running = JoinSet::new();
    for (lane, payments) in lanes.into_iter().zip(payments) {
        running.spawn(pay_all(lane, payments, Arc::clone(&progress)));
    }
    let acknowledged = || progress.acknowledged.load(Ordering::Relaxed);
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    while acknowledged() < under_way && !progress.exhausted.load(Ordering::Relaxed) {
        pause().await;
    }
    let began = (Instant::now(), server.cpu_time()?, acknowledged(), commits(folder)?);
    while !progress.exhausted.load(Ordering::Relaxed) {
        pause().await;
    }
    let ended = (Instant::now(), server.cpu_time()?, acknowledged(), commits(folder)?);

    let mut lanes = Vec::new();
    let mut delays = Vec::new();
    while let Some(done) = running.join_next().await {
        let (lane, own) = done??;
        lanes.push(lane);
        delays.extend(own);
    }
    delays.sort_unstable();
    let percentile = |percent: usize| delays.get(delays.len().saturating_mul(percent) / 100).copied().unwrap_or(0);
    load.ack_micros_median = percentile(50);
    load.ack_micros_99 = percentile(99);

    let payments = ended.2.saturating_sub(began.2);
    ensure!(payments > 0, "the load was over before it could be counted");
    add(&mut load.payments, payments);
    add(&mut load.wall_micros, micros(ended.0.duration_since(began.0)));
    add(&mut load.server_cpu_micros, micros(ended.1.saturating_sub(began.1)));
    add(&mut load.commits, ended.3.wrapping_sub(began.3).into());
    Ok(lanes)
}

async fn pay_all(mut lane: Lane, payments: Vec<Payment>, progress: Arc<Progress>) -> Result<(Lane, Vec<u64>)> {
    let mut delays = Vec::with_capacity(payments.len());
    for Payment { frame, cumulative } in payments {
        let sent = Instant::now();
        lane.session.pay(frame, cumulative).await?;
        delays.push(micros(sent.elapsed()));
        lane.paid = cumulative;
        progress.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    progress.exhausted.store(true, Ordering::Relaxed);
    Ok((lane, delays))
}

/// Microseconds; the durations here are of minutes at most.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
