//! How hard a block must have been to make, given the one before.
//!
//! A server that began to lie could not go on from a chain that it told truthfully before without doing the network's work.
//! What is told at the first contact is the node's word.

use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::params::Params;

/// Checks a header's target against the header before. Whether the step at the end of a period is exact takes the times
/// of 2,016 headers to tell; that it is not too long does not.
pub(crate) fn check_target(network: Network, height: u32, before: &Header, header: &Header) -> Result<(), String> {
    let params = Params::new(network);
    let period = u32::try_from(params.difficulty_adjustment_interval()).unwrap_or(u32::MAX);
    let fair = match network {
        // Blocks that come late may be easy here, and so may those after them.
        Network::Testnet | Network::Testnet4 => header.target() <= params.max_attainable_target,
        Network::Regtest => header.bits == before.bits,
        _ if height.checked_rem(period) != Some(0) => header.bits == before.bits,
        _ => {
            let easiest = before.target().max_transition_threshold(&params);
            (before.target().min_transition_threshold()..=easiest).contains(&header.target())
        }
    };
    if fair {
        return Ok(());
    }
    Err(format!("block {height} took less work than the one before it allows, or more"))
}

#[cfg(test)]
mod tests {
    use bitcoin::CompactTarget;
    use bitcoin::constants::genesis_block;

    use super::*;

    fn header(bits: u32) -> Header {
        Header { bits: CompactTarget::from_consensus(bits), ..genesis_block(Network::Bitcoin).header }
    }

    /// The main network's first step, the longest ones that are allowed, and none.
    #[test]
    fn the_networks_own_steps_pass() {
        for (height, before, after) in [
            (32_256, 0x1d00_ffff, 0x1d00_d86a),
            (2_016, 0x1d00_ffff, 0x1d00_ffff),
            (4_032, 0x1c10_0000, 0x1c04_0000),
            (4_032, 0x1c04_0000, 0x1c10_0000),
            (5, 0x1b04_04cb, 0x1b04_04cb),
        ] {
            assert_eq!(check_target(Network::Bitcoin, height, &header(before), &header(after)), Ok(()), "{height}");
        }
    }

    #[test]
    fn easier_blocks_in_between_or_by_more_than_four_are_lies() {
        for (network, height, before, after) in [
            (Network::Bitcoin, 800_000, 0x1705_3894, 0x1705_3895),
            (Network::Bitcoin, 800_000, 0x1705_3894, 0x1d00_ffff),
            (Network::Bitcoin, 798_336, 0x1705_3894, 0x1d00_ffff),
            (Network::Bitcoin, 798_336, 0x1c04_0000, 0x1c10_0001),
            (Network::Bitcoin, 798_336, 0x1c10_0000, 0x1c03_ffff),
            (Network::Signet, 3, 0x1e03_77ae, 0x1e03_77af),
            (Network::Regtest, 3, 0x1d00_ffff, 0x207f_ffff),
        ] {
            let checked = check_target(network, height, &header(before), &header(after));
            assert!(checked.is_err(), "{height}");
        }
    }
}
