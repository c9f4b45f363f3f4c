//! IndexedDB as futures. A promise's own `resolve` and `reject` serve as the event handlers, so nothing has to be kept
//! alive while the browser works.

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::*};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DomException, IdbDatabase, IdbKeyRange, IdbRequest, IdbTransaction};

use crate::env;
use crate::error::{Error, Problem, Result};

#[wasm_bindgen]
extern "C" {
    /// `IDBDatabase`, for the one signature that web-sys has among its unstable interfaces only.
    type WithOptions;

    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &WithOptions,
        stores: &Array,
        mode: &str,
        options: &Object,
    ) -> std::result::Result<IdbTransaction, JsValue>;
}

/// An open database; closed when dropped.
pub(crate) struct Database(IdbDatabase);

impl Database {
    /// Opens version 1 of a database with these object stores, and makes them where it is new.
    pub(crate) async fn open(name: &str, stores: &'static [&'static str]) -> Result<Self> {
        let request = env::indexed_db()?.open_with_u32(name, 1).map_err(|cause| blocked(&cause))?;
        let opening = request.clone();
        let upgrade = Closure::once(move || {
            if let Ok(database) = opening.result().map(JsCast::unchecked_into::<IdbDatabase>) {
                for store in stores {
                    // Where this fails the opening fails, which is what counts.
                    let _ = database.create_object_store(store);
                }
            }
        });
        request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
        let database: IdbDatabase = result(&request).await?.unchecked_into();
        // A page of a later version of this module may want to upgrade: let it, and fail in here from then on.
        let closing = database.clone();
        let close = Closure::once_into_js(move || closing.close());
        database.set_onversionchange(Some(close.unchecked_ref()));
        Ok(Self(database))
    }

    /// The value of a key; undefined where there is none.
    pub(crate) async fn get(&self, store: &'static str, key: &JsValue) -> Result<JsValue> {
        let transaction = self.begin(&[store], "readonly")?;
        let request = transaction.object_store(store).and_then(|store| store.get(key));
        result(&request.map_err(|cause| blocked(&cause))?).await
    }

    /// An array of the values in a range of keys, in the order of the keys.
    pub(crate) async fn get_all(&self, store: &'static str, range: &IdbKeyRange) -> Result<JsValue> {
        let transaction = self.begin(&[store], "readonly")?;
        let request = transaction.object_store(store).and_then(|store| store.get_all_with_key(range));
        result(&request.map_err(|cause| blocked(&cause))?).await
    }

    /// Puts all of it, or nothing; returns when it is on the disk.
    pub(crate) async fn put_all(&self, puts: &[(&'static str, JsValue, JsValue)]) -> Result<()> {
        let stores: Vec<_> = puts.iter().map(|(store, ..)| *store).collect();
        let transaction = self.begin(&stores, "readwrite")?;
        for (store, key, value) in puts {
            let put = transaction.object_store(store).and_then(|store| store.put_with_key(value, key));
            if let Err(cause) = put {
                // What was put before must not stay; a transaction that cannot be aborted has been already.
                let _ = transaction.abort();
                return Err(blocked(&cause));
            }
        }
        let done = Promise::new(&mut |resolve, reject| {
            transaction.set_oncomplete(Some(&resolve));
            transaction.set_onabort(Some(&reject));
        });
        match JsFuture::from(done).await {
            Ok(_) => Ok(()),
            Err(_) => Err(transaction.error().map_or(Problem::StorageBlocked.into(), |cause| blocked(&cause))),
        }
    }

    fn begin(&self, stores: &[&str], mode: &str) -> Result<IdbTransaction> {
        let names: Array = stores.iter().copied().map(JsValue::from).collect();
        let options = Object::new();
        // A plain object takes any property. Browsers that do not know this one are strict anyway.
        let _ = Reflect::set(&options, &"durability".into(), &"strict".into());
        self.0.unchecked_ref::<WithOptions>().transaction(&names, mode, &options).map_err(|cause| blocked(&cause))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.0.set_onversionchange(None);
        self.0.close();
    }
}

/// The result of a request, once it has one.
async fn result(request: &IdbRequest) -> Result<JsValue> {
    let done = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    match JsFuture::from(done).await {
        Ok(_) => request.result().map_err(|cause| blocked(&cause)),
        Err(_) => match request.error() {
            Ok(Some(cause)) => Err(blocked(&cause)),
            _ => Err(Problem::StorageBlocked.into()),
        },
    }
}

/// A full disk told from everything else that keeps a browser from storing.
pub(crate) fn blocked(cause: &JsValue) -> Error {
    let name = cause.dyn_ref::<DomException>().map(DomException::name);
    let problem = match name.as_deref() {
        Some("QuotaExceededError") => Problem::StorageFull,
        _ => Problem::StorageBlocked,
    };
    Error::caused(problem, cause)
}
