//! One commitment that was broadcast although it was revoked: what its kit takes is taken, at a rate that rises with every block,
//! until it is all spent and buried.

use std::collections::BTreeMap;

use rillpay_chain::{ChainError, Outspend, Reason, ScriptHash};
use rillpay_channel::Code;
use rillpay_channel::bitcoin::{FeeRate, OutPoint, ScriptBuf, Txid};
use rillpay_channel::revocable::justice::Kit;

use super::store::Cheat;
use super::{Error, Shared};
use crate::watcher::BURIED;

/// The confirmation target: the cheat's own delay is running.
const TARGET: u16 = 1;
/// The first rate where the chain's backend has no estimate.
const UNESTIMATED: FeeRate = FeeRate::from_sat_per_vb_u32(10);
/// A commitment that a reorganisation took away, and that nobody has broadcast again for so many blocks, is gone.
const GONE: u32 = 2_016;
/// No delay of a channel is longer: what has not been taken by then, the cheat could take long ago.
const TOO_LATE: u32 = 65_535;

/// The outputs that a kit takes and that are there.
#[derive(Default)]
struct Outputs {
    /// Nothing spends these.
    free: Vec<OutPoint>,
    /// A transaction that waits spends these, ours or another one's. Each by itself: a rival of one must not keep us from the
    /// others.
    contested: BTreeMap<Txid, Vec<OutPoint>>,
    /// There are some, and all of them were spent some blocks ago.
    is_over: bool,
    is_empty: bool,
}

/// Does what can be done now. Gives the cheat back, as long as there is something to do.
pub(super) async fn punish(tower: &Shared, mut cheat: Cheat) -> (Option<Cheat>, Result<(), Error>) {
    let before = (cheat.rate, cheat.tried);
    let acted = act(tower, &mut cheat).await;
    match acted {
        Ok(None) => {}
        Ok(Some(is_punished)) => return finish(tower, cheat, is_punished).await,
        Err(error) => return (Some(cheat), Err(error)),
    }
    let noted = if (cheat.rate, cheat.tried) == before {
        Ok(())
    } else {
        tower.store.note(vec![cheat.clone()]).await.map_err(Error::from)
    };
    (Some(cheat), noted)
}

async fn finish(tower: &Shared, cheat: Cheat, is_punished: bool) -> (Option<Cheat>, Result<(), Error>) {
    let txid = cheat.kit.commitment();
    if let Err(error) = tower.store.close(&cheat, is_punished).await {
        return (Some(cheat), Err(error.into()));
    }
    tracing::info!(%txid, client = cheat.client, is_punished, "nothing is left to be done about this commitment");
    for script in cheat.kit.scripts() {
        if let Err(error) = tower.chain.unfollow(&ScriptHash::of(&script)).await {
            return (None, Err(error.into()));
        }
    }
    (None, Ok(()))
}

/// Whether it is over, and how: punished, or gone.
async fn act(tower: &Shared, cheat: &mut Cheat) -> Result<Option<bool>, Error> {
    let tip = tower.chain.tip().await?.height;
    let outputs = look(tower, cheat, tip).await?;
    if outputs.is_over {
        return Ok(Some(true));
    }
    let age = tip.saturating_sub(cheat.height);
    if age > TOO_LATE || (outputs.is_empty && age > GONE) {
        return Ok(Some(false));
    }
    // One try with each block is enough.
    if cheat.tried == tip {
        return Ok(None);
    }
    // Nobody who cheats is to be saved by an estimate that is missing.
    let estimate = tower.chain.fee_estimates().await.map_or(UNESTIMATED, |estimates| estimates.within(TARGET));
    let (first, raised) = Kit::offers(cheat.rate, estimate);
    let mut offered = cheat.rate;
    if !outputs.free.is_empty() {
        offered = offer(tower, &cheat.kit, &outputs.free, first).await?;
    }
    for contested in outputs.contested.values() {
        offered = offered.max(offer(tower, &cheat.kit, contested, raised).await?);
    }
    if !outputs.free.is_empty() || !outputs.contested.is_empty() {
        (cheat.rate, cheat.tried) = (offered, tip);
    }
    Ok(None)
}

/// Where the outputs stand that the kit takes.
async fn look(tower: &Shared, cheat: &Cheat, tip: u32) -> Result<Outputs, Error> {
    let (chain, scripts) = (tower.chain.as_ref(), cheat.kit.scripts());
    // All of them first: a backend that has to read old blocks reads them once.
    for script in &scripts {
        chain.follow(script, cheat.height).await?;
    }
    let mut there = BTreeMap::new();
    for script in scripts.iter().map(ScriptBuf::as_script) {
        let outputs = chain.script_outputs(&ScriptHash::of(script)).await?;
        there.extend(outputs.into_iter().map(|output| (output.outpoint, output.status)));
    }
    let mut found = Outputs { is_over: true, is_empty: true, ..Outputs::default() };
    for outpoint in cheat.kit.outpoints() {
        let Some(made) = there.get(&outpoint) else { continue };
        found.is_empty = false;
        found.is_over &= made.confirmations(tip) >= BURIED;
        match chain.outspend(&outpoint).await? {
            Outspend::Unspent => {
                found.is_over = false;
                found.free.push(outpoint);
            }
            Outspend::Spent(by) => {
                found.is_over &= by.status.confirmations(tip) >= BURIED;
                if !by.status.is_confirmed() {
                    found.contested.entry(by.txid).or_default().push(outpoint);
                }
            }
        }
    }
    found.is_over &= !found.is_empty;
    Ok(found)
}

/// Broadcasts what takes these outputs, at the first rate from this one on that the network takes; which that was, or the
/// highest if there was none.
async fn offer(tower: &Shared, kit: &Kit, outputs: &[OutPoint], mut rate: FeeRate) -> Result<FeeRate, Error> {
    loop {
        let transactions = match kit.punish(rate, |outpoint| outputs.contains(outpoint)) {
            Ok(transactions) => transactions,
            Err(error) if error.code() == Code::NothingToDo => return Ok(rate),
            Err(error) => return Err(error.into()),
        };
        let mut is_taken = true;
        for transaction in transactions {
            let txid = transaction.compute_txid();
            match tower.chain.broadcast(&transaction).await {
                Ok(_) => tracing::info!(%txid, %rate, outputs = outputs.len(), "punishing"),
                Err(ChainError::Refused(refusal)) => {
                    tracing::warn!(%txid, %rate, "the network refuses a transaction: {refusal}");
                    // More does not help where a block has come in between: the next pass looks anew.
                    is_taken &= matches!(
                        refusal.reason,
                        Reason::AlreadyKnown | Reason::MissingInputs | Reason::MempoolConflict
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
        match Kit::dearer(rate) {
            Some(dearer) if !is_taken => rate = dearer,
            _ => return Ok(rate),
        }
    }
}
