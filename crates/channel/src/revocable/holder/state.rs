//! What a holder knows, and its bytes. Reading treats them as hostile: what does not fit together is refused.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};
use bitcoin::{FeeRate, ScriptBuf, Transaction};
use rillpay_wire::ChannelId;
use rillpay_wire::types::OnionPacket;

use crate::codec::{Reader, Writer, malformed};
use crate::error::{Code, Error};
use crate::params;
use crate::revocable::channel::Role;
use crate::revocable::commitment::{self, Htlc, MAX_HTLCS};
use crate::revocable::holder::funding::Signing;
use crate::revocable::htlc::Preimage;
use crate::revocable::secrets::SecretStore;
use crate::revocable::updates::{Update, Updates};

/// The format of an encoded state.
const FORMAT: u8 = 2;
/// The same for a channel of version 2, with what belongs to its funding.
const FORMAT_V2: u8 = 3;
/// The longest reason of a failure that is kept. BOLT 4 makes them 292 bytes long and may grow them some day.
const MAX_REASON: u16 = 2_048;
/// The longest script of a shutdown: a witness program of 40 bytes.
pub(super) const MAX_SCRIPT: u8 = 42;
/// The most payments of ours whose end the caller has not taken in, those under way included.
pub(super) const MAX_OUTCOMES: usize = 2_000;
/// More bytes than the ledger of a channel with all its payments under way has.
const MAX_LEDGER: u32 = 1 << 20;

/// Why a payment came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// For the payment's origin, encrypted (BOLT 4).
    Reason(Vec<u8>),
    /// The onion with this hash could not be read (BOLT 4's code).
    Malformed(sha256::Hash, u16),
}

/// How a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By agreement, with this transaction.
    Closed(Transaction),
    /// Alone: the commitment was broadcast.
    Failed,
    /// We lost what we knew and said so: the counterparty is asked to broadcast its commitment.
    FellBehind,
    /// The counterparty spent the funding alone: what there is to take, [`super::Holder::spent`] tells.
    Spent,
    /// The funding of both was given up before our witnesses left: nothing was paid.
    Aborted,
}

/// The counterparty's per-commitment points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Points {
    /// Of the commitment before the newest, as long as it is not revoked.
    pub(super) revoking: Option<PublicKey>,
    /// Of the newest that we signed.
    pub(super) newest: PublicKey,
    /// Of the one after it, once told.
    pub(super) next: Option<PublicKey>,
}

/// The counterparty's signatures for our newest commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) commitment: Signature,
    pub(super) htlcs: Vec<Signature>,
}

/// Where a connection stands, for this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    /// `channel_reestablish` was sent, and its answer is missing.
    Asked,
    Up,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) role: Role,
    /// Made of the funding, or in version 2 of both revocation basepoints.
    pub(super) id: ChannelId,
    pub(super) depth: u32,
    /// Opened with BOLT 2's version 2.
    pub(super) is_v2: bool,
    /// The funding of such a channel, until both have seen it in the chain.
    pub(super) signing: Option<Signing>,
    /// The rates that we let the opener set.
    pub(super) rates: (FeeRate, FeeRate),
    /// Where our money goes when the channel closes by agreement.
    pub(super) payout: ScriptBuf,
    /// Where the counterparty's has to go, if it bound itself to that.
    pub(super) upfront: Option<ScriptBuf>,
    pub(super) ready_sent: bool,
    pub(super) ready_received: bool,
    pub(super) ledger: Updates,
    pub(super) secrets: SecretStore,
    pub(super) points: Points,
    pub(super) signed: Signed,
    /// The counterparty's commitment before the newest, as long as it is not revoked.
    pub(super) revoking: Option<commitment::State>,
    /// The onions of our payments, until the counterparty has them for good.
    pub(super) sent: BTreeMap<u64, OnionPacket>,
    /// Why we sent payments back, likewise.
    pub(super) sent_back: BTreeMap<u64, Failure>,
    /// The onions of payments to us, until they end.
    pub(super) onions: BTreeMap<u64, OnionPacket>,
    /// What takes payments to us, until they are gone for good: on the chain, if it has to be.
    pub(super) preimages: BTreeMap<u64, Preimage>,
    /// Why our payments came back, until they are gone for good.
    pub(super) failures: BTreeMap<u64, Failure>,
    /// How our payments ended, until the caller has taken it in.
    pub(super) outcomes: BTreeMap<u64, Result<Preimage, Failure>>,
    /// What the counterparty gave us, and what we gave it, in direct payments that hold for good, in millisatoshi.
    pub(super) taken: u64,
    pub(super) given: u64,
    pub(super) shutdown_sent: bool,
    /// Where the counterparty wants its money, once it wants to close.
    pub(super) shutdown_received: Option<ScriptBuf>,
    pub(super) end: Option<End>,
    /// Made from a copy that may be old.
    pub(super) is_copy: bool,

    // Not stored: a restart forgets them.
    pub(super) link: Link,
    /// Both know direct payments.
    pub(super) direct: bool,
    /// We want to close: `shutdown` is said as soon as it may be, and an opener pays this rate.
    pub(super) closing_rate: Option<FeeRate>,
    /// We said `tx_abort`, and the answer is missing.
    pub(super) aborting: bool,
    /// The fee that we offered last for the closing transaction.
    pub(super) offered_fee: Option<bitcoin::Amount>,
    /// For how many blocks the counterparty has answered as one that has closed the channel, and no spend of the funding was seen.
    pub(super) gone_for: Option<u32>,
}

