//! The on-chain wallet: fed from the chain, its record saved after every change.

use std::sync::atomic::{AtomicU32, Ordering};

use rillpay_chain::{Chain, ScriptHash, Status as ChainStatus};
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{
    Address, Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WScriptHash, Witness,
};
use rillpay_channel::fee::Fee;
use rillpay_channel::keys::Seed;
use rillpay_channel::revocable::holder::funding::{Coin, Stake, Unsigned};
use rillpay_wallet::look::PAGE;
use rillpay_wallet::{Ask, Balance, Code as WalletCode, Order, Status, Wallet, What};
use tokio::sync::Mutex;

use crate::error::{Code, Error, Kind};
use crate::keep::Keep;

/// The wallet behind its lock. The chain is asked without holding it.
pub(crate) struct Purse {
    wallet: Mutex<Wallet>,
    /// One look after the other: each builds on what the one before found.
    looking: Mutex<()>,
    /// From which height on its scripts are looked for.
    since: AtomicU32,
}

impl Purse {
    pub(crate) fn open(
        seed: &Seed,
        network: Network,
        store: &dyn Keep,
        (reserved, since): (u32, u32),
    ) -> Result<Self, Error> {
        let wallet = match store.wallet()? {
            Some(record) => Wallet::load(seed, network, reserved, &record)?,
            None => Wallet::new(seed, network, reserved)?,
        };
        Ok(Self { wallet: Mutex::new(wallet), looking: Mutex::new(()), since: AtomicU32::new(since) })
    }

    /// Coins may have been there from this height on.
    pub(crate) fn reach_back(&self, since: u32) {
        self.since.fetch_min(since, Ordering::Relaxed);
    }

    /// Looks at the chain.
    pub(crate) async fn look(&self, chain: &dyn Chain, store: &dyn Keep) -> Result<(), Error> {
        let _one = self.looking.lock().await;
        let mut look = self.wallet.lock().await.look()?;
        loop {
            let asks = look.asks();
            if asks.is_empty() {
                break;
            }
            // All of them first: a backend that has to read old blocks reads them once.
            for ask in &asks {
                if let Ask::History { address, .. } = ask {
                    chain.follow(&address.script_pubkey(), self.since.load(Ordering::Relaxed)).await?;
                }
            }
            for ask in asks {
                match ask {
                    Ask::Tip => look.tip(chain.tip().await?.height),
                    Ask::History { place, address, after } => {
                        let page = page(chain, &address, after).await?;
                        look.history(place, &page)?;
                    }
                    Ask::Transaction(txid) => match chain.raw_transaction(&txid).await? {
                        Some(transaction) => look.transaction(txid, transaction)?,
                        None => look.gone(&txid),
                    },
                }
            }
        }
        let mut wallet = self.wallet.lock().await;
        wallet.see(look)?;
        Ok(store.set_wallet(wallet.record()).await?)
    }

    /// Where it is paid next.
    pub(crate) async fn address(&self) -> Result<Address, Error> {
        Ok(self.wallet.lock().await.address()?)
    }

    pub(crate) async fn balance(&self) -> Result<Balance, Error> {
        Ok(self.wallet.lock().await.balance()?)
    }

    /// Whether there is enough for an output of a funding.
    pub(crate) async fn check(&self, value: Amount, rate: FeeRate) -> Result<(), Error> {
        let to = any_funding();
        let order = Order { to, what: What::Amount(value), rate, later: true };
        self.wallet.lock().await.quote(&order)?;
        Ok(())
    }

    /// Builds the transaction that makes this output of channel `row`, and holds its coins. Nobody has been told of it.
    pub(crate) async fn build(
        &self,
        store: &dyn Keep,
        output: &TxOut,
        rate: FeeRate,
        row: u32,
    ) -> Result<(Txid, OutPoint), Error> {
        let mut wallet = self.wallet.lock().await;
        let what = What::Amount(output.value);
        let built = wallet.build(&Order { to: output.script_pubkey.clone(), what, rate, later: true })?;
        let found = (0..).zip(&built.transaction.output).find(|(_, made)| *made == output);
        let Some((vout, _)) = found else {
            wallet.release(&built.txid)?;
            return Err(Error::new(Code::OpeningFailed, "the funding cannot be made"));
        };
        if let Err(error) = store.hold(wallet.record(), row, built.txid).await {
            wallet.release(&built.txid)?;
            return Err(error.into());
        }
        Ok((built.txid, OutPoint { txid: built.txid, vout }))
    }

    /// Coins for our part of a funding that is built together with a peer. They are not held.
    pub(crate) async fn offer(&self, amount: Amount, rate: FeeRate) -> Result<Stake, Error> {
        let output = TxOut { value: amount, script_pubkey: any_funding() };
        let offer = self.wallet.lock().await.offer(&output, rate)?;
        let coin = |(transaction, vout)| Coin { transaction, vout, witness: WITNESS };
        Ok(Stake { amount, coins: offer.coins.into_iter().map(coin).collect(), change: offer.change })
    }

