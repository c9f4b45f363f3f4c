//! Messages about one channel: opened, used, spliced, closed.

use super::*;

/// LDK's common fields of both ways to open. Numbers differ in each field, so that none can stand for another.
fn opens() -> ldk::CommonOpenChannelFields {
    let mut channel_type = ChannelTypeFeatures::empty();
    channel_type.set_static_remote_key_required();
    channel_type.set_anchors_zero_fee_htlc_tx_required();
    ldk::CommonOpenChannelFields {
        chain_hash: chain(),
        temporary_channel_id: THEIR_ID,
        funding_satoshis: 1,
        dust_limit_satoshis: 2,
        max_htlc_value_in_flight_msat: 3,
        htlc_minimum_msat: 4,
        commitment_feerate_sat_per_1000_weight: 5,
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        funding_pubkey: point(1),
        revocation_basepoint: point(2),
        payment_basepoint: point(3),
        delayed_payment_basepoint: point(4),
        htlc_basepoint: point(5),
        first_per_commitment_point: point(6),
        channel_flags: 1,
        shutdown_scriptpubkey: Some(script(9)),
        channel_type: Some(channel_type),
    }
}

fn accepts() -> ldk::CommonAcceptChannelFields {
    let open = opens();
    ldk::CommonAcceptChannelFields {
        temporary_channel_id: THEIR_ID,
        dust_limit_satoshis: 2,
        max_htlc_value_in_flight_msat: 3,
        htlc_minimum_msat: 4,
        minimum_depth: 8,
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        funding_pubkey: open.funding_pubkey,
        revocation_basepoint: open.revocation_basepoint,
        payment_basepoint: open.payment_basepoint,
        delayed_payment_basepoint: open.delayed_payment_basepoint,
        htlc_basepoint: open.htlc_basepoint,
        first_per_commitment_point: open.first_per_commitment_point,
        shutdown_scriptpubkey: open.shutdown_scriptpubkey,
        channel_type: open.channel_type,
    }
}

fn channel_type() -> Features {
    Features::default().with_required(Feature::StaticRemotekey).with_required(Feature::Anchors)
}

#[test]
fn opening() {
    let tlvs = OpenTlvs {
        upfront_shutdown_script: Some(script(9)),
        channel_type: Some(channel_type()),
        ..OpenTlvs::default()
    };
    let ours = OpenChannel {
        chain_hash: chain(),
        temporary_channel_id: ID,
        funding_satoshis: Amount::from_sat(1),
        push_msat: Msat(10),
        dust_limit_satoshis: Amount::from_sat(2),
        max_htlc_value_in_flight_msat: Msat(3),
        channel_reserve_satoshis: Amount::from_sat(11),
        htlc_minimum_msat: Msat(4),
        feerate_per_kw: FeeratePerKw(5),
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        funding_pubkey: point(1),
        revocation_basepoint: point(2),
        payment_basepoint: point(3),
        delayed_payment_basepoint: point(4),
        htlc_basepoint: point(5),
        first_per_commitment_point: point(6),
        channel_flags: ChannelFlags(1),
        tlvs: tlvs.clone(),
    };
    same(&ldk::OpenChannel { common_fields: opens(), push_msat: 10, channel_reserve_satoshis: 11 }, ours);

    let ours = AcceptChannel {
        temporary_channel_id: ID,
        dust_limit_satoshis: Amount::from_sat(2),
        max_htlc_value_in_flight_msat: Msat(3),
        channel_reserve_satoshis: Amount::from_sat(11),
        htlc_minimum_msat: Msat(4),
        minimum_depth: 8,
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        funding_pubkey: point(1),
        revocation_basepoint: point(2),
        payment_basepoint: point(3),
        delayed_payment_basepoint: point(4),
        htlc_basepoint: point(5),
        first_per_commitment_point: point(6),
        tlvs,
    };
    same(&ldk::AcceptChannel { common_fields: accepts(), channel_reserve_satoshis: 11 }, ours);

    let ours = FundingCreated {
        temporary_channel_id: ID,
        funding_txid: txid(1),
        funding_output_index: 258,
        signature: signature(1).into(),
        tlvs: Extension::default(),
    };
    let theirs = ldk::FundingCreated {
        temporary_channel_id: THEIR_ID,
        funding_txid: txid(1),
        funding_output_index: 258,
        signature: signature(1),
    };
    same(&theirs, ours);
    let funding = OutPoint::new(txid(1), 258);
    let theirs = LdkChannelId::v1_from_funding_txid(&funding.txid.to_byte_array(), 258);
    assert_eq!(ChannelId::v1(funding).unwrap().0, theirs.0);

    let ours = FundingSigned { channel_id: ID, signature: signature(2).into(), tlvs: Extension::default() };
    same(&ldk::FundingSigned { channel_id: THEIR_ID, signature: signature(2) }, ours);
    let tlvs = ChannelReadyTlvs { short_channel_id: Some(ShortChannelId(77)), ..ChannelReadyTlvs::default() };
    let ours = ChannelReady { channel_id: ID, second_per_commitment_point: point(3), tlvs };
    let theirs = ldk::ChannelReady {
        channel_id: THEIR_ID,
        next_per_commitment_point: point(3),
        short_channel_id_alias: Some(77),
    };
    same(&theirs, ours);
}

