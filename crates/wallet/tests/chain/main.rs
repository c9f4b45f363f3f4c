//! The wallet against Bitcoin Core's own rules: what it discovers, builds and sends is judged by the embedded chain.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that goes wrong may panic"
)]

mod shared;

use std::collections::BTreeSet;

use bitcoin::{Address, Amount, FeeRate, Network, ScriptBuf, Sequence, Transaction, Txid};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, ScriptHash, Status as ChainStatus, TxInfo};
use rillpay_channel::keys::{Seed, channel_number};
use rillpay_wallet::look::PAGE;
use rillpay_wallet::{Ask, Built, Code, GAP_LIMIT, Look, Order, Status, Wallet, What};

const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn seed() -> Seed {
    Seed::from_words(WORDS, Network::Regtest).unwrap()
}

fn wallet() -> Wallet {
    Wallet::new(&seed(), Network::Regtest, 0).unwrap()
}

async fn chain() -> KernelChain {
    KernelChain::open(KernelConfig::default()).await.unwrap()
}

const fn sat(sat: u64) -> Amount {
    Amount::from_sat(sat)
}

fn rate(sat_per_vb: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_per_vb)
}

/// Somebody else's address.
fn elsewhere() -> ScriptBuf {
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    Seed::from_words(words, Network::Regtest).unwrap().return_script(0).unwrap()
}

fn status(tx: &TxInfo) -> Status {
    match tx.status {
        ChainStatus::Confirmed(block) => Status { height: Some(block.height), time: Some(block.time) },
        ChainStatus::Unconfirmed => Status::default(),
    }
}

/// A page of history as Esplora gives it.
async fn page(chain: &KernelChain, address: &Address, after: Option<Txid>) -> Vec<(Txid, Status)> {
    let history = chain.script_history(&ScriptHash::of(&address.script_pubkey())).await.unwrap();
    let (confirmed, waiting): (Vec<_>, Vec<_>) = history.iter().partition(|tx| tx.status.is_confirmed());
    let all: Vec<&TxInfo> = match after {
        None => waiting.into_iter().chain(confirmed.into_iter().take(PAGE)).collect(),
        Some(last) => confirmed.into_iter().skip_while(|tx| tx.txid != last).skip(1).take(PAGE).collect(),
    };
    all.into_iter().map(|tx| (tx.txid, status(tx))).collect()
}

async fn answer(chain: &KernelChain, look: &mut Look) -> usize {
    let asks = look.asks();
    for ask in &asks {
        match ask {
            Ask::Tip => look.tip(chain.tip().await.unwrap().height),
            Ask::History { place, address, after } => {
                look.history(*place, &page(chain, address, *after).await).unwrap();
            }
            Ask::Transaction(txid) => match chain.raw_transaction(txid).await.unwrap() {
                Some(transaction) => look.transaction(*txid, transaction).unwrap(),
                None => look.gone(txid),
            },
        }
    }
    asks.len()
}

/// Looks at the chain until there is nothing more to ask; gives the number of questions.
async fn look(chain: &KernelChain, wallet: &mut Wallet) -> usize {
    let mut look = wallet.look().unwrap();
    let mut asked = 0;
    while !look.asks().is_empty() {
        asked += answer(chain, &mut look).await;
    }
    wallet.see(look).unwrap();
    asked
}

/// A wallet with one confirmed coin for each of these amounts, each at its own address.
async fn funded(chain: &KernelChain, amounts: &[u64]) -> Wallet {
    let mut wallet = wallet();
    for amount in amounts {
        let address = wallet.address().unwrap();
        chain.send(&address.script_pubkey(), sat(*amount)).await.unwrap();
        look(chain, &mut wallet).await;
        assert_ne!(wallet.address().unwrap(), address, "an address is for one payment");
    }
    chain.mine(1).await.unwrap();
    look(chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, sat(amounts.iter().sum()));
    wallet
}

fn order(amount: u64, sat_per_vb: u32) -> Order {
    Order { to: elsewhere(), what: What::Amount(sat(amount)), rate: rate(sat_per_vb), later: false }
}

/// Whether the fee is the rate's for the transaction's very size, but for a signature that came out a byte shorter.
fn check_fee(built: &Built, sat_per_vb: u64) {
    let size = u64::try_from(built.transaction.vsize()).unwrap();
    let inputs = u64::try_from(built.transaction.input.len()).unwrap();
    let fee = built.fee.to_sat();
    assert!(fee >= size * sat_per_vb, "{fee} for {size} bytes");
    if built.change.is_some() {
        assert!(fee <= (size + inputs.div_ceil(4) + 1) * sat_per_vb, "{fee} for {size} bytes");
    }
}

