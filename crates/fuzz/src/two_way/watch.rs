//! What each side does about the chain, as `rillpay-node` does: it looks at every block, broadcasts what it may, and takes what
//! is its own. And what miners do, as the bytes have it.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Transaction, Txid};
use rillpay_channel::Code;
use rillpay_channel::revocable::claim::{Claim, sweep};
use rillpay_channel::revocable::fees::LEAST_RATE;
use rillpay_channel::revocable::holder::{End, OnChain, Spending};

use super::World;
use super::chain::Seen;
use super::side::{Idle, Side};
use super::{payout, preimage, secret_of};
use crate::input::Input;

/// How many blocks after its expiry a payment of one's own that nobody ended makes the channel fail.
const GRACE: u32 = 3;
/// For so many blocks in all may miners keep from a block what waits for one, by leaving it out or by a reorganisation, while
/// payments are under way. Of the 18 blocks that a holder leaves itself before a payment to it expires, two are for its commitment and
/// its second stage.
const TROUBLE_WITH_PAYMENTS: u32 = 12;
/// The same without payments: a cheat has to wait for 144 blocks.
const TROUBLE: u32 = 60;

/// What a look at a spent channel comes to.
#[derive(Default)]
struct Found {
    wanted: Vec<Transaction>,
    /// When there will be more, at the earliest.
    due: Option<u32>,
}

impl Found {
    /// Later than now, if so.
    fn wait(&mut self, until: u32) {
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
    }
}

impl World {
    /// Both look at the chain. The next height at which one of them can do more than now, as far as it is known.
    pub(super) fn watch(&mut self) -> Option<u32> {
        // Whose wallet funded the channel does not let its transaction be forgotten.
        self.chain.show(&self.funding().txid);
        let dues = [0, 1].map(|who| self.look_at_chain(who));
        dues.into_iter().flatten().min()
    }

    pub(super) fn funding(&self) -> OutPoint {
        self.sides[0].holder.channel().funding.outpoint
    }

    fn look_at_chain(&mut self, who: usize) -> Option<u32> {
        let (funding, tip) = (self.funding(), self.chain.tip());
        if let Some(Idle { changes, until, due }) = self.sides[who].idle
            && changes == self.chain.changes()
            && until.is_none_or(|until| tip < until)
        {
            return due;
        }
        let spent = self.spent(who).or_else(|| {
            self.broadcast(who, &self.to_broadcast(who)?);
            Some(self.spent(who).expect("a node sees what it has broadcast"))
        });
        if let Some((spending, made)) = spent {
            let due = self.take(who, &spending, made);
            self.sides[who].idle = Some(Idle { changes: self.chain.changes(), until: due, due });
            return due;
        }
        if !self.sides[who].holder.is_funded()
            && let Some(made) = self.chain.height(&funding.txid)
        {
            let output = self.chain.output(&funding).unwrap().clone();
            self.decide(who, |side| side.holder.funding_seen(side.keys, &output, tip + 1 - made));
        }
        let holder = &self.sides[who].holder;
        if holder.is_copy() && holder.is_funded() && !holder.is_closing() {
            self.decide(who, |side| side.holder.shutdown(side.keys, LEAST_RATE));
        }
        let had_ended = self.sides[who].holder.end().is_some();
        self.decide(who, |side| side.holder.at_height(side.keys, tip));
        if !had_ended && self.sides[who].holder.end().is_some() {
            return self.look_at_chain(who);
        }
        let ledger = self.sides[who].holder.ledger();
        let ends = ledger.offered(self.sides[who].role).map(|(_, htlc)| htlc.expiry + GRACE);
        let due = ends.filter(|height| *height > tip).min();
        self.sides[who].idle = Some(Idle { changes: self.chain.changes(), until: Some(tip + 1), due });
        due
    }

    /// What spends the funding, as this side sees it.
    fn spent(&self, who: usize) -> Option<(Transaction, Option<u32>)> {
        let seen = self.chain.spender_seen(&self.funding(), who)?;
        Some((seen.transaction.clone(), seen.height))
    }

