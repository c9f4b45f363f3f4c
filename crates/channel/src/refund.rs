//! Refund: after expiry the payer alone takes back **every** output ever paid to the channel's address.
//!
//! The *refund kit* holds such transactions at several fee rates, signed ahead of time: any tool can broadcast one of them
//! after expiry, even if the browser's storage is gone.

use bitcoin::absolute::LockTime;
use bitcoin::{FeeRate, Transaction, TxOut};

use crate::commitment::Funding;
use crate::error::{Code, Error, refuse};
use crate::keys::Key;
use crate::params::ChannelParams;
use crate::spend::{Spend, spend, sum};

/// The most outputs that one refund sweeps: stays below what nodes relay.
pub const MAX_OUTPUTS: usize = 500;
/// The fee rates of a refund kit, in satoshi per virtual byte.
pub const KIT_FEE_RATES: [u32; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// A transaction that sweeps `outputs` to the return script. Valid in blocks **after** the expiry height.
///
/// # Errors
/// [`Code::NothingToDo`] for no outputs, [`Code::InvalidArgument`] for more than [`MAX_OUTPUTS`] or one named twice,
/// [`Code::WrongKey`] for a key that is not the channel's, [`Code::Uneconomic`], with the amount that would be needed,
/// where the fee leaves less than the dust limit.
pub fn refund(
    params: &ChannelParams,
    outputs: &[Funding],
    fee_rate: FeeRate,
    payer: &Key,
) -> Result<Transaction, Error> {
    if outputs.is_empty() {
        return refuse(Code::NothingToDo, "nothing was paid to this address");
    }
    if outputs.len() > MAX_OUTPUTS {
        return refuse(Code::InvalidArgument, "too many outputs for one refund");
    }
    if payer.public() != params.payer {
        return refuse(Code::WrongKey, "this key is not the payer's of this channel");
    }
    let spends: Vec<_> = outputs.iter().map(|output| Spend::new(params, *output, payer, None)).collect();
    let value = sum(outputs.iter().map(|output| output.capacity))?;
    let rest = TxOut { value, script_pubkey: params.return_script.clone() };
    let lock_time = LockTime::from_consensus(params.expiry);
    Ok(spend(&spends, lock_time, vec![], rest, fee_rate)?.transaction)
}

/// One transaction of a refund kit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KitEntry {
    /// Satoshi per virtual byte.
    pub fee_rate: u32,
    /// Signed; valid in blocks after the expiry height.
    pub transaction: Transaction,
}

/// Refunds of `outputs` at each of [`KIT_FEE_RATES`] that leaves more than dust.
///
/// # Errors
/// As [`refund`]; [`Code::Uneconomic`] only where no rate leaves more than dust.
pub fn refund_kit(params: &ChannelParams, outputs: &[Funding], payer: &Key) -> Result<Vec<KitEntry>, Error> {
    let mut kit = Vec::with_capacity(KIT_FEE_RATES.len());
    for rate in KIT_FEE_RATES {
        match refund(params, outputs, FeeRate::from_sat_per_vb_u32(rate), payer) {
            Ok(transaction) => kit.push(KitEntry { fee_rate: rate, transaction }),
            // Dearer rates cannot do better.
            Err(error) if error.code() == Code::Uneconomic && !kit.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(kit)
}
