//! A real server, real sockets, and between them a line that loses, doubles, delays and breaks; a server that is killed
//! after any message; a disk that is full or busy. However it goes, both ledgers reconcile.

// A test that panics has done its work, wherever in the file the helper stands.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod page;
mod proxy;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::program::*;
use common::*;
use page::{Look, PRICE, Page};
use proxy::{Fault, Proxy};
use rillpay_chain::Chain;
use rillpay_chain::kernel::KernelChain;
use rillpay_channel::bitcoin::Amount;
use rillpay_channel::wire::Message;

const DEPOSIT: Amount = Amount::from_sat(36 * MBTC);
const PIECES: u32 = 3;

fn pieces(dir: &Path) {
    for number in 0..10 {
        media(dir, &format!("{number}.bin"), b"content");
    }
}

struct Place {
    dir: tempfile::TempDir,
    chain: KernelChain,
    server: Running,
}

async fn place(more: &[(&str, &str)]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let chain = kernel().await;
    let price = format!("{}", PRICE * 1000);
    let mut keys =
        vec![("tariff.unit", "\"request\""), ("tariff.price_msat", &price), ("content.wait_milliseconds", "700")];
    keys.extend(more);
    let config = config(dir.path(), &chain.wallet_address().unwrap(), &keys);
    pieces(dir.path());
    let server = Running::start(config, Arc::new(chain.clone())).await;
    Place { dir, chain, server }
}

/// Pages with a proxy each, their channels open and their deposits confirmed.
async fn pages(place: &Place, count: u8) -> Vec<(Page, Proxy)> {
    let mut pages = Vec::new();
    for number in 0..count {
        let proxy = Proxy::start(place.server.address).await;
        let page = Page::open(place.server.address, proxy.address, number, Look::At(place.chain.clone())).await;
        pages.push((page, proxy));
    }
    let deposits = pages.iter().map(|(page, _)| (page.payer().params().funding_script(), DEPOSIT)).collect();
    place.chain.send_many(deposits).await.unwrap();
    place.chain.mine(1).await.unwrap();
    pages
}

/// Attach, three pieces, Stop.
async fn life(page: &mut Page) {
    page.reconnect().await;
    page.funded().await;
    for piece in 0..PIECES {
        page.watch(piece).await;
    }
    page.stop().await;
}

