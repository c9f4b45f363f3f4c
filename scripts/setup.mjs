// All set-up, in order. Every step is quick when there is nothing to do. `--build-only` leaves out what only tests need:
// browsers, and a Bitcoin Core node.

import { main, step } from './lib/step.mjs';
import { setupBitcoind } from './setup-bitcoind.mjs';
import { setupNpm } from './setup-npm.mjs';
import { setupSystem } from './setup-system.mjs';
import { setupTools } from './setup-tools.mjs';
import { setupWasmTarget } from './setup-wasm-target.mjs';

export async function setup({ tests = true, bitcoind = tests } = {}) {
  await step('system packages', () => setupSystem({ tests }));
  await step('wasm target', setupWasmTarget);
  await step('tools', () => setupTools({ tests }));
  await step('npm packages', setupNpm);
  if (bitcoind) await step('Bitcoin Core node', setupBitcoind);
}

await main(import.meta, (args) => setup({ tests: !args.includes('--build-only') }));
