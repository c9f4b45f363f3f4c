// The `pay` message of docs/protocol.md, written in JavaScript for the libraries that know nothing of Rillpay.

const VERSION = 1;
const PAY = 8;

/** One of DER's two integers, as 32 bytes. */
function scalar(der, at) {
  const length = der[at + 1];
  const digits = der.subarray(at + 2, at + 2 + length);
  const out = new Uint8Array(32);
  const trimmed = digits.length > 32 ? digits.subarray(digits.length - 32) : digits;
  out.set(trimmed, 32 - trimmed.length);
  return out;
}

/** The frame: version, type, lock time (none), cumulative amount, signature. `signature` is in DER, with its hash type. */
export function encodePayment(cumulative, signature) {
  const frame = new Uint8Array(78);
  frame[0] = VERSION;
  frame[1] = PAY;
  new DataView(frame.buffer).setBigUint64(6, cumulative);
  const r = 2;
  const s = r + 2 + signature[r + 1];
  frame.set(scalar(signature, r), 14);
  frame.set(scalar(signature, s), 46);
  return frame;
}
