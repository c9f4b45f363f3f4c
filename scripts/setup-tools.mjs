// Rust programs that the build and the tests call: wasm-bindgen (exactly the version of the library in Cargo.lock),
// and for the tests wasm-pack and geckodriver. Taken from PATH if they are there, prebuilt if cargo-binstall is
// there and quick, else compiled. They only glue, so they are compiled with little optimisation, which halves the wait.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Failure, ask, main, root, run, step, tryRun } from './lib/step.mjs';
import { find } from './lib/browsers.mjs';
import { atLeast, lockedVersion, projectTools, which } from './lib/tools.mjs';

const versionOf = (program) => ask(program, ['--version'])?.match(/\d+\.\d+\.\d+/)?.[0] ?? null;

const QUICK_BUILD = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: '1',
  CARGO_PROFILE_RELEASE_LTO: 'off',
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
  CARGO_PROFILE_RELEASE_DEBUG: '0',
  // One folder for all of them: they share many dependencies.
  CARGO_TARGET_DIR: path.join(root, 'target/tools'),
};

/** Installs one crate's programs. `into` is a folder of the project's own, or nothing for cargo's usual place. */
async function install(name, version, { locked, into }) {
  const where = into ? ['--root', into] : [];
  const spec = version ? `${name}@${version}` : name;
  if (ask('cargo', ['binstall', '-V']) !== null) {
    console.log(`   ${spec}: looking for a prebuilt one (given up after 90 s)`);
    const args = ['binstall', '--no-confirm', '--disable-strategies', 'compile', ...where, spec];
    const { code } = await tryRun('cargo', args, { minutes: 1.5, quiet: true });
    if (code === 0) return;
  }
  console.log(`   ${spec}: compiling it (a few minutes, only once)`);
  await run('cargo', ['install', '--force', ...(locked ? ['--locked'] : []), ...where, spec], {
    minutes: 20,
    quiet: true,
    env: QUICK_BUILD,
    otherwise: `${name} could not be compiled; the compiler's words are above.`,
  });
}

async function setupWasmBindgen() {
  const wanted = lockedVersion(readFileSync(path.join(root, 'Cargo.lock'), 'utf8'), 'wasm-bindgen');
  if (!wanted) throw new Failure('Cargo.lock names no wasm-bindgen, so its command-line tool cannot be chosen.');
  const present = which('wasm-bindgen') && versionOf('wasm-bindgen');
  if (present === wanted) return;
  // Another project may need the version that this machine has, so it keeps it and ours goes into the checkout.
  // Its lock file can name a withdrawn dependency, hence not `locked`.
  await install('wasm-bindgen-cli', wanted, { into: present && projectTools });
}

async function setupWasmPack() {
  const present = which('wasm-pack') && versionOf('wasm-pack');
  if (present && atLeast(present, '0.13')) return;
  await install('wasm-pack', null, { locked: true, into: present && projectTools });
}

async function setupGeckodriver() {
  if (!find('geckodriver')) await install('geckodriver', null, { locked: true });
}

export async function setupTools({ tests = true } = {}) {
  await setupWasmBindgen();
  if (!tests) return;
  await setupWasmPack();
  await setupGeckodriver();
}

await main(import.meta, (args) => step('tools', () => setupTools({ tests: !args.includes('--build-only') })));
