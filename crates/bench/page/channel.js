// The channel that every library pays on, the same as in src/bench.rs, with fixed keys.
//
// Its scripts are put together here, apart from our own code, so that agreement between the payments also says that
// both wrote the same script.

import { Script, ScriptNum, p2sh, p2wsh } from '@scure/btc-signer';
import { pubECDSA } from '@scure/btc-signer/utils.js';

const payerSecret = new Uint8Array(32).fill(1);
const payer = pubECDSA(payerSecret);
const payee = pubECDSA(new Uint8Array(32).fill(2));
const expiry = 2000;

const witnessScript = Script.encode([
  'IF', payee, 'CHECKSIGVERIFY',
  'ELSE', ScriptNum().encode(BigInt(expiry)), 'CHECKLOCKTIMEVERIFY', 'DROP', 'ENDIF',
  payer, 'CHECKSIG',
]);
const wrapped = p2wsh({ type: 'unknown', script: witnessScript });
const funding = p2sh(wrapped);

export const channel = {
  payerSecret,
  payer,
  payee,
  expiry,
  txid: '05'.repeat(32),
  vout: 0,
  capacity: 2_100_000_000_000_000n,
  witnessScript,
  redeemScript: wrapped.script,
  fundingScript: funding.script,
  /** P2WPKH. */
  returnScript: Uint8Array.from([0x00, 0x14, ...new Uint8Array(20).fill(9)]),
};
