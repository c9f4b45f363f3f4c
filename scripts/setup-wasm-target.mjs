// Makes Rust able to build for the browser.
//
// `rustup target add` does it on nearly every machine. Where rustup's server cannot be reached, Debian's own
// packages do: a rustc that may use unstable flags in bootstrap mode, the source of the standard library, and a
// linker. The standard library is built from that source once (about a minute), and the result is linked into
// rustup as a toolchain that only wasm builds name.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Failure, ask, main, run, step, tryRun } from './lib/step.mjs';
import { which } from './lib/tools.mjs';
import { LINKED, TARGET, findWasmToolchain } from './lib/wasm.mjs';
import { aptInstall, asRoot, canApt } from './setup-system.mjs';

const DEBIAN_PACKAGES = ['rustc-web', 'cargo-web', 'rust-web-src', 'clang'];

/** The newest `lld-N` that this Debian release has: it must be as new as the LLVM inside rustc. */
function newestLld() {
  const names = ask('apt-cache', ['search', '--names-only', '^lld-[0-9]+$']) ?? '';
  const versions = [...names.matchAll(/^lld-(\d+) /gm)].map((match) => Number(match[1]));
  if (versions.length === 0) throw new Failure('This Debian release has no lld package, so wasm cannot be linked.');
  return Math.max(...versions);
}

async function privileged(program, args) {
  const [first, ...rest] = [...asRoot(), program, ...args];
  await run(first, rest, { minutes: 2, quiet: true });
}

/** Builds the standard library for wasm with Debian's rustc, in an empty library. Returns the folder of rlibs. */
async function buildStd(folder) {
  mkdirSync(path.join(folder, 'src'));
  writeFileSync(path.join(folder, 'src/lib.rs'), '#![no_std]\n');
  writeFileSync(
    path.join(folder, 'Cargo.toml'),
    '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n',
  );
  const flags = ['build', '--release', '--target', TARGET, '-Z', 'build-std=std,panic_abort,test'];
  await run('/usr/bin/cargo', flags, {
    cwd: folder,
    minutes: 15,
    quiet: true,
    env: { RUSTC: '/usr/bin/rustc', RUSTC_BOOTSTRAP: '1', CARGO_TARGET_DIR: path.join(folder, 'target') },
    otherwise: 'The standard library for wasm could not be built with the packages of this Debian release.',
  });
  return path.join(folder, 'target', TARGET, 'release/deps');
}

async function setupDebianToolchain() {
  const lld = newestLld();
  const linker = `/usr/lib/llvm-${lld}/bin/lld`;
  if (!existsSync('/usr/bin/rustc') || !existsSync(linker) || !existsSync('/usr/lib/rustlib/src/rust/library')) {
    console.log(`   installing ${[...DEBIAN_PACKAGES, `lld-${lld}`].join(' ')}`);
    await aptInstall([...DEBIAN_PACKAGES, `lld-${lld}`]);
  }

  const folder = mkdtempSync(path.join(tmpdir(), 'rillpay-std-'));
  try {
    const built = await buildStd(folder);
    const collected = path.join(folder, 'lib');
    mkdirSync(collected);
    for (const name of readdirSync(built)) {
      if (name.endsWith('.rlib') && !name.startsWith('libempty')) cpSync(path.join(built, name), path.join(collected, name));
    }
    // Replaced as a whole: two versions of one crate in it would be ambiguous.
    const place = `/usr/lib/rustlib/${TARGET}`;
    await privileged('rm', ['-rf', `${place}/lib`]);
    await privileged('mkdir', ['-p', place]);
    await privileged('cp', ['-r', collected, `${place}/lib`]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  const host = ask('/usr/bin/rustc', ['-vV'])?.match(/^host: (.*)$/m)?.[1];
  const bin = `/usr/lib/rustlib/${host}/bin`;
  await privileged('mkdir', ['-p', bin]);
  await privileged('ln', ['-sf', linker, `${bin}/rust-lld`]);
  await run('rustup', ['toolchain', 'link', LINKED, '/usr'], { minutes: 1, quiet: true });
}

export async function setupWasmTarget() {
  if (findWasmToolchain() !== null) return;
  const byHand = `Add the ${TARGET} target to your Rust (\`rustup target add ${TARGET}\`) and run this again.`;
  if (!which('rustup')) throw new Failure(`Rust cannot build for the browser, and rustup is missing. ${byHand}`);

  // Short where there is another way; a slow line may take its time where there is none.
  const minutes = canApt() ? 20 / 60 : 5;
  console.log(`   rustup target add ${TARGET} (given up after ${minutes * 60} s)`);
  await tryRun('rustup', ['target', 'add', TARGET], { minutes, quiet: true });
  if (findWasmToolchain() !== null) return;

  if (!canApt()) throw new Failure(`rustup could not fetch what Rust needs to build for the browser. ${byHand}`);
  console.log('   rustup could not fetch it; building the standard library with Debian\'s rustc');
  await setupDebianToolchain();
  if (findWasmToolchain() === null) throw new Failure(`Debian's Rust cannot build for the browser either. ${byHand}`);
}

await main(import.meta, () => step('wasm target', setupWasmTarget));
