//! One look at one channel.

use rillpay_channel::bitcoin::{Address, Amount, OutPoint, Script, ScriptBuf, Txid};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::params::ChannelParams;
use rillpay_channel::payer::{Payer, Spend};

use super::{Esplora, Status, nonsense, txid};
use crate::error::Result;
use crate::js::Fields;

/// One consistent look at a channel's address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Height of the best block.
    pub(crate) tip: u32,
    /// Every unspent output at the address; the funding alone, where the server does not list them.
    pub(crate) outputs: Vec<SeenOutput>,
    /// What spent the funding.
    pub(crate) spend: Option<Spend>,
}

/// What to look at: copied out of a channel, so that nothing is borrowed while the network answers.
pub(crate) struct Question {
    address: Address,
    return_script: ScriptBuf,
    funding: Option<Funding>,
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
            funding: payer.funding().copied(),
            known: payer.spend().copied(),
        })
    }
}

impl Esplora {
    /// Looks at a channel.
    pub(crate) async fn look(&self, question: &Question) -> Result<Look> {
        self.look_at(question, self.tip().await?).await
    }

    async fn look_at(&self, question: &Question, tip: u32) -> Result<Look> {
        let listed = self.outputs(&question.address, tip).await;
        let spend = match (question.funding, question.known) {
            (Some(funding), _) => self.spend(funding.outpoint, &question.return_script).await?,
            // A refund of deposits that never opened the channel.
            (None, Some(known)) => self.refund_status(known).await?,
            (None, None) => None,
        };
        let outputs = match (listed, question.funding.filter(|_| spend.is_none())) {
            // Public servers list no more than some hundred outputs. Dust must not hide the deposit.
            (Err(refused), Some(funding)) => {
                vec![self.funding(funding, &question.address.script_pubkey(), tip).await?.ok_or(refused)?]
            }
            (listed, _) => listed?,
        };
        Ok(Look { tip, outputs, spend })
    }

    /// Looks at a channel of which nothing is known here but what its server says. `named` is the funding by the server's
    /// word; given back as the chain shows it, spent or not, if it is there and pays this channel.
    pub(crate) async fn look_anew(
        &self,
        params: &ChannelParams,
        named: Option<Funding>,
    ) -> Result<(Look, Option<SeenOutput>)> {
        let tip = self.tip().await?;
        let named = match named {
            Some(named) => self.funding(named, &params.funding_script(), tip).await?,
            None => None,
        };
        let question = Question {
            address: params.address()?,
            return_script: params.return_script.clone(),
            funding: named.map(|output| output.funding),
            known: None,
        };
        Ok((self.look_at(&question, tip).await?, named))
    }

    async fn funding(&self, named: Funding, script: &Script, tip: u32) -> Result<Option<SeenOutput>> {
        let Some(tx) = self.get::<Fields>(&format!("/tx/{}", named.outpoint.txid)).await? else {
            return Ok(None);
        };
        let confirmations = Status::read(&tx).ok_or_else(nonsense)?.confirmations(tip);
        let outputs: Vec<Fields> = tx.find("vout").ok_or_else(nonsense)?;
        let output = usize::try_from(named.outpoint.vout).ok().and_then(|at| outputs.get(at));
        let pays = output.is_some_and(|output| {
            output.find("scriptpubkey") == Some(script.to_hex_string())
                && output.find("value") == Some(named.capacity.to_sat())
        });
        Ok(pays.then_some(SeenOutput { funding: named, confirmations }))
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
        let Some(tx) = self.get::<Fields>(&format!("/tx/{by}")).await? else {
            // Replaced since: the next look shows by what.
            return Ok(None);
        };
        read_spend(&tx, by, return_script).map(Some).ok_or_else(nonsense)
    }

    async fn refund_status(&self, known: Spend) -> Result<Option<Spend>> {
        let Some(tx) = self.get::<Fields>(&format!("/tx/{}", known.txid)).await? else {
            return Ok(None);
        };
        let confirmed = Status::read(&tx).ok_or_else(nonsense)?.confirmed;
        Ok(Some(Spend { confirmed, ..known }))
    }
}

/// What spent the funding: a settlement, or a refund, which pays to nobody else.
fn read_spend(tx: &Fields, txid: Txid, return_script: &ScriptBuf) -> Option<Spend> {
    let outputs: Vec<Fields> = tx.find("vout")?;
    let script = return_script.to_hex_string();
    let (mut returned, mut refund) = (Amount::ZERO, true);
    for output in outputs {
        if output.find::<String>("scriptpubkey")? == script {
            returned = returned.checked_add(Amount::from_sat(output.find("value")?))?;
        } else {
            refund = false;
        }
    }
    Some(Spend { txid, returned, refund, confirmed: Status::read(tx)?.confirmed })
}
