//! The chain of headers, each checked against the one before: what a server cannot make up without the network's work.

use std::collections::VecDeque;

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, Network, Target, Work};

use super::api::Placed;
use super::http::Http;
use super::trouble::Trouble;
use crate::status::median;
use crate::work::check_target;
use crate::{BlockRef, Tip};

/// The median of this many blocks' times is the chain's time (BIP 113).
const MEDIAN_OF: usize = 11;
/// Below this height the chain is read down to its first block, which proves the heights.
const NEAR_GENESIS: u32 = 32;
/// The furthest that headers are read forwards in one go: a month of blocks.
const FURTHEST_FORWARD: usize = 4_500;
/// The main network's difficulty at the start of 2020, some 13.8 trillion. A first tip that took less work is not its.
const EASIEST_MAINNET: u32 = 0x1713_0c78;

/// The best chain from some height on, linked.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    base: u32,
    list: VecDeque<(BlockHash, Header)>,
}

impl Headers {
    pub(super) fn tip(&self) -> Option<Tip> {
        let (hash, header) = self.list.back()?;
        let times: Vec<u32> = self.list.iter().rev().take(MEDIAN_OF).map(|(_, header)| header.time).collect();
        let median_time = median(&times)?;
        Some(Tip { height: self.top()?, hash: *hash, time: header.time, median_time })
    }

    pub(super) fn base(&self) -> u32 {
        self.base
    }

    pub(super) fn at(&self, height: u32) -> Option<&(BlockHash, Header)> {
        self.list.get(usize::try_from(height.checked_sub(self.base)?).ok()?)
    }

    pub(super) fn block(&self, height: u32) -> Option<BlockRef> {
        self.at(height).map(|(hash, header)| BlockRef { height, hash: *hash, time: header.time })
    }

    fn top(&self) -> Option<u32> {
        self.base.checked_add(u32::try_from(self.list.len().checked_sub(1)?).ok()?)
    }

    /// The work of the blocks above a height.
    fn work_above(&self, height: u32) -> Option<Work> {
        let skip = usize::try_from(height.checked_sub(self.base)?).ok()?.checked_add(1)?;
        total_work(self.list.iter().skip(skip).map(|(_, header)| header))
    }

    /// Reads the server's best chain down to a block that is known, and takes it over if it has no less work. On the first
    /// call, down to as much as the median of times takes.
    pub(super) async fn advance(&mut self, http: &Http, network: Network) -> Result<(), Trouble> {
        let mut page = http.blocks(None).await?.into_iter();
        let first = page.next().ok_or_else(|| Trouble::lie("a chain without blocks"))?;
        check_work(network, &first.header)?;
        let mut branch = VecDeque::from([first]);
        loop {
            let lowest = *branch.front().ok_or_else(|| Trouble::lie("a chain without blocks"))?;
            if let Some(below) = lowest.height.checked_sub(1) {
                if self.at(below).is_some_and(|(hash, _)| *hash == lowest.header.prev_blockhash) {
                    return self.adopt(below, branch, network);
                }
            } else if lowest.hash != genesis_block(network).block_hash() {
                return Err(Trouble::Foreign(format!("its first block is {}", lowest.hash)));
            }
            if self.list.is_empty() && enough(&branch, lowest.height) {
                return self.begin(http, branch, network).await;
            }
            if lowest.height == 0 || branch.len() > FURTHEST_FORWARD {
                return Err(Trouble::lie("its chain shares nothing recent with what it said before"));
            }
            branch.push_front(next_below(http, &mut page, &lowest, network).await?);
        }
    }

    async fn begin(&mut self, http: &Http, branch: VecDeque<Placed>, network: Network) -> Result<(), Trouble> {
        let (Some(first), Some(tip)) = (branch.front(), branch.back()) else { return Ok(()) };
        let easiest = Target::from_compact(CompactTarget::from_consensus(EASIEST_MAINNET));
        if network == Network::Bitcoin && tip.header.target() > easiest {
            return Err(Trouble::Foreign("its newest block took less work than the main network's do".to_owned()));
        }
        if first.height > 0 {
            let block = http.block(&tip.hash).await?.ok_or_else(|| Trouble::behind("its newest block is not there"))?;
            if claimed_height(&block) != Some(tip.height) {
                return Err(Trouble::lie(format!("block {} is not at height {}", tip.hash, tip.height)));
            }
        }
        self.base = first.height;
        self.list = branch.iter().map(|placed| (placed.hash, placed.header)).collect();
        Ok(())
    }

