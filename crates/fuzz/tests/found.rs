//! What the fuzzer has found, in the fewest actions that show it.

use bitcoin::Amount;
use rillpay_channel::Msat;
use rillpay_channel::budget::Limits;
use rillpay_fuzz::{Action, Claim, DiskState, ForgedToPayer, Party, Setup, play};

/// A page loaded anew before it knew its deposit believed a forged payment, and with it any count of what was delivered.
#[test]
fn a_claim_counts_for_nothing_before_the_deposit() {
    let claim = Claim::Forged(Amount::MAX_MONEY.to_sat());
    let actions = [
        Action::Reload(Party::Payer, 0),
        Action::Connect,
        Action::ForgeToPayer(ForgedToPayer::Attached(Some(claim), 1_000_000_000, false, None)),
        Action::Deposit,
        Action::Mine(1),
        Action::Exchange,
        Action::PayeeLooks,
        Action::Exchange,
        Action::ForgeToPayer(ForgedToPayer::Need(0)),
    ];
    play(Setup { streaming: false, ..Setup::canonical() }, &actions, None);
}

/// An end signed for one deposit and then another deposit left a store that would not load again.
#[test]
fn an_end_is_for_one_deposit() {
    let actions = [
        Action::Stop,
        Action::ForgeToPayer(ForgedToPayer::Stopped(0)),
        Action::Deposit,
        Action::Mine(1),
        Action::ForgeToPayer(ForgedToPayer::FundingSeen(true)),
        Action::Reload(Party::Payer, 0),
    ];
    play(Setup::canonical(), &actions, None);
}

/// A channel loaded anew took the site's books back to its own last payment.
#[test]
fn what_was_spent_elsewhere_stays_spent() {
    let limits = Limits { site: Msat::new(10_000_000), ..Limits::default() };
    let actions = [Action::Watch(1), Action::Reload(Party::Payer, 3), Action::Connect, Action::Watch(2)];
    play(Setup { limits, ..Setup::canonical() }, &actions, None);
}

/// An end that the payee had stated was exchanged for another one: the statement no longer fitted, and the store would not
/// load again.
#[test]
fn a_stated_end_is_final() {
    let lie = ForgedToPayer::Attached(None, 0, true, Some(Claim::Old(0)));
    let actions =
        [Action::Watch(2), Action::Stop, Action::Exchange, Action::ForgeToPayer(lie), Action::Reload(Party::Payer, 0)];
    play(Setup::canonical(), &actions, None);
}

/// The observer took a lie for an honest word where the disk was slow to store what came of it.
#[test]
fn a_lie_that_is_stored_late_is_a_lie() {
    let (full, slow) = (Action::Disk(Party::Payee, DiskState::Full), Action::Disk(Party::Payer, DiskState::Slow));
    let lie = Action::ForgeToPayer(ForgedToPayer::Stopped(133));
    let actions = [full, Action::Watch(2), Action::Stop, Action::Watch(1), slow, lie];
    play(Setup::canonical(), &actions, None);
}
