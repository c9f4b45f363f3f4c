//! A channel in use (BOLT 2, "Normal Operation"): payments come and go, signatures and revocations follow.

use bitcoin::FeeRate;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::ecdsa::Signature;
use rillpay_wire::messages::{
    CommitmentSigned, CommitmentSignedTlvs, DirectPayment, Extension, RemoveHtlcTlvs, RevokeAndAck, UpdateAddHtlc,
    UpdateAddHtlcTlvs, UpdateFailHtlc, UpdateFailMalformedHtlc, UpdateFee, UpdateFulfillHtlc,
};
use rillpay_wire::types::{self, FeeratePerKw, HtlcId, OnionPacket};

use crate::amount::Msat;
use crate::error::{Code, Error, refuse};
use crate::revocable::commitment::{Commitment, Htlc, State};
use crate::revocable::holder::draft::Draft;
use crate::revocable::holder::state::{Failure, Link, MAX_OUTCOMES, Signed};
use crate::revocable::holder::terms::per_kw;
use crate::revocable::holder::{Effect, Event};
use crate::revocable::htlc::Preimage;
use crate::revocable::number::CommitmentNumber;
use crate::revocable::secrets::CommitmentSecret;
use crate::revocable::updates::{Settled, Update};

/// A failure code of an onion that could not be read has this bit (BOLT 4).
const BADONION: u16 = 0x8000;

/// A payment to be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// How much.
    pub amount: Msat,
    /// What its preimage hashes to.
    pub payment_hash: sha256::Hash,
    /// The block height at which we take it back.
    pub expiry: u32,
    /// Where it is to go from the counterparty (BOLT 4).
    pub onion: OnionPacket,
}

