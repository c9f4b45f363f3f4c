//! A `timelock` channel in the page: the funding waits for its refund, each payment is held by both, and either ends alone.
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

use js_sys::Uint8Array;
use page::*;
use rillpay_channel::bitcoin::absolute::LockTime;
use rillpay_channel::bitcoin::consensus::serialize;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::transaction::Version;
use rillpay_channel::bitcoin::{Address, Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness};
use rillpay_channel::{Kind, Ladder};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::World;

wasm_bindgen_test_configure!(run_in_browser);

const LADDER: Ladder = Ladder { step: 4, updates: 3 };

fn place(host: &str) -> World {
    let world = World::new(host);
    let payee_script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    world.with(|state| state.offer.kind = Kind::Timelock { ladder: LADDER, payee_script });
    world
}

/// What the page's wallet makes of the viewer's money.
fn transaction(world: &World, sat: u64) -> Transaction {
    let script_pubkey = world.with(|state| state.payee().params().funding_script());
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([5; 32]), 1),
            witness: Witness::from_slice(&[[1; 71].as_slice(), &[2; 33]]),
            ..TxIn::default()
        }],
        output: vec![TxOut { value: Amount::from_sat(sat), script_pubkey }],
    }
}

async fn fund(world: &World, channel: &JsValue) -> Transaction {
    let transaction = transaction(world, DEPOSIT);
    let bytes = Uint8Array::from(serialize(&transaction).as_slice());
    let txid = call_async(channel, "fund", &[bytes.into()]).await.unwrap();
    assert_eq!(txid.as_string().unwrap(), transaction.compute_txid().to_string());
    assert_eq!(world.with(|state| state.broadcast.clone()), std::slice::from_ref(&transaction));
    transaction
}

#[wasm_bindgen_test]
async fn the_viewer_pays_into_the_pages_wallet_and_the_page_funds_the_channel() {
    let world = place("timelock.example");
    let client = connect(&world).await;
    assert_eq!(text(&client.terms().unwrap(), "kind"), "timelock");
    let channel = open(&client).await;
    attached(&channel).await;
    let before = snapshot(&channel);
    let own = world.with(|state| state.payee().params().return_script.clone());
    let own = Address::from_script(&own, rillpay_channel::bitcoin::Network::Regtest).unwrap();
    assert_eq!(text(&before, "address"), own.to_string());
    assert_eq!(sat(&before, "depositSat"), DEPOSIT + 2_000, "with the fee of the funding");

    let junk = Uint8Array::from([1, 2, 3].as_slice());
    assert_eq!(code(call_async(&channel, "fund", &[junk.into()]).await), "invalid_argument");
    let small = Uint8Array::from(serialize(&transaction(&world, 9_999)).as_slice());
    assert_eq!(code(call_async(&channel, "fund", &[small.into()]).await), "deposit_too_small");
    fund(&world, &channel).await;
    until_phase(&channel, "confirming").await;
    world.confirm_funding();
    let open = until_phase(&channel, "open").await;
    assert_eq!(get(&open, "paymentsLeft").as_f64(), Some(3.0));
    for left in [2.0, 1.0, 0.0] {
        watch(&world, &channel, 1).await;
        until(&channel, "one payment less", |now| get(now, "paymentsLeft").as_f64() == Some(left)).await;
    }
    let expiry = world.with(|state| state.payee().params().expiry);
    // Both hold the third: from its lock on the page can end alone.
    until(&channel, "countersigned", |now| get(now, "refundHeight").as_f64() == Some(f64::from(expiry - 12))).await;
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "paidSat"), 3_000);
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 3_000);
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_reload_between_the_grant_and_the_deposit_broadcasts_again() {
    let world = place("timelock-reload.example");
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    let transaction = fund(&world, &channel).await;
    leave(client).await;
    world.with(|state| state.broadcast.clear());
    let client = connect(&world).await;
    let channel = client.channel();
    attached(&channel).await;
    until(&channel, "broadcast again", |_| world.with(|state| state.broadcast == [transaction.clone()])).await;
    assert_eq!(text(&snapshot(&channel), "fundingTxid"), transaction.compute_txid().to_string());
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_server_that_is_gone_keeps_what_it_was_paid_and_no_more() {
    let world = place("timelock-gone.example");
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    fund(&world, &channel).await;
    world.confirm_funding();
    until_phase(&channel, "open").await;
    watch(&world, &channel, 1).await;
    let expiry = world.with(|state| state.payee().params().expiry);
    let due = f64::from(expiry - 4);
    until(&channel, "countersigned", |now| get(now, "refundHeight").as_f64() == Some(due)).await;
    world.with(|state| state.tip = expiry - 5);
    assert_eq!(code(call_async(&channel, "refund", &[]).await), "not_expired");
    world.with(|state| state.tip = expiry - 4);
    call_async(&channel, "refund", &[]).await.unwrap();
    let own = world.with(|state| state.broadcast.last().cloned().unwrap());
    assert_eq!(own.lock_time.to_consensus_u32(), expiry - 4);
    assert_eq!(own.output[0].value, Amount::from_sat(1_000), "what was paid is the server's");
    leave(client).await;
}
