//! What a channel costs on the chain: one hundred settled together against one hundred settled alone.

use anyhow::{Context, Result};
use rillpay_channel::FundingKind;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::{Amount, FeeRate, Network, OutPoint, ScriptBuf, Txid, WPubkeyHash};
use rillpay_channel::commitment::{self, Funding, Paid};
use rillpay_channel::keys::{Key, Seed};
use rillpay_channel::payee::Offer;
use rillpay_channel::settlement::{Claim, settle};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::Open;
use rillpay_channel::{ChannelParams, Kind, KindName, Msat};
use serde::Serialize;

/// Virtual bytes of the same channels, settled in two ways. Every transaction is complete and signed.
#[derive(Serialize)]
pub(crate) struct Merged {
    channels: usize,
    together_vbytes: usize,
    alone_vbytes: usize,
}

/// A channel with its payment, ready to be settled.
struct Settled {
    params: Box<ChannelParams>,
    key: Key,
    funding: Funding,
    paid: Paid,
}

/// The book's channel, a hundred times over, each with keys of its own, paid out to a P2WPKH address.
pub(crate) fn measure(funding_kind: FundingKind) -> Result<Merged> {
    const CHANNELS: u32 = 100;
    let payout = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]));
    let channels = (0..CHANNELS).map(|index| channel(funding_kind, index)).collect::<Result<Vec<_>>>()?;
    let claims = || channels.iter().map(|c| Claim { params: &c.params, funding: c.funding, paid: c.paid, key: &c.key });
    let vbytes = |claims: &[Claim<'_>]| -> Result<usize> {
        Ok(settle(claims, &payout, FeeRate::BROADCAST_MIN)?.transaction.vsize())
    };
    let alone = claims().map(|claim| vbytes(&[claim])).sum::<Result<usize>>()?;
    Ok(Merged {
        channels: channels.len(),
        together_vbytes: vbytes(&claims().collect::<Vec<_>>())?,
        alone_vbytes: alone,
    })
}

fn channel(funding_kind: FundingKind, index: u32) -> Result<Settled> {
    let (payer, payee) = (Seed::from_bip39_seed(&[1; 64], NETWORK), Seed::from_bip39_seed(&[2; 64], NETWORK));
    let (payer_key, key) = (payer.channel_key(index)?, payee.channel_key(index)?);
    let open = Open {
        kind: KindName::Cltv,
        network: NETWORK,
        funding_kind,
        payer: payer_key.public(),
        return_script: payer.return_script(index)?,
        deposit: CAPACITY,
    };
    // A height of the main network in our days: the script is as long as it will be in use.
    let step = offer()?.open(&open, 900_000, key.public(), index, &payee.node_key()?)?;
    let Some(rillpay_channel::payee::Event::Opened { params, .. }) = step.events().first().cloned() else {
        anyhow::bail!("an opening that opens nothing");
    };
    let mut txid = [0; 32];
    for (byte, digit) in txid.iter_mut().zip(index.to_be_bytes()) {
        *byte = digit;
    }
    let funding = Funding { outpoint: OutPoint { txid: Txid::from_byte_array(txid), vout: 0 }, capacity: CAPACITY };
    let paid = commitment::pay(&params, &funding, 0, Amount::from_sat(600_000), &payer_key)?;
    Ok(Settled { params, key, funding, paid })
}

const NETWORK: Network = Network::Bitcoin;
const CAPACITY: Amount = Amount::from_sat(3_600_000);

fn offer() -> Result<Offer> {
    Ok(Offer {
        kind: Kind::Cltv,
        network: NETWORK,
        tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).context("a price")?, window: 2 },
        min_deposit: Amount::from_sat(10_000),
        max_deposit: CAPACITY,
        confirmations: 1,
        lifetime: 2_016,
        stop_margin: 288,
        close_margin: 144,
        purpose: "https://video.example".into(),
    })
}
