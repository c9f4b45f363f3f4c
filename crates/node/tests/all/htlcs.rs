//! A peer that is no node of ours: it offers a payment over an HTLC, and later cheats with the commitment that held it.

use std::collections::HashSet;
use std::sync::Arc;

use rillpay_chain::Chain;
use rillpay_chain::kernel::KernelChain;
use rillpay_channel::bitcoin::hashes::{Hash, sha256};
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::bitcoin::{Network, ScriptBuf, Transaction, TxOut, WPubkeyHash};
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::holder::{Accepted, Effect, Failure, Holder, Payment, Step, Terms};
use rillpay_channel::{Error, Msat};
use rillpay_node::{Node, Options};
use rillpay_transport::NodeKey;
use rillpay_wire::Message;
use rillpay_wire::messages::UpdateFulfillHtlc;
use rillpay_wire::types::{HtlcId, OnionPacket, Preimage};
use tempfile::TempDir;

use crate::faults::{Stranger, greeted, heard};
use crate::on_chain::is_less_fees;
use crate::pair::{BTC, address_of, btc, chain, pay_to, until};

/// Its side of the channel.
struct Peer {
    connection: Stranger,
    keys: BaseKeys,
    holder: Holder,
    effects: Vec<Effect>,
}

impl Peer {
    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.connection.outgoing.send(&message.encode().unwrap()).await.unwrap(),
                other => self.effects.push(other),
            }
        }
    }

    async fn act(&mut self, decide: impl FnOnce(&Holder, &BaseKeys) -> Result<Step, Error>) {
        let saved = decide(&self.holder, &self.keys).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
        let effects = self.holder.commit(saved).unwrap();
        self.carry_out(effects).await;
    }

    async fn hear(&mut self) {
        let message = heard(&mut self.connection).await.expect("the node goes on");
        self.act(|holder, keys| holder.receive(keys, &message)).await;
    }

    fn commitment(&self) -> Transaction {
        self.holder.commitment(&self.keys).unwrap()
    }
}

/// The peer accepts, hears of the funding, and says no more: the coins are free again, also where the node was killed meanwhile.
/// The keys are not: they have signed.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_breaks_off_costs_nothing() {
    let (chain, folder) = (chain().await, TempDir::new().unwrap());
    let options = Options { listen: Some("127.0.0.1:0".parse().unwrap()), ..Options::new(folder.path()) };
    let mut node = Node::start(options.clone(), Arc::new(chain.clone())).await.unwrap();
    pay_to(&chain, &node.deposit_address().await.unwrap(), 20 * BTC).await;
    chain.mine(1).await.unwrap();
    let key = NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap()).public();
    assert_eq!(node.open(key, btc(10), btc(5)).await.unwrap_err().code(), "peer_offline");
    let keys = BaseKeys::from_seed(&Seed::from_bip39_seed(&[7; 64], Network::Regtest), 0).unwrap();
    let terms = Terms::new(Network::Regtest, ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20])));
    let mut used = HashSet::new();
    for round in 0..3 {
        until("the last one is gone", || async { node.info().await.unwrap().peers.is_empty() }).await;
        let mut connection = greeted(&address_of(&node), Network::Regtest).await;
        until("this one is there", || async { !node.info().await.unwrap().peers.is_empty() }).await;
        if round == 0 {
            assert_eq!(node.open(key, btc(10), btc(11)).await.unwrap_err().code(), "invalid_argument");
            assert_eq!(node.open(key, btc(21), btc(1)).await.unwrap_err().code(), "insufficient_funds");
        }
        let opening = node.clone();
        let opening = tokio::spawn(async move { opening.open(key, btc(10), btc(5)).await });
        let Some(Message::OpenChannel(open)) = heard(&mut connection).await else { panic!("open_channel") };
        assert!(used.insert(open.funding_pubkey), "round {round}");
        assert_eq!(node.open(key, btc(1), btc(0)).await.unwrap_err().code(), "busy");
        let (_, answer) = Accepted::new(terms.clone(), &keys, &open).unwrap();
        connection.outgoing.send(&answer.encode().unwrap()).await.unwrap();
        assert!(matches!(heard(&mut connection).await, Some(Message::FundingCreated(_))));
        if round == 1 {
            node.stop().await;
            node = Node::start(options.clone(), Arc::new(chain.clone())).await.unwrap();
        }
        drop(connection);
        let code = opening.await.unwrap().unwrap_err().code();
        // A node that stops cuts the connection, too.
        assert!(code == "opening_failed" || (round == 1 && code == "not_running"), "{code}");
        assert!(node.list().await.unwrap().is_empty());
        assert_eq!(chain.mempool_len().unwrap(), 0);
    }
}

