//! The end: the chain runs on until there is nothing left to do, and then it is counted who has what.

use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use rillpay_channel::revocable::commitment::Purpose;
use rillpay_channel::revocable::holder::Spending;
use rillpay_channel::revocable::{Commitment, Htlc, Role, State};
use rillpay_channel::{Code, Error};

use super::side::{self, Side};
use super::{CAPACITY, World, payout, preimage, secret_of};

/// A payment whose preimage its receiver knows so many blocks before it expires is its for certain.
const TO_CLAIM: u32 = 18;
/// The fee of a sweep or a second stage is no more.
const FEE: Amount = Amount::from_sat(4_000);
/// An output that may not be worth the fee of a transaction of its own.
const CRUMB: Amount = Amount::from_sat(500);

/// Where a payment in a commitment went.
struct Fate {
    htlc: Htlc,
    /// `None` for one without an output, and for an output that nobody has taken.
    to: Option<usize>,
}

impl World {
    pub(super) fn end(&mut self) {
        self.broken_store = 0;
        self.agree();
        self.finish_by_choice();
        while let Some(due) = self.next() {
            self.chain.pass(due);
        }
        self.look();
        self.count();
    }

    fn has_ended(&self) -> bool {
        self.chain.is_contested(&self.funding()) || self.sides.iter().any(|side| side.holder.end().is_some())
    }

    /// Both have said everything, and so say the same; or the channel has ended.
    fn agree(&mut self) {
        let goes_on = !self.has_ended() && !self.sides.iter().any(|side| side.is_copy);
        self.cut();
        self.connect();
        self.run();
        if goes_on {
            self.settle();
            self.settle();
            self.look();
            if !self.has_ended() {
                assert_eq!(self.sides[0].holder.ledger(), self.sides[1].holder.ledger(), "they do not agree");
            }
        }
        self.look();
    }

    /// A channel that goes on is closed, one way or the other.
    fn finish_by_choice(&mut self) {
        let who = usize::from(self.secrets & 1);
        if !self.has_ended() && self.secrets & 2 == 0 {
            let rate = self.sides[who].holder.ledger().newest(Role::Opener).unwrap().fee_rate;
            self.decide(who, |side| side.holder.shutdown(side.keys, rate));
            self.run();
        }
        self.watch();
        // Where both have said shutdown, an error of the counterparty's ends nothing at once: no closing transaction confirms, and so
        // the operator does.
        if !self.chain.is_contested(&self.funding()) {
            let who = if self.sides[who].is_copy { 1 - who } else { who };
            let enough = Error::new(Code::Unavailable, "enough");
            self.decide(who, |side| side.holder.fail(side.keys, &enough));
            self.run();
        }
    }

    /// Blocks until nothing waits for one. The next height at which more can be done.
    fn next(&mut self) -> Option<u32> {
        loop {
            let due = self.watch();
            self.run();
            if !self.chain.has_more() {
                return due;
            }
            self.chain.mine(false, |_| false);
        }
    }

    fn count(&self) {
        let Some(spent) = self.chain.spender(&self.funding()) else {
            return assert!(self.sides.iter().all(|side| side.is_copy), "nobody closes the channel");
        };
        let transaction = spent.transaction;
        let mut sides = self.sides.iter().enumerate();
        let found = sides.find_map(|(owner, side)| Some((owner, side.commitment(transaction)?)));
        match found {
            Some((owner, commitment)) => self.counted(owner, commitment),
            None => self.closed(transaction),
        }
        self.reconcile(transaction);
    }

    /// Whatever the channel held is there for one of them, or was paid to miners, or is an anchor or a crumb, or a payment of
    /// whoever lost what it knew of it.
    fn reconcile(&self, spending: &Transaction) {
        let (txid, funding) = (spending.compute_txid(), self.funding().txid);
        let held: Amount = [0, 1].into_iter().map(|who| self.chain.held(&payout(who))).sum();
        let of_both = |output: &TxOut| [0, 1].into_iter().any(|who| output.script_pubkey == payout(who));
        let others = (0..).zip(&spending.output).filter(|(_, output)| !of_both(output));
        let left: Amount = others.filter_map(|(vout, _)| self.fate(OutPoint { txid, vout }).err()).sum();
        let after = self.chain.transactions().filter(|one| ![txid, funding].contains(&one.compute_txid()));
        let fees: Vec<_> = after.map(|one| self.chain.fee(one)).collect();
        assert!(fees.iter().all(|fee| *fee <= FEE), "dear sweeps: {fees:?}");
        assert_eq!(held + left + self.chain.fee(spending) + fees.into_iter().sum(), CAPACITY);
    }

