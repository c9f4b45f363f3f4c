//! The way back from a refund file alone, and files that are none.
#![cfg(all(target_arch = "wasm32", feature = "wallet"))]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that goes wrong may panic, uses its part of what tests share, and JavaScript's numbers are floats"
)]

mod page;
mod world;

use js_sys::{Array, JSON, Reflect, Uint8Array};
use page::*;
use rillpay::wallet::refund::{chain_height, read_refund_kit, send_refund};
use rillpay_channel::bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use rillpay_channel::bitcoin::{Amount, Sequence, Transaction};
use rillpay_channel::{Kind, Ladder};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::World;

wasm_bindgen_test_configure!(run_in_browser);

/// A deposit, its refund file, and then no server and no browser any more.
async fn file(world: &World) -> (String, JsValue) {
    let client = connect(world).await;
    let channel = funded(world, &client).await;
    watch(world, &channel, 2).await;
    let kit = call_async(&channel, "refundKit", &[]).await.unwrap();
    let last = snapshot(&channel);
    leave(client).await;
    (text(&kit, "text"), last)
}

fn read(text: &str) -> Result<JsValue, JsValue> {
    read_refund_kit(text).map_err(JsValue::from)
}

async fn send(world: &World, kit: &str, rate: Option<u32>) -> Result<Vec<String>, JsValue> {
    let esplora = format!("{}/esplora", world.origin());
    let rate = rate.map_or(JsValue::UNDEFINED, JsValue::from);
    let options = object(&[("kit", kit.into()), ("esplora", esplora.into()), ("satPerVbyte", rate)]);
    send_refund(options).await.map_err(JsValue::from)
}

fn refunds(file: &JsValue) -> Array {
    get(file, "refunds").dyn_into().expect("a list")
}

fn transactions(refund: &JsValue) -> Array {
    get(refund, "transactions").dyn_into().expect("a list")
}

#[wasm_bindgen_test]
async fn the_file_alone_brings_the_money_back() {
    let world = World::new("file.example");
    let (kit, last) = file(&world).await;
    let shown = read(&kit).unwrap();
    assert_eq!(text(&shown, "network"), "regtest");
    assert_eq!(text(&shown, "address"), text(&last, "address"));
    assert_eq!(get(&shown, "expiryHeight"), get(&last, "expiryHeight"));
    assert!(text(&shown, "returnKeyPath").starts_with("m/84'/1'/0'/0/"));
    let listed = refunds(&shown);
    assert_eq!(listed.length(), 8);
    for refund in listed.iter() {
        assert!((DEPOSIT - 100_000..DEPOSIT).contains(&sat(&refund, "returnedSat")));
        let transactions = transactions(&refund);
        assert_eq!(transactions.length(), 1);
        assert!(get(&transactions.get(0), "transaction").is_instance_of::<Uint8Array>());
        assert_eq!(sat(&transactions.get(0), "returnedSat"), sat(&refund, "returnedSat"));
    }

    let refused = send(&world, &kit, None).await.unwrap_err();
    assert_eq!(text(&refused, "code"), "not_expired");
    assert_eq!(get(&get(&refused, "data"), "height"), get(&shown, "expiryHeight"));
    assert!(world.with(|state| state.broadcast.is_empty()));

    let esplora = object(&[("esplora", format!("{}/esplora", world.origin()).into())]);
    let height = f64::from(chain_height(esplora.clone()).await.map_err(JsValue::from).unwrap());
    assert_eq!(height, f64::from(world.with(|state| state.tip)));
    let expiry = world.with(|state| state.payee().params().expiry);
    world.with(|state| state.tip = expiry);
    // 3 is not in the file: 5 is the next one.
    let [txid] = <[_; 1]>::try_from(send(&world, &kit, Some(3)).await.unwrap()).unwrap();
    let five = listed.iter().find(|refund| get(refund, "satPerVbyte").as_f64() == Some(5.0)).unwrap();
    assert_eq!(txid, text(&transactions(&five).get(0), "txid"));
    world.with(|state| {
        let [refund] = state.broadcast.as_slice() else { panic!("one refund") };
        assert_eq!(refund.compute_txid().to_string(), txid);
        assert_eq!(refund.output[0].value, Amount::from_sat(sat(&five, "returnedSat")));
        assert_eq!(refund.output[0].script_pubkey, state.payee().params().return_script);
    });
    assert_eq!(code(send(&world, &kit, Some(100)).await), "broadcast_refused", "it was spent already");
    world.with(|state| state.blind = true);
    assert_eq!(code(send(&world, &kit, None).await), "chain_unreachable");
    assert_eq!(code(chain_height(esplora).await.map_err(JsValue::from)), "chain_unreachable");
    let nowhere = object(&[("esplora", "/esplora".into())]);
    assert_eq!(code(chain_height(nowhere).await.map_err(JsValue::from)), "invalid_argument");
}

