//! What a transaction that spends the funding means to the holder, and what it takes from it (BOLT 5).
//!
//! | who broadcast what | the holder takes |
//! | --- | --- |
//! | its own newest commitment | its balance and its second stages after the delay |
//! | the counterparty's newest, or the one before as long as it is not revoked | its balance a block later, payments with their preimages or after their expiry |
//! | a revoked one | everything, of either stage, at once |
//! | a commitment that it does not know: it lost what it knew | its balance |
//! | the closing transaction | nothing: it pays its script already |

use bitcoin::Transaction;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, ecdsa::Signature};

use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::revocable::channel::{Channel, Role};
use crate::revocable::claim::{self, Claim, Confirmed, to_remote};
use crate::revocable::commitment::{Commitment, Htlc};
use crate::revocable::fees::{LEAST_RATE, Stage};
use crate::revocable::holder::Holder;
use crate::revocable::holder::state::State;
use crate::revocable::htlc::{HtlcTransaction, Preimage, find_preimage};
use crate::revocable::keys::BaseKeys;
use crate::revocable::lift::Lift;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::penalty::Revoked;
use crate::spend::sum;

/// How many blocks after its expiry a payment of ours should be back: the least difference of expiries that forwarders keep
/// is larger (BOLT 2, "`cltv_expiry_delta` Selection").
const TO_TAKE_BACK: u32 = 18;

/// What was broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// A closing transaction, or something else that both signed.
    Agreed,
    /// A commitment of ours: the newest, or one that we have lost what we knew about.
    Ours,
    /// A commitment of the counterparty's that it may broadcast.
    Theirs(CommitmentNumber),
    /// A commitment of the counterparty's that it had revoked.
    Cheat(CommitmentNumber),
    /// A commitment of the counterparty's that we know nothing of: we have lost what we knew.
    Unknown(CommitmentNumber),
}

/// A channel whose funding was spent.
pub struct OnChain<'k> {
    spending: Spending,
    channel: Channel,
    role: Role,
    keys: &'k BaseKeys,
    /// The payments in the commitment.
    htlcs: Vec<Htlc>,
    preimages: Vec<Preimage>,
    way: Way,
}

/// The keys that take what there is.
enum Way {
    Nothing,
    Ours { point: PublicKey, delayed: Key, second: Vec<(HtlcTransaction, Signature)> },
    Theirs { point: PublicKey, htlc: Key },
    Cheat(Box<Revoked>),
}

/// A second-stage transaction of ours, that the counterparty has signed.
pub struct SecondStage<'c> {
    /// To be signed with [`HtlcTransaction::sign_in`], in a transaction that pays the fee: see [`OnChain::second`].
    pub transaction: &'c HtlcTransaction,
    /// The counterparty's signature.
    pub theirs: Signature,
    /// What HTLC-success needs.
    pub preimage: Option<Preimage>,
}

impl Holder {
    /// The channel as it stands once this transaction has spent its funding. `revoked` gives the payments of a revoked commitment,
    /// as [`super::Event::Revoked`] kept them.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a transaction that does not spend the funding, [`Code::WrongKey`] for keys of another
    /// channel.
    pub fn spent<'k>(
        &self,
        keys: &'k BaseKeys,
        transaction: &Transaction,
        revoked: impl FnOnce(CommitmentNumber) -> Vec<Htlc>,
    ) -> Result<OnChain<'k>, Error> {
        let (channel, role) = (*self.channel(), self.role());
        if transaction.input.iter().all(|input| input.previous_output != channel.funding.outpoint) {
            return refuse(Code::InvalidArgument, "this transaction does not spend the funding");
        }
        self.state.check(keys)?;
        let preimages = self.state.preimages.values().copied().collect();
        let of = |spending, htlcs, way| OnChain { spending, channel, role, keys, htlcs, preimages, way };
        Ok(match self.state.whose(keys, transaction)? {
            Whose::Nobodys => of(Spending::Agreed, vec![], Way::Nothing),
            Whose::Ours(commitment, htlcs) => {
                let point = commitment.keys.point;
                let signatures = self.state.signed.htlcs.iter().copied();
                let second = commitment.htlc_transactions().into_iter().zip(signatures).collect();
                of(Spending::Ours, htlcs, Way::Ours { point, delayed: keys.delayed_at(&point)?, second })
            }
            Whose::Lost(_, point) => {
                let way = Way::Ours { point, delayed: keys.delayed_at(&point)?, second: vec![] };
                of(Spending::Ours, vec![], way)
            }
            Whose::Theirs(number, point, htlcs) => {
                of(Spending::Theirs(number), htlcs, Way::Theirs { point, htlc: keys.htlc_at(&point)? })
            }
            Whose::Cheat(cheat) => {
                let number = cheat.number();
                of(Spending::Cheat(number), revoked(number), Way::Cheat(cheat))
            }
            Whose::Unknown(number) => of(Spending::Unknown(number), vec![], Way::Nothing),
        })
    }
}