/// A node that has opened a channel of 10 with the peer, 5 of them the peer's, and what it is made of.
async fn opened() -> (KernelChain, TempDir, Node, Peer) {
    let (chain, folder) = (chain().await, TempDir::new().unwrap());
    let options = Options { listen: Some("127.0.0.1:0".parse().unwrap()), ..Options::new(folder.path()) };
    let node = Node::start(options, Arc::new(chain.clone())).await.unwrap();
    pay_to(&chain, &node.deposit_address().await.unwrap(), 20 * BTC).await;
    chain.mine(1).await.unwrap();
    let key = NodeKey::new(SecretKey::from_slice(&[7; 32]).unwrap()).public();
    let mut connection = greeted(&address_of(&node), Network::Regtest).await;
    until("the peer is there", || async { !node.info().await.unwrap().peers.is_empty() }).await;

    let opening = node.clone();
    let opening = tokio::spawn(async move { opening.open(key, btc(10), btc(5)).await });
    let Some(Message::OpenChannel(open)) = heard(&mut connection).await else { panic!("open_channel") };
    let keys = BaseKeys::from_seed(&Seed::from_bip39_seed(&[7; 64], Network::Regtest), 0).unwrap();
    let payout = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]));
    let (accepted, answer) = Accepted::new(Terms::new(Network::Regtest, payout), &keys, &open).unwrap();
    connection.outgoing.send(&answer.encode().unwrap()).await.unwrap();
    let Some(Message::FundingCreated(created)) = heard(&mut connection).await else { panic!("funding_created") };
    let saved = accepted.funded(&keys, &created).unwrap().save(|_| Ok::<_, ()>(())).unwrap();
    let (holder, effects) = Holder::create(saved).unwrap();
    let mut peer = Peer { connection, keys, holder, effects: vec![] };
    peer.carry_out(effects).await;
    opening.await.unwrap().unwrap();
    until("the funding waits", || async { chain.mempool_len().unwrap() == 1 }).await;
    chain.mine(3).await.unwrap();
    let channel = *peer.holder.channel();
    let output = TxOut { value: btc(10), script_pubkey: channel.funding_script().to_p2wsh() };
    peer.act(|holder, keys| holder.funding_seen(keys, &output, 3)).await;
    while !peer.holder.is_open() {
        peer.hear().await;
    }
    (chain, folder, node, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_over_an_htlc_comes_back_and_its_revoked_output_is_taken() {
    let (chain, folder, node, mut peer) = opened().await;
    // It offers 1 over an HTLC, which comes back: the onion is of no version that there is.
    let before = peer.commitment();
    let payment = Payment {
        amount: Msat::from_amount(btc(1)).unwrap(),
        payment_hash: sha256::Hash::hash(b"preimage"),
        expiry: 1_000,
        onion: OnionPacket(Box::new([1; 1366])),
    };
    peer.act(|holder, keys| holder.offer(keys, &payment)).await;
    peer.act(|holder, keys| holder.sign(keys)).await;
    let mut revoked = None;
    while !peer.effects.iter().any(|effect| matches!(effect, Effect::Resolved(..))) {
        peer.hear().await;
        let newest = peer.commitment();
        if newest.output.len() > before.output.len() {
            revoked = Some(newest);
        }
    }
    let back = peer.effects.iter().find_map(|effect| match effect {
        Effect::Resolved(0, _, Err(Failure::Malformed(hash, 0xc004))) => Some(*hash),
        _ => None,
    });
    assert_eq!(back, Some(sha256::Hash::hash(&[1; 1366])));
    while !peer.holder.ledger().is_quiet() {
        peer.hear().await;
    }
    until("the node has its 5", || async { node.list().await.unwrap()[0].balance_sat == 5 * BTC }).await;

    // The cheat's commitment has an output for the payment: it is taken, too, by what was stored when it was revoked.
    let confirmed = node.balance().await.unwrap().confirmed_sat;
    node.stop().await;
    let revoked = revoked.expect("a commitment with the payment");
    chain.broadcast(&revoked).await.unwrap();
    chain.mine(1).await.unwrap();
    let node = Node::start(Options::new(folder.path()), Arc::new(chain.clone())).await.unwrap();
    assert_eq!(chain.mempool_len().unwrap(), 1);
    chain.mine(1).await.unwrap();
    let taken = node.balance().await.unwrap().confirmed_sat - confirmed;
    assert!(is_less_fees(taken, 10 * BTC), "{taken}");
}

/// Whatever rule it breaks: the node says so, lets the chain decide, and has its money a delay later.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_rules_ends_the_channel_and_costs_nothing() {
    let (chain, _folder, node, mut peer) = opened().await;
    let fulfilled = UpdateFulfillHtlc {
        channel_id: peer.holder.id(),
        id: HtlcId(7),
        payment_preimage: Preimage([7; 32]),
        tlvs: Default::default(),
    };
    peer.connection.outgoing.send(&Message::from(fulfilled).encode().unwrap()).await.unwrap();
    while let Some(message) = heard(&mut peer.connection).await {
        if let Message::ErrorMessage(error) = message {
            assert_eq!(error.channel_id, peer.holder.id());
            break;
        }
    }
    until("it is closed", || async { node.list().await.unwrap()[0].state == "closed_alone" }).await;
    until("it is broadcast", || async { chain.mempool_len().unwrap() >= 1 }).await;
    let before = node.balance().await.unwrap().total_sat;
    until("the money is home", || async {
        chain.mine(100).await.unwrap();
        is_less_fees(node.balance().await.unwrap().total_sat.saturating_sub(before), 5 * BTC)
    })
    .await;
}
