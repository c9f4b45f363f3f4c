//! The whole module against the real payee machine, in the page: see `world`.
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

use js_sys::Object;
use page::*;
use rillpay::client::Client;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::bitcoin::{Amount, OutPoint, Txid};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::keys::Key;
use rillpay_channel::wire::{Message, Refusal};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::World;

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
async fn pays_for_what_arrives_and_ends_at_what_was_delivered() {
    let world = World::new("whole.example");
    let client = connect(&world).await;
    assert!(client.channel().is_null());
    assert_eq!(client.recovery_words().split(' ').count(), 12);
    let channel = open(&client).await;
    assert!(Object::is(&client.channel(), &channel), "one object for one channel");
    let opened = snapshot(&channel);
    assert_eq!(text(&opened, "phase"), "opened");
    assert!(text(&opened, "uri").starts_with(&format!("bitcoin:{}?amount=0.036", text(&opened, "address"))));
    attached(&channel).await;

    world.deposit(DEPOSIT, 1);
    let funded = until_phase(&channel, "open").await;
    assert_eq!(sat(&funded, "capacitySat"), DEPOSIT);
    assert_eq!(text(&funded, "session"), "08".repeat(32));

    watch(&world, &channel, 6).await;
    let watched = snapshot(&channel);
    assert_eq!(sat(&watched, "deliveredMsat"), 6_000_000);
    assert_eq!(sat(&watched, "paidSat"), 6_000);

    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "paidSat"), 6_000);
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 6_000);
    assert!(get(&statement, "txid").is_null());

    world.settle(true);
    let settled = until_phase(&channel, "settled").await;
    let statement = get(&settled, "statement");
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 6_000);
    assert_eq!(text(&statement, "txid"), world::settlement_txid().to_string());
    assert!(get(&statement, "confirmed").is_truthy());
    // Asked again, the answer is the same.
    assert_eq!(sat(&call_async(&channel, "stop", &[]).await.unwrap(), "paidSat"), 6_000);

    leave(client).await;
    let again = connect(&world).await;
    assert!(again.channel().is_null(), "what is finished does not come back");
    assert_eq!(again.earlier().length(), 0);
    let next = open(&again).await;
    assert_ne!(text(&snapshot(&next), "address"), text(&settled, "address"), "a fresh key");
    leave(again).await;
}