#[test]
fn opening_version_2() {
    let tlvs = Open2Tlvs {
        upfront_shutdown_script: Some(script(9)),
        channel_type: Some(channel_type()),
        require_confirmed_inputs: Some(()),
        ..Open2Tlvs::default()
    };
    let ours = OpenChannel2 {
        chain_hash: chain(),
        temporary_channel_id: ID,
        funding_feerate_perkw: FeeratePerKw(12),
        commitment_feerate_perkw: FeeratePerKw(5),
        funding_satoshis: Amount::from_sat(1),
        dust_limit_satoshis: Amount::from_sat(2),
        max_htlc_value_in_flight_msat: Msat(3),
        htlc_minimum_msat: Msat(4),
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        locktime: LockTime::from_consensus(13),
        funding_pubkey: point(1),
        revocation_basepoint: point(2),
        payment_basepoint: point(3),
        delayed_payment_basepoint: point(4),
        htlc_basepoint: point(5),
        first_per_commitment_point: point(6),
        second_per_commitment_point: point(7),
        channel_flags: ChannelFlags(1),
        tlvs: tlvs.clone(),
    };
    let theirs = ldk::OpenChannelV2 {
        common_fields: opens(),
        funding_feerate_sat_per_1000_weight: 12,
        locktime: 13,
        second_per_commitment_point: point(7),
        require_confirmed_inputs: Some(()),
    };
    same(&theirs, ours);

    let ours = AcceptChannel2 {
        temporary_channel_id: ID,
        funding_satoshis: Amount::from_sat(14),
        dust_limit_satoshis: Amount::from_sat(2),
        max_htlc_value_in_flight_msat: Msat(3),
        htlc_minimum_msat: Msat(4),
        minimum_depth: 8,
        to_self_delay: 6,
        max_accepted_htlcs: 7,
        funding_pubkey: point(1),
        revocation_basepoint: point(2),
        payment_basepoint: point(3),
        delayed_payment_basepoint: point(4),
        htlc_basepoint: point(5),
        first_per_commitment_point: point(6),
        second_per_commitment_point: point(7),
        tlvs,
    };
    let theirs = ldk::AcceptChannelV2 {
        common_fields: accepts(),
        funding_satoshis: 14,
        second_per_commitment_point: point(7),
        require_confirmed_inputs: Some(()),
    };
    same(&theirs, ours);
}