impl State {
    /// The channel's name in decisions.
    pub(super) fn id(&self) -> params::ChannelId {
        params::ChannelId(self.id.0)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready_sent && self.ready_received
    }

    /// Whether it ended otherwise than by agreement. What was agreed on may have to be said again.
    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.end, Some(End::Failed | End::FellBehind | End::Spent | End::Aborted))
    }

    pub(super) fn is_closing(&self) -> bool {
        self.shutdown_sent || self.closing_rate.is_some() || self.shutdown_received.is_some() || self.end.is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_ready() && self.link == Link::Up && !self.is_closing()
    }

    /// The payments to us that hold for good.
    pub(super) fn received(&self) -> impl Iterator<Item = (u64, Htlc, &OnionPacket)> {
        let with_onion = |(id, htlc): (u64, &Htlc)| Some((id, *htlc, self.onions.get(&id)?));
        self.ledger.received(self.role).filter_map(with_onion)
    }

    /// Forgets what nobody signed for.
    pub(super) fn disconnect(&mut self) {
        self.link = Link::Down;
        self.aborting = false;
        self.offered_fee = None;
        self.ledger.disconnect();
        self.prune();
    }

    /// Forgets what came after the opening.
    pub(super) fn forget(&mut self) -> Result<(), Error> {
        self.ledger = self.ledger.first()?;
        self.secrets = SecretStore::new();
        // The first point of the counterparty's is not kept; without payments nothing needs it.
        (self.points.revoking, self.points.next) = (None, None);
        self.signed.htlcs.clear();
        self.revoking = None;
        self.outcomes.clear();
        self.prune();
        Ok(())
    }

    /// Drops what belongs to payments that are gone, or that the counterparty has for good.
    pub(super) fn prune(&mut self) {
        let (role, ledger) = (self.role, &self.ledger);
        let numbers = |by: Role| ledger.offered(by).map(|(id, _)| id).collect::<BTreeSet<_>>();
        let (ours, theirs) = (numbers(role), numbers(role.other()));
        self.onions.retain(|id, _| theirs.contains(id));
        self.failures.retain(|id, _| ours.contains(id));
        self.preimages.retain(|id, _| theirs.contains(id));
        let unacknowledged = ledger.first_unacknowledged(role)..ledger.next_id(role);
        self.sent.retain(|id, _| unacknowledged.contains(id));
        self.sent_back.retain(|id, _| ledger.is_sending_back(role, *id));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.role.write(w.u8(if self.is_v2 { FORMAT_V2 } else { FORMAT })).u32(self.depth);
        w.u64(self.rates.0.to_sat_per_kwu()).u64(self.rates.1.to_sat_per_kwu());
        w.bytes(self.payout.as_bytes());
        write_script(&mut w, self.upfront.as_ref());
        w.bool(self.ready_sent).bool(self.ready_received);
        long(&mut w, &self.ledger.encode());
        long(&mut w, &self.secrets.encode());
        let Points { revoking, newest, next } = &self.points;
        for point in [revoking.as_ref(), Some(newest), next.as_ref()] {
            w.option(point, |w, point| {
                w.key(point);
            });
        }
        w.signature(&self.signed.commitment).list(self.signed.htlcs.iter(), |w, signature| {
            w.signature(signature);
        });
        w.option(self.revoking.as_ref(), |w, state| state.write(w));
        for onions in [&self.sent, &self.onions] {
            w.list(onions.iter(), |w, (id, onion)| {
                w.u64(*id).raw(&*onion.0);
            });
        }
        for failures in [&self.sent_back, &self.failures] {
            w.list(failures.iter(), |w, (id, failure)| failure.write(w.u64(*id)));
        }
        w.list(self.preimages.iter(), |w, (id, preimage)| {
            w.u64(*id).raw(preimage);
        });
        w.list(self.outcomes.iter(), |w, (id, outcome)| match outcome {
            Ok(preimage) => {
                w.u64(*id).bool(true).raw(preimage);
            }
            Err(failure) => failure.write(w.u64(*id).bool(false)),
        });
        w.u64(self.taken).u64(self.given).bool(self.shutdown_sent);
        write_script(&mut w, self.shutdown_received.as_ref());
        match &self.end {
            None => w.u8(0),
            Some(End::Closed(transaction)) => w.u8(1).transaction(transaction),
            Some(End::Failed) => w.u8(2),
            Some(End::FellBehind) => w.u8(3),
            Some(End::Spent) => w.u8(4),
            Some(End::Aborted) => w.u8(5),
        };
        w.bool(self.is_copy);
        if self.is_v2 {
            w.option(self.signing.as_ref(), |w, signing| signing.write(w));
        }
        w.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let corrupted = || Error::new(Code::CorruptedStore, "a stored channel does not fit together");
        let mut state = Self::read(bytes).map_err(|_| corrupted())?;
        if !state.is_sound() {
            return Err(corrupted());
        }
        state.disconnect();
        Ok(state)
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let is_v2 = match r.u8()? {
            FORMAT => false,
            FORMAT_V2 => true,
            _ => return Err(malformed("an unknown format of stored channels")),
        };
        let (role, depth) = (Role::read(&mut r)?, r.u32()?);
        let rates = (FeeRate::from_sat_per_kwu(r.u64()?), FeeRate::from_sat_per_kwu(r.u64()?));
        let (payout, upfront) = (r.script(MAX_SCRIPT)?, r.option(|r| r.script(MAX_SCRIPT))?);
        let (ready_sent, ready_received) = (r.bool()?, r.bool()?);
        let ledger = Updates::decode(read_long(&mut r)?)?;
        let channel = ledger.channel();
        let id = if is_v2 {
            ChannelId::v2(&channel.opener.points.revocation, &channel.accepter.points.revocation)
        } else {
            ChannelId::v1(channel.funding.outpoint).ok_or(malformed("a funding output above 65535"))?
        };
        let secrets = SecretStore::decode(read_long(&mut r)?)?;
        let mut point = || r.option(Reader::key);
        let (revoking, newest, next) = (point()?, point()?, point()?);
        let points = Points { revoking, newest: newest.ok_or(malformed("a point is missing"))?, next };
        let signed = Signed { commitment: r.signature()?, htlcs: r.list(MAX_HTLCS, |r| r.signature())? };
        let revoking = r.option(commitment::State::read)?;
        let onion = |r: &mut Reader<'_>| Ok((r.u64()?, OnionPacket(Box::new(r.array()?))));
        let failure = |r: &mut Reader<'_>| Ok((r.u64()?, Failure::read(r)?));
        // As many again may be ending, and one not signed for may follow each of them.
        let most = MAX_HTLCS;
        let (sent, onions) = (map(r.list(most, onion)?)?, map(r.list(most, onion)?)?);
        let (sent_back, failures) = (map(r.list(most, failure)?)?, map(r.list(most, failure)?)?);
        let preimages = map(r.list(most, |r| Ok((r.u64()?, r.array()?)))?)?;
        let outcome = |r: &mut Reader<'_>| {
            let id = r.u64()?;
            Ok((id, if r.bool()? { Ok(r.array()?) } else { Err(Failure::read(r)?) }))
        };
        let outcomes = map(r.list(MAX_OUTCOMES, outcome)?)?;
        let (taken, given) = (r.u64()?, r.u64()?);
        let (shutdown_sent, shutdown_received) = (r.bool()?, r.option(|r| r.script(MAX_SCRIPT))?);
        let end = match r.u8()? {
            0 => None,
            1 => Some(End::Closed(r.transaction()?)),
            2 => Some(End::Failed),
            3 => Some(End::FellBehind),
            4 => Some(End::Spent),
            5 => Some(End::Aborted),
            _ => return Err(malformed("an unknown end")),
        };
        let is_copy = r.bool()?;
        let signing = if is_v2 { r.option(Signing::read)? } else { None };
        r.finish()?;
        Ok(Self {
            role,
            id,
            depth,
            is_v2,
            signing,
            rates,
            payout,
            upfront,
            ready_sent,
            ready_received,
            ledger,
            secrets,
            points,
            signed,
            revoking,
            sent,
            sent_back,
            onions,
            preimages,
            failures,
            outcomes,
            taken,
            given,
            shutdown_sent,
            shutdown_received,
            end,
            is_copy,
            link: Link::Down,
            direct: false,
            closing_rate: None,
            aborting: false,
            offered_fee: None,
            gone_for: None,
        })
    }

    /// What holds for every state that came about by messages. Signatures are looked at when they are used.
    fn is_sound(&self) -> bool {
        let other = self.role.other();
        let owed = self.ledger.owes_revocation(other);
        // The counterparty revokes one commitment after the other, and we revoke as soon as we have a newer one.
        let revoked = self.ledger.number(other).get().checked_sub(owed.into());
        let next = self.secrets.next().map(crate::revocable::CommitmentNumber::get);
        // Every payment to us has its onion, and each of ours that may have to be sent again.
        let has_onions = self.ledger.offered(other).all(|(id, _)| self.onions.contains_key(&id));
        let first = self.ledger.first_unacknowledged(self.role);
        let can_repeat = self.ledger.offered(self.role).all(|(id, _)| id < first || self.sent.contains_key(&id));
        let fits = |(id, preimage): (&u64, &Preimage)| {
            let hash = sha256::Hash::hash(preimage);
            self.ledger.offered(other).any(|(of, htlc)| of == *id && htlc.payment_hash == hash)
        };
        let explains = self.ledger.to_retransmit(self.role).iter().all(|update| match update {
            Update::Fail(id) => self.sent_back.contains_key(id),
            _ => true,
        });
        let funding = self.ledger.channel().funding.outpoint;
        let is_signed_soundly = |signing: &Signing| {
            // Nothing counts before the counterparty has signed.
            let is_idle = revoked == Some(0) && !owed && !self.ready_sent && !self.shutdown_sent;
            signing.is_sound(funding) && (signing.is_secured() || is_idle)
        };
        next == revoked
            && self.signing.as_ref().is_none_or(is_signed_soundly)
            && self.points.revoking.is_some() == owed
            && self.revoking.as_ref().map(|state| state.number.get()) == revoked.filter(|_| owed)
            && !self.ledger.owes_revocation(self.role)
            && has_onions
            && self.preimages.iter().all(fits)
            && can_repeat
            && explains
    }
}

