//! Terms, and the turns up to a transaction that only lacks its witnesses.

use bitcoin::absolute::LockTime;
use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Witness};
use rillpay_wire::messages::{
    AcceptChannel2, ChannelFlags, CommitmentSigned, CommitmentSignedTlvs, Extension, Open2Tlvs, OpenChannel2, TxAbort,
};
use rillpay_wire::types;
use rillpay_wire::{ChannelId, Message};

use crate::amount::Msat;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::Role;
use crate::revocable::fees::{ChannelType, LEAST_RATE};
use crate::revocable::holder::funding::construction::{Built, Construction, Plan, Stake, Turn};
use crate::revocable::holder::funding::signing::Signing;
use crate::revocable::holder::open::{Agreed, Wish};
use crate::revocable::holder::state::State;
use crate::revocable::holder::terms::{Stated, Terms, features_of, per_kw, reserve};
use crate::revocable::holder::{Effect, Event, Step, concerns, step};
use crate::revocable::keys::BaseKeys;
use crate::revocable::number::CommitmentNumber;

/// How many blocks an opener may be ahead of us with the funding's lock time.
const AHEAD: u32 = 6;

/// The moment and the two nodes.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The keys of both nodes, ours first: where both bring the same, the one with the lesser key signs first.
    pub nodes: [PublicKey; 2],
    /// 32 random bytes, for the numbers of what we add.
    pub entropy: [u8; 32],
    /// The height of the best block: an opener's lock time.
    pub height: u32,
    /// The counterparty may only bring coins that are in blocks: [`Unsigned::theirs`] are to be looked up.
    pub confirmed_only: bool,
}

/// The rates that an opener chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// The funding's: each pays for what it adds.
    pub funding: FeeRate,
    /// The commitments'.
    pub commitments: FeeRate,
}

impl Setting {
    fn is_lesser(&self) -> bool {
        let [ours, theirs] = self.nodes;
        ours.serialize() < theirs.serialize()
    }
}

fn capacity(opener: Amount, accepter: Amount) -> Result<Amount, Error> {
    let both = opener.checked_add(accepter);
    let absurd = Error::new(Code::UnacceptableTerms, "both together put in more than all money");
    both.filter(|both| *both <= Amount::MAX_MONEY).ok_or(absurd)
}

fn tlvs(terms: &Terms, channel_type: ChannelType, setting: &Setting) -> Open2Tlvs {
    Open2Tlvs {
        upfront_shutdown_script: Some(terms.payout.clone()),
        channel_type: Some(features_of(channel_type)),
        require_confirmed_inputs: setting.confirmed_only.then_some(()),
        ..Open2Tlvs::default()
    }
}

/// The points of our first two commitments.
fn first_points(keys: &BaseKeys) -> Result<[PublicKey; 2], Error> {
    Ok([keys.seed.point(CommitmentNumber::FIRST)?, keys.seed.point(CommitmentNumber::SECOND)?])
}

/// We asked for a channel that both may fund.
pub struct Proposal {
    terms: Terms,
    setting: Setting,
    stake: Stake,
    message: OpenChannel2,
}

impl Proposal {
    /// Asks for a channel into which we put this; what the counterparty puts in it says with its answer.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for terms, amounts or rates that BOLT 2 does not allow.
    pub fn new(
        terms: Terms,
        keys: &BaseKeys,
        setting: Setting,
        stake: Stake,
        rates: Rates,
    ) -> Result<(Self, Message), Error> {
        terms.check_own()?;
        if rates.funding < LEAST_RATE {
            return refuse(Code::InvalidArgument, "no node relays a funding at such a rate");
        }
        let points = keys.points();
        let [first, second] = first_points(keys)?;
        let lock_time = LockTime::from_height(setting.height);
        let message = OpenChannel2 {
            chain_hash: ChainHash::using_genesis_block(terms.network),
            temporary_channel_id: ChannelId::v2_temporary(&points.revocation),
            funding_feerate_perkw: per_kw(rates.funding)?,
            commitment_feerate_perkw: per_kw(rates.commitments)?,
            funding_satoshis: stake.amount,
            dust_limit_satoshis: terms.dust_limit,
            max_htlc_value_in_flight_msat: types::Msat(terms.max_in_flight.get()),
            htlc_minimum_msat: types::Msat(terms.htlc_minimum.get()),
            to_self_delay: terms.delay,
            max_accepted_htlcs: terms.max_accepted,
            locktime: lock_time.map_err(|_| Error::new(Code::InvalidArgument, "there are no such heights"))?,
            funding_pubkey: points.funding,
            revocation_basepoint: points.revocation,
            payment_basepoint: points.payment,
            delayed_payment_basepoint: points.delayed,
            htlc_basepoint: points.htlc,
            first_per_commitment_point: first,
            second_per_commitment_point: second,
            channel_flags: ChannelFlags::default(),
            tlvs: tlvs(&terms, terms.channel_type, &setting),
        };
        let proposal = Self { terms, setting, stake, message: message.clone() };
        Ok((proposal, message.into()))
    }

