// The package's face: loads the generated module when asked, and touches nothing before that, so that it can be imported
// by a server that renders pages, by a worker, and by Node. Types are in index.d.ts.

import init, { Channel, Client, validateWords, version } from './generated/rillpay.js';

let started;

export function initAsync(module) {
  // Bundlers know this form, and put the file where the page finds it.
  started ??= init({ module_or_path: module ?? new URL('./generated/rillpay_bg.wasm', import.meta.url) }).then(
    () => undefined,
    (error) => {
      // The next call may have a better connection.
      started = undefined;
      throw error;
    },
  );
  return started;
}

export { Channel, Client, validateWords, version };
