//! Opens and funds many channels on a server, as so many payers would.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use rillpay_channel::bitcoin::{Amount, Network};
use rillpay_channel::budget::Budget;
use rillpay_channel::keys::Seed;
use rillpay_channel::payer::{Event, Payer, Request};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{FundingKind, Msat};

use crate::server::Server;
use crate::session::Session;

/// What is paid into each channel.
pub(crate) const DEPOSIT: Amount = Amount::from_sat(2_000_000);
/// Sockets that are being set up at a time.
const AT_ONCE: usize = 64;

/// A payer of one channel, and what it would have stored.
pub(crate) struct Opened {
    pub(crate) payer: Payer,
    pub(crate) events: Vec<Event>,
}

/// All payers' keys come from one seed.
pub(crate) fn seed() -> Seed {
    Seed::from_bip39_seed(&[1; 64], Network::Regtest)
}

/// Opens channels number `numbers` and pays into them.
pub(crate) async fn open(server: &mut Server, numbers: std::ops::Range<u32>) -> Result<Vec<Opened>> {
    let address = server.address();
    let channels: Vec<Opened> =
        stream::iter(numbers).map(|number| open_one(address, number)).buffered(AT_ONCE).try_collect().await?;
    let scripts: Vec<_> = channels.iter().map(|channel| channel.payer.params().funding_script()).collect();
    server.fund(&scripts, DEPOSIT).await?;
    Ok(channels)
}

async fn open_one(address: SocketAddr, number: u32) -> Result<Opened> {
    let seed = seed();
    let mut session = Session::connect(address).await?;
    let request = Request {
        ladder: None,
        network: Network::Regtest,
        funding_kind: FundingKind::P2shP2wsh,
        key: seed.channel_key(number)?,
        key_index: number,
        return_script: seed.return_script(number)?,
        deposit: DEPOSIT,
        tariff: Tariff { unit: Unit::Request, price: Msat::new(1000).context("a price")?, window: 2 },
        node: session.node(),
        min_deposit: Amount::from_sat(10_000),
        max_deposit: Amount::from_sat(10_000_000),
        confirmations: 1,
        max_lifetime: 2_016,
        purpose: "http://127.0.0.1".into(),
    };
    let (params, signature) = session.open(&request.message()).await?;
    // Only an expiry in the past or far future would be refused, and the chain here stays below a thousand blocks.
    let step = request.opened(params, signature, 0)?;
    let events = step.events().to_vec();
    let saved = step.save(|_| anyhow::Ok(()))?;
    Ok(Opened { payer: Payer::create(saved, seed.channel_key(number)?, Budget::default())?, events })
}

/// Attaches a session to each channel; with it comes the state in the server's books.
pub(crate) async fn attach(address: SocketAddr, channels: impl IntoIterator<Item = &Opened>) -> Result<Vec<Attached>> {
    let attach_one = async |channel: &Opened| -> Result<Attached> {
        let mut session = Session::connect(address).await?;
        let (state, funding) = session.attach(&channel.payer).await?;
        Ok(Attached { session, paid: state.paid.map_or(0, |paid| paid.cumulative.to_sat()), funding })
    };
    stream::iter(channels).map(attach_one).buffered(AT_ONCE).try_collect().await
}

/// A session on a channel, and what the server said about it.
pub(crate) struct Attached {
    pub(crate) session: Session,
    /// Cumulative, in satoshi.
    pub(crate) paid: u64,
    pub(crate) funding: rillpay_channel::commitment::Funding,
}
