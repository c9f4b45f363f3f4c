//! Everything lost but the recovery words: what peers kept brings the money home.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rillpay_chain::Chain;
use rillpay_chain::kernel::KernelChain;
use rillpay_channel::bitcoin::Network;
use rillpay_channel::bitcoin::constants::ChainHash;
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::keys::Seed;
use rillpay_node::{Node, Options, PeerAddress, Policy};
use rillpay_transport::connection::{Connection, tcp};
use rillpay_transport::{EphemeralKey, NodeKey};
use rillpay_wire::messages::{Extension, Init, Networks, PeerStorage, Ping};
use rillpay_wire::{Feature, Features, Message};
use rusqlite::{OptionalExtension, params};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::faults::{Stranger, heard};
use crate::on_chain::{copied_commitment, is_less_fees};
use crate::pair::{BTC, FEES, HITESH, IRENE, Pair, address_of, btc, start, until};

/// The bytes of every backup.
const SIZE: usize = 65_531;

/// What a node keeps for its only peer, as it is on the disk.
fn kept(folder: &Path) -> Option<Vec<u8>> {
    store(folder).query_row("SELECT blob FROM kept", [], |row| row.get(0)).optional().unwrap()
}

fn store(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("node.sqlite")).unwrap()
}

/// The number of the newest channel's keys.
fn row(folder: &Path) -> u32 {
    store(folder).query_row("SELECT MAX(row) FROM channel", [], |row| row.get(0)).unwrap()
}

/// The chain's fees of a close by agreement, which the opener pays.
fn is_closed(amount: u64, whole: u64) -> bool {
    amount <= whole && amount > whole - FEES
}

impl Pair {
    fn irene_keeps(&self) -> Option<Vec<u8>> {
        kept(self.folders[IRENE].path())
    }

    /// Irene with another backup of Hitesh's than the one that she has, or with none.
    async fn irene_gives(&mut self, blob: Option<&[u8]>) {
        self.nodes[IRENE].stop().await;
        let db = store(self.folders[IRENE].path());
        db.execute("DELETE FROM kept", []).unwrap();
        if let Some(blob) = blob {
            let peer = self.nodes[HITESH].id().serialize();
            db.execute("INSERT INTO kept (peer, blob, seen) VALUES (?, ?, 0)", params![peer, blob]).unwrap();
        }
        self.nodes[IRENE] = start(self.folders[IRENE].path(), &self.chain, self.listen[IRENE]).await;
    }

    /// Irene pays Hitesh 2.
    async fn becomes_seven_and_three(&self) {
        self.nodes[IRENE].pay(&self.channel, btc(2)).await.unwrap();
        until("seven and three", || async { self.balances().await == [7 * BTC, 3 * BTC] }).await;
        self.paid_two().await;
    }

    /// Each connection begins with a backup of everything. Hitesh is gone with that one.
    async fn hitesh_backs_up_and_stops(&mut self) -> Vec<u8> {
        self.irene_gives(None).await;
        until("a backup is kept", || async { self.irene_keeps().is_some() }).await;
        self.is_open().await;
        self.nodes[HITESH].stop().await;
        self.irene_keeps().unwrap()
    }

    /// Hitesh with a new folder, in which there is nothing but his words.
    async fn hitesh_has_words_alone(&mut self) {
        self.nodes[HITESH].stop().await;
        let words = fs::read(self.folders[HITESH].path().join("seed.words")).unwrap();
        self.folders[HITESH] = TempDir::new().unwrap();
        write_words(self.folders[HITESH].path(), &words);
        self.nodes[HITESH] = start(self.folders[HITESH].path(), &self.chain, None).await;
        assert!(self.nodes[HITESH].list().await.unwrap().is_empty());
    }

    async fn restored(&self) -> Vec<String> {
        self.nodes[HITESH].restore(&address_of(&self.nodes[IRENE])).await.unwrap().channels
    }

    /// What came to Hitesh, within so many blocks.
    async fn comes_home(&self, before: u64, whole: u64) {
        self.mine_until(10, "his money", || async { is_less_fees(self.on_chain(HITESH).await - before, whole) }).await;
        self.mine_until(10, "it is over", || async { self.state(HITESH).await.is_none() }).await;
    }
}