async fn send(chain: &KernelChain, wallet: &mut Wallet, order: &Order) -> Built {
    let built = wallet.build(order).unwrap();
    wallet.sent(&built.txid).unwrap();
    chain.broadcast(&built.transaction).await.unwrap();
    built
}

#[tokio::test]
async fn receives_pays_and_accounts_for_every_satoshi() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[100_000, 50_000, 20_000]).await;
    let built = send(&chain, &mut wallet, &order(120_000, 7)).await;
    check_fee(&built, 7);
    assert_eq!(built.transaction.lock_time.to_consensus_u32(), wallet.tip());
    assert!(built.transaction.input.iter().all(|input| input.sequence == Sequence::ENABLE_RBF_NO_LOCKTIME));
    let paid = built.transaction.output.iter().find(|output| output.script_pubkey == elsewhere()).unwrap();
    assert_eq!(paid.value, sat(120_000));

    // What was sent counts at once, and after a look, and in a block, just the same.
    let left = sat(170_000 - 120_000) - built.fee;
    for step in 0..3 {
        let balance = wallet.balance().unwrap();
        assert_eq!(balance.confirmed + balance.unconfirmed, left);
        assert_eq!(balance.locked + balance.immature, Amount::ZERO);
        let history = wallet.history().unwrap();
        let entry = history.iter().find(|entry| entry.txid == built.txid).unwrap();
        assert_eq!(entry.fee, Some(built.fee));
        assert_eq!(entry.sent - entry.received, sat(120_000) + built.fee);
        assert_eq!(wallet.confirmations(entry), u32::from(step == 2));
        if step == 1 {
            chain.mine(1).await.unwrap();
        }
        look(&chain, &mut wallet).await;
    }
    assert_eq!(wallet.history().unwrap().len(), 4);
    assert!(wallet.unseen().is_empty());
}

#[tokio::test]
async fn change_is_spent_before_it_is_confirmed_and_money_of_others_is_not() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[100_000]).await;
    send(&chain, &mut wallet, &order(10_000, 2)).await;
    let second = send(&chain, &mut wallet, &order(20_000, 2)).await;
    assert_eq!(second.transaction.input.len(), 1);
    let later = Order { later: true, ..order(10_000, 2) };
    assert_eq!(wallet.build(&later).unwrap_err().code(), Code::InsufficientFunds, "confirmed coins only");

    let address = wallet.address().unwrap();
    chain.send(&address.script_pubkey(), sat(500_000)).await.unwrap();
    look(&chain, &mut wallet).await;
    let error = wallet.build(&order(400_000, 2)).unwrap_err();
    assert_eq!(error.code(), Code::InsufficientFunds);
    let has = wallet.balance().unwrap().unconfirmed - sat(500_000);
    assert!(error.amount().unwrap() > sat(400_000) - has, "amount and fee, less what there is");
    chain.mine(1).await.unwrap();
    look(&chain, &mut wallet).await;
    send(&chain, &mut wallet, &order(400_000, 2)).await;
    chain.mine(1).await.unwrap();
    assert_eq!(chain.mempool_len().unwrap(), 0);
}

#[tokio::test]
async fn a_sweep_leaves_nothing_but_dust() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[40_000, 900, 30_000, 800]).await;
    let order = Order { what: What::Everything, ..order(0, 20) };
    let built = send(&chain, &mut wallet, &order).await;
    assert_eq!(built.transaction.output.len(), 1);
    assert_eq!(built.amount + built.fee, sat(70_000));
    check_fee(&built, 20);
    assert_eq!(wallet.balance().unwrap().confirmed, sat(1_700), "worth less than the fee of spending it");
    assert_eq!(wallet.build(&order).unwrap_err().code(), Code::NothingToSpend);
    // Where it is worth more it is swept.
    let built = send(&chain, &mut wallet, &Order { rate: rate(1), ..order }).await;
    assert_eq!(built.amount + built.fee, sat(1_700));
    chain.mine(1).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap(), Default::default());
}

