// Programs and headers of the operating system: compilers for the native and the wasm C code, and for the tests
// two browsers, and Electrum where there is a package of it. On Debian and its relatives, with root or a sudo that asks
// nothing, what is missing is installed; elsewhere it is named.

import { Failure, ask, main, run, step } from './lib/step.mjs';
import { atLeast, electrum, hasHeader, need, wasmClang, which } from './lib/tools.mjs';
import { find } from './lib/browsers.mjs';

// What is needed, for which purpose, how its presence is told, and what brings it.
const wanted = [
  { what: 'a C++ compiler', here: () => which('c++', 'g++', 'clang++'), apt: ['build-essential'], brew: 'xcode-select --install' },
  { what: 'make', here: () => which('make', 'ninja'), apt: ['build-essential'], brew: 'xcode-select --install' },
  { what: 'CMake', here: () => which('cmake'), apt: ['cmake'], brew: 'brew install cmake' },
  { what: 'pkg-config', here: () => which('pkg-config', 'pkgconf'), apt: ['pkg-config'], brew: 'brew install pkgconf' },
  { what: 'the Boost headers', here: () => hasHeader('boost/version.hpp'), apt: ['libboost-dev'], brew: 'brew install boost' },
  { what: 'a clang that can compile for wasm', here: wasmClang, apt: ['clang'], brew: 'brew install llvm' },
  { what: 'Chromium or Chrome', tests: true, here: () => find('chromium'), apt: ['chromium'], brew: 'brew install --cask chromium' },
  { what: 'chromedriver', tests: true, here: () => find('chromedriver'), apt: ['chromium-driver'], brew: 'brew install chromedriver' },
  { what: 'Firefox', tests: true, here: () => find('firefox'), apt: ['firefox-esr'], brew: 'brew install --cask firefox' },
];

/** The words before a command that needs root: none as root, `sudo -n` if it asks no password, else `null`. */
export function asRoot() {
  if (process.getuid?.() === 0) return [];
  return which('sudo') && ask('sudo', ['-n', 'true']) !== null ? ['sudo', '-n'] : null;
}

/** Installs Debian packages. The caller has made sure that `asRoot()` is not `null` and apt-get exists. */
export async function aptInstall(packages) {
  const apt = [...asRoot(), 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', '-y'];
  const call = (args, minutes) => {
    const [program, ...rest] = [...apt, ...args];
    return run(program, rest, { minutes, quiet: true, otherwise: 'apt-get could not do it; its own words are above.' });
  };
  await call(['update'], 5);
  await call(['install', '--no-install-recommends', ...packages], 15);
}

/** Whether this machine lets us install Debian packages. */
export function canApt() {
  return Boolean(which('apt-get')) && asRoot() !== null;
}

/** Nothing but the tests with Electrum needs it, and not every release has it: without it they are skipped. */
async function setupElectrum() {
  if (electrum() !== null || !canApt()) return;
  console.log('   installing python3-electrum');
  await aptInstall(['python3-electrum']).catch(() => console.log('   the tests with Electrum will be skipped'));
}

function checkRust() {
  const how = 'Install Rust with rustup, as https://rustup.rs says, and open a new shell.';
  need('cargo', how);
  need('rustc', how);
  const version = ask('rustc', ['--version'])?.match(/\d+\.\d+\.\d+/)?.[0] ?? '0';
  if (!atLeast(version, '1.90')) throw new Failure(`Rust ${version} is too old: run \`rustup update\` (1.90 or later is needed).`);
}

export async function setupSystem({ tests = true } = {}) {
  if (!atLeast(process.versions.node, '20.19')) {
    throw new Failure(`Node.js ${process.versions.node} is too old: 20.19 or later is needed.`);
  }
  checkRust();
  if (tests) await setupElectrum();
  const missing = () => wanted.filter((item) => (tests || !item.tests) && !item.here());
  const lacking = missing();
  if (lacking.length === 0) return;
  const packages = [...new Set(lacking.flatMap((item) => item.apt))];
  if (canApt()) {
    console.log(`   installing ${packages.join(' ')}`);
    await aptInstall(packages);
  }
  const still = missing();
  if (still.length === 0) return;
  const names = still.map((item) => item.what).join(', ');
  const how = process.platform === 'darwin'
    ? [...new Set(still.map((item) => item.brew))].join(' && ')
    : `sudo apt-get install ${packages.join(' ')}`;
  throw new Failure(`Missing on this machine: ${names}. Install it (for instance \`${how}\`) and run this again.`);
}

await main(import.meta, (args) => step('system packages', () => setupSystem({ tests: !args.includes('--build-only') })));