#[test]
fn building_by_turns() {
    let tlvs = Extension::default();
    let spent = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { witness: Witness::from_slice(&[[1; 3]]), ..TxIn::default() }],
        output: vec![TxOut { value: Amount::from_sat(5), script_pubkey: script(1) }],
    };
    let ours = TxAddInput {
        channel_id: ID,
        serial_id: SerialId(2),
        prevtx: serialize(&spent),
        prevtx_vout: 3,
        sequence: Sequence(4),
        tlvs: TxAddInputTlvs::default(),
    };
    assert_eq!(ours.previous_transaction().unwrap().as_ref(), Some(&spent));
    let theirs = ldk::TxAddInput {
        channel_id: THEIR_ID,
        serial_id: 2,
        prevtx: Some(spent),
        prevtx_out: 3,
        sequence: 4,
        shared_input_txid: None,
    };
    same(&theirs, ours.clone());
    let shared = TxAddInputTlvs { shared_input_txid: Some(txid(5)), ..TxAddInputTlvs::default() };
    let ours = TxAddInput { prevtx: Vec::new(), tlvs: shared, ..ours };
    assert_eq!(ours.previous_transaction().unwrap(), None);
    same(&ldk::TxAddInput { prevtx: None, shared_input_txid: Some(txid(5)), ..theirs }, ours);

    let ours = TxAddOutput {
        channel_id: ID,
        serial_id: SerialId(2),
        sats: Amount::from_sat(3),
        script: script(1),
        tlvs: tlvs.clone(),
    };
    same(&ldk::TxAddOutput { channel_id: THEIR_ID, serial_id: 2, sats: 3, script: script(1) }, ours);
    let ours = TxRemoveInput { channel_id: ID, serial_id: SerialId(2), tlvs: tlvs.clone() };
    same(&ldk::TxRemoveInput { channel_id: THEIR_ID, serial_id: 2 }, ours);
    let ours = TxRemoveOutput { channel_id: ID, serial_id: SerialId(2), tlvs: tlvs.clone() };
    same(&ldk::TxRemoveOutput { channel_id: THEIR_ID, serial_id: 2 }, ours);
    same(&ldk::TxComplete { channel_id: THEIR_ID }, TxComplete { channel_id: ID, tlvs: tlvs.clone() });

    let witnesses = vec![Witness::from_slice(&[&[1_u8; 72][..], &[2; 33]]), Witness::from_slice(&[[3; 64]])];
    let shared = TxSignaturesTlvs { shared_input_signature: Some(signature(1).into()), ..TxSignaturesTlvs::default() };
    let ours = TxSignatures { channel_id: ID, txid: txid(4), witnesses: witnesses.clone(), tlvs: shared };
    let theirs = ldk::TxSignatures {
        channel_id: THEIR_ID,
        tx_hash: txid(4),
        witnesses,
        shared_input_signature: Some(signature(1)),
    };
    same(&theirs, ours);

    let puts_in = TxRbfTlvs { funding_output_contribution: Some(SignedAmount::from_sat(-5)), ..TxRbfTlvs::default() };
    let ours = TxInitRbf {
        channel_id: ID,
        locktime: LockTime::from_consensus(6),
        feerate: FeeratePerKw(7),
        tlvs: puts_in.clone(),
    };
    let theirs = ldk::TxInitRbf {
        channel_id: THEIR_ID,
        locktime: 6,
        feerate_sat_per_1000_weight: 7,
        funding_output_contribution: Some(-5),
    };
    same(&theirs, ours);
    let theirs = ldk::TxAckRbf { channel_id: THEIR_ID, funding_output_contribution: Some(-5) };
    same(&theirs, TxAckRbf { channel_id: ID, tlvs: puts_in });
    let theirs = ldk::TxAbort { channel_id: THEIR_ID, data: vec![1] };
    same(&theirs, TxAbort { channel_id: ID, data: vec![1], tlvs });
}

#[test]
fn splicing() {
    let tlvs = SpliceTlvs { require_confirmed_inputs: Some(()), ..SpliceTlvs::default() };
    same(
        &ldk::Stfu { channel_id: THEIR_ID, initiator: true },
        Stfu { channel_id: ID, initiator: true, tlvs: Extension::default() },
    );
    let ours = SpliceInit {
        channel_id: ID,
        funding_contribution_satoshis: SignedAmount::from_sat(-1),
        funding_feerate_perkw: FeeratePerKw(2),
        locktime: LockTime::from_consensus(3),
        funding_pubkey: point(4),
        tlvs: tlvs.clone(),
    };
    let theirs = ldk::SpliceInit {
        channel_id: THEIR_ID,
        funding_contribution_satoshis: -1,
        funding_feerate_per_kw: 2,
        locktime: 3,
        funding_pubkey: point(4),
        require_confirmed_inputs: Some(()),
    };
    same(&theirs, ours);
    let ours = SpliceAck {
        channel_id: ID,
        funding_contribution_satoshis: SignedAmount::from_sat(1),
        funding_pubkey: point(4),
        tlvs,
    };
    let theirs = ldk::SpliceAck {
        channel_id: THEIR_ID,
        funding_contribution_satoshis: 1,
        funding_pubkey: point(4),
        require_confirmed_inputs: Some(()),
    };
    same(&theirs, ours);
    let ours = SpliceLocked { channel_id: ID, splice_txid: txid(1), tlvs: Extension::default() };
    same(&ldk::SpliceLocked { channel_id: THEIR_ID, splice_txid: txid(1) }, ours);
    let tlvs = StartBatchTlvs { message_type: Some(132), ..StartBatchTlvs::default() };
    let theirs = ldk::StartBatch { channel_id: THEIR_ID, batch_size: 2, message_type: Some(132) };
    same(&theirs, StartBatch { channel_id: ID, batch_size: 2, tlvs });
}