    /// What it has to see confirmed while nothing spends the funding.
    fn to_broadcast(&self, who: usize) -> Option<Transaction> {
        let Side { holder, keys, .. } = &self.sides[who];
        match holder.end()? {
            End::Closed(transaction) => Some(transaction.clone()),
            End::Failed | End::Spent => holder.commitment(keys).ok(),
            End::FellBehind | End::Aborted => None,
        }
    }

    /// An honest node broadcasts nothing that it has revoked, and nothing that the next block cannot hold.
    pub(super) fn broadcast(&mut self, who: usize, transaction: &Transaction) {
        let taken = self.chain.broadcast(transaction, who, true);
        let (side, other) = (&self.sides[who], &self.sides[1 - who]);
        if side.cheats {
            return;
        }
        let txid = taken.expect("an honest node knows what it spends");
        assert!(self.chain.is_next(&txid), "{who} broadcasts what no block can hold: {transaction:?}");
        for output in &transaction.output {
            assert!(output.value >= output.script_pubkey.minimal_non_dust(), "{who} broadcasts dust: {transaction:?}");
        }
        let funding = self.funding();
        if transaction.input.iter().any(|input| input.previous_output == funding) && !other.is_copy {
            let spending = other.view(transaction).spending();
            assert!(!matches!(spending, Spending::Cheat(_)), "{who} broadcasts a commitment that it has revoked");
        }
    }

    /// The funding is spent: takes what there is to take.
    fn take(&mut self, who: usize, spending: &Transaction, made: Option<u32>) -> Option<u32> {
        if self.sides[who].holder.end().is_none() {
            self.decide(who, |side| side.holder.funding_spent(side.keys, spending));
        }
        let side = &self.sides[who];
        // Nobody keeps a cheat from remembering what it should not, nor from knowing what others do.
        let before = if side.cheats { side.before(spending) } else { None };
        let mut view = side.view_with(before.as_ref().unwrap_or(&side.holder), spending);
        if side.cheats {
            let hashes: Vec<_> = view.htlcs().iter().map(|htlc| htlc.payment_hash).collect();
            hashes.iter().for_each(|hash| view.learn(preimage(secret_of(hash))));
        }
        let mut shown = vec![];
        let mut claims: Vec<_> = view.claims(spending).unwrap().into_iter().map(|claim| (claim, made)).collect();
        let txid = spending.compute_txid();
        for (vout, _) in (0..).zip(&spending.output) {
            let Some(by) = self.chain.spender(&OutPoint { txid, vout }) else { continue };
            shown.extend(view.shown_by(by.transaction));
            // A second stage; one that took several outputs is found several times.
            for claim in view.claims(by.transaction).unwrap() {
                if claims.iter().all(|(known, _)| known.outpoint() != claim.outpoint()) {
                    claims.push((claim, by.height));
                }
            }
        }
        let mut found = self.sweeps(who, claims);
        if view.spending() == Spending::Ours {
            self.second_stages(who, &view, spending, made, &mut found);
        }
        self.sides[who].shown.extend(shown);
        for transaction in &found.wanted {
            self.broadcast(who, transaction);
        }
        found.due
    }

