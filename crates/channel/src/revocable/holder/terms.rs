//! What a holder asks for when a channel opens, and what it puts up with (BOLT 2, "Channel Establishment v1").

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate, Network, Script, ScriptBuf};
use rillpay_wire::messages::{AcceptChannel, AcceptChannel2, OpenChannel, OpenChannel2};
use rillpay_wire::types::FeeratePerKw;
use rillpay_wire::{Feature, Features};

use crate::amount::Msat;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::Party;
use crate::revocable::fees::{ChannelType, LEAST_RATE};
use crate::revocable::holder::state::MAX_SCRIPT;
use crate::revocable::keys::Basepoints;
use crate::revocable::updates::{Limits, MAX_ACCEPTED};

/// No `dust_limit_satoshis` is below: the least that every segwit output relays with (BOLT 3, "Dust Limits").
const LEAST_DUST_LIMIT: Amount = Amount::from_sat(354);
/// No one of a counterparty's is above: what is smaller than that it may leave out of its commitments.
const MOST_DUST_LIMIT: Amount = Amount::from_sat(1_000);
/// Without anchors the fee decides which payments are dust: an opener who sets it could make dust of all of them.
const MOST_WITHOUT_ANCHORS: FeeRate = FeeRate::from_sat_per_kwu(10_000);
/// One in how many of the channel's satoshi a counterparty may make us keep in it.
const MOST_RESERVE: u64 = 10;
/// The most confirmations that we wait for at the counterparty's wish: a week.
const MAX_DEPTH: u32 = 1_008;

/// The terms of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The chain.
    pub network: Network,
    /// `dust_limit_satoshis` of our commitments, from 354 to 1,000 satoshi.
    pub dust_limit: Amount,
    /// The least payment that we accept.
    pub htlc_minimum: Msat,
    /// The most that may be under way to us.
    pub max_in_flight: Msat,
    /// How many payments may be under way to us; at most [`MAX_ACCEPTED`].
    pub max_accepted: u16,
    /// Blocks that the counterparty waits for its own money after its own commitment: the time we have to punish.
    pub delay: u16,
    /// The most blocks that we put up with ourselves.
    pub max_delay: u16,
    /// Confirmations before we use the channel.
    pub depth: u32,
    /// The least and the most that we open or accept a channel with.
    pub capacity: (Amount, Amount),
    /// The fee rates of commitments that we put up with.
    pub rates: (FeeRate, FeeRate),
    /// Where our money goes when the channel closes by agreement: a witness program, of version 0 unless the peer has
    /// `option_shutdown_anysegwit`.
    pub payout: ScriptBuf,
    /// Both offer direct payments ([`rillpay_wire::messages::DIRECT_PAYMENTS`]).
    pub direct: bool,
    /// What we ask for as the opener: [`ChannelType::Anchors`], or [`ChannelType::StaticRemoteKey`] of a peer without
    /// `option_anchors`. As the accepter we take either.
    pub channel_type: ChannelType,
}

impl Terms {
    /// Terms that most nodes agree to: payments from 1 satoshi, 30 of them at a time, a day to punish, three confirmations.
    pub fn new(network: Network, payout: ScriptBuf) -> Self {
        Self {
            network,
            dust_limit: LEAST_DUST_LIMIT,
            htlc_minimum: Msat::new(1_000).unwrap_or(Msat::ZERO),
            max_in_flight: Msat::MAX_MONEY,
            max_accepted: 30,
            delay: 144,
            max_delay: 2_016,
            depth: 3,
            capacity: (Amount::from_sat(20_000), Amount::from_sat(1_000_000_000)),
            rates: (LEAST_RATE, FeeRate::from_sat_per_kwu(50_000)),
            payout,
            direct: false,
            channel_type: ChannelType::Anchors,
        }
    }

