// A Bitcoin Core node for the tests. Taken from RILLPAY_BITCOIND, from PATH or from the cache if one is there; else built,
// once, from the source that the crate with Bitcoin Core's validation code carries, and put into the cache. The tests
// find it in the same order. `npm start` needs none.

import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import path from 'node:path';
import { Failure, ask, main, root, run, step } from './lib/step.mjs';
import { hasHeader, which } from './lib/tools.mjs';
import { aptInstall, canApt } from './setup-system.mjs';

const CRATE = 'libbitcoinkernel-sys';
/** The oldest version that the server works with. */
const OLDEST = 25;

const cache = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'rillpay');

// A node and nothing else: no wallet, no tools, no tests of its own. Little optimisation: it runs for seconds.
const FLAGS = [
  '-DCMAKE_BUILD_TYPE=Release',
  '-DCMAKE_CXX_FLAGS_RELEASE=-O1',
  '-DBUILD_DAEMON=ON',
  ...[
    'BUILD_CLI', 'BUILD_TX', 'BUILD_UTIL', 'BUILD_BITCOIN_BIN', 'BUILD_KERNEL_LIB', 'BUILD_TESTS', 'BUILD_BENCH',
    'BUILD_FUZZ_BINARY', 'ENABLE_WALLET', 'ENABLE_IPC', 'ENABLE_EXTERNAL_SIGNER', 'WITH_ZMQ', 'WITH_EMBEDDED_ASMAP',
  ].map((name) => `-D${name}=OFF`),
];

const wanted = [
  { what: 'CMake', here: () => which('cmake'), apt: 'cmake' },
  { what: 'Ninja', here: () => which('ninja'), apt: 'ninja-build' },
  { what: 'a C++ compiler', here: () => which('c++', 'g++', 'clang++'), apt: 'build-essential' },
  { what: 'pkg-config', here: () => which('pkg-config', 'pkgconf'), apt: 'pkg-config' },
  { what: 'the Boost headers', here: () => hasHeader('boost/version.hpp'), apt: 'libboost-dev' },
  { what: 'the libevent headers', here: () => hasHeader('event2/event.h'), apt: 'libevent-dev' },
];

const OTHERWISE = 'Or install Bitcoin Core yourself (https://bitcoincore.org) and name its bitcoind in RILLPAY_BITCOIND.';

/** What is in the cache, the newest version first. */
function cached() {
  const names = existsSync(cache) ? readdirSync(cache).filter((name) => /^bitcoind-[\d.]+$/.test(name)) : [];
  const newestFirst = names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  return newestFirst.map((name) => path.join(cache, name, 'bitcoind')).filter((file) => existsSync(file));
}

/** The path of a node's program, or `null` if there is none yet. */
export function findBitcoind() {
  const named = process.env.RILLPAY_BITCOIND;
  if (named && !existsSync(named)) throw new Failure(`RILLPAY_BITCOIND names ${named}, which is not there.`);
  return named || which('bitcoind') || (cached()[0] ?? null);
}

function versionOf(program) {
  const text = ask(program, ['-version'])?.match(/version v?(\d+)\.(\d+)/);
  if (!text) throw new Failure(`${program} cannot be run, or is no bitcoind. Remove it, or name another in RILLPAY_BITCOIND.`);
  return text.slice(1).map(Number);
}

async function setupPackages() {
  const missing = () => wanted.filter((item) => !item.here());
  const packages = missing().map((item) => item.apt);
  if (packages.length > 0 && canApt()) {
    console.log(`   installing ${packages.join(' ')}`);
    await aptInstall(packages);
  }
  const still = missing();
  if (still.length === 0) return;
  const names = still.map((item) => item.what).join(', ');
  const how = process.platform === 'darwin' ? 'brew install cmake ninja pkgconf boost libevent' : `sudo apt-get install ${packages.join(' ')}`;
  throw new Failure(`To build Bitcoin Core for the tests this machine lacks: ${names}. Install it (for instance \`${how}\`) and run this again. ${OTHERWISE}`);
}