    /// What takes the claims that can be taken now: one transaction for those that nobody else is after, and one for each rival.
    fn sweeps(&self, who: usize, claims: Vec<(Claim<'_>, Option<u32>)>) -> Found {
        let tip = self.chain.tip();
        let (mut found, mut ready) = (Found::default(), BTreeMap::<Option<Txid>, Vec<Claim<'_>>>::new());
        for (claim, made) in claims {
            let rival = match self.chain.spender_seen(&claim.outpoint(), who) {
                Some(by) if by.height.is_some() || by.is_by(who) => continue,
                rival => rival.map(|by| by.transaction.compute_txid()),
            };
            if claim.is_mature(made, tip) {
                ready.entry(rival).or_default().push(claim);
            } else if claim.delay() == 0 || made.is_some() {
                let waits = made.map_or(0, |made| (made + u32::from(claim.delay())).saturating_sub(1));
                found.wait(waits.max(claim.lock()));
            }
        }
        for claims in ready.values() {
            match sweep(claims, &payout(who), LEAST_RATE) {
                Ok(sweep) => found.wanted.push(sweep.transaction),
                Err(error) => assert_eq!(error.code(), Code::Uneconomic, "{error:?}"),
            }
        }
        found
    }

    /// The second stages of one's own commitment. A cheat merges those that can be.
    fn second_stages(
        &self,
        who: usize,
        view: &OnChain<'_>,
        commitment: &Transaction,
        made: Option<u32>,
        found: &mut Found,
    ) {
        let side = &self.sides[who];
        let number = side.holder.channel().obscuring().read(commitment).unwrap();
        let key = side.keys.htlc_at(&side.keys.seed.point(number).unwrap()).unwrap();
        let is_ours = |by: &Seen<'_>| by.height.is_some() || by.is_by(who);
        let is_taken = |output: &OutPoint| self.chain.spender_seen(output, who).as_ref().is_some_and(is_ours);
        let has_anchors = side.holder.channel().channel_type.has_anchors();
        for stage in view.second_stages() {
            let transaction = &stage.transaction.transaction;
            if is_taken(&transaction.input[0].previous_output) {
                continue;
            }
            // With anchors a block after the commitment.
            let lock = transaction.lock_time.to_consensus_u32();
            if (has_anchors && made.is_none()) || lock > self.chain.tip() {
                found.wait(lock.max(made.unwrap_or(0)));
                continue;
            }
            found.wanted.push(stage.transaction.finish(&key, &stage.theirs, stage.preimage).unwrap());
        }
        if side.cheats && made.is_some() {
            for stages in view.second(self.chain.tip(), |output| !is_taken(output)) {
                let mut merged = stages.transaction();
                stages.sign(&mut merged).unwrap();
                found.wanted.extend((merged.input.len() > 1).then_some(merged));
            }
        }
    }

    // ---- miners ----

    /// What miners do with what waits.
    pub(super) fn miners_act(&mut self, i: &mut Input<'_>) {
        match i.u8() % 6 {
            0..=2 => self.mine(1, i),
            3 => {
                let blocks = i.u8() % 48;
                self.mine(blocks.into(), i);
            }
            _ => self.reorganise(i),
        }
    }

    /// Blocks, each of which both sides look at.
    pub(super) fn mine(&mut self, blocks: u32, i: &mut Input<'_>) {
        let choice = i.u8();
        for _ in 0..blocks {
            self.block(choice);
            self.watch();
        }
    }

    /// The last blocks give way to others, one more of them: what was in them may be there again, or something else.
    fn reorganise(&mut self, i: &mut Input<'_>) {
        let (how, choices) = (i.u8(), [i.u8(), i.u8()]);
        let depth = 1 + u32::from(how % 6);
        if self.chain.is_contested(&self.funding()) && !self.may_trouble(depth) {
            return;
        }
        self.chain.take_back(depth, how & 0x40 != 0);
        for nth in 0..=depth {
            self.block(choices[usize::from(nth > 0)]);
        }
        self.watch();
    }

    /// One block. Miners are free to choose among transactions that conflict, but they do not keep others waiting for long.
    fn block(&mut self, choice: u8) {
        let left_out = match choice >> 1 & 3 {
            0 | 1 => 0,
            2 => u8::MAX,
            _ => choice >> 3 | 1,
        };
        let is_free = !self.chain.is_contested(&self.funding());
        let left_out =
            if left_out == 0 || !self.chain.has_more() || is_free || self.may_trouble(1) { left_out } else { 0 };
        self.chain.mine(choice & 1 == 1, |index| left_out >> (index % 8) & 1 == 1);
    }

    /// Whether so much trouble is no more than what a channel has to stand.
    fn may_trouble(&mut self, blocks: u32) -> bool {
        let has_payments = |side: &Side| {
            let roles = [side.role, side.role.other()];
            roles.into_iter().any(|role| side.holder.ledger().offered(role).next().is_some())
        };
        let most = if self.sides.iter().any(has_payments) { TROUBLE_WITH_PAYMENTS } else { TROUBLE };
        let may = self.trouble + blocks <= most;
        if may {
            self.trouble += blocks;
        }
        may
    }
}
