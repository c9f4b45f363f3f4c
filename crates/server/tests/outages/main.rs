//! Months of blocks with outages and fee spikes: what the margins are worth.
//!
//! The server is the real one: sockets, payee machine, store, watcher, settler, stopped and started again. Its viewers open
//! channels, pay now and then, and most of them just go. Each is an adversary with a miner for a friend: in the first block
//! after the expiry its refund comes before everything else. The chain is a model behind the `Chain` trait, with consensus
//! for locks, double spends and scripts, and a price for room in a block (see `chain.rs`): on the embedded chain, whose
//! blocks are real, the same months take several minutes, and room in them costs nothing.
//!
//! Shown: outages shorter than the close margin cost nothing; of longer ones, exactly which channels lose what; and that
//! fee spikes longer than the close margin cost nothing, because margins grow as prices climb.
//!
//! `RILLPAY_SOAK_MONTHS` makes it longer than three months.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod simulation;
mod weather;

use std::collections::BTreeSet;

use rillpay_channel::bitcoin::Amount;

use crate::chain::FIRST_HEIGHT;
use crate::simulation::{CLOSE_MARGIN, LIFETIME, Ledger, Story, run};
use crate::weather::{Dice, Span, Weather, outages};

const MONTH_BLOCKS: u32 = 4_383;
/// Margins grow beyond this rate; without a storm no price is as high.
const CALM: u32 = 10;
/// No price is as high: margins never grow.
const NEVER: u32 = 10_000;

fn blocks() -> u32 {
    let months =
        std::env::var("RILLPAY_SOAK_MONTHS").map_or(3, |text| text.parse::<u32>().expect("a number of months"));
    months.max(3) * MONTH_BLOCKS
}

/// Every satoshi is accounted for.
fn adds_up(ledger: &Ledger) {
    assert_eq!(ledger.received + ledger.fees + ledger.lost(), ledger.owed());
}

fn told(name: &str, story: &Story, ledger: &Ledger) {
    eprintln!(
        "{name}: {} blocks, {} channels, {} outages, {} spikes; owed {}, received {}, fees {}, lost {}; refused {:?}",
        story.blocks,
        ledger.ends.len(),
        story.outages.len(),
        story.weather.peaks.len(),
        ledger.owed(),
        ledger.received,
        ledger.fees,
        ledger.lost(),
        ledger.refused,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_shorter_than_the_close_margin_lose_not_a_satoshi_even_between_fee_spikes() {
    let (seed, blocks) = (1, blocks());
    let until = FIRST_HEIGHT + blocks - LIFETIME;
    let mut dice = Dice::new(seed);
    let weather = Weather::stormy(&mut dice, until, 60..=120);
    let outages = outages(&mut dice, until, 1..=CLOSE_MARGIN, &weather);
    let story = Story { seed, blocks, weather, outages, calm: CALM };
    let ledger = run(&story).await;
    told("short outages", &story, &ledger);
    assert_eq!(ledger.lost(), Amount::ZERO);
    adds_up(&ledger);
    // It was not for want of danger: channels fell due while the server was down.
    let in_time = |outage: &&Span| {
        ledger
            .ends
            .values()
            .any(|end| !end.agreed && outage.holds(end.expiry - CLOSE_MARGIN) && end.height > outage.last)
    };
    assert!(story.outages.iter().filter(in_time).count() >= 3);
    assert!(ledger.refused.least > 0 && ledger.refused.grown > 0, "{:?}", ledger.refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_outages_lose_what_fell_due_and_expired_in_them_and_nothing_else() {
    let (seed, blocks) = (2, blocks());
    let weather = Weather::calm();
    let outages = outages(&mut Dice::new(seed), FIRST_HEIGHT + blocks - LIFETIME, 1..=3 * CLOSE_MARGIN, &weather);
    let story = Story { seed, blocks, weather, outages, calm: CALM };
    let ledger = run(&story).await;
    told("long outages", &story, &ledger);
    adds_up(&ledger);
    // The last pass before the outage came too early for it, the first one after it too late.
    let falls_into = |expiry: u32, outage: &Span| expiry - CLOSE_MARGIN > outage.first && expiry <= outage.last;
    let expected: BTreeSet<u32> = ledger
        .ends
        .iter()
        .filter(|(_, end)| !end.agreed && story.outages.iter().any(|outage| falls_into(end.expiry, outage)))
        .map(|(number, _)| *number)
        .collect();
    let lost: BTreeSet<u32> = ledger.ends.iter().filter(|(_, end)| end.lost).map(|(number, _)| *number).collect();
    assert_eq!(lost, expected);
    assert!(lost.len() >= 3 && lost.len() * 2 < ledger.ends.len(), "{} of {}", lost.len(), ledger.ends.len());
    // A channel can be lost only in an outage that is longer than the margin.
    for outage in story.outages.iter().filter(|outage| outage.last - outage.first <= CLOSE_MARGIN) {
        assert!(!ledger.ends.values().any(|end| end.lost && outage.holds(end.height)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fee_spikes_longer_than_the_margin_lose_money_unless_the_margin_grows_with_the_fees() {
    let (seed, blocks) = (3, blocks());
    let weather = Weather::stormy(&mut Dice::new(seed), FIRST_HEIGHT + blocks - LIFETIME, 60..=120);
    let story = |calm| Story { seed, blocks, weather: weather.clone(), outages: vec![], calm };

    let (fixed, growing) = (story(NEVER), story(CALM));
    let (ledger, protected) = tokio::join!(run(&fixed), run(&growing));
    told("margins that never grow", &fixed, &ledger);
    told("margins that grow", &growing, &protected);
    adds_up(&ledger);
    adds_up(&protected);
    let lost: Vec<_> = ledger.ends.values().filter(|end| end.lost).collect();
    assert!(lost.len() >= 3, "nothing was lost: this story shows nothing");
    for end in lost {
        let all_in = |peak: &Span| peak.holds(end.expiry - CLOSE_MARGIN + 1) && peak.holds(end.expiry);
        assert!(weather.peaks.iter().any(all_in), "lost without need: {end:?}");
    }
    assert_eq!(protected.lost(), Amount::ZERO);
}
