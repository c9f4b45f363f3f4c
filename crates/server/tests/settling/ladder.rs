//! `timelock` channels, whose payer holds every older payment: valid later than the newest, and worth less to the payee. Its
//! own copy of the newest one takes nothing, but must not wait until an older one is valid.

use std::net::SocketAddr;

use rillpay_channel::bitcoin::{FeeRate, Transaction};
use rillpay_channel::grant::Grant;
use rillpay_channel::payer::{Effect, Request};
use rillpay_channel::wire::Message;
use rillpay_channel::{FundingKind, Ladder, refund};

use super::rivals::pay_on;
use super::*;

/// Each payment is valid three blocks before the one it replaces. Only a rival makes the server pay more than the cap.
pub(super) const TIMELOCK: [(&str, &str); 4] = [
    ("channel.kind", "\"timelock\""),
    ("channel.step_blocks", "3"),
    ("channel.updates", "5"),
    ("settlement.max_sat_per_vbyte", "2"),
];
const LADDER: Ladder = Ladder { step: 3, updates: 5 };
const OWN_FEE: Amount = Amount::from_sat(1_000);

/// Opens a channel on a ladder. It is not funded.
pub(super) async fn open(address: SocketAddr, number: u8) -> Viewer {
    let asked = |node| Request {
        ladder: Some(LADDER),
        funding_kind: FundingKind::P2wsh,
        ..request(node, number, Unit::Request, 1_000_000)
    };
    Viewer::open_with(address, 100, asked).await
}

impl Viewer {
    /// Gets the refund of a funding transaction signed, and only then broadcasts it.
    pub(super) async fn put_in(&mut self, transaction: Transaction, chain: &dyn Chain) {
        let step = self.payer.fund(transaction.clone()).unwrap();
        self.carry_out(step).await;
        let grant = self.signed().await;
        let step = self.payer.granted(&grant).unwrap();
        assert_eq!(self.payer.commit(store(step)).unwrap(), [Effect::Broadcast(transaction.clone())]);
        chain.broadcast(&transaction).await.unwrap();
    }

    /// Pays for one piece after the other and gets them. Gives what the server has signed for each.
    pub(super) async fn watch(&mut self) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (total, path) in (1..).zip(["/media/a.bin", "/media/b.bin", "/media/c.bin"]) {
            self.receive(1);
            let step = self.payer.need(total, 0, 0).unwrap();
            self.carry_out(step).await;
            let grant = self.signed().await;
            let step = self.payer.granted(&grant).unwrap();
            self.carry_out(step).await;
            assert_eq!(get(self.address, path, Some(self.token)).await.0, 200);
            grants.push(grant);
        }
        grants
    }

    async fn signed(&mut self) -> Grant {
        self.socket
            .wait_for("a signature", |message| match message {
                Message::Granted(grant) => Some(grant),
                Message::Refused(refusal) => panic!("{refusal:?}"),
                _ => None,
            })
            .await
    }

    /// Her own transaction for a payment that both sides have signed.
    pub(super) fn own(&self, number: u8, grant: &Grant, sat_per_vb: u32) -> Transaction {
        let key = seed(number).channel_key(0).unwrap();
        refund::granted(self.payer.params(), grant, FeeRate::from_sat_per_vb_u32(sat_per_vb), &key).unwrap()
    }
}