/** The folder of Bitcoin Core's source. */
async function source() {
  await run('cargo', ['fetch', '--locked'], { minutes: 15, quiet: true, otherwise: 'The crates that this needs could not be fetched.' });
  const metadata = ask('cargo', ['metadata', '--format-version', '1', '--locked', '--offline']);
  const crate = metadata && JSON.parse(metadata).packages.find(({ name }) => name === CRATE);
  const folder = crate && path.join(path.dirname(crate.manifest_path), 'bitcoin');
  if (!folder || !existsSync(path.join(folder, 'CMakeLists.txt'))) {
    throw new Failure(`The crate ${CRATE} no longer carries Bitcoin Core's source. ${OTHERWISE}`);
  }
  return folder;
}

function versionIn(folder) {
  const text = readFileSync(path.join(folder, 'CMakeLists.txt'), 'utf8');
  const number = (name) => text.match(new RegExp(`set\\(CLIENT_VERSION_${name} (\\d+)\\)`))?.[1] ?? '0';
  return `${number('MAJOR')}.${number('MINOR')}`;
}

/** Says every half minute how far Ninja has come, from the log that it keeps. */
function progress(build, total) {
  const file = path.join(build, '.ninja_log');
  const done = () => (existsSync(file) ? new Set(readFileSync(file, 'utf8').split('\n').slice(1).filter(Boolean)).size : 0);
  const before = done();
  const timer = setInterval(() => console.log(`   ${done() - before} of ${total} steps`), 30_000);
  return () => clearInterval(timer);
}

/** Builds a node. What an interrupted run has built is used. */
async function build() {
  await setupPackages();
  const folder = await source();
  const version = versionIn(folder);
  const place = path.join(root, 'target/bitcoind', version);
  mkdirSync(place, { recursive: true });
  await run('cmake', ['-S', folder, '-B', place, '-G', 'Ninja', ...FLAGS], {
    minutes: 5,
    quiet: true,
    otherwise: `Bitcoin Core could not be configured; CMake's words are above. ${OTHERWISE}`,
  });
  const total = ask('ninja', ['-C', place, '-n', 'bitcoind'])?.match(/\[\d+\/(\d+)\]/)?.[1] ?? 'some';
  console.log(`   building Bitcoin Core ${version}: ${total} steps, about ten minutes on two cores, only once`);
  const stop = progress(place, total);
  try {
    await run('ninja', ['-C', place, '-j', String(availableParallelism()), 'bitcoind'], {
      minutes: 45,
      quiet: true,
      otherwise: `Bitcoin Core could not be built; the compiler's words are above. ${OTHERWISE}`,
    });
  } finally {
    stop();
  }
  const program = put(path.join(place, 'bin/bitcoind'), `bitcoind-${version}`);
  rmSync(place, { recursive: true, force: true });
  return program;
}

/** Puts a program into the cache: whole or not at all, whoever else does the same. */
function put(program, name) {
  mkdirSync(cache, { recursive: true });
  const own = mkdtempSync(path.join(cache, '.new-'));
  const target = path.join(cache, name);
  try {
    copyFileSync(program, path.join(own, 'bitcoind'));
    chmodSync(path.join(own, 'bitcoind'), 0o755);
    chmodSync(own, 0o755);
    renameSync(own, target);
  } catch (error) {
    rmSync(own, { recursive: true, force: true });
    if (!existsSync(path.join(target, 'bitcoind'))) throw new Failure(`${target} could not be written: ${error.message}.`);
  }
  return path.join(target, 'bitcoind');
}

/** Makes sure that there is a node, and names it to every program started from here. */
export async function setupBitcoind() {
  const program = findBitcoind() ?? (await build());
  const [major, minor] = versionOf(program);
  if (major < OLDEST) throw new Failure(`${program} is version ${major}.${minor}: ${OLDEST} or later is needed. Name another in RILLPAY_BITCOIND.`);
  process.env.RILLPAY_BITCOIND = program;
  return program;
}

await main(import.meta, async () => {
  const program = await step('Bitcoin Core node', setupBitcoind);
  console.log(program);
});
