//! Opening a channel, version 1 (BOLT 2): one side funds it, and may give the other a part from the start.
//!
//! Until the counterparty has signed nothing is stored: a connection that breaks ends the attempt, and nobody has paid anything.

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf};
use rillpay_wire::messages::{
    AcceptChannel, ChannelFlags, Extension, FundingCreated, FundingSigned, OpenChannel, OpenTlvs,
};
use rillpay_wire::types;
use rillpay_wire::{ChannelId, Message};

use crate::amount::Msat;
use crate::commitment::Funding;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::{Channel, Role};
use crate::revocable::commitment::{self, Commitment};
use crate::revocable::fees::ChannelType;
use crate::revocable::holder::state::{Link, Points, Signed, State};
use crate::revocable::holder::terms::{Stated, Terms, features_of, per_kw};
use crate::revocable::holder::update::parse;
use crate::revocable::holder::{Effect, Event, Step, step};
use crate::revocable::keys::{BaseKeys, Basepoints};
use crate::revocable::number::CommitmentNumber;
use crate::revocable::script;
use crate::revocable::secrets::SecretStore;
use crate::revocable::updates::Updates;

/// What the opener chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) capacity: Amount,
    pub(super) push: Msat,
    pub(super) rate: FeeRate,
}

/// Both sides' words, once they are known.
pub(super) struct Agreed {
    pub(super) terms: Terms,
    pub(super) role: Role,
    pub(super) wish: Wish,
    pub(super) opener: Stated,
    pub(super) accepter: Stated,
    pub(super) depth: u32,
}

impl Agreed {
    pub(super) fn funding_script(&self) -> ScriptBuf {
        script::funding(&self.opener.points.funding, &self.accepter.points.funding).to_p2wsh()
    }

    fn theirs(&self) -> &Stated {
        match self.role {
            Role::Opener => &self.accepter,
            Role::Accepter => &self.opener,
        }
    }

    /// Refuses a channel whose first commitment nobody could pay for, or in which nobody would have anything to lose.
    pub(super) fn check(&self) -> Result<(), Error> {
        let unacceptable = |text| Error::new(Code::UnacceptableTerms, text);
        let Wish { capacity, push, rate } = self.wish;
        let (least, most) = self.terms.rates(self.opener.channel_type);
        if rate < least || rate > most {
            return Err(unacceptable("a fee rate that nobody would pay, or that no miner would take"));
        }
        if capacity < self.terms.capacity.0 || capacity > self.terms.capacity.1 {
            return Err(unacceptable("a channel of such a size is not wanted"));
        }
        let opener = Msat::from_amount(capacity).and_then(|all| all.checked_sub(push));
        let opener = opener.ok_or(unacceptable("more is pushed than there is"))?.to_amount_floor();
        let cost = self.opener.channel_type.commitment_cost(rate, 0);
        let Some(rest) = cost.and_then(|cost| opener.checked_sub(cost)) else {
            return Err(unacceptable("the opener cannot pay for the first commitment"));
        };
        if rest <= self.accepter.reserve && push.to_amount_floor() <= self.opener.reserve {
            return Err(unacceptable("both sides would be below their reserve"));
        }
        Ok(())
    }

    /// The channel with this funding, and commitment 0 of both.
    pub(super) fn state(&self, id: ChannelId, outpoint: OutPoint) -> Result<State, Error> {
        let Wish { capacity, push, rate } = self.wish;
        let channel = Channel {
            channel_type: self.opener.channel_type,
            funding: Funding { outpoint, capacity },
            opener: self.opener.party(self.accepter.delay),
            accepter: self.accepter.party(self.opener.delay),
        };
        let rest = Msat::from_amount(capacity).and_then(|all| all.checked_sub(push));
        let opener = rest.ok_or(Error::new(Code::InvalidArgument, "more is pushed than there is"))?;
        let first = commitment::State {
            number: CommitmentNumber::FIRST,
            fee_rate: rate,
            opener,
            accepter: push,
            htlcs: vec![],
        };
        // Each side's reserve is what the other asked for.
        let limits = (self.opener.limits(self.accepter.reserve), self.accepter.limits(self.opener.reserve));
        let ledger = Updates::new(&channel, &first, limits.0, limits.1)?;
        let theirs = self.theirs();
        Ok(State {
            role: self.role,
            id,
            depth: self.depth,
            is_v2: false,
            signing: None,
            rates: self.terms.rates(self.opener.channel_type),
            payout: self.terms.payout.clone(),
            upfront: theirs.upfront.clone(),
            ready_sent: false,
            ready_received: false,
            ledger,
            secrets: SecretStore::new(),
            points: Points { revoking: None, newest: theirs.first, next: None },
            signed: Signed { commitment: no_signature()?, htlcs: vec![] },
            revoking: None,
            sent: Default::default(),
            sent_back: Default::default(),
            onions: Default::default(),
            preimages: Default::default(),
            failures: Default::default(),
            outcomes: Default::default(),
            taken: 0,
            given: 0,
            shutdown_sent: false,
            shutdown_received: None,
            end: None,
            is_copy: false,
            link: Link::Up,
            direct: self.terms.direct,
            closing_rate: None,
            aborting: false,
            offered_fee: None,
            gone_for: None,
        })
    }

