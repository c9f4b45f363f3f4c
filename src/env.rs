//! What this module needs of the page or worker it runs in, looked up at run time, so that importing it touches nothing.

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::JsFuture;
use web_sys::IdbFactory;

use crate::error::{Error, Problem, Result};

#[wasm_bindgen]
extern "C" {
    /// `navigator.locks`, which web-sys has among its unstable interfaces only.
    pub(crate) type Locks;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn request(
        this: &Locks,
        name: &str,
        options: &Object,
        granted: &Function,
    ) -> std::result::Result<Promise, JsValue>;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, milliseconds: u32) -> JsValue;
}

/// A property of the global object; `undefined` where there is none, or where the browser forbids even to ask.
fn global(name: &str) -> JsValue {
    property(&js_sys::global(), name)
}

fn property(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn present<T: JsCast>(value: JsValue) -> Result<T> {
    if value.is_object() { Ok(value.unchecked_into()) } else { Err(Problem::UnsupportedBrowser.into()) }
}

/// `indexedDB`.
pub(crate) fn indexed_db() -> Result<IdbFactory> {
    present(global("indexedDB"))
}

/// `navigator.locks`; only secure pages have it.
pub(crate) fn locks() -> Result<Locks> {
    present(property(&global("navigator"), "locks"))
}

fn storage() -> JsValue {
    property(&global("navigator"), "storage")
}

/// Calls a method that gives a promise; `None` where there is no such thing here.
async fn ask(object: &JsValue, method: &str) -> Option<std::result::Result<JsValue, JsValue>> {
    let method: Function = property(object, method).dyn_into().ok()?;
    let promise: Promise = method.call0(object).ok()?.dyn_into().ok()?;
    Some(JsFuture::from(promise).await)
}

/// Whether what is stored is safe from eviction.
pub(crate) async fn is_persistent() -> bool {
    ask(&storage(), "persisted").await.is_some_and(|answer| answer.is_ok_and(|answer| answer.is_truthy()))
}

/// Asks the browser to keep what is stored. Some browsers ask their user, so that the answer can take long.
pub(crate) async fn ask_for_persistence() -> bool {
    ask(&storage(), "persist").await.is_some_and(|answer| answer.is_ok_and(|answer| answer.is_truthy()))
}

/// Whether this engine drops what pages have stored, after some days without a visit: WebKit does, on iOS under every
/// browser's name, except for pages that are installed.
pub(crate) fn evicts() -> bool {
    let navigator = global("navigator");
    let webkit = property(&navigator, "vendor").as_string().is_some_and(|vendor| vendor.starts_with("Apple"));
    webkit && !property(&navigator, "standalone").is_truthy()
}

/// Whether this is a private window, as far as a browser gives itself away; wrong alarms are ruled out before missed ones.
///
/// Older Chromium keeps what a private window stores in memory, and allows it a small part of that: far less than it allows
/// the heap of scripts, which is less than any disk's share. Newer Chromium (156 was tried) answers every window alike, about
/// quota, persistence and file systems. Firefox and WebKit refuse a private window their file system, each with an error of
/// its own; a refusal for any other reason has another.
pub(crate) async fn is_private() -> bool {
    let storage = storage();
    let heap = property(&property(&global("performance"), "memory"), "jsHeapSizeLimit").as_f64();
    if let Some(heap) = heap {
        let Some(Ok(estimate)) = ask(&storage, "estimate").await else {
            return false;
        };
        return property(&estimate, "quota").as_f64().is_some_and(|quota| quota < heap);
    }
    let Some(Err(cause)) = ask(&storage, "getDirectory").await else {
        return false;
    };
    let name = property(&cause, "name").as_string();
    matches!(name.as_deref(), Some("SecurityError" | "UnknownError"))
}

/// Refuses what cannot be paid from safely, before anything is stored or shown.
///
/// # Errors
/// [`Problem::UnsupportedBrowser`], [`Problem::ThirdPartyFrame`].
pub fn check() -> Result<()> {
    for needed in ["fetch", "WebSocket", "AbortSignal"] {
        if global(needed).is_undefined() {
            return Err(Error::Browser(Problem::UnsupportedBrowser, Some(needed.into())));
        }
    }
    indexed_db()?;
    locks()?;
    if in_foreign_frame() {
        return Err(Problem::ThirdPartyFrame.into());
    }
    Ok(())
}

/// Whether the topmost page is of another origin: then browsers keep our storage apart, or drop it. The location of such
/// a page cannot be read, and that is how it shows. A worker has no `top`.
fn in_foreign_frame() -> bool {
    let top = global("top");
    if !top.is_object() {
        return false;
    }
    let origin = Reflect::get(&top, &"location".into()).and_then(|location| Reflect::get(&location, &"origin".into()));
    origin.is_err()
}

/// Seconds since 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a clock before 1970 saturates to 0, and no clock reaches 2^64"
)]
pub(crate) fn now() -> u64 {
    js_sys::Date::now() as u64 / 1000
}

/// Waits. Browsers stretch this in hidden tabs.
pub(crate) async fn sleep(milliseconds: u32) {
    let promise = Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, milliseconds);
    });
    // Such a promise is never rejected.
    let _ = JsFuture::from(promise).await;
}

/// Random bytes.
///
/// # Errors
/// [`Problem::NoEntropy`].
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Problem::NoEntropy)?;
    Ok(bytes)
}