    /// Refuses terms that contradict themselves or BOLT 2.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::InvalidReturnScript`].
    pub(super) fn check_own(&self) -> Result<(), Error> {
        if self.payout.witness_version().is_none() {
            return refuse(Code::InvalidReturnScript, "not every peer pays out to such a script");
        }
        check_script(&self.payout)?;
        let fits = (LEAST_DUST_LIMIT..=MOST_DUST_LIMIT).contains(&self.dust_limit)
            && (1..=MAX_ACCEPTED).contains(&self.max_accepted)
            && self.delay > 0
            && self.delay <= self.max_delay
            && self.rates.0 <= self.rates.1
            && self.capacity.0 <= self.capacity.1
            && OPENED.contains(&self.channel_type);
        if fits { Ok(()) } else { refuse(Code::InvalidArgument, "these terms contradict themselves") }
    }

    /// The fee rates that we let an opener set in such a channel, and set ourselves.
    pub fn rates(&self, channel_type: ChannelType) -> (FeeRate, FeeRate) {
        let (least, most) = self.rates;
        if channel_type.has_anchors() { (least, most) } else { (least, most.min(MOST_WITHOUT_ANCHORS)) }
    }

    /// The confirmations that we wait for: as many as both want.
    pub(super) fn accept_depth(&self, theirs: u32) -> Result<u32, Error> {
        if theirs > MAX_DEPTH {
            return refuse(Code::UnacceptableTerms, "the counterparty wants to wait for a funding for too long");
        }
        Ok(self.depth.max(theirs))
    }

    /// What the counterparty always keeps: a hundredth of the channel, and no dust of either side.
    pub(super) fn reserve(&self, capacity: Amount, their_dust_limit: Amount) -> Amount {
        reserve(capacity, self.dust_limit).max(their_dust_limit)
    }
}

/// The reserve that a side with this dust limit sets for the other: a hundredth of the channel.
pub(super) fn reserve(capacity: Amount, dust_limit: Amount) -> Amount {
    capacity.checked_div(100).unwrap_or(Amount::ZERO).max(dust_limit)
}

/// A fee rate as messages have it.
pub(super) fn per_kw(rate: FeeRate) -> Result<FeeratePerKw, Error> {
    let rate = u32::try_from(rate.to_sat_per_kwu()).map(FeeratePerKw);
    rate.map_err(|_| Error::new(Code::InvalidArgument, "there are no such fee rates"))
}

/// What one side's opening message says, whichever it is.
pub(super) struct Stated {
    pub points: Basepoints,
    pub first: PublicKey,
    pub dust_limit: Amount,
    pub reserve: Amount,
    pub htlc_minimum: u64,
    pub max_in_flight: u64,
    pub max_accepted: u16,
    pub delay: u16,
    pub upfront: Option<ScriptBuf>,
    pub channel_type: ChannelType,
}

macro_rules! stated {
    ($message:expr, $reserve:expr) => {
        Ok(Stated {
            points: Basepoints {
                funding: $message.funding_pubkey,
                revocation: $message.revocation_basepoint,
                payment: $message.payment_basepoint,
                delayed: $message.delayed_payment_basepoint,
                htlc: $message.htlc_basepoint,
            },
            first: $message.first_per_commitment_point,
            dust_limit: $message.dust_limit_satoshis,
            reserve: $reserve,
            htlc_minimum: $message.htlc_minimum_msat.0,
            max_in_flight: $message.max_htlc_value_in_flight_msat.0,
            max_accepted: $message.max_accepted_htlcs,
            delay: $message.to_self_delay,
            upfront: upfront($message.tlvs.upfront_shutdown_script.as_ref())?,
            channel_type: channel_type($message.tlvs.channel_type.as_ref())?,
        })
    };
}

impl Stated {
    pub(super) fn by_opener(message: &OpenChannel) -> Result<Self, Error> {
        stated!(message, message.channel_reserve_satoshis)
    }

    pub(super) fn by_accepter(message: &AcceptChannel) -> Result<Self, Error> {
        stated!(message, message.channel_reserve_satoshis)
    }

