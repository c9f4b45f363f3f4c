//! What the two parties agree on: chosen by the first bytes of an input.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness};
use rillpay_channel::budget::Limits;
use rillpay_channel::payee::Offer;
use rillpay_channel::payer::Request;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{ChannelParams, FundingKind, Kind, Ladder, Msat};

use crate::input::Input;
use crate::values::{node_key, payer_key};

pub(crate) const TIP: u32 = 200;
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const KEY_INDEX: u32 = 7;
const LIFETIME: u32 = 60;
/// Twelve payments, one every three blocks.
const LADDER: Ladder = Ladder { step: 3, updates: 12 };

/// The terms of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Price and window.
    pub tariff: Tariff,
    /// Of a `timelock` channel; a `cltv` one has none.
    pub ladder: Option<Ladder>,
    /// P2SH-P2WSH or P2WSH.
    pub funding_kind: FundingKind,
    /// The deposit that is paid when the right amount is paid.
    pub deposit: Amount,
    /// Confirmations that it needs.
    pub confirmations: u16,
    /// The viewer's limits.
    pub limits: Limits,
    /// The channel is funded and attached before the first action.
    pub streaming: bool,
}

/// Least deposit of the offer, unless a window costs more.
const MIN_DEPOSIT: Amount = Amount::from_sat(10_000);
/// Greatest deposit of the offer; more can arrive all the same.
const MAX_DEPOSIT: Amount = Amount::from_sat(4_000_000);

impl Setup {
    pub(crate) fn read(i: &mut Input<'_>) -> Self {
        let (unit, price, window) = i.pick(&[
            // The canonical price: 1,000 sat a second.
            (Unit::Second, 1_000_000, 2),
            (Unit::Second, 333_333, 3),
            (Unit::Second, 1, 2_000),
            (Unit::Second, 777_777_777, 1),
            (Unit::Byte, 3, 100_000),
            (Unit::Byte, 1_001, 4_000),
            (Unit::Request, 50_000_000, 2),
            (Unit::Request, 999, 10),
        ]);
        let price = Msat::new(price).unwrap();
        let kinds = [
            (FundingKind::P2shP2wsh, None),
            (FundingKind::P2wsh, None),
            (FundingKind::P2shP2wsh, Some(LADDER)),
            (FundingKind::P2wsh, Some(LADDER)),
        ];
        let deposit = i.pick(&[3_600_000, 10_000, 10_293, 100_294, 1_000_000, 4_000_000, 4_000_100, 5_000_000]);
        let limit = Msat::new(u64::from(i.u8()) * 2_000_000).filter(|limit| *limit != Msat::ZERO);
        let limits = match i.u8() % 8 {
            1 => Limits { session: limit, ..Limits::default() },
            2 => Limits { day: limit, ..Limits::default() },
            3 => Limits { site: limit, ..Limits::default() },
            _ => Limits::default(),
        };
        let tariff = Tariff { unit, price, window };
        let (funding_kind, ladder) = i.pick(&kinds);
        let deposit = Amount::from_sat(deposit).max(min_deposit(&tariff));
        Self {
            tariff,
            ladder,
            funding_kind,
            // The page's own wallet funds a `timelock` channel, with no more than can be spent.
            deposit: if ladder.is_some() { deposit.min(MAX_DEPOSIT) } else { deposit },
            confirmations: 1 + u16::from(i.u8() % 3),
            limits,
            streaming: i.bool(),
        }
    }

    /// The book's channel: 36 mBTC for an hour, funded and attached.
    pub fn canonical() -> Self {
        Self { streaming: true, ..Self::read(&mut Input::new(&[])) }
    }

    /// The same as a `timelock` channel of twelve payments.
    pub fn timelock() -> Self {
        Self { ladder: Some(LADDER), ..Self::canonical() }
    }

    fn kind(&self) -> Kind {
        self.ladder.map_or(Kind::Cltv, |ladder| Kind::Timelock { ladder, payee_script: self.payout() })
    }

    /// What the page's wallet makes of the viewer's money for a `timelock` channel.
    pub(crate) fn funding_transaction(&self, params: &ChannelParams) -> Transaction {
        // Witnesses of other people's inputs are not looked at here: some bytes do.
        let input = TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([0x77; 32]), vout: 1 },
            witness: Witness::from_slice(&[[1; 71].as_slice(), &[2; 33]]),
            ..TxIn::default()
        };
        let output = TxOut { value: self.deposit, script_pubkey: params.funding_script() };
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer {
            kind: self.kind(),
            network: Network::Regtest,
            tariff: self.tariff,
            min_deposit: min_deposit(&self.tariff),
            max_deposit: MAX_DEPOSIT,
            confirmations: self.confirmations,
            lifetime: LIFETIME,
            stop_margin: 12,
            close_margin: 6,
            purpose: "http://127.0.0.1:8080".into(),
        }
    }

    /// The least deposit that is served.
    pub(crate) fn min_deposit(&self) -> Amount {
        min_deposit(&self.tariff)
    }

    /// Where the payee's money goes.
    pub(crate) fn payout(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([8; 20]))
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            ladder: self.ladder,
            network: Network::Regtest,
            funding_kind: self.funding_kind,
            key: payer_key(),
            key_index: KEY_INDEX,
            return_script: ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([9; 20])),
            deposit: self.deposit.min(MAX_DEPOSIT),
            tariff: self.tariff,
            node: node_key().public(),
            max_lifetime: LIFETIME,
            min_deposit: min_deposit(&self.tariff),
            max_deposit: MAX_DEPOSIT,
            confirmations: self.confirmations,
            purpose: self.offer().purpose,
        }
    }
}

fn min_deposit(tariff: &Tariff) -> Amount {
    tariff.cost(tariff.window_quantity()).unwrap().to_amount_ceil().max(MIN_DEPOSIT)
}
