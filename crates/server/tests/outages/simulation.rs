//! The real server and its viewers, block by block, and the ledger at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rillpay_channel::bitcoin::{Address, Amount, FeeRate, OutPoint, ScriptBuf, Txid};
use rillpay_channel::commitment::{Funding, dust_limit};
use rillpay_channel::payer::Request;
use rillpay_channel::refund::refund;
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Message;
use rillpay_server::Config;

use crate::chain::{FIRST_HEIGHT, ModelChain};
use crate::common::{Running, Viewer, config, get, media, request, seed};
use crate::weather::{Dice, Span, Weather};

/// From opening to expiry: a week.
pub(crate) const LIFETIME: u32 = 1_008;
pub(crate) const STOP_MARGIN: u32 = 72;
pub(crate) const CLOSE_MARGIN: u32 = 48;
/// The most that margins grow.
pub(crate) const GROWTH: u32 = 4;
/// One request for content: more than it costs to settle one channel at the highest fee that the server offers.
const PRICE_SAT: u64 = 100_000;
const DEPOSIT: Amount = Amount::from_sat(36 * PRICE_SAT);
const PIECES: [&str; 3] = ["a", "b", "c"];
/// What the payer offers for its refund: more than any settlement does.
const REFUND_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(1_000);
const PAYOUT: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// A part of history to live through.
pub(crate) struct Story {
    pub(crate) seed: u64,
    /// Blocks, from the first opening to the last expiry.
    pub(crate) blocks: u32,
    pub(crate) weather: Weather,
    /// When the server is down, in order.
    pub(crate) outages: Vec<Span>,
    /// `channel.calm_sat_per_vbyte`: what makes margins grow, or keeps them as they are.
    pub(crate) calm: u32,
}

/// What a viewer does at some height or, where the server is down then, after it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Open,
    /// Pays for so many more requests.
    Pay(u64),
    /// Watches something and presses Stop. Most never do.
    Stop,
}

/// One viewer with one channel.
struct Customer {
    number: u32,
    /// The next deed last.
    deeds: Vec<(u32, Deed)>,
    viewer: Option<Viewer>,
    deposit: Option<OutPoint>,
    /// What the server has acknowledged or, after an agreed end, what was agreed.
    owed: Amount,
    agreed: bool,
    refund: Option<Txid>,
}

/// How one channel ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) expiry: u32,
    /// What the payee had coming.
    pub(crate) owed: Amount,
    /// Whether both agreed on the end.
    pub(crate) agreed: bool,
    /// Whether the payer took everything back.
    pub(crate) lost: bool,
    /// The block of its last transaction.
    pub(crate) height: u32,
}

/// How everything ended.
pub(crate) struct Ledger {
    /// Of each channel on which something was owed.
    pub(crate) ends: BTreeMap<u32, End>,
    /// What arrived at the operator's address.
    pub(crate) received: Amount,
    /// What the settlements paid to miners.
    pub(crate) fees: Amount,
    /// Payments that were refused inside a stop margin, by that margin's least or grown part.
    pub(crate) refused: Refused,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refused {
    pub(crate) least: u32,
    pub(crate) grown: u32,
}

impl Ledger {
    pub(crate) fn owed(&self) -> Amount {
        self.ends.values().map(|end| end.owed).sum()
    }

    pub(crate) fn lost(&self) -> Amount {
        self.ends.values().filter(|end| end.lost).map(|end| end.owed).sum()
    }
}

fn settings(story: &Story, dir: &Path) -> Config {
    let lifetime = LIFETIME.to_string();
    let (stop, close) = (STOP_MARGIN.to_string(), CLOSE_MARGIN.to_string());
    let (price, least) = ((PRICE_SAT * 1_000).to_string(), (2 * PRICE_SAT).to_string());
    let calm = story.calm.to_string();
    let payout: Address = PAYOUT.parse::<Address<_>>().unwrap().assume_checked();
    let config = config(
        dir,
        &payout,
        &[
            ("tariff.unit", "\"request\""),
            ("tariff.price_msat", &price),
            ("deposit.min_sat", &least),
            ("channel.lifetime_blocks", &lifetime),
            ("channel.stop_margin_blocks", &stop),
            ("channel.close_margin_blocks", &close),
            ("channel.calm_sat_per_vbyte", &calm),
        ],
    );
    for name in PIECES {
        media(dir, &format!("{name}.bin"), b"content");
    }
    std::fs::create_dir_all(&config.data_dir).unwrap();
    let mut words =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config.seed_file).unwrap();
    writeln!(words, "{WORDS}").unwrap();
    config
}

