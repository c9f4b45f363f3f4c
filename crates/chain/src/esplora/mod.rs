//! An Esplora, over HTTP, whose word is checked as far as it can be.
//!
//! ```text
//!   EsploraChain ── questions ──> checks ── api ── http ──> Esplora
//!   (async, shared)                 │
//!                    headers <── look, every now and then
//! ```
//!
//! | what the server says | what shows it |
//! | --- | --- |
//! | the network | the first block's hash |
//! | the best chain | headers: each names the one before and took the work that the one before demands |
//! | the height | the first transaction of the tip that was seen first (BIP 34), then counting |
//! | a transaction | hashes to its id; the outputs that it spends are read from transactions that hash to theirs |
//! | it is confirmed | a Merkle proof up to a header of the best chain |
//! | it spends an output | it does |
//! | fee rates | nothing: they are brought between a floor and a cap |
//!
//! # What a user must know
//!
//! * **What is left out cannot be seen.** A server can hide a payment, a spending or the newest blocks. A tip that is three
//!   hours old is taken for that (not on regtest), and nothing else can be. Who holds much at risk asks a node of their own.
//! * **What waits is the server's word**: its signatures are not checked, and nothing proves that others have it. So is a
//!   transaction of 64 bytes, wherever it is: no proof can show that it is in a block.
//! * **Of a script's unspent outputs the largest are read**, so that whoever pays dust to an address hides nothing by it.
//! * **Trouble answers every question.** While the server cannot be asked, is on another network, is behind or lies, questions
//!   fail with that, and [`Chain::synced_at`] stands still. It ends by itself when the trouble does.
//!   [`EsploraChain::trouble`] tells it without a question.
//! * **Visitors** ([`Chain::for_visitors`]) get what three requests at a time can give, of the newest two weeks of blocks. None of
//!   it holds our own questions up, and a broadcast of ours goes out even while the server wants no questions.
//! * **The server learns** which scripts are asked for, and so which channels are whose.

mod api;
mod fees;
mod fetch;
mod headers;
mod http;
mod look;
mod memo;
mod options;
mod proof;
mod trouble;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, Network, OutPoint, Script, Transaction, TxOut, Txid};
use rillpay_runtime::time::Instant;
use rillpay_runtime::{MaybeSend, MaybeSync};
use tokio::sync::watch;

use self::api::Listed;
pub use self::fetch::{Fetch, Fetched, Request};
use self::headers::Headers;
use self::http::Http;
use self::look::{Looker, Shared};
use self::memo::Memo;
pub use self::options::EsploraOptions;
use self::trouble::Trouble;
use crate::{Chain, ChainError, Change, FeeEstimates, Outspend, ScriptHash, Spending, Status, Tip, TxInfo, Utxo};

/// The longest history of a script that is read, in transactions.
const LONGEST_HISTORY: usize = 2_000;
/// The same for visitors.
const LONGEST_FOR_VISITORS: usize = 300;
/// How many of a script's unspent outputs are read. Anybody can pay to an address, as often as they like.
const MOST_UNSPENT: usize = 64;
/// How often a question is asked again because the chain moved meanwhile.
const TRIES: u32 = 3;

/// An Esplora as a [`Chain`]. Clones share the connection, which ends with the last of them.
#[derive(Clone)]
pub struct EsploraChain {
    shared: Arc<Shared>,
    http: Http,
    memo: Arc<Memo>,
    _looker: Arc<Looker>,
}

