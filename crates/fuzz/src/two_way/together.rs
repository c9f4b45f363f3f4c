//! A funding that both holders of [`two_way`](super::two_way()) put coins into.

use bitcoin::absolute::LockTime;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message as Digest, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, CompressedPublicKey, FeeRate, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness,
};
use rillpay_channel::revocable::BaseKeys;
use rillpay_channel::revocable::holder::funding::{
    Coin, Negotiation, Progress, Proposal, Rates, Setting, Stake, Unsigned, accept,
};
use rillpay_channel::revocable::holder::{Step, Terms};
use rillpay_channel::secp;
use rillpay_wire::Message;

fn secret(who: usize) -> SecretKey {
    SecretKey::from_slice(&[0x51 + u8::from(who == 1); 32]).unwrap()
}

fn stake(who: usize, amount: Amount) -> Stake {
    let key = CompressedPublicKey(secret(who).public_key(secp()));
    let previous_output = OutPoint { txid: Txid::from_byte_array([0x71 + u8::from(who == 1); 32]), vout: 0 };
    let output = TxOut { value: amount * 2, script_pubkey: ScriptBuf::new_p2wpkh(&key.wpubkey_hash()) };
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output, ..TxIn::default() }],
        output: vec![output],
    };
    let change = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([0x61; 20]));
    Stake { amount, coins: vec![Coin { transaction, vout: 0, witness: 107 }], change }
}

fn setting(who: usize) -> Setting {
    let nodes = [secret(who).public_key(secp()), secret(1 - who).public_key(secp())];
    Setting { nodes, entropy: [u8::from(who == 1); 32], height: 100, confirmed_only: true }
}

fn signed(who: usize, keys: &BaseKeys, unsigned: Unsigned) -> Step {
    let spent: Vec<_> = unsigned.spent().cloned().collect();
    let witness = |outpoint: OutPoint| {
        let transaction = unsigned.transaction();
        let index = transaction.input.iter().position(|input| input.previous_output == outpoint).unwrap();
        let (script, value) = (&spent[index].script_pubkey, spent[index].value);
        let mut cache = SighashCache::new(transaction);
        let hash = cache.p2wpkh_signature_hash(index, script, value, EcdsaSighashType::All).unwrap();
        let signature = secp().sign_ecdsa_low_r(&Digest::from_digest(hash.to_byte_array()), &secret(who));
        Witness::p2wpkh(&Signature::sighash_all(signature), &secret(who).public_key(secp()))
    };
    let witnesses = unsigned.ours().map(witness).collect();
    unsigned.signed(keys, witnesses).unwrap()
}

/// The coins that both bring along.
pub(super) fn coins(amount: Amount) -> impl Iterator<Item = (OutPoint, TxOut)> {
    let coins = [0, 1].into_iter().flat_map(move |who| stake(who, amount).coins);
    coins.map(|Coin { transaction, vout, .. }| {
        (OutPoint { txid: transaction.compute_txid(), vout }, transaction.output[0].clone())
    })
}

/// The first decisions of both, of a channel into which each puts `amount`.
pub(super) fn open([ours, theirs]: [Terms; 2], keys: [&BaseKeys; 2], amount: Amount, rate: FeeRate) -> [Step; 2] {
    let rates = Rates { funding: rate, commitments: rate };
    let (proposal, asked) = Proposal::new(ours, keys[0], setting(0), stake(0, amount), rates).unwrap();
    let Message::OpenChannel2(asked) = asked else { unreachable!() };
    let (accepted, answer) = accept(theirs, keys[1], &setting(1), &asked, &stake(1, amount)).unwrap();
    let Message::AcceptChannel2(answer) = answer else { unreachable!() };
    let (proposed, first) = proposal.accepted(&answer).unwrap();
    let mut sides: [Option<Negotiation>; 2] = [Some(proposed), Some(accepted)];
    let (mut built, mut message, mut who) = ([None, None], Some(first), 1);
    while let Some(said) = message.take() {
        match sides[who].take().unwrap().receive(&said).unwrap() {
            Progress::Goes(side, answer) => {
                sides[who] = Some(*side);
                message = Some(answer);
            }
            Progress::Built(unsigned, last) => {
                built[who] = Some(signed(who, keys[who], *unsigned));
                message = last;
            }
        }
        who = 1 - who;
    }
    built.map(Option::unwrap)
}
