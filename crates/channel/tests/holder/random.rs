//! Whatever the two do, however late it arrives, and wherever it breaks: they agree in the end, and no money appears or
//! vanishes.

use proptest::prelude::*;
use rillpay_channel::revocable::holder::Failure;

use crate::pair::{CAPACITY, HITESH, IRENE, Pair};

/// All messages arrive, and everybody signs until nothing changes.
fn calm(pair: &mut Pair) {
    loop {
        let before = pair.log.len();
        pair.run();
        for who in [HITESH, IRENE] {
            pair.sign(who);
        }
        pair.run();
        if pair.log.len() == before {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_holders_agree(actions in prop::collection::vec((0usize..2, 0u8..18, 1u64..30_000_000), 0..80)) {
        let mut pair = Pair::open(500_000_000);
        for (who, action, number) in actions {
            let secret = (number % 200) as u8;
            match action {
                0..=2 => drop(pair.offer(who, number, secret)),
                3 | 4 => {
                    let found = pair.sides[who].holder.received().next();
                    if let Some((id, htlc, _)) = found {
                        let known = (0..200u8).find(|byte| {
                            <bitcoin::hashes::sha256::Hash as bitcoin::hashes::Hash>::hash(&[*byte; 32]) == htlc.payment_hash
                        });
                        if number % 3 == 0 {
                            drop(pair.send_back(who, id, Failure::Reason(vec![secret])));
                        } else {
                            pair.fulfill(who, id, known.unwrap()).unwrap();
                        }
                    }
                }
                5 => {
                    let rate = bitcoin::FeeRate::from_sat_per_kwu(253 + number % 5_000);
                    drop(pair.act(who, |side| side.holder.set_fee(&side.keys, rate)));
                }
                6 | 7 => pair.sign(who),
                16 | 17 => drop(pair.pay(who, number)),
                8..=13 => drop(pair.deliver(who).unwrap()),
                14 if number % 3 == 0 => {
                    pair.reconnect();
                }
                _ if number % 3 == 0 => {
                    pair.kill(who);
                    pair.connect();
                }
                _ => {}
            }
            for side in &pair.sides {
                for owner in [rillpay_channel::revocable::Role::Opener, rillpay_channel::revocable::Role::Accepter] {
                    let state = side.holder.ledger().newest(owner).unwrap();
                    let locked: u64 = state.htlcs.iter().map(|htlc| htlc.amount.get()).sum();
                    prop_assert_eq!(state.opener.get() + state.accepter.get() + locked, CAPACITY.to_sat() * 1_000);
                }
                // Whatever happened, the newest commitment can be broadcast.
                side.holder.commitment(&side.keys).unwrap();
            }
        }
        calm(&mut pair);
        pair.check();
    }
}
