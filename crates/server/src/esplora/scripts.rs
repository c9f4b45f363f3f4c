//! `/scripthash/…` and `/address/…`: what was paid to a script and what became of it.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use rillpay_chain::{ScriptHash, TxInfo, TxOutput, Utxo};
use rillpay_channel::bitcoin::address::NetworkUnchecked;
use rillpay_channel::bitcoin::{Address, Txid};
use serde::{Deserialize, Serialize};

use super::{Backend, Failure, parse};

/// How many confirmed transactions a page has.
const PAGE: usize = 25;
/// How many unconfirmed ones are listed at all.
const UNCONFIRMED: usize = 50;

/// A script, named in the path by its hash or its address.
pub(super) struct Named {
    /// Which of the two, and the name as it was given.
    by: String,
    name: String,
    hash: ScriptHash,
}

#[derive(Deserialize)]
struct Names {
    by: String,
    name: String,
}

impl FromRequestParts<Backend> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, chain: &Backend) -> Result<Self, Failure> {
        let Ok(Path(Names { by, name })) = Path::<Names>::from_request_parts(parts, chain).await else {
            return Err(Failure::Invalid("Invalid path"));
        };
        let hash = match by.as_str() {
            "scripthash" => parse(&name, "Invalid hex string")?,
            "address" => {
                let address: Address<NetworkUnchecked> = parse(&name, "Invalid Bitcoin address")?;
                let address = address.require_network(chain.network());
                let address = address.map_err(|_| Failure::Invalid("Address on invalid network"))?;
                ScriptHash::of(&address.script_pubkey())
            }
            _ => return Err(Failure::NotFound("endpoint does not exist")),
        };
        Ok(Self { by, name, hash })
    }
}

/// What was paid to a script and spent from it, counted.
#[derive(Default, Serialize)]
struct Counts {
    tx_count: u64,
    funded_txo_count: u64,
    funded_txo_sum: u64,
    spent_txo_count: u64,
    spent_txo_sum: u64,
}

impl Counts {
    fn add(&mut self, tx: &TxInfo, script: &ScriptHash) {
        self.tx_count = self.tx_count.saturating_add(1);
        for output in tx.vout.iter().filter(|output| pays(output, script)) {
            self.funded_txo_count = self.funded_txo_count.saturating_add(1);
            self.funded_txo_sum = self.funded_txo_sum.saturating_add(output.value.to_sat());
        }
        let spent = tx.vin.iter().filter_map(|input| input.prevout.as_ref());
        for output in spent.filter(|output| pays(output, script)) {
            self.spent_txo_count = self.spent_txo_count.saturating_add(1);
            self.spent_txo_sum = self.spent_txo_sum.saturating_add(output.value.to_sat());
        }
    }
}

fn pays(output: &TxOutput, script: &ScriptHash) -> bool {
    ScriptHash::of(&output.scriptpubkey) == *script
}

pub(super) async fn statistics(
    State(chain): State<Backend>,
    script: Named,
) -> Result<Json<serde_json::Value>, Failure> {
    let (mut confirmed, mut waiting) = (Counts::default(), Counts::default());
    for tx in chain.script_history(&script.hash).await? {
        let counts = if tx.status.is_confirmed() { &mut confirmed } else { &mut waiting };
        counts.add(&tx, &script.hash);
    }
    // The name comes back under `scripthash` or `address`, as it was asked for.
    Ok(Json(serde_json::json!({
        script.by: script.name,
        "chain_stats": confirmed,
        "mempool_stats": waiting,
    })))
}

/// Unconfirmed ones, and the first page of the confirmed ones.
pub(super) async fn history(State(chain): State<Backend>, script: Named) -> Result<Json<Vec<TxInfo>>, Failure> {
    let (confirmed, mut list) = split(&chain, &script).await?;
    list.truncate(UNCONFIRMED);
    list.extend(confirmed.into_iter().take(PAGE));
    Ok(Json(list))
}

pub(super) async fn unconfirmed(State(chain): State<Backend>, script: Named) -> Result<Json<Vec<TxInfo>>, Failure> {
    let (_, mut list) = split(&chain, &script).await?;
    list.truncate(UNCONFIRMED);
    Ok(Json(list))
}

pub(super) async fn confirmed(State(chain): State<Backend>, script: Named) -> Result<Json<Vec<TxInfo>>, Failure> {
    let (mut list, _) = split(&chain, &script).await?;
    list.truncate(PAGE);
    Ok(Json(list))
}

#[derive(Deserialize)]
pub(super) struct Last {
    last: String,
}

pub(super) async fn confirmed_after(
    State(chain): State<Backend>,
    script: Named,
    Path(Last { last }): Path<Last>,
) -> Result<Json<Vec<TxInfo>>, Failure> {
    let last: Txid = parse(&last, "Invalid hex string")?;
    let (list, _) = split(&chain, &script).await?;
    let after = list.into_iter().skip_while(|tx| tx.txid != last).skip(1);
    Ok(Json(after.take(PAGE).collect()))
}

pub(super) async fn unspent(State(chain): State<Backend>, script: Named) -> Result<Json<Vec<Utxo>>, Failure> {
    Ok(Json(chain.script_unspent(&script.hash).await?))
}

/// The history, confirmed and unconfirmed.
async fn split(chain: &Backend, script: &Named) -> Result<(Vec<TxInfo>, Vec<TxInfo>), Failure> {
    let history = chain.script_history(&script.hash).await?;
    Ok(history.into_iter().partition(|tx| tx.status.is_confirmed()))
}