impl EsploraChain {
    /// Starts to look at a server. One that cannot be asked, is behind or lies is waited for, in the background.
    ///
    /// # Errors
    ///
    /// What waiting does not mend: [`ChainError::Misuse`] for a URL that cannot be used, [`ChainError::Unavailable`] when the
    /// system has no root certificates, and [`Unfit::OtherNetwork`](crate::Unfit::OtherNetwork) when the server answers from
    /// another network.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn connect(options: EsploraOptions) -> Result<Self, ChainError> {
        let fetch = fetch::client(&options.url)?;
        Self::connect_by(options, fetch).await
    }

    /// The same, over requests that the caller knows how to make.
    ///
    /// # Errors
    ///
    /// As `connect`, but for the certificates.
    pub async fn connect_by(options: EsploraOptions, fetch: Arc<dyn Fetch>) -> Result<Self, ChainError> {
        let EsploraOptions { url, network, poll, patience } = options;
        let shared = Arc::new(Shared::new(Http::new(&url, patience, fetch)?, network));
        // What else is wrong, questions say.
        if let Err(trouble @ Trouble::Foreign(_)) = shared.look().await {
            return Err(trouble.into());
        }
        let looker = Looker::start(Arc::clone(&shared), poll.max(EsploraOptions::SHORTEST_POLL));
        let http = shared.http.clone();
        Ok(EsploraChain { shared, http, memo: Arc::default(), _looker: Arc::new(looker) })
    }

    /// What keeps the view from being the network's at the moment, if anything does. Its
    /// [`code`](ChainError::code) is stable.
    pub fn trouble(&self) -> Option<ChainError> {
        self.shared.trouble().map(ChainError::from)
    }

    fn http(&self) -> &Http {
        &self.http
    }

    /// The best chain, down to a height. For visitors it is not read any further down than it is.
    async fn down_to(&self, height: u32) -> Result<Arc<Headers>, Trouble> {
        let headers = self.shared.headers()?;
        if height >= headers.base() {
            return Ok(headers);
        }
        if self.http.is_for_visitors() {
            return Err(Trouble::Unreachable(format!("block {height} is too old for visitors to ask about")));
        }
        self.shared.extend_down(height).await
    }

    /// Asks a question, again after a look where the answer does not fit the chain as it was seen.
    async fn ask<T, F: Future<Output = Result<T, Trouble>> + MaybeSend>(
        &self,
        ask: impl Fn() -> F + MaybeSend + MaybeSync,
    ) -> Result<T, ChainError> {
        let mut tries = 1;
        loop {
            self.shared.headers()?;
            match ask().await {
                Ok(answer) => return Ok(answer),
                // Visitors neither bring about looks nor choose the answers by which a server is judged.
                Err(trouble) if self.http.is_for_visitors() => return Err(trouble.into()),
                Err(Trouble::Behind(_)) if tries < TRIES => self.shared.look().await?,
                Err(trouble) => {
                    self.shared.caught(&trouble);
                    return Err(trouble.into());
                }
            }
            tries = tries.saturating_add(1);
        }
    }

    /// A transaction by its id, from memory or from the server.
    async fn fetch(&self, txid: &Txid) -> Result<Option<Arc<Transaction>>, Trouble> {
        if let Some(tx) = self.memo.transaction(txid) {
            return Ok(Some(tx));
        }
        let Some(tx) = self.http().raw(txid).await?.map(Arc::new) else { return Ok(None) };
        self.memo.keep(*txid, &tx);
        Ok(Some(tx))
    }

    /// One that the server has just spoken of.
    async fn listed(&self, txid: &Txid) -> Result<Arc<Transaction>, Trouble> {
        self.fetch(txid).await?.ok_or_else(|| Trouble::behind(format!("transaction {txid} has gone meanwhile")))
    }

    /// Where a transaction stands: what the server says, once it is shown.
    async fn place(&self, tx: &Transaction, txid: Txid, claimed: Status) -> Result<Status, Trouble> {
        let Some(claimed) = claimed.block().filter(|_| !proof::is_unprovable(tx)) else {
            return Ok(Status::Unconfirmed);
        };
        let headers = self.down_to(claimed.height).await?;
        let known = headers.at(claimed.height).filter(|(hash, _)| *hash == claimed.hash);
        let (hash, header) = known.ok_or_else(|| {
            Trouble::behind(format!("transaction {txid} is said to be in block {}, which is not there", claimed.hash))
        })?;
        let block = headers.block(claimed.height).filter(|block| block.hash == *hash);
        let block = block.ok_or_else(|| Trouble::lie("a block that is not there"))?;
        if self.memo.place(&txid) != Some(block) {
            let proof = self.http().merkle_proof(&txid).await?;
            let proof = proof.ok_or_else(|| Trouble::behind(format!("nothing shows that {txid} is confirmed")))?;
            if proof.block_height != block.height {
                return Err(Trouble::behind(format!("transaction {txid} moved to block {}", proof.block_height)));
            }
            if !proof::leads(tx, txid, &proof, header.merkle_root) {
                return Err(Trouble::lie(format!("transaction {txid} is not in block {hash}, as it says")));
            }
            self.memo.put(txid, block);
        }
        Ok(Status::Confirmed(block))
    }

    async fn locate(&self, txid: &Txid) -> Result<Option<(Arc<Transaction>, Status)>, Trouble> {
        let Some(Listed { status, .. }) = self.http().find(txid).await? else { return Ok(None) };
        let tx = self.listed(txid).await?;
        let status = self.place(&tx, *txid, status).await?;
        Ok(Some((tx, status)))
    }

    async fn describe(&self, tx: &Transaction, status: Status) -> Result<TxInfo, Trouble> {
        let mut prevouts: Vec<TxOut> = Vec::with_capacity(tx.input.len());
        for input in tx.input.iter().filter(|_| !tx.is_coinbase()) {
            let OutPoint { txid, vout } = input.previous_output;
            let before = self.listed(&txid).await?;
            let output = usize::try_from(vout).ok().and_then(|vout| before.output.get(vout));
            prevouts.push(
                output.ok_or_else(|| Trouble::lie(format!("{txid}:{vout} is spent and does not exist")))?.clone(),
            );
        }
        Ok(TxInfo::new(tx, &prevouts, status, self.shared.network))
    }

    async fn history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, Trouble> {
        let longest = if self.http.is_for_visitors() { LONGEST_FOR_VISITORS } else { LONGEST_HISTORY };
        let mut history = Vec::new();
        let mut had = HashSet::new();
        let mut after = None;
        loop {
            let page = self.http().page(script, after).await?;
            let confirmed = page.iter().rev().find(|listed| listed.status.is_confirmed()).map(|listed| listed.txid);
            for Listed { txid, status } in page {
                if !had.insert(txid) {
                    return Err(Trouble::behind(format!("transaction {txid} is listed twice")));
                }
                if had.len() > longest {
                    return Err(Trouble::Unreachable(format!("script {script} has too long a history")));
                }
                let tx = self.listed(&txid).await?;
                let status = self.place(&tx, txid, status).await?;
                let info = self.describe(&tx, status).await?;
                if !touches(&info, script) {
                    return Err(Trouble::lie(format!("transaction {txid} has nothing to do with script {script}")));
                }
                history.push(info);
            }
            match confirmed {
                None => break,
                last => after = last,
            }
        }
        // The order within a block stays the server's.
        history.sort_by_key(|info| newest_first(info.status));
        Ok(history)
    }

    /// The largest of a script's unspent outputs. That nothing spends them is the server's word.
    async fn unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, Trouble> {
        let mut listed = self.http().unspent(script).await?;
        listed.sort_by_key(|output| (Reverse(output.value), output.txid, output.vout));
        listed.dedup_by_key(|output| (output.txid, output.vout));
        listed.truncate(MOST_UNSPENT);
        for output in &mut listed {
            let Utxo { txid, vout, .. } = *output;
            let tx = self.listed(&txid).await?;
            let paid = usize::try_from(vout).ok().and_then(|vout| tx.output.get(vout));
            let Some(paid) = paid.filter(|paid| ScriptHash::of(&paid.script_pubkey) == *script) else {
                return Err(Trouble::lie(format!("{txid}:{vout} is no output of script {script}")));
            };
            output.value = paid.value;
            output.status = self.place(&tx, txid, output.status).await?;
        }
        listed.sort_by_key(|output| newest_first(output.status));
        Ok(listed)
    }
}

