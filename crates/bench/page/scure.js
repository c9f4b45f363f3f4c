// A payment made with @scure/btc-signer: a transaction with one input and one output.

import { SigHash, Transaction } from '@scure/btc-signer';
import { encodePayment } from './frame.js';

/** Builds, signs and encodes payments on `channel`. */
export function payer(channel) {
  return (cumulative) => {
    // The channel's script is none of the library's templates.
    const tx = new Transaction({ version: 2, allowUnknownInputs: true });
    tx.addInput({
      txid: channel.txid,
      index: channel.vout,
      sequence: 0xfffffffd,
      witnessUtxo: { script: channel.fundingScript, amount: channel.capacity },
      redeemScript: channel.redeemScript,
      witnessScript: channel.witnessScript,
      sighashType: SigHash.SINGLE_ANYONECANPAY,
    });
    tx.addOutput({ script: channel.returnScript, amount: channel.capacity - cumulative });
    tx.signIdx(channel.payerSecret, 0, [SigHash.SINGLE_ANYONECANPAY]);
    return encodePayment(cumulative, tx.getInput(0).partialSig[0][1]);
  };
}
