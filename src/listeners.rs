//! Functions of a page's that want to be told of events.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::{JsValue, closure::Closure};

/// Who listens. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Rc<Inner>);

#[derive(Default)]
struct Inner {
    list: RefCell<Vec<(u32, Function)>>,
    next: Cell<u32>,
}

impl Listeners {
    /// Calls `listener` back with each event; gives the function that ends it.
    pub(crate) fn subscribe(&self, listener: Function) -> JsValue {
        let id = self.0.next.get();
        self.0.next.set(id.wrapping_add(1));
        self.0.list.borrow_mut().push((id, listener));
        let listeners = Rc::downgrade(&self.0);
        Closure::<dyn FnMut()>::new(move || {
            if let Some(listeners) = listeners.upgrade() {
                listeners.list.borrow_mut().retain(|(other, _)| *other != id);
            }
        })
        .into_js_value()
    }

    /// Tells everybody. Nothing is borrowed meanwhile: a listener may call back.
    pub(crate) fn emit(&self, event: &JsValue) {
        let listeners: Vec<Function> = self.0.list.borrow().iter().map(|(_, f)| f.clone()).collect();
        for listener in listeners {
            if let Err(thrown) = listener.call1(&JsValue::UNDEFINED, event) {
                // A page's mistake must not stop payments; it belongs on the page's console.
                web_sys::console::error_1(&thrown);
            }
        }
    }
}
