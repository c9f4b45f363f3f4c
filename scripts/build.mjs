// `npm run build`: the npm package, as a tarball in target/.

import path from 'node:path';
import { main, root, run, step } from './lib/step.mjs';
import { buildWasm } from './build-wasm.mjs';
import { buildWidget } from './build-widget.mjs';
import { setup } from './setup.mjs';

async function pack() {
  await run('npm', ['pack', '--pack-destination', path.join(root, 'target')], { cwd: path.join(root, 'pkg'), minutes: 2 });
}

await main(import.meta, async () => {
  await setup({ tests: false });
  await step('browser module', buildWasm);
  await step('widget and demo page', buildWidget);
  await step('npm package', pack);
});
