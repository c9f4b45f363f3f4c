//! Hitesh and Irene put in 5 each: their coins, their keys, and the way to a funding that lacks its witnesses.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message as Digest, PublicKey, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, CompressedPublicKey, FeeRate, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness,
};
use rillpay_channel::revocable::holder::funding::{
    Coin, Negotiation, Progress, Proposal, Rates, Setting, Stake, Unsigned, accept,
};
use rillpay_channel::{Error, bitcoin};
use rillpay_wire::Message;
use rillpay_wire::messages::{AcceptChannel2, OpenChannel2};

use crate::pair::{HITESH, IRENE, Pair, create, keys, rate, terms};

pub(crate) const FIVE: Amount = Amount::from_sat(500_000_000);
/// The height of the chain that they see.
pub(crate) const HEIGHT: u32 = 100;

fn key(who: usize) -> SecretKey {
    SecretKey::from_slice(&[0x51 + who as u8; 32]).unwrap()
}

/// Where the coins of each are.
pub(crate) fn wallet(who: usize) -> ScriptBuf {
    let key = CompressedPublicKey(key(who).public_key(&Secp256k1::new()));
    ScriptBuf::new_p2wpkh(&key.wpubkey_hash())
}

pub(crate) fn change(who: usize) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([0x61 + who as u8; 20]))
}

/// A coin that nobody has to find in a chain.
pub(crate) fn coin(who: usize, value: Amount) -> Coin {
    let previous_output = OutPoint { txid: Txid::from_byte_array([0x71 + who as u8; 32]), vout: 0 };
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output, ..TxIn::default() }],
        output: vec![TxOut { value, script_pubkey: wallet(who) }],
    };
    Coin { transaction, vout: 0, witness: 107 }
}

pub(crate) fn stake(who: usize, amount: Amount) -> Stake {
    let coins = if amount == Amount::ZERO { vec![] } else { vec![coin(who, Amount::from_sat(600_000_000))] };
    Stake { amount, coins, change: change(who) }
}

/// Hitesh's node has the lesser key.
pub(crate) fn setting(who: usize) -> Setting {
    let node = |byte: u8| PublicKey::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[byte; 32]).unwrap());
    let mut nodes = [node(1), node(2)];
    nodes.sort_by_key(PublicKey::serialize);
    let [lesser, greater] = nodes;
    let nodes = if who == HITESH { [lesser, greater] } else { [greater, lesser] };
    Setting { nodes, entropy: [who as u8; 32], height: HEIGHT, confirmed_only: true }
}

pub(crate) fn rates() -> Rates {
    Rates { funding: FeeRate::from_sat_per_kwu(2_500), commitments: rate() }
}

pub(crate) fn sent<T>(message: &Message, pick: impl FnOnce(Message) -> Option<T>) -> T {
    pick(Message::decode(&message.encode().unwrap()).unwrap()).expect("another message")
}

pub(crate) fn propose(stake: Stake) -> (Proposal, OpenChannel2) {
    let (proposal, message) = Proposal::new(terms(HITESH), &keys(HITESH), setting(HITESH), stake, rates()).unwrap();
    let message = sent(&message, |message| match message {
        Message::OpenChannel2(message) => Some(message),
        _ => None,
    });
    assert_eq!(proposal.id(), message.temporary_channel_id);
    (proposal, message)
}

pub(crate) fn answer(open: &OpenChannel2, stake: &Stake) -> Result<(Negotiation, AcceptChannel2), Error> {
    let (negotiation, message) = accept(terms(IRENE), &keys(IRENE), &setting(IRENE), open, stake)?;
    let message = sent(&message, |message| match message {
        Message::AcceptChannel2(message) => Some(message),
        _ => None,
    });
    Ok((negotiation, message))
}

/// They take turns until the funding is built.
pub(crate) fn build(stakes: [Stake; 2]) -> [Unsigned; 2] {
    let [ours, theirs] = stakes;
    let (proposal, open) = propose(ours);
    let (irene, accepted) = answer(&open, &theirs).unwrap();
    let (hitesh, first) = proposal.accepted(&accepted).unwrap();
    assert_eq!(hitesh.id(), irene.id());
    let mut sides = [Some(hitesh), Some(irene)];
    let mut built = [None, None];
    let (mut message, mut who) = (Some(first), IRENE);
    while let Some(said) = message.take() {
        let heard = Message::decode(&said.encode().unwrap()).unwrap();
        match sides[who].take().unwrap().receive(&heard).unwrap() {
            Progress::Goes(side, answer) => {
                sides[who] = Some(*side);
                message = Some(answer);
            }
            Progress::Built(unsigned, last) => {
                built[who] = Some(*unsigned);
                message = last;
            }
        }
        who = 1 - who;
    }
    built.map(Option::unwrap)
}

/// The witnesses that a wallet would give.
pub(crate) fn sign(who: usize, unsigned: &Unsigned) -> Vec<Witness> {
    let secp = Secp256k1::new();
    let (transaction, spent): (_, Vec<_>) = (unsigned.transaction(), unsigned.spent().cloned().collect());
    let witness = |outpoint: OutPoint| {
        let index = transaction.input.iter().position(|input| input.previous_output == outpoint).unwrap();
        let output = &spent[index];
        let hash = SighashCache::new(transaction)
            .p2wpkh_signature_hash(index, &output.script_pubkey, output.value, EcdsaSighashType::All)
            .unwrap();
        let signature = secp.sign_ecdsa_low_r(&Digest::from_digest(hash.to_byte_array()), &key(who));
        Witness::p2wpkh(&Signature::sighash_all(signature), &key(who).public_key(&secp))
    };
    unsigned.ours().map(witness).collect()
}

/// Both hold the channel; their signatures for the first commitments are on their way.
pub(crate) fn begun(stakes: [Stake; 2]) -> Pair {
    let [hitesh, irene] = build(stakes);
    assert_eq!(hitesh.transaction(), irene.transaction());
    let begin = |who: usize, unsigned: Unsigned| {
        let witnesses = sign(who, &unsigned);
        create(keys(who), unsigned.signed(&keys(who), witnesses).unwrap())
    };
    let ((hitesh, first), (irene, second)) = (begin(HITESH, hitesh), begin(IRENE, irene));
    let mut pair = Pair { sides: [hitesh, irene], log: vec![] };
    pair.sides[IRENE].inbox.extend(first);
    pair.sides[HITESH].inbox.extend(second);
    pair
}

pub(crate) fn five_and_five() -> Pair {
    begun([stake(HITESH, FIVE), stake(IRENE, FIVE)])
}
