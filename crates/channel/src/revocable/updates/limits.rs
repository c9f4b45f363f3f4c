//! What an update has to keep to: the bounds that each party set when the channel opened, its reserve, and the fee.

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, FeeRate};

use crate::amount::Msat;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::Role;
use crate::revocable::commitment::{Htlc, State};
use crate::revocable::updates::{Entry, Step, Update, Updates, unaffordable};

/// The most that `max_accepted_htlcs` may be (BOLT 2).
pub const MAX_ACCEPTED: u16 = 483;

/// The bounds for one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What this party always keeps, so that it has something to lose: the `channel_reserve_satoshis` that its *peer* set.
    pub reserve: Amount,
    /// `htlc_minimum_msat`: the least payment that this party accepts.
    pub htlc_minimum: Msat,
    /// `max_htlc_value_in_flight_msat`: the most that may be under way to this party.
    pub max_in_flight: Msat,
    /// `max_accepted_htlcs`: how many payments may be under way to this party; no more than [`MAX_ACCEPTED`].
    pub max_accepted: u16,
}

impl Updates {
    /// `by`, who is us, proposes an update, and keeps to more than the other holds it to: with everything that both have
    /// proposed each commitment leaves it its reserve, and the opener its reserve and the fee. An opener who adds to what is
    /// under way keeps twice the fee and room for one payment more, so that a rise of the fee, or payments that cross on the
    /// way, do not block the channel (BOLT 2). The ledger may have changed where that is refused.
    ///
    /// # Errors
    /// As [`Updates::propose`].
    pub(crate) fn propose_own(&mut self, by: Role, update: &Update) -> Result<(), Error> {
        self.propose(by, update.clone())?;
        let spare = u64::from(by == Role::Opener && !matches!(update, Update::Fee(_)));
        for owner in [by, by.other()] {
            let mut state = self.state(self.side(owner).newest, |_, _| true)?;
            state.fee_rate = state.fee_rate.checked_mul(spare.saturating_add(1)).ok_or(unaffordable())?;
            let cost = self.cost(&state, owner, spare)?;
            for role in [by, Role::Opener] {
                let fee = if role == Role::Opener { cost } else { Amount::ZERO };
                // Who gives the opener something takes nothing from its reserve.
                let keeps = role == by || matches!(update, Update::Add(_));
                let reserve = if keeps { self.side(role).limits.reserve } else { Amount::ZERO };
                let needed = reserve.checked_add(fee).and_then(Msat::from_amount);
                if needed.is_none_or(|needed| state.balance(role) < needed) {
                    return Err(unaffordable());
                }
            }
        }
        Ok(())
    }

    /// `by` offers a payment.
    pub(super) fn add(&mut self, by: Role, htlc: &Htlc) -> Result<(), Error> {
        let limits = self.side(by.other()).limits;
        if htlc.offered_by != by {
            return refuse(Code::InvalidArgument, "a party offers its own payments only");
        }
        if htlc.amount == Msat::ZERO || htlc.amount < limits.htlc_minimum {
            return refuse(Code::HtlcOutOfBounds, "the payment is too small");
        }
        if htlc.expiry == 0 || !LockTime::from_consensus(htlc.expiry).is_block_height() {
            return refuse(Code::HtlcOutOfBounds, "the expiry of a payment is a block height");
        }
        let id = self.side(by).next_id;
        let next_id = id.checked_add(1).ok_or(Error::new(Code::UpdatesSpent, "there are no numbers left"))?;
        let place = self.htlcs.partition_point(|entry| (entry.htlc.offered_by, entry.id) < (by, id));
        self.htlcs.insert(place, Entry { id, htlc: *htlc, added: Step::Proposed, removed: None });
        let checked = self.check(by).and_then(|state| {
            let under_way = || state.htlcs.iter().filter(|htlc| htlc.offered_by == by);
            let amount = under_way().try_fold(Msat::ZERO, |sum, htlc| sum.checked_add(htlc.amount));
            if under_way().count() > usize::from(limits.max_accepted.min(MAX_ACCEPTED)) {
                return refuse(Code::HtlcOutOfBounds, "too many payments under way");
            }
            if amount.is_none_or(|amount| amount > limits.max_in_flight) {
                return refuse(Code::HtlcOutOfBounds, "too much under way");
            }
            Ok(())
        });
        if checked.is_err() {
            self.htlcs.remove(place);
        } else {
            self.side_mut(by).next_id = next_id;
        }
        checked
    }

    /// The opener sets a rate.
    pub(super) fn set_fee(&mut self, by: Role, rate: FeeRate) -> Result<(), Error> {
        if by != Role::Opener {
            return refuse(Code::UnexpectedMessage, "only the opener sets the fee");
        }
        self.fees.push((rate, Step::Proposed));
        let checked = self.check(by);
        if checked.is_err() {
            self.fees.pop();
        }
        self.merge_fees();
        checked.map(drop)
    }

    /// `by` gives the other so much.
    pub(super) fn pay(&mut self, by: Role, amount: Msat) -> Result<(), Error> {
        if amount == Msat::ZERO {
            return refuse(Code::HtlcOutOfBounds, "the payment is too small");
        }
        self.payments.push((by, Step::Proposed, amount));
        let checked = self.check(by);
        if checked.is_err() {
            self.payments.pop();
        }
        self.merge_payments();
        checked.map(drop)
    }

    /// The next commitment of the other, with everything that `by` has proposed: `by` must have its reserve left in it
    /// and, as the opener, what the fee and the anchors cost.
    fn check(&self, by: Role) -> Result<State, Error> {
        let owner = by.other();
        let state = self.state(self.side(owner).newest, |step, of| step.is_next_in(owner, of))?;
        let cost = match by {
            Role::Opener => self.cost(&state, owner, 0)?,
            Role::Accepter => Amount::ZERO,
        };
        let needed = self.side(by).limits.reserve.checked_add(cost).and_then(Msat::from_amount);
        if needed.is_none_or(|needed| state.balance(by) < needed) {
            return Err(unaffordable());
        }
        Ok(state)
    }

    /// What the opener pays for a commitment of `owner` with this state, and so many payments more.
    fn cost(&self, state: &State, owner: Role, more: u64) -> Result<Amount, Error> {
        let channel_type = self.channel.channel_type;
        let outputs = channel_type.htlc_outputs(state, owner, self.channel.party(owner).dust_limit);
        channel_type.commitment_cost(state.fee_rate, outputs.saturating_add(more)).ok_or(unaffordable())
    }
}
