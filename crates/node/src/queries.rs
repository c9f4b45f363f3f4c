//! Answers to queries about the public network (BOLT 7, "Query Messages"): none of our channels is announced, and nothing that
//! others announce is kept. Some nodes, Electrum among them, talk only to peers that answer.

use rillpay_wire::messages::{
    EncodedList, Extension, QueryChannelRange, QueryShortChannelIds, ReplyChannelRange, ReplyChannelRangeTlvs,
    ReplyShortChannelIdsEnd,
};
use rillpay_wire::{Message, ShortChannelId};

/// All blocks that were asked for, in one part: no channels.
pub(crate) fn channels_in(query: &QueryChannelRange) -> Message {
    ReplyChannelRange {
        chain_hash: query.chain_hash,
        first_blocknum: query.first_blocknum,
        number_of_blocks: query.number_of_blocks,
        sync_complete: true,
        encoded_short_ids: EncodedList::plain::<ShortChannelId>(&[]),
        tlvs: ReplyChannelRangeTlvs::default(),
    }
    .into()
}

/// Nothing about any channel, from one that keeps up with no chain's announcements.
pub(crate) fn about(query: &QueryShortChannelIds) -> Message {
    let (chain_hash, tlvs) = (query.chain_hash, Extension::default());
    ReplyShortChannelIdsEnd { chain_hash, full_information: false, tlvs }.into()
}
