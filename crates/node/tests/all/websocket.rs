//! The same channels over a WebSocket.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rillpay_node::{Node, Notice, Options, PeerAddress};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::pair::{BTC, HITESH, IRENE, Pair, btc, until};

/// Hitesh calls Irene's WebSocket instead of her TCP port.
async fn over_websockets() -> Pair {
    let mut pair = Pair::connected().await;
    pair.nodes[IRENE].stop().await;
    let websocket = Some("127.0.0.1:0".parse().unwrap());
    let options = Options { websocket, ..Options::new(pair.folders[IRENE].path()) };
    pair.nodes[IRENE] = Node::start(options, Arc::new(pair.chain.clone())).await.unwrap();
    let (id, at) = (pair.nodes[IRENE].id(), pair.nodes[IRENE].websocket().unwrap());
    assert_eq!(pair.nodes[IRENE].address(), None);
    pair.nodes[HITESH].connect(&PeerAddress { id, address: format!("ws://{at}") }).await.unwrap();
    pair.listen = [None, None];
    pair
}

#[tokio::test(flavor = "multi_thread")]
async fn both_pay_over_a_websocket_and_text_disturbs_nobody() {
    let mut pair = over_websockets().await;
    let at = pair.nodes[IRENE].websocket().unwrap();
    let irene = pair.nodes[IRENE].id();
    pair.channel = pair.nodes[HITESH].open(irene, btc(10), btc(5)).await.unwrap().channel;
    until("the funding waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(3).await.unwrap();
    pair.is_open().await;
    let mut notices = pair.nodes[HITESH].notices();
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    let paid = loop {
        if let Notice::Paid(channel, amount) = notices.recv().await.unwrap() {
            break (channel.to_string(), amount.to_amount_floor());
        }
    };
    assert_eq!(paid, (pair.channel.clone(), btc(2)), "who is paid is told");
    pair.nodes[HITESH].pay(&pair.channel, btc(1)).await.unwrap();
    until("six and four", || async { pair.balances().await == [6 * BTC, 4 * BTC] }).await;

    for garbage in [Message::text("hello"), Message::binary(vec![0x55; 500]), Message::binary(vec![0; 300_000])] {
        let (mut socket, _) = connect_async(format!("ws://{at}/")).await.unwrap();
        // The other end may hang up before it has read all of it.
        let _ = socket.send(garbage).await;
        while let Some(Ok(message)) = socket.next().await {
            assert!(matches!(message, Message::Close(_)), "{message:?}");
        }
    }
    pair.nodes[HITESH].pay(&pair.channel, btc(1)).await.unwrap();
    until("five and five", || async { pair.balances().await == [5 * BTC, 5 * BTC] }).await;
}
