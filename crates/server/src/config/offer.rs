//! What a channel is offered at: price, deposit, term, kind.

use rillpay_channel::bitcoin::{Amount, FeeRate, Network, Script};
use rillpay_channel::payee::Offer;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{Kind, Ladder, Msat, params};

use super::{ConfigError, bad, file, rate};

/// Checks what a channel is offered at. In a `timelock` channel the payee's share goes to `payout`.
pub(super) fn read(file: &file::File, network: Network, payout: &Script) -> Result<Offer, ConfigError> {
    let file::File { tariff, deposit, channel, .. } = file;
    let unit = match tariff.unit.as_str() {
        "second" => Unit::Second,
        "byte" => Unit::Byte,
        "request" => Unit::Request,
        other => return bad("tariff.unit", format!("is \"{other}\"; it has to be second, byte or request")),
    };
    let Some(price) = Msat::new(tariff.price_msat).filter(|price| *price != Msat::ZERO) else {
        return bad("tariff.price_msat", "has to be above zero and below all the money there is");
    };
    let window = tariff.window_units;
    let tariff = Tariff { unit, price, window };
    if window == 0 || tariff.validate().is_err() {
        return bad("tariff.window_units", "has to be at least 1 and worth less than all the money there is");
    }
    let (min_deposit, max_deposit) = (Amount::from_sat(deposit.min_sat), Amount::from_sat(deposit.max_sat));
    // The dust limit of the dearest return script (P2PKH) is 546 satoshi.
    if min_deposit < Amount::from_sat(1000) {
        return bad("deposit.min_sat", "has to be at least 1000: less is not worth its fees");
    }
    if max_deposit < min_deposit || max_deposit > Amount::MAX_MONEY {
        return bad("deposit.max_sat", "has to be at least deposit.min_sat and at most all the money there is");
    }
    let window_costs = tariff.cost(tariff.window_quantity()).map(Msat::to_amount_ceil);
    if window_costs.is_none_or(|cost| cost > min_deposit) {
        return bad("deposit.min_sat", "does not cover one window of the tariff");
    }
    if deposit.confirmations == 0 {
        return bad("deposit.confirmations", "has to be at least 1: an unconfirmed deposit can be taken back");
    }
    let (stop_margin, close_margin) = (channel.stop_margin_blocks, channel.close_margin_blocks);
    if close_margin == 0 {
        return bad("channel.close_margin_blocks", "has to be at least 1");
    }
    if network == Network::Bitcoin && close_margin < 144 {
        return bad("channel.close_margin_blocks", "has to be at least 144 (a day) on the main network");
    }
    if stop_margin < close_margin {
        return bad("channel.stop_margin_blocks", "has to be at least channel.close_margin_blocks");
    }
    let lifetime = channel.lifetime_blocks;
    if lifetime <= u32::from(stop_margin).saturating_add(deposit.confirmations.into()) || lifetime > 52_560 {
        return bad(
            "channel.lifetime_blocks",
            "has to exceed the stop margin and the confirmations, and be at most 52560 (a year)",
        );
    }
    let printable = file.origin.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if file.origin.is_empty() || file.origin.len() > params::MAX_PURPOSE.into() || !printable {
        return bad("origin", "has to be the site's origin, such as https://video.example, in at most 120 characters");
    }
    Ok(Offer {
        kind: kind(channel, payout)?,
        network,
        tariff,
        min_deposit,
        max_deposit,
        confirmations: deposit.confirmations,
        lifetime,
        stop_margin,
        close_margin,
        purpose: file.origin.clone(),
    })
}

/// The fee rate up to which the margins are enough.
pub(super) fn calm(channel: &file::Channel) -> Result<FeeRate, ConfigError> {
    rate(channel.calm_sat_per_vbyte)
        .map_or_else(|| bad("channel.calm_sat_per_vbyte", "has to be between 1 and 10000"), Ok)
}

fn kind(channel: &file::Channel, payout: &Script) -> Result<Kind, ConfigError> {
    match (channel.kind.as_str(), channel.step_blocks, channel.updates) {
        ("cltv", None, None) => Ok(Kind::Cltv),
        ("cltv", ..) => bad("channel.kind", "is \"cltv\", which has neither step_blocks nor updates"),
        ("timelock", step, updates) => {
            let Some(step) = step.filter(|step| *step > 0) else {
                return bad("channel.step_blocks", "has to be at least 1 in a channel of the kind timelock");
            };
            let Some(updates) = updates.filter(|updates| *updates > 0) else {
                return bad("channel.updates", "has to be at least 1 in a channel of the kind timelock");
            };
            let ladder = Ladder { step, updates };
            let needed = u32::from(channel.stop_margin_blocks);
            let needed = ladder.height().and_then(|height| height.checked_add(needed));
            if needed.is_none_or(|needed| needed >= channel.lifetime_blocks) {
                return bad(
                    "channel.lifetime_blocks",
                    "has to exceed step_blocks times updates and the stop margin together",
                );
            }
            Ok(Kind::Timelock { ladder, payee_script: payout.to_owned() })
        }
        (other, ..) => bad("channel.kind", format!("is \"{other}\"; it has to be cltv or timelock")),
    }
}
