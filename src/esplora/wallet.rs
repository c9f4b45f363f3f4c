//! The wallet's questions, and their answers.

use rillpay_channel::bitcoin::consensus::encode::deserialize_hex;
use rillpay_channel::bitcoin::{FeeRate, Transaction, Txid};
use rillpay_wallet::fees::{Speed, estimate};
use rillpay_wallet::{Ask, Place, Status};

use super::{Esplora, nonsense, txid};
use crate::error::Result;
use crate::js::{self, Fields};

/// The longest answer that is read: a page of 25 large transactions, or the hex of the largest one that fits a block.
const MAX_BODY: usize = 16 << 20;

/// What Esplora says to a question.
pub(crate) enum Answer {
    /// The height of the best block.
    Tip(u32),
    /// One page of an address's history.
    History(Place, Vec<(Txid, Status)>),
    /// A transaction; `None` where it is gone.
    Transaction(Txid, Option<Transaction>),
}

impl Esplora {
    /// Asks what the wallet wants to know.
    ///
    /// # Errors
    /// [`crate::error::Problem::ChainUnreachable`].
    pub(crate) async fn answer(&self, ask: Ask) -> Result<Answer> {
        Ok(match ask {
            Ask::Tip => Answer::Tip(self.tip().await?),
            Ask::History { place, address, after } => {
                let path = match after {
                    None => format!("/address/{address}/txs"),
                    Some(last) => format!("/address/{address}/txs/chain/{last}"),
                };
                let text = self.text(&path, MAX_BODY).await?.ok_or_else(nonsense)?;
                Answer::History(place, page(&text).ok_or_else(nonsense)?)
            }
            Ask::Transaction(txid) => {
                let hex = self.text(&format!("/tx/{txid}/hex"), MAX_BODY).await?;
                let transaction = hex.map(|hex| deserialize_hex(hex.trim()).map_err(|_| nonsense())).transpose()?;
                Answer::Transaction(txid, transaction)
            }
        })
    }

    /// The fee rate for a speed.
    ///
    /// # Errors
    /// [`crate::error::Problem::ChainUnreachable`], and as [`estimate`].
    pub(crate) async fn fee_rate(&self, speed: Speed) -> Result<FeeRate> {
        let text = self.text("/fee-estimates", MAX_BODY).await?.ok_or_else(nonsense)?;
        Ok(estimate(&text, speed)?)
    }
}

fn page(json: &str) -> Option<Vec<(Txid, Status)>> {
    let listed: Vec<Fields> = js::parse(json)?;
    let read = |tx: &Fields| {
        let status: Fields = tx.find("status")?;
        let confirmed: bool = status.find("confirmed")?;
        let status = match confirmed {
            true => Status { height: Some(status.find("block_height")?), time: status.find("block_time")? },
            false => Status::default(),
        };
        Some((txid(tx, "txid")?, status))
    };
    listed.iter().map(read).collect()
}
