//! The decoder: whatever arrives on a socket or lies in a store.
//!
//! The first byte says how to take the rest: as a frame or event as it stands, or as choices that make a valid one, which
//! is then damaged. Either way the same must hold: nothing panics, and what decodes has exactly the encoding that it was
//! decoded from, so that no two byte strings mean the same.

use std::fmt::Debug;

use rillpay_channel::budget::Budget;
use rillpay_channel::payee::Payee;
use rillpay_channel::payer::Payer;
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::wire::{MAX_FRAME, Message, OPTIONAL};
use rillpay_channel::{Code, payee, payer};

use crate::input::Input;
use crate::values::{Any, payer_key};

/// Decodes `bytes` as messages and as stored events.
///
/// # Panics
/// Where the decoder breaks its promises.
pub fn decoder(bytes: &[u8]) {
    let mut i = Input::new(bytes);
    match i.u8() % 7 {
        0 => frame(i.rest()),
        1 => stored::<payee::Event>(i.rest()),
        2 => stored::<payer::Event>(i.rest()),
        3 => made_frame(&mut i),
        4 => made_event::<payee::Event>(&mut i),
        5 => made_event::<payer::Event>(&mut i),
        _ => logs(&mut i),
    }
}

fn frame(bytes: &[u8]) {
    match Message::decode(bytes) {
        Ok(message) => {
            assert!(bytes.len() <= MAX_FRAME, "a frame beyond the bound was taken");
            if let Message::Unknown(kind) = message {
                // Not for us: whatever follows is skipped.
                assert!(kind >= OPTIONAL && bytes[1] == kind);
            } else {
                assert_eq!(message.encode(), bytes, "two encodings of {message:?}");
            }
        }
        Err(error) => assert!(
            matches!(
                error.code(),
                Code::MalformedMessage | Code::OversizedMessage | Code::UnsupportedVersion | Code::UnknownMessage
            ),
            "{error:?} is no answer to a frame"
        ),
    }
}

fn stored<E: StoredEvent + Debug>(bytes: &[u8]) {
    match E::decode(bytes) {
        Ok(event) => {
            assert_eq!(event.encode(), bytes, "two encodings of {event:?}");
            assert_eq!(bytes.first(), Some(&event.slot()), "an event names its slot first");
        }
        Err(error) => assert_eq!(error.code(), Code::CorruptedStore),
    }
}

fn made_frame(i: &mut Input<'_>) {
    let message = Message::any(i);
    let bytes = message.encode();
    assert!(bytes.len() <= MAX_FRAME, "{} bytes: longer than a frame may be: {message:?}", bytes.len());
    assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message), "what was written is not what is read");
    frame(&damaged(bytes, i));
}

fn made_event<E: StoredEvent + Any + Debug + PartialEq>(i: &mut Input<'_>) {
    let event = E::any(i);
    let bytes = event.encode();
    assert_eq!(E::decode(&bytes).as_ref(), Ok(&event), "what was written is not what is read");
    stored::<E>(&damaged(bytes, i));
}

/// Whole logs, valid event by event but made of nothing that belongs together, are refused and never panic.
fn logs(i: &mut Input<'_>) {
    if i.bool() {
        let log: Vec<_> = (0..i.u8() % 6).map(|_| payee::Event::any(i)).collect();
        refused(Payee::replay(log));
    } else {
        let log: Vec<_> = (0..i.u8() % 6).map(|_| payer::Event::any(i)).collect();
        refused(Payer::replay(log, payer_key(), Budget::default()));
    }
}

fn refused<T>(replayed: Result<T, rillpay_channel::Error>) {
    if let Err(error) = replayed {
        assert!(matches!(error.code(), Code::CorruptedStore | Code::InvalidWords), "{error:?}");
    }
}

/// One to four changes: a byte set, a bit flipped, bytes cut off, put in or put after.
pub(crate) fn damaged(mut bytes: Vec<u8>, i: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..=i.u8() % 4 {
        let at = usize::from(i.u16()) % (bytes.len() + 1);
        match i.u8() % 5 {
            0 if at < bytes.len() => bytes[at] = i.u8(),
            1 if at < bytes.len() => bytes[at] ^= 1 << (i.u8() % 8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, i.u8()),
            _ => bytes.extend(i.bytes(MAX_FRAME)),
        }
    }
    bytes
}