#[tokio::test]
async fn words_alone_find_everything_within_the_gap() {
    let chain = chain().await;
    let mut first = wallet();
    let mut places = vec![];
    // Every other number is a channel's.
    for given in 0..GAP_LIMIT / 2 {
        places.push(if given == 0 { first.address() } else { first.fresh_address() }.unwrap());
    }
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
    assert_eq!(first.fresh_address().unwrap_err().code(), Code::GapLimit);
    // The last one that a search from words alone still looks at, and from there the last one again.
    chain.send(&places[9].script_pubkey(), sat(10_000)).await.unwrap();
    look(&chain, &mut first).await;
    let next: Vec<_> = (0..9).map(|_| first.fresh_address().unwrap()).collect();
    assert_eq!(first.fresh_address().unwrap_err().code(), Code::GapLimit);
    chain.send(&next[8].script_pubkey(), sat(20_000)).await.unwrap();
    // Beyond the gap, where nobody looks.
    let beyond = seed().return_script(39 + GAP_LIMIT + 1).unwrap();
    chain.send(&beyond, sat(40_000)).await.unwrap();
    chain.mine(1).await.unwrap();

    let mut restored = wallet();
    let asked = look(&chain, &mut restored).await;
    assert_eq!(restored.balance().unwrap().confirmed, sat(30_000));
    // The tip, 40 + 20 receive and 20 change addresses, two transactions.
    assert_eq!(asked, 1 + 60 + 20 + 2);
    let again = look(&chain, &mut restored).await;
    assert_eq!(again, 1 + 60 + 20, "a transaction is fetched once");
    // Channels of the same words are paid back wherever they are.
    let mut knowing = Wallet::new(&seed(), Network::Regtest, 42).unwrap();
    look(&chain, &mut knowing).await;
    assert_eq!(knowing.balance().unwrap().confirmed, sat(70_000));
}

/// A payee sees where its channel returns to, and must not find that address anywhere else.
#[tokio::test]
async fn no_address_that_is_given_out_is_one_that_a_channel_returns_to() {
    let chain = chain().await;
    let channels: BTreeSet<_> = (0..100).map(|least| seed().return_script(channel_number(least)).unwrap()).collect();
    assert_eq!(channels.len(), 51);
    for reserved in [0, 1, 2, 7, 50] {
        let mut wallet = Wallet::new(&seed(), Network::Regtest, reserved).unwrap();
        for round in 0..4 {
            let mut given = vec![wallet.address().unwrap()];
            while let Ok(address) = wallet.fresh_address() {
                given.push(address);
            }
            assert!(given.iter().all(|address| !channels.contains(&address.script_pubkey())), "{reserved} {round}");
            chain.send(&given.last().unwrap().script_pubkey(), sat(1_000)).await.unwrap();
            look(&chain, &mut wallet).await;
        }
    }
    // It is found there all the same.
    let mut wallet = wallet();
    for number in [0, 4] {
        chain.send(&seed().return_script(channel_number(number)).unwrap(), sat(100_000)).await.unwrap();
    }
    look(&chain, &mut wallet).await;
    assert!(wallet.balance().unwrap().unconfirmed >= sat(200_000));
}

#[tokio::test]
async fn many_payments_to_one_address_come_page_by_page() {
    let chain = chain().await;
    let mut wallet = wallet();
    let script = wallet.address().unwrap().script_pubkey();
    for _ in 0..3 {
        for _ in 0..20 {
            chain.send(&script, sat(1_000)).await.unwrap();
        }
        chain.mine(1).await.unwrap();
    }
    let asked = look(&chain, &mut wallet).await;
    assert_eq!(asked, 1 + 22 + 20 + 2 + 60, "three pages for one address");
    assert_eq!(wallet.balance().unwrap().confirmed, sat(60_000));
    assert_eq!(wallet.history().unwrap().len(), 60);
    let everything = Order { what: What::Everything, ..order(0, 1) };
    let built = send(&chain, &mut wallet, &everything).await;
    assert_eq!(built.transaction.input.len(), 60);
    check_fee(&built, 1);
}

#[tokio::test]
async fn a_reorganisation_takes_back_what_it_undid() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[80_000]).await;
    let sent = send(&chain, &mut wallet, &order(30_000, 3)).await;
    chain.mine(1).await.unwrap();
    look(&chain, &mut wallet).await;
    let left = sat(50_000) - sent.fee;
    assert_eq!(wallet.balance().unwrap().confirmed, left);

    // Undone, and waiting again.
    chain.reorganise(1, &[]).await.unwrap();
    look(&chain, &mut wallet).await;
    let balance = wallet.balance().unwrap();
    assert_eq!((balance.confirmed, balance.unconfirmed), (Amount::ZERO, left));

    // Undone, and forgotten by the network: the wallet still has it, and can broadcast it again.
    chain.mine(1).await.unwrap();
    chain.reorganise(1, &[sent.txid]).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().unconfirmed, left);
    assert_eq!(wallet.unseen(), [&sent.transaction]);
    chain.broadcast(&sent.transaction).await.unwrap();
    chain.mine(6).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, left);
    assert_eq!(wallet.release(&sent.txid).unwrap_err().code(), Code::UnknownTransaction, "buried, and forgotten");

    // A deposit that a reorganisation undoes for good is gone.
    let address = wallet.address().unwrap();
    let deposit = chain.send(&address.script_pubkey(), sat(5_000)).await.unwrap();
    chain.mine(1).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, left + sat(5_000));
    chain.reorganise(1, &[deposit]).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, left);
    assert!(wallet.history().unwrap().iter().all(|entry| entry.txid != deposit));
}