    fn commitment(&self, state: &State, owner: Role) -> Result<Commitment, Error> {
        let point = match owner {
            Role::Opener => self.opener.first,
            Role::Accepter => self.accepter.first,
        };
        Commitment::new(state.ledger.channel(), owner, &point, &state.ledger.newest(owner)?)
    }

    /// Our signature for the counterparty's first commitment.
    pub(super) fn sign(&self, state: &State, keys: &BaseKeys) -> Result<types::Signature, Error> {
        state.check(keys)?;
        self.commitment(state, self.role.other())?.sign(&keys.funding).map(Into::into)
    }

    /// Takes the counterparty's signature for our first commitment in: from now on the channel is to be stored.
    fn signed(&self, mut state: State, signature: &types::Signature, effects: Vec<Effect>) -> Result<Step, Error> {
        let signature = parse(signature)?;
        self.commitment(&state, self.role)?.verify(self.role.other(), &signature)?;
        state.signed.commitment = signature;
        let held = Event::Held(state.encode());
        Ok(step(state, 0, vec![held], effects))
    }
}

fn v1_id(outpoint: OutPoint) -> Result<ChannelId, Error> {
    ChannelId::v1(outpoint).ok_or(Error::new(Code::InvalidArgument, "a funding output above 65535"))
}

/// Stands where a signature will be before anything is stored.
fn no_signature() -> Result<bitcoin::secp256k1::ecdsa::Signature, Error> {
    parse(&types::Signature([1; 64]))
}

/// What we state ourselves in either opening message.
struct Own {
    points: Basepoints,
    first: PublicKey,
    tlvs: OpenTlvs,
}

impl Own {
    fn new(terms: &Terms, keys: &BaseKeys, channel_type: ChannelType) -> Result<Self, Error> {
        // Bound to one script, whoever gets hold of this machine cannot close the channel to another.
        let upfront_shutdown_script = Some(terms.payout.clone());
        let tlvs =
            OpenTlvs { upfront_shutdown_script, channel_type: Some(features_of(channel_type)), ..OpenTlvs::default() };
        Ok(Self { points: keys.points(), first: keys.seed.point(CommitmentNumber::FIRST)?, tlvs })
    }
}

/// We asked for a channel.
pub struct Proposal {
    terms: Terms,
    wish: Wish,
    message: OpenChannel,
}

impl Proposal {
    /// Asks for a channel that we fund with `capacity`, of which `push` is the counterparty's from the start. `nonce` is 32 bytes
    /// that no other channel with this counterparty has for the moment.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for terms or amounts that BOLT 2 does not allow.
    pub fn new(
        terms: Terms,
        keys: &BaseKeys,
        nonce: [u8; 32],
        (capacity, push): (Amount, Msat),
        rate: FeeRate,
    ) -> Result<(Self, Message), Error> {
        terms.check_own()?;
        if Msat::from_amount(capacity).is_none_or(|all| push > all) {
            return refuse(Code::InvalidArgument, "more is pushed than there is");
        }
        let Own { points, first, tlvs } = Own::new(&terms, keys, terms.channel_type)?;
        let message = OpenChannel {
            chain_hash: ChainHash::using_genesis_block(terms.network),
            temporary_channel_id: ChannelId(nonce),
            funding_satoshis: capacity,
            push_msat: types::Msat(push.get()),
            dust_limit_satoshis: terms.dust_limit,
            max_htlc_value_in_flight_msat: types::Msat(terms.max_in_flight.get()),
            channel_reserve_satoshis: terms.reserve(capacity, terms.dust_limit),
            htlc_minimum_msat: types::Msat(terms.htlc_minimum.get()),
            feerate_per_kw: per_kw(rate)?,
            to_self_delay: terms.delay,
            max_accepted_htlcs: terms.max_accepted,
            funding_pubkey: points.funding,
            revocation_basepoint: points.revocation,
            payment_basepoint: points.payment,
            delayed_payment_basepoint: points.delayed,
            htlc_basepoint: points.htlc,
            first_per_commitment_point: first,
            channel_flags: ChannelFlags::default(),
            tlvs,
        };
        let proposal = Self { terms, wish: Wish { capacity, push, rate }, message: message.clone() };
        Ok((proposal, message.into()))
    }

    /// The counterparty accepted.
    ///
    /// # Errors
    /// [`Code::UnacceptableTerms`] for terms that we do not agree to.
    pub fn accepted(self, message: &AcceptChannel) -> Result<Unfunded, Error> {
        let Self { terms, wish, message: asked } = self;
        if message.temporary_channel_id != asked.temporary_channel_id {
            return refuse(Code::UnknownChannel, "an answer about another channel");
        }
        let (opener, accepter) = (Stated::by_opener(&asked)?, Stated::by_accepter(message)?);
        accepter.check(&terms, wish.capacity, opener.reserve, &opener.points)?;
        if accepter.channel_type != opener.channel_type {
            return refuse(Code::UnacceptableTerms, "another type of channel than was asked for");
        }
        let depth = terms.accept_depth(message.minimum_depth)?;
        let agreed = Agreed { terms, role: Role::Opener, wish, opener, accepter, depth };
        agreed.check()?;
        Ok(Unfunded { agreed, temporary: message.temporary_channel_id })
    }
}