    /// In version 2 the reserve follows from what both put in.
    pub(super) fn by_opener2(message: &OpenChannel2, reserve: Amount) -> Result<Self, Error> {
        stated!(message, reserve)
    }

    pub(super) fn by_accepter2(message: &AcceptChannel2, reserve: Amount) -> Result<Self, Error> {
        stated!(message, reserve)
    }

    /// What its sender lets be under way to it, and the reserve that `theirs` sets for it.
    pub(super) fn limits(&self, reserve: Amount) -> Limits {
        // More than all the money is no bound.
        let bounded = |msat| Msat::new(msat).unwrap_or(Msat::MAX_MONEY);
        let (htlc_minimum, max_in_flight) = (bounded(self.htlc_minimum), bounded(self.max_in_flight));
        Limits { reserve, htlc_minimum, max_in_flight, max_accepted: self.max_accepted }
    }

    /// Its sender, who waits as long as the other wants.
    pub(super) const fn party(&self, delay: u16) -> Party {
        Party { points: self.points, delay, dust_limit: self.dust_limit }
    }

    /// Holds it against our terms, and against what we stated ourselves.
    ///
    /// # Errors
    /// [`Code::UnacceptableTerms`].
    pub(super) fn check(
        &self,
        terms: &Terms,
        capacity: Amount,
        own_reserve: Amount,
        own_points: &Basepoints,
    ) -> Result<(), Error> {
        // What its commitments leave out is lost to us: with as many payments as may be under way this bounds it.
        let fits = (LEAST_DUST_LIMIT..=MOST_DUST_LIMIT).contains(&self.dust_limit)
            && self.reserve <= capacity.checked_div(MOST_RESERVE).unwrap_or(Amount::ZERO).max(MOST_DUST_LIMIT)
            // Neither side's reserve is dust to the other.
            && self.dust_limit <= self.reserve
            && self.reserve >= terms.dust_limit
            && self.dust_limit <= own_reserve
            && (1..=MAX_ACCEPTED).contains(&self.max_accepted)
            && self.delay <= terms.max_delay
            // Whoever takes over a key of ours can make its outputs look like ours.
            && !self.points.each().iter().any(|point| own_points.each().contains(point));
        if fits { Ok(()) } else { refuse(Code::UnacceptableTerms, "these terms of the channel are not acceptable") }
    }
}

/// The types that are opened: with anchors, or with static remote keys alone.
const OPENED: [ChannelType; 2] = [ChannelType::Anchors, ChannelType::StaticRemoteKey];

/// How such a type is written.
pub(super) fn features_of(channel_type: ChannelType) -> Features {
    let base = Features::default().with_required(Feature::StaticRemotekey);
    if channel_type.has_anchors() { base.with_required(Feature::Anchors) } else { base }
}

fn channel_type(stated: Option<&Features>) -> Result<ChannelType, Error> {
    let stated = stated.map(Features::minimal);
    let found = OPENED.into_iter().find(|kind| stated.as_ref() == Some(&features_of(*kind)));
    found.ok_or(Error::new(Code::UnacceptableTerms, "an unknown type of channel"))
}

fn upfront(stated: Option<&ScriptBuf>) -> Result<Option<ScriptBuf>, Error> {
    let script = stated.filter(|script| !script.is_empty());
    script.map(|script| check_script(script).map(|()| script.clone())).transpose()
}

/// Refuses what BOLT 2 lets nobody be paid to at a close: anything but the standard kinds and future witness programs.
///
/// # Errors
/// [`Code::InvalidReturnScript`].
pub(super) fn check_script(script: &Script) -> Result<(), Error> {
    let future = script.witness_version().is_some_and(|version| version.to_num() > 0);
    let known = script.is_p2pkh() || script.is_p2sh() || script.is_p2wpkh() || script.is_p2wsh();
    if (known || future) && script.len() <= MAX_SCRIPT.into() {
        return Ok(());
    }
    refuse(Code::InvalidReturnScript, "a channel cannot be paid out to such a script")
}
