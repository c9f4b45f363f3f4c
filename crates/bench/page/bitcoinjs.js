// A payment made with bitcoinjs-lib, in the way its own documentation teaches: a PSBT with one input and one output.
//
// It is given whatever can be prepared once per channel (parsed scripts, keys), as a wallet would do.

import { Psbt, Transaction, networks } from 'bitcoinjs-lib';
import { encodePayment } from './frame.js';

const SINGLE_ANYONECANPAY = Transaction.SIGHASH_SINGLE | Transaction.SIGHASH_ANYONECANPAY;

/** Builds, signs and encodes payments on `channel`; `ecc` is the curve library. */
export function payer(channel, ecc) {
  const signer = {
    publicKey: channel.payer,
    sign: (hash) => ecc.sign(hash, channel.payerSecret),
  };
  return (cumulative) => {
    const psbt = new Psbt({ network: networks.regtest });
    psbt.setVersion(2);
    psbt.addInput({
      hash: channel.txid,
      index: channel.vout,
      sequence: 0xfffffffd,
      witnessUtxo: { script: channel.fundingScript, value: channel.capacity },
      redeemScript: channel.redeemScript,
      witnessScript: channel.witnessScript,
      sighashType: SINGLE_ANYONECANPAY,
    });
    psbt.addOutput({ script: channel.returnScript, value: channel.capacity - cumulative });
    psbt.signInput(0, signer, [SINGLE_ANYONECANPAY]);
    return encodePayment(cumulative, psbt.data.inputs[0].partialSig[0].signature);
  };
}