    /// The output of the second stage that takes this one; `None` for a sweep.
    fn stage(&self, outpoint: &OutPoint, by: &Transaction) -> Option<OutPoint> {
        let at = by.input.iter().position(|input| input.previous_output == *outpoint).unwrap();
        let is_swept = [0, 1].into_iter().any(|who| by.output[0].script_pubkey == payout(who));
        (!is_swept).then(|| OutPoint { txid: by.compute_txid(), vout: u32::try_from(at).unwrap() })
    }

    /// Who got what this output held; the value of what is left of it where nobody did.
    fn fate(&self, outpoint: OutPoint) -> Result<usize, Amount> {
        let Some(by) = self.chain.spender(&outpoint) else { return Err(self.chain.output(&outpoint).unwrap().value) };
        match self.stage(&outpoint, by.transaction) {
            Some(stage) => self.fate(stage),
            None => Ok(usize::from(by.transaction.output[0].script_pubkey == payout(1))),
        }
    }

    /// A commitment decided.
    fn counted(&self, owner: usize, side::Commitment { transaction, state, .. }: &side::Commitment) {
        let (own, other) = (&self.sides[owner], &self.sides[1 - owner]);
        let channel = own.holder.channel();
        let point = own.keys.seed.point(state.number).unwrap();
        let built = Commitment::new(channel, own.role, &point, state).unwrap();
        let txid = transaction.compute_txid();
        assert_eq!(built.transaction.compute_txid(), txid);
        let (mut got, mut fates) = ([Amount::ZERO; 2], vec![]);
        let spending = other.view(transaction).spending();
        let is_revoked = matches!(spending, Spending::Cheat(_));
        let is_lost = self.sides.iter().any(|side| side.is_copy);
        let has_lost = |purpose: &Purpose| is_lost && matches!(purpose, Purpose::Htlc(_));
        for (vout, output) in (0..).zip(&built.outputs) {
            let (fate, value) = (self.fate(OutPoint { txid, vout }), output.output.value);
            let to = fate.ok();
            let expected = match output.purpose {
                Purpose::Anchor(_) => continue,
                _ if is_revoked => Some(1 - owner),
                Purpose::ToLocal => Some(owner),
                Purpose::ToRemote => Some(1 - owner),
                Purpose::Htlc(htlc) => {
                    fates.push(Fate { htlc, to });
                    None
                }
            };
            match fate {
                Ok(to) => got[to] += value,
                Err(left) => assert!(left < CRUMB || has_lost(&output.purpose), "nobody takes {left} of {output:?}"),
            }
            // A cheat's counterparty may have lost what it knew before that, or after it took everything.
            if !(own.cheats && other.is_copy) {
                assert!(expected.is_none() || to.is_none() || to == expected, "{:?} went to {to:?}", output.purpose);
            }
        }
        match spending {
            Spending::Cheat(number) => {
                assert_eq!(number, state.number);
                assert!(own.cheats, "an old state of somebody who does not cheat");
                let kept = got[owner] + self.chain.held(&payout(owner));
                return assert!(other.is_copy || kept == Amount::ZERO, "a cheat keeps something");
            }
            Spending::Theirs(number) => assert_eq!(number, state.number),
            Spending::Unknown(_) => assert!(other.is_copy, "a commitment that its counterparty does not know"),
            other => panic!("{other:?}"),
        }
        if own.holder.ledger().number(own.role) != state.number {
            assert!(!own.is_protected(), "an old state of somebody who does not cheat");
        }
        let made: Vec<_> = fates.iter().map(|fate| fate.htlc).collect();
        let too_small = state.htlcs.iter().filter(|htlc| !made.contains(htlc));
        fates.extend(too_small.map(|htlc| Fate { htlc: *htlc, to: None }));
        self.check_fates(&fates);
        for who in [0, 1] {
            let side = &self.sides[who];
            if side.is_protected() {
                self.check_balance(who, state, &fates, got[who], built.fee + channel.channel_type.anchors());
                self.check_knowledge(who, state, &fates);
            }
        }
    }

    /// Each payment went to whom it belongs.
    fn check_fates(&self, fates: &[Fate]) {
        for Fate { htlc, to } in fates {
            let offerer = self.index(htlc.offered_by);
            let receiver = 1 - offerer;
            let took = self.sides[receiver].fulfilled.get(&htlc.payment_hash);
            let in_time = took.is_some_and(|(_, height)| height + TO_CLAIM <= htlc.expiry);
            match to {
                Some(to) if *to == receiver => {
                    assert!(took.is_some() || !self.sides[receiver].is_protected(), "taken without a preimage");
                    let offerer = &self.sides[offerer];
                    let shown = preimage(secret_of(&htlc.payment_hash));
                    assert!(!offerer.is_protected() || offerer.shown.contains(&shown), "a preimage that nobody reads");
                }
                Some(_) => {
                    let is_lost = in_time && self.sides[receiver].is_protected();
                    assert!(!is_lost, "{htlc:?} is the receiver's, who had its preimage in time");
                }
                None => {}
            }
        }
    }

