//! A browser that has nothing but the words: what it gets back from an honest server, and what a false one gets by lying.
#![cfg(target_arch = "wasm32")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that goes wrong may panic, and uses its part of what tests share"
)]

mod page;
mod world;

use page::*;
use rillpay::client::Client;
use rillpay_channel::bitcoin::{Amount, Network, ScriptBuf};
use rillpay_channel::keys::Seed;
use rillpay_channel::wire::ChannelState;
use rillpay_channel::{ChannelParams, Kind, Ladder, Msat};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::World;

wasm_bindgen_test_configure!(run_in_browser);

const OTHERS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

/// All that this browser knew is gone.
async fn lose(world: &World, client: Client) -> String {
    let words = client.recovery_words();
    leave(client).await;
    JsFuture::from(forget(&world.origin())).await.unwrap();
    words
}

async fn restore(world: &World, words: &str) -> Result<Client, JsValue> {
    connect_with(world, &[("words", words.into())]).await
}

fn forging(world: &World, forge: impl Fn(&mut ChannelParams, &mut ChannelState) + 'static) {
    world.with(|state| state.forge = Some(Box::new(forge)));
}

/// Three seconds watched, and the browser lost.
async fn lost(world: &World) -> (JsValue, String) {
    let client = connect(world).await;
    let channel = funded(world, &client).await;
    watch(world, &channel, 3).await;
    let before = snapshot(&channel);
    (before, lose(world, client).await)
}

#[wasm_bindgen_test]
async fn the_words_alone_bring_the_deposit_back_and_it_goes_on() {
    let world = World::new("restored.example");
    let (before, words) = lost(&world).await;
    let client = restore(&world, &words).await.unwrap();
    assert_eq!(client.recovery_words(), words);
    let channel = client.channel();
    let after = snapshot(&channel);
    for field in ["id", "address", "phase", "fundingTxid"] {
        assert_eq!(text(&after, field), text(&before, field), "{field}");
    }
    for (field, expected) in [("paidSat", 3_000), ("deliveredMsat", 3_000_000), ("capacitySat", DEPOSIT)] {
        assert_eq!(sat(&after, field), expected, "{field}");
    }
    attached(&channel).await;
    watch(&world, &channel, 2).await;
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "paidSat"), 5_000);
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 5_000);
    assert_eq!(world.with(|state| state.opened), 1);
    // What is restored is stored: the next page needs no words, and asks no more.
    leave(client).await;
    let asked = world.with(|state| state.recovers);
    let client = connect(&world).await;
    assert_eq!(sat(&snapshot(&client.channel()), "paidSat"), 5_000);
    assert_eq!(world.with(|state| state.recovers), asked);
    leave(client).await;
}

