//! BOLT 3, Appendix G, from both sides, and what a counterparty may not do.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::hex::FromHex;
use rillpay_wire::messages::{TxRemoveInput, TxRemoveOutput};

use super::super::witness;
use super::*;

const PARENT: &str = "\
    02000000000101f86fd1d0db3ac5a72df968622f31e6b5e6566a09e29206d7c7a55df90e181de800000000171600141fb9623ffd0d422eacc450\
    fd1e967efc477b83ccffffffff0580b2e60e00000000220020fd89acf65485df89797d9ba7ba7a33624ac4452f00db08107f34257d33e5b94680\
    b2e60e0000000017a9146a235d064786b49e7043e4a042d4cc429f7eb6948780b2e60e00000000160014fbb4db9d85fba5e301f4399e3038928e\
    44e37d3280b2e60e0000000017a9147ecd1b519326bc13b0ec716e469b58ed02b112a087f0006bee0000000017a914f856a70093da3a5b5c4302\
    ade033d4c2171705d387024730440220696f6cee2929f1feb3fd6adf024ca0f9aa2f4920ed6d35fb9ec5b78c8408475302201641afae11242160\
    101c6f9932aeb4fcd1f13a9c6df5d1386def000ea259a35001210381d7d5b1bc0d7600565d827242576d9cb793bfe0754334af82289ee8b65d13\
    7600000000";
const UNSIGNED: &str = "\
    0200000002b932b0669cd0394d0d5bcc27e01ab8c511f1662a6799925b346c0cf18fca03430200000000fdffffffb932b0669cd0394d0d5bcc27\
    e01ab8c511f1662a6799925b346c0cf18fca03430000000000fdffffff03e5effa02000000001600141ca1cca8855bad6bc1ea5436edd8cff10b\
    7e448b1cf0fa020000000016001444cb0c39f93ecc372b5851725bd29d865d333b100084d71700000000220020297b92c238163e820b82486084\
    634b4846b86a3c658d87b9384192e6bea98ec578000000";
const SIGNED: &str = "\
    02000000000102b932b0669cd0394d0d5bcc27e01ab8c511f1662a6799925b346c0cf18fca03430200000000fdffffffb932b0669cd0394d0d5b\
    cc27e01ab8c511f1662a6799925b346c0cf18fca03430000000000fdffffff03e5effa02000000001600141ca1cca8855bad6bc1ea5436edd8cf\
    f10b7e448b1cf0fa020000000016001444cb0c39f93ecc372b5851725bd29d865d333b100084d71700000000220020297b92c238163e820b8248\
    6084634b4846b86a3c658d87b9384192e6bea98ec50247304402207de9ba56bb9f641372e805782575ee840a899e61021c8b1572b3ec1d5b5950\
    e9022069e9ba998915dae193d3c25cb89b5e64370e6a3a7755e7f31cf6d7cbc2a49f6d0121034695f5b7864c580bf11f9f8cb1a94eb336f2ce9e\
    f872d2ae1a90ee276c772484022068656c6c6f2074686572652c2074686973206973206120626974636f6e2121212782012088a820add57dfe52\
    77079d069ca4ad4893c96de91f88ffb981fdc6a2a34d5336c66aff8778000000";
const FUNDING_SCRIPT: &str = "0020297b92c238163e820b82486084634b4846b86a3c658d87b9384192e6bea98ec5";
const OPENER_CHANGE: &str = "00141ca1cca8855bad6bc1ea5436edd8cff10b7e448b";
const ACCEPTER_CHANGE: &str = "001444cb0c39f93ecc372b5851725bd29d865d333b10";
const ID: ChannelId = ChannelId([7; 32]);
const BTC: u64 = 100_000_000;

fn script(hex: &str) -> ScriptBuf {
    ScriptBuf::from_hex(hex).unwrap()
}

fn parent() -> Transaction {
    deserialize_hex(PARENT).unwrap()
}

fn plan(is_initiator: bool) -> Plan {
    Plan {
        id: ID,
        is_initiator,
        lock_time: LockTime::from_consensus(120),
        rate: FeeRate::from_sat_per_kwu(253),
        dust_limits: (Amount::from_sat(354), Amount::from_sat(354)),
        funding: TxOut { value: Amount::from_sat(4 * BTC), script_pubkey: script(FUNDING_SCRIPT) },
        shares: (Amount::from_sat(2 * BTC), Amount::from_sat(2 * BTC)),
    }
}

