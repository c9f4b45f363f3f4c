//! Every error that the module knows, thrown across the border and looked at from JavaScript.
#![cfg(target_arch = "wasm32")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that goes wrong may panic"
)]

use js_sys::{Error as JsError, Function, Reflect};
use rillpay::error::{Error, Problem};
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::wire::{ChannelState, Refusal};
use rillpay_channel::{Code, Detail};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(inline_js = "
    export function thrown(throwing) { try { throwing(); } catch (error) { return error; } }
")]
extern "C" {
    fn thrown(throwing: &Function) -> JsValue;
}

/// What JavaScript catches when a function of ours returns this error.
fn catch(error: Error) -> JsError {
    let failing =
        wasm_bindgen::closure::Closure::<dyn FnMut() -> Result<(), JsValue>>::new(move || Err(JsValue::from(&error)));
    let caught = thrown(failing.as_ref().unchecked_ref());
    caught.dyn_into().expect("an instance of Error")
}

fn text(object: &JsValue, key: &str) -> String {
    Reflect::get(object, &key.into()).unwrap().as_string().unwrap_or_default()
}

fn data(error: &JsError, key: &str) -> JsValue {
    let data = Reflect::get(error, &"data".into()).unwrap();
    assert!(data.is_object());
    Reflect::get(&data, &key.into()).unwrap()
}

fn check(error: &JsError, code: &str, fault: &str) {
    assert_eq!(String::from(error.name()), "RillpayError");
    assert_eq!(text(error, "code"), code);
    assert_eq!(text(error, "fault"), fault);
    assert!(!String::from(error.message()).is_empty());
    assert!(Reflect::get(error, &"data".into()).unwrap().is_object());
    assert!(String::from(error.to_string()).starts_with("RillpayError: "));
}

#[wasm_bindgen_test]
fn every_refusal_of_the_core_is_thrown() {
    for code in Code::ALL {
        let error = catch(Error::Core(rillpay_channel::Error::new(*code, "a sentence")));
        check(&error, code.as_str(), code.fault().as_str());
        assert_eq!(String::from(error.message()), "a sentence");
    }
}

#[wasm_bindgen_test]
fn every_problem_of_the_browser_is_thrown() {
    for problem in Problem::ALL {
        let error = catch(Error::Browser(*problem, Some("the cause".to_owned())));
        check(&error, problem.as_str(), problem.fault().as_str());
        assert_eq!(data(&error, "cause").as_string().unwrap(), "the cause");
        assert_eq!(Code::parse(problem.as_str()), None, "a code has one meaning");
    }
}

#[cfg(feature = "wallet")]
#[wasm_bindgen_test]
fn every_refusal_of_the_wallet_is_thrown() {
    for code in rillpay_wallet::Code::ALL {
        let error = catch(rillpay_wallet::Error::new(*code, "a sentence").into());
        check(&error, code.as_str(), code.fault().as_str());
        let elsewhere = Problem::ALL.iter().any(|problem| problem.as_str() == code.as_str());
        assert!(!elsewhere && Code::parse(code.as_str()).is_none(), "a code has one meaning");
    }
}

#[wasm_bindgen_test]
fn every_refusal_of_the_server_is_thrown() {
    for code in Code::ALL {
        let refusal = Refusal { code: code.as_str().into(), text: "the server's words".into(), about: 0, state: None };
        let error = catch(Error::Peer(Box::new(refusal)));
        check(&error, code.as_str(), code.fault().as_str());
        assert!(data(&error, "peer").is_truthy());
    }
    let newer = Refusal { code: "of_a_later_version".into(), text: "words".into(), about: 0, state: None };
    check(&catch(Error::Peer(Box::new(newer))), "of_a_later_version", "environment");
}

#[wasm_bindgen_test]
fn facts_come_along() {
    let core = |detail| catch(rillpay_channel::Error::new(Code::Closing, "a sentence").with(detail).into());
    let amount = core(Detail::Amount(Amount::from_sat(21)));
    assert_eq!(u64::try_from(data(&amount, "amountSat")).unwrap(), 21);
    assert_eq!(data(&core(Detail::Height(7)), "height").as_f64(), Some(7.0));
    let state = ChannelState { funding: None, paid: None, delivered: 9, stopped: true, closing: None };
    let state = core(Detail::State(Box::new(state)));
    assert_eq!(u64::try_from(data(&state, "delivered")).unwrap(), 9);
    assert_eq!(u64::try_from(data(&state, "paidSat")).unwrap(), 0);
    assert_eq!(data(&state, "stopped").as_bool(), Some(true));
    let corrupted = catch(Error::Corrupted {
        server: "https://video.example".into(),
        channel: "c0ffee".into(),
        cause: rillpay_channel::Error::new(Code::WrongKey, "a sentence"),
    });
    check(&corrupted, "corrupted_store", "environment");
    assert_eq!(data(&corrupted, "server").as_string().unwrap(), "https://video.example");
    assert_eq!(data(&corrupted, "channel").as_string().unwrap(), "c0ffee");
    assert_eq!(data(&corrupted, "cause").as_string().unwrap(), "wrong_key");
}
