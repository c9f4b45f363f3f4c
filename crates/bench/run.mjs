// Runs all measurements, works out the ratios, prints them beside their goals and writes target/bench.json.
//
// README.md says what each figure means. A slow machine is no failure, and neither is a goal that is missed; only a
// measurement that breaks is.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { measureInBrowser } from './browser.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const work = path.join(root, 'target/bench');
const quick = process.argv.includes('--quick');

/** What is to be reached: DESIGN's "Numbers to reach". */
const goals = {
  payments_vs_verify: { least: 0.7, what: 'durable payments per server CPU-second / bare verifications per CPU-second' },
  wasm_payment_vs_sign: { most: 1.2, what: 'browser: a payment built, signed and encoded / the bare signature' },
  faster_than_bitcoinjs: { least: 10, what: 'browser: the same payment by bitcoinjs-lib (PSBT) / by the module' },
  faster_than_scure: { least: 30, what: 'browser: the same payment by @scure/btc-signer / by the module' },
  module_gzip_bytes: { most: 150 * 1024, what: 'the shipped module, wasm and glue, after gzip -9' },
  growth_time: { most: 1.05, what: 'time of a payment around the 1,000,000th / around the 1st' },
  growth_bytes: { most: 1.0, what: 'bytes stored after the 1,000,000th payment / after the 1st' },
  idle_channel_bytes: { most: 2048, what: 'server memory of an idle open channel' },
  merged_vbytes_ratio: { most: 0.8, what: 'virtual bytes of a channel in a settlement of 100 / settled alone' },
  revocable_updates_vs_ldk: { least: 1, what: 'two-way: durable payments by HTLC per second / those of LDK' },
  revocable_direct_vs_ldk: { least: 1, what: 'two-way: durable direct payments per second / payments of LDK (by HTLC)' },
  revocable_wasm_vs_native: { most: 3, what: 'two-way: time of an update in the browser / natively' },
  revocable_growth_time: { most: 1.05, what: 'two-way: time of an update after 10,000,000 / of the first ones' },
  revocable_growth_bytes: { most: 1.0, what: 'two-way: bytes in the store after 10,000,000 updates / at first' },
};

function native() {
  const result = path.join(work, 'native.json');
  const args = [work, result, ...(quick ? ['--quick'] : [])];
  const run = spawnSync(path.join(root, 'target/release/rillpay-bench'), args, { stdio: 'inherit' });
  if (run.error) throw run.error;
  if (run.status !== 0) throw new Error('the measurement of the server broke off');
  return JSON.parse(readFileSync(result, 'utf8'));
}

/** Two-way channels against LDK, in a crate of its own, apart from the rooms. */
function againstLdk() {
  const result = path.join(work, 'updates.json');
  const args = ['bench', '--package', 'rillpay-interop', '--bench', 'updates', '--', work, result, ...(quick ? ['--quick'] : [])];
  const run = spawnSync('cargo', args, { cwd: root, stdio: 'inherit' });
  if (run.error) throw run.error;
  if (run.status !== 0) throw new Error('the measurement of LDK broke off');
  return JSON.parse(readFileSync(result, 'utf8'));
}

function moduleBytes() {
  const parts = ['rillpay_bg.wasm', 'rillpay.js'].map((name) => {
    const bytes = readFileSync(path.join(root, 'pkg/generated', name));
    return [name, { bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length }];
  });
  return Object.fromEntries(parts);
}