/// A side of the vector, with the numbers that it has there.
fn side(is_initiator: bool) -> Construction {
    let (vout, witness, change, serials) =
        if is_initiator { (0, 71, OPENER_CHANGE, &[20, 44, 30][..]) } else { (2, 107, ACCEPTER_CHANGE, &[11, 33][..]) };
    let coins = vec![Coin { transaction: parent(), vout, witness }];
    let stake = Stake { amount: Amount::from_sat(2 * BTC), coins, change: script(change) };
    let mut construction = Construction::new(plan(is_initiator), &stake, &[3; 32]).unwrap();
    assert_eq!(construction.queue.len(), serials.len());
    for ((serial, _), given) in construction.queue.iter_mut().zip(serials) {
        *serial = *given;
    }
    construction
}

/// Both take turns until nothing is left to add.
fn build(mut opener: Construction, mut accepter: Construction) -> (Built, Built, Vec<Message>) {
    let mut log = vec![opener.speak().unwrap()];
    let mut turn = [false, true].into_iter().cycle();
    loop {
        let message = log.last().unwrap().clone();
        let who = if turn.next().unwrap() { &mut opener } else { &mut accepter };
        match who.receive(&message).unwrap() {
            Turn::Say(answer) => log.push(answer),
            Turn::Over(last) => {
                if let Some(last) = last {
                    let other = if turn.next().unwrap() { &mut opener } else { &mut accepter };
                    assert!(matches!(other.receive(&last).unwrap(), Turn::Over(None)));
                    log.push(last);
                }
                return (opener.finish().unwrap(), accepter.finish().unwrap(), log);
            }
        }
    }
}

#[test]
fn the_vector_of_appendix_g() {
    let (opener, accepter, log) = build(side(true), side(false));
    assert_eq!(serialize_hex(&opener.transaction), UNSIGNED);
    assert_eq!(opener.transaction, accepter.transaction);
    assert_eq!((opener.outpoint, opener.outpoint.vout), (accepter.outpoint, 2));
    let sent = |serial: u64| {
        log.iter().find_map(|message| match message {
            Message::TxAddOutput(output) if output.serial_id.0 == serial => Some(output.sats.to_sat()),
            _ => None,
        })
    };
    assert_eq!([30, 44, 33].map(sent), [Some(49_999_845), Some(400_000_000), Some(49_999_900)]);
    // Their own order: coin, coin, funding, change, change, done, done.
    let kinds: Vec<_> = log.iter().map(Message::kind).collect();
    assert_eq!(kinds, [66, 66, 67, 67, 67, 70, 70]);

    let signed: Transaction = deserialize_hex(SIGNED).unwrap();
    let spent: Vec<_> = opener.spent.iter().map(|(output, _)| output.clone()).collect();
    for (index, input) in signed.input.iter().enumerate() {
        witness::check(&opener.transaction, index, &spent, &input.witness).unwrap();
    }
    // A signature that covers less, or is of another transaction, and a script that is not the one.
    let mut loose = signed.input[0].witness.to_vec();
    *loose[0].last_mut().unwrap() = 0x81;
    let mut other = opener.transaction.clone();
    other.lock_time = LockTime::ZERO;
    let mut wrong = signed.input[1].witness.to_vec();
    wrong[1][5] ^= 1;
    assert!(witness::check(&opener.transaction, 0, &spent, &Witness::from_slice(&loose)).is_err());
    assert!(witness::check(&other, 0, &spent, &signed.input[0].witness).is_err());
    assert!(witness::check(&opener.transaction, 1, &spent, &Witness::from_slice(&wrong)).is_err());
    assert!(witness::check(&opener.transaction, 1, &spent, &Witness::new()).is_err());
    let bytes = Vec::<u8>::from_hex("02").unwrap();
    assert!(witness::check(&opener.transaction, 0, &spent, &Witness::from_slice(&[bytes])).is_err());
}

fn input(serial: u64, transaction: &Transaction, vout: u32) -> TxAddInput {
    TxAddInput {
        channel_id: ID,
        serial_id: SerialId(serial),
        prevtx: bitcoin::consensus::serialize(transaction),
        prevtx_vout: vout,
        sequence: SEQUENCE,
        tlvs: TxAddInputTlvs::default(),
    }
}

fn output(serial: u64, sat: u64, hex: &str) -> TxAddOutput {
    let (sats, script) = (Amount::from_sat(sat), script(hex));
    TxAddOutput { channel_id: ID, serial_id: SerialId(serial), sats, script, tlvs: Extension::default() }
}

fn complete() -> Message {
    TxComplete { channel_id: ID, tlvs: Extension::default() }.into()
}

