//! BOLT 8 and `init` in either role, keys that change, and what both refuse.

use rillpay_transport::{Code, EphemeralKey, Initiator, NodeKey, Responder, Session};
use rillpay_wire::messages::{Init, Warning};
use rillpay_wire::{ChannelId, Feature, Message, Payload};

use bitcoin::secp256k1::SecretKey;
use lightning::chain::BestBlock;

use crate::node::{Ldk, Socket};
use crate::us::features;
use crate::world::ping;

fn ldk() -> Ldk {
    Ldk::new(BestBlock::from_network(bitcoin::Network::Regtest), 1_000, true)
}

fn node() -> NodeKey {
    NodeKey::new(SecretKey::from_slice(&[1; 32]).unwrap())
}

fn ephemeral() -> EphemeralKey {
    EphemeralKey::new(&[3; 32]).unwrap()
}

/// We call, LDK answers.
fn called(ldk: &Ldk) -> (Session, Socket) {
    let mut socket = Socket::default();
    ldk.peers.new_inbound_connection(socket.clone(), None).unwrap();
    let node = node();
    let (initiator, act_one) = Initiator::start(&node, ldk.id, ephemeral());
    ldk.peers.read_event(&mut socket, &act_one).unwrap();
    ldk.peers.process_events();
    let (session, act_three) = initiator.act_two(&socket.taken()).unwrap();
    ldk.peers.read_event(&mut socket, &act_three).unwrap();
    ldk.peers.process_events();
    (session, socket)
}

/// LDK calls, we answer.
fn answered(ldk: &Ldk) -> (Session, Socket) {
    let mut socket = Socket::default();
    let node = node();
    let act_one = ldk.peers.new_outbound_connection(node.public(), socket.clone(), None).unwrap();
    let (answered, act_two) = Responder::new(&node).act_one(&act_one, ephemeral()).unwrap();
    ldk.peers.read_event(&mut socket, &act_two).unwrap();
    ldk.peers.process_events();
    // Act three and LDK's `init` come together.
    let mut bytes = socket.taken();
    let rest = bytes.split_off(66);
    let mut session = answered.act_three(&bytes).unwrap();
    assert_eq!(session.remote(), ldk.id);
    session.feed(&rest);
    (session, socket)
}

/// Carries a message to LDK. `false` if LDK wants the connection closed.
fn tell(ldk: &Ldk, session: &mut Session, socket: &mut Socket, message: &[u8]) -> bool {
    let mut bytes = Vec::new();
    session.seal(message, &mut bytes).unwrap();
    let open = ldk.peers.read_event(socket, &bytes).is_ok();
    ldk.peers.process_events();
    open && !socket.hung_up()
}

/// The next message from LDK.
fn hear(session: &mut Session, socket: &Socket) -> Message {
    session.feed(&socket.taken());
    let bytes = session.message().unwrap().expect("a message from LDK");
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.encode().unwrap(), bytes);
    message
}

/// Both say `init`; then so many pings that both directions change their keys, with answers of all sizes. LDK pings, too, after each
/// 32 messages, and wants to be answered.
fn converse(ldk: &Ldk, mut session: Session, mut socket: Socket) {
    let Message::Init(init) = hear(&mut session, &socket) else { panic!("LDK begins with init") };
    // Neither insists on what the other does not have.
    features().check_peer(&init.features).unwrap();
    assert!(features().negotiated(&init.features, Feature::Anchors));
    assert!(tell(ldk, &mut session, &mut socket, &Init::new(features()).encode().unwrap()));
    assert!(ldk.peers.peer_by_node_id(&node().public()).is_some());

    let mut asked = 0;
    for n in 0..1100_u16 {
        let ping = ping(if n % 300 == 299 { 65531 } else { n }, usize::from(n % 100));
        assert!(tell(ldk, &mut session, &mut socket, &ping.encode().unwrap()));
        let mut heard = hear(&mut session, &socket);
        if let Message::Ping(theirs) = &heard {
            asked += 1;
            assert!(tell(ldk, &mut session, &mut socket, &theirs.pong().unwrap().encode().unwrap()));
            heard = hear(&mut session, &socket);
        }
        assert_eq!(heard, Message::Pong(ping.pong().unwrap()), "{n}");
    }
    assert!(asked > 10, "{asked}");
}

#[test]
fn we_call_ldk() {
    let ldk = ldk();
    let (session, socket) = called(&ldk);
    converse(&ldk, session, socket);
}

#[test]
fn ldk_calls_us() {
    let ldk = ldk();
    let (session, socket) = answered(&ldk);
    converse(&ldk, session, socket);
}

#[test]
fn wrong_keys_and_altered_bytes_are_refused_by_both() {
    let ldk = ldk();
    let mut socket = Socket::default();
    ldk.peers.new_inbound_connection(socket.clone(), None).unwrap();
    let node = node();
    let (_, act_one) = Initiator::start(&node, node.public(), ephemeral());
    assert!(ldk.peers.read_event(&mut socket, &act_one).is_err());
    let act_one = ldk.peers.new_outbound_connection(ldk.id, Socket::default(), None).unwrap();
    let error = Responder::new(&node).act_one(&act_one, ephemeral()).err().unwrap();
    assert_eq!(error.code(), Code::HandshakeRefused);

    let (mut session, mut socket) = called(&ldk);
    let mut bytes = Vec::new();
    session.seal(&Init::new(features()).encode().unwrap(), &mut bytes).unwrap();
    bytes[20] ^= 1;
    assert!(ldk.peers.read_event(&mut socket, &bytes).is_err());
}

/// It is all right to be odd.
#[test]
fn unknown_messages_are_ignored_or_refused_by_both() {
    let ldk = ldk();
    let (mut session, mut socket) = called(&ldk);
    hear(&mut session, &socket);
    assert!(tell(&ldk, &mut session, &mut socket, &Init::new(features()).encode().unwrap()));
    let warning = Warning { channel_id: ChannelId::ALL, data: b"careful".to_vec(), tlvs: Default::default() };
    assert!(tell(&ldk, &mut session, &mut socket, &warning.encode().unwrap()));
    let (odd, even) = ([0x80, 0x01, 1, 2, 3], [0x80, 0x02, 1, 2, 3]);
    assert!(tell(&ldk, &mut session, &mut socket, &odd));
    assert!(!tell(&ldk, &mut session, &mut socket, &even));
    assert!(Message::decode(&odd).is_ok() && Message::decode(&even).is_err());
}

/// LDK hangs up on a peer without a feature that it insists on, as we would.
#[test]
fn a_missing_feature_ends_the_acquaintance() {
    let ldk = ldk();
    let (mut session, mut socket) = called(&ldk);
    let Message::Init(init) = hear(&mut session, &socket) else { panic!("LDK begins with init") };
    let unknown = features().with_bit(1_000);
    assert!(init.features.check_peer(&unknown).is_err());
    assert!(!tell(&ldk, &mut session, &mut socket, &Init::new(unknown).encode().unwrap()));
}
