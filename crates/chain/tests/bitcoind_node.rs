//! The node that tests use does what they rely on.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, missing_docs)]

use bitcoin::{Amount, ScriptBuf};
use rillpay_chain::testing::{INITIAL_BLOCKS, Node};
use serde_json::{Value, json};

#[tokio::test]
async fn a_node_mines_pays_reorganises_and_comes_back() {
    let node = Node::start().await;
    assert_eq!(node.tip().await.0, INITIAL_BLOCKS);
    let to = ScriptBuf::from_hex("0014751e76e8199196d454941c45d1b3a323f1433bd6").unwrap();
    let txid = node.send(&to, Amount::from_sat(50_000)).await;
    node.mine(2).await;
    let (height, old) = node.tip().await;
    assert_eq!(node.call::<Vec<Value>>("getrawmempool", json!([])).await, Vec::<Value>::new());

    for depth in [2, 3, 1] {
        node.reorganise(depth).await;
    }
    let (longer, new) = node.tip().await;
    assert_eq!(longer, height + 3);
    assert_ne!(new, old);
    assert_eq!(node.call::<Vec<Value>>("getrawmempool", json!([])).await, [json!(txid)]);

    let cookie = std::fs::read_to_string(node.cookie()).unwrap();
    node.stop().await;
    node.start_again().await;
    assert_ne!(std::fs::read_to_string(node.cookie()).unwrap(), cookie, "a restart writes a new cookie");
    assert_eq!(node.tip().await, (longer, new));
    node.kill();
    node.start_again().await;
    let rival = node.pay(&to, Amount::from_sat(60_000)).await;
    node.mine_exactly(std::slice::from_ref(&rival)).await.unwrap();
    assert!(node.mine_exactly(&[rival]).await.is_err(), "a coin is spent once");
}