/// One channel every two hours or so.
fn customers(story: &Story) -> Vec<Customer> {
    let mut dice = Dice::new(story.seed);
    let last = FIRST_HEIGHT + story.blocks - LIFETIME - 20;
    let mut customers = vec![];
    let mut height = FIRST_HEIGHT + 10;
    while height < last {
        let mut deeds = vec![(height, Deed::Open), (height + 2, Deed::Pay(u64::from(dice.within(1..=12))))];
        for _ in 0..dice.within(0..=2) {
            deeds.push((height + dice.within(3..=LIFETIME - 2), Deed::Pay(u64::from(dice.within(1..=6)))));
        }
        if dice.within(1..=4) == 1 {
            deeds.push((height + dice.within(3..=LIFETIME - 2), Deed::Stop));
        }
        deeds.sort_by_key(|(height, _)| std::cmp::Reverse(*height));
        customers.push(Customer {
            number: u32::try_from(customers.len()).unwrap(),
            deeds,
            viewer: None,
            deposit: None,
            owed: Amount::ZERO,
            agreed: false,
            refund: None,
        });
        height += dice.within(5..=60);
    }
    customers
}

/// Lives through it.
pub(crate) async fn run(story: &Story) -> Ledger {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(story, dir.path());
    let chain = Arc::new(ModelChain::new(story.weather.clone()));
    let mut customers = customers(story);
    let mut outages = story.outages.iter().peekable();
    let mut refused = Refused::default();
    let mut server = Some(Running::start(config.clone(), chain.clone()).await);
    chain.watched().await;
    for height in FIRST_HEIGHT..FIRST_HEIGHT + story.blocks {
        if outages.peek().is_some_and(|outage| outage.first == height) {
            server.take().unwrap().stop().await;
        }
        if outages.next_if(|outage| outage.last == height).is_some() {
            server = Some(Running::start(config.clone(), chain.clone()).await);
            chain.watched().await;
        }
        if let Some(server) = &server {
            let mut busy = false;
            for customer in &mut customers {
                while let Some((_, deed)) = customer.deeds.pop_if(|(at, _)| *at <= height) {
                    customer.does(deed, &chain, server, &mut refused).await;
                    busy = true;
                }
            }
            if busy {
                chain.watched().await;
            }
        }
        customers.iter_mut().for_each(|customer| customer.takes_back(&chain));
        chain.mine();
        if server.is_some() {
            chain.watched().await;
        }
    }
    if let Some(server) = server {
        server.stop().await;
    }
    ledger(&chain, &customers, refused)
}

impl Customer {
    fn expiry(&self) -> Option<u32> {
        self.viewer.as_ref().map(|viewer| viewer.payer.params().expiry)
    }

    async fn does(&mut self, deed: Deed, chain: &ModelChain, server: &Running, refused: &mut Refused) {
        match deed {
            Deed::Open => self.opens(chain, server).await,
            Deed::Pay(more) => {
                if let Some(upto) = self.comes_back(chain, server).await {
                    self.pays(upto + more, chain, refused).await;
                }
            }
            Deed::Stop => {
                if self.comes_back(chain, server).await.is_some() {
                    self.stops(server).await;
                }
            }
        }
        // Nobody watches for the rest of the time: the socket goes.
        if let Some(viewer) = &mut self.viewer {
            viewer.leave().await;
        }
    }

    async fn opens(&mut self, chain: &ModelChain, server: &Running) {
        let own = seed(1);
        let viewer = Viewer::open_with(server.address, LIFETIME, |node| Request {
            key: own.channel_key(self.number).unwrap(),
            key_index: self.number,
            return_script: own.return_script(self.number).unwrap(),
            deposit: DEPOSIT,
            min_deposit: Amount::from_sat(2 * PRICE_SAT),
            ..request(node, 1, Unit::Request, PRICE_SAT * 1_000)
        });
        let viewer = viewer.await;
        self.deposit = Some(chain.deposit(&viewer.payer.params().funding_script(), DEPOSIT));
        self.viewer = Some(viewer);
        // Who comes late because the server was down pays later, too: the deposit is in the next block.
        let confirmed = chain.height() + 2;
        self.deeds.iter_mut().for_each(|(height, _)| *height = (*height).max(confirmed));
    }