    /// The name of the channel until the counterparty has answered.
    pub const fn id(&self) -> ChannelId {
        self.message.temporary_channel_id
    }

    /// The counterparty accepted: the negotiation, and its first message.
    ///
    /// # Errors
    /// [`Code::UnacceptableTerms`] for terms that we do not agree to; [`Code::InvalidArgument`] where our coins do not cover our
    /// share and its fee.
    pub fn accepted(self, message: &AcceptChannel2) -> Result<(Negotiation, Message), Error> {
        let Self { terms, setting, stake, message: asked } = self;
        if message.temporary_channel_id != asked.temporary_channel_id {
            return refuse(Code::UnknownChannel, "an answer about another channel");
        }
        let capacity = capacity(asked.funding_satoshis, message.funding_satoshis)?;
        let opener = Stated::by_opener2(&asked, reserve(capacity, asked.dust_limit_satoshis))?;
        let accepter = Stated::by_accepter2(message, reserve(capacity, message.dust_limit_satoshis))?;
        accepter.check(&terms, capacity, opener.reserve, &opener.points)?;
        if accepter.channel_type != opener.channel_type {
            return refuse(Code::UnacceptableTerms, "another type of channel than was asked for");
        }
        let depth = terms.accept_depth(message.minimum_depth)?;
        let both = Both { open: &asked, accept: message, role: Role::Opener, capacity, opener, accepter };
        let mut negotiation = both.negotiate(terms, depth, &setting, &stake)?;
        let first = negotiation.construction.speak()?;
        Ok((negotiation, first))
    }
}

/// Accepts what the counterparty asks for, if it fits our terms, and says what we put in: the negotiation, in which the counterparty
/// speaks first, and our answer.
///
/// # Errors
/// [`Code::UnacceptableTerms`], [`Code::WrongNetwork`]; [`Code::InvalidArgument`] where our coins do not cover our share and its fee.
pub fn accept(
    terms: Terms,
    keys: &BaseKeys,
    setting: &Setting,
    message: &OpenChannel2,
    stake: &Stake,
) -> Result<(Negotiation, Message), Error> {
    terms.check_own()?;
    if message.chain_hash != ChainHash::using_genesis_block(terms.network) {
        return refuse(Code::WrongNetwork, "a channel on another chain");
    }
    if message.temporary_channel_id != ChannelId::v2_temporary(&message.revocation_basepoint) {
        return refuse(Code::UnknownChannel, "a channel with another name than it should have");
    }
    let unacceptable = |text| Error::new(Code::UnacceptableTerms, text);
    let is_due = |lock_time: LockTime| match lock_time {
        LockTime::Blocks(height) => height.to_consensus_u32() <= setting.height.saturating_add(AHEAD),
        LockTime::Seconds(_) => false,
    };
    if !is_due(message.locktime) {
        return Err(unacceptable("a funding that is locked for a long time"));
    }
    if FeeRate::from(message.funding_feerate_perkw) < LEAST_RATE {
        return Err(unacceptable("a funding that no node relays"));
    }
    let capacity = capacity(message.funding_satoshis, stake.amount)?;
    let opener = Stated::by_opener2(message, reserve(capacity, message.dust_limit_satoshis))?;
    let (points, [first, second]) = (keys.points(), first_points(keys)?);
    opener.check(&terms, capacity, reserve(capacity, terms.dust_limit), &points)?;
    let answer = AcceptChannel2 {
        temporary_channel_id: message.temporary_channel_id,
        funding_satoshis: stake.amount,
        dust_limit_satoshis: terms.dust_limit,
        max_htlc_value_in_flight_msat: types::Msat(terms.max_in_flight.get()),
        htlc_minimum_msat: types::Msat(terms.htlc_minimum.get()),
        minimum_depth: terms.depth,
        to_self_delay: terms.delay,
        max_accepted_htlcs: terms.max_accepted,
        funding_pubkey: points.funding,
        revocation_basepoint: points.revocation,
        payment_basepoint: points.payment,
        delayed_payment_basepoint: points.delayed,
        htlc_basepoint: points.htlc,
        first_per_commitment_point: first,
        second_per_commitment_point: second,
        tlvs: tlvs(&terms, opener.channel_type, setting),
    };
    let accepter = Stated::by_accepter2(&answer, reserve(capacity, terms.dust_limit))?;
    let depth = terms.depth;
    let both = Both { open: message, accept: &answer, role: Role::Accepter, capacity, opener, accepter };
    let negotiation = both.negotiate(terms, depth, setting, stake)?;
    Ok((negotiation, answer.into()))
}