    /// Signs for our part of the funding of channel `row`, and holds its coins.
    pub(crate) async fn join(&self, store: &dyn Keep, unsigned: &Unsigned, row: u32) -> Result<Vec<Witness>, Error> {
        let ours: Vec<_> = unsigned.ours().collect();
        if ours.is_empty() {
            return Ok(vec![]);
        }
        let mut wallet = self.wallet.lock().await;
        let witnesses = wallet.join(unsigned.transaction(), &ours)?;
        let txid = unsigned.transaction().compute_txid();
        if let Err(error) = store.hold(wallet.record(), row, txid).await {
            wallet.release(&txid)?;
            return Err(error.into());
        }
        Ok(witnesses)
    }

    /// Both have signed a funding: from now on it is broadcast until it is seen.
    pub(crate) async fn complete(&self, store: &dyn Keep, transaction: &Transaction) -> Result<(), Error> {
        let mut wallet = self.wallet.lock().await;
        wallet.complete(transaction)?;
        Ok(store.set_wallet(wallet.record()).await?)
    }

    /// A funding that will never be broadcast.
    pub(crate) async fn release(&self, store: &dyn Keep, txid: &Txid) -> Result<(), Error> {
        let mut wallet = self.wallet.lock().await;
        wallet.release(txid)?;
        Ok(store.set_wallet(wallet.record()).await?)
    }

    /// Brings money along to a transaction with `value` in its inputs: the coins are held for it, and it is signed. It takes the place
    /// of others that were made so, for channel `row`.
    pub(crate) async fn support(
        &self,
        store: &dyn Keep,
        row: u32,
        (base, value): (&Transaction, Amount),
        fee: &Fee,
        replaces: &[Txid],
        sign: impl FnOnce(&mut Transaction) -> Result<(), Error>,
    ) -> Result<Transaction, Error> {
        let mut wallet = self.wallet.lock().await;
        let mut transaction = wallet.support(base, value, fee, replaces)?;
        sign(&mut transaction)?;
        wallet.supported(transaction.clone(), replaces)?;
        store.hold(wallet.record(), row, transaction.compute_txid()).await?;
        Ok(transaction)
    }

    /// The coins of a transaction are not needed for it any more, if they were held.
    pub(crate) async fn let_go(&self, store: &dyn Keep, txid: &Txid) -> Result<(), Error> {
        match self.release(store, txid).await {
            Err(error) if error.kind() == Kind::Wallet(WalletCode::UnknownTransaction) => Ok(()),
            released => released,
        }
    }

    /// The transactions that were built for channels and not sent.
    pub(crate) async fn held(&self, store: &dyn Keep) -> Result<Vec<Txid>, Error> {
        let held: Vec<_> = self.wallet.lock().await.held().into_iter().map(Transaction::compute_txid).collect();
        let mut ours = vec![];
        for txid in held {
            if store.is_ours(&txid)? {
                ours.push(txid);
            }
        }
        Ok(ours)
    }

    /// The channel of this funding is stored: from now on it is broadcast until it is seen.
    pub(crate) async fn send(&self, store: &dyn Keep, txid: &Txid) -> Result<(), Error> {
        let mut wallet = self.wallet.lock().await;
        wallet.sent(txid)?;
        Ok(store.set_wallet(wallet.record()).await?)
    }

    /// What was sent and did not show yet.
    pub(crate) async fn unseen(&self) -> Vec<Transaction> {
        self.wallet.lock().await.unseen().into_iter().cloned().collect()
    }
}

/// The weight of the witness of one of our coins: a signature with a low R, and a key.
const WITNESS: u64 = 107;

/// Of the same size as a funding output will have.
fn any_funding() -> ScriptBuf {
    ScriptBuf::new_p2wsh(&WScriptHash::all_zeros())
}

/// A page of an address's history, as the wallet wants it.
async fn page(chain: &dyn Chain, address: &Address, after: Option<Txid>) -> Result<Vec<(Txid, Status)>, Error> {
    let script = address.script_pubkey();
    let history = chain.script_history(&ScriptHash::of(&script)).await?;
    let (confirmed, waiting): (Vec<_>, Vec<_>) = history.into_iter().partition(|tx| tx.status.is_confirmed());
    let skip = after.and_then(|last| confirmed.iter().position(|tx| tx.txid == last));
    let skip = skip.map_or(0, |last| last.saturating_add(1));
    let waiting = waiting.into_iter().filter(|_| after.is_none());
    let page = waiting.chain(confirmed.into_iter().skip(skip).take(PAGE));
    let status = |status| match status {
        ChainStatus::Confirmed(block) => Status { height: Some(block.height), time: Some(block.time) },
        ChainStatus::Unconfirmed => Status::default(),
    };
    Ok(page.map(|tx| (tx.txid, status(tx.status))).collect())
}

/// The sum of what can or will be spent.
pub(crate) fn total(balance: &Balance) -> Amount {
    let parts = [balance.confirmed, balance.unconfirmed, balance.immature, balance.locked];
    parts.into_iter().try_fold(Amount::ZERO, Amount::checked_add).unwrap_or(Amount::MAX_MONEY)
}
