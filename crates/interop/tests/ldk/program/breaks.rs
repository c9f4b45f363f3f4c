//! Connections that break, and a node that is killed.

use std::time::Duration;

use super::Meeting;
use crate::chain::Chain;
use crate::world::{BOTH, Who};

/// Times of an accident, in milliseconds after a payment was offered: before, amid and after its messages.
const MOMENTS: [u64; 6] = [0, 1, 2, 4, 8, 30];

#[test]
fn either_calls_and_takes_up_what_broke_off() {
    let chain = Chain::start();
    for opener in BOTH {
        // The opener has called.
        let mut meeting = Meeting::open(&chain, opener);
        let mut payments = 1..;
        let mut again = |meeting: &mut Meeting<'_>, kill: bool, after: u64| {
            let preimage = [payments.next().unwrap(); 32];
            meeting.ldk_offers(preimage);
            std::thread::sleep(Duration::from_millis(after));
            if kill {
                meeting.stop();
                meeting.start();
            } else {
                meeting.hang_up();
            }
            match opener {
                // It remembers whom it called.
                Who::Us => meeting.until("we call again", Meeting::is_open),
                Who::Ldk => meeting.connect(Who::Ldk),
            }
            meeting.comes_back(preimage);
        };
        for after in MOMENTS {
            for kill in [false, true] {
                again(&mut meeting, kill, after);
            }
        }
    }
}

/// Whoever has an older connection to the other than it knows of gets a new one.
#[test]
fn both_call_at_once() {
    let chain = Chain::start();
    let mut meeting = Meeting::open(&chain, Who::Us);
    meeting.connect(Who::Ldk);
    meeting.until("one connection is left", Meeting::is_open);
    meeting.ldk_offers([1; 32]);
    meeting.comes_back([1; 32]);
}