/// Both opening messages.
struct Both<'m> {
    open: &'m OpenChannel2,
    accept: &'m AcceptChannel2,
    role: Role,
    capacity: Amount,
    opener: Stated,
    accepter: Stated,
}

impl Both<'_> {
    fn negotiate(self, terms: Terms, depth: u32, setting: &Setting, stake: &Stake) -> Result<Negotiation, Error> {
        let Self { open, accept, role, capacity, opener, accepter } = self;
        let push = Msat::from_amount(accept.funding_satoshis);
        let push = push.ok_or(Error::new(Code::UnacceptableTerms, "more than all money"))?;
        let id = ChannelId::v2(&open.revocation_basepoint, &accept.revocation_basepoint);
        let is_opener = role == Role::Opener;
        let (second, shares) = if is_opener {
            (accept.second_per_commitment_point, (open.funding_satoshis, accept.funding_satoshis))
        } else {
            (open.second_per_commitment_point, (accept.funding_satoshis, open.funding_satoshis))
        };
        let (dust, other_dust) = (open.dust_limit_satoshis, accept.dust_limit_satoshis);
        // What is theirs from the start is as if it had been pushed.
        let wish = Wish { capacity, push, rate: open.commitment_feerate_perkw.into() };
        let agreed = Agreed { terms, role, wish, opener, accepter, depth };
        agreed.check()?;
        let funding = TxOut { value: capacity, script_pubkey: agreed.funding_script() };
        let plan = Plan {
            id,
            is_initiator: is_opener,
            lock_time: open.locktime,
            rate: open.funding_feerate_perkw.into(),
            dust_limits: (dust.max(other_dust), dust.min(other_dust)),
            funding,
            shares,
        };
        let construction = Construction::new(plan, stake, &setting.entropy)?;
        Ok(Negotiation { agreed, second, is_lesser: setting.is_lesser(), construction })
    }
}

/// The terms are agreed; the funding is built by turns.
pub struct Negotiation {
    agreed: Agreed,
    /// The point of the counterparty's second commitment.
    second: PublicKey,
    is_lesser: bool,
    construction: Construction,
}

/// How a negotiation goes on.
pub enum Progress {
    /// Send this, and wait for the answer.
    Goes(Box<Negotiation>, Message),
    /// The funding is built. First send this, if there is anything.
    Built(Box<Unsigned>, Option<Message>),
}

impl Negotiation {
    /// The channel's name.
    pub const fn id(&self) -> ChannelId {
        self.construction.plan().id
    }

