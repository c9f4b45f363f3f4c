//! One writer among the tabs of a browser: a Web Lock that lives as long as its guard, or as its tab.

use futures_channel::oneshot;
use futures_util::future::{self, Either};
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, DomException};

use crate::env;
use crate::error::{Error, Problem, Result};

/// How long to wait for a tab that is just closing or reloading.
const PATIENCE_MS: u32 = 800;

/// The lock of one name. Dropping it lets the next tab write.
pub struct Lock {
    release: Function,
}

impl Lock {
    /// Takes the writer's lock of what has this name: a server's origin, or a wallet.
    ///
    /// # Errors
    /// [`Problem::AnotherTab`], [`Problem::UnsupportedBrowser`].
    pub async fn take(name: &str) -> Result<Self> {
        let options = Object::new();
        let signal = AbortSignal::timeout_with_u32(PATIENCE_MS);
        // A plain object takes any property.
        let _ = Reflect::set(&options, &"signal".into(), &signal);

        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        // The lock is held until the promise that this callback returns is settled.
        let granted = Closure::<dyn FnMut(JsValue) -> Promise>::new(move |_| {
            let mut release = JsValue::UNDEFINED;
            let held = Promise::new(&mut |resolve, _| release = resolve.into());
            if let Some(sender) = sender.take() {
                // Nobody waits any more only if the caller is gone: then the guard is dropped, and with it the lock.
                let _ = sender.send(Self { release: release.unchecked_into() });
            }
            held
        });
        let name = format!("rillpay:{name}");
        let whole = env::locks()?
            .request(&name, &options, granted.as_ref().unchecked_ref())
            .map_err(|cause| Error::caused(Problem::UnsupportedBrowser, &cause))?;
        let refused = JsFuture::from(whole);
        match future::select(receiver, refused).await {
            Either::Left((Ok(lock), _)) => Ok(lock),
            Either::Right((Err(cause), _)) if !timed_out(&cause) => {
                Err(Error::caused(Problem::UnsupportedBrowser, &cause))
            }
            _ => Err(Problem::AnotherTab.into()),
        }
    }
}

fn timed_out(cause: &JsValue) -> bool {
    let name = cause.dyn_ref::<DomException>().map(DomException::name);
    name.is_some_and(|name| name == "TimeoutError" || name == "AbortError")
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Settling a promise cannot throw.
        let _ = self.release.call0(&JsValue::UNDEFINED);
    }
}
