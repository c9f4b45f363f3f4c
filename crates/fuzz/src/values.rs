//! Fixed keys, and random values of everything that a message or an event is made of.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{PublicKey, SecretKey, ecdsa::Signature};
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Txid};
use rillpay_channel::budget::Spent;
use rillpay_channel::commitment::{Funding, Paid};
use rillpay_channel::grant::Grant;
use rillpay_channel::keys::Key;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::{ChannelState, Message, Open, Refusal, Token};
use rillpay_channel::{ChannelId, ChannelParams, FundingKind, Kind, KindName, Ladder, Msat, payee, payer};

use crate::input::Input;

pub(crate) fn key(byte: u8) -> Key {
    Key::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub(crate) fn payer_key() -> Key {
    key(1)
}

pub(crate) fn payee_key() -> Key {
    key(2)
}

pub(crate) fn node_key() -> Key {
    key(3)
}

/// A value made of choices. Whatever a message can carry, in range or at its border.
pub(crate) trait Any {
    fn any(i: &mut Input<'_>) -> Self;
}

fn option<T: Any>(i: &mut Input<'_>) -> Option<T> {
    i.bool().then(|| T::any(i))
}

fn text(i: &mut Input<'_>, max: usize) -> String {
    i.bytes(max).into_iter().map(|byte| char::from(0x20 + byte % 0x5f)).collect()
}

impl Any for Amount {
    fn any(i: &mut Input<'_>) -> Self {
        Self::from_sat(i.u64()).min(Self::MAX_MONEY)
    }
}

impl Any for Msat {
    fn any(i: &mut Input<'_>) -> Self {
        Self::new(i.u64()).unwrap_or(Self::MAX_MONEY)
    }
}

impl Any for PublicKey {
    fn any(i: &mut Input<'_>) -> Self {
        // Both signs of the Y coordinate.
        let point: PublicKey = key(1 + i.u8() % 3).public();
        if i.bool() { point } else { point.negate(rillpay_channel::secp()) }
    }
}

impl Any for Signature {
    fn any(i: &mut Input<'_>) -> Self {
        // Any two numbers below the order of the curve are a signature as far as parsing goes.
        Self::from_compact(&[i.array::<32>(), i.array::<32>()].concat())
            .unwrap_or_else(|_| Self::from_compact(&[1; 64]).unwrap())
    }
}

impl Any for Txid {
    fn any(i: &mut Input<'_>) -> Self {
        Self::from_byte_array([i.u8(); 32])
    }
}

impl Any for Funding {
    fn any(i: &mut Input<'_>) -> Self {
        let outpoint = OutPoint { txid: Txid::any(i), vout: i.u16().into() };
        Self { outpoint, capacity: Amount::any(i) }
    }
}

impl Any for Paid {
    fn any(i: &mut Input<'_>) -> Self {
        Self { lock: u32::any(i), cumulative: Amount::any(i), signature: Signature::any(i) }
    }
}

impl Any for Network {
    fn any(i: &mut Input<'_>) -> Self {
        i.pick(&[Self::Bitcoin, Self::Testnet, Self::Testnet4, Self::Signet, Self::Regtest])
    }
}

impl Any for FundingKind {
    fn any(i: &mut Input<'_>) -> Self {
        i.pick(&[Self::P2shP2wsh, Self::P2wsh])
    }
}

impl Any for ScriptBuf {
    fn any(i: &mut Input<'_>) -> Self {
        Self::from_bytes(i.bytes(rillpay_channel::params::MAX_RETURN_SCRIPT.into()))
    }
}

impl Any for Tariff {
    fn any(i: &mut Input<'_>) -> Self {
        let unit = i.pick(&[Unit::Second, Unit::Byte, Unit::Request]);
        Self { unit, price: Msat::any(i), window: u32::any(i) }
    }
}

impl Any for ChannelParams {
    fn any(i: &mut Input<'_>) -> Self {
        Self {
            kind: Kind::any(i),
            network: Network::any(i),
            funding_kind: FundingKind::any(i),
            payer: PublicKey::any(i),
            payee: PublicKey::any(i),
            expiry: u32::any(i),
            return_script: ScriptBuf::any(i),
            tariff: Tariff::any(i),
            min_deposit: Amount::any(i),
            max_deposit: Amount::any(i),
            confirmations: i.u16(),
            stop_margin: i.u16(),
            close_margin: i.u16(),
            purpose: text(i, rillpay_channel::params::MAX_PURPOSE.into()),
        }
    }
}

impl Any for Kind {
    fn any(i: &mut Input<'_>) -> Self {
        if i.bool() {
            return Self::Cltv;
        }
        let ladder = Ladder { step: i.u16(), updates: u32::any(i) };
        Self::Timelock { ladder, payee_script: ScriptBuf::any(i) }
    }
}

impl Any for Grant {
    fn any(i: &mut Input<'_>) -> Self {
        let (funding, lock) = (Funding::any(i), u32::any(i));
        Self { funding, lock, cumulative: Amount::any(i), signature: Signature::any(i) }
    }
}

impl Any for u32 {
    fn any(i: &mut Input<'_>) -> Self {
        Self::from(i.u16()) << (i.u8() % 17)
    }
}

impl Any for ChannelState {
    fn any(i: &mut Input<'_>) -> Self {
        Self { funding: option(i), paid: option(i), delivered: i.u64(), stopped: i.bool(), closing: option(i) }
    }
}

impl Any for Message {
    fn any(i: &mut Input<'_>) -> Self {
        match i.u8() % 21 {
            0 => Self::Welcome { challenge: i.array(), node: PublicKey::any(i) },
            1 => Self::Open(Open {
                kind: i.pick(&[KindName::Cltv, KindName::Timelock]),
                network: Network::any(i),
                funding_kind: FundingKind::any(i),
                payer: PublicKey::any(i),
                return_script: ScriptBuf::any(i),
                deposit: Amount::any(i),
            }),
            2 => Self::Opened { params: Box::new(ChannelParams::any(i)), signature: Signature::any(i) },
            3 => Self::Attach { channel: ChannelId(i.array()), signature: Signature::any(i) },
            4 => Self::Attached { epoch: i.u64(), token: Token(i.array()), state: Box::new(ChannelState::any(i)) },
            5 => Self::FundingSeen { funding: option(i), confirmations: i.u16().into(), tip: i.u16().into() },
            6 => Self::Need { upto: i.u64(), delivered: i.u64() },
            7 => Self::Pay(Paid::any(i)),
            8 => Self::Ack { cumulative: Amount::any(i), delivered: i.u64() },
            9 => Self::Stop,
            10 => Self::Stopped { delivered: i.u64() },
            11 => Self::Close(Paid::any(i)),
            12 => Self::Closed { cumulative: Amount::any(i), signature: Signature::any(i) },
            13 => Self::Settled { txid: Txid::any(i), confirmations: i.u16().into() },
            15 => Self::Recover { payer: PublicKey::any(i), signature: Signature::any(i) },
            16 => Self::Recovered {
                params: Box::new(ChannelParams::any(i)),
                signature: Signature::any(i),
                state: Box::new(ChannelState::any(i)),
            },
            17 => Self::Fund(Funding::any(i)),
            18 => Self::Reclaim(Funding::any(i)),
            19 => Self::Granted(Grant::any(i)),
            14 => Self::Unknown(rillpay_channel::wire::OPTIONAL | i.u8()),
            _ => Self::Refused(Refusal {
                about: i.u8(),
                code: text(i, rillpay_channel::wire::MAX_CODE.into()),
                text: text(i, rillpay_channel::wire::MAX_TEXT.into()),
                state: i.bool().then(|| Box::new(ChannelState::any(i))),
            }),
        }
    }
}

impl Any for Spent {
    fn any(i: &mut Input<'_>) -> Self {
        Self { day: i.u64(), in_day: Msat::any(i), site: Msat::any(i) }
    }
}

impl Any for payer::Event {
    fn any(i: &mut Input<'_>) -> Self {
        match i.u8() % 10 {
            0 => Self::Opened {
                params: Box::new(ChannelParams::any(i)),
                node: PublicKey::any(i),
                signature: Signature::any(i),
                key_index: i.u16().into(),
                deposit: Amount::any(i),
            },
            1 => Self::Funded(Funding::any(i)),
            2 => Self::Received { quantity: i.u64(), forgiven: i.u64() },
            3 => Self::Paid { paid: Paid::any(i), spent: Spent::any(i) },
            4 => Self::Stopping,
            5 => Self::Closing(Paid::any(i)),
            6 => Self::Closed(Signature::any(i)),
            8 => Self::Refundable(Grant::any(i)),
            9 => Self::Countersigned(Grant::any(i)),
            _ => Self::Spent(i.bool().then(|| payer::Spend {
                txid: Txid::any(i),
                returned: Amount::any(i),
                refund: i.bool(),
                confirmed: i.bool(),
            })),
        }
    }
}

impl Any for payee::Event {
    fn any(i: &mut Input<'_>) -> Self {
        match i.u8() % 9 {
            0 => Self::Opened { params: Box::new(ChannelParams::any(i)), key_index: i.u16().into() },
            1 => Self::Funded { funding: Funding::any(i), deep: i.bool() },
            2 => Self::Attached { epoch: i.u64() },
            3 => Self::Accepted(Paid::any(i)),
            4 => Self::Delivered(i.u64()),
            5 => Self::Stopped,
            6 => Self::Closing(Paid::any(i)),
            8 => Self::Released,
            _ => Self::Spent(option(i)),
        }
    }
}
