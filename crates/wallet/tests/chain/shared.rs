//! Transactions that are not the wallet's alone.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, TxIn, TxOut, Witness};
use rillpay_channel::fee::{Fee, Replaced};

use super::*;

#[tokio::test]
async fn money_is_brought_along_to_a_transaction_that_cannot_pay() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[20_000, 30_000, 50_000]).await;
    // What anybody can spend, and nobody can pay a fee out of.
    let script = ScriptBuf::from_bytes(vec![0x51]);
    let made = chain.send(&script.to_p2wsh(), sat(330)).await.unwrap();
    let made = chain.transaction(&made).await.unwrap().unwrap();
    let vout = (0..).zip(&made.vout).find(|(_, output)| output.value == sat(330)).unwrap().0;
    let base = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: made.txid, vout },
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::from_slice(&[script.as_bytes()]),
            ..TxIn::default()
        }],
        output: vec![TxOut { value: sat(330), script_pubkey: elsewhere() }],
    };
    let paid = |transaction: &Transaction, coins: u64| {
        let out: Amount = transaction.output.iter().map(|output| output.value).sum();
        (sat(330 + coins) - out).to_sat()
    };
    let exact = |transaction: &Transaction, coins: u64, sat_per_vb: u64| {
        let size = u64::try_from(transaction.vsize()).unwrap();
        let paid = paid(transaction, coins);
        assert!((size * sat_per_vb..=(size + 1) * sat_per_vb).contains(&paid), "{paid} for {size} bytes");
    };

    let first = wallet.support(&base, sat(330), &Fee::from(rate(10)), &[]).unwrap();
    assert_eq!((&first.input[0], &first.output[0]), (&base.input[0], &base.output[0]));
    assert_eq!((first.input.len(), first.output.len()), (2, 2), "the most valuable coin, and change");
    exact(&first, 50_000, 10);
    assert_eq!(wallet.balance().unwrap().locked, Amount::ZERO);
    wallet.supported(first.clone(), &[]).unwrap();
    assert_eq!(wallet.balance().unwrap().locked, sat(50_000), "nobody else may have it");
    chain.broadcast(&first).await.unwrap();
    look(&chain, &mut wallet).await;

    // A dearer one in its place takes more, but not the change that waits.
    let replaced = Replaced::NOTHING.and(sat(paid(&first, 50_000)), first.weight(), true);
    let (dear, before) = (Fee::from(rate(290)).and_replacing(replaced), [first.compute_txid()]);
    let second = wallet.support(&base, sat(330), &dear, &before).unwrap();
    assert_eq!(second.input.len(), 3);
    exact(&second, 80_000, 290);
    wallet.supported(second.clone(), &before).unwrap();
    chain.broadcast(&second).await.unwrap();
    look(&chain, &mut wallet).await;
    let lacking = wallet.support(&base, sat(330), &Fee::from(rate(1_000)), &[]).unwrap_err();
    assert_eq!(lacking.code(), Code::InsufficientFunds);
    assert!(lacking.amount().unwrap() > sat(100_000), "the first two coins are taken");

    chain.mine(6).await.unwrap();
    look(&chain, &mut wallet).await;
    let has = sat(20_000) + second.output[1].value;
    assert_eq!((wallet.balance().unwrap().confirmed, wallet.held().len()), (has, 0));
    assert_eq!(wallet.balance().unwrap().locked, Amount::ZERO);
}

/// Two wallets pay into one transaction: each signs for what it offered, and for nothing else.
#[tokio::test]
async fn a_transaction_of_two() {
    let chain = chain().await;
    let mut ours = funded(&chain, &[100_000, 70_000]).await;
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let mut theirs = Wallet::new(&Seed::from_words(words, Network::Regtest).unwrap(), Network::Regtest, 0).unwrap();
    chain.send(&theirs.address().unwrap().script_pubkey(), sat(90_000)).await.unwrap();
    chain.mine(1).await.unwrap();
    look(&chain, &mut theirs).await;

    let output = TxOut { value: sat(60_000), script_pubkey: elsewhere() };
    let outpoint = |(transaction, vout): &(Transaction, u32)| OutPoint::new(transaction.compute_txid(), *vout);
    let offers = [ours.offer(&output, rate(2)).unwrap(), theirs.offer(&output, rate(2)).unwrap()];
    let [our_coins, their_coins] = offers.each_ref().map(|offer| offer.coins.iter().map(outpoint).collect::<Vec<_>>());
    assert_eq!((our_coins.len(), their_coins.len()), (1, 1), "one coin is enough");
    // Nothing is held yet.
    assert_eq!(ours.balance().unwrap().locked, sat(0));
    let input = |previous_output: &OutPoint| TxIn {
        previous_output: *previous_output,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    let brought = offers.iter().flat_map(|offer| &offer.coins);
    let brought: Amount = brought.map(|(made, vout)| made.output[*vout as usize].value).sum();
    let change = TxOut { value: brought - sat(120_000 + 1_000), script_pubkey: offers[0].change.clone() };
    let mut joint = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: our_coins.iter().chain(&their_coins).map(input).collect(),
        output: vec![TxOut { value: sat(120_000), ..output.clone() }, change],
    };

    // More of our coins than we offered: somebody counts one of them as its own.
    let other = ours.coins().into_iter().find(|coin| coin.outpoint != our_coins[0]).unwrap();
    let mut greedy = joint.clone();
    greedy.input.push(input(&other.outpoint));
    assert_eq!(ours.join(&greedy, &our_coins).unwrap_err().code(), Code::UnknownTransaction);
    assert_eq!(ours.join(&joint, &[other.outpoint]).unwrap_err().code(), Code::UnknownTransaction);

    let witnesses = ours.join(&joint, &our_coins).unwrap();
    joint.input[0].witness = witnesses[0].clone();
    let txid = joint.compute_txid();
    assert!(ours.balance().unwrap().locked >= sat(70_000), "held");
    assert_eq!(ours.join(&joint, &our_coins).unwrap_err().code(), Code::InsufficientFunds, "once");
    assert!(ours.build(&order(120_000, 2)).is_err());
    ours.release(&txid).unwrap();
    ours.join(&joint, &our_coins).unwrap();
    let mut ours = Wallet::load(&seed(), Network::Regtest, 0, &ours.record()).unwrap();
    assert_eq!(ours.held().len(), 1);
    assert!(ours.unseen().is_empty());

    joint.input[1].witness = theirs.join(&joint, &their_coins).unwrap()[0].clone();
    ours.complete(&joint).unwrap();
    assert_eq!(ours.unseen(), [&joint]);
    assert_eq!(ours.balance().unwrap().unconfirmed, joint.output[1].value, "the change is on its way");
    chain.broadcast(&joint).await.unwrap();
    chain.mine(1).await.unwrap();
    look(&chain, &mut ours).await;
    assert!(ours.unseen().is_empty());
    assert_eq!(ours.balance().unwrap().confirmed, other.value + joint.output[1].value);
}
