//! Does a channel grow heavier with use? Payment 1,000,000 against payment 1, in time and in bytes stored.
//!
//! One channel is really paid on a million times: by the payer's machine, over the socket, through the server's
//! committer and store, one payment at a time. Its folder is in memory where the system has such a folder (Linux), since
//! a million syncs of a disk would take an hour and would not differ. Then this channel and a fresh one take turns, so
//! that both are measured at the same time on the same machine.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rillpay_channel::commitment::SeenOutput;
use rillpay_channel::payer::{Effect, Event, Payer};
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::wire::Message;
use serde::Serialize;

use crate::channels::{Attached, Opened, attach, open};
use crate::load::micros;
use crate::server::{Server, database};
use crate::session::Session;

/// How far, and how it is compared.
pub(crate) struct Plan {
    pub(crate) payments: u64,
    pub(crate) turns: u64,
    pub(crate) payments_per_turn: u64,
}

/// Payments on the two channels, and what is stored for both.
#[derive(Serialize)]
pub(crate) struct Growth {
    payments: u64,
    payments_per_turn: u64,
    /// Medians over the turns, of the whole turn: machine, socket, store, acknowledgement.
    fresh_turn_micros: u64,
    old_turn_micros: u64,
    /// Of which the payer's machine.
    fresh_payer_micros: u64,
    old_payer_micros: u64,
    /// The server's database and the old channel's records at the payer, at its first payment and after the last.
    bytes_before: u64,
    bytes_after: u64,
}

/// A payer with its session and with what it has stored: the newest event of each slot.
struct Line {
    payer: Payer,
    session: Session,
    slots: Vec<Event>,
    thinking: Duration,
}

/// Measures in `folder`, which is made for it.
pub(crate) async fn measure(folder: &Path, plan: &Plan) -> Result<Growth> {
    let mut server = Server::start(folder).await?;
    let mut lines = lines(&mut server).await?;
    for line in &mut lines {
        line.pay(1).await?;
    }
    let [mut old, mut fresh] = lines;
    server.stop().await?;
    let bytes_before = stored(folder, &old)?;

    let server = Server::start(folder).await?;
    old.attach(&server).await?;
    old.pay(plan.payments.saturating_sub(1)).await?;
    // Only now: the server hangs up on a socket that does not read its pings.
    fresh.attach(&server).await?;

    let mut turns = [vec![], vec![]];
    let mut thoughts = [vec![], vec![]];
    for _ in 0..plan.turns {
        for ((line, turns), thoughts) in [&mut fresh, &mut old].into_iter().zip(&mut turns).zip(&mut thoughts) {
            line.thinking = Duration::ZERO;
            let began = Instant::now();
            line.pay(plan.payments_per_turn).await?;
            turns.push(micros(began.elapsed()));
            thoughts.push(micros(line.thinking));
        }
    }
    server.stop().await?;
    let [fresh_turn_micros, old_turn_micros] = turns.map(median);
    let [fresh_payer_micros, old_payer_micros] = thoughts.map(median);
    Ok(Growth {
        payments: plan.payments,
        payments_per_turn: plan.payments_per_turn,
        fresh_turn_micros,
        old_turn_micros,
        fresh_payer_micros,
        old_payer_micros,
        bytes_before,
        bytes_after: stored(folder, &old)?,
    })
}

/// Two channels, open and funded.
async fn lines(server: &mut Server) -> Result<[Line; 2]> {
    let opened = open(server, 0..2).await?;
    let sessions = attach(server.address(), &opened).await?;
    let mut lines = Vec::new();
    for (Opened { payer, events }, Attached { session, funding, .. }) in opened.into_iter().zip(sessions) {
        let mut line = Line { payer, session, slots: events, thinking: Duration::ZERO };
        let seen = SeenOutput { funding, confirmations: 1 };
        line.take(line.payer.funding_seen(&funding, &[seen])?)?;
        lines.push(line);
    }
    lines.try_into().ok().context("two channels were asked for")
}

impl Line {
    async fn attach(&mut self, server: &Server) -> Result<()> {
        self.session = Session::connect(server.address()).await?;
        self.session.attach(&self.payer).await?;
        Ok(())
    }

    /// Pays for one request after the other, and receives each.
    async fn pay(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let began = Instant::now();
            let received = self.payer.received();
            let effects = self.take(self.payer.need(received.saturating_add(1), received, 0)?)?;
            let [Effect::Send(message @ Message::Pay(paid))] = effects.as_slice() else {
                bail!("no payment but {effects:?}");
            };
            let frame = message.encode();
            self.take(self.payer.receive(1)?)?;
            self.thinking = self.thinking.saturating_add(began.elapsed());
            self.session.pay(frame.into(), paid.cumulative.to_sat()).await?;
        }
        Ok(())
    }

    /// Stores a decision as a browser does, in slots, and carries it out.
    fn take(&mut self, step: rillpay_channel::payer::Step) -> Result<Vec<Effect>> {
        let slots = &mut self.slots;
        let saved = step.save(|events| {
            for event in events {
                match slots.iter_mut().find(|slot| slot.slot() == event.slot()) {
                    Some(slot) => *slot = event.clone(),
                    None => slots.push(event.clone()),
                }
            }
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(self.payer.commit(saved)?)
    }
}

/// What both sides have on disk; the server has to be stopped, so that its log is folded into the database.
fn stored(folder: &Path, line: &Line) -> Result<u64> {
    let mut log = database(folder).into_os_string();
    log.push("-wal");
    ensure!(!Path::new(&log).exists(), "the server left its log behind");
    let payer: usize = line.slots.iter().map(|event| event.encode().len()).sum();
    Ok(fs::metadata(database(folder))?.len().saturating_add(u64::try_from(payer)?))
}

pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