#[test]
fn closing() {
    let ours = Shutdown { channel_id: ID, scriptpubkey: script(1), tlvs: Extension::default() };
    same(&ldk::Shutdown { channel_id: THEIR_ID, scriptpubkey: script(1) }, ours);

    let range = FeeRange { min_fee_satoshis: Amount::from_sat(2), max_fee_satoshis: Amount::from_sat(3) };
    let ours = ClosingSigned {
        channel_id: ID,
        fee_satoshis: Amount::from_sat(1),
        signature: signature(1).into(),
        tlvs: ClosingSignedTlvs { fee_range: Some(range), ..ClosingSignedTlvs::default() },
    };
    let theirs = ldk::ClosingSigned {
        channel_id: THEIR_ID,
        fee_satoshis: 1,
        signature: signature(1),
        fee_range: Some(ldk::ClosingSignedFeeRange { min_fee_satoshis: 2, max_fee_satoshis: 3 }),
    };
    same(&theirs, ours);

    let tlvs = ClosingTlvs {
        closer_output_only: Some(signature(1).into()),
        closee_output_only: Some(signature(2).into()),
        closer_and_closee_outputs: Some(signature(3).into()),
        ..ClosingTlvs::default()
    };
    let ours = ClosingComplete {
        channel_id: ID,
        closer_scriptpubkey: script(1),
        closee_scriptpubkey: script(2),
        fee_satoshis: Amount::from_sat(3),
        locktime: LockTime::from_consensus(4),
        tlvs,
    };
    let theirs = ldk::ClosingComplete {
        channel_id: THEIR_ID,
        closer_scriptpubkey: script(1),
        closee_scriptpubkey: script(2),
        fee_satoshis: 3,
        locktime: 4,
        closer_output_only: Some(signature(1)),
        closee_output_only: Some(signature(2)),
        closer_and_closee_outputs: Some(signature(3)),
    };
    same(&theirs, ours);
    let tlvs = ClosingTlvs { closee_output_only: Some(signature(2).into()), ..ClosingTlvs::default() };
    let ours = ClosingSig {
        channel_id: ID,
        closer_scriptpubkey: script(1),
        closee_scriptpubkey: script(2),
        fee_satoshis: Amount::from_sat(3),
        locktime: LockTime::from_consensus(4),
        tlvs,
    };
    let theirs = ldk::ClosingSig {
        channel_id: THEIR_ID,
        closer_scriptpubkey: script(1),
        closee_scriptpubkey: script(2),
        fee_satoshis: 3,
        locktime: 4,
        closer_output_only: None,
        closee_output_only: Some(signature(2)),
        closer_and_closee_outputs: None,
    };
    same(&theirs, ours);
}