    fn adopt(&mut self, fork: u32, branch: VecDeque<Placed>, network: Network) -> Result<(), Trouble> {
        let mut before = self.at(fork).ok_or_else(|| Trouble::lie("no fork"))?.1;
        for placed in &branch {
            check_target(network, placed.height, &before, &placed.header).map_err(Trouble::Lie)?;
            before = placed.header;
        }
        if total_work(branch.iter().map(|placed| &placed.header)) < self.work_above(fork) {
            return Err(Trouble::behind("it shows a chain with less work than before"));
        }
        self.list.truncate(usize::try_from(fork.saturating_sub(self.base)).unwrap_or(0).saturating_add(1));
        self.list.extend(branch.iter().map(|placed| (placed.hash, placed.header)));
        Ok(())
    }

    /// Reads older headers, down to a height. Those that were read before something went wrong stay.
    pub(super) async fn extend_down(&mut self, http: &Http, height: u32, network: Network) -> Result<(), Trouble> {
        let mut page = Vec::new().into_iter();
        while let Some((hash, header)) = self.list.front().copied().filter(|_| self.base > height) {
            let above = Placed { height: self.base, hash, header };
            let placed = next_below(http, &mut page, &above, network).await?;
            self.list.push_front((placed.hash, placed.header));
            self.base = placed.height;
        }
        Ok(())
    }

    /// Takes over the older headers that another list has of the same chain.
    pub(super) fn deepen(&mut self, other: &Self) {
        let count = usize::try_from(self.base.saturating_sub(other.base)).unwrap_or(0);
        let older: Vec<(BlockHash, Header)> = other.list.iter().take(count).copied().collect();
        let above = self.list.front().map(|(_, header)| header.prev_blockhash);
        if older.len() == count && count > 0 && above.is_some() && above == older.last().map(|(hash, _)| *hash) {
            older.into_iter().rev().for_each(|header| self.list.push_front(header));
            self.base = other.base;
        }
    }
}

/// Every header was checked to have taken its work, and all computers together cannot do 2²⁵⁶ of it.
#[expect(clippy::arithmetic_side_effects, reason = "cannot overflow")]
fn total_work<'a>(headers: impl Iterator<Item = &'a Header>) -> Option<Work> {
    headers.map(Header::work).reduce(|a, b| a + b)
}

fn enough(branch: &VecDeque<Placed>, lowest: u32) -> bool {
    let top = branch.back().map_or(0, |tip| tip.height);
    lowest == 0 || (top > NEAR_GENESIS && branch.len() >= MEDIAN_OF)
}

/// The block under one, from the page that is being read or the next page.
async fn next_below(
    http: &Http,
    page: &mut std::vec::IntoIter<Placed>,
    above: &Placed,
    network: Network,
) -> Result<Placed, Trouble> {
    let height = above.height.checked_sub(1).ok_or_else(|| Trouble::lie("there is nothing below the first block"))?;
    let mut next = page.next();
    if next.is_none() {
        *page = http.blocks(Some(height)).await?.into_iter();
        next = page.next();
    }
    let placed = next.ok_or_else(|| Trouble::lie(format!("no block at height {height}")))?;
    if placed.height != height {
        return Err(Trouble::lie(format!("block {} instead of {height}", placed.height)));
    }
    if placed.hash != above.header.prev_blockhash {
        // Between two pages a reorganisation can happen, and two pages can come from two servers behind one name.
        return Err(Trouble::behind(format!("its chain changed at block {height} while it was read")));
    }
    check_work(network, &placed.header)?;
    if height == 0 && placed.hash != genesis_block(network).block_hash() {
        return Err(Trouble::Foreign(format!("its first block is {}", placed.hash)));
    }
    check_target(network, above.height, &placed.header, &above.header).map_err(Trouble::Lie)?;
    Ok(placed)
}

/// That the header's hash is as small as it says, and that no easier than the network allows.
pub(super) fn check_work(network: Network, header: &Header) -> Result<(), Trouble> {
    let easy = header.target() > Params::new(network).max_attainable_target;
    if easy || header.validate_pow(header.target()).is_err() {
        return Err(Trouble::lie(format!("block {} took no work", header.block_hash())));
    }
    Ok(())
}

/// The height that a block's first transaction names (BIP 34).
fn claimed_height(block: &bitcoin::Block) -> Option<u32> {
    let script = &block.coinbase()?.input.first()?.script_sig;
    let number = script.instructions_minimal().next()?.ok()?.script_num()?;
    u32::try_from(number).ok()
}