impl Draft<'_> {
    // ---- what we propose ----

    pub(super) fn offer(&mut self, payment: &Payment) -> Result<(), Error> {
        if !self.state.is_open() {
            return refuse(Code::Unavailable, "the channel takes no payments now");
        }
        let (own, ledger) = (self.own(), &mut self.state.ledger);
        if self.state.outcomes.len().saturating_add(ledger.offered(own).count()) >= MAX_OUTCOMES {
            return refuse(Code::RateLimited, "too many ended payments that were not taken in");
        }
        let Payment { amount, payment_hash, expiry, ref onion } = *payment;
        let (id, update) = (ledger.next_id(own), Update::Add(Htlc { offered_by: own, amount, payment_hash, expiry }));
        ledger.propose_own(own, &update)?;
        self.state.sent.insert(id, onion.clone());
        self.effects.push(Effect::Offered(id));
        self.send_update(&update, Some(id))
    }

    pub(super) fn fulfill(&mut self, id: u64, preimage: Preimage) -> Result<(), Error> {
        let own = self.own();
        let Some((_, htlc)) = self.state.ledger.received(own).find(|(of, _)| *of == id) else {
            return refuse(Code::UnknownHtlc, "there is no such payment to end");
        };
        if sha256::Hash::hash(&preimage) != htlc.payment_hash {
            return refuse(Code::WrongPreimage, "this is not the preimage of that payment");
        }
        self.state.preimages.insert(id, preimage);
        self.durable = true;
        self.claim()
    }

    /// The caller has taken in how this payment of ours ended.
    pub(super) fn acknowledge(&mut self, id: u64) -> Result<(), Error> {
        if self.state.outcomes.remove(&id).is_none() {
            return refuse(Code::UnknownHtlc, "no payment with this number has ended");
        }
        self.durable = true;
        Ok(())
    }

    /// Says what we have the preimages of and have not said, or not with a signature before the connection broke.
    pub(super) fn claim(&mut self) -> Result<(), Error> {
        if self.state.link != Link::Up || self.state.has_failed() {
            return Ok(());
        }
        let waiting = self.state.ledger.received(self.own());
        let known = waiting.filter_map(|(id, _)| Some(Update::Fulfill(id, *self.state.preimages.get(&id)?)));
        for update in known.collect::<Vec<_>>() {
            self.end(&update)?;
        }
        Ok(())
    }

    pub(super) fn send_back(&mut self, id: u64, failure: Failure) -> Result<(), Error> {
        let failure = match failure {
            Failure::Malformed(_, code) if code & BADONION == 0 => {
                return refuse(Code::InvalidArgument, "an onion that could not be read has another code");
            }
            Failure::Reason(reason) => Failure::reason(&reason),
            malformed => malformed,
        };
        self.state.sent_back.insert(id, failure);
        self.end(&Update::Fail(id))
    }

    pub(super) fn set_fee(&mut self, rate: FeeRate) -> Result<(), Error> {
        per_kw(rate)?;
        if self.state.is_closing() {
            return refuse(Code::Closing, "the closing transaction has a fee of its own");
        }
        self.check_updatable()?;
        let update = Update::Fee(rate);
        self.state.ledger.propose_own(self.own(), &update)?;
        self.send_update(&update, None)
    }

    pub(super) fn pay(&mut self, amount: Msat) -> Result<(), Error> {
        if !self.state.is_open() || !self.state.direct {
            return refuse(Code::Unavailable, "the channel takes no direct payments now");
        }
        let update = Update::Pay(amount);
        self.state.ledger.propose_own(self.own(), &update)?;
        self.send_update(&update, None)
    }

    /// Ends a payment to us, one way or the other.
    fn end(&mut self, update: &Update) -> Result<(), Error> {
        self.check_updatable()?;
        self.state.ledger.propose(self.own(), update.clone())?;
        self.send_update(update, None)
    }

    fn check_updatable(&self) -> Result<(), Error> {
        if self.state.link != Link::Up || !self.state.is_ready() || self.state.has_failed() {
            return refuse(Code::Unavailable, "the counterparty is not connected");
        }
        Ok(())
    }

    /// Says an update, the first time or again. `id` is that of a payment offered.
    pub(super) fn send_update(&mut self, update: &Update, id: Option<u64>) -> Result<(), Error> {
        let (channel_id, lost) = (self.state.id, Error::new(Code::CorruptedStore, "an update cannot be said again"));
        match update {
            Update::Add(htlc) => {
                let message = self.add_message(id.ok_or(lost)?, htlc)?;
                self.send(message);
            }
            Update::Fulfill(id, preimage) => self.send(UpdateFulfillHtlc {
                channel_id,
                id: HtlcId(*id),
                payment_preimage: types::Preimage(*preimage),
                tlvs: RemoveHtlcTlvs::default(),
            }),
            Update::Fail(id) => match self.state.sent_back.get(id).cloned().ok_or(lost)? {
                Failure::Reason(reason) => {
                    self.send(UpdateFailHtlc { channel_id, id: HtlcId(*id), reason, tlvs: RemoveHtlcTlvs::default() })
                }
                Failure::Malformed(sha256_of_onion, failure_code) => self.send(UpdateFailMalformedHtlc {
                    channel_id,
                    id: HtlcId(*id),
                    sha256_of_onion,
                    failure_code,
                    tlvs: Extension::default(),
                }),
            },
            Update::Fee(rate) => {
                let rate = u32::try_from(rate.to_sat_per_kwu()).map_err(|_| lost)?;
                self.send(UpdateFee { channel_id, feerate_per_kw: FeeratePerKw(rate), tlvs: Extension::default() });
            }
            Update::Pay(amount) => {
                let amount_msat = types::Msat(amount.get());
                self.send(DirectPayment { channel_id, amount_msat, tlvs: Extension::default() });
            }
        }
        Ok(())
    }

    fn add_message(&self, id: u64, htlc: &Htlc) -> Result<UpdateAddHtlc, Error> {
        let onion = self.state.sent.get(&id).ok_or(Error::new(Code::CorruptedStore, "an onion is missing"))?;
        Ok(UpdateAddHtlc {
            channel_id: self.state.id,
            id: HtlcId(id),
            amount_msat: types::Msat(htlc.amount.get()),
            payment_hash: htlc.payment_hash,
            cltv_expiry: htlc.expiry,
            onion_routing_packet: onion.clone(),
            tlvs: UpdateAddHtlcTlvs::default(),
        })
    }

    // ---- what the counterparty proposes ----

    pub(super) fn add(&mut self, message: &UpdateAddHtlc) -> Result<(), Error> {
        let other = self.other();
        if self.state.shutdown_received.is_some() {
            return refuse(Code::Closing, "a payment after the shutdown");
        }
        if message.id.0 != self.state.ledger.next_id(other) {
            return refuse(Code::UnknownHtlc, "payments are numbered one after the other");
        }
        let amount = Msat::new(message.amount_msat.0).ok_or(Error::new(Code::Unaffordable, "more than all money"))?;
        let (payment_hash, expiry) = (message.payment_hash, message.cltv_expiry);
        self.state.ledger.propose(other, Update::Add(Htlc { offered_by: other, amount, payment_hash, expiry }))?;
        self.state.onions.insert(message.id.0, message.onion_routing_packet.clone());
        Ok(())
    }

    pub(super) fn fulfilled(&mut self, message: &UpdateFulfillHtlc) -> Result<(), Error> {
        let (id, preimage) = (message.id.0, message.payment_preimage.0);
        self.state.ledger.propose(self.other(), Update::Fulfill(id, preimage))?;
        self.effects.push(Effect::Preimage(id, preimage));
        Ok(())
    }

    pub(super) fn malformed(&mut self, message: &UpdateFailMalformedHtlc) -> Result<(), Error> {
        if message.failure_code & BADONION == 0 {
            return refuse(Code::MalformedMessage, "an onion that could not be read has another code");
        }
        self.came_back(message.id, Failure::Malformed(message.sha256_of_onion, message.failure_code))
    }

    pub(super) fn came_back(&mut self, id: HtlcId, failure: Failure) -> Result<(), Error> {
        self.state.ledger.propose(self.other(), Update::Fail(id.0))?;
        self.state.failures.insert(id.0, failure);
        Ok(())
    }

    pub(super) fn fee(&mut self, message: &UpdateFee) -> Result<(), Error> {
        let (rate, (least, most)) = (FeeRate::from(message.feerate_per_kw), self.state.rates);
        if rate < least || rate > most {
            return refuse(Code::UnacceptableTerms, "a fee rate that nobody would pay, or that no miner would take");
        }
        self.state.ledger.propose(self.other(), Update::Fee(rate))
    }

    pub(super) fn paid(&mut self, message: &DirectPayment) -> Result<(), Error> {
        if !self.state.direct {
            return refuse(Code::UnexpectedMessage, "direct payments were not agreed on");
        }
        if self.state.shutdown_received.is_some() {
            return refuse(Code::Closing, "a payment after the shutdown");
        }
        let amount = Msat::new(message.amount_msat.0).ok_or(Error::new(Code::Unaffordable, "more than all money"))?;
        self.state.ledger.propose(self.other(), Update::Pay(amount))
    }

    // ---- signatures and revocations ----

    /// Signs the counterparty's next commitment, if there is anything to sign for.
    pub(super) fn sign_if_due(&mut self) -> Result<(), Error> {
        let own = self.own();
        if self.state.link != Link::Up || self.state.end.is_some() || !self.state.ledger.can_sign(own) {
            return Ok(());
        }
        let Some(next) = self.state.points.next.take() else {
            return Ok(());
        };
        self.state.revoking = Some(self.state.ledger.newest(self.other())?);
        let signed = self.state.ledger.sign(own)?;
        self.state.points.revoking = Some(self.state.points.newest);
        self.state.points.newest = next;
        self.durable = true;
        self.send_signature(&signed)
    }

    /// Signs for everything that we have proposed, or for nothing.
    pub(super) fn sign_now(&mut self) -> Result<(), Error> {
        self.sign_if_due()?;
        if self.state.ledger.has_unsigned(self.own()) {
            return refuse(Code::Unavailable, "the counterparty owes a revocation");
        }
        Ok(())
    }

    /// The signature of the counterparty's newest commitment, the first time or again: it is always the same.
    pub(super) fn send_signature(&mut self, newest: &State) -> Result<(), Error> {
        let commitment = self.build(self.other(), newest)?;
        let message = self.signature(&commitment)?;
        self.send(message);
        Ok(())
    }

    fn signature(&self, commitment: &Commitment) -> Result<CommitmentSigned, Error> {
        let key = self.keys.htlc_at(&commitment.keys.point)?;
        let htlcs = commitment.htlc_transactions();
        let htlc_signatures = htlcs.iter().map(|htlc| htlc.sign(&key).map(types::Signature::from));
        Ok(CommitmentSigned {
            channel_id: self.state.id,
            signature: commitment.sign(&self.keys.funding)?.into(),
            htlc_signatures: htlc_signatures.collect::<Result<_, _>>()?,
            tlvs: CommitmentSignedTlvs::default(),
        })
    }

    pub(super) fn commitment_signed(&mut self, message: &CommitmentSigned) -> Result<(), Error> {
        let (own, other) = (self.own(), self.other());
        let state = self.state.ledger.sign(other)?;
        let commitment = self.build(own, &state)?;
        self.state.signed = verified(&commitment, message)?;
        // The newer one is ours now: the one before can be given up.
        let (revoked, settled) = self.state.ledger.revoke(own)?;
        self.durable = true;
        self.send_revocation(revoked)?;
        self.settle(settled);
        self.sign_if_due()?;
        self.shut_down_if_due()
    }

    /// The revocation of our commitment with this number, the first time or again.
    pub(super) fn send_revocation(&mut self, revoked: CommitmentNumber) -> Result<(), Error> {
        let after = revoked.next().and_then(CommitmentNumber::next);
        let after = after.ok_or(Error::new(Code::UpdatesSpent, "the channel has no commitment numbers left"))?;
        let message = RevokeAndAck {
            channel_id: self.state.id,
            per_commitment_secret: types::CommitmentSecret(self.keys.seed.secret(revoked)?.to_bytes()),
            next_per_commitment_point: self.own_point(after)?,
            tlvs: Extension::default(),
        };
        self.send(message);
        Ok(())
    }

    pub(super) fn revoke_and_ack(&mut self, message: &RevokeAndAck) -> Result<(), Error> {
        let Some(point) = self.state.points.revoking.take() else {
            return refuse(Code::UnexpectedMessage, "there is no commitment to revoke");
        };
        let secret = CommitmentSecret::new(message.per_commitment_secret.0);
        secret.verify(&point)?;
        let (revoked, settled) = self.state.ledger.revoke(self.other())?;
        self.state.secrets.insert(revoked, secret)?;
        self.state.points.next = Some(message.next_per_commitment_point);
        self.archive.extend(self.state.revoking.take().map(Event::Revoked));
        self.durable = true;
        self.settle(settled);
        self.sign_if_due()?;
        self.shut_down_if_due()
    }

    /// Tells what holds for good now.
    fn settle(&mut self, settled: Vec<Settled>) {
        for one in settled {
            match one {
                Settled::Added(id, htlc) if htlc.offered_by == self.other() => {
                    let onion = self.state.onions.get(&id).cloned();
                    self.effects.extend(onion.map(|onion| Effect::Received(id, htlc, onion)));
                }
                Settled::Removed(id, htlc, preimage) if htlc.offered_by == self.own() => {
                    let failure = self.state.failures.remove(&id).unwrap_or(Failure::Reason(vec![]));
                    let outcome = preimage.ok_or(failure);
                    self.state.outcomes.insert(id, outcome.clone());
                    self.effects.push(Effect::Resolved(id, htlc, outcome));
                }
                Settled::Paid(by, amount) if by == self.other() => {
                    self.state.taken = self.state.taken.saturating_add(amount.get());
                    self.effects.push(Effect::Paid(amount));
                }
                Settled::Paid(_, amount) => {
                    self.state.given = self.state.given.saturating_add(amount.get());
                    self.effects.push(Effect::Given(amount));
                }
                Settled::Added(..) | Settled::Removed(..) => {}
            }
        }
        self.state.prune();
    }
}

/// The counterparty's signatures for our commitment, all of them good.
pub(super) fn verified(commitment: &Commitment, message: &CommitmentSigned) -> Result<Signed, Error> {
    let by = commitment.owner.other();
    let signature = parse(&message.signature)?;
    commitment.verify(by, &signature)?;
    let transactions = commitment.htlc_transactions();
    if transactions.len() != message.htlc_signatures.len() {
        return refuse(Code::InvalidSignature, "another number of signatures than there are payments");
    }
    let verified = transactions.iter().zip(&message.htlc_signatures).map(|(transaction, signature)| {
        let signature = parse(signature)?;
        transaction.verify(&signature).map(|()| signature)
    });
    Ok(Signed { commitment: signature, htlcs: verified.collect::<Result<_, _>>()? })
}

pub(super) fn parse(signature: &types::Signature) -> Result<Signature, Error> {
    signature.parse().map_err(|_| Error::new(Code::InvalidSignature, "the signature is none"))
}
