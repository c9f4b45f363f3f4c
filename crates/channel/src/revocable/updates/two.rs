//! Two ledgers, and a wire between them that delivers when it likes, and breaks.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::tests::{ROLES, add, ledger};
use super::*;
use crate::revocable::commitment::Commitment;
use crate::revocable::fees::ChannelType;
use crate::revocable::testing::{CAPACITY, channel, keys_of};

#[derive(Clone, Debug)]
enum Message {
    Update(Update),
    /// With the transaction that was signed.
    Signed(bitcoin::Txid),
    Revoked(CommitmentNumber),
}

/// One party: its ledger, and what is under way to it.
struct Node {
    role: Role,
    ledger: Updates,
    inbox: VecDeque<Message>,
    settled: Vec<Settled>,
}

impl Node {
    fn new(role: Role) -> Self {
        Self { role, ledger: ledger(), inbox: VecDeque::new(), settled: vec![] }
    }

    /// Built for the whole: what the two sign has to be the same transaction, to the byte.
    fn transaction(&self, owner: Role, state: &State) -> bitcoin::Txid {
        let point = keys_of(owner).seed.point(state.number).unwrap();
        Commitment::new(&channel(ChannelType::Anchors), owner, &point, state).unwrap().transaction.compute_txid()
    }

    fn sign(&mut self) -> Option<Message> {
        let state = self.ledger.can_sign(self.role).then(|| self.ledger.sign(self.role).unwrap())?;
        Some(Message::Signed(self.transaction(self.role.other(), &state)))
    }

    fn revoke(&mut self) -> Option<Message> {
        let (number, settled) =
            self.ledger.owes_revocation(self.role).then(|| self.ledger.revoke(self.role).unwrap())?;
        self.settled.extend(settled);
        Some(Message::Revoked(number))
    }

    /// The oldest payment of the other's that can be ended.
    fn end(&mut self, fulfil: bool) -> Option<Message> {
        let by = self.role;
        let entry = self
            .ledger
            .htlcs
            .iter()
            .find(|entry| entry.htlc.offered_by != by && entry.added == Step::Settled && entry.removed.is_none())?;
        let update = if fulfil { Update::Fulfill(entry.id, [8; 32]) } else { Update::Fail(entry.id) };
        self.propose(update)
    }

    fn propose(&mut self, update: Update) -> Option<Message> {
        self.ledger.propose(self.role, update.clone()).ok().map(|()| Message::Update(update))
    }

    fn receive(&mut self) {
        let from = self.role.other();
        match self.inbox.pop_front() {
            None => {}
            Some(Message::Update(update)) => {
                self.ledger.propose(from, update).expect("what one offers the other takes")
            }
            Some(Message::Signed(txid)) => {
                let state = self.ledger.sign(from).expect("a signature in turn");
                assert_eq!(self.transaction(self.role, &state), txid);
            }
            Some(Message::Revoked(number)) => {
                let (revoked, settled) = self.ledger.revoke(from).expect("a revocation in turn");
                assert_eq!(revoked, number);
                self.settled.extend(settled);
            }
        }
    }
}

fn both(nodes: &mut [Node; 2], at: bool) -> (&mut Node, &mut Node) {
    let [opener, accepter] = nodes;
    if at { (opener, accepter) } else { (accepter, opener) }
}

/// All messages arrive, everybody signs and revokes until nothing changes any more.
fn calm(nodes: &mut [Node; 2]) {
    loop {
        let mut busy = false;
        for at in [true, false] {
            let (own, other) = both(nodes, at);
            busy |= !own.inbox.is_empty();
            own.receive();
            let sent: Vec<_> = [own.revoke(), own.sign()].into_iter().flatten().collect();
            busy |= !sent.is_empty();
            other.inbox.extend(sent);
        }
        if !busy {
            return;
        }
    }
}

/// The connection breaks: what is under way is lost, proposals are forgotten, and what was signed or revoked without
/// reaching the other is sent again, in its order.
fn reconnect(nodes: &mut [Node; 2]) {
    for node in nodes.iter_mut() {
        node.inbox.clear();
        node.ledger.disconnect();
    }
    for at in [true, false] {
        let (own, other) = both(nodes, at);
        let lost_revocation = !own.ledger.owes_revocation(own.role)
            && other.ledger.owes_revocation(own.role)
            && own.ledger.side(own.role).newest == other.ledger.side(own.role).newest;
        let lost_signature = own.ledger.side(other.role).newest != other.ledger.side(other.role).newest;
        let mut again = vec![];
        if lost_signature {
            let state = own.ledger.newest(other.role).unwrap();
            again.extend(own.ledger.to_retransmit(own.role).iter().cloned().map(Message::Update));
            again.push(Message::Signed(own.transaction(other.role, &state)));
        }
        if lost_revocation {
            let number = own.ledger.side(own.role).newest.previous().unwrap();
            let place = if own.ledger.revoked_last(own.role) { again.len() } else { 0 };
            again.insert(place, Message::Revoked(number));
        }
        other.inbox.extend(again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever the two do, and however late it arrives: what one signs is what the other expects, what one proposes the
    /// other takes, no money appears or vanishes, and in the end both ledgers are the same.
    #[test]
    fn two_ledgers_agree(actions in prop::collection::vec((any::<bool>(), 0u8..10, 1u64..30_000_000), 0..120)) {
        let mut nodes = ROLES.map(Node::new);
        for (at, action, number) in actions {
            let (own, other) = both(&mut nodes, at);
            let sent = match action {
                0 | 1 => own.propose(add(own.role, number)),
                2 => own.end(number % 2 == 0),
                3 => own.propose(Update::Fee(FeeRate::from_sat_per_kwu(number % 5_000))),
                4 => own.sign(),
                9 => own.propose(Update::Pay(Msat::new(number).unwrap())),
                5 => own.revoke(),
                6 | 7 => { own.receive(); None }
                _ if number % 4 == 0 => { reconnect(&mut nodes); continue }
                _ => None,
            };
            other.inbox.extend(sent);
            for node in &nodes {
                prop_assert_eq!(&Updates::decode(&node.ledger.encode()).unwrap(), &node.ledger);
                for owner in ROLES {
                    let state = node.ledger.newest(owner).unwrap();
                    let locked: u64 = state.htlcs.iter().map(|htlc| htlc.amount.get()).sum();
                    prop_assert_eq!(state.opener.get() + state.accepter.get() + locked, CAPACITY.to_sat() * 1_000);
                }
            }
        }
        calm(&mut nodes);
        let [opener, accepter] = nodes;
        prop_assert_eq!(&opener.ledger, &accepter.ledger);
        let [ours, theirs] = ROLES.map(|owner| opener.ledger.newest(owner).unwrap());
        prop_assert_eq!((&ours.opener, &ours.htlcs, ours.fee_rate), (&theirs.opener, &theirs.htlcs, theirs.fee_rate));
        prop_assert_eq!(opener.settled.len(), accepter.settled.len());
        prop_assert!(accepter.settled.iter().all(|one| opener.settled.contains(one)));
    }
}
