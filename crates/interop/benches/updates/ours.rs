//! Our two: holders on the store of `rillpay-node`.

use std::path::Path;

use anyhow::Result;
use bitcoin::secp256k1::SecretKey;
use rillpay_channel::revocable::holder::Event;
use rillpay_node::testing::ChannelStore;
use rillpay_pair::{Disk, Memory, Pair};

use crate::Payer;

/// How they pay.
#[derive(Clone, Copy)]
pub(crate) enum Ours {
    /// With `direct_payment`: an update.
    Direct,
    /// With an HTLC: two updates.
    Htlc,
}

struct Node(ChannelStore);

impl Disk for Node {
    fn save(&mut self, events: &[Event]) -> Result<()> {
        Ok(self.0.save(events)?)
    }
}

struct Two<D> {
    pair: Pair<D>,
    how: Ours,
    payments: usize,
}

pub(crate) fn open(folder: Option<&Path>, how: Ours) -> Box<dyn Payer> {
    let Some(folder) = folder else {
        return Box::new(Two { pair: Pair::open([Memory::default(), Memory::default()]).unwrap(), how, payments: 0 });
    };
    let peer = SecretKey::from_slice(&[1; 32]).unwrap().public_key(&rillpay_curve::context());
    let disks = ["hitesh", "irene"].map(|name| Node(ChannelStore::new(&folder.join(name), peer).unwrap()));
    Box::new(Two { pair: Pair::open(disks).unwrap(), how, payments: 0 })
}

impl<D: Disk> Payer for Two<D> {
    fn pay(&mut self, count: u64) {
        let who = self.payments % 2;
        self.payments += 1;
        match self.how {
            Ours::Direct => self.pair.pay(who, count).unwrap(),
            Ours::Htlc => self.pair.pay_with_htlcs(who, count).unwrap(),
        }
    }

    fn writes(&self) -> u64 {
        self.pair.sides.iter().map(|side| side.saves).sum()
    }
}
