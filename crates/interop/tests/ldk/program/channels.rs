//! Whole lives: opened, used as far as both can, and closed.

use super::{LDK_DELAY, Meeting, OUR_DELAY, PAUSE};
use crate::chain::Chain;
use crate::world::{BOTH, Who};

use bitcoin::{Amount, FeeRate};

/// Direct payments are not LDK's, and payments over HTLCs are not ours: neither harms the channel.
fn try_to_pay(meeting: &mut Meeting<'_>) {
    let (node, channel) = (meeting.node.clone(), meeting.channel.clone());
    let refused = meeting.during(async move { node.pay(&channel, Amount::from_sat(1_000)).await }).unwrap_err();
    assert_eq!(refused.code(), "unavailable");
    for n in 1..=2 {
        meeting.ldk_offers([n; 32]);
        meeting.comes_back([n; 32]);
    }
}

#[test]
fn either_opens_and_either_closes_by_agreement() {
    let chain = Chain::start();
    for opener in BOTH {
        for closer in BOTH {
            let mut meeting = Meeting::open(&chain, opener);
            let (before, id) = (meeting.on_chain(), meeting.ldk_id());
            try_to_pay(&mut meeting);
            if opener == Who::Ldk {
                meeting.ldk_estimates(FeeRate::from_sat_per_kwu(500));
            }
            match closer {
                Who::Us => {
                    let (node, channel) = (meeting.node.clone(), meeting.channel.clone());
                    let closed = meeting.during(async move { node.close(&channel, false).await }).unwrap();
                    assert_eq!(closed.state, "closed");
                }
                Who::Ldk => meeting.ldk.channels.close_channel(&id, &meeting.node.id()).unwrap(),
            }
            meeting.until("both have closed", |meeting| {
                meeting.ldk.channels.list_channels().is_empty() && meeting.state() == Some("closed")
            });
            // Both broadcast the same.
            meeting.until("it waits for a block", |meeting| meeting.chain.waiting().len() == 1);
            meeting.we_are_paid(before);
            meeting.ldk_is_paid();
        }
    }
}

#[test]
fn we_close_alone() {
    let chain = Chain::start();
    for opener in BOTH {
        let mut meeting = Meeting::open(&chain, opener);
        let before = meeting.on_chain();
        // LDK hears of it, and wants its own commitment, too.
        meeting.is_race = true;
        let closed = meeting.runtime.block_on(meeting.node.close(&meeting.channel, true)).unwrap();
        assert_eq!(closed.state, "closed_alone");
        let txid = closed.txid.unwrap().parse().unwrap();
        // Before LDK has its turn.
        while !meeting.chain.waiting().contains(&txid) {
            std::thread::sleep(PAUSE);
        }
        meeting.mine(1);
        assert!(meeting.confirmed.contains(&txid));

        // LDK's own is there after the confirmations that it wants, and ours after the delay that it set, and not before.
        meeting.mine(5);
        meeting.until("LDK can take its own", |meeting| !meeting.ldk.spendable.is_empty());
        meeting.ldk_is_paid();
        meeting.mine(LDK_DELAY - 7 - 1);
        let height = meeting.height;
        let ask = |meeting: &Meeting<'_>| meeting.runtime.block_on(meeting.node.info()).unwrap().height;
        meeting.until("our node knows the newest block", |meeting| ask(meeting) == height);
        assert!(meeting.on_chain() <= before && meeting.chain.waiting().is_empty());
        meeting.we_are_paid(before);
    }
}

#[test]
fn ldk_closes_alone() {
    let chain = Chain::start();
    for opener in BOTH {
        // Our node calls nobody who has called it.
        let mut meeting = Meeting::open_over(&chain, opener, Who::Ldk);
        let (before, id, us) = (meeting.on_chain(), meeting.ldk_id(), meeting.node.id());
        // Not connected: otherwise ours might be mined. In one case our node sleeps through it all.
        let sleeps = opener == Who::Ldk;
        if sleeps {
            meeting.stop();
        }
        meeting.hang_up();
        meeting.is_race = true;
        meeting.ldk.channels.force_close_broadcasting_latest_txn(&id, &us, "enough".to_owned()).unwrap();
        meeting.until("it waits for a block", |meeting| meeting.chain.waiting().len() == 1);
        let spent_by = Some(meeting.chain.waiting().remove(0).to_string());
        meeting.mine(1);
        if sleeps {
            meeting.start();
        }
        meeting.until("our node has seen it", |meeting| meeting.list()[0].spent_by == spent_by);
        let height = meeting.height;
        meeting.we_are_paid(before);
        // LDK's comes after our delay.
        assert!(meeting.height < height + u32::from(OUR_DELAY) && meeting.ldk.spendable.is_empty());
        meeting.mine(height + u32::from(OUR_DELAY) - meeting.height);
        meeting.until("LDK can take its own", |meeting| !meeting.ldk.spendable.is_empty());
        meeting.ldk_is_paid();
    }
}
