//! What an operator reads about their money: `rillpay-server status`, beside a running server and without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rillpay_channel::bitcoin::bip32::Xpub;
use rillpay_channel::secp;
use rillpay_server::Server;

use super::*;

/// Nothing is settled before six thousand wait for it.
const LATE: [(&str, &str); 2] = [("settlement.merge_delay_seconds", "3600"), ("settlement.value_at_risk_sat", "6_000")];

/// The configuration of a place, as a file.
fn file(place: &Place, more: &[(&str, &str)]) -> PathBuf {
    let keys: Vec<_> = BY_REQUEST.iter().chain(&[OFTEN]).chain(more).copied().collect();
    let file = place.dir.path().join("rillpay.toml");
    let text = config_text(place.dir.path(), &place.chain.wallet_address().unwrap(), &keys);
    std::fs::write(&file, text).unwrap();
    file
}

/// Runs the program.
fn ask(file: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_rillpay-server");
    Command::new(program).args(["status", "--config"]).arg(file).env("RUST_LOG", "warn").output().unwrap()
}

fn read(file: &Path) -> String {
    let output = ask(file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sum(channels: usize, sat: u64) -> String {
    format!("{channels:>8} channels {sat:>16} sat")
}

/// The middle of what is to be read, with what is at risk in at most 36 and at most 144 blocks.
fn at_risk(near: &str, far: &str) -> String {
    let none = sum(0, 0);
    format!(
        "\npaid, in no settlement yet, by blocks to the expiry:\n  at most     6 {none}\n  at most    36 {near}\n  \
         at most   144 {far}\n  at most  1008 {none}\n  more          {none}\nof these:\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_at_risk_what_waits_what_is_not_worth_it_and_what_is_on_its_way() {
    let account = format!("\"{}\"", Xpub::from_priv(secp(), &seed(200).account().unwrap()));
    let keys: Vec<_> = LATE.into_iter().chain([("payout", account.as_str())]).collect();
    let mut place = Place::new(&keys).await;
    let file = file(&place, &keys);
    // Emma's time is nearly over. All the deposits first: their blocks would confirm a settlement.
    let emma = place.watched(1, 3).await;
    place.full_blocks_to(emma.payer.params().expiry - 40).await;
    let (mut bob, mut carol) = (place.watched(2, 2).await, place.watched(3, 1).await);
    let (mut dave, mut eve) = (place.watched(4, 3).await, place.watched(5, 3).await);
    let frank = place.watched(6, 1).await;
    // One who paid nothing, and one whose deposit has not come.
    let (_grace, _heidi) =
        (place.watched(7, 0).await, Viewer::open_for(place.address(), 8, Unit::Request, 1_000_000).await);
    // At six satoshi a byte, a thousand is not worth its place in a settlement, and two thousand are.
    place.fees.set(6);
    place.fees.set_next(9);
    place.full_blocks(1).await;
    place.looked().await;
    let height = place.chain.tip().await.unwrap().height;
    assert!((7..=36).contains(&(emma.payer.params().expiry - height)));
    assert!((37..=144).contains(&(frank.payer.params().expiry - height)));
    dave.stop().await;
    eve.stop().await;
    let txid = place.settlement(&eve, None).await.txid;
    bob.stop().await;
    carol.stop().await;

    let rates = "a settlement pays 6 sat/vB, an urgent one 9 sat/vB";
    let waiting = format!("  closed        {}\n  not worth it  {}\n", sum(2, 3_000), sum(1, 1_000));
    let next = "\nthe next settlement pays to address number 2\n";
    let expected = format!(
        "at block {height}; {rates}\n{}{waiting}\nsettlements on their way: 1\n  {txid}  made at block {height}, 6 sat/vB\n{:16}{}\n{next}",
        at_risk(&sum(1, 3_000), &sum(3, 4_000)),
        "",
        sum(2, 6_000),
    );
    assert_eq!(read(&file), expected);

    // In a block it can still be undone, and is on its way; buried, it is over.
    place.chain.mine(1).await.unwrap();
    place.looked().await;
    assert!(read(&file).contains(&format!("on their way: 1\n  {txid}")));
    place.chain.mine(5).await.unwrap();
    place.looked().await;
    let expected = format!(
        "at block {}; {rates}\n{}{waiting}\nsettlements on their way: 0\n{next}",
        height + 6,
        at_risk(&sum(1, 3_000), &sum(3, 4_000)),
    );
    assert_eq!(read(&file), expected);

    // Nothing of this needs a server, and one damaged record hides no other.
    place.stop().await;
    let store = rusqlite::Connection::open(place.dir.path().join("data/channels.sqlite")).unwrap();
    assert_eq!(store.execute("UPDATE balance SET accepted = 5000 WHERE row = 5", []).unwrap(), 1);
    drop(store);
    let expected = format!(
        "at block {}; {rates}\n{}{waiting}\nsettlements on their way: 0\n{next}\nchannels whose record is damaged: 1 (the \
         server's log names them)\n",
        height + 6,
        at_risk(&sum(1, 3_000), &sum(2, 3_000)),
    );
    assert_eq!(read(&file), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_it_fails_and_before_the_first_look_it_says_so() {
    let mut place = Place::new(&[]).await;
    place.stop().await;
    std::fs::remove_dir_all(place.dir.path().join("data")).unwrap();
    let file = file(&place, &[]);
    let output = ask(&file);
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("rillpay-server: the payments cannot be read: "), "{said}");
    assert!(!place.dir.path().join("data/channels.sqlite").exists(), "it only reads");

    let server = Server::open(place.config.clone(), place.fees.clone()).await.unwrap();
    let first = read(&file);
    assert!(first.starts_with("the server has not looked at the chain yet\n"), "{first}");
    assert!(first.ends_with("\nsettlements on their way: 0\n"), "an address has no next one: {first}");
    drop(server);
}
