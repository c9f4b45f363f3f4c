// The three browser modules: cargo compiles them, wasm-bindgen writes the JavaScript beside it, wasm-opt makes them small.
// What comes out, in pkg/generated, is what the npm package ships.

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { main, root, run, step } from './lib/step.mjs';
import { TARGET, wasmEnv, wasmTargetDir } from './lib/wasm.mjs';
import { checkWasm } from './check-wasm.mjs';
import { setup } from './setup.mjs';

const shipped = path.join(root, 'pkg/generated');

// Panic messages name source files; not where this machine keeps them.
const cargoHome = process.env.CARGO_HOME || path.join(homedir(), '.cargo');
const anonymous = `--remap-path-prefix=${cargoHome}=/cargo --remap-path-prefix=${root}=/rillpay`;

// Without inlining the code is a little longer and compresses better: 5 KB less to download.
const noInlining = ['-ocimfs', '0', '-aimfs', '0', '-fimfs', '0'];
const smaller = ['-Oz', ...noInlining, '--strip-target-features', '--strip-producers'];

/** The glue without comments and long names; exports keep theirs. */
async function minify(file) {
  // Not at the top: a fresh clone has no npm packages yet when it loads this script.
  const { transform } = await import('esbuild');
  const { code } = await transform(readFileSync(file, 'utf8'), { minify: true, format: 'esm', target: 'es2022' });
  writeFileSync(file, code);
}

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

/** Compiles one module, by its features, and puts it into `out` under this name. */
async function buildModule(out, name, features) {
  const crate = ['--package', 'rillpay', '--lib', '--profile', 'wasm', '--target', TARGET];
  await run('cargo', ['build', ...crate, '--no-default-features', '--features', features.join(',')], {
    env: { ...wasmEnv(), RUSTFLAGS: anonymous },
    minutes: 20,
  });
  const compiled = path.join(wasmTargetDir, TARGET, 'wasm/rillpay.wasm');
  await run('wasm-bindgen', [compiled, '--target', 'web', '--out-dir', out, '--out-name', name], { minutes: 2 });
  const wasm = path.join(out, `${name}_bg.wasm`);
  await run('wasm-opt', [...smaller, wasm, '-o', `${wasm}.small`], { minutes: 5 });
  renameSync(`${wasm}.small`, wasm);
  checkWasm(wasm);
  await minify(path.join(out, `${name}.js`));
  printSizes(out, [`${name}_bg.wasm`, `${name}.js`]);
}

/**
 * Builds the modules into `out`: the three that are shipped, what every page loads, and the wallet and two-way channels, which a
 * page loads when it opens them; or, with features of its own, the benchmark's.
 */
export async function buildWasm({ out = shipped, features = [] } = {}) {
  rmSync(out, { recursive: true, force: true });
  await buildModule(out, 'rillpay', ['client', ...features]);
  if (features.length > 0) return;
  await buildModule(out, 'wallet', ['wallet']);
  await buildModule(out, 'two-way', ['two-way']);
}

await main(import.meta, async () => {
  await setup({ tests: false });
  await step('browser modules', buildWasm);
});