#[tokio::test]
async fn what_was_built_for_later_is_held_until_it_is_sent_or_released() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[100_000, 60_000]).await;
    let later = Order { later: true, ..order(90_000, 5) };
    let built = wallet.build(&later).unwrap();
    assert_eq!(built.transaction.lock_time.to_consensus_u32(), 0);
    assert_eq!(chain.mempool_len().unwrap(), 0, "nobody was told");
    let balance = wallet.balance().unwrap();
    assert_eq!((balance.locked, balance.confirmed), (sat(100_000), sat(60_000)));
    assert_eq!(wallet.build(&order(90_000, 5)).unwrap_err().code(), Code::InsufficientFunds);
    // A second one, of the other coin; then a look and a reload, through which both stay held.
    let other = wallet.build(&Order { later: true, ..order(50_000, 5) }).unwrap();
    look(&chain, &mut wallet).await;
    let mut wallet = Wallet::load(&seed(), Network::Regtest, 0, &wallet.record()).unwrap();
    assert_eq!(wallet.balance().unwrap().locked, sat(160_000));
    assert_eq!(wallet.held().len(), 2);

    wallet.release(&other.txid).unwrap();
    assert_eq!(wallet.release(&other.txid).unwrap_err().code(), Code::UnknownTransaction);
    assert_eq!(wallet.sent(&other.txid).unwrap_err().code(), Code::UnknownTransaction);
    assert_eq!(wallet.balance().unwrap().confirmed, sat(60_000));
    // Whoever has it broadcasts it: the chain alone tells the wallet.
    chain.broadcast(&built.transaction).await.unwrap();
    look(&chain, &mut wallet).await;
    let balance = wallet.balance().unwrap();
    assert_eq!((balance.locked, balance.unconfirmed), (Amount::ZERO, sat(10_000) - built.fee));
    chain.mine(6).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, sat(70_000) - built.fee);
    assert_eq!(wallet.held().len(), 0);
}

#[tokio::test]
async fn a_replacement_made_elsewhere_prevails() {
    let chain = chain().await;
    let mut here = funded(&chain, &[100_000]).await;
    let mut there = Wallet::load(&seed(), Network::Regtest, 0, &here.record()).unwrap();
    let cheap = send(&chain, &mut here, &order(40_000, 2)).await;
    let dear = send(&chain, &mut there, &order(50_000, 20)).await;
    look(&chain, &mut here).await;
    let history = here.history().unwrap();
    assert!(history.iter().any(|entry| entry.txid == dear.txid));
    assert!(history.iter().all(|entry| entry.txid != cheap.txid), "it counts no more");
    assert_eq!(here.balance().unwrap().unconfirmed, sat(50_000) - dear.fee);
    assert!(here.unseen().is_empty());
    chain.mine(6).await.unwrap();
    look(&chain, &mut here).await;
    assert_eq!(here.release(&cheap.txid).unwrap_err().code(), Code::UnknownTransaction);
}

#[tokio::test]
async fn a_block_reward_ripens() {
    let chain = chain().await;
    let mut wallet = wallet();
    let script = wallet.address().unwrap().script_pubkey();
    chain.mine_to(1, &script).await.unwrap();
    look(&chain, &mut wallet).await;
    let reward = wallet.balance().unwrap().immature;
    assert!(reward > Amount::ZERO);
    let everything = Order { what: What::Everything, ..order(0, 1) };
    assert_eq!(wallet.build(&everything).unwrap_err().code(), Code::NothingToSpend);
    chain.mine(99).await.unwrap();
    look(&chain, &mut wallet).await;
    assert_eq!(wallet.balance().unwrap().confirmed, reward);
    send(&chain, &mut wallet, &everything).await;
}

