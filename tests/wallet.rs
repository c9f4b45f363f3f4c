//! The page's own wallet, in the page: what it sees, pays, keeps, and how it funds a channel.
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

use js_sys::{Array, Uint8Array};
use page::*;
use rillpay::wallet::Wallet;
use rillpay_channel::bitcoin::consensus::deserialize;
use rillpay_channel::bitcoin::{Address, Amount, Network, ScriptBuf, Transaction};
use rillpay_channel::{Kind, Ladder};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::{World, chain::script};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(inline_js = "
    export function wallet_records() {
        return new Promise((resolve, reject) => {
            const opening = indexedDB.open('rillpay-wallet', 1);
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = () => {
                const all = opening.result.transaction('wallets', 'readwrite').objectStore('wallets');
                const request = all.getAll();
                request.onsuccess = () => { opening.result.close(); resolve(request.result); };
            };
        });
    }
    export function spoil_wallets(value) {
        return new Promise((resolve, reject) => {
            const opening = indexedDB.open('rillpay-wallet', 1);
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = () => {
                const transaction = opening.result.transaction('wallets', 'readwrite');
                const all = transaction.objectStore('wallets');
                all.getAllKeys().onsuccess = ({ target }) => target.result.forEach((key) => all.put(value, key));
                transaction.oncomplete = () => { opening.result.close(); resolve(); };
            };
        });
    }
")]
extern "C" {
    fn wallet_records() -> js_sys::Promise;
    fn spoil_wallets(value: JsValue) -> js_sys::Promise;
}

/// Somebody else's address.
const ELSEWHERE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

async fn open_with(world: &World, more: &[(&str, JsValue)]) -> Result<Wallet, JsValue> {
    let mut options = vec![("server", JsValue::from(world.origin()))];
    options.extend_from_slice(more);
    Wallet::open(object(&options)).await.map_err(JsValue::from)
}

async fn open_wallet(world: &World) -> Wallet {
    open_with(world, &[]).await.expect("opens")
}

async fn sync(wallet: &Wallet) {
    wallet.sync().await.map_err(JsValue::from).expect("looks");
}

async fn shut(wallet: Wallet) {
    wallet.close();
    JsFuture::from(pause(50)).await.unwrap();
}

fn address(wallet: &Wallet) -> String {
    text(&wallet.address().unwrap(), "address")
}

fn balance(wallet: &Wallet) -> [u64; 3] {
    let balance = wallet.balance().unwrap();
    ["confirmedSat", "pendingSat", "heldSat"].map(|name| sat(&balance, name))
}

fn payment(to: &str, amount: u64, sat_per_vbyte: u32) -> JsValue {
    object(&[("to", to.into()), ("amountSat", amount.into()), ("satPerVbyte", sat_per_vbyte.into())])
}

async fn build(wallet: &Wallet, what: JsValue) -> Result<JsValue, JsValue> {
    wallet.build(what).await.map_err(JsValue::from)
}

fn transaction(built: &JsValue) -> Transaction {
    let bytes: Uint8Array = get(built, "transaction").dyn_into().expect("bytes");
    deserialize(&bytes.to_vec()).expect("a transaction")
}

async fn funded_wallet(world: &World, amounts: &[u64]) -> Wallet {
    let wallet = open_wallet(world).await;
    for amount in amounts {
        world.pay(&address(&wallet), *amount);
        sync(&wallet).await;
    }
    wallet
}

#[wasm_bindgen_test]
async fn receives_pays_and_tells_its_history() {
    let world = World::new("wallet.example");
    let wallet = open_wallet(&world).await;
    assert_eq!(wallet.network(), "regtest");
    let first = wallet.address().unwrap();
    assert_eq!(get(&first, "index").as_f64(), Some(1.0), "the one before is a channel's");
    assert_eq!(balance(&wallet), [0, 0, 0]);
    world.with(|state| state.chain.pay(&text(&first, "address"), 100_000, None));
    sync(&wallet).await;
    assert_eq!(balance(&wallet), [0, 100_000, 0]);
    world.mine();
    sync(&wallet).await;
    assert_eq!(balance(&wallet), [100_000, 0, 0]);
    assert_eq!(f64::from(wallet.tip_height()), world.with(|state| f64::from(state.tip)));
    assert_ne!(address(&wallet), text(&first, "address"), "an address is for one payment");

    let quote = wallet.quote(payment(ELSEWHERE, 30_000, 3)).await.map_err(JsValue::from).unwrap();
    assert_eq!(balance(&wallet), [100_000, 0, 0], "a question holds nothing");
    let sent = wallet.send(payment(ELSEWHERE, 30_000, 3)).await.map_err(JsValue::from).unwrap();
    for field in ["amountSat", "feeSat", "changeSat"] {
        assert_eq!(sat(&sent, field), sat(&quote, field), "{field}");
    }
    assert_eq!(get(&sent, "satPerVbyte").as_f64(), Some(3.0));
    assert_eq!(get(&sent, "broadcast").as_bool(), Some(true));
    let paid = world.with(|state| state.broadcast[0].clone());
    assert_eq!(paid.compute_txid().to_string(), text(&sent, "txid"));
    let out = paid.output.iter().find(|output| output.script_pubkey == script(ELSEWHERE)).unwrap();
    assert_eq!(out.value, Amount::from_sat(30_000));
    let fee = sat(&sent, "feeSat");
    assert_eq!(balance(&wallet), [0, 70_000 - fee, 0], "its own change is on the way");

    world.mine();
    sync(&wallet).await;
    let history: Array = wallet.history().unwrap().dyn_into().unwrap();
    assert_eq!(history.length(), 2);
    let newest = history.get(0);
    assert_eq!(sat(&newest, "sentSat"), 100_000);
    assert_eq!(sat(&newest, "receivedSat"), 70_000 - fee);
    assert_eq!(sat(&newest, "feeSat"), fee);
    assert_eq!(get(&newest, "confirmations").as_f64(), Some(1.0));
    let height = get(&newest, "height").as_f64().unwrap();
    assert_eq!(get(&newest, "time").as_f64(), Some((1_700_000_000.0 + height) * 1_000.0));
    assert!(get(&history.get(1), "feeSat").is_null());

    // Everything out, at the speed of the estimates.
    let all = object(&[("to", ELSEWHERE.into()), ("speed", "slow".into())]);
    let swept = wallet.sweep(all).await.map_err(JsValue::from).unwrap();
    assert_eq!(get(&swept, "satPerVbyte").as_f64(), Some(2.0));
    assert_eq!(sat(&swept, "amountSat") + sat(&swept, "feeSat"), 70_000 - fee);
    world.mine();
    sync(&wallet).await;
    assert_eq!(balance(&wallet), [0, 0, 0]);
    shut(wallet).await;
}

#[wasm_bindgen_test]
async fn a_reload_finds_the_wallet_as_it_was_even_without_a_chain() {
    let world = World::new("wallet-reload.example");
    let wallet = funded_wallet(&world, &[50_000]).await;
    let words = wallet.recovery_words();
    let fresh = wallet.fresh_address().await.map_err(JsValue::from).unwrap();
    let sent = wallet.send(payment(ELSEWHERE, 10_000, 2)).await.map_err(JsValue::from).unwrap();
    let before = balance(&wallet);
    assert_eq!(code(open_with(&world, &[]).await.map(drop)), "another_tab");
    shut(wallet).await;

    let esplora = format!("{}/esplora", world.origin());
    world.with(|state| state.blind = true);
    let wallet = open_with(&world, &[("network", "regtest".into()), ("esplora", esplora.into())]).await.expect("opens");
    assert_eq!(wallet.recovery_words(), words);
    assert_eq!(balance(&wallet), before);
    assert_eq!(address(&wallet), text(&fresh, "address"));
    assert_eq!(code(wallet.sync().await.map_err(JsValue::from)), "chain_unreachable");
    assert_eq!(balance(&wallet), before, "a look that breaks off changes nothing");
    let history: Array = wallet.history().unwrap().dyn_into().unwrap();
    assert_eq!(text(&history.get(0), "txid"), text(&sent, "txid"));
    // The site's client takes the same words.
    let client = connect(&world).await;
    assert_eq!(client.recovery_words(), words);
    leave(client).await;
    shut(wallet).await;
    // No secret is in its records.
    let records = JsFuture::from(wallet_records()).await.unwrap();
    let records: Array = records.dyn_into().unwrap();
    for record in records.iter() {
        let bytes = Uint8Array::new(&record).to_vec();
        let first = words.split(' ').next().unwrap().as_bytes().to_vec();
        assert!(!bytes.windows(first.len()).any(|window| window == first));
    }
}

#[wasm_bindgen_test]
async fn what_did_not_arrive_is_broadcast_again_and_what_was_refused_is_free() {
    let world = World::new("wallet-broadcast.example");
    let wallet = funded_wallet(&world, &[50_000]).await;
    world.with(|state| state.refuses = true);
    let refused = wallet.send(payment(ELSEWHERE, 10_000, 2)).await.map_err(JsValue::from);
    assert_eq!(code(refused), "broadcast_refused");
    assert_eq!(balance(&wallet), [50_000, 0, 0]);
    world.with(|state| {
        state.refuses = false;
        state.blind = true;
    });
    let sent = wallet.send(payment(ELSEWHERE, 10_000, 2)).await.map_err(JsValue::from).unwrap();
    assert_eq!(get(&sent, "broadcast").as_bool(), Some(false));
    assert!(world.with(|state| state.broadcast.is_empty()));
    world.with(|state| state.blind = false);
    sync(&wallet).await;
    world.with(|state| {
        assert_eq!(state.broadcast.len(), 1, "once");
        assert_eq!(state.broadcast[0].compute_txid().to_string(), text(&sent, "txid"));
    });
    shut(wallet).await;
}

#[wasm_bindgen_test]
async fn a_disk_that_is_full_sends_nothing_and_holds_nothing() {
    let world = World::new("wallet-full.example");
    let wallet = funded_wallet(&world, &[50_000]).await;
    fill_disk(true);
    let refused = wallet.send(payment(ELSEWHERE, 10_000, 2)).await.map_err(JsValue::from);
    fill_disk(false);
    assert_eq!(code(refused), "storage_full");
    assert!(world.with(|state| state.broadcast.is_empty()));
    assert_eq!(balance(&wallet), [50_000, 0, 0]);
    wallet.send(payment(ELSEWHERE, 10_000, 2)).await.map_err(JsValue::from).expect("room again");
    shut(wallet).await;
}

#[wasm_bindgen_test]
async fn what_is_built_is_held_until_it_is_sent_or_released() {
    let world = World::new("wallet-built.example");
    let wallet = funded_wallet(&world, &[50_000]).await;
    let built = build(&wallet, payment(ELSEWHERE, 20_000, 2)).await.unwrap();
    let txid = text(&built, "txid");
    assert_eq!(transaction(&built).compute_txid().to_string(), txid);
    assert_eq!(balance(&wallet), [0, 0, 50_000]);
    assert_eq!(code(build(&wallet, payment(ELSEWHERE, 20_000, 2)).await), "insufficient_funds");
    shut(wallet).await;
    // A reload came between.
    let wallet = open_wallet(&world).await;
    let held = wallet.held().unwrap();
    assert_eq!((held.length(), text(&held.get(0), "txid")), (1, txid.clone()));
    assert_eq!(transaction(&held.get(0)), transaction(&built));
    wallet.release(&txid).await.map_err(JsValue::from).unwrap();
    assert_eq!(balance(&wallet), [50_000, 0, 0]);
    assert_eq!(code(wallet.release(&txid).await.map_err(JsValue::from)), "unknown_transaction");
    assert_eq!(code(wallet.commit("junk").await.map_err(JsValue::from)), "invalid_argument");
    let everything = object(&[("to", ELSEWHERE.into()), ("satPerVbyte", 1.into())]);
    let built = build(&wallet, everything).await.unwrap();
    assert_eq!(sat(&built, "amountSat") + sat(&built, "feeSat"), 50_000);
    wallet.commit(&text(&built, "txid")).await.map_err(JsValue::from).unwrap();
    assert_eq!(balance(&wallet), [0, 0, 0], "on its way");
    shut(wallet).await;
}

#[wasm_bindgen_test]
async fn funds_a_timelock_channel() {
    let world = World::new("wallet-timelock.example");
    let payee_script = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    world.with(|state| state.offer.kind = Kind::Timelock { ladder: Ladder { step: 4, updates: 9 }, payee_script });
    let client = connect(&world).await;
    let channel = open(&client).await;
    attached(&channel).await;
    let asked = snapshot(&channel);
    let wallet = open_wallet(&world).await;
    world.pay(&text(&asked, "address"), sat(&asked, "depositSat"));
    sync(&wallet).await;
    assert_eq!(balance(&wallet), [DEPOSIT + 2_000, 0, 0]);

    let built = build(&wallet, payment(&text(&asked, "fundingAddress"), DEPOSIT, 5)).await.unwrap();
    let txid = call_async(&channel, "fund", &[get(&built, "transaction")]).await.unwrap();
    assert_eq!(txid.as_string().unwrap(), text(&built, "txid"));
    wallet.commit(&text(&built, "txid")).await.map_err(JsValue::from).unwrap();
    world.confirm_funding();
    let open = until_phase(&channel, "open").await;
    assert_eq!(sat(&open, "capacitySat"), DEPOSIT);
    watch(&world, &channel, 2).await;
    let statement = call_async(&channel, "stop", &[]).await.unwrap();
    assert_eq!(sat(&statement, "returnedSat"), DEPOSIT - 2_000);
    leave(client).await;
    shut(wallet).await;
}

/// A payee sees where its channel returns to, and must not find that address anywhere else.
#[wasm_bindgen_test]
async fn no_channel_returns_to_an_address_that_the_wallet_has_given_out() {
    let world = World::new("wallet-apart.example");
    let wallet = open_wallet(&world).await;
    let mut given = vec![];
    for round in 0..3 {
        given.push(address(&wallet));
        wallet.fresh_address().await.map_err(JsValue::from).unwrap();
        given.push(address(&wallet));
        // The wallet stays open meanwhile.
        let client = connect(&world).await;
        let channel = funded(&world, &client).await;
        let returns = world.with(|state| state.payee().params().return_script.clone());
        let returns = Address::from_script(&returns, Network::Regtest).unwrap().to_string();
        assert!(!given.contains(&returns), "{round}");
        call_async(&channel, "stop", &[]).await.unwrap();
        leave(client).await;
        world.with(|state| state.outputs.clear());
        given.push(address(&wallet));
        assert!(!given.contains(&returns), "{round}");
    }
    shut(wallet).await;
}

#[wasm_bindgen_test]
async fn words_are_those_of_the_site_or_become_them() {
    let world = World::new("wallet-words.example");
    let wallet = open_with(&world, &[("words", WORDS.to_uppercase().into())]).await.expect("opens");
    assert_eq!(wallet.recovery_words(), WORDS);
    shut(wallet).await;
    // The client then looks for the deposits of these words.
    let client = connect(&world).await;
    assert_eq!((client.recovery_words().as_str(), world.with(|state| state.recovers)), (WORDS, 40));
    leave(client).await;
    let others = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    assert_eq!(code(open_with(&world, &[("words", others.into())]).await.map(drop)), "other_words");
    let refused = connect_with(&world, &[("words", others.into())]).await;
    assert_eq!(code(refused.map(drop)), "other_words", "a wallet may have given out addresses");
    assert_eq!(code(open_with(&world, &[("words", "no words".into())]).await.map(drop)), "invalid_words");
}

#[wasm_bindgen_test]
async fn arguments_are_checked_and_refusals_say_why() {
    let world = World::new("wallet-arguments.example");
    for (options, expected) in [
        (vec![("server", JsValue::from(7))], "invalid_argument"),
        (vec![("network", JsValue::from("moon"))], "invalid_argument"),
        (vec![("network", JsValue::from("signet"))], "wrong_network"),
        (vec![("esplora", JsValue::from("ftp://chain.example"))], "invalid_argument"),
        (vec![("server", JsValue::from("https://nobody.invalid"))], "terms_unreachable"),
    ] {
        assert_eq!(code(open_with(&world, &options).await.map(drop)), expected, "{options:?}");
    }
    let wallet = funded_wallet(&world, &[50_000]).await;
    for (what, expected) in [
        (payment("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", 10_000, 2), "invalid_address"),
        (payment(ELSEWHERE, 100, 2), "dust_amount"),
        (payment(ELSEWHERE, 50_000, 2), "insufficient_funds"),
        (payment(ELSEWHERE, 10_000, 0), "invalid_fee_rate"),
        (payment(ELSEWHERE, 10_000, 1_001), "invalid_fee_rate"),
        (object(&[("to", ELSEWHERE.into())]), "invalid_argument"),
        (object(&[("to", ELSEWHERE.into()), ("amountSat", 0.5.into())]), "invalid_argument"),
        (
            object(&[("to", ELSEWHERE.into()), ("amountSat", 10_000.into()), ("speed", "warp".into())]),
            "invalid_argument",
        ),
    ] {
        let refused = wallet.send(what.clone()).await.map_err(JsValue::from);
        assert_eq!(code(refused), expected, "{what:?}");
    }
    let refused = wallet.send(payment(ELSEWHERE, 100, 2)).await.map_err(JsValue::from).unwrap_err();
    assert_eq!(sat(&get(&refused, "data"), "amountSat"), 294);
    assert_eq!(code(wallet.sweep(payment(ELSEWHERE, 1_000, 2)).await.map_err(JsValue::from)), "invalid_argument");
    for _ in 0..8 {
        wallet.fresh_address().await.map_err(JsValue::from).unwrap();
    }
    let far = loop {
        match wallet.fresh_address().await.map_err(JsValue::from) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert_eq!(text(&far, "code"), "gap_limit");
    shut(wallet).await;

    JsFuture::from(spoil_wallets("garbage".into())).await.unwrap();
    assert_eq!(code(open_with(&world, &[]).await.map(drop)), "corrupted_wallet");
    JsFuture::from(spoil_wallets(Uint8Array::from([1, 2, 3].as_slice()).into())).await.unwrap();
    assert_eq!(code(open_with(&world, &[]).await.map(drop)), "corrupted_wallet");
}

#[wasm_bindgen_test]
async fn a_closed_wallet_does_nothing() {
    let world = World::new("wallet-closed.example");
    let wallet = open_wallet(&world).await;
    wallet.close();
    wallet.close();
    assert_eq!(code(wallet.sync().await.map_err(JsValue::from)), "disconnected");
    assert_eq!(code(wallet.send(payment(ELSEWHERE, 1_000, 2)).await.map_err(JsValue::from)), "disconnected");
    JsFuture::from(pause(50)).await.unwrap();
    let next = open_wallet(&world).await;
    shut(next).await;
}
