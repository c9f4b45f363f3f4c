//! A connection taken up again (BOLT 2, "Message Retransmission"): who has got what, what is said again, and who has lost
//! what they knew.

use rillpay_wire::messages::{ChannelReestablish, ChannelReestablishTlvs, ErrorMessage};
use rillpay_wire::types::CommitmentSecret;

use crate::error::{Code, Error, refuse};
use crate::revocable::holder::Effect;
use crate::revocable::holder::draft::Draft;
use crate::revocable::holder::state::{End, Link};
use crate::revocable::number::CommitmentNumber;
use crate::revocable::updates::Update;

impl Draft<'_> {
    pub(super) fn connected(&mut self, direct: bool) -> Result<(), Error> {
        self.disconnect();
        self.state.direct = direct;
        if self.state.end == Some(End::Aborted) {
            // Whoever still knows of it asks.
            self.state.link = Link::Asked;
            return Ok(());
        }
        if self.state.has_failed() {
            self.send(ErrorMessage::new(self.state.id, "the channel has failed"));
            return Ok(());
        }
        let own = self.own();
        let (ours, revoked) = (self.state.ledger.number(own).get(), self.revoked_by_counterparty());
        let last = revoked.checked_sub(1).and_then(CommitmentNumber::new);
        let last = last.and_then(|last| self.state.secrets.get(last)).map_or([0; 32], |secret| secret.to_bytes());
        // Any valid point does since static remote keys; this one is nobody's secret.
        let point = self.state.ledger.channel().party(own).points.payment;
        self.send(ChannelReestablish {
            channel_id: self.state.id,
            next_commitment_number: ours.saturating_add(1),
            next_revocation_number: revoked,
            your_last_per_commitment_secret: CommitmentSecret(last),
            my_current_per_commitment_point: point,
            tlvs: ChannelReestablishTlvs { next_funding: self.state.next_funding(), ..Default::default() },
        });
        self.state.link = Link::Asked;
        Ok(())
    }

    /// How many commitments the counterparty has revoked.
    fn revoked_by_counterparty(&self) -> u64 {
        self.state.secrets.next().map_or(CommitmentNumber::MAX.get(), CommitmentNumber::get)
    }

    pub(super) fn reestablish(&mut self, message: &ChannelReestablish) -> Result<(), Error> {
        let (own, other) = (self.own(), self.other());
        // What we have revoked, and what we have signed for.
        let revoked = self.state.ledger.number(own).get();
        let signed = self.state.ledger.number(other).get();
        let ChannelReestablish { next_commitment_number, next_revocation_number, .. } = *message;

        if next_commitment_number == 0 && self.may_have_closed() {
            // It knows of no such channel any more: our last word reached it, and the closing transaction is on its way.
            self.is_gone();
            return Ok(());
        }
        // Whoever names a secret of ours has got it from us: it says how far we were. Nothing is named before the first.
        let expected = match next_revocation_number.checked_sub(1) {
            None => Some([0; 32]),
            Some(named) => {
                let secret = CommitmentNumber::new(named).and_then(|named| self.keys.seed.secret(named).ok());
                secret.map(|secret| secret.to_bytes())
            }
        };
        let proven = expected == Some(message.your_last_per_commitment_secret.0);
        if next_revocation_number > revoked {
            if !proven {
                return refuse(Code::InvalidSecret, "the counterparty claims a future that it does not prove");
            }
            self.state.is_copy = true;
            self.state.end = Some(End::FellBehind);
            self.durable = true;
            self.send(ErrorMessage::new(self.state.id, "we have lost what we knew: please broadcast your commitment"));
            self.effects.push(Effect::Ended(End::FellBehind));
            return Ok(());
        }
        if !proven {
            return refuse(Code::InvalidSecret, "the counterparty names a secret that is not ours");
        }
        let lost_revocation = next_revocation_number.checked_add(1) == Some(revoked);
        let lost_signature = next_commitment_number == signed && signed > 0;
        if !lost_revocation && next_revocation_number != revoked {
            return refuse(Code::PeerBehind, "the counterparty has lost what it knew");
        }
        if !lost_signature && Some(next_commitment_number) != signed.checked_add(1) {
            return refuse(Code::PeerBehind, "the counterparty has lost what it knew, or claims what it never had");
        }

        self.state.link = Link::Up;
        self.state.gone_for = None;
        if next_commitment_number == 1 && revoked == 0 && self.state.ready_sent {
            self.send_ready()?;
        }
        self.resume(message.tlvs.next_funding.as_ref())?;
        if self.state.has_failed() {
            return Ok(());
        }
        let revocation_last = self.state.ledger.revoked_last(own);
        let lost = CommitmentNumber::new(next_revocation_number).filter(|_| lost_revocation);
        if let Some(number) = lost.filter(|_| !revocation_last) {
            self.send_revocation(number)?;
        }
        if lost_signature {
            let mut id = self.state.ledger.first_unacknowledged(own);
            for update in self.state.ledger.to_retransmit(own).to_vec() {
                self.send_update(&update, Some(id))?;
                if matches!(update, Update::Add(_)) {
                    id = id.saturating_add(1);
                }
            }
            self.send_signature(&self.state.ledger.newest(self.other())?)?;
        }
        if let Some(number) = lost.filter(|_| revocation_last) {
            self.send_revocation(number)?;
        }
        if self.state.shutdown_sent {
            self.send_shutdown();
        }
        self.claim()?;
        self.sign_if_due()?;
        self.shut_down_if_due()
    }
}
