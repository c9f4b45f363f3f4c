// The face of the second module: the page's own wallet, and refund files. Loads the generated module when something is
// first asked of it, and touches nothing before that. Types are in wallet.d.ts.

import init, * as generated from './generated/wallet.js';

let started;

export function initAsync(module) {
  // Bundlers know this form, and put the file where the page finds it.
  started ??= init({ module_or_path: module ?? new URL('./generated/wallet_bg.wasm', import.meta.url) }).then(
    () => undefined,
    (error) => {
      // The next call may have a better connection.
      started = undefined;
      throw error;
    },
  );
  return started;
}

export async function openWallet(options) {
  await initAsync();
  return generated.Wallet.open(options);
}

export async function readRefundKit(text) {
  await initAsync();
  return generated.readRefundKit(text);
}

export async function sendRefund(options) {
  await initAsync();
  return generated.sendRefund(options);
}

export async function chainHeight(options) {
  await initAsync();
  return generated.chainHeight(options);
}

export { Wallet } from './generated/wallet.js';
