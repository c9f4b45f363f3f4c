//! Closing by agreement (BOLT 2, "Channel Close"): no new payments, then one transaction that pays both out.
//!
//! The opener pays its fee and offers first. An accepter takes any fee that relays, as it is none of its money.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight};
use rillpay_wire::messages::{ClosingSigned, ClosingSignedTlvs, Extension, FeeRange, Shutdown};

use crate::commitment;
use crate::error::{Code, Error, refuse};
use crate::revocable::channel::{Channel, Role};
use crate::revocable::fees::LEAST_RATE;
use crate::revocable::holder::Effect;
use crate::revocable::holder::draft::Draft;
use crate::revocable::holder::state::{End, Link};
use crate::revocable::holder::terms::check_script;
use crate::revocable::holder::update::parse;
use crate::spend::sum;

/// What the witness of the funding adds to a closing transaction (BOLT 3, Appendix A).
const WITNESS_WEIGHT: u64 = 224;

/// What each side gets when the channel closes at this fee, and where: ours first.
struct Shares([(Amount, ScriptBuf); 2]);

impl Shares {
    /// The closing transaction with those outputs that are kept.
    fn transaction(&self, channel: &Channel, kept: [bool; 2]) -> Transaction {
        let kept = self.0.iter().zip(kept).filter(|(_, kept)| *kept);
        let mut output: Vec<_> =
            kept.map(|((value, script), _)| TxOut { value: *value, script_pubkey: script.clone() }).collect();
        output.sort_by(|a, b| (a.value, a.script_pubkey.as_bytes()).cmp(&(b.value, b.script_pubkey.as_bytes())));
        let input = TxIn { previous_output: channel.funding.outpoint, sequence: Sequence::MAX, ..TxIn::default() };
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output }
    }

    /// Those that are no dust to a side with this limit, nor to the nodes that relay them.
    fn above(&self, dust_limit: Amount) -> [bool; 2] {
        self.0.each_ref().map(|(value, script)| *value >= dust_limit.max(commitment::dust_limit(script)))
    }
}