/// What an accepter says to these messages of an opener's.
fn heard(messages: &[Message]) -> Result<Construction, &'static str> {
    let mut accepter = side(false);
    for message in messages {
        match accepter.receive(message) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), Code::InvalidContribution);
                return Err(error.text());
            }
        }
    }
    Ok(accepter)
}

#[test]
fn an_input_that_bolt_2_refuses() {
    let parent = parent();
    let good = || input(20, &parent, 0);
    heard(&[good().into()]).unwrap();
    let refused = |change: &dyn Fn(&mut TxAddInput)| {
        let mut message = good();
        change(&mut message);
        heard(&[message.into()]).map(drop).unwrap_err()
    };
    let of_other_side = "a number of the other side's";
    assert_eq!(refused(&|input| input.serial_id = SerialId(21)), of_other_side);
    for sequence in [Sequence::MAX, Sequence(0xffff_fffe)] {
        assert!(refused(&|input| input.sequence = sequence).contains("replaced"));
    }
    assert!(refused(&|input| input.prevtx.clear()).contains("no funding to spend"));
    assert!(
        refused(&|input| {
            input.prevtx.pop();
        })
        .contains("no transaction")
    );
    assert!(refused(&|input| input.prevtx_vout = 5).contains("there is not"));
    assert!(refused(&|input| input.prevtx_vout = 1).contains("not SegWit"), "P2SH");
    let twice = |second: TxAddInput| heard(&[good().into(), second.into()]).map(drop).unwrap_err();
    assert!(twice(input(22, &parent, 0)).contains("there already"));
    assert!(twice(input(20, &parent, 2)).contains("taken"));
    // What is removed can be added again, by whoever added it.
    let removed: Message = TxRemoveInput { channel_id: ID, serial_id: SerialId(20), tlvs: Extension::default() }.into();
    heard(&[good().into(), removed.clone(), good().into()]).unwrap();
    assert!(heard(&[removed]).map(drop).unwrap_err().contains("has not added"));
    let ours = TxRemoveInput { channel_id: ID, serial_id: SerialId(11), tlvs: Extension::default() };
    assert!(heard(&[good().into(), ours.into()]).map(drop).unwrap_err().contains("has not added"));
    // Our own coin: it is ours to add.
    assert!(heard(&[input(20, &parent, 2).into()]).map(drop).unwrap_err().contains("a coin of ours"));
    assert!(heard(&[good().into(), input(22, &parent, 2).into()]).map(drop).unwrap_err().contains("there already"));
}

#[test]
fn an_output_that_bolt_2_refuses() {
    let taproot = format!("5120{}", "11".repeat(32));
    for good in [FUNDING_SCRIPT, OPENER_CHANGE, &taproot] {
        heard(&[output(30, 354, good).into()]).unwrap();
    }
    let refused = |message: TxAddOutput| heard(&[message.into()]).map(drop).unwrap_err();
    assert!(refused(output(31, 1_000, OPENER_CHANGE)).contains("other side"));
    assert!(refused(output(30, 353, OPENER_CHANGE)).contains("dust"));
    assert!(refused(output(30, 2_100_000_000_000_001, OPENER_CHANGE)).contains("more than all money"));
    assert!(refused(output(30, 1_000, "6a0101")).contains("do not relay"));
    let twice = [output(30, 1_000, OPENER_CHANGE).into(), output(30, 1_000, FUNDING_SCRIPT).into()];
    assert!(heard(&twice).map(drop).unwrap_err().contains("taken"));
    let removed: Message =
        TxRemoveOutput { channel_id: ID, serial_id: SerialId(30), tlvs: Extension::default() }.into();
    heard(&[output(30, 1_000, OPENER_CHANGE).into(), removed.clone()]).unwrap();
    assert!(heard(&[removed]).map(drop).unwrap_err().contains("has not added"));
}

#[test]
fn nobody_adds_for_ever() {
    let (mut accepter, parent) = (side(false), parent());
    let mut refusals = vec![];
    for n in 0_u64..4_097 {
        if let Err(error) = accepter.receive(&input(2 * n, &parent, 0).into()) {
            refusals.push((n, error.text()));
        }
        let removed = TxRemoveInput { channel_id: ID, serial_id: SerialId(2 * n), tlvs: Extension::default() };
        let _ = accepter.receive(&removed.into());
    }
    assert_eq!(refusals, [(4_096, "too many inputs were added")]);
    let mut accepter = side(false);
    for n in 0_u64..4_096 {
        accepter.receive(&output(2 * n, 1_000, OPENER_CHANGE).into()).unwrap();
    }
    let error = accepter.receive(&output(9_000, 1_000, OPENER_CHANGE).into()).map(drop).unwrap_err();
    assert_eq!(error.text(), "too many outputs were added");
    assert!(accepter.finish().unwrap_err().text().contains("too many inputs or outputs"));
}