/// The page takes a second deposit back by itself: the file that names it stays good for the first one.
#[wasm_bindgen_test]
async fn what_came_back_early_does_not_void_the_file() {
    let world = World::new("file-twice.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    world.deposit(20_000, 2);
    world.deposit(30_000, 3);
    let kit = text(&call_async(&channel, "refundKit", &[]).await.unwrap(), "text");
    // Dearer than the small ones can pay for, they go at their own dearest.
    let shown = read(&kit).unwrap();
    let dearest = refunds(&shown).get(7);
    let parts: Vec<_> = transactions(&dearest).iter().map(|part| sat(&part, "returnedSat")).collect();
    assert_eq!((parts.len(), parts.iter().sum()), (3, sat(&dearest, "returnedSat")));
    assert!(parts.iter().all(|part| *part > 0));

    watch(&world, &channel, 1).await;
    // Whatever arrives makes the page look.
    world.deposit_beside(5_000, 4);
    until(&channel, "all come back", |_| world.with(|state| state.broadcast.len() == 3)).await;
    leave(client).await;
    let expiry = world.with(|state| state.payee().params().expiry);
    world.with(|state| state.tip = expiry);
    let [txid] = <[_; 1]>::try_from(send(&world, &kit, None).await.unwrap()).unwrap();
    world.with(|state| {
        let refund = state.broadcast.last().unwrap();
        assert_eq!(refund.compute_txid().to_string(), txid);
        assert!((DEPOSIT - 10_000..DEPOSIT).contains(&refund.output[0].value.to_sat()));
    });
    assert_eq!(code(send(&world, &kit, Some(100)).await), "broadcast_refused", "nothing is left");
}

#[wasm_bindgen_test]
async fn a_file_of_a_timelock_channel_is_one_as_well() {
    let world = World::new("file-timelock.example");
    let payee_script = rillpay_channel::bitcoin::ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6");
    let ladder = Ladder { step: 4, updates: 9 };
    world.with(|state| state.offer.kind = Kind::Timelock { ladder, payee_script: payee_script.unwrap() });
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    let address = text(&snapshot(&channel), "fundingAddress");
    let bytes = world.with(|state| {
        let txid = state.chain.pay(&address, DEPOSIT, None);
        rillpay_channel::bitcoin::consensus::serialize(&state.chain.find(&txid.to_string()).unwrap().0)
    });
    call_async(&channel, "fund", &[Uint8Array::from(bytes.as_slice()).into()]).await.unwrap();
    world.confirm_funding();
    until_phase(&channel, "open").await;
    let kit = call_async(&channel, "refundKit", &[]).await.unwrap();
    leave(client).await;
    let shown = read(&text(&kit, "text")).unwrap();
    assert_eq!(text(&shown, "address"), address);
    assert_eq!(refunds(&shown).length(), 8);
}

/// The file with something in its transactions changed, and everything that names it changed with it.
fn forged(kit: &str, change: impl Fn(&mut Transaction)) -> String {
    let file = JSON::parse(kit).unwrap();
    let listed: Array = get(&file, "transactions").dyn_into().unwrap();
    let entry = listed.get(0);
    let mut transaction: Transaction = deserialize_hex(&text(&entry, "hex")).unwrap();
    change(&mut transaction);
    for (key, value) in [
        ("hex", serialize_hex(&transaction)),
        ("txid", transaction.compute_txid().to_string()),
        ("outpoint", transaction.input.first().map_or_else(String::new, |input| input.previous_output.to_string())),
        ("returnedSat", transaction.output.first().map_or(0, |output| output.value.to_sat()).to_string()),
    ] {
        Reflect::set(&entry, &key.into(), &value.into()).unwrap();
    }
    JSON::stringify(&file).unwrap().into()
}

#[wasm_bindgen_test]
async fn what_is_no_refund_file_is_refused() {
    let world = World::new("file-bad.example");
    let (kit, _) = file(&world).await;
    let with = |key: &str, value: JsValue| {
        let file = JSON::parse(&kit).unwrap();
        Reflect::set(&file, &key.into(), &value).unwrap();
        String::from(JSON::stringify(&file).unwrap())
    };
    let elsewhere = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let height = get(&read(&kit).unwrap(), "expiryHeight").as_f64().unwrap();
    let mut files = vec![
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "x".repeat(5 << 20),
        kit[..kit.len() / 2].to_owned(),
        with("type", "other-kit".into()),
        with("version", 2.into()),
        with("network", "bitcoin".into()),
        with("network", "moon".into()),
        with("address", elsewhere.into()),
        with("returnAddress", elsewhere.into()),
        with("returnAddress", JsValue::NULL),
        with("expiryHeight", (height - 1.0).into()),
        with("expiryHeight", 500_000_000.into()),
        with("expiryHeight", 0.5.into()),
        with("witnessScript", "51".into()),
        with("witnessScript", "zz".into()),
        with("transactions", Array::new().into()),
        with("transactions", "none".into()),
    ];
    type Change = fn(&mut Transaction);
    let changes: [Change; 8] = [
        |transaction| transaction.output[0].script_pubkey.push_opcode(rillpay_channel::bitcoin::opcodes::all::OP_DROP),
        |transaction| transaction.output.push(transaction.output[0].clone()),
        |transaction| transaction.output.clear(),
        |transaction| transaction.input.clear(),
        |transaction| transaction.input[0].sequence = Sequence::MAX,
        // Two outputs in one: what becomes of one would decide about the other.
        |transaction| {
            let mut second = transaction.input[0].clone();
            second.previous_output.vout += 1;
            transaction.input.push(second);
        },
        |transaction| transaction.input[0].witness.push([1]),
        |transaction| transaction.lock_time = rillpay_channel::bitcoin::absolute::LockTime::ZERO,
    ];
    files.extend(changes.map(|change| forged(&kit, change)));
    for (number, bad) in files.iter().enumerate() {
        let refused = read(bad).expect_err(&format!("file {number}"));
        assert_eq!(text(&refused, "code"), "invalid_refund_file", "file {number}");
        assert_eq!(code(send(&world, bad, None).await), "invalid_refund_file");
    }
    // A hex that is not the named transaction.
    assert!(read(&forged(&kit, |_| ())).is_ok(), "the forger's tool is in order");
    for said in ["\"returnedSat\": \"", "\"outpoint\": \""] {
        let swapped = kit.replacen(said, &format!("{said}9"), 1);
        assert_eq!(code(read(&swapped)), "invalid_refund_file");
    }
    // Older files name no output: the transactions say it.
    let older: Vec<&str> = kit.lines().filter(|line| !line.contains("\"outpoint\"")).collect();
    assert_eq!(refunds(&read(&older.join("\n")).unwrap()).length(), 8);
}
