//! What a page does with the module, and how tests look at it.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Object, Promise, Reflect};
use rillpay::client::Client;
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::world::World;

#[wasm_bindgen(inline_js = "
    export function pause(milliseconds) { return new Promise((resolve) => setTimeout(resolve, milliseconds)); }
    const real = IDBObjectStore.prototype.put;
    export function fill_disk(full) {
        IDBObjectStore.prototype.put = full ? () => { throw new DOMException('full', 'QuotaExceededError'); } : real;
    }
    function in_store(change) {
        return new Promise((resolve, reject) => {
            const opening = indexedDB.open('rillpay', 1);
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = () => {
                const transaction = opening.result.transaction(['sites', 'events'], 'readwrite');
                const request = change(transaction.objectStore('events'), transaction.objectStore('sites'));
                transaction.oncomplete = () => { opening.result.close(); resolve(request.result); };
            };
        });
    }
    export function put_event(server, channel, slot, bytes) { return in_store((events) => real.call(events, bytes, [server, channel, slot])); }
    export function get_event(server, channel, slot) { return in_store((events) => events.get([server, channel, slot])); }
    export function forget(server) {
        return in_store((events, sites) => {
            sites.delete(`${server}#wallet`);
            events.delete(IDBKeyRange.bound([server], [server, []]));
            return sites.delete(server);
        });
    }
    export function put_site(server, record) { return in_store((_, sites) => real.call(sites, record, server)); }
")]
extern "C" {
    pub(crate) fn pause(milliseconds: u32) -> Promise;
    pub(crate) fn fill_disk(full: bool);
    pub(crate) fn put_event(server: &str, channel: &str, slot: u8, bytes: Vec<u8>) -> Promise;
    pub(crate) fn get_event(server: &str, channel: &str, slot: u8) -> Promise;
    /// A browser that was never here.
    pub(crate) fn forget(server: &str) -> Promise;
    pub(crate) fn put_site(server: &str, record: &JsValue) -> Promise;
}

pub(crate) const DEPOSIT: u64 = 3_600_000;

pub(crate) fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap()
}

pub(crate) fn text(object: &JsValue, key: &str) -> String {
    get(object, key).as_string().unwrap_or_default()
}

pub(crate) fn sat(object: &JsValue, key: &str) -> u64 {
    u64::try_from(get(object, key)).expect("a bigint")
}

pub(crate) fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (key, value) in fields {
        Reflect::set(&object, &(*key).into(), value).unwrap();
    }
    object.into()
}

/// Calls a method as a page does.
pub(crate) fn call(object: &JsValue, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let method: Function = get(object, method).dyn_into().expect("a method");
    method.apply(object, &arguments.iter().collect())
}

pub(crate) async fn call_async(object: &JsValue, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let promise: Promise = call(object, method, arguments)?.dyn_into().expect("a promise");
    JsFuture::from(promise).await
}

pub(crate) async fn connect_with(world: &World, more: &[(&str, JsValue)]) -> Result<Client, JsValue> {
    let mut options = vec![("server", JsValue::from(world.origin()))];
    options.extend_from_slice(more);
    Client::connect(object(&options)).await.map_err(JsValue::from)
}

pub(crate) async fn connect(world: &World) -> Client {
    connect_with(world, &[]).await.expect("connects")
}

pub(crate) async fn open(client: &Client) -> JsValue {
    let options = object(&[("depositSat", DEPOSIT.into())]);
    client.open(options).await.map_err(JsValue::from).expect("opens")
}

pub(crate) fn snapshot(channel: &JsValue) -> JsValue {
    call(channel, "snapshot", &[]).unwrap()
}

/// Waits until the channel's snapshot is as it should be; the page's own tasks do the work meanwhile.
pub(crate) async fn until(channel: &JsValue, what: &str, holds: impl Fn(&JsValue) -> bool) -> JsValue {
    for _ in 0..400 {
        let snapshot = snapshot(channel);
        if holds(&snapshot) {
            return snapshot;
        }
        JsFuture::from(pause(25)).await.unwrap();
    }
    panic!("never {what}: {:?}", js_sys::JSON::stringify_with_replacer(&snapshot(channel), &bigints()));
}

pub(crate) fn bigints() -> JsValue {
    Function::new_with_args("key, value", "return typeof value === 'bigint' ? `${value}` : value").into()
}

pub(crate) async fn until_phase(channel: &JsValue, phase: &str) -> JsValue {
    until(channel, phase, |now| text(now, "phase") == phase).await
}

pub(crate) async fn attached(channel: &JsValue) -> JsValue {
    until(channel, "attached", |now| get(now, "attached").is_truthy()).await
}

/// A channel that can pay.
pub(crate) async fn funded(world: &World, client: &Client) -> JsValue {
    let channel = open(client).await;
    attached(&channel).await;
    world.deposit(DEPOSIT, 1);
    until_phase(&channel, "open").await;
    channel
}

/// Seconds of content, one by one, each paid and received.
pub(crate) async fn watch(world: &World, channel: &JsValue, seconds: u32) {
    for _ in 0..seconds {
        if !world.serve(1_000) {
            let due = world.with(|state| state.payee().delivered() + 1_000);
            until(channel, "paid", |now| sat(now, "paidSat") >= due).await;
            JsFuture::from(pause(5)).await.unwrap();
            assert!(world.serve(1_000), "paid, so released");
        }
        let arrived = sat(&snapshot(channel), "deliveredMsat") + 1_000_000;
        call(channel, "received", &[1_000.into()]).unwrap();
        until(channel, "stored", |now| sat(now, "deliveredMsat") == arrived).await;
    }
}

/// The codes of the problems that a channel reports from now on.
pub(crate) fn problems(channel: &JsValue) -> Rc<RefCell<Vec<String>>> {
    let seen = Rc::new(RefCell::new(vec![]));
    let noting = seen.clone();
    let listener = Closure::<dyn FnMut(JsValue)>::new(move |event: JsValue| {
        noting.borrow_mut().push(match text(&event, "type").as_str() {
            "problem" => text(&get(&event, "error"), "code"),
            other => other.to_owned(),
        });
    });
    call(channel, "subscribe", &[listener.into_js_value()]).unwrap();
    seen
}

pub(crate) async fn until_told(told: &Rc<RefCell<Vec<String>>>, code: &str) {
    for _ in 0..200 {
        if told.borrow().iter().any(|seen| seen == code) {
            return;
        }
        JsFuture::from(pause(25)).await.unwrap();
    }
    panic!("never told {code}: {:?}", told.borrow());
}

pub(crate) fn code<T>(result: Result<T, JsValue>) -> String {
    text(&result.err().expect("refused"), "code")
}

/// Lets the lock go, which takes a moment.
pub(crate) async fn leave(client: Client) {
    client.disconnect();
    JsFuture::from(pause(50)).await.unwrap();
}
