use std::path::PathBuf;

use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{Amount, Network, OutPoint, ScriptBuf, WPubkeyHash};
use rillpay_channel::commitment::{self, Funding};
use rillpay_channel::keys::Seed;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{ChannelParams, FundingKind, Kind, Msat};

use super::*;

fn funding() -> Funding {
    Funding { outpoint: OutPoint::null(), capacity: Amount::from_sat(3_600_000) }
}

fn payer(row: Row) -> rillpay_channel::keys::Key {
    Seed::from_bip39_seed(&[1; 64], Network::Regtest).channel_key(row).unwrap()
}

pub(crate) fn params(row: Row) -> ChannelParams {
    ChannelParams {
        kind: Kind::Cltv,
        network: Network::Regtest,
        funding_kind: FundingKind::P2wsh,
        payer: payer(row).public(),
        payee: Seed::from_bip39_seed(&[2; 64], Network::Regtest).channel_key(row).unwrap().public(),
        expiry: 1000,
        return_script: ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros()),
        tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).unwrap(), window: 2 },
        min_deposit: Amount::from_sat(10_000),
        max_deposit: Amount::from_sat(10_000_000),
        confirmations: 1,
        stop_margin: 20,
        close_margin: 10,
        purpose: "http://127.0.0.1".into(),
    }
}

async fn create(store: &Store, row: Row) -> ChannelId {
    let params = params(row);
    let id = params.id();
    let event = Event::Opened { params: Box::new(params), key_index: row };
    store.create(&self::params(row), row, 7, &[event]).await.unwrap();
    id
}

fn paid(row: Row, sat: u64) -> Event {
    Event::Accepted(commitment::pay(&params(row), &funding(), 0, Amount::from_sat(sat), &payer(row)).unwrap())
}

/// What a channel's opening was at is known from version 4 on.
#[tokio::test]
async fn a_store_of_the_version_before_is_taken_over() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let (older, newer) = (create(&store, 0).await, create(&store, 1).await);
    store.close().await;
    let db = Connection::open(&path).unwrap();
    db.execute_batch("ALTER TABLE channel DROP COLUMN opened; PRAGMA user_version = 3;").unwrap();
    drop(db);
    let store = Store::open(&path, None).unwrap();
    assert_eq!(store.load(older).await.unwrap().unwrap().opened, None);
    assert_eq!(store.load(newer).await.unwrap().unwrap().opened, None);
    let newest = create(&store, 2).await;
    assert_eq!(store.load(newest).await.unwrap().unwrap().opened, Some(7));
}

/// A settlement of its own for each lock time.
fn settlement(lock_time: u32) -> StoredSettlement {
    let transaction = Transaction {
        version: rillpay_channel::bitcoin::transaction::Version::TWO,
        lock_time: rillpay_channel::bitcoin::absolute::LockTime::from_consensus(lock_time),
        input: vec![rillpay_channel::bitcoin::TxIn::default()],
        output: vec![],
    };
    StoredSettlement { txid: transaction.compute_txid(), transaction, rate: FeeRate::from_sat_per_vb_u32(3), height: 7 }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("channels.sqlite");
    (dir, path)
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let id = create(&store, 0).await;
    let mut version = Version::FIRST;
    for events in [
        vec![Event::Funded { funding: funding(), deep: true }],
        vec![Event::Attached { epoch: 1 }],
        vec![paid(0, 1000)],
        vec![Event::Delivered(500)],
        vec![paid(0, 2000)],
    ] {
        store.write(0, version, &events).await.unwrap();
        version = version.next();
    }
    store.close().await;
    assert!(matches!(store.load(id).await, Err(StoreError::Failed(_))), "closed is closed");

    let store = Store::open(&path, None).unwrap();
    let loaded = store.load(id).await.unwrap().unwrap();
    assert_eq!((loaded.row, loaded.version), (0, version));
    assert_eq!(loaded.payee.accepted(), Amount::from_sat(2000));
    assert_eq!((loaded.payee.delivered(), loaded.payee.epoch()), (500, 1));
    assert_eq!(store.next_row().await.unwrap(), 1);
    assert_eq!(store.open_channels().await.unwrap().len(), 1);
    store.finish(0).await.unwrap();
    assert!(store.open_channels().await.unwrap().is_empty());
    assert!(store.load(id).await.unwrap().is_some(), "finished, yet not forgotten");
}

