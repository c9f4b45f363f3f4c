//! One look at the chain, as questions and answers: which addresses were used (gap limit 20, BIP 44), by which
//! transactions, and where those stand.
//!
//! The caller takes [`Look::asks`], puts each of them to an Esplora server in any order, feeds the answers, and asks again
//! until there is nothing more to ask; then [`Wallet::see`](crate::Wallet::see). A look that breaks off changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Address, Transaction, Txid};

use crate::account::{Branch, Place, Scripts};
use crate::book::Status;
use crate::error::{Code, Error, refuse};

/// How many unused addresses in a row end the search, as in every wallet that restores from words.
pub const GAP_LIMIT: u32 = 20;
/// How many confirmed transactions a page of Esplora's history has.
pub const PAGE: usize = 25;
/// The most addresses of one branch. A server that says of each address that it was used would be asked for ever.
pub(crate) const MAX_ADDRESSES: u32 = 2_000;
/// The most transactions of a wallet.
pub(crate) const MAX_TRANSACTIONS: usize = 5_000;

/// A question to Esplora.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `GET /blocks/tip/height`; answer with [`Look::tip`].
    Tip,
    /// `GET /address/:address/txs`, or, with `after`, `/address/:address/txs/chain/:after`; answer with [`Look::history`].
    History {
        /// Whose address.
        place: Place,
        /// The address.
        address: Address,
        /// The last confirmed transaction of the page before.
        after: Option<Txid>,
    },
    /// `GET /tx/:txid/hex`; answer with [`Look::transaction`].
    Transaction(Txid),
}

/// What is known of one address.
struct Watched {
    place: Place,
    address: Address,
    /// Where the next page begins, while there is one.
    next: Option<Option<Txid>>,
    used: bool,
}

/// A look in progress.
pub struct Look {
    scripts: Scripts,
    tip: Option<u32>,
    watched: [Vec<Watched>; 2],
    /// Addresses before these are looked at in any case.
    handed: [u32; 2],
    known: BTreeSet<Txid>,
    listed: BTreeMap<Txid, Listed>,
    fetched: BTreeMap<Txid, Transaction>,
    /// How many statements there were.
    said: usize,
}

/// Where a transaction stands, and when that was said: of two answers the later one counts.
#[derive(Clone, Copy)]
struct Listed {
    status: Status,
    said: usize,
}

/// What a look has found.
pub(crate) struct Sight {
    pub(crate) scripts: Scripts,
    pub(crate) tip: u32,
    /// The newest statement first.
    pub(crate) listed: Vec<(Txid, Status)>,
    pub(crate) fetched: BTreeMap<Txid, Transaction>,
}

impl Look {
    pub(crate) fn new(scripts: Scripts, handed: [u32; 2], known: BTreeSet<Txid>) -> Result<Self, Error> {
        let mut look = Self {
            scripts,
            tip: None,
            watched: [vec![], vec![]],
            handed,
            known,
            listed: BTreeMap::new(),
            fetched: BTreeMap::new(),
            said: 0,
        };
        Branch::ALL.into_iter().try_for_each(|branch| look.widen(branch))?;
        Ok(look)
    }

    /// What is still to be asked; empty when the look is complete.
    pub fn asks(&self) -> Vec<Ask> {
        let tip = self.tip.is_none().then_some(Ask::Tip);
        let pages = self.watched.iter().flatten().filter_map(|watched| {
            let after = watched.next?;
            Some(Ask::History { place: watched.place, address: watched.address.clone(), after })
        });
        let has = |txid: &Txid| self.known.contains(txid) || self.fetched.contains_key(txid);
        let missing = self.listed.keys().copied().filter(|txid| !has(txid));
        tip.into_iter().chain(pages).chain(missing.map(Ask::Transaction)).collect()
    }

    /// The height of the best block.
    pub fn tip(&mut self, height: u32) {
        self.tip = Some(height);
    }

