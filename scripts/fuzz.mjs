// Fuzzing. The bodies of the targets are ordinary functions in crates/fuzz: its tests drive them on stable Rust over the
// kept inputs and over made up ones, the same in every run, for a bounded time (part of `npm test`); `npm run fuzz` gives
// each of them to libFuzzer, which needs cargo-fuzz and a nightly Rust, for as long as you say (`--seconds=`). Readers that
// are private to their crates have property tests beside them, named `hostile_…`: the long run gives those many more
// inputs, too.

import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Failure, ask, main, root, run, step } from './lib/step.mjs';
import { cargoCounts, counted } from './lib/counts.mjs';

/** A ring of `npm test`: every target for `RILLPAY_FUZZ_SECONDS` (20 by default). Returns the counts. */
export async function fuzzBriefly() {
  return counted('cargo', ['test', '--package', 'rillpay-fuzz'], cargoCounts, {
    minutes: 15,
    env: { RILLPAY_FUZZ_SECONDS: process.env.RILLPAY_FUZZ_SECONDS ?? '20' },
  });
}

/** How many inputs each `hostile_…` test takes for a second of fuzzing. */
const HOSTILE_PER_SECOND = 200;

async function hostileLong(seconds) {
  const env = { PROPTEST_CASES: String(Math.ceil(seconds * HOSTILE_PER_SECOND)) };
  await step('hostile inputs for private readers', () =>
    run('cargo', ['test', '--workspace', '--exclude', 'rillpay-fuzz', '--lib', 'hostile'], { minutes: seconds / 10 + 60, env }));
}

/** For `seconds` each: by libFuzzer where cargo-fuzz and a nightly Rust are there, else by the tests' own driver. */
async function fuzzLong(seconds) {
  const targets = ask('cargo', ['+nightly', 'fuzz', 'list'])?.split('\n');
  const minutes = seconds / 60 + 30;
  if (!targets) {
    console.log('   without libFuzzer, which needs `cargo install cargo-fuzz` and `rustup toolchain install nightly`');
    const env = { RILLPAY_FUZZ_SECONDS: String(Math.ceil(seconds)), RILLPAY_FUZZ_FRESH: '1' };
    await step(`fuzz for ${seconds} s`, () => run('cargo', ['test', '--release', '--package', 'rillpay-fuzz'], { minutes, env }));
    return;
  }
  for (const target of targets) {
    // New inputs go to the first folder, outside the repository; those in the second one are kept in it.
    const found = path.join(root, 'target/fuzz-corpus', target);
    mkdirSync(found, { recursive: true });
    const args = ['+nightly', 'fuzz', 'run', target, found, `fuzz/corpus/${target}`, '--', `-max_total_time=${seconds}`];
    await step(`fuzz ${target} for ${seconds} s`, () => run('cargo', args, { minutes }));
  }
}

await main(import.meta, async (args) => {
  const seconds = Number(args.find((arg) => arg.startsWith('--seconds='))?.slice('--seconds='.length) ?? 600);
  if (!(seconds > 0)) throw new Failure('--seconds= wants a number of seconds.');
  if (args.includes('--long')) {
    await hostileLong(seconds);
    return fuzzLong(seconds);
  }
  const { failed } = await step('fuzz targets, briefly', fuzzBriefly);
  return failed > 0 ? 1 : 0;
});
