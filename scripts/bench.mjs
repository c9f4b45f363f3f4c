// `npm run bench`: builds what is measured as it would be shipped, then measures. Results go to target/bench.json.
// `npm run bench -- --quick` shows in a minute that everything works; its figures say little.

import path from 'node:path';
import { main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { browser } from './lib/browsers.mjs';
import { setup } from './setup.mjs';

// The benchmark's module is the shipped one and a few entry points; the shipped one is built last and stays.
const benchModule = path.join(root, 'target/bench/module');

async function buildModules() {
  await buildWasm({ out: benchModule, features: ['bench'] });
  await buildWasm();
}

async function buildReleaseBinaries() {
  await run('cargo', ['build', '--release', '--package', 'rillpay-bench'], { minutes: 40 });
  await run('cargo', ['bench', '--no-run', '--package', 'rillpay-interop', '--bench', 'updates'], { minutes: 40 });
}

await main(import.meta, async (args) => {
  await setup();
  await step('browser modules', buildModules);
  await step('release binaries', buildReleaseBinaries);
  await step('benchmarks', () =>
    run(process.execPath, [path.join(root, 'crates/bench/run.mjs'), ...args], {
      minutes: 60,
      env: { CHROMIUM_PATH: browser('chromium') },
    }),
  );
});
