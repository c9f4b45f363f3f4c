//! The browser's own look at the chain, through Esplora's HTTP API. A viewer need not trust the site about the chain.

use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::{Address, Amount, OutPoint, ScriptBuf, Transaction, Txid};
use rillpay_channel::commitment::Funding;
use rillpay_channel::payee::SeenOutput;
use rillpay_channel::payer::{Payer, Spend};
use serde::Deserialize;

use crate::error::{Error, Problem, Result};
use crate::http::{self, HttpError};

/// One consistent look at a channel's address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Height of the best block.
    pub(crate) tip: u32,
    /// Every unspent output at the address.
    pub(crate) outputs: Vec<SeenOutput>,
    /// What spent the funding.
    pub(crate) spend: Option<Spend>,
}

/// What to look at: copied out of a channel, so that nothing is borrowed while the network answers.
pub(crate) struct Question {
    address: Address,
    return_script: ScriptBuf,
    funding: Option<OutPoint>,
    known: Option<Spend>,
}

impl Question {
    /// What matters to this channel.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn about(payer: &Payer) -> Result<Self> {
        Ok(Self {
            address: payer.params().address()?,
            return_script: payer.params().return_script.clone(),
            funding: payer.funding().map(|funding| funding.outpoint),
            known: payer.spend().copied(),
        })
    }
}

/// An Esplora server.
#[derive(Clone)]
pub(crate) struct Esplora {
    base: String,
}

#[derive(Deserialize)]
struct Status {
    confirmed: bool,
    block_height: Option<u32>,
}

impl Status {
    fn confirmations(&self, tip: u32) -> u32 {
        let height = self.block_height.filter(|_| self.confirmed);
        height
            .and_then(|height| tip.checked_sub(height))
            .map_or(0, |above| above.saturating_add(1))
    }
}

#[derive(Deserialize)]
struct Utxo {
    txid: String,
    vout: u32,
    value: u64,
    status: Status,
}

#[derive(Deserialize)]
struct Outspend {
    spent: bool,
    txid: Option<String>,
    vin: Option<usize>,
}

#[derive(Deserialize)]
struct Tx {
    vin: Vec<Input>,
    vout: Vec<Output>,
    status: Status,
}

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    witness: Vec<String>,
}

#[derive(Deserialize)]
struct Output {
    scriptpubkey: String,
    value: u64,
}

impl Esplora {
    /// `base` has no slash at its end.
    pub(crate) const fn new(base: String) -> Self {
        Self { base }
    }

    /// Height of the best block.
    ///
    /// # Errors
    /// [`Problem::ChainUnreachable`], as all methods here.
    pub(crate) async fn tip(&self) -> Result<u32> {
        let text = http::get_text(&format!("{}/blocks/tip/height", self.base)).await;
        text.map_err(unreachable)?.trim().parse().map_err(|_| nonsense())
    }

    /// Looks at a channel.
    pub(crate) async fn look(&self, question: &Question) -> Result<Look> {
        let tip = self.tip().await?;
        let outputs = self.outputs(&question.address, tip).await?;
        let spend = match (question.funding, question.known) {
            (Some(funding), _) => self.spend(funding, &question.return_script).await?,
            // A refund of deposits that never opened the channel.
            (None, Some(known)) => self.refund_status(known).await?,
            (None, None) => None,
        };
        Ok(Look { tip, outputs, spend })
    }

    /// Hands a transaction to the network.
    ///
    /// # Errors
    /// [`Problem::BroadcastRefused`] with the node's words.
    pub(crate) async fn broadcast(&self, transaction: &Transaction) -> Result<()> {
        let url = format!("{}/tx", self.base);
        match http::post_text(&url, &serialize_hex(transaction)).await.map_err(unreachable)? {
            (true, _) => Ok(()),
            (false, cause) => Err(Error::Browser(Problem::BroadcastRefused, Some(cause))),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match http::get_json(&format!("{}{path}", self.base)).await {
            Ok(value) => Ok(Some(value)),
            Err(HttpError::NotFound) => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    }

    async fn outputs(&self, address: &Address, tip: u32) -> Result<Vec<SeenOutput>> {
        let listed: Vec<Utxo> = self.get(&format!("/address/{address}/utxo")).await?.ok_or_else(nonsense)?;
        listed
            .iter()
            .map(|utxo| {
                let funding = Funding {
                    outpoint: OutPoint::new(txid(&utxo.txid)?, utxo.vout),
                    capacity: Amount::from_sat(utxo.value),
                };
                let confirmations = utxo.status.confirmations(tip);
                Ok(SeenOutput { funding, confirmations })
            })
            .collect()
    }

    /// What spent the funding: the payee's settlement, or a refund of our own (which needs no payee's signature: the
    /// second item of its witness is empty).
    async fn spend(&self, funding: OutPoint, return_script: &ScriptBuf) -> Result<Option<Spend>> {
        let path = format!("/tx/{}/outspend/{}", funding.txid, funding.vout);
        let Some(Outspend {
            spent: true,
            txid: Some(by),
            vin: Some(vin),
        }) = self.get(&path).await?
        else {
            return Ok(None);
        };
        let Some(tx) = self.get::<Tx>(&format!("/tx/{by}")).await? else {
            return Ok(None);
        };
        let input = tx.vin.get(vin).ok_or_else(nonsense)?;
        let script = return_script.to_hex_string();
        let returned = tx
            .vout
            .iter()
            .filter(|output| output.scriptpubkey == script)
            .try_fold(Amount::ZERO, |sum, output| sum.checked_add(Amount::from_sat(output.value)));
        Ok(Some(Spend {
            txid: txid(&by)?,
            returned: returned.ok_or_else(nonsense)?,
            refund: input.witness.get(1).is_some_and(String::is_empty),
            confirmed: tx.status.confirmed,
        }))
    }

    async fn refund_status(&self, known: Spend) -> Result<Option<Spend>> {
        let tx = self.get::<Tx>(&format!("/tx/{}", known.txid)).await?;
        Ok(tx.map(|tx| Spend {
            confirmed: tx.status.confirmed,
            ..known
        }))
    }
}

fn txid(text: &str) -> Result<Txid> {
    text.parse().map_err(|_| nonsense())
}

fn nonsense() -> Error {
    Error::Browser(Problem::ChainUnreachable, Some("the answer makes no sense".to_owned()))
}

fn unreachable(error: HttpError) -> Error {
    let cause = match error {
        HttpError::NotFound => "no such thing there".to_owned(),
        HttpError::Failed(cause) => cause,
    };
    Error::Browser(Problem::ChainUnreachable, Some(cause))
}
