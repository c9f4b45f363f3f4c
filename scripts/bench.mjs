// `npm run bench`: builds what is measured as it would be shipped, then measures. Results go to target/bench.json.

import path from 'node:path';
import { main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { browser } from './lib/browsers.mjs';
import { setup } from './setup.mjs';

async function buildReleaseBinaries() {
  await run('cargo', ['build', '--release', '--package', 'rillpay-server', '--package', 'rillpay-bench'], { minutes: 40 });
}

await main(import.meta, async (args) => {
  await setup();
  await step('browser module', buildWasm);
  await step('release binaries', buildReleaseBinaries);
  await step('benchmarks', () =>
    run(process.execPath, [path.join(root, 'crates/bench/run.mjs'), ...args], {
      minutes: 60,
      env: { CHROMIUM_PATH: browser('chromium'), RILLPAY_SERVER: path.join(root, 'target/release/rillpay-server') },
    }),
  );
});