    /// A new session. Gives how many requests are paid for; `None` where the channel has ended.
    async fn comes_back(&mut self, chain: &ModelChain, server: &Running) -> Option<u64> {
        if self.expiry().is_none_or(|expiry| chain.height() >= expiry) {
            return None;
        }
        let viewer = self.viewer.as_mut()?;
        let state = viewer.reattach(server.address).await;
        if state.closing.is_some() || state.stopped {
            return None;
        }
        if viewer.payer.funding().is_none() {
            viewer.funded(chain).await;
        }
        Some(self.owed.to_sat() / PRICE_SAT)
    }

    async fn pays(&mut self, upto: u64, chain: &ModelChain, refused: &mut Refused) {
        let expiry = self.expiry();
        let Some((viewer, expiry)) = self.viewer.as_mut().zip(expiry) else { return };
        let left = expiry - chain.height();
        match viewer.pay_for(upto.min(DEPOSIT.to_sat() / PRICE_SAT)).await {
            Message::Ack { cumulative, .. } => {
                assert!(left > STOP_MARGIN, "accepted {left} blocks before the expiry");
                self.owed = cumulative;
            }
            Message::Refused(refusal) => {
                assert_eq!(refusal.code, "expiring");
                assert!(left <= GROWTH * STOP_MARGIN, "refused {left} blocks before the expiry");
                *(if left <= STOP_MARGIN { &mut refused.least } else { &mut refused.grown }) += 1;
            }
            other => panic!("no answer to a payment: {other:?}"),
        }
    }

    /// Watches up to three pieces of what is paid, and ends.
    async fn stops(&mut self, server: &Running) {
        let paid = usize::try_from(self.owed.to_sat() / PRICE_SAT).unwrap();
        let Some(viewer) = &mut self.viewer else { return };
        let mut watched = 0;
        for name in PIECES.into_iter().take(paid) {
            watched += u32::from(get(server.address, &format!("/media/{name}.bin"), Some(viewer.token)).await.0 == 200);
        }
        // Inside the stop margin there is nothing to see, and who saw nothing just goes.
        if watched > 0 {
            self.owed = viewer.stop().await;
            self.agreed = true;
            assert_eq!(self.owed, Amount::from_sat(u64::from(watched) * PRICE_SAT));
        }
    }

    /// The adversary: in the first block after the expiry its refund comes before everything else.
    fn takes_back(&mut self, chain: &ModelChain) {
        if self.expiry() != Some(chain.height()) {
            return;
        }
        let (Some(viewer), Some(outpoint)) = (&self.viewer, self.deposit) else { return };
        let funding = Funding { outpoint, capacity: DEPOSIT };
        let key = seed(1).channel_key(self.number).unwrap();
        let refund = refund(viewer.payer.params(), &[funding], REFUND_RATE, &key).unwrap();
        self.refund = Some(refund.compute_txid());
        chain.favour(refund);
    }
}

/// Adds up what is in the blocks, and checks each settlement to the satoshi.
fn ledger(chain: &ModelChain, customers: &[Customer], refused: Refused) -> Ledger {
    let payout = PAYOUT.parse::<Address<_>>().unwrap().assume_checked().script_pubkey();
    let mut ends = BTreeMap::new();
    let mut settlements = BTreeMap::new();
    for customer in customers {
        let viewer = customer.viewer.as_ref().expect("everybody comes");
        let params = viewer.payer.params();
        let (tx, fee, height) = chain.spending(&customer.deposit.unwrap()).expect("after the expiry nothing is left");
        let lost = Some(tx.compute_txid()) == customer.refund;
        if !lost {
            let change = DEPOSIT - customer.owed;
            let back = paid_to(&tx.output, &params.return_script);
            let dust = change < dust_limit(&params.return_script);
            assert_eq!(back, if dust { Amount::ZERO } else { change }, "channel {}", customer.number);
            settlements.insert(tx.compute_txid(), (paid_to(&tx.output, &payout), fee));
        }
        if customer.owed > Amount::ZERO {
            let (expiry, owed, agreed) = (params.expiry, customer.owed, customer.agreed);
            ends.insert(customer.number, End { expiry, owed, agreed, lost, height });
        } else {
            assert!(lost, "settled for nothing");
        }
    }
    let received = settlements.values().map(|(paid, _)| *paid).sum();
    let fees = settlements.values().map(|(_, fee)| *fee).sum();
    Ledger { ends, received, fees, refused }
}

fn paid_to(outputs: &[rillpay_channel::bitcoin::TxOut], script: &ScriptBuf) -> Amount {
    outputs.iter().filter(|output| output.script_pubkey == *script).map(|output| output.value).sum()
}
