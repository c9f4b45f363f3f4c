// Fuzzing. The bodies of the targets are ordinary functions in the fuzz crate: stable Rust drives them over the kept
// corpus and over random input for a bounded time (part of `npm test`); `npm run fuzz` gives each of them to
// libFuzzer, which needs cargo-fuzz and a nightly Rust, for as long as you say.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { Failure, ask, main, root, run, step } from './lib/step.mjs';
import { cargoCounts, counted } from './lib/counts.mjs';

const manifest = path.join(root, 'fuzz/Cargo.toml');

/** A ring of `npm test`: every target for `RILLPAY_FUZZ_SECONDS` (20 by default). Returns the counts. */
export async function fuzzBriefly() {
  if (!existsSync(manifest)) throw new Failure('There are no fuzz targets: fuzz/Cargo.toml is not there.');
  return counted('cargo', ['test', '--manifest-path', manifest], cargoCounts, {
    minutes: 15,
    env: { RILLPAY_FUZZ_SECONDS: process.env.RILLPAY_FUZZ_SECONDS ?? '20', CARGO_TARGET_DIR: path.join(root, 'target') },
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