/// Orders what waits before what is confirmed, and that by its height.
fn newest_first(status: Status) -> (bool, Reverse<Option<u32>>) {
    (status.is_confirmed(), Reverse(status.block().map(|block| block.height)))
}

fn touches(info: &TxInfo, script: &ScriptHash) -> bool {
    let prevouts = info.vin.iter().filter_map(|input| input.prevout.as_ref());
    prevouts.chain(&info.vout).any(|output| ScriptHash::of(&output.scriptpubkey) == *script)
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Chain for EsploraChain {
    fn network(&self) -> Network {
        self.shared.network
    }

    async fn tip(&self) -> Result<Tip, ChainError> {
        let tip = self.shared.headers()?.tip();
        tip.ok_or_else(|| ChainError::Unavailable("the Esplora has not been asked yet".to_owned()))
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, ChainError> {
        self.ask(|| async move {
            let headers = self.down_to(height).await?;
            Ok(headers.block(height).map(|block| block.hash))
        })
        .await
    }

    async fn block_header(&self, hash: &BlockHash) -> Result<Option<Header>, ChainError> {
        self.ask(|| async move {
            let header = self.http().header(hash).await?;
            header.iter().try_for_each(|header| headers::check_work(self.shared.network, header))?;
            Ok(header)
        })
        .await
    }

    async fn block(&self, hash: &BlockHash) -> Result<Option<Block>, ChainError> {
        self.ask(|| async move {
            let block = self.http().block(hash).await?;
            block.iter().try_for_each(|block| headers::check_work(self.shared.network, &block.header))?;
            Ok(block)
        })
        .await
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<TxInfo>, ChainError> {
        self.ask(|| async move {
            let Some((tx, status)) = self.locate(txid).await? else { return Ok(None) };
            self.describe(&tx, status).await.map(Some)
        })
        .await
    }

    async fn raw_transaction(&self, txid: &Txid) -> Result<Option<Transaction>, ChainError> {
        self.ask(|| self.http().raw(txid)).await
    }

    async fn status(&self, txid: &Txid) -> Result<Option<Status>, ChainError> {
        self.ask(|| async move { Ok(self.locate(txid).await?.map(|(_, status)| status)) }).await
    }

    async fn follow(&self, script: &Script, _since: u32) -> Result<(), ChainError> {
        self.shared.follow(ScriptHash::of(script));
        Ok(())
    }

    async fn unfollow(&self, script: &ScriptHash) -> Result<(), ChainError> {
        self.shared.unfollow(script);
        Ok(())
    }

    async fn script_history(&self, script: &ScriptHash) -> Result<Vec<TxInfo>, ChainError> {
        self.ask(|| self.history(script)).await
    }

    async fn script_unspent(&self, script: &ScriptHash) -> Result<Vec<Utxo>, ChainError> {
        self.ask(|| self.unspent(script)).await
    }

    async fn outspend(&self, outpoint: &OutPoint) -> Result<Outspend, ChainError> {
        self.ask(|| async move {
            let Some(Spending { txid, vin, status }) = self.http().outspend(outpoint).await?.spending() else {
                return Ok(Outspend::Unspent);
            };
            let tx = self.listed(&txid).await?;
            let input = usize::try_from(vin).ok().and_then(|vin| tx.input.get(vin));
            if input.map(|input| input.previous_output) != Some(*outpoint) {
                return Err(Trouble::lie(format!("input {vin} of {txid} does not spend {outpoint}")));
            }
            let status = self.place(&tx, txid, status).await?;
            Ok(Outspend::Spent(Spending { txid, vin, status }))
        })
        .await
    }

    async fn fee_estimates(&self) -> Result<FeeEstimates, ChainError> {
        self.ask(|| self.http().fee_estimates()).await
    }

    /// A transaction that others have to hear of is handed over even while the server's view is not relied upon.
    async fn broadcast(&self, tx: &Transaction) -> Result<Txid, ChainError> {
        self.http().broadcast(tx).await
    }

    async fn submit_package(&self, package: [&Transaction; 2]) -> Result<bool, ChainError> {
        self.http().submit_package(package).await
    }

    fn for_visitors(&self) -> Option<Arc<dyn Chain>> {
        // What is remembered for visitors pushes nothing out of what is remembered for us.
        Some(Arc::new(EsploraChain { http: self.http.for_visitors(), memo: Arc::default(), ..self.clone() }))
    }

    fn changes(&self) -> watch::Receiver<Change> {
        self.shared.changes()
    }

    fn synced_at(&self) -> Option<Instant> {
        self.shared.synced_at()
    }
}