/// What the accepter says to a whole transaction of the opener's, with so much change.
fn judged(messages: Vec<Message>) -> Result<(), &'static str> {
    let mut accepter = heard(&messages)?;
    while !matches!(accepter.receive(&complete()).unwrap(), Turn::Over(_)) {}
    accepter.finish().map(drop).map_err(|error| {
        assert_eq!(error.code(), Code::InvalidContribution);
        error.text()
    })
}

#[test]
fn a_transaction_that_bolt_2_refuses() {
    let parent = parent();
    let with = |change: u64, funding: u64| -> Vec<Message> {
        vec![
            input(20, &parent, 0).into(),
            output(30, change, OPENER_CHANGE).into(),
            output(44, funding, FUNDING_SCRIPT).into(),
        ]
    };
    judged(with(49_999_845, 4 * BTC)).unwrap();
    // 609 weight units at 253 for a thousand: 154.08 satoshi.
    judged(with(50_000_000 - 154, 4 * BTC)).unwrap();
    assert!(judged(with(50_000_000 - 153, 4 * BTC)).unwrap_err().contains("too little for the fee"));
    assert!(judged(with(50_000_001, 4 * BTC)).unwrap_err().contains("more is taken out"));
    assert!(judged(with(49_000_000, 4 * BTC - 1)).unwrap_err().contains("another amount"));
    assert!(judged(with(49_000_000, 4 * BTC + 1)).unwrap_err().contains("another amount"));
    assert!(judged(with(49_000_000, 4 * BTC)[..2].to_vec()).unwrap_err().contains("do not add up"));
    let other = [&with(49_000_000, 4 * BTC)[..2], &[output(44, 4 * BTC, ACCEPTER_CHANGE).into()]].concat();
    assert!(judged(other).unwrap_err().contains("not one funding"));
    let two = [with(48_000_000, 4 * BTC), vec![output(46, 1_000_000, FUNDING_SCRIPT).into()]].concat();
    assert!(judged(two).unwrap_err().contains("not one funding"));
    // 251 coins beside its first, and one more.
    let coins = |count: u64| {
        let mut many = parent.clone();
        many.output =
            (0..count).map(|_| TxOut { value: Amount::from_sat(100_000), ..parent.output[2].clone() }).collect();
        let more = (0..count).map(|n| input(100 + 2 * n, &many, u32::try_from(n).unwrap()).into());
        [with(49_999_845, 4 * BTC), more.collect()].concat()
    };
    judged(coins(250)).unwrap();
    assert!(judged(coins(251)).unwrap_err().contains("too many inputs"));
}

#[test]
fn what_we_put_in_has_to_cover_it() {
    let coin = |vout| Coin { transaction: parent(), vout, witness: 107 };
    let build = |is_initiator, amount: u64, coins: Vec<Coin>| {
        let stake = Stake { amount: Amount::from_sat(amount), coins, change: script(OPENER_CHANGE) };
        let mut plan = plan(is_initiator);
        plan.shares.0 = stake.amount;
        Construction::new(plan, &stake, &[3; 32]).map_err(|error| {
            assert_eq!(error.code(), Code::InvalidArgument);
            error.text()
        })
    };
    // 485 weight units without change, 271 for an accepter: 122.7 and 68.6 satoshi.
    let all = 250_000_000;
    assert_eq!(build(true, all - 123, vec![coin(2)]).unwrap().queue.len(), 2);
    assert!(build(true, all - 122, vec![coin(2)]).unwrap_err().contains("do not cover"));
    assert_eq!(build(false, all - 69, vec![coin(2)]).unwrap().queue.len(), 1);
    assert!(build(false, all - 68, vec![coin(2)]).unwrap_err().contains("do not cover"));
    // Change that would be dust is the miner's.
    assert_eq!(build(false, all - 100 - 353, vec![coin(2)]).unwrap().queue.len(), 1);
    assert_eq!(build(false, all - 100 - 354, vec![coin(2)]).unwrap().queue.len(), 2);
    assert!(build(false, 1_000, vec![coin(1)]).unwrap_err().contains("cannot be used"));
    assert!(build(false, 1_000, vec![coin(2), coin(2)]).unwrap_err().contains("twice"));
    assert!(build(true, 0, vec![]).unwrap_err().contains("do not cover"), "somebody pays for the transaction");
    assert!(build(false, 0, vec![]).unwrap().queue.is_empty());
}
