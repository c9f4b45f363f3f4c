//! Connections that break, and a node that is killed.

use std::time::Duration;

use super::Meeting;
use crate::chain::Chain;
use crate::world::{BOTH, Who};

/// Times of an accident, in milliseconds after a payment was offered: before, amid and after its messages.
const MOMENTS: [u64; 6] = [0, 1, 2, 4, 8, 30];

/// A payment is offered, and so long after it the connection breaks, or our node is killed. The caller calls again, and the payment
/// comes back.
fn accident(meeting: &mut Meeting<'_>, caller: Who, preimage: [u8; 32], after: u64, kill: bool) {
    meeting.ldk_offers(preimage);
    std::thread::sleep(Duration::from_millis(after));
    if kill {
        meeting.stop();
        meeting.start();
    } else {
        meeting.hang_up();
    }
    match caller {
        // It remembers whom it called.
        Who::Us => meeting.until("we call again", Meeting::is_open),
        Who::Ldk => meeting.connect(Who::Ldk),
    }
    meeting.comes_back(preimage);
}

#[test]
fn either_calls_and_takes_up_what_broke_off() {
    let chain = Chain::start();
    for opener in BOTH {
        for caller in BOTH {
            let mut meeting = Meeting::open_over(&chain, opener, caller);
            let accidents = MOMENTS.into_iter().flat_map(|after| [(after, false), (after, true)]);
            for (n, (after, kill)) in (1..).zip(accidents) {
                accident(&mut meeting, caller, [n; 32], after, kill);
            }
        }
    }
}

/// LDK keeps the older connection, and our node would take the newer one.
#[test]
fn both_call_at_once() {
    let chain = Chain::start();
    let mut meeting = Meeting::open(&chain, Who::Us);
    let second = meeting.ldk_calls();
    meeting.until("one connection is left", |meeting| second.is_finished() && meeting.is_open());
    meeting.ldk_offers([1; 32]);
    meeting.comes_back([1; 32]);
}