impl Draft<'_> {
    pub(super) fn shutdown(&mut self, rate: FeeRate) -> Result<(), Error> {
        if self.state.end.is_some() {
            return refuse(Code::Closing, "the channel has ended");
        }
        if self.state.is_signing() {
            return refuse(Code::Unavailable, "the funding is not signed yet");
        }
        self.state.closing_rate = Some(rate.max(LEAST_RATE));
        self.shut_down_if_due()
    }

    pub(super) fn counterparty_shuts_down(&mut self, message: &Shutdown) -> Result<(), Error> {
        check_script(&message.scriptpubkey)?;
        let bound = self.state.upfront.as_ref().or(self.state.shutdown_received.as_ref());
        if bound.is_some_and(|bound| *bound != message.scriptpubkey) {
            return refuse(Code::InvalidReturnScript, "the counterparty bound itself to another script");
        }
        if self.state.ledger.has_unsigned(self.other()) {
            return refuse(Code::UnexpectedMessage, "a shutdown before everything proposed is signed for");
        }
        if self.state.shutdown_received.is_none() {
            self.state.shutdown_received = Some(message.scriptpubkey.clone());
            self.durable = true;
        }
        self.shut_down_if_due()
    }

    pub(super) fn send_shutdown(&mut self) {
        let (channel_id, scriptpubkey) = (self.state.id, self.state.payout.clone());
        self.send(Shutdown { channel_id, scriptpubkey, tlvs: Extension::default() });
    }

    /// Says `shutdown` as soon as it may be said, and goes on to the closing transaction as soon as nothing is under way.
    pub(super) fn shut_down_if_due(&mut self) -> Result<(), Error> {
        let wanted = self.state.closing_rate.is_some() || self.state.shutdown_received.is_some();
        if self.state.link != Link::Up || self.state.has_failed() || !wanted {
            return Ok(());
        }
        if !self.state.shutdown_sent && !self.state.ledger.has_unacknowledged(self.own()) {
            self.state.shutdown_sent = true;
            self.durable = true;
            self.send_shutdown();
        }
        if self.may_have_closed() && self.own() == Role::Opener && self.state.offered_fee.is_none() {
            let fee = self.own_fee()?;
            return self.offer_fee(fee);
        }
        Ok(())
    }

    /// Whether the counterparty may have a closing transaction that both signed, though we have not.
    pub(super) fn may_have_closed(&self) -> bool {
        let said = self.state.shutdown_sent && self.state.shutdown_received.is_some();
        said && self.state.ledger.is_quiet()
    }

    fn shares(&self, fee: Amount) -> Result<Shares, Error> {
        let Some(theirs) = self.state.shutdown_received.as_ref() else {
            return refuse(Code::UnexpectedMessage, "the counterparty has not said shutdown");
        };
        let last = self.state.ledger.newest(self.own())?;
        let share = |role: Role| {
            let paid = if role == Role::Opener { fee } else { Amount::ZERO };
            let rest = last.balance(role).to_amount_floor().checked_sub(paid);
            rest.ok_or(Error::new(Code::Unaffordable, "the opener cannot pay the closing transaction"))
        };
        Ok(Shares([(share(self.own())?, self.state.payout.clone()), (share(self.other())?, theirs.clone())]))
    }

    fn dust_limit(&self, of: Role) -> Amount {
        self.state.ledger.channel().party(of).dust_limit
    }

    /// What the closing transaction costs at this rate, with both outputs.
    fn fee_at(&self, rate: FeeRate) -> Result<Amount, Error> {
        let whole = self.shares(Amount::ZERO)?.transaction(self.state.ledger.channel(), [true; 2]);
        let weight = whole.weight().checked_add(Weight::from_wu(WITNESS_WEIGHT));
        let fee = weight.and_then(|weight| rate.fee_wu(weight)).unwrap_or(Amount::MAX_MONEY);
        Ok(fee.min(Amount::MAX_MONEY))
    }

    fn own_fee(&self) -> Result<Amount, Error> {
        let last = self.state.ledger.newest(self.own())?;
        let most = last.opener.to_amount_floor();
        let rate = self.state.closing_rate.unwrap_or(last.fee_rate.max(LEAST_RATE));
        Ok(self.fee_at(rate)?.min(most))
    }

    /// What we agree to: as the opener no more than our own offer, since accepters take the most they can get; as the accepter
    /// whatever relays.
    fn range(&self) -> Result<(Amount, Amount), Error> {
        let most = self.state.ledger.newest(self.own())?.opener.to_amount_floor();
        let least = self.fee_at(LEAST_RATE)?.min(most);
        Ok(match self.own() {
            Role::Opener => (least, self.own_fee()?.max(least)),
            Role::Accepter => (least, most),
        })
    }

    fn offer_fee(&mut self, fee: Amount) -> Result<(), Error> {
        let (shares, channel) = (self.shares(fee)?, self.state.ledger.channel());
        let transaction = shares.transaction(channel, shares.above(self.dust_limit(self.own())));
        let signature = channel.sign(&transaction, &self.keys.funding)?.into();
        let (min_fee_satoshis, max_fee_satoshis) = self.range()?;
        let fee_range = Some(FeeRange { min_fee_satoshis, max_fee_satoshis });
        let tlvs = ClosingSignedTlvs { fee_range, ..ClosingSignedTlvs::default() };
        self.state.offered_fee = Some(fee);
        self.send(ClosingSigned { channel_id: self.state.id, fee_satoshis: fee, signature, tlvs });
        Ok(())
    }

    pub(super) fn closing_signed(&mut self, message: &ClosingSigned) -> Result<(), Error> {
        let (own, other, fee) = (self.own(), self.other(), message.fee_satoshis);
        if !self.state.shutdown_sent || !self.state.ledger.is_quiet() {
            return refuse(Code::UnexpectedMessage, "something is under way yet");
        }
        let offered = self.state.offered_fee;
        if own == Role::Opener && offered.is_none() {
            return refuse(Code::UnexpectedMessage, "the opener offers first");
        }
        // Its sender leaves out what is dust to it, and may leave out what is its own, but not what is ours.
        let signature = parse(&message.signature)?;
        let (shares, channel) = (self.shares(fee)?, self.state.ledger.channel());
        let forms = [other, own].map(|of| shares.above(self.dust_limit(of)));
        let without = forms.map(|[ours, _]| [ours, false]);
        let forms = forms.into_iter().chain(without).filter(|kept| *kept != [false; 2]);
        let mut forms = forms.map(|kept| shares.transaction(channel, kept));
        let Some(signed) = forms.find(|form| channel.verify(form, other, &signature).is_ok()) else {
            return refuse(
                Code::InvalidSignature,
                "the closing transaction is signed wrongly, or pays too little to relay",
            );
        };

        let (least, most) = self.range()?;
        let acceptable = fee >= least && fee <= most;
        if offered != Some(fee) {
            if !acceptable {
                return self.counter(message, (least, most));
            }
            // Agreed: the same fee, said by both.
            self.offer_fee(fee)?;
        }
        let transaction = self.state.ledger.channel().finish(&signed, own, &self.keys.funding, &signature)?;
        if let Some(End::Closed(before)) = &self.state.end
            && sum(transaction.output.iter().map(|output| output.value))?
                >= sum(before.output.iter().map(|output| output.value))?
        {
            // Agreed on once more, after a broken connection: what pays the miners most is broadcast.
            return Ok(());
        }
        self.state.end = Some(End::Closed(transaction.clone()));
        self.durable = true;
        self.effects.push(Effect::Broadcast(transaction.clone()));
        self.effects.push(Effect::Ended(End::Closed(transaction)));
        Ok(())
    }

    /// A fee that is not ours to agree to: one between both ranges is offered, if there is one.
    fn counter(&mut self, message: &ClosingSigned, (least, most): (Amount, Amount)) -> Result<(), Error> {
        let fee = match &message.tlvs.fee_range {
            Some(range) => {
                let (low, high) = (least.max(range.min_fee_satoshis), most.min(range.max_fee_satoshis));
                if low > high {
                    return refuse(Code::Unavailable, "there is no fee that both agree to");
                }
                high
            }
            None => {
                if message.fee_satoshis < least {
                    least
                } else {
                    most
                }
            }
        };
        if self.state.offered_fee == Some(fee) {
            return refuse(Code::Unavailable, "there is no fee that both agree to");
        }
        self.offer_fee(fee)
    }
}