/// The viewer got back what the statement leaves; the settlement confirms.
async fn is_settled(place: &Place, page: &Page, number: u8) {
    let stated = page.payer().closing().unwrap().cumulative;
    let own = seed(number).return_script(0).unwrap();
    let outputs = soon("the settlement", async {
        loop {
            let outputs = place.chain.script_unspent(&rillpay_chain::ScriptHash::of(&own)).await.unwrap();
            if !outputs.is_empty() {
                return outputs;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(outputs.iter().map(|output| output.value).sum::<Amount>(), DEPOSIT - stated);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_can_be_lost_doubled_overtaken_or_cut_off() {
    let place = place(&[]).await;
    let mut first = pages(&place, 1).await;
    let (page, proxy) = &mut first[0];
    proxy.count();
    life(page).await;
    let frames = proxy.passed();
    assert!(frames >= 14, "{frames} frames are not a life");
    page.reconciles(0).await;
    is_settled(&place, page, 0).await;
    drop(first);

    let faults = [Fault::Lost, Fault::Doubled, Fault::Overtaken, Fault::Cut];
    let plans: Vec<_> = (0..frames).flat_map(|at| faults.map(|fault| (at, fault))).collect();
    let count = u8::try_from(plans.len()).unwrap();
    let second = self::place(&[]).await;
    let lives = pages(&second, count).await.into_iter().zip(plans).map(|((mut page, proxy), (at, fault))| {
        tokio::spawn(async move {
            proxy.plan(at, fault);
            life(&mut page).await;
            // One life has a frame less than another: news of the deposit is told when it is seen. What is left of the
            // plan happens to a page that comes back.
            for _ in 0..frames {
                if !proxy.is_done() {
                    page.reconnect().await;
                }
            }
            assert!(proxy.is_done(), "{fault:?} at {at} did not happen");
            // A piece whose connection broke may have been counted; the next try is another one to the server.
            page.reconciles(2).await;
            page
        })
    });
    let lives: Vec<_> = lives.collect();
    let mut ended = Vec::new();
    for life in lives {
        ended.push(life.await.unwrap());
    }
    for (number, page) in (0..).zip(&ended) {
        is_settled(&second, page, number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_can_be_killed_after_any_message() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = program_config(dir.path(), address, PRICE * 1000, 700);
    pieces(dir.path());

    // Two viewers for each frame: one whose server dies after it has passed, one whose server dies and takes it along.
    let frames = 14_u32;
    let plans: Vec<_> = (0..frames).flat_map(|at| [(at, Fault::Kill), (at, Fault::KillAndLose)]).collect();
    let mut program = Program::start(&file, address).await;
    let mut viewers = Vec::new();
    for number in 0..u8::try_from(plans.len()).unwrap() {
        let proxy = Proxy::start(address).await;
        viewers.push((Page::open(address, proxy.address, number, Look::Trusting).await, proxy));
    }
    program.kill();
    let between = program_chain(dir.path()).await;
    let deposits = viewers.iter().map(|(page, _)| (page.payer().params().funding_script(), DEPOSIT)).collect();
    between.send_many(deposits).await.unwrap();
    between.mine(1).await.unwrap();
    drop(between);

    program = Program::start(&file, address).await;
    for ((page, proxy), (at, fault)) in viewers.iter_mut().zip(plans) {
        proxy.plan(at, fault);
        let (proxy, kill) = (proxy.clone(), Arc::clone(&proxy.kill));
        {
            let living = life(page);
            tokio::pin!(living);
            tokio::select! {
                () = &mut living => {}
                () = kill.notified() => {
                    program.kill();
                    program = Program::start(&file, address).await;
                    living.await;
                }
            }
        }
        assert!(proxy.is_done(), "{fault:?} at {at} did not happen");
        page.reconciles(2).await;
    }
}

/// A second connection to the server's store.
fn store(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("data/channels.sqlite")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_before_a_slow_disk_has_it() {
    let place = place(&[]).await;
    let mut emma =
        Viewer::open_for(place.server.address, 1, rillpay_channel::tariff::Unit::Request, PRICE * 1000).await;
    emma.fund(&place.chain, DEPOSIT).await;
    let other = store(place.dir.path());
    for amount in 1..=3 {
        // Another writer holds the store: whatever the server wants to store has to wait.
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        emma.receive(u64::from(amount > 1));
        let before = stored(&other);
        let step = emma.payer.need(amount, 0, 0).unwrap();
        emma.carry_out(step).await;
        let early = tokio::time::timeout(Duration::from_millis(300), emma.socket.next()).await;
        assert!(early.is_err(), "said before it was stored: {early:?}");
        assert_eq!(stored(&other), before);
        other.execute_batch("COMMIT").unwrap();
        let acknowledged = emma.until("the acknowledgement", |message| matches!(message, Message::Ack { .. })).await;
        let Message::Ack { cumulative, .. } = acknowledged else { panic!("{acknowledged:?}") };
        assert_eq!(cumulative.to_sat(), amount * PRICE);
        assert_eq!(stored(&other), amount * PRICE);
    }
}

/// The highest payment in the store.
fn stored(store: &rusqlite::Connection) -> u64 {
    store.query_row("SELECT max(accepted) FROM balance", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_serves_nothing_new_and_loses_nothing() {
    let place = place(&[("limits.store_mebibytes", "1")]).await;
    let mut pages = pages(&place, 2).await;
    for (page, _) in &mut pages {
        page.reconnect().await;
        page.funded().await;
        page.watch(0).await;
    }
    // More than the store may ever hold: every further page is refused.
    let other = store(place.dir.path());
    other.execute_batch("CREATE TABLE ballast (bytes BLOB); INSERT INTO ballast VALUES (zeroblob(2000000))").unwrap();
    let mut socket = Socket::connect(place.server.address).await;
    let (_, node) = socket.welcome().await;
    let request = request(node, 200, rillpay_channel::tariff::Unit::Request, PRICE * 1000);
    socket.send(&request.message()).await;
    assert_eq!(socket.refusal().await, "unavailable");
    // Who is there goes on: a payment changes a row that is there already.
    for (page, _) in &mut pages {
        page.watch(1).await;
    }
    other.execute_batch("DROP TABLE ballast").unwrap();
    for (number, (page, _)) in (0..).zip(&mut pages) {
        page.watch(2).await;
        page.reconciles(0).await;
        is_settled(&place, page, number).await;
    }
}
