//! Sessions: who may write a channel, what a request for content waits for, and how the server ends.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that fails may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::odd::Odd;
use common::*;
use rillpay_chain::kernel::KernelChain;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::{Message, Refusal};

/// One request costs one satoshi: nothing about media.
const BY_REQUEST: [(&str, &str); 2] = [("tariff.unit", "\"request\""), ("tariff.price_msat", "1000")];

async fn emma(server: &Running, chain: &KernelChain) -> Viewer {
    let mut emma = Viewer::open_for(server.address, 1, Unit::Request, 1000).await;
    emma.fund(chain, Amount::from_sat(36 * MBTC)).await;
    emma
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    BY_REQUEST.iter().chain(more).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_session_fences_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &with(&[("content.wait_milliseconds", "300")]));
    media(dir.path(), "a.bin", b"content");
    let server = Running::start(config, Arc::new(chain.clone())).await;
    let mut emma = emma(&server, &chain).await;
    emma.pay_for(10).await;
    assert_eq!(get(server.address, "/media/a.bin", Some(emma.token)).await.0, 200);

    let old_token = emma.token;
    let mut old = std::mem::replace(&mut emma.socket, Socket::connect(server.address).await);
    let state = emma.reattach(server.address).await;
    assert_eq!((emma.epoch, state.delivered), (2, 1));
    assert_eq!(old.refusal().await, "superseded");
    assert_eq!(old.next().await, None);
    media(dir.path(), "b.bin", b"content");
    assert_eq!(get(server.address, "/media/b.bin", Some(old_token)).await.0, 402);
    assert_eq!(get(server.address, "/media/b.bin", Some(emma.token)).await.0, 200);
    assert_eq!(get(server.address, "/media/b.bin", None).await.0, 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_store_fences_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &BY_REQUEST);
    let one = Running::start(config.clone(), Arc::new(chain.clone())).await;
    let mut emma = emma(&one, &chain).await;
    emma.pay_for(3).await;

    let two = Running::start(config, Arc::new(chain.clone())).await;
    let mut old = std::mem::replace(&mut emma.socket, Socket::connect(two.address).await);
    let state = emma.reattach(two.address).await;
    assert_eq!(state.paid.unwrap().cumulative, Amount::from_sat(3));
    // The first server learns of it at its next write, and takes nothing that it could not store.
    let step = emma.payer.need(4, 0, 0).unwrap();
    let saved = step.save(|_| Ok::<_, std::convert::Infallible>(())).unwrap();
    for effect in emma.payer.commit(saved).unwrap() {
        let rillpay_channel::payer::Effect::Send(message) = effect else { panic!("a message") };
        old.send(&message).await;
    }
    assert_eq!(old.refusal().await, "superseded");
    assert_eq!(old.next().await, None);
    let ack = emma.pay_for(5).await;
    assert_eq!(ack, Message::Ack { cumulative: Amount::from_sat(5), delivered: 0 });
    // New channels of both take different keys.
    let a = Viewer::open_for(one.address, 7, Unit::Request, 1000).await;
    let b = Viewer::open_for(two.address, 8, Unit::Request, 1000).await;
    assert_ne!(a.payer.params().payee, b.payer.params().payee);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_waits_for_payment_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &with(&[("content.wait_milliseconds", "3000")]));
    for name in ["a", "b", "c"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    let server = Running::start(config, Arc::new(chain.clone())).await;
    let mut emma = emma(&server, &chain).await;

    // Nobody pays: 402 after the wait.
    let begun = Instant::now();
    let (status, problem) = get(server.address, "/media/a.bin", Some(emma.token)).await;
    assert_eq!(status, 402);
    assert!(problem.contains("not_paid"), "{problem}");
    assert!(begun.elapsed() >= Duration::from_secs(3));
    emma.socket.wait_for("a need", |message| matches!(message, Message::Need { .. }).then_some(())).await;

    // The payer says that it does not pay: 402 at once.
    for (code, told) in [("paused", "paused"), ("over_budget", "over_budget"), ("no_such_code", "not_paid")] {
        let begun = Instant::now();
        let asked = tokio::spawn(get(server.address, "/media/a.bin", Some(emma.token)));
        emma.socket.wait_for("a need", |message| matches!(message, Message::Need { .. }).then_some(())).await;
        let refusal = Refusal { code: code.into(), text: String::new(), about: 7, state: None };
        emma.socket.send(&Message::Refused(refusal)).await;
        let (status, problem) = asked.await.unwrap();
        assert_eq!(status, 402);
        assert!(problem.contains(told), "{problem}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    // The session goes away: its requests are answered, and no token outlives it.
    let asked = tokio::spawn(get(server.address, "/media/a.bin", Some(emma.token)));
    emma.socket.wait_for("a need", |message| matches!(message, Message::Need { .. }).then_some(())).await;
    let old_token = emma.token;
    emma.socket = Socket::connect(server.address).await;
    let begun = Instant::now();
    assert!(matches!(asked.await.unwrap().0, 402 | 409));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(get(server.address, "/media/a.bin", Some(old_token)).await.0, 402);

    // Several at a time: one need after the other, each for what all before it have taken.
    let state = emma.reattach(server.address).await;
    assert_eq!(state.delivered, 0);
    let asked: Vec<_> = ["/media/a.bin", "/media/b.bin", "/media/c.bin"]
        .map(|path| tokio::spawn(get(server.address, path, Some(emma.token))))
        .into();
    for upto in 1..=3 {
        let need = emma.until("a need", |message| matches!(message, Message::Need { .. })).await;
        assert_eq!(need, Message::Need { upto, delivered: upto - 1 });
        emma.receive(1);
    }
    for answer in asked {
        assert_eq!(answer.await.unwrap().0, 200);
    }
    // What is paid ahead needs no asking.
    emma.pay_for(4).await;
    media(dir.path(), "d.bin", b"content");
    assert_eq!(get(server.address, "/media/d.bin", Some(emma.token)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_view_of_the_chain_serves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &BY_REQUEST);
    for name in ["a", "b"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    let odd = Odd::new(chain.clone());
    let server = Running::start(config, odd.clone()).await;
    let mut emma = emma(&server, &chain).await;
    emma.pay_for(2).await;
    assert_eq!(get(server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    assert_eq!(get(server.address, "/healthz", None).await.0, 200);

    odd.oddity().stale = true;
    let (status, problem) = get(server.address, "/media/b.bin", Some(emma.token)).await;
    assert_eq!(status, 503);
    assert!(problem.contains("unavailable"), "{problem}");
    assert_eq!(get(server.address, "/healthz", None).await.0, 503);
    let mut other = Socket::connect(server.address).await;
    let (_, node) = other.welcome().await;
    other.send(&request(node, 2, Unit::Request, 1000).message()).await;
    assert_eq!(other.refusal().await, "unavailable");

    odd.oddity().stale = false;
    assert_eq!(get(server.address, "/media/b.bin", Some(emma.token)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_settles_nothing_and_a_start_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config =
        config(dir.path(), &chain.wallet_address().unwrap(), &with(&[("content.wait_milliseconds", "60_000")]));
    for name in ["a", "b"] {
        media(dir.path(), &format!("{name}.bin"), b"content");
    }
    let server = Running::start(config.clone(), Arc::new(chain.clone())).await;
    let mut emma = emma(&server, &chain).await;
    emma.pay_for(1).await;
    assert_eq!(get(server.address, "/media/a.bin", Some(emma.token)).await.0, 200);
    let waiting = tokio::spawn(get(server.address, "/media/b.bin", Some(emma.token)));
    emma.socket.wait_for("a need", |message| matches!(message, Message::Need { .. }).then_some(())).await;

    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody is waited for that will not come");
    assert_eq!(waiting.await.unwrap().0, 503, "who waits is told");
    assert_eq!(emma.socket.refusal().await, "unavailable");
    assert_eq!(emma.socket.next().await, None);
    assert_eq!(chain.mempool_len().unwrap(), 0, "nothing is settled because of a shutdown");

    let server = Running::start(config, Arc::new(chain.clone())).await;
    let state = emma.reattach(server.address).await;
    assert_eq!((state.paid.unwrap().cumulative.to_sat(), state.delivered, state.stopped), (1, 1, false));
    emma.receive(1);
    emma.pay_for(2).await;
    assert_eq!(get(server.address, "/media/b.bin", Some(emma.token)).await.0, 200);
    assert_eq!(chain.mempool_len().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_what_is_new_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let mut config = config(dir.path(), &chain.wallet_address().unwrap(), &BY_REQUEST);
    config.limits.store_pages = Some(20);
    let server = Running::start(config, Arc::new(chain.clone())).await;
    let mut emma = emma(&server, &chain).await;
    emma.pay_for(1).await;
    let mut socket = Socket::connect(server.address).await;
    let (_, node) = socket.welcome().await;
    let mut keys = 2..;
    let code = loop {
        socket.send(&request(node, keys.next().unwrap(), Unit::Request, 1000).message()).await;
        match socket.next().await.unwrap() {
            Message::Opened { .. } => {}
            Message::Refused(refusal) => break refusal.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, "unavailable");
    // What is left is for those who are there.
    emma.receive(1);
    assert_eq!(emma.pay_for(2).await, Message::Ack { cumulative: Amount::from_sat(2), delivered: 0 });
    assert_eq!(get(server.address, "/healthz", None).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_channel_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &BY_REQUEST);
    let server = Running::start(config.clone(), Arc::new(chain.clone())).await;
    let mut emma = emma(&server, &chain).await;
    emma.pay_for(1).await;
    let mut other = Viewer::open_for(server.address, 2, Unit::Request, 1000).await;
    other.fund(&chain, Amount::from_sat(36 * MBTC)).await;
    server.stop().await;
    let store = rusqlite::Connection::open(dir.path().join("data/channels.sqlite")).unwrap();
    assert_eq!(store.execute("UPDATE balance SET accepted = 1000 WHERE row = 0", []).unwrap(), 1);
    drop(store);

    let server = Running::start(config, Arc::new(chain.clone())).await;
    let mut socket = Socket::connect(server.address).await;
    let (challenge, _) = socket.welcome().await;
    socket.send(&emma.payer.attach(&challenge)).await;
    assert_eq!(socket.refusal().await, "corrupted_store");
    other.reattach(server.address).await;
    assert_eq!(other.pay_for(1).await, Message::Ack { cumulative: Amount::from_sat(1), delivered: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_seed_does_not_start_with_another() {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &[]);
    let server = Running::start(config.clone(), Arc::new(chain.clone())).await;
    Viewer::open(server.address, 1).await;
    server.stop().await;
    std::fs::remove_file(&config.seed_file).unwrap();
    let error = rillpay_server::Server::open(config.clone(), Arc::new(chain.clone())).await.err().unwrap();
    assert!(error.to_string().contains("no recovery words"), "{error}");
    assert!(!config.seed_file.exists());
}
