// The face of the third module: channels in which both sides pay. Loads the generated module when something is first asked of
// it, and touches nothing before that. Types are in two-way.d.ts.

import init, * as generated from './generated/two-way.js';

let started;

export function initAsync(module) {
  // Bundlers know this form, and put the file where the page finds it.
  started ??= init({ module_or_path: module ?? new URL('./generated/two-way_bg.wasm', import.meta.url) }).then(
    () => undefined,
    (error) => {
      // The next call may have a better connection.
      started = undefined;
      throw error;
    },
  );
  return started;
}

export async function openTwoWay(options) {
  await initAsync();
  return generated.TwoWay.open(options);
}

export { TwoWay } from './generated/two-way.js';
