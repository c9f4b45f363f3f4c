//! What a peer sends that does not play by the rules. It has its own keys, and every signature that it was ever given.

use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, Txid};
use rillpay_channel::commitment::{self, Funding, Paid};
use rillpay_channel::keys::Key;
use rillpay_channel::params::Statement;
use rillpay_channel::wire::{ChannelState, Message, Token};

use crate::input::Input;
use crate::values::{Any, key, node_key, payer_key};
use crate::world::World;

/// A payment that is claimed or sent.
#[derive(Clone, Copy, Debug)]
pub enum Claim {
    /// One that the payer did sign, a while ago.
    Old(u8),
    /// The payer's own signature, for another output.
    Foreign,
    /// Another key's signature, over everything and more.
    Forged(u64),
    /// The amount of one payment with the signature of another.
    Mixed(u8),
    /// A signature with the other S.
    HighS,
    /// Signed with the payer's key, but not by its machine: so many satoshi more than was accepted.
    Rogue(u16),
    /// The same at the very top: the capacity less this.
    RogueTop(u8),
}

/// From a malicious payee.
#[derive(Clone, Debug)]
pub enum ForgedToPayer {
    /// Asks for the payer's horizon and this much more.
    Need(u64),
    /// A final count.
    Stopped(u64),
    /// A statement about so many satoshi more or less than the payer asked for; signed by the node or by someone else.
    Closed(i8, bool),
    /// Where the channel stands: so much paid, so much delivered, whether it is stopped, at what it closes.
    Attached(Option<Claim>, u64, bool, Option<Claim>),
    /// The newest other output at the address, or one that is not there.
    FundingSeen(bool),
}

/// From a malicious payer.
#[derive(Clone, Debug)]
pub enum ForgedToPayee {
    /// A payment.
    Pay(Claim),
    /// A final payment.
    Close(Claim),
    /// A final payment of so many satoshi, well signed.
    CloseAt(u64),
    /// A session without the channel's key.
    Attach,
    /// Any bytes.
    Garbage(Vec<u8>),
    /// Any message, well-formed.
    Message(Box<Message>),
}

impl Claim {
    fn read(i: &mut Input<'_>) -> Self {
        match i.u8() % 8 {
            0 | 1 => Self::Old(i.u8()),
            2 => Self::Foreign,
            3 => Self::Forged(i.u64()),
            4 => Self::Mixed(i.u8()),
            5 => Self::HighS,
            6 => Self::Rogue(i.u16()),
            _ => Self::RogueTop(i.u8()),
        }
    }

    /// A payment, or the `last` one of a channel.
    fn make(self, world: &mut World, last: bool) -> Option<Paid> {
        let real = world.payee.machine.funding().or(world.payer.machine.funding()).copied();
        let funding = real.unwrap_or_else(nowhere);
        let params = world.payee.machine.params().clone();
        let accepted = world.payee.machine.accepted();
        let before = world.payee.machine.state().paid.map(|paid| paid.lock);
        let lock = if last { 0 } else { params.next_lock(before).unwrap_or_default() };
        let pay = |funding: &Funding, amount: Amount, signer: &Key| {
            commitment::pay(&params, funding, lock, amount, signer).ok()
        };
        let old = |nth: u8, world: &World| {
            let signed: Vec<_> = world.books.own_of(&funding.outpoint).collect();
            signed.get(usize::from(nth) % signed.len().max(1)).copied()
        };
        let rogue = |amount: Amount, world: &mut World| {
            let paid = pay(&funding, amount, &payer_key())?;
            world.books.rogue(funding.outpoint, paid);
            Some(paid)
        };
        match self {
            Self::Old(nth) => old(nth, world),
            Self::Foreign => {
                let elsewhere = Funding { outpoint: nowhere().outpoint, ..funding };
                pay(&elsewhere, accepted + Amount::ONE_SAT, &payer_key())
            }
            Self::Forged(sat) => {
                let paid = pay(&funding, accepted, &key(4))?;
                Some(Paid { cumulative: Amount::from_sat(sat).min(Amount::MAX_MONEY), ..paid })
            }
            Self::Mixed(nth) => {
                let paid = old(nth, world)?;
                Some(Paid { cumulative: paid.cumulative + Amount::ONE_SAT, ..paid })
            }
            Self::HighS => {
                let paid = pay(&funding, accepted + Amount::ONE_SAT, &payer_key())?;
                Some(high_s(paid))
            }
            Self::Rogue(more) => rogue(accepted + Amount::from_sat(more.into()), world),
            Self::RogueTop(less) => rogue(funding.capacity.checked_sub(Amount::from_sat(less.into()))?, world),
        }
    }
}