/// A viewer who has paid for three pieces and got them, and the server's signatures for these payments.
async fn watched(place: &Place, number: u8) -> (Viewer, Vec<Grant>) {
    let mut viewer = open(place.address(), number).await;
    let purse = place.chain.send(&seed(number).return_script(0).unwrap(), DEPOSIT + OWN_FEE).await.unwrap();
    let purse = place.chain.raw_transaction(&purse).await.unwrap().unwrap();
    let funding = pay_on(number, &purse, viewer.payer.params().funding_script(), DEPOSIT);
    viewer.put_in(funding, &place.chain).await;
    place.chain.mine(1).await.unwrap();
    viewer.funded(&place.chain).await;
    let grants = viewer.watch().await;
    (viewer, grants)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_is_gone_is_settled_with_as_soon_as_the_newest_payment_is_valid() {
    let place = Place::new(&TIMELOCK).await;
    let (mut emma, grants) = watched(&place, 1).await;
    emma.leave().await;
    let due = grants[2].lock;
    assert_eq!(due, emma.payer.params().expiry - 9, "three steps down");
    place.full_blocks_to(due - 1).await;
    place.looked().await;
    assert_eq!(place.chain.mempool_len().unwrap(), 0, "it would not be valid");
    place.full_blocks_to(due).await;
    let settlement = place.settlement(&emma, None).await;
    assert_eq!((settlement.locktime, changes(&settlement)), (due, [3_597_000].into()));
    // Of hers the one before is valid three blocks later.
    assert!(place.chain.broadcast(&emma.own(1, &grants[1], 50)).await.is_err());
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_payment_that_waits_is_outbid_and_so_is_the_refund() {
    let mut place = Place::new(&TIMELOCK).await;
    let (emma, grants) = watched(&place, 1).await;
    place.stop().await;
    // The server should have settled at the third payment's lock, and is not there before the second's.
    place.full_blocks_to(grants[1].lock).await;
    let older = place.chain.broadcast(&emma.own(1, &grants[1], 1)).await.unwrap();

    place.start().await;
    let settlement = place.settlement(&emma, Some(older)).await;
    assert_eq!(changes(&settlement), [3_597_000].into(), "three pieces, not two");
    // The oldest, dearer.
    place.full_blocks_to(grants[0].lock).await;
    let before = place.settlement(&emma, None).await.txid;
    let oldest = place.chain.broadcast(&emma.own(1, &grants[0], 5)).await.unwrap();
    assert!(place.chain.status(&before).await.unwrap().is_none(), "hers took the place of ours");
    let dearer = place.settlement(&emma, Some(oldest)).await;
    assert_eq!(changes(&dearer), [3_597_000].into());
    // At last, all of it.
    place.full_blocks_to(emma.payer.params().expiry).await;
    let refund = place.chain.broadcast(&rivals::refund(&emma, 10)).await.unwrap();
    let dearest = place.settlement(&emma, Some(refund)).await;
    assert_eq!(changes(&dearest), [3_597_000].into());
    assert_eq!(place.chain.mempool_len().unwrap(), 1);
    place.chain.mine(1).await.unwrap();
    let last = place.settlement(&emma, None).await;
    assert!(last.status.is_confirmed());
    assert_eq!(changes(&last), [3_597_000].into(), "she has fought for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewers_own_copy_of_the_newest_payment_is_left_to_end_the_channel() {
    let mut place = Place::new(&TIMELOCK).await;
    let (emma, grants) = watched(&place, 1).await;
    place.stop().await;
    place.full_blocks_to(grants[2].lock).await;
    let newest = emma.own(1, &grants[2], 10);
    let txid = place.chain.broadcast(&newest).await.unwrap();
    let payout = place.chain.wallet_address().unwrap().script_pubkey();
    let paid = newest.output.iter().find(|output| output.script_pubkey == payout).unwrap();
    assert_eq!(paid.value, Amount::from_sat(3_000));

    place.start().await;
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, txid, "it pays all that ours would, and she bears its fee");
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}

/// As [`TIMELOCK`], with no such cap.
const UNCAPPED: [(&str, &str); 3] = [TIMELOCK[0], TIMELOCK[1], TIMELOCK[2]];

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_newest_payment_that_is_too_cheap_is_outbid_at_once() {
    let mut place = Place::new(&UNCAPPED).await;
    let (emma, grants) = watched(&place, 1).await;
    place.stop().await;
    place.full_blocks_to(grants[2].lock).await;
    let fair = place.chain.broadcast(&emma.own(1, &grants[2], 1)).await.unwrap();
    place.fees.set(10);
    place.start().await;
    let settlement = place.settlement(&emma, Some(fair)).await;
    assert!(rate(&settlement) >= 10, "{}", rate(&settlement));
    assert_eq!(changes(&settlement), [3_597_000].into(), "what is hers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_newest_payment_that_a_block_went_by_without_is_outbid() {
    let mut place = Place::new(&UNCAPPED).await;
    let (emma, grants) = watched(&place, 1).await;
    place.stop().await;
    place.full_blocks_to(grants[2].lock).await;
    let fair = place.chain.broadcast(&emma.own(1, &grants[2], 5)).await.unwrap();
    place.start().await;
    place.looked().await;
    assert_eq!(place.settlement(&emma, None).await.txid, fair, "it pays what ours would, and she the fee");
    place.full_blocks(1).await;
    let settlement = place.settlement(&emma, Some(fair)).await;
    assert_eq!(settlement.locktime, grants[2].lock);
    place.chain.mine(1).await.unwrap();
    assert!(place.settlement(&emma, None).await.status.is_confirmed());
}
