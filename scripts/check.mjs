// `npm run check`: everything that a reviewer should not have to say. Each check runs even if an earlier one failed.

import { Failure, ask, main, run, step } from './lib/step.mjs';
import { TARGET, wasmEnv } from './lib/wasm.mjs';
import { buildWasm } from './build-wasm.mjs';
import { buildWidget } from './build-widget.mjs';
import { checkAdvisories, checkLicences } from './licences.mjs';
import { setup } from './setup.mjs';

export async function checkFormat() {
  if (ask('cargo', ['fmt', '--version']) === null) throw new Failure('rustfmt is missing: `rustup component add rustfmt`.');
  await run('cargo', ['fmt', '--all', '--check'], { minutes: 2, otherwise: '`cargo fmt --all` puts it right.' });
}

export async function checkTypes() {
  await run('tsc', ['--noEmit', '--project', '.'], { minutes: 3 });
}

const clippy = (args, env) =>
  run('cargo', ['clippy', '--all-targets', ...args, '--', '--deny', 'warnings'], { minutes: 40, env });

async function checkClippy() {
  if (ask('cargo', ['clippy', '--version']) === null) throw new Failure('clippy is missing: `rustup component add clippy`.');
  await clippy(['--workspace', '--features', 'rillpay/wallet,rillpay/two-way']);
}

async function checkWasmClippy() {
  const env = wasmEnv();
  if (ask('cargo', ['clippy', '--version'], { env }) === null) {
    console.log('   left out: the Rust toolchain that builds for the browser here has no clippy');
    return;
  }
  await clippy(['--package', 'rillpay', '--features', 'wallet,two-way', '--target', TARGET], env);
}

async function checkDocs() {
  const env = { RUSTDOCFLAGS: '--deny warnings' };
  await run('cargo', ['doc', '--workspace', '--features', 'rillpay/wallet,rillpay/two-way', '--no-deps', '--document-private-items'], { minutes: 30, env });
}

const checks = [
  ['formatting', checkFormat],
  ['licences', checkLicences],
  ['advisories', checkAdvisories],
  ['clippy', checkClippy],
  ['clippy for the browser', checkWasmClippy],
  ['rustdoc', checkDocs],
  ['browser module and its imports', buildWasm],
  ['types', checkTypes],
  ['widget and demo page', buildWidget],
];

await main(import.meta, async () => {
  await setup({ tests: false });
  const failed = [];
  for (const [title, check] of checks) {
    try {
      await step(title, check);
    } catch (error) {
      console.log(`\n${error instanceof Failure ? error.message : error.stack}`);
      failed.push(title);
    }
  }
  console.log(failed.length ? `\nNot in order: ${failed.join(', ')}.` : '\nAll in order.');
  return failed.length ? 1 : 0;
});