#[tokio::test]
async fn the_second_writer_is_fenced_off() {
    let (_dir, path) = place();
    let (one, two) = (Store::open(&path, None).unwrap(), Store::open(&path, None).unwrap());
    create(&one, 0).await;
    one.write(0, Version::FIRST, &[Event::Funded { funding: funding(), deep: true }]).await.unwrap();
    let late = two.write(0, Version::FIRST, &[Event::Attached { epoch: 1 }]).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    two.write(0, Version::FIRST.next(), &[Event::Attached { epoch: 1 }]).await.unwrap();
    // A number taken by the one is not to be had by the other.
    let event = Event::Opened { params: Box::new(params(1)), key_index: 0 };
    assert!(matches!(two.create(&params(1), 0, 7, &[event]).await, Err(StoreError::Conflict)));
    assert_eq!(two.next_row().await.unwrap(), 1);
    assert!(one.is_well() && two.is_well(), "a conflict is no failure");
}

#[tokio::test]
async fn a_conflict_fails_alone() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    for row in 0..20 {
        create(&store, row).await;
    }
    let writes = (0..20).map(|row| {
        let version = if row % 5 == 0 { Version(7) } else { Version::FIRST };
        let store = &store;
        async move { store.write(row, version, &[Event::Funded { funding: funding(), deep: true }]).await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    for (row, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), row % 5 != 0, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_full_disk_stores_nothing_and_loses_nothing() {
    let (_dir, path) = place();
    let store = Store::open(&path, Some(24)).unwrap();
    let mut rows = Vec::new();
    let full = loop {
        let row = Row::try_from(rows.len()).unwrap();
        let params = params(row);
        let event = Event::Opened { params: Box::new(params.clone()), key_index: row };
        match store.create(&params, row, 7, &[event]).await {
            Ok(()) => rows.push(params.id()),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full), "{full}");
    assert!(store.is_well(), "an opening that is refused is no failure");
    assert!(!rows.is_empty());
    for id in &rows {
        assert!(store.load(*id).await.unwrap().is_some());
    }
    // There is room left to settle; then there is none.
    let mut lock_time = 0;
    let full = loop {
        match store.add_settlement(settlement(lock_time), None).await {
            Ok(()) => lock_time += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Failed(_)), "{full}");
    assert!(lock_time > 0 && !store.is_well());
    // What needs no more room goes on, and with it the store is well again.
    store.write(0, Version::FIRST, &[Event::Attached { epoch: 1 }]).await.unwrap();
    assert!(store.is_well());
    store.close().await;

    let store = Store::open(&path, None).unwrap();
    assert_eq!(store.open_channels().await.unwrap().len(), rows.len());
}

#[tokio::test]
async fn a_damaged_channel_is_named_and_the_others_go_on() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let mut ids = Vec::new();
    for row in 0..6 {
        ids.push(create(&store, row).await);
        store.write(row, Version::FIRST, &[Event::Funded { funding: funding(), deep: true }]).await.unwrap();
        store.write(row, Version::FIRST.next(), &[paid(row, 1000)]).await.unwrap();
    }
    store.close().await;
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "UPDATE event SET bytes = x'00ff' WHERE row = 0 AND slot = 0;
         UPDATE balance SET accepted = 999999 WHERE row = 1;
         UPDATE balance SET delivered = 5000 WHERE row = 2;
         DELETE FROM balance WHERE row = 3;
         UPDATE event SET bytes = (SELECT bytes FROM event WHERE row = 5 AND slot = 0) WHERE row = 4 AND slot = 0;",
    )
    .unwrap();
    drop(db);

    let store = Store::open(&path, None).unwrap();
    let all = store.open_channels().await.unwrap();
    let damaged: Vec<_> = all.iter().filter_map(|one| one.as_ref().err()).collect();
    assert_eq!(damaged.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(damaged.iter().all(|(_, error)| matches!(error, StoreError::Corrupted(_))));
    for id in &ids[..5] {
        assert!(matches!(store.load(*id).await, Err(StoreError::Corrupted(_))));
    }
    assert_eq!(store.load(ids[5]).await.unwrap().unwrap().payee.accepted(), Amount::from_sat(1000));
}

#[test]
fn a_file_that_is_no_store_and_one_of_the_future_are_refused() {
    let (_dir, path) = place();
    std::fs::write(&path, "this is not a database, whatever its name says".repeat(100)).unwrap();
    assert!(matches!(Store::open(&path, None), Err(StoreError::Corrupted(_))));
    std::fs::remove_file(&path).unwrap();
    drop(Store::open(&path, None).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Store::open(&path, None), Err(StoreError::Version(99))));
}

#[tokio::test]
async fn settlements_are_kept_until_they_are_forgotten() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let settlement = settlement(0);
    let (txid, rate) = (settlement.txid, settlement.rate);
    store.add_settlement(settlement, None).await.unwrap();
    let kept = store.settlements().await.unwrap();
    assert_eq!(kept.iter().map(|kept| (kept.txid, kept.rate, kept.height)).collect::<Vec<_>>(), [(txid, rate, 7)]);
    // A damaged one does not keep the others back.
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("INSERT INTO settlement (txid, raw, rate, height) VALUES (x'00', x'0123', 1, 0)", []).unwrap();
    assert_eq!(store.settlements().await.unwrap().len(), 1);
    db.execute("DELETE FROM settlement WHERE txid = x'00'", []).unwrap();
    store.remove_settlement(txid).await.unwrap();
    assert!(store.settlements().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_opening_that_fails_takes_no_payment_with_it() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    create(&store, 0).await;
    // From here on an opening fails half-way.
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TRIGGER broken AFTER INSERT ON balance BEGIN SELECT no_such_function(); END").unwrap();
    // The committer is held up until everything below waits for it, so that it becomes one transaction.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hold = store.read_job(move |_| held.recv().map_err(|error| StoreError::Failed(error.to_string())));
    let opening = Write::Create { id: params(1).id(), payer: params(1).payer, row: 1, opened: 7, events: vec![] };
    let events = [Event::Funded { funding: funding(), deep: true }];
    let paying = store.write(0, Version::FIRST, &events);
    let (held, opened, paid, ()) =
        tokio::join!(hold, store.write_job(opening), paying, async { release.send(()).unwrap() });
    held.unwrap();
    assert!(matches!(opened, Err(StoreError::Failed(_))), "{opened:?}");
    paid.unwrap();
    assert!(store.load(params(0).id()).await.unwrap().unwrap().payee.is_deep());
    assert!(store.load(params(1).id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_discarded_channel_is_gone_and_its_number_is_not_given_again() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let (first, newest) = (create(&store, 0).await, create(&store, 1).await);
    store.discard(0).await.unwrap();
    store.discard(1).await.unwrap();
    assert!(store.load(first).await.unwrap().is_none());
    assert!(store.load(newest).await.unwrap().is_some(), "kept for its number");
    assert!(store.open_channels().await.unwrap().is_empty());
    assert_eq!(store.next_row().await.unwrap(), 2);
}

#[tokio::test]
async fn an_address_is_taken_once_and_its_number_never_goes_back() {
    let (_dir, path) = place();
    let number = |number| PayoutNumber { series: b"one".into(), number };
    let next = async |store: &Store, series: &[u8]| store.next_payout(series.into()).await.unwrap();
    let store = Store::open(&path, None).unwrap();
    assert_eq!(next(&store, b"one").await, None);
    store.add_settlement(settlement(0), Some(number(1))).await.unwrap();
    store.add_settlement(settlement(1), Some(number(2))).await.unwrap();
    // Another server on this store, or one that read too early.
    for taken in [0, 1, 2] {
        let late = store.add_settlement(settlement(2), Some(number(taken))).await;
        assert!(matches!(late, Err(StoreError::Conflict)), "{taken}: {late:?}");
    }
    assert_eq!(store.settlements().await.unwrap().len(), 2, "nothing of a settlement that came too late is stored");
    assert!(store.is_well());
    for settlement in store.settlements().await.unwrap() {
        store.remove_settlement(settlement.txid).await.unwrap();
    }
    store.close().await;
    let store = Store::open(&path, None).unwrap();
    assert_eq!((next(&store, b"one").await, next(&store, b"two").await), (Some(3), None));
}

#[tokio::test]
async fn older_stores_are_taken_over() {
    let (_dir, path) = place();
    let store = Store::open(&path, None).unwrap();
    let id = create(&store, 0).await;
    store.close().await;
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "ALTER TABLE channel DROP COLUMN opened;
         ALTER TABLE settlement DROP COLUMN height; DROP TABLE payout; DROP TABLE seen;
         PRAGMA user_version = 2;",
    )
    .unwrap();
    let raw = rillpay_channel::bitcoin::consensus::encode::serialize(&settlement(5).transaction);
    db.execute("INSERT INTO settlement (txid, raw, rate) VALUES (x'00', ?1, 750)", [raw]).unwrap();
    drop(db);
    let store = Store::open(&path, None).unwrap();
    assert!(store.load(id).await.unwrap().is_some());
    let kept = store.settlements().await.unwrap();
    assert!(matches!(&kept[..], [one] if one.rate == FeeRate::from_sat_per_vb_u32(3) && one.height == 0), "{kept:?}");
    store.add_settlement(settlement(0), Some(PayoutNumber { series: b"one".into(), number: 1 })).await.unwrap();
}

proptest::proptest! {
    /// Whatever a disk does to the rows of a channel: it is refused as corrupted, or what is read holds.
    #[test]
    fn hostile_rows_are_refused_or_hold(
        column in 0_usize..6,
        number in proptest::prop_oneof![proptest::num::i64::ANY, 0..5_000_i64, proptest::strategy::Just(i64::MAX)],
        blob in proptest::collection::vec(proptest::num::u8::ANY, 0..90),
        slot in 0_i64..10,
        at in 0_usize..400,
    ) {
        let (_dir, path) = place();
        let params = params(0);
        let id = params.id();
        let mut db = schema::open(&path, None).unwrap();
        let tx = db.transaction().unwrap();
        let opened = Event::Opened { params: Box::new(params.clone()), key_index: 0 };
        record::create(&tx, id, 0, &params.payer, 7, &record::encode(&[opened])).unwrap();
        let events = [Event::Funded { funding: funding(), deep: true }, paid(0, 3_000), Event::Delivered(2_500)];
        Change::of(&events).unwrap().write(&tx, 0, Version::FIRST).unwrap();
        tx.commit().unwrap();
        let honest = record::load(&db, id).unwrap().unwrap().payee;

        let hurt = |sql: &str| db.execute(sql, rusqlite::params![number]);
        let done = match column {
            0 => hurt("UPDATE balance SET accepted = ?1"),
            1 => hurt("UPDATE balance SET delivered = ?1"),
            2 => hurt("UPDATE balance SET lock = ?1"),
            3 => hurt("UPDATE balance SET epoch = ?1"),
            4 => db.execute("UPDATE balance SET signature = ?1", rusqlite::params![blob]),
            _ => {
                let bytes: Vec<u8> = db
                    .query_row("SELECT bytes FROM event WHERE slot = ?1", rusqlite::params![slot.min(1)], |row| row.get(0))
                    .unwrap();
                let at = at % bytes.len();
                let damaged: Vec<u8> = bytes.into_iter().enumerate().map(|(n, byte)| if n == at { !byte } else { byte }).collect();
                db.execute("UPDATE event SET bytes = ?1 WHERE slot = ?2", rusqlite::params![damaged, slot.min(1)])
            }
        };
        // A column may refuse the value by itself.
        if done.is_err() {
            return Ok(());
        }
        match record::load(&db, id) {
            Ok(Some(loaded)) => {
                let payee = loaded.payee;
                let signed = payee.state().paid.is_none_or(|paid| paid.verify(payee.params(), payee.funding().unwrap()).is_ok());
                proptest::prop_assert!(signed && payee.owed() <= Msat::from_amount(payee.accepted()).unwrap());
                proptest::prop_assert!(payee.accepted() <= honest.accepted());
            }
            Ok(None) => proptest::prop_assert!(false, "the channel is gone"),
            Err(StoreError::Corrupted(_)) => {}
            Err(other) => proptest::prop_assert!(matches!(other, StoreError::Failed(_)), "{}", other),
        }
    }
}
