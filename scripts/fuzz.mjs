// Fuzzing. The bodies of the targets are ordinary functions in crates/fuzz: its tests drive them on stable Rust over the
// kept inputs and over random ones, for a bounded time (part of `npm test`); `npm run fuzz` gives each of them to
// libFuzzer, which needs cargo-fuzz and a nightly Rust, for as long as you say.

import { Failure, ask, main, run, step } from './lib/step.mjs';
import { cargoCounts, counted } from './lib/counts.mjs';

/** A ring of `npm test`: every target for `RILLPAY_FUZZ_SECONDS` (20 by default). Returns the counts. */
export async function fuzzBriefly() {
  return counted('cargo', ['test', '--package', 'rillpay-fuzz'], cargoCounts, {
    minutes: 15,
    env: { RILLPAY_FUZZ_SECONDS: process.env.RILLPAY_FUZZ_SECONDS ?? '20' },
  });
}

async function fuzzLong(seconds) {
  const targets = ask('cargo', ['+nightly', 'fuzz', 'list'])?.split('\n');
  if (!targets) {
    throw new Failure('Long fuzzing needs `cargo install cargo-fuzz` and `rustup toolchain install nightly`.');
  }
  for (const target of targets) {
    await step(`fuzz ${target} for ${seconds} s`, () =>
      run('cargo', ['+nightly', 'fuzz', 'run', target, '--', `-max_total_time=${seconds}`], { minutes: seconds / 60 + 30 }),
    );
  }
}

await main(import.meta, async (args) => {
  const seconds = Number(args.find((arg) => arg.startsWith('--seconds='))?.slice('--seconds='.length) ?? 600);
  if (!(seconds > 0)) throw new Failure('--seconds= wants a number of seconds.');
  if (args.includes('--long')) return fuzzLong(seconds);
  const { failed } = await step('fuzz targets, briefly', fuzzBriefly);
  return failed > 0 ? 1 : 0;
});