/// The same signature with the other S, which satisfies the bare equations of ECDSA.
fn high_s(paid: Paid) -> Paid {
    let compact = paid.signature.serialize_compact();
    let s = bitcoin::secp256k1::SecretKey::from_slice(&compact[32..]).unwrap().negate();
    let both = [&compact[..32], &s.secret_bytes()].concat();
    let signature = bitcoin::secp256k1::ecdsa::Signature::from_compact(&both).unwrap();
    Paid { signature, ..paid }
}

/// An output that never was.
fn nowhere() -> Funding {
    let outpoint = OutPoint { txid: Txid::from_byte_array([0xee; 32]), vout: 9 };
    Funding { outpoint, capacity: Amount::from_sat(1_000_000) }
}

impl ForgedToPayer {
    pub(crate) fn read(i: &mut Input<'_>) -> Self {
        match i.u8() % 5 {
            0 => Self::Need(i.u64()),
            1 => Self::Stopped(i.u64()),
            2 => Self::Closed(i8::from_be_bytes([i.u8()]), i.bool()),
            3 => {
                let claim = |i: &mut Input<'_>| i.bool().then(|| Claim::read(i));
                Self::Attached(claim(i), i.u64(), i.bool(), claim(i))
            }
            _ => Self::FundingSeen(i.bool()),
        }
    }

    pub(crate) fn make(&self, world: &mut World) -> Option<Message> {
        let payer = &world.payer.machine;
        Some(match self {
            Self::Need(more) => {
                let upto = payer.received() + payer.params().tariff.window_quantity();
                Message::Need { upto: upto.saturating_add(*more), delivered: payer.received() }
            }
            Self::Stopped(delivered) => Message::Stopped { delivered: *delivered },
            Self::Closed(more, node) => {
                let asked = payer.closing().map_or(Amount::ZERO, |paid| paid.cumulative);
                let cumulative = Amount::from_sat(asked.to_sat().saturating_add_signed((*more).into()));
                let funding = payer.funding().copied().unwrap_or_else(nowhere);
                let statement = Statement { channel: payer.id(), funding, cumulative };
                let signer = if *node { node_key() } else { key(4) };
                Message::Closed { cumulative, signature: statement.sign(&signer) }
            }
            Self::Attached(paid, delivered, stopped, closing) => {
                let funding = world.payee.machine.funding().copied();
                let paid = paid.and_then(|claim| claim.make(world, false));
                let closing = closing.and_then(|claim| claim.make(world, true));
                Message::Attached {
                    epoch: world.payee.machine.epoch(),
                    token: Token([0; 32]),
                    state: Box::new(ChannelState { funding, paid, delivered: *delivered, stopped: *stopped, closing }),
                }
            }
            Self::FundingSeen(there) => {
                let there = world.chain.unspent().pop().filter(|_| *there);
                Message::FundingSeen {
                    funding: Some(there.unwrap_or_else(nowhere)),
                    confirmations: 100,
                    tip: world.chain.tip,
                }
            }
        })
    }
}

impl ForgedToPayee {
    pub(crate) fn read(i: &mut Input<'_>) -> Self {
        match i.u8() % 8 {
            0..=2 => Self::Pay(Claim::read(i)),
            3 => Self::Close(Claim::read(i)),
            4 => Self::CloseAt(i.u64()),
            5 => Self::Attach,
            6 => Self::Garbage(i.bytes(80)),
            _ => Self::Message(Box::new(Message::any(i))),
        }
    }

    pub(crate) fn make(&self, world: &mut World) -> Option<Vec<u8>> {
        let message = match self {
            Self::Pay(claim) => Message::Pay(claim.make(world, false)?),
            Self::Close(claim) => Message::Close(claim.make(world, true)?),
            Self::CloseAt(sat) => {
                let funding = world.payee.machine.funding().copied()?;
                let amount = Amount::from_sat(*sat).min(funding.capacity);
                let paid = commitment::pay(world.payee.machine.params(), &funding, 0, amount, &payer_key()).ok()?;
                world.books.rogue(funding.outpoint, paid);
                Message::Close(paid)
            }
            Self::Attach => {
                let id = world.payee.machine.id();
                let signature = rillpay_channel::params::sign_attach(&key(4), &id, &[0; 32]);
                Message::Attach { channel: id, signature }
            }
            Self::Garbage(bytes) => return Some(bytes.clone()),
            Self::Message(message) => return Some(message.encode()),
        };
        Some(message.encode())
    }
}