#[test]
fn updating() {
    let tlvs = Extension::default();
    let onion = ldk::OnionPacket { version: 0, public_key: Ok(point(1)), hop_data: [2; 1300], hmac: [3; 32] };
    let ours = UpdateAddHtlc {
        channel_id: ID,
        id: HtlcId(1),
        amount_msat: Msat(2),
        payment_hash: sha256::Hash::from_byte_array([3; 32]),
        cltv_expiry: 4,
        onion_routing_packet: OnionPacket(Box::new(onion.encode().try_into().unwrap())),
        tlvs: UpdateAddHtlcTlvs { blinded_path: Some(point(5)), ..UpdateAddHtlcTlvs::default() },
    };
    let theirs = ldk::UpdateAddHTLC {
        channel_id: THEIR_ID,
        htlc_id: 1,
        amount_msat: 2,
        payment_hash: PaymentHash([3; 32]),
        cltv_expiry: 4,
        skimmed_fee_msat: None,
        onion_routing_packet: onion,
        blinding_point: Some(point(5)),
        hold_htlc: None,
    };
    same(&theirs, ours);

    let ours = UpdateFulfillHtlc {
        channel_id: ID,
        id: HtlcId(1),
        payment_preimage: Preimage([2; 32]),
        tlvs: RemoveHtlcTlvs::default(),
    };
    let theirs = ldk::UpdateFulfillHTLC {
        channel_id: THEIR_ID,
        htlc_id: 1,
        payment_preimage: PaymentPreimage([2; 32]),
        attribution_data: None,
    };
    same(&theirs, ours);

    // LDK keeps these two's insides to itself: it reads ours and writes them again.
    let data = AttributionData { htlc_hold_times: [1; 80], truncated_hmacs: [2; 840] };
    let ours: Message = UpdateFailHtlc {
        channel_id: ID,
        id: HtlcId(1),
        reason: vec![9; 292],
        tlvs: RemoveHtlcTlvs { attribution_data: Some(data), ..RemoveHtlcTlvs::default() },
    }
    .into();
    let payload = &ours.encode().unwrap()[2..];
    let theirs = ldk::UpdateFailHTLC::read_from_fixed_length_buffer(&mut &*payload).unwrap();
    assert!(theirs.htlc_id == 1 && theirs.attribution_data.is_some());
    same(&theirs, ours);
    let ours: Message = UpdateFailMalformedHtlc {
        channel_id: ID,
        id: HtlcId(1),
        sha256_of_onion: sha256::Hash::hash(b"onion"),
        failure_code: 0xc005,
        tlvs: tlvs.clone(),
    }
    .into();
    let payload = &ours.encode().unwrap()[2..];
    let theirs = ldk::UpdateFailMalformedHTLC::read_from_fixed_length_buffer(&mut &*payload).unwrap();
    assert_eq!((theirs.htlc_id, theirs.failure_code), (1, 0xc005));
    same(&theirs, ours);

    let ours = CommitmentSigned {
        channel_id: ID,
        signature: signature(1).into(),
        htlc_signatures: vec![signature(2).into(), signature(3).into()],
        tlvs: CommitmentSignedTlvs { funding_txid: Some(txid(4)), ..CommitmentSignedTlvs::default() },
    };
    let theirs = ldk::CommitmentSigned {
        channel_id: THEIR_ID,
        signature: signature(1),
        htlc_signatures: vec![signature(2), signature(3)],
        funding_txid: Some(txid(4)),
    };
    same(&theirs, ours);
    let ours = RevokeAndAck {
        channel_id: ID,
        per_commitment_secret: CommitmentSecret([1; 32]),
        next_per_commitment_point: point(2),
        tlvs: tlvs.clone(),
    };
    let theirs = ldk::RevokeAndACK {
        channel_id: THEIR_ID,
        per_commitment_secret: [1; 32],
        next_per_commitment_point: point(2),
        release_htlc_message_paths: Vec::new(),
    };
    same(&theirs, ours);
    let theirs = ldk::UpdateFee { channel_id: THEIR_ID, feerate_per_kw: 253 };
    same(&theirs, UpdateFee { channel_id: ID, feerate_per_kw: FeeratePerKw(253), tlvs });

    let under_way = |byte, retransmit_flags| Some(FundingUnderWay { txid: txid(byte), retransmit_flags });
    let ours = ChannelReestablish {
        channel_id: ID,
        next_commitment_number: 1,
        next_revocation_number: 2,
        your_last_per_commitment_secret: CommitmentSecret([3; 32]),
        my_current_per_commitment_point: point(4),
        tlvs: ChannelReestablishTlvs {
            next_funding: under_way(5, 1),
            my_current_funding_locked: under_way(6, 0),
            ..ChannelReestablishTlvs::default()
        },
    };
    let theirs = ldk::ChannelReestablish {
        channel_id: THEIR_ID,
        next_local_commitment_number: 1,
        next_remote_commitment_number: 2,
        your_last_per_commitment_secret: [3; 32],
        my_current_per_commitment_point: point(4),
        next_funding: Some(ldk::NextFunding { txid: txid(5), retransmit_flags: 1 }),
        my_current_funding_locked: Some(ldk::FundingLocked { txid: txid(6), retransmit_flags: 0 }),
    };
    same(&theirs, ours);
}
