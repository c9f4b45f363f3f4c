//! How long before its expiry a channel stops serving and is settled: the longer, the dearer room in a block is.
//!
//! What is not in a block by the expiry height may be lost to the payer's refund. The parameters name the least margins,
//! for calm times. While fees are high a settlement waits for more blocks, so the payee's margins grow in proportion to the
//! rate for quick confirmation, and shrink again with it: it stops earlier, and settles while its settlement still has time.
//!
//! Growth is bounded. Fees can be driven up by someone who gains from it, and an estimate can be a lie: margins without
//! bound would let him end all channels at once. So none grows beyond [`MAX_PERMILLE`], nor beyond half of the time in which
//! a channel is of use: a young channel goes on through any spike, and whoever opens one is served.

#[cfg(test)]
mod tests;

use bitcoin::FeeRate;

use crate::params::ChannelParams;

/// Margins as the parameters have them, in thousandths.
const CALM_PERMILLE: u32 = 1_000;
/// The most that margins grow, in thousandths: four times.
pub const MAX_PERMILLE: u32 = 4_000;

/// By how much margins have grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surge {
    /// From [`CALM_PERMILLE`] to [`MAX_PERMILLE`].
    permille: u32,
    /// No margin grows beyond this, in blocks.
    longest: u32,
}

impl Surge {
    /// Calm: margins are the least ones.
    pub const NONE: Self = Self { permille: CALM_PERMILLE, longest: 0 };

    /// What the rate for quick confirmation, `current`, does to margins that are enough up to the rate `calm`. `longest`, in
    /// blocks, is what no margin grows beyond ([`crate::payee::Offer::surge`]).
    pub fn new(current: FeeRate, calm: FeeRate, longest: u32) -> Self {
        let calm = calm.to_sat_per_kwu().max(1);
        let permille = current.to_sat_per_kwu().saturating_mul(CALM_PERMILLE.into()).div_ceil(calm);
        let permille = u32::try_from(permille).unwrap_or(MAX_PERMILLE).clamp(CALM_PERMILLE, MAX_PERMILLE);
        Self { permille, longest }
    }

    /// The margins of a channel as they are now.
    pub fn margins(self, params: &ChannelParams) -> Margins {
        Margins { stop: params.stop_margin.into(), close: params.close_margin.into() }.grown(self)
    }
}

/// A channel's margins before its expiry, in blocks: `close` is at most `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// From here on nothing is served or accepted.
    pub stop: u32,
    /// By here the channel is settled.
    pub close: u32,
}

impl Margins {
    /// Both by the same factor, so that the time between stopping and settling grows with them.
    fn grown(self, surge: Surge) -> Self {
        let stop = scale(self.stop, surge.permille, CALM_PERMILLE).min(surge.longest.max(self.stop));
        Self { stop, close: scale(self.close, stop, self.stop) }
    }
}

/// `blocks * by / of`, rounded up; the blocks themselves for a fraction of nothing.
fn scale(blocks: u32, by: u32, of: u32) -> u32 {
    if of == 0 {
        return blocks;
    }
    let scaled = u64::from(blocks).saturating_mul(by.into()).div_ceil(of.into());
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

/// The chain as a decision about time sees it. A bare height stands for calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The height of the best block.
    pub tip: u32,
    /// What fees do to the margins.
    pub surge: Surge,
}

impl From<u32> for Moment {
    fn from(tip: u32) -> Self {
        Self { tip, surge: Surge::NONE }
    }
}

/// When a channel whose payer has gone is settled: all that a watcher of many has to remember of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    expiry: u32,
    least: Margins,
    /// In a `timelock` channel, the lock of the last commitment: it is valid from the next block on, however dear, and
    /// its predecessor one step later.
    lock: Option<u32>,
}

impl Deadline {
    pub(crate) fn new(params: &ChannelParams, lock: Option<u32>) -> Self {
        Self { expiry: params.expiry, least: Surge::NONE.margins(params), lock }
    }

    /// The height from which it is settled at its last payment.
    pub fn height(&self, surge: Surge) -> u32 {
        self.lock.unwrap_or_else(|| self.expiry.saturating_sub(self.least.grown(surge).close))
    }
}
