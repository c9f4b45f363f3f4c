//! The browser's own look at the chain, through Esplora's HTTP API. A viewer need not trust the site about the chain.

use rillpay_channel::bitcoin::consensus::encode::serialize_hex;
use rillpay_channel::bitcoin::{Address, Amount, OutPoint, ScriptBuf, Transaction, Txid};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::payer::{Payer, Spend};

use crate::error::{Error, Problem, Result};
use crate::http::{self, HttpError};
use crate::js::{self, Fields, FromJs};

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

/// Whether a transaction is in a block, and in which.
struct Status {
    confirmed: bool,
    height: Option<u32>,
}

impl Status {
    fn read(fields: &Fields) -> Option<Self> {
        let status: Fields = fields.find("status")?;
        Some(Self { confirmed: status.find("confirmed")?, height: status.find("block_height") })
    }

    fn confirmations(&self, tip: u32) -> u32 {
        let height = self.height.filter(|_| self.confirmed);
        height.and_then(|height| tip.checked_sub(height)).map_or(0, |above| above.saturating_add(1))
    }
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

    async fn get<T: FromJs>(&self, path: &str) -> Result<Option<T>> {
        match http::get_text(&format!("{}{path}", self.base)).await {
            Ok(text) => js::parse(&text).map(Some).ok_or_else(nonsense),
            Err(HttpError::NotFound) => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    }

    async fn outputs(&self, address: &Address, tip: u32) -> Result<Vec<SeenOutput>> {
        let path = format!("/address/{address}/utxo");
        let listed: Vec<Fields> = self.get(&path).await?.ok_or_else(nonsense)?;
        let read = |utxo: &Fields| {
            Some(SeenOutput {
                funding: Funding {
                    outpoint: OutPoint::new(txid(utxo, "txid")?, utxo.find("vout")?),
                    capacity: Amount::from_sat(utxo.find("value")?),
                },
                confirmations: Status::read(utxo)?.confirmations(tip),
            })
        };
        listed.iter().map(read).collect::<Option<_>>().ok_or_else(nonsense)
    }

    async fn spend(&self, funding: OutPoint, return_script: &ScriptBuf) -> Result<Option<Spend>> {
        let path = format!("/tx/{}/outspend/{}", funding.txid, funding.vout);
        let outspend: Fields = self.get(&path).await?.ok_or_else(nonsense)?;
        if !outspend.find("spent").ok_or_else(nonsense)? {
            return Ok(None);
        }
        let by = txid(&outspend, "txid").ok_or_else(nonsense)?;
        let input = outspend.find("vin").ok_or_else(nonsense)?;
        let Some(tx) = self.get::<Fields>(&format!("/tx/{by}")).await? else {
            // Replaced since: the next look shows by what.
            return Ok(None);
        };
        read_spend(&tx, by, input, return_script).map(Some).ok_or_else(nonsense)
    }

    async fn refund_status(&self, known: Spend) -> Result<Option<Spend>> {
        let Some(tx) = self.get::<Fields>(&format!("/tx/{}", known.txid)).await? else {
            return Ok(None);
        };
        let confirmed = Status::read(&tx).ok_or_else(nonsense)?.confirmed;
        Ok(Some(Spend { confirmed, ..known }))
    }
}

/// What spent the funding: the payee's settlement, or a refund of our own (which needs no payee's signature: the second
/// item of its witness is empty).
fn read_spend(tx: &Fields, txid: Txid, input: u32, return_script: &ScriptBuf) -> Option<Spend> {
    let inputs: Vec<Fields> = tx.find("vin")?;
    let witness: Vec<String> = inputs.get(usize::try_from(input).ok()?)?.find("witness")?;
    let outputs: Vec<Fields> = tx.find("vout")?;
    let script = return_script.to_hex_string();
    let mut returned = Amount::ZERO;
    for output in outputs {
        if output.find::<String>("scriptpubkey")? == script {
            returned = returned.checked_add(Amount::from_sat(output.find("value")?))?;
        }
    }
    Some(Spend {
        txid,
        returned,
        refund: witness.get(1).is_some_and(String::is_empty),
        confirmed: Status::read(tx)?.confirmed,
    })
}

fn txid(fields: &Fields, name: &'static str) -> Option<Txid> {
    fields.find::<String>(name)?.parse().ok()
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