    /// One page of an address's history: unconfirmed transactions first, then the newest first.
    ///
    /// # Errors
    /// [`Code::ContradictoryChain`] for an address that was not asked about and for a page that says nothing new;
    /// [`Code::WalletTooLarge`].
    pub fn history(&mut self, place: Place, page: &[(Txid, Status)]) -> Result<(), Error> {
        let [receive, change] = &mut self.watched;
        let watched = if place.branch == Branch::Receive { receive } else { change };
        let watched = usize::try_from(place.index).ok().and_then(|index| watched.get_mut(index));
        let Some((watched, asked)) = watched.and_then(|watched| watched.next.map(|asked| (watched, asked))) else {
            return refuse(Code::ContradictoryChain, "nobody asked about this address");
        };
        let known = |(txid, _): &(Txid, Status)| self.listed.contains_key(txid);
        if asked.is_some() && !page.is_empty() && page.iter().all(known) {
            return refuse(Code::ContradictoryChain, "the history of an address has no end");
        }
        let mut confirmed = page.iter().filter(|(_, status)| status.height.is_some());
        let full = confirmed.clone().count() >= PAGE;
        watched.next = confirmed.next_back().filter(|_| full).map(|(txid, _)| Some(*txid));
        watched.used |= !page.is_empty();
        for (txid, status) in page {
            self.said = self.said.saturating_add(1);
            self.listed.insert(*txid, Listed { status: *status, said: self.said });
        }
        if self.listed.len() > MAX_TRANSACTIONS {
            return refuse(Code::WalletTooLarge, "this wallet has more transactions than can be looked at here");
        }
        self.widen(place.branch)
    }

    /// A transaction that was asked for.
    ///
    /// # Errors
    /// [`Code::ContradictoryChain`] where it is another one.
    pub fn transaction(&mut self, txid: Txid, transaction: Transaction) -> Result<(), Error> {
        if transaction.compute_txid() != txid || !self.listed.contains_key(&txid) {
            return refuse(Code::ContradictoryChain, "this is not the transaction that was asked for");
        }
        self.fetched.insert(txid, transaction);
        Ok(())
    }

    /// A transaction that a history named is gone: it was replaced, or a reorganisation undid it. A status says nothing
    /// about it any more.
    pub fn gone(&mut self, txid: &Txid) {
        self.listed.remove(txid);
    }

    /// What was found.
    ///
    /// # Errors
    /// [`Code::ContradictoryChain`] while there is something to ask.
    pub(crate) fn sight(self) -> Result<Sight, Error> {
        let unfinished = Error::new(Code::ContradictoryChain, "not everything was answered");
        if !self.asks().is_empty() {
            return Err(unfinished);
        }
        let mut listed: Vec<_> = self.listed.into_iter().collect();
        listed.sort_by_key(|(_, listed)| std::cmp::Reverse(listed.said));
        Ok(Sight {
            tip: self.tip.ok_or(unfinished)?,
            scripts: self.scripts,
            listed: listed.into_iter().map(|(txid, listed)| (txid, listed.status)).collect(),
            fetched: self.fetched,
        })
    }

    /// Watches as many addresses beyond the last used one as the gap limit says.
    fn widen(&mut self, branch: Branch) -> Result<(), Error> {
        let [receive, change] = &mut self.watched;
        let [receive_handed, change_handed] = self.handed;
        let (watched, handed) = match branch {
            Branch::Receive => (receive, receive_handed),
            Branch::Change => (change, change_handed),
        };
        let wanted = used(watched).max(handed).saturating_add(GAP_LIMIT);
        if wanted > MAX_ADDRESSES {
            return refuse(Code::WalletTooLarge, "this wallet has more addresses than can be looked at here");
        }
        for index in u32::try_from(watched.len()).unwrap_or(u32::MAX)..wanted {
            let place = Place { branch, index };
            let address = self.scripts.address(place)?;
            watched.push(Watched { place, address, next: Some(None), used: false });
        }
        Ok(())
    }
}

/// The number of addresses up to the last used one.
fn used(watched: &[Watched]) -> u32 {
    let last = watched.iter().rev().find(|watched| watched.used);
    last.map_or(0, |watched| watched.place.index.saturating_add(1))
}
