//! What the module makes of the browser around it: private windows, storage that does not last.
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
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use world::World;

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(inline_js = "
    const kept = [];
    function change(object, key, value) {
        kept.push([object, key, Object.getOwnPropertyDescriptor(object, key)]);
        Object.defineProperty(object, key, { configurable: true, writable: true, value });
    }
    export function as_it_is() {
        for (const [object, key, was] of kept.splice(0).reverse()) {
            if (was === undefined) delete object[key]; else Object.defineProperty(object, key, was);
        }
    }
    export function heap(limit) { change(performance, 'memory', limit === undefined ? undefined : { jsHeapSizeLimit: limit }); }
    export function quota(bytes) { change(navigator.storage, 'estimate', async () => ({ quota: bytes, usage: 0 })); }
    export function files_refused(name) { change(navigator.storage, 'getDirectory', async () => { throw new DOMException('no', name); }); }
    export function vendor(name) { change(navigator, 'vendor', name); }
    export function installed() { change(navigator, 'standalone', true); }
    let asked = 0;
    export function persistence(granted) {
        asked = 0;
        let now = false;
        change(navigator.storage, 'persisted', async () => now);
        change(navigator.storage, 'persist', async () => { asked += 1; now = granted; return granted; });
    }
    export function times_asked() { return asked; }
")]
extern "C" {
    fn as_it_is();
    fn heap(limit: JsValue);
    fn quota(bytes: f64);
    fn files_refused(name: &str);
    fn vendor(name: &str);
    fn installed();
    fn persistence(granted: bool);
    fn times_asked() -> u32;
}

fn safety(client: &Client) -> JsValue {
    client.safety().unwrap()
}

fn is_private(client: &Client) -> bool {
    get(&safety(client), "privateMode").is_truthy()
}

async fn try_open(client: &Client) -> Result<JsValue, JsValue> {
    client.open(object(&[("depositSat", DEPOSIT.into())])).await.map_err(JsValue::from)
}

#[wasm_bindgen_test]
async fn this_browsers_own_window_is_no_private_one() {
    let world = World::new("plain.example");
    let client = connect(&world).await;
    assert!(!is_private(&client));
    assert!(get(&safety(&client), "evictionDays").is_null());
    leave(client).await;
}

#[wasm_bindgen_test]
async fn a_private_window_takes_no_deposit_and_may_use_one() {
    let world = World::new("private.example");
    let client = connect(&world).await;
    let channel = funded(&world, &client).await;
    watch(&world, &channel, 1).await;
    leave(client).await;

    let tells: [fn(); 3] = [
        || {
            heap(4_000_000_000_u32.into());
            quota(1_000_000_000.0);
        },
        || {
            heap(JsValue::UNDEFINED);
            files_refused("SecurityError");
        },
        || {
            heap(JsValue::UNDEFINED);
            files_refused("UnknownError");
        },
    ];
    for tell in tells {
        tell();
        let client = connect(&world).await;
        assert!(is_private(&client));
        let channel = client.channel();
        attached(&channel).await;
        watch(&world, &channel, 1).await;
        leave(client).await;
        let elsewhere = World::new("private-empty.example");
        let client = connect(&elsewhere).await;
        assert_eq!(code(try_open(&client).await), "private_mode");
        assert_eq!(elsewhere.with(|state| state.opened), 0, "nobody was asked");
        leave(client).await;
        as_it_is();
    }
}

#[wasm_bindgen_test]
async fn a_small_disk_or_a_broken_one_is_no_private_window() {
    let world = World::new("small.example");
    let looks: [fn(); 3] = [
        || {
            heap(4_000_000_000_u32.into());
            quota(5_000_000_000.0);
        },
        || {
            heap(JsValue::UNDEFINED);
            files_refused("InvalidStateError");
        },
        || {
            heap(JsValue::UNDEFINED);
            files_refused("QuotaExceededError");
        },
    ];
    for look in looks {
        look();
        let client = connect(&world).await;
        assert!(!is_private(&client));
        leave(client).await;
        as_it_is();
    }
}

#[wasm_bindgen_test]
async fn webkit_forgets_after_a_week_unless_it_was_told_not_to() {
    let world = World::new("webkit.example");
    vendor("Apple Computer, Inc.");
    persistence(false);
    let client = connect(&world).await;
    assert_eq!(get(&safety(&client), "evictionDays").as_f64(), Some(7.0));
    assert_eq!(get(&safety(&client), "persistent").as_bool(), Some(false));
    assert_eq!(times_asked(), 0, "not before there is something to keep");
    let channel = open(&client).await;
    // 1,008 blocks are seven days: of an expiry one block later the browser would know no more.
    let seen = until(&channel, "looked at", |now| get(now, "tipHeight").as_f64() > Some(0.0)).await;
    assert!(!get(&seen, "evictableBeforeExpiry").is_truthy());
    assert_eq!(times_asked(), 1);
    leave(client).await;

    let world = World::new("webkit-later.example");
    world.with(|state| state.offer.lifetime = 2_016);
    let client = connect(&world).await;
    let channel = open(&client).await;
    until(&channel, "warned", |now| get(now, "evictableBeforeExpiry").is_truthy()).await;
    leave(client).await;
    as_it_is();

    vendor("Apple Computer, Inc.");
    persistence(true);
    let client = connect(&world).await;
    until(&client.channel(), "warned", |now| get(now, "evictableBeforeExpiry").is_truthy()).await;
    leave(client).await;
    let other = World::new("webkit-kept.example");
    other.with(|state| state.offer.lifetime = 2_016);
    let client = connect(&other).await;
    let channel = open(&client).await;
    until(&channel, "kept", |_| get(&safety(&client), "persistent").is_truthy()).await;
    assert!(get(&safety(&client), "evictionDays").is_null());
    until(&channel, "no warning", |now| !get(now, "evictableBeforeExpiry").is_truthy()).await;
    leave(client).await;
    as_it_is();

    vendor("Apple Computer, Inc.");
    installed();
    let client = connect(&world).await;
    assert!(get(&safety(&client), "evictionDays").is_null(), "an installed page is kept");
    leave(client).await;
    as_it_is();
}