    /// The counterparty said this. Where it is refused the negotiation is over: [`Negotiation::abort`] says so.
    ///
    /// # Errors
    /// [`Code::InvalidContribution`] for everything that BOLT 2 fails a negotiation for; [`Code::UnexpectedMessage`],
    /// [`Code::UnknownChannel`].
    pub fn receive(self, message: &Message) -> Result<Progress, Error> {
        let Self { agreed, second, is_lesser, mut construction } = self;
        let id = construction.plan().id;
        if concerns(message) != Some(id) {
            return refuse(Code::UnknownChannel, "a message for another channel");
        }
        let last = match construction.receive(message)? {
            Turn::Say(answer) => {
                return Ok(Progress::Goes(Box::new(Self { agreed, second, is_lesser, construction }), answer));
            }
            Turn::Over(last) => last,
        };
        let rate = construction.plan().rate;
        let built = construction.finish()?;
        let mut state = agreed.state(id, built.outpoint)?;
        state.is_v2 = true;
        state.points.next = Some(second);
        Ok(Progress::Built(Box::new(Unsigned { agreed, state, built, rate, is_lesser }), last))
    }

    /// What tells the counterparty that a negotiation is over.
    pub fn abort(id: ChannelId, why: &str) -> Message {
        TxAbort { channel_id: id, data: why.as_bytes().to_vec(), tlvs: Extension::default() }.into()
    }
}

/// The funding is built, and lacks its witnesses.
pub struct Unsigned {
    agreed: Agreed,
    state: State,
    built: Built,
    rate: FeeRate,
    is_lesser: bool,
}

impl Unsigned {
    /// The channel's name.
    pub const fn id(&self) -> ChannelId {
        self.state.id
    }

    /// The funding without its witnesses.
    pub const fn transaction(&self) -> &Transaction {
        &self.built.transaction
    }

    /// What its inputs spend, in their order.
    pub fn spent(&self) -> impl Iterator<Item = &TxOut> {
        self.built.spent.iter().map(|(output, _)| output)
    }

    /// Our coins, in the order of their inputs: each is to be signed for, with `SIGHASH_ALL`, and nothing else is.
    pub fn ours(&self) -> impl Iterator<Item = OutPoint> {
        self.inputs(true)
    }

    /// The counterparty's coins. Where they have to be in blocks, the caller looks before it signs.
    pub fn theirs(&self) -> impl Iterator<Item = OutPoint> {
        self.inputs(false)
    }

    fn inputs(&self, ours: bool) -> impl Iterator<Item = OutPoint> {
        let inputs = self.built.transaction.input.iter().zip(&self.built.spent);
        inputs.filter(move |(_, (_, is_ours))| *is_ours == ours).map(|(input, _)| input.previous_output)
    }

    /// With our witnesses, in the order of [`Unsigned::ours`]: [`super::super::Holder::create`] makes the machine, and our signature
    /// for the counterparty's first commitment is sent. The witnesses stay here until they may leave.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for another number of witnesses, or empty ones; [`Code::WrongKey`] for keys of another channel.
    pub fn signed(self, keys: &BaseKeys, witnesses: Vec<Witness>) -> Result<Step, Error> {
        let Self { agreed, mut state, built, rate, is_lesser } = self;
        let Built { mut transaction, spent, brought: (ours, theirs), .. } = built;
        let mut witnesses = witnesses.into_iter().filter(|witness| !witness.is_empty());
        let missing = Error::new(Code::InvalidArgument, "not one witness for each of our inputs");
        for (input, _) in transaction.input.iter_mut().zip(&spent).filter(|(_, (_, is_ours))| *is_ours) {
            input.witness = witnesses.next().ok_or(missing.clone())?;
        }
        if witnesses.next().is_some() {
            return Err(missing);
        }
        let message = CommitmentSigned {
            channel_id: state.id,
            signature: agreed.sign(&state, keys)?,
            htlc_signatures: vec![],
            tlvs: CommitmentSignedTlvs::default(),
        };
        let is_first = ours < theirs || (ours == theirs && is_lesser);
        state.signing = Some(Signing::new(transaction, spent, rate, is_first));
        let held = Event::Held(state.encode());
        Ok(step(state, 0, vec![held], vec![Effect::Send(Box::new(message.into()))]))
    }
}