/// The terms are agreed: the funding transaction can be made, but not yet broadcast.
pub struct Unfunded {
    agreed: Agreed,
    temporary: ChannelId,
}

impl Unfunded {
    /// The output to make, with a transaction all of whose inputs are SegWit.
    pub fn output(&self) -> bitcoin::TxOut {
        bitcoin::TxOut { value: self.agreed.wish.capacity, script_pubkey: self.agreed.funding_script() }
    }

    /// The transaction is made: names its output, and signs the counterparty's first commitment.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an output above 65535; [`Code::WrongKey`] for keys of another channel.
    pub fn funded(self, keys: &BaseKeys, outpoint: OutPoint) -> Result<(Pending, Message), Error> {
        let state = self.agreed.state(v1_id(outpoint)?, outpoint)?;
        let index = u16::try_from(outpoint.vout);
        let message = FundingCreated {
            temporary_channel_id: self.temporary,
            funding_txid: outpoint.txid,
            funding_output_index: index.map_err(|_| Error::new(Code::InvalidArgument, "an output above 65535"))?,
            signature: self.agreed.sign(&state, keys)?,
            tlvs: Extension::default(),
        };
        Ok((Pending { agreed: self.agreed, state }, message.into()))
    }
}

/// The counterparty's signature is missing.
pub struct Pending {
    agreed: Agreed,
    state: State,
}

impl Pending {
    /// The counterparty signed: [`super::Holder::create`] makes the machine, and the funding may be broadcast.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::UnknownChannel`].
    pub fn signed(self, message: &FundingSigned) -> Result<Step, Error> {
        if message.channel_id != self.state.id {
            return refuse(Code::UnknownChannel, "an answer about another channel");
        }
        self.agreed.signed(self.state, &message.signature, vec![Effect::Fund])
    }
}

/// The counterparty asked for a channel, and we accept.
pub struct Accepted {
    agreed: Agreed,
    temporary: ChannelId,
}

impl Accepted {
    /// Accepts what the counterparty asks for, if it fits our terms.
    ///
    /// # Errors
    /// [`Code::UnacceptableTerms`], [`Code::WrongNetwork`].
    pub fn new(terms: Terms, keys: &BaseKeys, message: &OpenChannel) -> Result<(Self, Message), Error> {
        terms.check_own()?;
        if message.chain_hash != ChainHash::using_genesis_block(terms.network) {
            return refuse(Code::WrongNetwork, "a channel on another chain");
        }
        let opener = Stated::by_opener(message)?;
        let Own { points, first, tlvs } = Own::new(&terms, keys, opener.channel_type)?;
        let capacity = message.funding_satoshis;
        let reserve = terms.reserve(capacity, message.dust_limit_satoshis);
        opener.check(&terms, capacity, reserve, &points)?;
        let push = Msat::new(message.push_msat.0);
        let push = push.ok_or(Error::new(Code::UnacceptableTerms, "more is pushed than there is"))?;
        let answer = AcceptChannel {
            temporary_channel_id: message.temporary_channel_id,
            dust_limit_satoshis: terms.dust_limit,
            max_htlc_value_in_flight_msat: types::Msat(terms.max_in_flight.get()),
            channel_reserve_satoshis: reserve,
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
            tlvs,
        };
        let (accepter, depth) = (Stated::by_accepter(&answer)?, terms.depth);
        let wish = Wish { capacity, push, rate: message.feerate_per_kw.into() };
        let agreed = Agreed { terms, role: Role::Accepter, wish, opener, accepter, depth };
        agreed.check()?;
        Ok((Self { agreed, temporary: message.temporary_channel_id }, answer.into()))
    }

    /// The counterparty named the funding: [`super::Holder::create`] makes the machine, and our signature is sent.
    ///
    /// # Errors
    /// [`Code::InvalidSignature`], [`Code::UnknownChannel`], [`Code::WrongKey`] for keys of another channel.
    pub fn funded(self, keys: &BaseKeys, message: &FundingCreated) -> Result<Step, Error> {
        if message.temporary_channel_id != self.temporary {
            return refuse(Code::UnknownChannel, "a funding of another channel");
        }
        let outpoint = OutPoint { txid: message.funding_txid, vout: message.funding_output_index.into() };
        let state = self.agreed.state(v1_id(outpoint)?, outpoint)?;
        let signature = self.agreed.sign(&state, keys)?;
        let answer = FundingSigned { channel_id: state.id, signature, tlvs: Extension::default() };
        self.agreed.signed(state, &message.signature, vec![Effect::Send(Box::new(answer.into()))])
    }
}