impl Failure {
    /// A reason as it came. One that is too long to keep is unreadable to its origin, too.
    pub(super) fn reason(reason: &[u8]) -> Self {
        let fits = reason.len() <= MAX_REASON.into();
        Self::Reason(if fits { reason.to_vec() } else { vec![] })
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Reason(reason) => w.u8(0).u16(u16::try_from(reason.len()).unwrap_or(u16::MAX)).raw(reason),
            Self::Malformed(hash, code) => w.u8(1).raw(hash.as_byte_array()).u16(*code),
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        match r.u8()? {
            0 => {
                let length = r.u16()?;
                if length > MAX_REASON {
                    return Err(malformed("a reason is longer than allowed"));
                }
                r.take(length.into()).map(|reason| Self::Reason(reason.to_vec()))
            }
            1 => Ok(Self::Malformed(sha256::Hash::from_byte_array(r.array()?), r.u16()?)),
            _ => Err(malformed("an unknown failure")),
        }
    }
}

fn write_script(w: &mut Writer, script: Option<&ScriptBuf>) {
    w.option(script, |w, script| {
        w.bytes(script.as_bytes());
    });
}

pub(super) fn long(w: &mut Writer, bytes: &[u8]) {
    w.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes);
}

pub(super) fn read_long<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let length = r.u32()?;
    if length > MAX_LEDGER {
        return Err(malformed("a field is longer than allowed"));
    }
    r.take(usize::try_from(length).map_err(|_| malformed("too short"))?)
}

/// Entries in rising order of their numbers, as they are written.
fn map<T>(entries: Vec<(u64, T)>) -> Result<BTreeMap<u64, T>, Error> {
    let rising = entries.iter().zip(entries.iter().skip(1)).all(|((one, _), (next, _))| one < next);
    if rising { Ok(entries.into_iter().collect()) } else { Err(malformed("numbers that do not rise")) }
}