fn write_words(folder: &Path, words: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("seed.words"));
    std::io::Write::write_all(file.as_mut().unwrap(), words).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn words_alone_bring_everything_back() {
    let mut pair = Pair::open().await;
    pair.becomes_seven_and_three().await;
    let (first, deposit) = (row(pair.folders[HITESH].path()), pair.on_chain(HITESH).await);
    assert_eq!(pair.hitesh_backs_up_and_stops().await.len(), SIZE);
    pair.hitesh_has_words_alone().await;
    assert_eq!(pair.on_chain(HITESH).await, deposit, "the wallet needs no backup");

    assert_eq!(pair.restored().await, [pair.channel.clone()]);
    // It was current: the two agree to close.
    until("it closes", || async { pair.state(HITESH).await == Some("closed") }).await;
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    let his = pair.on_chain(HITESH).await - deposit;
    assert!(is_closed(his, 7 * BTC), "{his}");

    // What is known needs no restoring, and a new channel has new keys.
    assert_eq!(pair.restored().await, [""; 0]);
    let opened = pair.nodes[HITESH].open(pair.nodes[IRENE].id(), btc(1), btc(0)).await.unwrap();
    assert!(row(pair.folders[HITESH].path()) > first);
    pair.mine_until(10, "the old one is over", || async { pair.state(HITESH).await.is_none() }).await;
    pair.channel = opened.channel;
    pair.is_open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_makes_the_peer_close() {
    let mut pair = Pair::open().await;
    until("a backup is kept", || async { pair.irene_keeps().is_some() }).await;
    let old = pair.irene_keeps().unwrap();
    pair.becomes_seven_and_three().await;
    let before = pair.on_chain(HITESH).await;
    pair.nodes[HITESH].stop().await;
    pair.irene_gives(Some(&old)).await;
    pair.hitesh_has_words_alone().await;

    assert_eq!(pair.restored().await, [pair.channel.clone()]);
    until("she closes", || async { pair.state(IRENE).await == Some("closed_alone") }).await;
    until("he knows", || async { pair.state(HITESH).await == Some("fell_behind") }).await;
    // After a restart a copy is still one, and not even when its owner insists does it broadcast.
    pair.restart(HITESH).await;
    assert_eq!(pair.nodes[HITESH].close(&pair.channel, true).await.unwrap().txid, None);
    pair.comes_home(before, 7 * BTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cheats_somebody_that_lost_everything_is_punished() {
    let mut pair = Pair::open().await;
    let five_and_five = copied_commitment(pair.folders[IRENE].path());
    pair.becomes_seven_and_three().await;
    let before = pair.on_chain(HITESH).await;
    pair.hitesh_backs_up_and_stops().await;
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.hitesh_has_words_alone().await;
    pair.restored().await;
    pair.comes_home(before, 10 * BTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_nothing_restore_nothing_and_the_true_one_does_later() {
    let mut pair = Pair::open().await;
    pair.becomes_seven_and_three().await;
    let first = row(pair.folders[HITESH].path());
    let good = pair.hitesh_backs_up_and_stops().await;
    pair.irene_gives(None).await;
    pair.hitesh_has_words_alone().await;
    let before = pair.on_chain(HITESH).await;
    let refused = async |pair: &Pair| {
        let error = pair.nodes[HITESH].restore(&address_of(&pair.nodes[IRENE])).await.unwrap_err();
        assert_eq!(error.code(), "no_backup");
        error.to_string()
    };
    assert_eq!(refused(&pair).await, "the peer gave no backup back");
    // To her a peer that knows of no channel has lost it.
    until("she closes", || async { pair.state(IRENE).await == Some("closed_alone") }).await;
    let mut altered = good.clone();
    altered[40_000] ^= 1;
    for garbage in [vec![], vec![7], vec![0; SIZE], altered, good[..SIZE - 1].to_vec()] {
        pair.irene_gives(Some(&garbage)).await;
        assert_eq!(refused(&pair).await, "what the peer gave back is no backup of these words");
        assert!(pair.nodes[HITESH].list().await.unwrap().is_empty());
    }

    // Without any backup there is nothing that tells which keys were used; a new channel has others.
    pair.irene_gives(None).await;
    refused(&pair).await;
    let opened = pair.nodes[HITESH].open(pair.nodes[IRENE].id(), btc(1), btc(0)).await.unwrap();
    assert!(row(pair.folders[HITESH].path()) > first);
    let has_paid = || async { is_closed(before - pair.nodes[HITESH].balance().await.unwrap().total_sat, BTC + FEES) };
    until("the funding is paid for", has_paid).await;
    pair.chain.mine(3).await.unwrap();
    let before = pair.on_chain(HITESH).await;
    pair.irene_gives(Some(&good)).await;
    until("it is back", || async { pair.state(HITESH).await.is_some() }).await;
    pair.comes_home(before, 7 * BTC).await;
    pair.channel = opened.channel;
    pair.is_open().await;
}

/// Seven and three, backed up; and a store of Hitesh's from before.
async fn with_old_store() -> (Pair, TempDir, Vec<u8>) {
    let mut pair = Pair::open().await;
    let old = TempDir::new().unwrap();
    pair.nodes[HITESH].stop().await;
    for file in fs::read_dir(pair.folders[HITESH].path()).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, old.path().join(file.file_name().unwrap())).unwrap();
    }
    pair.restart(HITESH).await;
    pair.is_open().await;
    pair.becomes_seven_and_three().await;
    let backup = pair.hitesh_backs_up_and_stops().await;
    (pair, old, backup)
}

/// The peer's backup knows more than the store, and all there is to know: the two agree to close.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_went_back_becomes_a_copy() {
    let (mut pair, old, _) = with_old_store().await;
    pair.folders[HITESH] = old;
    pair.nodes[HITESH] = start(pair.folders[HITESH].path(), &pair.chain, None).await;
    let before = pair.on_chain(HITESH).await;
    until("it closes", || async { pair.state(HITESH).await == Some("closed") }).await;
    until("she agrees", || async { pair.state(IRENE).await == Some("closed") }).await;
    // Not even when its owner insists does it broadcast anything else.
    let closing = pair.nodes[HITESH].close(&pair.channel, true).await.unwrap();
    assert_eq!((closing.state, closing.txid.is_some()), ("closed", true));
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.chain.mine(1).await.unwrap();
    let his = pair.on_chain(HITESH).await - before;
    assert!(is_closed(his, 7 * BTC), "{his}");
}

/// The backup knows more than the store, but not all: nothing that the node has by then is broadcast.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_went_back_further_than_the_backup_makes_the_peer_close() {
    let (mut pair, old, seven_and_three) = with_old_store().await;
    pair.restart(HITESH).await;
    pair.is_open().await;
    pair.nodes[HITESH].pay(&pair.channel, btc(1)).await.unwrap();
    until("six and four", || async { pair.balances().await == [6 * BTC, 4 * BTC] }).await;
    let before = pair.on_chain(HITESH).await;
    pair.nodes[HITESH].stop().await;
    pair.irene_gives(Some(&seven_and_three)).await;
    pair.folders[HITESH] = old;
    pair.nodes[HITESH] = start(pair.folders[HITESH].path(), &pair.chain, None).await;
    until("she closes", || async { pair.state(IRENE).await == Some("closed_alone") }).await;
    // From her, or from the chain, where her commitment may be before the two are connected again.
    until("he knows", || async { matches!(pair.state(HITESH).await, Some("fell_behind" | "spent")) }).await;
    // What the old store had to broadcast goes as soon as the backup has taken its place.
    let nothing = || async { pair.nodes[HITESH].close(&pair.channel, true).await.unwrap().txid.is_none() };
    until("he has nothing to broadcast", nothing).await;
    until("her commitment waits", || async { pair.chain.mempool_len().unwrap() > 0 }).await;
    pair.comes_home(before, 6 * BTC).await;
}

/// Strict, the peer has the backup of every state before the revocation of the one before: it is current without any minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_node_is_backed_up_before_it_revokes() {
    let mut pair = Pair::open().await;
    for who in [HITESH, IRENE] {
        pair.nodes[who].stop().await;
        pair.nodes[who] = strict(pair.folders[who].path(), &pair.chain, pair.listen[who]).await;
    }
    pair.is_open().await;
    let before = pair.on_chain(HITESH).await;
    for (payer, amount) in [(IRENE, 1), (HITESH, 2), (IRENE, 2), (IRENE, 1)] {
        pair.nodes[payer].pay(&pair.channel, btc(amount)).await.unwrap();
    }
    until("seven and three", || async { pair.balances().await == [7 * BTC, 3 * BTC] }).await;
    pair.hitesh_has_words_alone().await;
    assert_eq!(pair.restored().await, [pair.channel.clone()]);
    until("it closes by agreement", || async { pair.state(HITESH).await == Some("closed") }).await;
    pair.mine_until(2, "his seven", || async { is_closed(pair.on_chain(HITESH).await - before, 7 * BTC) }).await;
}

