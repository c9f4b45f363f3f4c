//! What nobody can choose: what room in a block costs, and when the server is down. The same seed gives the same weather.

use rillpay_channel::bitcoin::FeeRate;

use crate::chain::FIRST_HEIGHT;

/// Numbers that look random (SplitMix64), so that a failure can be repeated.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of this range.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end() - range.start()) + 1;
        range.start() + u32::try_from(self.next() % span).unwrap()
    }
}

/// Blocks in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Span {
    pub(crate) fn holds(&self, height: u32) -> bool {
        (self.first..=self.last).contains(&height)
    }
}

/// What room in a block costs, in satoshi per virtual byte, while nothing happens.
const CALM: u32 = 5;
/// How prices climb, each step for some blocks. They fall the same way.
const STEPS: [u32; 5] = [10, 20, 40, 80, 160];
/// Above what anybody would pay for a settlement: nothing of ours gets in.
pub(crate) const PEAK: u32 = 50_000;
const STEP_BLOCKS: u32 = 6;

/// The price of room in a block, by height.
#[derive(Clone, Default)]
pub(crate) struct Weather {
    prices: Vec<u32>,
    /// From the first rise of a price to its peak: while it is not known yet how dear it will be.
    pub(crate) rises: Vec<Span>,
    /// At the peak nothing gets in.
    pub(crate) peaks: Vec<Span>,
}

impl Weather {
    /// Always calm.
    pub(crate) fn calm() -> Self {
        Self::default()
    }

    /// Spikes at random up to a height, whose peaks last for so many blocks.
    pub(crate) fn stormy(dice: &mut Dice, until: u32, peak: std::ops::RangeInclusive<u32>) -> Self {
        let mut weather = Self::default();
        while weather.next() < until {
            weather.extend(CALM, dice.within(200..=1_500));
            let first = weather.next();
            STEPS.iter().for_each(|price| weather.extend(*price, STEP_BLOCKS));
            weather.rises.push(Span { first, last: weather.next() - 1 });
            let first = weather.next();
            weather.extend(PEAK, dice.within(peak.clone()));
            weather.peaks.push(Span { first, last: weather.next() - 1 });
            STEPS.iter().rev().for_each(|price| weather.extend(*price, STEP_BLOCKS));
        }
        weather
    }

    /// The height that has no price yet.
    fn next(&self) -> u32 {
        FIRST_HEIGHT + u32::try_from(self.prices.len()).unwrap()
    }

    fn extend(&mut self, price: u32, blocks: u32) {
        self.prices.extend((0..blocks).map(|_| price));
    }

    /// What a transaction has to pay for a place in the block at this height.
    pub(crate) fn price(&self, height: u32) -> FeeRate {
        let known = height.checked_sub(FIRST_HEIGHT).and_then(|at| self.prices.get(usize::try_from(at).ok()?));
        FeeRate::from_sat_per_vb_u32(known.copied().unwrap_or(CALM))
    }
}

/// When the server is down: it is stopped after its pass at `first`, and started at `last`.
pub(crate) fn outages(
    dice: &mut Dice,
    until: u32,
    blocks: std::ops::RangeInclusive<u32>,
    weather: &Weather,
) -> Vec<Span> {
    let (mut outages, mut height) = (vec![], FIRST_HEIGHT);
    while height < until {
        let first = height + dice.within(50..=500);
        let last = first + dice.within(blocks.clone());
        height = last;
        // Where prices climb before the first settlement after an outage is in a block, the outage has to be shorter by the
        // time that this takes.
        if !weather.rises.iter().any(|rise| rise.first <= last + 2 && first <= rise.last) {
            outages.push(Span { first, last });
        }
    }
    outages
}
