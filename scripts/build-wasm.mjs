// The browser module: cargo compiles it, wasm-bindgen writes the JavaScript beside it, wasm-opt makes it small.
// What comes out, in pkg/generated, is what the npm package ships.

import { readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { main, root, run, step } from './lib/step.mjs';
import { TARGET, wasmEnv, wasmTargetDir } from './lib/wasm.mjs';
import { checkWasm } from './check-wasm.mjs';
import { setup } from './setup.mjs';

const shipped = path.join(root, 'pkg/generated');

const size = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;

function printSizes(out, names) {
  let raw = 0;
  let zipped = 0;
  for (const name of names) {
    const bytes = readFileSync(path.join(out, name));
    raw += bytes.length;
    zipped += gzipSync(bytes, { level: 9 }).length;
  }
  console.log(`   ${names.join(' + ')}: ${size(raw)}, gzip ${size(zipped)}`);
}

/** Builds the module into `out`: the one that is shipped, or the benchmark's own with its feature. */
export async function buildWasm({ out = shipped, features = [] } = {}) {
  const crate = ['--package', 'rillpay', '--lib', '--profile', 'wasm', '--target', TARGET];
  await run('cargo', ['build', ...crate, ...features.flatMap((feature) => ['--features', feature])], {
    env: wasmEnv(),
    minutes: 20,
  });
  rmSync(out, { recursive: true, force: true });
  const compiled = path.join(wasmTargetDir, TARGET, 'wasm/rillpay.wasm');
  await run('wasm-bindgen', [compiled, '--target', 'web', '--out-dir', out, '--out-name', 'rillpay'], { minutes: 2 });
  const wasm = path.join(out, 'rillpay_bg.wasm');
  await run('wasm-opt', ['-Oz', '--strip-target-features', '--strip-producers', wasm, '-o', `${wasm}.small`], { minutes: 5 });
  renameSync(`${wasm}.small`, wasm);
  checkWasm(wasm);
  printSizes(out, ['rillpay_bg.wasm', 'rillpay.js']);
}

await main(import.meta, async () => {
  await setup({ tests: false });
  await step('browser module', buildWasm);
});