#[tokio::test]
async fn what_cannot_be_paid_is_refused_and_changes_nothing() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[100_000]).await;
    let before = wallet.record();
    let dust = wallet.build(&order(293, 1)).unwrap_err();
    assert_eq!((dust.code(), dust.amount()), (Code::DustAmount, Some(sat(294))));
    for (order, code) in [
        (order(100_000, 1), Code::InsufficientFunds),
        (order(u64::MAX, 1), Code::ContradictoryChain),
        (order(10_000, 0), Code::InvalidFeeRate),
        (order(10_000, 1_001), Code::InvalidFeeRate),
    ] {
        assert_eq!(wallet.build(&order).unwrap_err().code(), code);
    }
    assert_eq!(wallet.record(), before);
    // The least that can be sent is accepted by the network.
    let built = send(&chain, &mut wallet, &order(294, 1)).await;
    check_fee(&built, 1);
}

#[tokio::test]
async fn a_chain_that_contradicts_itself_is_not_believed() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[100_000]).await;
    let before = wallet.record();
    let paid: Txid = wallet.history().unwrap()[0].txid;
    let real: Transaction = chain.raw_transaction(&paid).await.unwrap().unwrap();

    // Half a look.
    assert_eq!(wallet.see(wallet.look().unwrap()).unwrap_err().code(), Code::ContradictoryChain);

    // Another transaction than the one asked for.
    let mut look = Wallet::new(&seed(), Network::Regtest, 0).unwrap().look().unwrap();
    answer(&chain, &mut look).await;
    let mut richer = real.clone();
    richer.output[0].value = sat(21_000_000);
    assert_eq!(look.transaction(paid, richer).unwrap_err().code(), Code::ContradictoryChain);
    look.transaction(paid, real).unwrap();

    // A history without end, and one that nobody asked for.
    let mut look = wallet.look().unwrap();
    let Some(Ask::History { place, .. }) = look.asks().into_iter().nth(1) else { panic!("an address comes second") };
    let full: Vec<_> = (0..25_u8)
        .map(|n| (bitcoin::hashes::Hash::from_byte_array([n; 32]), Status { height: Some(7), time: None }))
        .collect();
    look.history(place, &full).unwrap();
    assert_eq!(look.history(place, &full).unwrap_err().code(), Code::ContradictoryChain);
    let mut look = wallet.look().unwrap();
    look.history(place, &[]).unwrap();
    assert_eq!(look.history(place, &[]).unwrap_err().code(), Code::ContradictoryChain);

    // Every address was used, they say.
    let mut look = wallet.look().unwrap();
    let result = loop {
        let asks = look.asks();
        let asked = asks.into_iter().find_map(|ask| match ask {
            Ask::History { place, .. } => Some(place),
            Ask::Tip | Ask::Transaction(_) => None,
        });
        if let Err(error) = look.history(asked.unwrap(), &full[..1]) {
            break error;
        }
    };
    assert_eq!(result.code(), Code::WalletTooLarge);
    assert_eq!(wallet.record(), before);
}

#[tokio::test]
async fn a_record_serves_only_its_own_wallet() {
    let chain = chain().await;
    let wallet = funded(&chain, &[100_000]).await;
    let record = wallet.record();
    let again = Wallet::load(&seed(), Network::Regtest, 0, &record).unwrap();
    assert_eq!(again.balance().unwrap(), wallet.balance().unwrap());
    assert_eq!(again.record(), record);
    let code = |seed: &Seed, network, record: &[u8]| Wallet::load(seed, network, 0, record).err().unwrap().code();
    let other = Seed::from_bip39_seed(&[3; 64], Network::Regtest);
    assert_eq!(code(&other, Network::Regtest, &record), Code::CorruptedWallet);
    assert_eq!(code(&seed(), Network::Signet, &record), Code::CorruptedWallet);
    assert_eq!(code(&seed(), Network::Regtest, &[]), Code::CorruptedWallet);
    // More addresses than there can be.
    let mut absurd = record;
    absurd[13..17].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(code(&seed(), Network::Regtest, &absurd), Code::CorruptedWallet);
}

#[tokio::test]
async fn a_quote_is_what_is_built_then_and_changes_nothing() {
    let chain = chain().await;
    let mut wallet = funded(&chain, &[50_000]).await;
    assert_eq!(wallet.receive_index(), 3, "the first is used");
    let before = wallet.record();
    let quoted = wallet.quote(&order(20_000, 3)).unwrap();
    assert_eq!(wallet.record(), before);
    assert!(wallet.held().is_empty());
    let built = wallet.build(&order(20_000, 3)).unwrap();
    assert_eq!((quoted.amount, quoted.fee, quoted.change), (built.amount, built.fee, built.change));
    assert_eq!(wallet.quote(&order(20_000, 3)).unwrap_err().code(), Code::InsufficientFunds);
    assert_eq!(wallet.held().len(), 1, "a question lets nothing go");
}
