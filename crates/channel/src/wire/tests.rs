//! The decoder is strict: one encoding for each message, and nothing else is one.

use super::*;
use crate::error::Detail;
use crate::testing::{self, CAPACITY, World};

fn signature() -> Signature {
    testing::sign_with(&testing::payer_key(), 1_000).signature
}

/// One of each type.
fn messages() -> Vec<Message> {
    let paid = testing::sign_with(&testing::payer_key(), 1_000);
    let funding = testing::funding(0, CAPACITY);
    let mut world = World::funded();
    world.pay_for(1_000).unwrap();
    let state = Box::new(ChannelState { closing: Some(paid), ..world.payee.state() });
    let signature = signature();
    let cumulative = Amount::from_sat(1_000);
    vec![
        Message::Welcome { challenge: [5; 32], node: testing::node().public() },
        Message::Open(testing::open_request()),
        Message::Opened { params: Box::new(testing::params()), signature },
        Message::Attach { channel: ChannelId([6; 32]), signature },
        Message::Attached { epoch: 7, token: Token([8; 32]), state: state.clone() },
        Message::FundingSeen { funding: Some(funding), confirmations: 1, tip: 200 },
        Message::FundingSeen { funding: None, confirmations: 0, tip: 200 },
        Message::Need { upto: 2_000, delivered: 1_000 },
        Message::Pay(paid),
        Message::Ack { cumulative, delivered: 1_000 },
        Message::Stop,
        Message::Stopped { delivered: 1_000 },
        Message::Close(paid),
        Message::Closed { cumulative, signature },
        Message::Settled { txid: funding.outpoint.txid, confirmations: 2 },
        Message::Refused(Refusal {
            code: "paused".into(),
            text: "paused: nothing is paid".into(),
            about: NEED,
            state: Some(state.clone()),
        }),
        Message::Recover { payer: testing::payer_key().public(), signature },
        Message::Recovered { params: Box::new(testing::params()), signature, state: state.clone() },
        Message::Recovered { params: Box::new(testing::timelock_params()), signature, state },
        Message::Fund(funding),
        Message::Reclaim(funding),
        Message::Granted(Grant { funding, lock: 1_000, cumulative, signature }),
    ]
}

#[test]
fn every_message_has_one_encoding() {
    for message in messages() {
        let frame = message.encode();
        assert!(frame.len() <= MAX_FRAME);
        assert_eq!(Message::decode(&frame).unwrap(), message);
        // Cut anywhere, or with a byte more, it is none.
        for length in 0..frame.len() {
            assert_eq!(Message::decode(&frame[..length]).unwrap_err().code(), Code::MalformedMessage, "{message:?}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert_eq!(Message::decode(&longer).unwrap_err().code(), Code::MalformedMessage);
    }
}

#[test]
fn a_payment_is_78_bytes() {
    assert_eq!(Message::Pay(testing::sign_with(&testing::payer_key(), 1_000)).encode().len(), 78);
}

#[test]
fn optional_types_are_ignored_whatever_they_hold() {
    assert_eq!(Message::decode(&[VERSION, OPTIONAL, 1, 2, 3]).unwrap(), Message::Unknown(OPTIONAL));
    assert_eq!(Message::decode(&[VERSION, 255]).unwrap(), Message::Unknown(255));
}

#[test]
fn the_longest_frame_is_read() {
    let mut frame = vec![VERSION, OPTIONAL];
    frame.resize(MAX_FRAME, 0);
    assert_eq!(Message::decode(&frame).unwrap(), Message::Unknown(OPTIONAL));
}

#[test]
fn a_token_is_not_shown() {
    assert_eq!(format!("{:?}", Token([8; 32])), "Token(..)");
}

#[test]
fn a_refusal_tells_code_text_and_state() {
    let state = Box::new(World::funded().payee.state());
    let error = Error::new(Code::Paused, "paused: nothing is paid");
    let mut refusal = Refusal { code: "paused".into(), text: error.text().into(), about: 0, state: None };
    assert_eq!(Refusal::from(&error), refusal);
    refusal.about = NEED;
    assert_eq!(Refusal::of(NEED, &error), refusal);
    // Of what may go with an error, a peer sees the state alone.
    assert_eq!(Refusal::of(NEED, &error.clone().with(Detail::Height(7))), refusal);
    refusal.state = Some(state.clone());
    assert_eq!(Refusal::of(NEED, &error.with(Detail::State(state))), refusal);
}

#[test]
fn a_refusal_is_made_fit_for_its_reader() {
    let refusal = Refusal { code: "x".repeat(99), text: "não".repeat(99), about: 0, state: None };
    let Message::Refused(read) = Message::decode(&Message::Refused(refusal).encode()).unwrap() else {
        panic!("no refusal")
    };
    assert_eq!((read.code.len(), read.text.len()), (MAX_CODE.into(), MAX_TEXT.into()));
    assert!(read.text.starts_with("n?on?o"));
}

#[test]
fn foreign_frames_are_refused_by_code() {
    let code = |frame: &[u8]| Message::decode(frame).unwrap_err().code();
    assert_eq!(code(&[]), Code::MalformedMessage);
    assert_eq!(code(&[0, STOP]), Code::UnsupportedVersion);
    assert_eq!(code(&[2, STOP]), Code::UnsupportedVersion);
    assert_eq!(code(&[VERSION, 0]), Code::MalformedMessage);
    assert_eq!(code(&[VERSION, 21]), Code::UnknownMessage);
    assert_eq!(code(&[VERSION; MAX_FRAME + 1]), Code::OversizedMessage);
    // A point that is not on the curve, an amount above all money, a flag of 2, text with a control character.
    let mut welcome = messages()[0].encode();
    welcome[34] = 5;
    assert_eq!(code(&welcome), Code::MalformedMessage);
    let mut ack = Message::Ack { cumulative: Amount::MAX_MONEY, delivered: 0 }.encode();
    assert!(Message::decode(&ack).is_ok());
    ack[9] += 1;
    assert_eq!(code(&ack), Code::MalformedMessage);
    assert_eq!(code(&[VERSION, FUNDING_SEEN, 2, 0, 0, 0, 0, 0, 0, 0, 0]), Code::MalformedMessage);
    assert_eq!(code(&[VERSION, REFUSED, 1, 7, 0, 0, 0]), Code::MalformedMessage);
    // A channel of another kind.
    let mut open = Message::Open(testing::open_request()).encode();
    open[2] = 2;
    assert_eq!(code(&open), Code::MalformedMessage);
    // A field longer than its bound, with all its bytes there.
    let long = [&[VERSION, REFUSED, MAX_CODE + 1][..], &[b'a'; 40], &[0, 0, 0]].concat();
    assert_eq!(code(&long), Code::MalformedMessage);
}