async fn strict(folder: &Path, chain: &KernelChain, listen: Option<SocketAddr>) -> Node {
    let policy = Policy { strict_backups: true, ..Policy::default() };
    let options = Options { listen, policy, ..Options::new(folder) };
    for _ in 0..50 {
        if let Ok(node) = Node::start(options.clone(), Arc::new(chain.clone())).await {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the port stays busy")
}

// ---- what is kept for others ----

/// Somebody with this key who has said `init`.
async fn greeted_as(key: SecretKey, to: &PeerAddress) -> Stranger {
    let (reads, writes) = tcp(TcpStream::connect(&to.address).await.unwrap()).unwrap();
    let (key, ephemeral) = (NodeKey::new(key), EphemeralKey::new(&[8; 32]).unwrap());
    let mut peer = Connection::call(reads, writes, &key, to.id, ephemeral, Duration::from_secs(10)).await.unwrap();
    let mut init = Init::new(Features::default().with_required(Feature::StaticRemotekey));
    init.tlvs.networks = Some(Networks(vec![ChainHash::using_genesis_block(Network::Regtest)]));
    say(&mut peer, init.into()).await;
    let Some(Message::Init(theirs)) = heard(&mut peer).await else { panic!("init") };
    assert!(theirs.features.offers(Feature::ProvideStorage));
    peer
}

async fn say(peer: &mut Stranger, message: Message) {
    peer.outgoing.send(&message.encode().unwrap()).await.unwrap();
}

/// Gives this to be kept, and waits until it was taken in.
async fn store_with(peer: &mut Stranger, blob: Vec<u8>) {
    say(peer, PeerStorage { blob, tlvs: Extension::default() }.into()).await;
    say(peer, Ping { num_pong_bytes: 1, ignored: vec![], tlvs: Extension::default() }.into()).await;
    while !matches!(heard(peer).await.expect("it goes on"), Message::Pong(_)) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_is_given_back_first_and_the_disk_is_spared() {
    let mut pair = Pair::open().await;
    until("a backup is kept", || async { pair.irene_keeps().is_some() }).await;
    pair.nodes[HITESH].stop().await;
    let words = fs::read_to_string(pair.folders[HITESH].path().join("seed.words")).unwrap();
    let key = Seed::from_words(&words, Network::Regtest).unwrap().node_key().unwrap().expose();
    let back = async |pair: &Pair| {
        let mut peer = greeted_as(key, &address_of(&pair.nodes[IRENE])).await;
        let Some(Message::PeerStorageRetrieval(first)) = heard(&mut peer).await else { panic!("nothing is kept") };
        assert!(matches!(heard(&mut peer).await, Some(Message::ChannelReestablish(_))), "and then the channel");
        (peer, first.blob)
    };

    // Within the minute of Hitesh's own the disk has his.
    let on_disk = pair.irene_keeps().unwrap();
    let (mut hitesh, _) = back(&pair).await;
    for blob in [vec![], vec![1; 100], vec![2; SIZE]] {
        store_with(&mut hitesh, blob.clone()).await;
        drop(hitesh);
        let (again, given) = back(&pair).await;
        assert!(given == blob, "{} bytes", given.len());
        hitesh = again;
    }
    assert!(pair.irene_keeps().unwrap() == on_disk);

    // Killed, she has what is on the disk; the first of a life goes there at once.
    pair.restart(IRENE).await;
    let (mut hitesh, given) = back(&pair).await;
    assert!(given == on_disk);
    store_with(&mut hitesh, vec![3; 7]).await;
    assert_eq!(pair.irene_keeps().unwrap(), [3; 7]);
    store_with(&mut hitesh, vec![4; 7]).await;
    pair.restart(IRENE).await;
    let (mut hitesh, given) = back(&pair).await;
    assert_eq!(given, [3; 7]);

    // More than a message can hold is no message.
    assert!(Message::from(PeerStorage { blob: vec![0; SIZE + 1], tlvs: Extension::default() }).encode().is_err());
    let claimed = [&[0, 7, 0xff, 0xfc][..], &vec![5; SIZE]].concat();
    hitesh.outgoing.send(&claimed).await.unwrap();
    while let Some(message) = heard(&mut hitesh).await {
        assert!(matches!(message, Message::Warning(_)), "{message:?}");
    }
    assert_eq!(back(&pair).await.1, [3; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_for_strangers() {
    let pair = Pair::open().await;
    let irene = address_of(&pair.nodes[IRENE]);
    let key = SecretKey::from_slice(&[7; 32]).unwrap();
    for _ in 0..2 {
        let mut stranger = greeted_as(key, &irene).await;
        say(&mut stranger, Ping { num_pong_bytes: 1, ignored: vec![], tlvs: Extension::default() }.into()).await;
        assert!(matches!(heard(&mut stranger).await, Some(Message::Pong(_))), "nothing comes before");
        store_with(&mut stranger, vec![1; SIZE]).await;
    }
}