/// Whose commitment it is that spends the funding.
pub(super) enum Whose {
    /// A closing transaction.
    Nobodys,
    /// Our newest, with its payments.
    Ours(Box<Commitment>, Vec<Htlc>),
    /// Another one of ours, made with this point of ours.
    Lost(CommitmentNumber, PublicKey),
    /// One that the counterparty may broadcast, made with this point of its own, and its payments.
    Theirs(CommitmentNumber, PublicKey, Vec<Htlc>),
    Cheat(Box<Revoked>),
    /// One that we did not sign, as far as we know.
    Unknown(CommitmentNumber),
}

impl State {
    /// Recognises what spends the funding. What is known for certain comes first: both sides' commitments have the same numbers,
    /// and a guess must let no cheat pass for something else.
    pub(super) fn whose(&self, keys: &BaseKeys, transaction: &Transaction) -> Result<Whose, Error> {
        let (channel, role, other) = (self.ledger.channel(), self.role, self.role.other());
        let Some(number) = channel.obscuring().read(transaction) else { return Ok(Whose::Nobodys) };
        let txid = transaction.compute_txid();
        let own = self.ledger.newest(role)?;
        let commitment = self.build(keys, role, &own)?;
        if commitment.transaction.compute_txid() == txid {
            return Ok(Whose::Ours(Box::new(commitment), own.htlcs));
        }
        let newest = (self.points.newest, self.ledger.newest(other)?);
        let revoking = self.points.revoking.zip(self.revoking.clone());
        for (point, state) in std::iter::once(newest).chain(revoking) {
            if Commitment::new(channel, other, &point, &state)?.transaction.compute_txid() == txid {
                return Ok(Whose::Theirs(number, point, state.htlcs));
            }
        }
        // Where we have lost what we knew about a commitment of ours, its number is enough to take our balance.
        if let Ok(point) = keys.seed.point(number) {
            let to_local = channel.to_local(role, &channel.keys(role, &point)?).to_p2wsh();
            if transaction.output.iter().any(|output| output.script_pubkey == to_local) {
                return Ok(Whose::Lost(number, point));
            }
        }
        let cheat = Revoked::detect(channel, other, transaction, &self.secrets, keys)?;
        Ok(cheat.map_or(Whose::Unknown(number), |cheat| Whose::Cheat(Box::new(cheat))))
    }

    /// Whether this spend of the funding shows that we have lost what we knew.
    pub(super) fn is_beyond(&self, keys: &BaseKeys, transaction: &Transaction) -> Result<bool, Error> {
        Ok(match self.whose(keys, transaction)? {
            Whose::Unknown(_) => true,
            Whose::Lost(number, _) => number > self.ledger.newest(self.role)?.number,
            Whose::Nobodys | Whose::Ours(..) | Whose::Theirs(..) | Whose::Cheat(_) => false,
        })
    }
}

