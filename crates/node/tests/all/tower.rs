//! A watchtower punishes for a node that is away.

use std::sync::Arc;
use std::time::Duration;

use rillpay_chain::{Chain, Outspend};
use rillpay_channel::bitcoin::secp256k1::PublicKey;
use rillpay_channel::bitcoin::{Amount, Network, OutPoint, Transaction};
use rillpay_channel::revocable::justice::Hint;
use rillpay_node::{PeerAddress, TowerInfo};
use rillpay_server::config::{Clients, TowerLimits};
use rillpay_server::{Tower, TowerConfig};
use rillpay_wire::Message;
use rillpay_wire::messages::{Extension, TowerDone, TowerForget, TowerRefused, TowerStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::faults::{Stranger, greeted, heard};
use crate::on_chain::{copied_commitment, is_less_fees};
use crate::pair::{BTC, HITESH, IRENE, Pair, btc, until};

/// A watchtower in this process, on a chain that it is given.
pub(crate) struct Watchtower {
    chain: Arc<dyn Chain>,
    config: TowerConfig,
    folder: TempDir,
    pub(crate) at: PeerAddress,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Watchtower {
    pub(crate) async fn start(chain: impl Chain + 'static) -> Self {
        Self::start_as(chain, |_| ()).await
    }

    async fn start_as(chain: impl Chain + 'static, change: impl FnOnce(&mut TowerConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let text = "listen = \"127.0.0.1:0\"\nnetwork = \"regtest\"\ndata_dir = \"data\"\n\
                    [chain]\nbackend = \"kernel\"\n[clients]\nanybody = true";
        let mut config = TowerConfig::parse(text, folder.path()).unwrap();
        change(&mut config);
        // Any key does until it says its own.
        let id = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
        let at = PeerAddress { id, address: String::new() };
        let mut tower = Self { chain: Arc::new(chain), config, folder, at, running: None };
        tower.start_again().await;
        tower
    }

    pub(crate) async fn start_again(&mut self) {
        let tower = Tower::open(self.config.clone(), Arc::clone(&self.chain)).await.unwrap();
        let listener = loop {
            match TcpListener::bind(self.config.listen).await {
                Ok(listener) => break listener,
                // The port of its last life may be busy for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        self.config.listen = listener.local_addr().unwrap();
        self.at = PeerAddress { id: tower.id(), address: self.config.listen.to_string() };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(tower.run(listener, async move { drop(stopped.await) }));
        self.running = Some((stop, running));
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.send(()).unwrap();
        running.await.unwrap();
    }

    fn db(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("data/tower.sqlite")).unwrap()
    }

    fn count(&self, table: &str) -> u64 {
        self.db().query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

async fn told(pair: &Pair) -> TowerInfo {
    pair.nodes[HITESH].info().await.unwrap().tower.unwrap()
}

/// Waits until the tower has every kit.
async fn delivered(pair: &Pair) {
    until("the tower has all kits", || async { told(pair).await.unsent == 0 }).await;
}

/// Five and five, then seven and three; Irene has kept the old one, and both nodes are stopped.
async fn about_to_cheat(pair: &Pair) -> (Transaction, u64) {
    let five_and_five = copied_commitment(pair.folders[IRENE].path());
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    pair.paid_two().await;
    delivered(pair).await;
    let before = pair.on_chain(HITESH).await;
    for node in &pair.nodes {
        node.stop().await;
    }
    (five_and_five, before)
}

/// What waits for a block and takes something of this commitment, and its fee.
async fn penalty(chain: &impl Chain, cheat: &Transaction) -> Option<Amount> {
    let txid = cheat.compute_txid();
    for vout in 0..u32::try_from(cheat.output.len()).unwrap() {
        if let Outspend::Spent(by) = chain.outspend(&OutPoint { txid, vout }).await.unwrap() {
            return chain.transaction(&by.txid).await.unwrap().filter(|tx| !tx.status.is_confirmed()).map(|tx| tx.fee);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tower_takes_what_the_cheat_has_while_hitesh_is_away() {
    let pair = Pair::connected().await;
    let mut tower = Watchtower::start(pair.chain.clone()).await;
    let mut pair = pair.watched(&tower.at).await;
    let (five_and_five, before) = about_to_cheat(&pair).await;
    assert!(tower.count("kit") >= 1);

    tower.stop().await;
    tower.start_again().await;
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    until("the penalty waits", || async { penalty(&pair.chain, &five_and_five).await.is_some() }).await;
    assert_eq!(tower.count("cheat"), 1);
    // Stopped before it is in a block, and started again after.
    tower.stop().await;
    pair.chain.mine(5).await.unwrap();
    tower.start_again().await;
    pair.chain.mine(2).await.unwrap();
    until("it is over", || async { tower.count("cheat") + tower.count("kit") + tower.count("client") == 0 }).await;

    // Hitesh comes back within the delay: hers are his, and he takes his own.
    pair.restart(HITESH).await;
    pair.mine_until(4, "he has all ten", || async { is_less_fees(pair.on_chain(HITESH).await - before, 10 * BTC) })
        .await;
    pair.mine_until(10, "it is over for him, too", || async { pair.state(HITESH).await.is_none() }).await;
    delivered(&pair).await;
    assert_eq!(told(&pair).await.trouble, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tower_that_was_stopped_catches_up() {
    let pair = Pair::connected().await;
    let mut tower = Watchtower::start(pair.chain.clone()).await;
    let pair = pair.watched(&tower.at).await;
    let (five_and_five, _) = about_to_cheat(&pair).await;
    tower.stop().await;
    pair.chain.mine(250).await.unwrap();
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(500).await.unwrap();
    tower.start_again().await;
    until("the penalty waits", || async { penalty(&pair.chain, &five_and_five).await.is_some() }).await;
}

/// The block with the cheat goes, the next ones leave everything out: each time the tower offers more.
#[tokio::test(flavor = "multi_thread")]
async fn a_penalty_grows_dearer_across_reorganisations() {
    let pair = Pair::connected().await;
    let mut tower = Watchtower::start(pair.chain.clone()).await;
    let mut pair = pair.watched(&tower.at).await;
    let (five_and_five, before) = about_to_cheat(&pair).await;
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    let mut last = Amount::ZERO;
    for round in 0..4 {
        until("a dearer penalty waits", || async {
            penalty(&pair.chain, &five_and_five).await.is_some_and(|fee| fee > last)
        })
        .await;
        last = penalty(&pair.chain, &five_and_five).await.unwrap();
        if round == 2 {
            tower.stop().await;
            tower.start_again().await;
        }
        pair.chain.reorganise(1, &[]).await.unwrap();
    }
    pair.chain.mine(7).await.unwrap();
    until("it is over", || async { tower.count("cheat") == 0 }).await;
    pair.restart(HITESH).await;
    pair.mine_until(4, "he has all ten", || async { is_less_fees(pair.on_chain(HITESH).await - before, 10 * BTC) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tower_does_not_have_waits_for_it() {
    let pair = Pair::connected().await;
    let mut tower = Watchtower::start(pair.chain.clone()).await;
    let mut pair = pair.watched(&tower.at).await;
    tower.stop().await;
    let five_and_five = copied_commitment(pair.folders[IRENE].path());
    for _ in 0..20 {
        pair.nodes[IRENE].pay(&pair.channel, Amount::from_sat(BTC / 10)).await.unwrap();
    }
    pair.paid_two().await;
    until("it is in trouble", || async { told(&pair).await.trouble.is_some() }).await;
    assert!(told(&pair).await.unsent >= 20);
    pair.restart(HITESH).await;
    pair.is_open().await;
    assert!(told(&pair).await.unsent >= 20);
    tower.start_again().await;
    delivered(&pair).await;
    until("no trouble", || async { told(&pair).await.trouble.is_none() }).await;
    assert!(tower.count("kit") >= 20);

    // It was worth the wait.
    pair.nodes[HITESH].stop().await;
    pair.nodes[IRENE].stop().await;
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    until("the penalty waits", || async { penalty(&pair.chain, &five_and_five).await.is_some() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_closes_is_forgotten() {
    let pair = Pair::connected().await;
    let tower = Watchtower::start(pair.chain.clone()).await;
    let pair = pair.watched(&tower.at).await;
    pair.nodes[IRENE].pay(&pair.channel, btc(2)).await.unwrap();
    pair.paid_two().await;
    delivered(&pair).await;
    assert!(tower.count("kit") >= 1);
    pair.nodes[HITESH].close(&pair.channel, false).await.unwrap();
    until("the closing transaction waits", || async { pair.chain.mempool_len().unwrap() == 1 }).await;
    pair.mine_until(10, "the tower has nothing any more", || async { tower.count("kit") + tower.count("client") == 0 })
        .await;
}

// ---- clients that mean no good ----

async fn say(client: &mut Stranger, message: impl Into<Message>) {
    client.outgoing.send(&message.into().encode().unwrap()).await.unwrap();
}

fn store(id: u64, hint: [u8; 16], kit: Vec<u8>) -> TowerStore {
    TowerStore { id, group: [1; 16], hint, kit, tlvs: Extension::default() }
}

fn done(id: u64) -> Option<Message> {
    Some(TowerDone { id, tlvs: Extension::default() }.into())
}

fn refused(id: u64, reason: u16) -> Option<Message> {
    Some(TowerRefused { id, reason, tlvs: Extension::default() }.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_who_mean_no_good_disturb_nobody() {
    let pair = Pair::connected().await;
    let small = |config: &mut TowerConfig| {
        config.limits = TowerLimits { client_bytes: 10_000, ..config.limits };
    };
    let mut tower = Watchtower::start_as(pair.chain.clone(), small).await;
    let pair = pair.watched(&tower.at).await;
    let (five_and_five, _) = about_to_cheat(&pair).await;
    let hint = Hint::of(&five_and_five.compute_txid()).0;

    // Too large; too many; what takes an old one's place costs no room; what is forgotten makes room.
    let mut client = greeted(&tower.at, Network::Regtest).await;
    say(&mut client, store(1, hint, vec![0; 65_000])).await;
    assert_eq!(heard(&mut client).await, refused(1, TowerRefused::TOO_LARGE));
    say(&mut client, store(2, hint, vec![0; 5_000])).await;
    assert_eq!(heard(&mut client).await, done(2));
    say(&mut client, store(3, [0; 16], vec![0; 5_000])).await;
    assert_eq!(heard(&mut client).await, refused(3, TowerRefused::NO_ROOM));
    say(&mut client, store(4, hint, vec![1; 6_000])).await;
    assert_eq!(heard(&mut client).await, done(4));
    say(&mut client, TowerForget { id: 5, group: [1; 16], tlvs: Extension::default() }).await;
    assert_eq!(heard(&mut client).await, done(5));
    // Many in one go: each is answered, in its order.
    for n in 0..100 {
        say(&mut client, store(100 + n, [u8::try_from(n).unwrap(); 16], vec![0; 72])).await;
    }
    for n in 0..100 {
        // Each takes 200 bytes.
        let answer = if n < 50 { done(100 + n) } else { refused(100 + n, TowerRefused::NO_ROOM) };
        assert_eq!(heard(&mut client).await, answer, "{n}");
    }
    say(&mut client, TowerForget { id: 6, group: [1; 16], tlvs: Extension::default() }).await;
    assert_eq!(heard(&mut client).await, done(6));
    // Garbage in the place of the kit against this very cheat.
    say(&mut client, store(7, hint, vec![7; 800])).await;
    assert_eq!(heard(&mut client).await, done(7));
    // A third connection of the same node finds no place.
    let _second = greeted(&tower.at, Network::Regtest).await;
    let mut third = greeted(&tower.at, Network::Regtest).await;
    assert!(matches!(heard(&mut third).await, Some(Message::Warning(_))));
    // Garbage ends a connection.
    client.outgoing.send(&[0x80, 0xeb, 1]).await.unwrap();
    assert_eq!(heard(&mut client).await, None);
    let mut foreign = greeted(&tower.at, Network::Signet).await;
    assert!(matches!(heard(&mut foreign).await, Some(Message::Warning(_))));

    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    until("the penalty waits", || async { penalty(&pair.chain, &five_and_five).await.is_some() }).await;

    // Only who is named is served.
    tower.stop().await;
    let hitesh: PublicKey = pair.nodes[HITESH].id();
    tower.config.clients = Clients::These([hitesh].into());
    tower.start_again().await;
    let mut stranger = greeted(&tower.at, Network::Regtest).await;
    let Some(Message::Warning(warning)) = heard(&mut stranger).await else { panic!("a warning") };
    assert_eq!(warning.text(), Some("this tower does not serve you"));
    assert_eq!(heard(&mut stranger).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_saves_no_cheat() {
    let pair = Pair::connected().await;
    let mut tower = Watchtower::start_as(pair.chain.clone(), |config| config.limits.store_pages = 600).await;
    let mut pair = pair.watched(&tower.at).await;
    let (five_and_five, before) = about_to_cheat(&pair).await;
    let mut client = greeted(&tower.at, Network::Regtest).await;
    let mut kept = 0_u8;
    loop {
        say(&mut client, store(1, [kept; 16], vec![0; 60_000])).await;
        match heard(&mut client).await {
            answer if answer == done(1) => kept += 1,
            answer => break assert_eq!(answer, refused(1, TowerRefused::NO_ROOM)),
        }
    }
    assert!((2..20).contains(&kept), "{kept}");

    // Nothing can be written at all.
    let full = tower.db();
    full.execute_batch("BEGIN IMMEDIATE").unwrap();
    say(&mut client, TowerForget { id: 2, group: [1; 16], tlvs: Extension::default() }).await;
    assert_eq!(heard(&mut client).await, refused(2, TowerRefused::NOT_NOW));
    pair.chain.broadcast(&five_and_five).await.unwrap();
    pair.chain.mine(1).await.unwrap();
    until("the penalty waits", || async { penalty(&pair.chain, &five_and_five).await.is_some() }).await;
    assert_eq!(tower.count("cheat"), 0);
    // What was not stored is found again.
    tower.stop().await;
    full.execute_batch("ROLLBACK").unwrap();
    tower.start_again().await;
    until("it is stored", || async { tower.count("cheat") == 1 }).await;
    pair.chain.mine(7).await.unwrap();
    until("it is over", || async { tower.count("cheat") == 0 }).await;
    pair.restart(HITESH).await;
    pair.mine_until(4, "he has all ten", || async { is_less_fees(pair.on_chain(HITESH).await - before, 10 * BTC) })
        .await;
}
