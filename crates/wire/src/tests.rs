//! Every message against its own decoder, and the decoder against bytes that are almost messages.

use proptest::prelude::*;

use crate::message::{MAX_MESSAGE, Message, UnknownMessage};
use crate::sample::Dice;
use crate::{Code, Error};

/// What decodes encodes to the same bytes; but `init` only from then on.
fn has_one_encoding(bytes: &[u8]) -> Result<(), Error> {
    let message = Message::decode(bytes)?;
    let again = message.encode().unwrap();
    if !matches!(message, Message::Init(_)) {
        assert_eq!(again, bytes, "{message:?}");
    }
    assert_eq!(Message::decode(&again).unwrap(), message);
    Ok(())
}

#[test]
fn every_message_comes_back() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        assert_eq!(Message::SAMPLES.len(), 54);
        for message in Message::SAMPLES.iter().map(|sample| sample(&mut dice)) {
            let bytes = message.encode().unwrap();
            assert!(bytes.len() <= MAX_MESSAGE);
            assert_eq!(bytes[..2], message.kind().to_be_bytes());
            assert_eq!(Message::decode(&bytes).unwrap(), message);
        }
    }
}

#[test]
fn a_cut_message_is_none() {
    for message in Message::SAMPLES.iter().map(|sample| sample(&mut Dice::new(1))) {
        // Announcements end with bytes of no meaning, any number of them; others with records.
        let whole = message.encode().unwrap();
        for length in 0..whole.len() {
            if let Err(error) = has_one_encoding(&whole[..length]) {
                assert_eq!(error.message(), (length >= 2).then_some(message.kind()), "{message:?}");
                let right = [Code::Truncated, Code::InvalidField].contains(&error.code());
                assert!(right || length < 2, "{message:?} cut at {length}: {error:?}");
            }
        }
    }
}

#[test]
fn types_are_distinct_and_told_apart() {
    let mut kinds = Message::KINDS.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 54);
    for kind in (0..=u16::MAX).filter(|kind| !Message::KINDS.contains(kind)) {
        let bytes = [&kind.to_be_bytes()[..], &[1, 2, 3]].concat();
        if kind % 2 == 0 {
            let error = Message::decode(&bytes).unwrap_err();
            assert_eq!((error.code(), error.message()), (Code::UnknownMessage, Some(kind)));
            assert!(UnknownMessage::new(kind, vec![1, 2, 3]).is_err());
        } else {
            let message = UnknownMessage::new(kind, vec![1, 2, 3]).unwrap();
            assert_eq!((message.kind(), message.payload()), (kind, &[1, 2, 3][..]));
            assert_eq!(Message::decode(&bytes), Ok(Message::Unknown(message)));
            has_one_encoding(&bytes).unwrap();
        }
    }
    for kind in Message::KINDS {
        assert_eq!(UnknownMessage::new(*kind, Vec::new()).unwrap_err().code(), Code::Unencodable);
    }
}

#[test]
fn no_message_is_longer_than_the_transport_allows() {
    assert!(matches!(Message::decode(&[0x81; MAX_MESSAGE]), Ok(Message::Unknown(_))));
    assert_eq!(Message::decode(&[0x81; MAX_MESSAGE + 1]).unwrap_err().code(), Code::TrailingBytes);
    assert!(UnknownMessage::new(257 + 100, vec![0; MAX_MESSAGE - 2]).is_ok());
    assert_eq!(UnknownMessage::new(357, vec![0; MAX_MESSAGE - 1]).unwrap_err().code(), Code::Unencodable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_refused_or_have_one_encoding(
        kind in proptest::sample::select(Message::KINDS), payload: Vec<u8>,
    ) {
        let _ = has_one_encoding(&[&kind.to_be_bytes()[..], &payload].concat());
    }

    #[test]
    fn altered_messages_are_refused_or_have_one_encoding(
        seed in 0_u64..1000, which in 0_usize..49, at: prop::sample::Index, byte: u8, cut: bool, tail in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut bytes = Message::SAMPLES[which](&mut Dice::new(seed)).encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at.saturating_add(1));
        }
        bytes.extend(tail);
        let _ = has_one_encoding(&bytes);
    }
}
