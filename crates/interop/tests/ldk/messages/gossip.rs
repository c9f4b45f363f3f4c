//! Messages about the network.

use super::*;

#[test]
fn announcing() {
    let node = |byte| NodeId::from_pubkey(&point(byte));
    let ours = ChannelAnnouncement {
        node_signature_1: signature(1).into(),
        node_signature_2: signature(2).into(),
        bitcoin_signature_1: signature(3).into(),
        bitcoin_signature_2: signature(4).into(),
        features: Features::default(),
        chain_hash: chain(),
        short_channel_id: ShortChannelId(5),
        node_id_1: point(6),
        node_id_2: point(7),
        bitcoin_key_1: point(8),
        bitcoin_key_2: point(9),
        excess: Excess(vec![10, 11]),
    };
    let contents = ldk::UnsignedChannelAnnouncement {
        features: ChannelFeatures::empty(),
        chain_hash: chain(),
        short_channel_id: 5,
        node_id_1: node(6),
        node_id_2: node(7),
        bitcoin_key_1: node(8),
        bitcoin_key_2: node(9),
        excess_data: vec![10, 11],
    };
    let theirs = ldk::ChannelAnnouncement {
        node_signature_1: signature(1),
        node_signature_2: signature(2),
        bitcoin_signature_1: signature(3),
        bitcoin_signature_2: signature(4),
        contents,
    };
    same(&theirs, ours);

    let mut writer = Writer::new();
    let addresses = [
        Address::Ipv6("[::1]:9735".parse().unwrap()),
        Address::Hostname { name: "node.example".to_owned(), port: 9736 },
    ];
    addresses.iter().for_each(|address| address.write(&mut writer).unwrap());
    let ours = NodeAnnouncement {
        signature: signature(1).into(),
        features: Features::default(),
        timestamp: 2,
        node_id: point(3),
        rgb_color: [4, 5, 6],
        alias: [7; 32],
        addresses: writer.finish().unwrap(),
        excess: Excess(vec![8]),
    };
    assert_eq!(ours.addresses().unwrap(), addresses);
    let hostname = "node.example".to_owned().try_into().unwrap();
    let contents = ldk::UnsignedNodeAnnouncement {
        features: NodeFeatures::empty(),
        timestamp: 2,
        node_id: node(3),
        rgb: [4, 5, 6],
        alias: NodeAlias([7; 32]),
        addresses: vec![
            ldk::SocketAddress::TcpIpV6 { addr: std::net::Ipv6Addr::LOCALHOST.octets(), port: 9735 },
            ldk::SocketAddress::Hostname { hostname, port: 9736 },
        ],
        excess_address_data: Vec::new(),
        excess_data: vec![8],
    };
    same(&ldk::NodeAnnouncement { signature: signature(1), contents }, ours);

    let ours = ChannelUpdate {
        signature: signature(1).into(),
        chain_hash: chain(),
        short_channel_id: ShortChannelId(2),
        timestamp: 3,
        message_flags: 1,
        channel_flags: 3,
        cltv_expiry_delta: 4,
        htlc_minimum_msat: Msat(5),
        fee_base_msat: 6,
        fee_proportional_millionths: 7,
        htlc_maximum_msat: Msat(8),
        excess: Excess(Vec::new()),
    };
    assert!(ours.is_from_node_2() && ours.is_disabled());
    let contents = ldk::UnsignedChannelUpdate {
        chain_hash: chain(),
        short_channel_id: 2,
        timestamp: 3,
        message_flags: 1,
        channel_flags: 3,
        cltv_expiry_delta: 4,
        htlc_minimum_msat: 5,
        htlc_maximum_msat: 8,
        fee_base_msat: 6,
        fee_proportional_millionths: 7,
        excess_data: Vec::new(),
    };
    same(&ldk::ChannelUpdate { signature: signature(1), contents }, ours);

    let ours = AnnouncementSignatures {
        channel_id: ID,
        short_channel_id: ShortChannelId(1),
        node_signature: signature(2).into(),
        bitcoin_signature: signature(3).into(),
        tlvs: Extension::default(),
    };
    let theirs = ldk::AnnouncementSignatures {
        channel_id: THEIR_ID,
        short_channel_id: 1,
        node_signature: signature(2),
        bitcoin_signature: signature(3),
    };
    same(&theirs, ours);
}

#[test]
fn asking() {
    let ids = [ShortChannelId(1), ShortChannelId(2)];
    let (list, theirs) = (EncodedList::plain(&ids), vec![1, 2]);
    let ours = QueryShortChannelIds {
        chain_hash: chain(),
        encoded_short_ids: list.clone(),
        tlvs: QueryShortChannelIdsTlvs::default(),
    };
    same(&ldk::QueryShortChannelIds { chain_hash: chain(), short_channel_ids: theirs.clone() }, ours);
    let ours = ReplyShortChannelIdsEnd { chain_hash: chain(), full_information: true, tlvs: Extension::default() };
    same(&ldk::ReplyShortChannelIdsEnd { chain_hash: chain(), full_information: true }, ours);
    let ours = QueryChannelRange {
        chain_hash: chain(),
        first_blocknum: 3,
        number_of_blocks: 4,
        tlvs: QueryChannelRangeTlvs::default(),
    };
    same(&ldk::QueryChannelRange { chain_hash: chain(), first_blocknum: 3, number_of_blocks: 4 }, ours);
    let ours = ReplyChannelRange {
        chain_hash: chain(),
        first_blocknum: 3,
        number_of_blocks: 4,
        sync_complete: true,
        encoded_short_ids: list,
        tlvs: ReplyChannelRangeTlvs::default(),
    };
    let theirs = ldk::ReplyChannelRange {
        chain_hash: chain(),
        first_blocknum: 3,
        number_of_blocks: 4,
        sync_complete: true,
        short_channel_ids: theirs,
    };
    same(&theirs, ours);
    let ours = GossipTimestampFilter {
        chain_hash: chain(),
        first_timestamp: 5,
        timestamp_range: 6,
        tlvs: Extension::default(),
    };
    same(&ldk::GossipTimestampFilter { chain_hash: chain(), first_timestamp: 5, timestamp_range: 6 }, ours);
}