    fn index(&self, role: Role) -> usize {
        usize::from(self.sides[0].role != role)
    }

    /// What it has on the chain is what the commitment says, less fees: `lost` is what the opener paid for the commitment.
    fn check_balance(&self, who: usize, state: &State, fates: &[Fate], got: Amount, lost: Amount) {
        let side = &self.sides[who];
        let payments = fates.iter().filter(|fate| fate.to == Some(who)).map(|fate| fate.htlc.value());
        let due = state.balance(side.role).to_amount_floor() + payments.sum();
        let fees = if side.role == Role::Opener { lost } else { Amount::ZERO };
        // Its balance may be dust to either of them.
        assert!(got + fees + side.dust_limit() >= due, "{who} has {got} of {due}");
    }

    /// What it has is what it knows to be its own: what it had at first, and what it was told to have been given for good since, less
    /// what it gave.
    fn check_knowledge(&self, who: usize, state: &State, fates: &[Fate]) {
        let side = &self.sides[who];
        let msat = |htlc: &Htlc| i128::from(htlc.amount.get());
        let is_taken = |htlc: &Htlc| side.fulfilled.contains_key(&htlc.payment_hash);
        let kept = fates.iter().filter(|fate| match fate.to {
            Some(to) => to == who,
            // Too small for an output, or for a sweep.
            None => fate.htlc.offered_by == side.role || is_taken(&fate.htlc),
        });
        let has = i128::from(state.balance(side.role).get()) + kept.map(|fate| msat(&fate.htlc)).sum::<i128>();
        let due = side.known() + self.late(who, fates);
        assert!(has >= due, "{who} has {has} of {due}");
    }

    /// What the counterparty took back because the preimage came late.
    fn late(&self, who: usize, fates: &[Fate]) -> i128 {
        let side = &self.sides[who];
        let lost = fates.iter().filter(|fate| fate.to == Some(1 - who) && fate.htlc.offered_by != side.role);
        let known = lost.filter(|fate| side.fulfilled.contains_key(&fate.htlc.payment_hash));
        -known.map(|fate| i128::from(fate.htlc.amount.get())).sum::<i128>()
    }

    /// Both agreed on this: each is paid what it has, less the fee if it is the opener, and dust apart.
    fn closed(&self, transaction: &Transaction) {
        // Whoever broadcast it agreed to it, though it may have failed the channel since.
        for (who, side) in self.sides.iter().enumerate().filter(|(_, side)| !side.is_copy) {
            let last = side.holder.ledger().newest(side.role).unwrap();
            let has = last.balance(side.role).to_amount_floor();
            let paid = self.chain.held(&payout(who));
            let less = has.checked_sub(paid).expect("more than it has");
            let fee = if side.role == Role::Opener { Amount::from_sat(5_000) } else { Amount::ZERO };
            assert!(less <= fee || (paid == Amount::ZERO && has <= fee + side.dust_limit()), "{paid} of {has}");
            assert!(i128::from(last.balance(side.role).get()) >= side.known(), "{who} forgets what it has");
        }
        assert!(transaction.output.iter().all(|output| [0, 1].iter().any(|who| output.script_pubkey == payout(*who))));
    }
}

impl Side {
    /// What it had at first, what it was told to have been given for good since, less what it gave: in millisatoshi.
    fn known(&self) -> i128 {
        let Some(first) = self.commitments.get(&0) else { return 0 };
        let (taken, given) = self.holder.direct();
        let ended = self.holder.outcomes().filter_map(|(id, outcome)| Some((id, *outcome.as_ref().ok()?)));
        let gone = ended.chain(self.holder.learned()).map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>();
        let shown = |htlc: &Htlc| self.shown.contains(&preimage(secret_of(&htlc.payment_hash)));
        let gone = self.offered.iter().filter(|(id, htlc)| gone.contains(id) || shown(htlc));
        let gone: i128 = gone.map(|(_, htlc)| i128::from(htlc.amount.get())).sum();
        let fulfilled: i128 = self.fulfilled.values().map(|(amount, _)| i128::from(amount.get())).sum();
        let direct = i128::from(taken) - i128::from(given) - i128::from(self.holder.giving());
        i128::from(first.state.balance(self.role).get()) + direct + fulfilled - gone
    }
}
