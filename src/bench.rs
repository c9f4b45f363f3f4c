//! Entry points for the benchmark page, behind the `bench` feature: never in the package. The page holds the clock.

use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::{Message, SecretKey};
use rillpay_channel::bitcoin::{Amount, Network, OutPoint, ScriptBuf, Txid, WPubkeyHash};
use rillpay_channel::budget::{Budget, Limits};
use rillpay_channel::commitment::{Funding, SeenOutput};
use rillpay_channel::keys::Key;
use rillpay_channel::params::{ChannelParams, FundingKind};
use rillpay_channel::payer::{Effect, Payer, Request, Step};
use rillpay_channel::persist::StoredEvent;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{Code, Kind, Msat, secp};
use rillpay_pair::{Memory, Pair};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{Error, Result};

/// One second of media, as each benchmarked payment pays it.
const STEP: u64 = 1_000;

/// Signs a fixed digest `count` times, and nothing else: what a payment is measured against. Returns a byte of the last
/// signature, so that nothing can be left out.
///
/// # Errors
/// None: the key is valid.
#[wasm_bindgen]
pub fn bench_sign(count: u32) -> Result<u8> {
    let key = secret(1)?;
    let mut last = [0; 64];
    for number in 0..count {
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        last = secp().sign_ecdsa(&Message::from_digest(digest), &key).serialize_compact();
    }
    Ok(last[63])
}

/// An open channel whose payer is asked for payments.
#[wasm_bindgen]
pub struct BenchPayer {
    payer: Payer,
    upto: u64,
}

#[wasm_bindgen]
impl BenchPayer {
    /// Opens the channel. Not to be timed.
    ///
    /// # Errors
    /// None: its parameters are valid.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self> {
        let node = Key::new(secret(3)?);
        let request = Request {
            ladder: None,
            network: Network::Regtest,
            funding_kind: FundingKind::default(),
            key: Key::new(secret(1)?),
            key_index: 0,
            return_script: ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([9; 20])),
            deposit: Amount::ONE_BTC,
            tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).ok_or(ABSURD)?, window: 2 },
            node: node.public(),
            min_deposit: Amount::from_sat(10_000),
            max_deposit: Amount::MAX_MONEY,
            confirmations: 1,
            max_lifetime: 2_000,
            purpose: "https://video.example".to_owned(),
        };
        let params = ChannelParams {
            kind: Kind::Cltv,
            network: request.network,
            funding_kind: request.funding_kind,
            payer: request.key.public(),
            payee: Key::new(secret(2)?).public(),
            expiry: 2_000,
            return_script: request.return_script.clone(),
            tariff: request.tariff,
            min_deposit: request.min_deposit,
            max_deposit: request.max_deposit,
            confirmations: request.confirmations,
            stop_margin: 288,
            close_margin: 144,
            purpose: request.purpose.clone(),
        };
        let signature = params.sign(&node);
        let opened = request.opened(Box::new(params), signature, 100)?;
        let saved = opened.save(|_| Ok::<_, Error>(()))?;
        let mut payer = Payer::create(saved, request.key, Budget::new(Limits::default(), Default::default()))?;
        let funding =
            Funding { outpoint: OutPoint::new(Txid::from_byte_array([5; 32]), 0), capacity: Amount::MAX_MONEY };
        let seen = SeenOutput { funding, confirmations: 1 };
        let funded = payer.funding_seen(&funding, &[seen])?;
        commit(&mut payer, funded)?;
        Ok(Self { payer, upto: 0 })
    }

    /// Makes `count` payments, each larger by one second: limits checked, commitment built and signed, event and message
    /// encoded, the machine moved on. Only the disk and the socket are left out. Returns the last message.
    ///
    /// # Errors
    /// None: the channel is never spent.
    pub fn pay(&mut self, count: u32) -> Result<Vec<u8>> {
        let mut last = vec![];
        for _ in 0..count {
            let received = self.payer.receive(STEP)?;
            commit(&mut self.payer, received)?;
            self.upto = self.upto.saturating_add(STEP);
            let step = self.payer.need(self.upto, self.upto, 1_700_000_000)?;
            last = commit(&mut self.payer, step)?;
        }
        Ok(last)
    }
}

/// Both sides of a two-way channel, with their states in memory.
#[wasm_bindgen]
pub struct BenchPair(Pair<Memory>);

#[wasm_bindgen]
impl BenchPair {
    /// Opens the channel. Not to be timed.
    ///
    /// # Errors
    /// None: its parameters are valid.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self> {
        Pair::open([Memory::default(), Memory::default()]).map(Self).map_err(|_| ABSURD)
    }

    /// Makes a direct payment each way, one after the other.
    ///
    /// # Errors
    /// None: the channel is never spent.
    pub fn pay(&mut self) -> Result<()> {
        [0, 1].into_iter().try_for_each(|who| self.0.pay(who, 1)).map_err(|_| ABSURD)
    }
}

/// Saves to nowhere, after encoding; returns the message that would have been sent.
fn commit(payer: &mut Payer, step: Step) -> Result<Vec<u8>> {
    let saved = step.save(|events| {
        for event in events {
            std::hint::black_box(event.encode());
        }
        Ok::<_, Error>(())
    })?;
    let mut message = vec![];
    for effect in payer.commit(saved)? {
        if let Effect::Send(sent) = effect {
            message = sent.encode();
        }
    }
    Ok(message)
}

fn secret(byte: u8) -> Result<SecretKey> {
    SecretKey::from_slice(&[byte; 32]).map_err(|_| ABSURD)
}

const ABSURD: Error = Error::new(Code::InvalidArgument, "a constant of the benchmark is out of range");
