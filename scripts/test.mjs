// `npm test`: all set-up, then every ring of tests from the inside out. A failing ring does not stop the later ones;
// what failed is said again at the end, and the last line is the sum. `npm test -- --only=wasm,e2e` runs some of them.

import { readdirSync } from 'node:fs';
import path from 'node:path';
import { Failure, main, root, run, step } from './lib/step.mjs';
import { browser } from './lib/browsers.mjs';
import { cargoCounts, counted, nodeCounts } from './lib/counts.mjs';
import { wasmEnv } from './lib/wasm.mjs';
import { buildWasm } from './build-wasm.mjs';
import { buildWidget } from './build-widget.mjs';
import { checkFormat, checkTypes } from './check.mjs';
import { fuzzBriefly } from './fuzz.mjs';
import { checkLicences } from './licences.mjs';
import { setup } from './setup.mjs';

/** A check that either holds or throws: one test. */
const single = (check) => async () => {
  await check();
  return { passed: 1, failed: 0, said: [] };
};

const add = (a, b) => ({ passed: a.passed + b.passed, failed: a.failed + b.failed, said: [...a.said, ...b.said] });
/** How much of what a ring's failed tests said is repeated at the end, in characters. */
const REPEATED = 4_000;

/** Does `work` at the first call only; the others get the same outcome. */
const once = (work) => {
  let outcome;
  return () => (outcome ??= work());
};

const builtWasm = once(() => step('browser module', buildWasm));
const builtPages = once(async () => {
  await builtWasm();
  await step('widget and demo page', buildWidget);
});

// The fuzz crate has a ring of its own.
const CARGO_TEST = ['test', '--workspace', '--exclude', 'rillpay-fuzz', '--no-fail-fast'];

// The same random inputs in every run: a change is blamed for what it broke and for nothing else. `npm run fuzz` seeks new ones.
const cargoTests = () =>
  counted('cargo', CARGO_TEST, cargoCounts, { minutes: 45, env: { PROPTEST_RNG_SEED: process.env.PROPTEST_RNG_SEED ?? '1' } });

async function wasmTests() {
  await builtWasm();
  const pack = (args, env) =>
    counted('wasm-pack', ['test', '--mode', 'no-install', '--headless', ...args, '--', '--features', 'wallet,two-way'], cargoCounts, {
      minutes: 15,
      env: { ...wasmEnv(), WASM_BINDGEN_TEST_TIMEOUT: '120', ...env },
    });
  const chrome = await pack(['--chrome', '--chromedriver', browser('chromedriver')]);
  // geckodriver looks for `firefox` only; Debian calls it firefox-esr.
  const firefox = await pack(['--firefox', '--geckodriver', browser('geckodriver')], {
    GECKODRIVER_ARGS: `--binary ${browser('firefox')}`,
  });
  // By itself: no other package asks for the features that it needs.
  const alone = ['test', '--mode', 'no-install', '--node', 'crates/curve'];
  const curve = await counted('wasm-pack', alone, cargoCounts, { minutes: 15, env: wasmEnv() });
  return [chrome, firefox, curve].reduce(add);
}

async function nodeTests(folder, minutes) {
  const names = readdirSync(path.join(root, folder), { recursive: true });
  const files = names.filter((name) => name.endsWith('.test.mjs')).map((name) => path.join(folder, name)).sort();
  if (files.length === 0) throw new Failure(`There is no test in ${folder}.`);
  const args = ['--test', '--test-reporter=spec', '--test-concurrency=1', ...files];
  return counted(process.execPath, args, nodeCounts, {
    minutes,
    env: {
      CHROMIUM_PATH: browser('chromium'),
      RILLPAY_SERVER: path.join(root, 'target/debug/rillpay-server'),
      RILLPAY_NODE: path.join(root, 'target/debug/rillpay-node'),
    },
  });
}

async function endToEnd() {
  await builtPages();
  // The programs as the Rust tests built them: with other features much would be compiled a second time.
  await step('server and node', () => run('cargo', [...CARGO_TEST, '--no-run'], { minutes: 30 }));
  return nodeTests('tests/e2e', 20);
}

async function packaging() {
  await builtPages();
  return nodeTests('tests/packaging', 10);
}

const rings = [
  { name: 'format', title: 'formatting', test: single(checkFormat) },
  { name: 'licences', title: 'licences', test: single(checkLicences) },
  { name: 'rust', title: 'Rust: units, vectors, properties, chain, server', bitcoind: true, test: cargoTests },
  { name: 'fuzz', title: 'fuzz targets, briefly', test: fuzzBriefly },
  { name: 'wasm', title: 'browser module in Chromium and Firefox', browsers: true, test: wasmTests },
  { name: 'types', title: 'TypeScript types', test: single(checkTypes) },
  { name: 'e2e', title: 'a real browser against the real server, our node against Electrum', browsers: true, bitcoind: true, test: endToEnd },
  { name: 'packaging', title: 'the npm package in fresh projects', browsers: true, test: packaging },
];

function chosen(args) {
  const only = args.find((arg) => arg.startsWith('--only='))?.slice('--only='.length).split(',');
  const unknown = args.find((arg) => !arg.startsWith('--only=')) ?? only?.find((name) => !rings.some((ring) => ring.name === name));
  if (unknown !== undefined) {
    throw new Failure(`There is no "${unknown}". Use --only= with some of: ${rings.map((ring) => ring.name).join(', ')}.`);
  }
  return only ? rings.filter((ring) => only.includes(ring.name)) : rings;
}

await main(import.meta, async (args) => {
  const selected = chosen(args);
  await setup({ tests: selected.some((ring) => ring.browsers), bitcoind: selected.some((ring) => ring.bitcoind) });

  const results = [];
  for (const { name, title, test } of selected) {
    const since = performance.now();
    let counts;
    try {
      counts = await step(`${name}: ${title}`, test);
    } catch (error) {
      const why = error instanceof Failure ? error.message : error.stack;
      console.log(`\n${why}`);
      counts = { passed: 0, failed: 1, said: [why] };
    }
    results.push({ name, ...counts, seconds: Math.round((performance.now() - since) / 1000) });
  }

  for (const { name, said } of results.filter(({ failed }) => failed > 0)) {
    console.log(`\n== what failed in ${name}\n${said.join('\n\n').slice(0, REPEATED)}`);
  }
  console.log('\n== summary');
  for (const { name, passed, failed, seconds } of results) {
    console.log(`   ${failed ? 'FAILED' : 'ok    '} ${name}: ${passed} passed, ${failed} failed, ${seconds} s`);
  }
  const total = results.reduce(add);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed > 0 ? 1 : 0;
});
