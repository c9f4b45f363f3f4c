//! The on-chain wallet: fed from the chain, its record saved after every change.

use rillpay_chain::{Chain, ScriptHash, Status as ChainStatus};
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{
    Address, Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WScriptHash,
};
use rillpay_channel::keys::Seed;
use rillpay_wallet::look::PAGE;
use rillpay_wallet::{Ask, Balance, Order, Status, Wallet, What};
use tokio::sync::Mutex;

use crate::error::{Code, Error};
use crate::keep::Keep;

/// The wallet behind its lock. The chain is asked without holding it.
pub(crate) struct Purse {
    wallet: Mutex<Wallet>,
    /// One look after the other: each builds on what the one before found.
    looking: Mutex<()>,
    /// From which height on its scripts are looked for.
    since: u32,
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
        Ok(Self { wallet: Mutex::new(wallet), looking: Mutex::new(()), since })
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
                    chain.follow(&address.script_pubkey(), self.since).await?;
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
        // Of the same size as the output will have.
        let to = ScriptBuf::new_p2wsh(&WScriptHash::all_zeros());
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

    /// A funding that will never be broadcast.
    pub(crate) async fn release(&self, store: &dyn Keep, txid: &Txid) -> Result<(), Error> {
        let mut wallet = self.wallet.lock().await;
        wallet.release(txid)?;
        Ok(store.set_wallet(wallet.record()).await?)
    }

    /// The fundings that were built and not sent.
    pub(crate) async fn held(&self, store: &dyn Keep) -> Result<Vec<Txid>, Error> {
        let held: Vec<_> = self.wallet.lock().await.held().into_iter().map(Transaction::compute_txid).collect();
        let mut fundings = vec![];
        for txid in held {
            if store.is_funding(&txid)? {
                fundings.push(txid);
            }
        }
        Ok(fundings)
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