#[wasm_bindgen_test]
async fn the_viewers_limits_hold_for_what_was_spent_before_the_loss() {
    let world = World::new("restored-budget.example");
    let (_, words) = lost(&world).await;
    let budget = object(&[("perSiteMsat", JsValue::from(4_000_000_u64))]);
    let client = connect_with(&world, &[("words", words.into()), ("budget", budget)]).await.unwrap();
    let channel = client.channel();
    attached(&channel).await;
    let told = problems(&channel);
    watch(&world, &channel, 1).await;
    world.serve(1_000);
    until_told(&told, "over_budget").await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn what_is_over_stays_over_and_its_key_is_not_used_again() {
    let world = World::new("restored-over.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    watch(&world, &channel, 1).await;
    call_async(&channel, "stop", &[]).await.unwrap();
    world.settle(true);
    until_phase(&channel, "settled").await;
    let words = lose(&world, client).await;

    let client = restore(&world, &words).await.unwrap();
    assert!(client.channel().is_null());
    assert_eq!(client.earlier().length(), 0);
    open(&client).await;
    world.with(|state| assert_ne!(state.past[0].params().payer, state.payee().params().payer));
    // Lost again: the first is over, the second still waits for its deposit.
    let words = lose(&world, client).await;
    let client = restore(&world, &words).await.unwrap();
    assert_eq!(text(&snapshot(&client.channel()), "phase"), "opened");
    world.with(|state| state.settled = None);
    attached(&client.channel()).await;
    world.deposit(DEPOSIT, 7);
    until_phase(&client.channel(), "open").await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn an_end_that_was_agreed_is_found_again() {
    let world = World::new("restored-closing.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    watch(&world, &channel, 2).await;
    call_async(&channel, "stop", &[]).await.unwrap();
    let words = lose(&world, client).await;
    // Broadcast, and in no block yet.
    world.settle(false);
    let client = restore(&world, &words).await.unwrap();
    let channel = client.channel();
    let statement = get(&snapshot(&channel), "statement");
    assert_eq!(sat(&statement, "paidSat"), 2_000);
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 2_000);
    world.settle(true);
    until_phase(&channel, "settled").await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_search_that_breaks_off_goes_on_without_the_words() {
    let world = World::new("restored-later.example");
    let (before, words) = lost(&world).await;
    world.with(|state| state.blind = true);
    assert_eq!(code(restore(&world, &words).await), "chain_unreachable");
    world.with(|state| state.blind = false);
    let client = connect(&world).await;
    assert_eq!(client.recovery_words(), words);
    assert_eq!(text(&snapshot(&client.channel()), "id"), text(&before, "id"));
    leave(client).await;
}

/// New ones have even numbers; those of before have any.
#[wasm_bindgen_test]
async fn a_deposit_with_a_number_of_before_is_found_and_goes_on() {
    let world = World::new("restored-odd.example");
    let seed = Seed::from_words(OTHERS, Network::Regtest).unwrap();
    world.open_elsewhere(&seed, 25);
    world.deposit(DEPOSIT, 1);
    let client = restore(&world, OTHERS).await.unwrap();
    let channel = client.channel();
    attached(&channel).await;
    until_phase(&channel, "open").await;
    watch(&world, &channel, 2).await;
    let kit = text(&call_async(&channel, "refundKit", &[]).await.unwrap(), "text");
    assert!(kit.contains("m/84'/1'/0'/0/25"));
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 2_000);
    // The next one has the next even number.
    open(&client).await;
    let returns = world.with(|state| state.payee().params().return_script.clone());
    assert_eq!(returns, seed.return_script(26).unwrap());
    leave(client).await;
}

#[wasm_bindgen_test]
async fn words_without_a_deposit_find_nothing() {
    let world = World::new("restored-nothing.example");
    let client = restore(&world, OTHERS).await.unwrap();
    assert!(client.channel().is_null());
    assert_eq!(world.with(|state| state.recovers), 40, "twenty channels, and what is left to a wallet");
    assert_eq!(client.recovery_words(), OTHERS);
    leave(client).await;
    let client = connect(&world).await;
    assert_eq!(world.with(|state| state.recovers), 40, "asked once");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_server_that_is_asked_too_fast_is_asked_again_and_not_for_ever() {
    let world = World::new("restored-slowly.example");
    let (before, words) = lost(&world).await;
    // The last unknown keys, and none is left out: one is known, and forty are not.
    world.with(|state| state.too_fast = 39..41);
    let client = restore(&world, &words).await.unwrap();
    assert_eq!(text(&snapshot(&client.channel()), "id"), text(&before, "id"));
    assert_eq!(world.with(|state| state.recovers), 1 + 40 + 2);
    lose(&world, client).await;
    world.with(|state| (state.recovers, state.too_fast) = (0, 0..u32::MAX));
    assert_eq!(code(restore(&world, &words).await), "rate_limited");
    // A server closes the socket at the eighth.
    assert_eq!(world.with(|state| state.recovers), 6);
}

#[wasm_bindgen_test]
async fn words_in_use_are_never_replaced() {
    let world = World::new("restored-other.example");
    let client = connect(&world).await;
    let first = client.recovery_words();
    leave(client).await;
    // Nothing was opened with them: the viewer has others that she cares for.
    let client = restore(&world, OTHERS).await.unwrap();
    assert_ne!(client.recovery_words(), first);
    open(&client).await;
    leave(client).await;
    assert_eq!(code(restore(&world, &first).await), "other_words");
    let client = restore(&world, OTHERS).await.unwrap();
    assert!(!client.channel().is_null(), "the same words are no other words");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_deposit_at_another_price_is_ended_and_not_paid_on() {
    let world = World::new("restored-price.example");
    let (_, words) = lost(&world).await;
    world.with(|state| state.offer.tariff.price = Msat::new(5_000_000).unwrap());
    let paid = world.with(|state| state.payments.len());
    let client = restore(&world, &words).await.unwrap();
    let channel = client.channel();
    until(&channel, "ended", |now| !get(now, "statement").is_null()).await;
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "paidSat"), 3_000);
    assert_eq!(world.with(|state| state.payments.len()), paid, "nothing more was paid");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_deposit_at_another_price_that_arrives_later_is_sent_back() {
    let world = World::new("restored-price-late.example");
    let client = connect(&world).await;
    open(&client).await;
    let words = lose(&world, client).await;
    world.with(|state| state.offer.tariff.price = Msat::new(2_000_000).unwrap());
    let client = restore(&world, &words).await.unwrap();
    leave(client).await;
    let client = connect(&world).await;
    let channel = client.channel();
    attached(&channel).await;
    world.deposit(DEPOSIT, 1);
    until(&channel, "sent back", |_| world.with(|state| !state.broadcast.is_empty())).await;
    world.with(|state| {
        assert!(state.payments.is_empty());
        let funding = state.payee().funding().unwrap().outpoint;
        assert_eq!(state.broadcast[0].input[0].previous_output, funding);
    });
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_channel_that_is_not_of_these_words_is_refused() {
    let world = World::new("restored-foreign.example");
    let (_, words) = lost(&world).await;
    type Lie = fn(&mut ChannelParams);
    let lies: [(Lie, &str); 4] = [
        (|params| params.payer = world::key(9).public(), "wrong_key"),
        (
            |params| {
                params.return_script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap()
            },
            "unacceptable_terms",
        ),
        (|params| params.purpose = "https://elsewhere.example".to_owned(), "unacceptable_terms"),
        (|params| params.network = rillpay_channel::bitcoin::Network::Signet, "wrong_network"),
    ];
    for (lie, expected) in lies {
        forging(&world, move |params, _| lie(params));
        assert_eq!(code(restore(&world, &words).await), expected);
    }
    world.with(|state| {
        state.forge = None;
        state.node = world::key(6);
    });
    assert_eq!(code(restore(&world, &words).await), "wrong_key", "another server altogether");
    world.with(|state| state.node = world::key(3));
    let client = restore(&world, &words).await.unwrap();
    assert_eq!(sat(&snapshot(&client.channel()), "paidSat"), 3_000, "nothing of the lies was kept");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_false_state_is_not_adopted_and_the_deposit_stays_the_viewers() {
    let world = World::new("restored-false.example");
    let (_, words) = lost(&world).await;
    // More than was ever signed; an amount of nobody's signature.
    forging(&world, |_, state| {
        let paid = state.paid.as_mut().unwrap();
        paid.cumulative = Amount::from_sat(3_000_000);
        state.delivered = 3_000_000;
    });
    let client = restore(&world, &words).await.unwrap();
    let channel = client.channel();
    let now = snapshot(&channel);
    assert_eq!((text(&now, "phase").as_str(), sat(&now, "paidSat")), ("open", 0));
    // The truth comes with the session.
    attached(&channel).await;
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 3_000);
    let kit = call_async(&channel, "refundKit", &[]).await.unwrap();
    assert!(text(&kit, "text").contains("\"transactions\""));
    leave(client).await;

    // A funding that is not there, or is somebody else's; one that it keeps to itself.
    let forges: [fn(&mut ChannelState); 3] = [
        |state| state.funding.as_mut().unwrap().capacity = Amount::from_sat(7_000_000),
        |state| state.funding.as_mut().unwrap().outpoint.vout = 9,
        |state| state.funding = None,
    ];
    for lie in forges {
        JsFuture::from(forget(&world.origin())).await.unwrap();
        forging(&world, move |_, state| lie(state));
        let client = restore(&world, &words).await.unwrap();
        let channel = client.channel();
        assert_eq!(sat(&snapshot(&channel), "paidSat"), 0);
        assert_eq!(sat(&snapshot(&channel), "capacitySat"), DEPOSIT, "the viewer's own look");
        attached(&channel).await;
        until(&channel, "the session puts it right", |now| sat(now, "paidSat") == 3_000).await;
        leave(client).await;
    }
}

#[wasm_bindgen_test]
async fn an_older_state_is_replaced_by_the_newer_one_that_bears_our_signature() {
    let world = World::new("restored-older.example");
    let (_, words) = lost(&world).await;
    let first = world.with(|state| state.payments[0]);
    forging(&world, move |_, state| {
        state.paid = Some(first);
        state.delivered = 1_000;
    });
    let client = restore(&world, &words).await.unwrap();
    let channel = client.channel();
    assert_eq!(sat(&snapshot(&channel), "paidSat"), first.cumulative.to_sat());
    attached(&channel).await;
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 3_000);
    watch(&world, &channel, 1).await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_timelock_deposit_gets_its_refund_signed_anew() {
    let world = World::new("restored-timelock.example");
    let payee_script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    world.with(|state| state.offer.kind = Kind::Timelock { ladder: Ladder { step: 4, updates: 9 }, payee_script });
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    let address = text(&snapshot(&channel), "fundingAddress");
    let txid = world.with(|state| state.chain.pay(&address, DEPOSIT, None));
    let bytes = world.with(|state| {
        let (transaction, _) = state.chain.find(&txid.to_string()).unwrap();
        rillpay_channel::bitcoin::consensus::serialize(transaction)
    });
    let bytes = js_sys::Uint8Array::from(bytes.as_slice());
    call_async(&channel, "fund", &[bytes.into()]).await.unwrap();
    world.confirm_funding();
    until_phase(&channel, "open").await;
    watch(&world, &channel, 2).await;
    let words = lose(&world, client).await;

    let client = restore(&world, &words).await.unwrap();
    let channel = client.channel();
    until(&channel, "paid as before", |now| sat(now, "paidSat") == 2_000).await;
    let expiry = world.with(|state| state.payee().params().expiry);
    let due = f64::from(expiry - 8);
    until(&channel, "held by both again", |now| get(now, "refundHeight").as_f64() == Some(due)).await;
    watch(&world, &channel, 1).await;
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "paidSat"), 3_000);
    leave(client).await;
}