#[wasm_bindgen_test]
async fn a_reload_goes_on_where_it_was() {
    let world = World::new("reload.example");
    let client = connect(&world).await;
    let words = client.recovery_words();
    let channel = funded(&world, &client).await;
    watch(&world, &channel, 3).await;
    let before = snapshot(&channel);
    leave(client).await;

    let client = connect(&world).await;
    assert_eq!(client.recovery_words(), words);
    let channel = client.channel();
    let after = attached(&channel).await;
    for field in ["id", "address", "phase"] {
        assert_eq!(text(&after, field), text(&before, field));
    }
    assert_eq!(sat(&after, "paidSat"), 3_000);
    watch(&world, &channel, 2).await;
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 5_000);
    assert_eq!(world.with(|state| state.opened), 1);
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_payment_stored_but_never_sent_is_sent_again_and_not_made_twice() {
    let world = World::new("crash.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    world.with(|state| state.loses_payments = true);
    assert!(!world.serve(1_000));
    until(&channel, "paid", |now| sat(now, "paidSat") == 1_000).await;
    leave(client).await;
    world.with(|state| {
        assert_eq!(state.payee().accepted(), Amount::ZERO);
        state.loses_payments = false;
    });

    let client = connect(&world).await;
    let channel = client.channel();
    assert_eq!(sat(&attached(&channel).await, "paidSat"), 1_000);
    watch(&world, &channel, 1).await;
    world.with(|state| {
        assert_eq!(state.payee().accepted(), Amount::from_sat(1_000));
        assert!(state.payments.len() >= 2);
        assert!(state.payments.iter().all(|paid| *paid == state.payments[0]), "the very same payment");
    });
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_lost_socket_comes_back_by_itself() {
    let world = World::new("socket.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    let told = problems(&channel);
    world.drop_socket();
    until_told(&told, "connection_lost").await;
    attached(&channel).await;
    watch(&world, &channel, 1).await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn one_tab_writes() {
    let world = World::new("tabs.example");
    let first = connect(&world).await;
    assert_eq!(code(connect_with(&world, &[]).await), "another_tab");
    first.disconnect();
    let second = connect(&world).await;
    // A client that has let go writes no more.
    let refused = first.open(object(&[("depositSat", DEPOSIT.into())])).await;
    assert_eq!(code(refused.map_err(JsValue::from)), "disconnected");
    leave(second).await;
}

#[wasm_bindgen_test]
async fn a_budget_a_pause_and_greed_are_refused_and_told_to_both() {
    let world = World::new("limits.example");
    let budget = object(&[("perSessionMsat", JsValue::from(2_000_000_u64))]);
    let client = connect_with(&world, &[("budget", budget.clone())]).await.unwrap();
    let channel = funded(&world, &client).await;
    let told = problems(&channel);

    call(&channel, "pause", &[]).unwrap();
    assert!(get(&snapshot(&channel), "paused").is_truthy());
    world.serve(1_000);
    until_told(&told, "paused").await;
    call(&channel, "resume", &[]).unwrap();

    world.send(&Message::Need { upto: 1_000_000, delivered: 0 });
    until_told(&told, "ahead_of_delivery").await;
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 0);

    watch(&world, &channel, 2).await;
    world.serve(1_000);
    until_told(&told, "over_budget").await;
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 2_000);
    JsFuture::from(pause(10)).await.unwrap();
    let codes: Vec<String> = world.with(|state| state.refusals.iter().map(|r| r.code.clone()).collect());
    assert_eq!(codes, ["paused", "ahead_of_delivery", "over_budget"]);
    leave(client).await;

    // A new page is a new session; the site's limit is for ever.
    let both =
        object(&[("perSessionMsat", JsValue::from(2_000_000_u64)), ("perSiteMsat", JsValue::from(3_000_000_u64))]);
    let client = connect_with(&world, &[("budget", both)]).await.unwrap();
    let channel = client.channel();
    attached(&channel).await;
    let told = problems(&channel);
    watch(&world, &channel, 1).await;
    world.serve(1_000);
    until_told(&told, "over_budget").await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_full_disk_pays_nothing_and_loses_nothing() {
    let world = World::new("full.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    let told = problems(&channel);
    fill_disk(true);
    world.serve(1_000);
    until_told(&told, "storage_full").await;
    fill_disk(false);
    assert_eq!(sat(&snapshot(&channel), "paidSat"), 0);
    JsFuture::from(pause(10)).await.unwrap();
    world.with(|state| {
        assert!(state.payments.is_empty(), "nothing left the page");
        assert_eq!(state.refusals[0].code, "unavailable");
    });
    watch(&world, &channel, 1).await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_corrupted_store_is_told_and_left_as_it_is() {
    let world = World::new("corrupted.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    watch(&world, &channel, 1).await;
    let id = text(&snapshot(&channel), "id");
    leave(client).await;

    let good = JsFuture::from(get_event(&world.origin(), &id, 3)).await.unwrap();
    let good = js_sys::Uint8Array::new(&good).to_vec();
    let mut forged = good.clone();
    forged[9] ^= 1; // within the signature of the payment
    for bad in [vec![], vec![3], forged, [&good[..], &[0]].concat()] {
        JsFuture::from(put_event(&world.origin(), &id, 3, bad.clone())).await.unwrap();
        let error = connect_with(&world, &[]).await.err().expect("refused");
        assert_eq!(text(&error, "code"), "corrupted_store");
        let data = get(&error, "data");
        assert_eq!(text(&data, "server"), world.origin());
        assert_eq!(text(&data, "channel"), id);
        let kept = JsFuture::from(get_event(&world.origin(), &id, 3)).await.unwrap();
        assert_eq!(js_sys::Uint8Array::new(&kept).to_vec(), bad);
    }
    JsFuture::from(put_event(&world.origin(), &id, 3, good)).await.unwrap();
    let client = connect(&world).await;
    assert_eq!(sat(&snapshot(&client.channel()), "paidSat"), 1_000);
    leave(client).await;

    JsFuture::from(put_site(&world.origin(), &"garbage".into())).await.unwrap();
    let error = connect_with(&world, &[]).await.err().expect("refused");
    assert_eq!(text(&error, "code"), "corrupted_store");
}

#[wasm_bindgen_test]
async fn refunds_wait_for_the_expiry_and_sweep_everything() {
    let world = World::new("refund.example");
    let client = connect(&world).await;
    let channel = open(&client).await;
    assert_eq!(code(call_async(&channel, "refundKit", &[]).await), "nothing_to_do");
    attached(&channel).await;
    world.pay_in_unconfirmed(DEPOSIT, 3);
    assert_eq!(code(call_async(&channel, "refundKit", &[]).await), "nothing_to_do", "it may be replaced");
    world.deposit(DEPOSIT, 1);
    until_phase(&channel, "open").await;
    // People pay twice.
    world.deposit(50_000, 2);

    let kit = call_async(&channel, "refundKit", &[]).await.unwrap();
    assert!(text(&kit, "filename").ends_with(".json"));
    let kit = js_sys::JSON::parse(&text(&kit, "text")).unwrap();
    let expiry = get(&snapshot(&channel), "expiryHeight");
    assert_eq!(get(&kit, "expiryHeight"), expiry);
    let transactions: js_sys::Array = get(&kit, "transactions").dyn_into().unwrap();
    assert_eq!(transactions.length(), 16);
    let outpoints: Vec<_> = transactions.iter().map(|entry| text(&entry, "outpoint")).collect();
    let of = |number: u8| format!("{}:0", Txid::from_byte_array([number; 32]));
    assert!(outpoints[..8].iter().all(|outpoint| *outpoint == of(1)));
    assert!(outpoints[8..].iter().all(|outpoint| *outpoint == of(2)));

    let refused = call_async(&channel, "refund", &[JsValue::UNDEFINED]).await.err().unwrap();
    assert_eq!(text(&refused, "code"), "not_expired");
    assert_eq!(get(&get(&refused, "data"), "height"), expiry);

    world.with(|state| state.tip = 100 + 1 + 1_008);
    let rate = object(&[("satPerVbyte", 2.into())]);
    let txid = call_async(&channel, "refund", &[rate]).await.unwrap().as_string().unwrap();
    world.with(|state| {
        let refund = &state.broadcast[0];
        assert_eq!(refund.compute_txid().to_string(), txid);
        let spent: Vec<_> = refund.input.iter().map(|input| input.previous_output.to_string()).collect();
        assert_eq!(spent, [of(1), of(2)], "what is not confirmed waits");
    });
    leave(client).await;
}

/// Anybody can pay to the address, as often as they like.
#[wasm_bindgen_test]
async fn dust_at_the_address_hides_nothing() {
    let world = World::new("dust.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    let told = problems(&channel);
    world.with(|state| {
        let dust = |vout| {
            let outpoint = OutPoint::new(Txid::from_byte_array([9; 32]), vout);
            SeenOutput { funding: Funding { outpoint, capacity: Amount::from_sat(300) }, confirmations: 3 }
        };
        state.outputs.splice(0..0, (0..5_000).map(dust));
    });
    watch(&world, &channel, 1).await;
    // Whatever arrives makes the page look.
    world.deposit_beside(20_000, 2);
    until(&channel, "what is worth it comes back", |_| world.with(|state| state.broadcast.len() == 1)).await;
    let kit = async || {
        let kit = call_async(&channel, "refundKit", &[]).await.unwrap();
        let kit = js_sys::JSON::parse(&text(&kit, "text")).unwrap();
        get(&kit, "transactions").dyn_into::<js_sys::Array>().unwrap()
    };
    let of = |number: u8| format!("{}:0", Txid::from_byte_array([number; 32]));
    assert_eq!(text(&kit().await.get(0), "outpoint"), of(1), "the deposit comes first");
    // Public servers do not list as many.
    world.with(|state| state.lists = 500);
    let alone = kit().await;
    assert!(alone.iter().all(|entry| text(&entry, "outpoint") == of(1)));
    world.with(|state| state.tip = 100 + 1_008);
    for lists in [500, usize::MAX] {
        world.with(|state| {
            state.lists = lists;
            state.chain.transactions.clear();
        });
        call_async(&channel, "refund", &[JsValue::UNDEFINED]).await.unwrap();
        world.with(|state| {
            let spent: Vec<_> = state.broadcast.last().unwrap().input.iter().collect();
            assert_eq!(spent[0].previous_output.to_string(), of(1));
            assert!(spent.len() <= 2, "dust stays where it is");
        });
    }
    let told = told.take();
    assert!(told.iter().all(|what| ["changed", "paid"].contains(&what.as_str())), "{told:?}");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_deposit_on_which_nothing_was_watched_comes_back_at_once() {
    let world = World::new("unwatched.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    let told = problems(&channel);
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    let [refund] = world.with(|state| <[_; 1]>::try_from(state.broadcast.clone())).unwrap();
    assert_eq!((refund.lock_time.to_consensus_u32(), refund.output.len()), (0, 1));
    assert_eq!(sat(&statement, "paidSat"), 0);
    assert_eq!(sat(&statement, "returnedSat"), refund.output[0].value.to_sat());
    until_phase(&channel, "refunded").await;
    assert!(!told.borrow().iter().any(|what| what.contains("unexpected")), "{told:?}");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn what_is_too_small_or_too_much_comes_back_while_the_stream_goes_on() {
    let world = World::new("strays.example");
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    world.deposit_beside(9_000, 7);
    until(&channel, "the small one is sent back", |_| world.with(|state| state.broadcast.len() == 1)).await;
    assert_eq!(text(&snapshot(&channel), "phase"), "confirming", "it goes on waiting for the deposit");
    world.deposit(DEPOSIT, 1);
    until_phase(&channel, "open").await;
    watch(&world, &channel, 1).await;
    world.deposit(DEPOSIT, 2);
    until(&channel, "the second one is sent back", |_| world.with(|state| state.broadcast.len() == 2)).await;
    watch(&world, &channel, 1).await;
    assert_eq!(text(&snapshot(&channel), "phase"), "open");
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_server_that_is_not_the_one_of_the_terms_gets_nothing() {
    let world = World::new("impostor.example");
    let client = connect(&world).await;
    world.with(|state| state.node = Key::new(SecretKey::from_slice(&[6; 32]).unwrap()));
    let refused = client.open(object(&[("depositSat", DEPOSIT.into())])).await;
    assert_eq!(code(refused.map_err(JsValue::from)), "wrong_key");
    assert_eq!(world.with(|state| state.opened), 0);
    assert!(client.channel().is_null());
    leave(client).await;
}

#[wasm_bindgen_test]
async fn whoever_takes_over_is_told_and_not_fought() {
    let world = World::new("superseded.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    let told = problems(&channel);
    world.send(&Message::Refused(Refusal {
        code: "superseded".into(),
        text: "another session took over".into(),
        about: 0,
        state: None,
    }));
    until_told(&told, "superseded").await;
    JsFuture::from(pause(1_500)).await.unwrap();
    assert!(!get(&snapshot(&channel), "attached").is_truthy());
    // The viewer decides to go on here.
    call(&channel, "resume", &[]).unwrap();
    attached(&channel).await;
    leave(client).await;
}

#[wasm_bindgen_test]
async fn arguments_are_checked() {
    let world = World::new("arguments.example");
    for options in [
        JsValue::UNDEFINED,
        object(&[]),
        object(&[("server", 7.into())]),
        object(&[("server", "http://video.example".into())]),
        object(&[("server", world.origin().into()), ("network", "moon".into())]),
        object(&[("server", world.origin().into()), ("maxWindowUnits", (-1).into())]),
        object(&[("server", world.origin().into()), ("budget", object(&[("perDayMsat", 0.5.into())]))]),
        object(&[("server", world.origin().into()), ("esplora", "ftp://chain.example".into())]),
    ] {
        let refused = Client::connect(options.clone()).await.map_err(JsValue::from);
        assert_eq!(code(refused), "invalid_argument", "{options:?}");
    }
    let refused = connect_with(&world, &[("words", "not twelve words".into())]).await;
    assert_eq!(code(refused), "invalid_words");
    assert_eq!(code(connect_with(&world, &[("network", "bitcoin".into())]).await), "wrong_network");
    assert_eq!(code(connect_with(&world, &[("maxWindowUnits", 1.into())]).await), "unacceptable_terms");

    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let client = connect_with(&world, &[("words", words.into())]).await.unwrap();
    assert_eq!(client.recovery_words(), words);
    for (deposit, expected) in [
        (JsValue::from(9_999_u64), "deposit_too_small"),
        (JsValue::from(10_000_001_u64), "deposit_too_large"),
        (JsValue::from(-1), "invalid_argument"),
        (JsValue::from("36"), "invalid_argument"),
        (JsValue::UNDEFINED, "invalid_argument"),
    ] {
        let refused = client.open(object(&[("depositSat", deposit)])).await;
        assert_eq!(code(refused.map_err(JsValue::from)), expected);
    }
    let channel = open(&client).await;
    let again = client.open(object(&[("depositSat", DEPOSIT.into())])).await;
    assert_eq!(code(again.map_err(JsValue::from)), "channel_open");
    for amount in [JsValue::from(-1), JsValue::from(0.5), JsValue::from(f64::NAN), JsValue::from("1")] {
        assert_eq!(code(call(&channel, "received", &[amount])), "invalid_argument");
    }
    assert_eq!(code(call_async(&channel, "stop", &[]).await), "nothing_to_do");
    leave(client).await;
}