impl OnChain<'_> {
    /// What was broadcast.
    pub const fn spending(&self) -> Spending {
        self.spending
    }

    /// The payments in the commitment, whoever offers them.
    pub fn htlcs(&self) -> &[Htlc] {
        &self.htlcs
    }

    /// A preimage that became known since, from another channel: it takes what we receive here, too.
    pub fn learn(&mut self, preimage: Preimage) {
        self.preimages.push(preimage);
    }

    /// What we may take from the commitment, or from a transaction that spends one of its outputs, each when its
    /// [`Claim::delay`] and [`Claim::lock`] are over.
    ///
    /// # Errors
    /// None in practice: the keys are those of the channel.
    pub fn claims(&self, transaction: &Transaction) -> Result<Vec<Claim<'_>>, Error> {
        let mut claims = match &self.way {
            Way::Nothing => vec![],
            Way::Ours { point, delayed, .. } => {
                Confirmed::new(&self.channel, self.role, point, transaction)?.delayed(delayed)?
            }
            Way::Theirs { point, htlc } => {
                let confirmed = Confirmed::new(&self.channel, self.role.other(), point, transaction)?;
                confirmed.htlcs(&self.htlcs, |hash| self.preimage(hash), htlc)?
            }
            Way::Cheat(revoked) => revoked.claims(transaction, &self.htlcs),
        };
        if self.spending != Spending::Ours {
            claims.extend(to_remote(self.channel.channel_type, transaction, &self.keys.payment));
        }
        Ok(claims)
    }

    /// What it takes to have this commitment confirm sooner, by our anchor in it. `None` where there is none, or nothing to be
    /// had from it: a closing transaction, a cheat's commitment.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a transaction that pays out more than the channel holds.
    pub fn lift(&self, commitment: &Transaction) -> Result<Option<Lift<'_>>, Error> {
        if !matches!(self.spending, Spending::Ours | Spending::Theirs(_)) {
            return Ok(None);
        }
        let Some(anchor) = claim::anchor(commitment, &self.keys.funding).pop() else { return Ok(None) };
        let paid = sum(commitment.output.iter().map(|output| output.value))?;
        let fee = self.channel.funding.capacity.checked_sub(paid);
        let fee = fee.ok_or(Error::new(Code::InvalidArgument, "the outputs hold more than the channel"))?;
        let claims = self.claims(commitment)?;
        let second = self.second_stages().map(|stage| stage.transaction.htlc.value());
        let stake = sum(claims.iter().map(Claim::value).chain(second))?;
        let owner = if self.spending == Spending::Ours { self.role } else { self.role.other() };
        let (kind, dust_limit) = (self.channel.channel_type, self.channel.party(owner).dust_limit);
        // With anchors the fee rate has no part in that.
        let made = self.htlcs.iter().filter(|htlc| !kind.is_trimmed(htlc, owner, dust_limit, LEAST_RATE));
        let ends = made.filter_map(|htlc| {
            if htlc.offered_by == self.role {
                return Some(htlc.expiry.saturating_add(TO_TAKE_BACK));
            }
            self.preimage(&htlc.payment_hash).map(|_| htlc.expiry)
        });
        Ok(Some(Lift { anchor, fee, weight: commitment.weight(), stake, due: ends.min() }))
    }

    /// The second stages of our own commitment that we can use: HTLC-success with a preimage that we know, HTLC-timeout from its
    /// expiry on.
    pub fn second_stages(&self) -> impl Iterator<Item = SecondStage<'_>> {
        let all: &[_] = match &self.way {
            Way::Ours { second, .. } => second,
            _ => &[],
        };
        all.iter().filter_map(|(transaction, theirs)| {
            let preimage = match transaction.stage {
                Stage::Success => Some(self.preimage(&transaction.htlc.payment_hash)?),
                Stage::Timeout => None,
            };
            Some(SecondStage { transaction, theirs: *theirs, preimage })
        })
    }

    /// Our keys, and the point of the commitment, where it is ours.
    pub(super) const fn own_keys(&self) -> Option<(&BaseKeys, PublicKey)> {
        match &self.way {
            Way::Ours { point, .. } => Some((self.keys, *point)),
            _ => None,
        }
    }

    pub(super) const fn has_anchors(&self) -> bool {
        self.channel.channel_type.has_anchors()
    }

    /// The preimages of payments of ours that this transaction shows: what we received for them upstream can be taken with them.
    pub fn shown_by(&self, transaction: &Transaction) -> Vec<Preimage> {
        let ours = self.htlcs.iter().filter(|htlc| htlc.offered_by == self.role);
        ours.filter_map(|htlc| find_preimage(transaction, &htlc.payment_hash)).collect()
    }

    fn preimage(&self, hash: &sha256::Hash) -> Option<Preimage> {
        self.preimages.iter().copied().find(|preimage| sha256::Hash::hash(preimage) == *hash)
    }
}