function version(name) {
  return JSON.parse(readFileSync(path.join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
}

function ratios({ server, updates, browser, module }) {
  const { load, memory, growth, two_way: twoWay, merged_p2sh_p2wsh: merged } = server;
  const { ours_direct: direct, ours_htlc: htlc, ldk_htlc: ldk } = updates.durable;
  const [youngest, oldest] = [twoWay.ages.at(0), twoWay.ages.at(-1)];
  const per = (count, micros) => count / (micros / 1e6);
  return {
    payments_vs_verify:
      per(load.payments, load.server_cpu_micros) / per(load.verifications, load.verify_cpu_micros),
    wasm_payment_vs_sign: browser.rillpay_payment / browser.rillpay_signature,
    // Against the faster of its two curve libraries.
    faster_than_bitcoinjs:
      Math.min(browser.bitcoinjs_tiny_secp256k1, browser.bitcoinjs_noble) / browser.rillpay_payment,
    faster_than_scure: browser.scure / browser.rillpay_payment,
    module_gzip_bytes: Object.values(module).reduce((sum, { gzip }) => sum + gzip, 0),
    growth_time: growth.old_turn_micros / growth.fresh_turn_micros,
    growth_bytes: growth.bytes_after / growth.bytes_before,
    idle_channel_bytes: Math.max(0, Math.round((memory.idle_bytes - memory.empty_bytes) / memory.channels)),
    merged_vbytes_ratio: merged.together_vbytes / merged.alone_vbytes,
    revocable_updates_vs_ldk: ldk.turn_micros / htlc.turn_micros,
    revocable_direct_vs_ldk: ldk.turn_micros / direct.turn_micros,
    revocable_wasm_vs_native: browser.rillpay_two_updates / 2 / (twoWay.native_turn_micros / twoWay.updates_per_turn),
    revocable_growth_time: oldest.turn_micros / youngest.turn_micros,
    revocable_growth_bytes: oldest.database_bytes / youngest.database_bytes,
  };
}

/** The state of the code, without which figures cannot be looked into later; `null` for a copy without its history. */
function commit() {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' });
  return git.status === 0 ? git.stdout.trim() : null;
}

function conditions(browserVersion) {
  return {
    quick,
    commit: commit(),
    machine: `${cpus().length} x ${cpus()[0].model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    browser: `Chromium ${browserVersion}, headless`,
    libraries: Object.fromEntries(
      ['bitcoinjs-lib', 'tiny-secp256k1', '@bitcoinerlab/secp256k1', '@scure/btc-signer'].map((name) => [name, version(name)]),
    ),
    payments:
      'server process in release build, WebSockets on 127.0.0.1, SQLite with WAL and full sync on this disk, one payment ' +
      'on its way per channel; CPU time from /proc, with the embedded chain and the watcher; verifications on one thread ' +
      'of another process, between the rounds, of the same payments',
    growth:
      'all payments really made, one at a time, by the payer machine over a socket; the store in a folder in memory; then ' +
      'turns on that channel and on a fresh one alternate',
    revocable:
      'both nodes of a channel in one thread of one process, BOLT 8 between them, payments one at a time and in turn; ours: ' +
      'holders on the store of rillpay-node (SQLite, WAL, full sync), without reading onions; LDK 0.2: ChannelManager with ' +
      'MonitorUpdatingPersister on FilesystemStore (what it waits for; ldk_htlc_with_manager stores the manager, too), single hop, ' +
      'without BOLT 11; all stores on this disk, then in memory',
    revocable_growth:
      'sampled: real direct payments at ages that are reached in an instant, in turns; the store in a folder in memory',
    memory: 'resident anonymous memory of fresh processes on the same chain, with all channels in the store and with none',
    merged: '100 channels, default funding (P2SH-P2WSH), payout and change to P2WPKH, 36 mBTC deposited, 6 mBTC paid',
  };
}

function print(figures) {
  const number = (value) => (value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(value < 10 ? 3 : 1));
  for (const [key, value] of Object.entries(figures)) {
    const { least, most, what } = goals[key];
    const reached = least === undefined ? value <= most : value >= least;
    const goal = least === undefined ? `at most ${number(most)}` : `at least ${number(least)}`;
    console.log(`${reached ? 'reached' : 'MISSED '}  ${key.padEnd(24)} ${number(value).padStart(9)}   ${goal.padEnd(16)} ${what}`);
  }
}

mkdirSync(work, { recursive: true });
const server = native();
console.log('   two-way channels: ours and those of LDK take turns');
const updates = againstLdk();
console.log('   browser: our module and three others take turns');
const { micros: browser, version: browserVersion } = await measureInBrowser({
  module: path.join(work, 'module'),
  out: path.join(work, 'page'),
  ...(quick ? { rounds: 3, milliseconds: 40 } : { rounds: 31, milliseconds: 100 }),
});
const raw = { ...server, updates, browser_micros: browser, module: moduleBytes() };
const figures = ratios({ server, updates, browser, module: raw.module });
for (const [key, value] of Object.entries(figures)) {
  if (!Number.isFinite(value)) throw new Error(`${key} was not measured`);
}
writeFileSync(
  path.join(root, 'target/bench.json'),
  `${JSON.stringify({ ...figures, raw, conditions: conditions(browserVersion) }, null, 2)}\n`,
);
print(figures);
